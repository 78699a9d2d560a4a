"""What is measured of runs on the same test rows; who is ahead, and whether that is told apart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaekit.data import Dataset, spread
from vaekit.errors import VaekitError, choose
from vaekit.evaluate import Column, Metric, chosen, error_of, measured, standard_error
from vaekit.report.curves import value as brief
from vaekit.report.pages import mark
from vaekit.report.run_set import RunSet, Words
from vaekit.runs import Run

BOUNDS = "Bound and latent"  # the group of what hangs on the likelihood, in the data's unit
SHOWN = 12  # test images that are shown
NAMED = 4  # settings that a sentence names one by one
SAME_WORK = {"beta", "seed", "lr", "weight_decay", "clip", "epochs", "limit", "patience",
             "kl_warmup", "lr_schedule", "schedule", "scale", "start", "init"}  # fmt: skip
TITLES = (  # of the kit's metrics and of their groups, to be translated
    *(mark("bound (ELBO)"), mark("active units"), mark("perplexity of the codes"), mark("dB")),
    *(mark("share of the codes that is used"), mark("gradient noise"), mark("image"), mark("row")),
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
ALIKE = 1.25  # times: what a machine's speed may swing by, more or less


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
        """Return the number, or None."""
        return self.records.get(of.metric, {}).get(of.column.name)

    def error(self, of: Measure) -> float | None:
        """Return its standard error over rows, where there is one."""
        known, rows = error_of(self.records.get(of.metric, {}), of.column.name), self.row(of)
        if known is not None or rows is None or len(rows) < 2:
            return known
        return standard_error(rows)

    def row(self, of: Measure) -> Tensor | None:
        """Return the number of each test row, `(N,)`, where the metric has them."""
        metric = self.metrics.get(of.metric)
        return None if metric is None else metric.row(of.column.name)

    def seen(self, images: Tensor) -> Tensor:
        """Return canonical images in the range of a screen."""
        return self.run.spec.values.inverse(images)

    @property
    def noun(self) -> str:
        """What one x is: "image" or "row"."""
        return self.run.spec.unit.split()[-1]

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

    def error(self, of: Measure) -> float | None:
        """Return the standard error over seeds; of one run that over rows."""
        if len(self.entries) == 1:
            return self.entries[0].error(of)
        numbers = [entry.value(of) for entry in self.entries]
        return (
            None if None in numbers else standard_error(torch.tensor(numbers, dtype=torch.float64))
        )

    def half_interval(self, of: Measure) -> float | None:
        """Return half of the 95 % interval: Student's t over seeds; of one run two errors."""
        error, seeds = self.error(of), len(self.entries)
        return None if error is None else error * (2.0 if seeds == 1 else quantile(seeds - 1))

    def text(self, of: Measure) -> str:
        """Return the number in words."""
        return of.text(self.value(of), self.error(of))

    @property
    def gap(self) -> tuple[float, float] | None:
        """By how much the first ranked number is better on training rows, and the error."""
        gaps = [entry.gap for entry in self.entries if entry.gap is not None]
        if len(gaps) < len(self.entries) or len(gaps) == 1:
            return gaps[0] if len(self.entries) == len(gaps) == 1 else None
        apart = torch.tensor([by for by, _ in gaps], dtype=torch.float64)
        return apart.mean().item(), standard_error(apart)


def quantile(degrees: float) -> float:
    """Return how many standard errors the 95 % interval of Student's t has to either side."""
    from scipy.stats import t

    return float(t.ppf(0.975, degrees))


def measures(opened: RunSet) -> list[Measure]:
    """Return the numbers of all metrics that suit these runs, in the order of the metrics."""
    known: dict[str, Measure] = {}
    for run in opened.runs:
        for name, (metric, _) in chosen(run.subject(opened.data), "compare").items():
            for column in metric.columns:
                key = column.name
                if key in known and known[key].metric != name:
                    key = f"{name}.{key}"
                if column.group:
                    known.setdefault(key, Measure(key, name, column))
    return list(known.values())


def measure(run: Run, name: str, *, limit: int, seed: int, data_dir: str | None) -> Entry:
    """Measure a run on up to `limit` test rows, evenly spread; the draws are of `seed`."""
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
    """Return how much better the first ranked number is on as many training rows, and the error."""
    subject = run.subject(data, "train", limit=rows, seed=seed)
    metrics = {name: metric for name, (metric, _) in chosen(subject, "compare").items()}
    for name, metric in metrics.items():
        for column in (each for each in metric.columns if each.better):
            if test[name].get(column.name) is None:
                return None
            train = measured(subject, {name: metric})[name]
            errors = [error_of(each, column.name) or math.nan for each in (train, test[name])]
            return train[column.name] - test[name][column.name], math.hypot(*errors)
    return None


class Lead(NamedTuple):
    """How far the best setting is ahead of the next one.

    Attributes:
        best, next: the two.
        by: the difference, 0 or more.
        error: its standard error: over rows that both met, so that what is hard for both drops
            out; of several seeds over these, paired where they are the same. nan where unknown.
        errors: how many of them a clear difference exceeds.
        seeds: of each; 1 where the error is over rows.
    """

    best: Setting
    next: Setting
    by: float
    error: float
    errors: float = 2.0
    seeds: int = 1

    @property
    def clear(self) -> bool:
        """Whether the two are told apart."""
        return self.by > self.errors * self.error

    def text(self, of: Measure, say: Words = str) -> str:
        """Return the difference in words, and whether it tells the two apart."""
        if math.isnan(self.error):
            return ""
        if not self.by and not self.error:
            return say("; they are equal")
        apart = number_text(self.by, self.error, of.column.decimals)
        if self.seeds > 1:
            words = (
                say("; the difference of {apart} over {seeds} seeds tells them apart")
                if self.clear
                else say("; the difference of {apart} over {seeds} seeds does not tell them apart")
            )
        elif self.clear:
            words = say("; the difference of {apart} is more than twice its standard error")
        else:
            words = say(
                "; the difference of {apart} is less than twice its standard error: these test "
                "rows do not tell them apart"
            )
        return words.format(apart=apart, seeds=self.seeds)


def ranked(settings: Sequence[Setting], of: Measure) -> list[Setting]:
    """Return those that have the number, the best first."""
    known = [(number, setting) for setting in settings if (number := setting.value(of)) is not None]
    return [setting for _, setting in sorted(known, key=lambda pair: -of.column.better * pair[0])]


def lead(settings: Sequence[Setting], of: Measure) -> Lead | None:
    """Return how far the best is ahead; None where fewer than two have the number."""
    order = ranked(settings, of)
    if len(order) < 2:
        return None
    best, other = order[:2]
    by = abs((best.value(of) or 0.0) - (other.value(of) or 0.0))
    if max(len(best.entries), len(other.entries)) > 1:
        return Lead(best, other, by, *_over_seeds(best, other, of))
    first, second = best.entries[0].row(of), other.entries[0].row(of)
    if first is None or second is None:
        return Lead(best, other, by, math.nan)
    apart = of.column.better * (first - second)
    finite = apart[torch.isfinite(apart)]  # an image that both reproduce exactly has inf - inf
    return Lead(best, other, finite.mean().item(), standard_error(finite))


def _over_seeds(best: Setting, other: Setting, of: Measure) -> tuple[float, float, int]:
    """Return the error of a difference, how many of them are clear, and how many seeds there are.

    Seeds that both have are paired; others are two samples of unequal variance (Welch).
    """
    both = [{e.run.config.training.seed: e.value(of) for e in s.entries} for s in (best, other)]
    first, second = both
    seeds = min(len(first), len(second))
    if seeds < 2:
        return math.nan, 2.0, seeds
    if first.keys() == second.keys():
        apart = torch.tensor([first[seed] - second[seed] for seed in first], dtype=torch.float64)  # type: ignore[operator]
        return standard_error(apart), quantile(seeds - 1), seeds
    parts = [
        standard_error(torch.tensor(list(each.values()), dtype=torch.float64)) ** 2 for each in both
    ]
    below = sum(part**2 / (len(each) - 1) for part, each in zip(parts, both, strict=True))
    degrees = sum(parts) ** 2 / below if below else 1.0
    return math.sqrt(sum(parts)), quantile(degrees), seeds


def ranking(numbers: Sequence[Measure], comparable: bool) -> list[Measure]:
    """Return the numbers that rank: best when high first; bounds where they compare."""
    able = [m for m in numbers if m.column.better and (comparable or m.column.group != BOUNDS)]
    return sorted(able, key=lambda m: -m.column.better)


def rank_by(opened: RunSet, numbers: Sequence[Measure], rank: str) -> Measure:
    """Return the measure of this name, before anything is measured.

    Raises:
        VaekitError: for an unknown one, and one of likelihoods that differ.
    """
    of = choose("measure to rank by", rank, {m.key: m for m in ranking(numbers, True)})
    able = ranking(numbers, opened.comparable)
    if of not in able:
        other = f"take `rank={able[0].key}`, or " if able else ""
        raise VaekitError(
            f"bounds of different likelihoods are not comparable, so `rank={rank}` has no meaning "
            f"here: {opened.kinds()}; {other}leave it."
        )
    return of


def first_rank(
    settings: Sequence[Setting], able: Sequence[Measure], rank: Measure | None
) -> Measure | None:
    """Return what ranks: what is named, else the first number that two have, if any.

    Raises:
        VaekitError: for a number that fewer than two have.
    """
    good = [of for of in able if len(ranked(settings, of)) > 1]
    if rank is not None and rank not in good:
        other = f", or take `rank={good[-1].key}`" if good else ""
        raise VaekitError(
            f"fewer than two of these runs have a {rank.title}, so `rank={rank.key}` has no "
            f"meaning here: leave it{other}."
        )
    return rank or next(iter(good), None)


def sentences(
    settings: Sequence[Setting],
    numbers: Sequence[Measure],
    comparable: bool,
    options: Iterable[str],
    say: Words = str,
) -> Iterator[tuple[str, str]]:
    """Yield for each number that ranks, each count, and speed a claim and what it rests on.

    Speed is compared where an option differs on which it hangs: all else is how busy the machine
    was.
    """
    if not comparable:
        yield say("Their likelihoods differ, so their bounds are not comparable."), ""
    for of in ranking(numbers, comparable):
        yield from _leads(settings, of, say)
    for of in numbers:
        if not of.column.better and not of.column.decimals:
            yield from _counts(settings, of, say)
    if not {name.rpartition(".")[2] for name in options} <= SAME_WORK:
        yield from _speed(settings, say)


def _leads(settings: Sequence[Setting], of: Measure, say: Words) -> Iterator[tuple[str, str]]:
    """Yield the best by this measure, the next, and whether they are told apart."""
    ahead = lead(settings, of)
    if ahead is None:
        return
    two, up = len(ranked(settings, of)) == 2, of.column.better > 0
    if two:
        words = say("The {number} is higher for {name}:") if up else say(
            "The {number} is lower for {name}:")  # fmt: skip
    else:
        words = say("The {number} is highest for {name}:") if up else say(
            "The {number} is lowest for {name}:")  # fmt: skip
    best, other = (of.text(setting.value(of)) for setting in (ahead.best, ahead.next))
    if ahead.seeds > 1:
        best, other = ahead.best.text(of), ahead.next.text(of)
    bound = of.column.group == BOUNDS
    unit = settings[0].entries[0].run.spec.unit if bound else of.column.unit
    against = say(" against {other}") if two else say("; next is {next} with {other}")
    best += f" {say(unit)}" if unit else ""
    rest = best + against.format(next=ahead.next.name, other=other)
    claim = words.format(number=say(of.title), name=ahead.best.name)
    yield claim, f"{rest}{ahead.text(of, say)}" + say(".")


def _counts(settings: Sequence[Setting], of: Measure, say: Words) -> Iterator[tuple[str, str]]:
    """Yield how many each has, as active units; the least and the most of many settings."""
    known = [(number, setting) for setting in settings if (number := setting.value(of)) is not None]
    if len(known) < len(settings):
        return
    title, form = say(of.title), say("{count} for {name}")
    texts = [form.format(count=of.text(number), name=setting.name) for number, setting in known]
    if len({number for number, _ in known}) == 1:
        words = say("Each has {count} {things}.")
        yield words.format(count=of.text(known[0][0]), things=title), ""
    elif len(settings) <= NAMED:
        yield say("The {things}:").format(things=title), ", ".join(texts) + say(".")
    else:
        order = sorted(range(len(known)), key=lambda row: known[row][0])
        words = say("go from {least} to {most}.")
        rest = words.format(least=texts[order[0]], most=texts[order[-1]])
        yield say("The {things}").format(things=title), rest


def _speed(settings: Sequence[Setting], say: Words) -> Iterator[tuple[str, str]]:
    known = sorted(
        ((speed, setting) for setting in settings if (speed := setting.mean(lambda e: e.speed))),
        key=lambda p: -p[0],
    )
    if len(known) < 2:
        return
    (fast, first), (slow, last) = known[0], known[-1]
    noun = say(first.entries[0].noun)
    if fast < ALIKE * slow:
        rest = say("{slow} to {fast} {noun}s a second.")
        rest = rest.format(slow=f"{slow:,.0f}", fast=f"{fast:,.0f}", noun=noun)
        yield say("All trained about equally fast,"), rest
        return
    rest = say("{fast} {noun}s a second; {last} took {times} times as long per {noun}.")
    claim = say("{name} trained fastest,").format(name=first.name)
    times = brief(fast / slow)
    yield claim, rest.format(fast=f"{fast:,.0f}", noun=noun, last=last.name, times=times)


def notes(
    opened: RunSet, settings: Sequence[Setting], numbers: Sequence[Measure], say: Words = str
) -> Iterator[str]:
    """Yield what is to heed when these runs are compared."""
    able = [of for of in ranking(numbers, True) if of.column.group != BOUNDS]
    titles = [say(of.title) for of in able if len(ranked(settings, of)) == len(settings)]
    others = say(" and ").join([*[", ".join(titles[:-1])] * (len(titles) > 1), *titles[-1:]])
    instead = say("Judge by {numbers} instead.").format(numbers=others)
    if not opened.comparable:
        words = say(
            "The bounds of different likelihoods are not comparable, so no run is ranked by them: "
            "{kinds}."
        )
        yield f"{words.format(kinds=opened.kinds(say))} {instead}"
    elif not opened.likelihoods[0].proper:
        yield say(
            "{name} is not a likelihood of these data: the bounds are the usual loss, the same for "
            "all runs here, and compare with nothing else."
        ).format(name=opened.likelihoods[0].name)
    for of in ranking(numbers, True):
        without = [setting.name for setting in settings if setting.value(of) is None]
        if of.column.group == BOUNDS and without:
            words = say("There is no {number} of {names}.")
            yield f"{words.format(number=say(of.title), names=', '.join(without))} {instead}"
    if len({run.config.training.seed for run in opened.runs}) == 1:
        yield say(
            "Standard errors are over test rows; each run was trained once, and another seed can "
            "change more than that: see vaekit train RECIPE --seeds 5."
        )
