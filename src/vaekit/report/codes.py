"""Where the codes of the data lie: clouds of E[z|x], in the colors of what is known of x."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.report.style import COLOURS, look
from vaekit.report.svg import name_text, paper, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


CLASSES = 20  # more have no colors that one can tell apart
LONGEST = 18  # letters of a class's name
HANDFUL = 4  # ellipses of each class
FEW = 60  # rows of which each has an ellipse


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes of data, and what is known of these data.

    Attributes:
        means: E[z|x], `(N, Z)`.
        labels: int64 `(N,)`, or None.
        classes: their names; or empty.
        factors: `(N, F)`, or None; where there are any, each has a panel.
        factor_names: or empty.
        scales: the standard deviations of z given x, `(N, Z)`, or None.
        prior: whether the prior is N(0, I), which is then drawn too.

    Raises:
        VaekitError: for parts of unequal length, or codes without dimensions.

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
    scales: Tensor | None = None
    prior: bool = False

    def __post_init__(self) -> None:
        if self.means.dim() != 2 or not self.means.shape[1]:
            raise VaekitError(f"got codes of shape {tuple(self.means.shape)}; expected (N, 1+).")
        parts = (("labels", self.labels), ("factors", self.factors), ("scales", self.scales))
        for what, part in parts:
            if part is not None and len(part) != len(self.means):
                raise VaekitError(f"{len(self.means)} codes but {len(part)} {what}.")

    @property
    def dimensions(self) -> list[int]:
        """The two in which the codes vary most; all in their order where there are but two."""
        if self.means.shape[1] <= 2:
            return list(range(self.means.shape[1]))
        found: list[int] = self.means.double().var(0, False).topk(2).indices.tolist()
        return found

    @property
    def words(self) -> str:
        """What is drawn besides the points, in words.

        Example:
            >>> import torch
            >>> Codes(torch.zeros(3, 2), prior=True).words
            'Circles: 1 and 2 σ of the prior.'
        """
        flat = len(self.dimensions) == 2
        ellipses = "Ellipses: one σ of the posteriors of some rows."
        prior = f"{'Circles' if flat else 'Lines'}: 1 and 2 σ of the prior."
        shown = ((ellipses, flat and self.scales is not None), (prior, self.prior))
        return " ".join(text for text, there in shown if there)

    @property
    def known(self) -> list[int]:
        """The labels that have colors; empty where there are none, one, or too many."""
        found = [] if self.labels is None else self.labels.unique().tolist()
        return found if 1 < len(found) <= CLASSES else []


def code_charts(codes: Codes) -> bytes:
    """HTML: an `<svg>` for each factor, or one with the classes in colors.

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
        yield class_figure(codes)
        return
    for place in range(codes.factors.shape[1]):
        name = codes.factor_names[place] if codes.factor_names else f"factor {place + 1}"
        yield _by_factor(codes, name, codes.factors[:, place])


def _columns(codes: Codes, values: Tensor) -> np.ndarray:
    """Those of the dimensions that are drawn."""
    columns: np.ndarray = values[:, codes.dimensions].double().numpy()
    return columns


def _cloud(codes: Codes, axes: Axes) -> np.ndarray:
    """The points, and the axes made ready for them."""
    points = _columns(codes, codes.means)
    axes.set_xlabel(f"dimension {codes.dimensions[0]}")
    if points.shape[1] == 1:
        axes.set_yticks([])
        return np.column_stack([points, _jitter(len(points))])
    axes.set_ylabel(f"dimension {codes.dimensions[1]}")
    axes.grid(visible=False)
    return points


def _jitter(rows: int) -> np.ndarray:
    """Heights in (-0.35, 0.35) that look like chance, and are the same each time."""
    return 0.7 * ((np.arange(rows) * 0.6180339887) % 1) - 0.35


def class_figure(codes: Codes, *, size: tuple[int, int] = (420, 340), title: str = "") -> Figure:
    """The cloud with the classes in colors, and the prior and some posteriors behind and on it.

    An ellipse has one standard deviation of z given x: of every row where there are few, else of
    some of each class. Circles, light, are 1 and 2 standard deviations of the prior. One dimension
    has a line for each class.
    """
    figure, (axes,) = paper(*size)
    points, groups = _cloud(codes, axes), list(_groups(codes))
    if len(codes.dimensions) == 1:
        _strips(axes, points, groups)
    else:
        axes.set_aspect("equal", adjustable="datalim")
    _prior(codes, axes)
    small = 4.5 if len(points) > 500 else 8.0
    for name, color, chosen in groups:
        places = points[chosen]
        style = {"color": color, "markersize": small, "alpha": 0.5 if name is None else 0.8}
        axes.plot(*places.T, ".", rasterized=True, label=name, markeredgewidth=0, **style)
        if len(codes.dimensions) == 2 and codes.scales is not None:
            _ellipses(axes, codes, chosen, points, color)
    if len(groups) > 1 and len(codes.dimensions) == 2:
        figure.legend(loc="outside right upper", labelcolor=COLOURS["ink"], markerscale=10 / small)
    axes.autoscale_view()
    axes.set_title(title, loc="left")
    in_colors = f" in the colors of {len(groups)} classes" if len(groups) > 1 else ""
    figure.set_label(f"codes of {len(points)} test rows{in_colors}")
    return figure


def _groups(codes: Codes) -> Iterator[tuple[str | None, Any, np.ndarray]]:
    """Name, color and rows of each class."""
    import matplotlib

    known = codes.known
    if not known or codes.labels is None:
        yield None, COLOURS["train"], np.arange(len(codes.means))
        return
    palette = matplotlib.colormaps["tab10" if len(known) <= 10 else "tab20"]
    for place, label in enumerate(known):
        name = codes.classes[label] if codes.classes else str(label)
        rows = (codes.labels == label).nonzero().flatten().numpy()
        yield name_text(name, LONGEST), palette(place), rows


def _strips(axes: Axes, points: np.ndarray, groups: Sequence[tuple[Any, Any, np.ndarray]]) -> None:
    """Moves each class to a line of its own, the first one at the top."""
    for line, (_, _, rows) in enumerate(groups):
        points[rows, 1] -= line
    if len(groups) > 1:
        axes.set_yticks([-line for line in range(len(groups))], [str(g[0]) for g in groups])
        axes.tick_params("y", labelcolor=COLOURS["ink"])
    axes.set_ylim(-len(groups) + 0.4, 0.6)
    axes.grid(visible=False)


def _prior(codes: Codes, axes: Axes) -> None:
    """1 and 2 standard deviations of N(0, I)."""
    from matplotlib.patches import Circle

    for radius in (1, 2) if codes.prior else ():
        line: dict[str, Any] = {"color": COLOURS["idle"], "linewidth": 0.8, "zorder": 0.5}
        if len(codes.dimensions) == 1:
            for side in (-radius, radius):
                axes.axvline(side, **line)
        else:
            axes.add_patch(Circle((0, 0), radius, fill=False, **line))


def _ellipses(axes: Axes, codes: Codes, chosen: np.ndarray, points: np.ndarray, color: Any) -> None:
    """One standard deviation of z given x, of some of the rows of a class."""
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Ellipse

    assert codes.scales is not None
    rows = chosen
    if len(points) > FEW:
        rows = chosen[np.unique(np.arange(HANDFUL) * len(chosen) // HANDFUL)]
    for place, half in zip(points[rows], _columns(codes, codes.scales)[rows], strict=True):
        if np.isfinite([*place, *half]).all():
            face, edge = to_rgba(color, 0.15), COLOURS["ink"]
            axes.add_patch(
                Ellipse(tuple(place), *(2 * half), fc=face, ec=edge, linewidth=0.6, zorder=3)
            )


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
    figure.set_label(f"codes of {len(points)} test rows in the colors of {name}")
    return figure
