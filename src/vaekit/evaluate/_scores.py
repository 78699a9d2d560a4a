"""How strange each row is to a model: scores, the larger the stranger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit._torchutil import rng, wide
from vaekit.distributions import Offer
from vaekit.errors import at_least
from vaekit.evaluate import _checks as checks
from vaekit.evaluate._likelihood import Bound, log_likelihood
from vaekit.evaluate._metrics import Metric, Record, Subject, measured
from vaekit.evaluate._reconstruction import Reconstruction
from vaekit.models import Trace, offered

MOST = 3  # columns of a table that are named for a row
REDRAWS = 200  # of the rows, for standard errors
BLOCK = 2**16  # rows that are scored before what they needed is let go


class SquareError(Reconstruction):
    """The mean square of x - E[x|z] at the codes of x, of each row."""

    only = ("mse",)


class Contributions(Metric):
    """What each column of a table adds to -log p(x|z), over draws of z from q(z|x).

    Args:
        usual: what it usually adds, `(C,)`; with it the columns that add most above it are kept.
    """

    samples = (10,)

    def __init__(self, usual: Tensor | None = None) -> None:
        super().__init__()
        self.usual = usual

    def update(self, trace: Trace) -> None:
        """Add up the terms, or store the largest of each row and whose they are."""
        observed = torch.ones_like(trace.x) if trace.mask is None else trace.mask
        x = torch.where(observed != 0, trace.x, torch.zeros_like(trace.x))
        terms = self._by_column(-(wide(trace.scored.terms(x)) * observed).mean(0))
        if self.usual is None:
            self.add(terms=terms.sum(0))
            return
        excess, column = (terms - self.usual.to(terms.device)).topk(min(MOST, terms.shape[1]))
        self.keep(excess=excess, column=column)

    def _by_column(self, terms: Tensor) -> Tensor:
        """Return the sums over the places of each column, `(B, C)`: a category has several."""
        widths = [column.width for column in self.subject.spec.columns]
        return torch.stack([part.sum(1) for part in terms.split(widths, 1)], 1) if widths else terms

    def compute(self) -> Record:
        return {}


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of rows, the larger the stranger, float64 `(N,)`.

    Attributes:
        values: by name what the model has of "nll", -log p(x) by importance sampling where p(x|z)
            normalizes, "bound", -ELBO, both in nats; "error", the mean square of x - E[x|z] at the
            codes of x.
        columns, excess: of a table, which columns add most to -log p(x|z), `(N, 3)`, and by how
            much more than usual, in nats; None where nothing is known of what is usual.
    """

    values: dict[str, Tensor]
    columns: Tensor | None = None
    excess: Tensor | None = None


def score(subject: Subject, *, samples: int = 50, usual: Tensor | None = None) -> Scores:
    """Return how strange each row is to a model.

    Args:
        subject: the model and the rows.
        samples: draws of z for -log p(x); 0 leaves it out.
        usual: what each column of a table usually adds to -log p(x|z): see `usual_terms`.
    """
    samples = checks.draws_of("samples", samples, 0)
    parts = [
        _score(replace(subject, rows=rows, seed=subject.seed + place), samples, usual)
        for place, rows in enumerate(subject.rows.blocks(BLOCK))
    ]
    joined = {name: torch.cat([part.values[name] for part in parts]) for name in parts[0].values}
    if usual is None:
        return Scores(joined)
    both = zip(*((part.columns, part.excess) for part in parts), strict=True)
    return Scores(joined, *map(torch.cat, both))


def _score(subject: Subject, samples: int, usual: Tensor | None) -> Scores:
    metrics: dict[str, Any] = {"bound": Bound(samples=10), "error": SquareError()}
    metrics = {name: each for name, each in metrics.items() if each.needs <= offered(subject.model)}
    if usual is not None:
        metrics["terms"] = Contributions(usual)
    measured(subject, metrics)
    elbo, error = metrics["bound"].row("elbo"), metrics["error"].row("mse")
    found = {"bound": None if elbo is None else -elbo, "error": error}
    if samples and Offer.DENSITY in offered(subject.model) and subject.px.space.normalized:
        model: Any = subject.model
        with rng(subject.seed, subject.rows.device):
            parts = [
                log_likelihood(model, x, context, samples=samples)
                for x, context in subject.batches("nll", samples)
            ]
        found = {"nll": -torch.cat(parts).cpu(), **found}
    columns = excess = None
    if usual is not None:
        columns, excess = metrics["terms"].row("column").int(), metrics["terms"].row("excess")
    return Scores({n: wide(v) for n, v in found.items() if v is not None}, columns, excess)


def usual_terms(subject: Subject) -> Tensor:
    """Return what each column of a table adds to -log p(x|z) on average over rows, `(C,)`."""
    terms = Contributions()
    measured(subject, {"terms": terms})
    return terms.sums["terms"].cpu() / subject.rows.count


def percentiles(values: Tensor, reference: Tensor) -> Tensor:
    """Return the share of the reference below each value, of one row more: `#below / (n + 1)`.

    A row that is drawn as the n reference rows are is above a with probability 1 - a at most,
    whatever the distribution (Vovk, Gammerman and Shafer 2005, Algorithmic learning in a random
    world, sec. 2.2).

    Example:
        >>> percentiles(torch.tensor([0.0, 2.5, 9.0]), torch.arange(4.0))
        tensor([0.0000, 0.6000, 0.8000], dtype=torch.float64)
    """
    below = torch.searchsorted(reference.sort().values, values.contiguous())
    return torch.from_numpy(below.numpy() / (len(reference) + 1))


def separation(values: Tensor, odd: Tensor, *, seed: int = 0) -> dict[str, float]:
    """Return how well scores tell odd rows from the others.

    Args:
        values: scores `(N,)`, the larger the odder.
        odd: bool `(N,)`.
        seed: of the rows that are drawn anew.

    Returns:
        `auroc`, the probability that an odd row scores above another (half of it where they are
        equal); `average_precision`, the mean precision over the odd rows, by score; and their
        `_error`s: standard deviations over 200 draws of as many odd rows and others with
        replacement.

    Raises:
        VaekitError: where no row is odd, or all are.

    Example:
        >>> found = separation(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0, 1, 0, 1]) > 0)
        >>> found["auroc"], round(found["average_precision"], 4)
        (0.75, 0.8333)
    """
    at_least("the number of odd rows", int(odd.sum()), 1)
    at_least("the number of other rows", int((~odd).sum()), 1)
    draw, scores = np.random.default_rng(seed), values.numpy().astype(float)
    both = [np.flatnonzero(odd.numpy() == which) for which in (True, False)]
    found = _separated(scores[both[0]], scores[both[1]])
    again = np.array(
        [
            _separated(*(scores[draw.choice(rows, len(rows))] for rows in both))
            for _ in range(REDRAWS)
        ]
    )
    names, errors = ("auroc", "average_precision"), again.std(0, ddof=1)
    numbers = zip(names, found, errors, strict=True)
    return {
        key: float(v) for n, one, error in numbers for key, v in ((n, one), (f"{n}_error", error))
    }


def _separated(odd: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth = np.repeat([1, 0], [len(odd), len(others)])
    both = np.concatenate([odd, others])
    return roc_auc_score(truth, both), average_precision_score(truth, both)
