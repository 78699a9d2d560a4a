"""How codes hold the factors that rows were made from: plain arrays in, numbers out.

Shapes: `N` rows, `D` dimensions of a code, `F` factors, `K` of them that vary. Rows are put into an
order of their own before any draw, so that no number depends on theirs.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vaekit._arguments import shown
from vaekit.errors import VaekitError, at_least, one_of, within
from vaekit.evaluate._checks import Numbers
from vaekit.evaluate._distances import numbers_of

Array = NDArray[Any]
LARGEST = 1e30  # of a code: trees compute in float32
BINS, TREES = 20, 100  # of the large-scale study
BOUNDS: dict[str, tuple[Any, ...]] = {
    "bins": (2, 10_000),
    "trees": (1, 10_000),
    "size": (2, 10_000),
    "train": (100, 1_000_000),
    "test": (100, 1_000_000),
    "least": (0.0, 1e30),
    "by": ("svm", "r2"),
    "seed": (0, 2**63 - 1),
}


def bounded(**options: Any) -> None:
    """Refuse options outside of their bounds."""
    for name, value in options.items():
        ends = BOUNDS[name]
        if name == "by":
            one_of(name, value, ends)
        elif name == "least":
            at_least(name, value, ends[0])
        else:
            within(name, value, *ends)


class Coded(NamedTuple):
    """Codes and what is known of their rows.

    Attributes:
        codes: float64 `(N, D)`.
        factors: the values of the factors that vary, each counted from 0, int64 `(N, K)`.
        places: which of the F they are.
        of: F.
        train: so many rows at the start are to learn from, the others to measure on.
    """

    codes: Array
    factors: Array
    places: list[int]
    of: int
    train: int

    def by_factor(self, values: Array) -> list[float | None]:
        """Return the value of each of the F, None for one that does not vary."""
        known = dict(zip(self.places, values.tolist(), strict=True))
        return [known.get(place) for place in range(self.of)]


def coded(codes: Any, factors: Any, least: int = 1, *, seed: int | None = None) -> Coded:
    """Return codes with those factors that vary, in an order that their values alone decide.

    Args:
        codes: `(N, D)`, of two dimensions at least.
        factors: `(N, F)`, whole numbers or names.
        least: so many factors have to vary, among the rows to learn from.
        seed: shuffles the rows, of which two thirds are then to learn from; None leaves them.

    Raises:
        VaekitError: for other shapes and types, fewer than 20 rows, and fewer factors that vary.
    """
    rows = numbers_of("codes", codes, "codes").numpy() + 0.0  # no -0
    at_least("codes.shape[1]", rows.shape[1], 2)
    if (top := abs(rows).max()) > LARGEST:
        raise VaekitError(f"got `codes` up to {top:.1e}; expected at most {LARGEST:g}.")
    values = _counted(factors, len(rows))
    order = np.lexsort((*values.T, *rows.T))
    if seed is not None:
        bounded(seed=seed)
        order = np.random.default_rng(seed).permutation(order)
    train = len(rows) if seed is None else 2 * len(rows) // 3
    rows, values = rows[order], values[order]
    places = np.flatnonzero(np.ptp(values[:train], axis=0)).tolist()
    if len(places) < least:
        raise VaekitError(
            f"got `factors` of which {len(places)} of {values.shape[1]} vary over {train:,} rows; "
            f"expected at least {least}."
        )
    return Coded(rows, values[:, places], places, values.shape[1], train)


def _counted(factors: Any, rows: int) -> Array:
    """Return factors `(N, F)` with the values of each column counted from 0."""
    try:
        array = np.asarray(factors.detach().cpu() if isinstance(factors, Tensor) else factors)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.ndim != 2 or array.dtype.kind not in "iubfUSO" or len(array) != rows or not array.size:
        raise VaekitError(
            f"got `factors={shown(factors)}`; expected whole numbers or names ({rows}, F), a row "
            "for each code."
        )
    columns = []
    for number, column in enumerate(array.astype(str).T if array.dtype.kind == "O" else array.T):
        if (
            column.dtype.kind == "f"
            and not (np.isfinite(column) & (column == np.rint(column))).all()
        ):
            raise VaekitError(
                f"column {number} of `factors` has numbers that are not whole; expected values "
                "that can be counted: leave it, or put it into bins."
            )
        columns.append(np.unique(column, return_inverse=True)[1].reshape(-1))
    return np.stack(columns, 1)


def mig(codes: Any, factors: Any, *, bins: int = BINS) -> Numbers:
    """Return the mutual information gap: how far one dimension is ahead of the next, by factor.

    The mean over factors v of (I(z_1; v) - I(z_2; v)) / H(v), where z_1 and z_2 have most and
    second most information on v. As in the large-scale study it is of means, in bins of equal
    width; Chen et al. take samples, and leave out the shape of dSprites. Of few rows all is too
    large, by about (bins - 1) (values - 1) / 2N nats.

    Args:
        codes: `(N, D)`, E[z|x] of the rows, from the least to the largest value in bins.
        factors: `(N, F)`, whole numbers or names. One that does not vary is left out.
        bins: of each dimension, 2 to 10,000.

    Returns:
        `mig`, from 0 to 1, and `by_factor`, the gap of each, None for one that does not vary.

    Raises:
        VaekitError: for shapes that do not fit, fewer than 20 rows or 2 dimensions, numbers that
            are not finite, and factors of which none varies.

    References:
        Chen et al. 2018, Isolating sources of disentanglement in VAEs, arXiv 1802.04942, eq. 6.
        Locatello et al. 2019, Challenging common assumptions, arXiv 1811.12359, appendix C.

    Example:
        >>> factors = np.stack(np.meshgrid(range(4), range(5)), -1).reshape(-1, 2)
        >>> mig(factors, factors).mig
        1.0
        >>> mig(factors[:, [0, 0, 1]], factors).by_factor  # a code that stands twice has no gap
        [0.0, 1.0]
    """
    rows = coded(codes, factors)
    top = np.sort(_information(rows, bins), 0)
    sizes = np.array([-_logs(np.bincount(v) / len(v)).sum() for v in rows.factors.T])
    return _gaps("mig", rows, (top[-1] - top[-2]) / sizes)


def _gaps(name: str, rows: Coded, values: Array) -> Numbers:
    return Numbers({name: values.mean().item(), "by_factor": rows.by_factor(values)})


def _information(rows: Coded, bins: int) -> Array:
    """Return I(z_d; v) of each dimension and factor, nats, `(D, K)`, from counts."""
    bounded(bins=bins)
    found = np.empty((rows.codes.shape[1], len(rows.places)))
    for d, column in enumerate((rows.codes - rows.codes.min(0)).T):
        binned = np.digitize(column, np.linspace(0, column.max(), bins + 1)[1:-1])
        for k, values in enumerate(rows.factors.T):
            size = values.max() + 1
            counts = np.bincount(binned * size + values, minlength=bins * size)
            shares = counts.reshape(bins, size) / len(values)
            alone = np.outer(np.bincount(binned, minlength=bins), np.bincount(values))
            found[d, k] = _logs(shares, alone / len(values) ** 2).sum()
    return found


def _logs(p: Array, q: Any = 1.0) -> Array:
    """Return p log(p / q), 0 where p is."""
    return p * np.log(np.where(p > 0, p, 1) / np.where(p > 0, q, 1))


def modularity(codes: Any, factors: Any, *, bins: int = BINS) -> Numbers:
    """Return the modularity: whether each dimension has information on one factor alone.

    The mean over dimensions of 1 - sum_(k != j) I(z_d; v_k)^2 / (I(z_d; v_j)^2 (K - 1)), where
    v_j is the factor on which z_d has most; 0 where it has none, as in the large-scale study.

    Args:
        codes, factors, bins: as in `mig`.

    Returns:
        `modularity`, from 0 to 1, and `by_code`, that of each dimension.

    Raises:
        VaekitError: as `mig`, and where fewer than two factors vary.

    References:
        Ridgeway and Mozer 2018, Deep disentangled embeddings, arXiv 1802.05312, section 3.
        Locatello et al. 2019, arXiv 1811.12359, appendix C.

    Example:
        >>> factors = np.stack(np.meshgrid(range(4), range(5)), -1).reshape(-1, 2)
        >>> modularity(factors, factors).by_code, modularity(factors[:, [0, 0]], factors).modularity
        ([1.0, 1.0], 1.0)
    """
    squares = _information(coded(codes, factors, 2), bins) ** 2
    top = squares.max(1)
    rest = (squares.sum(1) - top) / np.where(top > 0, top, 1) / (squares.shape[1] - 1)
    values = np.where(top > 0, 1 - rest, 0.0)
    return Numbers(modularity=values.mean().item(), by_code=values.tolist())


def sap(codes: Any, factors: Any, *, by: str = "svm", seed: int = 0) -> Numbers:
    """Return the separated attribute predictability: the gap of the two best dimensions, by factor.

    The mean over factors of how much better the best dimension alone foretells it than the second
    best: by the accuracy of a linear SVM on a third of the rows, as in the large-scale study, or by
    R^2. Perfect codes have 1 by R^2, and by the SVM 1 less the accuracy of chance where a factor
    has two values; one of more values a line cannot split. The SVM minds the scale of codes.

    Args:
        codes, factors: as in `mig`.
        by: `svm`; `r2`, for factors whose values are numbers in an order.
        seed: of the third.

    Returns:
        `sap`, from 0 to 1, and `by_factor`, as in `mig`.

    Raises:
        VaekitError: as `mig`, for a seed below 0 and another word.

    References:
        Kumar et al. 2018, Variational inference of disentangled latent concepts, arXiv 1711.00848.
        Locatello et al. 2019, arXiv 1811.12359, appendix C: C = 0.01, classes in balance.

    Example:
        >>> factors = np.stack(np.meshgrid(range(4), range(5)), -1).reshape(-1, 2)
        >>> sap(factors, factors, by="r2").sap
        1.0
    """
    bounded(by=by)
    rows = coded(codes, factors, seed=seed if by == "svm" else None)
    top = np.sort(_accuracies(rows, seed) if by == "svm" else _squares(rows), 0)
    return _gaps("sap", rows, top[-1] - top[-2])


def _squares(rows: Coded) -> Array:
    """Return the square of the correlation of each dimension and factor, 0 where one is still."""
    z, v = (x - x[0] for x in (rows.codes, rows.factors))  # what is still is 0 to the bit
    z, v = (x - x.mean(0) for x in (z, v))
    scales = np.outer((z**2).sum(0), (v**2).sum(0))
    return (z.T @ v) ** 2 / np.where(scales > 0, scales, 1)


def _accuracies(rows: Coded, seed: int) -> Array:
    from sklearn.svm import LinearSVC

    def of(column: Array, values: Array) -> float:
        svm = LinearSVC(C=0.01, class_weight="balanced", dual=False, random_state=seed % 2**32)
        return learned(svm, column[:, None], values, rows.train)

    return np.array([[of(z, v) for v in rows.factors.T] for z in rows.codes.T])


def learned(model: Any, x: Array, y: Array, train: int) -> float:
    """Fit a classifier to so many rows at the start; return its accuracy on the others."""
    with warnings.catch_warnings(action="ignore"):  # of many classes, and steps
        model.fit(x[:train], y[:train])
    return float((model.predict(x[train:]) == y[train:]).mean())


def dci(codes: Any, factors: Any, *, trees: int = TREES, seed: int = 0) -> Numbers:
    """Return disentanglement, completeness and informativeness, by gradient boosted trees.

    Trees foretell each factor from all dimensions; R `(D, K)` is how important each dimension was.
    A dimension is disentangled by 1 - H_K(R_d / sum_k R_dk), with logarithms of base K: 1 where it
    serves one factor, 0 where it serves all alike. A factor is complete by the same of its column,
    base D. The whole is their mean, weighted by their sums of R; what is of no importance has 0.

    Args:
        codes, factors: as in `mig`.
        trees: of each value of a factor, 1 to 10,000. Training takes some 0.3 s for each factor's
            value and 1,000 rows of 10 dimensions.
        seed: of the trees, and of the third of the rows to measure on.

    Returns:
        `disentanglement`, `completeness`, and `informativeness`, the mean accuracy on rows that
        trees were not trained on, each from 0 to 1; `by_code`, of each dimension; `by_factor`, the
        completeness, and `accuracy` of each factor, None for one that does not vary; and
        `importance`, R.

    Raises:
        VaekitError: as `mig`, where fewer than two factors vary, and for a seed below 0.

    References:
        Eastwood and Williams 2018, A framework for the quantitative evaluation of disentangled
        representations, section 2.
        Locatello et al. 2019, arXiv 1811.12359, appendix C.

    Example:
        >>> factors = np.stack(np.meshgrid(range(4), range(9)), -1).reshape(-1, 2)
        >>> found = dci(factors, factors, trees=5)
        >>> found.disentanglement > 0.9, found.completeness > 0.9
        (True, True)
    """
    from sklearn.ensemble import GradientBoostingClassifier

    bounded(trees=trees)
    rows = coded(codes, factors, 2, seed=seed)
    accuracy, columns = [], []
    for values in rows.factors.T:
        model = GradientBoostingClassifier(n_estimators=trees, random_state=seed % 2**32)
        accuracy.append(learned(model, rows.codes, values, rows.train))
        columns.append(model.feature_importances_)
    importance = np.stack(columns, 1)
    by_code, disentanglement = _alone(importance)
    by_factor, completeness = _alone(importance.T)
    return Numbers(
        disentanglement=disentanglement,
        completeness=completeness,
        informativeness=float(np.mean(accuracy)),
        by_code=by_code.tolist(),
        by_factor=rows.by_factor(by_factor),
        accuracy=rows.by_factor(np.array(accuracy)),
        importance=importance.tolist(),
    )


def _alone(importance: Array) -> tuple[Array, float]:
    """Return how far each row is from having equal shares, and the mean weighted by their sums."""
    sums = importance.sum(1)
    shares = importance / np.where(sums > 0, sums, 1)[:, None]
    values = np.where(sums > 0, 1 + _logs(shares).sum(1) / np.log(importance.shape[1]), 0.0)
    return values, float(values @ sums / sums.sum()) if sums.any() else 0.0
