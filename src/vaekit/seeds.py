"""The same training from several seeds, side by side, with means and standard errors."""

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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.config import Config
from vaekit.errors import VaekitError
from vaekit.files import write_atomically
from vaekit.options import Training, checked

if TYPE_CHECKING:
    from vaekit.run import Run
    from vaekit.training import Progress

__all__ = ["default_folder", "summarise", "train_seeds"]

BOUND, POINT = ("elbo", "log_likelihood", "kl"), ("log_likelihood", "mse")
Row = dict[str, Any]
Task = tuple[str, Row, str, bool]


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
    seeds: int = 5,
    out: str | Path | None = None,
    report: bool = True,
    on_seed: Callable[[Row], None] | None = None,
    **options: Any,
) -> Row:
    """Trains a recipe from `seed`, `seed + 1`, ... and evaluates each on the test split.

    Side by side, a thread each (or `threads`), as many as there are cores; one at a time on an
    accelerator. Called again with the same `out`, it continues what was interrupted. A script
    calls it under `if __name__ == "__main__":`, since its processes import the script.

    Args:
        recipe: a recipe's name.
        seeds: how many.
        out: gets `seed-0`, `seed-1`, ..., which are run folders, and seeds.json; by default the
            next free folder under `runs/`.
        report: whether each run writes its report.html.
        on_seed: is called with the numbers of each seed once it is done.
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
    options["threads"] = options.get("threads") or 1
    config = Config.flat(recipe, **options)
    out = default_folder(recipe, config.data.data) if out is None else Path(out)
    first = config.training.seed
    numbers = range(first, first + seeds)
    paths = [out / f"seed-{number}" for number in numbers]
    workers = _refuse([_seeded(config, number) for number in numbers], paths, out)
    tasks = [
        (recipe, {**options, "seed": number}, str(path), report)
        for number, path in zip(numbers, paths, strict=True)
    ]
    rows = _run(tasks, min(workers, seeds), on_seed)
    protocol, *_ = [row.pop("protocol") for row in rows]
    found = {"recipe": recipe, "runs": rows, **summarise(rows), "protocol": protocol}
    write_atomically(out / "seeds.json", (json.dumps(found, indent=2) + "\n").encode())
    return found


def default_folder(recipe: str, data: str) -> Path:
    """The next free folder of its kind under `runs/`."""
    from vaekit.training.folder import next_folder

    return next_folder(Path("runs"), f"{recipe}-{Path(data).stem}-seeds")


def _seeded(config: Config, seed: int) -> Config:
    training = checked(Training, {**config.training.model_dump(), "seed": seed})
    return replace(config, training=training)


def _refuse(configs: Sequence[Config], paths: Sequence[Path], out: Path) -> int:
    """Refuses what can be, before anything is written; how many may run side by side."""
    from vaekit.job import make_job
    from vaekit.training.folder import RunFolder
    from vaekit.training.setup import find_device, random_numbers

    if out.exists() and (not out.is_dir() or not all(map(_ours, out.iterdir()))):
        raise VaekitError(f"{out} exists and holds other things than seeds: name another --out.")
    for config, path in zip(configs, paths, strict=True):
        folder = RunFolder(path)
        if (path / "config.json").exists() and folder.read_json("config") != _plain(config):
            raise VaekitError(f"{path} holds another training: name another --out.")
    device = find_device(configs[0].training.device)
    with random_numbers(configs[0].training.seed, device, 1):
        make_job(configs[0], RunFolder(paths[0]))
    if device.type != "cpu":
        return 1
    return max(1, _cores() // (configs[0].training.threads or 1))


def _ours(path: Path) -> bool:
    name = path.name
    return name == "seeds.json" or name.endswith(".tmp") or name.startswith("seed-")


def _plain(config: Config) -> Any:
    return json.loads(json.dumps(config.to_json()))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run(tasks: Sequence[Task], workers: int, on_seed: Callable[[Row], None] | None) -> list[Row]:
    """Each task in a process; where one fails, all stop with their checkpoints."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(workers, context, _begin, (stop,))
    try:
        futures = [pool.submit(_train_one, *task) for task in tasks]
        for future in as_completed(futures):
            row = future.result()
            if on_seed is not None:
                on_seed(row)
        return [future.result() for future in futures]
    except BrokenProcessPool:
        raise VaekitError(
            "a process that trains a seed died: in a script, call train_seeds under "
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


def _train_one(recipe: str, options: Row, out: str, report: bool) -> Row:
    """In a worker: trains a seed, or continues it, and evaluates it."""
    if _Worker.stop.is_set():
        raise VaekitError("stopped before it began.")
    _Worker.busy = True
    try:
        run = _trained(recipe, options, out, report)
        found = run.evaluate()
    except VaekitError as error:
        raise VaekitError(f"seed {options['seed']}: {error}") from None
    finally:
        _Worker.busy = False
    warnings = [text for record in run.folder.records() for text in record.get("warnings", [])]
    step = found["protocol"].pop("step")  # of the best epoch: each seed has its own
    names = ("elbo", "log_likelihood", "kl", "mse", "protocol")
    numbers = {name: found[name] for name in names}
    return {"seed": options["seed"], "run": out, "step": step, **numbers, "warnings": warnings}


def _trained(recipe: str, options: Row, out: str, report: bool) -> Run:
    import torch

    from vaekit.app import resume, train
    from vaekit.training.listener import Listener

    class Stops(Listener):
        """Ends the training as Ctrl-C does, once, when all are to stop."""

        looked = -math.inf

        def step(self, progress: Progress) -> None:
            now = time.monotonic()
            if now - self.looked > 0.1:
                self.looked = math.inf if _Worker.stop.is_set() else now
                if self.looked == math.inf:
                    signal.raise_signal(signal.SIGINT)

    torch.set_flush_denormal(True)  # as the command line does
    torch.set_num_threads(options["threads"])  # for the evaluation too
    listener = Stops()
    if (Path(out) / "config.json").exists():
        run = resume(out, listener=listener, report=report)
    else:
        run = train(recipe, out=out, listener=listener, report=report, **options)
    if listener.interrupted:
        raise VaekitError("it was interrupted: the same call with the same out continues it.")
    return run
