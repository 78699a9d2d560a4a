"""A training, ready to go: everything that can be refused is refused before a file is written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from vaekit import training
from vaekit._io import note, out_of_memory, stamp_of
from vaekit._torchutil import cores, find_device, refuse_bf16
from vaekit.data import (
    MAPPED,
    Batches,
    Dataset,
    DataSpec,
    Loader,
    Split,
    card,
    chosen_changes,
    from_value,
    prepare,
    read,
    sets,
    unlike,
)
from vaekit.distributions import Distribution
from vaekit.errors import VaekitError
from vaekit.evaluate import is_likelihood
from vaekit.models import rows_at_once
from vaekit.objectives import players
from vaekit.objectives import weights as weights_of
from vaekit.recipes import Recipe
from vaekit.runs._building import build_on, check_range, example_of, to_unit
from vaekit.runs._config import COMPOSED, Config
from vaekit.runs._folder import RunFolder, environment, git_state
from vaekit.runs._lengths import epochs_of, in_minutes, with_epochs
from vaekit.runs._memory import StepMemory
from vaekit.runs._moves import place_of
from vaekit.runs._saved_models import config_json
from vaekit.runs._starting import freeze

ROWS = ("train", "validation", "test")
FLIPPED = (
    "training images are flipped left and right at random, as they look the same mirrored; "
    "`augment=none` leaves them."
)
REACH = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, math.inf)}  # of a mean


@dataclass(frozen=True, eq=False)
class Job:
    """A training, ready to go.

    Attributes:
        config, folder: what is trained, and where.
        source, data: the data set as it is stored, and as the options prepare it.
        card: what is known of the data as they are stored.
        spec: what the recipe knows of the prepared data.
        recipe, device: the model and the objective, and where they are.
        batches: the training rows.
        optimizer, critic: the optimizers of the model and of a second player.
        schedules: by the weight that they fill.
        weights: those of the objective, before a schedule moves them.
        warm: the step at which the warm-up is over.
        px: p(x|z) of one row.
        memory: what a step takes.
        frozen: the parts of the model whose weights stay.
    """

    config: Config
    folder: RunFolder
    source: Dataset
    data: Dataset
    card: dict[str, Any]
    spec: DataSpec
    recipe: Recipe
    device: torch.device
    batches: Batches | Loader
    optimizer: torch.optim.Optimizer
    critic: torch.optim.Optimizer | None
    schedules: dict[str, training.Schedule]
    weights: dict[str, float]
    warm: int
    px: Distribution
    memory: StepMemory
    frozen: tuple[nn.Module, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the content of config.json."""
        return config_json(self.config, self.spec, self.card["sha256"])

    def given(self) -> dict[str, set[str]]:
        """Return the values that each option of the parts and of the training has, by its name."""
        found: dict[str, set[str]] = {}

        def walk(name: str, value: Any) -> None:
            if isinstance(value, Mapping):
                for inner, each in value.items():
                    walk(inner, each)
            else:
                found.setdefault(name, set()).add(str(value))

        walk("", self.config.parts)
        walk("", self.config.training.model_dump())
        found["augment"] = set(self.config.data.changes)
        return found

    def notes(self) -> Iterator[str]:
        """Yield what is worth knowing before the training; none of it stops it."""
        if (threads := self.config.training.threads or 0) > cores():
            yield f"got `threads={threads}`; there are {cores()} cores: that many are used."
        if (part := self.config.training.freeze) != "none" and not self.config.training.init_from:
            yield f"`freeze={part}` without `init_from=RUN`: the {part} stays as it was drawn."
        data, rows, size = self.data, self.data.rows["train"], self.batches.batch_size
        if minutes := self.config.training.minutes:
            many = f"{self.config.training.epochs} epochs of {len(self.batches):,} steps"
            yield f"what fits in {minutes:g} minutes here: {many}; they are kept in config.json."
        if size > rows:
            more = f"a batch of {size} is more than the {rows} training rows"
            yield f"{more}: each step takes all of them."
        if not is_likelihood(self.px.space, data.kind):
            yield (
                f"{type(self.px).__name__} is not a likelihood of {data.kind} data: the numbers "
                "compare only with the same loss on the same data."
            )
        if why := self.config.recipe == COMPOSED and self.config.parts.get("why"):
            yield f"this run opens with model= alone, as vaekit.load(RUN, model=...): {why}"
        if self.config.data.data not in sets() and (other := unlike(data)):
            yield (
                f"the test rows of {data.name} are unlike its training rows: {other}; their "
                "numbers are then of other data than what was learned. See how they were split."
            )
        low, high = data.train.x_bounds
        if said := "; ".join(part for part in data.said.split("; ") if part != MAPPED):
            yield f"{data.name}: {said}."
        if MAPPED in data.said and low >= 0:
            yield (
                f"the images of {data.name} are stored from -1 to 1; the model sees (x + 1) / 2, "
                "in [0, 1] (`range='-1,1'` gives it the stored values)."
            )
        family = getattr(getattr(self.recipe.model, "likelihood", None), "family", None)
        mean = getattr(family, "mean", "identity")
        least, most = REACH.get(mean, (-math.inf, math.inf))
        if low < least or high > most:
            yield (
                f"mean={mean} cannot leave [{least:g}, {most:g}], and the rows of {data.name} lie "
                f"in [{low:.3g}, {high:.3g}]: what lies outside is taken for noise; take "
                f"mean=identity, or {to_unit(data)}."
            )

    def measured(self, rows: Split | None) -> Batches | None:
        """Return the batches in which rows are measured after an epoch, if there are some.

        An objective whose values depend on the size of a batch gets batches of the training's.
        """
        if rows is None:
            return None
        size = self.config.training.batch_size
        if not self.recipe.objective.coupled:
            size = min(max(size, 500), rows_at_once(self.recipe.model))
        size = min(size, len(rows))
        while len(rows) > size and len(rows) % size == 1:
            size += 1  # Batches drops a lone last row
        return Batches(rows, size, shuffle=False, device=self.device)

    def sample(self) -> Batches:
        """Return training rows that stand in for held-out ones where the latent is measured."""
        batches = self.measured(self.data.train.take(torch.arange(min(1000, len(self.data.train)))))
        assert batches is not None
        return batches


def make_job(
    config: Config, folder: RunFolder, *, value: Any = None, **parts: nn.Module | None
) -> Job:
    """Make data, model and optimizer, or refuse what does not fit; no file is written.

    Args:
        config, folder: what is trained, and where.
        value: data that come from no path.
        parts: the model and the objective of a composed run, where config.json has none.

    Raises:
        VaekitError: for data, a model and options that do not go together.
    """
    options = config.training
    device = find_device(options.device)
    new = not (folder.path / "config.json").exists()  # one that goes on is as it was
    if new:
        refuse_bf16(options.precision, device)
    source = read(config.data) if value is None else from_value(value, config.data)
    chosen = dict(source.chosen)
    if new and config.data.augment is None and source.kind == "color":
        chosen["augment"] = chosen_changes(source, config.data.limit) or ("none",)
        if chosen["augment"] == ("flip",):
            note(FLIPPED)
    if chosen:  # so that it is the same for whoever opens the run
        config = replace(config, data=config.data.model_copy(update=chosen))
    data = prepare(source, config.data)
    spec = data.spec()
    config = config.by_data(spec)
    recipe = build_on(config, spec, device, **parts)
    model, objective = recipe.model, recipe.objective
    frozen = freeze(model, options.freeze)
    composed = config.recipe == COMPOSED
    px = example_of(recipe, spec) if composed else model.example(spec.context).px
    check_range(recipe, data, px)
    batches = data.batches(options.batch_size, seed=options.seed, device=device)
    if batches.batch_size == 1 and any(isinstance(part, _BatchNorm) for part in model.modules()):
        raise VaekitError("got `batch_size=1` for a net of `norm=batch`; expected 2 or more.")
    training.rows_of_a_step(batches, objective)
    timed = options.epochs is None and options.minutes
    epochs = options.epochs or epochs_of(options.preset, len(batches), data.kind)
    if options.epochs is None and not timed:
        options = with_epochs(options, epochs)
    steps = epochs * len(batches)
    schedules, warm = training.make_schedules(options, objective, steps, len(batches))
    training.targets(schedules, model, objective)
    how: Any = {"lr": options.lr, "weight_decay": options.weight_decay}
    how |= {"more": options.optimizer_options}
    still = {id(p) for part in frozen for p in part.parameters()}
    moved = [p for p in players(model, objective)[0] if id(p) not in still]
    optimizer = training.make_optimizer(options.optimizer, moved, **how)
    critic = training.make_critic(objective)
    training.refuse_graphs(model, objective, options.compile, options.capture)
    if options.capture:
        training.refuse_capture(optimizer, device)
    memory = StepMemory.of(recipe, spec.context)
    memory.check(min(batches.batch_size, data.rows["train"]))
    weights = {path: getattr(*at).item() for path, at in weights_of(objective).items()}
    config = replace(config, training=options)
    job = Job(
        *(config, folder, source, data, card(source), spec, recipe, device, batches),
        *(optimizer, critic, schedules, weights, warm, px, memory, frozen),
    )
    return in_minutes(job) if timed else job


def facts(job: Job) -> dict[str, Any]:
    """Return how many parameters are trained, and of the data a card and the rows of each split."""
    rows = {name: job.data.rows.get(name, 0) for name in ROWS}
    parameters = sum(p.numel() for p in job.recipe.model.parameters())
    return {"data": {**rows, "card": job.card}, "parameters": parameters}


def describe(job: Job) -> dict[str, Any]:
    """Return the content of run.json."""
    known = facts(job)
    return {
        "environment": environment(job.device),
        "git": git_state(),
        "notes": list(job.notes()),
        "seed": job.config.training.seed,
        "data": {
            **{name: job.card[name] for name in ("source", "note", "sha256")},
            "stamp": stamp_of(job.source.source),
            **place_of(job.source.source, job.folder.path),
            "tests": place_of(job.config.data.test_data or "", job.folder.path),
            **known["data"],
        },
        "parameters": known["parameters"],
    }


def supervisor(job: Job, callbacks: training.Callbacks) -> training.Supervisor:
    """Return what validates, saves and records after each epoch of a training."""
    options = job.config.training
    return training.Supervisor(
        job.folder,
        training.Best(job.recipe.objective.monitor, options.patience, after=job.warm),
        validation=job.measured(job.data.validation),
        sample=job.sample(),
        test=job.measured(job.data.test) if options.test_bound else None,
        seed=options.seed,
        every=options.checkpoint_seconds,
        keep=options.keep_every,
        callbacks=callbacks,
        lr=options.lr,
        given=job.given(),
    )


def optimize(
    job: Job, state: dict[str, Any] | None, callbacks: training.Callbacks
) -> training.Progress:
    """Run the loop to its end, to an early stop, or to Ctrl-C; the last state is saved.

    Args:
        job: what is trained.
        state: the checkpoint that it goes on from, or None.
        callbacks: are told how it goes.
    """
    options, model, objective = job.config.training, job.recipe.model, job.recipe.objective
    epochs = options.epochs or 0  # which `make_job` sets
    watcher, first = supervisor(job, callbacks), 0
    shift = 0 if state is None else state["progress"].get("shift", 0)
    steps = epochs * len(job.batches) - shift
    if state is None:
        watcher.begin(model, objective)
    else:
        watcher.restore(state)
        first = state["progress"]["step"]
    early = watcher.best.exhausted(watcher.epoch)
    steps = first if early else steps
    callbacks.tell("begin", model, None if state is None else watcher.epoch)
    callbacks.tell("started", epochs, steps, first)
    if state is not None and first >= steps:
        why = f"it has its {epochs} epochs; ask for more epochs to go on"
        why = f"no epoch was better for {options.patience}, its patience" if early else why
        callbacks.tell("note", f"{job.folder.path} is finished: {why}.")
    pace, per_epoch = training.Pace(), len(job.batches)
    waits = job.device.type == "cpu" and torch.get_num_threads() > 1
    with training.interruptible() as pressed:

        def after_step(progress: training.Progress) -> bool:
            if slower := pace.end():
                callbacks.tell("note", training.BUSY.format(slower, job.folder.path))
            callbacks.tell("step", progress)
            if progress.place % per_epoch and progress.step < steps:  # else an epoch ended
                watcher.step(progress)
                if waits:
                    pace.begin()
            return pressed()

        try:
            progress = training.fit(
                *(model, objective, job.batches),
                steps=steps,
                optimizer=job.optimizer,
                critic=job.critic,
                schedules=job.schedules,
                clip=options.clip,
                average=training.make_average(model, options.ema),
                on_epoch=watcher,
                on_step=after_step,
                resume=state and state["progress"],
                precision=options.precision,
                compiled=options.compile,
                captured=options.capture,
                fast=options.fast,
                frozen=job.frozen,
            )
        except (MemoryError, RuntimeError) as error:
            if (asked := out_of_memory(error)) is None:
                raise
            raise job.memory.refused(job.batches.batch_size, asked) from None
        if not progress.interrupted:
            callbacks.tell("finish", model, watcher.epoch)
            if first < steps:
                for words in training.last_notes(job.folder.path, job.folder.records()):
                    callbacks.tell("note", words)
        watcher.save(progress)
    return progress
