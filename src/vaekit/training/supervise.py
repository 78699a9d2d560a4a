"""What happens after each epoch: validation, best, checkpoint, record, stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from vaekit.data import Batches
from vaekit.models import evaluating
from vaekit.training.best import Best
from vaekit.training.checkpoint import save_state
from vaekit.training.diagnose import DivergedError, bad_weights
from vaekit.training.folder import RunFolder
from vaekit.training.loop import Progress
from vaekit.training.meter import Meter

__all__ = ["Supervisor", "validate"]


def validate(progress: Progress, batches: Batches, seed: int) -> dict[str, float]:
    """Means of the objective, its parts and the ELBO, in eval mode; the same draws every time."""
    model: Any = progress.model
    meter = Meter()
    devices = [progress.device] if progress.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        with evaluating(model), evaluating(progress.objective):
            for x, given in batches.epoch(0):
                trace = model(x, given, samples=progress.objective.samples)
                meter.add(progress.objective(trace))
    means = meter.means()
    if "kl" in means:
        means["elbo"] = means["log_likelihood"] - means["kl"]
    return means


class Supervisor:
    """Called by the loop after each epoch.

    Args:
        folder: where records and checkpoints go.
        best: what is best, and the patience.
        validation: held-out rows, or None: then there is no best, and no early stopping but by
            the training objective.
        seed: of the validation's draws.
        every: seconds between checkpoints; the last epoch and the best ones are always kept.
        listeners: called with each record.
    """

    def __init__(
        self,
        folder: RunFolder,
        best: Best,
        *,
        validation: Batches | None = None,
        seed: int = 0,
        every: float = 5.0,
        listeners: Sequence[Callable[[dict[str, Any]], None]] = (),
    ) -> None:
        self.folder, self.best, self.validation = folder, best, validation
        self.seed, self.every, self.listeners = seed, every, listeners
        self.epoch = 0
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
        means = None
        if self.validation is not None:
            means = validate(progress, self.validation, self.seed)
        if self.best.improves(means or self._train(progress), self.epoch, progress.step) and means:
            save_state(self.folder.best, {"model": dict(progress.model.state_dict())})
        self._record(progress, means)
        if time.monotonic() - self._saved >= self.every:
            self.save(progress)
        return self.best.exhausted(self.epoch)

    def save(self, progress: Progress) -> None:
        """Writes the checkpoint that resuming takes."""
        state = {"progress": progress.state(), "best": asdict(self.best), "epoch": self.epoch}
        save_state(self.folder.last, state)
        self._saved = time.monotonic()

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from what `save` wrote, with the patience and warm-up asked for now."""
        now = {"patience": self.best.patience, "after": self.best.after}
        moved = state["best"]["after"] != self.best.after
        old = {"monitor": self.best.monitor} if moved else state["best"]
        self.best = Best(**{**old, **now})
        self.epoch = state["epoch"]
        self.folder.rewind(state["progress"]["step"])

    def _train(self, progress: Progress) -> dict[str, float]:
        means = dict(progress.means)
        if "kl" in means:
            means["elbo"] = means["log_likelihood"] - means["kl"]
        return means

    def _record(self, progress: Progress, validation: dict[str, float] | None) -> None:
        record = {
            "epoch": self.epoch,
            "step": progress.step,
            "train": progress.means,
            "validation": validation,
            "lr": progress.optimizer.param_groups[0]["lr"],
            "weights": {n: b.item() for n, b in progress.objective.named_buffers() if b.dim() == 0},
            "seconds": round(progress.seconds, 4),
            "images_per_second": round(progress.rows / max(progress.seconds, 1e-9), 1),
        }
        self.folder.append(record)
        for listener in self.listeners:
            listener(record)
