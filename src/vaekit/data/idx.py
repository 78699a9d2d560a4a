"""The idx format of MNIST and its kin: a four-byte magic, big-endian sizes, the bytes."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaekit.errors import VaekitError

UINT8 = 0x08


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
    content = _content(Path(path))
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


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except FileNotFoundError:
        raise VaekitError(f"there is no file {path}.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise VaekitError(
            f"cannot read {path} ({error}): it is truncated or corrupt; fetch it again."
        ) from error
