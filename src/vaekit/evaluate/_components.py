"""What principal components make of the same rows: a number that a trained model has to beat."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit._torchutil import wide
from vaekit.data import spread
from vaekit.distributions import offering
from vaekit.errors import at_least
from vaekit.evaluate._checks import average
from vaekit.evaluate._metrics import Column, Line, Record, Study, Subject, in_units
from vaekit.registry import register

FLAT = 1e-7  # of the largest variance: less is the rounding of float32


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components, and the Gaussian that is probabilistic PCA.

    log p(x) = log N(x; mean, U diag(spread) U' + rest (I - U U')), where spread are the variances
    along the components and rest is the mean of those along all others.

    Args:
        mean: `(D,)`.
        axes: U', `(k, D)`.
        spread: `(k,)`.
        rest: 0 where nothing is left.

    References:
        Tipping and Bishop 1999, Probabilistic principal component analysis.
    """

    mean: Tensor
    axes: Tensor
    spread: Tensor
    rest: float

    @classmethod
    def fit(cls, x: Tensor, count: int) -> Components:
        """Return those of rows `(N, D)`; so many, or fewer where there are no more.

        Example:
            >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.1], [0.0, -0.1]])
            >>> found = Components.fit(x, 1)
            >>> found.spread, round(found.rest, 4)
            (tensor([0.5000], dtype=torch.float64), 0.005)
        """
        from sklearn.decomposition import PCA

        rows, size = x.shape
        count = min(count, rows - 1, size)
        found = PCA(count, random_state=0).fit(x.numpy())
        variances = wide(torch.from_numpy(found.explained_variance_)) * (rows - 1) / rows
        left = wide(x).var(0, correction=0).sum() - variances.sum()  # sklearn's shares it by rows
        rest = max(left.item(), 0.0) / (size - count) if count < size else 0.0
        mean, axes = (wide(torch.from_numpy(each)) for each in (found.mean_, found.components_))
        return cls(mean, axes, variances, rest)

    @property
    def proper(self) -> bool:
        """Whether no direction is without variance, but for rounding: else there is no density."""
        count, size = self.axes.shape
        least = min(self.spread.min().item(), self.rest if count < size else math.inf)
        return least > FLAT * self.spread.max().item()

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return rows `(N, D)` as their components give them."""
        return self.mean + (wide(x) - self.mean) @ self.axes.T @ self.axes

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) of rows `(N, D)`, `(N,)`, where it is `proper`."""
        apart = wide(x) - self.mean
        along = (apart @ self.axes.T).square()
        off = apart.square().sum(1) - along.sum(1)
        size, count = apart.shape[1], len(self.spread)
        square, logs = (along / self.spread).sum(1), self.spread.log().sum()
        if count < size:
            square = square + off.clamp(min=0) / self.rest
            logs = logs + (size - count) * math.log(self.rest)
        return -0.5 * (square + logs + size * math.log(2 * math.pi))


@register("metric", "pca")
class PrincipalComponents(Study):
    """What PCA of the training rows makes of the rows: see `Components`.

    Its error with as many numbers as z has, and log p(x) of probabilistic PCA where rows have a
    density, both as the bound has them: a VAE that is no better learned what lines say alone.

    Args:
        components: how many; 0: as many as z has numbers.
        most: of the training rows.
    """

    needs, places = offering("latent"), frozenset()
    columns = (
        Column("mse", "mean square error of PCA", decimals=4, better=-1),
        Column("log_likelihood", "log p(x) of probabilistic PCA", better=1),
    )

    def __init__(self, *, components: int = 0, most: int = 10_000) -> None:
        super().__init__()
        self.count = at_least("components", components, 0)
        self.most = at_least("most", most, 2)

    def suits(self, subject: Subject) -> str | None:
        """Refuse rows with gaps, and what comes without training rows."""
        if subject.spec.gaps:
            return "its rows have gaps"
        if subject.train is None:
            return "there are no training rows"
        return None

    def study(self, subject: Subject) -> Record:
        """Return the error, log p(x) where x has a density, and how many components there are."""
        assert subject.train is not None
        train = subject.train.x(spread(len(subject.train), min(self.most, len(subject.train))))
        sites = subject.model.example(subject.spec.context).sites
        size = sum(math.prod(site.q.event_shape) for site in sites)
        found = Components.fit(train.flatten(1).cpu(), self.count or size)
        density = not subject.px.space.discrete and subject.spec.kind != "mixed"
        scale = self.scale
        for x, _ in subject.rows.batches("pca"):
            flat = x.flatten(1).cpu()
            self.keep(mse=in_units(flat - found.reconstruct(flat), scale).square().mean(1))
            if density and found.proper:
                log_p = found.log_prob(flat)
                self.keep(log_p=log_p if scale is None else log_p - wide(scale).log().sum())
        record: Record = {"components": len(found.axes), "rows": len(train)}
        for name, row in (("mse", self.row("mse")), ("log_likelihood", self.row("log_p"))):
            mean, error = (None, None) if row is None else average(row, self.groups)
            record |= {name: mean, f"{name}_standard_error": error}
        return record

    def lines(self, record: Record) -> Iterator[Line]:
        """Yield the error and, where there is one, the density."""
        what = f"{record['components']} components of {record['rows']:,} training rows"
        yield "pca mse", record["mse"], record["mse_standard_error"], what
        if record["log_likelihood"] is not None:
            error = record["log_likelihood_standard_error"]
            yield "pca log-likelihood", record["log_likelihood"], error, "probabilistic PCA"
