"""What is measured of runs on the same test rows: the numbers, of one run and over seeds."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaekit.data import spread
from vaekit.evaluate import (
    Column,
    Metric,
    chosen,
    counted,
    error_of,
    log_volume,
    measured,
    standard_error,
)
from vaekit.registry import entries, find
from vaekit.report._grids import in_color
from vaekit.report._pages import mark
from vaekit.report._run_set import OWN, RunSet, Words, unit_of
from vaekit.runs import Run

BOUNDS = "Bound and latent"  # the group of what hangs on the likelihood, in the data's unit
SHOWN = 12  # test images that are shown
TITLES = (  # of vaekit's metrics and of their groups, to be translated
    *(
        mark("rows"),
        mark("groups"),
        mark("bound (ELBO)"),
        mark("active units"),
        mark("perplexity of the codes"),
        mark("dB"),
    ),
    *(mark("share of the codes that is used"), mark("gradient noise"), mark("image"), mark("row")),
    *(mark("rows"), mark("groups"), mark("group")),
    mark("The ELBO and its two terms, the square error of E[x|z] over draws of z, and bits."),
    mark("Active units, the KL of each dimension, and how wide the posterior is."),
    mark(
        "How many of its codes a model uses: perplexity, exp of their entropy, and the share used."
    ),
    mark("What E[x|z] at the codes of x is to x: MSE, L1, and of images PSNR, SSIM, MS-SSIM."),
    mark(
        "The noise that the draws of the latent put on the gradient of one batch of training rows."
    ),
    *(mark("Bound and latent"), mark("Reconstructions, measured"), mark("Further metrics")),
)


def number_text(number: float | None, error: float | None = None, decimals: int = 2) -> str:
    """Return a number with its error, and as many decimals as the error needs.

    Example:
        >>> number_text(-3.0, 0.5), number_text(0.0021, 0.0007), number_text(None)
        ('−3.00 ± 0.50', '0.00210 ± 0.00070', '–')
    """
    if number is None:
        return "–"
    known = error is not None and math.isfinite(error)
    if error and known and error < 0.5 * 10.0**-decimals:
        decimals = 1 - math.floor(math.log10(error))
    text = f"{number:,.{decimals}f}" + (f" ± {error:,.{decimals}f}" if known else "")
    return text.replace("-", "−")


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

    def text(self, number: float | None, error: float | None = None) -> str:
        """Return a value of it in words, without its unit."""
        decimals = self.column.decimals
        if number is not None and not decimals and number != int(number):  # a mean over seeds
            decimals = 1
        return number_text(number, error, decimals)


@dataclass(frozen=True, eq=False)
class Entry:
    """A run and its numbers.

    Attributes:
        run, name: and its short name.
        metrics, records: what was measured, by name, and the numbers.
        gap: of the first ranked number, by how much that of training rows exceeds that of test
            rows, and the standard error; None without such a number.
        epochs: of metrics.jsonl, log-likelihoods in the units of the data.
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
        """Return the number, or None."""
        return self.records.get(of.metric, {}).get(of.column.name)

    def error(self, of: Measure) -> float | None:
        """Return its standard error over rows, where there is one."""
        known, rows = error_of(self.records.get(of.metric, {}), of.column.name), self.row(of)
        if known is not None or rows is None or len(rows) < 2:
            return known
        return standard_error(rows, self.metrics[of.metric].groups)

    def unit(self, of: Measure, say: Words = str) -> str:
        """Return the unit of a number in words; "" where it has none."""
        spec, name = self.run.spec, of.column.name
        if name in ("elbo", "log_likelihood"):
            return unit_of(spec, say)
        if name in ("mse", "l1") and spec.kind == "table":
            return say(OWN)
        unit = spec.unit if of.column.group == BOUNDS else of.column.unit
        return unit and say(unit)

    def over(self, say: Words = str, of: Measure | None = None) -> str:
        """Return over what its standard errors are, or a number is, as "1,000 rows"."""
        if of is not None and of.metric not in self.metrics:
            return f"{self.records[of.metric]['rows']:,} {say('rows')}"
        count, what = next(iter(self.metrics.values())).subject.rows.over.split()
        return f"{count} {say(what)}"

    def row(self, of: Measure) -> Tensor | None:
        """Return the number of each test row, `(N,)`, where the metric has them."""
        metric = self.metrics.get(of.metric)
        return None if metric is None else metric.row(of.column.name)

    def seen(self, images: Tensor) -> Tensor:
        """Return canonical images in the range of a screen."""
        return in_color(self.run.spec.values.inverse(images))

    @cached_property
    def parameters(self) -> int:
        """How many numbers the model has learned."""
        return sum(p.numel() for p in self.run.model.parameters())

    @cached_property
    def speed(self) -> float | None:
        """Images per second of training, the median over the epochs."""
        speeds = [r["images_per_second"] for r in self.epochs if r.get("images_per_second")]
        return statistics.median(speeds) if speeds else None

    def last(self, name: str) -> float | None:
        """Return a number of the last epoch."""
        number = self.epochs[-1].get(name) if self.epochs else None
        return number if isinstance(number, int | float) else None

    def plain(self, numbers: Sequence[Measure]) -> dict[str, Any]:
        """Return all numbers as JSON takes them; nats per row of data."""
        gap, error = self.gap or (None, None)
        known = {"name": self.name, "run": str(self.run.path), **_with_errors(self, numbers)}
        error = None if error is None or math.isnan(error) else error
        known |= {"train_test_gap": gap, "train_test_gap_standard_error": error}
        known |= {"parameters": self.parameters, "latent_dimensions": self.run.latent_size}
        known |= {"images_per_second": self.speed}
        known |= {name: self.last(name) for name in ("dead_units", "gradient_norm")}
        known |= {"epochs": len(self.epochs), "weights": self.run.weights, "step": self.run.step}
        return {**known, "standard_error_over": self.over(), "metrics": self.records}


@dataclass(frozen=True, eq=False)
class Setting:
    """Runs that differ in their seed alone, or one run: a row of what is compared."""

    name: str
    entries: Sequence[Entry]

    def mean(self, read: Callable[[Entry], float | None]) -> float | None:
        """Return the mean over seeds of what is read of a run; None where one has no number."""
        known = [number for entry in self.entries if (number := read(entry)) is not None]
        return sum(known) / len(known) if len(known) == len(self.entries) else None

    def value(self, of: Measure) -> float | None:
        """Return the mean over seeds of a number."""
        return self.mean(lambda entry: entry.value(of))

    def row(self, of: Measure) -> Tensor | None:
        """Return the number of each test row, `(N,)`, a mean over seeds, or None."""
        rows = [row for entry in self.entries if (row := entry.row(of)) is not None]
        return torch.stack(rows).mean(0) if len(rows) == len(self.entries) else None

    def error(self, of: Measure) -> float | None:
        """Return the standard error over seeds; of one run that over rows."""
        if len(self.entries) == 1:
            return self.entries[0].error(of)
        numbers = [entry.value(of) for entry in self.entries]
        return None if None in numbers else error_over(numbers)

    def half_interval(self, of: Measure) -> float | None:
        """Return half of the 95 % interval: Student's t over seeds; of one run two errors."""
        error, seeds = self.error(of), len(self.entries)
        return None if error is None else error * (2.0 if seeds == 1 else quantile(seeds - 1))

    def text(self, of: Measure) -> str:
        """Return the number in words."""
        return of.text(self.value(of), self.error(of))

    def plain(self, numbers: Sequence[Measure]) -> dict[str, Any]:
        """Return the means over seeds as JSON takes them."""
        runs = [entry.name for entry in self.entries]
        seeds = counted(len(runs), what="seeds")
        over = self.entries[0].over() if len(runs) == 1 else seeds
        known = {"name": self.name, "runs": runs, **_with_errors(self, numbers)}
        return {**known, "standard_error_over": over}

    @property
    def gap(self) -> tuple[float, float] | None:
        """By how much the first ranked number is better on training rows, and the error."""
        gaps = [entry.gap for entry in self.entries if entry.gap is not None]
        if len(gaps) < len(self.entries):
            return None
        apart = [by for by, _ in gaps]
        return gaps[0] if len(gaps) == 1 else (sum(apart) / len(apart), error_over(apart))


def _with_errors(row: Entry | Setting, numbers: Sequence[Measure]) -> dict[str, float | None]:
    """Return numbers by their keys, each followed by its standard error where there is one."""
    found = {}
    for of in numbers:
        found[of.key] = row.value(of)
        if (error := row.error(of)) is not None and math.isfinite(error):
            found[f"{of.key}_standard_error"] = error
    return found


def error_over(numbers: Sequence[Any]) -> float:
    """Return the standard error of the mean of numbers, each of a seed; nan for one."""
    return standard_error(torch.tensor(numbers, dtype=torch.float64))


def quantile(degrees: float) -> float:
    """Return how many standard errors the 95 % interval of Student's t has to either side."""
    from scipy.stats import t

    return float(t.ppf(0.975, degrees))


ALIKE = (  # what two records of a metric must have in common: of the protocol, and of its own
    ("split", "sha256", "rows", "seed"),
    ("rows", "factors", "samples", "steps", "levels", "how"),
)


def evaluated(opened: RunSet) -> list[dict[str, dict[str, Any]]]:
    """Return for each run what all were evaluated by alike, on the same test rows, by metric.

    What compare measures itself is left out, and what was measured of other weights.
    """
    others = {name for name in entries("metric") if "compare" not in find("metric", name).places}
    found = []
    for run in opened.runs:
        records = {}
        for evaluation in run.folder.evaluations():
            protocol = evaluation.get("protocol", {})
            now = (protocol.get("weights"), protocol.get("step")) == (run.weights, run.step)
            if now and protocol.get("split") == "test":
                for name in sorted(others & {*evaluation}):
                    both = zip((protocol, evaluation[name]), ALIKE, strict=True)
                    how = [[known.get(key) for key in keys] for known, keys in both]
                    rows = {"rows": protocol.get("rows")}
                    records[name, json.dumps(how)] = rows | evaluation[name]
        found.append(records)
    alike = [key for key in found[0] if all(key in records for records in found)]
    return [{key[0]: records[key] for key in alike} for records in found]


def measures(opened: RunSet, kept: Iterable[str] = ()) -> list[Measure]:
    """Return the numbers of all metrics that suit these runs, and of those that were evaluated."""
    known: dict[str, Measure] = {}
    for run in opened.runs:
        for name in (*chosen(run.subject(opened.data), "compare"), *kept):
            for column in find("metric", name).columns:
                key = column.name
                if key in known and known[key].metric != name:
                    key = f"{name}.{key}"
                if column.group:
                    known.setdefault(key, Measure(key, name, column))
    return list(known.values())


def measure(
    run: Run,
    name: str,
    kept: dict[str, Any] | None = None,
    *,
    limit: int,
    seed: int,
    data_dir: Any,
) -> Entry:
    """Measure a run on up to `limit` test rows, evenly spread; the draws are of `seed`.

    `kept` are records from before: see `evaluated`. Numbers of a table are in its own units, so
    that runs compare that scaled it in other ways.
    """
    source = run.source(data_dir)
    source.check_tested(str(run.path))
    data = run.prepared(source)
    subject = run.subject(data, limit=limit, seed=seed, source=source, units=True)
    metrics = {name: metric for name, (metric, _) in chosen(subject, "compare").items()}
    records, gap = measured(subject, metrics), None
    train = run.subject(data, "train", limit=subject.rows.count, seed=seed, units=True)
    known = [(key, one) for key, (one, _) in chosen(train, "compare").items()]
    ranks = [(key, one, column) for key, one in known for column in one.columns if column.better]
    for key, one, column in ranks[:1]:
        if (test := records[key].get(column.name)) is not None:
            trained = measured(train, {key: one})[key]
            errors = [error_of(each, column.name) or math.nan for each in (trained, records[key])]
            gap = trained[column.name] - test, math.hypot(*errors)
    first = data.test.batch(spread(len(data.test), SHOWN))
    moved = float(log_volume(run.model.example(run.spec.context), subject.scale))
    epochs = [_moved(record, moved) for record in run.folder.records()]
    return Entry(run, name, metrics, {**(kept or {}), **records}, gap, epochs, first)


def _moved(record: dict[str, Any], by: float) -> dict[str, Any]:
    """Return the record of an epoch, its log-likelihoods less by so much."""
    found = dict(record)
    for split in ("train", "validation", "test"):
        if (known := (record.get(split) or {}).get("log_likelihood")) is not None:
            found[split] = {**record[split], "log_likelihood": known - by}
    return found
