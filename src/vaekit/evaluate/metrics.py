"""What is measured of a model, by name: evaluate, report, compare and traverse walk these."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from vaekit.data import Dataset, DataSpec, Split, spread
from vaekit.distributions import WORDS, Distribution, Offer
from vaekit.errors import VaekitError
from vaekit.evaluate.checks import standard_error, whole
from vaekit.models import Model, Trace, exact, rows_at_once
from vaekit.registry import Spec, checked, entries, find, make
from vaekit.torchutil import evaluating, lazy, rng

BATCH = 500
BLOCK = 2**12  # numbers of rows that are kept side by side
PLACES = frozenset({"evaluate", "report", "compare"})
Record = dict[str, Any]
OnRows = Callable[[str, int, int], None]  # what is measured, rows done, rows in all
Line = tuple[str, float | None, float | None, str]  # a name, its value, its error, more in words
Batch = tuple[Tensor, Tensor | None]  # x and its context


def cut(model: Model, batches: Iterable[Batch], draws: int = 1) -> Iterator[Batch]:
    """The batches in parts of as many rows as are decoded at a time, with so many draws of each."""
    for x, context in batches:
        size = rows_at_once(model, draws)
        for at in range(0, len(x), size):
            yield x[at : at + size], None if context is None else context[at : at + size]


class Rows:
    """The rows to measure, in batches (x, context) where the model is, again for each part.

    Args:
        split: rows of a data set.
        device: where batches go.
        limit: so many only, evenly spread: a split may be sorted.
        on_rows: is told how it goes.
    """

    def __init__(
        self,
        split: Split,
        device: torch.device | str = "cpu",
        limit: int | None = None,
        on_rows: OnRows | None = None,
    ) -> None:
        self.split, self.device, self.on_rows = split, device, on_rows
        self.count = len(split) if limit is None else min(whole("limit", limit), len(split))

    @property
    def index(self) -> Tensor:
        """Which rows of the split."""
        return spread(len(self.split), self.count)

    def batches(
        self, what: str = "", size: int = BATCH, most: int | None = None
    ) -> Iterator[Batch]:
        """The rows, so many at a time; `what` is told to `on_rows`."""
        rows, done = min(self.count, most or self.count), 0
        for index in spread(len(self.split), rows).split(size):
            x, context = self.split.batch(index)
            yield x.to(self.device), None if context is None else context.to(self.device)
            done += len(index)
            if self.on_rows is not None:
                self.on_rows(what, done, rows)


@dataclass(eq=False)
class Subject:
    """What is measured: a model on rows, and what is known of both.

    Attributes:
        model: the model.
        spec: what is known of the data.
        rows: the rows to measure.
        objective: what it was trained with, or None.
        train: the training rows, or None.
        data: the data set with gray levels, for what looks at images; or None.
        key: what tells this data set, as the model sees it, from others.
        class_names: of its labels.
        seed: of the draws.
        name: what errors call it.
    """

    model: Model
    spec: DataSpec
    rows: Rows
    objective: Any = None
    train: Split | None = None
    data: Callable[[], Dataset] | None = None
    key: str = ""
    class_names: Sequence[str] = ()
    seed: int = 0
    name: str = "this model"

    @lazy
    def px(self) -> Distribution:
        """p(x|z) of one row: its type, its space, its scale."""
        return self.model.example(self.spec.context).px

    def batches(self, what: str, draws: int = 1) -> Iterator[Batch]:
        """The rows, as many at a time as memory holds with so many draws of each, 500 at most."""
        return self.rows.batches(what, min(BATCH, rows_at_once(self.model, draws)))

    @property
    def span(self) -> float:
        """The range of the values of an image."""
        return self.spec.values.high - self.spec.values.low if self.images else 1.0

    @property
    def images(self) -> bool:
        """Whether rows are images."""
        return len(self.spec.shape) == 3


class Column(NamedTuple):
    """A number of a metric's record, and how it is shown.

    Attributes:
        name: its key in the record.
        title: its name in words.
        unit: after the number; "" for none.
        decimals: of a printed number.
        better: 1 where higher is better, -1 where lower is, 0 where neither.
        group: the heading of the table it stands under when runs are compared; "" for in none.
    """

    name: str
    title: str
    unit: str = ""
    decimals: int = 2
    better: int = 0
    group: str = "Further metrics"


class Metric(ABC):
    """Something that is measured on a pass over rows, which all metrics share.

    A subclass says what it `needs` of the model, which `columns` it has, and in which places it is
    measured without being asked for; it looks at each trace in `update`, and says its numbers in
    `compute`. Its state is what it `add`s up and what it `keep`s for each row, so that the states
    of several processes can be merged.

    Attributes:
        needs: words of `Offer`.
        columns: the numbers that are shown.
        places: of "evaluate", "report" and "compare"; empty: only where it is asked for.
        samples: how many draws it wants; None where any will do.
    """

    needs: ClassVar[frozenset[Offer]] = frozenset()
    columns: ClassVar[tuple[Column, ...]] = ()
    places: ClassVar[frozenset[str]] = PLACES
    samples: tuple[int, ...] | None = None

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.rows: dict[str, list[Tensor]] = {}
        self._block = torch.empty(0)

    def begin(self, subject: Subject) -> None:
        """Before the pass: what is measured."""
        self.subject = subject

    def suits(self, subject: Subject) -> str | None:
        """Why it has nothing to measure here, besides what it needs; None where it has."""
        return None

    @abstractmethod
    def update(self, trace: Trace) -> None:
        """Looks at a batch."""

    @abstractmethod
    def compute(self) -> Record:
        """The numbers, as plain values."""

    def add(self, **values: Tensor) -> None:
        """Adds to the sums of these names."""
        for name, value in values.items():
            value = value.detach()
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def keep(self, **values: Tensor) -> None:
        """Keeps a number for each row, `(B, ...)`."""
        for name, value in values.items():
            self.rows.setdefault(name, []).append(self._aside(value.detach()))

    def _aside(self, value: Tensor) -> Tensor:
        """A copy within a block: each by itself would lie in the way of the next pass's tensors."""
        many, block = value.numel(), self._block
        if block.numel() < many or (block.dtype, block.device) != (value.dtype, value.device):
            block = value.new_empty(max(many, BLOCK))
        place, self._block = block[:many], block[many:]
        return place.view(value.shape).copy_(value)

    def row(self, name: str) -> Tensor | None:
        """What was kept under this name, of all rows; None where nothing was."""
        return torch.cat(self.rows[name]).cpu() if name in self.rows else None

    def merge(self, states: Iterable[tuple[dict[str, Tensor], dict[str, list[Tensor]]]]) -> None:
        """Takes the states of all processes, in their order, in place of its own."""
        self.sums, self.rows = {}, {}
        for sums, rows in states:
            self.add(**sums)
            for name, parts in rows.items():
                self.rows.setdefault(name, []).extend(parts)

    def lines(self, record: Record) -> Iterator[Line]:
        """What `vaekit evaluate` prints: a line for each column."""
        for column in self.columns:
            yield column.name, record[column.name], error_of(record, column.name), column.unit

    def facts(self, record: Record) -> Iterator[tuple[str, str]]:
        """Rows of the report's table: a name, and the number in words."""
        for column in self.columns:
            if record[column.name] is not None:
                yield column.title, shown(record, column)

    def charts(self, record: Record) -> Mapping[str, list[float]]:
        """Numbers for each dimension, for the report's bars; none for most."""
        return {}


class Study(Metric):
    """A metric that makes its own passes, each with its own draws."""

    places: ClassVar[frozenset[str]] = frozenset()
    record: Record

    @abstractmethod
    def study(self, subject: Subject) -> Record:
        """The numbers, as plain values."""

    def update(self, trace: Trace) -> None:
        raise AssertionError("a study makes its own passes")

    def compute(self) -> Record:
        return self.record


def error_of(record: Record, name: str) -> float | None:
    """The standard error of a number in a record, or None."""
    found = record.get(f"{name}_standard_error", (record.get("errors") or {}).get(name))
    return found if isinstance(found, float) else None


def shown(record: Record, column: Column) -> str:
    """A number of a record in words, with its standard error and unit.

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
    subject: Subject, place: str, asked: Sequence[str | Spec] = ()
) -> dict[str, tuple[Metric, Spec]]:
    """The metrics of a place that suit the subject, and those that are asked for, by name.

    Raises:
        VaekitError: for an unknown metric or option, or one that is asked for and does not suit.
    """
    specs: dict[str, Spec] = {}
    for spec in (checked("metric", one) for one in asked):
        if spec["name"] in specs:
            raise VaekitError(f"got the metric {spec['name']} twice: leave one.")
        specs[spec["name"]] = spec
    found: dict[str, tuple[Metric, Spec]] = {}
    for name in sorted({**entries("metric"), **specs}, key=lambda one: one != "bound"):
        wanted = place in find("metric", name).places
        if name in found or not (wanted or name in specs):
            continue
        spec = specs.get(name, {"name": name})
        metric: Metric = make("metric", spec)
        why = _refusal(metric, name, subject)
        if why is None:
            found[name] = metric, spec
        elif name in specs:
            raise VaekitError(why)
    return found


def _refusal(metric: Metric, name: str, subject: Subject) -> str | None:
    missing = sorted(metric.needs - subject.model.offers)
    if missing:
        return (
            f"{subject.name} lacks {WORDS[missing[0]]} ({missing[0]}), so there is no {name} to "
            "measure: leave it, or measure a model that has them."
        )
    why = metric.suits(subject)
    return None if why is None else f"there is no {name} of {subject.name}: {why}"


def measured(subject: Subject, metrics: Mapping[str, Metric]) -> dict[str, Record]:
    """The record of each metric: of one shared pass, with one encoding of each batch; and studies.

    Each study, and the pass, begins with the draws of the subject's seed, so that no number hangs
    on what else is measured.
    """
    shared = {name: one for name, one in metrics.items() if not isinstance(one, Study)}
    for metric in metrics.values():
        metric.begin(subject)
    if shared:
        with rng(subject.seed, subject.rows.device):
            _pass(subject, list(shared.values()))
    found: dict[str, Record] = {}
    for name, metric in metrics.items():
        with rng(subject.seed, subject.rows.device):
            if isinstance(metric, Study):
                metric.record = metric.study(subject)
            found[name] = plain(metric.compute())
    return found


def _pass(subject: Subject, metrics: Sequence[Metric]) -> None:
    """One pass over the rows; one encoding for all numbers of draws that are wanted."""
    wanted = list(dict.fromkeys(m.samples for m in metrics if m.samples is not None)) or [(1,)]
    model, draws = subject.model, max(map(math.prod, wanted))
    size = max(1, min(1000 // draws, rows_at_once(model, draws)))
    with evaluating(model), exact(model):
        for x, context in subject.rows.batches("bound", size):
            traces = model.passes(x, context, wanted)
            for samples, trace in zip(wanted, traces, strict=True):
                for metric in metrics:
                    if (metric.samples or wanted[0]) == samples:
                        metric.update(trace)


def plain(value: Any) -> Any:
    """None for what JSON has no number for: the standard error of one row, an infinite PSNR."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def average(values: Tensor) -> tuple[float, float]:
    """The mean over rows `(N,)` and its standard error."""
    return values.mean().item(), standard_error(values)
