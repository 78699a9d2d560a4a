"""Pictures: upright, opaque, gray or in color, cropped and scaled; one, or a whole set."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaekit.data.dataset import Dataset
from vaekit.data.rows import chunks
from vaekit.errors import VaekitError
from vaekit.options import Data
from vaekit.torchutil import in_blocks

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112  # the EXIF tag
# What undoes the orientations from 2 to 8.
TURNS = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90"
BLOCK = 256
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's


def orientation(image: Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow's parser raises whatever a damaged record makes of it
        return 1


def upright(image: Image) -> Image:
    """As it was seen by the camera."""
    from PIL.Image import Transpose

    turn = dict(enumerate(TURNS.split(), 2)).get(orientation(image))
    return image if turn is None else image.transpose(Transpose[turn])


def flat(image: Image, channels: int) -> Image:
    """Gray (1 channel; ITU-R 601-2 luma) or RGB (3), what is transparent over white."""
    from PIL.Image import new

    mode = "L" if channels == 1 else "RGB"
    if "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        white = new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        image = white
    return image if image.mode == mode else image.convert(mode)


def side(width: int, height: int, crop: int | None, size: int | None) -> tuple[int, int]:
    """Width and height of what `squared` makes."""
    if size is None and crop is None:
        return width, height
    return (size or crop or 0,) * 2


def squared(image: Image, crop: int | None, size: int | None) -> Image:
    """The central `crop` x `crop` pixels; then the shorter side scaled to `size`, the center kept.

    Scaling is Lanczos', with its support widened when it makes smaller (no aliasing).
    """
    from PIL.Image import Resampling

    if crop is not None:
        left, top = (image.width - crop) // 2, (image.height - crop) // 2
        image = image.crop((left, top, left + crop, top + crop))
    if size is None or image.size == (size, size):
        return image
    short = min(image.size)
    x, y = (image.width - short) / 2, (image.height - short) / 2
    return image.resize((size, size), Resampling.LANCZOS, (x, y, x + short, y + short))


def shaped(data: Dataset, asked: Data) -> Dataset:
    """All splits under `asked.crop`, `asked.size` and `asked.gray`; itself without them.

    Binary images that are scaled or made gray become "gray" or "color"; floats stay in [0, 1].

    Raises:
        VaekitError: for data that are no images, and a crop larger than the images.

    Example:
        >>> from vaekit.data import load
        >>> shaped(load("shapes"), Data(size=16)).train, shaped(load("shapes"), Data(size=16)).kind
        (Split(3456 rows, (1, 16, 16), torch.uint8), 'gray')
    """
    options = {"size": asked.size, "crop": asked.crop, "gray": asked.gray}
    named = [name for name, value in options.items() if value]
    if not named:
        return data
    if data.kind not in ("binary", "gray", "color") or data.train.images.ndim != 4:
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
    made = {
        name: replace(split, images=torch.cat([_piece(p, asked) for p in chunks(split.images)]))
        for name, split in data.splits.items()
    }
    return replace(data, kind=_kind(data, asked), **made)  # type: ignore[arg-type]


def _kind(data: Dataset, asked: Data) -> str:
    channels, height, width = data.train.images.shape[1:]
    gray = asked.gray and channels > 1
    cropped = side(width, height, asked.crop, None)
    scaled = side(*cropped, None, asked.size) != cropped
    if data.kind == "binary" and not (gray or scaled):
        return "binary"
    return "gray" if gray or channels == 1 else "color"


def _piece(images: Tensor, asked: Data) -> Tensor:
    array = images.numpy()
    if asked.gray and array.shape[1] > 1 and array.dtype == np.float32:
        array = np.tensordot(array, np.array(LUMA, np.float32), (1, 0))[:, None]
    one = _eight_bits if array.dtype == np.uint8 else _floats

    def work(rows: range) -> np.ndarray:
        return np.stack([one(array[number], asked) for number in rows])

    return torch.from_numpy(np.concatenate(list(in_blocks(work, len(array), BLOCK))))


def _eight_bits(image: np.ndarray, asked: Data) -> np.ndarray:
    from PIL import Image

    gray = asked.gray or len(image) == 1
    plane = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    made = squared(flat(Image.fromarray(plane), 1 if gray else 3), asked.crop, asked.size)
    return np.asarray(made).reshape(made.height, made.width, -1).transpose(2, 0, 1)


def _floats(image: np.ndarray, asked: Data) -> np.ndarray:
    from PIL import Image

    planes = [squared(Image.fromarray(plane), asked.crop, asked.size) for plane in image]
    return np.stack([np.asarray(plane) for plane in planes]).clip(0, 1)
