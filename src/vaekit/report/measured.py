"""What the report of a run measures: on up to 1,000 test rows, spread over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.data import Dataset, Split
from vaekit.evaluate import Colours, LatentMeter, bits_per_dim, colours, measure
from vaekit.evaluate.bound import Measured
from vaekit.evaluate.latent import Latent
from vaekit.models import Colorizer
from vaekit.runs.run import Run
from vaekit.torchutil import evaluating, rng

BATCH = 100
DRAWS = 10


@dataclass(frozen=True, eq=False)
class Numbers:
    """What was measured.

    Attributes:
        measured: the ELBO and its terms, and the mean square error.
        bits: per dimension, or None.
        latent: what each latent dimension holds; None for a model without any.
        codes: E[z|x] of the rows, `(N, Z)`; None for a model without a latent.
        noun: what one x is: "image" or "row".
        of: how many test rows there are.
        draws: of z, or a colouriser's noise, for each row.
        groups: how the splits keep groups apart, in words; or empty.
        colours: how near a colouriser comes to them; None of other models.
    """

    measured: Measured
    bits: float | None
    latent: Latent | None
    codes: Tensor | None
    noun: str
    of: int
    draws: int
    groups: str
    colours: Colours | None = None


def measured(run: Run, rows: Split, data: Dataset, seed: int = 0) -> Numbers:
    """The numbers of a run on these rows, some of the test rows of `data`."""
    draws = 1 if isinstance(run.model, Colorizer) else DRAWS  # its noise is one grey level
    with rng(seed, run.device, None):
        found = measure(run.model, _batches(run, rows), samples=draws)
        coloured = _colours(run, rows)
    latent, codes = _latent(run, rows, seed)
    family = run.model.likelihood.family
    bits = None if found.elbo is None else bits_per_dim(found.elbo, family, run.spec)
    noun = run.spec.unit.split()[-1]
    groups = _groups(run, data)
    return Numbers(found, bits, latent, codes, noun, len(data.test), draws, groups, coloured)


def _colours(run: Run, rows: Split) -> Colours | None:
    """Of a colouriser."""
    if not isinstance(run.model, Colorizer):
        return None
    span = run.spec.values.high - run.spec.values.low
    return colours(run.model, _batches(run, rows), data_range=span)


def _latent(run: Run, rows: Split, seed: int) -> tuple[Latent | None, Tensor | None]:
    """What each dimension holds, and the codes; None of a model without a latent."""
    if "latent" not in run.model.offers:
        return None, None
    meter, codes = LatentMeter(), []
    with rng(seed, run.device, None), evaluating(run.model):
        for x, given in _batches(run, rows):
            meter.add(run.model(x, given))
            codes.append(run.encode(x, given).flatten(1))
    return meter.latent(), torch.cat(codes)


def _batches(run: Run, rows: Split) -> Iterator[tuple[Tensor, Tensor | None]]:
    for part in torch.arange(len(rows)).split(BATCH):
        x, given = rows.batch(part)
        yield x.to(run.device), None if given is None else given.to(run.device)


def _groups(run: Run, data: Dataset) -> str:
    """How many groups are in each split, and whether one is in two."""
    seen = {n: set(s.groups.tolist()) for n, s in data.splits.items() if s.groups is not None}
    if not seen:
        return ""
    many = ", ".join(f"{len(groups):,} in {name}" for name, groups in seen.items())
    shared = sum(map(len, seen.values())) - len(set().union(*seen.values()))
    asked = f"by {run.config.data.group}: " if run.config.data.group else ""
    return f"{asked}{many}; {shared if shared else 'none'} of them in two splits"
