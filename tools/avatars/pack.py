"""Packs rendered parts of faces into the one file that the package holds.

    python pack.py FOLDER OUT.npz

FOLDER is what `render.mjs` wrote. Each image becomes the weights of its inks, the mean over blocks
of pixels, cropped to what it covers; `vaekit.data._avatar_art` reads them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

STEP = 5  # weights are multiples of it: 51 levels up to 255, which deflate well


def weights_of(path: Path, inks: int, size: int) -> np.ndarray:
    """Return how much each ink covers each pixel, in 255ths, uint8 `(inks, size, size)`.

    The weights of a pixel add up to 255 at most; what is left is what lies behind.
    """
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGBA")).astype(np.float64)
    block = len(pixels) // size
    cover = pixels[..., :inks] * pixels[..., 3:] / 255
    means = cover.reshape(size, block, size, block, inks).mean((1, 3)).transpose(2, 0, 1)
    levels = np.rint(means / STEP).astype(np.int64) * STEP
    before = np.cumsum(levels, 0) - levels
    return np.minimum(levels, 255 - before).clip(0).astype(np.uint8)


def box_of(weights: np.ndarray) -> tuple[int, int, int, int]:
    """Return top, left, height and width of what is covered; of nothing, an empty box."""
    rows, columns = (np.flatnonzero(weights.any(axis)) for axis in ((0, 2), (0, 1)))
    if not len(rows):
        return 0, 0, 0, 0
    return rows[0], columns[0], rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]


def packed(folder: Path, layers: list[dict[str, Any]], size: int) -> dict[str, np.ndarray]:
    """Return the boxes and weights of all images of one size."""
    boxes, pieces = [], []
    for layer in layers:
        for name in layer["images"]:
            weights = weights_of(folder / str(size) / name, len(layer["inks"]), size)
            top, left, height, width = box = box_of(weights)
            boxes.append(box)
            pieces.append(weights[:, top : top + height, left : left + width].ravel())
    return {f"boxes_{size}": np.array(boxes, np.uint8), f"weights_{size}": np.concatenate(pieces)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what render.mjs wrote")
    parser.add_argument("out", type=Path, help="the .npz")
    asked = parser.parse_args()
    parts = json.loads((asked.folder / "parts.json").read_text(encoding="utf-8"))
    layers = parts["layers"]
    arrays = {
        "layers": np.array([layer["name"] for layer in layers]),
        "inks": np.array([" ".join(layer["inks"]) for layer in layers]),
        "variants": np.array([len(layer["images"]) for layer in layers], np.uint8),
    }
    for size in parts["sizes"]:
        arrays |= packed(asked.folder, layers, size)
    np.savez_compressed(asked.out, **arrays)  # type: ignore[arg-type]
    print(f"{asked.out}: {asked.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
