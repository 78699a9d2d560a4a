"""Decoded images that are remembered in the user's cache, for the next training.

A set is two files: KEY.pixels, its bytes, and KEY.json, which is written last and says what the
first holds. Both are written under another name and renamed, so that a reader sees whole files
only. A file that is removed while a process reads from it stays for that process.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from vaekit.data.listing import Images
from vaekit.errors import VaekitError
from vaekit.io import FULL, cache_folder, in_words, locked, replacing, sweep
from vaekit.options import Data

FORMAT = 2  # counts up when the same files are to give other pixels
WORTH = 1_000  # images: more than these are remembered unasked
ROOM = 20 * 10**9  # bytes of all sets together
ZEROS = bytes(1 << 20)
Pixels = np.ndarray[Any, Any]


def place_of(files: Images, asked: Data) -> Path:
    """Where these images are remembered: named after all that changes pixels."""
    options = [FORMAT, asked.size, asked.crop, asked.gray]
    members = [[member.name, member.size, member.stamp] for member in files.members]
    text = json.dumps([str(files.path.resolve()), options, members])
    return _folder() / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.pixels"


def _folder() -> Path:
    return cache_folder() / "decoded"


def recall(place: Path, rows: int) -> tuple[Pixels, str] | None:
    """The images that were kept there, mapped and copied on writing, and their kind; or None."""
    record = place.with_suffix(".json")
    try:
        facts = json.loads(record.read_text())
        kind, shape = str(facts["kind"]), tuple(map(int, facts["shape"]))
        if shape[0] != rows or place.stat().st_size != np.prod(shape):
            return None
        array: Pixels = np.memmap(place, np.uint8, "c", shape=shape)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    with suppress(OSError):
        os.utime(record)  # when it was used last
    return array, kind


def keep(
    place: Path, most: int, fill: Callable[[Pixels], tuple[Pixels, str]]
) -> tuple[Pixels, str]:
    """Writes a set, and returns what `recall` does.

    Args:
        place: where.
        most: the bytes that it may take; room for them is taken before `fill` is called.
        fill: puts the images into these bytes; returns them, which are the first of the bytes,
            and their kind.

    Raises:
        OSError: where the disk is full or the folder cannot be written; nothing is left then.
    """
    record = place.with_suffix(".json")
    place.parent.mkdir(parents=True, exist_ok=True)
    sweep(place.parent)
    _make_room(most)
    record.unlink(missing_ok=True)
    with replacing(place) as temporary:
        _reserve(temporary, most)
        images, kind = fill(np.memmap(temporary, np.uint8, "r+"))
        shape = images.shape
        del images  # a system may refuse to cut or rename what is mapped
        os.truncate(temporary, int(np.prod(shape)))
    with replacing(record) as temporary:
        temporary.write_text(json.dumps({"shape": shape, "kind": kind}))
    found = recall(place, shape[0])
    if found is None:
        raise FileNotFoundError(f"{place} was removed at once")
    return found


def _reserve(path: Path, size: int) -> None:
    """Takes the disk space at once: a mapped file that finds no room would kill the process."""
    with path.open("wb") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, size)
        except (AttributeError, OSError) as error:
            if getattr(error, "errno", None) in FULL:
                raise
            for start in range(0, size, len(ZEROS)):  # where the system knows no such call
                stream.write(ZEROS[: size - start])


def _sets() -> list[tuple[float, int, list[Path]]]:
    """When each set was used last, its bytes and its files, the record first; the oldest first."""
    found: dict[str, list[Path]] = {}
    for path in sorted(_folder().glob("[!.]*")):
        found.setdefault(path.stem, []).append(path)
    sets = []
    for paths in found.values():
        with suppress(FileNotFoundError):  # removed by another process meanwhile
            facts = [path.stat() for path in paths]
            used = max(fact.st_mtime for fact in facts)
            sets.append((used, sum(fact.st_size for fact in facts), paths))
    return sorted(sets)


def _make_room(wanted: int) -> None:
    """Removes the sets that were used longest ago until so many bytes more are within `ROOM`."""
    with suppress(VaekitError, OSError), locked(_folder().with_suffix(".lock")) as alone:
        sets = _sets() if alone else []
        total = sum(size for _, size, _ in sets)
        for _, size, paths in sets:
            if total + wanted <= ROOM:
                break
            for path in paths:
                path.unlink(missing_ok=True)
            total -= size


def clean_cache() -> tuple[Path, int, int]:
    """Removes all decoded images from the cache: its folder, how many sets and bytes they were.

    Raises:
        VaekitError: for a file that cannot be removed.
    """
    sweep(_folder())
    sets = _sets()
    try:
        for path in (path for _, _, paths in sets for path in paths):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise VaekitError(
            f"cannot remove {error.filename}: {error.strerror}. Remove it."
        ) from error
    return _folder(), len(sets), sum(size for _, size, _ in sets)


def unwritten(place: Path, size: int, error: OSError) -> str:
    """Why a set could not be kept."""
    if error.errno in FULL:
        return f"there is no room for {in_words(size)} of decoded images in {place.parent}"
    return f"cannot write {place} ({error.strerror or error})"
