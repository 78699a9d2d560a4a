"""A data set: splits of rows, what they are conditioned on, and what is known of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from vaekit.data.rows import Rows, chunks, pick, take
from vaekit.data.spec import DataSpec, Values, check_kind
from vaekit.errors import VaekitError
from vaekit.torchutil import lazy

if TYPE_CHECKING:
    from vaekit.data.batches import Batches
    from vaekit.data.loaders import Loader, Stream

AS_STORED = Values()


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
        images: uint8 `(N, C, H, W)` or `(N, D)`; float32 for data that are floats or counts;
            a tensor, or `Rows` where one tensor would be too much.
        labels: int64 `(N,)`, or None.
        factors: ground-truth factors `(N, F)`, or None.
        groups: int64 `(N,)`: rows of one group belong into one split; or None.
        values: what becomes of a row before a model sees it.
        context: `(N, *G)`: what a model is conditioned on; or None.

    Raises:
        VaekitError: for another type, or parts of unequal length.

    Example:
        >>> rows = Split(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), torch.arange(5))
        >>> rows.take(torch.tensor([3, 1])).labels
        tensor([3, 1])
        >>> rows.x(slice(2)).shape, rows.x().dtype
        (torch.Size([2, 1, 8, 8]), torch.float32)
    """

    images: Tensor | Rows
    labels: Tensor | None = None
    factors: Tensor | None = None
    groups: Tensor | None = None
    values: Values = AS_STORED
    context: Tensor | None = None

    def __post_init__(self) -> None:
        if self.images.dtype not in (torch.uint8, torch.float32) or self.images.ndim < 2:
            raise VaekitError(
                f"images must be uint8 or float32, (N, C, H, W) or (N, D); "
                f"got {self.images.dtype}, {tuple(self.images.shape)}."
            )
        for what in ("labels", "groups"):
            part = getattr(self, what)
            if part is not None and part.dtype != torch.int64:
                raise VaekitError(f"{what} must be int64; got {part.dtype}: {what}.long().")
        for what in ("labels", "factors", "groups", "context"):
            part = getattr(self, what)
            if part is not None and len(part) != len(self.images):
                raise VaekitError(f"{len(self.images)} images but {len(part)} {what}.")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Split({len(self)} rows, {tuple(self.images.shape[1:])}, {self.images.dtype})"

    def take(self, index: Tensor) -> Split:
        """The rows at `index` (int64 or bool), in that order."""
        if index.dtype == torch.bool:
            index = index.nonzero().flatten()
        taken = take(self.images, index)
        parts = (self.labels, self.factors, self.groups, self.context)
        labels, factors, groups, context = (None if part is None else part[index] for part in parts)
        return Split(taken, labels, factors, groups, self.values, context)

    def x(self, index: slice | Tensor | None = None) -> Tensor:
        """What a model sees of the rows at `index`, of all by default: floats `(B, *shape)`."""
        if isinstance(index, Tensor):
            return self.values(pick(self.images, index))
        every = torch.arange(len(self), device=self.images.device)
        return self.values(pick(self.images, every[index or slice(None)]))

    def example(self, n: int) -> Tensor:
        """n rows as a model sees them, drawn by a generator of their own: the same each time."""
        rng = generator("example", len(self))
        index = torch.randint(len(self), (n,), generator=rng)
        if n <= len(self):
            index = torch.randperm(len(self), generator=rng)[:n]
        rows = pick(self.images, index.to(self.images.device)).cpu()
        return self.values(rows, rng)

    def batch(self, index: slice | Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """`x` of the rows at `index`, and what a model is given besides."""
        context = self.context if self.context is None or index is None else self.context[index]
        return self.x(index), None if context is None else context.float()

    @lazy
    def survey(self) -> Survey:
        """What one look at all stored values tells; of random rows, what their first pass told."""
        stats = _stats(self.images)
        if stats is None:
            return _whole_survey(map(_survey, chunks(self.images)))
        seen = pick(self.images, torch.arange(min(4, len(self))))  # each costs a read
        scale = 255 if self.images.dtype == torch.uint8 else 1
        filled = int(seen.count_nonzero()) * len(self) // len(seen)
        return Survey(*stats.bounds, stats.mean.double() * scale * len(self), filled)

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest stored value; NaN where one is NaN."""
        return self.survey.low, self.survey.high

    @lazy
    def x_bounds(self) -> tuple[float, float]:
        """What bounds the values that a model sees; NaN where one is NaN."""
        if self.values.loc is not None:
            found = _whole_survey(_survey(self.values(part)) for part in chunks(self.images))
            return found.low, found.high
        whole = self.images.dtype == torch.uint8  # where no look at the rows is needed
        stored = torch.tensor((0, 255) if whole else self.bounds, dtype=self.images.dtype)
        return self.values.ends(stored)


def _stats(images: Tensor | Rows) -> Stream | None:
    """What is known of rows that are never the same again."""
    return getattr(images, "stats", None) if isinstance(images, Rows) and images.random else None


class Survey(NamedTuple):
    """What is known of stored values after one look at all of them.

    Attributes:
        low, high: the smallest and the largest; NaN where one is NaN.
        sums: over the rows, of the shape of one: whole numbers of uint8, else float64.
        filled: how many are not 0.
    """

    low: float
    high: float
    sums: Tensor
    filled: int


def _survey(part: Tensor) -> Survey:
    low, high = torch.aminmax(part)
    whole = part.dtype == torch.uint8  # int32 sums of a piece are exact, and 30 x faster
    sums = part.sum(0, dtype=torch.int32).long() if whole else part.sum(0, dtype=torch.float64)
    return Survey(float(low), float(high), sums, int(part.count_nonzero()))


def _whole_survey(parts: Iterable[Survey]) -> Survey:
    ends, total, filled = [], torch.zeros((), dtype=torch.int64), 0
    for part in parts:
        ends.append((part.low, part.high))
        total, filled = total + part.sums, filled + part.filled
    low, high = torch.tensor(ends, dtype=torch.float64).unbind(1)
    return Survey(float(low.min()), float(high.max()), total, filled)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split, perhaps one for validation, and where they come from.

    Attributes:
        name: short; names the runs.
        kind: "binary" (uint8, 0 and 255 only), "gray", "color", "counts" (float32,
            whole numbers from 0 on), "table".
        train, test: the rows; same shape and type.
        classes: how many labels there are; 0 without labels.
        source: a path, "embedded", "generated" or "given".
        note: origin and license in a line.
        validation: rows that the set itself holds out, or None.
        class_names: of the labels in their order; or empty.
        factor_names: of the factors' columns; or empty.
        column_names: of a table's columns; or empty.
        shuffled: whether `train` already is what `partition` takes under a limit, in its order.
        stream: the loader of the training rows, of which `train` is then a sample; or None.

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
    validation: Split | None = None
    class_names: tuple[str, ...] = ()
    factor_names: tuple[str, ...] = ()
    column_names: tuple[str, ...] = ()
    shuffled: bool = False
    stream: Stream | None = None

    def __post_init__(self) -> None:
        check_kind(self.kind)
        if not len(self.train) or not len(self.test):
            raise VaekitError(
                f"data set '{self.name}' has {len(self.train)} training and {len(self.test)} test "
                f"rows; both must have one at least."
            )
        for part in self.splits.values():
            _check_alike(self.name, self.train.images, part.images)
            _check_values(self.name, self.kind, part)

    @property
    def splits(self) -> dict[str, Split]:
        """The splits there are, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}

    @property
    def rows(self) -> dict[str, int]:
        """How many rows each split has; of training rows that are streamed, all of them."""
        streamed = {} if self.stream is None else {"train": self.stream.rows}
        return {name: len(part) for name, part in self.splits.items()} | streamed

    def batches(
        self, batch_size: int, *, seed: int = 0, device: str | torch.device = "cpu"
    ) -> Batches | Loader:
        """Epochs of the training rows: shuffled by `seed`, or as their loader serves them."""
        from vaekit.data.batches import Batches
        from vaekit.data.loaders import Loader

        if self.stream is None:
            return Batches(self.train, batch_size, seed=seed, device=device)
        return Loader(self.stream, self.train, self.classes, device)

    def spec(self, train: Split | None = None) -> DataSpec:
        """What a recipe may know, taken from `train` (by default the whole training split)."""
        stream = self.stream if train is None else None
        train = self.train if train is None else train
        train.x(slice(256))  # noise drawn before the weights: published seeds count on it
        return DataSpec(
            self.name,
            tuple(train.images.shape[1:]),
            self.kind,
            rows=len(train) if stream is None else stream.rows,
            classes=self.classes,
            mean=train.values.mean(_mean(train) if stream is None else stream.mean),
            source=train.example,
            values=train.values,
            context=() if train.context is None else tuple(train.context.shape[1:]),
            class_names=self.class_names,
            column_names=self.column_names,
        )


def _check_alike(name: str, ours: Tensor | Rows, theirs: Tensor | Rows) -> None:
    pictures = ours.ndim > 2  # of either type they are the same floats to a model
    if ours.shape[1:] != theirs.shape[1:] or not (pictures or ours.dtype == theirs.dtype):
        raise VaekitError(
            f"data set '{name}': training rows are {tuple(ours.shape[1:])} {ours.dtype}, "
            f"other rows {tuple(theirs.shape[1:])} {theirs.dtype}; they must be the same."
        )


def _check_values(name: str, kind: str, split: Split) -> None:
    images = split.images
    if _stats(images) is not None:
        return
    if kind == "binary" and not split.values.binarize and not _is_binary(images):
        raise VaekitError(f"data set '{name}' is binary; its images must be uint8, 0 or 255 only.")
    if kind == "counts" and images.dtype == torch.uint8:
        raise VaekitError(f"data set '{name}' holds counts; store them as float32, not scaled.")
    if kind == "counts" and not _whole(images):
        raise VaekitError(
            f"data set '{name}' holds counts, but not all are whole numbers from 0 on: "
            "take the raw counts, or the kind table."
        )


def _whole(images: Tensor | Rows) -> bool:
    parts = chunks(images)
    return all(bool((p.isfinite() & (p >= 0) & (p == p.round())).all()) for p in parts)


def _is_binary(images: Tensor | Rows) -> bool:
    whole = images.dtype == torch.uint8
    return whole and all(int((p + 1).max()) <= 1 for p in chunks(images))  # 255 + 1 wraps to 0


def _mean(split: Split) -> Tensor:
    """Of the canonical rows, summed in whole numbers or float64."""
    scale = 255 if split.images.dtype == torch.uint8 else 1
    return (split.survey.sums.double() / (scale * len(split))).float()


def fingerprint(dataset: Dataset) -> str:
    """The sha256 (hex) of the images of all splits: shapes, types and bytes.

    The same look at all values gives the `survey` of each split. Of streamed rows it is the same in
    any order; of random ones, shapes and types are all it tells.

    Example:
        >>> rows = Split(torch.zeros(4, 3))
        >>> fingerprint(Dataset("zeros", "table", rows, rows))[:8]
        'f2079602'
    """
    return _digests(dataset)[0]


def _hashed(images: Tensor | Rows, digests: Sequence[Any]) -> Iterator[Survey]:
    """The survey of each piece, once the digests have seen it."""
    for part in chunks(images):
        for digest in digests:
            digest.update(part.cpu().contiguous().numpy().data)
        yield _survey(part)


def _digests(dataset: Dataset) -> tuple[str, str]:
    """The sha256 of all splits, and of the test rows alone."""
    every, test = hashlib.sha256(), hashlib.sha256()
    for name, split in dataset.splits.items():
        images, digests = split.images, [every, test] if name == "test" else [every]
        stream = dataset.stream if images is dataset.train.images else None
        told = stream.fingerprint if stream else f"{tuple(images.shape)} {_TYPES[images.dtype]}"
        for digest in digests:
            digest.update(told.encode())
        if not stream and _stats(images) is None:
            split.__dict__["survey"] = _whole_survey(_hashed(images, digests))
    return every.hexdigest(), test.hexdigest()


_TYPES = {torch.uint8: "uint8", torch.float32: "float32"}


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """1 at the label, 0 elsewhere: int64 `(N,)` to uint8 `(N, classes)`.

    Example:
        >>> one_hot(torch.tensor([2, 0]), 3).tolist()
        [[0, 0, 1], [1, 0, 0]]
    """
    made = torch.zeros(len(labels), classes, dtype=torch.uint8)
    return made.scatter_(1, labels[:, None], 1)


def conditioned(split: Split, data: Dataset, context: str) -> Split:
    """The split with what `context` names: "none", or "label".

    Raises:
        VaekitError: where the data have no labels.
    """
    if context == "none":
        return replace(split, context=None)
    if split.labels is None or data.classes < 2:
        raise VaekitError(
            f"context label needs labels of two classes or more; {data.name} has none: leave it, "
            "or name the column of a .csv that holds them, as label class."
        )
    return replace(split, context=one_hot(split.labels, data.classes))


def label_of(label: int | str, spec: DataSpec, names: Sequence[str]) -> int:
    """The number of a label that a model is conditioned on: itself, or a class's name.

    Raises:
        VaekitError: where the model is not conditional, or there is no such class.

    Example:
        >>> spec = DataSpec("t", (3,), "table", rows=20, classes=2, context=(2,))
        >>> label_of(1, spec, ["dog", "cat"]), label_of("cat", spec, ["dog", "cat"])
        (1, 1)
    """
    if not spec.context:
        raise VaekitError(
            f"got the label {label}; this run is not conditioned on labels: leave it, or train "
            "one that is, as `vaekit train cvae`."
        )
    text = str(label)
    if text in names:
        return list(names).index(text)
    if text.isdecimal() and int(text) < spec.classes:
        return int(text)
    numbered = f"0 to {spec.classes - 1}"
    shown = "" if names[0] == "0" else f", or {', '.join(names[:5])}{', ...' * (len(names) > 5)}"
    raise VaekitError(f"got the label {label}; the labels of {spec.name} are {numbered}{shown}.")


def card(dataset: Dataset) -> dict[str, Any]:
    """What a data set is, as plain JSON values.

    Returns:
        name, kind, shape; rows per split; classes, their names (where they have some) and the rows
        of each class per split; factors: their names, and how many values each takes; columns;
        range, mean and density (the part that is not 0) of the values as they are stored, over all
        splits (mean and density over a sample of streamed rows); source, note; sha256, the
        `fingerprint`, and test_sha256, that of the test rows.

    Example:
        >>> from vaekit.data import load
        >>> made = card(load("digits"))
        >>> made["rows"], made["range"], made["class_counts"]["test"][:3]
        ({'train': 1497, 'test': 300}, [0.0, 255.0], [19, 27, 29])
    """
    splits, (sha256, test) = dataset.splits, _digests(dataset)
    seen = [part.survey for part in splits.values()]
    many = sum(map(len, splits.values())) * math.prod(dataset.train.images.shape[1:])
    ends = [(one.low, one.high) for one in seen]
    low, high = zip(*ends, *([dataset.stream.bounds] if dataset.stream else []), strict=True)
    return {
        "name": dataset.name,
        "kind": dataset.kind,
        "shape": list(dataset.train.images.shape[1:]),
        "stored": str(dataset.train.images.dtype).removeprefix("torch."),
        "rows": dataset.rows,
        "classes": dataset.classes,
        "class_names": list(dataset.class_names),
        "class_counts": _class_counts(dataset),
        "factors": _factors(dataset),
        "columns": list(dataset.column_names),
        "range": [min(low), max(high)],
        "mean": sum(float(one.sums.sum()) for one in seen) / many,
        "density": sum(one.filled for one in seen) / many,
        "source": dataset.source,
        "note": dataset.note,
        "sha256": sha256,
        "test_sha256": test,
    }


def _class_counts(dataset: Dataset) -> dict[str, list[int]]:
    counts = {
        name: part.labels.bincount(minlength=dataset.classes)
        for name, part in dataset.splits.items()
        if part.labels is not None
    }
    if dataset.stream is not None and "train" in counts:
        counts["train"] = dataset.stream.survey.labels
    return {name: count.tolist() for name, count in counts.items()}


def _factors(dataset: Dataset) -> dict[str, int]:
    parts = [part.factors for part in dataset.splits.values() if part.factors is not None]
    if not parts:
        return {}
    values = torch.cat(parts)
    numbered = [f"factor {number}" for number in range(1, values.shape[1] + 1)]
    names = dataset.factor_names or numbered
    return {name: len(values[:, i].unique()) for i, name in enumerate(names)}
