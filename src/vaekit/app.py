"""vaekit.train, vaekit.resume and vaekit.load: recipe, data, loop, run folder and report."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vaekit.config import Config
from vaekit.data import Batches, Dataset, DataSpec, fingerprint, prepare, read
from vaekit.errors import VaekitError
from vaekit.options import Training, checked
from vaekit.recipes import Recipe, build
from vaekit.run import Run, open_run
from vaekit.training.best import Best
from vaekit.training.checkpoint import load_state
from vaekit.training.folder import RunFolder, environment, git_state, next_folder
from vaekit.training.listener import Listener
from vaekit.training.loop import Progress, fit
from vaekit.training.optimisers import make_optimizer
from vaekit.training.schedules import Schedule
from vaekit.training.setup import (
    find_device,
    interruptible,
    make_average,
    make_schedules,
    random_numbers,
)
from vaekit.training.supervise import Supervisor
from vaekit.training.update import schedule_target

__all__ = ["Run", "load", "resume", "train"]

ROWS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class _Job:
    """A training, ready to go."""

    config: Config
    folder: RunFolder
    data: Dataset  # as the options ask for it
    sha256: str  # of the rows before that
    spec: DataSpec
    recipe: Recipe
    device: torch.device
    batches: Batches
    optimizer: torch.optim.Optimizer
    schedules: dict[str, Schedule]
    warm: int  # the step at which the warm-up is over

    @property
    def steps(self) -> int:
        return self.config.training.epochs * len(self.batches)

    def validation(self) -> Batches | None:
        held_out = self.data.validation
        if held_out is None:
            return None
        size = min(max(self.config.training.batch_size, 500), len(held_out))
        size += len(held_out) % size == 1  # Batches drops a lone last row
        return Batches(held_out, size, shuffle=False, device=self.device)

    def sample(self) -> Batches:
        """Training rows that stand in for held-out ones where the latent is measured."""
        rows = self.rows[0].take(torch.arange(min(1000, len(self.rows[0]))))
        return Batches(rows, 500, shuffle=False, device=self.device)


def _prepare(config: Config, folder: RunFolder) -> _Job:
    """Data, model and optimiser; everything that can be refused is, before a file is written."""
    options = config.training
    device = find_device(options.device)
    found = read(config.data)
    data = prepare(found, config.data, options.seed)
    spec = data.spec()
    recipe = build(config.recipe, spec, config.own, net=config.net, pixels=config.pixels)
    _check_range(recipe, data)
    model, objective = recipe.model.to(device), recipe.objective.to(device)
    batches = Batches(data.train, options.batch_size, seed=options.seed, device=device)
    steps = options.epochs * len(batches)
    schedules, warm = make_schedules(options, objective, steps, len(batches))
    for name in schedules.keys() - {"lr"}:
        schedule_target(name, objective, model)
    parameters = [*model.parameters(), *objective.parameters()]
    optimizer = make_optimizer(
        options.optimizer,
        parameters,
        lr=options.lr,
        weight_decay=options.weight_decay,
        more=options.optimizer_options,
    )
    sha256 = fingerprint(found)
    return _Job(
        config, folder, data, sha256, spec, recipe, device, batches, optimizer, schedules, warm
    )


def _check_range(recipe: Recipe, data: Dataset) -> None:
    """Refuses rows that are no numbers, or outside what the likelihood can score."""
    family = recipe.model.likelihood.family
    if data.train.values.dequantise and family.space.parameter is not None:
        raise VaekitError(
            f"--dequantise is for densities; {type(family).__name__} is a likelihood of levels: "
            "leave it."
        )
    for name, split in data.splits.items():
        low, high = split.x_bounds
        if not (math.isfinite(low) and math.isfinite(high)):
            raise VaekitError(f"the {name} rows of {data.name} hold NaN or infinite values.")
        if family.space.kind == "pixels" and (low < 0 or high > 1):
            raise VaekitError(
                f"{type(family).__name__} takes values in [0, 1]; the {name} rows of {data.name} "
                f"lie in [{low:.3g}, {high:.3g}]: take --range 0,1 for images, or another "
                "likelihood, as --likelihood gaussian."
            )


def _describe(job: _Job) -> dict[str, Any]:
    """What run.json holds."""
    return {
        "environment": environment(job.device),
        "git": git_state(),
        "notes": [],
        "seed": job.config.training.seed,
        "data": {
            "spec": job.spec.to_json(),
            "source": job.data.source,
            "note": job.data.note,
            **{name: len(job.data.splits.get(name, ())) for name in ROWS},
            "sha256": job.sha256,
        },
        "parameters": sum(p.numel() for p in job.recipe.model.parameters()),
    }


def _optimise(
    job: _Job, state: dict[str, Any] | None, every: float, listener: Listener
) -> Progress:
    """Runs the loop to its end, to an early stop, or to Ctrl-C; the last state is saved."""
    options, recipe = job.config.training, job.recipe
    supervisor = Supervisor(
        job.folder,
        Best(recipe.objective.monitor, options.patience, after=job.warm),
        validation=job.validation(),
        seed=options.seed,
        every=every,
        sample=job.sample(),
        listeners=[listener.record],
        note=listener.note,
    )
    if state is not None:
        supervisor.restore(state)
    first = state["progress"]["step"] if state else 0
    steps = first if supervisor.best.exhausted(supervisor.epoch) else job.steps
    with interruptible() as pressed:

        def after_step(progress: Progress) -> bool:
            listener.step(progress)
            return pressed()

        listener.started(options.epochs, steps, first)
        progress = fit(
            recipe.model,
            recipe.objective,
            job.batches,
            steps=steps,
            optimizer=job.optimizer,
            schedules=job.schedules,
            clip=options.clip,
            average=make_average(recipe.model, options.ema),
            on_epoch=supervisor,
            on_step=after_step,
            resume=state["progress"] if state else None,
        )
        supervisor.save(progress)
    return progress


def _finish(job: _Job, progress: Progress, report: bool) -> Run:
    run = open_run(job.folder.path, device=str(job.device), weights=None)
    if report and not progress.interrupted:
        from vaekit.report.of_run import write_run_report

        write_run_report(run)
    return run


def _go(
    config: Config,
    folder: RunFolder,
    listener: Listener | None,
    *,
    state: dict[str, Any] | None = None,
    create: bool = False,
    report: bool = True,
    every: float = 5.0,
) -> Run:
    options = config.training
    listener = listener or Listener()
    with random_numbers(options.seed, find_device(options.device), options.threads):
        job = _prepare(config, folder)
        with folder.locked(create=create):
            if create:
                folder.create(config.to_json(), _describe(job))
            elif folder.read_json("run")["data"]["sha256"] != job.sha256:
                raise VaekitError(f"the data set {job.data.name} is not the one {folder.path} saw.")
            progress = None
            try:
                progress = _optimise(job, state, every, listener)
            finally:
                listener.ended(progress is None or progress.interrupted)
            return _finish(job, progress, report)


def train(
    recipe: str = "vae",
    *,
    out: str | Path | None = None,
    listener: Listener | None = None,
    report: bool = True,
    checkpoint_seconds: float = 5.0,
    **options: Any,
) -> Run:
    """Trains a recipe, as `vaekit train RECIPE` does, and returns the run.

    Args:
        recipe: a recipe's name: see `vaekit recipes`.
        out: the run folder; by default the next free one under `runs/`.
        listener: is told how it goes.
        report: whether to write report.html at the end.
        checkpoint_seconds: the least time between checkpoints.
        options: by their names on the command line, with underscores: `latent=16`,
            `data="mnist"`, `hidden=(512, 256)`, `epochs=20`, ...

    Raises:
        VaekitError: for anything that can be mended, in one line.
        DivergedError: where the loss is no number any more.

    Example:
        >>> import tempfile, vaekit
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = vaekit.train("vae", data="digits", latent=2, epochs=1, out=folder + "/run")
        ...     run.sample(4).shape
        torch.Size([4, 1, 8, 8])
    """
    config = Config.flat(recipe, **options)
    name = f"{recipe}-{Path(config.data.data).stem}"
    folder = RunFolder(next_folder(Path("runs"), name) if out is None else out)
    return _go(config, folder, listener, create=True, report=report, every=checkpoint_seconds)


def resume(
    run: str | Path,
    *,
    epochs: int | None = None,
    listener: Listener | None = None,
    report: bool = True,
    checkpoint_seconds: float = 5.0,
) -> Run:
    """Continues a run exactly where its last checkpoint is; with `epochs`, to that many in all.

    On the CPU, with the same threads and versions, the weights are bit for bit those of a run
    that was never interrupted. More epochs stretch a learning-rate schedule that spans the run.
    A run that stopped early, with patience, stays stopped.

    Raises:
        VaekitError: where this is no run folder, or its data or checkpoint are not the ones.
    """
    folder = RunFolder(run)
    config = Config.from_json(folder.read_json("config"))
    if epochs is not None:
        training = checked(Training, {**config.training.model_dump(), "epochs": epochs})
        config = replace(config, training=training)
    with folder.locked():
        if epochs is not None:
            folder.write_json("config", config.to_json())
        state = load_state(folder.last) if folder.last.exists() else None
        if state is None:
            folder.rewind(-1)
        return _go(config, folder, listener, state=state, report=report, every=checkpoint_seconds)


def load(run: str | Path, *, weights: str | None = None, device: str = "auto") -> Run:
    """The trained model of a run folder, with what is known of it.

    Args:
        run: the run folder.
        weights: "best" (the default where rows were held out), "last" or "ema".
        device: where the model goes.

    Raises:
        VaekitError: where this is no run folder, or the weights are missing or of another model.
    """
    return open_run(run, weights=weights, device=device)
