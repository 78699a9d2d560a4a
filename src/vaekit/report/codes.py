"""Where the codes of the data lie: clouds of E[z|x], in the colours of what is known of x."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.report.style import COLOURS, look
from vaekit.report.svg import name_text, paper, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Codes", "code_charts", "code_figures"]

CLASSES = 20  # more have no colours that one can tell apart
LONGEST = 18  # letters of a class's name


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes of data, and what is known of these data.

    Attributes:
        means: E[z|x], `(N, Z)`.
        labels: int64 `(N,)`, or None.
        classes: their names; or empty.
        factors: `(N, F)`, or None; where there are any, each has a panel.
        factor_names: or empty.

    Raises:
        VaekitError: for parts of unequal length, or codes with fewer than two dimensions.

    Example:
        >>> import torch
        >>> Codes(torch.tensor([[0.0, 1.0, 5.0], [0.0, 2.0, -5.0]])).dimensions
        [2, 1]
    """

    means: Tensor
    labels: Tensor | None = None
    classes: Sequence[str] = ()
    factors: Tensor | None = None
    factor_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.means.dim() != 2 or self.means.shape[1] < 2:
            raise VaekitError(f"got codes of shape {tuple(self.means.shape)}; expected (N, 2+).")
        for what, part in (("labels", self.labels), ("factors", self.factors)):
            if part is not None and len(part) != len(self.means):
                raise VaekitError(f"{len(self.means)} codes but {len(part)} {what}.")

    @property
    def dimensions(self) -> list[int]:
        """The two in which the codes vary most; both in their order where there are but two."""
        if self.means.shape[1] == 2:
            return [0, 1]
        found: list[int] = self.means.double().var(0, False).topk(2).indices.tolist()
        return found


def code_charts(codes: Codes) -> bytes:
    """HTML: an `<svg>` for each factor, or one with the classes in colours.

    Example:
        >>> import torch
        >>> code_charts(Codes(torch.rand(9, 2), torch.arange(9) % 3)).count(b"<svg")
        1
    """
    several = codes.factors is not None
    with look():
        return b"\n".join(svg(f, "small" if several else "wide") for f in code_figures(codes))


def code_figures(codes: Codes) -> Iterator[Figure]:
    """The panels of `code_charts`."""
    if codes.factors is None:
        yield _by_class(codes)
        return
    for place in range(codes.factors.shape[1]):
        name = codes.factor_names[place] if codes.factor_names else f"factor {place + 1}"
        yield _by_factor(codes, name, codes.factors[:, place])


def _cloud(codes: Codes, axes: Axes) -> np.ndarray:
    """The points, and the axes made ready for them."""
    first, second = codes.dimensions
    axes.set_xlabel(f"dimension {first}")
    axes.set_ylabel(f"dimension {second}")
    return codes.means[:, [first, second]].double().numpy()


def _by_class(codes: Codes) -> Figure:
    import matplotlib

    figure, (axes,) = paper(420, 320)
    points = _cloud(codes, axes)
    known = [] if codes.labels is None else codes.labels.unique().tolist()
    if codes.labels is None or not 1 < len(known) <= CLASSES:
        axes.plot(*points.T, ".", color=COLOURS["train"], alpha=0.5, rasterized=True)
        figure.set_label(f"codes of {len(points)} test rows")
        return figure
    palette = matplotlib.colormaps["tab10" if len(known) <= 10 else "tab20"]
    for place, label in enumerate(known):
        name = codes.classes[label] if codes.classes else str(label)
        chosen = points[(codes.labels == label).numpy()]
        axes.plot(
            *chosen.T, ".", color=palette(place), rasterized=True, label=name_text(name, LONGEST)
        )
    figure.legend(loc="outside right upper", labelcolor=COLOURS["ink"], markerscale=2)
    figure.set_label(f"codes of {len(points)} test rows in the colours of {len(known)} classes")
    return figure


def _by_factor(codes: Codes, name: str, values: Tensor) -> Figure:
    figure, (axes,) = paper(244, 220)
    points = _cloud(codes, axes)
    seen = values.double().numpy()
    x, y = points.T
    drawn = axes.scatter(x, y, c=seen, s=5, linewidths=0, cmap="viridis", rasterized=True)
    finite = seen[np.isfinite(seen)]
    if finite.size:
        ends = sorted({finite.min(), finite.max()})
        figure.colorbar(drawn, ax=axes, ticks=ends, aspect=30).outline.set_visible(False)
    axes.set_title(name_text(name, LONGEST), loc="left", color=COLOURS["ink"], weight="bold")
    figure.set_label(f"codes of {len(points)} test rows in the colours of {name}")
    return figure
