"""What the columns of a mixed table are, and the maps of numbers that come before their scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from vaekit.errors import VaekitError, unknown

KNOTS = 1000  # of a map by quantiles, at most


@dataclass(frozen=True)
class ColumnSpec:
    """What a column of a mixed table is.

    Attributes:
        name: as in the file.
        kind: numeric, integer, count, binary, category, date, log or quantile.
        categories: the values of a category, or the two of a binary column, in their order.
        form: how dates are written, as strftime says it; "" where they are no text.
        zeros: of a log column, whether 0 is among its values: then log(1 + v) is taken.

    Raises:
        VaekitError: for an unknown kind.

    Example:
        >>> ColumnSpec("sort", "category", ("a", "b", "c")).places
        ('sort=a', 'sort=b', 'sort=c')
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    form: str = ""
    zeros: bool = False

    def __post_init__(self) -> None:
        from vaekit._train_options import COLUMN_KINDS  # which needs pydantic

        if self.kind not in COLUMN_KINDS:
            raise unknown("kind of column", self.kind, COLUMN_KINDS)

    @property
    def width(self) -> int:
        """How many places it has in a row: of a category one for each value."""
        return len(self.categories) if self.kind == "category" else 1

    @property
    def scaled(self) -> bool:
        """Whether its numbers are standardized."""
        return self.kind not in ("count", "binary", "category")

    @property
    def places(self) -> tuple[str, ...]:
        """What its places are called."""
        if self.kind != "category":
            return (self.name,)
        return tuple(f"{self.name}={each}" for each in self.categories)

    def to_json(self) -> dict[str, Any]:
        """Return what differs from the defaults, as plain values."""
        plain: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "categories": list(self.categories),
        }
        plain |= {"form": self.form, "zeros": self.zeros}
        return {name: value for name, value in plain.items() if value}


def place_names(columns: Sequence[ColumnSpec]) -> tuple[str, ...]:
    """Return what the places of all columns are called.

    Example:
        >>> place_names([ColumnSpec("a", "category", ("x", "y")), ColumnSpec("b", "count")])
        ('a=x', 'a=y', 'b')
    """
    return tuple(name for column in columns for name in column.places)


def starts(columns: Sequence[ColumnSpec]) -> list[int]:
    """Return the first place of each column in a row.

    Example:
        >>> starts([ColumnSpec("a", "category", ("x", "y")), ColumnSpec("b", "count")])
        [0, 2]
    """
    return [sum(each.width for each in columns[:i]) for i in range(len(columns))]


@dataclass(frozen=True, eq=False)
class Warp:
    """A growing map of the numbers of a column: a logarithm, or by quantiles to normal scores.

    Attributes:
        place: of the column in a row.
        how: "log" (log v), "log1p" (log(1 + v)) or "quantile".
        spread: the standard deviation of v in the training rows.
        knots: of quantiles, `(2, K)`: values that grow, and their scores; the map is linear between
            them, and goes on beyond the ends as it came.

    Example:
        >>> warp = Warp(0, "log", 1.0)
        >>> t = warp(torch.tensor([1.0, 100.0]))
        >>> t, warp.inverse(t)
        (tensor([0.0000, 4.6052]), tensor([  1.0000, 100.0000]))
    """

    place: int
    how: str
    spread: float
    knots: Tensor | None = None

    @classmethod
    def fit(cls, place: int, column: ColumnSpec, values: Tensor) -> Warp | None:
        """Return the map that a column asks for by its training values `(N,)`; None without one."""
        if column.kind not in ("log", "quantile"):
            return None
        values = values[~values.isnan()]
        spread = float(values.std(unbiased=False)) or 1.0
        if column.kind == "log":
            return cls(place, "log1p" if column.zeros else "log", spread)
        knots = _scores(values)
        return None if knots.shape[1] < 2 else cls(place, "quantile", spread, knots)

    def __call__(self, v: Tensor) -> Tensor:
        """Return t of v."""
        if self.knots is None:
            return v.log() if self.how == "log" else v.log1p()
        return _between(v, *self.knots)

    def inverse(self, t: Tensor) -> Tensor:
        """Return v of t."""
        if self.knots is None:
            return t.exp() if self.how == "log" else t.expm1()
        return _between(t, *self.knots.flip(0))

    def log_slope(self, t: Tensor) -> Tensor:
        """Return log dt/dv at t."""
        if self.knots is None:
            return -t
        v, scores = self.knots.to(t.dtype)
        return (scores.diff() / v.diff()).log()[_segment(t, scores)]

    @property
    def ends(self) -> tuple[float, float]:
        """What bounds the values that are written."""
        if self.knots is None:
            return (0.0, torch.inf)
        return float(self.knots[0, 0]), float(self.knots[0, -1])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        knots = {} if self.knots is None else {"knots": self.knots.tolist()}
        return {"place": self.place, "how": self.how, "spread": self.spread, **knots}


@dataclass
class StoredWarp:
    """A `Warp` as JSON."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False}

    place: int
    how: Literal["log", "log1p", "quantile"]
    spread: float
    knots: list[list[float]] | None = None

    def made(self) -> Warp:
        """Return the warp.

        Raises:
            VaekitError: for knots that do not grow.
        """
        knots = self.knots
        if (self.how == "quantile") != (knots is not None) or self.spread <= 0:
            raise VaekitError("a data record does not fit: it holds a warp that is none.")
        if knots is None:
            return Warp(self.place, self.how, self.spread)
        sizes = [len(each) for each in knots]
        pairs = len(sizes) == 2 and sizes[0] == sizes[1] > 1
        if not pairs or any(a >= b for each in knots for a, b in pairwise(each)):
            raise VaekitError("a data record does not fit: it holds knots that do not grow.")
        return Warp(self.place, self.how, self.spread, torch.tensor(knots))


def _segment(x: Tensor, ends: Tensor) -> Tensor:
    """Return in which of the segments between growing ends x lies, or is nearest to."""
    return torch.searchsorted(ends, x.contiguous()).clamp(1, len(ends) - 1) - 1


def _between(x: Tensor, across: Tensor, up: Tensor) -> Tensor:
    """Return the map through the points (across, up) at x, linear between them and beyond."""
    across, up = across.to(x), up.to(x)
    i = _segment(x, across)
    share = (x - across[i]) / (across[i + 1] - across[i])
    return up[i] + share * (up[i + 1] - up[i])


def _scores(values: Tensor) -> Tensor:
    """Return values that grow, and the normal scores of their mid-ranks, `(2, K)`, float32."""
    from statistics import NormalDist

    found, counts = values.float().cpu().unique(return_counts=True)
    below = counts.cumsum(0) - counts
    ranks = (below + counts / 2) / counts.sum()
    if len(found) > KNOTS:
        kept = torch.searchsorted(ranks, torch.linspace(0, 1, KNOTS)).clamp(max=len(found) - 1)
        kept[0], kept[-1] = 0, len(found) - 1
        found, ranks = found[kept.unique()], ranks[kept.unique()]
    normal = NormalDist()
    scores = torch.tensor([normal.inv_cdf(rank) for rank in ranks.tolist()])
    grows = torch.ones_like(scores, dtype=torch.bool)
    grows[1:] = scores.diff() > 0
    return torch.stack([found, scores])[:, grows]


def written(
    columns: Sequence[ColumnSpec],
    units: np.ndarray,
    whole: Sequence[tuple[float, float] | None] = (),
    bounds: dict[int, tuple[float, float]] | None = None,
    *,
    drawn: bool = True,
) -> dict[str, np.ndarray]:
    """Return rows `(N, D)` in units by column, as the file has them: texts, dates, numbers.

    Args:
        columns: of the table.
        units: the rows; NaN is a gap.
        whole: of each place, the ends of whole numbers, or None.
        bounds: by place, what bounds other numbers.
        drawn: whether they are draws: whole numbers are whole then. Of means E[x|z], categories are
            the most probable ones, too.
    """
    found: dict[str, np.ndarray] = {}
    for place, column in zip(starts(columns), columns, strict=True):
        ends = whole[place] if whole else None
        values = units[:, place]
        if column.categories:
            part = units[:, place : place + column.width]
            found[column.name] = _texts(column, part)
        elif column.kind == "date":
            found[column.name] = _dates(column, values, ends)
        elif not drawn or column.kind == "numeric":
            found[column.name] = values
        elif ends is not None:
            low, high = (0, np.inf) if column.kind == "count" else ends
            rounded = values.round().clip(low, high)
            kind = np.float64 if np.isnan(rounded).any() else np.int64
            found[column.name] = rounded.astype(kind)
        else:
            found[column.name] = values.clip(*(bounds or {}).get(place, (-np.inf, np.inf)))
    return found


def _texts(column: ColumnSpec, part: np.ndarray) -> np.ndarray:
    """Return the categories of rows; numbers and truths where all of them are."""
    index = part.argmax(1) if column.kind == "category" else (part[:, 0] > 0.5).astype(int)
    gaps, names = np.isnan(part[:, 0]), column.categories
    if not gaps.any() and all(name.isdecimal() and str(int(name)) == name for name in names):
        return np.asarray([int(names[each]) for each in index], np.int64)
    if not gaps.any() and names == ("False", "True"):
        return index.astype(bool)
    texts = np.array(names, object)[index]
    texts[gaps] = None
    return texts


def _dates(column: ColumnSpec, days: np.ndarray, ends: tuple[float, float] | None) -> np.ndarray:
    """Return days since 1970 as dates: as text in the form of the file, or as numpy has them."""
    import pandas

    days = days if ends is None else days.round().clip(*ends)
    times = pandas.to_datetime(pandas.Series(days), unit="D").dt.round("s")
    if not column.form:
        return times.to_numpy()
    return times.dt.strftime(column.form).to_numpy(object)
