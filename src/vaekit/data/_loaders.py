"""Rows that are served one batch or one item at a time, by a loader or a map-style Dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit._io import note
from vaekit._torchutil import Moments
from vaekit.data._batches import Batch, check_start
from vaekit.data._context import one_hot
from vaekit.data._dataset import Split
from vaekit.data._labels import annotation
from vaekit.data._readings import Reading, as_rows, tensor_of
from vaekit.data._rows import Survey
from vaekit.errors import VaekitError


def described(value: Any) -> str:
    """Return what a value is, in a few words.

    Example:
        >>> described([1, 2, 3]), described(None), described({"a": 1})
        ('a list of 3 numbers', 'None', 'a dict with the keys a')
    """
    kind = type(value).__name__
    if isinstance(value, list | tuple):
        numbers = all(isinstance(each, int | float) for each in value)
        of = "numbers" if numbers else ", ".join(sorted({type(v).__name__ for v in value}))
        return f"a {kind} of {len(value)} {of}"
    if isinstance(value, dict):
        return f"a dict with the keys {', '.join(map(str, islice(value, 8))) or 'of nothing'}"
    return "None" if value is None else f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


def as_array(what: str, value: Any) -> np.ndarray:
    """Return the array of a tensor, an array or an image, without a copy where that goes.

    Raises:
        VaekitError: for anything else, and an array of objects; `what` names it.
    """
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise VaekitError(f"{what} is a sparse tensor; give {what}.to_dense().")
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, np.ma.MaskedArray):
        raise VaekitError(f"{what} is a masked array; fill it, or drop those rows.")
    if not (hasattr(value, "__array__") or hasattr(value, "__array_interface__")):
        raise VaekitError(f"{what} is {described(value)}; expected a tensor or an array.")
    array = np.asarray(value)
    if array.dtype.kind == "O":
        raise VaekitError(f"{what} holds Python objects; expected numbers of one type and shape.")
    return array


def batches_of(what: str, loader: Iterable[Any]) -> Iterator[tuple[np.ndarray, Any]]:
    """Yield all batches: rows as `as_rows` returns them, of one shape and type, and y or None.

    Raises:
        VaekitError: for batches that are none, or differ.
    """
    like = None
    for number, batch in enumerate(loader):
        name = f"batch {number} of {what}"
        rows, y = _unpacked(name, batch)
        if not rows.size:
            continue
        array = as_rows(name, rows)
        like = array[:0].copy() if like is None else like
        _check_alike(name, array, like, "batch 0")
        yield array, y
    if like is None:
        raise VaekitError(f"{what} is empty: it gave no rows; expected batches of rows.")


def _unpacked(what: str, served: Any) -> tuple[np.ndarray, Any]:
    """Return x as an array, and y or None, of what a Dataset or a loader serves."""
    pair = served if isinstance(served, list | tuple) else (served,)
    if not 1 <= len(pair) <= 2 or isinstance(pair[0], list | tuple | dict):
        raise VaekitError(
            f"{what} is {described(served)}; expected x or (x, y), tensors or arrays."
        )
    return as_array(what, pair[0]), pair[1] if len(pair) == 2 else None


def _check_alike(what: str, array: np.ndarray, like: np.ndarray, before: str) -> None:
    if array.shape[1:] != like.shape[1:] or array.dtype != like.dtype:
        raise VaekitError(
            f"{what} has rows of shape {array.shape[1:]}, {array.dtype}; expected "
            f"{like.shape[1:]}, {like.dtype} as in {before}: bring all to one size and type."
        )


def labels_of(what: str, y: Any, rows: int) -> Tensor | None:
    """Return the labels of a batch; None without, and where y is factors.

    Raises:
        VaekitError: for what is no whole number from 0 on for each row.
    """
    if y is None:
        return None
    array = as_array(f"y of {what}", np.asarray(y) if isinstance(y, list | tuple) else y)
    return None if array.ndim == 2 else annotation(f"y of {what}", "labels", array, rows)


@dataclass(eq=False)
class FirstPass(Survey):
    """What one pass over rows that are served tells of them, whatever their order.

    Attributes:
        sizes: how many rows each batch has.
        like: no rows, of the shape and type of all.
        middle: a value between the smallest and the largest, where there is one.
        moments: mean and variance of each element, of what `as_rows` returned.
        labels: how many rows each has.
        digest: the sum of the rows' hashes.
    """

    sizes: list[int] = field(default_factory=list)
    like: np.ndarray = field(default_factory=lambda: np.empty(0))
    middle: float | None = None
    moments: Moments = field(default_factory=Moments)
    labels: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    digest: int = 0

    @property
    def rows(self) -> int:
        return sum(self.sizes)

    @property
    def witness(self) -> np.ndarray:
        """Rows of this shape and type with these extremes: what `reading` looks at in all rows."""
        values = sorted({self.low, self.high if self.middle is None else self.middle, self.high})
        column = np.array(values, self.like.dtype).reshape(-1, *[1] * (self.like.ndim - 1))
        return np.broadcast_to(column, (len(values), *self.like.shape[1:]))

    def add(self, array: np.ndarray, labels: Tensor | None = None) -> None:
        """Take some more rows into account, and their labels where they have some."""
        ends = [self.low, self.high] if self.sizes else []
        self.see(tensor_of(array))
        if self.middle is None:
            between = array[(array != self.low) & (array != self.high)][:1].tolist()
            self.middle = next((v for v in (*ends, *between) if self.low < v < self.high), None)
        self.sizes.append(len(array))
        self.like = array[:0].copy()
        self.moments.add(torch.from_numpy(array.astype(np.float64)))
        for row in np.ascontiguousarray(array):
            digest = hashlib.blake2b(row.tobytes(), digest_size=8).digest()
            self.digest = (self.digest + int.from_bytes(digest, "little")) % 2**64
        if labels is not None:
            counts = labels.bincount(minlength=len(self.labels))
            counts[: len(self.labels)] += self.labels
            self.labels = counts


@dataclass(frozen=True, eq=False)
class Stream:
    """Rows that are served: by a loader they are never split, shuffled or stored.

    Attributes:
        loader: what is run through once an epoch: batches of x, or of (x, y); or a map-style
            Dataset of such items.
        survey: what the first pass told.
        how: how its rows are read.
    """

    loader: Any
    survey: FirstPass
    how: Reading

    @property
    def rows(self) -> int:
        """How many rows the first pass gave."""
        return self.survey.rows

    @property
    def mean(self) -> Tensor:
        """Of each element, as canonical floats."""
        return self.moments[0].float()

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each element, as canonical floats, float64."""
        mean, deviation = self.survey.moments.mean, self.survey.moments.variance.sqrt()
        if (low := self.how.low, width := self.how.high - self.how.low) != (0, 1):
            mean, deviation = (mean - low) / width, deviation / width
        top = self.how.top or (255 if self.survey.like.dtype == np.uint8 else 1)
        return mean / top, deviation / top

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value as it is stored."""
        stored = self.how(self.survey.witness)
        return float(stored.min()), float(stored.max())

    @property
    def fingerprint(self) -> str:
        """Of the rows in any order: how many, their shape, their type, the sum of their hashes."""
        like = self.survey.like
        return f"{self.rows} {like.shape[1:]} {like.dtype} {self.survey.digest}"

    def row(self) -> Survey:
        """Return what is known of one stored row."""
        scale = 255 if self.how(self.survey.like).dtype == np.uint8 else 1
        return Survey(*self.bounds, sums=self.mean.double() * scale)


class Loader:
    """The batches of a loader that is not vaekit's, as `Batches` gives them.

    The order is the loader's. An epoch that is resumed in its middle runs through the batches
    before and drops them; they are those of before only where the loader's order is.

    Args:
        stream: the loader, and what its first pass told.
        split: whose values and context say what becomes of a row.
        classes: how many labels there are.
        device: where the batches are made.

    Attributes:
        rows: how many rows an epoch serves: a lone row after others is left out, on which batch
            norm cannot train.
        batch_size: of the largest batch.
    """

    def __init__(
        self, stream: Stream, split: Split, classes: int, device: str | torch.device = "cpu"
    ) -> None:
        self.batch_size = max(stream.survey.sizes)
        sizes = [size for size in stream.survey.sizes if size > 1 or self.batch_size == 1]
        self.rows, self._batches = sum(sizes), len(sizes)
        self.device = torch.device(device)
        self._stream, self._values = stream, split.values
        self._classes = None if split.context is None else classes

    def __len__(self) -> int:
        return self._batches

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Return the batches of epoch `number` from batch `start` on.

        Raises:
            VaekitError: if `start` lies outside the epoch, and where the loader gives fewer
                batches than before, or others.
        """
        check_start(start, len(self))
        if start:
            note(
                "an epoch of a loader goes on in its middle: the batches before are run through "
                "and dropped; resuming is exact only from the end of an epoch."
            )
        return self._serve(start)

    def _serve(self, start: int) -> Iterator[Batch]:
        stream, served = self._stream, 0
        for array, y in batches_of("data", stream.loader):
            if len(array) == 1 < self.batch_size:
                continue
            served += 1
            if served > start:
                _check_alike(f"batch {served} of data", array, stream.survey.like, "its first pass")
                rows = tensor_of(stream.how(array)).to(self.device)
                yield Batch(self._values(rows), self._context(y, len(array)))
            if served == len(self):
                return
        raise VaekitError(
            f"data gave {served} batches; expected {len(self)} as in its first pass: "
            "a loader must give as many each time."
        )

    def _context(self, y: Any, rows: int) -> Tensor | None:
        if self._classes is None:
            return None
        labels = labels_of("data", y, rows)
        if labels is None or int(labels.max()) >= self._classes:
            raise VaekitError(
                f"data gave a batch with {'no label' if labels is None else int(labels.max())}; "
                f"expected labels from 0 to {self._classes - 1} as in its first pass."
            )
        return one_hot(labels, self._classes).float().to(self.device)


class Items:
    """The items of a map-style Dataset, indexed as an array `(N, ...)` of stored rows is."""

    def __init__(self, stream: Stream) -> None:
        like = stream.how(stream.survey.like)
        self.shape, self.dtype, self.stream = (stream.rows, *like.shape[1:]), like.dtype, stream

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        rows = like = self.stream.survey.like
        if len(positions):
            rows, _ = read_items(self.stream.loader, positions.tolist(), like)
        return self.stream.how(rows)


def read_items(
    items: Any, positions: list[int], like: np.ndarray | None = None
) -> tuple[np.ndarray, list[Any]]:
    """Return the items of a Dataset at these positions as `as_rows` does, and their y.

    Raises:
        VaekitError: for an item that is neither x nor (x, y), and one of another shape or type
            than the first (than `like`).
    """
    stored, ys = np.empty(0), []
    for row, position in enumerate(positions):
        x, y = _unpacked(f"data[{position}]", items[position])
        if not row:
            stored = np.empty((len(positions), *x.shape), x.dtype)
        _check_alike(f"data[{position}]", x[None], stored, f"data[{positions[0]}]")
        stored[row] = x
        ys.append(y)
    rows = as_rows("data", stored)
    if like is not None:
        _check_alike("data", rows, like, "its first pass")
    return rows, ys
