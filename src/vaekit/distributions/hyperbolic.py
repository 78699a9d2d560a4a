"""Hyperbolic space as the Poincaré ball of curvature -c, and the normal that is wrapped onto it.

Points are those with sqrt(c) |z| < 1, densities are by Riemannian volume, and tangent vectors at 0
have the length of the geodesic that they begin, so that a standard normal there is one in distance.
Each formula is in differences and in the gaps 1 - c |z|^2, which do not cancel near the border.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from vaekit.distributions.base import HALF_LOG_TAU, USUAL, Distribution, Offer, Space

BALL = "ball"  # the kind of its space
SPHERE = "sphere"  # the kind of a space of directions, whose means lie within
NEAR = 0.1  # below it series are used: what they leave out is below 1e-15


def _square(x: Tensor) -> Tensor:
    """Return the squared length `(..., 1)`, above 0, so that its root has a slope.

    A part c of the least that it is, is above 0 too, where denormal numbers are not.
    """
    least = torch.finfo(x.dtype)
    return x.square().sum(-1, keepdim=True).clamp_min(least.tiny / least.eps)


def _least(x: Tensor) -> float:
    """Return the least gap between a point and the border that numbers of this type tell apart."""
    return 4 * torch.finfo(x.dtype).eps


def _gap(x: Tensor, c: float) -> Tensor:
    """Return 1 - c |x|^2, `(..., 1)`."""
    return (1 - c * _square(x)).clamp_min(_least(x))


def _arc(x: Tensor) -> Tensor:
    """Return asinh(x) / x for x > 0."""
    return x.asinh() / x


def add(x: Tensor, y: Tensor, c: float) -> Tensor:
    """Return Möbius' sum of two points `(..., D)`: y moved as 0 is moved to x.

    ((1 - c |x|^2) s + c |s|^2 x) / ((1 - c |x|^2) (1 - c |y|^2) + c |s|^2) with s = x + y: it is
    the usual fraction, of which no two terms nearly cancel.

    Example:
        >>> x, y = torch.tensor([0.5, 0.0]), torch.tensor([0.0, 0.5])
        >>> torch.allclose(add(-x, add(x, y, 1.0), 1.0), y, atol=1e-6)
        True
    """
    both = x + y
    square, gap = c * _square(both), _gap(x, c)
    return (gap * both + square * x) / (gap * _gap(y, c) + square)


def exp_zero(v: Tensor, c: float) -> Tensor:
    """Return the point `(..., D)` that lies as far from 0 as v is long, and its way.

    Example:
        >>> round(exp_zero(torch.tensor([2.0, 0.0]), 1.0)[0].item(), 4), round(math.tanh(1), 4)
        (0.7616, 0.7616)
    """
    length = (c * _square(v)).sqrt()
    return v * ((length / 2).tanh().clamp_max(math.sqrt(1 - _least(v))) / length)


def log_zero(z: Tensor, c: float) -> Tensor:
    """Return the inverse of `exp_zero`; of what lies beyond the border as if it were on it."""
    gap = _gap(z, c).sqrt()
    return z * (2 * _arc((c * _square(z)).sqrt() / gap) / gap)


def exp_at(x: Tensor, v: Tensor, c: float) -> Tensor:
    """Return where v, a tangent vector at 0 that is transported to x, leads from there."""
    z = add(x, exp_zero(v, c), c)
    return z * (((1 - _least(z)) / (c * _square(z))).sqrt().clamp_max(1))


def log_at(x: Tensor, z: Tensor, c: float) -> Tensor:
    """Return the inverse of `exp_at` in v: its length is the geodesic distance from x to z."""
    apart = z - x
    square, gap = c * _square(apart), _gap(x, c)
    both = gap * _gap(z, c)
    scale = 2 * _arc((square / both).sqrt()) / (both * (both + square)).sqrt()
    return (gap * apart - square * x) * scale


def geodesic_length(apart: Tensor, x: Tensor, y: Tensor, c: float) -> Tensor:
    """Return the distance of x and y `(..., D)` in the ball, `(...)`, of that in flat space."""
    gaps = (_gap(x, c) * _gap(y, c)).squeeze(-1)
    return 2 / math.sqrt(c) * (apart * (c / gaps).sqrt()).asinh()


def geodesic(x: Tensor, y: Tensor, t: Tensor, c: float) -> Tensor:
    """Return the point at a share t `(..., 1)` of the way from x to y."""
    return exp_at(x, t * log_at(x, y, c), c)


def log_stretch(x: Tensor) -> Tensor:
    """Return log(sinh(x) / x) for x >= 0, smooth at 0.

    Example:
        >>> log_stretch(torch.tensor([0.0, 1.0, 100.0]))
        tensor([ 0.0000,  0.1614, 94.7017])
    """
    far, square = x.clamp_min(NEAR), x.clamp_max(NEAR).square()
    series = square / 6 * (1 - square / 30 * (1 - square * 4 / 63 * (1 - square * 3 / 40)))
    exact = far + (-(-2 * far).exp()).log1p() - (2 * far).log()
    return torch.where(x < NEAR, series, exact)


def flat(space: Space, z: Tensor) -> Tensor:
    """Return points `(..., D)` in coordinates that may be added, averaged and moved freely.

    Of a ball these are tangent vectors at 0, which have the scale of N(0, I); of other spaces it is
    z itself.
    """
    return log_zero(z, space.curvature) if space.kind == BALL else z


def curved(space: Space, v: Tensor) -> Tensor:
    """Return the points of such coordinates: the inverse of `flat`; on a sphere or within it."""
    if space.kind == SPHERE:
        return v / v.norm(dim=-1, keepdim=True).clamp(min=1)
    return exp_zero(v, space.curvature) if space.kind == BALL else v


@dataclass(eq=False, repr=False)
class WrappedNormal(Distribution):
    """The point to which exp carries a draw of N(0, diag scale^2) that is transported to `loc`.

    With v the inverse of the map and r = |v| the geodesic distance its log-density is
    log N(v; 0, diag scale^2) - (D - 1) log(sinh(sqrt(c) r) / (sqrt(c) r)), by Riemannian volume.
    Its mean is that of geometry, from which the mean squared distance is least.

    Args:
        loc: points of the ball, `(*batch, D)`.
        log_scale: of any shape that broadcasts to `loc`.
        curvature: c, of the ball of curvature -c.

    References:
        Mathieu et al. 2019, Continuous hierarchical representations with Poincaré variational
        auto-encoders, arXiv 1901.06033.
        Nagano et al. 2019, A wrapped normal distribution on hyperbolic space for gradient-based
        learning, arXiv 1902.02992.

    Example:
        >>> p = WrappedNormal(torch.zeros(2), torch.zeros(2))
        >>> p.log_prob(torch.zeros(2)), p.space
        (tensor(-1.8379), Space(kind='ball', shape=(2,), levels=None, normalized=True, ...))
    """

    loc: Tensor
    log_scale: Tensor
    curvature: float = 1.0

    parameters: ClassVar[tuple[str, ...]] = ("loc", "log_scale")
    offers = USUAL - {Offer.FACTORS, Offer.MOMENTS} | {Offer.RSAMPLE}

    @property
    def space(self) -> Space:
        return Space(BALL, self.event_shape, curvature=self.curvature)

    @property
    def mean(self) -> Tensor:
        return self.loc

    def stopped(self) -> Self:
        """Return it with its parameters detached."""
        return type(self)(self.loc.detach(), self.log_scale.detach(), self.curvature)

    def tempered(self, temperature: float) -> Distribution:
        """Return it with its scale times `temperature`."""
        log_scale = self.log_scale + math.log(temperature)
        return self if temperature == 1 else type(self)(self.loc, log_scale, self.curvature)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        noise = torch.randn((*shape, *self.loc.shape), dtype=self.loc.dtype, device=self.loc.device)
        return exp_at(self.loc, self.log_scale.exp() * noise, self.curvature)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)` by Riemannian volume, nats."""
        v = log_at(self.loc, x, self.curvature)
        standard = v * (-self.log_scale).exp()
        normal = (-0.5 * standard.square() - self.log_scale - HALF_LOG_TAU).sum(-1)
        bent = log_stretch((self.curvature * _square(v)).sqrt()).squeeze(-1)
        return normal - (v.shape[-1] - 1) * bent
