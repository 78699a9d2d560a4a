"""Distributions over the unit sphere, with densities by its surface."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit._torchutil import lazy
from vaekit.distributions.base import USUAL, Distribution, Offer, Space


class _OnSphere(Distribution):
    """A distribution over unit vectors of the last dim."""

    kind = "sphere"

    @property
    def space(self) -> Space:
        return Space(self.kind, self.event_shape)


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

    parameters = ("zero",)
    offers = USUAL - {Offer.FACTORS} | {Offer.RSAMPLE}

    @property
    def mean(self) -> Tensor:
        return self.zero

    @property
    def variance(self) -> Tensor:
        return torch.full_like(self.zero, 1 / self.zero.shape[-1])

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        noise = torch.randn(
            (*shape, *self.zero.shape), dtype=self.zero.dtype, device=self.zero.device
        )
        return F.normalize(noise, dim=-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats."""
        return -log_area(self.zero.shape[-1]) + 0 * x[..., 0]


@dataclass(eq=False, repr=False)
class PowerSpherical(_OnSphere):
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

    loc: Tensor
    concentration: Tensor

    parameters = ("loc", "concentration")
    offers = USUAL - {Offer.FACTORS} | {Offer.RSAMPLE}

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
    def mean(self) -> Tensor:
        a, b = self._shapes
        return self.loc * ((a - b) / (a + b)).unsqueeze(-1)

    @property
    def variance(self) -> Tensor:
        """Return the variance of each element: along loc, and equal parts across it."""
        a, b = self._shapes
        along = 4 * a * b / ((a + b).square() * (a + b + 1))
        second = along + ((a - b) / (a + b)).square()
        across = (1 - second) / max(self.loc.shape[-1] - 1, 1)
        share = self.loc.square()
        return share * along.unsqueeze(-1) + (1 - share) * across.unsqueeze(-1)

    def entropy(self) -> Tensor:
        """Return the entropy `(*batch,)`, nats."""
        a, b = self._shapes
        power = math.log(2) + torch.digamma(a) - torch.digamma(a + b)
        return self.log_norm - self.concentration * power

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        a, b = self._shapes
        y = torch.distributions.Beta(a, b, validate_args=False).rsample(shape)
        t = (2 * y - 1).unsqueeze(-1)
        size = (*shape, *self.loc.shape[:-1], self.loc.shape[-1] - 1)
        across = F.normalize(
            torch.randn(size, dtype=self.loc.dtype, device=self.loc.device), dim=-1
        )
        tiny = torch.finfo(t.dtype).tiny
        x = torch.cat([t, (1 - t.square()).clamp_min(tiny).sqrt() * across], -1)
        first = torch.zeros_like(self.loc)
        first[..., 0] = 1
        mirror = F.normalize(first - self.loc, dim=-1)  # which takes the first axis to loc
        return x - 2 * mirror * (mirror * x).sum(-1, keepdim=True)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`, nats."""
        near = (self.loc * x).sum(-1)
        edge = torch.finfo(near.dtype).eps - 1
        return self.concentration * torch.log1p(near.clamp_min(edge)) - self.log_norm
