"""From named arrays to a data set: images, tables and counts, labels, factors and groups."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaekit.data.dataset import Dataset, Split
from vaekit.data.own import keyed, own
from vaekit.data.sparse import SPARSE_KEYS, sparse_rows
from vaekit.errors import VaekitError
from vaekit.options import Data

Arrays = Mapping[str, np.ndarray]
EXACT = 1 << 24  # float32 holds every whole number up to here
MAPPED = "values from -1 to 1 mapped by (x + 1) / 2"


def from_arrays(path: Path, arrays: Arrays, asked: Data) -> Dataset:
    """The data set of `images` (or the parts of a sparse matrix) and what belongs to them.

    Raises:
        VaekitError: for arrays that do not fit what `vaekit.data.npz.load_npz` says.
    """
    if "images" not in arrays:
        counts = sparse_rows({key: arrays[key] for key in SPARSE_KEYS}, str(path))
        return own(path, "counts", _split(path, arrays, "", counts), asked)
    prefixes = {"train": "", "test": "test_"} if "test_images" in arrays else {"train": ""}
    found = {n: _first(f"{path}: '{p}images'", arrays[f"{p}images"]) for n, p in prefixes.items()}
    kind, images, note = _values(path, found)
    parts = {n: _split(path, arrays, p, images[n]) for n, p in prefixes.items()}
    return own(path, kind, parts, asked, note=note)


def _first(what: str, array: np.ndarray) -> np.ndarray:
    """Channels first, of a type that is read: uint8, float32, or whole numbers of a table."""
    if array.size == 0:
        raise VaekitError(f"{what} is empty: shape {array.shape}; expected rows.")
    array = _channels_first(what, array)
    if array.dtype == np.bool_:
        return array * np.uint8(255)
    if array.dtype == np.uint8:
        return array
    if array.ndim == 2 and array.dtype.kind in "iu":
        return _counts(what, array)
    if array.dtype.kind != "f":
        raise VaekitError(
            f"{what} has type {array.dtype}; expected uint8 (0 to 255), bool, or floats."
        )
    return _finite(what, array)


def _channels_first(what: str, array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        return array
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[1] in (1, 3):
        return array
    if array.ndim == 4 and array.shape[3] in (1, 3):
        return array.transpose(0, 3, 1, 2)
    raise VaekitError(
        f"{what} has shape {array.shape}; expected (N, H, W), (N, H, W, C) or (N, C, H, W) "
        f"with 1 or 3 channels, or (N, D)."
    )


def _counts(what: str, array: np.ndarray) -> np.ndarray:
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > EXACT:
        raise VaekitError(
            f"{what} has whole numbers from {low} to {high}; counts go from 0 to {EXACT:,}. "
            f"Store a table that is no counts as float32."
        )
    return array.astype(np.int64, copy=False)


def _finite(what: str, array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        raise VaekitError(
            f"{what} has {bad} values that are NaN or infinite (or too large for float32); "
            f"remove those rows."
        )
    return array


Parts = dict[str, np.ndarray]


def _values(path: Path, parts: Parts) -> tuple[str, Parts, str]:
    """The kind of data, the rows as they are stored, and what became of them."""
    if all(part.dtype == np.int64 for part in parts.values()):
        return "counts", {n: part.astype(np.float32) for n, part in parts.items()}, ""
    parts = {n: p.astype(np.float32) if p.dtype == np.int64 else p for n, p in parts.items()}
    parts, note = _scaled(path, parts)
    low, high = _range(parts)
    whole = next(iter(parts.values())).dtype == np.uint8
    extremes = low == 0 and (high == 1 or (high == 255 and whole))
    if extremes and all(((part == low) | (part == high)).all() for part in parts.values()):
        return "binary", {n: (part == high) * np.uint8(255) for n, part in parts.items()}, note
    shape = next(iter(parts.values())).shape
    return ("table" if len(shape) == 2 else "grey" if shape[1] == 1 else "colour"), parts, note


def _range(parts: Parts) -> tuple[float, float]:
    return (
        min(float(part.min()) for part in parts.values()),
        max(float(part.max()) for part in parts.values()),
    )


def _scaled(path: Path, parts: Parts) -> tuple[Parts, str]:
    """Floats of images in [0, 1]; those of [-1, 1] are mapped there, all splits alike."""
    floats = {n: p for n, p in parts.items() if p.ndim > 2 and p.dtype == np.float32}
    if not floats:
        return parts, ""
    low, high = _range(floats)
    if low < -1 or high > 1:
        raise VaekitError(
            f"{path}: 'images' has floats from {low:g} to {high:g}; expected 0 to 1, or -1 to 1. "
            f"Scale them to [0, 1] (x / 255 for levels), or store uint8."
        )
    if low >= 0:
        return parts, ""
    return {**parts, **{n: (p + 1) / 2 for n, p in floats.items()}}, MAPPED


def _split(path: Path, arrays: Arrays, prefix: str, images: object) -> Split:
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.ascontiguousarray(images))
    rows = len(images)  # type: ignore[arg-type]
    made = {
        name: read(f"{path}: '{prefix}{name}'", arrays[f"{prefix}{name}"], rows)
        for name, read in (("labels", _labels), ("factors", _factors), ("groups", _groups))
        if f"{prefix}{name}" in arrays
    }
    return Split(images, **made)  # type: ignore[arg-type]


def _labels(what: str, array: np.ndarray, rows: int) -> Tensor:
    if array.dtype.kind not in "iub" or array.shape != (rows,):
        raise VaekitError(
            f"{what} has type {array.dtype} and shape {array.shape}; "
            f"expected one integer per image: ({rows},)."
        )
    if array.min() < 0:
        raise VaekitError(f"{what} has the value {array.min()}; expected integers from 0 on.")
    return torch.from_numpy(array.astype(np.int64))


def _factors(what: str, array: np.ndarray, rows: int) -> Tensor:
    if array.dtype.kind not in "iubf" or array.ndim != 2 or len(array) != rows:
        raise VaekitError(
            f"{what} has type {array.dtype} and shape {array.shape}; "
            f"expected numbers, one row per image: ({rows}, F)."
        )
    if array.dtype.kind == "f":
        return torch.from_numpy(_finite(what, array))
    return torch.from_numpy(array.astype(np.int64))


def _groups(what: str, array: np.ndarray, rows: int) -> Tensor:
    if array.dtype.kind not in "iubUS" or array.shape != (rows,):
        raise VaekitError(
            f"{what} has type {array.dtype} and shape {array.shape}; "
            f"expected one integer or text per image: ({rows},)."
        )
    return keyed(array)
