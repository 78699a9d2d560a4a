"""The data sets without files: digits, inside scikit-learn, and shapes, which are drawn here.

Shapes are binary sprites with known factors of variation, for disentanglement and for tests: the
full grid of 3 shapes x 4 sizes x 5 orientations x 8 x 8 positions: 3,840 images of 32 x 32.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vaekit.data._dataset import Dataset, Split
from vaekit.data._splits import hold_out

DIGITS_NOTE = (
    "Optical recognition of handwritten digits, E. Alpaydin and C. Kaynak 1998 (UCI), CC BY 4.0; "
    "the copy inside scikit-learn"
)
FACTOR_NAMES = ("shape", "size", "orientation", "position x", "position y")
FACTOR_SIZES = (3, 4, 5, 8, 8)
SHAPE_NAMES = ("square", "ellipse", "triangle")
SIDE, PATCH, STEP = 32, 16, 2  # pixels: of an image, of a sprite's box, between two positions
RADII = (4.0, 5.3, 6.6, 7.9)  # of the circle around the sprite: every one fits its box
TEST_ROWS = 384

Gauge = Callable[[np.ndarray, np.ndarray], np.ndarray]


# A sprite of radius r is {gauge <= r}; it looks the same again after the angle (in degrees).
SPRITES: tuple[tuple[Gauge, float], ...] = (
    (lambda u, v: math.sqrt(2) * np.maximum(np.abs(u), np.abs(v)), 90),
    (lambda u, v: np.hypot(u, 2 * v), 180),
    (lambda u, v: 2 * np.maximum(math.sqrt(3) / 2 * np.abs(u) - v / 2, v), 120),
)


def load_digits(folders: Sequence[Path] = ()) -> Dataset:
    """Return 1,497 training and 300 test images `(1, 8, 8)`, 10 classes, a fixed split.

    The levels 0..16 are stored as round(255 v / 16). Nothing is read from `folders`.

    Example:
        >>> load_digits().train
        Split(1497 rows, (1, 8, 8), torch.uint8)
    """
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = np.rint(bunch.images * 255 / 16).astype(np.uint8)[:, None]
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    train, test = hold_out(Split(torch.from_numpy(images), labels), 300)
    names = tuple("0123456789")
    return Dataset("digits", "gray", train, test, 10, "embedded", DIGITS_NOTE, class_names=names)


def draw_shapes() -> Split:
    """Return all 3,840 images in the order of the grid (the last factor runs fastest).

    Returns:
        images uint8 `(3840, 1, 32, 32)`, 0 or 255; labels: the shape; factors int64 `(3840, 5)`:
        shape, size, orientation, position x and y, each counted from 0.

    Example:
        >>> draw_shapes().factors[-1]
        tensor([2, 3, 4, 7, 7])
    """
    _, _, turns, across, down = FACTOR_SIZES
    axis = np.arange(PATCH) + 0.5 - PATCH / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    sprites = []
    for (gauge, symmetry), radius, turn in itertools.product(SPRITES, RADII, range(turns)):
        angle = math.radians(symmetry * turn / turns)
        cos, sin = math.cos(angle), math.sin(angle)
        sprites.append(gauge(cos * x + sin * y, cos * y - sin * x) <= radius)
    filled = np.stack(sprites) * np.uint8(255)
    canvas = np.zeros((len(sprites), across, down, SIDE, SIDE), dtype=np.uint8)
    for i, j in np.ndindex(across, down):
        left, top = 1 + STEP * i, 1 + STEP * j
        canvas[:, i, j, top : top + PATCH, left : left + PATCH] = filled
    factors = np.indices(FACTOR_SIZES).reshape(len(FACTOR_SIZES), -1).T.astype(np.int64)
    images = torch.from_numpy(canvas.reshape(-1, 1, SIDE, SIDE))
    return Split(images, torch.from_numpy(factors[:, 0].copy()), torch.from_numpy(factors.copy()))


def load_shapes(folders: Sequence[Path] = ()) -> Dataset:
    """Return 3,456 training and 384 test sprites `(1, 32, 32)`, 3 classes, a fixed split.

    Nothing is read from `folders`.

    Example:
        >>> load_shapes().test
        Split(384 rows, (1, 32, 32), torch.uint8)
    """
    train, test = hold_out(draw_shapes(), TEST_ROWS)
    note = "Generated squares, ellipses and triangles with known factors; no rights reserved"
    data = Dataset("shapes", "binary", train, test, len(SHAPE_NAMES), note=note)
    return replace(data, class_names=SHAPE_NAMES, factor_names=FACTOR_NAMES)
