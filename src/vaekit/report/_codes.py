"""Where the codes of the data lie: clouds of E[z|x], by what is known of x."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vaekit._torchutil import evaluating
from vaekit.data import Split, generator, pick, spread
from vaekit.distributions import Distribution, Offer, StandardGaussian
from vaekit.errors import VaekitError, visible
from vaekit.models import exact, flat_codes, rows_at_once
from vaekit.report._curves import Chart, Plot, cut, short
from vaekit.runs import Run

CLASSES = 20  # more are not shown apart
HANDFUL = 4  # ellipses of each class
FEW = 60  # rows of which each has an ellipse
SIDE = 480.0  # units of a plane of codes
SHADES = 8  # of a factor's values
AXES = 8  # dimensions that the script can show
NEIGHBORS, ROUNDS, PERPLEXITY = 500, 500, 30  # rows of t-SNE, and how it is found


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
        names: of the dimensions, the first two of which are drawn; by default z0 and so on, and
            those two in which the codes vary most.

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
    names: Sequence[str] = ()

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
        if self.names:
            return [0, 1]
        found = self.order[:2]
        return found if self.means.shape[1] > 2 else sorted(found)

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

    def name(self, dimension: int) -> str:
        """Return what a dimension is called."""
        return self.names[dimension] if self.names else f"z{dimension}"

    @property
    def order(self) -> list[int]:
        """The dimensions, those in which the codes vary most first."""
        return self.means.double().var(0, False).sort(descending=True, stable=True).indices.tolist()

    @property
    def groups(self) -> list[tuple[str, Tensor]]:
        """The name and the rows of each class; all rows where none are shown apart."""
        if self.labels is None or not self.known:
            return [("", torch.arange(len(self.means)))]
        names = self.classes or [str(label) for label in range(max(self.known) + 1)]
        return [(names[y], (self.labels == y).nonzero().flatten()) for y in self.known]

    @property
    def ellipses(self) -> dict[int, tuple[list[float], ...]]:
        """By some rows, their code and one σ of z given x, in the plane; where all are finite."""
        if self.scales is None or self.means.shape[1] < 2:
            return {}
        both = torch.stack([self.means, self.scales], 1)[..., self.dimensions].double()
        some = [row for row in self.some if both[row].isfinite().all()]
        return {row: tuple(both[row].tolist()) for row in some}

    @property
    def some(self) -> list[int]:
        """The rows that get an ellipse: all where there are few, else some of each class."""
        if len(self.means) <= FEW:
            return list(range(len(self.means)))
        return [int(row) for _, rows in self.groups for row in rows[spread(len(rows), HANDFUL)]]


class Plane:
    """The two dimensions in which codes vary most, as a square on which nearly all of them lie.

    Attributes:
        middle: of the square, in each dimension of the codes; 0 beside a prior.
        unit: how long 1 is.
        places: the codes in the two dimensions, `(N, 2)`.
    """

    def __init__(self, codes: Codes) -> None:
        means = codes.means.double()
        at = torch.tensor([0.005, 0.995]).double()
        means = means.where(means.isfinite(), torch.nan)
        low, high = means.nanquantile(at, 0).nan_to_num()
        self.middle = torch.zeros_like(low) if codes.prior else (low + high) / 2
        span = torch.maximum(high - self.middle, self.middle - low)[codes.dimensions].max().item()
        self.unit = SIDE / 2 / (1.06 * max(span, 2.2 if codes.prior else 1e-9))
        self.places = means[:, codes.dimensions]
        self.center = self.middle[codes.dimensions].tolist()

    def plot(self) -> Plot:
        """Return the empty square."""
        half = SIDE / 2 / self.unit
        x, y = ((center - half, center + half) for center in self.center)
        return Plot(x, y, (SIDE, SIDE), (0, 0, 0, 0))


def plane(codes: Codes, words: str) -> tuple[str, Plane]:
    """Draw codes in the two dimensions in which they vary most, a cloud for each class.

    The first class is marked. Circles are 1 and 2 standard deviations of the prior, ellipses one of
    z given x: of every row where there are few, else of some of each class.

    Example:
        >>> codes = Codes(torch.rand(9, 2), torch.arange(9) % 3)
        >>> plane(codes, "codes")[0].count('class="points')
        3
    """
    square, (first, second) = Plane(codes), codes.dimensions
    plot, places = square.plot(), square.places
    across, up = plot.at(*square.center)
    plot.add(f'<path class="grid" d="M0 {up:.1f}H{SIDE:g}M{across:.1f} 0V{SIDE:g}"/>')
    for radius in (1, 2) if codes.prior else ():
        size = radius * square.unit
        plot.add(f'<circle class="grid prior" cx="{across:.1f}" cy="{up:.1f}" r="{size:.1f}"/>')
        plot.text(across + 0.72 * size, up + 0.72 * size + 4, f"{radius}σ", "prior")
    for number, (_, rows) in enumerate(codes.groups):
        kind = "points" if number else "points on"
        plot.dots(places[rows].tolist(), kind, f' data-k="{number}"')
    for place, (wide, high) in codes.ellipses.values():
        x, y = plot.at(*place)
        halves = f'rx="{wide * square.unit:.1f}" ry="{high * square.unit:.1f}"'
        plot.add(f'<ellipse class="ellipse" cx="{x:.1f}" cy="{y:.1f}" {halves}/>')
    plot.text(SIDE - 4, up - 8, f"{codes.name(first)} →", "strong across", anchor="end")
    plot.text(across + 8, 12, f"{codes.name(second)} ↑", "strong up")
    plot.add('<circle class="hit err accent" r="8" visibility="hidden"/>')
    return plot.svg(words), square


def minis(codes: Codes) -> list[tuple[str, str]]:
    """Return the name of each class, and its cloud alone as a small plot."""
    square, found = Plane(codes), []
    for number, (name, rows) in enumerate(codes.groups):
        plot = square.plot()
        plot.dots(square.places[rows].tolist(), "points", f' data-k="{number}"')
        found.append((name, plot.svg(name)))
    return found


def views(codes: Codes) -> Codes:
    """Return codes of more than two dimensions by principal components, t-SNE, and single ones.

    The components are turned and not moved, so that a prior N(0, I) stays where it is. t-SNE is of
    some rows, NaN elsewhere; it keeps neighbors together, and has no units.

    References:
        van der Maaten and Hinton 2008, Visualizing data using t-SNE.

    Example:
        >>> views(Codes(torch.randn(9, 3))).names
        ('PC 1', 'PC 2', 't-SNE 1', 't-SNE 2', 'z0', 'z1', 'z2')
    """
    means = codes.means.double().nan_to_num(0.0, 0.0, 0.0)
    dims = sorted(codes.order[:AXES])
    _, _, turned = torch.linalg.svd(means - means.mean(0), full_matrices=False)
    turned = turned * turned.gather(1, turned.abs().argmax(1, keepdim=True)).sign()
    main = means @ turned[:2].T if len(turned) > 1 else means[:, dims[:2]]
    some = torch.as_tensor(spread(len(means), NEIGHBORS))
    near = torch.full_like(main, torch.nan)
    if len(some) > 3:
        from sklearn.manifold import TSNE

        perplexity = min(PERPLEXITY, (len(some) - 1) / 3)
        how: Any = {"init": "random" if means.std(0).max() < 1e-9 else "pca", "random_state": 0}
        placed = TSNE(2, perplexity=perplexity, max_iter=ROUNDS, **how).fit_transform(means[some])
        apart = torch.from_numpy(placed).double()
        apart = apart - (apart.amin(0) + apart.amax(0)) / 2
        square = Plane(Codes(main, prior=codes.prior, names=("PC 1", "PC 2")))
        reach = 0.47 * SIDE / square.unit / apart.abs().max().clamp(min=1e-9)
        near[some] = apart * reach + torch.as_tensor(square.center).double()
    names = ("PC 1", "PC 2", "t-SNE 1", "t-SNE 2", *map(codes.name, dims))
    columns = torch.cat([main, near, means[:, dims]], 1)
    return replace(codes, means=columns, scales=None, names=names)


def cloud(codes: Codes, words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the plane of codes with a small one for each class, and what the script looks up."""
    number = {int(row): group for group, (_, rows) in enumerate(codes.groups) for row in rows}
    svg, square = plane(codes, words)
    axes = range(codes.means.shape[1])
    names = [codes.name(axis) for axis in axes]
    known = {
        "z": [[None if z != z else round(z, 2) for z in row] for row in codes.means.tolist()],
        "dims": names,
        "middle": square.middle.tolist(),
        "class": [number.get(row, 0) for row in range(len(codes.means))],
        "names": [visible(name, lines=False) for name, _ in codes.groups],
        "scale": square.unit,
        "size": [480, 480],
    }
    small = minis(codes) if len(codes.groups) > 1 else []
    return {"svg": svg, "minis": small, "axes": list(enumerate(names))}, known


def strips(codes: Codes, words: str) -> str:
    """Draw codes of one dimension: a line for each class, the first one at the top.

    Example:
        >>> strips(Codes(torch.rand(9, 1), torch.arange(9) % 3), "codes").count('class="points')
        3
    """
    values = codes.means[:, 0].double().nan_to_num(0.0, 0.0, 0.0)
    low, high = values.min().item(), values.max().item()
    margin = max(0.06 * (high - low), 1e-6)
    many = len(codes.groups)
    plot = Plot((low - margin, high + margin), (-many + 0.4, 0.6), (480, 40 + 34 * many))
    plot.margins = (110 if many > 1 else 12, 40, 6, 30)
    plot.below("z0")
    for edge in (edge for edge in (-2, -1, 1, 2) if codes.prior and plot.x[0] < edge < plot.x[1]):
        plot.vertical(edge)
    for number, (name, rows) in enumerate(codes.groups):
        heights = (torch.arange(len(rows)) * 0.6180339887 % 1) * 0.7 - 0.35  # as if by chance
        places = torch.stack([values[rows], heights - number], 1).tolist()
        plot.dots(places, "points on fine")
        plot.text(100, plot.at(0, -number)[1] + 4, cut(name, 16), anchor="end")
    return plot.svg(words)


def by_factor(codes: Codes) -> Iterator[Chart]:
    """Draw the codes once for each factor: the larger its value, the further from the page.

    Example:
        >>> codes = Codes(torch.rand(9, 2), factors=torch.rand(9, 1), factor_names=["size"])
        >>> [chart.title for chart in by_factor(codes)]
        ['size']
    """
    assert codes.factors is not None
    square = Plane(codes)
    for number, values in enumerate(codes.factors.double().T):
        name = codes.factor_names[number] if codes.factor_names else f"factor {number + 1}"
        plot, known = square.plot(), values[values.isfinite()]
        low, high = (known.min().item(), known.max().item()) if len(known) else (0.0, 1.0)
        share = ((values - low) / max(high - low, 1e-12)).nan_to_num(0.0, 1.0, 0.0)
        shade = (share * (SHADES - 1)).round()
        for step in range(SHADES):
            color = f"color-mix(in srgb, var(--step3) {100 * step // (SHADES - 1)}%, var(--warm))"
            found = square.places[shade == step].tolist()
            plot.dots(found, "points", f' style="stroke: {color}"')
        words = f"codes of {len(values)} test rows in the colors of {name}"
        yield Chart(name, f"{short(low)} to {short(high)}", plot.svg(words), words)


def fixed_rows(split: Split, index: Tensor | None = None) -> Tensor:
    """Return x of the rows at `index`, of all by default: the same each time, dequantized or not.

    Example:
        >>> from vaekit.data import Transform
        >>> rows = Split(torch.zeros(3, 4, dtype=torch.uint8), values=Transform(dequantize=True))
        >>> torch.equal(fixed_rows(rows), fixed_rows(rows)), torch.equal(rows.x(), rows.x())
        (True, False)
    """
    every = torch.arange(len(split)) if index is None else index
    return split.values(pick(split.images, every), generator(0, "figures"))


def posteriors(
    run: Run, rows: Tensor | Split, context: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return the codes of rows, canonical or of a split, and the deviations of z given x.

    Both are `(N, Z)`; those of several latents stand side by side. The latter is None where the
    posterior offers no variance, as that of an autoencoder: a point.
    """
    split = Split(rows, context=context) if isinstance(rows, Tensor) else rows
    means, scales, noise = [], [], generator(0, "figures")
    for index in torch.arange(len(split)).split(rows_at_once(run.model)):
        x = split.values(pick(split.images, index), noise)
        under = None if split.context is None else split.context[index].float()
        means.append(run.encode(x, under).flatten(1))
        if Offer.MOMENTS in run.offers:
            variances = [q.variance for q in posterior(run, x, under)]  # type: ignore[attr-defined]
            scales.append(flat_codes(variances).sqrt().cpu())
    return torch.cat(means), torch.cat(scales) if scales else None


def posterior(run: Run, x: Tensor, context: Tensor | None = None) -> list[Distribution]:
    """Return q(z|x) of canonical rows, of each latent."""
    model, under = run.vae, None if context is None else context.float().to(run.device)
    with evaluating(model), exact(model):
        x, mask = model.seen(x.to(run.device))
        return [site.q for site in model.draw(model.infer(x, under, mask), (0,))]


def standard_prior(run: Run) -> bool:
    """Return whether the prior of one latent with densities is N(0, I)."""
    there = {Offer.DENSITY, Offer.ONE_SITE} <= run.offers
    return there and type(run.prior()) is StandardGaussian
