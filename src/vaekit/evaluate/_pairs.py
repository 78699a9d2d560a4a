"""How sets of rows that share one factor show in their codes: plain arrays in, numbers out.

Shapes: `N` rows, `D` dimensions of a code, `K` factors that vary, `V` sets of `S` rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vaekit.errors import VaekitError
from vaekit.evaluate._checks import Numbers
from vaekit.evaluate._factors import Array, Coded, bounded, coded, learned

SIZE, TRAIN, TEST, PRUNED = 64, 10_000, 5_000, 0.05  # of the large-scale study
AT_ONCE = 2**22  # numbers: 32 MiB


def factor_vae_score(
    codes: Any,
    factors: Any,
    *,
    size: int = SIZE,
    train: int = TRAIN,
    test: int = TEST,
    least: float = PRUNED,
    seed: int = 0,
) -> Numbers:
    """Return the score of FactorVAE: whether the dimension that varies least tells what was shared.

    Each vote is of rows that share the value of one factor: the dimension whose variance among them
    is the smallest share of that over all rows. A dimension stands for the factor that most votes
    for it had; the score is how often that is right, of other votes.

    Args:
        codes, factors: as in `mig`.
        size: rows of a vote, drawn among those with the value of a row at random, 2 to 10,000.
        train: votes that decide, 100 to 1,000,000.
        test: votes that are scored, 100 to 1,000,000.
        least: dimensions of less variance over all rows are left out, as collapsed to the prior;
            the study's code cuts where the standard deviation is 0.05, at 0.0025.
        seed: of the draws.

    Returns:
        `score`, from 0 to 1, 0 where no dimension is left; `train_score`, of the votes that decide;
        `kept`, how many are left.

    Raises:
        VaekitError: as `mig`, where fewer than two factors vary, for a factor of which no two rows
            share a value, and options out of their bounds.

    References:
        Kim and Mnih 2018, Disentangling by factorising, arXiv 1802.05983, section 4.
        Locatello et al. 2019, arXiv 1811.12359, appendix C.

    Example:
        >>> factors = np.stack(np.meshgrid(range(4), range(5)), -1).reshape(-1, 2)
        >>> factor_vae_score(factors, factors, train=100, test=100).score
        1.0
    """
    bounded(size=size, train=train, test=test, least=least, seed=seed)
    rows = coded(codes, factors, 2)
    variances = rows.codes.var(0, ddof=1)
    kept = np.flatnonzero(variances >= least)
    if not len(kept):
        return Numbers(score=0.0, train_score=0.0, kept=0)
    rows = rows._replace(codes=rows.codes[:, kept])

    def votes_of(sharing: _Sharing, sets: int) -> Array:
        index = sharing.rows(np.repeat(sharing.some(sets, 1), size, 1))
        return (rows.codes[index].var(1, ddof=1) / variances[kept]).argmin(1)

    found = _sets(rows, (train, test), size, seed, votes_of)
    votes = np.array([[np.bincount(v, minlength=len(kept)) for v in part] for part in found])
    decided = votes[0].argmax(0)
    right = votes[:, decided, np.arange(len(kept))].sum(1) / votes.sum((1, 2))
    return Numbers(score=right[1].item(), train_score=right[0].item(), kept=len(kept))


def beta_vae_score(
    codes: Any,
    factors: Any,
    *,
    size: int = SIZE,
    train: int = TRAIN,
    test: int = TEST,
    seed: int = 0,
) -> Numbers:
    """Return the score of beta-VAE: whether differences of pairs tell which factor they share.

    A logistic regression says which factor it is from the mean of |z - z'| over pairs of rows that
    have it in common; the score is its accuracy on other sets. It minds the scale of codes.

    Args:
        codes, factors: as in `mig`.
        size: pairs of a set, each a row at random and another with its value, 2 to 10,000.
        train: sets to learn from, 100 to 1,000,000.
        test: sets that are scored, 100 to 1,000,000.
        seed: of the draws.

    Returns:
        `score`, from 0 to 1, and `train_score`, of the sets to learn from.

    Raises:
        VaekitError: as `factor_vae_score`.

    References:
        Higgins et al. 2017, beta-VAE: learning basic visual concepts, section 3.
        Locatello et al. 2019, arXiv 1811.12359, appendix C.

    Example:
        >>> factors = np.stack(np.meshgrid(range(4), range(5)), -1).reshape(-1, 2)
        >>> beta_vae_score(factors, factors, train=100, test=100).score
        1.0
    """
    from sklearn.linear_model import LogisticRegression

    bounded(size=size, train=train, test=test, seed=seed)
    rows = coded(codes, factors, 2)

    def differences(sharing: _Sharing, sets: int) -> Array:
        first = sharing.some(sets, size)
        return abs(rows.codes[first] - rows.codes[sharing.rows(first, others=True)]).mean(1)

    found = [part for half in _sets(rows, (train, test), size, seed, differences) for part in half]
    labels = np.tile(range(len(rows.places)), 2)
    x, y = np.concatenate(found), np.repeat(labels, [*map(len, found)])
    model = LogisticRegression(max_iter=1000)
    score = learned(model, x, y, train)
    return Numbers(score=score, train_score=float((model.predict(x[:train]) == y[:train]).mean()))


class _Sharing:
    """The rows that share the value of a factor with others, and draws among them."""

    def __init__(self, values: Array, place: int, draw: np.random.Generator) -> None:
        counts = np.bincount(values)
        self.draw, self.order = draw, values.argsort(kind="stable")
        self.counts, self.starts = counts[values], (counts.cumsum() - counts)[values]
        self.ranks = self.order.argsort() - self.starts
        self.pool = np.flatnonzero(self.counts > 1)
        if not len(self.pool):
            raise VaekitError(
                f"column {place} of `factors` has another value in each row, and none that two "
                "share: leave it out."
            )

    def some(self, *shape: int) -> Array:
        """Return rows at random whose value others have."""
        return self.draw.choice(self.pool, shape)

    def rows(self, of: Array, *, others: bool = False) -> Array:
        """Return for each row one at random with its value, or one of the others that have it."""
        counts = self.counts[of]
        steps = self.draw.integers(others, counts)
        return self.order[self.starts[of] + (self.ranks[of] + steps) % counts]


def _sets(
    rows: Coded, counts: tuple[int, int], size: int, seed: int, of: Callable[[_Sharing, int], Array]
) -> list[list[Array]]:
    """Return what is `of` so many sets: of each count a list with those of each factor, `(V, *)`.

    Factors are drawn at random.
    """
    draw, many = np.random.default_rng(seed), len(rows.places)
    factors = [_Sharing(v, k, draw) for v, k in zip(rows.factors.T, rows.places, strict=True)]
    block = max(1, AT_ONCE // (size * rows.codes.shape[1]))

    def parts(factor: _Sharing, sets: int) -> Array:
        return np.concatenate(
            [of(factor, min(block, sets - i)) for i in range(0, max(sets, 1), block)]
        )

    return [
        [parts(*each) for each in zip(factors, draw.multinomial(n, [1 / many] * many), strict=True)]
        for n in counts
    ]
