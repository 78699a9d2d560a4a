"""Normalizing flows by name: posteriors that the network conditions, and a prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform
from torch.nn import functional as F

from vaekit import distributions as d
from vaekit.errors import choose, within
from vaekit.parts.conditional import Family, Shape, one_dim
from vaekit.parts.priors import Context, Posterior, Prior
from vaekit.parts.wrapped import ZukoFamily, masked, unchecked, zuko
from vaekit.registry import register

KINDS = {"maf": "MAF", "spline": "NSF"}  # by name: the class of zuko
DEEPEST, WIDEST = 1000, 10_000  # layers, and numbers of a layer
GATE = 1.5  # what is added before the sigmoid of a gate: it starts near 1


def vector(name: str, event_shape: Shape) -> int:
    """Return the size of a vector of not too many numbers."""
    return within("latent", one_dim(f"{name} is over vectors", event_shape), 1, WIDEST)


@register("prior", "flow")
class FlowPrior(Prior):
    """A normalizing flow of N(0, I): the density of a code is one pass, a draw is one for each dim.

    Args:
        event_shape: the shape of z, a vector.
        flow: maf (masked autoregressive, arXiv 1705.07057) or spline (neural spline, arXiv
            1906.04032).
        transforms: how many layers.
        hidden: the width of their networks.

    Raises:
        VaekitError: for another flow, and a z of several dims.

    References:
        Chen et al. 2017, Variational lossy autoencoder, arXiv 1611.02731, section 3.2.

    Example:
        >>> prior = FlowPrior(2, transforms=2, hidden=16)
        >>> prior().log_prob(prior().sample((5,))).shape
        torch.Size([5])
    """

    offers: Any = d.offering("draws", "density", "exact")

    def __init__(
        self, event_shape: Shape, *, flow: str = "maf", transforms: int = 3, hidden: int = 64
    ) -> None:
        super().__init__()
        size = vector("the prior flow", event_shape)
        widths = [within("hidden", hidden, 1, WIDEST)] * 2
        make = getattr(zuko().flows, choose("flow", flow, KINDS))
        count = within("transforms", transforms, 1, DEEPEST)
        self.flow = masked(lambda: make(size, transforms=count, hidden_features=widths))
        self.event_shape = (size,)

    def forward(self, context: Context = None, posterior: Posterior = None) -> d.Distribution:
        return unchecked(self.flow(), d.offering("rsample", "draws", "density", "exact"))


class _Flow(d.Distribution):
    """A Gaussian through layers that give a draw and the logarithm of how much they stretch it.

    Args:
        base: the Gaussian, over vectors.
        layers: each is called with z and the numbers that condition it, and returns z' and
            log |det dz'/dz|; `inverse` of z' returns z.
        h: these numbers, `(*batch, H)`.
        backward: whether layers can be inverted.
    """

    one_pass = True

    def __init__(
        self, base: d.Gaussian, layers: Sequence[Any], h: Tensor, *, backward: bool = True
    ) -> None:
        super().__init__(event_dim=1)
        self.base, self.layers, self.h = base, layers, h
        self.offers = d.offering("rsample", "draws", "density", "exact")  # type: ignore[misc]
        if backward:
            self.offers |= d.offering("marginal")  # type: ignore[misc]

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.base.event_shape

    def rsample_and_log_prob(self, shape: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """Return draws and their log-densities: log q(z_0) - sum log |det|."""
        z, log_q = self.base.rsample_and_log_prob(shape)
        h = self.h.expand(*z.shape[:-1], self.h.shape[-1])
        for layer in self.layers:
            z, stretch = layer(z, h)
            log_q = log_q - stretch
        return z, log_q

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return self.rsample_and_log_prob(shape)[0]

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats, by the layers backward."""
        if "marginal" not in self.offers:
            return super().log_prob(x)
        lead = torch.broadcast_shapes(x.shape[:-1], self.h.shape[:-1])
        x, h = x.expand(*lead, -1), self.h.expand(*lead, -1)
        total = torch.zeros_like(x[..., 0])
        for layer in reversed(self.layers):
            x = layer.inverse(x, h)
            total = total + layer(x, h)[1]
        return self.base.log_prob(x) - total


class Autoregressive(nn.Module):
    """z' = s z + (1 - s) m, where s and m of an element come from those before it, and from h.

    s = sigmoid(a + 1.5), so that a layer starts near the identity. The order of elements is turned
    around after it, so that the next layer has another one.

    Args:
        size: of z.
        given: how many numbers of h.
        hidden: the width of the network.

    References:
        Kingma et al. 2016, Improved variational inference with inverse autoregressive flow, arXiv
        1606.04934, eq. 14.
    """

    def __init__(self, size: int, given: int, hidden: int) -> None:
        super().__init__()
        every = torch.ones(size, size + given, dtype=torch.bool, device="cpu")
        adjacency = torch.cat([every[:, :size].tril(-1), every[:, size:]], 1)
        widths = [hidden] * 2
        self.net = masked(lambda: zuko().nn.MaskedMLP(adjacency.repeat(2, 1), widths, nn.ELU))

    def _gate(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        m, a = self.net(torch.cat([z, h], -1)).chunk(2, -1)
        return m, a + GATE

    def forward(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return z' and log |det dz'/dz|, the sum of log s."""
        m, gate = self._gate(z, h)
        s = gate.sigmoid()
        return (s * z + (1 - s) * m).flip(-1), F.logsigmoid(gate).sum(-1)

    def inverse(self, x: Tensor, h: Tensor) -> Tensor:
        """Return z, an element after the other."""
        x, z = x.flip(-1), torch.zeros_like(x)
        for element in range(x.shape[-1]):
            m, gate = self._gate(z, h)
            s = gate.sigmoid()
            z = torch.cat([z[..., :element], ((x - (1 - s) * m) / s)[..., element:]], -1)
        return z


class Planar(nn.Module):
    """z' = z + u tanh(w z + b), of u, w and b that the network gives.

    u is moved so that u w > -1, and the layer is invertible: u + (softplus(u w) - 1 - u w) w /
    |w|^2. There is no formula of its inverse.

    Args:
        size: of z.
        first: where its numbers begin among those of the network.

    References:
        Rezende and Mohamed 2015, Variational inference with normalizing flows, arXiv 1505.05770,
        eq. 10 and appendix A.1.
    """

    def __init__(self, size: int, first: int) -> None:
        super().__init__()
        self.size, self.first = size, first

    def forward(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return z' and log |1 + u w (1 - tanh^2)|."""
        part = h[..., self.first : self.first + 2 * self.size + 1]
        u, w, b = part.split([self.size, self.size, 1], -1)
        product = (u * w).sum(-1, keepdim=True)
        square = w.square().sum(-1, keepdim=True).clamp_min(1e-12)
        u = u + (F.softplus(product) - 1 - product) * w / square
        bend = torch.tanh((w * z).sum(-1, keepdim=True) + b)
        slope = (u * w).sum(-1) * (1 - bend.square()).squeeze(-1)
        return z + u * bend, torch.log1p(slope)


class _Flowed(Family):
    """A Gaussian through layers; the network returns its means, log-variances, and h."""

    distribution = _Flow
    backward = True

    def __init__(self, event_shape: Shape, given: int) -> None:
        super().__init__(event_shape)
        self.size, self.given = vector(self._name, event_shape), given
        self.numbers = (2 * self.size + given,)
        self.layers = nn.ModuleList()

    @property
    def depth(self) -> int:
        """Return how many layers there are."""
        return len(self.layers)

    @property
    def offers(self) -> frozenset[d.Offer]:
        words = ["rsample", "draws", "density", "exact", "fixed"]
        return d.offering(*words, *["marginal"] * self.backward)

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        loc, raw, h = params.split([self.size, self.size, self.given], -1)
        base = d.Gaussian(loc, (raw / 2).clamp(-15, 10))
        return _Flow(base, list(self.layers), h, backward=self.backward)


@register("posterior", "iaf")
class IAF(_Flowed):
    """A Gaussian through inverse autoregressive layers that the encoder conditions.

    Draws and their densities are one pass for each layer; the density of another point is one for
    each dimension.

    Args:
        event_shape: the shape of one draw, a vector.
        steps: how many layers.
        hidden: the width of their networks.
        given: how many numbers of the encoder they are conditioned on.

    References:
        Kingma et al. 2016, Improved variational inference with inverse autoregressive flow, arXiv
        1606.04934.

    Example:
        >>> family = IAF(3, steps=2, hidden=16, given=4)
        >>> z, log_q = family(torch.zeros(5, 10)).rsample_and_log_prob((7,))
        >>> family.param_shape, z.shape, log_q.shape
        ((10,), torch.Size([7, 5, 3]), torch.Size([7, 5]))
    """

    form = (
        "mean and log variance of a Gaussian, and {} numbers for {} autoregressive layers",
        "given",
        "depth",
    )

    def __init__(
        self, event_shape: Shape, *, steps: int = 4, hidden: int = 64, given: int = 32
    ) -> None:
        super().__init__(event_shape, within("given", given, 0, WIDEST))
        width = within("hidden", hidden, 1, WIDEST)
        count = within("steps", steps, 1, DEEPEST)
        self.layers.extend(Autoregressive(self.size, given, width) for _ in range(count))


@register("posterior", "planar")
class PlanarFlow(_Flowed):
    """A Gaussian through planar layers, all of whose numbers the encoder gives.

    Args:
        event_shape: the shape of one draw, a vector.
        steps: how many layers.

    References:
        Rezende and Mohamed 2015, Variational inference with normalizing flows, arXiv 1505.05770.

    Example:
        >>> PlanarFlow(3, steps=2).param_shape
        (20,)
    """

    backward = False
    form = ("mean and log variance of a Gaussian, and the numbers of {} planar layers", "depth")

    def __init__(self, event_shape: Shape, *, steps: int = 8) -> None:
        size = vector("planar", event_shape)
        each, count = 2 * size + 1, within("steps", steps, 1, DEEPEST)
        super().__init__(event_shape, each * count)
        self.layers.extend(Planar(size, each * step) for step in range(count))


class _Affine(AffineTransform):
    """z = loc + scale v, of the shape of one v: torch's has the batch of loc in it, too."""

    def inverse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    forward_shape = inverse_shape


@register("posterior", "spline")
class SplineFlow(ZukoFamily):
    """z = loc + scale v, where v is of a flow: coupling layers of rational-quadratic splines.

    The encoder gives loc, scale and what the layers are conditioned on. The knots of the splines
    lie where v does, however narrow the posterior is. A draw and its density are one pass; so is
    the density of another point.

    Args:
        event_shape: the shape of one draw, a vector of two numbers at least.
        transforms: how many layers.
        hidden: the width of their networks.
        given: how many numbers of the encoder they are conditioned on.

    References:
        Durkan et al. 2019, Neural spline flows, arXiv 1906.04032.

    Example:
        >>> SplineFlow(3, transforms=2, hidden=16, given=8).param_shape
        (14,)
    """

    form = ("mean and log variance of a Gaussian, and {} numbers that condition a flow", "params")

    def __init__(
        self, event_shape: Shape, *, transforms: int = 2, hidden: int = 64, given: int = 64
    ) -> None:
        count = within("transforms", transforms, 1, DEEPEST)
        widths = [within("hidden", hidden, 1, WIDEST)] * 2
        size = within("latent", vector("spline", event_shape), 2, WIDEST)
        options: dict[str, Any] = {"transforms": count, "hidden_features": widths, "passes": 2}
        super().__init__(event_shape, params=within("given", given, 1, WIDEST), **options)
        self.size, self.numbers = size, (2 * size + given,)

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        loc, raw, h = params.split([self.size, self.size, self.params], -1)
        flow = self.flow(h)
        moved = _Affine(loc, (raw / 2).clamp(-15, 10).exp(), event_dim=1)
        flow.transform = zuko().transforms.ComposedTransform(moved.inv, flow.transform)
        return unchecked(flow, self.offers)
