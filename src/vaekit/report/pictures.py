"""Where images go: a grid in a .png, or an array in an .npz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.io import npz_bytes, write
from vaekit.report.comparison.sheets import labelled
from vaekit.report.images import grid, pairs, save_png

if TYPE_CHECKING:
    from vaekit.runs import Run


CLASSES = 20  # of which each has a row
WIDTH = 100  # pixels of an image in a row with a name, about


def sample_sheet(
    run: Run,
    n: int,
    *,
    mean: bool = True,
    seed: int = 0,
    fixed: Mapping[int, float] | None = None,
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
        return write(path, npz_bytes(images=images.numpy(), **extra))
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


def save_rows(names: Sequence[str], images: Tensor, path: Path) -> Path:
    """Writes rows of images `(K, T, C, H, W)` to `path`, in a .png with their names beside them.

    Raises:
        VaekitError: as `save`.
    """
    if path.suffix != ".png" or images.dim() != 5:
        return save(images.flatten(0, 1), path)
    steps = images.shape[1]
    save_png(labelled(list(zip(names, images, strict=True)), steps, width=WIDTH * steps), path)
    return path
