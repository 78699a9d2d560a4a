"""Decoded images kept in a file of the user's cache, for sets that memory does not hold.

A set is two files: KEY.npy, and KEY.json, which is written last and says what the first holds. Both
are written under another name and renamed, so that a reader sees whole files only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from vaekit.data.folders import search_folders
from vaekit.data.headers import Plan
from vaekit.data.listing import Images
from vaekit.data.notes import gib, note
from vaekit.data.rows import MappedRows
from vaekit.errors import VaekitError
from vaekit.options import Data

__all__ = ["keep", "kept"]

FORMAT = 1  # counts up when the same files are to give other pixels
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
Kind = Callable[[MappedRows], str]


def kept(files: Images, asked: Data) -> tuple[MappedRows, str] | None:
    """The rows and the kind of a set that was kept whole, or None."""
    place = _place(files, asked)
    try:
        record = json.loads(place.with_suffix(".json").read_text())
        array = _mapped(place, record["bytes"], tuple(record["shape"]))
        rows, kind = MappedRows(array), str(record["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if len(rows) != len(files.members):
        return None
    note(f"{len(rows)} images ({gib(array.nbytes)}) are read from {place}.")
    return rows, kind


def keep(
    files: Images, asked: Data, plan: Plan, blocks: Iterator[np.ndarray], kind_of: Kind
) -> tuple[MappedRows, str]:
    """Writes the images once, block by block, and maps them.

    Raises:
        VaekitError: where the disk is full or the folder cannot be written; nothing is left then.
    """
    place = _place(files, asked)
    note(f"{plan.count} images ({gib(plan.bytes)}) are decoded once to {place}.")
    record = place.with_suffix(".json")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place.parent)
        record.unlink(missing_ok=True)
        with _written(place) as stream:
            _write(stream, plan, blocks)
        rows = MappedRows(_mapped(place, place.stat().st_size, (plan.count, *plan.shape)))
        facts = {"bytes": place.stat().st_size, "shape": rows.array.shape, "kind": kind_of(rows)}
        with _written(record) as stream:
            stream.write(json.dumps(facts).encode())
    except OSError as error:
        raise _unwritten(place, plan, error) from error
    return rows, str(facts["kind"])


def _unwritten(place: Path, plan: Plan, error: OSError) -> VaekitError:
    why = f"cannot write {place} ({error.strerror or error})"
    if error.errno in FULL:
        why = f"there is no room for {gib(plan.bytes)} of decoded images in {place.parent}"
    return VaekitError(
        f"{why}. Name another folder in XDG_CACHE_HOME, take a smaller --size, or --no-cache."
    )


def _place(files: Images, asked: Data) -> Path:
    """Named after all that changes pixels: the files and the options."""
    options = [FORMAT, asked.size, asked.crop, asked.grey]
    digest = hashlib.sha256(json.dumps([str(files.path.resolve()), options]).encode())
    for member in files.members:
        digest.update(json.dumps([member.name, member.size, member.stamp]).encode())
    return search_folders()[-1] / "decoded" / f"{digest.hexdigest()[:32]}.npy"


def _mapped(place: Path, size: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    if place.stat().st_size != size:
        raise ValueError("truncated")
    array = np.lib.format.open_memmap(place, mode="r")
    if array.dtype != np.uint8 or array.shape != shape:
        raise ValueError("another array")
    return array


@contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name when it is whole, and is gone if anything goes wrong."""
    mark = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
    part = path.with_name(f"{path.name}.{mark}.part")
    try:
        with part.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _write(stream: IO[bytes], plan: Plan, blocks: Iterator[np.ndarray]) -> None:
    """By plain writes: a full disk is then an error, where a memory map would kill the process."""
    shape = (plan.count, *plan.shape)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    _reserve(stream, plan.bytes)
    for block in blocks:
        stream.write(block.data)


def _reserve(stream: IO[bytes], size: int) -> None:
    """Takes the disk space at once, where the system can."""
    if not hasattr(os, "posix_fallocate"):
        return
    stream.flush()
    try:
        os.posix_fallocate(stream.fileno(), stream.tell(), size)
    except OSError as error:
        if error.errno in FULL:
            raise


def _sweep(folder: Path) -> None:
    """Removes what processes left that were killed here."""
    for part in folder.glob("*.part"):
        found = re.search(r"\.(?:npy|json)\.(.*)-([0-9]+)-[0-9a-f]+\.part$", part.name)
        if found and found[1] == socket.gethostname() and not _alive(int(found[2])):
            part.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    if os.name == "nt":  # there, signal 0 is no question but Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
