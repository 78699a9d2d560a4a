"""A data set in memory: two splits of rows, and what is known of them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vaekit.data.spec import DataSpec, check_kind
from vaekit.errors import VaekitError

__all__ = [
    "Dataset",
    "Split",
    "canonical",
    "fingerprint",
    "generator",
    "hold_out",
    "partition",
]


def canonical(images: Tensor) -> Tensor:
    """The floats that models see: uint8 becomes float32 in [0, 1], floats pass unchanged.

    The values are those of `images.float() / 255` on the CPU, to the last bit, on every device.

    Example:
        >>> canonical(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([0.0000, 0.2000, 1.0000])
    """
    if images.dtype != torch.uint8:
        return images
    # By a tensor on the device: a Python number is multiplied by its reciprocal there, which rounds
    # otherwise; and a float32 divisor fixes the result's type whatever the default one is.
    return images / torch.full((), 255.0, dtype=torch.float32, device=images.device)


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator of its own for `key` (a seed and a purpose); the global one is not touched.

    Example:
        >>> torch.equal(*(torch.rand(3, generator=generator(0, "test")) for _ in range(2)))
        True
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a data set.

    Attributes:
        images: uint8 `(N, C, H, W)` or `(N, D)`; float32 for data that are floats or counts.
        labels: int64 `(N,)`, or None.
        factors: ground-truth factors `(N, F)`, or None.

    Raises:
        VaekitError: for another type, or parts of unequal length.

    Example:
        >>> rows = Split(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), torch.arange(5))
        >>> rows.take(torch.tensor([3, 1])).labels
        tensor([3, 1])
    """

    images: Tensor
    labels: Tensor | None = None
    factors: Tensor | None = None

    def __post_init__(self) -> None:
        if self.images.dtype not in (torch.uint8, torch.float32) or self.images.ndim < 2:
            raise VaekitError(
                f"images must be uint8 or float32, (N, C, H, W) or (N, D); "
                f"got {self.images.dtype}, {tuple(self.images.shape)}."
            )
        if self.labels is not None and self.labels.dtype != torch.int64:
            raise VaekitError(f"labels must be int64; got {self.labels.dtype}: labels.long().")
        for what, part in (("labels", self.labels), ("factors", self.factors)):
            if part is not None and len(part) != len(self.images):
                raise VaekitError(f"{len(self.images)} images but {len(part)} {what}.")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Split({len(self)} rows, {tuple(self.images.shape[1:])}, {self.images.dtype})"

    def take(self, index: Tensor) -> Split:
        """The rows at `index` (int64 or bool), in that order."""
        labels = None if self.labels is None else self.labels[index]
        factors = None if self.factors is None else self.factors[index]
        return Split(self.images[index], labels, factors)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split, and where they come from.

    Attributes:
        name: short; names the runs.
        kind: "binary" (uint8, 0 and 255 only), "grey", "colour", "counts" (float32), "table".
        train, test: the rows; same shape and type.
        classes: how many labels there are; 0 without labels.
        source: a path, "embedded" or "generated".
        note: origin and licence in a line.

    Raises:
        VaekitError: for splits that do not fit each other or the kind.

    Example:
        >>> rows = Split(torch.rand(20, 3))
        >>> Dataset("mine", "table", rows, rows).spec()
        DataSpec(name='mine', shape=(3,), kind='table', rows=20, classes=0)
    """

    name: str
    kind: str
    train: Split
    test: Split
    classes: int = 0
    source: str = "generated"
    note: str = ""

    def __post_init__(self) -> None:
        check_kind(self.kind)
        if not len(self.train) or not len(self.test):
            raise VaekitError(
                f"data set '{self.name}' has {len(self.train)} training and {len(self.test)} test "
                f"rows; both must have one at least."
            )
        ours, theirs = self.train.images, self.test.images
        if ours.shape[1:] != theirs.shape[1:] or ours.dtype != theirs.dtype:
            raise VaekitError(
                f"data set '{self.name}': training rows are {tuple(ours.shape[1:])} {ours.dtype}, "
                f"test rows {tuple(theirs.shape[1:])} {theirs.dtype}; they must be the same."
            )
        for images in (ours, theirs):
            _check_values(self.name, self.kind, images)

    def spec(self, train: Split | None = None) -> DataSpec:
        """What a recipe may know, taken from `train` (by default the whole training split)."""
        train = self.train if train is None else train
        return DataSpec(
            self.name,
            tuple(train.images.shape[1:]),
            self.kind,
            rows=len(train),
            classes=self.classes,
            mean=_mean(train.images),
            first=canonical(train.images[:256]).clone(),
        )


def _check_values(name: str, kind: str, images: Tensor) -> None:
    binary = images.dtype == torch.uint8 and bool(((images == 0) | (images == 255)).all())
    if kind == "binary" and not binary:
        raise VaekitError(f"data set '{name}' is binary; its images must be uint8, 0 or 255 only.")
    if kind == "counts" and images.dtype == torch.uint8:
        raise VaekitError(f"data set '{name}' holds counts; store them as float32, not scaled.")


def _mean(images: Tensor) -> Tensor:
    if images.dtype != torch.uint8:
        return images.mean(0, dtype=torch.float64).float()
    return (images.sum(0).double() / (255 * len(images))).float()


def hold_out(rows: Split, test_rows: int) -> tuple[Split, Split]:
    """A fixed random split into training and test rows, the same on every machine.

    Example:
        >>> [len(part) for part in hold_out(Split(torch.rand(50, 2)), 5)]
        [45, 5]
    """
    # RandomState's stream is frozen by numpy's policy; torch's and default_rng's may change.
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(rows)))
    return rows.take(order[test_rows:]), rows.take(order[:test_rows])


def partition(
    train: Split, validation: float = 0.0, limit: int | None = None, seed: int = 0
) -> tuple[Split, Split | None]:
    """Shuffles the training rows by `seed` and splits off a validation set.

    Args:
        train: the training rows; neither changed nor shared.
        validation: a fraction of the rows below 1, a count from 1 on, 0 for none.
        limit: keeps that many of the shuffled rows, before validation is taken.
        seed: of the shuffle, which has its own generator.

    Returns:
        The training rows, and the validation rows or None.

    Raises:
        VaekitError: for a negative or unusable number, or where no training row is left.

    Example:
        >>> train, validation = partition(Split(torch.rand(100, 2)), 0.1, limit=50)
        >>> len(train), len(validation)
        (45, 5)
    """
    if limit is not None and limit < 1:
        raise VaekitError(f"limit must be at least 1 row, or None for all; got {limit}.")
    order = torch.randperm(len(train), generator=generator(seed, "partition"))[:limit]
    held = _validation_rows(validation, len(order))
    if held >= len(order):
        raise VaekitError(
            f"validation = {validation:g} takes {held} of {len(order)} training rows and leaves "
            f"none; take less (a fraction below 1, or a count)."
        )
    return train.take(order[held:]), train.take(order[:held]) if held else None


def _validation_rows(validation: float, rows: int) -> int:
    whole = validation < 1 or float(validation).is_integer()
    if not math.isfinite(validation) or validation < 0 or not whole:
        raise VaekitError(
            f"validation must be a fraction from 0 to below 1 or a whole number of rows; "
            f"got {validation:g}."
        )
    if 0 < validation < 1:
        return max(1, round(validation * rows))
    return int(validation)


def fingerprint(dataset: Dataset) -> str:
    """The sha256 (hex) of the images of both splits: shapes, types and bytes.

    Example:
        >>> rows = Split(torch.zeros(4, 3))
        >>> fingerprint(Dataset("zeros", "table", rows, rows))[:8]
        'f2079602'
    """
    digest = hashlib.sha256()
    for split in (dataset.train, dataset.test):
        array = split.images.cpu().contiguous().numpy()
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(array.data)
    return digest.hexdigest()
