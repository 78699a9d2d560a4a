"""Means over an epoch, summed on the device and read once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaekit.objectives import Bound

__all__ = ["Mean", "Meter", "mean_and_error"]


def mean_and_error(values: Tensor) -> tuple[float, float] | None:
    """The mean of values `(B,)` and its standard error; None where all are one.

    Example:
        >>> mean, error = mean_and_error(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        >>> mean, round(error, 4)
        (2.5, 0.6455)
    """
    values = values.detach()
    if len(values) < 2 or not bool((values != values[0]).any()):
        return None
    return values.mean().item(), values.std().item() / len(values) ** 0.5


class Meter:
    """Sums of an objective and its parts over the rows seen.

    Example:
        >>> meter = Meter()
        >>> meter.add(Bound(torch.tensor([-3.0, -1.0]), parts={"kl": torch.tensor([2.0, 4.0])}))
        >>> meter.means()
        {'objective': -2.0, 'kl': 3.0}
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.total: Tensor | None = None
        self.rows = 0

    def add(self, bound: Bound) -> None:
        """Adds a batch; nothing is read from the device."""
        values = [bound.value.detach(), *bound.parts.values()]
        total = torch.stack(values).sum(1)
        if self.total is None:
            self.names = ["objective", *bound.parts]
            wide = torch.float32 if total.device.type == "mps" else torch.float64
            self.total = torch.zeros_like(total, dtype=wide)
        self.total += total
        self.rows += len(bound.value)

    def means(self) -> dict[str, float]:
        """The means so far."""
        if self.total is None:
            return {}
        return dict(zip(self.names, (self.total / self.rows).tolist(), strict=True))

    def reset(self) -> None:
        """Starts anew."""
        self.total, self.rows = None, 0

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {"names": self.names, "total": self.total, "rows": self.rows}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """The sums as they were."""
        self.names, self.rows = state["names"], state["rows"]
        self.total = None if state["total"] is None else state["total"].to(device)


class Mean:
    """The mean of a number over the steps at which it was measured, summed on the device.

    Example:
        >>> mean = Mean()
        >>> mean.value() is None
        True
        >>> mean.add(torch.tensor(2.0))
        >>> mean.add(torch.tensor(4.0))
        >>> mean.value()
        3.0
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.count = 0

    def add(self, value: Tensor) -> None:
        """Adds a 0-dim tensor; nothing is read from the device."""
        value = value.detach()
        value = value.float() if value.device.type == "mps" else value.double()
        self.total = value if self.total is None else self.total + value
        self.count += 1

    def value(self) -> float | None:
        """The mean so far; None where nothing was measured."""
        return None if self.total is None else (self.total / self.count).item()

    def reset(self) -> None:
        """Starts anew."""
        self.total, self.count = None, 0

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {"total": self.total, "count": self.count}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """The sum as it was."""
        self.count = state["count"]
        self.total = None if state["total"] is None else state["total"].to(device)
