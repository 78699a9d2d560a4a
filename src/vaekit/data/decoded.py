"""Decoded images kept in a file of the user's cache, for sets that memory does not hold.

A set is two files: KEY.npy, and KEY.json, which is written last and says what the first holds. Both
are written under another name and renamed, so that a reader sees whole files only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from vaekit.data.headers import Plan
from vaekit.data.listing import Images
from vaekit.data.rows import MappedRows
from vaekit.errors import VaekitError
from vaekit.io import cache_folder, in_words, note, replacing, sweep
from vaekit.options import Data

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
    note(f"{len(rows)} images ({in_words(array.nbytes)}) are read from {place}.")
    return rows, kind


def keep(
    files: Images, asked: Data, plan: Plan, blocks: Iterator[np.ndarray], kind_of: Kind
) -> tuple[MappedRows, str]:
    """Writes the images once, block by block, and maps them.

    Raises:
        VaekitError: where the disk is full or the folder cannot be written; nothing is left then.
    """
    place = _place(files, asked)
    note(f"{plan.count} images ({in_words(plan.bytes)}) are decoded once to {place}.")
    record = place.with_suffix(".json")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        sweep(place.parent)
        record.unlink(missing_ok=True)
        with replacing(place) as temporary, temporary.open("wb") as stream:
            _write(stream, plan, blocks)
        rows = MappedRows(_mapped(place, place.stat().st_size, (plan.count, *plan.shape)))
        facts = {"bytes": place.stat().st_size, "shape": rows.array.shape, "kind": kind_of(rows)}
        with replacing(record) as temporary:
            temporary.write_text(json.dumps(facts))
    except OSError as error:
        raise _unwritten(place, plan, error) from error
    return rows, str(facts["kind"])


def _unwritten(place: Path, plan: Plan, error: OSError) -> VaekitError:
    why = f"cannot write {place} ({error.strerror or error})"
    if error.errno in FULL:
        why = f"there is no room for {in_words(plan.bytes)} of decoded images in {place.parent}"
    return VaekitError(
        f"{why}. Name another folder in XDG_CACHE_HOME, take a smaller size, or no cache."
    )


def _place(files: Images, asked: Data) -> Path:
    """Named after all that changes pixels: the files and the options."""
    options = [FORMAT, asked.size, asked.crop, asked.grey]
    digest = hashlib.sha256(json.dumps([str(files.path.resolve()), options]).encode())
    for member in files.members:
        digest.update(json.dumps([member.name, member.size, member.stamp]).encode())
    return cache_folder() / "decoded" / f"{digest.hexdigest()[:32]}.npy"


def _mapped(place: Path, size: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    if place.stat().st_size != size:
        raise ValueError("truncated")
    array = np.lib.format.open_memmap(place, mode="r")
    if array.dtype != np.uint8 or array.shape != shape:
        raise ValueError("another array")
    return array


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
