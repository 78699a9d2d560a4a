"""What a training shows on the terminal: a bar where there is one, else a line per epoch."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from vaekit.training import Callback

if TYPE_CHECKING:
    from vaekit.training import Progress


SHOWN = ("objective", "log_likelihood", "kl", "luminance")


def _numbers(record: dict[str, Any]) -> str:
    means = record["validation"] or record["train"]
    shown = [f"{n.replace('_', '-')} {means[n]:.2f}" for n in SHOWN if n in means]
    held_out = "validation " if record["validation"] else ""
    return held_out + ", ".join(shown)


def _note(text: str) -> str:
    from vaekit.cli.main import in_shell

    return f"vaekit: note: {in_shell(text) if '`' in text else text}"


class Lines(Callback):
    """A line per epoch to standard error, at most one a second."""

    def __init__(self) -> None:
        super().__init__()
        self._epochs = self._steps = self._first = 0
        self._began = 0.0
        self._shown = -float("inf")

    def started(self, epochs: int, steps: int, first: int) -> None:
        self._epochs, self._steps, self._first = epochs, steps, first
        self._began = time.monotonic()

    def record(self, record: dict[str, Any]) -> None:
        now = time.monotonic()
        if now - self._shown < 1 and record["epoch"] not in (1, self._epochs):
            return
        self._shown = now
        done = record["step"] - self._first
        left = (now - self._began) / done * (self._steps - record["step"])
        print(  # noqa: T201
            f"epoch {record['epoch']}/{self._epochs}: {_numbers(record)} "
            f"({record['images_per_second']:,.0f} images/s, {left:.0f} s left)",
            file=sys.stderr,
            flush=True,
        )

    def note(self, text: str) -> None:
        print(_note(text), file=sys.stderr, flush=True)  # noqa: T201


class Terminal(Callback):
    """A bar with steps, rate, time left and the last epoch's numbers."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=Console(stderr=True),
        )
        self._shown = 0.0

    def started(self, epochs: int, steps: int, first: int) -> None:
        self._task = self._bar.add_task("training", total=steps, completed=first, numbers="")
        self._bar.start()

    def step(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._shown >= 0.1:
            self._shown = now
            self._bar.update(self._task, completed=progress.step)

    def record(self, record: dict[str, Any]) -> None:
        rate = f"{record['images_per_second']:,.0f} images/s"
        self._bar.update(
            self._task,
            completed=record["step"],
            description=f"epoch {record['epoch']}",
            numbers=f"{rate}, {_numbers(record)}",
        )

    def note(self, text: str) -> None:
        self._bar.console.print(_note(text), markup=False, highlight=False, soft_wrap=True)

    def ended(self, interrupted: bool) -> None:
        super().ended(interrupted)
        self._bar.stop()


def progress(quiet: bool) -> Callback:
    """What suits standard error."""
    if quiet:
        return Callback()
    return Terminal() if sys.stderr.isatty() else Lines()
