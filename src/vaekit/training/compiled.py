"""A pass as one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vaekit.objectives import Bound

__all__ = ["Pass", "compiled_pass"]

BACKEND = "inductor"
Pass = Callable[[Tensor, Tensor | None], tuple[Any, Bound]]


def compiled_pass(eager: Pass, *, capture: bool = True) -> Pass:
    """The same pass by torch.compile, without its trace: a graph for each size of batch.

    On a GPU the graph and that of its gradient are captured and replayed (CUDA graphs), so that a
    step launches each as a whole and not every operation by itself. What it returns lies in memory
    that the next pass overwrites: read it, or copy it, before.

    Args:
        eager: `(x, given) -> (trace, bound)`.
        capture: False where the whole step is captured (`Captured`) and the pass is part of it.
    """
    options: Any = {"triton.cudagraphs": capture} if BACKEND == "inductor" else None

    @torch.compile(dynamic=False, backend=BACKEND, options=options)
    def graph(x: Tensor, given: Tensor | None) -> Bound:
        return eager(x, given)[1]

    def replayed(x: Tensor, given: Tensor | None) -> tuple[None, Bound]:
        if capture and x.is_cuda:
            torch.compiler.cudagraph_mark_step_begin()
        return None, graph(x, given)

    return replayed
