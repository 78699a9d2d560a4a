"""How long a training is, where nobody says its epochs: by steps, or by minutes on this machine."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from vaekit import training
from vaekit._torchutil import rng
from vaekit.objectives import players

if TYPE_CHECKING:
    from vaekit._train_options import Training
    from vaekit.runs._job import Job

EPOCHS, STEPS, FEW = 13, 1_200, 200  # the least of either, and the most epochs for the second
STEPS_OF = {"table": 6_000, "mixed": 6_000}  # of kinds whose steps take no time
SHARES = {"quick": 0.25, "standard": 1.0, "best": 4.0}
WAIT = 20  # epochs without a better one, at least
FIRST, LEAST, MOST = 3, 10, 10_000  # steps of a trial: those that do not count, that do, in all
TRIAL = 0.02  # of the minutes
KEPT = 0.95  # of the minutes are epochs: checkpoints, the film and the end take the rest


def epochs_of(preset: str, per_epoch: int, kind: str = "") -> int:
    """Return the epochs of a training of so many steps each, on data of this kind.

    Example:
        >>> epochs_of("standard", 422), epochs_of("standard", 12), epochs_of("quick", 422)
        (13, 100, 3)
        >>> epochs_of("standard", 40, "table")
        150
    """
    epochs = math.ceil(max(EPOCHS, min(STEPS_OF.get(kind, STEPS) / per_epoch, FEW)))
    return max(1, round(epochs * SHARES[preset]))


def with_epochs(options: Training, epochs: int) -> Training:
    """Return the options with the epochs that nobody named, and a patience."""
    patience = options.patience or max(WAIT, epochs // 5)
    return options.model_copy(update={"epochs": epochs, "patience": patience})


def in_minutes(job: Job) -> Job:
    """Return the job with the epochs that fit in the minutes that it names, at least one.

    Some steps are taken by a copy, and the rows that are measured after an epoch are measured once:
    nothing of the job is moved.
    """
    options, began = job.config.training, perf_counter()
    seconds = 60 * (options.minutes or 0)
    epoch = _seconds_of_an_epoch(job, TRIAL * seconds)
    left = KEPT * seconds - (perf_counter() - began)
    epochs = max(1, int(left / epoch))
    options = with_epochs(options, epochs)
    steps, objective = epochs * len(job.batches), job.recipe.objective
    schedules, warm = training.make_schedules(options, objective, steps, len(job.batches))
    config = replace(job.config, training=options)
    return replace(job, config=config, schedules=schedules, warm=warm)


def _seconds_of_an_epoch(job: Job, most: float) -> float:
    """Return the seconds of an epoch's steps and of what is measured after it, by a trial.

    Args:
        job: what is trained.
        most: seconds of steps that are enough.
    """
    options, device = job.config.training, job.device
    model, objective = copy.deepcopy((job.recipe.model, job.recipe.objective))
    moved = [p for p in players(model, objective)[0] if p.requires_grad]
    times: list[float] = []

    def enough(progress: training.Progress) -> bool:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(perf_counter())
        return len(times) > FIRST + LEAST and times[-1] - times[FIRST] > most

    with rng(options.seed, device):
        training.fit(
            *(model, objective, job.batches),
            steps=MOST,
            optimizer=training.make_optimizer(options.optimizer, moved, lr=options.lr),
            on_step=enough,
            precision=options.precision,
            compiled=options.compile,
            captured=options.capture,
            fast=options.fast,
        )
        step = (times[-1] - times[FIRST]) / (len(times) - FIRST - 1)
        before = perf_counter()
        tests = job.measured(job.data.test) if options.test_bound else None
        for rows in (job.measured(job.data.validation) or job.sample(), tests):
            if rows is not None:
                training.examine(model, objective, rows, options.seed)
    return step * len(job.batches) + perf_counter() - before
