"""Files that are whole or absent, lines that are never glued together, locks, caches, downloads.

It needs neither torch nor numpy until a function asks for them.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import re
import stat
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vaekit.errors import VaekitError

if TYPE_CHECKING:
    import numpy as np

FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
STALE = 3600  # seconds after which nobody writes to a temporary file any more
Content = bytes | Callable[[], Iterable[bytes | memoryview]]
TIMEOUT = (10, 60)  # seconds: to connect, and between two chunks of a download
warnings.filterwarnings("ignore", "only soft file lock")  # of filelock, where a system has no other


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path`; it takes that name at the end, or is removed.

    Readers see the old content or the new, whatever happens.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "name.txt")) as temporary:
        ...         _ = temporary.write_bytes(b"text")
        ...     [path.name for path in Path(folder).iterdir()]
        ['name.txt']
    """
    short = path.name[:50]  # a name has 255 bytes at most
    temporary = path.with_name(f".{short}.{os.urandom(4).hex()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        if hasattr(os, "O_DIRECTORY"):  # the new name must survive a power cut as well
            handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sweep(folder: Path, age: float = 0) -> None:
    """Remove the temporary files of `replacing` that nobody wrote to for `age` seconds.

    A living writer whose file is removed fails, but for `write`, which begins again: give an age
    where other writers than `write` may be at work.
    """
    for path in folder.glob(f".*.{'[0-9a-f]' * 8}.tmp"):
        with suppress(OSError):  # removed by another process meanwhile
            if time.time() - path.stat().st_mtime >= age:
                path.unlink()


def write(path: str | Path, data: Content, mend: str = "") -> Path:
    """Write `data` to `path`, whole or not at all, making the folders above it.

    Args:
        path: the file.
        data: its new content; or what returns it, piece by piece.
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
    missing = make_folder(path.parent)
    try:
        try:
            _write_once(path, data)
        except FileNotFoundError:  # another process swept the temporary file away
            _write_once(path, data)
    except OSError as error:
        remove_empty(missing)
        raise _refusal(path, error, mend) from error
    return path


def _write_once(path: Path, data: Content) -> None:
    with replacing(path) as temporary, temporary.open("wb") as stream:
        stream.writelines([data] if isinstance(data, bytes) else data())


def _refusal(path: Path, error: OSError, mend: str) -> VaekitError:
    why = error.strerror or str(error)
    full = error.errno in FULL
    if not mend:
        first = "Free some space, or name" if full else "Name"
        return VaekitError(f"cannot write {path}: {why}. {first} another place.")
    first = "free some space" if full else "make it writable"
    return VaekitError(f"cannot write {path}: {why}: {first}, then {mend}.")


def missing_folders(folder: Path) -> list[Path]:
    """Return this folder and those above it that do not exist, the lowest first.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in missing_folders(Path(folder, "a", "b"))]
        ['b', 'a']
    """
    return [path for path in (folder, *folder.parents) if not os.path.exists(path)]


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it; return those that there were not, the lowest first.

    Raises:
        VaekitError: where it cannot be made.
    """
    missing = missing_folders(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remove_empty(missing)
        why = error.strerror or error
        raise VaekitError(f"cannot make {folder}: {why}. Name another place.") from error
    return missing


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of these folders that are empty, in this order."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def append_line(path: Path, record: Mapping[str, Any], mend: str = "") -> None:
    """Add `record` as a line of JSON; a line that was cut off before it stays a line of its own.

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


def parsed(text: bytes | str) -> Any:
    """Return what JSON holds; what is nested too deeply is none.

    Raises:
        ValueError: for what is no JSON.

    Example:
        >>> parsed('{"epoch": 1}')
        {'epoch': 1}
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file of JSON lines; one that was cut off is left out.

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
    records = []
    for line in path.read_bytes().split(b"\n") if path.is_file() else []:
        with suppress(ValueError):
            record = parsed(line)
            if isinstance(record, dict):
                records.append(record)
    return records


@contextmanager
def locked(path: Path, *, tries: int = 5, remove: bool = False) -> Iterator[bool]:
    """Take the lock of this file, which ends with the process; yield False where another has it.

    Where the file system knows no locks, everybody has it. `is_locked` holds one for microseconds,
    so it is tried a few times; with `remove` its holder removes the file at the end.

    Raises:
        VaekitError: where the file cannot be opened for writing, or is none.
    """
    while True:
        if _no_file(path):
            raise VaekitError(f"{path} is no file, and it would be locked: remove it.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        except OSError as error:
            raise _refusal(path, error, "") from error
        with file:
            mine = _lock(file, tries=tries)
            if mine and not _is(file, path):  # its holder removed it before it was ours
                continue
            try:
                yield mine
            finally:
                if mine and remove:
                    with suppress(OSError):  # Windows removes no open file
                        path.unlink()
            return


def _no_file(path: Path) -> bool:
    """Return whether a folder, a link or a fifo, which opens when its other end does, is here."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _is(file: IO[bytes], path: Path) -> bool:
    """Return whether a file is still what its path names."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Read, change and write a file while nobody else does, in another process or thread.

    Raises:
        VaekitError: where another has it for half a minute.
    """
    with locked(path.with_name(f".{path.name}.lock"), tries=1500, remove=True) as mine:
        if not mine:
            raise VaekitError(f"another process writes {path}: wait for it.")
        yield


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of this file."""
    if _no_file(path):
        return False
    try:
        with path.open("rb") as file:
            return not _lock(file, tries=1)
    except OSError:  # no such file, or not for us to read
        return False


def _lock(file: IO[bytes], tries: int) -> bool:
    from filelock import lock_descriptor

    for number in range(tries):
        time.sleep(0.02 if number else 0)
        try:
            if lock_descriptor(file.fileno(), blocking=False):
                return True
        except OSError:  # a file system without locks
            return True
    return False


def npz_bytes(**arrays: np.ndarray) -> bytes:
    """Return these arrays as an .npz file.

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


def nearest(path: Path) -> Path | None:
    """Return what lies beside a path that is not there, and has nearly its name."""
    beside = list[str]()
    with suppress(OSError):
        others = (each.name for each in path.parent.iterdir() if each.name != path.name)
        beside = list(islice(others, 1000))
    near = get_close_matches(path.name, beside, n=1, cutoff=0.75)
    return path.parent / near[0] if near else None


def in_words(count: float) -> str:
    """Return a number of bytes in words.

    Example:
        >>> in_words(3 * 2**30), in_words(5e6), in_words(12)
        ('3.0 GiB', '4.8 MiB', '12 bytes')
    """
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"


FAILED = "DefaultCPUAllocator|failed to map segment"  # of a tensor, of a library that is loaded
ASKED = re.compile(r"(?:tried|Tried) to allocate ([\d.]+ \w+)|Unable to allocate ([\d.]+ \w+)")


def out_of_memory(error: BaseException) -> str | None:
    """Return what an allocation that failed asked for, in words; None for any other error.

    Example:
        >>> out_of_memory(RuntimeError("DefaultCPUAllocator: tried to allocate 3221225472 bytes"))
        '3.0 GiB'
        >>> out_of_memory(MemoryError()), out_of_memory(RuntimeError("another"))
        ('some', None)
    """
    failed = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # torch's
    if not failed and not re.search(FAILED, str(error)):
        return None
    found = ASKED.search(str(error))
    asked = "some" if found is None else found[1] or found[2]
    number, _, unit = asked.partition(" ")
    return in_words(int(number)) if unit == "bytes" else asked


def bytes_of(name: str, size: str) -> int:
    """Return the bytes that a size in words is, as `in_words` writes it; KB and GB are of 1024 too.

    Raises:
        VaekitError: for what is no size; `name` is the argument.

    Example:
        >>> bytes_of("max_memory", "1.5 GiB"), bytes_of("max_memory", "800m")
        (1610612736, 838860800)
    """
    units = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
    written = r"(\d{1,15}(?:\.\d{1,9})?)\s*([kmgt]?)(?:i?b|bytes)?"
    match = re.fullmatch(written, size.strip().lower())
    if match is None:
        raise VaekitError(f"got `{name}={size}`; expected a size, as 8GiB or 500MiB.")
    return int(float(match[1]) * 1024 ** units[match[2]])


def cache_folder() -> Path:
    """Return the user's cache, as ~/.cache/vaekit: the folder of what can be made again."""
    from platformdirs import user_cache_path

    return user_cache_path("vaekit", appauthor=False)


def stamp_of(path: str | Path) -> list[int]:
    """Return size and time of change of a file, which tell whether it was changed; [] of none."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return []
    return [facts.st_size, facts.st_mtime_ns] if stat.S_ISREG(facts.st_mode) else []


def search_folders(data_dir: str | Path | None = None) -> tuple[Path, ...]:
    """Return the folders that data are looked for in: `data_dir`, $VAEKIT_DATA, the cache.

    Example:
        >>> search_folders("mine")[0].name
        'mine'
    """
    named = (data_dir, os.environ.get("VAEKIT_DATA"))
    return (*(Path(folder).expanduser() for folder in named if folder), cache_folder())


class UnreachableError(VaekitError):
    """The network or the server did not give the file."""


def checksum_of(path: Path, like: str = "sha256:") -> str:
    """Return the checksum of a file in the form of another one: a sha256, or "md5:" and an md5.

    Raises:
        VaekitError: for a file that cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "abc").write_bytes(b"abc")
        ...     checksum_of(Path(folder, "abc"), like="md5:0123456789abcdef")
        'md5:900150983cd24fb0d6963f7d28e17f72'
    """
    kind = "md5" if like.startswith("md5:") else "sha256"
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False))
    except OSError as error:
        raise VaekitError(f"cannot read {path} ({error.strerror or error}).") from error
    return digest.hexdigest() if kind == "sha256" else f"{kind}:{digest.hexdigest()}"


def fetch(urls: Sequence[str], target: Path, checksum: str) -> Path:
    """Download a file to `target` from the first of `urls` that gives it.

    Args:
        urls: addresses, the best first.
        target: where it goes; nothing is downloaded where it is there and has the checksum.
        checksum: as in `checksum_of`.

    Raises:
        UnreachableError: where the network or the server fails.
        VaekitError: for another checksum, and where the file cannot be written.
    """
    if target.is_file() and checksum_of(target, checksum) == checksum:
        return target
    missing = missing_folders(target.parent)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent, STALE)
        with replacing(target) as temporary:
            for url in urls:
                try:
                    _download(url, temporary, checksum)
                    break
                except VaekitError:
                    if url == urls[-1]:
                        raise
    except OSError as error:
        raise VaekitError(
            f"cannot write {target} ({error.strerror or error}); nothing was kept. Free some room, "
            f"or let XDG_CACHE_HOME name another folder."
        ) from error
    finally:
        remove_empty(missing)
    return target


def _download(url: str, temporary: Path, checksum: str) -> None:
    """Download one file by pooch's downloader and check it.

    Not by `pooch.retrieve`: what that leaves when it is killed has a name that nobody can sweep.
    """
    import pooch
    import requests

    answers: list[requests.Response] = []
    download = pooch.HTTPDownloader(
        chunk_size=1 << 18,
        timeout=TIMEOUT,
        headers={"Accept-Encoding": "identity"},  # a server that zips would change the bytes
        hooks={"response": lambda answer, **_: answers.append(answer)},
    )
    sys.stderr.write(f"downloading {url}\n")
    try:
        download(url, str(temporary), None)
    except requests.exceptions.ChunkedEncodingError as error:
        raise UnreachableError(
            f"the download of {url} broke off before its end; nothing was kept. Try again."
        ) from error
    except requests.RequestException as error:
        why = f"no connection to {urlsplit(url).netloc}"
        if isinstance(error, requests.HTTPError):
            why = f"the server answers {answers[-1].status_code} {answers[-1].reason}"
        raise UnreachableError(f"cannot download {url}: {why}.") from error
    finally:
        for answer in answers:
            answer.close()  # pooch leaves it open where it fails
    got = checksum_of(temporary, checksum)
    if got != checksum:
        raise VaekitError(
            f"{url} gave another file: got the checksum {got}, expected {checksum}; "
            f"nothing was kept. Try again later, or fetch it elsewhere."
        )
