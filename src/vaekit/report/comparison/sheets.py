"""The pictures of a comparison, and rows of images with their names beside them, on white.

Shapes: images `(N, C, H, W)`, floats in [0, 1].
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from vaekit.distributions import Offer
from vaekit.report.comparison.charts import curves_figure, distortion_figure, png
from vaekit.report.comparison.entries import SHOWN, Entry
from vaekit.report.comparison.opened import Opened
from vaekit.report.images import GAP, _rows, _tiles, png_bytes
from vaekit.report.style import look

if TYPE_CHECKING:
    from PIL.Image import Image


WIDE = 1120  # pixels of the images of a row, about; the page shows half of them
LETTERS, LONGEST = 20, 28  # of a line of a name
SIZE = 24  # pixels of a letter
INK, BAND, EDGE = (35, 38, 43), 14, 12


def labelled(rows: Sequence[tuple[str, Tensor]], columns: int = 12, *, width: int = WIDE) -> Image:
    """A band of images for each name, from the top down, all in columns of one width.

    Args:
        rows: a name, whose own lines are kept, and images `(N, C, H, W)`; more than `columns` take
            several lines.
        columns: images side by side.
        width: about how wide the images of a row shall be, in pixels.

    Example:
        >>> import torch
        >>> sheet = labelled([("one", torch.rand(4, 1, 8, 8)), ("two", torch.rand(4, 1, 8, 8))])
        >>> sheet.mode, sheet.width > 700
        ('RGB', True)
    """
    from PIL import Image, ImageDraw

    bands = [(_lines(name), _rows(_tiles(images), columns)) for name, images in rows]
    columns = max(len(line) for _, lines in bands for line in lines)
    high, wide = bands[0][1][0].shape[1:3]
    factor = max(1, width // (columns * (wide + GAP)))
    font = _font()
    left = EDGE + int(max(font.getlength(text) for names, _ in bands for text in names)) + 16
    heights = [
        max(len(lines) * (factor * high + GAP) - GAP, _text_height(names)) for names, lines in bands
    ]
    size = (
        left + columns * (factor * wide + GAP) - GAP + EDGE,
        sum(heights) + BAND * (len(bands) - 1) + 2 * EDGE,
    )
    sheet = Image.new("RGB", size, "white")
    pen, top = ImageDraw.Draw(sheet), EDGE
    for (names, lines), height in zip(bands, heights, strict=True):
        middle = top + (height - _text_height(names)) // 2
        pen.multiline_text((EDGE, middle), "\n".join(names), INK, font, spacing=6)
        for number, line in enumerate(lines):
            band = _band(line, factor)
            sheet.paste(band, (left, top + number * (factor * high + GAP)))
        top += height + BAND
    return sheet


def _band(tiles: np.ndarray, factor: int) -> Image:
    """Images side by side, each enlarged by a whole factor."""
    from PIL import Image

    large = tiles[..., :3].repeat(factor, 1).repeat(factor, 2)
    gap = np.full((large.shape[1], GAP, 3), 255, np.uint8)
    parts = [part for tile in large for part in (tile, gap)][:-1]
    return Image.fromarray(np.ascontiguousarray(np.concatenate(parts, 1)))


def _lines(name: str) -> list[str]:
    """A name in lines of about 20 letters, cut where options meet, and inside them at worst."""
    lines = [
        line
        for own in name.split("\n")
        for line in textwrap.wrap(own, LETTERS, break_long_words=False, break_on_hyphens=False)
    ]
    return [part for line in lines for part in textwrap.wrap(line, LONGEST)] or [""]


def _text_height(lines: Sequence[str]) -> int:
    return len(lines) * (SIZE + 6)


def _font() -> Any:
    """The letters of the charts."""
    from matplotlib.font_manager import findfont
    from PIL import ImageFont

    return ImageFont.truetype(findfont("DejaVu Sans"), SIZE)


class Drawn:
    """The pictures as PNG files, and the charts.

    Attributes:
        sheets: files by name.
        curves, distortion: figures, or None.
        without: the names of runs that have no samples.
    """

    def __init__(self, opened: Opened, entries: Sequence[Entry], seed: int) -> None:
        self.sheets: dict[str, bytes] = {}
        with look():
            self.curves = curves_figure(entries, opened.comparable, opened.differences)
            self.distortion = distortion_figure(entries, opened.differences, opened.comparable)
        able = [one for one in entries if Offer.DRAWS in one.run.offers]
        self.without = [one.name for one in entries if one not in able]
        if len(entries[0].run.spec.shape) != 3:
            return
        self.sheets["reconstructions"] = png_bytes(labelled(_reconstructed(entries)))
        if able:
            many = SHOWN * (2 if len(entries) <= 3 else 1)
            made = [(one.name, _seen(one, one.run.sample(many, seed=seed))) for one in able]
            self.sheets["samples"] = png_bytes(labelled(made))

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Each as a file, by its name."""
        yield from ((f"{name}.png", content) for name, content in self.sheets.items())
        for name, figure in (("curves", self.curves), ("rate-distortion", self.distortion)):
            if figure is not None:
                yield f"{name}.png", png(figure)


def _reconstructed(entries: Sequence[Entry]) -> list[tuple[str, Tensor]]:
    """The same test images, and what each run makes of them."""
    made = [(one.name, _seen(one, one.run.reconstruct(*one.first))) for one in entries]
    return [("test images", _seen(entries[0], entries[0].first[0])), *made]


def _seen(one: Entry, images: Tensor) -> Tensor:
    """Images in the range of a screen."""
    return one.run.spec.values.inverse(images)
