"""Metrics by name, and how they are computed: evaluate, report and compare walk these."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from vaekit._torchutil import evaluating, lazy, rng, wide
from vaekit.data import Dataset, DataSpec, Split, check_memory, generator, spread
from vaekit.distributions import Distribution, Offer
from vaekit.errors import VaekitError, at_least
from vaekit.evaluate._checks import counted
from vaekit.models import Model, Trace, exact, offered, pieces, rows_at_once
from vaekit.registry import Spec, checked, entries, find, make

BATCH = 500
BLOCK = 2**12  # numbers of rows that are stored side by side
PLACES = frozenset({"evaluate", "report", "compare"})
Record = dict[str, Any]
OnRows = Callable[[str, int, int], None]  # the metric, rows done, rows in all
Line = tuple[str, float | None, float | None, str]  # a name, its value, its error, more in words
Batch = tuple[Tensor, Tensor | None]  # x and its context


def cut(model: Model, batches: Iterable[Batch], draws: int = 1) -> Iterator[tuple[Any, Any]]:
    """Yield the batches in pieces of as many rows as are decoded at a time, each so often."""
    for batch in batches:
        yield from pieces(model, *batch, draws=draws)


class Rows:
    """The rows to measure, in batches (x, context) on the model's device, anew for each metric.

    Args:
        split: rows of a data set.
        device: where batches go.
        limit: so many only, evenly spread: a split may be sorted.
        on_rows: is called with the progress.

    Attributes:
        count: how many they are.
        index: which rows of the split.
        groups: of each row, where the split has groups, else None.
    """

    def __init__(
        self,
        split: Split,
        device: torch.device | str = "cpu",
        limit: int | None = None,
        on_rows: OnRows | None = None,
    ) -> None:
        self.split, self.device, self.on_rows = split, device, on_rows
        self.count = len(split) if limit is None else min(at_least("limit", limit, 1), len(split))
        self.index = spread(len(split), self.count)
        self.groups = None if split.groups is None else split.groups.cpu()[self.index]
        self.before, self.all = 0, self.count  # of the rows that `on_rows` is told of

    @property
    def over(self) -> str:
        """Return over what a standard error of their mean is: "1,000 rows", or "6 groups"."""
        return counted(self.count, self.groups)

    def few(self, most: int) -> Rows:
        """Return at most so many of the split, evenly spread."""
        return Rows(self.split, self.device, min(self.count, most), self.on_rows)

    def drawn(self, most: int, seed: int) -> Rows:
        """Return at most so many at random: of a grid, those evenly spread are too much alike."""
        order = torch.randperm(self.count, generator=generator(seed, "rows"))
        drawn, some = copy(self), order[:most].sort().values
        drawn.index, drawn.count, drawn.all = self.index[some], len(some), len(some)
        drawn.groups = None if self.groups is None else self.groups[some]
        return drawn

    def blocks(self, size: int) -> Iterator[Rows]:
        """Yield the same rows, so many at a time, to be measured one after the other."""
        for before in range(0, self.count, size):
            block, some = copy(self), slice(before, before + size)
            block.index, block.before = self.index[some], before
            block.count = len(block.index)
            block.groups = None if self.groups is None else self.groups[some]
            yield block

    def batches(self, what: str = "", size: int = BATCH) -> Iterator[Batch]:
        """Yield the rows, so many at a time; `what` is the name that `on_rows` gets."""
        done = self.before
        for index in self.index.split(size):
            x, context = self.split.batch(index)
            yield x.to(self.device), None if context is None else context.to(self.device)
            done += len(index)
            if self.on_rows is not None:
                self.on_rows(what, done, self.all)


@dataclass(eq=False)
class Subject:
    """A model on rows to measure it on, with what is known of both.

    Attributes:
        model: the model.
        spec: what is known of the data.
        rows: the rows to measure.
        objective: what the model was trained with, or None.
        train: the training rows, or None.
        data: the data set with gray levels, in [0, 1] whatever range the model sees, for metrics
            of images; or None.
        key: tells this data set from others.
        class_names: of its labels.
        factor_names: of its factors, where they have names.
        seed: of the draws.
        name: what errors call it.
        scale: of a table's columns, `(D,)`: the units of the data, of which numbers are then;
            None where they are of what the model sees.
        sample: draws so many rows, for a context of each, as `Run.sample` does; or None.
        prior: what `sample` is asked to draw z from, where a metric is of samples.
        plain: the data set with its rows as they are without noise, those to measure for its test
            split; or None.
        shared: what a study keeps for the others that are made with it.
    """

    model: Model
    spec: DataSpec
    rows: Rows
    objective: Any = None
    train: Split | None = None
    data: Callable[[], Dataset] | None = None
    key: str = ""
    class_names: Sequence[str] = ()
    factor_names: Sequence[str] = ()
    seed: int = 0
    name: str = "this model"
    scale: Tensor | None = None
    sample: Callable[..., Tensor] | None = None
    prior: str = "model"
    plain: Callable[[], Dataset] | None = None
    shared: dict[Any, Any] = field(default_factory=dict)

    @lazy
    def px(self) -> Distribution:
        """Return p(x|z) of one row: its type, its space, its scale."""
        return self.model.example(self.spec.context).px

    def batches(self, what: str, draws: int = 1) -> Iterator[Batch]:
        """Yield the rows, as many at a time as memory holds at so many draws, 500 at most."""
        return self.rows.batches(what, min(BATCH, rows_at_once(self.model, draws)))

    @property
    def span(self) -> float:
        """Return the range of the values of an image, as the model sees it."""
        return self.spec.values.high - self.spec.values.low if self.images else 1.0

    @property
    def images(self) -> bool:
        """Return whether rows are images."""
        return len(self.spec.shape) == 3


def in_units(x: Tensor, scale: Tensor | None) -> Tensor:
    """Return differences of rows `(..., D)` in the units of the data: see `Subject.scale`."""
    return x if scale is None else wide(x) * wide(scale.to(x.device))


def log_volume(trace: Trace, scale: Tensor | None) -> Tensor | float:
    """Return what a density loses in the units of the data, of each row `(B,)` or of all.

    Of v = loc + scale x it is log p(v) = log p(x) - sum log scale, over the columns that are seen;
    a probability is the same in any unit.

    Example:
        >>> from vaekit.distributions import Gaussian
        >>> px = Gaussian(torch.zeros(1, 3, 2), torch.zeros(()))
        >>> trace = Trace(x=torch.zeros(3, 2), sites=(), px=px, model=None)
        >>> log_volume(trace, torch.tensor([1.0, 10.0]))
        tensor(2.3026, dtype=torch.float64)
    """
    if scale is None or trace.px.space.discrete:
        return 0.0
    logs = wide(scale.to(trace.x.device)).log()
    return (logs if trace.mask is None else logs * trace.mask).sum(-1)


class Column(NamedTuple):
    """A number of a metric's record, and how it is printed.

    Attributes:
        name: its key in the record.
        title: its name in words.
        unit: after the number; "" for none.
        decimals: of a printed number.
        better: 1 where higher is better, -1 where lower is, 0 where neither.
        group: the table that it belongs to when runs are compared; "" for none.
    """

    name: str
    title: str
    unit: str = ""
    decimals: int = 2
    better: int = 0
    group: str = "Further metrics"


class Metric(ABC):
    """A metric is computed on a pass over rows, which all metrics share.

    A subclass says what it `needs` of the model, which `columns` it has, and in which places it is
    computed without being named; it reads each trace in `update`, and returns its numbers from
    `compute`. Its state is what it `add`s up and what it `keep`s for each row.

    Attributes:
        needs: words of `Offer`.
        columns: the numbers that are printed.
        places: of "evaluate", "report" and "compare"; empty: only where it is named.
        samples: how many draws it wants; None where any number will do.
        groups: of the rows, over which errors are then; None where rows are independent.
        scale: of a table's columns: see `Subject`.
    """

    needs: ClassVar[frozenset[Offer]] = frozenset()
    columns: ClassVar[tuple[Column, ...]] = ()
    places: ClassVar[frozenset[str]] = PLACES
    samples: tuple[int, ...] | None = None
    groups: Tensor | None = None
    scale: Tensor | None = None

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.rows: dict[str, list[Tensor]] = {}
        self._block = torch.empty(0)

    def begin(self, subject: Subject) -> None:
        """Start a pass over a subject."""
        self.subject, self.groups, self.scale = subject, subject.rows.groups, subject.scale

    def suits(self, subject: Subject) -> str | None:
        """Return why this metric does not apply, beyond what it needs; None where it does."""
        return None

    @abstractmethod
    def update(self, trace: Trace) -> None:
        """Take in a batch."""

    @abstractmethod
    def compute(self) -> Record:
        """Return the numbers, as plain values."""

    def add(self, **values: Tensor) -> None:
        """Add to the sums of these names."""
        for name, value in values.items():
            value = value.detach()
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def keep(self, **values: Tensor) -> None:
        """Store a number for each row, `(B, ...)`.

        Copies go into a shared block: each by itself would fragment the next pass's memory.
        """
        for name, value in values.items():
            size, block = value.numel(), self._block
            if block.numel() < size or (block.dtype, block.device) != (value.dtype, value.device):
                block = value.new_empty(max(size, BLOCK))
            copy, self._block = block[:size].view(value.shape), block[size:]
            self.rows.setdefault(name, []).append(copy.copy_(value.detach()))

    def row(self, name: str) -> Tensor | None:
        """Return what is stored under this name for all rows; None where nothing is."""
        return torch.cat(self.rows[name]).cpu() if name in self.rows else None

    def lines(self, record: Record) -> Iterator[Line]:
        """Yield what `vaekit evaluate` prints: a line for each column."""
        for column in self.columns:
            yield column.name, record[column.name], error_of(record, column.name), column.unit

    def facts(self, record: Record) -> Iterator[tuple[str, str]]:
        """Yield rows of the report's table: a name, and the number in words."""
        for column in self.columns:
            if record[column.name] is not None:
                yield column.title, shown(record, column)


class Study(Metric):
    """A study is a metric that makes its own passes, each with its own draws."""

    places: ClassVar[frozenset[str]] = frozenset()
    record: Record

    @abstractmethod
    def study(self, subject: Subject) -> Record:
        """Return the numbers, as plain values."""

    def update(self, trace: Trace) -> None:
        raise AssertionError("a study makes its own passes")

    def compute(self) -> Record:
        return self.record


def error_of(record: Record, name: str) -> float | None:
    """Return the standard error of a number in a record, or None."""
    error = record.get(f"{name}_standard_error", (record.get("errors") or {}).get(name))
    return error if isinstance(error, float) else None


def shown(record: Record, column: Column) -> str:
    """Return a number of a record in words, with its standard error and unit.

    Example:
        >>> shown({"elbo": -3.0, "elbo_standard_error": 0.5}, Column("elbo", "ELBO", "nats"))
        '−3.00 ± 0.50 nats'
    """
    value, error = record.get(column.name), error_of(record, column.name)
    if value is None:
        return "–"
    words = f"{value:,.{column.decimals}f}".replace("-", "−")
    if error is not None and math.isfinite(error):
        words += f" ± {error:,.{column.decimals}f}"
    return f"{words} {column.unit}".rstrip()


def chosen(
    subject: Subject, place: str, named: Sequence[str | Spec] = ()
) -> dict[str, tuple[Metric, Spec]]:
    """Return the metrics of a place that suit the subject, and those that are named.

    Raises:
        VaekitError: for an unknown metric or option, or one that is named and does not suit.
    """
    specs: dict[str, Spec] = {}
    for spec in (checked("metric", each) for each in named):
        if spec["name"] in specs:
            raise VaekitError(f"got the metric {spec['name']} twice: leave one.")
        specs[spec["name"]] = spec
    metrics: dict[str, tuple[Metric, Spec]] = {}
    for name in sorted({**entries("metric"), **specs}, key=lambda each: each != "bound"):
        if name in specs or place in find("metric", name).places:
            spec = specs.get(name, {"name": name})
            metric: Metric = make("metric", spec)
            why = _refusal(metric, name, subject)
            if why is None:
                metrics[name] = metric, spec
            elif name in specs:
                raise VaekitError(why)
    return metrics


def _refusal(metric: Metric, name: str, subject: Subject) -> str | None:
    missing = sorted(metric.needs - offered(subject.model))
    if missing:
        return (
            f"{subject.name} lacks {missing[0].meaning} ({missing[0]}), so there is no {name} to "
            "measure: leave it, or measure a model that has them."
        )
    why = metric.suits(subject)
    return None if why is None else f"there is no {name} of {subject.name}: {why}"


FEWER = "Take fewer `samples`."


def measured(subject: Subject, metrics: Mapping[str, Metric]) -> dict[str, Record]:
    """Return the record of each metric: studies, and those of one shared pass.

    Each study, and the pass, begins with the draws of the subject's seed, so that no number
    depends on what else is measured. A record with standard errors says over what they are.
    """
    for metric in metrics.values():
        metric.begin(subject)
    if shared := [metric for metric in metrics.values() if not isinstance(metric, Study)]:
        with rng(subject.seed, subject.rows.device):
            _pass(subject, shared)
    records: dict[str, Record] = {}
    for name, metric in metrics.items():
        with rng(subject.seed, subject.rows.device):
            if isinstance(metric, Study):
                metric.record = metric.study(subject)
            record = plain(metric.compute())
        if any(key.endswith(("errors", "standard_error")) for key in record):
            record.setdefault("standard_error_over", subject.rows.over)
        records[name] = record
    return records


def _pass(subject: Subject, metrics: Sequence[Metric]) -> None:
    """Pass over the rows once, with one encoding for all numbers of draws that are wanted."""
    wanted = list(dict.fromkeys(m.samples for m in metrics if m.samples is not None)) or [(1,)]
    model, draws = subject.model, max(map(math.prod, wanted))
    size = max(1, min(1000 // draws, rows_at_once(model, draws)))
    check_memory(f"{draws:,} draws of a row", 8 * draws * math.prod(model.x_shape), FEWER)
    with evaluating(model), exact(model):
        for x, context in subject.rows.batches("bound", size):
            traces = model.passes(x, context, wanted)
            for samples, trace in zip(wanted, traces, strict=True):
                for metric in metrics:
                    if (metric.samples or wanted[0]) == samples:
                        metric.update(trace)


def plain(value: Any) -> Any:
    """Put None for what JSON has no number for: the standard error of one row, an infinite PSNR."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
