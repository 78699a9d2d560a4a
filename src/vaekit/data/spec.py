"""What a recipe may know of the data before it builds a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vaekit.data.values import Values
from vaekit.errors import VaekitError, unknown

KINDS = ("binary", "grey", "colour", "counts", "table")


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
        kind: "binary", "grey", "colour", "counts" or "table".
        rows: how many training rows there are.
        classes: how many labels there are; 0 without labels.
        mean: the training mean in canonical floats, of shape `shape`.
        source: n training rows as a model sees them; None where a run is opened.
        values: what becomes of a stored row before a model sees it.
        context: the shape of what a model is conditioned on; () where it is not.

    Raises:
        VaekitError: for an unknown kind.

    Example:
        >>> DataSpec("digits", (1, 8, 8), "grey", rows=1497, classes=10)
        DataSpec(name='digits', shape=(1, 8, 8), kind='grey', rows=1497, classes=10)
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
        context = {"context": list(self.context)} if self.context else {}
        return {
            "name": self.name,
            "shape": list(self.shape),
            "kind": self.kind,
            "rows": self.rows,
            "classes": self.classes,
            "values": self.values.to_json(),
            **context,
        }

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
                "a data record needs name, shape, kind, rows; may have classes, values, context; "
                f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(extra) or 'none'}."
            )
        for key, value in record.items():
            _check_type(key, value)
        values = Values.from_json(record.get("values", {}))
        sizes = {"shape": tuple(record["shape"]), "context": tuple(record.get("context", ()))}
        return cls(**{**record, **sizes, "values": values})


_TYPES: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "shape": (list, tuple),
    "kind": str,
    "rows": int,
    "classes": int,
    "values": dict,
    "context": (list, tuple),
}


def _check_type(key: str, value: Any) -> None:
    whole = key not in ("shape", "context") or all(isinstance(size, int) for size in value)
    if not isinstance(value, _TYPES[key]) or not whole:
        wanted = {
            "name": "text",
            "kind": "text",
            "shape": "a list of integers",
            "context": "a list of integers",
            "values": "a record",
        }
        raise VaekitError(
            f"a data record's '{key}' must be {wanted.get(key, 'an integer')}; got {value!r}."
        )
