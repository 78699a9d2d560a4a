"""Where images go: a grid in a .png, or an array in an .npz."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.report.files import write_file
from vaekit.report.images import grid, pairs, save_png

if TYPE_CHECKING:
    from vaekit.run import Run

__all__ = ["CLASSES", "sample_sheet", "save"]

CLASSES = 20  # of which each has a row


def sample_sheet(
    run: Run, n: int, *, mean: bool = True, seed: int = 0
) -> tuple[Tensor, int | None]:
    """n images from the prior, and how many to put side by side.

    Of a conditional run a row for each class, the same draws of z in each, so that a column
    shows one z under all labels: as many whole rows as n has room for, one at least.
    """
    if not run.conditional or run.spec.classes > CLASSES:
        return run.sample(n, mean=mean, seed=seed), None
    columns = max(1, n // run.spec.classes)
    return run.by_class(columns, mean=mean, seed=seed).flatten(0, 1), columns


def save(
    images: Tensor,
    path: Path,
    reconstructions: Tensor | None = None,
    *,
    columns: int | None = None,
) -> Path:
    """Writes images `(N, C, H, W)`, and their reconstructions under them, to `path`.

    With `columns`, so many side by side.

    Raises:
        VaekitError: for another ending than .png or .npz, rows that are no images in a .png, and
            where it cannot be written; an old file is left as it was.
    """
    if path.suffix == ".npz":
        extra = {} if reconstructions is None else {"reconstructions": reconstructions.numpy()}
        stream = io.BytesIO()
        np.savez_compressed(stream, images=images.numpy(), **extra)  # type: ignore[arg-type]
        return write_file(path, stream.getvalue())
    if path.suffix != ".png":
        raise VaekitError(f"got the file {path}; expected one that ends in .png or .npz.")
    if images.dim() != 4:
        raise VaekitError(
            f"rows of shape {tuple(images.shape[1:])} are no images to draw: name a file that ends "
            "in .npz, as --out rows.npz."
        )
    if reconstructions is None:
        sheet = grid(images, columns=columns)
    else:
        sheet = pairs(images, reconstructions, columns=columns or 8)
    save_png(sheet, path)
    return path
