"""One image file: what its header says, what is refused of it, and its pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaekit.data.listing import Images, Member, pixel_limit
from vaekit.data.pictures import flat, orientation, side, squared, upright
from vaekit.errors import VaekitError
from vaekit.options import Data

if TYPE_CHECKING:
    from PIL.Image import Image


FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
GRAY = ("1", "L", "LA", "La")
MODES = (*GRAY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


@dataclass(frozen=True, eq=False)
class Opened:
    """An image file that was opened.

    Attributes:
        name: of the file.
        size: width and height, upright, by its header.
        pixels: uint8 `(C, H, W)`: one channel if it is gray or is to become so, else three.
        corrupt: why it cannot be read; empty where it can.
    """

    name: str
    size: tuple[int, int] = (0, 0)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros((1, 0, 0), np.uint8))
    corrupt: str = ""


def open_image(files: Images, member: Member, asked: Data, first: Opened | None = None) -> Opened:
    """Opens a file, checks its header, and then decodes it.

    Args:
        files: where it lies.
        member: which one.
        asked: how it is cropped, scaled and made gray.
        first: an image whose size it must have where it is neither cropped nor scaled.

    Raises:
        VaekitError: for an image with too many pixels, more than 8 bits per value, of another size
            than `first`, or smaller than `asked.crop`; nothing of it is decoded then.
    """
    from PIL import Image, UnidentifiedImageError

    name = member.name
    try:
        with files.open(member) as stream, Image.open(stream, formats=FORMATS) as image:
            _check_header(files.path, name, image)
            size = _upright_size(image)
            _check_size(files.path, name, size, asked, first)
            return Opened(name, size, _pixels(image, size, asked))
    except VaekitError:
        raise
    except Image.DecompressionBombError as error:
        found = re.search("[0-9]+", str(error))  # Pillow tells how many
        raise _bomb(files.path, name, found[0] if found else "more") from None
    except UnidentifiedImageError:
        return Opened(name, corrupt="no image, or a damaged one")
    except Exception as error:  # Pillow's readers raise whatever damaged bytes make of them
        return Opened(name, corrupt=" ".join(str(error).split()) or type(error).__name__)


def _check_header(path: Path, name: str, image: Image) -> None:
    width, height = image.size
    if width * height > pixel_limit():
        raise _bomb(path, name, f"{width} x {height} = {width * height}")
    if image.mode not in MODES or _is_deep(image):
        raise VaekitError(
            f"{path}: '{name}' has more than 8 bits per value (mode {image.mode}); "
            f"convert it to 8-bit gray (L) or color (RGB)."
        )


def _bomb(path: Path, name: str, pixels: str) -> VaekitError:
    return VaekitError(
        f"{path}: '{name}' has {pixels} pixels; at most {pixel_limit():.0f} are read, against "
        f"decompression bombs. Make it smaller, or remove it."
    )


def _is_deep(image: Image) -> bool:
    """16 bits per value that Pillow would cut to 8 without a word."""
    deep = (";16B", ";16L", ";16N")
    return any(mark in str(tile[3]) for tile in getattr(image, "tile", []) for mark in deep)


def _upright_size(image: Image) -> tuple[int, int]:
    width, height = image.size
    # A PNG without EXIF before its pixels would be decoded to look for EXIF behind them.
    turned = (image.format != "PNG" or "exif" in image.info) and orientation(image) > 4
    return (height, width) if turned else (width, height)


def _check_size(
    path: Path, name: str, size: tuple[int, int], asked: Data, first: Opened | None
) -> None:
    seen = f"{size[0]} x {size[1]}"
    if asked.crop is not None and min(size) < asked.crop:
        raise VaekitError(
            f"crop {asked.crop} is more than '{name}' in {path} has ({seen}); take less."
        )
    one_size = asked.crop is None and asked.size is None
    if one_size and first is not None and size != first.size:
        raise VaekitError(
            f"{path} has images of several sizes: '{first.name}' is {first.size[0]} x "
            f"{first.size[1]}, '{name}' {seen}. Bring them to one size, as with size 64."
        )


def _pixels(image: Image, size: tuple[int, int], asked: Data) -> np.ndarray:
    channels = 1 if asked.gray or _is_gray(image) else 3
    image.load()
    made = squared(flat(upright(image), channels), asked.crop, asked.size)
    if made.size != side(*size, asked.crop, asked.size):
        raise ValueError(f"turned upright it is {made.width} x {made.height}: give a size")
    pixels = np.asarray(made).reshape(made.height, made.width, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _is_gray(image: Image) -> bool:
    if image.mode in GRAY:
        return True
    palette = image.palette
    if image.mode not in ("P", "PA") or palette is None:
        return False
    step = len(palette.rawmode or palette.mode)
    colors = bytes(palette.palette)
    return step >= 3 and colors[0::step] == colors[1::step] == colors[2::step]
