"""The first pass over image files: sizes and modes from headers, before anything is decoded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaekit.data.listing import Images, pixel_limit
from vaekit.data.pictures import orientation, side
from vaekit.errors import VaekitError
from vaekit.options import Data
from vaekit.torchutil import in_blocks

if TYPE_CHECKING:
    from PIL.Image import Image


FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
GREY = ("1", "L", "LA", "La")
MODES = (*GREY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
BLOCK = 64


@dataclass(frozen=True)
class Plan:
    """What decoding makes of every image: `shape` (C, H, W), by `crop` and `size`."""

    count: int
    shape: tuple[int, int, int]
    crop: int | None
    size: int | None

    @property
    def row(self) -> int:
        """Bytes of an image."""
        channels, height, width = self.shape
        return channels * height * width

    @property
    def bytes(self) -> int:
        """Bytes of all images."""
        return self.count * self.row


@dataclass(frozen=True)
class Header:
    """Of one file: upright size, whether it is grey; or what is `wrong`."""

    size: tuple[int, int] = (0, 0)
    grey: bool = False
    corrupt: str = ""
    refused: str = ""


def scan(files: Images, asked: Data) -> Plan:
    """Reads all headers.

    Raises:
        VaekitError: for files that cannot be read, are too large, have more than 8 bits per value,
            differ in size without `asked.size` or `asked.crop`, or are smaller than `asked.crop`.
    """

    def work(rows: range) -> list[Header]:
        return [_header(files, number) for number in rows]

    total = len(files.members)
    headers = [header for part in in_blocks(work, total, BLOCK) for header in part]
    names = [member.name for member in files.members]
    corrupt = [(n, h.corrupt) for n, h in zip(names, headers, strict=True) if h.corrupt]
    if corrupt:
        raise spoilt(files.path, corrupt, total)
    for name, header in zip(names, headers, strict=True):
        if header.refused:
            raise VaekitError(f"{files.path}: '{name}' {header.refused}")
    _check_sizes(files.path, names, [header.size for header in headers], asked)
    width, height = side(*headers[0].size, asked.crop, asked.size)
    grey = asked.grey or all(header.grey for header in headers)
    return Plan(total, (1 if grey else 3, height, width), asked.crop, asked.size)


def spoilt(path: Path, wrong: Sequence[tuple[str, str]], total: int) -> VaekitError:
    """The error for files that cannot be read: how many, and the first."""
    name, why = wrong[0]
    return VaekitError(
        f"{path}: {len(wrong)} of {total} images cannot be read, first '{name}' "
        f"({why}); remove or replace them."
    )


def _header(files: Images, number: int) -> Header:
    from PIL import Image, UnidentifiedImageError

    try:
        with files.open(number) as stream, Image.open(stream, formats=FORMATS) as image:
            return _facts(image)
    except Image.DecompressionBombError as error:
        found = re.search("[0-9]+", str(error))  # Pillow tells how many
        return Header(refused=_bomb(found[0] if found else "more"))
    except UnidentifiedImageError:
        return Header(corrupt="no image, or a damaged one")
    except Exception as error:  # Pillow's readers raise whatever damaged bytes make of them
        return Header(corrupt=in_one_line(error))


def in_one_line(error: Exception) -> str:
    """What an error says, or else its kind."""
    return " ".join(str(error).split()) or type(error).__name__


def _facts(image: Image) -> Header:
    width, height = image.size
    if width * height > pixel_limit():
        return Header(refused=_bomb(f"{width} x {height} = {width * height}"))
    if image.mode not in MODES or _is_deep(image):
        return Header(
            refused=f"has more than 8 bits per value (mode {image.mode}); "
            f"convert it to 8-bit grey (L) or color (RGB)."
        )
    # A PNG without EXIF before its pixels would be decoded to look for EXIF behind them.
    turned = (image.format != "PNG" or "exif" in image.info) and orientation(image) > 4
    size = (height, width) if turned else (width, height)
    return Header(size, _is_grey(image))


def _bomb(pixels: str) -> str:
    return (
        f"has {pixels} pixels; at most {pixel_limit():.0f} are read, against decompression "
        f"bombs. Make it smaller, or remove it."
    )


def _is_deep(image: Image) -> bool:
    """16 bits per value that Pillow would cut to 8 without a word."""
    deep = (";16B", ";16L", ";16N")
    return any(mark in str(tile[3]) for tile in getattr(image, "tile", []) for mark in deep)


def _is_grey(image: Image) -> bool:
    if image.mode in GREY:
        return True
    palette = image.palette
    if image.mode not in ("P", "PA") or palette is None:
        return False
    step = len(palette.rawmode or palette.mode)
    colors = bytes(palette.palette)
    return step >= 3 and colors[0::step] == colors[1::step] == colors[2::step]


def _check_sizes(
    path: Path, names: Sequence[str], sizes: Sequence[tuple[int, int]], asked: Data
) -> None:
    for name, size in zip(names, sizes, strict=True):
        seen = f"{size[0]} x {size[1]}"
        if asked.crop is not None and min(size) < asked.crop:
            raise VaekitError(
                f"crop {asked.crop} is more than '{name}' in {path} has ({seen}); take less."
            )
        if asked.crop is None and asked.size is None and size != sizes[0]:
            first = f"{sizes[0][0]} x {sizes[0][1]}"
            raise VaekitError(
                f"{path} has images of several sizes: '{names[0]}' is {first}, '{name}' {seen}. "
                f"Bring them to one size, as with size 64."
            )
