"""What follows a training: callbacks, and the signals that end it as a flag."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from torch import nn

from vaekit.training._progress import Progress


class Callback:
    """A callback follows a training; the base does nothing.

    Attributes:
        interrupted: whether Ctrl-C or an error ended it.
    """

    def __init__(self) -> None:
        self.interrupted = False

    def opened(self, folder: Path, config: dict[str, Any], facts: dict[str, Any]) -> None:
        """Run before anything else, with the run's folder, its config.json, and what run.json says
        of its "data" (rows of each split, a card) and its "parameters".
        """

    def begin(self, model: nn.Module, epoch: int | None) -> None:
        """Run before the model is moved; `epoch` is its own, None for a new training."""

    def started(self, epochs: int, steps: int, first: int) -> None:
        """Run before the first step: how many epochs and steps in all, and where it begins."""

    def step(self, progress: Progress) -> None:
        """Run after each step."""

    def epoch(self, model: nn.Module, number: int) -> None:
        """Run after each epoch, before its checkpoint: resuming repeats what comes later."""

    def record(self, record: dict[str, Any]) -> None:
        """Run after each epoch, with its line of metrics.jsonl."""

    def note(self, text: str) -> None:
        """Take a sentence that the user should know, such as of a collapsed posterior."""

    def finish(self, model: nn.Module, number: int) -> None:
        """Run after the last step of epoch `number`, where nothing interrupted the training."""

    def ended(self, interrupted: bool) -> None:
        """Run after the last step, whatever ended the training."""
        self.interrupted = interrupted


class Notes(Callback):
    """Log what a training notes as warnings on the logger `vaekit`; show nothing else."""

    def note(self, text: str) -> None:
        """Log one note."""
        logging.getLogger("vaekit").warning(text)


class Callbacks(list[Callback]):
    """Several callbacks, called in their order: `callbacks.tell("record", record)`."""

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        super().__init__(callbacks)

    def tell(self, what: str, *arguments: Any) -> None:
        """Call this method of each."""
        for callback in self:
            getattr(callback, what)(*arguments)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C set a flag, which the yielded function reads; a second one interrupts at once.

    So do SIGTERM, as of a machine that shuts down, and SIGHUP, as of a terminal that is closed,
    where nothing else takes or ignores them.
    """
    pressed = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    with handling(handle, signal.SIGINT):
        yield pressed.is_set


@contextmanager
def handling(handle: Callable[[int, FrameType | None], None], *more: int) -> Iterator[None]:
    """Handle SIGTERM and SIGHUP, where nothing else takes or ignores them, and `more` signals.

    Nothing is handled in another thread than the first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ends = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]  # Windows has no SIGHUP
    known = [end for end in ends if end is not None and signal.getsignal(end) == signal.SIG_DFL]
    before: Any = {end: signal.getsignal(end) for end in (*more, *known)}
    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, how in before.items():
            signal.signal(number, how)
