"""Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people.

The training rows are the 30 background alphabets, the test rows the 20 evaluation alphabets.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from vaekit.data.dataset import Split
from vaekit.data.entry import Parts

SIDE, SMALL = 105, 28
FACTOR_NAMES = ("alphabet", "character", "drawer")


def read_npz(paths: Sequence[Path]) -> Parts:
    """From one .npz: `images` `(N, 28, 28)`, or `numpy.packbits` of 105 x 105 bits `(N, 1379)`;
    `alphabet`, `character`, `drawer`, `alphabet_names`; `n_background`, the training rows.
    """
    with np.load(paths[0]) as arrays:
        images = arrays["images"]
        if images.ndim == 2:
            bits = np.unpackbits(images, axis=1, count=SIDE * SIDE)
            images = bits.reshape(-1, SIDE, SIDE)
            images *= np.uint8(255)
        factors = np.stack([arrays[name] for name in FACTOR_NAMES], 1).astype(np.int64)
        names = tuple(str(name) for name in arrays["alphabet_names"])
        return _parts(images, factors, names, int(arrays["n_background"]))


def read_archives(paths: Sequence[Path]) -> Parts:
    """Binary `(1, 105, 105)`, from the two original .zip files of PNG images.

    The rows are in the order of the files' names, which number the characters.
    """
    return _parts(*_archives(paths))


def read_small_archives(paths: Sequence[Path]) -> Parts:
    """Gray `(1, 28, 28)`, the same by area averaging."""
    images, factors, names, background = _archives(paths)
    return _parts(area_average(images), factors, names, background)


def _archives(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], int]:
    images, factors = [], []
    alphabets: dict[str, int] = {}
    sizes = []
    for path in paths:
        for alphabet, character, drawer, image in _drawings(path):
            number = alphabets.setdefault(alphabet, len(alphabets))
            images.append(image)
            factors.append((number, character, drawer))
        sizes.append(len(images))
    return np.stack(images), np.array(factors, dtype=np.int64), tuple(alphabets), sizes[0]


def _drawings(path: Path) -> Iterator[tuple[str, int, int, np.ndarray]]:
    """Alphabet, character, drawer and image of SET/ALPHABET/characterNN/CCCC_DD.png."""
    from PIL import Image

    with zipfile.ZipFile(path) as archive:
        found = [PurePosixPath(name) for name in archive.namelist() if name.endswith(".png")]
        inside = [name for name in found if name.parts[0] != "__MACOSX"]
        for name in sorted(inside, key=lambda name: name.name):
            character, drawer = (int(number) - 1 for number in name.stem.split("_"))
            with archive.open(str(name)) as file, Image.open(file) as picture:
                paper = np.asarray(picture.convert("L"))  # ink is dark
            yield name.parts[1], character, drawer, (paper < 128) * np.uint8(255)


def area_average(images: np.ndarray) -> np.ndarray:
    """Images `(N, 105, 105)` as `(N, 28, 28)`: each pixel the mean of the 3.75 x 3.75 it covers.

    Example:
        >>> int(area_average(np.full((1, 105, 105), 200, np.uint8))[0, 27, 27])
        200
    """
    edges = np.linspace(0, SIDE, SMALL + 1)
    pixel = np.arange(SIDE)
    covered = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights = (4 * np.clip(covered, 0, 1)).astype(np.float32)  # quarters: all sums are exact
    made = np.empty((len(images), SMALL, SMALL), np.uint8)
    for start in range(0, len(images), 1000):
        block = weights @ images[start : start + 1000].astype(np.float32) @ weights.T
        made[start : start + 1000] = np.rint(block / weights.sum(1)[0] ** 2)
    return made


def _parts(images: np.ndarray, factors: np.ndarray, names: tuple[str, ...], train: int) -> Parts:
    rows, known = torch.from_numpy(images)[:, None], torch.from_numpy(factors)
    parts = (
        Split(rows[part], known[part, 0].clone(), known[part])
        for part in (slice(train), slice(train, None))
    )
    splits = dict(zip(("train", "test"), parts, strict=True))
    return {**splits, "class_names": names, "factor_names": FACTOR_NAMES}
