"""Diagonal Gaussians in location and log-scale."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from vaekit.distributions.base import Distribution, Space, reals
from vaekit.distributions.location_scale import LocationScale

__all__ = ["Gaussian", "StandardGaussian"]

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


class Gaussian(LocationScale, Distribution):
    """Independent Gaussians: log N(x; loc, scale^2) per element.

    -1/2 ((x - loc) / scale)^2 - log scale - 1/2 log 2 pi

    Args:
        loc: `(*batch, *event)`.
        log_scale: log sigma (not log sigma^2), of any shape that broadcasts to `loc`.
        event_dim: how many of the last dims are one draw.
        store: keeps a shared scale that is fitted in closed form while training.

    Example:
        >>> q = Gaussian(torch.zeros(3, 2), torch.zeros(3, 2))
        >>> q.rsample((5,)).shape
        torch.Size([5, 3, 2])
        >>> q.log_prob(torch.zeros(3, 2))
        tensor([-1.8379, -1.8379, -1.8379])
    """

    @property
    def variance(self) -> Tensor:
        return self.scale.square().expand_as(self.loc)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        noise = torch.randn((*shape, *self.loc.shape), dtype=self.loc.dtype, device=self.loc.device)
        return torch.addcmul(self.loc, self.scale, noise)

    def terms(self, x: Tensor) -> Tensor:
        standard = (x - self.loc) / self.scale
        return torch.addcmul(-(self.log_scale + HALF_LOG_TAU), standard, standard, value=-0.5)


class StandardGaussian(Distribution):
    """N(0, I): a type of its own, since its closed forms are cheaper.

    Args:
        zero: `(*batch, *event)`, zeros: they give shape, type and device.

    Example:
        >>> p = StandardGaussian(torch.zeros(2))
        >>> p.log_prob(torch.tensor([0.0, 1.0]))
        tensor(-2.3379)
    """

    parameters: ClassVar[tuple[str, ...]] = ("zero",)
    offers: ClassVar[frozenset[str]] = LocationScale.offers

    def __init__(self, zero: Tensor, *, event_dim: int = 1) -> None:
        self.zero = zero
        self.event_dim = event_dim

    @property
    def mean(self) -> Tensor:
        return self.zero

    @property
    def variance(self) -> Tensor:
        return torch.ones_like(self.zero)

    @property
    def space(self) -> Space:
        return reals(*self.event_shape)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        size = (*shape, *self.zero.shape)
        return torch.randn(size, dtype=self.zero.dtype, device=self.zero.device)

    def terms(self, x: Tensor) -> Tensor:
        return x.square().mul(-0.5).sub(HALF_LOG_TAU)
