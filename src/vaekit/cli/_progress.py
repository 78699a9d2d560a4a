"""What a command shows on standard error while it works: a bar on a terminal, else lines."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from vaekit.recipes import find_recipe, names
from vaekit.training import Notes

if TYPE_CHECKING:
    from pathlib import Path

    from vaekit.training import Progress

SPLITS = {"train": "rows to train on", "validation": "for validation", "test": "to test"}
SHOWN = ("objective", "log_likelihood", "kl", "luminance")


def log(text: str) -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def numbers(record: dict[str, Any]) -> str:
    """Return the numbers of an epoch in words."""
    means = record["validation"] or record["train"]
    shown = [f"{name.replace('_', '-')} {means[name]:.2f}" for name in SHOWN if name in means]
    latent = record["latent"] or {}
    if "perplexity" in latent:
        shown.append(f"perplexity {latent['perplexity']:.1f} of {latent['codes']}")
    test = f"; test ELBO {record['test']['elbo']:.2f}" if "elbo" in record.get("test", {}) else ""
    return ("validation " if record["validation"] else "") + ", ".join(shown) + test


class Beginning(Notes):
    """Print what is trained on what, and where it goes, before it begins."""

    def opened(self, folder: Path, config: dict[str, Any], facts: dict[str, Any]) -> None:
        """Print the lines of a run."""
        data, parts, epochs = facts["data"], config["parts"], config["training"]["epochs"]
        counts = [f"{data[n]:,} {what}" for n, what in SPLITS.items() if data[n]]
        *sides, last = data["card"]["shape"]
        shape = " x ".join(map(str, [*sides, last])) if sides else f"{last:,} columns"
        log(f"data     {data['card']['name']}: {', '.join(counts)}; {shape}")
        named = [parts[name]["name"] for name in ("net", "likelihood") if parts.get(name)]
        known = config["recipe"] in names()  # else it was composed of parts
        asks = find_recipe(config["recipe"]).asks if known else ()
        latent = [f"latent {parts['latent']}"] if "latent" in asks else []
        words = ", ".join([*named, *latent, f"{facts['parameters']:,} parameters"])
        log(f"model    {config['recipe']}: {words}")
        log(f"run      {folder}: {epochs:,} epoch{'s' * (epochs != 1)}")


class Lines(Beginning):
    """Print a line for each epoch, at most one a second."""

    _epochs = _steps = _first = 0
    _began, _shown = 0.0, -float("inf")

    def started(self, epochs: int, steps: int, first: int) -> None:
        """Remember where the training begins."""
        self._epochs, self._steps, self._first = epochs, steps, first
        self._began = time.monotonic()

    def record(self, record: dict[str, Any]) -> None:
        """Print the line of an epoch."""
        now = time.monotonic()
        if now - self._shown < 1 and record["epoch"] not in (1, self._epochs):
            return
        self._shown = now
        done = record["step"] - self._first
        left = (now - self._began) / done * (self._steps - record["step"])
        log(
            f"epoch {record['epoch']}/{self._epochs}: {numbers(record)} "
            f"({record['images_per_second']:,.0f} rows/s, {left:.0f} s left)"
        )


class Terminal(Beginning):
    """Show a bar with steps, rate, time left and the last epoch's numbers."""

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
        """Show the bar."""
        self._task = self._bar.add_task("training", total=steps, completed=first, numbers="")
        self._bar.start()

    def step(self, progress: Progress) -> None:
        """Move the bar, ten times a second at most."""
        now = time.monotonic()
        if now - self._shown >= 0.1:
            self._shown = now
            self._bar.update(self._task, completed=progress.step)

    def record(self, record: dict[str, Any]) -> None:
        """Show the numbers of an epoch."""
        rate = f"{record['images_per_second']:,.0f} rows/s"
        self._bar.update(
            self._task,
            completed=record["step"],
            description=f"epoch {record['epoch']}",
            numbers=f"{rate}, {numbers(record)}",
        )

    def ended(self, interrupted: bool) -> None:
        """Leave the bar as it is."""
        super().ended(interrupted)
        self._bar.stop()


def progress(quiet: bool) -> Notes:
    """Return the callback that suits standard error."""
    if quiet:
        return Notes()
    return Terminal() if sys.stderr.isatty() else Lines()


class RowCount:
    """Show on a terminal how many rows are measured, where that takes long."""

    _what, _began, _shown = "", 0.0, 0.0

    def __call__(self, what: str, done: int, rows: int) -> None:
        """Show the count of one metric, twice a second at most."""
        now = time.monotonic()
        if what != self._what:
            self._what, self._began = what, now
        if now - self._shown > 0.5 and now - self._began > 1:
            self._shown = now
            print(f"\r{what}: {done} of {rows} rows ", end="", file=sys.stderr)  # noqa: T201
        if done == rows and self._shown:
            self._shown = 0.0
            print("\r\033[K", end="", file=sys.stderr)  # noqa: T201
