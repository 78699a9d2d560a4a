"""Poisson on log-rates."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vaekit.distributions.base import Distribution, Space, counts
from vaekit.distributions.saddle import factorial_excess, log_ratio, positive

__all__ = ["Poisson"]


class Poisson(Distribution):
    """Independent Poisson variables: x log_rate - exp(log_rate) - log x! per element.

    It is evaluated in the saddle-point form, which keeps its digits for large counts. In float32
    a log-rate must lie in [-80, 80].

    Args:
        log_rate: log of the mean, `(*batch, *event)`.
        event_dim: how many of the last dims are one draw.

    Example:
        >>> p = Poisson(torch.zeros(3))
        >>> p.log_prob(torch.tensor([0.0, 1.0, 2.0]))
        tensor(-3.6931)
    """

    parameters: ClassVar[tuple[str, ...]] = ("log_rate",)
    offers: ClassVar[frozenset[str]] = frozenset({"density", "factors", "moments", "stopped"})

    def __init__(self, log_rate: Tensor, *, event_dim: int = 1) -> None:
        self.log_rate = log_rate
        self.event_dim = event_dim

    @property
    def mean(self) -> Tensor:
        return self.log_rate.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean

    @property
    def space(self) -> Space:
        return counts(*self.event_shape)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return torch.poisson(self.mean.expand(*shape, *self.log_rate.shape))

    def terms(self, x: Tensor) -> Tensor:
        x, rate = x.to(self.log_rate.dtype), self.mean
        seen = positive(x)
        ratio = log_ratio(seen - rate, seen, rate)
        return (x - rate) - x * ratio - factorial_excess(x)
