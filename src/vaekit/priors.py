"""Priors p(z): modules whose forward returns a distribution."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from vaekit import distributions as d
from vaekit.nn.network import sizes

__all__ = ["Prior", "StandardNormal"]


class Prior(nn.Module, ABC):
    """p(z), or p(z | given): `forward(given) -> Distribution` on `space`."""

    @property
    @abstractmethod
    def space(self) -> d.Space:
        """The space of the latent."""

    @abstractmethod
    def forward(self, given: Tensor | None = None) -> d.Distribution:
        """The distribution; its batch shape is empty or `given`'s."""


class StandardNormal(Prior):
    """N(0, I), whatever is given.

    Example:
        >>> StandardNormal(2)().log_prob(torch.zeros(5, 2))
        tensor([-1.8379, -1.8379, -1.8379, -1.8379, -1.8379])
    """

    zero: Tensor

    def __init__(self, event_shape: int | tuple[int, ...]) -> None:
        super().__init__()
        self.event_shape = sizes("event_shape", event_shape)
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)

    @property
    def space(self) -> d.Space:
        return d.reals(*self.event_shape)

    def forward(self, given: Tensor | None = None) -> d.Distribution:
        return d.StandardGaussian(self.zero, event_dim=len(self.event_shape))

    def extra_repr(self) -> str:
        return str(self.event_shape)
