"""The pixels of a set of image files, by several threads, in one pass over the files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaekit.data.imagefile import Opened, open_image
from vaekit.data.listing import Images
from vaekit.data.own import available, check_memory
from vaekit.data.remembered import ROOM, WORTH, Pixels, keep, place_of, recall, unwritten
from vaekit.data.rows import MappedRows, Rows, chunks
from vaekit.errors import VaekitError
from vaekit.io import in_words, note
from vaekit.options import Data
from vaekit.torchutil import in_blocks

BLOCK = 1 << 24  # bytes: of what a thread decodes before it hands over
MOST = 256


def read_pixels(files: Images, asked: Data) -> tuple[Tensor | Rows, str]:
    """The pixels of all images, uint8 `(N, C, H, W)`, and their kind.

    Each file is opened once. More than `WORTH` images are remembered in the user's cache once they
    are decoded. They are read from there row by row where `asked.cache` says so, or where memory
    would not hold them twice.

    Raises:
        VaekitError: for images that cannot be read or do not fit `asked`, and for a cache that
            cannot be written where it has to be.
    """
    place, count = place_of(files, asked), len(files.members)
    found = None if asked.cache is False else recall(place, count)
    if found is not None:
        array, kind = found
        note(f"{count} images ({in_words(array.nbytes)}) are read from {place}.")
        mapped = asked.cache or not _fits(array.nbytes)
        return MappedRows(array) if mapped else torch.from_numpy(array), kind
    with _quiet():
        first = open_image(files, files.members[0], asked)
        size, plane = count * first.pixels.nbytes, first.pixels[0].nbytes
        most = count * plane * (1 if asked.gray else 3)
        large = asked.cache or (asked.cache is None and not _fits(most))
        if large and not first.corrupt:
            note(f"{count} images ({in_words(size)}) are decoded once to {place}.")

            def fill(buffer: Pixels) -> tuple[Pixels, str]:
                images = _filled(buffer, files, asked, first)
                return images, kind_of(torch.from_numpy(images))

            found = _kept(place, most, fill, must=bool(asked.cache) or not _fits(size))
            if found is not None:
                return MappedRows(found[0]), found[1]
        check = partial(_check_room, files)
        check(size)
        buffer = np.empty(most if _fits(most) else size, np.uint8)  # what is untouched is no memory
        images = _filled(buffer, files, asked, first, check)
    kind = kind_of(torch.from_numpy(images))
    if asked.cache is None and count > WORTH and images.nbytes <= ROOM:
        _remember(place, images, kind)
    return torch.from_numpy(images), kind


def _check_room(files: Images, size: int) -> None:
    check_memory(
        f"{len(files.members)} images of {files.path}, copied once to be split,",
        2 * size,
        "Leave the cache on: they are then read from a file; or take a smaller size.",
    )


def _remember(place: Path, images: Pixels, kind: str) -> None:
    def fill(buffer: Pixels) -> tuple[Pixels, str]:
        there = buffer.reshape(images.shape)
        there[:] = images
        return there, kind

    if _kept(place, images.nbytes, fill, must=False) is not None:
        note(
            f"{len(images)} images ({in_words(images.nbytes)}) are remembered in {place.parent}; "
            "`vaekit data --clean` empties it."
        )


def _kept(
    place: Path, size: int, fill: Callable[[Pixels], tuple[Pixels, str]], *, must: bool
) -> tuple[Pixels, str] | None:
    """What is kept now; None, and a note, where it cannot be and need not."""
    try:
        return keep(place, size, fill)
    except OSError as error:
        why = unwritten(place, size, error)
        if must:
            raise VaekitError(
                f"{why}. Name another folder in XDG_CACHE_HOME, take a smaller size, or no cache."
            ) from error
        note(f"{why}: they are decoded again the next time.")
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns of what is refused here, and of what does not matter to pixels."""
    from PIL import Image

    Image.init()  # before threads do
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _fits(size: int) -> bool:
    """Whether memory holds so many bytes twice."""
    free = available()
    return free is None or 2 * size <= free


def _filled(
    buffer: Pixels,
    files: Images,
    asked: Data,
    first: Opened,
    check: Callable[[int], None] = lambda size: None,
) -> Pixels:
    """All images in order, in the first bytes of `buffer`: gray if all are, else in color.

    Where the first image in color makes them three times as many bytes, `check` is asked first.

    Raises:
        VaekitError: at the end, if some could not be read.
    """
    count = len(files.members)

    def view(shape: tuple[int, ...]) -> Pixels:
        return buffer[: count * math.prod(shape)].reshape(count, *shape)

    images, wrong = view(first.pixels.shape), []
    for place, found in enumerate(_opened(files, asked, first)):
        if found.corrupt:
            wrong.append(found)
        if wrong:
            continue
        if len(found.pixels) > images.shape[1]:
            check(3 * images.nbytes)
            gray, images = images, view(found.pixels.shape)
            for earlier in reversed(range(place)):  # from the end: they lie in the same bytes
                images[earlier] = gray[earlier].copy()
        images[place] = found.pixels
    if wrong:
        raise VaekitError(
            f"{files.path}: {len(wrong)} of {count} images cannot be read, first "
            f"'{wrong[0].name}' ({wrong[0].corrupt}); remove or replace them."
        )
    return images


def _opened(files: Images, asked: Data, first: Opened) -> Iterator[Opened]:
    """Every image in order."""
    yield first
    rest, row = files.members[1:], 3 * first.pixels[0].nbytes
    like = None if first.corrupt else first

    def work(rows: range) -> list[Opened]:
        return [open_image(files, rest[number], asked, like) for number in rows]

    block = max(1, min(MOST, BLOCK // row)) if row else 1
    for part in in_blocks(work, len(rest), block):
        yield from part


def kind_of(images: Tensor | Rows) -> str:
    """ "binary" if every value is 0 or 255, else "gray" (one channel) or "color".

    Example:
        >>> kind_of(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
        'binary'
    """
    if all(bool(((part == 0) | (part == 255)).all()) for part in chunks(images)):
        return "binary"
    return "gray" if images.shape[1] == 1 else "color"
