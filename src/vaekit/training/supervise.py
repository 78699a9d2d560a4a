"""What happens beside the steps: validation, best, checkpoint, record, callbacks, Ctrl-C."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from torch import nn

from vaekit.data import Batches
from vaekit.objectives import weights
from vaekit.torchutil import save_state
from vaekit.training.loop import Progress
from vaekit.training.meters import DivergedError, bad_weights
from vaekit.training.watch import Course, Examined, Watch, examine, with_elbo


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


class Folder(Protocol):
    """Where a training leaves its records and checkpoints.

    Attributes:
        best: the weights of the best epoch.
        last: the checkpoint that resuming takes.
        mend: how to go on after a full disk.
    """

    best: Path
    last: Path
    mend: str

    def append(self, record: dict[str, Any]) -> None:
        """Adds the record of an epoch."""

    def rewind(self, step: int) -> None:
        """Drops the records after this step."""


class Supervisor:
    """Called by the loop after each epoch.

    Args:
        folder: where records and checkpoints go.
        best: what is best, and the patience.
        validation: held-out rows, or None: then there is no best, and no early stopping but by
            the training objective.
        sample: rows on which latent, scale and units are measured where none are held out.
        seed: of the validation's draws.
        every: seconds between checkpoints; the last epoch and the best ones are always kept.
        callbacks: are told of each epoch, its record, and what the user should know.
    """

    def __init__(
        self,
        folder: Folder,
        best: Best,
        *,
        validation: Batches | None = None,
        sample: Batches | None = None,
        seed: int = 0,
        every: float = 5.0,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.folder, self.best, self.validation = folder, best, validation
        self.rows = sample if validation is None else validation
        self.seed, self.every, self.callbacks = seed, every, Callbacks(callbacks)
        self.epoch = 0
        self.watch = Watch()
        self._saved = -float("inf")

    def __call__(self, progress: Progress) -> bool:
        """Return whether to stop."""
        bad = bad_weights(progress.model, progress.objective)
        if bad is not None:
            raise DivergedError(
                f"the training diverged at step {progress.step - 1}: {bad}, after its update. "
                "Try a smaller lr, or clip=1."
            )
        self.epoch += 1
        found = None if self.rows is None else examine(progress, self.rows, self.seed)
        means = found.means if found and self.validation is not None else None
        judged = means or with_elbo(progress.means)
        better = self.best.improves(judged, self.epoch, progress.step)
        if better and means:
            self._save(self.folder.best, {"model": dict(progress.model.state_dict())})
        self._record(progress, means, found, better)
        self.callbacks.tell("epoch", progress.model, self.epoch)
        if time.monotonic() - self._saved >= self.every:
            self.save(progress)
        return self.best.exhausted(self.epoch)

    def save(self, progress: Progress) -> None:
        """Writes the checkpoint that resuming takes."""
        state = {
            "progress": progress.state(),
            "best": asdict(self.best),
            "watch": self.watch.state(),
            "epoch": self.epoch,
        }
        self._save(self.folder.last, state)
        self._saved = time.monotonic()

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from what `save` wrote, with the patience and warm-up asked for now."""
        now = {"patience": self.best.patience, "after": self.best.after}
        moved = state["best"]["after"] != self.best.after
        old = {"monitor": self.best.monitor} if moved else state["best"]
        self.best = Best(**{**old, **now})
        self.watch = Watch(**state.get("watch", {}))
        self.epoch = state["epoch"]
        self.folder.rewind(state["progress"]["step"])

    def _save(self, path: Path, state: dict[str, Any]) -> None:
        save_state(path, state, self.folder.mend)

    def _record(
        self,
        progress: Progress,
        validation: dict[str, float] | None,
        found: Examined | None,
        better: bool,
    ) -> None:
        warnings = self._warnings(progress, found)
        record = {
            "epoch": self.epoch,
            "step": progress.step,
            "train": progress.means,
            "validation": validation,
            "latent": _latent(found),
            "dead_units": found and found.dead_units,
            "gradient_norm": progress.gradient_norm,
            "lr": progress.optimizer.param_groups[0]["lr"],
            "weights": {
                path: getattr(*at).item() for path, at in weights(progress.objective).items()
            },
            "best": better,
            "stopped_early": self.best.exhausted(self.epoch),
            "warnings": warnings,
            "seconds": round(progress.seconds, 4),
            "images_per_second": round(progress.rows / max(progress.seconds, 1e-9), 1),
        }
        self.folder.append(record)
        self.callbacks.tell("record", record)
        for text in warnings:
            self.callbacks.tell("note", text)

    def _warnings(self, progress: Progress, found: Examined | None) -> list[str]:
        if found is None:
            return []
        beta = getattr(progress.objective, "beta", None)
        lr = progress.optimizer.param_groups[0]["lr"]
        weight = 1.0 if beta is None else float(beta)
        course = Course(progress.means["objective"], progress.start, lr, weight)
        return self.watch(found, self.epoch, steps=progress.step - self.best.after, course=course)


def _latent(found: Examined | None) -> dict[str, Any] | None:
    if found is None or found.latent is None:
        return None
    held = found.latent
    return {
        "kl_per_dim": _brief(held.kl_per_dim),
        "active_units": held.active_units,
        "posterior_scale": held.posterior_scale,
    }


MOST = 256  # dimensions that a line of metrics.jsonl lists one by one


def _brief(values: list[float] | None) -> Any:
    """The values, or of very many their sum and their ends."""
    if values is None or len(values) <= MOST:
        return values
    return {"sum": sum(values), "least": min(values), "most": max(values), "of": len(values)}
