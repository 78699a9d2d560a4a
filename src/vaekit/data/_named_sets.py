"""What reads the files of the sets known by name: a function of their paths for each form.

Each gives what `Dataset` takes beside name, kind, classes, source and note: the splits, the names
of classes and factors. The files have been checked before by their checksums.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data._arrays import sparse_rows
from vaekit.data._dataset import Split
from vaekit.data._idx import read_idx
from vaekit.data._rows import MappedRows, Rows
from vaekit.data._splits import hold_out
from vaekit.errors import VaekitError

Parts = dict[str, Any]
Paths = Sequence[Path]

CIFAR_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR_TEST, CIFAR_NAMES = "test_batch.bin", "batches.meta.txt"
OMNIGLOT_FACTORS = ("alphabet", "character", "drawer")
SPRITE_FACTORS = ("shape", "scale", "orientation", "position x", "position y")
SPRITE_SHAPES = ("square", "ellipse", "heart")


READERS: dict[str, Callable[..., Parts]] = {}  # by the names of a catalog


def _reader(name: str) -> Callable[[Callable[..., Parts]], Callable[..., Parts]]:
    """Enter a function of the paths of a form, and of its options, into `READERS`."""

    def enter(read: Callable[..., Parts]) -> Callable[..., Parts]:
        READERS[name] = read
        return read

    return enter


def _labels(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))


def _color(images: np.ndarray) -> Tensor:
    """Return `(N, H, W, 3)` with the channels first."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _bits(packed: np.ndarray, side: int) -> Tensor:
    """Return what `numpy.packbits` made of each row as images `(N, 1, side, side)`, 0 or 255."""
    images = np.unpackbits(packed, axis=1, count=side * side).reshape(-1, 1, side, side)
    images *= np.uint8(255)
    return torch.from_numpy(images)


def _parted(rows: Split, test: int | None = None) -> Parts:
    """Hold out a fixed tenth, or so many rows."""
    train, held_out = hold_out(rows, len(rows) // 10 if test is None else test)
    return {"train": train, "test": held_out}


# MNIST and its kin ------------------------------------------------------------------------------


@_reader("idx")
def _read_idx(paths: Paths, class_names: Sequence[str]) -> Parts:
    """Read images `(1, H, W)` and labels of training, then of test, from four idx files.

    Raises:
        VaekitError: where the files cannot be read, or disagree.
    """
    splits: Parts = {}
    for name, (images, labels) in {"train": paths[:2], "test": paths[2:]}.items():
        classes = _idx(labels, ndim=1).long()
        if classes.max() >= len(class_names):
            raise VaekitError(
                f"{labels} has the label {classes.max()}; expected 0 to {len(class_names) - 1}."
            )
        splits[name] = Split(_idx(images, ndim=3)[:, None], classes)
    return {**splits, "class_names": tuple(class_names)}


def _idx(path: Path, ndim: int) -> Tensor:
    """Return the uint8 tensor in an idx file."""
    return torch.from_numpy(read_idx(path, ndim))


@_reader("packed")
def _read_packed(paths: Paths) -> Parts:
    """Read one .npz: `train`, `valid` and `test`, each `(N, 98)`, `numpy.packbits` of 784 bits."""
    with np.load(paths[0]) as arrays:
        names = {"train": "train", "valid": "validation", "test": "test"}
        return {name: Split(_bits(arrays[key], 28)) for key, name in names.items()}


@_reader("amat")
def _read_amat(paths: Paths) -> Parts:
    """Read three text files, a line of 784 digits 0 or 1 per image."""
    splits = {}
    for name, path in zip(("train", "validation", "test"), paths, strict=True):
        text = np.frombuffer(path.read_bytes(), np.uint8)
        bits = text[text >= ord("0")] - np.uint8(ord("0"))
        splits[name] = Split(torch.from_numpy(bits.reshape(-1, 1, 28, 28) * np.uint8(255)))
    return splits


# arrays -----------------------------------------------------------------------------------------


@_reader("images")
def _read_images(paths: Paths, test: int | None = None) -> Parts:
    """Read one .npz with `images` `(N, H, W)` or `(N, H, W, 3)`."""
    with np.load(paths[0]) as arrays:
        images = arrays["images"]
    rows = torch.from_numpy(images)[:, None] if images.ndim == 3 else _color(images)
    return _parted(Split(rows), test)


@_reader("counts")
def _read_counts(paths: Paths) -> Parts:
    """Read sparse counts with `labels`, from the arrays of `sparse_rows`."""
    with np.load(paths[0]) as arrays:
        return _parted(Split(sparse_rows(arrays, str(paths[0])), _labels(arrays["labels"])))


@_reader("path")
def _read_path(paths: Paths, **options: Any) -> Parts:
    """Read a file as its path is read, under options of `vaekit.data.load`."""
    from vaekit.data._sources import load

    data = load(paths[0].absolute(), **options)
    return {**data.splits, "class_names": data.class_names, "column_names": data.column_names}


# CIFAR-10 ---------------------------------------------------------------------------------------


@_reader("cifar10-npz")
def _read_cifar10_part(paths: Paths) -> Parts:
    """Read the first images: `train`, `test` `(N, 32, 32, 3)`, their labels, `class_names`."""
    with np.load(paths[0]) as arrays:
        splits: Parts = {
            name: Split(_color(arrays[name]), _labels(arrays[f"{name}_labels"]))
            for name in ("train", "test")
        }
        return {**splits, "class_names": tuple(map(str, arrays["class_names"]))}


@_reader("cifar10-archive")
def _read_cifar10(paths: Paths) -> Parts:
    """Read the original archive of binary records, without unpacking it to disk."""
    wanted = {*CIFAR_TRAIN, CIFAR_TEST, CIFAR_NAMES}
    content: dict[str, bytes] = {}
    with tarfile.open(paths[0], "r:gz") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            file = archive.extractfile(member) if name in wanted else None
            content |= {} if file is None else {name: file.read()}
    if missing := sorted(wanted - content.keys()):
        raise VaekitError(
            f"{paths[0]} has no {missing[0]}; expected the archive of the binary version."
        )
    parts: Parts = {"class_names": tuple(content[CIFAR_NAMES].decode().split())}
    for split, files in {"train": CIFAR_TRAIN, "test": (CIFAR_TEST,)}.items():
        joined = b"".join(content.pop(name) for name in files)
        rows = np.frombuffer(joined, np.uint8).reshape(-1, 1 + 3 * 32 * 32)  # label, pixels
        images = np.ascontiguousarray(rows[:, 1:]).reshape(-1, 3, 32, 32)
        parts[split] = Split(torch.from_numpy(images), _labels(rows[:, 0]))
    return parts


# dSprites ---------------------------------------------------------------------------------------


@_reader("sprites-sample")
def _read_sprites_part(paths: Paths) -> Parts:
    """Read the distinct ones of a grid and a random draw.

    From one .npz: `grid_images` and `random_images` `(N, 512)`, `numpy.packbits` of 4,096 bits;
    `*_factors` `(N, 5)`; `*_index`, the place in the full set.
    """
    with np.load(paths[0]) as arrays:
        packed, factors, index = (
            np.concatenate([arrays[f"grid_{part}"], arrays[f"random_{part}"]])
            for part in ("images", "factors", "index")
        )
    first = np.sort(np.unique(index, return_index=True)[1])
    return _sprites(_bits(packed[first], 64), factors[first])


@_reader("sprites")
def _read_sprites(paths: Paths) -> Parts:
    """Read all 737,280 from the original .npz; its pickled parts are not read.

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


def _sprites(images: Tensor | Rows, factors: np.ndarray) -> Parts:
    factor_rows = _labels(factors)
    rows = Split(images, factor_rows[:, 0].clone(), factor_rows)
    return {**_parted(rows), "class_names": SPRITE_SHAPES, "factor_names": SPRITE_FACTORS}


# Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people ----------------------------


@_reader("omniglot-npz")
def _read_omniglot(paths: Paths) -> Parts:
    """Read one .npz: `images` `(N, 28, 28)`, or `numpy.packbits` of 105 x 105 bits `(N, 1379)`;
    `alphabet`, `character`, `drawer`, `alphabet_names`; `n_background`, the training rows.
    """
    with np.load(paths[0]) as arrays:
        images = arrays["images"]
        rows = _bits(images, 105) if images.ndim == 2 else torch.from_numpy(images)[:, None]
        factors = np.stack([arrays[name] for name in OMNIGLOT_FACTORS], 1)
        names = [str(name) for name in arrays["alphabet_names"]]
        return _omniglot(rows, factors, names, int(arrays["n_background"]))


@_reader("omniglot-zips")
def _read_omniglot_archives(paths: Paths, small: bool = False) -> Parts:
    """Read binary `(1, 105, 105)` from the two original .zip files of PNG images.

    The training rows are the background alphabets, the test rows the evaluation alphabets, in the
    order of the files' names SET/ALPHABET/characterNN/CCCC_DD.png, which number the characters.
    `small` ones are gray `(1, 28, 28)`, by area averaging.
    """
    from PIL import Image

    images, factors, sizes = [], [], []
    alphabets: dict[str, int] = {}
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(name) for name in archive.namelist() if name.endswith(".png")]
            drawings = [name for name in names if name.parts[0] != "__MACOSX"]
            for name in sorted(drawings, key=lambda name: name.name):
                with archive.open(str(name)) as file, Image.open(file) as drawing:
                    images.append((np.asarray(drawing.convert("L")) < 128) * np.uint8(255))
                alphabet = alphabets.setdefault(name.parts[1], len(alphabets))
                character, drawer = (int(number) - 1 for number in name.stem.split("_"))
                factors.append((alphabet, character, drawer))
        sizes.append(len(images))
    drawn = np.stack(images)
    rows = torch.from_numpy(_area_average(drawn) if small else drawn)[:, None]
    return _omniglot(rows, np.array(factors), list(alphabets), sizes[0])


def _area_average(images: np.ndarray) -> np.ndarray:
    """Return images `(N, 105, 105)` as `(N, 28, 28)`, each pixel the mean of the area it covers.

    Example:
        >>> int(_area_average(np.full((1, 105, 105), 200, np.uint8))[0, 27, 27])
        200
    """
    edges, pixel = np.linspace(0, 105, 28 + 1), np.arange(105)
    covered = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights = (4 * np.clip(covered, 0, 1)).astype(np.float32)  # quarters: all sums are exact
    small = np.empty((len(images), 28, 28), np.uint8)
    for start in range(0, len(images), 1000):
        block = weights @ images[start : start + 1000].astype(np.float32) @ weights.T
        small[start : start + 1000] = np.rint(block / weights.sum(1)[0] ** 2)
    return small


def _omniglot(rows: Tensor, factors: np.ndarray, names: Sequence[str], train: int) -> Parts:
    every = _labels(factors)
    splits = {
        name: Split(rows[part], every[part, 0].clone(), every[part])
        for name, part in (("train", slice(train)), ("test", slice(train, None)))
    }
    return {**splits, "class_names": tuple(names), "factor_names": OMNIGLOT_FACTORS}
