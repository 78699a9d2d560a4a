"""A data set: splits of rows, what they are conditioned on, and what is known of them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit._torchutil import lazy
from vaekit.data._kinds import ColumnSpec, place_names
from vaekit.data._rows import Rows, Survey, chunks, every, is_random, pick, survey, take
from vaekit.data._transforms import DataSpec, Transform
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.data._batches import Batches
    from vaekit.data._loaders import Loader, Stream

AS_STORED = Transform()
ANNOTATIONS = ("labels", "factors", "groups", "context")


def generator(*key: int | str) -> torch.Generator:
    """Return a CPU generator for `key` (a seed and a purpose); the global one is not touched.

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
        ids: what each row is called where it comes from, `(N,)`: a file's name, a DataFrame's
            index; None stands for 0 to N - 1.
        covariates: text `(N, C)`, cells of the columns that a model is conditioned on; or None.
        cells: columns of a table as they were read, by name, where rows are to be written back.

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
    values: Transform = AS_STORED
    context: Tensor | None = None
    ids: np.ndarray | None = None
    covariates: np.ndarray | None = None
    cells: dict[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        if self.images.dtype not in (torch.uint8, torch.float32) or self.images.ndim < 2:
            raise VaekitError(
                f"images must be uint8 or float32, (N, C, H, W) or (N, D); "
                f"got {self.images.dtype}, {tuple(self.images.shape)}."
            )
        for name in (*ANNOTATIONS, "ids", "covariates"):
            part = getattr(self, name)
            if part is not None and name in ("labels", "groups") and part.dtype != torch.int64:
                raise VaekitError(f"{name} must be int64; got {part.dtype}: {name}.long().")
            if part is not None and len(part) != len(self.images):
                raise VaekitError(f"{len(self.images)} images but {len(part)} {name}.")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Split({len(self)} rows, {tuple(self.images.shape[1:])}, {self.images.dtype})"

    def take(self, index: Tensor) -> Split:
        """Return the rows at `index` (int64 or bool), in that order."""
        if index.dtype == torch.bool:
            index = index.nonzero().flatten()
        positions = index.cpu().numpy()
        parts: Any = {name: getattr(self, name) for name in ANNOTATIONS}
        parts = {name: part if part is None else part[index] for name, part in parts.items()}
        ids = positions if self.ids is None else self.ids[positions]
        if self.covariates is not None:
            parts["covariates"] = self.covariates[positions]
        if self.cells is not None:
            parts["cells"] = {name: column[positions] for name, column in self.cells.items()}
        return replace(self, images=take(self.images, index), ids=ids, **parts)

    def x(self, index: slice | Tensor | None = None) -> Tensor:
        """Return what a model sees of the rows at `index`, by default all: `(B, *shape)`."""
        if not isinstance(index, Tensor):
            index = torch.arange(len(self), device=self.images.device)[index or slice(None)]
        return self.values(pick(self.images, index))

    def example(self, n: int) -> Tensor:
        """Return n rows as a model sees them, at random but the same each time."""
        rng = generator("example", len(self))
        index = torch.randint(len(self), (n,), generator=rng)
        if n <= len(self):
            index = torch.randperm(len(self), generator=rng)[:n]
        rows = pick(self.images, index.to(self.images.device)).cpu()
        return self.values(rows, rng)

    def batch(self, index: slice | Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return `x` of the rows at `index`, and what a model is conditioned on."""
        context = self.context if self.context is None or index is None else self.context[index]
        return self.x(index), None if context is None else context.float()

    @lazy
    def survey(self) -> Survey:
        """What one look at all stored values tells; of random rows, what their first pass told."""
        known = getattr(self.images, "survey", None)  # of random rows
        if known is None:
            return survey(chunks(self.images))
        seen = pick(self.images, torch.arange(min(4, len(self))))  # each costs a read
        return replace(
            known,
            sums=known.sums * len(self),
            filled=int(seen.count_nonzero()) * len(self) // len(seen),
        )

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest stored value."""
        return self.survey.low, self.survey.high

    @lazy
    def x_bounds(self) -> tuple[float, float]:
        """What bounds the values that a model sees."""
        if self.values.loc is not None:
            seen = survey(map(self.values, chunks(self.images)))
            return seen.low, seen.high
        whole = self.images.dtype == torch.uint8  # where no look at the rows is needed
        stored = torch.tensor((0, 255) if whole else self.bounds, dtype=self.images.dtype)
        return self.values.ends(stored)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split, perhaps one for validation, and where they come from.

    Attributes:
        name: short; names the runs.
        kind: "binary" (uint8, 0 and 255 only), "gray", "color", "counts" (float32,
            whole numbers from 0 on), "table", or "mixed": a table whose columns are of several
            kinds, categories one-hot.
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
        levels, top, own: how stored values were read: see `DataSpec`.
        said: what was guessed or left out when they were read, for people; or empty.
        chosen: options of reading that were chosen unasked, as the size of images of several sizes.
        untested: whether no rows are held out for tests: validation rows stand for them in
            `test`, or where there are none training rows.
        gaps: whether NaN in rows stands for what is not seen.
        columns: of a mixed table, what each column is; or empty.
        covariates, library: what rows are conditioned on besides labels: see `DataSpec`.

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
    levels: tuple[float, float] | None = None
    top: float | None = None
    own: tuple[float, float] | None = None
    said: str = ""
    chosen: dict[str, Any] = field(default_factory=dict)
    untested: bool = False
    gaps: bool = False
    columns: tuple[ColumnSpec, ...] = ()
    covariates: dict[str, tuple[str, ...]] = field(default_factory=dict)
    library: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.untested:
            stand = self.train if self.validation is None else self.validation
            object.__setattr__(self, "test", stand)
        DataSpec(self.name, (), self.kind, 0)  # which knows the kinds
        if not len(self.train) or not len(self.test):
            raise VaekitError(
                f"data set '{self.name}' has {len(self.train)} training and {len(self.test)} test "
                f"rows; both must have one at least."
            )
        ours = self.train.images
        floats_alike = ours.ndim > 2  # images of either type are the same floats to a model
        for part in self.splits.values():
            rows = part.images
            if ours.shape[1:] != rows.shape[1:] or not (floats_alike or ours.dtype == rows.dtype):
                raise VaekitError(
                    f"data set '{self.name}': training rows are {tuple(ours.shape[1:])} "
                    f"{ours.dtype}, other rows {tuple(rows.shape[1:])} {rows.dtype}; they must be "
                    "the same."
                )
            if not is_random(rows):
                self._check_values(part)

    def _check_values(self, split: Split) -> None:
        images, called = split.images, f"data set '{self.name}'"
        whole = images.dtype == torch.uint8
        if self.kind == "binary" and not split.values.binarize:
            if not whole or not every(images, lambda part: (part == 0) | (part == 255)):
                raise VaekitError(f"{called} is binary; its images must be uint8, 0 or 255 only.")
        elif self.kind == "counts" and whole:
            raise VaekitError(f"{called} holds counts; store them as float32, not scaled.")
        elif self.kind == "counts" and not every(
            images, lambda part: part.isfinite() & (part >= 0) & (part == part.round())
        ):
            raise VaekitError(
                f"{called} holds counts, but not all are whole numbers from 0 on: "
                "take the raw counts, or the kind table."
            )

    @property
    def place_names(self) -> tuple[str, ...]:
        """The names of the places in a row: see `DataSpec.place_names`."""
        return place_names(self.columns) or self.column_names

    @property
    def splits(self) -> dict[str, Split]:
        """The splits there are, by name."""
        test = None if self.untested else self.test
        named = {"train": self.train, "validation": self.validation, "test": test}
        return {name: part for name, part in named.items() if part is not None}

    @property
    def rows(self) -> dict[str, int]:
        """How many rows each split has; of training rows that are streamed, all of them."""
        streamed = {} if self.stream is None else {"train": self.stream.rows}
        return {name: len(part) for name, part in self.splits.items()} | streamed

    def check_tested(self, run: str) -> None:
        """Refuse to measure test rows where none were held out.

        Raises:
            VaekitError: where none were; `run` names what was trained.
        """
        if self.untested:
            raise VaekitError(
                f"{run} has no test rows (`test=0`): measure `split=validation`, or other rows as "
                "`data=PATH`."
            )

    def batches(
        self, batch_size: int, *, seed: int = 0, device: str | torch.device = "cpu"
    ) -> Batches | Loader:
        """Return epochs of the training rows: shuffled by `seed`, or as their loader serves."""
        from vaekit.data._batches import Batches
        from vaekit.data._loaders import Loader

        if self.stream is None:
            return Batches(self.train, batch_size, seed=seed, device=device)
        return Loader(self.stream, self.train, self.classes, device)

    def spec(self, train: Split | None = None) -> DataSpec:
        """Return what a recipe may know, taken from `train` (by default the training split)."""
        stream = self.stream if train is None else None
        train = self.train if train is None else train
        train.x(slice(256))  # noise drawn before the weights: published seeds count on it
        scale = 255 if train.images.dtype == torch.uint8 else 1
        if self.columns:  # whose warps are not linear
            x = train.values(pick(train.images, torch.arange(len(train)))).nanmean(0)
        elif self.gaps:
            x = train.values.mean(_mean_seen(train.images).float())
        elif stream is None:
            x = train.values.mean((train.survey.sums.double() / (scale * len(train))).float())
        else:
            x = train.values.mean(stream.mean.float())
        return DataSpec(
            self.name,
            tuple(train.images.shape[1:]),
            self.kind,
            rows=len(train) if stream is None else stream.rows,
            classes=self.classes,
            mean=x,
            source=train.example,
            values=replace(train.values, augment=()),  # which is of a training alone
            context=() if train.context is None else tuple(train.context.shape[1:]),
            class_names=self.class_names,
            column_names=self.column_names,
            levels=self.levels,
            own=self.own,
            gaps=self.gaps,
            columns=self.columns,
            covariates=self.covariates,
            library=self.library,
            top=255.0 if self.kind == "table" and scale == 255 else self.top,
            whole=_whole(train) if self.column_names and stream is None else (),
        )


def _mean_seen(rows: Tensor | Rows) -> Tensor:
    """Return the mean of each value over the rows that have it; of all values where none has."""
    sums, counts = torch.zeros(()), torch.zeros(())
    for part in chunks(rows):
        sums = sums + part.nan_to_num().sum(0, dtype=torch.float64)
        counts = counts + (~part.isnan()).sum(0)
    return torch.where(counts > 0, sums / counts.clamp(min=1), sums.sum() / counts.sum())


def _whole(rows: Split) -> tuple[tuple[float, float] | None, ...]:
    """Return the ends of each column whose values are all whole numbers; None of others."""
    parts = [rows.values.units(part) for part in chunks(rows.images)]
    whole = torch.stack([((part == part.round()) | part.isnan()).all(0) for part in parts]).all(0)
    low = torch.stack([part.nan_to_num(torch.inf).amin(0) for part in parts]).amin(0)
    high = torch.stack([part.nan_to_num(-torch.inf).amax(0) for part in parts]).amax(0)
    ends = zip(low.tolist(), high.tolist(), whole, strict=True)
    return tuple((least, most) if each else None for least, most, each in ends)


def fingerprint(dataset: Dataset) -> str:
    """Return the sha256 (hex) of the images of all splits: shapes, types and bytes.

    The same look at all values gives the `survey` of each split. Of streamed rows it is the same in
    any order; of random ones, it depends on shapes and types alone.

    Example:
        >>> rows = Split(torch.zeros(4, 3))
        >>> fingerprint(Dataset("zeros", "table", rows, rows))[:8]
        'f2079602'
    """
    return _digests(dataset)[0]


def _digests(dataset: Dataset) -> tuple[str, str]:
    """Return the sha256 of all splits, and of the test rows alone."""
    whole, test = hashlib.sha256(), hashlib.sha256()
    for name, split in dataset.splits.items():
        images, digests = split.images, [whole, test] if name == "test" else [whole]
        stream = dataset.stream if images is dataset.train.images else None
        stored = f"{tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}"
        for digest in digests:
            digest.update((stream.fingerprint if stream else stored).encode())
        if not stream and not is_random(images):
            seen = split.__dict__["survey"] = Survey()
            for part in chunks(images):
                seen.see(part)
                for digest in digests:
                    digest.update(part.cpu().contiguous().numpy().data)
    return whole.hexdigest(), test.hexdigest()


def card(dataset: Dataset) -> dict[str, Any]:
    """Return what a data set is, as plain JSON values.

    Returns:
        name, kind, shape; rows per split; classes, their names (where they have some) and the rows
        of each class per split; factors: their names, and how many values each takes; columns;
        range, mean and density (the part that is not 0) of the values as they are stored (range and
        mean in the file's units, where they keep their own range), over all splits (mean and
        density over a sample of streamed rows); source, note, said; sha256, the `fingerprint`, and
        test_sha256, that of the test rows.

    Example:
        >>> from vaekit.data import load
        >>> digits = card(load("digits"))
        >>> digits["rows"], digits["range"], digits["class_counts"]["test"][:3]
        ({'train': 1497, 'test': 300}, [0.0, 255.0], [19, 27, 29])
    """
    splits, (sha256, test) = dataset.splits, _digests(dataset)
    seen = [part.survey for part in splits.values()]
    shape = dataset.train.images.shape[1:]
    total = sum(map(len, splits.values())) * math.prod(shape)
    ends = [part.bounds for part in splits.values()]
    mean = sum(float(part.sums.sum()) for part in seen) / (total - sum(p.gaps for p in seen))
    if dataset.train.values.offset is not None:  # in the units of the file
        whole = {n: pick(part.images, torch.arange(len(part))) for n, part in splits.items()}
        units = [splits[n].values.units(rows) for n, rows in whole.items()]
        ends = [(each.low, each.high) for each in map(survey, ([part] for part in units))]
        mean = float(torch.cat(units).nanmean())
    ends += [] if dataset.stream is None else [dataset.stream.bounds]
    if (units_of := dataset.own or dataset.levels) is not None:  # in the units of the file
        least, most = units_of
        ends = [(least + (most - least) * a, least + (most - least) * b) for a, b in ends]
        mean = least + (most - least) * mean
    return {
        "name": dataset.name,
        "kind": dataset.kind,
        "shape": list(shape),
        "stored": str(dataset.train.images.dtype).removeprefix("torch."),
        "rows": dataset.rows,
        "classes": dataset.classes,
        "class_names": list(dataset.class_names),
        "class_counts": _class_counts(dataset),
        "factors": _factors(dataset),
        "columns": list(dataset.column_names),
        "range": [min(low for low, _ in ends), max(high for _, high in ends)],
        "mean": mean,
        "density": sum(part.filled for part in seen) / total,
        "source": dataset.source,
        "note": dataset.note,
        "said": dataset.said,
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
    columns = torch.cat(parts).unbind(1)
    names = dataset.factor_names or [f"factor {i + 1}" for i in range(len(columns))]
    return {name: len(column.unique()) for name, column in zip(names, columns, strict=True)}
