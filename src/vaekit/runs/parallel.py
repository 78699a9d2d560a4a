"""Runs side by side, each in a process of its own, and one training from several seeds."""

from __future__ import annotations

import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from vaekit.errors import VaekitError, at_least
from vaekit.imports import Named, load, sources
from vaekit.io import write
from vaekit.runs.config import Config
from vaekit.runs.folder import RunFolder, next_folder
from vaekit.runs.job import Job, describe, make_job
from vaekit.runs.run import open_run
from vaekit.torchutil import cores, find_device, rng

if TYPE_CHECKING:
    from vaekit.signature import RecipeOptions

Row = dict[str, Any]
CHILD = "from vaekit.api import train_as_child; train_as_child()"
BOUND, POINT = ("elbo", "log_likelihood", "kl"), ("log_likelihood", "mse")


def default_folder(recipe: str, data: str, what: str) -> Path:
    """Return the next free folder of its kind under `runs/`."""
    return next_folder(Path("runs"), f"{recipe}-{Path(data).stem}-{what}")


def train_all(
    out: Path,
    configs: Mapping[str, Config],
    finish: Callable[[RunFolder, Config], Row],
    *,
    content: tuple[str, str],
    jobs: int | None = None,
    on_row: Callable[[Row], None] | None = None,
    report: bool = True,
    lang: str = "en",
) -> list[Row]:
    """Train each config into the folder of its name; where one fails, all stop.

    What was interrupted is continued, and what is trained already is left as it is.

    Args:
        out: the folder of the run folders.
        configs: what is trained, by name; all on one device.
        finish: is called with a folder and its config once it is trained; returns plain values.
        content: what `out` is meant to hold, in words, and a pattern of the names in it.
        jobs: how many train at once; by default as many as there are cores, one on an accelerator.
        on_row: is called with what `finish` returned and the run's warnings.
        report: whether each run writes report.html, in the language `lang`.

    Returns:
        What `finish` returned, with the warnings of the run, in the order of the configs.

    Raises:
        VaekitError: where a training cannot begin, before anything is written; or of the run that
            failed, with its name; the others have their checkpoints.
        KeyboardInterrupt: after Ctrl-C; each has saved its checkpoint.
    """
    words, pattern = content
    names = [path.name for path in out.iterdir()] if out.is_dir() else []
    others = [name for name in names if not re.fullmatch(rf"{pattern}|.*\.tmp", name)]
    if others or (out.exists() and not out.is_dir()):
        raise VaekitError(f"{out} exists and holds other things than {words}: name another `out`.")
    folders = {name: RunFolder(out / name) for name in configs}
    first = next(iter(configs.values())).training
    workers = max(1, cores() // (first.threads or 1))
    workers = jobs or (workers if find_device(first.device).type == "cpu" else 1)
    files = _files(folders, configs)
    rows: dict[str, Row] = {}
    how = {"report": report, "lang": lang}
    with closing(_trained(folders, configs, files, workers, how)) as trained:
        for name in trained:
            records = folders[name].records()
            warnings = [text for record in records for text in record.get("warnings", [])]
            rows[name] = {**finish(folders[name], configs[name]), "warnings": warnings}
            if on_row is not None:
                on_row(rows[name])
    return [rows[name] for name in configs]


def _files(
    folders: Mapping[str, RunFolder], configs: Mapping[str, Config]
) -> dict[str, tuple[Row, Row]]:
    """Return config.json and run.json of each run that has not begun, or refuse them all.

    Of neighbors that differ in their seeds alone the first is tried.
    """
    files: dict[str, tuple[Row, Row]] = {}
    tried: tuple[Config, Job] | None = None
    for name, config in configs.items():
        folder = folders[name]
        if (folder.path / "config.json").exists():
            there, plain = folder.read_json("config"), json.loads(json.dumps(config.to_json()))
            if any(there.get(key) != value for key, value in plain.items()):
                raise VaekitError(f"{folder.path} holds another training: name another `out`.")
            continue
        training = config.training
        seedless = replace(config, training=training.model_copy(update={"seed": 0}))
        with rng(training.seed, find_device(training.device), training.threads):
            if tried is None or tried[0] != seedless:
                tried = seedless, make_job(config, folder)
            job = replace(tried[1], config=config)
            files[name] = job.to_json(), describe(job)
    return files


def _trained(
    folders: Mapping[str, RunFolder],
    configs: Mapping[str, Config],
    files: Mapping[str, tuple[Row, Row]],
    workers: int,
    how: Row,
) -> Generator[str]:
    """Train so many at once; yield the name of each run once it is trained.

    A process ends with its standard input, which this one closes, or the system once this one is
    gone; it saves its checkpoint first.
    """
    waiting = list(folders)
    children: dict[str, subprocess.Popen[str]] = {}
    try:
        while waiting or children:
            ended = [name for name, child in children.items() if child.poll() is not None]
            for name in ended:
                _refuse_failed(name, children.pop(name))
            while waiting and len(children) < workers:
                name = waiting.pop(0)
                folder = folders[name]
                if folder.weights.is_file() and (folder.report.is_file() or not how["report"]):
                    ended.append(name)
                else:
                    children[name] = _start(folder, configs[name], files.get(name), how)
            yield from ended
            time.sleep(0 if ended else 0.02)
    finally:
        for child in children.values():
            child.stdin.close()  # type: ignore[union-attr]
        for child in children.values():
            with child:
                child.stdout.read()  # type: ignore[union-attr]  # until it ends


def _start(
    folder: RunFolder, config: Config, files: tuple[Row, Row] | None, how: Row
) -> subprocess.Popen[str]:
    """Start a process that continues the run, which is begun first where it is new."""
    if files is not None:
        with folder.locked(create=True):
            folder.create(*files)
    folder.copy_imports(config.imports)  # a user may have edited his files meanwhile
    path = folder.path.absolute()
    imports = sources(config.imports, path)
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,  # Ctrl-C is the business of this process alone
    )
    order = {"run": str(path), "import_": imports, **how}
    child.stdin.write(json.dumps(order) + "\n")  # type: ignore[union-attr]
    child.stdin.flush()  # type: ignore[union-attr]
    return child


def _refuse_failed(name: str, child: subprocess.Popen[str]) -> None:
    """Refuse to go on where a process failed, with what it says of it."""
    with child:
        why = child.stdout.read().strip()  # type: ignore[union-attr]
    if child.returncode:
        look = "see its error above" if child.returncode > 0 else "look for a lack of memory"
        died = f"its process ended with status {child.returncode}: {look}."
        raise VaekitError(f"{name}: {why or died}")


def summarize(rows: Sequence[Row]) -> Row:
    """Return mean and standard error over seeds (sample standard deviation over sqrt(N)).

    The standard error of one seed is None. Without an ELBO: log-likelihood and mse alone.

    Example:
        >>> rows = [{"elbo": None, "log_likelihood": v, "mse": 0.5} for v in (1.0, 2.0, 3.0)]
        >>> summarize(rows)["mean"]
        {'log_likelihood': 2.0, 'mse': 0.5}
        >>> summarize(rows)["standard_error"]["log_likelihood"] == 1 / math.sqrt(3)
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
    import_: Named = (),
    lang: str = "en",
    **options: Unpack[RecipeOptions],
) -> Row:
    """Train a recipe from `seed`, `seed + 1`, ... and evaluate each on the test split.

    Each has a process and a thread (or `threads`) of its own, as many at once as there are cores;
    one at a time on an accelerator. Called again with the same `out`, it continues what was
    interrupted.

    Args:
        recipe: a recipe's name.
        seeds: how many.
        out: gets `seed-0`, `seed-1`, ..., which are run folders, and seeds.json; by default the
            next free folder under `runs/`.
        report: whether each run writes its report.html.
        on_seed: is called with the numbers of each seed once it is trained.
        import_: files of your own parts, and modules: see `vaekit.train`.
        lang: the language of the reports.
        options: as for `vaekit.train`; `seed` is the first one.

    Returns:
        What seeds.json holds: `runs` (a dict for each seed: seed, run, step, elbo, log_likelihood,
        kl, mse, warnings), `mean` and `standard_error` of elbo, log_likelihood and kl
        (log_likelihood and mse where there is no bound), and `protocol`.

    Raises:
        VaekitError: for anything that can be mended, in one line; nothing is written then.
        KeyboardInterrupt: after Ctrl-C; each seed has saved its checkpoint.
    """
    at_least("seeds", seeds, 1)
    imports = load(import_)
    config = Config.flat(recipe, **{**options, "threads": options.get("threads") or 1})
    out = default_folder(recipe, config.data.data, "seeds") if out is None else Path(out)
    first, training = config.training.seed, config.training
    configs = {
        f"seed-{seed}": replace(config, training=training.model_copy(update={"seed": seed}))
        for seed in range(first, first + seeds)
    }
    configs = {name: each.importing(imports) for name, each in configs.items()}
    how: dict[str, Any] = {"report": report, "lang": lang, "on_row": on_seed}
    rows = train_all(out, configs, _numbers, content=("seeds", r"seed-.*|seeds\.json"), **how)
    protocol, *_ = [row.pop("protocol") for row in rows]
    summary = {"recipe": recipe, "runs": rows, **summarize(rows), "protocol": protocol}
    write(out / "seeds.json", (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _numbers(folder: RunFolder, config: Config) -> Row:
    """Evaluate a trained seed on the test split."""
    training = config.training
    run = open_run(folder.path, device=training.device)
    with rng(0, run.device, training.threads):
        results = run.evaluate()
    step = results["protocol"].pop("step")  # of the best epoch: each seed has its own
    numbers = {name: results[name] for name in ("elbo", "log_likelihood", "kl", "mse", "protocol")}
    return {"seed": training.seed, "run": str(run.path), "step": step, **numbers}
