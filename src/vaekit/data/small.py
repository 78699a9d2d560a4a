"""Further sets, each from one file or embedded: digits, CIFAR-10, faces, emoji, cells, dSprites."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from vaekit.data.arrays import sparse_rows
from vaekit.data.dataset import Dataset, Split
from vaekit.data.entry import Parts
from vaekit.data.rows import MappedRows, Rows
from vaekit.data.splits import hold_out
from vaekit.errors import VaekitError

DIGITS_TEST = 300
DIGITS_NOTE = (
    "Optical recognition of handwritten digits, E. Alpaydin and C. Kaynak 1998 (UCI), CC BY 4.0; "
    "the copy inside scikit-learn"
)
CIFAR_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR_TEST, CIFAR_NAMES = "test_batch.bin", "batches.meta.txt"
FACES_TEST = 200
SPRITE_SIDE = 64
SPRITE_FACTORS = ("shape", "scale", "orientation", "position x", "position y")
SPRITE_SHAPES = ("square", "ellipse", "heart")


def load_digits(folders: Sequence[Path] = ()) -> Dataset:
    """1,497 training and 300 test images `(1, 8, 8)`, 10 classes, a fixed split.

    The levels 0..16 are stored as round(255 v / 16). Nothing is read from `folders`.

    Example:
        >>> load_digits().train
        Split(1497 rows, (1, 8, 8), torch.uint8)
    """
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = np.rint(bunch.images * 255 / 16).astype(np.uint8)[:, None]
    rows = Split(torch.from_numpy(images), torch.from_numpy(bunch.target.astype(np.int64)))
    train, test = hold_out(rows, DIGITS_TEST)
    names = tuple("0123456789")
    return Dataset("digits", "gray", train, test, 10, "embedded", DIGITS_NOTE, class_names=names)


def _color(images: np.ndarray) -> torch.Tensor:
    """`(N, H, W, 3)` with the channels first."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _held_out(rows: Split, test: int) -> Parts:
    return dict(zip(("train", "test"), hold_out(rows, test), strict=True))


def read_faces(paths: Sequence[Path]) -> Parts:
    """Frey faces from one .npz with `images` `(1965, 28, 20)`; 200 random ones for test."""
    with np.load(paths[0]) as arrays:
        rows = Split(torch.from_numpy(arrays["images"])[:, None])
    return _held_out(rows, FACES_TEST)


def read_emoji(paths: Sequence[Path]) -> Parts:
    """Emoji from one .npz with `images` `(N, 64, 64, 3)`; a fixed tenth for test."""
    with np.load(paths[0]) as arrays:
        rows = Split(_color(arrays["images"]))
    return _held_out(rows, len(rows) // 10)


def read_counts(paths: Sequence[Path]) -> Parts:
    """Sparse counts with `labels`, from the arrays of `sparse_rows`; a fixed tenth for test."""
    with np.load(paths[0]) as arrays:
        labels = torch.from_numpy(arrays["labels"].astype(np.int64))
        rows = Split(sparse_rows(arrays, str(paths[0])), labels)
    return _held_out(rows, len(rows) // 10)


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


def read_sample(paths: Sequence[Path]) -> Parts:
    """The distinct ones of a grid and a random draw, a fixed tenth of them for test.

    From one .npz: `grid_images` and `random_images` `(N, 512)`, `numpy.packbits` of 4,096 bits;
    `*_factors` `(N, 5)`; `*_index`, the place in the full set.
    """
    with np.load(paths[0]) as arrays:
        bits, factors, index = (
            np.concatenate([arrays[f"grid_{part}"], arrays[f"random_{part}"]])
            for part in ("images", "factors", "index")
        )
    first = np.sort(np.unique(index, return_index=True)[1])
    images = np.unpackbits(bits[first], axis=1).reshape(-1, 1, SPRITE_SIDE, SPRITE_SIDE)
    images *= np.uint8(255)
    return _sprites(torch.from_numpy(images), factors[first])


def read_sprites(paths: Sequence[Path]) -> Parts:
    """All 737,280, a fixed tenth for test, from the original .npz; its pickled parts are not read.

    The 3 GB of images are held once: the splits, and the rows of a training, are lists of places
    in one array.
    """
    try:
        with np.load(paths[0], allow_pickle=False) as arrays:
            images, factors = arrays["imgs"], arrays["latents_classes"][:, 1:]
    except MemoryError:
        raise VaekitError(
            "dsprites needs 3.1 GB of memory, which is not free; take dsprites-66k."
        ) from None
    images *= np.uint8(255)
    return _sprites(MappedRows(images[:, None]), factors)


def _sprites(images: torch.Tensor | Rows, factors: np.ndarray) -> Parts:
    known = torch.from_numpy(factors.astype(np.int64))
    parts = _held_out(Split(images, known[:, 0].clone(), known), len(known) // 10)
    return {**parts, "class_names": SPRITE_SHAPES, "factor_names": SPRITE_FACTORS}
