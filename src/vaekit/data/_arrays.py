"""Arrays in .npz and .npy files: images, tables, counts (sparse ones too), and their labels."""

from __future__ import annotations

import math
import os
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data._dataset import Dataset, Split
from vaekit.data._rows import CHUNK, LARGE, MappedRows, Rows, SparseRows, check_memory
from vaekit.data._splits import dataset_of, keyed, refuse, taken
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit._train_options import Data
    from vaekit.data._transforms import DataSpec

Arrays = Mapping[str, np.ndarray]
KEYS = ("images", "labels", "factors", "groups")
SPARSE_KEYS = ("data", "indices", "indptr", "shape")
MAPPED = "values from -1 to 1 mapped by (x + 1) / 2"
EXACT = 1 << 24  # float32 holds every whole number up to here
# What may go with images: the kinds of types, the dims, and what is expected.
ANNOTATIONS = {
    "labels": ("iub", 1, "one integer per image: ({},)"),
    "factors": ("iubf", 2, "numbers, one row per image: ({}, F)"),
    "groups": ("iubUS", 1, "one integer or text per image: ({},)"),
}
HOW = "write it with numpy.savez(path, images=..., labels=...)"
FEWER = "Take fewer rows, or uint8."


def load_npz(path: Path, options: Data, *, mapped: bool = False) -> Dataset:
    """Return the data set in an .npz file; `options.test` of the rows (a tenth) are the test split.

    Keys: `images`; optional `labels` (integers from 0, `(N,)`), `factors` `(N, F)` and `groups`
    (integers or text, `(N,)`: rows of one group stay in one split); the same with `test_` before,
    where the file brings its own test split. Or, in place of `images`, the `data`, `indices`,
    `indptr` and `shape` of a csr matrix of counts, as `scipy.sparse.save_npz` writes them.

    Images are uint8, bool, or floats in [0, 1], of shape `(N, H, W)`, `(N, H, W, C)` or
    `(N, C, H, W)` with 1 or 3 channels (where both fit, channels first); floats of which some are
    negative, but none below -1, become (x + 1) / 2. Rows `(N, D)` are a table: uint8, bool or any
    finite floats; of integers that are not uint8 they are "counts", none negative. Only 0 and the
    top value (1, or 255 of uint8) makes the kind "binary"; else 1 channel is "gray", 3 "color".

    With `mapped`, large arrays that are not compressed stay in the file, which must not change
    meanwhile: the rows that are looked at are read, and no more.

    Raises:
        VaekitError: for a missing or corrupt file, one larger than the free memory, and for arrays
            that do not fit the above. Nothing is unpickled.

    Example:
        >>> import tempfile
        >>> from vaekit.data import load
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(Path(folder, "mine.npz"), images=np.zeros((20, 8, 8), np.uint8))
        ...     load(Path(folder, "mine.npz")).train
        Split(18 rows, (1, 8, 8), torch.uint8)
    """
    refuse(path, options, label="its key 'labels' holds them", group="its key 'groups' holds them")
    with _opened(path, ".npz", HOW) as stream:
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise VaekitError(f"{path} holds one bare array, not an .npz archive; {HOW}.")
        with file:
            wanted = _wanted(path, file.files)
            entries = file.zip.infolist() if file.zip is not None else []
            sizes = [e.file_size for e in entries if e.filename.removesuffix(".npy") in wanted]
            check_memory(str(path), sum(sizes), FEWER)  # before any member is unpacked
            read = partial(_memmap, path, file) if mapped else file.__getitem__
            arrays = {key: _array(path, key, partial(read, key)) for key in wanted}
        return _from_arrays(path, arrays, options)


def load_npy(path: Path, options: Data, *, mapped: bool = False) -> Dataset:
    """Return the data set in an .npy file: one array, read as the `images` of an .npz.

    Raises:
        VaekitError: as `load_npz`.

    Example:
        >>> import tempfile
        >>> from vaekit.data import load
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder, "mine.npy"), np.arange(60).reshape(20, 3))
        ...     load(Path(folder, "mine.npy")).kind
        'counts'
    """
    refuse(path, options, **dict.fromkeys(("label", "group"), "an .npy has none; take an .npz"))
    with _opened(path, ".npy", "write it with numpy.save(path, images)") as stream:
        if stream.read(2) == b"PK":
            raise VaekitError(f"{path} is an .npz archive; name it so.")
        stream.seek(0)
        check_memory(str(path), path.stat().st_size, FEWER)
        mode: Any = {"file": path, "mmap_mode": "c"} if mapped else {"file": stream}
        array = _array(path, "the array", partial(np.load, **mode, allow_pickle=False))
        return _from_arrays(path, {"images": array}, options)


@contextmanager
def _opened(path: Path, suffix: str, how: str) -> Iterator[IO[bytes]]:
    """Open a file; whatever its damaged bytes raise becomes one line."""
    try:
        # Opened here, for numpy leaves its own handle open when the archive is corrupt.
        with path.open("rb") as stream:
            yield stream
    except VaekitError:
        raise
    except MemoryError:
        raise VaekitError(f"{path} declares more than the free memory holds. {FEWER}") from None
    except Exception as error:  # numpy raises whatever damaged bytes make of its readers
        why = "no array at all" if "pickle" in str(error) else " ".join(str(error).split())
        raise VaekitError(f"{path} is not a readable {suffix} file ({why}); {how}.") from error


def _wanted(path: Path, keys: list[str]) -> list[str]:
    """Return the keys that are read of those in the file."""
    if "images" not in keys:
        if not set(SPARSE_KEYS) <= set(keys):
            raise VaekitError(
                f"{path} has no array 'images'; it has: {', '.join(keys) or 'nothing'}; {HOW}."
            )
        return [key for key in (*SPARSE_KEYS, "format", *KEYS[1:]) if key in keys]
    for name in ("labels", "factors") if "test_images" in keys else ():
        if (name in keys) != (f"test_{name}" in keys):
            raise VaekitError(
                f"{path} has 'test_images', so it needs both '{name}' and 'test_{name}', "
                f"or neither."
            )
    return [key for key in keys if key.removeprefix("test_") in KEYS]


def _memmap(path: Path, file: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    """Return the array where it lies in the file, if it is large and not compressed; else read."""
    assert file.zip is not None
    info = {entry.filename: entry for entry in file.zip.infolist()}.get(f"{key}.npy")
    if info is None or info.compress_type != zipfile.ZIP_STORED or info.file_size <= LARGE:
        return file[key]
    with path.open("rb") as stream:
        stream.seek(info.header_offset + 26)  # the local header: its name may have other extras
        stream.seek(sum(struct.unpack("<HH", stream.read(4))), os.SEEK_CUR)
        version = np.lib.format.read_magic(stream)
        readers = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = readers[version != (1, 0)](stream)
        if dtype.hasobject:
            return file[key]
        return np.memmap(path, dtype, "c", stream.tell(), shape, "F" if by_columns else "C")


def _array(path: Path, key: str, read: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        array = read()
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise VaekitError(
            f"{path}: '{key}' holds Python objects; expected numbers of one type and shape."
        ) from error
    if not isinstance(array, np.ndarray):
        raise VaekitError(f"{path}: '{key}' is not an array; {HOW}.")
    if key == "format" and array.tolist() not in (b"csr", "csr"):
        name = np.char.decode(array, errors="replace") if array.dtype.kind == "S" else array
        raise VaekitError(f"{path} holds a sparse '{name}' matrix; expected csr: matrix.tocsr().")
    return array


def _from_arrays(path: Path, arrays: Arrays, options: Data) -> Dataset:
    if "images" not in arrays:
        return dataset_of(
            path, "counts", _split(path, arrays, "", sparse_rows(arrays, str(path))), options
        )
    prefixes = {"train": "", "test": "test_"} if "test_images" in arrays else {"train": ""}
    takes = taken(options)
    rows = {
        n: as_rows(f"{path}: '{p}images'", arrays[f"{p}images"], takes) for n, p in prefixes.items()
    }
    how = reading(f"{path}: 'images'", list(rows.values()), takes)
    parts = {}
    for name, prefix in prefixes.items():
        stored = how(rows[name])
        stays = isinstance(stored, np.memmap) and stored.dtype == np.uint8
        images = MappedRows(stored) if stays else tensor_of(stored)
        parts[name] = _split(path, arrays, prefix, images)
    facts: Any = {"mapped": how.mapped, "top": how.top}
    return dataset_of(path, how.kind, parts, options, said=how.note, **facts)


def _split(path: Path, arrays: Arrays, prefix: str, images: Tensor | Rows) -> Split:
    annotations = {
        name: annotation(f"{path}: '{prefix}{name}'", name, arrays[f"{prefix}{name}"], len(images))
        for name in ANNOTATIONS
        if f"{prefix}{name}" in arrays
    }
    return Split(images, **annotations)  # type: ignore[arg-type]


def as_rows(what: str, array: np.ndarray, takes: DataSpec | None = None) -> np.ndarray:
    """Return rows, channels first, of a type that is read: uint8, float32, or int32 of counts.

    Rows of a table that a trained model takes are of the type that its training rows had.

    Raises:
        VaekitError: for another shape or type, and values that are not finite; `what` names it.
    """
    if array.size == 0:
        raise VaekitError(f"{what} is empty: shape {array.shape}; expected rows.")
    shape: tuple[int, ...] = array.shape
    if len(shape) == 3:
        array = array[:, None]
    elif len(shape) == 4 and shape[1] not in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if len(shape) not in (2, 3, 4) or (len(shape) > 2 and array.shape[1] not in (1, 3)):
        raise VaekitError(
            f"{what} has shape {shape}; expected (N, H, W), (N, H, W, C) or (N, C, H, W) "
            f"with 1 or 3 channels, or (N, D)."
        )
    if takes is not None and array.ndim == 2 and takes.kind in ("table", "counts"):
        levels = takes.top == 255 and array.dtype == np.uint8
        array = array if levels or array.dtype.kind not in "iub" else array.astype(np.float64)
        if takes.values.offset is not None and not levels:
            array = array - takes.values.offset.numpy()
        return array if levels else _finite(what, array)
    if array.dtype == np.bool_:
        return array * np.uint8(255)
    if array.dtype == np.uint8:
        return array
    if array.ndim == 2 and array.dtype.kind in "iu":
        return _counts(what, array).astype(np.int32, copy=False)
    if array.dtype.kind != "f":
        raise VaekitError(
            f"{what} has type {array.dtype}; expected uint8 (0 to 255), bool, or floats."
        )
    return _finite(what, array)


def _counts(what: str, array: np.ndarray) -> np.ndarray:
    """Return counts as they are; refuse what is not whole, negative, or too large for float32."""
    if array.dtype.kind not in "iuf":
        raise VaekitError(f"{what} has type {array.dtype}; expected counts.")
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if not 0 <= low <= high <= EXACT:
        raise VaekitError(
            f"{what} goes from {low:g} to {high:g}; counts go from 0 to {EXACT:,}. "
            f"Store a table that is no counts as float32."
        )
    broken = array[array != np.rint(array)] if array.dtype.kind == "f" else array[:0]
    if len(broken):
        raise VaekitError(
            f"{what} has the value {broken[0]:g}; counts are whole numbers. "
            f"Give the raw counts, neither normalized nor logarithms."
        )
    return array


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield some rows at a time: a mask of all of them would take as much memory again."""
    size = max(1, CHUNK // max(1, math.prod(array.shape[1:])))
    return (array[start : start + size] for start in range(0, len(array), size))


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

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return what is stored, uint8 or float32, of what `as_rows` returned."""
        if rows.dtype == np.int32:
            rows = rows.astype(np.float32)
        if self.mapped and rows.dtype == np.float32:
            rows = (rows + 1) / 2
        if self.top in (None, 255):
            return rows
        return np.multiply(rows, 255, dtype=np.uint8, casting="unsafe")


def reading(what: str, parts: Sequence[np.ndarray], takes: DataSpec | None = None) -> Reading:
    """Return how these splits, or samples of their values, are read: all alike.

    Args:
        what: names them in errors.
        parts: as `as_rows` returns them.
        takes: what a trained model takes: they are read as its training rows were.

    Raises:
        VaekitError: for images whose floats are neither in [0, 1] nor in [-1, 1], or not in the
            range that the model takes.
    """
    if takes is not None:
        return _as_trained(what, parts, takes)
    if all(part.dtype == np.int32 for part in parts):
        return Reading("counts")
    floats = [part for part in parts if part.ndim > 2 and part.dtype == np.float32]
    low, high = _range(floats) if floats else (0.0, 1.0)
    if low < -1 or high > 1:
        raise VaekitError(
            f"{what} has floats from {low:g} to {high:g}; expected 0 to 1, or -1 to 1. "
            f"Scale them to [0, 1] (x / 255 for levels), or store uint8."
        )
    parts = [Reading("table", mapped=low < 0)(part) for part in parts]
    for top in (1, 255) if parts[0].dtype == np.uint8 else (1,):
        ends = (((p == 0) | (p == top)).all() for part in parts for p in _blocks(part))
        if all(ends) and _range(parts) == (0, top):
            return Reading("binary", low < 0, top)
    shape = parts[0].shape
    return Reading("table" if len(shape) == 2 else "gray" if shape[1] == 1 else "color", low < 0)


def _as_trained(what: str, parts: Sequence[np.ndarray], takes: DataSpec) -> Reading:
    images, floats = len(takes.shape) == 3, [p for p in parts if p.dtype.kind == "f"]
    low, high = _range(floats) if images and floats else (0.0, 1.0)
    least = -1 if takes.mapped else 0
    if low < least or high > 1:
        mend = "divide by 255, or give uint8" if high > 2 else "scale them so"
        raise VaekitError(
            f"{what} has floats from {low:g} to {high:g}; this run takes [{least}, 1]: {mend}."
        )
    levels = any(part.dtype == np.uint8 and part.max() > 1 for part in parts)  # of bools, too
    return Reading(takes.kind, takes.mapped, 255 if levels else takes.top)


def _range(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    return min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)


def tensor_of(array: np.ndarray) -> Tensor:
    """Return an array as a tensor, not copied if contiguous or large; it is never written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        if min(array.strides) < 0:  # torch knows no steps backwards
            array = array.copy()
        # In a large one channels that come last may stay so.
        return torch.from_numpy(array if array.nbytes > LARGE else np.ascontiguousarray(array))


def annotation(what: str, name: str, array: np.ndarray, rows: int) -> Tensor:
    """Return the labels, factors or groups (`name`) of so many rows.

    Raises:
        VaekitError: for another type or shape, and labels below 0; `what` names them.
    """
    kinds, dims, wanted = ANNOTATIONS[name]
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


def sparse_rows(arrays: Arrays, what: str) -> SparseRows:
    """Return counts `(N, D)` from the four arrays of a csr matrix, kept sparse.

    Args:
        arrays: `data`, `indices`, `indptr` and `shape`, of whole numbers (`data` may be floats that
            are whole); more are ignored. What is there twice is added.
        what: names them in errors.

    Raises:
        VaekitError: for parts that do not fit each other, and values that are no counts.

    Example:
        >>> rows = sparse_rows({"data": np.array([5, 7]), "indices": np.array([2, 0]),
        ...     "indptr": np.array([0, 1, 2]), "shape": np.array([2, 3])}, "mine")
        >>> rows.pick(torch.tensor([0, 1]))
        tensor([[0., 0., 5.],
                [7., 0., 0.]])
    """
    from scipy.sparse import csr_array

    for key in SPARSE_KEYS[1:]:
        if arrays[key].dtype.kind not in "iu" or arrays[key].ndim != 1:
            raise VaekitError(
                f"{what}: '{key}' has type {arrays[key].dtype} and shape {arrays[key].shape}; "
                f"expected a list of integers."
            )
    shape = arrays["shape"].tolist()
    if len(shape) != 2 or min(shape) < 1:
        raise VaekitError(f"{what}: 'shape' is {shape}; expected rows and columns.")
    counts = _counts(f"{what}: 'data'", arrays["data"]).astype(np.float32)
    try:
        matrix = csr_array((counts, arrays["indices"], arrays["indptr"]), shape=tuple(shape))
        matrix.check_format()
    except ValueError as error:
        raise VaekitError(
            f"{what} is no sparse table: {error}; write it with scipy.sparse.save_npz."
        ) from None
    matrix.sum_duplicates()
    parts = (torch.from_numpy(part) for part in (matrix.data, matrix.indices, matrix.indptr))
    values, columns, starts = parts
    return SparseRows(values, columns.long(), starts.long(), width=shape[1])
