"""Where images go: a grid in a .png, or an array in an .npz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.report.images import grid, pairs, save_png

__all__ = ["save"]


def save(images: Tensor, path: Path, reconstructions: Tensor | None = None) -> Path:
    """Writes images `(N, C, H, W)`, and their reconstructions under them, to `path`.

    Raises:
        VaekitError: for another ending than .png or .npz, or rows that are no images in a .png.
    """
    if path.suffix == ".npz":
        extra = {} if reconstructions is None else {"reconstructions": reconstructions.numpy()}
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, images=images.numpy(), **extra)  # type: ignore[arg-type]
        return path
    if path.suffix != ".png":
        raise VaekitError(f"got the file {path}; expected one that ends in .png or .npz.")
    if images.dim() != 4:
        raise VaekitError(
            f"rows of shape {tuple(images.shape[1:])} are no images to draw: name a file that ends "
            "in .npz, as --out rows.npz."
        )
    save_png(grid(images) if reconstructions is None else pairs(images, reconstructions), path)
    return path
