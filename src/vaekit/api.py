"""The verbs of vaekit: train, resume, load, sweep, reproduce: they compose all other rooms."""

from __future__ import annotations

import _thread
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import nn

from vaekit._borders import border
from vaekit._imports import Named
from vaekit._imports import load as load_imports
from vaekit._torchutil import find_device, keep_memory, rng
from vaekit._train_options import LANGUAGES
from vaekit.data import GIVEN, DataSpec, is_value, meant
from vaekit.errors import VaekitError, choose
from vaekit.models import Model
from vaekit.objectives import Objective
from vaekit.registry import checked as part
from vaekit.registry import make
from vaekit.report import Comparison, check_page, compare, snapshots_of, write_run_report
from vaekit.runs import (
    PAGE,
    Config,
    Job,
    Row,
    Run,
    RunFolder,
    TakenError,
    begun,
    carry_over,
    changed,
    check_reproduction,
    describe,
    facts,
    find_data,
    find_reproduction,
    folder_of,
    keep_model,
    make_job,
    next_folder,
    open_run,
    optimize,
    read_config,
    refuse_data,
    refuse_start,
    result_row,
    sketch,
    train_grid,
    train_seeds,
    trained,
)
from vaekit.training import (
    Callback,
    Callbacks,
    Notes,
    Progress,
    make_average,
)

if TYPE_CHECKING:
    from vaekit.signature import RecipeOptions, TrainOptions

__all__ = ["Run", "compare", "load", "reproduce", "resume", "save", "sweep", "train", "train_seeds"]


def _go(
    config: Config,
    folder: RunFolder,
    more: Sequence[Callback],
    *,
    state: dict[str, Any] | None = None,
    create: bool = False,
    before: Config | None = None,
    words: Sequence[str] = (),
    report: bool = True,
    lang: str = "en",
    **objects: Any,
) -> Run:
    """Train to the end, to an early stop or to Ctrl-C, and write what is known of the run then.

    Args:
        config, folder: what is trained, and where.
        more: the callbacks, besides the film of the run.
        state: the checkpoint that it goes on from.
        create: whether the run is new; one that is not is `locked` already.
        before: the config that it goes on with, where that was another one.
        words: what has changed, to be told and kept.
        report: whether to write report.html, in the language `lang`.
        objects: the model, objective and data that come from Python.
    """
    choose("language", lang, LANGUAGES)
    options = config.training
    keep_memory()
    with rng(options.seed, find_device(options.device), options.threads):
        job = make_job(config, folder, **objects)
        if create:
            job = begun(job)
        elif state is None:
            refuse_start(config.training.init_from, f"{folder.path} has no checkpoint, and began")
        with folder.locked(create=True) if create else nullcontext():
            if create:
                folder.create(job.to_json(), describe(job))
            else:
                _continue(job, state, before, words)
            film = snapshots_of(job)
            callbacks = Callbacks([*([film] if film else []), *(more or [Notes()])])
            callbacks.tell("opened", folder.path, job.to_json(), facts(job))
            for note in folder.read_json("run")["notes"] if create else words:
                callbacks.tell("note", note)
            progress: Progress | None = None
            try:
                progress = optimize(job, state, callbacks)
            finally:
                callbacks.tell("ended", progress is None or progress.interrupted)
            run = trained(job)
            if not progress.interrupted:
                try:
                    keep_model(run)
                    if report:
                        write_run_report(run, lang=lang)
                except KeyboardInterrupt:
                    what = f"`vaekit train --resume {folder.path}` writes what is missing"
                    raise KeyboardInterrupt(f"the training is done; {what}.") from None
            return run


def _checkpoint(
    folder: RunFolder, config: Config, spec: DataSpec, model: Any, objective: Any
) -> dict[str, Any] | None:
    """Return the checkpoint of a run, or None; one of another model takes no memory."""
    from vaekit.training import check_weights, load_checkpoint  # which a new training needs not

    if not os.path.lexists(folder.last):
        return None
    state = load_checkpoint(folder.last)
    with rng(0):
        empty = None if model else sketch(config, spec, objective=objective)
    if empty is not None:
        check_weights(folder.last, state, empty)
    return state


def _continue(
    job: Job, state: dict[str, Any] | None, before: Config | None, words: Sequence[str]
) -> None:
    """Make the folder ready to go on; refuse other data or another model before a file changes."""
    folder, recipe = job.folder, job.recipe
    if folder.read_json("run")["data"]["sha256"] != job.card["sha256"]:
        refuse_data(job.source, folder.path)
    if state is not None:
        from vaekit.training import check_state

        average = make_average(recipe.model, job.config.training.ema)
        how = (recipe.model, recipe.objective, job.optimizer, average, job.device)
        if before is not None:
            carry_over(state, job, before.training)
        check_state(folder.last, state, Progress(*how, critic=job.critic))
    try:
        folder.weights.unlink(missing_ok=True)  # until it is trained to its end again
    except OSError as error:
        raise VaekitError(
            f"cannot replace {folder.weights}: {error.strerror}; remove it."
        ) from error
    if state is None:
        folder.rewind(-1)
        folder.write_json("run", describe(job))  # it begins here and now
    if words:
        record, step = folder.read_json("run"), state["progress"]["step"] if state else 0
        record["notes"] = [*record["notes"], f"from step {step:,} on: {'; '.join(words)}"]
        folder.write_json("run", record)
    if before is not None:
        folder.write_json("config", job.to_json())


@border
def train(
    recipe: str | nn.Module = "vae",  # of which a `Model` alone is trained
    objective: str | Mapping[str, Any] | Objective | None = None,
    *,
    out: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    report: bool = True,
    import_: Named = (),
    lang: str = "en",
    **options: Unpack[TrainOptions],
) -> Run:
    """Train a recipe, as `vaekit train RECIPE` does, or a model; return the run.

    Args:
        recipe: a recipe's name: see `vaekit recipes`. Or a `Model` that was put together in
            Python, of networks of any kind: it is trained in place, from the weights it has.
        objective: what is maximized, as "iwae:samples=5", or an `Objective`; by default the
            recipe's, of a model the ELBO.
        out: the run folder; by default the next free one under `runs/`.
        callbacks: follow the training; by default its notes are logged, on the logger `vaekit`.
        report: whether to write report.html at the end.
        import_: files of your own parts, as `["mine.py"]`, and names of modules. The run keeps a
            copy of a file, and whoever opens the run names either in turn.
        lang: the language of the report.
        options: by their names on the command line, with underscores: `latent=16`,
            `data="mnist"`, `epochs=20`, ...

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
    imports = load_imports(import_)
    values: dict[str, Any] = {**options}
    data = options.get("data")
    if data is not None and is_value(data):
        values["data"] = GIVEN
    elif data is not None:
        values["data"] = meant(data, options.get("data_dir"))
    tests = options.get("test_data")
    if isinstance(tests, str | os.PathLike) and os.path.exists(tests):
        # It is found again from another folder.
        values["test_data"] = os.path.abspath(tests)
    objects: dict[str, Any] = {}
    if isinstance(recipe, str):
        values |= {} if objective is None else {"objective": objective}
        config = Config.flat(recipe, **values)
    else:
        if not isinstance(objective, Objective):
            objective = make("objective", part("objective", objective or "elbo"))
        objects = {"model": recipe, "objective": objective}
        config = Config.composed(**objects, **values)
    config = config.importing(imports)
    name = f"{config.recipe}-{Path(config.data.data).absolute().stem}"
    objects["value"] = data if config.data.data == GIVEN else None
    how: dict[str, Any] = {"report": report, "lang": lang}
    while True:
        folder = RunFolder(next_folder(Path("runs"), name) if out is None else out)
        try:
            folder.refuse_content()
            return _go(config, folder, callbacks, create=True, **how, **objects)
        except TakenError:  # the next free one may be another training's by now
            if out is not None:
                raise


@border
def resume(
    run: str | Path,
    *,
    model: Model | None = None,
    objective: Objective | None = None,
    data: Any = None,
    epochs: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    data_dir: str | Path | None = None,
    training_data: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    report: bool = True,
    import_: Named = (),
    lang: str = "en",
) -> Run:
    """Continue a run exactly where its last checkpoint is; with `epochs`, to that many in all.

    `training_data` is the path of its data, or `data_dir` a folder that has them, where they have
    moved; `import_` names the files and modules of your own parts that the run was trained with;
    `model` and `objective` are those of a run that was composed of classes of your own; `data`
    those that were given in Python.

    `lr`, `batch_size`, `device` and `threads` are others from here on: config.json and a note in
    run.json say so. A run whose device is not here goes on on the one that is.

    On the CPU, with the same threads and versions, the weights are bit for bit those of a run
    that was never interrupted. More epochs stretch a learning-rate schedule that spans the run.
    A run that stopped early, with patience, stays stopped.

    Raises:
        VaekitError: where this is no run folder, or its data or checkpoint are not the ones.
    """
    load_imports(import_)
    folder = RunFolder(run)
    config, spec = read_config(folder)
    before = config
    sha256 = folder.read_json("run")["data"]["sha256"]  # which a saved model has not
    asked = {"lr": lr, "batch_size": batch_size, "device": device, "threads": threads}
    config, words = changed(config, {"epochs": epochs, **asked})
    if data is None:
        where: Any = {"data_dir": data_dir, "training_data": training_data}
        config = replace(config, data=find_data(folder, config.data, sha256, **where)[0])
    with folder.locked():
        state = _checkpoint(folder, config, spec, model, objective)
        step = state["progress"]["step"] if state else 0
        lines = [line for line in folder.records() if line["step"] <= step]
        done = max((line["epoch"] for line in lines), default=0)
        if epochs is not None and epochs < done:
            raise VaekitError(
                f"got `epochs={epochs}`; {folder.path} has {done} already: ask for more."
            )
        how: dict[str, Any] = {"report": report, "lang": lang}
        objects = {"model": model, "objective": objective, "value": data}
        how |= {"before": None if config == before else before, "words": words}
        return _go(config, folder, callbacks, state=state, **how, **objects)


@border
def load(
    run: str | Path,
    *,
    weights: str | None = None,
    device: str = "auto",
    import_: Named = (),
    model: Model | None = None,
    objective: Objective | None = None,
    data: Any = None,
    training_data: str | Path | None = None,
) -> Run:
    """Open the trained model of a run folder, or a saved one, with what is known of it.

    Args:
        run: the run folder; or a folder, or a .vaekit, that `save` wrote.
        weights: "best" (the default where rows were held out), "last", "ema", or "epoch-10" of
            those that `keep_every` kept.
        device: where the model goes.
        import_: files and modules of your own parts that the run was trained with; of each file
            the run has a copy, as `["runs/mine/imports/mine.py"]`.
        model, objective: of a run that was composed of classes of your own: the same ones; the
            model gets the weights.
        data: of a run that was trained on data given in Python: the same ones, for what asks for
            them, as `Run.evaluate` does.
        training_data: the path of the data that it was trained on, where they have moved.

    Raises:
        VaekitError: where this is no run folder, the weights are missing or of another model, or
            an import is missing or of another content.
    """
    load_imports(import_)
    how: dict[str, Any] = {"model": model, "objective": objective, "training_data": training_data}
    opened = open_run(run, weights=weights, device=device, **how)
    return opened if data is None else opened.with_data(data)


@border
def save(run: Run | str | Path, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a run's model to a folder, or to a file that ends in .vaekit: see `Run.save`.

    Raises:
        VaekitError: where this is no run, there is something already, or it cannot be written.
    """
    run = run if isinstance(run, Run) else load(run, device="cpu")
    return run.save(path, overwrite=overwrite)


def train_as_child() -> None:
    """Continue the run that a line of standard input names; stop, as by Ctrl-C, where that ends.

    It is called in a process that `train_seeds` or `sweep` starts. What went wrong is written to
    standard output.
    """

    def follow() -> None:
        os.read(0, 1)  # until the end of standard input
        _thread.interrupt_main()

    order = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job ignores
    threading.Thread(target=follow, daemon=True).start()
    torch.set_flush_denormal(True)  # as the command line does
    logging.getLogger("vaekit").addHandler(logging.NullHandler())  # the other has said it
    callback = Callback()
    try:
        with redirect_stdout(sys.stderr):  # nobody reads what a user's own part prints
            resume(order.pop("run"), callbacks=[callback], **order)
        if callback.interrupted:
            raise VaekitError("it was interrupted: the same call with the same `out` continues it.")
    except VaekitError as error:
        with suppress(BrokenPipeError):  # the other may be gone
            sys.stdout.write(str(error))
            sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # which is flushed at the end once more
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


@border
def sweep(
    recipe: str = "vae",
    *,
    grid: Mapping[str, Sequence[Any]],
    out: str | Path | None = None,
    jobs: int | None = None,
    report: bool = True,
    on_run: Callable[[Row], None] | None = None,
    import_: Named = (),
    lang: str = "en",
    **options: Unpack[RecipeOptions],
) -> list[Run]:
    """Train every combination of the grid's values, and compare them on a page.

    Each has a process and a thread (or `threads`) of its own, as many at once as there are cores,
    or `jobs`. Called again with the same `out`, it continues what was interrupted, and keeps what
    is done; so a grid may grow.

    Args:
        recipe: a recipe's name.
        grid: by option, as on the command line, its values: `{"latent": [16, 64]}`.
        out: gets the run folders, as `latent=16,lr=0.01`, and compare.html; by default the
            next free folder under `runs/`.
        jobs: how many at once.
        report: whether each run writes its report.html.
        on_run: is called with `name`, `run` and `warnings` of each run once it is done.
        import_: files and modules of your own parts: see `vaekit.train`.
        lang: the language of the reports and of the page.
        options: as for `vaekit.train`, the same for all.

    Returns:
        The runs, the last option of the grid changing fastest.

    Raises:
        VaekitError: for an unknown option, a value that does not fit, and anything else that can
            be mended, in one line; nothing is trained then.
        KeyboardInterrupt: after Ctrl-C; each run has saved its checkpoint.
    """
    how: dict[str, Any] = {"jobs": jobs, "report": report, "on_run": on_run, "import_": import_}
    comparison = compare_grid(recipe, grid, options, out=out, lang=lang, **how)
    return [open_run(row["run"]) for row in comparison.runs]


def compare_grid(
    recipe: str,
    grid: Mapping[str, Sequence[Any]],
    options: Mapping[str, Any],
    *,
    out: str | Path | None = None,
    files: str | Path | None = None,
    import_: Named = (),
    lang: str = "en",
    **how: Any,
) -> Comparison:
    """Do what `sweep` does; return the comparison, with the runs in the order of the grid."""
    load_imports(import_)
    config = Config.flat(recipe, **options)
    how |= {"import_": import_, "lang": lang}
    with folder_of(out, config, "sweep") as folder:
        check_page(folder / PAGE, files, lang)
        folders, varied = train_grid(recipe, grid, options, folder, **how)
        return compare(
            folders,
            out=folder / PAGE,
            data_dir=options.get("data_dir"),
            device=options.get("device", "auto"),
            title=f"{recipe} on {Path(config.data.data).stem}: {' by '.join(varied)}",
            files=files,
            lang=lang,
        )


@border
def reproduce(
    name: str | Path,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    data_dir: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> dict[str, Any]:
    """Train and measure; an interrupted one goes on where it stopped, given the same `out`.

    Args:
        name: of the reproduction, or the .toml file of one of your own.
        out: the run folder; by default runs/reproduce-NAME-SEED.
        seed: of the training.
        callbacks: are told how the training goes.
        data_dir, device, threads: as for `vaekit.train`: what does not change the protocol.

    Returns:
        A row of the table of results.

    Raises:
        VaekitError: for an unknown name, a folder that holds another training, or what training
            refuses.
    """
    entry = find_reproduction(name)
    folder = Path("runs", f"reproduce-{entry.name}-{seed}") if out is None else Path(out)
    options: dict[str, Any] = {**entry.options, "seed": seed}
    options |= {"data_dir": data_dir, "device": device, "threads": threads}
    if (folder / "config.json").is_file():
        check_reproduction(entry, folder, options)
        run = resume(folder, data_dir=data_dir, callbacks=callbacks)
    else:
        run = train(entry.recipe, out=folder, callbacks=callbacks, **options)
    if any(callback.interrupted for callback in callbacks):
        raise VaekitError(f"stopped; the same command goes on from {run.path}.")
    row = result_row(entry, run, seed)
    run.folder.write_json("reproduction", row)
    return row
