"""Images to pixels: upright, opaque, gray or in color, cropped and scaled; one, or a whole set."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaekit._torchutil import in_blocks
from vaekit.data._dataset import Dataset
from vaekit.data._rows import check_memory, chunks
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from PIL.Image import Image

    from vaekit._train_options import Data
    from vaekit.data._image_files import ImageFiles, Member

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
PAGED = ("TIFF", "GIF", "PNG", "WEBP", "AVIF")
GRAY = ("1", "L", "LA", "La")
MODES = (*GRAY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
BLOCK = 256  # images
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's


def _squared(image: Image, how: Data) -> Image:
    """Return the central pixels; then the shorter side scaled, the center kept.

    Scaling is Lanczos', with its support widened when it makes smaller (no aliasing).
    """
    from PIL import Image, ImageOps

    if how.crop is not None:
        left, top = (image.width - how.crop) // 2, (image.height - how.crop) // 2
        image = image.crop((left, top, left + how.crop, top + how.crop))
    if how.size is None:
        return image
    return ImageOps.fit(image, (how.size, how.size), Image.Resampling.LANCZOS)


def _flat(image: Image, channels: int) -> Image:
    """Return it gray (1 channel; ITU-R 601-2 luma) or RGB, what is transparent over white."""
    from PIL.Image import new

    if _transparent(image):
        image = image.convert("RGBA")
        white = new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        image = white
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


# What Pillow logs of a damaged file would be lines beside the one that refuses it.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# one file ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Opened:
    """An image file that was opened.

    Attributes:
        name: of the file.
        size: its width and height, upright.
        pixels: uint8 `(C, H, W)`: one channel if it is gray or is to become so, else three.
        corrupt: why it cannot be read; empty where it can.
        pages: of a stack or an animation, of which the first is read.
        blank: whether it became one flat color because what is transparent lies over white.
    """

    name: str
    size: tuple[int, int] = (0, 0)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros((1, 0, 0), np.uint8))
    corrupt: str = ""
    pages: int = 1
    blank: bool = False


def pixel_limit() -> float:
    """Return the most pixels of an image: Pillow's own limit, against decompression bombs."""
    from PIL import Image

    return Image.MAX_IMAGE_PIXELS or float("inf")


def open_image(files: ImageFiles, member: Member, how: Data, first: Opened | None = None) -> Opened:
    """Open a file and decode it.

    Args:
        files: where it lies.
        member: which one.
        how: how it is cropped, scaled and made gray.
        first: an image whose size it must have where it is neither cropped nor scaled.

    Raises:
        VaekitError: for an image with too many pixels or more than 8 bits per value, of which
            nothing is decoded, and one of another size than `first`, or smaller than the crop.
    """
    from PIL import Image, UnidentifiedImageError

    name = member.name
    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with files.open(member) as stream, Image.open(stream, formats=FORMATS) as image:
            # Of 16 bits per value Pillow would cut some to 8 without a word.
            tiles = " ".join(str(tile[3]) for tile in getattr(image, "tile", []))
            if image.mode not in MODES or re.search(";16[BLN]", tiles):
                raise VaekitError(
                    f"{files.path}: '{name}' has more than 8 bits per value (mode {image.mode}); "
                    f"convert it to 8-bit gray (L) or color (RGB)."
                )
            channels = 1 if how.gray or _is_gray(image) else 3
            pages, upright = _pages(image), _upright(image)
            _check_size(files.path, name, upright.size, how, first)
            flat = _flat(upright, channels)
            pixels, blank = _planes(_squared(flat, how)), _blank(upright, flat)
            return Opened(name, upright.size, pixels, pages=pages, blank=blank)
    except VaekitError:
        raise
    except bombs as error:
        counted = re.search("[0-9]+", str(error))  # Pillow tells how many
        raise VaekitError(
            f"{files.path}: '{name}' has {counted[0] if counted else 'more'} pixels; at most "
            f"{pixel_limit():.0f} are read, against decompression bombs. Make it smaller, or "
            "remove it."
        ) from None
    except UnidentifiedImageError:
        return Opened(name, corrupt="no image, or a damaged one")
    except Exception as error:  # Pillow's readers raise whatever damaged bytes make of them
        return Opened(name, corrupt=" ".join(str(error).split()) or type(error).__name__)


def _pages(image: Image) -> int:
    """Return how many images a file holds, of those formats in which all are meant to be seen."""
    try:
        return int(getattr(image, "n_frames", 1)) if image.format in PAGED else 1
    except Exception:  # of a file that is damaged behind its first image, which is read
        image.seek(0)
        return 1


def _blank(image: Image, flat: Image) -> bool:
    """Return whether an image lost all it showed when it was laid over white."""
    if not _transparent(image) or any(low < high for low, high in _ends(flat)):
        return False
    return _ends(image.convert("RGBA"))[3][0] < 255


def _ends(image: Image) -> list[tuple[int, int]]:
    """Return the least and the largest value of each channel."""
    return [channel.getextrema() for channel in image.split()]  # type: ignore[misc]


def _transparent(image: Image) -> bool:
    return "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa")


def _is_gray(image: Image) -> bool:
    palette = image.palette
    if image.mode not in ("P", "PA") or palette is None:
        return image.mode in GRAY
    step, colors = len(palette.rawmode or palette.mode), bytes(palette.palette)
    return step >= 3 and colors[0::step] == colors[1::step] == colors[2::step]


def _upright(image: Image) -> Image:
    """Return it turned as its EXIF record says, which may lie behind the pixels."""
    from PIL.ExifTags import Base
    from PIL.ImageOps import exif_transpose

    image.load()
    try:
        turn = int(image.getexif().get(Base.Orientation, 1))
    except Exception:  # Pillow's parser raises whatever a damaged record makes of it
        turn = 1
    if turn == 1:
        return image
    for record in ("exif", "Raw profile type exif"):
        image.info.pop(record, None)  # which Pillow would write anew, but for a damaged one
    return exif_transpose(image)


def _planes(image: Image) -> np.ndarray:
    """Return the pixels of a gray or RGB image, uint8 `(C, H, W)`."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _check_size(
    path: Path, name: str, size: tuple[int, int], how: Data, first: Opened | None
) -> None:
    seen = f"{size[0]} x {size[1]}"
    if how.crop is not None and min(size) < how.crop:
        raise VaekitError(
            f"`crop={how.crop}` is more than '{name}' in {path} has ({seen}); take less."
        )
    if how.crop is None and how.size is None and first is not None and size != first.size:
        raise VaekitError(
            f"{path} has images of several sizes: '{first.name}' is {first.size[0]} x "
            f"{first.size[1]}, '{name}' {seen}. Bring them to one size, as with `size=64`."
        )


def pixels_of(image: Path | Image, how: Data) -> np.ndarray:
    """Return the pixels of an image of Pillow, or of a file, as a model takes it: `(C, H, W)`.

    Raises:
        VaekitError: for a file that cannot be read.
    """
    from PIL import Image

    if isinstance(image, Path):
        try:
            with Image.open(image, formats=FORMATS) as opened:
                return pixels_of(opened.copy(), how)
        except (OSError, ValueError) as error:
            raise VaekitError(f"{image} is no image that can be read: {error}.") from None
    gray = how.gray or (_is_gray(image) and getattr(how, "takes").shape[0] == 1)  # noqa: B009
    return _planes(_squared(_flat(_upright(image), 1 if gray else 3), how))


# a whole set ------------------------------------------------------------------------------------


def shaped(data: Dataset, how: Data) -> Dataset:
    """Return all splits cropped, scaled and gray; the set itself where none of it is asked for.

    Binary images that are scaled or made gray become "gray" or "color"; floats stay in [0, 1].

    Raises:
        VaekitError: for data that are no images, and a crop larger than the images.

    Example:
        >>> from vaekit.data import load
        >>> from vaekit._train_options import Data
        >>> small = shaped(load("shapes"), Data(size=16))
        >>> small.train, small.kind
        (Split(3456 rows, (1, 16, 16), torch.uint8), 'gray')
    """
    named = [name for name in ("size", "crop", "gray") if getattr(how, name)]
    if not named:
        return data
    shape = tuple(data.train.images.shape[1:])
    if data.kind not in ("binary", "gray", "color") or len(shape) != 3:
        raise VaekitError(
            f"`{named[0]}` is for images; {data.name} holds rows of shape {shape} ({data.kind}): "
            "leave it."
        )
    channels, height, width = shape
    if how.crop is not None and how.crop > min(width, height):
        raise VaekitError(
            f"`crop={how.crop}` is more than the images of {data.name} have "
            f"({width} x {height}); take less."
        )
    if how.size is not None:
        rows, first = sum(map(len, data.splits.values())), data.train.images
        wanted = 2 * rows * channels * how.size**2 * (1 if first.dtype == torch.uint8 else 4)
        check_memory(f"{rows:,} images at `size={how.size}`", wanted, "Lower `size`, or `limit`.")
    ends = (0.0, 1.0) if data.own is None else (-math.inf, math.inf)
    splits = {
        name: replace(
            split, images=torch.cat([_shaped(p, how, ends) for p in chunks(split.images)])
        )
        for name, split in data.splits.items()
    }
    before = (how.crop, how.crop) if how.crop else (width, height)
    same_size = how.size is None or before == (how.size, how.size)
    colored = channels > 1 and not how.gray
    stays = data.kind == "binary" and same_size and colored == (channels > 1)
    kind = "binary" if stays else "color" if colored else "gray"
    return replace(data, kind=kind, **splits)  # type: ignore[arg-type]


def _shaped(images: Tensor, how: Data, ends: tuple[float, float]) -> Tensor:
    from PIL import Image

    array = images.numpy()
    if how.gray and array.shape[1] > 1 and array.dtype == np.float32:
        array = np.tensordot(array, np.array(LUMA, np.float32), (1, 0))[:, None]

    def one(image: np.ndarray) -> np.ndarray:
        if image.dtype == np.uint8 and len(image) == 3:  # together is twice as fast as one by one
            color = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
            return _planes(_squared(_flat(color, 1 if how.gray else 3), how))
        planes = np.stack([np.asarray(_squared(Image.fromarray(plane), how)) for plane in image])
        return planes if planes.dtype == np.uint8 else planes.clip(*ends)

    blocks = in_blocks(lambda rows: np.stack([one(array[r]) for r in rows]), len(array), BLOCK)
    return torch.from_numpy(np.concatenate(list(blocks)))
