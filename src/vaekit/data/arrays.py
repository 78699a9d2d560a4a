"""From named arrays to a data set: images, tables, counts (sparse ones too), and labels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaekit.data.dataset import Dataset, Split
from vaekit.data.own import keyed, own
from vaekit.data.rows import CHUNK, LARGE, MappedRows, SparseRows
from vaekit.errors import VaekitError
from vaekit.options import Data

Arrays = Mapping[str, np.ndarray]
EXACT = 1 << 24  # float32 holds every whole number up to here
# What may go with images: the kinds of types, the dims, and what is expected.
BESIDE = {
    "labels": ("iub", 1, "one integer per image: ({},)"),
    "factors": ("iubf", 2, "numbers, one row per image: ({}, F)"),
    "groups": ("iubUS", 1, "one integer or text per image: ({},)"),
}
MAPPED = "values from -1 to 1 mapped by (x + 1) / 2"
SPARSE_KEYS = ("data", "indices", "indptr", "shape")


def from_arrays(path: Path, arrays: Arrays, asked: Data) -> Dataset:
    """The data set of `images` (or the parts of a sparse matrix) and what belongs to them.

    Raises:
        VaekitError: for arrays that do not fit what `vaekit.data.npz.load_npz` says.
    """
    if "images" not in arrays:
        counts = sparse_rows({key: arrays[key] for key in SPARSE_KEYS}, str(path))
        return own(path, "counts", _split(path, arrays, "", counts), asked)
    prefixes = {"train": "", "test": "test_"} if "test_images" in arrays else {"train": ""}
    found = {n: rows_in(f"{path}: '{p}images'", arrays[f"{p}images"]) for n, p in prefixes.items()}
    how = reading(f"{path}: 'images'", list(found.values()))
    parts = {n: _split(path, arrays, p, how(found[n])) for n, p in prefixes.items()}
    return own(path, how.kind, parts, asked, note=how.note)


@dataclass(frozen=True)
class Reading:
    """What rows are, and how an array of them is stored.

    Attributes:
        kind: as in `Dataset`.
        mapped: whether floats become (x + 1) / 2.
        top: what becomes 255 in binary rows.
    """

    kind: str
    mapped: bool = False
    top: float | None = None

    @property
    def note(self) -> str:
        """What is to be known of the values."""
        return MAPPED if self.mapped else ""

    def __call__(self, part: np.ndarray) -> np.ndarray:
        """What is stored, uint8 or float32, of what `rows_in` returned."""
        if part.dtype == np.int32:
            part = part.astype(np.float32)
        if self.mapped and part.dtype == np.float32:
            part = (part + 1) / 2
        if self.top in (None, 255):
            return part
        return np.multiply(part, 255, dtype=np.uint8, casting="unsafe")


def rows_in(what: str, array: np.ndarray) -> np.ndarray:
    """Channels first, of a type that is read: uint8, float32, or whole numbers of a table.

    Raises:
        VaekitError: for another shape or type, and values that are not finite; `what` names it.
    """
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
    return array.astype(np.int32, copy=False)


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Some rows at a time: a mask of all of them would take as much memory again."""
    many = max(1, CHUNK // max(1, math.prod(array.shape[1:])))
    return (array[start : start + many] for start in range(0, len(array), many))


def _finite(what: str, array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    bad = sum(part.size - np.count_nonzero(np.isfinite(part)) for part in _blocks(array))
    if bad:
        raise VaekitError(
            f"{what} has {bad} values that are NaN or infinite (or too large for float32); "
            f"remove those rows."
        )
    return array


def reading(what: str, parts: Sequence[np.ndarray]) -> Reading:
    """How these splits, or samples of their values, are read: all alike.

    Raises:
        VaekitError: for images whose floats are neither in [0, 1] nor in [-1, 1].
    """
    if all(part.dtype == np.int32 for part in parts):
        return Reading("counts")
    mapped = _mapped(what, [p for p in parts if p.ndim > 2 and p.dtype == np.float32])
    parts = [Reading("table", mapped)(part) for part in parts]
    for top in (1, 255) if parts[0].dtype == np.uint8 else (1,):
        ends = (((p == 0) | (p == top)).all() for part in parts for p in _blocks(part))
        if all(ends) and _range(parts) == (0, top):
            return Reading("binary", mapped, top)
    shape = parts[0].shape
    kind = "table" if len(shape) == 2 else "gray" if shape[1] == 1 else "color"
    return Reading(kind, mapped)


def _range(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    return min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)


def _mapped(what: str, floats: Sequence[np.ndarray]) -> bool:
    """Whether floats of images, which come into [0, 1], are from -1 to 1; all splits alike."""
    low, high = _range(floats) if floats else (0.0, 1.0)
    if low < -1 or high > 1:
        raise VaekitError(
            f"{what} has floats from {low:g} to {high:g}; expected 0 to 1, or -1 to 1. "
            f"Scale them to [0, 1] (x / 255 for levels), or store uint8."
        )
    return low < 0


def _split(path: Path, arrays: Arrays, prefix: str, images: object) -> Split:
    if isinstance(images, np.memmap) and images.dtype == np.uint8:
        images = MappedRows(images)
    elif isinstance(images, np.ndarray):
        images = tensor_of(images)
    rows = len(images)  # type: ignore[arg-type]
    made = {
        name: beside(f"{path}: '{prefix}{name}'", name, arrays[f"{prefix}{name}"], rows)
        for name in BESIDE
        if f"{prefix}{name}" in arrays
    }
    return Split(images, **made)  # type: ignore[arg-type]


def tensor_of(array: np.ndarray) -> Tensor:
    """The tensor of an array, without a copy where it is contiguous, or large; never written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        # In a large one channels that come last may stay so; torch knows no steps backwards.
        copied = array.nbytes <= LARGE or min(array.strides) < 0
        return torch.from_numpy(np.ascontiguousarray(array) if copied else array)


def beside(what: str, name: str, array: np.ndarray, rows: int) -> Tensor:
    """The labels, factors or groups of so many rows.

    Raises:
        VaekitError: for another type or shape, and labels below 0; `what` names them.
    """
    kinds, dims, wanted = BESIDE[name]
    if array.dtype.kind not in kinds or array.ndim != dims or len(array) != rows:
        raise VaekitError(
            f"{what} has type {array.dtype} and shape {array.shape}; "
            f"expected {wanted.format(rows)}."
        )
    if name == "groups":
        return keyed(array)
    if name == "labels" and array.min() < 0:
        raise VaekitError(f"{what} has the value {array.min()}; expected integers from 0 on.")
    return torch.from_numpy(
        _finite(what, array) if array.dtype.kind == "f" else array.astype(np.int64)
    )


def sparse_rows(arrays: Mapping[str, np.ndarray], what: str) -> SparseRows:
    """Counts `(N, D)` from `data`, `indices`, `indptr` and `shape`, kept sparse.

    Row i holds `data[indptr[i]:indptr[i + 1]]` in the columns `indices[indptr[i]:indptr[i + 1]]`.

    Args:
        arrays: the four, of whole numbers (`data` may be floats that are whole); more are ignored.
        what: names them in errors.

    Raises:
        VaekitError: for a missing array, parts that do not fit each other, a column twice in a
            row, and values that are no counts.

    Example:
        >>> rows = sparse_rows({"data": np.array([5, 7]), "indices": np.array([2, 0]),
        ...     "indptr": np.array([0, 1, 2]), "shape": np.array([2, 3])}, "mine")
        >>> rows.pick(torch.tensor([0, 1]))
        tensor([[0., 0., 5.],
                [7., 0., 0.]])
    """
    missing = [key for key in SPARSE_KEYS if key not in arrays]
    if missing:
        raise VaekitError(
            f"{what} has no array '{missing[0]}'; a sparse table needs {', '.join(SPARSE_KEYS)}."
        )
    places = [_whole(f"{what}: '{key}'", arrays[key]) for key in SPARSE_KEYS[1:]]
    indices, indptr, shape = places
    _check_fit(what, arrays["data"], indices, indptr, shape)
    counts = _whole_counts(f"{what}: 'data'", arrays["data"])
    _check_columns(what, indices, indptr, int(shape[1]))
    kept, columns, starts = (torch.from_numpy(part) for part in (counts, indices, indptr))
    return SparseRows(kept, columns, starts, width=int(shape[1]))


def _whole(what: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise VaekitError(
            f"{what} has type {array.dtype} and shape {array.shape}; expected a list of integers."
        )
    return array.astype(np.int64)


def _check_fit(
    what: str, data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: np.ndarray
) -> None:
    if len(shape) != 2 or min(shape) < 1:
        raise VaekitError(f"{what}: 'shape' is {shape.tolist()}; expected rows and columns.")
    fits = len(indptr) == shape[0] + 1 and indptr[0] == 0 and indptr[-1] == len(indices)
    if not fits or np.diff(indptr).min() < 0:
        raise VaekitError(
            f"{what}: 'indptr' must rise from 0 to {len(indices)}, the length of 'indices', "
            f"in {shape[0]} + 1 = {shape[0] + 1} entries; it has {len(indptr)}."
        )
    if data.shape != indices.shape:
        raise VaekitError(
            f"{what}: 'data' has shape {data.shape}, 'indices' {indices.shape}; "
            f"they must be the same."
        )


def _whole_counts(what: str, data: np.ndarray) -> np.ndarray:
    """float32 that are whole and not negative."""
    if data.dtype.kind not in "iuf":
        raise VaekitError(f"{what} has type {data.dtype}; expected counts.")
    if not len(data):
        return data.astype(np.float32)
    low, high = data.min(), data.max()
    if not np.isfinite(low) or not np.isfinite(high):
        raise VaekitError(f"{what} has values that are NaN or infinite; expected counts.")
    if low < 0 or high > EXACT:
        raise VaekitError(f"{what} goes from {low:g} to {high:g}; counts go from 0 to {EXACT:,}.")
    if data.dtype.kind == "f" and (data != np.rint(data)).any():
        found = data[data != np.rint(data)][0]
        raise VaekitError(
            f"{what} has the value {found:g}; counts are whole numbers. "
            f"Give the raw counts, neither normalized nor logarithms."
        )
    return data.astype(np.float32)


def _check_columns(what: str, indices: np.ndarray, indptr: np.ndarray, width: int) -> None:
    if not len(indices):
        return
    if indices.min() < 0 or indices.max() >= width:
        wrong = int(indices.min() if indices.min() < 0 else indices.max())
        raise VaekitError(f"{what}: 'indices' names column {wrong}; expected 0 to {width - 1}.")
    place = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)) * width + indices
    if (np.diff(place) <= 0).any() and len(np.unique(place)) < len(place):
        raise VaekitError(
            f"{what} names a column twice in one row; write it after scipy's sum_duplicates()."
        )
