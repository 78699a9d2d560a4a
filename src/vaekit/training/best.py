"""Which epoch was best, and when to stop waiting for a better one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Best"]


@dataclass
class Best:
    """The best value so far of what the objective monitors.

    Args:
        monitor: "objective", "log_likelihood" or "elbo".
        patience: epochs without a better one before it is time to stop; None never stops.
        after: how many steps a warm-up takes, which moves the objective: none of them is best.

    Example:
        >>> best = Best("objective", patience=2)
        >>> [best.improves({"objective": value}, epoch, 10) for epoch, value in enumerate([-3, -2])]
        [True, True]
        >>> [best.improves({"objective": -4.0}, epoch, 10) for epoch in (2, 3)], best.exhausted(3)
        ([False, False], True)
    """

    monitor: str
    patience: int | None = None
    after: int = 0
    value: float | None = None
    epoch: int | None = None
    first: int | None = None  # the first epoch that counted

    def improves(self, means: dict[str, float], epoch: int, step: int) -> bool:
        """Whether this epoch is the best so far."""
        value = means[self.monitor]
        if step <= self.after or not math.isfinite(value):
            return False
        self.first = epoch if self.first is None else self.first
        if self.value is not None and value <= self.value:
            return False
        self.value, self.epoch = value, epoch
        return True

    def exhausted(self, epoch: int) -> bool:
        """Whether the patience is over."""
        since = self.first if self.epoch is None else self.epoch
        return self.patience is not None and since is not None and epoch - since >= self.patience

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)
