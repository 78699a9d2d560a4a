"""Figures drawn by matplotlib, for files alone, in the colors of the page.

Codes in classes, and two posteriors on a line.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from torch import Tensor

from vaekit._io import write
from vaekit.distributions import Gaussian, Offer
from vaekit.errors import VaekitError, visible
from vaekit.report._codes import Codes, posterior, posteriors, standard_prior
from vaekit.report._curves import COLORS, cut, value
from vaekit.report._grids import in_color
from vaekit.report._walks import check_plane, decoded
from vaekit.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST = 18  # letters of a class's name
STRIP = 12  # decoded images along the line
UNEQUAL = 20.0  # peaks further apart than this factor are drawn at one height
SHARED = 0.001  # of their mass: of less, two densities do not meet
FULL, DPI = 553, 108  # pixels that a figure is wide, 72 of them an inch; of a file
GRID = 15  # decoded images along each side of a plane

# Settings of matplotlib; sizes are pixels.
LOOK = {
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "figure.constrained_layout.use": True,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "text.color": COLORS["ink"],
    "axes.titlesize": 10,
    "axes.titlecolor": COLORS["soft"],
    "axes.labelcolor": COLORS["soft"],
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": COLORS["rule"],
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
    **{f"{axis}tick.color": COLORS["soft"] for axis in "xy"},
    **{f"{axis}tick.major.size": 0 for axis in "xy"},
    "lines.markersize": 4.5,
    "legend.fontsize": 10,
    "legend.title_fontsize": 12,
    "legend.frameon": False,
    "legend.labelcolor": "linecolor",
    "legend.borderpad": 0,
    "legend.markerscale": 0,
    "legend.borderaxespad": 0.2,
    "legend.handlelength": 1.4,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 0.8,
}


def look() -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws for the page, whatever its user has set.

    Example:
        >>> import matplotlib
        >>> with look():
        ...     matplotlib.rcParams["text.color"]
        '#1b1d21'
    """
    from matplotlib import style

    return style.context(LOOK, after_reset=True)


def paper(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of this size in pixels, and its panels, which stand side by side.

    Example:
        >>> figure, panels = paper(144, 72, 2)
        >>> figure.get_size_inches().tolist(), len(panels)
        ([2.0, 1.0], 2)
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72))
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def name_text(name: str, longest: int) -> str:
    """Return a name as matplotlib shall write it: cut to `longest` letters, with no formula in it.

    Example:
        >>> name_text("in $ or £", 5), name_text("_hidden", 9)
        ('in \\\\$…', ' _hidden')
    """
    name = cut(visible(name, lines=False), longest)
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")  # legends skip "_..."


def save_figure(draw: Callable[[], Figure], path: Path) -> Path:
    """Draw in vaekit's style and write a .png or an .svg, by the path's suffix, atomically.

    It is on white paper. A .png has 1.5 pixels for each of the figure's, so that one of 553 is as
    wide as GitHub shows it, 830, with letters of 15.

    Raises:
        VaekitError: where it cannot be written; an old file is left as it was.
    """
    stream, kind = io.BytesIO(), path.suffix[1:]
    with look(), catch_warnings():
        simplefilter("ignore", UserWarning)  # letters that matplotlib's own font has not
        signed = {"Software": "vaekit"} if kind == "png" else {"Date": None}
        draw().savefig(stream, format=kind, dpi=DPI, metadata=signed)
    content = stream.getvalue()
    return write(path, visible(content.decode()).encode() if kind == "svg" else content)


def class_figure(codes: Codes, *, size: tuple[int, int] = (500, 440), title: str = "") -> Figure:
    """Draw codes with the classes in colors, the prior behind them, and some posteriors on them.

    An ellipse has one standard deviation of z given x: of every row where there are few, else of
    some of each class. Circles, light, are 1 and 2 standard deviations of the prior. One dimension
    has a line for each class.
    """
    figure, (axes,) = paper(*size)
    draw_classes(codes, axes)
    if len(codes.groups) > 1 and len(codes.dimensions) == 2:
        axes.legend(**BESIDE)
    axes.set_title(title, loc="left")
    return figure


BESIDE: dict[str, Any] = {
    "loc": "upper left",
    "bbox_to_anchor": (1.01, 1),
    "labelcolor": COLORS["ink"],
    "markerscale": 2.2,
}


def draw_classes(codes: Codes, axes: Axes) -> None:
    """Draw what `class_figure` shows, but for its legend."""
    import matplotlib
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Circle, Ellipse

    flat, groups = len(codes.dimensions) == 2, codes.groups
    points = codes.means[:, codes.dimensions].double().numpy()
    axes.grid(visible=False)
    axes.set_xlabel(f"z{codes.dimensions[0]}")
    if flat:
        axes.set_ylabel(f"z{codes.dimensions[1]}")
        axes.set_aspect("equal", adjustable="datalim")
    else:
        heights = 0.7 * ((np.arange(len(points)) * 0.6180339887) % 1) - 0.35  # as if by chance
        for number, (_, rows) in enumerate(groups):
            heights[rows] -= number
        points = np.column_stack([points, heights])
        names = [name_text(name, LONGEST) for name, _ in groups]
        axes.set_yticks([-number for number in range(len(names))], names)
        axes.tick_params("y", labelcolor=COLORS["ink"])
        axes.set_ylim(-len(names) + 0.4, 0.6)
    line: dict[str, Any] = {"color": COLORS["idle"], "linewidth": 1.2, "zorder": 0.5}
    for radius in (1, 2) if codes.prior else ():
        if flat:
            axes.add_patch(Circle((0, 0), radius, fill=False, **line))
        else:
            axes.axvline(-radius, **line)
            axes.axvline(radius, **line)
    ellipses, ink = codes.ellipses, to_rgba(COLORS["ink"])[:3]
    small = 5.0 if len(points) > 500 else 8.0
    palette = matplotlib.colormaps["tab10" if len(groups) <= 10 else "tab20"]
    for number, (name, rows) in enumerate(groups):
        color = palette(number) if name else COLORS["train"]
        style: dict[str, Any] = {"color": color, "markersize": small, "alpha": 0.8 if name else 0.5}
        label = name_text(name, LONGEST) if name else None
        axes.plot(*points[rows].T, ".", label=label, markeredgewidth=0, **style)
        for (x, y), (wide, high) in (ellipses[row] for row in rows.tolist() if row in ellipses):
            edge: dict[str, Any] = {
                "ec": (*ink, 0.55),
                "linewidth": 0.6,
                "zorder": 3,
            }
            axes.add_patch(Ellipse((x, y), 2 * wide, 2 * high, fc=to_rgba(color, 0.15), **edge))
    axes.autoscale_view()


def plane_figure(run: Run, codes: Codes, context: Tensor | None = None) -> Figure:
    """Draw codes of two dimensions beside what is decoded there, on the same axes.

    The axes are even, so that images stand where their codes lie; `manifold` has quantiles of the
    prior in their place.

    Args:
        run: with a latent of 2 dimensions.
        codes: of its data.
        context: of a conditional run, `(1, *G)`.

    Raises:
        VaekitError: for another latent, and rows that are no images.
    """
    check_plane(run)
    if len(run.spec.shape) != 3:
        raise VaekitError("this run was trained on rows that are no images: leave `plane`.")
    means = codes.means.double()
    low, high = means.quantile(torch.tensor([0.005, 0.995]).double(), 0)
    middle, half = (low + high) / 2, 0.54 * (high - low).max().clamp(min=1e-6)
    if codes.prior:
        middle, half = (
            torch.zeros(2).double(),
            torch.maximum(high, -low).max().clamp(min=2.2) * 1.04,
        )
    ends = [(m - half.item(), m + half.item()) for m in middle.tolist()]
    steps = (torch.arange(GRID) + 0.5) / GRID * 2 * half - half
    first, second = ((steps + m).float() for m in middle)
    made = run.spec.values.inverse(decoded(run, first, second.flip(0), context).flatten(0, 1))
    rows = made.nan_to_num(nan=0.5).clamp(0, 1).unflatten(0, (GRID, GRID)).permute(0, 3, 1, 4, 2)
    sheet = rows.flatten(2, 3).flatten(0, 1).expand(-1, -1, 3).numpy()
    figure, (left, right) = paper(FULL, 320, 2)
    draw_classes(codes, left)
    right.imshow(sheet, extent=(*ends[0], *ends[1]), aspect="auto", interpolation="antialiased")
    right.grid(visible=False)
    right.set(xlabel="z0")
    for x, y in zip(*(np.linspace(*end, GRID + 1)[1:-1] for end in ends), strict=True):
        right.axvline(x, color="white", linewidth=0.7)
        right.axhline(y, color="white", linewidth=0.7)
    for axes, words in ((left, "codes E[z|x]"), (right, "decoded, E[x|z]")):
        axes.set_aspect("equal", adjustable="box")
        axes.set(xlim=ends[0], ylim=ends[1], title=words)
    if len(codes.groups) > 1:
        how: dict[str, Any] = {"ncols": min(10, len(codes.groups)), "markerscale": 2.2}
        figure.legend(loc="outside lower center", labelcolor=COLORS["ink"], **how)
    return figure


@dataclass(frozen=True)
class Pair:
    """Two bumps on a line, of these means and standard deviations.

    Attributes:
        means, scales: of both.
        densities: of both at points of the line, `(N, 2)`; by default those of Gaussians.

    Example:
        >>> pair = Pair((0.0, 2.0), (1.0, 1.0))
        >>> round(pair.between, 6), round(pair.overlap, 4)
        (1.0, 0.3173)
        >>> Pair((0.0, 2.0), (1e-3, 1e-2)).between  # they do not meet
        1.0
    """

    means: tuple[float, float]
    scales: tuple[float, float]
    densities: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def crossing(self) -> float | None:
        """Where, between the means, the densities are equal; None where they do not meet.

        They do not meet where they share less than 0.1 % of their mass, or where one is the lower
        one all the way.
        """
        low, high = sorted(self.means)
        z = self.places(4001)
        z = z[(z >= low) & (z <= high)]
        higher = self.density(z, 0) > self.density(z, 1)
        changes = np.flatnonzero(higher[1:] != higher[:-1])
        if self.overlap < SHARED or len(changes) != 1:
            return None
        left, right = z[changes[0]], z[changes[0] + 1]
        for _ in range(50):
            middle = (left + right) / 2
            at = np.array([middle])
            same = (self.density(at, 0) > self.density(at, 1))[0] == higher[changes[0]]
            left, right = (middle, right) if same else (left, middle)
        return float(left)

    @property
    def between(self) -> float:
        """Where the densities cross between the means; half-way where they do not meet."""
        crossing = self.crossing
        return sum(self.means) / 2 if crossing is None else crossing

    @property
    def overlap(self) -> float:
        """The mass that they share, the integral of the lower density: from 0 to 1."""
        z = self.places(4001)
        lower = np.minimum(*(self.density(z, which) for which in (0, 1)))
        return float(np.trapezoid(lower, z))

    @property
    def ends(self) -> tuple[float, float]:
        """The part of the line that shows both."""
        apart = abs(self.means[0] - self.means[1])
        margin = max(0.3 * apart, 1e-6)
        around = [max(4 * scale, margin) for scale in self.scales]
        sides = [(m - w, m + w) for m, w in zip(self.means, around, strict=True)]
        return min(low for low, _ in sides), max(high for _, high in sides)

    def density(self, z: np.ndarray, which: int) -> np.ndarray:
        """Return the density of one of them."""
        if self.densities is not None:
            return self.densities(z)[:, which]
        m, s = self.means[which], self.scales[which]
        return np.exp(-0.5 * ((z - m) / s) ** 2) / (s * math.sqrt(2 * math.pi))

    def places(self, many: int) -> np.ndarray:
        """Return points of the line, dense around both means, however narrow the bumps are."""
        low, high = self.ends
        near = np.linspace(-8, 8, many)
        parts = [m + s * near for m, s in zip(self.means, self.scales, strict=True)]
        return np.unique(np.concatenate([np.linspace(low, high, many), *parts]))

    def draw(self, axes: Axes, names: tuple[str, str], *, prior: bool) -> None:
        """Draw both densities; where one is a spike to the other, each at a height of 1.

        The prior's is dashed, enlarged by a whole number where it would be flat.
        """
        z, unequal = self.places(801), max(self.scales) > UNEQUAL * min(self.scales)
        top = 0.0
        for which, color in enumerate((COLORS["train"], COLORS["validation"])):
            heights = self.density(z, which)
            heights = heights / heights.max() if unequal else heights
            top = max(top, float(heights.max()))
            mean, scale = value(self.means[which]), f"{self.scales[which]:.2g}"
            axes.plot(z, heights, color=color, label=f"{names[which]}: {mean} ± {scale}")
            axes.fill_between(z, heights, color=color, alpha=0.18, linewidth=0)
        if prior:
            heights = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
            times = 2.5 if unequal else max(1, round(1.5 * top))
            label = "prior" + (f" × {times}" if times > 1 and not unequal else "")
            style: dict[str, Any] = {"color": COLORS["ink"], "linestyle": "--", "linewidth": 1.3}
            axes.plot(z, times * heights, label=label, zorder=1.5, **style)
        axes.axvline(self.between, color=COLORS["soft"], linestyle=":", linewidth=1.4)
        words = "density of z" + ", each scaled to 1" * unequal
        axes.set(xlim=self.ends, ylim=(0, None), ylabel=words)
        axes.tick_params("x", labelbottom=False)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)


def pair_of(run: Run, x: Tensor, context: Tensor | None = None) -> Pair:
    """Return the posteriors of two rows `(2, *X)` of a run with one latent dimension.

    Raises:
        VaekitError: for a latent of another size, or a posterior without variance or density.
    """
    if run.latent_size != 1:
        raise VaekitError(
            f"an overlap shows a latent of 1 dimension; this one has {run.latent_size}: train with "
            "`latent=1`, or take `vaekit scatter`."
        )
    means, scales = posteriors(run, x, context)
    if scales is None or Offer.MARGINAL not in run.offers:
        raise VaekitError(
            "the posterior of this model is a point, without a width, or has no density: train a "
            "vae with `latent=1`."
        )
    (q,) = posterior(run, x, context)
    (m0, m1), (s0, s1) = means[:, 0].tolist(), scales[:, 0].tolist()

    def densities(z: np.ndarray) -> np.ndarray:
        at = torch.from_numpy(z).to(q.mean)[(..., *[None] * q.mean.dim())]
        both = q.log_prob(at.expand(-1, *q.mean.shape))
        return both.exp().double().cpu().numpy()

    some = max(s0, 1e-12), max(s1, 1e-12)
    return Pair((m0, m1), some, None if isinstance(q, Gaussian) else densities)


def overlap_figure(
    run: Run, x: Tensor, names: tuple[str, str], context: Tensor | None = None
) -> Figure:
    """Draw two images and the one between, their posteriors as curves, and the line decoded.

    The one between is decoded where the densities cross, or half-way where they do not meet.

    Args:
        run: with one latent dimension.
        x: two images, canonical, `(2, C, H, W)`.
        names: of the images.
        context: of both, in a conditional run; the line is decoded under the first one's.

    Raises:
        VaekitError: for rows that are no images, and as in `pair_of`.
    """
    from matplotlib.figure import Figure

    if len(run.spec.shape) != 3:
        raise VaekitError("this run was trained on rows that are no images: there is no overlap.")
    pair = pair_of(run, x, context)
    edges = np.linspace(*pair.ends, STRIP + 1)
    at = (edges[1:] + edges[:-1]) / 2
    z = x.new_tensor([*at, pair.between])[:, None]
    under = None if context is None else context[:1].expand(len(z), *context.shape[1:])
    made = run.spec.values.inverse(run.decode(z, under))
    high, wide = run.spec.shape[1:]
    figure = Figure(figsize=(FULL / 72, 4.3 + 0.7 * high / wide))
    grid = figure.add_gridspec(3, 3, height_ratios=[1.9, 2.6, 0.72 * high / wide])
    first, second = run.spec.values.inverse(x)
    where = "half-way" if pair.crossing is None else "where they cross"
    middle = f"decoded {where}, z = {value(pair.between)}"
    images, titles = (first, made[-1], second), (names[0], middle, names[1])
    shown = zip(images, titles, ("train", "soft", "validation"), strict=True)
    for column, (image, title, color) in enumerate(shown):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(_pixels(image), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, color=COLORS[color])
    curves = figure.add_subplot(grid[1, :])
    pair.draw(curves, names, prior=standard_prior(run))
    strip, step = figure.add_subplot(grid[2, :], sharex=curves), at[1] - at[0]
    for image, z_ in zip(made[:STRIP], at, strict=True):
        ends = (z_ - 0.48 * step, z_ + 0.48 * step, 0, 1)
        strip.imshow(_pixels(image), interpolation="nearest", aspect="auto", extent=ends)
    strip.set(yticks=[], ylim=(0, 1), xlim=(at[0] - step / 2, at[-1] + step / 2))
    shared = "less than 0.01%" if pair.overlap < 1e-4 else f"{pair.overlap:.2%}"
    strip.set_xlabel(f"z, and E[x|z] along it; the two densities share {shared} of their mass")
    figure.set_label(f"posteriors of {names[0]} and {names[1]} on the latent line")
    return figure


def _pixels(image: Tensor) -> np.ndarray:
    values = (
        in_color(image).detach().cpu().double().nan_to_num(nan=0.5).clamp(0, 1).expand(3, -1, -1)
    )
    return values.permute(1, 2, 0).numpy()
