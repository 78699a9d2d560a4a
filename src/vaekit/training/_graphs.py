"""Graphs of a pass by torch.compile, and of a whole step, captured once and replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vaekit._torchutil import ranks
from vaekit.errors import VaekitError
from vaekit.objectives import Bound, Objective, refuse_critic

BACKEND = "inductor"
WARM_UP = 3  # steps by themselves first: what they start lazily must not be captured
Pass = Callable[[Tensor, Tensor | None], tuple[Any, Bound]]
Work = Callable[[Tensor, Tensor | None], Any]


def compiled_pass(eager: Pass, capture: bool) -> Pass:
    """Return the same pass by torch.compile, without its trace: a graph for each size of batch.

    On a GPU the graph and that of its gradient are captured and replayed (CUDA graphs), so that a
    step launches each as a whole and not every operation by itself. What it returns lies in memory
    that the next pass overwrites: read it, or copy it, before.

    Args:
        eager: `(x, context) -> (trace, bound)`.
        capture: False where the whole step is captured (`Captured`) and the pass is part of it.
    """
    options: Any = {"triton.cudagraphs": capture} if BACKEND == "inductor" else None

    @torch.compile(dynamic=False, backend=BACKEND, options=options)
    def graph(x: Tensor, context: Tensor | None) -> Bound:
        return eager(x, context)[1]

    def replayed(x: Tensor, context: Tensor | None) -> tuple[None, Bound]:
        if capture and x.is_cuda:
            torch.compiler.cudagraph_mark_step_begin()
        return None, graph(x, context)

    return replayed


def refuse_graphs(
    model: torch.nn.Module, objective: Objective, compiled: bool, captured: bool
) -> None:
    """Refuse to make graphs of what does not fit into one.

    Raises:
        VaekitError: for a pass that has gradients in it, an objective with a critic, and for steps
            of several processes.
    """
    for each in (model, objective):
        if compiled and not getattr(each, "compiles", True):
            raise VaekitError(
                f"{type(each).__name__} takes gradients within its pass, which torch.compile "
                "cannot differentiate: leave compile."
            )
    if compiled or captured:
        refuse_critic(objective, f"leave {'compile' if compiled else 'capture'}")
    if captured and ranks() > 1:
        raise VaekitError(f"steps of {ranks()} processes cannot be captured: leave capture.")


class CudaGraphs:
    """Captures on a separate stream; all graphs share one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    def aside(self, work: Callable[[], Any]) -> Any:
        """Call `work()` on the stream of the captures."""
        here = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            result = work()
        here.wait_stream(self.stream)
        return result

    def capture(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        """Return where `work()` leaves its result, and what runs it; it has not run yet."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            result = work()
        return result, graph.replay


GRAPHS: dict[str, Callable[[torch.device], Any]] = {"cuda": CudaGraphs}


def refuse_capture(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Refuse a device without graphs, and an optimizer that works by numbers of the host.

    Raises:
        VaekitError: with what to use instead.

    Example:
        >>> adam = torch.optim.Adam([torch.zeros(2, requires_grad=True)])
        >>> refuse_capture(adam, torch.device("cpu"))
        Traceback (most recent call last):
        ...
        vaekit.errors.VaekitError: steps are captured on an NVIDIA GPU alone, and the device is ...
    """
    if device.type not in GRAPHS:
        raise VaekitError(
            f"steps are captured on an NVIDIA GPU alone, and the device is {device}: leave out "
            "`capture`, or use `device=cuda`."
        )
    if not all("capturable" in group for group in optimizer.param_groups):
        raise VaekitError(
            f"the steps of {type(optimizer).__name__} cannot be captured: leave out `capture`, or "
            "use adam, adamw or another one that torch calls capturable."
        )


Graph = tuple[tuple[Tensor, ...], Any, Callable[[], None]]  # inputs, result, replay


class Captured:
    """A call of `work(x, context)` as one graph for each shape of batch.

    The first batches of a shape run eagerly; then one call is captured, and from there on each
    call copies its batch to where the graph reads it and replays that: the launch of one graph in
    place of some hundred kernels. Learning rates are read from memory of the device.

    Args:
        work: a whole step: pass, gradient, optimizer. It may read no value back from the device,
            and what changes from step to step must lie in tensors; torch's global generator may
            be drawn from.
        optimizer: what `work` steps with.
        device: where it all lies.

    Raises:
        VaekitError: as `refuse_capture`.
    """

    def __init__(self, work: Work, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        refuse_capture(optimizer, device)
        self._work, self._optimizer = work, optimizer
        self._graphs = GRAPHS[device.type](device)
        self._rates = [torch.zeros((), device=device) for _ in optimizer.param_groups]
        self._filled: list[float | None] = [None for _ in self._rates]
        self._seen: Counter[tuple[torch.Size, ...]] = Counter()
        self._ready: dict[tuple[torch.Size, ...], Graph] = {}

    def __call__(self, x: Tensor, context: Tensor | None) -> Any:
        """Return what `work` returns, in memory that the next call overwrites."""
        batch = (x,) if context is None else (x, context)
        shapes = tuple(each.shape for each in batch)
        self._fill_rates()
        self._seen[shapes] += 1
        if self._seen[shapes] <= WARM_UP:
            with self._as_tensors():
                return self._graphs.aside(lambda: self._work(x, context))
        if shapes not in self._ready:
            inputs = tuple(each.clone() for each in batch)
            first, second = inputs[0], inputs[1] if len(inputs) > 1 else None
            with self._as_tensors():
                captured = self._graphs.capture(lambda: self._work(first, second))
            self._ready[shapes] = (inputs, *captured)
        inputs, result, replay = self._ready[shapes]
        for target, value in zip(inputs, batch, strict=True):
            target.copy_(value)
        replay()
        return result

    def _fill_rates(self) -> None:
        for number, group in enumerate(self._optimizer.param_groups):
            if group["lr"] != self._filled[number]:
                self._filled[number] = group["lr"]
                self._rates[number].fill_(group["lr"])

    @contextmanager
    def _as_tensors(self) -> Iterator[None]:
        """Let the optimizer read rates and count steps on the device; afterwards as before."""
        groups = self._optimizer.param_groups
        before = [(group["lr"], group["capturable"]) for group in groups]
        for parameter, state in self._optimizer.state.items():
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].to(parameter.device)
        for group, rate in zip(groups, self._rates, strict=True):
            group.update(lr=rate, capturable=True)
        try:
            yield
        finally:
            for group, (rate, capturable) in zip(groups, before, strict=True):
                group.update(lr=rate, capturable=capturable)
