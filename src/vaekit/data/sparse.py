"""Tables of counts as compressed sparse rows, the arrays that scipy's csr_matrix is made of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from vaekit.data.rows import SparseRows
from vaekit.errors import VaekitError

SPARSE_KEYS = ("data", "indices", "indptr", "shape")
LARGEST = 1 << 24  # float32 holds every whole number up to here


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
    counts = _counts(f"{what}: 'data'", arrays["data"])
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


def _counts(what: str, data: np.ndarray) -> np.ndarray:
    """float32 that are whole and not negative."""
    if data.dtype.kind not in "iuf":
        raise VaekitError(f"{what} has type {data.dtype}; expected counts.")
    if not len(data):
        return data.astype(np.float32)
    low, high = data.min(), data.max()
    if not np.isfinite(low) or not np.isfinite(high):
        raise VaekitError(f"{what} has values that are NaN or infinite; expected counts.")
    if low < 0 or high > LARGEST:
        raise VaekitError(f"{what} goes from {low:g} to {high:g}; counts go from 0 to {LARGEST:,}.")
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
