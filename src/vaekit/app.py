"""vaekit.train, vaekit.resume and vaekit.load: recipe, data, loop, run folder and report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from vaekit.config import Config
from vaekit.errors import VaekitError
from vaekit.job import Job, describe, make_job
from vaekit.options import Data, Training, checked
from vaekit.run import Run, open_run
from vaekit.snapshots import Snapshots, snapshots_of
from vaekit.training.best import Best
from vaekit.training.checkpoint import check_state, load_state
from vaekit.training.folder import RunFolder, next_folder
from vaekit.training.listener import Listener
from vaekit.training.loop import Progress, fit
from vaekit.training.setup import find_device, interruptible, make_average, random_numbers
from vaekit.training.supervise import Supervisor

__all__ = ["Run", "load", "make_supervisor", "resume", "train"]


def _optimise(job: Job, state: dict[str, Any] | None, every: float, listener: Listener) -> Progress:
    """Runs the loop to its end, to an early stop, or to Ctrl-C; the last state is saved."""
    options, recipe = job.config.training, job.recipe
    film = snapshots_of(job)
    supervisor = make_supervisor(job, film, every, listener)
    if state is not None:
        supervisor.restore(state)
    if film:
        film.start(recipe.model, None if state is None else supervisor.epoch)
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
            precision=options.precision,
            compiled=options.compile,
            captured=options.capture,
        )
        if film and not progress.interrupted:
            film.keep(recipe.model, supervisor.epoch, last=True)
        supervisor.save(progress)
    return progress


def make_supervisor(
    job: Job, film: Snapshots | None, every: float, listener: Listener
) -> Supervisor:
    """What looks after a training."""
    options, recipe = job.config.training, job.recipe
    return Supervisor(
        job.folder,
        Best(recipe.objective.monitor, options.patience, after=job.warm),
        validation=job.validation(),
        seed=options.seed,
        every=every,
        sample=job.sample(),
        listeners=[listener.record],
        note=listener.note,
        keep=lambda progress, epoch: film.keep(recipe.model, epoch) if film else None,
    )


def _finish(job: Job, progress: Progress, report: bool) -> Run:
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
    changed: bool = False,
    report: bool = True,
    every: float = 5.0,
) -> Run:
    options = config.training
    listener = listener or Listener()
    with random_numbers(options.seed, find_device(options.device), options.threads):
        job = make_job(config, folder)
        with folder.locked(create=create):
            if create:
                folder.create(config.to_json(), describe(job))
            else:
                _check(job, state)
                if state is None:
                    folder.rewind(-1)
                if changed:
                    folder.write_json("config", config.to_json())
            for note in folder.read_json("run")["notes"] if create else ():
                listener.note(note)
            progress = None
            try:
                progress = _optimise(job, state, every, listener)
            finally:
                listener.ended(progress is None or progress.interrupted)
            return _finish(job, progress, report)


def _check(job: Job, state: dict[str, Any] | None) -> None:
    """Refuses to go on with other data or another model, before anything is written."""
    folder = job.folder
    if folder.read_json("run")["data"]["sha256"] != job.card["sha256"]:
        raise VaekitError(
            f"the data set {job.data.name} is not the one {folder.path} saw: restore that one, or "
            "train again with another --out."
        )
    if state is not None:
        check_state(folder.last, state, job.recipe.model, job.optimizer)


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
    folder.refuse_content()
    return _go(config, folder, listener, create=True, report=report, every=checkpoint_seconds)


def resume(
    run: str | Path,
    *,
    epochs: int | None = None,
    data_dir: str | Path | None = None,
    listener: Listener | None = None,
    report: bool = True,
    checkpoint_seconds: float = 5.0,
) -> Run:
    """Continues a run exactly where its last checkpoint is; with `epochs`, to that many in all.

    `data_dir` names the folder of its data set, where that has moved.

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
    if data_dir is not None:
        data = checked(Data, {**config.data.model_dump(), "data_dir": data_dir})
        config = replace(config, data=data)
    with folder.locked():
        state = load_state(folder.last) if folder.last.exists() else None
        return _go(
            config,
            folder,
            listener,
            state=state,
            changed=epochs is not None or data_dir is not None,
            report=report,
            every=checkpoint_seconds,
        )


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
