"""The second pass over image files: their pixels, by several threads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from vaekit.data.decoded import keep, kept
from vaekit.data.headers import FORMATS, Plan, scan, spoilt
from vaekit.data.listing import Images
from vaekit.data.memory import available, check_memory
from vaekit.data.pictures import flat, squared, upright
from vaekit.data.rows import Rows, chunks
from vaekit.errors import VaekitError
from vaekit.options import Data
from vaekit.torchutil import in_blocks

BLOCK = 1 << 24  # bytes: of what a thread decodes before it hands over
MOST = 256


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
            return keep(files, asked, plan, blocks(files, plan), kind_of)
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
                why = " ".join(str(error).split()) or type(error).__name__
                wrong.append((files.members[number].name, why))
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
