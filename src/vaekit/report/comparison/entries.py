"""What is measured of each run, on the same test rows; who is ahead, and whether they can tell."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaekit.data import Dataset, spread
from vaekit.distributions import Offer, Space
from vaekit.errors import VaekitError, choose
from vaekit.evaluate import (
    Column,
    Metric,
    chosen,
    error_of,
    is_likelihood,
    measured,
    shown,
    standard_error,
)
from vaekit.recipes import flat_options, likelihood_spec
from vaekit.runs import COMPOSED, Config, Run, open_run

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

    @property
    def noun(self) -> str:
        """What one x is: "image" or "row"."""
        return self.run.spec.unit.split()[-1]

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
    gap = _gap(run, data, records, subject.rows.count, seed)
    first = data.test.batch(spread(len(data.test), SHOWN))
    return Entry(run, name, metrics, records, gap, run.folder.records(), first)


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


class Lead(NamedTuple):
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


SEEN = 1000  # test rows that are looked at
PLACE = {"data_dir", "device", "threads", "cache"}  # where, not what
ABSENT = "none"
LONGEST = 48  # letters of a short name
MOST = 3  # options in a short name


class Likelihood(NamedTuple):
    """By what bounds can be compared.

    Attributes:
        name: of the distribution, and whether it is of x given a label.
        fixed: its options that are numbers, which nothing learned, in words.
        proper: whether it normalizes over the values of the data.
        space: of x.
    """

    name: str
    fixed: str
    proper: bool
    space: Space

    @property
    def measure(self) -> tuple[Any, ...]:
        """Probabilities of the same values compare; densities where their scale has one source."""
        given = self.name.partition(" ")[2]
        return (self.space, given) if self.proper and self.space.discrete else tuple(self)


@dataclass(frozen=True, eq=False)
class Opened:
    """Runs of one data set.

    Attributes:
        runs: in the order in which they were named.
        names: short ones, by the options that differ.
        differences: the options that differ, with the value of each run.
        likelihoods: of each.
        data: the data set as the first run sees it; the test rows are the same for all.
    """

    runs: Sequence[Run]
    names: Sequence[str]
    differences: dict[str, list[Any]]
    likelihoods: Sequence[Likelihood]
    data: Dataset

    @property
    def comparable(self) -> bool:
        """Whether the bounds of all runs are of the same thing, so that they compare."""
        return len({one.measure for one in self.likelihoods}) == 1

    def kinds(self) -> str:
        """The likelihoods, and the names of the runs that have each, in words."""
        groups: dict[str, list[str]] = {}
        for name, (kind, fixed, proper, _) in zip(self.names, self.likelihoods, strict=True):
            more = ", ".join(filter(None, (fixed, "" if proper else "not a likelihood")))
            groups.setdefault(kind + (f" ({more})" if more else ""), []).append(name)
        return "; ".join(f"{kind} of {', '.join(names)}" for kind, names in groups.items())


def likelihood_of(run: Run) -> Likelihood:
    """What a bound of this run is of. One of log p(x | label) is none of log p(x)."""
    spec = run.parts.get("likelihood")
    options = spec.items() if isinstance(spec, dict) else ()
    fixed = [f"{n} {v:g}" for n, v in options if type(v) in (int, float)]
    name = type(run.px).__name__ + (" given the label" if run.conditional else "")
    space = run.px.space
    return Likelihood(name, ", ".join(fixed), is_likelihood(space, run.spec.kind), space)


def flat(config: Config, kind: str, parts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The recipe and every option of its parts, of data and of training; None becomes "none".

    Args:
        config: of a run.
        kind: of its data, which decides the likelihood where none was named.
        parts: of a composed model.

    Example:
        >>> found = flat(Config.flat("vae", latent=3, net="conv"), "binary")
        >>> found["recipe"], found["latent"], found["net"], found["likelihood"]
        ('vae', 3, 'conv', 'bernoulli')
        >>> found["objective.beta"], "likelihood.scale" in found
        (1.0, False)
    """
    if parts is None:
        parts = {**config.parts, "likelihood": likelihood_spec(config.parts, kind)}
    found = {"recipe": config.recipe, **dict(flat_options(dict(parts)))}
    for record in (config.data, config.training):
        found |= record.model_dump(exclude=PLACE)
    return {name: ABSENT if value is None else value for name, value in found.items()}


def differences(options: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """The options that are not the same in all runs, with the value of each run.

    None is for a run that has no such option: its recipe or its likelihood knows none.

    Example:
        >>> differences([{"latent": 2, "lr": 0.1}, {"latent": 8, "lr": 0.1}])
        {'latent': [2, 8]}
    """
    names = dict.fromkeys(name for one in options for name in one)
    columns = {name: [one.get(name) for one in options] for name in names}
    return {n: values for n, values in columns.items() if any(v != values[0] for v in values)}


def tells(values: Sequence[Any]) -> bool:
    """Whether runs that have this option differ in it; why others have none is told elsewhere."""
    held = [value for value in values if value is not None]
    return any(value != held[0] for value in held)


def option_text(value: Any) -> str:
    """A value as one would type it.

    Example:
        >>> option_text((512, 256)), option_text(0.001), option_text(None), option_text(True)
        ('512,256', '0.001', 'none', 'true')
    """
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(map(option_text, value)) or ABSENT
    return f"{value:g}" if isinstance(value, float) else str(value)


def short_names(found: Mapping[str, Sequence[Any]], paths: Sequence[Path]) -> list[str]:
    """A name for each run by the options that differ; by its folder where that is no help.

    Example:
        >>> short_names({"latent": [2, 8], "net.norm": ["", "batch"]}, [Path("a"), Path("b")])
        ['latent=2 norm=', 'latent=8 norm=batch']
        >>> short_names({}, [Path("a"), Path("b")])
        ['a', 'b']
    """
    told = {name: values for name, values in found.items() if tells(values)}
    short = {name: name.rpartition(".")[2] for name in told}
    if len({*short.values()}) < len(told):
        short = {name: name for name in told}
    before = {name: "" if name == "recipe" else f"{short[name]}=" for name in told}
    columns = [[before[n] + option_text(v) if v is not None else "" for v in told[n]] for n in told]
    names = [" ".join(filter(None, texts)) for texts in zip(*columns, strict=True)]
    good = 0 < len(told) <= MOST and all(0 < len(name) <= LONGEST for name in names)
    if good and len(set(names)) == len(paths):
        return names
    folders = [path.resolve().name for path in paths]
    return folders if len(set(folders)) == len(folders) else [str(path) for path in paths]


def open_runs(
    paths: Sequence[str | Path], *, data_dir: str | None = None, device: str = "auto"
) -> Opened:
    """Opens the runs.

    Raises:
        VaekitError: for fewer than two, the same one twice, what is no run folder, runs without a
            latent, and runs of different data.
    """
    _refuse(paths)
    runs = [open_run(path, device=device) for path in paths]
    for run in runs:
        if Offer.LATENT not in run.offers:
            raise VaekitError(
                f"{run.path} is a colorizer, and a comparison is of models with a latent: take "
                "`vaekit evaluate` of each."
            )
    asked = [_options(run) for run in runs]
    found = differences(asked)
    usual = [
        options
        if run.config.recipe == COMPOSED
        else flat(Config.flat(run.config.recipe), run.spec.kind)
        for run, options in zip(runs, asked, strict=True)
    ]
    own = {n: vs for n, vs in found.items() if n == "recipe" or vs != [u.get(n) for u in usual]}
    names = short_names(own, [run.path for run in runs])
    return Opened(runs, names, found, [*map(likelihood_of, runs)], _same_data(runs, data_dir))


def _options(run: Run) -> dict[str, Any]:
    """What `flat` gives; of a composed model the networks are told apart by a short hash."""
    if run.config.recipe != COMPOSED:
        return flat(run.config, run.spec.kind)
    net = f"custom {hashlib.sha256(repr(run.model).encode()).hexdigest()[:6]}"
    return flat(run.config, run.spec.kind, {"net": net, "latent": run.latent_size, **run.parts})


def _refuse(paths: Sequence[str | Path]) -> None:
    if len(paths) < 2:
        raise VaekitError(
            f"got {len(paths)} run{'s' * (len(paths) != 1)} to compare; expected at least two "
            "run folders, as `vaekit compare runs/a runs/b`."
        )
    places = sorted((Path(path).resolve(), str(path)) for path in paths)
    for (one, name), (other, _) in pairwise(places):
        if one == other:
            raise VaekitError(f"got the run {name} twice; expected different runs.")


def _same_data(runs: Sequence[Run], data_dir: str | None) -> Dataset:
    """The data set of the first run, or the refusal of runs whose test rows are others."""
    first, *others = runs
    alike = "test_sha256" if all("test_sha256" in _card(run) for run in runs) else "sha256"
    for run in others:
        for what, one in _known(first, alike).items():
            if one != _known(run, alike)[what]:
                brief = [text if len(text) <= 40 else f"{text[:12]}..." for text in
                         map(str, (one, _known(run, alike)[what]))]  # fmt: skip
                raise _refusal(first, run, f"{what} {' and '.join(brief)}")
    data = first.dataset(data_dir)
    seen = data.test.x(spread(len(data.test), SEEN))
    for run in others:
        test = run.dataset(data_dir).test
        if len(test) != len(data.test):
            raise _refusal(first, run, f"{len(data.test)} and {len(test)} test rows")
        if not torch.equal(test.x(spread(len(test), SEEN)), seen):
            raise _refusal(first, run, "test rows that their options prepare in different ways")
    return data


def _card(run: Run) -> dict[str, Any]:
    data: dict[str, Any] = run.folder.read_json("run")["data"]
    return {**data.get("card", {}), "sha256": run.sha256}


def _known(run: Run, alike: str) -> dict[str, Any]:
    return {
        "the data": run.spec.name,
        "the sha256" + " of the test rows" * (alike == "test_sha256"): _card(run)[alike],
        "rows of the shape": run.spec.shape,
        "rows of the kind": run.spec.kind,
    }


def _refusal(one: Run, other: Run, why: str) -> VaekitError:
    return VaekitError(
        f"comparing runs of different data: {one.path} and {other.path} have {why}; compare runs "
        "of the same data."
    )
