"""Grids of images for a reader's eye: each enlarged by whole pixels, never smoothed.

Shapes: images `(N, C, H, W)`, tiles `(N, H, W, 4)` uint8 RGBA.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data import spread
from vaekit.errors import VaekitError, at_least
from vaekit.runs import Run, colorizer_of

if TYPE_CHECKING:
    from PIL.Image import Image

GAP = 2  # pixels between images
BAND = 10  # pixels between rows that belong together and the next
CLASSES = 20  # of which each has a row


def is_image(images: Tensor) -> bool:
    """Return whether this is `(N, C, H, W)` with no empty dimension.

    Example:
        >>> is_image(torch.rand(5, 3, 8, 8)), is_image(torch.rand(5, 64))
        (True, False)
    """
    return images.ndim == 4 and images.numel() > 0


def columns_of(count: int, *, several: bool = False) -> int:
    """Return in how many columns so many images leave the fewest places of the last row empty.

    Of several kinds that stand under each other 5 to 12, about 8; else about as many as rows, and
    up to three times as many.

    Example:
        >>> [columns_of(count) for count in (64, 18, 5, 34)], columns_of(18, several=True)
        ([8, 6, 5, 17], 9)
    """
    root = math.sqrt(count)
    least, most, best = (5, 12, 8) if several else (math.ceil(root), max(12, int(3 * root)), root)
    choices = range(min(count, least), min(count, most) + 1)
    return min(choices, key=lambda columns: (-count % columns, abs(columns - best)), default=1)


def grid(*kinds: Tensor, columns: int | None = None, width: int = 830) -> Image:
    """Return images side by side, row by row, on a transparent ground.

    Of several kinds, as originals and their reconstructions, a row of the first is followed by the
    same row of each other.

    Args:
        kinds: floats `(N, C, H, W)` of one shape, C = 1 (gray), 3 (RGB) or another (see
            `in_color`); clamped to [0, 1], NaN is mid gray.
        columns: images in a row, N at most; by default those of `columns_of`.
        width: of the grid, pixels, at most. Each image is enlarged by the largest whole factor that
            fits, and no image higher, of 1 where the images are large: they are never shrunk.

    Returns:
        An RGBA image.

    Raises:
        VaekitError: for another shape or type, no images, or columns or width below 1.

    Example:
        >>> grid(torch.rand(12, 1, 8, 8), columns=4).size
        (806, 604)
        >>> grid(torch.rand(8, 1, 8, 8), torch.rand(8, 1, 8, 8)).size
        (782, 194)
    """
    shapes = [tuple(images.shape) for images in kinds]
    if len(set(shapes)) > 1:
        raise VaekitError(
            f"got images of the shapes {' and '.join(map(str, shapes))} to put under each other; "
            "expected one shape."
        )
    several, tiles = len(kinds) > 1, [tiles_of(images) for images in kinds]
    columns = columns if columns is not None else columns_of(shapes[0][0], several=several)
    rows = list(chain.from_iterable(zip(*(in_rows(part, columns) for part in tiles), strict=True)))
    gaps = [*[GAP] * (len(kinds) - 1), BAND if several else GAP]
    count, high, wide, _ = rows[0].shape
    factor = (at_least("width", width, 1) + GAP - GAP * count) // (count * wide)
    factor = max(1, min(factor, width // high))  # of what is higher than wide, too
    return joined(rows, gaps * (len(rows) // len(kinds)), factor)


def png_bytes(image: Image, *, small: bool = True) -> bytes:
    """Return the image as a PNG file: as small as it can be, or six times sooner.

    Example:
        >>> png_bytes(grid(torch.rand(4, 1, 8, 8)))[:4]
        b'\\x89PNG'
    """
    from PIL.PngImagePlugin import PngInfo

    stream, info = io.BytesIO(), PngInfo()
    info.add_text("Software", "vaekit")  # by which a folder of data knows it
    image.save(stream, "PNG", optimize=small, pnginfo=info)
    return stream.getvalue()


def read_array(path: Path, name: str) -> np.ndarray | None:
    """Return an array of an .npz; None where there is none, or the file is broken."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return arrays[name]
    except Exception:  # numpy raises whatever damaged bytes make of its readers
        return None


def levels(images: Tensor) -> Tensor:
    """Return floats in [0, 1] as uint8; what lies outside is cut off, and NaN is mid gray."""
    values = images.detach().cpu().double().nan_to_num(nan=0.5).clamp(0, 1)
    return (values * 255).round().to(torch.uint8)


def in_color(images: Tensor) -> Tensor:
    """Return images `(..., C, H, W)` in 1 or 3 channels.

    Of two the first is red and the second is green and blue; of more than three the first three
    are red, green and blue.

    Example:
        >>> [in_color(torch.rand(2, c, 4, 4)).shape[1] for c in (1, 2, 3, 5)]
        [1, 3, 3, 3]
    """
    channels = images.shape[-3]
    if channels in (1, 3):
        return images
    return images[..., (0, 1, 1) if channels == 2 else (0, 1, 2), :, :]


def tiles_of(images: Tensor) -> np.ndarray:
    """Return images as tiles; refuse what is none."""
    if not is_image(images) or not images.is_floating_point():
        raise VaekitError(
            f"images must be floats in [0, 1], (N, C, H, W) and N at least 1; got {images.dtype}, "
            f"{tuple(images.shape)}."
        )
    colors = levels(in_color(images)).expand(-1, 3, -1, -1)
    opaque = torch.full_like(colors[:, :1], 255)
    return torch.cat([colors, opaque], 1).permute(0, 2, 3, 1).numpy()


def in_rows(tiles: np.ndarray, columns: int) -> list[np.ndarray]:
    """Return tiles in rows of so many columns; the last may be shorter."""
    at_least("columns", columns, 1)
    return [tiles[start : start + columns] for start in range(0, len(tiles), columns)]


def joined(
    rows: Sequence[np.ndarray], gaps: Sequence[int], factor: int, apart: Sequence[int] = ()
) -> Image:
    """Return rows of tiles from the top down, each followed by its gap but for the last one.

    The columns `apart` stand further from those before them.
    """
    from PIL import Image

    columns, high, wide = max(map(len, rows)), factor * rows[0].shape[1], factor * rows[0].shape[2]
    lefts = [n * (wide + GAP) + BAND * sum(n >= a for a in apart) for n in range(columns)]
    pixels, top = np.zeros((len(rows) * high + sum(gaps[:-1]), lefts[-1] + wide, 4), np.uint8), 0
    for row, gap in zip(rows, gaps, strict=True):
        for left, tile in zip(lefts, row.repeat(factor, 1).repeat(factor, 2), strict=False):
            pixels[top : top + high, left : left + wide] = tile
        top += high + gap
    return Image.fromarray(pixels)


def sample_images(run: Run, n: int, **how: Any) -> tuple[Tensor, int | None]:
    """Return n samples of a run, and how many to put side by side.

    Of a conditional run a row for each class, of the same noise: a column shows one z under all
    labels, where the prior does not hang on them. As many whole rows as n has room for, one at
    least. The options are those of `Run.sample`.
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
    data_dir: str | Path | None = None,
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
    ends = read_array(path, "range")
    low, high = (0, 255 if whole else 1) if ends is None else ends.tolist()
    return (gray - low) / (high - low)
