"""Distributions over the unit sphere, with densities by its surface."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from numpy.polynomial import legendre
from torch import Tensor
from torch.nn import functional as F

from vaekit._torchutil import lazy, wide
from vaekit.distributions.base import USUAL, Distribution, Offer
from vaekit.distributions.continuous import normal_noise

NODES = 64  # of a rule: twelve deviations of a smooth density to either side


class _OnSphere(Distribution):
    """A distribution over unit vectors of the last dim."""

    kind = "sphere"
    offers = USUAL - {Offer.FACTORS} | {Offer.RSAMPLE}


def log_area(size: int) -> float:
    """Return the logarithm of the surface of the unit sphere in so many dimensions.

    Example:
        >>> round(log_area(3) - math.log(4 * math.pi), 12)
        0.0
    """
    return math.log(2) + size / 2 * math.log(math.pi) - math.lgamma(size / 2)


@dataclass(eq=False, repr=False)
class SphereUniform(_OnSphere):
    """The uniform distribution over unit vectors.

    Args:
        zero: `(*batch, D)`, zeros: they give shape, type and device.

    Example:
        >>> p = SphereUniform(torch.zeros(3))
        >>> p.log_prob(p.sample((2,))) + math.log(4 * math.pi)
        tensor([0., 0.])
    """

    zero: Tensor

    center = "zero"

    @property
    def variance(self) -> Tensor:
        return torch.full_like(self.zero, 1 / self.zero.shape[-1])

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return F.normalize(normal_noise(self.zero, shape), dim=-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats."""
        return -log_area(self.zero.shape[-1]) + 0 * x[..., 0]


@dataclass(eq=False, repr=False)
class _Pointed(_OnSphere):
    """A distribution over directions that is round about one of them: of the gap 1 - cosine.

    Of a sharp one the cosine is 1 but for its last digits: all is in gaps, which keep theirs.
    """

    loc: Tensor
    concentration: Tensor

    @property
    @abstractmethod
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Return the mean of the gap, and that of its square."""

    @abstractmethod
    def _gaps(self, shape: tuple[int, ...]) -> Tensor:
        """Draw gaps `(*shape, *batch)`, with gradients."""

    def _gap(self, x: Tensor) -> Tensor:
        """Return the gap of unit vectors: half of their square distance from loc."""
        return (x - self.loc).square().sum(-1) / 2

    @property
    def mean(self) -> Tensor:
        return self.loc * (1 - self._moments[0]).unsqueeze(-1)

    @property
    def variance(self) -> Tensor:
        """Return the variance of each element: along loc, and equal parts across it."""
        first, second = self._moments
        across = (2 * first - second) / max(self.loc.shape[-1] - 1, 1)
        share = self.loc.square()
        along = second - first.square()
        return share * along.unsqueeze(-1) + (1 - share) * across.unsqueeze(-1)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        gap = self._gaps(shape).unsqueeze(-1)
        across = F.normalize(normal_noise(self.loc[..., 1:], shape), dim=-1)
        tiny = torch.finfo(gap.dtype).tiny
        x = torch.cat([1 - gap, (gap * (2 - gap)).clamp_min(tiny).sqrt() * across], -1)
        first = torch.zeros_like(self.loc)
        first[..., 0] = 1
        mirror = F.normalize(first - self.loc, dim=-1)  # which takes the first axis to loc
        return x - 2 * mirror * (mirror * x).sum(-1, keepdim=True)


class PowerSpherical(_Pointed):
    """The density proportional to (1 + loc x)^concentration over unit vectors x.

    With a = (D - 1) / 2 + concentration and b = (D - 1) / 2 its logarithm is concentration log(1 +
    loc x) - (a + b) log 2 - b log pi - lgamma(a) + lgamma(a + b). A draw takes loc x = 1 - 2 y with
    y of Beta(b, a), and a uniform direction across: no rejection, and exact gradients.

    Args:
        loc: unit vectors `(*batch, D)`.
        concentration: `(*batch,)`, at least 0: there it is uniform.

    References:
        De Cao and Aziz 2020, The power spherical distribution, arXiv 2006.04437.

    Example:
        >>> q = PowerSpherical(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(0.0))
        >>> q.log_prob(torch.tensor([1.0, 0.0, 0.0])) + math.log(4 * math.pi)
        tensor(0.)
    """

    @lazy
    def _shapes(self) -> tuple[Tensor, Tensor]:
        """Return a and b of the Beta distribution."""
        half = torch.full_like(self.concentration, (self.loc.shape[-1] - 1) / 2)
        return half + self.concentration, half

    @lazy
    def log_norm(self) -> Tensor:
        """Return the logarithm of what ((1 + loc x) / 2)^concentration is divided by."""
        a, b = self._shapes
        exact_a, exact_b = wide(a), wide(b)
        gammas = torch.lgamma(exact_a) - torch.lgamma(exact_a + exact_b)
        return 2 * b * math.log(2) + b * math.log(math.pi) + gammas.to(a.dtype)

    @property
    def _moments(self) -> tuple[Tensor, Tensor]:
        a, b = self._shapes
        first = 2 * b / (a + b)
        return first, 4 * a * b / ((a + b).square() * (a + b + 1)) + first.square()

    def entropy(self) -> Tensor:
        """Return the entropy `(*batch,)`, nats."""
        a, b = map(wide, self._shapes)
        power = (torch.digamma(a) - torch.digamma(a + b)).to(self.concentration.dtype)
        return self.log_norm - self.concentration * power

    def _gaps(self, shape: tuple[int, ...]) -> Tensor:
        a, b = self._shapes
        near, far = (torch._standard_gamma(part.expand(*shape, *part.shape)) for part in (b, a))
        return 2 * near / (near + far)  # a Beta variable's own gradient is wrong for a large a

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats."""
        edge = torch.finfo(x.dtype).eps / 2 - 1
        return self.concentration * (-self._gap(x) / 2).clamp_min(edge).log1p() - self.log_norm


@cache
def _nodes(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of a Gauss-Legendre rule on [0, 1]."""
    x, weight = legendre.leggauss(NODES)
    how: Any = {"dtype": dtype, "device": device}
    return torch.tensor((x + 1) / 2, **how), torch.tensor(weight / 2, **how)


class VonMisesFisher(_Pointed):
    """The density proportional to exp(concentration loc x) over unit vectors x.

    What it is divided by, and the mean of the gap 1 - loc x, are integrals over the angle by a rule
    of Gauss and Legendre about its mode. Gaps are drawn by Wood's rejection until all are accepted.
    Their gradient is that of the distribution function F at the draw, - (dF / dconcentration) / p:
    that of the accepted proposal, as published samplers have it, is biased.

    Args:
        loc: unit vectors `(*batch, D)`.
        concentration: `(*batch,)`, above 0.

    References:
        Davidson et al. 2018, Hyperspherical variational auto-encoders, arXiv 1804.00891.
        Wood 1994, Simulation of the von Mises Fisher distribution.
        Figurnov, Mohamed and Mnih 2018, Implicit reparameterization gradients, arXiv 1805.08498.

    Example:
        >>> q = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(2.0))
        >>> round(q.log_prob(torch.tensor([0.0, 0.0, 1.0])).item(), 4)  # 2 - log(4 pi sinh(2) / 2)
        -1.1262
    """

    def _unscaled(self, angle: Tensor, concentration: Tensor) -> Tensor:
        """Return the log-density of the angle but for a constant, at most about 0."""
        tiny, half = torch.finfo(angle.dtype).tiny, (angle / 2).sin()
        across = angle.sin().clamp_min(tiny).log()
        return (self.loc.shape[-1] - 2) * across - 2 * concentration * half.square()

    def _ends(self) -> tuple[Tensor, Tensor]:
        """Return angles between which is all mass, but for some 1e-15 of it."""
        k, more = self.concentration.detach(), self.loc.shape[-1] - 2
        root = (more**2 + 4 * k.square()).sqrt()
        mode = _angle((more + more**2 / (root + 2 * k)) / (more + root))
        sharp = k * mode.cos() + more / mode.sin().square().clamp_min(torch.finfo(k.dtype).tiny)
        far = 12 / sharp.sqrt()
        return (mode - far).clamp_min(0), (mode + far).clamp_max(math.pi)

    @lazy
    def _integrals(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return log of the integral over angles, and means of the gap and its square."""
        low, high = self._ends()
        at, weight = _nodes(low.dtype, low.device)
        angle = low.unsqueeze(-1) + (high - low).unsqueeze(-1) * at
        logs = self._unscaled(angle, self.concentration.unsqueeze(-1))
        logs = logs + weight.log() + (high - low).log().unsqueeze(-1)
        total, gap = logs.logsumexp(-1), 2 * (angle / 2).sin().square()
        share = (logs - total.unsqueeze(-1)).exp()
        return total, (share * gap).sum(-1), (share * gap.square()).sum(-1)

    @property
    def _moments(self) -> tuple[Tensor, Tensor]:
        return self._integrals[1:]

    @property
    def log_norm(self) -> Tensor:
        """Return the logarithm of what exp(concentration (loc x - 1)) is divided by."""
        return self._integrals[0] + log_area(self.loc.shape[-1] - 1)

    def entropy(self) -> Tensor:
        """Return the entropy `(*batch,)`, nats."""
        return self.log_norm + self.concentration * self._moments[0]

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats."""
        return -self.concentration * self._gap(x) - self.log_norm

    def _gaps(self, shape: tuple[int, ...]) -> Tensor:
        k = self.concentration.expand(*shape, *self.concentration.shape)
        with torch.no_grad():
            gap = _wood(k.flatten(), self.loc.shape[-1]).view(k.shape)
        if not k.requires_grad:
            return gap
        assert self._moments[0].requires_grad  # once, for the slope and for what is scored
        with torch.no_grad():
            slope = self._slope(gap, k)
        return gap + slope * (k - k.detach())

    def _slope(self, gap: Tensor, k: Tensor) -> Tensor:
        """Return dgap / dconcentration: the integral of (s - mean) p(s) up to it, by p(gap)."""
        start, mean = _angle(gap), self._moments[0]
        low, high = self._ends()  # of which the nearer one keeps its digits: both integrals agree
        far = (torch.where(gap < mean, low, high) - start).unsqueeze(-1)
        at, weight = _nodes(gap.dtype, gap.device)
        angle = start.unsqueeze(-1) + far * at
        here = self._unscaled(start, k).unsqueeze(-1)
        ratio = (self._unscaled(angle, k.unsqueeze(-1)) - here).exp()
        apart = mean.unsqueeze(-1) - 2 * (angle / 2).sin().square()
        return start.sin() * (far * weight * ratio * apart).sum(-1)


def _angle(gap: Tensor) -> Tensor:
    """Return the angle whose cosine is 1 - gap."""
    return 2 * (gap / 2).clamp(0, 1).sqrt().asin()


def _wood(k: Tensor, size: int) -> Tensor:
    """Return a gap for each concentration `(N,)`, by rejection until all are accepted.

    With y of Beta(half, half) it is 2 b y / (1 - (1 - b) y).
    """
    root = (4 * k.square() + (size - 1) ** 2).sqrt()
    b = (size - 1) / (2 * k + root)
    half = torch.full((), (size - 1) / 2, dtype=k.dtype, device=k.device)
    beta = torch.distributions.Beta(half, half, validate_args=False)
    drawn, left = torch.empty_like(k), torch.arange(len(k), device=k.device)
    while len(left):
        y, ours = beta.sample(left.shape), b[left]
        under = 1 - (1 - ours) * y
        gap = 2 * ours * y / under
        height = k[left] * (2 * ours / (1 + ours) - gap)
        height = height + (size - 1) * ((1 + ours) / (2 * under)).log()
        good = ~(height < torch.rand_like(y).log())  # NaN is accepted, and not tried forever
        drawn[left[good]] = gap[good]
        left = left[~good]
    return drawn
