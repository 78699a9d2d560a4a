"""What becomes of stored rows before a model sees them, and what a recipe may know of the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vaekit.errors import VaekitError, unknown


def canonical(images: Tensor) -> Tensor:
    """uint8 becomes float32 in [0, 1], floats pass unchanged.

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
class Values:
    """What becomes of a stored row before a model sees it.

    Attributes:
        low, high: where 0 and 1 go.
        binarize: each value v in [0, 1] becomes a draw of Bernoulli(v), anew each time.
        dequantize: each level k of 0..255 becomes (k + u) / 256, u uniform on [0, 1), anew each
            time (Theis et al., arXiv 1511.01844, sec. 3.1).
        loc, scale: of tables: x = (row - loc) / scale.

    Example:
        >>> values = Values(low=-1.0)
        >>> x = values(torch.tensor([[0, 255]], dtype=torch.uint8))
        >>> x, values.inverse(x)
        (tensor([[-1.,  1.]]), tensor([[0., 1.]]))
    """

    low: float = 0.0
    high: float = 1.0
    binarize: bool = False
    dequantize: bool = False
    loc: Tensor | None = None
    scale: Tensor | None = None

    @property
    def random(self) -> bool:
        """Whether the same row gives another x each time."""
        return self.binarize or self.dequantize

    def __call__(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Canonical x, float32, for stored rows; random parts from `generator`."""
        return self._place(self.draw(rows, generator))

    def draw(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The random part alone: values in [0, 1] for images."""
        if not self.random:
            return canonical(rows)
        u = torch.rand(rows.shape, generator=generator, device=rows.device)
        if self.binarize:
            return (u < canonical(rows)).float()
        return (rows + u) / 256

    def mean(self, mean: Tensor) -> Tensor:
        """The mean of x, where the mean of the canonical stored rows is `mean`."""
        return self._place((255 * mean + 0.5) / 256 if self.dequantize else mean)

    def ends(self, stored: Tensor) -> tuple[float, float]:
        """The smallest and the largest x, for the smallest and the largest stored value."""
        low, high = self._place(canonical(stored)).tolist()
        return low, high

    def _place(self, x: Tensor) -> Tensor:
        if self.loc is not None and self.scale is not None:
            return (x - self.loc.to(x.device)) / self.scale.to(x.device)
        if (self.low, self.high) != (0.0, 1.0):
            return self.low + (self.high - self.low) * x
        return x

    def inverse(self, x: Tensor) -> Tensor:
        """x in the units of the data: images in [0, 1], columns of tables as they were."""
        if self.loc is not None and self.scale is not None:
            return x * self.scale.to(x.device) + self.loc.to(x.device)
        if (self.low, self.high) != (0.0, 1.0):
            return (x - self.low) / (self.high - self.low)
        return x

    @property
    def bits(self) -> float:
        """What a density of x in bits per element adds for the width of a level: 8 on [0, 1)."""
        return math.log2(256 / (self.high - self.low))

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults, as plain values.

        Example:
            >>> Values(dequantize=True).to_json()
            {'dequantize': True}
        """
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain = {n: v.tolist() if isinstance(v, Tensor) else v for n, v in record.items()}
        return {n: v for n, v in plain.items() if v != getattr(Values, n)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Values:
        """What `to_json` wrote.

        Raises:
            VaekitError: for a key that is unknown.
        """
        unknown = [name for name in record if name not in cls.__dataclass_fields__]
        if unknown:
            raise VaekitError(f"a record of values has no '{unknown[0]}'.")
        tensors = {n: torch.tensor(record[n]) for n in ("loc", "scale") if n in record}
        return cls(**{**record, **tensors})


KINDS = ("binary", "gray", "color", "counts", "table")


def check_kind(kind: str) -> None:
    """Refuses a kind of data that does not exist.

    Raises:
        VaekitError: if `kind` is not one of `KINDS`.
    """
    if kind not in KINDS:
        raise unknown("kind of data", kind, KINDS)


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

    Raises:
        VaekitError: for an unknown kind.

    Example:
        >>> DataSpec("digits", (1, 8, 8), "gray", rows=1497, classes=10)
        DataSpec(name='digits', shape=(1, 8, 8), kind='gray', rows=1497, classes=10)
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    rows: int
    classes: int = 0
    mean: Tensor | None = field(default=None, repr=False)
    source: Callable[[int], Tensor] | None = field(default=None, repr=False)
    values: Values = field(default_factory=Values, repr=False)
    context: tuple[int, ...] = field(default=(), repr=False)
    class_names: tuple[str, ...] = field(default=(), repr=False)
    column_names: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        check_kind(self.kind)

    def example(self, n: int) -> Tensor:
        """n training rows, the same ones each time, canonical floats `(n, *shape)`.

        There are such rows while a model is built to be trained; for one that is opened, whose
        values come from its weights, they are zeros.

        Example:
            >>> DataSpec("t", (3,), "table", rows=20).example(2)
            tensor([[0., 0., 0.],
                    [0., 0., 0.]])
        """
        return torch.zeros(n, *self.shape) if self.source is None else self.source(n)

    @property
    def unit(self) -> str:
        """What a log-likelihood of these data is given in.

        Example:
            >>> DataSpec("t", (3,), "table", rows=20).unit
            'nats per row'
        """
        return "nats per image" if len(self.shape) == 3 else "nats per row"

    def to_json(self) -> dict[str, Any]:
        """The record without its tensors, as plain JSON values.

        Example:
            >>> DataSpec("t", (3,), "table", rows=20).to_json()
            {'name': 't', 'shape': [3], 'kind': 'table', 'rows': 20, 'classes': 0, 'values': {}}
        """
        names = ("name", "shape", "kind", "rows", "classes")
        plain = {name: getattr(self, name) for name in names}
        lists = {name: list(getattr(self, name)) for name in LISTS if getattr(self, name)}
        return {**plain, "values": self.values.to_json(), **lists}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> DataSpec:
        """The record that `to_json` wrote; `mean` and `source` are None.

        Raises:
            VaekitError: for a key that is missing, unknown, or holds the wrong type.

        Example:
            >>> DataSpec.from_json(DataSpec("t", (3,), "table", rows=20).to_json()).shape
            (3,)
        """
        missing = [key for key in ("name", "shape", "kind", "rows") if key not in record]
        extra = [key for key in record if key not in _TYPES]
        if missing or extra:
            raise VaekitError(
                "a data record needs name, shape, kind, rows; may have classes, values, context, "
                "class_names, column_names; "
                f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(extra) or 'none'}."
            )
        for key, value in record.items():
            _check_type(key, value)
        values = Values.from_json(record.get("values", {}))
        lists = {name: tuple(record.get(name, ())) for name in LISTS}
        return cls(**{**record, **lists, "values": values})


LISTS = ("shape", "context", "class_names", "column_names")
_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(("name", "kind"), (str, "text")),
    **dict.fromkeys(("shape", "context"), ((list, tuple), "a list of integers")),
    **dict.fromkeys(("class_names", "column_names"), ((list, tuple), "a list of text")),
    **dict.fromkeys(("rows", "classes"), (int, "an integer")),
    "values": (dict, "a record"),
}


def _check_type(key: str, value: Any) -> None:
    kind, wanted = _TYPES[key]
    inner = {"shape": int, "context": int, "class_names": str, "column_names": str}.get(key, object)
    listed = value if isinstance(value, list | tuple) else ()
    if not isinstance(value, kind) or not all(isinstance(one, inner) for one in listed):
        raise VaekitError(f"a data record's '{key}' must be {wanted}; got {value!r}.")
