"""Seeds that train as one: their models stacked, their run folders as if each had trained alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError
from vaekit.runs.folder import RunFolder
from vaekit.runs.job import Job, describe, make_job, supervisor
from vaekit.runs.several import Task
from vaekit.torchutil import find_device, rng
from vaekit.training.callbacks import Callbacks, interruptible
from vaekit.training.loop import Progress, fit
from vaekit.training.optimizers import make_optimizer
from vaekit.training.together import Together

# Their steps go element by element, so that stacked weights do not meet.
ELEMENTWISE = ("adadelta", "adagrad", "adam", "adamax", "adamw", "asgd", "nadam", "radam",
               "rmsprop", "rprop", "sgd")  # fmt: skip


def train_stacked(
    tasks: Sequence[Task], threads: int | None, callbacks_of: Callable[[Job], Callbacks]
) -> None:
    """Trains tasks that differ in their seeds alone, each into its folder; none of them has begun.

    Each begins with the weights of its seed and sees its seed's rows; the noise is another than it
    would be alone. A seed whose patience is over is recorded no further.

    Args:
        tasks: what `check` has let pass.
        threads: of torch.
        callbacks_of: what is told of a training.

    Raises:
        VaekitError: for options that would mix the seeds.
        KeyboardInterrupt: after Ctrl-C, at the end of the epoch; each has saved its checkpoint, and
            can be resumed alone.
    """
    jobs = [_job(task) for task in tasks]
    first = jobs[0]
    options = first.config.training
    _refuse(first)
    with ExitStack() as stack, interruptible() as pressed:
        stack.enter_context(rng(options.seed, first.device, threads))
        for job in jobs:
            stack.enter_context(job.folder.locked(create=True))
            job.folder.create(job.config.to_json(), describe(job))
        whole = Together(
            [job.recipe.model for job in jobs], first.recipe.objective, [j.batches for j in jobs]
        )
        members = [
            _Member(job, whole, number, callbacks_of(job)) for number, job in enumerate(jobs)
        ]

        def after_epoch(progress: Progress) -> bool:
            whole.unstack()
            stopped = [member.epoch(progress) for member in members]
            return all(stopped) or pressed()

        fit(
            whole,
            whole.objective,
            whole.batches,
            steps=first.steps,
            optimizer=_optimizer(first, whole.parameters()),
            schedules=first.schedules,
            on_epoch=after_epoch,
            precision=options.precision,
            captured=options.capture,
        )
        for member in members:
            member.end()
        if pressed():
            raise KeyboardInterrupt


def _job(task: Task) -> Job:
    """With the weights that the seed begins with."""
    options = task.config.training
    with rng(options.seed, find_device(options.device), None):
        return make_job(task.config, RunFolder(task.out))


def _refuse(job: Job) -> None:
    options = job.config.training
    for name, unset in (("clip", None), ("ema", None), ("compile", False)):
        if getattr(options, name) is not unset:
            raise VaekitError(f"seeds that train together take no --{name}: leave one of the two.")
    if options.optimizer.lower() not in ELEMENTWISE:
        raise VaekitError(
            f"the steps of {options.optimizer} would mix seeds that train together: leave "
            f"--together, or take one of {', '.join(ELEMENTWISE)}."
        )


def _optimizer(job: Job, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    options = job.config.training
    return make_optimizer(
        options.optimizer,
        weights,
        lr=options.lr,
        weight_decay=options.weight_decay,
        more=options.optimizer_options,
    )


class _Member:
    """One of them, as the training that it would be alone."""

    def __init__(self, job: Job, whole: Together, number: int, callbacks: Callbacks) -> None:
        self.job, self.whole, self.number = job, whole, number
        self.callbacks = callbacks
        self.supervisor = supervisor(job, callbacks, 5.0)
        objective = whole.pair.objective
        self.progress = Progress(job.recipe.model, objective, job.optimizer, None, job.device)
        self.stopped = False
        callbacks.tell("begin", job.recipe.model, None)

    def epoch(self, all_of_them: Progress) -> bool:
        """Records the epoch of this one; whether it has stopped."""
        if self.stopped:
            return True
        now = self.progress
        now.step, now.rows, now.start = all_of_them.step, all_of_them.rows, all_of_them.start
        now.seconds = all_of_them.seconds
        means: dict[str, list[float]] = all_of_them.means  # type: ignore[assignment]
        now.means = {name: each[self.number] for name, each in means.items()}
        self._take(all_of_them.optimizer)
        if self.supervisor(now):
            self.end()
        return self.stopped

    def end(self) -> None:
        """Keeps what resuming takes."""
        if self.stopped:
            return
        self.stopped = True
        self.supervisor.save(self.progress)
        self.callbacks.tell("finish", self.job.recipe.model, self.supervisor.epoch)

    def _take(self, optimizer: torch.optim.Optimizer) -> None:
        """What the optimiser knows of this one."""
        mine = self.job.optimizer
        for group, of_all in zip(mine.param_groups, optimizer.param_groups, strict=True):
            group["lr"] = of_all["lr"]
        for own, stacked in zip(
            self.job.recipe.model.parameters(), self.whole.stacked, strict=True
        ):
            state = optimizer.state[stacked]
            mine.state[own] = {n: self._share(v, stacked) for n, v in state.items()}

    def _share(self, value: object, stacked: Tensor) -> object:
        if not isinstance(value, Tensor):
            return value
        return (value[self.number] if value.shape == stacked.shape else value).clone()
