"""A categorical distribution over the levels of each element."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vaekit.distributions.base import Distribution, Space, pixels

__all__ = ["Categorical"]


class Categorical(Distribution):
    """Independent variables with values k / (K - 1), k = 0 .. K - 1: softmax(logits)_k each.

    With K = 256 this is a likelihood of 8-bit images; x is canonical, in [0, 1].

    Args:
        logits: `(*batch, *event, K)`.
        event_dim: how many dims one draw has (the last dim of `logits` not counted).

    Example:
        >>> p = Categorical(torch.zeros(5, 256))
        >>> p.log_prob(torch.full((5,), 7 / 255))
        tensor(-27.7259)
        >>> p.mean[0]
        tensor(0.5000)
    """

    parameters: ClassVar[tuple[str, ...]] = ("logits",)
    offers: ClassVar[frozenset[str]] = frozenset({"density", "factors", "moments", "stopped"})

    def __init__(self, logits: Tensor, *, event_dim: int = 1) -> None:
        self.logits = logits
        self.event_dim = event_dim

    @property
    def levels(self) -> int:
        """How many values an element can take."""
        return self.logits.shape[-1]

    def _values(self) -> Tensor:
        return torch.linspace(0, 1, self.levels, dtype=self.logits.dtype, device=self.logits.device)

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(-1) @ self._values()

    @property
    def variance(self) -> Tensor:
        return self.logits.softmax(-1) @ self._values().square() - self.mean.square()

    @property
    def space(self) -> Space:
        return pixels(*self.event_shape, levels=self.levels)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.logits.shape[self.logits.dim() - 1 - self.event_dim : -1])

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        wait = self.logits.new_empty((*shape, *self.logits.shape)).exponential_()
        level = (self.logits - wait.log_()).argmax(-1)  # the Gumbel-max trick
        return level.to(self.logits.dtype) / (self.levels - 1)

    def terms(self, x: Tensor) -> Tensor:
        level = (x * (self.levels - 1)).round().long()
        shape = torch.broadcast_shapes(level.shape, self.logits.shape[:-1])
        chosen = self.logits.expand(*shape, -1).gather(-1, level.expand(shape).unsqueeze(-1))
        return chosen.squeeze(-1) - self.logits.logsumexp(-1)
