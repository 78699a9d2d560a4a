"""What is told of a training as it goes, and how Ctrl-C ends it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from torch import nn

from vaekit.training.loop import Progress


class Callback:
    """What is told of a training as it goes; the base does nothing.

    Attributes:
        interrupted: whether Ctrl-C or an error ended it.
    """

    def __init__(self) -> None:
        self.interrupted = False

    def begin(self, model: nn.Module, epoch: int | None) -> None:
        """Before anything: the epoch that the model comes from; None for a new training."""

    def started(self, epochs: int, steps: int, first: int) -> None:
        """Before the first step: how many epochs and steps in all, and where it begins."""

    def step(self, progress: Progress) -> None:
        """After each step."""

    def epoch(self, model: nn.Module, number: int) -> None:
        """After each epoch, before its checkpoint: what is written of later ones is made again."""

    def record(self, record: dict[str, Any]) -> None:
        """After each epoch: the line of metrics.jsonl."""

    def note(self, text: str) -> None:
        """A sentence that the user should know, as of a posterior that has collapsed."""

    def finish(self, model: nn.Module, number: int) -> None:
        """After the last step, where nothing interrupted it: the epoch that was the last."""

    def ended(self, interrupted: bool) -> None:
        """After the last step, whatever ended it."""
        self.interrupted = interrupted


class Callbacks(list[Callback]):
    """Several, told in their order: `callbacks.tell("record", record)`."""

    def tell(self, what: str, *arguments: Any) -> None:
        """Calls this method of each."""
        for callback in self:
            getattr(callback, what)(*arguments)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C sets a flag, which the function given reads; a second one interrupts at once."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    before: Any = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    signal.signal(signal.SIGINT, handle)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
