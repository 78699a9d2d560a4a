"""Runs side by side, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from vaekit._imports import sources
from vaekit._torchutil import cores, find_device, rng
from vaekit._train_options import LANGUAGES
from vaekit.errors import VaekitError, choose
from vaekit.runs._config import Config, fits
from vaekit.runs._folder import RunFolder
from vaekit.runs._job import Job, describe, make_job
from vaekit.runs._starting import refuse_start
from vaekit.training import handling, last_notes

Row = dict[str, Any]
CHILD = "from vaekit.api import train_as_child; train_as_child()"


class Child:
    """A process that continues a run, and ends with its standard input.

    This process closes that, or the system once this one is gone; the run saves its checkpoint.
    """

    def __init__(self, folder: RunFolder, config: Config, options: Row) -> None:
        folder.copy_imports(config.imports)  # a user may have edited his files meanwhile
        path = folder.path.absolute()
        self.name = path.name
        how: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        how["env"] = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        how["start_new_session"] = True  # Ctrl-C is the business of this process alone
        self.process = cast(Any, subprocess.Popen([sys.executable, "-P", "-c", CHILD], **how))
        order = {"run": str(path), "import_": sources(config.imports, path), **options}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def finish(self, *, refuse: bool = True) -> None:
        """Wait for its end; refuse to go on where it failed, with what it says of it."""
        with self.process:
            why = self.process.stdout.read().strip()
        if refuse and (code := self.process.returncode):
            look = "see its error above" if code > 0 else "look for a lack of memory"
            died = f"its process ended with status {code}: {look}."
            raise VaekitError(f"{self.name}: {why or died}")


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
    choose("language", lang, LANGUAGES)
    words, pattern = content
    choose("language", lang, LANGUAGES)
    names = [path.name for path in out.iterdir()] if out.is_dir() else []
    others = [name for name in names if not re.fullmatch(rf"{pattern}|.*\.tmp", name)]
    if others or (out.exists() and not out.is_dir()):
        raise VaekitError(f"{out} exists and holds other things than {words}: name another `out`.")
    first = next(iter(configs.values())).training
    for config in configs.values():
        refuse_start(config.training.init_from, "seeds and a sweep do not begin")
        if config.training.minutes and config.training.epochs is None:
            raise VaekitError(
                "got `minutes` for several trainings, which would differ in their epochs: take "
                "`epochs`, or `preset`."
            )
    workers = max(1, cores() // (first.threads or 1))
    workers = jobs or (workers if find_device(first.device).type == "cpu" else 1)
    rows: dict[str, Row] = {}
    how = {"report": report, "lang": lang}
    ends = handling(signal.default_int_handler)  # so that the others save their checkpoints
    with ends, closing(_trained(out, configs, workers, how)) as trained:
        for folder in trained:
            name, records = folder.path.name, folder.records()
            warnings = [text for record in records for text in record.get("warnings", [])]
            warnings += last_notes(folder.path, records)
            rows[name] = {**finish(folder, configs[name]), "warnings": warnings}
            if on_row is not None:
                on_row(rows[name])
    return [rows[name] for name in configs]


def _trained(
    out: Path, configs: Mapping[str, Config], workers: int, how: Row
) -> Generator[RunFolder]:
    """Train so many at once; yield the folder of each run once it is trained."""
    files = _first_files(out, configs)
    waiting = [RunFolder(out / name) for name in configs]
    children: dict[RunFolder, Child] = {}
    try:
        while waiting or children:
            ended = [each for each, child in children.items() if child.process.poll() is not None]
            for folder in ended:
                children.pop(folder).finish()
            while waiting and len(children) < workers:
                folder = waiting.pop(0)
                name = folder.path.name
                if folder.weights.is_file() and (folder.report.is_file() or not how["report"]):
                    ended.append(folder)
                    continue
                if name in files:
                    with folder.locked(create=True):
                        folder.create(*files[name])
                children[folder] = Child(folder, configs[name], how)
            yield from ended
            time.sleep(0 if ended else 0.02)
    finally:
        for child in children.values():
            child.process.stdin.close()
        for child in children.values():
            child.finish(refuse=False)


def _first_files(out: Path, configs: Mapping[str, Config]) -> dict[str, tuple[Row, Row]]:
    """Return config.json and run.json of each run that has not begun, or refuse them all.

    Of neighbors that differ in their seeds alone the first is tried.
    """
    files: dict[str, tuple[Row, Row]] = {}
    tried: tuple[Config, Job] | None = None
    for name, config in configs.items():
        folder, training = RunFolder(out / name), config.training
        if (folder.path / "config.json").exists():
            there, plain = folder.read_json("config"), json.loads(json.dumps(config.to_json()))
            if not fits(plain, there):
                raise VaekitError(f"{folder.path} holds another training: name another `out`.")
            continue
        seedless = replace(config, training=training.model_copy(update={"seed": 0}))
        with rng(training.seed, find_device(training.device), training.threads):
            if tried is None or tried[0] != seedless:
                tried = seedless, make_job(config, folder)
            seeded = tried[1].config.training.model_copy(update={"seed": training.seed})
            job = replace(tried[1], config=replace(tried[1].config, training=seeded))
            files[name] = job.to_json(), describe(job)
    return files
