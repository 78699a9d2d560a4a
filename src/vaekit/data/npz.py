"""Your own data from one .npz file: `numpy.savez(path, images=..., labels=...)`."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaekit.data.dataset import Dataset, Split
from vaekit.data.splits import hold_out
from vaekit.errors import VaekitError
from vaekit.options import Data

__all__ = ["load_npz"]

KEYS = ("images", "labels", "factors")
MIN_ROWS = 10
CORRUPT = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
HOW = "write it with numpy.savez(path, images=..., labels=...)"


def load_npz(path: str | Path, asked: Data | None = None) -> Dataset:
    """The data set in an .npz file; a tenth of the rows, by a fixed draw, becomes the test split.

    Keys: `images`; optional `labels` (integers from 0, `(N,)`) and `factors` `(N, F)`; the same
    with `test_` before, where the file brings its own test split.

    Images are uint8, bool, or floats in [0, 1], of shape `(N, H, W)`, `(N, H, W, C)` or
    `(N, C, H, W)` with 1 or 3 channels (where both fit, channels first); tables `(N, D)` are uint8,
    bool or any finite floats. Only 0 and the top value (1, or 255 of uint8) makes the kind
    "binary"; else 1 channel is "grey", 3 are "colour", and `(N, D)` is "table".

    Raises:
        VaekitError: for a missing or corrupt file, and for arrays that do not fit the above.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(Path(folder, "mine.npz"), images=np.zeros((20, 8, 8), np.uint8))
        ...     load_npz(Path(folder, "mine.npz")).train
        Split(18 rows, (1, 8, 8), torch.uint8)
    """
    arrays = _read(Path(path))
    prefixes = ("", "test_") if "test_images" in arrays else ("",)
    images = [_images(f"{path}: '{p}images'", arrays[f"{p}images"]) for p in prefixes]
    if len(images[0]) < MIN_ROWS:
        raise VaekitError(
            f"{path} has {len(images[0])} rows in 'images'; expected {MIN_ROWS} at least."
        )
    kind, images = _kind(images)
    splits = [_split(path, arrays, p, part) for p, part in zip(prefixes, images, strict=True)]
    train, test = splits if len(splits) == 2 else hold_out(splits[0], len(splits[0]) // 10)
    labels = [int(split.labels.max()) for split in splits if split.labels is not None]
    classes = max(labels) + 1 if labels else 0
    return Dataset(Path(path).stem, kind, train, test, classes, source=str(path), note=str(path))


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays under known keys; object arrays are never unpickled."""
    if not path.is_file():
        raise VaekitError(f"there is no file {path}.")
    try:
        # Opened here, for numpy leaves its own handle open when the archive is corrupt.
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise VaekitError(f"{path} holds one bare array, not an .npz archive; {HOW}.")
            _check_keys(path, file.files)
            return {key: _array(path, file, key) for key in file.files if _known(key)}
    except VaekitError:
        raise
    except CORRUPT as error:
        raise VaekitError(f"{path} is not a readable .npz file ({error}); {HOW}.") from error


def _known(key: str) -> bool:
    return key.removeprefix("test_") in KEYS


def _check_keys(path: Path, keys: list[str]) -> None:
    if "images" not in keys:
        raise VaekitError(
            f"{path} has no array 'images'; it has: {', '.join(keys) or 'nothing'}. {HOW}."
        )
    if "test_images" in keys:
        for one in ("labels", "factors"):
            if (one in keys) != (f"test_{one}" in keys):
                raise VaekitError(
                    f"{path} has 'test_images', so it needs both '{one}' and 'test_{one}', "
                    f"or neither."
                )


def _array(path: Path, file: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    try:
        array = file[key]
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise VaekitError(
            f"{path}: '{key}' holds Python objects; expected numbers of one type and shape."
        ) from error
    if not isinstance(array, np.ndarray):
        raise VaekitError(f"{path}: '{key}' is not an array; {HOW}.")
    return array


def _images(what: str, array: np.ndarray) -> np.ndarray:
    """Channels first, uint8 or float32."""
    array = _channels_first(what, array)
    if array.size == 0:
        raise VaekitError(f"{what} is empty: shape {array.shape}.")
    if array.dtype == np.bool_:
        return array * np.uint8(255)
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise VaekitError(
            f"{what} has type {array.dtype}; expected uint8 (0 to 255), bool, or floats."
        )
    return _floats(what, array)


def _floats(what: str, array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        raise VaekitError(f"{what} has {bad} values that are NaN or infinite; remove those rows.")
    low, high = array.min(), array.max()
    if array.ndim > 2 and (low < 0 or high > 1):
        raise VaekitError(
            f"{what} has floats from {low:g} to {high:g}; expected 0 to 1. "
            f"Scale them (x / 255, or (x + 1) / 2), or store uint8."
        )
    return array


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


def _kind(images: list[np.ndarray]) -> tuple[str, list[np.ndarray]]:
    low, high = min(part.min() for part in images), max(part.max() for part in images)
    extremes = low == 0 and (high == 1 or (high == 255 and images[0].dtype == np.uint8))
    if extremes and all(((part == low) | (part == high)).all() for part in images):
        return "binary", [(part == high) * np.uint8(255) for part in images]
    if images[0].ndim == 2:
        return "table", images
    return ("grey" if images[0].shape[1] == 1 else "colour"), images


def _split(
    path: str | Path, arrays: dict[str, np.ndarray], prefix: str, images: np.ndarray
) -> Split:
    labels, factors = arrays.get(f"{prefix}labels"), arrays.get(f"{prefix}factors")
    return Split(
        torch.from_numpy(np.ascontiguousarray(images)),
        None if labels is None else _labels(f"{path}: '{prefix}labels'", labels, len(images)),
        None if factors is None else _factors(f"{path}: '{prefix}factors'", factors, len(images)),
    )


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
    return torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))
