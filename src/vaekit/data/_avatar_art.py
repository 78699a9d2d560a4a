"""The drawn parts of the avatars, and their composition in whole numbers.

`avatars.npz` holds, for each size of an image, how much of each ink a part lays on each pixel. Its
parts are those of "Lorelei" by Lisa Wischofsky (DiceBear), CC0 1.0; `tools/avatars` renders them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from vaekit.errors import VaekitError

ART = Path(__file__).with_name("avatars.npz")
SIZES = (32, 48, 64)


@dataclass(frozen=True, eq=False)
class Part:
    """A drawing of one part of a face.

    Attributes:
        rows, columns: the pixels that it covers; of an empty part, none.
        weights: how much of each ink lies on them, in 255ths, uint16 `(I, h, w)`; they add up to
            255 at most.
        rest: what shows from behind: 255 less their sum, uint16 `(h, w)`.
    """

    rows: slice
    columns: slice
    weights: np.ndarray
    rest: np.ndarray


@dataclass(frozen=True, eq=False)
class Layer:
    """The drawings of one layer, of which a face shows one or none.

    Attributes:
        name: as the part of the face is called.
        inks: names of the inks that a drawing lays on.
        parts: the drawings.
    """

    name: str
    inks: tuple[str, ...]
    parts: tuple[Part, ...]


@cache
def layers(size: int) -> tuple[Layer, ...]:
    """Return the layers for images of `size` x `size`, from the back to the front.

    Raises:
        VaekitError: for a size that is not one of `SIZES`.

    Example:
        >>> [(layer.name, len(layer.parts)) for layer in layers(64)][:3]
        [('hair behind', 48), ('head', 4), ('eyes', 24)]
    """
    if size not in SIZES:
        known = ", ".join(map(str, SIZES))
        raise VaekitError(f"got `size={size}`; avatars are drawn in the sizes {known}: take one.")
    with np.load(ART) as stored:
        boxes, weights = stored[f"boxes_{size}"].astype(int), stored[f"weights_{size}"]
        names, inks = stored["layers"].tolist(), [each.split() for each in stored["inks"].tolist()]
        counts = stored["variants"].tolist()
    lengths = np.repeat([len(each) for each in inks], counts) * boxes[:, 2] * boxes[:, 3]
    pieces = iter(zip(boxes, np.split(weights, np.cumsum(lengths)[:-1]), strict=True))
    return tuple(
        Layer(name, tuple(own), tuple(_part(*next(pieces), len(own)) for _ in range(count)))
        for name, own, count in zip(names, inks, counts, strict=True)
    )


def _part(box: np.ndarray, piece: np.ndarray, inks: int) -> Part:
    top, left, height, width = box.tolist()
    weights = piece.reshape(inks, height, width).astype(np.uint16)
    rest = np.uint16(255) - weights.sum(0, dtype=np.uint16)
    return Part(slice(top, top + height), slice(left, left + width), weights, rest)


def compose(
    shown: Mapping[str, np.ndarray],
    inks: Mapping[str, np.ndarray],
    background: np.ndarray,
    size: int,
) -> np.ndarray:
    """Return faces uint8 `(N, 3, size, size)`: layer upon layer, in whole numbers, exact.

    Each layer makes of a pixel x the nearest whole number to (rest x + sum of weight * ink) / 255.

    Args:
        shown: by the name of each layer, which of its parts each face shows, `(N,)`; -1 for none.
        inks: by its name, the color of an ink on each face, uint8 `(N, 3)`.
        background: its color behind each face, uint8 `(N, 3)`.
        size: one of `SIZES`.

    Raises:
        VaekitError: as `layers` does.

    Example:
        >>> bare = {layer.name: np.array([-1]) for layer in layers(32)}
        >>> inks = {ink: np.zeros((1, 3), np.uint8) for layer in layers(32) for ink in layer.inks}
        >>> int(compose(bare, inks, np.full((1, 3), 255, np.uint8), 32).min())
        255
    """
    faces = np.empty((len(background), 3, size, size), np.uint8)
    faces[:] = background[:, :, None, None]
    for layer in layers(size):
        colors = [inks[name].astype(np.uint16)[:, :, None, None] for name in layer.inks]
        for number, part in enumerate(layer.parts):
            index = np.flatnonzero(shown[layer.name] == number)
            if len(index) and part.rest.size:
                _lay(faces, index, part, [color[index] for color in colors])
    return faces


def _lay(faces: np.ndarray, index: np.ndarray, part: Part, colors: list[np.ndarray]) -> None:
    place = (index, slice(None), part.rows, part.columns)
    total = faces[place] * part.rest
    for color, weights in zip(colors, part.weights, strict=True):
        total += color * weights
    total += np.uint16(128)  # at most 255 * 255 + 128, and the next sum 65407: uint16 holds them
    total += total >> np.uint16(8)
    total >>= np.uint16(8)  # now round(total / 255) for every such total
    faces[place] = total
