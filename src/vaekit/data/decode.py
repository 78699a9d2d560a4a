"""The second pass over image files: their pixels, by several threads; kept in a file on demand.

A set that memory does not hold is two files in the user's cache: KEY.npy, and KEY.json, which is
written last and says what the first holds. Both are written under another name and renamed, so that
a reader sees whole files only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data.headers import FORMATS, Plan, in_one_line, scan, spoilt
from vaekit.data.listing import Images
from vaekit.data.own import available, check_memory
from vaekit.data.pictures import flat, squared, upright
from vaekit.data.rows import MappedRows, Rows, chunks
from vaekit.errors import VaekitError
from vaekit.io import cache_folder, in_words, note, replacing, sweep
from vaekit.options import Data
from vaekit.torchutil import in_blocks

FORMAT = 1  # counts up when the same files are to give other pixels
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
BLOCK = 1 << 24  # bytes: of what a thread decodes before it hands over
MOST = 256


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


def keep(files: Images, asked: Data, plan: Plan) -> tuple[MappedRows, str]:
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
            _write(stream, plan, blocks(files, plan))
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


def read_pixels(files: Images, asked: Data) -> tuple[Tensor | Rows, str]:
    """The pixels of all images, uint8 `(N, C, H, W)`, and their kind.

    They lie in a file where `asked.cache` says so, or where they would take half of the memory.

    Raises:
        VaekitError: for images that cannot be read or do not fit `asked`, and for a full disk.
    """
    with _quiet():
        found = None if asked.cache is False else kept(files, asked)
        if found is not None:
            return found
        plan = scan(files, asked)
        if _wants_file(plan, asked):
            return keep(files, asked, plan)
        check_memory(
            f"{plan.count} images of {files.path}, copied once to be split,",
            2 * plan.bytes,
            "Leave the cache on: they are then read from a file; or take a smaller size.",
        )
        images = torch.from_numpy(_filled(files, plan))
    return images, kind_of(images)


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns of what is refused here, and of what does not matter to pixels."""
    from PIL import Image

    Image.init()  # before threads do
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _wants_file(plan: Plan, asked: Data) -> bool:
    if asked.cache is not None:
        return asked.cache
    free = available()
    return free is not None and plan.bytes > free / 2


def _filled(files: Images, plan: Plan) -> np.ndarray:
    images = np.empty((plan.count, *plan.shape), np.uint8)
    start = 0
    for block in blocks(files, plan):
        images[start : start + len(block)] = block
        start += len(block)
    return images


def blocks(files: Images, plan: Plan) -> Iterator[np.ndarray]:
    """All images in order, uint8 `(n, C, H, W)` at a time.

    Raises:
        VaekitError: at the end, if some could not be decoded.
    """

    def work(rows: range) -> tuple[np.ndarray, list[tuple[str, str]]]:
        block = np.zeros((len(rows), *plan.shape), np.uint8)
        wrong = []
        for i, number in enumerate(rows):
            try:
                block[i] = _pixels(files, number, plan)
            except Exception as error:  # Pillow's readers raise whatever damaged bytes make of them
                wrong.append((files.members[number].name, in_one_line(error)))
        return block, wrong

    wrong: list[tuple[str, str]] = []
    for block, more in in_blocks(work, plan.count, max(1, min(MOST, BLOCK // plan.row))):
        wrong += more
        yield block
    if wrong:
        raise spoilt(files.path, wrong, plan.count)


def _pixels(files: Images, number: int, plan: Plan) -> np.ndarray:
    from PIL import Image

    channels = plan.shape[0]
    with files.open(number) as stream, Image.open(stream, formats=FORMATS) as image:
        image.load()
        made = squared(flat(upright(image), channels), plan.crop, plan.size)
        pixels = np.asarray(made).reshape(made.height, made.width, channels).transpose(2, 0, 1)
    if pixels.shape != plan.shape:
        raise VaekitError(f"turned upright it is {made.width} x {made.height}: give a size")
    return pixels


def kind_of(images: Tensor | Rows) -> str:
    """ "binary" if every value is 0 or 255, else "grey" (one channel) or "colour".

    Example:
        >>> kind_of(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
        'binary'
    """
    if all(bool(((part == 0) | (part == 255)).all()) for part in chunks(images)):
        return "binary"
    return "grey" if images.shape[1] == 1 else "colour"
