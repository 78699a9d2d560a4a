"""The likelihood of mixed tables: a family for the columns of each kind, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vaekit import distributions as d
from vaekit.errors import VaekitError, choose, same_shape
from vaekit.nn import Phrase
from vaekit.parts.conditional import Family, Shape
from vaekit.parts.counting import NegativeBinomial
from vaekit.parts.families import Bernoulli, FittedScale, Gaussian, Laplace, make_scale
from vaekit.registry import register

NUMERIC = {"gaussian": Gaussian, "laplace": Laplace}
EACH = {(text,): (f"{text} each",) for text in ("one fitted scale", "one learned scale")}
LEAST = 0.01  # of a standardized column's scale: a value that is known would count for infinity


class OneHot(Family):
    """Independent categories side by side, each one-hot, on logits.

    Args:
        widths: how many values each can take.

    Example:
        >>> OneHot([2, 3])(torch.zeros(1, 5)).mean
        tensor([[0.5000, 0.5000, 0.3333, 0.3333, 0.3333]])
    """

    where: Tensor
    distribution = d.OneHot
    gives = (("logits of a categorical",),)

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__(sum(widths))
        self.widths = tuple(widths)
        self.register_buffer("where", d.segments(self.widths), persistent=False)

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        return d.OneHot(params, widths=self.widths, where=self.where)

    def start(self, mean: Tensor) -> Tensor:
        """Return the logarithms of probabilities, floored."""
        return mean.clamp(min=1e-4).log()


@register("likelihood", "blocks")
class Blocks(Family):
    """A product over the columns of a mixed table, each under the likelihood of its kind.

    Numbers are Gaussian, counts negative binomial, truths Bernoulli, categories categorical. Where
    a logarithm or quantiles bend a column v before it is standardized to x, the density is that of
    (v - mean) / deviation all the same: log |dx/dv| is in it, so that kinds of a column compare.

    Args:
        event_shape: the shape of one row, (D,).
        data: what is known of the table, a `DataSpec`: its columns, and what was done to them.
        numeric: of numbers: gaussian, or laplace.
        scale: where the scale of numbers comes from. "fitted": one for each column, in closed form;
            "shared": one learned number for each column, the same for all rows; "free": from the
            network, for each row; or a number, which is kept.
        dispersion: of counts, as of the negative binomial: shared, or free.

    Raises:
        VaekitError: for data without kinds of columns, and an unknown name.

    Example:
        >>> from vaekit.data import ColumnSpec, DataSpec
        >>> columns = ColumnSpec("age", "numeric"), ColumnSpec("sort", "category", ("a", "b"))
        >>> family = Blocks(3, DataSpec("t", (3,), "mixed", 20, columns=columns))
        >>> family(torch.zeros(1, 3)).log_prob(torch.tensor([[0.0, 0.0, 1.0]]))
        tensor([-1.6121])
    """

    distribution = d.Blocks

    def __init__(
        self,
        event_shape: Shape,
        data: Any,
        *,
        numeric: str = "gaussian",
        scale: str | float = "fitted",
        dispersion: str = "shared",
    ) -> None:
        super().__init__(event_shape)
        if not getattr(data, "columns", ()):
            of = getattr(data, "kind", type(data).__name__)
            raise VaekitError(
                f"blocks is for tables whose columns are of several kinds; got data of the kind "
                f"{of}: take another likelihood, or name `kinds`."
            )
        self._fitted = scale == "fitted"
        self.places, widths = _places(data)
        same_shape("data", data.shape, self.event_shape)
        sizes = {name: len(places) for name, places in self.places.items()}
        makers = {
            "numeric": lambda: self._numeric(sizes["numeric"], numeric, scale),
            "count": lambda: NegativeBinomial(sizes["count"], dispersion=dispersion),
            "binary": lambda: Bernoulli(sizes["binary"]),
            "category": lambda: OneHot(widths),
        }
        self.blocks = nn.ModuleDict({name: makers[name]() for name in sizes})
        for name, each in self.places.items():
            self.register_buffer(f"{name}_places", torch.tensor(each), persistent=False)
        self._warps = tuple(_bends(data.values))
        for warp in (each[0] for each in self._warps):
            self.register_buffer(f"knots{warp.place}", warp.knots, persistent=False)

    @staticmethod
    def _numeric(size: int, name: str, scale: str | float) -> Any:
        family: Any = choose("numeric", name, NUMERIC)(size, scale=scale)
        family.scale = make_scale(scale, family.power, math.log(LEAST), (size,))
        if isinstance(family.scale, FittedScale):
            family.scale.least = LEAST**family.power
        return family

    @property
    def param_shape(self) -> tuple[int, ...]:
        """Return how many numbers the network gives for a row: those of each kind in turn."""
        return (sum(self._sizes),)

    @property
    def _families(self) -> list[Any]:
        return [*self.blocks.values()]

    @property
    def _sizes(self) -> list[int]:
        return [family.param_shape[0] for family in self._families]

    @property
    def offers(self) -> frozenset[d.Offer]:
        """Return what it offers: a fitted scale suits no weighted bound."""
        words = self.distribution.offers
        fitted = self._fitted and "numeric" in self.blocks
        return words if fitted else words | {d.Offer.FIXED}

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        slices = zip(self._families, params.split(self._sizes, -1), strict=True)
        parts = tuple(family(part) for family, part in slices)
        places = tuple(self.get_buffer(f"{name}_places") for name in self.places)
        return d.Blocks(parts, places, self._slope if self._warps else None)

    def _slope(self, x: Tensor) -> Tensor:
        """Return log |dx/du| at x, `(..., D)`, for the standardized column u before it was bent."""
        added = torch.zeros_like(x)
        for warp, loc, scale in self._warps:
            here = replace(warp, knots=getattr(self, f"knots{warp.place}"))  # on the device
            t = x[..., warp.place] * scale + loc
            added[..., warp.place] = here.log_slope(t) + math.log(warp.spread / scale)
        return added

    @property
    def gives(self) -> tuple[Phrase, ...]:
        """Return what the network's output is, kind by kind; each column has its own scale."""
        phrases = (phrase for family in self._families for phrase in family.gives)
        return tuple(EACH.get(phrase, phrase) for phrase in phrases)

    def start(self, mean: Tensor) -> Tensor:
        """Return parameters with this mean: see those of each kind."""
        pairs = zip(self._families, self.places.values(), strict=True)
        return torch.cat([family.start(mean[list(places)]) for family, places in pairs])

    def extra_repr(self) -> str:
        kinds = ", ".join(f"{len(each)} {name}" for name, each in self.places.items())
        return f"{self.event_shape}, {kinds}"


def _bends(values: Any) -> Iterator[tuple[Any, float, float]]:
    """Yield each warp of a table's columns, and what it is standardized by then."""
    for warp in values.warps:
        yield warp, float(values.loc[warp.place]), float(values.scale[warp.place])


def _places(data: Any) -> tuple[dict[str, list[int]], list[int]]:
    """Return where the columns of each family lie in a row, and the widths of categories."""
    found: dict[str, list[int]] = {"numeric": [], "count": [], "binary": [], "category": []}
    place, widths = 0, []
    for column in data.columns:
        found["numeric" if column.scaled else column.kind] += range(place, place + column.width)
        widths += [column.width] if column.kind == "category" else []
        place += column.width
    return {name: places for name, places in found.items() if places}, widths
