"""Images of a set that is read whole, cropped, scaled and made grey as those in files are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vaekit.data.dataset import Dataset, Split
from vaekit.data.pictures import flat, side, squared
from vaekit.data.rows import chunks
from vaekit.errors import VaekitError
from vaekit.options import Data
from vaekit.torchutil import in_blocks

BLOCK = 256
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's


def shaped(data: Dataset, asked: Data) -> Dataset:
    """All splits under `asked.crop`, `asked.size` and `asked.grey`; itself without them.

    Binary images that are scaled or made grey become "grey" or "colour"; floats stay in [0, 1].

    Raises:
        VaekitError: for data that are no images, and a crop larger than the images.

    Example:
        >>> from vaekit.data import load
        >>> shaped(load("shapes"), Data(size=16)).train, shaped(load("shapes"), Data(size=16)).kind
        (Split(3456 rows, (1, 16, 16), torch.uint8), 'grey')
    """
    options = {"size": asked.size, "crop": asked.crop, "grey": asked.grey}
    named = [name for name, value in options.items() if value]
    if not named:
        return data
    if data.kind not in ("binary", "grey", "colour") or data.train.images.ndim != 4:
        raise VaekitError(
            f"{named[0]} is for images; {data.name} holds rows of shape "
            f"{tuple(data.train.images.shape[1:])} ({data.kind}): leave it."
        )
    height, width = data.train.images.shape[2:]
    if asked.crop is not None and asked.crop > min(width, height):
        raise VaekitError(
            f"crop {asked.crop} is more than the images of {data.name} have "
            f"({width} x {height}); take less."
        )
    made = {name: _shaped(split, asked) for name, split in data.splits.items()}
    return replace(data, kind=_kind(data, asked), **made)  # type: ignore[arg-type]


def _kind(data: Dataset, asked: Data) -> str:
    channels, height, width = data.train.images.shape[1:]
    grey = asked.grey and channels > 1
    cropped = side(width, height, asked.crop, None)
    scaled = side(*cropped, None, asked.size) != cropped
    if data.kind == "binary" and not (grey or scaled):
        return "binary"
    return "grey" if grey or channels == 1 else "colour"


def _shaped(split: Split, asked: Data) -> Split:
    images = torch.cat([_piece(part, asked) for part in chunks(split.images)])
    return replace(split, images=images)


def _piece(images: Tensor, asked: Data) -> Tensor:
    array = images.numpy()
    if asked.grey and array.shape[1] > 1 and array.dtype == np.float32:
        array = np.tensordot(array, np.array(LUMA, np.float32), (1, 0))[:, None]
    one = _eight_bits if array.dtype == np.uint8 else _floats

    def work(rows: range) -> np.ndarray:
        return np.stack([one(array[number], asked) for number in rows])

    return torch.from_numpy(np.concatenate(list(in_blocks(work, len(array), BLOCK))))


def _eight_bits(image: np.ndarray, asked: Data) -> np.ndarray:
    from PIL import Image

    grey = asked.grey or len(image) == 1
    plane = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    made = squared(flat(Image.fromarray(plane), 1 if grey else 3), asked.crop, asked.size)
    return np.asarray(made).reshape(made.height, made.width, -1).transpose(2, 0, 1)


def _floats(image: np.ndarray, asked: Data) -> np.ndarray:
    from PIL import Image

    planes = [squared(Image.fromarray(plane), asked.crop, asked.size) for plane in image]
    return np.stack([np.asarray(plane) for plane in planes]).clip(0, 1)
