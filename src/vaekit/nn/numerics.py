"""How networks compute: the layout of planes in memory, and the precision of products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vaekit.errors import choose
from vaekit.registry import register

_FORMAT = [torch.channels_last]


def memory_format() -> torch.memory_format:
    """Return the format in which convolutional networks compute."""
    return _FORMAT[0]


def use_format(format: torch.memory_format) -> torch.memory_format:  # noqa: A002
    """Set it for all networks of the process; return the one before.

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
    """Return `x` `(N, C, H, W)` in that format: converted once, at a network's entry."""
    if memory_format() is not torch.channels_last:
        return x
    if x.shape[1] == 1:  # either format is the other: only the strides say which it is
        return x.contiguous().view(x.shape[0], *x.shape[2:], 1).permute(0, 3, 1, 2)
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # as vmap can do it too


@register("module", "planes")
class Planes(nn.Unflatten):
    """`(N, C * H * W) -> (N, C, H, W)`, in that format."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Return the planes."""
        return planes(super().forward(input))


PRECISIONS = ["fp32", "tf32", "bf16"]
_LOWERED = [False]


def lowered() -> bool:
    """Return whether networks compute in bfloat16 now."""
    return _LOWERED[0]


def at_precision(compute: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return `compute(x)` in the numbers in which networks compute now, and back in those of x."""
    if not lowered():
        return compute(x)
    with torch.autocast(x.device.type, torch.bfloat16):
        return compute(x).to(x.dtype)


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Let networks compute in these numbers; weights, sums and densities stay float32.

    "fp32" is float32; "tf32" lets an NVIDIA GPU multiply matrices with mantissas of 10 bits (other
    devices ignore it); "bf16" does matrix products and convolutions in bfloat16, mantissas of 7
    bits, and turns a network's output back. It is faster where the processor has instructions for
    it (`avx512_bf16`, `amx_bf16`, a GPU), and slower elsewhere.

    Raises:
        VaekitError: for another name.

    Example:
        >>> from vaekit.nn import MLP
        >>> net, x = MLP(4, 2, hidden=8), torch.ones(1, 4)
        >>> with precision("bf16"):
        ...     y = net(x)
        >>> y.dtype, torch.equal(y, net(x)), torch.allclose(y, net(x), atol=0.05)
        (torch.float32, False, True)
    """
    choose("precision", name, dict.fromkeys(PRECISIONS))
    before = _LOWERED[0], torch.get_float32_matmul_precision()
    try:
        _LOWERED[0] = name == "bf16"
        if name == "tf32":
            torch.set_float32_matmul_precision("high")
        yield
    finally:
        _LOWERED[0] = before[0]
        torch.set_float32_matmul_precision(before[1])
