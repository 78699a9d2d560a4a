"""The pixels of a set of image files, by several threads, in one pass over the files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        most = count * (1 if asked.grey else 3) * plane
        large = asked.cache or (asked.cache is None and not _fits(most))
        if large and not first.corrupt:
            note(f"{count} images ({in_words(size)}) are decoded once to {place}.")

            def fill(buffer: Pixels) -> tuple[Pixels, str]:
                images = _filled(buffer, files, asked, first, lambda _: None)
                return images, kind_of(torch.from_numpy(images))

            found = _kept(place, most, fill, bool(asked.cache) or not _fits(size))
            if found is not None:
                return MappedRows(found[0]), found[1]
        return _in_memory(place, most, files, asked, first)


def _in_memory(
    place: Path, most: int, files: Images, asked: Data, first: Opened
) -> tuple[Tensor, str]:
    count = len(files.members)

    def check(size: int) -> None:
        check_memory(
            f"{count} images of {files.path}, copied once to be split,",
            2 * size,
            "Leave the cache on: they are then read from a file; or take a smaller size.",
        )

    images = _filled(np.empty(most, np.uint8), files, asked, first, check)
    kind = kind_of(torch.from_numpy(images))

    def fill(buffer: Pixels) -> tuple[Pixels, str]:
        there = buffer.reshape(images.shape)
        there[:] = images
        return there, kind

    if asked.cache is None and count > WORTH and images.nbytes <= ROOM:
        if _kept(place, images.nbytes, fill, False) is not None:
            note(
                f"{count} images ({in_words(images.nbytes)}) are remembered in {place.parent}; "
                "`vaekit data --clean` empties it."
            )
    return torch.from_numpy(images), kind


def _kept(
    place: Path, size: int, fill: Callable[[Pixels], tuple[Pixels, str]], must: bool
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
    buffer: Pixels, files: Images, asked: Data, first: Opened, check: Callable[[int], None]
) -> Pixels:
    """All images in order, in the first bytes of `buffer`: gray if all are, else in color.

    Raises:
        VaekitError: at the end, if some could not be read; by `check`, for too many bytes.
    """

    count = len(files.members)

    def view(shape: tuple[int, ...]) -> Pixels:
        size = count * math.prod(shape)
        check(size)
        return buffer[:size].reshape(count, *shape)

    images, wrong = view(first.pixels.shape), []
    for place, found in enumerate(_opened(files, asked, first)):
        if found.corrupt:
            wrong.append(found)
        if wrong:
            continue
        if len(found.pixels) > images.shape[1]:
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
    """ "binary" if every value is 0 or 255, else "grey" (one channel) or "colour".

    Example:
        >>> kind_of(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
        'binary'
    """
    if all(bool(((part == 0) | (part == 255)).all()) for part in chunks(images)):
        return "binary"
    return "grey" if images.shape[1] == 1 else "colour"
