"""Files that are whole or absent, lines that are never glued together, and a lock. No torch."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vaekit.errors import VaekitError

__all__ = [
    "append_line",
    "is_locked",
    "locked",
    "missing_folders",
    "read_lines",
    "remove_empty",
    "sweep",
    "write_atomically",
]

FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}
fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None
TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp")


def _refusal(path: Path, error: OSError, mend: str) -> VaekitError:
    why = error.strerror or str(error)
    full = error.errno in FULL
    if not mend:
        first = "Free some space, or name" if full else "Name"
        return VaekitError(f"cannot write {path}: {why}. {first} another place.")
    first = "free some space" if full else "make it writable"
    return VaekitError(f"cannot write {path}: {why}: {first}, then {mend}.")


def write_atomically(path: Path, data: bytes, mend: str = "") -> None:
    """Writes `data` so that `path` holds either the old content or the new, whatever happens.

    Args:
        path: the file.
        data: its new content.
        mend: how to go on once there is space, for the error.

    Raises:
        VaekitError: where it cannot be written; the old file is left as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _refusal(path, error, mend) from error


def missing_folders(folder: Path) -> list[Path]:
    """This folder and those above it that do not exist, the lowest first.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in missing_folders(Path(folder, "a", "b"))]
        ['b', 'a']
    """
    return [path for path in (folder, *folder.parents) if not os.path.exists(path)]


def remove_empty(folders: Iterable[Path]) -> None:
    """Removes those of these folders that are empty, in this order."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _sync_folder(folder: Path) -> None:
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def append_line(path: Path, record: Mapping[str, Any], mend: str = "") -> None:
    """Adds `record` as a line of JSON; a line that was cut off before it stays a line of its own.

    Raises:
        VaekitError: where it cannot be written; what was written of it is taken back.
    """
    line = (json.dumps(record) + "\n").encode()
    size = None
    try:
        with path.open("ab+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                line = line if file.read(1) == b"\n" else b"\n" + line
            while line:
                line = line[file.write(line) :]
    except OSError as error:
        if size is not None:
            with suppress(OSError):
                os.truncate(path, size)
        raise _refusal(path, error, mend) from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines; one that was cut off is left out.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "x.jsonl"
        ...     append_line(path, {"epoch": 1})
        ...     with path.open("a") as file:
        ...         _ = file.write('{"epo')
        ...     append_line(path, {"epoch": 2})
        ...     read_lines(path)
        [{'epoch': 1}, {'epoch': 2}]
    """
    found = []
    for line in path.read_bytes().split(b"\n") if path.is_file() else []:
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                found.append(record)
    return found


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Holds the lock of this file, which ends with the process; False where another has it.

    Where the system or the file system knows no such locks, everybody has it.

    Raises:
        VaekitError: where the file cannot be opened for writing.
    """
    if fcntl is None:
        yield True
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise _refusal(path, error, "") from error
    with file:
        yield _take(file.fileno())


def _take(handle: int) -> bool:
    """Tries for a moment: `is_locked` holds a lock for microseconds."""
    for _ in range(5):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            return True
        else:
            return True
    return False


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of this file."""
    if fcntl is None or not path.is_file():
        return False
    with suppress(PermissionError), path.open("rb") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


def sweep(folder: Path) -> None:
    """Removes what killed processes left half written in this folder; call it under its lock."""
    if fcntl is None or not folder.is_dir():
        return
    for path in folder.iterdir():
        match = TEMPORARY.fullmatch(path.name)
        if match and not _lives(int(match[1])):
            with suppress(OSError):
                path.unlink()


def _lives(process: int) -> bool:
    """Whether another process of this number runs."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
