"""How the codes of a model hold the factors of its data: metrics by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from vaekit.distributions import Offer, Space, flat, offering
from vaekit.errors import at_least, unknown
from vaekit.evaluate._checks import Numbers
from vaekit.evaluate._distances import LEAST
from vaekit.evaluate._factors import BINS, BOUNDS, TREES, bounded, dci, mig, modularity, sap
from vaekit.evaluate._metrics import BATCH, Column, Line, Record, Study, Subject
from vaekit.evaluate._pairs import PRUNED, SIZE, TEST, TRAIN, beta_vae_score, factor_vae_score
from vaekit.models import rows_at_once
from vaekit.registry import register

NAMED = ("by_factor", "accuracy")  # lists of a record, a number for each factor


@dataclass(kw_only=True, eq=False, repr=False)
class OfFactors(Study):
    """A study of the codes of rows, E[z|x], beside the factors that their data set has.

    Args:
        factors: names of those to look at, with commas; by default all.
        most: of the rows, at random.
    """

    factors: tuple[str, ...] | None = None
    most: int = 10_000

    needs = offering("latent")
    measure: ClassVar[Callable[..., Numbers]]  # of codes and factors
    drawn: ClassVar[bool] = True  # whether it takes a seed

    def __post_init__(self) -> None:
        super().__init__()
        at_least("most", self.most, LEAST)
        bounded(**self._options())

    def _options(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name in BOUNDS}

    def suits(self, subject: Subject) -> str | None:
        """Refuse data without factors that can be counted, numbered codes, and too few rows."""
        known, model = subject.rows.split.factors, subject.model
        if known is None:
            return "its rows have no factors: take shapes, avatars, or your own `factors` (N, F)"
        if Offer.CODES in model.offers:
            return "its latents are codes, which have no order: take the metric codes"
        if subject.rows.count < LEAST:
            return f"it takes {LEAST} rows, and there are {subject.rows.count}"
        if sum(math.prod(space.shape) for space in _spaces(subject)) < 2:
            return "it takes codes of two dimensions or more"
        for name, column in zip(*self._asked(subject, known), strict=True):
            if not torch.equal(column, column.round()):
                return f"its factor '{name}' has numbers that are not whole: name other `factors`"
        return None

    def _asked(self, subject: Subject, known: Tensor) -> tuple[list[str], Tensor]:
        """Return names and columns of the factors to look at, `(F, N)`."""
        names = [*subject.factor_names] or [f"factor {i + 1}" for i in range(known.shape[1])]
        asked = [*dict.fromkeys(self.factors or names)]
        if lacking := [name for name in asked if name not in names]:
            raise unknown("factor", lacking[0], names)
        return asked, known.T[[names.index(name) for name in asked]]

    def study(self, subject: Subject) -> Record:
        """Return the numbers, those of a factor by its name."""
        assert subject.rows.split.factors is not None
        if (key := ("codes and factors", self.most)) not in subject.shared:
            subject.shared[key] = _held(subject, self.most)
        codes, factors = subject.shared[key]
        names, columns = self._asked(subject, factors)
        how = {**self._options(), **({"seed": subject.seed} if self.drawn else {})}
        found = self.measure(codes, columns.T, **how)
        lists = {n: dict(zip(names, found[n], strict=True)) for n in NAMED if n in found}
        rows, size = codes.shape
        options = {"how": self._options()} if self._options() else {}
        return {**found, **lists, "factors": names, "rows": rows, "dimensions": size, **options}

    def lines(self, record: Record) -> Iterator[Line]:
        """Yield each number, and that of each factor."""
        counts = f"{len(record['factors'])} factors, {record['rows']:,} rows"
        what = f"{counts}, codes of {record['dimensions']} dimensions"
        for column in self.columns:
            yield column.title, record[column.name], None, what
            what = ""
        if "by_factor" in record:
            each = record["by_factor"].items()
            words = ", ".join(f"{n} {'–' if v is None else f'{v:.3f}'}" for n, v in each)
            yield "  by factor", None, None, words


def _spaces(subject: Subject) -> list[Space]:
    return [site.q.space for site in subject.model.example(subject.spec.context).sites]


def _held(subject: Subject, most: int) -> tuple[Tensor, Tensor]:
    """Return the codes of at most so many rows, `(N, D)`, and all factors of these rows."""
    model: Any = subject.model
    rows = subject.rows.drawn(most, subject.seed)
    spaces, parts = _spaces(subject), []
    for x, context in rows.batches("codes", min(BATCH, rows_at_once(model, 1))):
        zs = zip(spaces, model.encode(x, context), strict=True)
        parts.append(torch.cat([flat(space, z).flatten(1) for space, z in zs], 1).cpu())
    assert rows.split.factors is not None
    return torch.cat(parts), rows.split.factors.cpu()[rows.index]


@register("metric", "mig")
@dataclass(kw_only=True, eq=False, repr=False)
class MIG(OfFactors):
    """Mutual information gap of the codes' two best dimensions, by factor: see `metrics.mig`.

    Chen et al., arXiv 1802.04942, as in the large-scale study, arXiv 1811.12359.

    Args:
        bins: of each dimension.
    """

    bins: int = BINS
    columns = (Column("mig", "mig", decimals=3, better=1),)
    measure = staticmethod(mig)
    drawn = False


@register("metric", "modularity")
@dataclass(kw_only=True, eq=False, repr=False)
class Modularity(OfFactors):
    """Whether each dimension has information on one factor alone: see `metrics.modularity`.

    Ridgeway and Mozer, arXiv 1802.05312, as in the large-scale study, arXiv 1811.12359.

    Args:
        bins: of each dimension.
    """

    bins: int = BINS
    columns = (Column("modularity", "modularity", decimals=3, better=1),)
    measure = staticmethod(modularity)
    drawn = False


@register("metric", "sap")
@dataclass(kw_only=True, eq=False, repr=False)
class SAP(OfFactors):
    """How much better than any other one dimension foretells each factor: see `metrics.sap`.

    Kumar et al., arXiv 1711.00848, as in the large-scale study, arXiv 1811.12359.

    Args:
        most: of the rows, at random; two thirds are to learn from.
        by: `svm`; `r2`, for factors whose values are numbers in an order.
    """

    most: int = 15_000
    by: str = "svm"
    columns = (Column("sap", "sap", decimals=3, better=1),)
    measure = staticmethod(sap)


@register("metric", "dci")
@dataclass(kw_only=True, eq=False, repr=False)
class DCI(OfFactors):
    """Disentanglement, completeness and informativeness by boosted trees: see `metrics.dci`.

    Eastwood and Williams 2018, as in the large-scale study, arXiv 1811.12359. Of some thousand
    rows it takes minutes of a core.

    Args:
        most: of the rows, at random; two thirds are to learn from.
        trees: of each value of a factor; the time grows with them.
    """

    most: int = 15_000
    trees: int = TREES
    columns = tuple(
        Column(name, name, decimals=3, better=1)
        for name in ("disentanglement", "completeness", "informativeness")
    )
    measure = staticmethod(dci)


@dataclass(kw_only=True, eq=False, repr=False)
class OfSets(OfFactors):
    """A study of sets of rows that share one factor.

    Args:
        size: rows or pairs of a set.
        train: sets to learn from.
        test: sets that are scored.
    """

    size: int = SIZE
    train: int = TRAIN
    test: int = TEST


@register("metric", "factor-vae-score")
@dataclass(kw_only=True, eq=False, repr=False)
class FactorVAEScore(OfSets):
    """Whether the dimension that varies least tells the shared factor: `metrics.factor_vae_score`.

    Kim and Mnih, arXiv 1802.05983, as in the large-scale study, arXiv 1811.12359.

    Args:
        least: dimensions of less variance over all rows are left out.
    """

    least: float = PRUNED
    columns = (Column("score", "factor-vae-score", decimals=3, better=1),)
    measure = staticmethod(factor_vae_score)


@register("metric", "beta-vae-score")
class BetaVAEScore(OfSets):
    """Whether differences of pairs tell the factor that they share: see `metrics.beta_vae_score`.

    Higgins et al. 2017, as in the large-scale study, arXiv 1811.12359.
    """

    columns = (Column("score", "beta-vae-score", decimals=3, better=1),)
    measure = staticmethod(beta_vae_score)
