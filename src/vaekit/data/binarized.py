"""MNIST in its fixed binarization, with its own validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vaekit.data.dataset import Split
from vaekit.data.entry import Parts

SIDE = 28
SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def _split(bits: np.ndarray) -> Split:
    return Split(torch.from_numpy(bits.reshape(-1, 1, SIDE, SIDE) * np.uint8(255)))


def read_packed(paths: Sequence[Path]) -> Parts:
    """From one .npz: `train`, `valid` and `test`, each `(N, 98)`, `numpy.packbits` of 784 bits."""
    with np.load(paths[0]) as arrays:
        return {
            name: _split(np.unpackbits(arrays[key], axis=1, count=SIDE * SIDE))
            for key, name in SPLITS.items()
        }


def read_amat(paths: Sequence[Path]) -> Parts:
    """From the three text files, a line of 784 digits 0 or 1 per image."""
    return {name: _split(_digits(path)) for name, path in zip(SPLITS.values(), paths, strict=True)}


def _digits(path: Path) -> np.ndarray:
    text = np.frombuffer(path.read_bytes(), np.uint8)
    return text[text >= ord("0")] - np.uint8(ord("0"))
