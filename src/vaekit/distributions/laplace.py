"""Independent Laplace distributions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit.distributions.base import Distribution
from vaekit.distributions.location_scale import LocationScale

__all__ = ["Laplace"]

LOG_2 = math.log(2)


class Laplace(LocationScale, Distribution):
    """Independent Laplace distributions: -|x - loc| / scale - log(2 scale) per element.

    A plain L1 loss is `scale = 1`.

    Args:
        loc: `(*batch, *event)`.
        log_scale: log b, of any shape that broadcasts to `loc`.
        event_dim: how many of the last dims are one draw.
        store: keeps a shared scale that is fitted in closed form while training.

    Example:
        >>> p = Laplace(torch.zeros(1), torch.zeros(1))
        >>> p.log_prob(torch.tensor([2.0]))
        tensor(-2.6931)
    """

    @property
    def variance(self) -> Tensor:
        return (2 * self.scale.square()).expand_as(self.loc)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        waits = self.loc.new_empty((2, *shape, *self.loc.shape)).exponential_()
        return torch.addcmul(self.loc, self.scale, waits[0] - waits[1])

    def terms(self, x: Tensor) -> Tensor:
        return -((x - self.loc).abs() / self.scale + (self.log_scale + LOG_2))
