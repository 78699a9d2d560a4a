"""Hidden units that do not react to the data."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from vaekit.nn.activations import is_activation

__all__ = ["DeadUnits"]

STILL = 1e-6  # a unit whose output moves by no more than this is dead


class DeadUnits:
    """The share of hidden units whose activation is the same for all rows.

    A context: while it is open, passes of `model` are watched, up to `rows` rows of each
    activation; features are dim 1, and positions count as rows. Meant for eval mode.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
        >>> with torch.no_grad(), DeadUnits(net) as dead:
        ...     _ = net[0].bias.copy_(torch.tensor([99.0, 99.0, 99.0, -99.0]))
        ...     _ = net(torch.rand(10, 2))
        >>> dead.fraction()
        0.25
    """

    def __init__(self, model: nn.Module, rows: int = 1000) -> None:
        self._modules = [part for part in model.modules() if is_activation(part)]
        self._rows = rows
        self._handles: list[Any] = []
        self._seen: dict[nn.Module, int] = {}
        self._ranges: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> Self:
        self._handles = [part.register_forward_hook(self._watch) for part in self._modules]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _watch(self, module: nn.Module, given: tuple[Any, ...], out: Tensor) -> None:
        seen = self._seen.get(module, 0)
        if seen >= self._rows or out.dim() < 2 or not len(out):
            return
        out = out.detach()[: self._rows - seen]
        self._seen[module] = seen + len(out)
        dims = (0, *range(2, out.dim()))
        low, high = out.amin(dims), out.amax(dims)
        if module in self._ranges:
            before = self._ranges[module]
            low, high = torch.minimum(low, before[0]), torch.maximum(high, before[1])
        self._ranges[module] = low, high

    def fraction(self) -> float | None:
        """How many of all units moved by at most 1e-6; None where no activation was passed."""
        if not self._ranges:
            return None
        still = torch.cat([high - low for low, high in self._ranges.values()]) <= STILL
        return int(still.sum()) / still.numel()
