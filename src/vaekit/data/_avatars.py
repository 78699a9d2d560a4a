"""The data set `avatars`: drawn faces in color, with known factors, the same on every machine.

The art is "Lorelei" by Lisa Wischofsky (DiceBear), CC0 1.0; colors and outlines of hair are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from vaekit._train_options import Data
from vaekit.data._avatar_art import SIZES, compose, layers
from vaekit.data._avatar_factors import (
    AVATAR_FACTORS,
    BACKGROUND,
    HAIR,
    SKIN,
    random_avatars,
)
from vaekit.data._dataset import Dataset, Split
from vaekit.data._rows import check_memory
from vaekit.errors import VaekitError

TRAIN_ROWS, TEST_ROWS = 8000, 1000
LABEL = "hair color"
NOTE = 'Drawn faces with known factors; art: "Lorelei" by Lisa Wischofsky (DiceBear), CC0 1.0'
CHUNK = 512  # faces that are composed at once: they fit a processor's cache
DARK = 420  # hair whose red, green and blue add up to less: a mouth on such a beard is bright


def _rgb(*codes: str) -> np.ndarray:
    return np.array([list(bytes.fromhex(code[1:])) for code in codes], np.int64)


def _mix(one: np.ndarray, other: np.ndarray, tenths: int) -> np.ndarray:
    """Return the color with so many tenths of the other."""
    return ((10 - tenths) * one + tenths * other) // 10


def _inks(factors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the color of each ink on faces of these factors, uint8 `(N, 3)`."""
    line, bright, red, rust = _rgb("#2a1a1c", "#fff3e6", "#7d1526", "#7a3b1e")
    hair = _rgb(*(code for code, _ in HAIR.values()))[factors["hair color"]]
    skin = _rgb(*SKIN.values())[factors["skin color"]]
    shade = _mix(hair, line, 5)
    on_dark = (factors["beard"] > 0) & (hair.sum(1) < DARK)
    lips = np.where(on_dark[:, None], bright, _mix(_mix(skin, red, 6), line, 2))
    freckle = _mix(skin, rust, 5)
    inks = {"hair": hair, "shade": shade, "brow": shade, "skin": skin}
    inks |= {"lips": lips, "freckle": freckle, "line": np.broadcast_to(line, hair.shape)}
    fixed = {"white": "#ffffff", "frame": "#23263a", "metal": "#e3b23c", "petal": "#d8436e"}
    inks |= {name: np.broadcast_to(_rgb(code), hair.shape) for name, code in fixed.items()}
    return {name: colors.astype(np.uint8) for name, colors in inks.items()}


def _shown(factors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return which part of each layer the faces show, -1 for none."""
    hair = factors["hair style"]
    always = {name: factors[name] for name in ("head", "eyes", "eyebrows", "nose", "mouth")}
    maybe = ("beard", "glasses", "earrings", "freckles", "flowers")
    return {"hair behind": hair, "hair": hair, **always} | {n: factors[n] - 1 for n in maybe}


def draw_avatars(factors: np.ndarray, size: int = 64) -> np.ndarray:
    """Return the faces of these factors, equal to the bit on every machine.

    Args:
        factors: int64 `(N, 14)`: a column for each of `AVATAR_FACTORS`, counted from 0; as
            `random_avatars` draws them.
        size: 32, 48 or 64 pixels. Each has drawings of its own.

    Returns:
        uint8 `(N, 3, size, size)`.

    Raises:
        VaekitError: for another size, and factors that are none.

    Example:
        >>> faces = draw_avatars(random_avatars(20), size=48)
        >>> faces.shape, faces.dtype
        ((20, 3, 48, 48), dtype('uint8'))
    """
    layers(size)  # which refuses other sizes
    _check(factors)
    faces = np.empty((len(factors), 3, size, size), np.uint8)
    for start in range(0, len(factors), CHUNK):
        part = slice(start, start + CHUNK)
        columns = dict(zip(AVATAR_FACTORS, factors[part].T, strict=True))
        background = _rgb(*BACKGROUND.values())[columns["background"]].astype(np.uint8)
        faces[part] = compose(_shown(columns), _inks(columns), background, size)
    return faces


def _check(factors: np.ndarray) -> None:
    """Refuse what are no factors."""
    if factors.dtype.kind not in "iu" or factors.shape[1:] != (len(AVATAR_FACTORS),):
        raise VaekitError(
            f"got `factors` {factors.shape} {factors.dtype}; expected whole numbers, a column for "
            f"each of {', '.join(AVATAR_FACTORS)}: as `random_avatars` returns them."
        )
    for column, (name, factor) in zip(factors.T, AVATAR_FACTORS.items(), strict=True):
        count = len(factor.values)
        if len(column) and not 0 <= column.min() <= column.max() < count:
            raise VaekitError(
                f"got `factors` with {name} {column.min()} to {column.max()}; expected 0 to "
                f"{count - 1}."
            )


def _split(n: int, size: int, test: bool) -> Split:
    factors = random_avatars(n, test=test)
    labels = factors[:, list(AVATAR_FACTORS).index(LABEL)].copy()
    images = torch.from_numpy(draw_avatars(factors, size))
    return Split(images, torch.from_numpy(labels), torch.from_numpy(factors))


def load_avatars(folders: Sequence[Path] = (), asked: Data | None = None) -> Dataset:
    """Return 8,000 training and 1,000 test faces `(3, 64, 64)`, 14 factors; 9 colors of hair.

    No test face has hair style, hair color, skin color and head of a training face.

    Args:
        folders: nothing is read from there.
        asked: faces are drawn in its `size`, where that is 32 or 48; with a `limit` above 8,000
            so many training faces are drawn.

    Raises:
        VaekitError: for more faces than fit the free memory.

    Example:
        >>> load_avatars(asked=Data(data="avatars", size=32)).test
        Split(1000 rows, (3, 32, 32), torch.uint8)
    """
    asked = Data() if asked is None else asked
    size = asked.size if asked.size in SIZES and asked.crop is None else max(SIZES)
    rows = max(TRAIN_ROWS, asked.limit or 0)
    check_memory(f"{rows:,} avatars", (rows + TEST_ROWS) * 3 * size * size, "Lower `limit`.")
    return Dataset(
        "avatars",
        "color",
        _split(rows, size, test=False),
        _split(TEST_ROWS, size, test=True),
        classes=len(HAIR),
        note=NOTE,
        class_names=tuple(HAIR),
        factor_names=tuple(AVATAR_FACTORS),
    )
