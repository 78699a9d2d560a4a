"""What is done after each epoch of a training: records, checkpoints, and the best epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from vaekit._torchutil import save_state
from vaekit.data import Batches
from vaekit.objectives import Objective, weights
from vaekit.training._callbacks import Callback, Callbacks
from vaekit.training._progress import DivergedError, Progress, bad_weights
from vaekit.training._watch import Course, Examined, Watch, examine, with_elbo

SHARE, MOST = 0.01, 0.05  # of the time goes into checkpoints; the second where they take long
LOST = 30.0  # seconds that a killed training loses at most, but for MOST


@dataclass
class Best:
    """The best value so far of what the objective monitors.

    Args:
        monitor: "objective", "log_likelihood" or "elbo"; "latest" where no value of one epoch
            compares with another's: then each epoch is better than those before.
        patience: epochs without a better one before the training stops; None never stops.
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
        """Return whether this epoch is the best so far, and remember it."""
        value = float(epoch) if self.monitor == "latest" else means[self.monitor]
        if step <= self.after or not math.isfinite(value):
            return False
        self.first = epoch if self.first is None else self.first
        if self.value is not None and value <= self.value:
            return False
        self.value, self.epoch = value, epoch
        return True

    def exhausted(self, epoch: int) -> bool:
        """Return whether the patience is over."""
        since = self.first if self.epoch is None else self.epoch
        return self.patience is not None and since is not None and epoch - since >= self.patience


class Folder(Protocol):
    """The folder of a training's records and checkpoints.

    Attributes:
        best: the weights of the best epoch.
        last: the checkpoint that resuming takes.
        mend: how to go on after a full disk.
    """

    mend: str

    @property
    def best(self) -> Path: ...

    @property
    def last(self) -> Path: ...

    def append(self, record: dict[str, Any]) -> None:
        """Add the record of an epoch."""

    def rewind(self, step: int) -> None:
        """Drop the records after this step."""


@dataclass(eq=False)
class Supervisor:
    """The supervisor validates, saves and records after each epoch; the loop calls it.

    Args:
        folder: where records and checkpoints go.
        best: what is best, and the patience.
        validation: held-out rows, or None: then there is no best, and no early stopping but by
            the training objective.
        sample: rows on which latent, scale and units are measured where none are held out.
        test: test rows whose terms are recorded too, and decide nothing; or None.
        seed: of the validation's draws.
        every: the least seconds between checkpoints, after an epoch or in the middle of one, and
            more where they take long to write; 0 writes all. The last step is always saved.
        keep: of every so many epochs a numbered checkpoint stays.
        callbacks: get each epoch, its record, and what the user should know.
        lr: the learning rate that was asked for; by default the optimizer's of today.
        given: the values of the training's options by their names: see `Course`.
    """

    folder: Folder
    best: Best
    validation: Batches | None = None
    sample: Batches | None = None
    test: Batches | None = None
    seed: int = 0
    every: float = 5.0
    keep: int | None = None
    callbacks: Sequence[Callback] = ()
    lr: float | None = None
    given: Mapping[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tell = Callbacks(self.callbacks).tell
        self.rows = self.sample if self.validation is None else self.validation
        self.epoch, self.watch, self._saved = 0, Watch(), -math.inf
        self._took = 0.0
        self._coming, self._waits = self.folder.last.with_name("coming.safetensors"), False

    def begin(self, model: nn.Module, objective: Objective) -> None:
        """Measure the model before its first step."""
        if self.rows is not None:
            now = examine(model, objective, self.rows, self.seed)
            more = now.gain if now.fitted else 0.0  # a fitted scale is not fitted before a step
            self.watch.untrained = now.means["objective"] + more

    def __call__(self, progress: Progress) -> bool:
        """Return whether to stop."""
        if bad := bad_weights(progress.model, progress.objective):
            raise DivergedError(
                f"the training diverged at step {progress.step - 1}: {bad}, after its update. "
                "Try a smaller lr, or clip=1."
            )
        self.epoch += 1
        how = (progress.model, progress.objective)
        examined = None if self.rows is None else examine(*how, self.rows, self.seed)
        means = examined.means if examined and self.validation is not None else None
        better = self.best.improves(means or with_elbo(progress.means), self.epoch, progress.place)
        if better and means:
            weights_now = {"model": dict(progress.model.state_dict())}
            save_state(self.folder.best, weights_now, self.folder.mend)
        self._record(progress, means, examined, better)
        self.tell("epoch", progress.model, self.epoch)
        if self.keep and self.epoch % self.keep == 0:  # before the last one, which goes on from it
            name = f"epoch-{self.epoch}.safetensors"
            self._write(progress, self.folder.last.with_name(name))
        if self._is_time():
            self.save(progress)
        return self.best.exhausted(self.epoch)

    def step(self, progress: Progress) -> None:
        """Write a checkpoint in the middle of an epoch, where the last one is old enough.

        It becomes the last one after one more step: weights of which the loss is not finite have
        lost the training, and would take its last good checkpoint with them.
        """
        if self._waits:
            self._coming.replace(self.folder.last)
        self._waits = not self._waits and self._is_time()
        if self._waits:
            self._write(progress, self._coming)
            self._saved = time.monotonic()

    def _is_time(self) -> bool:
        """Return whether the last checkpoint is old enough.

        Writing them takes 1 % of the time, or so much that a killed training loses half a minute.
        """
        pause = max(self.every, min(self._took / SHARE, LOST), self._took / MOST)
        pause = pause if self.every else 0.0
        return time.monotonic() - self._saved >= pause

    def save(self, progress: Progress) -> None:
        """Write the checkpoint that resuming takes."""
        self._write(progress, self.folder.last)
        self._saved = time.monotonic()
        self._waits = False
        self._coming.unlink(missing_ok=True)

    def _write(self, progress: Progress, path: Path) -> None:
        state = {
            "progress": progress.state(),
            "best": asdict(self.best),
            "watch": asdict(self.watch),
            "epoch": self.epoch,
        }
        began = time.monotonic()
        save_state(path, state, self.folder.mend)
        self._took = time.monotonic() - began

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `save` wrote, with today's patience and warm-up."""
        now = {"patience": self.best.patience, "after": self.best.after}
        moved = state["best"]["after"] != self.best.after
        old = {"monitor": self.best.monitor} if moved else state["best"]
        self.best = Best(**{**old, **now})
        self.watch = Watch(**state.get("watch", {}))
        self.epoch = state["epoch"]
        self.folder.rewind(state["progress"]["step"])

    def _record(
        self,
        progress: Progress,
        validation: dict[str, float] | None,
        examined: Examined | None,
        better: bool,
    ) -> None:
        lr, players = progress.optimizer.param_groups[0]["lr"], (progress.model, progress.objective)
        values = {path: getattr(*at).item() for path, at in weights(progress.objective).items()}
        warnings: list[str] = []
        compares = self.best.monitor != "latest"
        if examined:
            beta = values.get(progress.objective.kl_weight or "")
            asked = lr if self.lr is None else self.lr
            start = progress.start if compares else None
            held_out = compares and self.validation is not None
            course = Course(progress.means["objective"], start, asked, beta, held_out, self.given)
            steps = progress.place - self.best.after
            warnings = self.watch(examined, self.epoch, steps=steps, course=course)
        record = {
            "epoch": self.epoch,
            "step": progress.step,
            "train": progress.means,
            "validation": validation,
            **({"test": examine(*players, self.test, self.seed).means} if self.test else {}),
            "latent": examined and examined.latent_record(),
            "dead_units": examined and examined.dead_units,
            "gradient_norm": progress.gradient_norm,
            "lr": lr,
            "weights": values,
            "best": better,
            "stopped_early": self.best.exhausted(self.epoch),
            **({} if compares else {"compares": False}),
            "warnings": warnings,
            "seconds": round(progress.took, 4),
            "images_per_second": round(progress.rows / max(progress.took, 1e-9), 1),
        }
        self.folder.append(record)
        self.tell("record", record)
        for text in warnings:
            self.tell("note", text)
