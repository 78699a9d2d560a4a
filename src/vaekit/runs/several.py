"""Several trainings side by side, each in a process of its own; what was interrupted goes on.

And the same training from several seeds, with means and standard errors.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.errors import VaekitError
from vaekit.imports import Import, Named, imported, load
from vaekit.io import write
from vaekit.runs.config import Config
from vaekit.torchutil import cores

if TYPE_CHECKING:
    from vaekit.runs.job import Job
    from vaekit.runs.run import Run
    from vaekit.training import Callback, Callbacks, Progress


Row = dict[str, Any]
Finish = Callable[["Run"], Row]
Train = Callable[["Task", "Callback"], "Run"]


@dataclass(frozen=True)
class Task:
    """A training.

    Attributes:
        name: what errors call it.
        recipe, options: as of `vaekit.train`; `threads` is one of the options.
        out: its run folder.
        report: whether it writes report.html.
        varied: the options in which it differs from others.
        imports: what was imported for it.
    """

    name: str
    recipe: str
    options: Row
    out: Path
    report: bool = True
    varied: tuple[str, ...] = ()
    imports: tuple[Import, ...] = ()

    @property
    def config(self) -> Config:
        """What is asked for."""
        return Config.flat(self.recipe, **self.options).importing(self.imports)


def check(tasks: Sequence[Task], out: Path, ours: Callable[[str], bool], what: str) -> int:
    """Refuses what can be, before anything is written; how many may run side by side.

    Args:
        tasks: of one device; those with the same options but for the seed are tried once.
        out: the folder of their run folders.
        ours: whether what is in `out` may have this name.
        what: the things that are meant to be in `out`.

    Raises:
        VaekitError: where `out` or a run folder holds something else, or a training cannot begin.
    """
    from vaekit.runs.folder import RunFolder
    from vaekit.runs.job import make_job
    from vaekit.torchutil import find_device, rng

    names = [p.name for p in out.iterdir()] if out.is_dir() else []
    others = [name for name in names if not (name.endswith(".tmp") or ours(name))]
    if others or (out.exists() and not out.is_dir()):
        raise VaekitError(f"{out} exists and holds other things than {what}: name another --out.")
    configs = [task.config for task in tasks]
    plain = [json.loads(json.dumps(config.to_json())) for config in configs]
    for content, task in zip(plain, tasks, strict=True):
        begun = (task.out / "config.json").exists()
        there = RunFolder(task.out).read_json("config") if begun else content
        if any(there.get(name) != value for name, value in content.items()):
            raise VaekitError(f"{task.out} holds another training: name another --out.")
    device = find_device(configs[0].training.device)
    tried: list[Any] = []
    for config, content, task in zip(configs, plain, tasks, strict=True):
        content["training"]["seed"] = 0
        if content not in tried:
            tried.append(content)
            with rng(config.training.seed, device, 1):
                make_job(config, RunFolder(task.out))
    if device.type != "cpu":
        return 1
    return max(1, cores() // (configs[0].training.threads or 1))


def train_all(
    tasks: Sequence[Task],
    workers: int,
    *,
    train: Train,
    finish: Finish,
    on_row: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Trains each task in a process, or continues it; where one fails, all stop.

    Args:
        tasks: what `check` has let pass.
        workers: how many side by side.
        train: trains a task, or continues it; a function of a module, so that processes find it.
        finish: is called in the process with the trained run, and returns plain values; a function
            of a module, so that the process finds it.
        on_row: is called with what `finish` returned for a task, once that is done.

    Returns:
        What `finish` returned, and the warnings of the run, in the order of the tasks.

    Raises:
        VaekitError: of the task that failed, with its name; the others have their checkpoints.
        KeyboardInterrupt: after Ctrl-C; each has saved its checkpoint.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(workers, context, _begin, (stop, imported()))
    try:
        futures = [pool.submit(_train_one, task, train, finish) for task in tasks]
        for future in as_completed(futures):
            row = future.result()
            if on_row is not None:
                on_row(row)
        return [future.result() for future in futures]
    except BrokenProcessPool:
        raise VaekitError(
            "a process that trains died: in a script, make this call under "
            "`if __name__ == '__main__':`; else look for a lack of memory."
        ) from None
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


class _Worker:
    """What a worker knows of the process that started it."""

    stop: Any = None
    imports: tuple[Import, ...] = ()
    busy = False

    @classmethod
    def follow(cls) -> None:
        """Ends with the parent, however that ended; a training saves its checkpoint first."""
        parent = multiprocessing.parent_process()
        if parent is None:
            return
        parent.join()
        cls.stop.set()
        while cls.busy:
            time.sleep(0.1)
        os._exit(1)


def _begin(stop: Any, imports: tuple[Import, ...]) -> None:
    """In a worker: Ctrl-C is the business of the process that started it."""
    _Worker.stop, _Worker.imports = stop, imports
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    threading.Thread(target=_Worker.follow, daemon=True).start()


def _train_one(task: Task, train: Train, finish: Finish) -> Row:
    """In a worker: trains a task, or continues it."""
    if _Worker.stop.is_set():
        raise VaekitError("stopped before it began.")
    _Worker.busy = True
    try:
        load(_Worker.imports)
        run = _trained(task, train)
        warnings = [text for record in run.folder.records() for text in record.get("warnings", [])]
        return {**finish(run), "warnings": warnings}
    except VaekitError as error:
        raise VaekitError(f"{task.name}: {error}") from None
    finally:
        _Worker.busy = False


def _trained(task: Task, train: Train) -> Run:
    import torch

    from vaekit.training import Callback

    class Stops(Callback):
        """Ends the training as Ctrl-C does, once, when all are to stop."""

        looked = -math.inf

        def step(self, progress: Progress) -> None:
            now = time.monotonic()
            if now - self.looked > 0.1:
                self.looked = math.inf if _Worker.stop.is_set() else now
                if self.looked == math.inf:
                    signal.raise_signal(signal.SIGINT)

    torch.set_flush_denormal(True)  # as the command line does
    torch.set_num_threads(task.options["threads"])  # for what comes after the training too
    stops = Stops()
    run = train(task, stops)
    if stops.interrupted:
        raise VaekitError("it was interrupted: the same call with the same out continues it.")
    return run


def default_folder(recipe: str, data: str, what: str) -> Path:
    """The next free folder of its kind under `runs/`."""
    from vaekit.runs.folder import next_folder

    return next_folder(Path("runs"), f"{recipe}-{Path(data).stem}-{what}")


BOUND, POINT = ("elbo", "log_likelihood", "kl"), ("log_likelihood", "mse")


def summarise(rows: Sequence[Row]) -> Row:
    """Mean and standard error over seeds (sample standard deviation over sqrt(N)).

    The standard error of one seed is None. Without an ELBO: log-likelihood and mse alone.

    Example:
        >>> rows = [{"elbo": None, "log_likelihood": v, "mse": 0.5} for v in (1.0, 2.0, 3.0)]
        >>> summarise(rows)["mean"]
        {'log_likelihood': 2.0, 'mse': 0.5}
        >>> summarise(rows)["standard_error"]["log_likelihood"] == 1 / math.sqrt(3)
        True
    """
    names = POINT if any(row["elbo"] is None for row in rows) else BOUND
    columns = {name: [row[name] for row in rows] for name in names}
    root = math.sqrt(len(rows))
    return {
        "mean": {name: statistics.fmean(column) for name, column in columns.items()},
        "standard_error": {
            name: statistics.stdev(column) / root if len(rows) > 1 else None
            for name, column in columns.items()
        },
    }


def train_seeds(
    recipe: str = "vae",
    *,
    train: Train,
    callbacks_of: Callable[[Job], Callbacks],
    seeds: int = 5,
    out: str | Path | None = None,
    report: bool = True,
    together: bool = False,
    on_seed: Callable[[Row], None] | None = None,
    import_: Named = (),
    **options: Any,
) -> Row:
    """Trains a recipe from `seed`, `seed + 1`, ... and evaluates each on the test split.

    Side by side, a thread each (or `threads`), as many as there are cores; one at a time on an
    accelerator; or all of them as one, in the same kernels (`together`), which is sooner for small
    networks. Called again with the same `out`, it continues what was interrupted. A script
    calls it under `if __name__ == "__main__":`, since its processes import the script.

    Args:
        recipe: a recipe's name.
        train: trains a task.
        callbacks_of: what is told of a training.
        seeds: how many.
        out: gets `seed-0`, `seed-1`, ..., which are run folders, and seeds.json; by default the
            next free folder under `runs/`.
        together: whether those that have not begun train as one, with all threads: see
            `training.Together`. Interrupted, they go on side by side.
        report: whether each run writes its report.html.
        on_seed: is called with the numbers of each seed once it is done.
        import_: files of your own parts, and modules: see `vaekit.train`.
        options: as for `vaekit.train`; `seed` is the first one.

    Returns:
        What seeds.json holds: `runs` (a dict for each seed: seed, run, step, elbo, log_likelihood,
        kl, mse, warnings), `mean` and `standard_error` of elbo, log_likelihood and kl
        (log_likelihood and mse where there is no bound), and `protocol`.

    Raises:
        VaekitError: for anything that can be mended, in one line; nothing is written then.
        KeyboardInterrupt: after Ctrl-C; each seed has saved its checkpoint.
    """
    if seeds < 1:
        raise VaekitError(f"got seeds={seeds}; expected at least 1.")
    given, threads = tuple(load(import_)), options.get("threads")
    options["threads"] = threads or 1
    config = Config.flat(recipe, **options)
    out = default_folder(recipe, config.data.data, "seeds") if out is None else Path(out)
    first = config.training.seed
    tasks = [
        Task(
            f"seed {number}",
            recipe,
            {**options, "seed": number},
            out / f"seed-{number}",
            report,
            imports=given,
        )
        for number in range(first, first + seeds)
    ]
    workers = check(tasks, out, lambda n: n == "seeds.json" or n.startswith("seed-"), "seeds")
    fresh = [task for task in tasks if not (task.out / "config.json").exists()]
    if together and len(fresh) > 1:
        from vaekit.runs.job import train_stacked

        train_stacked(fresh, threads, callbacks_of)
    rows = train_all(tasks, min(workers, seeds), train=train, finish=_numbers, on_row=on_seed)
    protocol, *_ = [row.pop("protocol") for row in rows]
    found = {"recipe": recipe, "runs": rows, **summarise(rows), "protocol": protocol}
    write(out / "seeds.json", (json.dumps(found, indent=2) + "\n").encode())
    return found


def _numbers(run: Run) -> Row:
    """Of a seed that is trained: what it does on the test split."""
    found = run.evaluate()
    step = found["protocol"].pop("step")  # of the best epoch: each seed has its own
    numbers = {name: found[name] for name in ("elbo", "log_likelihood", "kl", "mse", "protocol")}
    return {"seed": run.config.training.seed, "run": str(run.path), "step": step, **numbers}
