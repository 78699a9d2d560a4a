"""What is told of a training as it goes."""

from __future__ import annotations

from typing import Any

from vaekit.training.loop import Progress

__all__ = ["Listener"]


class Listener:
    """What is told of a training as it goes; the base tells nobody.

    `started(epochs, steps, first)`, then `step(progress)` after each step, `record(record)` after
    each epoch, `note(text)` for what the user should know, and `ended(interrupted)`.

    Attributes:
        interrupted: whether Ctrl-C or an error ended it.
    """

    def __init__(self) -> None:
        self.interrupted = False

    def started(self, epochs: int, steps: int, first: int) -> None:
        """Before the first step: how many epochs and steps in all, and where it begins."""

    def step(self, progress: Progress) -> None:
        """After each step."""

    def record(self, record: dict[str, Any]) -> None:
        """After each epoch: the line of metrics.jsonl."""

    def note(self, text: str) -> None:
        """A sentence that the user should know, as of a posterior that has collapsed."""

    def ended(self, interrupted: bool) -> None:
        """After the last step, whatever ended it."""
        self.interrupted = interrupted
