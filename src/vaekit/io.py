"""Files that are whole or absent, lines that are never glued together, locks, caches, downloads.

It needs neither torch nor numpy until a function asks for them.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import io
import json
import logging
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vaekit.errors import VaekitError

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "FULL",
    "UnreachableError",
    "append_line",
    "cache_folder",
    "checksum_of",
    "fetch",
    "in_words",
    "is_locked",
    "locked",
    "missing_folders",
    "note",
    "npz_bytes",
    "read_lines",
    "remove_empty",
    "replacing",
    "search_folders",
    "sweep",
    "write",
]

FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
STALE = 24 * 3600  # seconds after which a temporary file of another machine is nobody's
TEMPORARY = re.compile(r"\..+\.([^.]*)\.(\d+)\.[0-9a-f]{8}\.tmp")
TIMEOUT = (10, 60)  # seconds: to connect, and between two chunks of a download
_WRITING: set[str] = set()  # temporary files of other threads
fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None


def _host() -> str:
    return platform.node().replace(".", "-")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name when the block ends, and else is removed.

    Readers see the old content or the new, whatever happens.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "name.txt")) as temporary:
        ...         _ = temporary.write_bytes(b"text")
        ...     [path.name for path in Path(folder).iterdir()]
        ['name.txt']
    """
    mark = f"{_host()}.{os.getpid()}.{os.urandom(4).hex()}"
    temporary = path.with_name(f".{path.name}.{mark}.tmp")
    _WRITING.add(temporary.name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        if hasattr(os, "O_DIRECTORY"):
            handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    finally:
        _WRITING.discard(temporary.name)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write(path: str | Path, data: bytes, mend: str = "") -> Path:
    """Writes `data` to `path`, whole or not at all, making the folders above it.

    Args:
        path: the file.
        data: its new content.
        mend: how to go on once there is space, for the error.

    Raises:
        VaekitError: where it cannot be written; the old file and the folders are as they were.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(f"{folder}/new/name.txt", b"text").read_bytes()
        b'text'
    """
    path = Path(path)
    if not path.name:
        raise VaekitError(f"'{path}' names no file.")
    made = missing_folders(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VaekitError(
            f"cannot make {path.parent}: {error.strerror or error}. Name another place."
        ) from error
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        remove_empty(made)
        raise _refusal(path, error, mend) from error
    return path


def _refusal(path: Path, error: OSError, mend: str) -> VaekitError:
    why = error.strerror or str(error)
    full = error.errno in FULL
    if not mend:
        first = "Free some space, or name" if full else "Name"
        return VaekitError(f"cannot write {path}: {why}. {first} another place.")
    first = "free some space" if full else "make it writable"
    return VaekitError(f"cannot write {path}: {why}: {first}, then {mend}.")


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


def sweep(folder: Path) -> None:
    """Removes what killed processes left half written in this folder."""
    for path in folder.glob(".*.tmp") if folder.is_dir() else ():
        match = TEMPORARY.fullmatch(path.name)
        if match is None or path.name in _WRITING:
            continue
        with suppress(OSError):  # cleared by another process meanwhile
            dead = match[1] == _host() and not _lives(int(match[2]))
            if dead or time.time() - path.stat().st_mtime > STALE:
                path.unlink()


def _lives(process: int) -> bool:
    """Whether another process of this number runs."""
    if process == os.getpid():
        return False
    if os.name == "nt":  # where a signal of 0 is no question
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


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


def npz_bytes(**arrays: np.ndarray) -> bytes:
    """These arrays as an .npz file.

    Example:
        >>> import numpy
        >>> npz_bytes(images=numpy.zeros(3))[:2]
        b'PK'
    """
    import numpy

    stream = io.BytesIO()
    numpy.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


_NOTED: set[str] = set()


def note(text: str) -> None:
    """Log a warning on the logger `vaekit`, once a process."""
    if text not in _NOTED:
        _NOTED.add(text)
        logging.getLogger("vaekit").warning(text)


def in_words(count: float) -> str:
    """Bytes in words.

    Example:
        >>> in_words(3 * 2**30), in_words(5e6), in_words(12)
        ('3.0 GiB', '4.8 MiB', '12 bytes')
    """
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"


def cache_folder() -> Path:
    """The folder of what can be made again: $XDG_CACHE_HOME/vaekit, else ~/.cache/vaekit."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vaekit"


def search_folders(data_dir: str | Path | None = None) -> tuple[Path, ...]:
    """The folders that data are looked for in: `data_dir`, $VAEKIT_DATA, the cache.

    Example:
        >>> search_folders("mine")[0].name
        'mine'
    """
    named = (data_dir, os.environ.get("VAEKIT_DATA"))
    return (*(Path(folder).expanduser() for folder in named if folder), cache_folder())


class UnreachableError(VaekitError):
    """The network or the server did not give the file."""


def checksum_of(path: Path, kind: str = "sha256") -> str:
    """The hex digest of a file.

    Raises:
        VaekitError: for a file that cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "abc").write_bytes(b"abc")
        ...     checksum_of(Path(folder, "abc"), "md5")
        '900150983cd24fb0d6963f7d28e17f72'
    """
    try:
        with path.open("rb") as file:
            made = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False))
    except OSError as error:
        raise VaekitError(f"cannot read {path} ({error.strerror or error}).") from error
    return made.hexdigest()


def fetch(urls: Sequence[str], target: Path, checksum: str) -> Path:
    """Downloads a file to `target` from the first of `urls` that gives it.

    It is written beside `target` under another name, checked, and renamed. What a killed download
    left behind is cleared by the next one.

    Args:
        urls: addresses, the best first.
        target: where it goes; nothing is downloaded where it is there and has the checksum.
        checksum: a sha256, or "md5:" and an md5.

    Raises:
        UnreachableError: where the network or the server fails.
        VaekitError: for another checksum, and where the file cannot be written.
    """
    kind, _, wanted = checksum.rpartition(":")
    if target.is_file() and checksum_of(target, kind or "sha256") == wanted:
        return target
    made = missing_folders(target.parent)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
        with replacing(target) as temporary:
            _first(urls, temporary, checksum)
    except OSError as error:
        raise VaekitError(
            f"cannot write {target} ({error.strerror or error}); nothing was kept. Free some room, "
            f"or let XDG_CACHE_HOME name another folder."
        ) from error
    finally:
        remove_empty(made)
    return target


def _first(urls: Sequence[str], temporary: Path, checksum: str) -> None:
    """The first of the addresses that gives the file; the error of the last where none does."""
    for position, url in enumerate(urls, start=1):
        sys.stderr.write(f"downloading {url}\n")
        try:
            return _download(url, temporary, checksum)
        except VaekitError:
            if position == len(urls):
                raise
    raise UnreachableError("there is no address to download from.")


def _download(url: str, temporary: Path, checksum: str) -> None:
    import pooch
    import requests

    answers: list[requests.Response] = []
    load = pooch.HTTPDownloader(
        chunk_size=1 << 18,
        timeout=TIMEOUT,
        headers={"Accept-Encoding": "identity"},  # a server that zips would change the bytes
        hooks={"response": lambda answer, **_: answers.append(answer)},
    )
    try:
        load(url, str(temporary), None)
    except requests.HTTPError as error:
        told = f"{answers[-1].status_code} {answers[-1].reason}"
        raise UnreachableError(f"cannot download {url}: the server answers {told}.") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise UnreachableError(
            f"the download of {url} broke off before its end; nothing was kept. Try again."
        ) from error
    except requests.RequestException as error:
        host = urlsplit(url).netloc
        raise UnreachableError(f"cannot download {url}: no connection to {host}.") from error
    finally:
        for answer in answers:
            answer.close()  # pooch leaves it open where it fails
    kind, _, wanted = checksum.rpartition(":")
    got = checksum_of(temporary, kind or "sha256")
    if got != wanted:
        raise VaekitError(
            f"{url} gave another file: got the checksum {got}, expected {checksum}; "
            f"nothing was kept. Try again later, or fetch it elsewhere."
        )
