"""Sheets of images for a reader's eye: each enlarged by whole pixels, never smoothed.

Shapes: images `(N, C, H, W)`, tiles `(N, H, W, 4)` uint8 RGBA.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.io import write

if TYPE_CHECKING:
    from PIL.Image import Image


GAP = 2  # pixels between images
BAND = 10  # pixels between rows that belong together and the next


def is_image(images: Tensor) -> bool:
    """Whether this is `(N, C, H, W)` with 1 or 3 channels and no empty dimension.

    Example:
        >>> is_image(torch.rand(5, 3, 8, 8)), is_image(torch.rand(5, 64))
        (True, False)
    """
    return images.ndim == 4 and images.shape[1] in (1, 3) and images.numel() > 0


def grid(images: Tensor, *, columns: int | None = None, width: int = 640) -> Image:
    """Images side by side, row by row, on a transparent sheet.

    Args:
        images: floats `(N, C, H, W)`, C = 1 (gray) or 3 (RGB); clamped to [0, 1], NaN is mid gray.
        columns: images in a row, N at most; by default about as many as rows.
        width: about how wide the sheet shall be, in pixels. Each image is enlarged by a whole
            factor, of 1 where the images are large: they are never shrunk.

    Returns:
        An RGBA image.

    Raises:
        VaekitError: for another shape or type, no images, or columns or width below 1.

    Example:
        >>> grid(torch.rand(12, 1, 8, 8), columns=4).size
        (646, 484)
    """
    tiles = _tiles(images)
    columns = _columns(math.ceil(math.sqrt(len(tiles))) if columns is None else columns, len(tiles))
    rows = _rows(tiles, columns)
    return _sheet(rows, [GAP] * len(rows), columns, width)


def pairs(
    originals: Tensor, reconstructions: Tensor, *, columns: int = 8, width: int = 640
) -> Image:
    """A row of originals, their reconstructions right under it, and so on.

    Args:
        originals, reconstructions: as in `grid`, of one shape.
        columns: pairs in a row, N at most.
        width: as in `grid`.

    Returns:
        An RGBA image.

    Raises:
        VaekitError: for two shapes that differ, and as in `grid`.

    Example:
        >>> pairs(torch.rand(8, 1, 8, 8), torch.rand(8, 1, 8, 8)).size
        (654, 162)
    """
    if originals.shape != reconstructions.shape:
        raise VaekitError(
            f"originals {tuple(originals.shape)} and reconstructions "
            f"{tuple(reconstructions.shape)} must have the same shape."
        )
    return stacks(originals, reconstructions, columns=columns, width=width)


def stacks(*parts: Tensor, columns: int = 8, width: int = 640) -> Image:
    """A row of the first images, one of each other kind right under it, and so on.

    Args:
        parts: as many images each, as in `grid`, of one shape.
        columns: images in a row, N at most.
        width: as in `grid`.

    Returns:
        An RGBA image.

    Example:
        >>> stacks(*(torch.rand(8, 1, 8, 8) for _ in range(3))).size
        (654, 244)
    """
    tiles = [_tiles(part) for part in parts]
    columns = _columns(columns, len(tiles[0]))
    together = zip(*(_rows(part, columns) for part in tiles), strict=True)
    rows = [row for stack in together for row in stack]
    gaps = [*[GAP] * (len(parts) - 1), BAND]
    return _sheet(rows, gaps * (len(rows) // len(parts)), columns, width)


def png_bytes(image: Image, *, small: bool = True) -> bytes:
    """The image as a PNG file: as small as it can be, or six times sooner.

    Example:
        >>> png_bytes(grid(torch.rand(4, 1, 8, 8)))[:4]
        b'\\x89PNG'
    """
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=small)
    return stream.getvalue()


def save_png(image: Image, path: str | Path) -> None:
    """Writes a PNG file atomically, making the folders above it.

    Raises:
        VaekitError: where it cannot be written; an old file is left as it was.
    """
    write(path, png_bytes(image))


def _tiles(images: Tensor) -> np.ndarray:
    if not is_image(images) or not images.is_floating_point():
        raise VaekitError(
            f"images must be floats in [0, 1], (N, C, H, W) with 1 or 3 channels and N at least 1; "
            f"got {images.dtype}, {tuple(images.shape)}."
        )
    values = images.detach().cpu().double().nan_to_num(nan=0.5).clamp(0, 1)
    levels = (values * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)
    opaque = torch.full_like(levels[:, :1], 255)
    return torch.cat([levels, opaque], 1).permute(0, 2, 3, 1).numpy()


def _columns(columns: int, images: int) -> int:
    if columns < 1:
        raise VaekitError(f"columns must be at least 1; got {columns}.")
    return min(columns, images)


def _rows(tiles: np.ndarray, columns: int) -> list[np.ndarray]:
    return [tiles[start : start + columns] for start in range(0, len(tiles), columns)]


def _factor(wide: int, width: int) -> int:
    """The whole number nearest to width / wide that exceeds it by a quarter at most."""
    return max(1, min(round(width / wide), math.floor(1.25 * width / wide)))


def _sheet(rows: Sequence[np.ndarray], gaps: Sequence[int], columns: int, width: int) -> Image:
    """Rows of tiles from the top down, each followed by its gap; the last gap is dropped."""
    from PIL import Image

    if width < 1:
        raise VaekitError(f"width must be at least 1; got {width}.")
    high, wide = rows[0].shape[1:3]
    factor = _factor(columns * wide, width)
    high, wide = factor * high, factor * wide
    sheet_high = len(rows) * high + sum(gaps[:-1])
    sheet = np.zeros((sheet_high, columns * (wide + GAP) - GAP, 4), np.uint8)
    for number, row in enumerate(rows):
        top = number * high + sum(gaps[:number])
        for place, tile in enumerate(row.repeat(factor, 1).repeat(factor, 2)):
            left = place * (wide + GAP)
            sheet[top : top + high, left : left + wide] = tile
    return Image.fromarray(sheet)
