"""What happens after each epoch: validation, best, checkpoint, record, warnings, stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vaekit.data import Batches
from vaekit.training.best import Best
from vaekit.training.checkpoint import save_state
from vaekit.training.diagnose import DivergedError, bad_weights
from vaekit.training.examine import Examined, examine, validate, with_elbo
from vaekit.training.folder import RunFolder
from vaekit.training.loop import Progress
from vaekit.training.watch import Course, Watch

__all__ = ["Supervisor", "validate"]


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
        listeners: called with each record.
        note: called with each sentence that the user should know.
        keep: called with the progress and the epoch, before the checkpoint: what it writes of
            epochs after a checkpoint's is to be dropped when the training resumes from that.
    """

    def __init__(
        self,
        folder: RunFolder,
        best: Best,
        *,
        validation: Batches | None = None,
        sample: Batches | None = None,
        seed: int = 0,
        every: float = 5.0,
        listeners: Sequence[Callable[[dict[str, Any]], None]] = (),
        note: Callable[[str], None] = lambda text: None,
        keep: Callable[[Progress, int], None] = lambda progress, epoch: None,
    ) -> None:
        self.folder, self.best, self.validation = folder, best, validation
        self.rows = sample if validation is None else validation
        self.seed, self.every, self.listeners, self.note = seed, every, listeners, note
        self.keep = keep
        self.epoch = 0
        self.watch = Watch()
        self._saved = -float("inf")

    def __call__(self, progress: Progress) -> bool:
        """Whether to stop."""
        bad = bad_weights(progress.model)
        if bad is not None:
            raise DivergedError(
                f"the training diverged at step {progress.step - 1}: {bad}, after its update. "
                "Try a smaller --lr or --clip 1."
            )
        self.epoch += 1
        found = None if self.rows is None else examine(progress, self.rows, self.seed)
        means = found.means if found and self.validation is not None else None
        judged = means or with_elbo(progress.means)
        better = self.best.improves(judged, self.epoch, progress.step)
        if better and means:
            self._save(self.folder.best, {"model": dict(progress.model.state_dict())})
        self._record(progress, means, found, better)
        self.keep(progress, self.epoch)
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
            "weights": {n: b.item() for n, b in progress.objective.named_buffers() if b.dim() == 0},
            "best": better,
            "stopped_early": self.best.exhausted(self.epoch),
            "warnings": warnings,
            "seconds": round(progress.seconds, 4),
            "images_per_second": round(progress.rows / max(progress.seconds, 1e-9), 1),
        }
        self.folder.append(record)
        for listener in self.listeners:
            listener(record)
        for text in warnings:
            self.note(text)

    def _warnings(self, progress: Progress, found: Examined | None) -> list[str]:
        if found is None:
            return []
        steps = progress.step - self.best.after
        return self.watch(found, self.epoch, steps=steps, course=_course(progress))


def _course(progress: Progress) -> Course:
    beta = getattr(progress.objective, "beta", None)
    return Course(
        objective=progress.means["objective"],
        start=progress.start,
        lr=progress.optimizer.param_groups[0]["lr"],
        beta=1.0 if beta is None else float(beta),
    )


def _latent(found: Examined | None) -> dict[str, Any] | None:
    if found is None or found.latent is None:
        return None
    held = found.latent
    return {
        "kl_per_dim": held.kl_per_dim,
        "active_units": held.active_units,
        "posterior_scale": held.posterior_scale,
    }
