"""A graph of operations on a CPU, as CUDA's are: recorded once, replayed at the same addresses.

What a CUDA graph cannot do fails here too: a value read back while recording is an error, and a
number of Python's that changes from step to step is frozen in what is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = ("_local_scalar_dense", "equal", "nonzero", "is_nonzero")


class Recorder(TorchDispatchMode):
    """Keeps each operation with its arguments, and the memory that it took for results."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, dict[int, torch.Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in READS:
            raise RuntimeError(f"{func} reads from the device while a step is captured")
        made = func(*args, **(kwargs or {}))
        known = {leaf.data_ptr() for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)}
        fresh = {n: leaf for n, leaf in tensors(made) if leaf.data_ptr() not in known}
        self.calls.append((func, args, kwargs or {}, fresh))
        return made

    @torch.no_grad()
    def replay(self) -> None:
        """Each operation again, its results where they were."""
        for func, args, kwargs, fresh in self.calls:
            for number, new in tensors(func(*args, **kwargs)):
                if number in fresh:
                    fresh[number].copy_(new)


def tensors(made: Any) -> list[tuple[int, torch.Tensor]]:
    """Those among the results of an operation, with their numbers."""
    return [(n, leaf) for n, leaf in enumerate(tree_leaves(made)) if torch.is_tensor(leaf)]


class Replayed:
    """In the place of `CudaGraphs`, on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self.captured = self.replayed = 0

    def aside(self, work: Callable[[], Any]) -> Any:
        """`work()`."""
        return work()

    def capture(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """As of `CudaGraphs`; the recording has run already, so that the first replay is none."""
        with Recorder() as recorder:
            made = work()
        first = True

        def replay() -> None:
            nonlocal first
            self.replayed += 1
            if not first:
                recorder.replay()
            first = False

        self.captured += 1
        return made, replay
