"""Your own data from one .npz or .npy file: `numpy.savez(path, images=..., labels=...)`."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from vaekit.data.arrays import SPARSE_KEYS, from_arrays
from vaekit.data.dataset import Dataset
from vaekit.data.own import check_memory, refuse
from vaekit.data.rows import LARGE
from vaekit.errors import VaekitError
from vaekit.options import Data

KEYS = ("images", "labels", "factors", "groups")
HOW = "write it with numpy.savez(path, images=..., labels=...)"
HOW_BARE = "write it with numpy.save(path, images)"
MEND = "Take fewer rows, or uint8."


def load_npz(path: str | Path, asked: Data | None = None, *, mapped: bool = False) -> Dataset:
    """The data set in an .npz file; `asked.test` of the rows (a tenth) becomes the test split.

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
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(Path(folder, "mine.npz"), images=np.zeros((20, 8, 8), np.uint8))
        ...     load_npz(Path(folder, "mine.npz")).train
        Split(18 rows, (1, 8, 8), torch.uint8)
    """
    path, asked = Path(path), Data() if asked is None else asked
    refuse(path, asked, label="its key 'labels' holds them", group="its key 'groups' holds them")
    with _opened(path, ".npz", HOW) as stream:
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise VaekitError(f"{path} holds one bare array, not an .npz archive; {HOW}.")
        with file:
            wanted = _wanted(path, file.files)
            _check_declared(path, file, wanted)
            find = partial(_mapped, path, file) if mapped else file.__getitem__
            arrays = {key: _array(path, key, partial(find, key)) for key in wanted}
        return from_arrays(path, arrays, asked)


def _mapped(path: Path, file: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    """The array where it lies in the file, if it is large and stored as it is; else read."""
    archive = file.zip
    names = [] if archive is None else [n for n in archive.namelist() if n == f"{key}.npy"]
    info = archive.getinfo(names[0]) if archive is not None and names else None
    if info is None or info.compress_type != zipfile.ZIP_STORED or info.file_size <= LARGE:
        return file[key]
    with path.open("rb") as stream:
        stream.seek(info.header_offset + 26)  # the local header: its name may have other extras
        stream.seek(sum(struct.unpack("<HH", stream.read(4))), os.SEEK_CUR)
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0
        read = read if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(stream)
        if dtype.hasobject:
            return file[key]
        order: Literal["F", "C"] = "F" if by_columns else "C"
        return np.memmap(path, dtype, "c", stream.tell(), shape, order)


def load_npy(path: str | Path, asked: Data | None = None, *, mapped: bool = False) -> Dataset:
    """The data set in an .npy file: one array, read as the `images` of an .npz.

    Raises:
        VaekitError: as `load_npz`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder, "mine.npy"), np.arange(60).reshape(20, 3))
        ...     load_npy(Path(folder, "mine.npy")).kind
        'counts'
    """
    path, asked = Path(path), Data() if asked is None else asked
    how = "an .npy has none; take an .npz"
    refuse(path, asked, label=how, group=how)
    with _opened(path, ".npy", HOW_BARE) as stream:
        if stream.read(2) == b"PK":
            raise VaekitError(f"{path} is an .npz archive; name it so.")
        stream.seek(0)
        check_memory(str(path), path.stat().st_size, MEND)
        mode: Any = {"file": path, "mmap_mode": "c"} if mapped else {"file": stream}
        array = _array(path, "the array", partial(np.load, **mode, allow_pickle=False))
        return from_arrays(path, {"images": array}, asked)


@contextmanager
def _opened(path: Path, suffix: str, how: str) -> Iterator[IO[bytes]]:
    """The file, with whatever its damaged bytes raise in one line."""
    if not path.is_file():
        raise VaekitError(f"there is no file {path}.")
    try:
        # Opened here, for numpy leaves its own handle open when the archive is corrupt.
        with path.open("rb") as stream:
            yield stream
    except VaekitError:
        raise
    except MemoryError:
        raise VaekitError(f"{path} declares more than the free memory holds. {MEND}") from None
    except Exception as error:  # numpy raises whatever damaged bytes make of its readers
        why = "no array at all" if "pickle" in str(error) else " ".join(str(error).split())
        raise VaekitError(f"{path} is not a readable {suffix} file ({why}); {how}.") from error


def _wanted(path: Path, keys: list[str]) -> list[str]:
    """The keys that are read of those in the file."""
    if "images" not in keys:
        if not set(SPARSE_KEYS) <= set(keys):
            raise VaekitError(
                f"{path} has no array 'images'; it has: {', '.join(keys) or 'nothing'}. {HOW}."
            )
        return [key for key in (*SPARSE_KEYS, "format", *KEYS[1:]) if key in keys]
    if "test_images" in keys:
        for one in ("labels", "factors"):
            if (one in keys) != (f"test_{one}" in keys):
                raise VaekitError(
                    f"{path} has 'test_images', so it needs both '{one}' and 'test_{one}', "
                    f"or neither."
                )
    return [key for key in keys if key.removeprefix("test_") in KEYS]


def _check_declared(path: Path, file: np.lib.npyio.NpzFile, wanted: list[str]) -> None:
    """What the archive says that its members unpack to, before any is."""
    entries = file.zip.infolist() if file.zip is not None else []
    sizes = [e.file_size for e in entries if e.filename.removesuffix(".npy") in wanted]
    check_memory(str(path), sum(sizes), MEND)


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
        found = array.tolist()
        name = found.decode(errors="replace") if isinstance(found, bytes) else found
        raise VaekitError(f"{path} holds a sparse '{name}' matrix; expected csr: matrix.tocsr().")
    return array
