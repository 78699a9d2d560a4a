"""One pass over rows in eval mode, and all that is measured on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from vaekit.data import Batches
from vaekit.evaluate import DeadUnits, Latent, LatentMeter, ScaleMeter
from vaekit.models import evaluating
from vaekit.training.loop import Progress
from vaekit.training.meter import Meter

__all__ = ["Examined", "examine", "validate", "with_elbo"]


@dataclass(frozen=True)
class Examined:
    """What a pass over rows found.

    Attributes:
        means: of the objective, its parts and the ELBO, nats.
        latent: what each dimension holds; None for a model without a latent.
        scale: what the likelihood claims and what its errors have: see `ScaleMeter`.
        fitted, power: of that meter.
        dead_units: the share of hidden units that no row moves; None without activations.
    """

    means: dict[str, float]
    latent: Latent | None
    scale: tuple[float, float] | None
    fitted: bool
    power: int
    dead_units: float | None


def with_elbo(means: dict[str, float]) -> dict[str, float]:
    """`means` with the ELBO, at beta = 1, where there is a KL."""
    if "kl" not in means:
        return dict(means)
    return {**means, "elbo": means["log_likelihood"] - means["kl"]}


def examine(progress: Progress, batches: Batches, seed: int) -> Examined:
    """Measures a model where its training is, with the same draws every time."""
    model: Any = progress.model
    objective = progress.objective
    meter, latent, scale = Meter(), LatentMeter(), ScaleMeter()
    devices = [progress.device] if progress.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        with evaluating(model), evaluating(objective), DeadUnits(model) as dead:
            for x, given in batches.epoch(0):
                trace = model(x, given, samples=objective.samples)
                meter.add(objective(trace))
                latent.add(trace)
                scale.add(trace)
    return Examined(
        with_elbo(meter.means()),
        latent.latent(),
        scale.means(),
        scale.fitted,
        scale.power,
        dead.fraction(),
    )


def validate(progress: Progress, batches: Batches, seed: int) -> dict[str, float]:
    """Means of the objective, its parts and the ELBO, in eval mode; the same draws every time."""
    return examine(progress, batches, seed).means
