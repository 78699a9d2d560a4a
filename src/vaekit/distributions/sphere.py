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

from vaekit._torchutil import lazy
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
    """A distribution over directions that is round about one of them: of the cosine with it."""

    loc: Tensor
    concentration: Tensor

    @property
    @abstractmethod
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Return the mean of the cosine, and that of its square."""

    @abstractmethod
    def _cosines(self, shape: tuple[int, ...]) -> Tensor:
        """Draw cosines `(*shape, *batch)`, with gradients."""

    @property
    def mean(self) -> Tensor:
        return self.loc * self._moments[0].unsqueeze(-1)

    @property
    def variance(self) -> Tensor:
        """Return the variance of each element: along loc, and equal parts across it."""
        first, second = self._moments
        across = (1 - second) / max(self.loc.shape[-1] - 1, 1)
        share = self.loc.square()
        along = second - first.square()
        return share * along.unsqueeze(-1) + (1 - share) * across.unsqueeze(-1)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        t = self._cosines(shape).unsqueeze(-1)
        across = F.normalize(normal_noise(self.loc[..., 1:], shape), dim=-1)
        tiny = torch.finfo(t.dtype).tiny
        x = torch.cat([t, (1 - t.square()).clamp_min(tiny).sqrt() * across], -1)
        first = torch.zeros_like(self.loc)
        first[..., 0] = 1
        mirror = F.normalize(first - self.loc, dim=-1)  # which takes the first axis to loc
        return x - 2 * mirror * (mirror * x).sum(-1, keepdim=True)


class PowerSpherical(_Pointed):
    """The density proportional to (1 + loc x)^concentration over unit vectors x.

    With a = (D - 1) / 2 + concentration and b = (D - 1) / 2 its logarithm is concentration log(1 +
    loc x) - (a + b) log 2 - b log pi - lgamma(a) + lgamma(a + b). A draw takes loc x = 2 y - 1 with
    y of Beta(a, b), and a uniform direction across: no rejection, and exact gradients.

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
        """Return the logarithm of what the power is divided by, `(*batch,)`."""
        a, b = self._shapes
        gammas = torch.lgamma(a) - torch.lgamma(a + b)
        return (a + b) * math.log(2) + b * math.log(math.pi) + gammas

    @property
    def _moments(self) -> tuple[Tensor, Tensor]:
        a, b = self._shapes
        first = (a - b) / (a + b)
        return first, 4 * a * b / ((a + b).square() * (a + b + 1)) + first.square()

    def entropy(self) -> Tensor:
        """Return the entropy `(*batch,)`, nats."""
        a, b = self._shapes
        power = math.log(2) + torch.digamma(a) - torch.digamma(a + b)
        return self.log_norm - self.concentration * power

    def _cosines(self, shape: tuple[int, ...]) -> Tensor:
        a, b = self._shapes
        return 2 * torch.distributions.Beta(a, b, validate_args=False).rsample(shape) - 1

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats."""
        near = (self.loc * x).sum(-1)
        edge = torch.finfo(near.dtype).eps - 1
        return self.concentration * torch.log1p(near.clamp_min(edge)) - self.log_norm


@cache
def _nodes(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of a Gauss-Legendre rule on [0, 1]."""
    x, weight = legendre.leggauss(NODES)
    how: Any = {"dtype": dtype, "device": device}
    return torch.tensor((x + 1) / 2, **how), torch.tensor(weight / 2, **how)


class VonMisesFisher(_Pointed):
    """The density proportional to exp(concentration loc x) over unit vectors x.

    What it is divided by, and the mean of the cosine t, are integrals over the angle by a rule of
    Gauss and Legendre about its mode. Cosines are drawn by Wood's rejection until all are accepted.
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
        k, size = self.concentration.detach(), self.loc.shape[-1]
        cosine = 2 * k / ((size - 2) + ((size - 2) ** 2 + 4 * k.square()).sqrt())
        mode = cosine.clamp(max=1).acos()
        sharp = k * cosine + (size - 2) / mode.sin().square().clamp_min(1e-6)
        wide = 12 / sharp.sqrt()
        return (mode - wide).clamp_min(0), (mode + wide).clamp_max(math.pi)

    @lazy
    def _integrals(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return log of the integral over angles, and means of the cosine and its square."""
        low, high = self._ends()
        at, weight = _nodes(low.dtype, low.device)
        angle = low.unsqueeze(-1) + (high - low).unsqueeze(-1) * at
        logs = self._unscaled(angle, self.concentration.unsqueeze(-1))
        logs = logs + weight.log() + (high - low).log().unsqueeze(-1)
        total, cosine = logs.logsumexp(-1), angle.cos()
        share = (logs - total.unsqueeze(-1)).exp()
        return total, (share * cosine).sum(-1), (share * cosine.square()).sum(-1)

    @property
    def _moments(self) -> tuple[Tensor, Tensor]:
        return self._integrals[1:]

    @property
    def log_norm(self) -> Tensor:
        """Return the logarithm of what exp(concentration (loc x - 1)) is divided by."""
        return self._integrals[0] + log_area(self.loc.shape[-1] - 1)

    def entropy(self) -> Tensor:
        """Return the entropy `(*batch,)`, nats."""
        return self.log_norm - self.concentration * (self._moments[0] - 1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats."""
        return self.concentration * ((self.loc * x).sum(-1) - 1) - self.log_norm

    def _cosines(self, shape: tuple[int, ...]) -> Tensor:
        k = self.concentration.expand(*shape, *self.concentration.shape)
        with torch.no_grad():
            t = _wood(k.flatten(), self.loc.shape[-1]).view(k.shape)
        if not k.requires_grad:
            return t
        with torch.no_grad():
            slope = self._slope(t, k)
        return t + slope * (k - k.detach())

    def _slope(self, t: Tensor, k: Tensor) -> Tensor:
        """Return dt / dconcentration: the integral of (mean - s) p(s) up to t, by p(t)."""
        start, mean = t.acos(), self._moments[0]
        low, high = self._ends()  # of which the nearer one keeps its digits: both integrals agree
        far = (torch.where(t > mean, low, high) - start).unsqueeze(-1)
        at, weight = _nodes(t.dtype, t.device)
        angle = start.unsqueeze(-1) + far * at
        here = self._unscaled(start, k).unsqueeze(-1)
        ratio = (self._unscaled(angle, k.unsqueeze(-1)) - here).exp()
        return start.sin() * (far * weight * ratio * (mean.unsqueeze(-1) - angle.cos())).sum(-1)


def _wood(k: Tensor, size: int) -> Tensor:
    """Return a cosine for each concentration `(N,)`, by rejection until all are accepted."""
    root = (4 * k.square() + (size - 1) ** 2).sqrt()
    b = (size - 1) / (2 * k + root)
    x0 = (1 - b) / (1 + b)
    c = k * x0 + (size - 1) * ((4 * b).log() - 2 * b.log1p())
    half = torch.full((), (size - 1) / 2, dtype=k.dtype, device=k.device)
    beta = torch.distributions.Beta(half, half, validate_args=False)
    t, left = torch.empty_like(k), torch.arange(len(k), device=k.device)
    while len(left):
        y = beta.sample(left.shape)
        cosine = (1 - (1 + b[left]) * y) / (1 - (1 - b[left]) * y)
        height = k[left] * cosine + (size - 1) * (1 - x0[left] * cosine).log() - c[left]
        good = ~(height < torch.rand_like(y).log())  # NaN is accepted, and not tried forever
        t[left[good]] = cosine[good]
        left = left[~good]
    return t
