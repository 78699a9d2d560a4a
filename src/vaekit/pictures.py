"""Where images go: a grid in a .png, or an array in an .npz."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.report.files import write_file
from vaekit.report.images import grid, pairs, save_png

__all__ = ["save"]


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
    sheet = (
        grid(images, columns=columns) if reconstructions is None else pairs(images, reconstructions)
    )
    save_png(sheet, path)
    return path
