"""How near rows that a model draws are to real ones: columns, pairs of them, and all together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vaekit._torchutil import wide
from vaekit.data import DataSpec, spread
from vaekit.distributions import offering
from vaekit.errors import VaekitError, at_least
from vaekit.evaluate._checks import Numbers, counted
from vaekit.evaluate._metrics import Column, Line, Record, Study, Subject, shown
from vaekit.evaluate._scores import separation
from vaekit.registry import register

LEAST = 20  # real rows
FOLDS, TREES = 3, 25
WIDEST = 100  # columns, those that vary most, by which rows are told apart
NEAR = 1e-6  # mean square of a difference in deviations, up to which a row is a copy
MOST = 500  # columns, those that vary most, of wider tables
AMONG = 30_000  # training rows, evenly spread, among which the nearest is looked for
AT_ONCE = 2**22  # distances


def synthetic(drawn: Tensor, real: Tensor, train: Tensor, *, seed: int = 0) -> Numbers:
    """Compare rows that were drawn with real ones that were not trained on.

    Args:
        drawn: `(N, D)`; where the real rows have gaps (NaN), those of row i are made in row i, too.
        real: `(N, D)`, held-out rows.
        train: `(M, D)`, the rows that the model was trained on.
        seed: of the parts of cross-validation.

    Returns:
        `marginals`, the distance of Kolmogorov and Smirnov between drawn and real columns, a mean
        over columns, and `worst_column`, that of the largest; `correlations`, the absolute
        difference between the correlations of two columns, a mean over pairs, None for one column;
        both beside those of as many training rows, `marginals_real`, `correlations_real`: what
        chance alone makes of them. `auroc`, how well boosted trees tell drawn rows from real ones
        that they have not seen (0.5: not at all; by 100 columns at most), and its
        `auroc_standard_error`; `nearer`, the probability that a drawn row is nearer to its
        nearest training row than a real one to its own (0.5; much more: rows are copied);
        `copies`, the part of drawn rows that are a training row, and `copies_real`, that of real
        ones; `rows`, N.

    Raises:
        VaekitError: for fewer than 20 rows, or shapes that do not fit.

    Example:
        >>> rows = torch.randn(3, 200, 4, generator=torch.Generator().manual_seed(0))
        >>> found = synthetic(*rows)
        >>> abs(found.auroc - 0.5) < 0.1, found.copies, synthetic(rows[2], *rows[1:]).copies
        (True, 0.0, 1.0)
    """
    at_least("the number of real rows", len(real), LEAST)
    if drawn.shape != real.shape or train.shape[1:] != real.shape[1:]:
        shapes = tuple(tuple(part.shape) for part in (drawn, real, train))
        raise VaekitError(f"got rows of shapes {shapes}; expected (N, D) twice and (M, D).")
    drawn, real, train = (wide(part.cpu()) for part in (drawn, real, train))
    drawn = drawn.masked_fill(real.isnan(), torch.nan)
    few = train[spread(len(train), min(len(train), len(real)))]
    apart, usual = (_marginals(part, real) for part in (drawn, few))
    pairs, usual_pairs = (_pairs(part, real) for part in (drawn, few))
    told = separation(*_told_apart(drawn, real, seed), seed=seed)
    loc, scale = train.nanmean(0), (train - train.nanmean(0)).square().nanmean(0).sqrt()
    scale = scale.masked_fill(scale <= 1e-9 * loc.abs(), 1.0)
    among = train[spread(len(train), min(len(train), AMONG))]
    own, held = (_nearest((part - loc) / scale, (among - loc) / scale) for part in (drawn, real))
    below = torch.searchsorted(held.sort().values, own)  # of the real rows that are nearer
    ties = torch.searchsorted(held.sort().values, own, right=True) - below
    return Numbers(
        marginals=apart.mean().item(),
        marginals_real=usual.mean().item(),
        worst_column=int(apart.argmax()),
        worst=apart.max().item(),
        correlations=pairs,
        correlations_real=usual_pairs,
        auroc=told["auroc"],
        auroc_standard_error=told["auroc_error"],
        nearer=1 - wide(below + (below + ties)).mean().item() / 2 / len(held),
        copies=wide(own <= NEAR).mean().item(),
        copies_real=wide(held <= NEAR).mean().item(),
        rows=len(real),
    )


def _marginals(some: Tensor, real: Tensor) -> Tensor:
    """Return the largest difference of the two distribution functions, of each column `(D,)`."""
    found = []
    for ours, theirs in zip(some.T, real.T, strict=True):
        both = [each[~each.isnan()].sort().values for each in (ours, theirs)]
        at = torch.cat(both)
        below = [
            wide(torch.searchsorted(each, at, right=True)) / max(len(each), 1) for each in both
        ]
        found.append((below[0] - below[1]).abs().amax() if len(at) else at.sum())
    return torch.stack(found)


def correlated(rows: Tensor) -> Tensor:
    """Return the correlations of columns, `(D, D)`, each over the rows that have both.

    Example:
        >>> import pandas
        >>> x = torch.rand(30, 4).masked_fill(torch.rand(30, 4) < 0.3, torch.nan)
        >>> apart = correlated(x).numpy() - pandas.DataFrame(x.numpy()).corr()
        >>> bool(abs(apart).max(axis=None) < 1e-6)
        True
    """
    x, seen = (wide(rows) - wide(rows).nanmean(0)).nan_to_num(), wide(~rows.isnan())
    count, sums = (seen.T @ seen).clamp(min=1), x.T @ seen  # of the first, where the second is seen
    squares = (x.square().T @ seen - sums.square() / count).clamp(min=1e-30)
    return (x.T @ x - sums * sums.T / count) / (squares * squares.T).sqrt()


def _pairs(some: Tensor, real: Tensor) -> float | None:
    if real.shape[1] < 2:
        return None
    above = torch.ones(2 * real.shape[1:], dtype=torch.bool).triu(1)
    return float((correlated(some) - correlated(real))[above].abs().mean())


def _told_apart(drawn: Tensor, real: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return how drawn each row looks to trees that have not seen it, and whether it is."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    trees = HistGradientBoostingClassifier(max_iter=TREES, early_stopping=False, random_state=seed)
    varied = np.nanvar(real.numpy(), 0).argsort(kind="stable")[::-1][:WIDEST]
    rows, which = torch.cat([drawn, real]).numpy(), np.repeat([True, False], len(real))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    looks = cross_val_predict(trees, rows[:, varied], which, cv=folds, method="decision_function")
    return torch.from_numpy(looks), torch.from_numpy(which)


def _nearest(rows: Tensor, among: Tensor) -> Tensor:
    """Return the mean square difference of each row to its nearest, over what both have, `(N,)`."""
    x, seen = rows.nan_to_num(), wide(~rows.isnan())
    least = torch.full((len(rows),), torch.inf, dtype=x.dtype)
    for part in among.split(max(1, AT_ONCE // len(rows))):
        y, there = part.nan_to_num(), wide(~part.isnan())
        squares = x.square() @ there.T - 2 * x @ y.T + seen @ y.square().T
        shared = seen @ there.T
        mean = squares.clamp(min=0) / shared.clamp(min=1)
        least = torch.minimum(least, mean.masked_fill(shared == 0, torch.inf).amin(1))
    return least


@register("metric", "synthetic")
class Synthetic(Study):
    """How near rows that `vaekit sample` draws are to held-out rows of a table: see `synthetic`.

    Args:
        most: of the rows that are drawn, and of the real ones.
    """

    needs = offering("draws")
    places = frozenset({"report"})
    columns = (
        Column("marginals", "draws: distance of columns (KS)", decimals=3, better=-1, group=""),
        Column("correlations", "draws: error of correlations", decimals=3, better=-1, group=""),
        Column("auroc", "draws told from real rows (AUROC)", decimals=3, better=-1, group=""),
        Column("nearer", "draws nearer to training rows than real ones", decimals=3, group=""),
        Column("copies", "draws that are training rows", decimals=4, better=-1, group=""),
    )

    def __init__(self, *, most: int = 1000) -> None:
        super().__init__()
        self.most = at_least("most", most, LEAST)

    def suits(self, subject: Subject) -> str | None:
        """Refuse images, few rows, and a subject without training rows or draws."""
        if subject.images:
            return "it is of tables"
        if subject.rows.count < LEAST:
            return f"it takes {LEAST} rows, and there are {subject.rows.count}"
        missing = subject.train is None or subject.sample is None
        return "there are no training rows, or nothing that draws" if missing else None

    def study(self, subject: Subject) -> Record:
        """Return the numbers of `synthetic`, with the name of the worst column."""
        assert subject.train is not None
        assert subject.sample is not None
        rows = subject.rows.split.take(subject.rows.few(self.most).index)
        log = torch.log1p if subject.spec.kind == "counts" else torch.as_tensor
        context = None if rows.context is None else rows.context.float()
        drawn = rounded(subject.sample(len(rows), context), subject.spec)
        real = log(rows.x())
        varied = np.nanvar(real.numpy(), 0).argsort(kind="stable")[::-1][:MOST]
        places = torch.from_numpy(np.sort(varied))
        some = subject.train.take(spread(len(subject.train), min(len(subject.train), AMONG)))
        parts = torch.arange(len(some)).split(2**9)
        train = torch.cat([log(some.x(part))[:, places] for part in parts])
        found = synthetic(log(drawn)[:, places], real[:, places], train, seed=subject.seed)
        names, worst = subject.spec.place_names, int(places[found["worst_column"]])
        found["worst_column"] = names[worst] if len(names) == drawn.shape[1] else str(worst + 1)
        over = counted(len(rows))  # trees are judged row by row, whatever their groups
        return {**found, "columns": len(places), "standard_error_over": over}

    def lines(self, record: Record) -> Iterator[Line]:
        """Yield a line for each number there is, beside that of real rows."""
        yield "synthetic", None, None, _what(record)
        for column in self.columns:
            error = record.get(f"{column.name}_standard_error")
            if record[column.name] is not None:
                yield f"  {column.name}", record[column.name], error, _beside(record, column.name)

    def facts(self, record: Record) -> Iterator[tuple[str, str]]:
        """Yield rows of the report's table, with what real rows have."""
        for column in self.columns:
            if record[column.name] is not None:
                words = f"{shown(record, column)} ({_beside(record, column.name)})"
                yield column.title, words


def _what(record: Record) -> str:
    most = f", by the {MOST} columns that vary most" if record.get("columns") == MOST else ""
    return f"{record['rows']} draws beside as many rows{most}"


def rounded(x: Tensor, spec: DataSpec) -> Tensor:
    """Return draws as they are written: columns of whole numbers rounded, within their ends."""
    units, x = spec.values.inverse(x), wide(x).clone()
    scale = torch.ones(x.shape[1]) if spec.values.scale is None else spec.values.scale
    bent = {warp.place for warp in spec.values.warps}  # which are no less told by fractions
    for column, ends in enumerate(spec.whole):
        if ends is not None and column not in bent:
            now = units[:, column]
            x[:, column] += (now.round().clip(*ends) - now) / float(scale[column])
    return x


def _beside(record: Record, name: str) -> str:
    if name in ("auroc", "nearer"):
        return "0.5: as real rows"
    words = f"real rows {record[f'{name}_real']:.3g}"
    return words + (f"; worst: {record['worst_column']}" if name == "marginals" else "")
