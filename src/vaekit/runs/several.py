"""Several trainings side by side, each in a process of its own; what was interrupted goes on."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.errors import VaekitError
from vaekit.runs.config import Config
from vaekit.torchutil import cores

if TYPE_CHECKING:
    from vaekit.runs.run import Run
    from vaekit.training import Callback, Progress


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
    """

    name: str
    recipe: str
    options: Row
    out: Path
    report: bool = True
    varied: tuple[str, ...] = ()

    @property
    def config(self) -> Config:
        """What is asked for."""
        return Config.flat(self.recipe, **self.options)


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

    if out.exists() and not (out.is_dir() and all(_fits(p.name, ours) for p in out.iterdir())):
        raise VaekitError(f"{out} exists and holds other things than {what}: name another --out.")
    configs = [task.config for task in tasks]
    for config, task in zip(configs, tasks, strict=True):
        folder = RunFolder(task.out)
        if (task.out / "config.json").exists() and folder.read_json("config") != _plain(config):
            raise VaekitError(f"{task.out} holds another training: name another --out.")
    device = find_device(configs[0].training.device)
    tried = set()
    for config, task in zip(configs, tasks, strict=True):
        key = _but_the_seed(config)
        if key not in tried:
            tried.add(key)
            with rng(config.training.seed, device, 1):
                make_job(config, RunFolder(task.out))
    if device.type != "cpu":
        return 1
    return max(1, cores() // (configs[0].training.threads or 1))


def _fits(name: str, ours: Callable[[str], bool]) -> bool:
    return name.endswith(".tmp") or ours(name)


def _plain(config: Config) -> Any:
    return json.loads(json.dumps(config.to_json()))


def _but_the_seed(config: Config) -> str:
    content = _plain(config)
    content["training"]["seed"] = 0
    return json.dumps(content)


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
        What `finish` returned, in the order of the tasks.

    Raises:
        VaekitError: of the task that failed, with its name; the others have their checkpoints.
        KeyboardInterrupt: after Ctrl-C; each has saved its checkpoint.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(workers, context, _begin, (stop,))
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


def _begin(stop: Any) -> None:
    """In a worker: Ctrl-C is the business of the process that started it."""
    _Worker.stop = stop
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    threading.Thread(target=_Worker.follow, daemon=True).start()


def _train_one(task: Task, train: Train, finish: Finish) -> Row:
    """In a worker: trains a task, or continues it."""
    if _Worker.stop.is_set():
        raise VaekitError("stopped before it began.")
    _Worker.busy = True
    try:
        return finish(_trained(task, train))
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
