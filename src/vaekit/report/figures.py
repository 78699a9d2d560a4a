"""Figures drawn by matplotlib, for files alone: codes in classes, and two posteriors on a line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit.distributions import Distribution, Gaussian, Offer
from vaekit.errors import VaekitError
from vaekit.report.codes import Codes, posterior, posteriors, standard_prior
from vaekit.report.curves import value
from vaekit.report.style import COLORS, name_text, paper
from vaekit.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


LONGEST = 18  # letters of a class's name
HANDFUL = 4  # ellipses of each class
FEW = 60  # rows of which each has an ellipse


def _cloud(codes: Codes, axes: Axes) -> np.ndarray:
    """The points, and the axes made ready for them."""
    points = codes.means[:, codes.dimensions].double().numpy()
    axes.set_xlabel(f"dimension {codes.dimensions[0]}")
    if points.shape[1] == 1:
        axes.set_yticks([])
        heights = 0.7 * ((np.arange(len(points)) * 0.6180339887) % 1) - 0.35  # as if by chance
        return np.column_stack([points, heights])
    axes.set_ylabel(f"dimension {codes.dimensions[1]}")
    axes.grid(visible=False)
    return points


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
        figure.legend(loc="outside right upper", labelcolor=COLORS["ink"], markerscale=10 / small)
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
        yield None, COLORS["train"], np.arange(len(codes.means))
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
        axes.tick_params("y", labelcolor=COLORS["ink"])
    axes.set_ylim(-len(groups) + 0.4, 0.6)
    axes.grid(visible=False)


def _prior(codes: Codes, axes: Axes) -> None:
    """1 and 2 standard deviations of N(0, I)."""
    from matplotlib.patches import Circle

    for radius in (1, 2) if codes.prior else ():
        line: dict[str, Any] = {"color": COLORS["idle"], "linewidth": 0.8, "zorder": 0.5}
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
    halves = codes.scales[rows][:, codes.dimensions].double().numpy()
    for place, half in zip(points[rows], halves, strict=True):
        if np.isfinite([*place, *half]).all():
            face, edge = to_rgba(color, 0.15), COLORS["ink"]
            style: dict[str, Any] = {"fc": face, "ec": edge, "linewidth": 0.6, "zorder": 3}
            axes.add_patch(Ellipse(tuple(place), *(2 * half), **style))


STRIP = 12  # decoded images along the line
UNEQUAL = 20.0  # peaks further apart than this factor are drawn at one height


@dataclass(frozen=True)
class Pair:
    """Two bumps on a line, of these means and standard deviations.

    Attributes:
        means, scales: of both.
        densities: of both at points of the line, `(N, 2)`; by default those of Gaussians.

    Example:
        >>> pair = Pair((0.0, 3.0), (1.0, 2.0))
        >>> pair.between, round(Pair((0.0, 2.0), (1.0, 1.0)).overlap, 4)
        (1.0, 0.3173)
    """

    means: tuple[float, float]
    scales: tuple[float, float]
    densities: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def between(self) -> float:
        """As many standard deviations from either: (m0 s1 + m1 s0) / (s0 + s1).

        The densities of two Gaussians of one scale are equal there.
        """
        (m0, m1), (s0, s1) = self.means, self.scales
        return (m0 * s1 + m1 * s0) / (s0 + s1)

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
        """The density of one of them."""
        if self.densities is not None:
            return self.densities(z)[:, which]
        m, s = self.means[which], self.scales[which]
        return np.exp(-0.5 * ((z - m) / s) ** 2) / (s * math.sqrt(2 * math.pi))

    def places(self, many: int) -> np.ndarray:
        """Points of the line, dense around both means, however narrow the bumps are."""
        low, high = self.ends
        near = np.linspace(-8, 8, many)
        parts = [m + s * near for m, s in zip(self.means, self.scales, strict=True)]
        return np.unique(np.concatenate([np.linspace(low, high, many), *parts]))


def pair_of(run: Run, x: Tensor, context: Tensor | None = None) -> Pair:
    """The posteriors of two rows `(2, *X)` of a run with one latent dimension.

    Raises:
        VaekitError: for a latent of another size, or a posterior without variance or density.
    """
    size = run.latent_size
    if size != 1:
        raise VaekitError(
            f"an overlap shows a latent of 1 dimension; this one has {size}: train with "
            "--latent 1, or take `vaekit scatter`."
        )
    means, scales = posteriors(run, x, context)
    if scales is None or Offer.MARGINAL not in run.offers:
        raise VaekitError(
            "the posterior of this model is a point, without a width, or has no density: train a "
            "vae with --latent 1."
        )
    (q,) = posterior(run, x, context)
    (m0, m1), (s0, s1) = means[:, 0].tolist(), scales[:, 0].tolist()
    densities = None if isinstance(q, Gaussian) else partial(_densities, q)
    return Pair((m0, m1), (max(s0, 1e-12), max(s1, 1e-12)), densities)


def _densities(q: Distribution, z: np.ndarray) -> np.ndarray:
    """Of both rows at points of the line, `(N, 2)`."""
    at = torch.from_numpy(z).to(q.mean)[(..., *[None] * q.mean.dim())].expand(-1, *q.mean.shape)
    return q.log_prob(at).exp().double().cpu().numpy()


def overlap_figure(
    run: Run, x: Tensor, names: tuple[str, str], context: Tensor | None = None
) -> Figure:
    """The two images and the one between, their posteriors as curves, and the line decoded.

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
    figure = Figure(figsize=(8.6, 4.7 + 0.7 * high / wide))
    grid = figure.add_gridspec(3, 3, height_ratios=[1.9, 2.6, 0.72 * high / wide])
    first, second = run.spec.values.inverse(x)
    middle = f"decoded at z = {value(pair.between)}, between them"
    images, titles = (first, made[-1], second), (names[0], middle, names[1])
    shown = zip(images, titles, ("train", "soft", "validation"), strict=True)
    for column, (image, title, color) in enumerate(shown):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(_pixels(image), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, color=COLORS[color])
    curves = figure.add_subplot(grid[1, :])
    _curves(curves, pair, names, prior=standard_prior(run))
    _strip(figure.add_subplot(grid[2, :], sharex=curves), made[:STRIP], at, pair.overlap)
    figure.set_label(f"posteriors of {names[0]} and {names[1]} on the latent line")
    return figure


def _pixels(image: Tensor) -> np.ndarray:
    values = image.detach().cpu().double().nan_to_num(nan=0.5).clamp(0, 1).expand(3, -1, -1)
    return values.permute(1, 2, 0).numpy()


def _curves(axes: Axes, pair: Pair, names: tuple[str, str], *, prior: bool) -> None:
    """Both densities; where one is a spike to the other, each at a height of 1."""
    (s0, s1), z = pair.scales, pair.places(801)
    unequal = max(s0, s1) > UNEQUAL * min(s0, s1)
    for which, color in enumerate((COLORS["train"], COLORS["validation"])):
        heights = pair.density(z, which)
        heights = heights / heights.max() if unequal else heights
        mean, scale = value(pair.means[which]), f"{pair.scales[which]:.2g}"
        axes.plot(z, heights, color=color, label=f"{names[which]}: {mean} ± {scale}")
        axes.fill_between(z, heights, color=color, alpha=0.18, linewidth=0)
    if prior and not unequal:
        axes.plot(z, np.exp(-z * z / 2) / math.sqrt(2 * math.pi), color=COLORS["idle"],
                  label="prior")  # fmt: skip
    axes.axvline(pair.between, color=COLORS["soft"], linestyle=":", linewidth=1)
    axes.set_xlim(*pair.ends)
    axes.set_ylim(0)
    axes.set_ylabel("density of z, each scaled to 1" if unequal else "density of z")
    axes.tick_params("x", labelbottom=False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)


def _strip(axes: Axes, images: Tensor, at: np.ndarray, overlap: float) -> None:
    """Decoded images, each at its place of the line."""
    step = at[1] - at[0]
    for image, place in zip(images, at, strict=True):
        half = 0.48 * step
        axes.imshow(_pixels(image), interpolation="nearest", aspect="auto",
                    extent=(place - half, place + half, 0, 1))  # fmt: skip
    axes.set(yticks=[], ylim=(0, 1), xlim=(at[0] - step / 2, at[-1] + step / 2))
    shared = "less than 0.01%" if overlap < 1e-4 else f"{overlap:.2%}"
    axes.set_xlabel(f"z, and E[x|z] along it; the two densities share {shared} of their mass")
