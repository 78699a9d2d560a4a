"""Walks through a latent space, decoded: between codes, along one dimension, over a plane.

Shapes: `K` rows of images, `T` steps, `N` rows of data, Z latent dims flattened.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit._torchutil import rng
from vaekit.data import Dataset
from vaekit.distributions import (
    BALL,
    SPHERE,
    Gaussian,
    Offer,
    StandardGaussian,
    curved,
    flat,
    geodesic,
)
from vaekit.errors import VaekitError, at_least, choose
from vaekit.evaluate import ACTIVE, Latent, chosen, measured
from vaekit.models import flat_codes
from vaekit.runs import Run, affordable, check_reals

SAMPLES = 10_000  # of the prior, for its quantiles
MOST = 10  # dimensions that are shown where nobody names them


def between(a: Tensor, b: Tensor, *, steps: int = 10, kind: str = "linear") -> Tensor:
    """Return codes from a to b, both ends with them: `(K, *Z)` twice to `(K, T, *Z)`.

    "linear" is (1 - t) a + t b. "spherical" is [sin((1 - t) w) a + sin(t w) b] / sin w, w the angle
    between a and b: between samples of a Gaussian the length stays as it is for samples, where a
    straight line would pass through a shorter middle (Shoemake 1985; White, arXiv 1609.04468).
    Where a and b are parallel, or opposite, it is the straight line.

    Args:
        a, b: codes.
        steps: T, at least 2.
        kind: "linear" or "spherical".

    Raises:
        VaekitError: for fewer than two steps, or an unknown kind.

    Example:
        >>> between(torch.zeros(1, 2), torch.ones(1, 2), steps=3)[0, 1].tolist()
        [0.5, 0.5]
        >>> quarter = between(torch.eye(2)[:1], torch.eye(2)[1:], steps=3, kind="spherical")[0, 1]
        >>> [round(value, 4) for value in quarter.tolist()]
        [0.7071, 0.7071]
    """
    if steps < 2:
        raise VaekitError(f"got `steps={steps}`; expected at least 2: both ends.")
    choose("kind of interpolation", kind, dict.fromkeys(("linear", "spherical")))
    first, last = a.flatten(1)[:, None], b.flatten(1)[:, None]
    t = torch.linspace(0, 1, steps, device=a.device)[:, None]
    way = (1 - t) * first + t * last
    if kind == "spherical":
        angle = torch.acos(torch.cosine_similarity(first, last, -1).clamp(-1, 1))[..., None]
        arc, sine = torch.sin((1 - t) * angle) * first + torch.sin(t * angle) * last, angle.sin()
        way = torch.where(sine > 1e-4, arc / sine.clamp(min=1e-4), way)
    return way.unflatten(2, a.shape[1:])


def interpolate(
    run: Run,
    x: Tensor,
    y: Tensor,
    *,
    steps: int = 10,
    kind: str = "linear",
    context: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return E[x|z] along the way from E[z|x] to E[z|y], `(K, T, *X)`.

    In a ball it is the geodesic, on a sphere an arc, whatever the kind.

    The context of x and that of y, `(K, *G)` each, goes the straight way.
    """
    check_reals(run, "one-hot")
    affordable(run, len(x) * steps)
    here, there = (None, None) if context is None else context
    first, last, space = run.encode(x, here), run.encode(y, there), run.codes_space
    kind = "spherical" if space.kind == SPHERE else kind
    z = between(first, last, steps=steps, kind=kind)
    if space.kind == BALL:
        if kind != "linear":
            raise VaekitError(f"got `kind={kind}`; codes in a ball go the geodesic: leave it out.")
        t = torch.linspace(0, 1, steps)[:, None]
        z = geodesic(first[:, None], last[:, None], t, space.curvature)
    way = None if context is None else between(*context, steps=steps).flatten(0, 1)
    return run.decode(z.flatten(0, 1), way).unflatten(0, z.shape[:2])


def traverse(
    run: Run, z: Tensor, dims: Sequence[int], values: Tensor, context: Tensor | None = None
) -> Tensor:
    """Return E[x|z] with one dimension of z at each of the values `(T,)`, a row each: `(K, T, *X)`.

    In a ball it is a dimension of the tangent space at 0, which has the scale of N(0, I).

    Args:
        run: with a latent.
        z: one code, `(*Z)`, as `Run.encode` gives them.
        dims: which of its dimensions, flattened.
        values: what each is set to.
        context: of a conditional run, `(1, *G)`.

    Raises:
        VaekitError: for a dimension that z does not have.
    """
    wrong = [dim for dim in dims if not 0 <= dim < z.numel()]
    if wrong:
        raise VaekitError(f"there is no dimension {wrong[0]}; the latent has 0 to {z.numel() - 1}.")
    affordable(run, len(dims) * len(values))
    space = run.codes_space
    codes = flat(space, z.flatten()).repeat(len(dims), len(values), 1)
    for row, dim in enumerate(dims):
        codes[row, :, dim] = values
    rows = curved(space, codes.flatten(0, 1)).unflatten(1, z.shape)
    return run.decode(rows, _repeated(context, len(rows))).unflatten(0, codes.shape[:2])


def variables(run: Run) -> list[slice]:
    """Return where the one-hot variables are in a flattened code."""
    found, at = [], 0
    for site in run.vae.example(run.spec.context).sites:
        *count, size = site.q.event_shape
        if site.q.space.kind == "one-hot":
            found += [slice(at + i * size, at + (i + 1) * size) for i in range(math.prod(count))]
        at += math.prod(site.q.event_shape)
    return found


def categories(run: Run, z: Tensor, context: Tensor | None = None) -> list[Tensor]:
    """Return E[x|z] with each one-hot variable of z at each of its categories, `(categories, *X)`.

    The arguments are those of `traverse`.
    """
    found = []
    for place in variables(run):
        size = place.stop - place.start
        codes = z.flatten().repeat(size, 1)
        codes[:, place] = torch.eye(size)
        found.append(run.decode(codes.unflatten(1, z.shape), _repeated(context, size)))
    return found


def settings(edits: Sequence[str]) -> dict[int, float]:
    """Return the value of each dimension of z that edits as DIM=VALUE set.

    Raises:
        VaekitError: for other text, a value that is not finite, or a dimension named twice.

    Example:
        >>> settings(["3=+2", "0=-1"])
        {3: 2.0, 0: -1.0}
    """
    values: dict[int, float] = {}
    for edit in edits:
        name, _, number = edit.partition("=")
        try:
            dim, value = int(name), float(number)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise VaekitError(f"got `set_={edit}`; expected DIM=VALUE, as 3=+2 or 0=-1.5.")
        if dim in values:
            raise VaekitError(
                f"got `set_={edit}`; dimension {dim} is set to {values[dim]:g} before."
            )
        values[dim] = value
    return values


def _repeated(context: Tensor | None, rows: int) -> Tensor | None:
    return None if context is None else context.expand(rows, *context.shape[1:])


def manifold(
    run: Run, side: int = 20, context: Tensor | None = None
) -> tuple[Tensor, tuple[list[float], list[float]]]:
    """Return E[x|z] on a grid of a latent plane, `(side, side, *X)`, the second dimension upwards.

    With it come the values of the first dimension, from the left, and of the second, from the top.

    The coordinates are quantiles of the prior at (i + 1/2) / side, so that each image stands for
    the same probability (Kingma & Welling, arXiv 1312.6114, fig. 4): of a Gaussian those in closed
    form, of another prior those of samples of it, and those of N(0, 1) where there is no prior.
    `context` is as in `traverse`.

    Raises:
        VaekitError: for a latent of other than two real dimensions, or fewer than one image a side.
    """
    check_plane(run)
    affordable(run, at_least("side", side, 1) ** 2)
    at = (torch.arange(side) + 0.5) / side
    quantiles = torch.special.ndtri(at)[:, None].expand(-1, 2)
    prior = run.prior(context) if {Offer.DRAWS, Offer.ONE_SITE} <= run.offers else None
    if isinstance(prior, Gaussian | StandardGaussian):
        mean, scale = (part.flatten().cpu() for part in (prior.mean, prior.variance.sqrt()))
        quantiles = mean + quantiles * scale
    elif Offer.DRAWS in run.offers:
        under = _repeated(context, SAMPLES)
        with rng(0, run.device), torch.no_grad():
            zs = run.vae.draw_prior(SAMPLES, None if under is None else under.to(run.device))
        quantiles = flat_codes(zs).cpu().quantile(at, 0)
    first, second = quantiles[:, 0], quantiles[:, 1].flip(0)
    return decoded(run, first, second, context), (first.tolist(), second.tolist())


def decoded(run: Run, first: Tensor, second: Tensor, context: Tensor | None = None) -> Tensor:
    """Return E[x|z] where the first and the second dimension have these values.

    A row has one of the second: `(len(second), len(first), *X)`. `context` is as in `traverse`.
    """
    z = torch.stack(torch.meshgrid(first, second, indexing="xy"), -1).flatten(0, 1)
    made = run.decode(z, _repeated(context, len(z)))
    return made.unflatten(0, (len(second), len(first)))


def check_plane(run: Run) -> None:
    """Refuse a run whose latent is no plane of real numbers."""
    if run.latent_size != 2:
        raise VaekitError(
            f"a manifold shows a latent of 2 dimensions; this one has {run.latent_size}: take "
            "`vaekit traverse`, or train with `latent=2`."
        )
    for site in run.vae.example(run.spec.context).sites:
        if (space := site.p.space).kind != "reals":
            raise VaekitError(
                f"a manifold is a plane of real numbers; the latent of {run.path} lives on {space}."
            )


def latent_of(run: Run, data: Dataset, rows: int = 1000) -> Latent:
    """Measure what the dimensions of z hold, over so many test rows, evenly spread.

    Raises:
        VaekitError: for a model without a latent, or with one of other things than numbers.
    """
    check_reals(run, "one-hot")
    subject = run.subject(data, limit=rows)
    metric: Any = chosen(subject, "traverse", ["latent"])["latent"][0]
    measured(subject, {"latent": metric})
    return metric.latent()


def strongest(
    latent: Latent,
    dims: Sequence[int] | None = None,
    *,
    all_dims: bool = False,
    but: Collection[int] = (),
) -> list[int]:
    """Return the dimensions to show: those named, or those in which codes vary most, in order.

    Args:
        latent: what `latent_of` measured.
        dims: by their numbers.
        all_dims: all of them, and not the first ten alone.
        but: without these, where none is named.

    Raises:
        VaekitError: for both.

    Example:
        >>> strongest(Latent([0.1, 2.0, 0.0], [0.2, 0.9, 0.0]))
        [1, 0, 2]
    """
    if dims and all_dims:
        raise VaekitError("got `dims` and `all_dims`: take one of them.")
    if dims:
        return list(dims)
    known = (dim for dim in range(len(latent.variance)) if dim not in but)
    order = sorted(known, key=lambda dim: -latent.variance[dim])
    return order if all_dims else order[:MOST]


@dataclass(frozen=True)
class Effect:
    """What one dimension of z holds, and what it does along its row.

    Attributes:
        dim: its number in the flattened code.
        kl: the mean KL(q || p) over the rows, nats; None where the posterior has no density.
        variance: Var E[z|x] over the rows; a dimension of at most 0.01 is dead (Burda et al.,
            arXiv 1509.00519).
        output: the variance of E[x|z] over the steps of its row, a mean over the values of x.
    """

    dim: int
    kl: float | None
    variance: float
    output: float

    @property
    def label(self) -> str:
        """Two lines beside its row."""
        kl = "" if self.kl is None else f" KL {self.kl:.2f} nats"
        dead = " dead" * (self.variance <= ACTIVE)
        return f"z{self.dim}{dead}{kl}\noutput var. {self.output:.2g}"


def effects(latent: Latent, dims: Sequence[int], images: Tensor) -> list[Effect]:
    """Return what each of the dimensions does, from what `traverse` gave, `(K, T, *X)`."""
    output = images.double().var(1, correction=0).flatten(1).mean(1).tolist()
    kl = latent.kl_per_dim
    return [
        Effect(dim, None if kl is None else kl[dim], latent.variance[dim], moved)
        for dim, moved in zip(dims, output, strict=True)
    ]


def effect_table(latent: Latent, rows: Sequence[Effect]) -> str:
    """Return a table of them, and the dead among all dimensions of the latent.

    Example:
        >>> latent = Latent(None, [0.8, 0.0])
        >>> print(effect_table(latent, [Effect(0, 1.5, 0.8, 0.02), Effect(1, None, 0.0, 0.0)]))
        dimensions, from the top: 0 1
         dim      KL  Var E[z|x]  output variance
           0    1.50      0.8000           0.0200
           1       -      0.0000             0.00  dead
        dead, of all: 1
    """
    lines = [f"dimensions, from the top: {' '.join(str(row.dim) for row in rows)}"]
    lines += [f"{'dim':>4}  {'KL':>6}  {'Var E[z|x]':>10}  {'output variance':>15}"]
    for row in rows:
        kl = "-" if row.kl is None else f"{row.kl:.2f}"
        line = f"{row.dim:>4}  {kl:>6}  {row.variance:>10.4f}  {row.output:>#15.3g}"
        lines.append(line + "  dead" * (row.variance <= ACTIVE))
    dead = [str(dim) for dim, variance in enumerate(latent.variance) if variance <= ACTIVE]
    return "\n".join([*lines, f"dead, of all: {' '.join(dead) or 'none'}"])
