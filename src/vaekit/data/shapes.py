"""Generated binary sprites with known factors of variation, for disentanglement and for tests.

The full grid of 3 shapes x 4 sizes x 5 orientations x 8 x 8 positions: 3,840 images of 32 x 32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vaekit.data.dataset import Dataset, Split
from vaekit.data.splits import hold_out

FACTOR_NAMES = ("shape", "size", "orientation", "position x", "position y")
FACTOR_SIZES = (3, 4, 5, 8, 8)
SHAPE_NAMES = ("square", "ellipse", "triangle")
SIDE, PATCH, STEP = 32, 16, 2  # pixels: of an image, of a sprite's box, between two positions
RADII = (4.0, 5.3, 6.6, 7.9)  # of the circle around the sprite: every one fits its box
TEST_ROWS = 384

Gauge = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return math.sqrt(2) * np.maximum(np.abs(u), np.abs(v))


def _ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.hypot(u, 2 * v)


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    height = math.sqrt(3) / 2 * np.abs(u)
    return 2 * np.maximum(height - v / 2, v)


# A sprite of radius r is {gauge <= r}; it looks the same again after the angle (in degrees).
SPRITES: tuple[tuple[Gauge, float], ...] = ((_square, 90), (_ellipse, 180), (_triangle, 120))


def _sprite(gauge: Gauge, radius: float, degrees: float) -> np.ndarray:
    axis = np.arange(PATCH) + 0.5 - PATCH / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return gauge(cos * x + sin * y, cos * y - sin * x) <= radius


def draw_shapes() -> Split:
    """All 3,840 images in the order of the grid (the last factor runs fastest).

    Returns:
        images uint8 `(3840, 1, 32, 32)`, 0 or 255; labels: the shape; factors int64 `(3840, 5)`:
        shape, size, orientation, position x and y, each counted from 0.

    Example:
        >>> draw_shapes().factors[-1]
        tensor([2, 3, 4, 7, 7])
    """
    turns = FACTOR_SIZES[2]
    sprites = np.stack(
        [
            _sprite(gauge, radius, symmetry * turn / turns)
            for gauge, symmetry in SPRITES
            for radius in RADII
            for turn in range(turns)
        ]
    )
    across, down = FACTOR_SIZES[3:]
    canvas = np.zeros((len(sprites), across, down, SIDE, SIDE), dtype=np.uint8)
    for i, j in np.ndindex(across, down):
        x, y = 1 + STEP * i, 1 + STEP * j
        canvas[:, i, j, y : y + PATCH, x : x + PATCH] = sprites * np.uint8(255)
    factors = np.indices(FACTOR_SIZES).reshape(len(FACTOR_SIZES), -1).T.astype(np.int64)
    images = torch.from_numpy(canvas.reshape(-1, 1, SIDE, SIDE))
    return Split(images, torch.from_numpy(factors[:, 0].copy()), torch.from_numpy(factors.copy()))


def load_shapes(folders: Sequence[Path] = ()) -> Dataset:
    """3,456 training and 384 test sprites `(1, 32, 32)`, 3 classes, a fixed split.

    Nothing is read from `folders`.

    Example:
        >>> load_shapes().test
        Split(384 rows, (1, 32, 32), torch.uint8)
    """
    train, test = hold_out(draw_shapes(), TEST_ROWS)
    note = "Generated squares, ellipses and triangles with known factors; no rights reserved"
    data = Dataset("shapes", "binary", train, test, len(SHAPE_NAMES), note=note)
    return replace(data, class_names=SHAPE_NAMES, factor_names=FACTOR_NAMES)
