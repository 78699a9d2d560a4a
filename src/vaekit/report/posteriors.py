"""The posterior of rows of data: where it lies, and how wide it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaekit.data import Split
from vaekit.data.dataset import generator
from vaekit.data.rows import pick
from vaekit.parts.priors import StandardNormal
from vaekit.torchutil import evaluating

if TYPE_CHECKING:
    from vaekit.runs.run import Run


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


def posteriors(run: Run, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """E[z|x] of canonical rows and the standard deviation of z given x, `(N, Z)` each.

    The latter is None where the posterior has none, as that of an autoencoder: a point.
    """
    means, scales = [], []
    with evaluating(run.model):
        for part in torch.arange(len(x)).split(BATCH):
            rows = x[part].to(run.device)
            q: Any = run.vae.infer(
                rows, None if given is None else given[part].float().to(run.device)
            )
            means.append(q.mean.flatten(1).cpu())
            if "moments" in q.offers:
                scales.append(q.variance.sqrt().flatten(1).cpu())
    return torch.cat(means), torch.cat(scales) if scales else None


def standard_prior(run: Run) -> bool:
    """Whether codes are measured against N(0, I); an autoencoder's are against nothing."""
    return isinstance(run.vae.prior, StandardNormal) and "density" in run.model.offers
