"""Distributions with a location whose tails are heavier than a Gaussian's."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.continuous import LOG_2, _LocationScale, logistic_noise, normal_noise


class Logistic(_LocationScale):
    """Independent logistic variables: -u - 2 log(1 + exp(-u)) - log scale, u = (x - loc) / scale.

    Args:
        loc: `(*batch, *event)`.
        log_scale: log s, of any shape that broadcasts to `loc`.
        event_dim: how many of the last dims are one draw.

    Example:
        >>> Logistic(torch.zeros(1), torch.zeros(1)).log_prob(torch.zeros(1))
        tensor(-1.3863)
    """

    @property
    def variance(self) -> Tensor:
        return (math.pi**2 / 3 * self.scale.square()).expand_as(self.loc)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return torch.addcmul(self.loc, self.scale, logistic_noise(self.loc, shape))

    def terms(self, x: Tensor) -> Tensor:
        u = ((x - self.loc) / self.scale).abs()  # the density is even
        return -u - 2 * F.softplus(-u) - self.log_scale


@dataclass(eq=False, repr=False)
class StudentT(_LocationScale):
    """Independent Student-t variables of `df` degrees of freedom, in u = (x - loc) / scale:

    lgamma((df + 1) / 2) - lgamma(df / 2) - 1/2 log(df pi) - log scale
    - (df + 1) / 2 log(1 + u^2 / df)

    Args:
        loc: `(*batch, *event)`.
        log_scale: of any shape that broadcasts to `loc`.
        df: of any shape that broadcasts to `loc`, above 2, so that there is a variance.
        event_dim: how many of the last dims are one draw.

    Example:
        >>> zero = torch.zeros(1)
        >>> StudentT(zero, torch.zeros(()), torch.tensor(3.0)).log_prob(zero)
        tensor(-1.0009)
    """

    df: Tensor = field(default_factory=lambda: torch.tensor(5.0))

    @property
    def variance(self) -> Tensor:
        return (self.scale.square() * self.df / (self.df - 2)).expand_as(self.loc)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        normal = normal_noise(self.loc, shape)
        half = (self.df / 2).expand(normal.shape)
        mixed = torch.distributions.Gamma(half, half, validate_args=False).rsample()
        return torch.addcmul(self.loc, self.scale, normal / mixed.sqrt())

    def terms(self, x: Tensor) -> Tensor:
        df, half = self.df, self.df / 2
        norm = torch.lgamma(half + 0.5) - torch.lgamma(half) - 0.5 * (df * math.pi).log()
        tail = torch.log1p(((x - self.loc) / self.scale).square() / df)
        return norm - self.log_scale - (half + 0.5) * tail


@dataclass(eq=False, repr=False)
class LogCosh(_LocationScale):
    """Independent variables of the density c cosh(a u)^(-1/a) / scale, u = (x - loc) / scale.

    -log cosh(a u) / a is the smooth loss between squares (near 0) and absolute values (far off);
    log c = log a + lgamma((1/a + 1) / 2) - lgamma(1 / (2 a)) - 1/2 log pi normalizes it. A draw of
    u is logit(y) / (2 a) with y of Beta(1 / (2 a), 1 / (2 a)).

    Args:
        loc: `(*batch, *event)`.
        log_scale: of any shape that broadcasts to `loc`.
        a: how sharp the bend is.
        event_dim: how many of the last dims are one draw.

    References:
        Chen et al. 2019, Log hyperbolic cosine loss improves variational auto-encoder.

    Example:
        >>> zero = torch.zeros(1)
        >>> LogCosh(zero, torch.zeros(())).log_prob(zero) + torch.tensor(math.pi).log()
        tensor(0.)
    """

    a: float = 1.0

    @property
    def variance(self) -> Tensor:
        spread = torch.special.polygamma(1, self.scale.new_tensor(0.5 / self.a)) / (2 * self.a**2)
        return (spread * self.scale.square()).expand_as(self.loc)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        shape_of = 0.5 / self.a  # of Gamma variables, of which one of shape + 1 has all its digits
        more = self.loc.new_full((2, *shape, *self.loc.shape), shape_of + 1)
        wait = torch.empty_like(more).exponential_()
        gammas = torch._standard_gamma(more).log() - wait / shape_of
        return torch.addcmul(self.loc, self.scale, (gammas[0] - gammas[1]) / (2 * self.a))

    def terms(self, x: Tensor) -> Tensor:
        a = self.a
        u = (a * (x - self.loc) / self.scale).abs()
        norm = math.log(a) + math.lgamma((1 / a + 1) / 2) - math.lgamma(0.5 / a)
        return (
            norm - 0.5 * math.log(math.pi) - self.log_scale - (u + F.softplus(-2 * u) - LOG_2) / a
        )
