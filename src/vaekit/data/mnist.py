"""MNIST and its kin, from idx files; and MNIST in its fixed binarization."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaekit.data.dataset import Split
from vaekit.data.entry import Parts
from vaekit.errors import VaekitError

UINT8 = 0x08
IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
SIDE = 28
SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def read_idx(path: str | Path, ndim: int) -> Tensor:
    """The uint8 tensor in an idx file, gzipped or not (told by its first bytes).

    Args:
        path: the file.
        ndim: how many dimensions it must have (3 for images, 1 for labels).

    Raises:
        VaekitError: for a file that is missing, truncated, corrupt, or of another kind.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "labels")
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     read_idx(path, ndim=1)
        tensor([7, 2, 1], dtype=torch.uint8)
    """
    content = _unzipped(Path(path))
    if len(content) < 4 or content[:2] != b"\0\0":
        raise VaekitError(
            f"{path} is not an idx file: it starts with {content[:4]!r}, not with two zero bytes. "
            f"Fetch it again."
        )
    dtype, dims = content[2], content[3]
    if dtype != UINT8:
        raise VaekitError(f"{path} holds idx type 0x{dtype:02x}; expected 0x08, unsigned bytes.")
    if dims != ndim:
        raise VaekitError(
            f"{path} has {dims} dimensions; expected {ndim}. Images have 3, labels 1: "
            f"are the files swapped?"
        )
    return _body(path, content, ndim)


def _body(path: str | Path, content: bytes, ndim: int) -> Tensor:
    header = 4 + 4 * ndim
    if len(content) < header:
        raise VaekitError(f"{path} ends within its header ({len(content)} bytes): fetch it again.")
    sizes = struct.unpack(f">{ndim}I", content[4:header])
    wanted, got = math.prod(sizes), len(content) - header
    if wanted != got:
        raise VaekitError(
            f"{path} should hold {' x '.join(map(str, sizes))} = {wanted} bytes; it holds {got}. "
            f"It is truncated or corrupt: fetch it again."
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(sizes).copy())


def _unzipped(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except FileNotFoundError:
        raise VaekitError(f"there is no file {path}.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise VaekitError(
            f"cannot read {path} ({error}): it is truncated or corrupt; fetch it again."
        ) from error


def read_idx_set(paths: Sequence[Path], class_names: tuple[str, ...]) -> Parts:
    """Training and test images `(1, H, W)` in their original order, from `IDX_FILES` in theirs.

    Raises:
        VaekitError: where the files cannot be read, or disagree.
    """
    train, test = (_split(paths[i], paths[i + 1], len(class_names)) for i in (0, 2))
    return {"train": train, "test": test, "class_names": class_names}


def _split(image_path: Path, label_path: Path, classes: int) -> Split:
    images, labels = read_idx(image_path, ndim=3), read_idx(label_path, ndim=1)
    if len(images) != len(labels):
        raise VaekitError(
            f"{image_path} has {len(images)} images but {label_path} has {len(labels)} labels; "
            f"the files do not belong together."
        )
    if len(labels) and int(labels.max()) >= classes:
        raise VaekitError(
            f"{label_path} has the label {int(labels.max())}; expected 0 to {classes - 1}."
        )
    return Split(images[:, None], labels.long())


def _bits(bits: np.ndarray) -> Split:
    return Split(torch.from_numpy(bits.reshape(-1, 1, SIDE, SIDE) * np.uint8(255)))


def read_packed(paths: Sequence[Path]) -> Parts:
    """From one .npz: `train`, `valid` and `test`, each `(N, 98)`, `numpy.packbits` of 784 bits."""
    with np.load(paths[0]) as arrays:
        return {
            name: _bits(np.unpackbits(arrays[key], axis=1, count=SIDE * SIDE))
            for key, name in SPLITS.items()
        }


def read_amat(paths: Sequence[Path]) -> Parts:
    """From the three text files, a line of 784 digits 0 or 1 per image."""
    return {name: _bits(_digits(path)) for name, path in zip(SPLITS.values(), paths, strict=True)}


def _digits(path: Path) -> np.ndarray:
    text = np.frombuffer(path.read_bytes(), np.uint8)
    return text[text >= ord("0")] - np.uint8(ord("0"))
