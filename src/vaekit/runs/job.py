"""A training, ready to go, alone or stacked with those of other seeds.

Everything that can be refused is refused before a file is written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.data import MAPPED, Batches, Dataset, DataSpec, Loader, card, from_value, prepare, read
from vaekit.distributions import Distribution, Offer
from vaekit.errors import VaekitError
from vaekit.evaluate import is_likelihood
from vaekit.models import rows_at_once
from vaekit.objectives import players, refuse_critic, weights
from vaekit.recipes import Recipe, likelihood_spec
from vaekit.registry import text
from vaekit.runs.config import COMPOSED, Config
from vaekit.runs.folder import RunFolder, environment, git_state
from vaekit.runs.saving import config_json, made_of
from vaekit.runs.several import Task
from vaekit.torchutil import find_device, rng
from vaekit.training import (
    Best,
    Callback,
    Callbacks,
    Progress,
    Schedule,
    Supervisor,
    Together,
    fit,
    interruptible,
    make_average,
    make_critic,
    make_optimizer,
    make_schedules,
    refuse_capture,
    refuse_graphs,
    targets,
)

TOO_LARGE = re.compile("memory|overflow|numel|invalid size", re.IGNORECASE)
ROWS = ("train", "validation", "test")
REACH = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, math.inf)}  # of --mean


@dataclass(frozen=True, eq=False)
class Job:
    """A training, ready to go."""

    config: Config
    folder: RunFolder
    source: Dataset  # as it is stored
    data: Dataset  # as the options ask for it
    card: dict[str, Any]  # of the data before that
    spec: DataSpec
    recipe: Recipe
    device: torch.device
    batches: Batches | Loader
    optimizer: torch.optim.Optimizer
    critic: torch.optim.Optimizer | None
    schedules: dict[str, Schedule]
    asked: dict[str, float]  # the weights of the objective, before a schedule moves them
    warm: int  # the step at which the warm-up is over
    px: Distribution  # p(x|z) of one row

    def to_json(self) -> dict[str, Any]:
        """What config.json holds."""
        return config_json(self.config, self.spec, self.card["sha256"])

    @property
    def steps(self) -> int:
        return self.config.training.epochs * len(self.batches)

    def validation(self) -> Batches | None:
        held_out = self.data.validation
        if held_out is None:
            return None
        size = max(self.config.training.batch_size, 500)
        size = min(size, len(held_out), rows_at_once(self.recipe.model))
        while len(held_out) > size and len(held_out) % size == 1:
            size += 1  # Batches drops a lone last row
        return Batches(held_out, size, shuffle=False, device=self.device)

    def sample(self) -> Batches:
        """Training rows that stand in for held-out ones where the latent is measured."""
        rows = self.data.train.take(torch.arange(min(1000, len(self.data.train))))
        size = min(500, rows_at_once(self.recipe.model))
        return Batches(rows, size, shuffle=False, device=self.device)


def make_job(
    config: Config, folder: RunFolder, *, value: Any = None, **given: nn.Module | None
) -> Job:
    """Data, model and optimizer; everything that can be refused is, before a file is written.

    `value` are data that come from no path; `given` are the model and the objective of a composed
    run, where config.json has none.
    """
    options = config.training
    device = find_device(options.device)
    source = read(config.data) if value is None else from_value(value, config.data)
    data = prepare(source, config.data)
    spec = data.spec()
    recipe = _built(config, spec, device, **given)
    px = (
        _example(recipe, spec)
        if config.recipe == COMPOSED
        else recipe.model.example(spec.context).px
    )
    _check_range(recipe, data, px)
    model, objective = recipe.model, recipe.objective
    batches = data.batches(options.batch_size, seed=options.seed, device=device)
    steps = options.epochs * len(batches)
    schedules, warm = make_schedules(options, objective, steps, len(batches))
    targets(schedules, model, objective)
    asked = {path: getattr(*at).item() for path, at in weights(objective).items()}
    optimizer, critic = _optimizer(config, players(model, objective)[0]), make_critic(objective)
    refuse_graphs(objective, options.compile, options.capture)
    if options.capture:
        refuse_capture(optimizer, device)
    known = card(source), spec, recipe, device
    return Job(
        config, folder, source, data, *known, batches, optimizer, critic, schedules, asked, warm, px
    )


def _optimizer(config: Config, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    options = config.training
    return make_optimizer(
        options.optimizer,
        weights,
        lr=options.lr,
        weight_decay=options.weight_decay,
        more=options.optimizer_options,
    )


def _built(
    config: Config, spec: DataSpec, device: torch.device, **given: nn.Module | None
) -> Recipe:
    """The recipe on its device, or the refusal of one that is too large for it."""
    try:
        recipe = made_of(config, spec, **given)
        recipe.model.to(device)
        recipe.objective.to(device)
    except (MemoryError, OverflowError, RuntimeError) as error:
        if not TOO_LARGE.search(f"{type(error).__name__} {error}"):
            raise
        size = ""
        if config.recipe != COMPOSED:
            net = text(config.parts["net"], brief="net")
            size = f" (latent {config.parts['latent']}, net {net})"
        raise VaekitError(
            f"the model{size} does not fit into the memory of {device}: take smaller ones."
        ) from error
    return recipe


def _example(recipe: Recipe, spec: DataSpec) -> Distribution:
    """p(x|z) of one row; a refusal where a composed model does not fit the data."""
    shape = getattr(recipe.model, "x_shape", None)
    if shape != spec.shape:
        raise VaekitError(
            f"the model takes x of the shape {shape}; the rows of {spec.name} are {spec.shape}: "
            "build it to that, or take other data."
        )
    try:
        px = recipe.model.example(spec.context).px
    except (RuntimeError, TypeError, AttributeError) as error:
        asked = f" and a context {spec.context}" if spec.context else ""
        why = str(error).partition("\n")[0]
        raise VaekitError(
            f"the model cannot pass over one x of the shape {shape}{asked}: {why}"
        ) from error
    if px.space.kind == "counts" and spec.kind != "counts":
        raise VaekitError(
            f"{type(px).__name__} takes counts; the data {spec.name} are of kind {spec.kind}: "
            "take another likelihood."
        )
    return px


def _check_range(recipe: Recipe, data: Dataset, px: Distribution) -> None:
    """Refuses rows that are no numbers, or outside what the likelihood can score."""
    name, space = type(px).__name__, px.space
    if data.train.values.dequantize and space.discrete:
        raise VaekitError(
            f"--dequantize is for densities; {name} is a likelihood of levels: leave it."
        )
    for which, split in data.splits.items():
        low, high = split.x_bounds
        if which == "train" and data.stream is not None and split.values.loc is None:
            low, high = split.values.ends(torch.tensor(data.stream.bounds).to(split.images.dtype))
        gaps = Offer.GAPS in recipe.model.offers
        if not (math.isfinite(low) and math.isfinite(high)) and not gaps:
            raise VaekitError(f"the {which} rows of {data.name} hold NaN or infinite values.")
        if space.kind == "pixels" and (low < 0 or high > 1):
            raise VaekitError(
                f"{name} takes values in [0, 1]; the {which} rows of {data.name} "
                f"lie in [{low:.3g}, {high:.3g}]: {_to_unit(data)}, or another likelihood, as "
                "--likelihood gaussian."
            )


def _to_unit(data: Dataset) -> str:
    """How the values of these data come into [0, 1]."""
    if data.train.images.ndim > 2:
        return "take --range 0,1 for images"
    return "write the rows in [0, 1], as (x + 1) / 2 where they were scaled to [-1, 1]"


def describe(job: Job) -> dict[str, Any]:
    """What run.json holds."""
    return {
        "environment": environment(job.device),
        "git": git_state(),
        "notes": _notes(job),
        "seed": job.config.training.seed,
        "data": {
            **{name: job.card[name] for name in ("source", "note", "sha256")},
            **{name: job.data.rows.get(name, 0) for name in ROWS},
            "card": job.card,
        },
        "parameters": sum(p.numel() for p in job.recipe.model.parameters()),
    }


def _notes(job: Job) -> list[str]:
    """What is worth knowing before the training; none of it stops it."""
    rows, size = job.data.rows["train"], job.batches.batch_size
    notes = []
    if size > rows:
        notes.append(
            f"a batch of {size} is more than the {rows} training rows: each step takes all of them."
        )
    if not is_likelihood(job.px.space, job.data.kind):
        notes.append(
            f"{type(job.px).__name__} is not a likelihood of "
            f"{job.data.kind} data: the numbers compare only with the same loss on the same data."
        )
    if why := job.config.recipe == COMPOSED and job.config.parts.get("why"):
        notes.append(f"this run opens with model= alone, as vaekit.load(RUN, model=...): {why}")
    return [*notes, *_notes_of_values(job)]


def _notes_of_values(job: Job) -> Iterator[str]:
    """Where the values that the model sees are not those of the file, or out of its reach."""
    low, high = job.data.train.x_bounds
    if job.card["note"].endswith(MAPPED) and low >= 0:
        yield (
            f"the images of {job.data.name} are stored from -1 to 1; the model sees (x + 1) / 2, "
            "in [0, 1] (--range -1,1 gives it the stored values)."
        )
    if job.config.recipe == COMPOSED:
        family = getattr(getattr(job.recipe.model, "likelihood", None), "family", None)
        mean = getattr(family, "mean", "identity")
    else:
        mean = likelihood_spec(job.config.parts, job.data.kind).get("mean", "identity")
    least, most = REACH.get(mean, (-math.inf, math.inf))
    if low < least or high > most:
        yield (
            f"mean={mean} cannot leave [{least:g}, {most:g}], and the rows of {job.data.name} "
            f"lie in [{low:.3g}, {high:.3g}]: what lies outside is taken for noise; take "
            f"mean=identity, or {_to_unit(job.data)}."
        )


def supervisor(job: Job, callbacks: Sequence[Callback], every: float = 5.0) -> Supervisor:
    """What looks after a training."""
    return Supervisor(
        job.folder,
        Best(job.recipe.objective.monitor, job.config.training.patience, after=job.warm),
        validation=job.validation(),
        seed=job.config.training.seed,
        every=every,
        sample=job.sample(),
        callbacks=callbacks,
    )


def optimize(
    job: Job, state: dict[str, Any] | None, callbacks: Callbacks, *, every: float = 5.0
) -> Progress:
    """Runs the loop to its end, to an early stop, or to Ctrl-C; the last state is saved.

    Args:
        job: what is trained.
        state: the checkpoint that it goes on from, or None.
        callbacks: are told how it goes.
        every: the least seconds between checkpoints.
    """
    options, recipe = job.config.training, job.recipe
    watcher = supervisor(job, callbacks, every)
    if state is not None:
        watcher.restore(state)
    callbacks.tell("begin", recipe.model, None if state is None else watcher.epoch)
    first = state["progress"]["step"] if state else 0
    steps = first if watcher.best.exhausted(watcher.epoch) else job.steps
    with interruptible() as pressed:

        def after_step(progress: Progress) -> bool:
            callbacks.tell("step", progress)
            return pressed()

        callbacks.tell("started", options.epochs, steps, first)
        if state is not None and first >= steps:
            done = f"it has its {options.epochs} epochs; ask for more epochs to go on"
            early = f"no epoch was better for {options.patience}, its patience"
            why = early if watcher.best.exhausted(watcher.epoch) else done
            callbacks.tell("note", f"{job.folder.path} is finished: {why}.")
        progress = fit(
            recipe.model,
            recipe.objective,
            job.batches,
            steps=steps,
            optimizer=job.optimizer,
            critic=job.critic,
            schedules=job.schedules,
            clip=options.clip,
            average=make_average(recipe.model, options.ema),
            on_epoch=watcher,
            on_step=after_step,
            resume=state["progress"] if state else None,
            precision=options.precision,
            compiled=options.compile,
            captured=options.capture,
            fast=options.fast,
        )
        if not progress.interrupted:
            callbacks.tell("finish", recipe.model, watcher.epoch)
        watcher.save(progress)
    return progress


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
    jobs = []
    for task in tasks:
        asked = task.config.training
        with rng(asked.seed, find_device(asked.device), None):  # for the weights it begins with
            jobs.append(make_job(task.config, RunFolder(task.out)))
    first = jobs[0]
    options = first.config.training
    _refuse(first)
    with ExitStack() as stack, interruptible() as pressed:
        stack.enter_context(rng(options.seed, first.device, threads))
        rows = [job.batches for job in jobs if isinstance(job.batches, Batches)]  # of no loader
        whole = Together([job.recipe.model for job in jobs], first.recipe.objective, rows)
        targets(first.schedules, whole, whole.objective)
        for job in jobs:
            stack.enter_context(job.folder.locked(create=True))
            job.folder.create(job.to_json(), describe(job))
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
            optimizer=_optimizer(first.config, whole.parameters()),
            schedules=first.schedules,
            on_epoch=after_epoch,
            precision=options.precision,
            captured=options.capture,
        )
        for member in members:
            member.end()
        if pressed():
            raise KeyboardInterrupt


def _refuse(job: Job) -> None:
    options = job.config.training
    refuse_critic(job.recipe.objective, "leave --together")
    for name, unset in (("clip", None), ("ema", None), ("compile", False)):
        if getattr(options, name) is not unset:
            raise VaekitError(f"seeds that train together take no --{name}: leave one of the two.")
    if options.optimizer.lower() not in ELEMENTWISE:
        raise VaekitError(
            f"the steps of {options.optimizer} would mix seeds that train together: leave "
            f"--together, or take one of {', '.join(ELEMENTWISE)}."
        )


class _Member:
    """One of them, as the training that it would be alone."""

    def __init__(self, job: Job, whole: Together, number: int, callbacks: Callbacks) -> None:
        self.job, self.whole, self.number = job, whole, number
        self.callbacks = callbacks
        self.supervisor = supervisor(job, callbacks)
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
        """What the optimizer knows of this one."""
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
