"""What becomes of stored rows before a model sees them, and what a recipe may know of the data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from vaekit.data._augment import augmented
from vaekit.data._kinds import ColumnSpec, StoredWarp, Warp, place_names, written
from vaekit.errors import VaekitError, choose, first_wrong, unknown

T = TypeVar("T")
KINDS = ("binary", "gray", "color", "counts", "table", "mixed")


def canonical(images: Tensor) -> Tensor:
    """Return uint8 as float32 in [0, 1], and floats unchanged.

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


@dataclass(frozen=True, eq=False)
class Transform:
    """What becomes of a stored row before a model sees it.

    Attributes:
        low, high: where 0 and 1 go.
        binarize: each value v in [0, 1] becomes a draw of Bernoulli(v), anew each time.
        augment: images are changed at random, anew each time: see `augmented`.
        dequantize: each level k of 0..255 becomes (k + u) / 256, u uniform on [0, 1), anew each
            time (Theis et al., arXiv 1511.01844, sec. 3.1).
        loc, scale: of tables: x = (row - loc) / scale; without a scale, loc is what gaps become.
        offset: float64, what was taken from the columns of a table before they were stored, so that
            float32 holds them.
        warps: of a mixed table, what comes before loc and scale: logarithms, and quantiles.

    Example:
        >>> transform = Transform(low=-1.0)
        >>> x = transform(torch.tensor([[0, 255]], dtype=torch.uint8))
        >>> x, transform.inverse(x)
        (tensor([[-1.,  1.]]), tensor([[0., 1.]]))
    """

    low: float = 0.0
    high: float = 1.0
    binarize: bool = False
    dequantize: bool = False
    loc: Tensor | None = None
    scale: Tensor | None = None
    offset: Tensor | None = None
    augment: tuple[str, ...] = ()
    warps: tuple[Warp, ...] = ()

    def __call__(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return canonical x, float32, for stored rows; random parts come from `generator`."""
        return self._placed(self.draw(rows, generator))

    def draw(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the random part alone: values in [0, 1] for images."""
        rows = augmented(rows, self.augment, generator) if self.augment else rows
        if not (self.binarize or self.dequantize):
            return canonical(rows)
        u = torch.rand(rows.shape, generator=generator, device=rows.device)
        if self.binarize:
            return (u < canonical(rows)).float()
        return ((rows if rows.dtype == torch.uint8 else 255 * rows) + u) / 256

    def mean(self, mean: Tensor) -> Tensor:
        """Return the mean of x, where the mean of the canonical stored rows is `mean`."""
        return self._placed((255 * mean + 0.5) / 256 if self.dequantize else mean)

    def ends(self, stored: Tensor) -> tuple[float, float]:
        """Return the smallest and the largest x, for the smallest and the largest stored value."""
        low, high = self._placed(canonical(stored)).tolist()
        return low, high

    def _placed(self, x: Tensor) -> Tensor:
        x = self._bent(x)
        if self.loc is not None and self.scale is not None:
            return (x - self.loc.to(x.device)) / self.scale.to(x.device)
        if (self.low, self.high) != (0.0, 1.0):
            return self.low + (self.high - self.low) * x
        return x

    def _bent(self, x: Tensor, *, back: bool = False) -> Tensor:
        """Return rows `(N, D)` with each warp at its column; with `back` its inverse."""
        if not self.warps:
            return x
        x = x.clone()
        for warp in self.warps:
            values = x[..., warp.place]
            x[..., warp.place] = warp.inverse(values) if back else warp(values)
        return x

    def inverse(self, x: Tensor) -> Tensor:
        """Return x in the units of the data: images in [0, 1], columns of tables as they were."""
        if self.loc is not None and self.scale is not None:
            x = x * self.scale.to(x.device) + self.loc.to(x.device)
        elif (self.low, self.high) != (0.0, 1.0):
            x = (x - self.low) / (self.high - self.low)
        return self.units(self._bent(x, back=True))

    def units(self, rows: Tensor) -> Tensor:
        """Return stored rows in the units of their file: float64 where an offset was taken.

        Example:
            >>> Transform(offset=torch.tensor([1.7e9], dtype=torch.float64)).units(torch.ones(1, 1))
            tensor([[1.7000e+09]], dtype=torch.float64)
        """
        return rows if self.offset is None else rows.double() + self.offset.to(rows.device)

    @property
    def bits(self) -> float:
        """What a density of x in bits per element adds for the width of a level: 8 on [0, 1)."""
        return math.log2(256 / (self.high - self.low))

    def to_json(self) -> dict[str, Any]:
        """Return what differs from the defaults, as plain values.

        Example:
            >>> Transform(dequantize=True).to_json()
            {'dequantize': True}
        """
        plain = {n: v.tolist() if isinstance(v, Tensor) else v for n, v in vars(self).items()}
        plain["warps"] = [warp.to_json() for warp in self.warps] or ()
        return {n: v for n, v in plain.items() if v != getattr(Transform, n)}

    @classmethod
    def from_json(cls, record: Any) -> Transform:
        """Return what `to_json` wrote.

        Raises:
            VaekitError: for what is no such record.
        """
        types = {"loc": torch.float32, "scale": torch.float32, "offset": torch.float64}
        known: dict[str, Any] = {
            n: v for n, v in vars(_read(_Stored, record)).items() if v is not None
        }
        tensors: dict[str, Any] = {
            n: torch.tensor(known[n], dtype=t) for n, t in types.items() if n in known
        }
        tensors["warps"] = tuple(warp.made() for warp in known.get("warps", ()))
        return cls(**known | tensors)


@dataclass
class _Stored:
    """A `Transform` as JSON."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False}

    low: float = 0.0
    high: float = 1.0
    binarize: bool = False
    dequantize: bool = False
    loc: list[float] | None = None
    scale: list[float] | None = None
    offset: list[float] | None = None
    warps: list[StoredWarp] | None = None


def _one_hot(numbers: Tensor, of: int) -> Tensor:
    return torch.nn.functional.one_hot(numbers, of).float()


def _read(kind: type[T], record: Any) -> T:
    """Return a record of JSON as what it has to be."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(json.dumps(record), strict=True)
    except ValidationError as error:
        raise VaekitError(f"a data record does not fit: it {first_wrong(error)}.") from None


@dataclass(frozen=True, eq=False)
class DataSpec:
    """The shape and the summary of a training set: sizes for the nets, means for the biases.

    Attributes:
        name: the data set's name.
        shape: of one row: `(C, H, W)` for images, `(D,)` for tables.
        kind: "binary", "gray", "color", "counts" or "table".
        rows: how many training rows there are.
        classes: how many labels there are; 0 without labels.
        mean: the training mean in canonical floats, of shape `shape`.
        source: n training rows as a model sees them; None where a run is opened.
        values: what becomes of a stored row before a model sees it.
        context: the shape of what a model is conditioned on; () where it is not.
        class_names: of the labels in their order; or empty.
        column_names: of a table's columns; or empty.
        levels: the values of images that are stored as 0 and 1, as (-1, 1); None where these are.
        top: what became 255 in binary rows; None where nothing did.
        own: the range of floats of images that a model sees as they are; stored, it is [0, 1].
        whole: of a table's columns, each the least and the largest of its training values where all
            are whole numbers, else None; or empty.
        gaps: whether NaN in rows stands for what is not seen.
        columns: of a mixed table, what each column is; or empty.
        covariates: the values, in their order, of each column that a model is conditioned on.
        library: quantiles of the totals of rows, the least first, of a model that is given them.

    A context `(G,)` holds the label, one-hot, where there is more of it than for the others; then
    each covariate, one-hot; then the total.

    Raises:
        VaekitError: for an unknown kind.

    Example:
        >>> DataSpec("digits", (1, 8, 8), "gray", rows=1497, classes=10)
        DataSpec(name='digits', shape=(1, 8, 8), kind='gray', rows=1497, classes=10)
    """

    # For `from_json`.
    __pydantic_config__: ClassVar = {"arbitrary_types_allowed": True, "extra": "forbid"}

    name: str
    shape: tuple[int, ...]
    kind: str
    rows: int
    classes: int = 0
    mean: Tensor | None = field(default=None, repr=False)
    source: Callable[[int], Tensor] | None = field(default=None, repr=False)
    values: Transform = field(default_factory=Transform, repr=False)
    context: tuple[int, ...] = field(default=(), repr=False)
    class_names: tuple[str, ...] = field(default=(), repr=False)
    column_names: tuple[str, ...] = field(default=(), repr=False)
    levels: tuple[float, float] | None = field(default=None, repr=False)
    top: float | None = field(default=None, repr=False)
    own: tuple[float, float] | None = field(default=None, repr=False)
    whole: tuple[tuple[float, float] | None, ...] = field(default=(), repr=False)
    gaps: bool = field(default=False, repr=False)
    columns: tuple[ColumnSpec, ...] = field(default=(), repr=False)
    covariates: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    library: tuple[float, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("kind of data", self.kind, KINDS)

    def example(self, n: int) -> Tensor:
        """Return n training rows, the same ones each time, canonical floats `(n, *shape)`.

        There are such rows while a model is built to be trained; for one that is opened, whose
        values come from its weights, they are zeros.

        Example:
            >>> DataSpec("t", (3,), "table", rows=20).example(2)
            tensor([[0., 0., 0.],
                    [0., 0., 0.]])
        """
        return torch.zeros(n, *self.shape) if self.source is None else self.source(n)

    def columns_of(self, x: Tensor, *, drawn: bool = True) -> dict[str, np.ndarray]:
        """Return rows of a table `(N, D)`, as a model sees them, by column in the file's units.

        With `drawn`, columns of whole numbers are whole again, and within those of the training;
        means of rows, as E[x|z], are no such numbers.

        Example:
            >>> spec = DataSpec("t", (2,), "table", 20, whole=((0, 1), None))
            >>> spec.columns_of(torch.full((1, 2), 1.5))
            {'1': array([1]), '2': array([1.5])}
        """
        units = self.values.inverse(x.cpu().double()) * (255 if self.top == 255 else 1)
        if self.columns:
            return self.written(units, drawn=drawn)
        names = self.column_names or map(str, range(1, 1 + self.shape[0]))
        columns = dict(zip(names, units.numpy().T, strict=True))
        if not drawn:
            return columns
        for (name, column), ends in zip(columns.items(), self.whole or repeat(None), strict=False):
            if self.kind in ("counts", "binary"):
                columns[name] = column.round().astype(np.int64)
            elif ends is not None:
                columns[name] = column.round().clip(*ends).astype(np.int64)
        return columns

    def written(self, units: Tensor, *, drawn: bool = True) -> dict[str, np.ndarray]:
        """Return rows of a mixed table `(N, D)`, in units, by column as the file has them."""
        offset = torch.zeros(self.shape) if self.values.offset is None else self.values.offset
        bounds = {
            warp.place: (
                warp.ends[0] + offset[warp.place].item(),
                warp.ends[1] + offset[warp.place].item(),
            )
            for warp in self.values.warps
        }
        return written(self.columns, units.numpy(), self.whole, bounds, drawn=drawn)

    @property
    def place_names(self) -> tuple[str, ...]:
        """The names of the places in a row of a table: of a category its values, as sort=a."""
        return place_names(self.columns) or self.column_names

    @property
    def net_context(self) -> tuple[int, ...]:
        """The shape of what the networks get of a context: all but the total."""
        size = sum(self.context) - 1
        return self.context if not self.library else (size,) if size else ()

    @property
    def labeled(self) -> bool:
        """Whether a model is conditioned on labels."""
        others = sum(map(len, self.covariates.values())) + bool(self.library)
        return sum(self.context) > others

    @property
    def given(self) -> str:
        """What a model is conditioned on, in words; empty where it is on nothing.

        Example:
            >>> spec = DataSpec("t", (3,), "counts", 20, context=(5,), library=(1.0, 9.0),
            ...     covariates={"plate": ("a", "b")})
            >>> spec.given, spec.labeled, spec.net_context
            ('the label, plate and the library size', True, (4,))
        """
        names = ["the label"] * self.labeled + [*self.covariates]
        names += ["the library size"] * bool(self.library)
        return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))

    def contexts(
        self,
        n: int,
        label: int | None = None,
        chosen: Mapping[str, str] = {},
        *,
        drawn: bool = False,
    ) -> Tensor | None:
        """Return what n rows that are made are conditioned on, `(n, *context)`; None for nothing.

        Args:
            n: how many.
            label: of all; by default the classes in their order, in equal shares.
            chosen: the values of covariates; of others each value in turn.
            drawn: whether totals are drawn as those of the training; else all are their median.

        Raises:
            VaekitError: for a covariate or a value that there is not.

        Example:
            >>> spec = DataSpec("t", (3,), "table", 20, context=(2,), covariates={"p": ("a", "b")})
            >>> spec.contexts(3), spec.contexts(1, chosen={"p": "b"})
            (tensor([[1., 0.],
                    [0., 1.],
                    [1., 0.]]), tensor([[0., 1.]]))
        """
        for name in chosen:
            choose("covariate", name, self.covariates)
        rows, parts = torch.arange(n), []
        if self.labeled:
            parts.append(_one_hot(rows * self.classes // max(n, 1), self.classes))
            if label is not None:
                parts = [_one_hot(torch.full((n,), label), self.classes)]
        turn = 1
        for name, values in self.covariates.items():
            at = rows // turn % len(values)
            if name in chosen:
                places = {value: place for place, value in enumerate(values)}
                at = torch.full((n,), choose(name, str(chosen[name]), places))
            parts.append(_one_hot(at, len(values)))
            turn *= len(values)
        if self.library:
            at = torch.rand(n) if drawn else torch.full((n,), 0.5)
            at = at * (len(self.library) - 1)
            known, low = torch.tensor(self.library), at.long()
            between = torch.lerp(known[low], known[(low + 1).clamp(max=len(known) - 1)], at - low)
            parts.append(between.round()[:, None])
        return torch.cat(parts, 1) if parts else None

    @property
    def ends(self) -> tuple[float, float] | None:
        """The range of the data's values, where it is not [0, 1]."""
        return self.own or self.levels

    @property
    def is_table(self) -> bool:
        """Whether rows are rows of a table `(D,)`: all but images."""
        return len(self.shape) == 1

    @property
    def unit(self) -> str:
        """What a log-likelihood of these data is given in.

        Example:
            >>> DataSpec("t", (3,), "table", rows=20).unit
            'nats per row'
        """
        return "nats per row" if self.is_table else "nats per image"

    def to_json(self) -> dict[str, Any]:
        """Return the record without its tensors, as plain JSON values.

        Example:
            >>> DataSpec("t", (3,), "table", rows=20).to_json()
            {'name': 't', 'shape': [3], 'kind': 'table', 'rows': 20, 'classes': 0, 'values': {}}
        """
        names = ("name", "shape", "kind", "rows", "classes")
        lists = {n: list(getattr(self, n)) for n in ("context", "class_names", "column_names")}
        plain = {name: getattr(self, name) for name in names} | {"shape": list(self.shape)}
        plain |= {
            n: getattr(self, n)
            for n in ("levels", "top", "own", "whole", "gaps", "covariates", "library")
            if getattr(self, n)
        }
        if self.columns:
            plain["columns"] = [column.to_json() for column in self.columns]
        return plain | {"values": self.values.to_json()} | {n: v for n, v in lists.items() if v}

    @classmethod
    def from_json(cls, record: Any) -> DataSpec:
        """Return the record that `to_json` wrote; `mean` and `source` are None.

        Raises:
            VaekitError: for a key that is missing, unknown, or holds what does not fit.

        Example:
            >>> DataSpec.from_json(DataSpec("t", (3,), "table", rows=20).to_json()).shape
            (3,)
            >>> DataSpec.from_json({"name": "t", "shape": [3], "kind": "table"})
            Traceback (most recent call last):
            vaekit.errors.VaekitError: a data record does not fit: it has no rows.
        """
        values = record.get("values", {}) if isinstance(record, dict) else {}
        plain = {**record, "values": {}} if isinstance(record, dict) else record
        if isinstance(plain, dict) and plain.pop("mapped", False) is True:  # of an earlier version
            plain["levels"] = (-1.0, 1.0)
        spec = replace(_read(cls, plain), values=Transform.from_json(values))
        if bool(spec.columns) != (spec.kind == "mixed"):
            raise VaekitError(
                "a data record does not fit: columns have kinds in mixed tables alone."
            )
        bent = {warp.place: warp for warp in spec.values.warps}
        if bent and (spec.values.scale is None or not {*bent} <= {*range(math.prod(spec.shape))}):
            raise VaekitError("a data record does not fit: it bends a column that is not there.")
        for name, found, expected in spec._lengths():
            if found not in (0, expected):
                why = f"it holds {found} {name}; expected {expected}"
                raise VaekitError(f"a data record does not fit: {why}.")
        return spec

    def _lengths(self) -> Iterator[tuple[str, int, int]]:
        """Yield what there is one of for each class, or for each column: how many, and of those."""
        yield "class_names", len(self.class_names), self.classes
        if self.is_table:
            values = {n: getattr(self.values, n) for n in ("loc", "scale", "offset")}
            named = "places" if self.columns else "column_names"
            lists = {named: self.place_names, "whole": self.whole, **values}
            known = {name: v for name, v in lists.items() if v is not None}
            yield from ((name, len(each), self.shape[0]) for name, each in known.items())
        if self.columns:
            yield "column_names", len(self.column_names), len(self.columns)
