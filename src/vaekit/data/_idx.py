"""Files of idx, as those of MNIST: an array behind a header of its sizes; of any name."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.data._arrays import Named
from vaekit.data._splits import taken
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit._train_options import Data

TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}  # by the third byte
NAME = re.compile(r"idx[1-4]|ubyte", re.IGNORECASE)


def read_idx(path: Path, ndim: int | None = None) -> np.ndarray:
    """Return the array in an idx file, gzipped or not (told by its first bytes).

    Raises:
        VaekitError: for a file that is missing, damaged, none, or of other than `ndim` dims.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise VaekitError(
            f"cannot read {path} ({error}): it is missing, truncated or corrupt; fetch it again."
        ) from error
    start = content[:4] if ndim is None else bytes((0, 0, 8, ndim))  # 8 stands for unsigned bytes
    header = 4 + 4 * (start[3] if len(start) == 4 else 0)
    if not _is_idx(content) or content[:4] != start or len(content) < header:
        wanted = f" of {ndim} dimensions" if ndim else ""
        raise VaekitError(
            f"{path} is no idx file{wanted}: its {len(content)} bytes start with "
            f"{content[:4]!r}; expected {start if ndim else bytes((0, 0, 8, 3))!r}. Fetch it again."
        )
    sizes, dtype = np.frombuffer(content[4:header], ">u4").tolist(), np.dtype(TYPES[start[2]])
    if len(content) - header != math.prod(sizes) * dtype.itemsize:
        raise VaekitError(
            f"{path} should hold {' x '.join(map(str, sizes))} = {math.prod(sizes)} "
            f"{'bytes' if dtype.itemsize == 1 else 'numbers'}; it "
            f"holds {len(content) - header}. It is truncated or corrupt: fetch it again."
        )
    array = np.frombuffer(content, dtype, offset=header).reshape(sizes)
    return array.astype(dtype.newbyteorder("="))


def _is_idx(start: bytes) -> bool:
    return len(start) > 3 and start[:2] == b"\0\0" and start[2] in TYPES and 1 <= start[3] <= 4


def is_idx(path: Path) -> bool:
    """Return whether a file is one of idx, by its first bytes."""
    opens: Any = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opens(path, "rb") as stream:
            return _is_idx(stream.read(4))
    except (OSError, EOFError, zlib.error):
        return bool(NAME.search(path.name))


def idx_arrays(path: Path, options: Data) -> Named:
    """Return the images of an idx file, the labels beside it, and the test rows if both are there.

    The labels of train-images-idx3-ubyte are in train-labels-idx1-ubyte, the test rows in
    t10k-images-idx3-ubyte.

    Raises:
        VaekitError: as `read_idx`, and for a file of labels.
    """
    files = {"images": path, "labels": _beside(path, "images", "labels")}
    test = _beside(path, "train", "t10k") or _beside(path, "train", "test")
    if test is not None and taken(options) is None and options.test is None:
        more = {"test_images": test, "test_labels": _beside(test, "images", "labels")}
        files |= more if (more["test_labels"] is None) == (files["labels"] is None) else {}
    arrays = {name: read_idx(file) for name, file in files.items() if file is not None}
    if arrays["images"].ndim == 1:
        raise VaekitError(f"{path} holds labels; name the file of the images beside it.")
    keys = {name: str(files[name]) for name in arrays}
    also = [file.name for file in list(files.values())[1:] if file is not None]
    return Named(arrays, keys, f"read with {', '.join(also)}" if also else "")


def _beside(path: Path, word: str, other: str) -> Path | None:
    """Return the file of the same name with another word in it, zipped or not."""
    if word not in path.name:
        return None
    name = path.name.replace(word, other).removesuffix(".gz")
    name = re.sub("idx[0-9]", "idx1", name) if other == "labels" else name
    tried = (path.with_name(name), path.with_name(f"{name}.gz"))
    return next((file for file in tried if file.is_file()), None)
