"""dSprites: 64 x 64 binary sprites, one image per combination of five factors of variation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vaekit.data.dataset import Split
from vaekit.data.entry import Parts
from vaekit.data.rows import MappedRows, Rows
from vaekit.data.splits import hold_out
from vaekit.errors import VaekitError

SIDE = 64
FACTOR_NAMES = ("shape", "scale", "orientation", "position x", "position y")
SHAPE_NAMES = ("square", "ellipse", "heart")


def read_sample(paths: Sequence[Path]) -> Parts:
    """The distinct ones of a grid and a random draw, a fixed tenth of them for test.

    From one .npz: `grid_images` and `random_images` `(N, 512)`, `numpy.packbits` of 4,096 bits;
    `*_factors` `(N, 5)`; `*_index`, the place in the full set.
    """
    with np.load(paths[0]) as arrays:
        bits, factors, index = (
            np.concatenate([arrays[f"grid_{part}"], arrays[f"random_{part}"]])
            for part in ("images", "factors", "index")
        )
    first = np.sort(np.unique(index, return_index=True)[1])
    images = np.unpackbits(bits[first], axis=1).reshape(-1, 1, SIDE, SIDE)
    images *= np.uint8(255)
    return _parts(torch.from_numpy(images), factors[first])


def read_sprites(paths: Sequence[Path]) -> Parts:
    """All 737,280, a fixed tenth for test, from the original .npz; its pickled parts are not read.

    The 3 GB of images are held once: the splits, and the rows of a training, are lists of places
    in one array.
    """
    try:
        with np.load(paths[0], allow_pickle=False) as arrays:
            images, factors = arrays["imgs"], arrays["latents_classes"][:, 1:]
    except MemoryError:
        raise VaekitError(
            "dsprites needs 3.1 GB of memory, which is not free; take dsprites-66k."
        ) from None
    images *= np.uint8(255)
    return _parts(MappedRows(images[:, None]), factors)


def _parts(images: torch.Tensor | Rows, factors: np.ndarray) -> Parts:
    known = torch.from_numpy(factors.astype(np.int64))
    train, test = hold_out(Split(images, known[:, 0].clone(), known), len(known) // 10)
    names = {"class_names": SHAPE_NAMES, "factor_names": FACTOR_NAMES}
    return {"train": train, "test": test, **names}
