"""The scores of rows under a run, beside those of its validation rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit._io import note
from vaekit.data import Dataset, Split
from vaekit.errors import VaekitError, choose
from vaekit.evaluate import Scores, percentiles, score, separation, usual_terms
from vaekit.runs._run import Run

SHOWN = 3  # of the strangest rows
MOST = 2000  # validation rows, evenly spread, that stand for all


@dataclass(frozen=True, eq=False)
class Scored:
    """Rows with their scores.

    Attributes:
        rows: the rows.
        scores: of each.
        percentiles: by score, against the run's own validation rows; empty where there are none.
        usual: the scores of these, by name.
        cut: where a threshold is given, the first score from which a row is strange.
        strange: then, whether it is.
        labels: the class of each row by its name, where there are labels.
        separation: how well each score tells odd rows from others, where these are known.
        columns: the names of a table's columns.
        more: further columns of its table, by name.
    """

    rows: Split
    scores: Scores
    percentiles: dict[str, Tensor]
    usual: dict[str, Tensor]
    cut: float | None
    strange: Tensor | None
    labels: np.ndarray | None
    separation: dict[str, dict[str, float]]
    columns: tuple[str, ...]
    more: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The score that a threshold is of, and rows are sorted by: nll, else bound, else error."""
        return next(iter(self.scores.values))

    @property
    def names(self) -> np.ndarray:
        """What each row is called where it comes from; else its number from 0."""
        return np.arange(len(self.rows)) if self.rows.ids is None else self.rows.ids

    def take(self, index: Tensor) -> Scored:
        """Return the rows at `index`, in that order."""
        where = index.numpy()

        def part(values: Any) -> Any:
            return None if values is None else values[index if torch.is_tensor(values) else where]

        scores = {name: part(values) for name, values in self.scores.values.items()}
        return replace(
            self,
            rows=self.rows.take(index),
            scores=Scores(scores, part(self.scores.columns), part(self.scores.excess)),
            percentiles={name: part(values) for name, values in self.percentiles.items()},
            strange=part(self.strange),
            labels=part(self.labels),
            more={name: part(values) for name, values in self.more.items()},
        )

    def table(self) -> dict[str, np.ndarray]:
        """Return the columns of a table of them: `row`, scores, percentiles, what is strange."""
        found = {"row": self.names}
        for name, values in self.scores.values.items():
            found[name] = values.numpy()
            if name in self.percentiles:
                found[f"{name}_percentile"] = self.percentiles[name].numpy()
        if self.strange is not None:
            found["strange"] = self.strange.numpy()
        if self.scores.columns is not None and self.scores.excess is not None:
            most = int(self.scores.columns.max()) + 1 if len(self.rows) else 0
            names = np.array(self.columns or [str(i) for i in range(1, 1 + most)], object)
            pairs = zip(self.scores.columns.T, self.scores.excess.T, strict=True)
            for place, (columns, excess) in enumerate(pairs, 1):
                found |= {
                    f"column{place}": names[columns.numpy()],
                    f"excess{place}": excess.numpy(),
                }
        return found | ({} if self.labels is None else {"label": self.labels}) | self.more

    def lines(self) -> Iterator[str]:
        """Yield what a person wants to know of all rows."""
        values = self.scores.values[self.first]
        strangest = [str(self.names[i]) for i in values.argsort(descending=True)[:SHOWN].tolist()]
        yield f"{len(values):,} rows; the strangest by {self.first}: {', '.join(strangest)}"
        if self.strange is not None:
            count = int(self.strange.sum())
            share = f"{count / len(values):.1%}"
            yield f"strange: {count:,} of {len(values):,} rows ({share})"
        for name, found in self.separation.items():
            numbers = [
                f"{title} {found[key]:.4f} ± {found[f'{key}_error']:.4f}"
                for key, title in (("auroc", "AUROC"), ("average_precision", "average precision"))
            ]
            yield f"{name}: {', '.join(numbers)}"


def score_rows(
    run: Run,
    data: Any = None,
    *,
    split: str = "test",
    samples: int = 50,
    threshold: float | None = None,
    odd: str | None = None,
    label: str | None = None,
    id: str | None = None,  # noqa: A002
    limit: int | None = None,
    seed: int = 0,
    data_dir: Any = None,
    on_rows: Any = None,
) -> Scored:
    """Return how strange rows are to a run: see `Run.score`."""
    if threshold is not None and not 0 < threshold < 1:
        raise VaekitError(f"got `threshold={threshold}`; expected a share between 0 and 1.")
    how: dict[str, Any] = {"seed": seed, "on_rows": on_rows}
    rows = _rows(run, data, split, data_dir, id=id, label=label, free=odd is not None)
    names = np.array(rows.class_names or [str(i) for i in range(rows.classes)], object)
    known = _reference(run, data_dir)
    usual = beside = None
    if known is not None:
        reference = run.subject(known, "validation", limit=MOST, seed=seed)
        usual = usual_terms(reference) if run.spec.is_table else None
        beside = score(reference, samples=samples)
    subject = run.subject(rows, "test", limit=limit, **how)
    scores = score(subject, samples=samples, usual=usual)
    part = rows.test.take(subject.rows.index)
    labels = None if part.labels is None else names[part.labels.numpy()]
    first = next(iter(scores.values))
    shares = {} if beside is None else _against(scores, beside)
    strange = cut = None
    if threshold is not None:
        strange = _strange(shares.get(first), threshold, beside)
        cut = _cut(beside.values[first], threshold) if beside else None
    apart = {} if odd is None else _separated(scores, labels, odd, seed)
    usual_scores = {} if beside is None else beside.values
    columns = run.spec.column_names or tuple(str(i + 1) for i in range(run.spec.shape[-1]))
    facts = (shares, usual_scores, cut, strange, labels, apart, columns)
    return Scored(part, scores, *facts)


def _against(scores: Scores, reference: Scores) -> dict[str, Tensor]:
    return {n: percentiles(v, reference.values[n]) for n, v in scores.values.items()}


def _strange(share: Tensor | None, threshold: float, reference: Scores | None) -> Tensor:
    """Return which rows have at least such a percentile; refuse one that no row can have."""
    if share is None or reference is None:
        raise VaekitError("`threshold` needs validation rows of the training: none were found.")
    count = len(next(iter(reference.values.values())))
    if threshold > count / (count + 1):
        raise VaekitError(
            f"got `threshold={threshold}`; there are {count} validation rows, which tell "
            f"percentiles up to {count / (count + 1):.4f}: take less."
        )
    return share >= threshold


def _cut(usual: Tensor, threshold: float) -> float:
    """Return the score above which a row has at least such a percentile: see `percentiles`."""
    place = math.ceil(threshold * (len(usual) + 1) - 1e-9)
    return float(usual.sort().values[max(place, 1) - 1])


def _rows(run: Run, data: Any, split: str, data_dir: Any, **how: Any) -> Dataset:
    """Return the rows to score as the test split of a data set."""
    if data is not None:
        return run.new_data(data, data_dir=data_dir, **how)
    for name in ("id", "label"):
        if how[name]:
            raise VaekitError(f"`{name}` is for new rows: name them in `data`, or leave it.")
    known = run.dataset(data_dir)
    return replace(known, test=choose("split", split, known.splits))


def _reference(run: Run, data_dir: Any) -> Dataset | None:
    """Return the data of the training with its validation rows, or test rows where it has none."""
    try:
        known = run.dataset(data_dir)
    except VaekitError as error:
        note(f"no percentiles: {error}")
        return None
    if known.validation is None:
        note("no rows were held out for validation: percentiles are among the test rows.")
        return replace(known, validation=known.test)
    return known


def _separated(
    scores: Scores, labels: np.ndarray | None, odd: str, seed: int
) -> dict[str, dict[str, float]]:
    if labels is None:
        raise VaekitError(f"`odd={odd}` needs labels: these rows have none.")
    which = torch.from_numpy(labels == odd)
    if not which.any() or which.all():
        shown = ", ".join(sorted(map(str, set(labels)))[:8])
        raise VaekitError(
            f"`odd={odd}` needs rows of that class and others; these are of: {shown}."
        )
    return {name: separation(values, which, seed=seed) for name, values in scores.values.items()}
