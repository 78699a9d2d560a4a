"""What is measured of each run, on the same test rows; who is ahead, and whether they can tell."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaekit.data import Dataset, spread
from vaekit.errors import VaekitError, choose
from vaekit.evaluate import Column, Metric, chosen, error_of, measured, shown, standard_error
from vaekit.report.comparison.opened import Opened
from vaekit.runs import Run

BOUNDS = "Bound and latent"  # the group of what hangs on the likelihood, in the data's unit
SHOWN = 12  # test images that are shown


class Measure(NamedTuple):
    """A number of the runs, by the metric and the column it is of.

    Attributes:
        key: its name: that of the column, and of the metric too where an earlier one has that.
    """

    key: str
    metric: str
    column: Column

    @property
    def title(self) -> str:
        """Its name in words."""
        return self.column.title

    def text(self, value: float | None, error: float | None = None) -> str:
        """A value of it in words, without its unit."""
        name = self.column.name
        record = {name: value, f"{name}_standard_error": error}
        return shown(record, self.column._replace(unit=""))


@dataclass(frozen=True, eq=False)
class Entry:
    """A run and its numbers.

    Attributes:
        run, name: and its short name.
        metrics, records: what was measured, by name, and what it found.
        gap: of the first ranked number, by how much that of training rows exceeds that of test
            rows, and the standard error; None without such a number.
        epochs: of metrics.jsonl.
        first: some test rows, and their context.
    """

    run: Run
    name: str
    metrics: dict[str, Metric]
    records: dict[str, dict[str, Any]]
    gap: tuple[float, float] | None
    epochs: list[dict[str, Any]]
    first: tuple[Tensor, Tensor | None]

    def value(self, of: Measure) -> float | None:
        """The number, or None."""
        return self.records.get(of.metric, {}).get(of.column.name)

    def error(self, of: Measure) -> float | None:
        """Its standard error, where there is one."""
        known, rows = error_of(self.records.get(of.metric, {}), of.column.name), self.row(of)
        if known is not None or rows is None or len(rows) < 2:
            return known
        return standard_error(rows)

    def row(self, of: Measure) -> Tensor | None:
        """The number of each test row, `(N,)`, where the metric kept them."""
        metric = self.metrics.get(of.metric)
        return None if metric is None else metric.row(of.column.name)

    @cached_property
    def speed(self) -> float | None:
        """Images per second of training, the median over the epochs."""
        speeds = [r["images_per_second"] for r in self.epochs if r.get("images_per_second")]
        return statistics.median(speeds) if speeds else None

    def last(self, name: str) -> float | None:
        """Of the last epoch."""
        value = self.epochs[-1].get(name) if self.epochs else None
        return value if isinstance(value, int | float) else None


def measures(opened: Opened) -> list[Measure]:
    """The numbers of all metrics that suit these runs, in the order of the metrics."""
    found: dict[str, Measure] = {}
    for run in opened.runs:
        for name, (metric, _) in chosen(run.subject(opened.data), "compare").items():
            for column in metric.columns:
                key = column.name
                if key in found and found[key].metric != name:
                    key = f"{name}.{key}"
                if column.group:
                    found.setdefault(key, Measure(key, name, column))
    return list(found.values())


def measure(run: Run, name: str, *, limit: int, seed: int, data_dir: str | None) -> Entry:
    """The numbers of a run on up to `limit` test rows, evenly spread; the draws are of `seed`."""
    source = run.source(data_dir)
    data = run.prepared(source)
    subject = run.subject(data, limit=limit, seed=seed, source=source)
    metrics = {name: metric for name, (metric, _) in chosen(subject, "compare").items()}
    records = measured(subject, metrics)
    return Entry(
        run,
        name,
        metrics,
        records,
        _gap(run, data, records, subject.rows.count, seed),
        run.folder.records(),
        data.test.batch(spread(len(data.test), SHOWN)),
    )


def _gap(
    run: Run, data: Dataset, test: dict[str, dict[str, Any]], rows: int, seed: int
) -> tuple[float, float] | None:
    """How much better the first ranked number is on as many training rows, and the error."""
    subject = run.subject(data, "train", limit=rows, seed=seed)
    metrics = {name: metric for name, (metric, _) in chosen(subject, "compare").items()}
    for name, metric in metrics.items():
        for column in (one for one in metric.columns if one.better):
            if test[name].get(column.name) is None:
                return None
            train = measured(subject, {name: metric})[name]
            errors = [error_of(one, column.name) or math.nan for one in (train, test[name])]
            return train[column.name] - test[name][column.name], math.hypot(*errors)
    return None


@dataclass(frozen=True, eq=False)
class Lead:
    """How far the best run is ahead of the next one.

    Attributes:
        best, next: the two.
        by: the mean of the row by row differences, 0 or more.
        error: its standard error: both met the same rows, so what is hard for both drops out; nan
            where the metric keeps no rows.
    """

    best: Entry
    next: Entry
    by: float
    error: float

    @property
    def clear(self) -> bool:
        """Whether the difference exceeds twice its standard error."""
        return self.by > 2 * self.error


def ranked(entries: Sequence[Entry], of: Measure) -> list[Entry]:
    """Those that have the number, the best first."""
    held = [(value, one) for one in entries if (value := one.value(of)) is not None]
    return [one for _, one in sorted(held, key=lambda pair: -of.column.better * pair[0])]


def lead(entries: Sequence[Entry], of: Measure) -> Lead | None:
    """How far the best is ahead; None where fewer than two have the number."""
    order = ranked(entries, of)
    if len(order) < 2:
        return None
    best, other = order[:2]
    one, two = best.row(of), other.row(of)
    if one is None or two is None:
        return Lead(best, other, abs((best.value(of) or 0) - (other.value(of) or 0)), math.nan)
    apart = of.column.better * (one - two)
    finite = apart[torch.isfinite(apart)]  # an image that both reproduce exactly has inf - inf
    return Lead(best, other, finite.mean().item(), standard_error(finite))


def ranking(found: Sequence[Measure], comparable: bool) -> list[Measure]:
    """The numbers that rank: what is best when high first; bounds where they compare."""
    held = [m for m in found if m.column.better and (comparable or m.column.group != BOUNDS)]
    return sorted(held, key=lambda m: -m.column.better)


def asked_rank(opened: Opened, found: Sequence[Measure], rank: str) -> Measure:
    """The measure of this name, before anything is measured.

    Raises:
        VaekitError: for an unknown one, and one of likelihoods that differ.
    """
    of = choose("measure to rank by", rank, {m.key: m for m in ranking(found, True)})
    able = ranking(found, opened.comparable)
    if of not in able:
        other = f"take --rank {able[0].key}, or " if able else ""
        raise VaekitError(
            f"bounds of different likelihoods are not comparable, so --rank {rank} has no meaning "
            f"here: {opened.kinds()}; {other}leave it."
        )
    return of


def judge_of(
    entries: Sequence[Entry], able: Sequence[Measure], rank: Measure | None
) -> Measure | None:
    """What ranks: what is asked for, else the first number that two of the runs have, if any.

    Raises:
        VaekitError: for a number that fewer than two of the runs have.
    """
    good = [of for of in able if len(ranked(entries, of)) > 1]
    if rank is not None and rank not in good:
        other = f", or take --rank {good[-1].key}" if good else ""
        raise VaekitError(
            f"fewer than two of these runs have a {rank.title}, so --rank {rank.key} has no "
            f"meaning here: leave it{other}."
        )
    return rank or next(iter(good), None)
