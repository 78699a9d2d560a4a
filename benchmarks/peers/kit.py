"""Our side: a recipe, `Batches` and `fit`."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

import vaekit.data
from peers.task import Task, first_batch, gradient_norm, recipe_of, rows_of
from vaekit._torchutil import keep_memory
from vaekit.data import Batches, Split
from vaekit.nn import precision
from vaekit.nn._network import memory_format, use_format
from vaekit.training import differentiate, fit, make_optimizer

__all__ = ["Kit"]


class Kit:
    """The kit, as its command line runs it.

    Args:
        task: the work.
        keep: whether freed memory is kept, as the command line does.
        other: whether convolutions compute in the other memory format.
        rows: bytes to train on, where they are not the task's.
        numbers: in which networks compute.
        fast: "off" leaves the gradients of dense nets to autograd.
    """

    def __init__(
        self,
        task: Task,
        keep: bool = True,
        other: bool = False,
        rows: Tensor | None = None,
        numbers: str = "fp32",
        fast: str = "auto",
    ) -> None:
        self.numbers, self.fast = numbers, fast
        if other:
            last = memory_format() is torch.channels_last
            use_format(torch.contiguous_format if last else torch.channels_last)
        if keep:
            keep_memory()
        self.task = task
        made = recipe_of(task)
        self.model, self.objective = made.model, made.objective
        self.optimizer = make_optimizer("adam", self.model.parameters(), lr=1e-3)
        self.load_seconds = 0.0
        self.batches = Batches(self._split() if rows is None else Split(rows), task.batch)

    def _split(self) -> Split:
        if self.task.pictures is None:
            return Split(rows_of(self.task))
        began = time.perf_counter()
        # As many training rows as a round has: one picture more is the test row.
        split = vaekit.data.load(self.task.pictures, test=1, cache=False).train
        self.load_seconds = time.perf_counter() - began
        return split

    def loaded(self) -> float:
        """Seconds it took to decode the pictures, once."""
        return self.load_seconds

    def check(self) -> tuple[float, float]:
        """The loss of the first batch and the norm of its gradient, at the noise of seed 0."""
        self.model.train()
        x = first_batch(self.task)
        torch.manual_seed(0)
        with precision(self.numbers):
            trace = self.model(x, samples=self.objective.samples)
        bound = self.objective(trace)
        loss = differentiate(bound, len(x)).item()
        if self.task.kind == "iwae":  # what pythae calls its loss
            weight = trace.log_weight.detach()
            loss = -(weight.softmax(0) * weight).sum(0).mean().item()
        return loss - self.task.constant, gradient_norm(self.model)

    def run(self) -> float:
        """An epoch; its mean loss."""
        progress = fit(
            self.model,
            self.objective,
            self.batches,
            steps=self.task.steps,
            optimizer=self.optimizer,
            precision=self.numbers,
            fast=self.fast,
        )
        return -progress.means["objective"] - self.task.constant

    def flops(self) -> int:
        """Floating-point operations of one step's matrix products and convolutions."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self.check()
        return int(counter.get_total_flops())

    def products(self) -> dict[tuple[int, int, int], int]:
        """Shapes (m, k, n) of a dense step's matrix products, and how often each comes."""
        found: dict[tuple[int, int, int], int] = {}
        layers = [m for m in self.model.modules() if isinstance(m, nn.Linear)]
        for number, layer in enumerate(layers):
            rows, wide, narrow = self.task.batch, layer.in_features, layer.out_features
            shapes = [(rows, wide, narrow), (narrow, rows, wide), (rows, narrow, wide)]
            for shape in shapes[: 3 if number else 2]:  # no gradient of x
                found[shape] = found.get(shape, 0) + 1
        return found

    def quickest(self, shapes: list[tuple[int, int, int]], times: int = 5) -> list[float]:
        """Seconds of each matrix product, the best of some."""
        found = []
        for m, k, n in shapes:
            a, b, out = torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)
            taken = []
            for _ in range(times):
                began = time.perf_counter()
                torch.mm(a, b, out=out)
                taken.append(time.perf_counter() - began)
            found.append(min(taken))
        return found
