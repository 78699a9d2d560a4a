"""Rows that are changed by way of their codes: toward a class, or a little at random."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vaekit._torchutil import evaluating, rng
from vaekit.data import Dataset, spread
from vaekit.distributions import BALL, SPHERE, Offer, curved, flat
from vaekit.errors import VaekitError, at_least, unknown
from vaekit.models import exact
from vaekit.runs._opened import affordable, fixed_at
from vaekit.runs._outliers import codes_of
from vaekit.runs._run import Run

MOST = 5000  # rows of either side of a direction
VARIETY = 0.3


def edit(
    run: Run,
    x: Any,
    toward: Mapping[str, float],
    *,
    context: Tensor | None = None,
    steps: int | None = None,
    data_dir: Any = None,
) -> Tensor:
    """Return rows moved toward classes, in so many steps: see `Run.edit`."""
    if not toward:
        raise VaekitError(
            "got no `toward`; expected a class and a strength, as toward={'glasses': 1}."
        )
    if not all(math.isfinite(strength) for strength in toward.values()):
        raise VaekitError(f"got `toward={dict(toward)}`; expected finite strengths.")
    check_reals(run)
    x, context = run._seen(x, context)
    affordable(run, len(x) * (1 if steps is None else at_least("steps", steps, 2)))
    shares = torch.ones(1) if steps is None else torch.linspace(0, 1, steps)
    space, under = run.codes_space, None if context is None else context.cpu()
    z = flat(space, run.encode(x, context).flatten(1))
    moves, turns = torch.zeros_like(z), torch.zeros(()) if under is None else 0 * under
    data = run.dataset(data_dir)
    for name, strength in toward.items():
        if under is not None and run.spec.labeled and name in run.class_names:
            turns = turns + strength * (relabeled(run, under, name) - under)
        else:
            moves = moves + strength * direction(run, data, name)
    way = z[:, None] + shares[:, None] * moves[:, None]
    if under is not None:
        under = (under[:, None] + shares[:, None] * turns[:, None]).flatten(0, 1)
    way = curved(space, way)
    made = run.decode(way.flatten(0, 1), under).unflatten(0, way.shape[:2])
    return made[:, 0] if steps is None else made


def relabeled(run: Run, context: Tensor, label: int | str) -> Tensor:
    """Return contexts `(N, G)` with another label; what else is in them is as it was."""
    of, classes = run.context(label, len(context)).to(context), run.spec.classes
    return torch.cat([of[:, :classes], context[:, classes:]], 1)


def check_reals(run: Run, *also: str) -> None:
    """Refuse a run whose codes cannot be moved or plotted, but for those of spaces `also`.

    Raises:
        VaekitError: for a latent of other things than real numbers.
    """
    for site in run.vae.example(run.spec.context).sites:
        if site.q.space.kind not in ("reals", SPHERE, BALL, *also):
            raise VaekitError(
                f"the codes of {run.path} are no real numbers, to move or to plot: {site.q.space}."
            )


def direction(run: Run, data: Dataset, name: str) -> Tensor:
    """Return the mean code of the training rows of a class less that of all others, `(Z,)`.

    Of a curved space in its flat coordinates: see `vaekit.distributions.flat`.

    Args:
        run: with a latent of real numbers.
        data: of its training.
        name: a class; or a factor: rows above its mean are then told from the others.

    Raises:
        VaekitError: for another name, and where no row, or each one, is of the class.
    """
    of = members(data, name)
    sides = []
    for each in (of, ~of):
        index = each.nonzero().flatten()
        if not len(index):
            what = "no training row is" if each is of else "all training rows are"
            raise VaekitError(f"{what} of `toward={name}`: nothing tells it from others.")
        rows = data.train.take(index[spread(len(index), MOST)])
        sides.append(flat(run.codes_space, codes_of(run, rows)).mean(0))
    return sides[0] - sides[1]


def members(data: Dataset, name: str) -> Tensor:
    """Return which training rows are of a class, or above the mean of a factor, bool `(N,)`.

    Raises:
        VaekitError: for another name.
    """
    train, classes = data.train, list(data.class_names or map(str, range(data.classes)))
    if train.labels is not None and name in classes:
        return train.labels == classes.index(name)
    if train.factors is not None and name in data.factor_names:
        factor = train.factors[:, data.factor_names.index(name)].float()
        return factor > factor.mean()
    known = [*(classes if train.labels is not None else ()), *data.factor_names]
    if not known:
        raise VaekitError(
            f"got `toward={name}`; {data.name} has no labels: train with some, as `labels` or "
            "`label` name them."
        )
    raise unknown("class", name, known)


def vary(
    run: Run,
    x: Any,
    n: int,
    *,
    variety: float | None = None,
    context: Tensor | None = None,
    label: int | str | None = None,
    mean: bool = True,
    seed: int = 0,
    fixed: Mapping[int, float] | None = None,
    prior: str | None = None,
) -> Tensor:
    """Return n rows like each of x, `(B * n, *X)`: see `Run.sample`.

    z is cos(a) z1 + sin(a) z2, where z1 is a draw of q(z|x), z2 one as `Run.sample` has it, and a
    that share of a right angle: where both are of N(0, I), so is z. In a ball they are added as
    tangent vectors at 0.
    """
    variety = VARIETY if variety is None else variety
    if not 0 <= variety <= 1:
        raise VaekitError(f"got `variety={variety}`; expected a share from 0 to 1.")
    model: Any = run.require(Offer.ONE_SITE, Offer.DRAWS)
    check_reals(run)
    x, context = run._seen(x, context)
    affordable(run, many := len(x) * at_least("n", n, 1))
    fitted = run.sampled_prior(prior)
    with rng(seed, run.device), evaluating(model), exact(model):
        seen, mask = model.seen(x)
        (site,) = model.draw(model.infer(seen, context, mask), (n,))
        z = site.z.transpose(0, 1).flatten(0, 1)
        under = None if context is None else context.repeat_interleave(n, 0)
        if label is not None:
            under = run.context(label, many).to(run.device) if under is None else under
            under = relabeled(run, under, label)
        if fitted is None:
            (new,) = model.draw_prior(many, under)
        else:
            (new,) = fitted.in_place_of(model, scored=False).draw_prior(many, under)
        angle = variety * math.pi / 2
        space = site.q.space
        z = curved(space, math.cos(angle) * flat(space, z) + math.sin(angle) * flat(space, new))
        z = torch.nn.functional.normalize(z, dim=-1) if space.kind == SPHERE else z
        z = fixed_at(z, fixed, run.prior(None if under is None else under[:1])) if fixed else z
        made = model.decode((z,), under) if mean else model.likelihood_at((z,), under).sample()
    return made.cpu()
