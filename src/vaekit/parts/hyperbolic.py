"""A latent in the Poincaré ball: the wrapped normal as prior and as posterior."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vaekit import distributions as d
from vaekit.errors import VaekitError, at_least
from vaekit.parts.conditional import Family
from vaekit.parts.families import FreeScale
from vaekit.parts.flows import vector
from vaekit.parts.priors import Prior
from vaekit.registry import register

FAR = 10.0  # from 0, in units of the curvature: float32 tells points apart to some 14


def ball(event_shape: int | tuple[int, ...], curvature: float) -> tuple[int, ...]:
    """Return the shape of a point; refuse other events, and balls too large for float32.

    A draw of the prior lies about sqrt(D) from 0.
    """
    size = vector("a ball", event_shape)
    if not 0 < curvature < math.inf:
        raise VaekitError(f"got `curvature={curvature:g}`; expected a positive number.")
    if curvature * size > FAR**2:
        raise VaekitError(
            f"got `curvature={curvature:g}` in {size} dimensions, where draws lie beyond what "
            f"single precision tells apart: take {FAR**2 / size:.3g} at most, or a smaller latent."
        )
    return (size,)


@register("prior", "poincare")
class PoincarePrior(Prior):
    """The wrapped normal at the center of the Poincaré ball, of scale 1: codes that form trees.

    Args:
        event_shape: the shape of z, a vector.
        curvature: c, of the ball of curvature -c: that of the posterior.

    Raises:
        VaekitError: for z of several dims, a curvature that is not positive, and more of both than
            single precision tells apart.

    References:
        Mathieu et al. 2019, Continuous hierarchical representations with Poincaré variational
        auto-encoders, arXiv 1901.06033.

    Example:
        >>> str(PoincarePrior(2).space), PoincarePrior(2)().sample((5,)).norm(dim=-1).max() < 1
        ('ball(2; curvature -1)', tensor(True))
    """

    zero: Tensor

    def __init__(self, event_shape: int | tuple[int, ...], curvature: float = 1.0) -> None:
        super().__init__()
        self.event_shape, self.curvature = ball(event_shape, curvature), float(curvature)
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)

    @property
    def space(self) -> d.Space:
        return d.Space(d.BALL, self.event_shape, curvature=self.curvature)

    @property
    def offers(self) -> frozenset[d.Offer]:
        return d.WrappedNormal.offers

    def forward(
        self, context: Tensor | None = None, posterior: nn.Module | None = None
    ) -> d.Distribution:
        return d.WrappedNormal(self.zero, self.zero, self.curvature)

    def extra_repr(self) -> str:
        return f"{self.event_shape}, curvature={self.curvature:g}"


@register("posterior", "poincare")
class Poincare(Family):
    """Normals wrapped onto the Poincaré ball, in which there is room for trees.

    The network returns the mean as a tangent vector at 0, of which lengths beyond a few units are
    bent so that they stay below 10 in units of the curvature, and log-variances.

    Args:
        event_shape: the shape of z, a vector.
        curvature: c, of the ball of curvature -c; near 0 it is a Gaussian.

    Raises:
        VaekitError: as of the prior `poincare`.

    References:
        Mathieu et al. 2019, Continuous hierarchical representations with Poincaré variational
        auto-encoders, arXiv 1901.06033.
        Nagano et al. 2019, A wrapped normal distribution on hyperbolic space for gradient-based
        learning, arXiv 1902.02992.

    Example:
        >>> Poincare(3).param_shape, str(Poincare(3, curvature=0.5).space)
        ((6,), 'ball(3; curvature -0.5)')
    """

    distribution = d.WrappedNormal
    copies = 2
    gives = (("mean and log variance of a normal on the Poincaré ball",),)

    def __init__(self, event_shape: int | tuple[int, ...], *, curvature: float = 1.0) -> None:
        super().__init__(event_shape)
        ball(event_shape, curvature)
        self.curvature = float(curvature)

    @property
    def space(self) -> d.Space:
        """Return the ball."""
        return d.Space(d.BALL, self.event_shape, curvature=self.curvature)

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        raw, log_variance = params.chunk(2, -1)
        log_scale = (log_variance / 2).clamp(*FreeScale.bounds)
        loc = d.exp_zero(_bent(raw, FAR / math.sqrt(self.curvature)), self.curvature)
        return d.WrappedNormal(loc, log_scale, self.curvature)

    def extra_repr(self) -> str:
        return f"{self.event_shape}, curvature={self.curvature:g}"


def _bent(v: Tensor, far: float) -> Tensor:
    """Return vectors of the length far tanh(|v| / far): short ones as they are."""
    tiny = torch.finfo(v.dtype).tiny
    share = v.square().sum(-1, keepdim=True).clamp_min(tiny).sqrt() / far
    return v * (share.tanh() / share)


@register("module", "flat-ball")
class FlatBall(nn.Module):
    """Points of a ball as tangent vectors at 0, for a decoder: its first layer without weights.

    Near the border points that lie far apart differ by little: by a factor 2 cosh(r / 2)^2 less
    than they are apart, at a distance r from 0. A network would have to be as steep. The logarithm
    map at 0 undoes it along rays, and across them as far as a flat space can.

    Args:
        size: how many numbers of a row are the point; what a model is told follows them.
        curvature: c, of the ball of curvature -c.

    Raises:
        VaekitError: for a size below 1, and a curvature that is not positive.

    Example:
        >>> FlatBall(2)(torch.tensor([[0.7616, 0.0, 5.0]])).round(decimals=3)
        tensor([[2., 0., 5.]])
    """

    def __init__(self, size: int, *, curvature: float = 1.0) -> None:
        super().__init__()
        self.size, self.curvature = at_least("size", size, 1), float(curvature)
        ball(size, curvature)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(N, size + ...)`, the first `size` of each row moved."""
        moved = d.log_zero(x[:, : self.size], self.curvature)
        return torch.cat([moved, x[:, self.size :]], 1)

    def extra_repr(self) -> str:
        return f"{self.size}, curvature={self.curvature:g}"
