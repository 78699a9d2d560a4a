"""The memory that a step takes, by an estimate before the first one."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from vaekit._io import in_words
from vaekit._torchutil import evaluating, rng
from vaekit.data import available
from vaekit.errors import VaekitError
from vaekit.objectives import drawing
from vaekit.recipes import Recipe

COPIES = 4  # of each weight: itself, its gradient and two moments, as Adam has them


@dataclass(frozen=True)
class StepMemory:
    """About what a step takes, in bytes: `fixed + rows * row`, rather less than it is.

    Attributes:
        fixed: the weights, their gradients and what the optimizer keeps.
        row: what a row's pass keeps for the way back, over all draws.
        free: what there is; None where the system does not tell.
    """

    fixed: int
    row: int
    free: int | None

    @classmethod
    def of(cls, recipe: Recipe, context: tuple[int, ...] = ()) -> StepMemory:
        """Measure passes of two and of four rows, and of two draws for each of two rows.

        Example:
            >>> from vaekit.data import DataSpec
            >>> from vaekit.recipes import build
            >>> spec = DataSpec("t", (5,), "table", rows=20)
            >>> small, large = (build("iwae", spec, objective=f"iwae:samples={n}") for n in (1, 10))
            >>> 5 < StepMemory.of(large).row / StepMemory.of(small).row < 10
            True
        """
        model, draws = recipe.model, recipe.objective.samples
        one = tuple(1 for _ in draws)
        least = kept_bytes(recipe, 2, one, context)
        row = (kept_bytes(recipe, 4, one, context) - least) // 2
        if prod(draws) > 1:
            two = (*one[1:], 2)
            draw = (kept_bytes(recipe, 2, two, context) - least) // 2
            row += draw * (prod(draws) - 1)
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        device = next(model.parameters()).device
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available()
        return cls(COPIES * weights, max(row, 1), free)

    @property
    def most(self) -> int | None:
        """Return how many rows fit."""
        return None if self.free is None else max(0, (self.free - self.fixed) // self.row)

    def refused(self, rows: int, asked: str) -> VaekitError:
        """Return the error of a step of so many rows that ran out of memory all the same."""
        fit = min(rows // 2, rows if self.most is None else self.most)
        mend = (
            f"take `batch_size={fit}`, or less" if fit else "take smaller networks, or fewer draws"
        )
        return VaekitError(f"a step of {rows:,} rows ran out of memory, at {asked} more: {mend}.")

    def check(self, rows: int) -> None:
        """Refuse a step of so many rows that does not fit.

        Raises:
            VaekitError: with the largest batch that does.
        """
        if self.free is None or self.most is None or rows <= self.most:
            return
        less = f"`batch_size={self.most}` at most, " if self.most else ""
        mend = f"take {less}smaller networks, or fewer draws."
        raise VaekitError(
            f"a step of {rows:,} rows would take about {in_words(self.fixed + rows * self.row)}; "
            f"{in_words(self.free)} are free: {mend}"
        )


def kept_bytes(
    recipe: Recipe, rows: int, samples: tuple[int, ...], context_shape: tuple[int, ...]
) -> int:
    """Return the bytes that autograd keeps of a pass over rows of zeros, but for the weights.

    It is in eval mode, with a random state of its own: nothing of the model changes.
    """
    model, objective = recipe.model, recipe.objective
    first = next(model.parameters())
    x = torch.zeros(rows, *model.x_shape, dtype=first.dtype, device=first.device)
    context = torch.zeros(rows, *context_shape, device=first.device) if context_shape else None
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}  # held, so that no address comes twice

    def keep(value: Tensor) -> Tensor:
        kept[value.untyped_storage().data_ptr()] = value
        return value

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value)
    drawn = drawing(objective, model)
    with rng(0, first.device), evaluating(model, objective, gradients=True), drawn, hooks:
        objective(model(x, context, samples=samples))
    return sum(v.untyped_storage().nbytes() for at, v in kept.items() if at not in own)
