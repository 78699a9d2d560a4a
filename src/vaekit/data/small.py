"""Further sets, each from one file: CIFAR-10, Frey faces, emoji, single-cell counts."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from vaekit.data.dataset import Split
from vaekit.data.entry import Parts
from vaekit.data.sparse import sparse_rows
from vaekit.data.splits import hold_out
from vaekit.errors import VaekitError

CIFAR_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR_TEST, CIFAR_NAMES = "test_batch.bin", "batches.meta.txt"
FACES_TEST = 200


def _color(images: np.ndarray) -> torch.Tensor:
    """`(N, H, W, 3)` with the channels first."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def read_faces(paths: Sequence[Path]) -> Parts:
    """Frey faces from one .npz with `images` `(1965, 28, 20)`; 200 random ones for test."""
    with np.load(paths[0]) as arrays:
        rows = Split(torch.from_numpy(arrays["images"])[:, None])
    train, test = hold_out(rows, FACES_TEST)
    return {"train": train, "test": test}


def read_emoji(paths: Sequence[Path]) -> Parts:
    """Emoji from one .npz with `images` `(N, 64, 64, 3)`; a fixed tenth for test."""
    with np.load(paths[0]) as arrays:
        rows = Split(_color(arrays["images"]))
    train, test = hold_out(rows, len(rows) // 10)
    return {"train": train, "test": test}


def read_counts(paths: Sequence[Path]) -> Parts:
    """Sparse counts with `labels`, from the arrays of `sparse_rows`; a fixed tenth for test."""
    with np.load(paths[0]) as arrays:
        labels = torch.from_numpy(arrays["labels"].astype(np.int64))
        rows = Split(sparse_rows(arrays, str(paths[0])), labels)
    train, test = hold_out(rows, len(rows) // 10)
    return {"train": train, "test": test}


def read_cifar10_part(paths: Sequence[Path]) -> Parts:
    """The first images of CIFAR-10: `train`, `test` `(N, 32, 32, 3)`, their labels, the names."""
    with np.load(paths[0]) as arrays:
        parts: Parts = {
            name: Split(
                _color(arrays[name]), torch.from_numpy(arrays[f"{name}_labels"].astype(np.int64))
            )
            for name in ("train", "test")
        }
        names = tuple(str(name) for name in arrays["class_names"])
    return {**parts, "class_names": names}


def read_cifar10(paths: Sequence[Path]) -> Parts:
    """CIFAR-10 from its original archive of binary records, read without unpacking it to disk."""
    wanted = {*CIFAR_TRAIN, CIFAR_TEST, CIFAR_NAMES}
    content: dict[str, bytes] = {}
    with tarfile.open(paths[0], "r:gz") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            file = archive.extractfile(member) if name in wanted else None
            if file is not None:
                content[name] = file.read()
    missing = sorted(wanted - content.keys())
    if missing:
        raise VaekitError(
            f"{paths[0]} has no {missing[0]}; expected the archive of the binary version."
        )
    train = _records([content.pop(name) for name in CIFAR_TRAIN])
    names = tuple(content[CIFAR_NAMES].decode().split())
    return {"train": train, "test": _records([content[CIFAR_TEST]]), "class_names": names}


def _records(blocks: Sequence[bytes]) -> Split:
    """Each a label and 3 x 32 x 32 pixels, one byte each."""
    rows = np.frombuffer(b"".join(blocks), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    images = np.ascontiguousarray(rows[:, 1:]).reshape(-1, 3, 32, 32)
    return Split(torch.from_numpy(images), torch.from_numpy(rows[:, 0].astype(np.int64)))
