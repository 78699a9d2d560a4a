"""The posterior of rows of data: where it lies, and how wide it is."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.data import Split
from vaekit.data.dataset import generator
from vaekit.data.rows import pick
from vaekit.distributions import Distribution, Offer, StandardGaussian
from vaekit.models import exact, flat_codes
from vaekit.runs import Run
from vaekit.torchutil import evaluating

BATCH = 500


def fixed_rows(split: Split, index: Tensor | None = None) -> Tensor:
    """x of the rows at `index`, of all by default: the same each time, dequantised or not.

    Example:
        >>> from vaekit.data.values import Values
        >>> rows = Split(torch.zeros(3, 4, dtype=torch.uint8), values=Values(dequantise=True))
        >>> torch.equal(fixed_rows(rows), fixed_rows(rows)), torch.equal(rows.x(), rows.x())
        (True, False)
    """
    every = torch.arange(len(split)) if index is None else index
    return split.values(pick(split.images, every), generator(0, "figures"))


def posteriors(run: Run, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """The codes of canonical rows and the standard deviation of z given x, `(N, Z)` each.

    Those of several latents stand side by side. The latter is None where the posterior offers no
    variance, as that of an autoencoder: a point.
    """
    means, scales = [], []
    for index in torch.arange(len(x)).split(BATCH):
        rows, under = x[index], None if context is None else context[index]
        means.append(run.encode(rows, under).flatten(1))
        if Offer.MOMENTS in run.offers:
            variances = [q.variance for q in posterior(run, rows, under)]  # type: ignore[attr-defined]
            scales.append(flat_codes(variances).sqrt().cpu())
    return torch.cat(means), torch.cat(scales) if scales else None


def posterior(run: Run, x: Tensor, context: Tensor | None = None) -> list[Distribution]:
    """q(z|x) of canonical rows, of each latent."""
    model, under = run.vae, None if context is None else context.float().to(run.device)
    with evaluating(model), exact(model):
        x, mask = model.seen(x.to(run.device))
        return [site.q for site in model.draw(model.infer(x, under, mask), (0,))]


def standard_prior(run: Run) -> bool:
    """Whether codes are measured against N(0, I): one latent with densities, and that prior."""
    there = {Offer.DENSITY, Offer.ONE_SITE} <= run.offers
    return there and type(run.prior()) is StandardGaussian
