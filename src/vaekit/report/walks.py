"""Walks through a latent space, decoded: between codes, along one dimension, over a plane.

Shapes: `K` rows of the picture, `T` steps, `N` rows of data, Z latent dims flattened.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit import evaluate
from vaekit.data import Dataset
from vaekit.distributions import Gaussian, Offer, StandardGaussian
from vaekit.errors import VaekitError, choose
from vaekit.evaluate import Latent
from vaekit.models import flat_codes
from vaekit.report.curves import ACTIVE
from vaekit.runs import Run
from vaekit.torchutil import rng

DRAWS = 10_000  # of the prior, for its quantiles


def straight(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """(1 - t) a + t b: codes `(K, Z)` and steps `(T,)` to `(K, T, Z)`.

    Example:
        >>> straight(torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([0.0, 0.25])).tolist()
        [[[0.0, 0.0], [0.25, 0.25]]]
    """
    t = t[:, None]
    return (1 - t) * a[:, None] + t * b[:, None]


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """[sin((1 - t) w) a + sin(t w) b] / sin w, w the angle between a and b: `(K, T, Z)`.

    Between draws of a Gaussian the length stays as it is for draws, where a straight line would
    pass through a shorter middle (Shoemake 1985; White, arXiv 1609.04468). Where a and b are
    parallel, or opposite, it is the straight line.

    Example:
        >>> quarter = spherical(torch.eye(2)[:1], torch.eye(2)[1:], torch.tensor([0.5]))
        >>> [round(value, 4) for value in quarter.flatten().tolist()]
        [0.7071, 0.7071]
    """
    angle = torch.acos(torch.cosine_similarity(a, b, 1).clamp(-1, 1))[:, None, None]
    t = t[:, None]
    round_ = torch.sin((1 - t) * angle) * a[:, None] + torch.sin(t * angle) * b[:, None]
    sine = torch.sin(angle)
    return torch.where(sine > 1e-4, round_ / sine.clamp(min=1e-4), straight(a, b, t[:, 0]))


def between(a: Tensor, b: Tensor, *, steps: int = 10, kind: str = "linear") -> Tensor:
    """Codes from a to b, both ends with them: `(K, *Z)` twice to `(K, T, *Z)`.

    Args:
        a, b: codes.
        steps: T, at least 2.
        kind: "linear" or "spherical".

    Raises:
        VaekitError: for fewer than two steps, or an unknown kind.

    Example:
        >>> between(torch.zeros(1, 2), torch.ones(1, 2), steps=3)[0, 1].tolist()
        [0.5, 0.5]
    """
    if steps < 2:
        raise VaekitError(f"got steps={steps}; expected at least 2: both ends.")
    walk = choose("kind of interpolation", kind, {"linear": straight, "spherical": spherical})
    t = torch.linspace(0, 1, steps, device=a.device)
    return walk(a.flatten(1), b.flatten(1), t).unflatten(2, a.shape[1:])


def interpolate(
    run: Run,
    x: Tensor,
    y: Tensor,
    *,
    steps: int = 10,
    kind: str = "linear",
    context: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """E[x|z] along the way from E[z|x] to E[z|y], `(K, T, *X)`.

    The context of x and that of y, `(K, *G)` each, goes the straight way.
    """
    here, there = (None, None) if context is None else context
    z = between(run.encode(x, here), run.encode(y, there), steps=steps, kind=kind)
    way = None if context is None else between(*context, steps=steps).flatten(0, 1)
    return run.decode(z.flatten(0, 1), way).unflatten(0, z.shape[:2])


def traverse(
    run: Run, z: Tensor, dims: Sequence[int], values: Tensor, context: Tensor | None = None
) -> Tensor:
    """E[x|z] with one dimension of z at each of the values `(T,)`, a row each: `(K, T, *X)`.

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
    codes = z.flatten().repeat(len(dims), len(values), 1)
    for row, dim in enumerate(dims):
        codes[row, :, dim] = values
    flat = codes.flatten(0, 1).unflatten(1, z.shape)
    return run.decode(flat, _repeated(context, len(flat))).unflatten(0, codes.shape[:2])


def settings(texts: Sequence[str]) -> dict[int, float]:
    """What DIM=VALUE asks for: the value of each dimension of z.

    Raises:
        VaekitError: for other text, a value that is not finite, or a dimension named twice.

    Example:
        >>> settings(["3=+2", "0=-1"])
        {3: 2.0, 0: -1.0}
    """
    found: dict[int, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            dim, value = int(name), float(number)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise VaekitError(f"got --set {text}; expected DIM=VALUE, as 3=+2 or 0=-1.5.")
        if dim in found:
            raise VaekitError(f"got --set {text}; dimension {dim} is set to {found[dim]:g} before.")
        found[dim] = value
    return found


def _repeated(context: Tensor | None, rows: int) -> Tensor | None:
    return None if context is None else context.expand(rows, *context.shape[1:])


def manifold(run: Run, side: int = 20, context: Tensor | None = None) -> Tensor:
    """E[x|z] on a grid of a two-dimensional latent, `(side, side, *X)`, the second one upwards.

    The coordinates are quantiles of the prior at (i + 1/2) / side, so that each image stands for
    the same probability (Kingma & Welling, arXiv 1312.6114, fig. 4): of a Gaussian those in closed
    form, of another prior those of draws of it, and those of N(0, 1) where there is no prior.
    `context` is as in `traverse`.

    Raises:
        VaekitError: for a latent of other than two real dimensions, or fewer than one image a side.
    """
    if run.latent_size != 2:
        raise VaekitError(
            f"a manifold shows a latent of 2 dimensions; this one has {run.latent_size}: take "
            "`vaekit traverse`, or train with --latent 2."
        )
    if side < 1:
        raise VaekitError(f"got side={side}; expected at least 1.")
    first, second = _quantiles(run, (torch.arange(side) + 0.5) / side, context).unbind(1)
    z = torch.stack(torch.meshgrid(first, second.flip(0), indexing="xy"), -1)
    return run.decode(z.flatten(0, 1), _repeated(context, side * side)).unflatten(0, (side, side))


def _quantiles(run: Run, at: Tensor, context: Tensor | None) -> Tensor:
    """Of each dimension of z under the prior, `(len(at), Z)`."""
    model = run.vae
    for site in model.example(run.spec.context).sites:
        if (space := site.p.space).kind != "reals":
            raise VaekitError(
                f"a manifold is a plane of real numbers; the latent of {run.path} lives on {space}."
            )
    standard = torch.special.ndtri(at)[:, None]
    if Offer.DRAWS not in run.offers:
        return standard.expand(-1, run.latent_size)
    prior = run.prior(context) if Offer.ONE_SITE in run.offers else None
    if isinstance(prior, Gaussian | StandardGaussian):
        mean, scale = (part.flatten().cpu() for part in (prior.mean, prior.variance.sqrt()))
        return mean + standard * scale
    under = _repeated(context, DRAWS)
    with rng(0, run.device), torch.no_grad():
        zs = model.draw_prior(DRAWS, None if under is None else under.to(run.device))
    return flat_codes(zs).cpu().quantile(at, 0)


MOST = 10  # dimensions that are shown where nobody names them


@dataclass(frozen=True)
class Effect:
    """What one dimension of z holds, and what it does on its way.

    Attributes:
        dim: its number in the flattened code.
        kl: the mean KL(q || p) over the rows, nats; None where the posterior has no density.
        variance: Var E[z|x] over the rows.
        output: the variance of E[x|z] over the steps of its row, a mean over the values of x.
    """

    dim: int
    kl: float | None
    variance: float
    output: float

    @property
    def dead(self) -> bool:
        """Whether Var E[z|x] is at most 0.01 (Burda et al., arXiv 1509.00519)."""
        return self.variance <= ACTIVE

    @property
    def label(self) -> str:
        """Two lines beside its row."""
        kl = "" if self.kl is None else f" KL {self.kl:.2f} nats"
        return f"z{self.dim}{' dead' if self.dead else ''}{kl}\noutput var. {self.output:.2g}"


def held(run: Run, data: Dataset, rows: int = 1000) -> Latent:
    """What the dimensions of z hold, over so many test rows, evenly spread.

    Raises:
        VaekitError: for a model without a latent, or with one of codes.
    """
    run.require()
    subject = run.subject(data, limit=rows)
    found = evaluate.chosen(subject, "traverse", ["latent"])
    record = evaluate.measured(subject, {name: one for name, (one, _) in found.items()})["latent"]
    return Latent(record["kl_per_dim"], record["variance"], record["posterior_scale"])


def chosen(latent: Latent, dims: Sequence[int] | None = None, *, every: bool = False) -> list[int]:
    """The dimensions to show: those named, or those in which codes vary most, the first one most.

    Args:
        latent: what `held` found.
        dims: by their numbers.
        every: all of them, and not the first ten alone.

    Raises:
        VaekitError: for both.

    Example:
        >>> chosen(Latent([0.1, 2.0, 0.0], [0.2, 0.9, 0.0]))
        [1, 0, 2]
    """
    if dims and every:
        raise VaekitError("got --dims and --all: take one of them.")
    if dims:
        return list(dims)
    order = sorted(range(len(latent.variance)), key=lambda dim: -latent.variance[dim])
    return order if every else order[:MOST]


def dead(latent: Latent) -> list[int]:
    """The dimensions whose codes do not vary: Var E[z|x] <= 0.01.

    Example:
        >>> dead(Latent(None, [0.5, 0.01, 0.0]))
        [1, 2]
    """
    return [dim for dim, variance in enumerate(latent.variance) if variance <= ACTIVE]


def effects(latent: Latent, dims: Sequence[int], made: Tensor) -> list[Effect]:
    """What each of the dimensions does.

    Args:
        latent: what `held` found.
        dims: K of its dimensions.
        made: what `walks.traverse` made of them, `(K, T, *X)`.
    """
    moved = made.double().var(1, correction=0).flatten(1).mean(1).tolist()
    pairs = zip(dims, moved, strict=True)
    kl = [None] * len(latent.variance) if latent.kl_per_dim is None else latent.kl_per_dim
    return [Effect(dim, kl[dim], latent.variance[dim], output) for dim, output in pairs]


def lines(found: Sequence[Effect]) -> list[str]:
    """A table of them, a line each.

    Example:
        >>> print("\\n".join(lines([Effect(3, 1.5, 0.8, 0.02), Effect(0, None, 0.0, 0.0)])))
         dim      KL  Var E[z|x]  output variance
           3    1.50      0.8000           0.0200
           0       -      0.0000             0.00  dead
    """
    made = [f"{'dim':>4}  {'KL':>6}  {'Var E[z|x]':>10}  {'output variance':>15}"]
    for one in found:
        kl = "-" if one.kl is None else f"{one.kl:.2f}"
        row = f"{one.dim:>4}  {kl:>6}  {one.variance:>10.4f}  {one.output:>#15.3g}"
        made.append(f"{row}{'  dead' if one.dead else ''}")
    return made
