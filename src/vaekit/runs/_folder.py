"""The run folder: what is trained, on what machine, how it went, and the weights.

config.json               recipe or structure, options, data: enough to build the model again
model.safetensors         the model's weights, once it is trained
README.md                 what it is, in words
run.json                  versions, hardware, seed, the data's hash, the state of git
metrics.jsonl             a line per epoch
checkpoints/last.safetensors   everything that resuming needs
checkpoints/best.safetensors   the weights of the best epoch, where rows were held out
imports/                  the user's own files of parts that it was trained with
checkpoints/.lock         locked by the process that trains
report.html

The first three by themselves are a saved model: a folder, or a .vaekit, which is its zip.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch

import vaekit
from vaekit import _io as io
from vaekit._imports import copies, require
from vaekit.errors import VaekitError
from vaekit.runs._records import epochs_of, record_of

T = TypeVar("T")
MEND = "Restore it, or train again."
WEIGHTS_FILE = "model.safetensors"
SWELL = 100  # weights hardly shrink in a zip, and text by a tenth


def environment(device: torch.device) -> dict[str, Any]:
    """Return versions and hardware, for run.json."""
    cuda = device.type == "cuda"
    return {
        "vaekit": vaekit.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if cuda else str(device),
        "threads": torch.get_num_threads(),
        "flush_denormal": (torch.full((1,), 1e-40) * 1.0).item() == 0.0,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def git_state() -> dict[str, Any] | None:
    """Return the commit of the working directory, and whether files differ from it, or None.

    Files that git does not track do not count.
    """
    words = "--no-optional-locks status --porcelain=v2 --branch --untracked-files=no"
    how: dict[str, Any] = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
    try:
        done = subprocess.run(["git", *words.split()], check=True, timeout=3, **how)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    lines = done.stdout.splitlines()
    (commit,) = [line.split()[-1] for line in lines if line.startswith("# branch.oid ")] or [""]
    dirty = any(not line.startswith("#") for line in lines)
    return None if commit in ("", "(initial)") else {"commit": commit, "dirty": dirty}


class TakenError(VaekitError):
    """The folder of a run holds one, or another process begins one there."""


def next_folder(parent: Path, name: str) -> Path:
    """Return the first of `name-1`, `name-2`, ... that does not exist; long names are cut."""
    name, number = name[:60], 1  # a name has 255 bytes at most
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


@contextmanager
def claimed(parent: Path, name: str) -> Iterator[Path]:
    """Make the first of `name-1`, `name-2`, ... that is free, for this process alone.

    What is empty in the end is removed.
    """
    made: list[Path] = []
    while True:
        made += io.make_folder(parent)
        folder = next_folder(parent, name)
        try:
            folder.mkdir()
            break
        except (FileExistsError, FileNotFoundError):  # another process made it, or left
            pass
    try:
        yield folder
    finally:
        io.remove_empty([folder, *made])


class RunFolder:
    """Reads and writes a run folder; every file is whole or absent.

    Attributes:
        mend: how to go on after a full disk.
    """

    def __init__(self, path: str | Path) -> None:
        self._path, self._at = Path(path), os.getcwd()
        self.mend = f"continue with `vaekit train --resume {self.path}`"

    def anchored(self, path: str | Path) -> Path:
        """Return a path as it was given, as long as the working directory is the one of then."""
        return Path(path) if os.getcwd() == self._at else Path(self._at, path)

    @property
    def path(self) -> Path:
        """Return where it is."""
        return self.anchored(self._path)

    @property
    def lock(self) -> Path:
        """Return what is locked by the process that trains."""
        return self.path / "checkpoints" / ".lock"

    @property
    def last(self) -> Path:
        """Return the checkpoint that resuming takes."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """Return the weights of the best epoch."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def weights(self) -> Path:
        """Return the weights that a saved model has."""
        return self.path / WEIGHTS_FILE

    @property
    def report(self) -> Path:
        """Return the report."""
        return self.path / "report.html"

    @property
    def explorer(self) -> Path:
        """Return the page that holds the model."""
        return self.path / "explore.html"

    @contextmanager
    def locked(self, *, create: bool = False) -> Iterator[None]:
        """Lock the folder, so that nobody else trains into it; with `create`, make it first.

        What killed processes left half written is removed.

        Raises:
            VaekitError: where another process trains into it, it cannot be made, or, with
                `create`, it has content. What was made is removed where no run begins.
        """
        new, mine = io.missing_folders(self.last.parent), False
        if create:
            try:
                self.refuse_content()
                self.last.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise VaekitError(
                    f"cannot make {self.path}: {error.strerror}. Name another `out`."
                ) from error
        try:
            with io.locked(self.lock) as mine:
                if not mine:
                    mend = "wait for it, or name another `out`"
                    raise TakenError(f"another process trains into {self.path}: {mend}.")
                io.sweep(self.path)
                io.sweep(self.lock.parent)
                yield
        finally:
            if new and not (self.path / "config.json").exists():
                if mine:
                    self.lock.unlink(missing_ok=True)
                io.remove_empty(new)

    def refuse_content(self) -> None:
        """Refuse to begin a run where there is one, or anything else.

        What a start that was killed has left, before there was a config.json, is no content.

        Raises:
            VaekitError: where the folder has content.
        """
        if not os.path.exists(self.path):
            return
        begun = self.last.parent.is_dir() and not (self.path / "config.json").exists()
        known = {"checkpoints", "run.json", "imports"} if begun else set()
        content = not self.path.is_dir() or any(
            path.name not in known and path.suffix != ".tmp" for path in self.path.iterdir()
        )
        if content or (begun and any(self.last.parent.glob("*.safetensors"))):
            raise TakenError(
                f"{self.path} exists: name another `out`, or continue it with `vaekit train "
                f"--resume {self.path}`."
            )

    def create(self, config: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        """Begin a run in the folder, which is `locked(create=True)`; config.json comes last.

        Raises:
            VaekitError: where it has content, or cannot be written; then no file is left.
        """
        self.refuse_content()
        try:
            self.write_json("run", run, "train again")
            self.copy_imports(config["imports"])
            self.write_json("config", config, "train again")
        except VaekitError:
            (self.path / "run.json").unlink(missing_ok=True)
            shutil.rmtree(self.path / "imports", ignore_errors=True)
            raise

    def copy_imports(self, records: Sequence[Mapping[str, str]]) -> None:
        """Write the user's own files of parts, as they were imported."""
        for name, content in copies(records):
            io.write(self.path / "imports" / name, content, "train again")

    def write_json(self, name: str, content: Any, mend: str | None = None) -> None:
        """Write `name`.json."""
        text = json.dumps(content, indent=2) + "\n"
        io.write(self.path / f"{name}.json", text.encode(), mend or self.mend)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read `name`.json.

        Raises:
            VaekitError: where this is no run folder, the file is broken, or, for "config", this
                process lacks an import that the run was trained with.
        """
        path = self.path / f"{name}.json"
        text = self.read(path.name)
        if text is None:
            why = f"is no run folder: it has no {name}.json. Name one that `vaekit train` made."
            if not self.path.exists() and (near := io.nearest(self.path)):
                why = f"is not there; did you mean {near}?"
            if self.weights.is_file() or self.zipped:
                why = (
                    f"is a saved model without the records of its training ({path.name}), which "
                    "this asks for: name its run folder."
                )
            raise VaekitError(f"{self.path} {why}")
        content: dict[str, Any] = self._sound(path, lambda: record_of(path.name, text))
        if name == "config":
            require(content.get("imports", []), self.path)
        return content

    @property
    def zipped(self) -> bool:
        """Return whether this is a .vaekit."""
        return self.path.is_file() and zipfile.is_zipfile(self.path)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, here or in the zip that this is, or None.

        Raises:
            VaekitError: where it cannot be read, or would unpack to far more than the zip holds.
        """
        path = self.path / name
        try:
            if not self.zipped:
                return path.read_bytes() if path.is_file() else None
            with zipfile.ZipFile(self.path) as archive:
                if name not in archive.namelist():
                    return None
                entry = archive.getinfo(name)
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise VaekitError(
                        f"{path} is compressed in another way than ours: zip it anew."
                    )
                if entry.file_size > SWELL * self.path.stat().st_size:
                    size = io.in_words(entry.file_size)
                    raise VaekitError(f"{path} would unpack to {size}: take another one.")
                return archive.read(name)
        except OSError as error:
            raise VaekitError(f"cannot read {path}: {error.strerror}.") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise VaekitError(f"{self.path} is broken ({error}): {MEND}") from None

    def evaluations(self) -> list[dict[str, Any]]:
        """Return the records of evaluation.json; none where there is no such file.

        Raises:
            VaekitError: where it holds something else.
        """
        path = self.path / "evaluation.json"
        content = self.read(path.name) if self.path.is_dir() else None
        return [] if content is None else self._sound(path, lambda: record_of(path.name, content))

    def _sound(self, path: Path, read: Callable[[], T]) -> T:
        """Return what is read from a file, or refuse it by its name."""
        try:
            return read()
        except OSError as error:
            raise VaekitError(f"cannot read {path}: {error.strerror}.") from error
        except VaekitError as error:
            raise VaekitError(f"{path} is broken: it {error}. {MEND}") from None

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        io.append_line(self.path / "metrics.jsonl", record, self.mend)

    def records(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl; one that was cut off is left out.

        Raises:
            VaekitError: for a line that is another record.
        """
        path = self.path / "metrics.jsonl"
        return self._sound(path, lambda: epochs_of(path))

    def rewind(self, step: int) -> None:
        """Drop the records after this step: they will be made again."""
        if records := self.records():
            early = [record for record in records if record["step"] <= step]
            lines = "".join(json.dumps(record) + "\n" for record in early)
            io.write(self.path / "metrics.jsonl", lines.encode(), self.mend)
