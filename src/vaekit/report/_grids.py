"""Grids of images for a reader's eye: each enlarged by whole pixels, never smoothed.

Shapes: images `(N, C, H, W)`, tiles `(N, H, W, 4)` uint8 RGBA.
"""

from __future__ import annotations

import io
import math
import textwrap
import zipfile
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit._io import npz_bytes, write
from vaekit.data import spread
from vaekit.errors import VaekitError, at_least
from vaekit.report._curves import COLORS
from vaekit.runs import Run, colorizer_of

if TYPE_CHECKING:
    from PIL.Image import Image

GAP = 2  # pixels between images
BAND = 10  # pixels between rows that belong together and the next
CLASSES = 20  # of which each has a row


def is_image(images: Tensor) -> bool:
    """Return whether this is `(N, C, H, W)` with 1 or 3 channels and no empty dimension.

    Example:
        >>> is_image(torch.rand(5, 3, 8, 8)), is_image(torch.rand(5, 64))
        (True, False)
    """
    return images.ndim == 4 and images.shape[1] in (1, 3) and images.numel() > 0


def grid(*kinds: Tensor, columns: int | None = None, width: int = 640) -> Image:
    """Return images side by side, row by row, on a transparent ground.

    Of several kinds, as originals and their reconstructions, a row of the first is followed by the
    same row of each other.

    Args:
        kinds: floats `(N, C, H, W)` of one shape, C = 1 (gray) or 3 (RGB); clamped to [0, 1], NaN
            is mid gray.
        columns: images in a row, N at most; by default 8, of one kind about as many as rows.
        width: about how wide the grid shall be, in pixels. Each image is enlarged by a whole
            factor, of 1 where the images are large: they are never shrunk.

    Returns:
        An RGBA image.

    Raises:
        VaekitError: for another shape or type, no images, or columns or width below 1.

    Example:
        >>> grid(torch.rand(12, 1, 8, 8), columns=4).size
        (646, 484)
        >>> grid(torch.rand(8, 1, 8, 8), torch.rand(8, 1, 8, 8)).size
        (654, 162)
    """
    shapes = [tuple(images.shape) for images in kinds]
    if len(set(shapes)) > 1:
        raise VaekitError(
            f"got images of the shapes {' and '.join(map(str, shapes))} to put under each other; "
            "expected one shape."
        )
    several, tiles = len(kinds) > 1, [_tiles(images) for images in kinds]
    columns = (
        columns if columns is not None else 8 if several else math.ceil(math.sqrt(shapes[0][0]))
    )
    rows = list(chain.from_iterable(zip(*(_rows(part, columns) for part in tiles), strict=True)))
    gaps = [*[GAP] * (len(kinds) - 1), BAND if several else GAP]
    times = at_least("width", width, 1) / (rows[0].shape[0] * rows[0].shape[2])
    factor = max(1, min(round(times), math.floor(1.25 * times)))
    return _joined(rows, gaps * (len(rows) // len(kinds)), factor)


def png_bytes(image: Image, *, small: bool = True) -> bytes:
    """Return the image as a PNG file: as small as it can be, or six times sooner.

    Example:
        >>> png_bytes(grid(torch.rand(4, 1, 8, 8)))[:4]
        b'\\x89PNG'
    """
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=small)
    return stream.getvalue()


def read_array(path: Path, name: str) -> np.ndarray | None:
    """Return an array of an .npz; None where there is none, or the file is broken."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return arrays[name]
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def levels(images: Tensor) -> Tensor:
    """Return floats in [0, 1] as uint8; what lies outside is cut off, and NaN is mid gray."""
    values = images.detach().cpu().double().nan_to_num(nan=0.5).clamp(0, 1)
    return (values * 255).round().to(torch.uint8)


def _tiles(images: Tensor) -> np.ndarray:
    if not is_image(images) or not images.is_floating_point():
        raise VaekitError(
            f"images must be floats in [0, 1], (N, C, H, W) with 1 or 3 channels and N at least 1; "
            f"got {images.dtype}, {tuple(images.shape)}."
        )
    colors = levels(images).expand(-1, 3, -1, -1)
    opaque = torch.full_like(colors[:, :1], 255)
    return torch.cat([colors, opaque], 1).permute(0, 2, 3, 1).numpy()


def _rows(tiles: np.ndarray, columns: int) -> list[np.ndarray]:
    at_least("columns", columns, 1)
    return [tiles[start : start + columns] for start in range(0, len(tiles), columns)]


def _joined(rows: Sequence[np.ndarray], gaps: Sequence[int], factor: int) -> Image:
    """Return rows of tiles from the top down, each followed by its gap but for the last one."""
    from PIL import Image

    columns, high, wide = max(map(len, rows)), factor * rows[0].shape[1], factor * rows[0].shape[2]
    size = len(rows) * high + sum(gaps[:-1]), columns * (wide + GAP) - GAP, 4
    pixels, top = np.zeros(size, np.uint8), 0
    for row, gap in zip(rows, gaps, strict=True):
        for column, tile in enumerate(row.repeat(factor, 1).repeat(factor, 2)):
            left = column * (wide + GAP)
            pixels[top : top + high, left : left + wide] = tile
        top += high + gap
    return Image.fromarray(pixels)


WIDE = 1120  # pixels of the images of a row, about; a page shows half of them
LETTERS, LONGEST = 20, 28  # of a line of a name
SIZE, LINE = 24, 30  # pixels of a letter, and of a line
INK, APART, EDGE = (35, 38, 43), 14, 12  # of letters; pixels between bands, and around
NAMED = 100  # pixels of an image in a row with a name, about
LETTER, MARGIN = 15, 8  # pixels of a caption, and around it


def labeled(rows: Sequence[tuple[str, Tensor]], columns: int = 12, *, width: int = WIDE) -> Image:
    """Return a band of images for each name, from the top down, all in columns of one width.

    Args:
        rows: a name, whose line breaks stay, and images `(N, C, H, W)`; more than `columns` take
            several lines.
        columns: images side by side.
        width: about how wide the images of a row shall be, in pixels.

    Example:
        >>> image = labeled([("one", torch.rand(4, 1, 8, 8)), ("two", torch.rand(4, 1, 8, 8))])
        >>> image.mode, image.width > 700
        ('RGB', True)
    """
    from matplotlib.font_manager import findfont
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(findfont("DejaVu Sans"), SIZE)  # the letters of the charts
    whole = partial(textwrap.wrap, width=LETTERS, break_long_words=False, break_on_hyphens=False)
    names = []
    for name, _ in rows:  # cut where options meet, at worst inside them
        parts = chain.from_iterable(map(whole, name.split("\n")))
        names.append([words for part in parts for words in textwrap.wrap(part, LONGEST)] or [""])
    lines = [_rows(_tiles(images), columns) for _, images in rows]
    widest = max(len(line) for band in lines for line in band) * (lines[0][0].shape[2] + GAP)
    bands = [_joined(band, [GAP] * len(band), max(1, width // widest)) for band in lines]
    left = EDGE + int(max(font.getlength(text) for name in names for text in name)) + 16
    heights = [max(band.height, LINE * len(name)) for band, name in zip(bands, names, strict=True)]
    high = sum(heights) + APART * (len(bands) - 1) + 2 * EDGE
    page = Image.new("RGB", (left + max(band.width for band in bands) + EDGE, high), "white")
    pen, top = ImageDraw.Draw(page), EDGE
    for band, texts, height in zip(bands, names, heights, strict=True):
        middle = top + (height - LINE * len(texts)) // 2
        pen.multiline_text((EDGE, middle), "\n".join(texts), INK, font, spacing=LINE - SIZE)
        page.paste(band, (left, top), band)
        top += height + APART
    return page


def captioned(image: Image, left: str, right: str) -> Image:
    """Return the image on white paper under a line of words; gray where the image is."""
    from PIL import Image, ImageDraw, ImageFont

    top = LETTER + 2 * MARGIN
    paper = Image.new("RGB", (image.width + 2 * MARGIN, image.height + top + MARGIN), "white")
    paper.paste(image, (MARGIN, top), image)
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(LETTER)
    pen.text((MARGIN, top // 2), left, COLORS["ink"], font, anchor="lm")
    pen.text((paper.width - MARGIN, top // 2), right, COLORS["soft"], font, anchor="rm")
    red, green, blue, _ = image.split()
    gray = red.tobytes() == green.tobytes() == blue.tobytes()
    return paper.convert("L") if gray else paper


def save_images(
    images: Tensor,
    path: str | Path,
    reconstructions: Tensor | None = None,
    *,
    columns: int | None = None,
    names: Sequence[str] = (),
) -> Path:
    """Write images `(N, C, H, W)`, and their reconstructions, as a grid (.png) or arrays (.npz).

    Args:
        images: floats in [0, 1]; into an .npz rows of any shape.
        path: where they go.
        reconstructions: of one shape with the images: a row under each row of images.
        columns: images side by side.
        names: of the rows of the grid, which stand beside them.

    Raises:
        VaekitError: for another ending, rows that are no images in a .png, and where it cannot be
            written; an old file is left as it was.
    """
    path = Path(path)
    both = {"images": images, "reconstructions": reconstructions}
    kinds = {name: part for name, part in both.items() if part is not None}
    if path.suffix == ".npz":
        return write(path, npz_bytes(**{name: part.numpy() for name, part in kinds.items()}))
    if path.suffix != ".png":
        raise VaekitError(f"got the file {path}; expected one that ends in .png or .npz.")
    if images.dim() != 4:
        raise VaekitError(
            f"rows of shape {tuple(images.shape[1:])} are no images to draw: name a file that ends "
            "in .npz, as `out=rows.npz`."
        )
    if names:
        steps = len(images) // len(names)
        rows = list(zip(names, images.split(steps), strict=True))
        return write(path, png_bytes(labeled(rows, steps, width=NAMED * steps)))
    return write(path, png_bytes(grid(*kinds.values(), columns=columns)))


def sample_images(run: Run, n: int, **how: Any) -> tuple[Tensor, int | None]:
    """Return n samples of a run, and how many to put side by side.

    Of a conditional run a row for each class, the same draws of z in each, so that a column
    shows one z under all labels: as many whole rows as n has room for, one at least. The
    options are those of `Run.sample`.
    """
    if not run.conditional or run.spec.classes > CLASSES:
        return run.sample(n, **how), None
    columns = max(1, n // run.spec.classes)
    images = run.by_class(columns, **how)
    return images.flatten(0, 1), columns


def colorize(run: Run, gray: Tensor) -> Tensor:
    """Return gray images `(N, 1, H, W)` in the colors E[x|g] of a colorizer's run, `(N, 3, H, W)`.

    Both in [0, 1], whatever range the model sees: what lies outside is cut off.

    Args:
        run: of the recipe `colorizer`.
        gray: as a VAE of gray images makes them: `vae_run.sample(16)`, or any edit of its codes,
            decoded.

    Raises:
        VaekitError: for a run that is no colorizer, and images that are not gray, of another
            size, or not finite.
    """
    model, values, (_, height, width) = colorizer_of(run), run.spec.values, run.spec.shape
    if gray.dim() != 4 or gray.shape[1] != 1:
        raise VaekitError(
            f"got images of shape {tuple(gray.shape[1:])} to color; expected gray ones, "
            f"(1, {height}, {width}), as of a run trained with `gray`."
        )
    if gray.shape[2:] != (height, width):
        raise VaekitError(
            f"{run.path} colors images of {height} x {width}; these are {gray.shape[2]} x "
            f"{gray.shape[3]}: train a colorizer with `size={gray.shape[2]}`."
        )
    if not gray.isfinite().all():
        raise VaekitError("got images with numbers that are not finite.")
    seen = values.low + (values.high - values.low) * gray.float().clamp(0, 1)
    return values.inverse(model.colorize(seen.to(run.device)).cpu()).clamp(0, 1)


def gray_images(
    run: Run,
    n: int,
    *,
    reconstruct: bool = False,
    label: str | None = None,
    seed: int = 0,
    data_dir: str | None = None,
) -> Tensor:
    """Return n images of a run, in [0, 1] but for what its output exceeds that by.

    E[x|z] of draws z of its prior, of one label where one is named, or of the codes of test
    images, evenly spread.

    Raises:
        VaekitError: for a label that is not in the data, and a run that has no prior.
    """
    if not reconstruct:
        return run.spec.values.inverse(run.sample(n, label=label, seed=seed))
    if label is not None:
        raise VaekitError("`label` is of samples; `reconstruct` takes test images: leave one.")
    _ = run.vae  # a colorizer's images are in color already
    test = run.dataset(data_dir).test
    return run.spec.values.inverse(run.reconstruct(*test.batch(spread(len(test), n))))


def gray_file(path: Path) -> Tensor:
    """Return the `images` `(N, 1, H, W)` in an .npz of another command, as `vaekit traverse`.

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
