"""Priors that are fitted to the codes of a trained model: see `vaekit.training` for how."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from vaekit import distributions as d
from vaekit.errors import VaekitError, within
from vaekit.nn import sizes
from vaekit.parts.conditional import Shape
from vaekit.parts.priors import MOST, Context, Posterior, Prior
from vaekit.registry import register


@register("module", "full-mixture")
class FullMixture(Prior):
    """A mixture of Gaussians with full covariances, which expectation maximization has fitted.

    Args:
        event_shape: the shape of z.
        components: how many.
        classes: how many labels there are, of which a context begins with the one-hot: each has
            weights of its own, p(z|y), and without a context all are as likely. 0 for one p(z).

    Raises:
        VaekitError: for fewer than one.

    Example:
        >>> FullMixture(2, components=3)().log_prob(torch.zeros(2)).item()
        -1.8378770351409912
    """

    distribution = d.GaussianMixture

    def __init__(self, event_shape: Shape, *, components: int = 1, classes: int = 0) -> None:
        super().__init__()
        self.event_shape = sizes("event_shape", event_shape)
        count, size = within("components", components, 1, MOST), math.prod(self.event_shape)
        self.classes = within("classes", classes, 0, MOST)
        shape = (classes, count) if classes else (count,)
        self.log_weights = nn.Buffer(torch.full(shape, -math.log(count)))
        self.loc = nn.Buffer(torch.zeros(count, *self.event_shape))
        self.tril = nn.Buffer(torch.zeros(count, size, size))
        self.tril.diagonal(dim1=1, dim2=2).fill_(1)  # torch.eye on meta imports sympy

    def forward(self, context: Context = None, posterior: Posterior = None) -> d.GaussianMixture:
        found = d.GaussianMixture(self.log_weights, self.loc, self.tril)
        if not self.classes:
            return found
        if context is not None:
            return found.of_classes(context[:, : self.classes].argmax(1))
        found.log_weights = found.log_weights.logsumexp(0) - math.log(self.classes)
        return found


class _Moved(d.Distribution):
    """The distribution of loc + scale * v, for v of a distribution over vectors."""

    shaped_as = "loc"

    def __init__(self, base: d.Distribution, loc: Tensor, scale: Tensor) -> None:
        super().__init__(event_dim=loc.dim())
        self.base, self.loc, self.scale = base, loc, scale
        self.offers = base.offers & d.offering("draws", "density", "exact")  # type: ignore[misc]

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        v = self.base.sample(shape)
        return self.loc + self.scale * v.view(*shape, *self.event_shape)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats."""
        v = ((x - self.loc) / self.scale).flatten(x.dim() - self.event_dim)
        return self.base.log_prob(v) - self.scale.log().sum()


@register("module", "moved-prior")
class MovedPrior(Prior):
    """A prior over vectors, moved and stretched to where codes are, by element: z = loc + scale v.

    Args:
        prior: of v.
        event_shape: the shape of z, whose elements are those of v.

    Example:
        >>> from vaekit.parts import StandardNormal
        >>> prior = MovedPrior(StandardNormal(4), (2, 2))
        >>> prior.move_to(torch.full((100, 2, 2), 3.0) + torch.randn(100, 2, 2))
        >>> prior().sample((5,)).shape, prior().log_prob(torch.full((1, 2, 2), 3.0)).shape
        (torch.Size([5, 2, 2]), torch.Size([1]))
    """

    def __init__(self, prior: Prior, event_shape: Shape) -> None:
        super().__init__()
        self.prior, self.event_shape = prior, sizes("event_shape", event_shape)
        self.loc = nn.Buffer(torch.zeros(self.event_shape))
        self.scale = nn.Buffer(torch.ones(self.event_shape))

    def move_to(self, z: Tensor) -> None:
        """Take the means of the elements of z `(N, *Z)`, and their standard deviations."""
        spread = z.std(0, correction=0)
        self.loc.copy_(z.mean(0))
        self.scale.copy_(spread.clamp_min(1e-4 * spread.max().clamp_min(1e-12)))

    @property
    def offers(self) -> frozenset[d.Offer]:
        return self.prior.offers & d.offering("draws", "density", "exact")

    def forward(self, context: Context = None, posterior: Posterior = None) -> d.Distribution:
        return _Moved(self.prior(), self.loc, self.scale)


class _Second(d.Distribution):
    """The z of a VAE: u ~ p(u), z ~ p(z|u), whose density is an integral over u."""

    offers = d.offering("draws", "exact")

    def __init__(self, model: Any) -> None:
        super().__init__(event_dim=1)
        self.model = model

    @property
    def event_shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.model.x_shape
        return shape

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        z: Tensor = self.model.sample(math.prod(shape))
        return z.view(*shape, *self.event_shape)

    def log_prob(self, x: Tensor) -> Tensor:
        """Refuse: there is a bound alone."""
        raise VaekitError(
            "the density of a second VAE is only known as a bound: take draws, or fit another "
            "prior, as `flow`."
        )


@register("module", "second-stage")
class SecondStage(Prior):
    """The codes of a second VAE that was trained on codes: u ~ N(0, I), then z ~ p(z|u).

    It has draws, and no density but as a bound.

    Args:
        model: the second VAE, over vectors.

    References:
        Dai and Wipf 2019, Diagnosing and enhancing VAE models, arXiv 1903.05789.

    Example:
        >>> import vaekit as vk
        >>> net = vk.Conditional(vk.MLP(2, 4), vk.Gaussian(2))
        >>> model = vk.VAE(vk.StandardNormal(2), net, vk.Conditional(vk.MLP(2, 4), vk.Gaussian(2)))
        >>> SecondStage(model)().sample((5,)).shape
        torch.Size([5, 2])
    """

    distribution = _Second

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        self.event_shape = getattr(model, "x_shape", ())

    def forward(self, context: Context = None, posterior: Posterior = None) -> d.Distribution:
        return _Second(self.model)
