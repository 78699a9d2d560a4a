"""How planes lie in memory inside convolutional networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Planes", "memory_format", "planes", "use_format"]

_FORMAT = [torch.channels_last]


def memory_format() -> torch.memory_format:
    """The format in which convolutional networks compute."""
    return _FORMAT[0]


def use_format(format: torch.memory_format) -> torch.memory_format:  # noqa: A002
    """Sets it, for all networks of the process; the one there was.

    Weights, shapes and values are the same in either, but for rounding. A process begins with
    `torch.channels_last`, in which the kernels of convolutions compute (`benchmarks/bench.py w2 w3
    --switch channels-last` measures what it saves); `torch.contiguous_format` is the other one.

    Example:
        >>> planes(torch.zeros(2, 3, 4, 4)).stride()
        (48, 1, 12, 3)
        >>> before = use_format(torch.contiguous_format)
        >>> planes(torch.zeros(2, 3, 4, 4)).stride()
        (48, 16, 4, 1)
        >>> use_format(before)
        torch.contiguous_format
    """
    before, _FORMAT[0] = _FORMAT[0], format
    return before


def planes(x: Tensor) -> Tensor:
    """`x` `(N, C, H, W)` in that format: converted once, at a network's entry."""
    if memory_format() is not torch.channels_last:
        return x
    if x.shape[1] == 1:  # either format is the other: only the strides say which it is
        return x.contiguous().view(x.shape[0], *x.shape[2:], 1).permute(0, 3, 1, 2)
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # as vmap can do it too


class Planes(nn.Unflatten):
    """`(N, C * H * W) -> (N, C, H, W)`, in that format."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """The planes."""
        return planes(super().forward(input))
