"""Arrays by name, as an .npz has them: images, tables, counts (sparse too), and their labels."""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit._io import in_words
from vaekit.data._dataset import Dataset, Split
from vaekit.data._keys import HOW, KEYS, SPARSE_KEYS, found
from vaekit.data._labels import annotation, numbered
from vaekit.data._readings import as_images, as_rows, counts_of, reading, tensor_of
from vaekit.data._rows import LARGE, LEAST, MappedRows, Rows, SparseRows, check_file
from vaekit.data._splits import classes_of, dataset_of, refuse, taken
from vaekit.errors import VaekitError, cut

if TYPE_CHECKING:
    from vaekit._train_options import Data
    from vaekit.data._transforms import DataSpec

Arrays = Mapping[str, np.ndarray]
PREFIXES = {"train": "", "validation": "val_", "test": "test_"}  # of the keys of a split
FEWER = "Take fewer rows, or uint8."
WIDE = 64  # bytes for each column: of a dense row, of sums, and of weights
LOOKED_AT = 1250  # values for each byte of a sparse file, which take time and no memory


def load_npz(path: Path, options: Data, *, mapped: bool = False) -> Dataset:
    """Return the data set in an .npz file; `options.test` of the rows (a tenth) are the test split.

    Keys: `images`; optional `labels` (whole numbers, text or one-hot), `factors` `(N, F)` and
    `groups` (integers or text, `(N,)`: rows of one group stay in one split); the same with `val_`
    or `test_` before, where the file brings its own splits; `x_train`, `y_test`, `X` and others are
    known too. Or, in place of `images`, the `data`, `indices`, `indptr` and `shape` of a csr matrix
    of counts, as `scipy.sparse.save_npz` writes them. Other arrays are left out, which is said.

    Images are uint8, bool, or floats, of shape `(N, H, W)`, `(N, H, W, C)` or `(N, C, H, W)` with 1
    or 3 channels (where both fit, channels first). Floats in [0, 1] stay, those that reach from -1
    to 1 become (x + 1) / 2, and others keep their own range. Rows `(N, D)` are a table: uint8, bool
    or any finite floats; of integers that are not uint8 they are "counts", none negative. Only 0
    and the top value (1, or 255 of uint8) makes the kind "binary"; else 1 channel is "gray", 3
    "color". `options.kind` says otherwise.

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
    return dataset_in(path, npz_arrays(path, options, mapped=mapped), options)


def npz_arrays(path: Path, options: Data, *, mapped: bool = False) -> Named:
    """Return the arrays of an .npz file: see `load_npz`."""
    refuse(path, options, label="its key 'labels' holds them", group="its key 'groups' holds them")
    with opened(path, ".npz", HOW) as stream:
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise VaekitError(f"{path} holds one bare array, not an .npz archive; {HOW}.")
        with file:
            keys, said = found(path, file.files, options)
            entries = {} if file.zip is None else {e.filename: e for e in file.zip.infolist()}
            named = {n: entries.get(f"{key}.npy") for n, key in keys.items()}
            wanted = 0.0
            for name, entry in named.items():
                if file.zip is not None and entry is not None and name.endswith("images"):
                    with file.zip.open(entry) as head:
                        wanted += _peak(head) * entry.file_size
                else:
                    wanted += 0 if entry is None else entry.file_size
            check_file(path, int(wanted), options)  # before any member is unpacked
            read = partial(_memmap, path, file) if mapped else file.__getitem__
            arrays = {n: _array(path, key, partial(read, key)) for n, key in keys.items()}
        return Named(arrays, {n: f"'{key}'" for n, key in keys.items()}, said)


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
    return dataset_in(path, npy_arrays(path, options, mapped=mapped), options)


def npy_arrays(path: Path, options: Data, *, mapped: bool = False) -> Named:
    """Return the array of an .npy file: see `load_npy`."""
    mend = "an .npy has none; take an .npz"
    refuse(path, options, **dict.fromkeys(("label", "group", "labels", "images"), mend))
    with opened(path, ".npy", "write it with numpy.save(path, images)") as stream:
        if stream.read(2) == b"PK":
            raise VaekitError(f"{path} is an .npz archive; name it so.")
        stream.seek(0)
        peak = 1.0 if mapped else _peak(stream)
        check_file(path, int(peak * path.stat().st_size), options)
        stream.seek(0)
        mode: Any = {"file": path, "mmap_mode": "c"} if mapped else {"file": stream}
        array = _array(path, "the array", partial(np.load, **mode, allow_pickle=False))
        return Named({"images": array}, {"images": "'images'"})


@contextmanager
def opened(path: Path, suffix: str, how: str) -> Iterator[IO[bytes]]:
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
        why = (
            "no array at all" if "pickle" in str(error) else cut(" ".join(str(error).split()), 200)
        )
        raise VaekitError(f"{path} is not a readable {suffix} file ({why}); {how}.") from error


def _peak(stream: IO[bytes]) -> float:
    """Return how many times its bytes an array takes, by its head, until its rows are stored.

    What is not float32 becomes so beside it, and images and counts are scaled or converted.
    """
    shape, _, dtype = _header(stream)
    if dtype.kind not in "biuf" or dtype == np.uint8:
        return 1.0
    copies = (dtype != np.float32) + (len(shape) > 2 or dtype.kind in "iu")
    return 2.0 if dtype.kind == "b" else 1 + copies * 4 / dtype.itemsize


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type of an array in a file."""
    version = np.lib.format.read_magic(stream)
    readers = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
    return readers[version != (1, 0)](stream)


def _memmap(path: Path, file: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    """Return the array where it lies in the file, if it is large and not compressed; else read."""
    assert file.zip is not None
    info = {entry.filename: entry for entry in file.zip.infolist()}.get(f"{key}.npy")
    if info is None or info.compress_type != zipfile.ZIP_STORED or info.file_size <= LARGE:
        return file[key]
    with path.open("rb") as stream:
        stream.seek(info.header_offset + 26)  # the local header: its name may have other extras
        stream.seek(sum(struct.unpack("<HH", stream.read(4))), os.SEEK_CUR)
        shape, by_columns, dtype = _header(stream)
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


@dataclass(frozen=True)
class Named:
    """Arrays by what they are.

    Attributes:
        arrays: `images`, `labels`, `test_images` and so on; or the parts of a csr matrix.
        keys: how errors call each.
        said: what was guessed, and left out.
        ids: what the rows are called, by the prefix of their split.
        column_names: of a table.
        covariates: of all rows, cells of the columns that a model is conditioned on, text `(N, C)`.
    """

    arrays: dict[str, Any]
    keys: dict[str, str]
    said: str = ""
    ids: dict[str, np.ndarray] = field(default_factory=dict)
    column_names: tuple[str, ...] = ()
    covariates: np.ndarray | None = None


def named(path: Path, arrays: Mapping[str, Any], options: Data, said: str = "") -> Named:
    """Return what arrays of any library are, by their keys: see `found`.

    Raises:
        VaekitError: for keys that tell nothing, and more than the free memory holds.
    """
    mend = "its labels and groups are arrays: `labels=KEY`"
    refuse(path, options, label=mend, group=mend)
    keys, more = found(path, list(arrays), options)
    sizes = (getattr(arrays[key], "nbytes", 0) for key in keys.values())
    check_file(path, int(sum(sizes)), options)
    chosen = {n: arrays[k] for n, k in keys.items()}
    chosen = {n: sound(a) if issparse(a) else np.asarray(a) for n, a in chosen.items()}
    return Named(
        chosen, {n: f"'{k}'" for n, k in keys.items()}, "; ".join(filter(None, (said, more)))
    )


def issparse(array: Any) -> bool:
    """Return whether this is a sparse matrix of scipy, which is imported for none."""
    return type(array).__module__.startswith("scipy.sparse")


def sparse_of(path: Path, given: Named) -> dict[str, Any]:
    """Return arrays whose images are a matrix of scipy where they are the parts of one."""
    if "images" in given.arrays:
        return given.arrays
    from scipy.sparse import csr_array

    rows = sparse_rows(given.arrays, str(path))
    parts = (rows.values.numpy(), rows.columns.numpy(), rows.starts.numpy())
    beside = {name: each for name, each in given.arrays.items() if name in KEYS}
    return {"images": csr_array(parts, shape=tuple(rows.shape)), **beside}


def sound(matrix: Any) -> Any:
    """Return a sparse matrix whose places lie in it; others would end the process.

    Raises:
        ValueError: for others.
    """
    if hasattr(matrix, "indptr"):
        matrix.check_format(full_check=True)
        if (np.diff(matrix.indptr) < 0).any():  # which scipy leaves unseen where nothing is stored
            raise ValueError("the starts of its rows do not rise")
    return matrix


def _flat(path: Path, given: Named, options: Data) -> Named:
    """Return sparse images as the parts of a csr matrix if they are counts, else dense."""
    matrix, arrays = given.arrays["images"], dict(given.arrays)
    whole = matrix.dtype.kind in "iub" or bool((matrix.data == np.rint(matrix.data)).all())
    counts = whole and matrix.nnz > 0 and matrix.data.min() >= 0 and options.kind != "table"
    if counts and not options.shape:
        rows = matrix.tocsr()
        arrays |= {key: getattr(rows, key) for key in SPARSE_KEYS[:3]}
        arrays["shape"] = np.array(rows.shape)
        del arrays["images"]
    else:
        check_file(path, 4 * math.prod(matrix.shape), options)
        arrays["images"] = matrix.astype(np.float32).toarray()
    return replace(given, arrays=arrays)


def dataset_in(path: Path, given: Named, options: Data) -> Dataset:
    """Return the data set in arrays by name.

    Raises:
        VaekitError: for arrays that do not fit each other, or what is read: see `load_npz`.
    """
    if "images" in given.arrays and issparse(given.arrays["images"]):
        given = _flat(path, given, options)
    arrays, keys, said = given.arrays, given.keys, given.said
    prefixes = {n: p for n, p in PREFIXES.items() if f"{p}images" in arrays} or {"train": ""}
    if "images" in arrays:
        images, facts = dense(
            path, [(arrays[f"{p}images"], keys[f"{p}images"]) for p in prefixes.values()], options
        )
    else:
        images, facts = _sparse(path, arrays, options)
    beside, names = _beside(
        path, arrays, keys, dict(zip(prefixes.values(), images, strict=True)), classes_of(options)
    )
    parts = {
        n: Split(rows, ids=given.ids.get(p), covariates=given.covariates, **b)
        for (n, p), rows, b in zip(prefixes.items(), images, beside, strict=True)
    }
    facts |= {"column_names": given.column_names} if images[0].ndim == 2 else {}
    said = "; ".join(filter(None, [facts.pop("said", ""), said]))
    return dataset_of(
        path, facts.pop("kind"), parts, options, said=said, class_names=names, **facts
    )


def dense(
    path: Path, given: Sequence[tuple[np.ndarray, str]], options: Data
) -> tuple[list[Tensor | Rows], dict[str, Any]]:
    """Return the rows of each split as they are stored, and what a data set keeps of them."""
    takes = taken(options)
    whats = [f"{path}: {key}" for _, key in given]
    arrays = [as_images(w, a, options.shape) for w, (a, _) in zip(whats, given, strict=True)]
    how_read = (takes, options.kind, options.gaps)
    rows = [as_rows(w, a, *how_read) for w, a in zip(whats, arrays, strict=True)]
    how = reading(f"{path}: {given[0][1]}", rows, takes, options.kind, options.ends)
    stored: list[Tensor | Rows] = []
    for part in map(how, rows):
        stays = isinstance(part, np.memmap) and part.dtype == np.uint8
        stored.append(MappedRows(part) if stays else tensor_of(part))
    scaled = how.kind == "table" and options.standardize is not None
    return stored, {"kind": how.kind, "said": "" if scaled else how.said, **how.facts}


def _sparse(
    path: Path, arrays: Arrays, options: Data
) -> tuple[list[Tensor | Rows], dict[str, Any]]:
    """Return a sparse table, of counts or of bits, and what a data set keeps of it."""
    _check_sparse(path, arrays["shape"], options)
    rows, takes = sparse_rows(arrays, str(path)), taken(options)
    kind = options.kind if takes is None else takes.kind
    bits = len(rows.values) > 0 and bool((rows.values <= 1).all())
    if kind not in (None, "counts", "binary") or (kind == "binary" and not bits):
        raise VaekitError(f"`kind={kind}` does not suit {path}, which holds sparse counts.")
    if kind == "counts" or not bits:
        return [rows], {"kind": "counts"}
    values = rows.values.to(torch.uint8) * 255
    rows = SparseRows(values, rows.columns, rows.starts, rows.shape[1])
    return [rows], {"kind": "binary", "top": 1.0}


def _check_sparse(path: Path, shape: np.ndarray, options: Data) -> None:
    """Refuse a sparse table of which a row, or a look at all rows, takes more than its file may.

    Raises:
        VaekitError: with the option that lets it.
    """
    count, columns = (*map(int, shape.ravel()[:2].tolist()), 0, 0)[:2]
    check_file(path, WIDE * columns, options)
    size = path.stat().st_size
    if options.max_memory is None and count * columns > max(LEAST, LOOKED_AT * size):
        raise VaekitError(
            f"{path} of {in_words(size)} has {count:,} rows of {columns:,} values, all of which "
            "are looked at: if you trust it, `max_memory='2GiB'` lets it."
        )


def _beside(
    path: Path,
    arrays: Arrays,
    keys: Mapping[str, str],
    images: Mapping[str, Tensor | Rows],
    takes: DataSpec | None,
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return labels, factors and groups of each split, by its prefix, and the classes' names."""
    beside: dict[str, dict[str, Any]] = {}
    for prefix, rows in images.items():
        names = [name for name in KEYS[1:] if f"{prefix}{name}" in arrays and name != "labels"]
        beside[prefix] = {
            name: annotation(
                f"{path}: {keys[prefix + name]}", name, arrays[prefix + name], len(rows)
            )
            for name in names
        }
    labeled = {f"{path}: {keys[p + 'labels']}": p for p in images if f"{p}labels" in arrays}
    if not labeled:
        return [*beside.values()], ()
    labels = {what: arrays[f"{p}labels"] for what, p in labeled.items()}
    numbers, names_of = numbered(labels, {w: len(images[p]) for w, p in labeled.items()}, takes)
    for prefix, number in zip(labeled.values(), numbers, strict=True):
        beside[prefix]["labels"] = number
    return [*beside.values()], names_of


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
    counts = counts_of(f"{what}: 'data'", arrays["data"]).astype(np.float32)
    try:
        matrix = csr_array((counts, arrays["indices"], arrays["indptr"]), shape=tuple(shape))
        sound(matrix)
    except ValueError as error:
        raise VaekitError(
            f"{what} is no sparse table: {error}; write it with scipy.sparse.save_npz."
        ) from None
    matrix.sum_duplicates()
    parts = (torch.from_numpy(part) for part in (matrix.data, matrix.indices, matrix.indptr))
    values, columns, starts = parts
    return SparseRows(values, columns.long(), starts.long(), width=shape[1])
