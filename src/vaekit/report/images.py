"""Sheets of images for a reader's eye: each enlarged by whole pixels, never smoothed.

Shapes: images `(N, C, H, W)`, tiles `(N, H, W, 4)` uint8 RGBA.
"""

from __future__ import annotations

import io
import math
import textwrap
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaekit.data import spread
from vaekit.errors import VaekitError
from vaekit.io import npz_bytes, write
from vaekit.runs import Run, colorizer_of

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
    rows = _rows(tiles, math.ceil(math.sqrt(len(tiles))) if columns is None else columns)
    return _sheet(rows, [GAP] * len(rows), width)


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
    together = zip(*(_rows(_tiles(part), columns) for part in parts), strict=True)
    rows = [row for stack in together for row in stack]
    gaps = [*[GAP] * (len(parts) - 1), BAND]
    return _sheet(rows, gaps * (len(rows) // len(parts)), width)


def png_bytes(image: Image, *, small: bool = True) -> bytes:
    """The image as a PNG file: as small as it can be, or six times sooner.

    Example:
        >>> png_bytes(grid(torch.rand(4, 1, 8, 8)))[:4]
        b'\\x89PNG'
    """
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=small)
    return stream.getvalue()


def save_png(image: Image, path: str | Path) -> Path:
    """Writes a PNG file atomically, making the folders above it, and returns its path.

    Raises:
        VaekitError: where it cannot be written; an old file is left as it was.
    """
    return write(path, png_bytes(image))


def read_array(path: Path, name: str) -> np.ndarray | None:
    """An array of an .npz; None where there is none, or the file is broken."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return arrays[name]
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def _tiles(images: Tensor) -> np.ndarray:
    if not is_image(images) or not images.is_floating_point():
        raise VaekitError(
            f"images must be floats in [0, 1], (N, C, H, W) with 1 or 3 channels and N at least 1; "
            f"got {images.dtype}, {tuple(images.shape)}."
        )
    colors = levels(images).expand(-1, 3, -1, -1)
    opaque = torch.full_like(colors[:, :1], 255)
    return torch.cat([colors, opaque], 1).permute(0, 2, 3, 1).numpy()


def levels(images: Tensor) -> Tensor:
    """Floats in [0, 1] as uint8; what lies outside is cut off, and NaN is mid gray."""
    values = images.detach().cpu().double().nan_to_num(nan=0.5).clamp(0, 1)
    return (values * 255).round().to(torch.uint8)


def _rows(tiles: np.ndarray, columns: int) -> list[np.ndarray]:
    if columns < 1:
        raise VaekitError(f"columns must be at least 1; got {columns}.")
    return [tiles[start : start + columns] for start in range(0, len(tiles), columns)]


def _sheet(rows: Sequence[np.ndarray], gaps: Sequence[int], width: int) -> Image:
    """Rows of tiles from the top down, each followed by its gap; the last gap is dropped.

    They are enlarged by the whole number nearest to `width` that exceeds it by a quarter at most.
    """
    from PIL import Image

    if width < 1:
        raise VaekitError(f"width must be at least 1; got {width}.")
    columns, high, wide = rows[0].shape[:3]
    times = width / (columns * wide)
    factor = max(1, min(round(times), math.floor(1.25 * times)))
    high, wide = factor * high, factor * wide
    sheet_high = len(rows) * high + sum(gaps[:-1])
    sheet = np.zeros((sheet_high, columns * (wide + GAP) - GAP, 4), np.uint8)
    for number, row in enumerate(rows):
        top = number * high + sum(gaps[:number])
        for place, tile in enumerate(row.repeat(factor, 1).repeat(factor, 2)):
            left = place * (wide + GAP)
            sheet[top : top + high, left : left + wide] = tile
    return Image.fromarray(sheet)


WIDE = 1120  # pixels of the images of a row, about; the page shows half of them
LETTERS, LONGEST = 20, 28  # of a line of a name
SIZE = 24  # pixels of a letter
INK, APART, EDGE = (35, 38, 43), 14, 12  # of letters; pixels between bands, and around


def labeled(rows: Sequence[tuple[str, Tensor]], columns: int = 12, *, width: int = WIDE) -> Image:
    """A band of images for each name, from the top down, all in columns of one width.

    Args:
        rows: a name, whose own lines are kept, and images `(N, C, H, W)`; more than `columns` take
            several lines.
        columns: images side by side.
        width: about how wide the images of a row shall be, in pixels.

    Example:
        >>> import torch
        >>> sheet = labeled([("one", torch.rand(4, 1, 8, 8)), ("two", torch.rand(4, 1, 8, 8))])
        >>> sheet.mode, sheet.width > 700
        ('RGB', True)
    """
    from matplotlib.font_manager import findfont
    from PIL import Image, ImageDraw, ImageFont

    bands = [(_lines(name), _rows(_tiles(images), columns)) for name, images in rows]
    columns = max(len(line) for _, lines in bands for line in lines)
    high, wide = bands[0][1][0].shape[1:3]
    factor = max(1, width // (columns * (wide + GAP)))
    font = ImageFont.truetype(findfont("DejaVu Sans"), SIZE)  # the letters of the charts
    left = EDGE + int(max(font.getlength(text) for names, _ in bands for text in names)) + 16
    texts = [len(names) * (SIZE + 6) for names, _ in bands]
    images_high = [len(lines) * (factor * high + GAP) - GAP for _, lines in bands]
    heights = [*map(max, images_high, texts)]
    full = sum(heights) + APART * (len(bands) - 1) + 2 * EDGE
    across = left + columns * (factor * wide + GAP) - GAP + EDGE
    sheet = Image.new("RGB", (across, full), "white")
    pen, top = ImageDraw.Draw(sheet), EDGE
    for (names, lines), height, text in zip(bands, heights, texts, strict=True):
        middle = top + (height - text) // 2
        pen.multiline_text((EDGE, middle), "\n".join(names), INK, font, spacing=6)
        for number, line in enumerate(lines):
            band = _band(line, factor)
            sheet.paste(band, (left, top + number * (factor * high + GAP)))
        top += height + APART
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
    wrap = partial(textwrap.wrap, width=LETTERS, break_long_words=False, break_on_hyphens=False)
    lines = [line for own in name.split("\n") for line in wrap(own)]
    return [part for line in lines for part in textwrap.wrap(line, LONGEST)] or [""]


CLASSES = 20  # of which each has a row
WIDTH = 100  # pixels of an image in a row with a name, about


def sample_sheet(
    run: Run, n: int, *, mean: bool = True, seed: int = 0, fixed: Mapping[int, float] | None = None
) -> tuple[Tensor, int | None]:
    """n images from the prior, and how many to put side by side.

    Of a conditional run a row for each class, the same draws of z in each, so that a column
    shows one z under all labels: as many whole rows as n has room for, one at least. `fixed` as in
    `Run.sample`.
    """
    if not run.conditional or run.spec.classes > CLASSES:
        return run.sample(n, mean=mean, seed=seed, fixed=fixed), None
    columns = max(1, n // run.spec.classes)
    made = run.by_class(columns, mean=mean, seed=seed, fixed=fixed)
    return made.flatten(0, 1), columns


def save(
    images: Tensor, path: Path, reconstructions: Tensor | None = None, *, columns: int | None = None
) -> Path:
    """Writes images `(N, C, H, W)`, and their reconstructions under them, to `path`.

    With `columns`, so many side by side.

    Raises:
        VaekitError: for another ending than .png or .npz, rows that are no images in a .png, and
            where it cannot be written; an old file is left as it was.
    """
    if path.suffix == ".npz":
        extra = {} if reconstructions is None else {"reconstructions": reconstructions.numpy()}
        return write(path, npz_bytes(images=images.numpy(), **extra))
    if path.suffix != ".png":
        raise VaekitError(f"got the file {path}; expected one that ends in .png or .npz.")
    if images.dim() != 4:
        raise VaekitError(
            f"rows of shape {tuple(images.shape[1:])} are no images to draw: name a file that ends "
            "in .npz, as --out rows.npz."
        )
    if reconstructions is None:
        return save_png(grid(images, columns=columns), path)
    return save_png(pairs(images, reconstructions, columns=columns or 8), path)


def save_rows(names: Sequence[str], images: Tensor, path: Path) -> Path:
    """Writes rows of images `(K, T, C, H, W)` to `path`, in a .png with their names beside them.

    Raises:
        VaekitError: as `save`.
    """
    if path.suffix != ".png" or images.dim() != 5:
        return save(images.flatten(0, 1), path)
    steps = images.shape[1]
    rows = list(zip(names, images, strict=True))
    return save_png(labeled(rows, steps, width=WIDTH * steps), path)


def colorize(run: Run, gray: Tensor) -> Tensor:
    """Gray images `(N, 1, H, W)` in the colors E[x|g] of a colorizer's run, `(N, 3, H, W)`.

    Both in [0, 1], whatever range the model sees: what lies outside is cut off.

    Args:
        run: of the recipe `colorizer`.
        gray: as a VAE of gray images makes them: `vae_run.sample(16)`, or any edit of its codes,
            decoded.

    Raises:
        VaekitError: for a run that is no colorizer, and images that are not gray, of another
            size, or not finite.
    """
    model, (_, height, width) = colorizer_of(run), run.spec.shape
    if gray.dim() != 4 or gray.shape[1] != 1:
        raise VaekitError(
            f"got images of shape {tuple(gray.shape[1:])} to color; expected gray ones, "
            f"(1, {height}, {width}), as of a run trained with --gray."
        )
    if gray.shape[2:] != (height, width):
        raise VaekitError(
            f"{run.path} colors images of {height} x {width}; these are {gray.shape[2]} x "
            f"{gray.shape[3]}: train a colorizer with --size {gray.shape[2]}."
        )
    if not gray.isfinite().all():
        raise VaekitError("got images with numbers that are not finite.")
    values = run.spec.values
    seen = values.low + (values.high - values.low) * gray.float().clamp(0, 1)
    return values.inverse(model.colorize(seen.to(run.device)).cpu()).clamp(0, 1)


def gray_pictures(
    run: Run,
    n: int,
    *,
    reconstruct: bool = False,
    label: str | None = None,
    seed: int = 0,
    data_dir: str | None = None,
) -> Tensor:
    """n images of a run, in [0, 1] but for what its output exceeds that by.

    E[x|z] of draws z of its prior, of one label where one is asked for, or of the codes of test
    images, evenly spread.

    Raises:
        VaekitError: for a label that is not in the data, and a run that has no prior.
    """
    if not reconstruct:
        return run.spec.values.inverse(run.sample(n, label=label, seed=seed))
    if label is not None:
        raise VaekitError("--label is of samples; --reconstruct takes test images: leave one.")
    _ = run.vae  # a colorizer's own images are in color already
    test = run.dataset(data_dir).test
    return run.spec.values.inverse(run.reconstruct(*test.batch(spread(len(test), n))))


def gray_file(path: Path) -> Tensor:
    """The `images` `(N, 1, H, W)` in an .npz that another command wrote, as `vaekit traverse`.

    Raises:
        VaekitError: where there are none.
    """
    images = read_array(path, "images")
    if images is None and not path.exists():
        raise VaekitError(f"there is no file {path}.")
    if images is None:
        raise VaekitError(
            f"{path} holds no images to color: expected an .npz as `vaekit traverse RUN -o "
            f"{path.name}` writes it."
        )
    whole = images.dtype == np.uint8
    if (images.dtype.kind != "f" and not whole) or not images.size:
        raise VaekitError(f"{path} holds images of type {images.dtype}; expected some floats.")
    gray = torch.from_numpy(images.astype(np.float32))
    return gray / 255 if whole else gray
