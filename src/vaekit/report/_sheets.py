"""Sheets of images for files, with words around them: what their rows and columns are.

A sheet is at most 830 pixels wide, as much as GitHub shows, so that its letters are read as they
are drawn; one of twice the size is shown at half. Shapes: images `(N, C, H, W)`.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from vaekit._io import npz_bytes, write
from vaekit.errors import VaekitError, at_least
from vaekit.report._curves import COLORS
from vaekit.report._grids import (
    BAND,
    GAP,
    columns_of,
    grid,
    in_color,
    in_rows,
    joined,
    levels,
    png_bytes,
    tiles_of,
)

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

WIDE, HIGH = 830, 1000  # pixels of a sheet: images are enlarged as long as both suffice
LETTER, LINE = 14, 18  # pixels of a letter, and of a line
EDGE, SPACE, APART = 8, 10, 12  # pixels around; beside names; between bands
LETTERS, LONGEST = 20, 28  # of a line of a name
INK, SOFT = COLORS["ink"], COLORS["soft"]


def labeled(
    rows: Sequence[tuple[str, Tensor]],
    columns: int = 12,
    *,
    heads: Sequence[str] = (),
    over: str = "",
    under: str = "",
    together: int = 1,
    apart: Sequence[int] = (),
    width: int = WIDE,
    times: int = 1,
) -> Image:
    """Return a band of images for each name, from the top down, all in columns of one width.

    Args:
        rows: a name, whose line breaks stay, and images `(N, C, H, W)`; more than `columns` take
            several lines. Where no row has a name there is no room for names.
        columns: images side by side.
        heads: of the columns; where there is no room for all, the first, the last and some others.
        over, under: a line of words above and below them.
        together: so many bands stand close to each other, as originals and reconstructions.
        apart: the columns that stand apart from those before them.
        width: of the sheet, pixels: images are enlarged by the largest whole factor that fits, of
            1 at least.
        times: how much larger letters and sheet are.

    Example:
        >>> import torch
        >>> image = labeled([("one", torch.rand(4, 1, 8, 8)), ("two", torch.rand(4, 1, 8, 8))])
        >>> image.mode, 700 < image.width <= 830
        ('RGB', True)
    """
    from PIL import Image, ImageDraw

    font, edge, line = letters(times), EDGE * times, LINE * times
    names = [_lines(name) for name, _ in rows]
    widest = max(int(font.getlength(text)) for name in names for text in name)
    left = edge + (widest + SPACE * times if widest else 0)
    top = edge + line * (bool(over) + bool(heads))
    lines = [in_rows(tiles_of(images), columns) for _, images in rows]
    gaps = [GAP if (row + 1) % together else APART * times for row in range(len(rows) - 1)]
    many = max(len(part) for band in lines for part in band)
    between = (many - 1) * GAP + BAND * sum(place < many for place in apart)
    high, wide = lines[0][0].shape[1:3]
    across = (width * times - left - edge - between) // (many * wide)
    down = (HIGH * times - top - edge - sum(gaps)) // (sum(map(len, lines)) * high)
    factor = max(1, min(across, down))
    bands = [joined(band, [GAP] * len(band), factor, apart) for band in lines]
    heights = [max(band.height, line * len(name)) for band, name in zip(bands, names, strict=True)]
    words = left + int(max(map(font.getlength, (over, under))))
    size = max(left + max(band.width for band in bands), words) + edge
    down = top + sum(heights) + sum(gaps)
    page = Image.new("RGB", (size, down + edge + line * bool(under)), "white")
    pen = ImageDraw.Draw(page)
    pen.text((left, edge), over, SOFT, font)
    pen.text((left, down + edge / 2), under, SOFT, font)
    middles = [
        left + (factor * wide + GAP) * n + factor * wide / 2 + BAND * sum(n >= a for a in apart)
        for n in range(len(heads))
    ]
    for x, head in _fitting(middles, heads, font, page.width):
        pen.text((x, top - line / 2), head, SOFT, font, anchor="mm")
    for band, texts, height, gap in zip(bands, names, heights, [*gaps, 0], strict=True):
        middle = top + (height - line * len(texts)) // 2
        pen.multiline_text((edge, middle), "\n".join(texts), INK, font, spacing=line - font.size)
        page.paste(band, (left, top), band)
        top += height + gap
    return page


def pairs(kinds: Mapping[str, Tensor], columns: int | None = None, *, width: int = WIDE) -> Image:
    """Return images with others under them, row by row, by the names of these kinds.

    Args:
        kinds: images `(N, C, H, W)` of one shape, as originals and reconstructions, by their names.
        columns: images side by side; by default 5 to 12, so that the last row is full if it can be.
        width: as of `labeled`.

    Raises:
        VaekitError: for images of different shapes.

    Example:
        >>> import torch
        >>> both = {"x": torch.rand(18, 1, 8, 8), "E[x|z]": torch.rand(18, 1, 8, 8)}
        >>> pairs(both).size
        (802, 352)
    """
    shapes = {tuple(images.shape) for images in kinds.values()}
    if len(shapes) > 1:
        raise VaekitError(
            f"got images of the shapes {' and '.join(map(str, sorted(shapes)))} to put under each "
            "other; expected one shape."
        )
    count = next(iter(shapes))[0]
    wanted = columns if columns is not None else columns_of(count, several=True)
    columns = at_least("columns", wanted, 1)
    rows = [
        (name, images[start : start + columns])
        for start in range(0, count, columns)
        for name, images in kinds.items()
    ]
    return labeled(rows, columns, together=len(kinds), width=width)


def on_axes(
    images: Tensor, x: Sequence[float], y: Sequence[float], names: tuple[str, str] = ("z0", "z1")
) -> Image:
    """Return images of a plane in a light frame, with the values of both axes.

    Args:
        images: `(rows, columns, C, H, W)`, the row of the largest y first.
        x: of each column, from the left.
        y: of each row, from the top.
        names: of the axes.

    Example:
        >>> import torch
        >>> on_axes(torch.rand(3, 3, 1, 8, 8), [-1, 0, 1], [1, 0, -1]).mode
        'RGB'
    """
    from PIL import Image, ImageDraw

    font, texts = (
        letters(),
        [[f"{value:.2f}".replace("-", "−") for value in axis] for axis in (y, x)],
    )
    left = EDGE + int(max(map(font.getlength, (*texts[0], names[1] + " ↑")))) + SPACE
    top, below = EDGE + LINE, 2 * LINE + EDGE
    rows, columns, _, high, wide = images.shape
    across = (WIDE - left - EDGE - columns * GAP) // (columns * wide)
    factor = max(1, min(across, (HIGH - top - below - rows * GAP) // (rows * high)))
    tiles = in_rows(tiles_of(images.flatten(0, 1)), columns)
    sheet = joined(tiles, [GAP] * rows, factor)
    page = Image.new("RGB", (left + sheet.width + EDGE, top + sheet.height + below), "white")
    pen = ImageDraw.Draw(page)
    pen.rectangle(
        (left - 3, top - 3, left + sheet.width + 2, top + sheet.height + 2), outline=COLORS["rule"]
    )
    page.paste(sheet, (left, top), sheet)
    pen.text((left - SPACE, EDGE), f"{names[1]} ↑", SOFT, font, anchor="ra")
    pen.text((page.width - EDGE, page.height - EDGE), f"{names[0]} →", SOFT, font, anchor="rb")
    step = factor * wide + GAP
    every = math.ceil((max(map(font.getlength, texts[1])) + 8) / step)
    for n in range(0, columns, every):
        middle = left + step * n + factor * wide / 2
        pen.text((middle, top + sheet.height + 5), texts[1][n], SOFT, font, anchor="ma")
    step = factor * high + GAP
    for n in range(0, rows, max(every, math.ceil(LINE / step))):
        middle = top + step * (rows - 1 - n) + factor * high / 2
        pen.text((left - SPACE, middle), texts[0][-1 - n], SOFT, font, anchor="rm")
    return page


def captioned(image: Image, left: str, right: str, *, gray: bool = False) -> Image:
    """Return the image on white paper under a line of words; in grays alone, if so wanted."""
    from PIL import Image, ImageDraw

    top = LINE + EDGE + 5
    paper = Image.new("RGB", (image.width + 2 * EDGE, image.height + top + EDGE), "white")
    paper.paste(image, (EDGE, top), image if image.mode == "RGBA" else None)
    pen, font = ImageDraw.Draw(paper), letters()
    pen.text((EDGE, top // 2), left, INK, font, anchor="lm")
    pen.text((paper.width - EDGE, top // 2), right, SOFT, font, anchor="rm")
    return paper.convert("L") if gray else paper


def save_images(
    images: Tensor,
    path: str | Path,
    reconstructions: Tensor | None = None,
    *,
    columns: int | None = None,
    draw: Callable[[], Image] | None = None,
    ends: tuple[float, float] | None = None,
) -> Path:
    """Write images `(N, C, H, W)`, and their reconstructions, as a grid (.png) or arrays (.npz).

    Args:
        images: floats in [0, 1]; into an .npz rows of any shape.
        path: where they go.
        reconstructions: of one shape with the images: a row under each row of images.
        columns: images side by side.
        draw: draws what a .png shows in place of that, as `labeled` does.
        ends: the range of the data, which an .npz is then in, and keeps as `range`.

    Raises:
        VaekitError: for another ending, rows that are no images in a .png, and where it cannot be
            written; an old file is left as it was.
    """
    path = Path(path)
    both = {"images": images, "reconstructions": reconstructions}
    kinds = {name: part for name, part in both.items() if part is not None}
    if path.suffix == ".npz":
        arrays = {name: part.numpy() for name, part in kinds.items()}
        if ends is not None:
            low, high = ends
            arrays = {name: low + (high - low) * part for name, part in arrays.items()}
            arrays["range"] = np.array(ends)
        return write(path, npz_bytes(**arrays))
    if path.suffix != ".png":
        raise VaekitError(f"got the file {path}; expected one that ends in .png or .npz.")
    if images.dim() != 4:
        raise VaekitError(
            f"rows of shape {tuple(images.shape[1:])} are no images to draw: name a file that ends "
            "in .csv or .npz, as `out=rows.csv`."
        )
    if draw is None and reconstructions is not None:
        draw = partial(pairs, {"x": images, "E[x|z]": reconstructions}, columns)
    return write(path, png_bytes(draw() if draw else grid(images, columns=columns)))


def save_folder(
    images: Tensor, path: Path, within: Sequence[str] = (), *, names: Sequence[str] = ()
) -> Path:
    """Write each image `(N, C, H, W)`, floats in [0, 1], as a PNG of its own into a new folder.

    They are called 0.png, 1.png and on, in as many digits as the last has. The folder is there when
    all are written.

    Args:
        images: what is written.
        path: the folder.
        within: of each image, the folder in it, as its class; or empty. A name that leads
            elsewhere is made one that does not.
        names: of the files, in place of numbers, where no two are the same.

    Raises:
        VaekitError: where it is there already, or cannot be written.
    """
    from PIL import Image

    if path.exists():
        raise VaekitError(f"there is a folder {path}: name another.")
    named = len({_safe(name) for name in names}) == len(images)
    pixels = levels(in_color(images)).permute(0, 2, 3, 1).numpy()
    digits, place = len(str(len(pixels) - 1)), path.with_name(f".{path.name[:50]}.{os.getpid()}")
    try:
        for i, image in enumerate(pixels):
            folder = place / (_safe(within[i]) if within else "")
            folder.mkdir(parents=True, exist_ok=True)
            made = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
            name = _safe(names[i]) if named else f"{i:0{digits}}"
            (folder / f"{name}.png").write_bytes(png_bytes(made, small=False))
        place.rename(path)
    except OSError as error:
        raise VaekitError(f"cannot write {path}: {error.strerror}. Name another place.") from None
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return path


def _safe(name: str) -> str:
    """Return the name of a file or a folder that leads nowhere else."""
    return re.sub(r"[/\\\0]|^[.]+$", "-", name)[:100]


def letters(times: int = 1) -> FreeTypeFont:
    """Return the letters of the charts, in the size of a sheet."""
    from matplotlib.font_manager import findfont
    from PIL import ImageFont

    return ImageFont.truetype(findfont("DejaVu Sans"), LETTER * times)


def _lines(name: str) -> list[str]:
    """Return a name in lines, cut where options meet, at worst inside them."""
    whole = partial(textwrap.wrap, width=LETTERS, break_long_words=False, break_on_hyphens=False)
    parts = chain.from_iterable(map(whole, name.split("\n")))
    return [words for part in parts for words in textwrap.wrap(part, LONGEST)] or [""]


def _fitting(
    middles: Sequence[float], texts: Sequence[str], font: FreeTypeFont, width: int
) -> list[tuple[float, str]]:
    """Return the texts, with their middles, that fit side by side; both ends are among them."""
    halves = [font.getlength(text) / 2 + 3 for text in texts]
    spans = [(x - half, x + half) for x, half in zip(middles, halves, strict=True)]
    kept = [0][: len(spans)]
    for n in range(1, len(spans) - 1):
        if spans[n][0] >= spans[kept[-1]][1] and spans[n][1] <= spans[-1][0]:
            kept.append(n)
    kept = sorted({*kept, len(spans) - 1}) if spans else []
    return [(min(middles[n], width - halves[n]), texts[n]) for n in kept]
