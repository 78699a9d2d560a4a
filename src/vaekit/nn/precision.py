"""The numbers in which networks compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vaekit.errors import unknown

__all__ = ["PRECISIONS", "lowered", "precision"]

PRECISIONS = ["fp32", "tf32", "bf16"]
_LOWERED = [False]


def lowered() -> bool:
    """Whether networks compute in bfloat16 now."""
    return _LOWERED[0]


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Networks compute in these numbers meanwhile; weights, sums and densities stay float32.

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
    if name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)
    before = _LOWERED[0], torch.get_float32_matmul_precision()
    try:
        _LOWERED[0] = name == "bf16"
        if name == "tf32":
            torch.set_float32_matmul_precision("high")
        yield
    finally:
        _LOWERED[0] = before[0]
        torch.set_float32_matmul_precision(before[1])
