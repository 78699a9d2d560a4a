"""Who is ahead among runs, by how much, and whether that is told apart; and the sentences of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch

from vaekit.errors import VaekitError, choose
from vaekit.evaluate import standard_error
from vaekit.report._curves import value as brief
from vaekit.report._measures import BOUNDS, Measure, Setting, error_over, number_text, quantile
from vaekit.report._run_set import RunSet, Words

NAMED = 4  # settings that a sentence names one by one
SAME_WORK = {"beta", "seed", "lr", "weight_decay", "clip", "epochs", "limit", "patience",
             "kl_warmup", "lr_schedule", "schedule", "scale", "start", "init"}  # fmt: skip
ALIKE = 1.25  # times: what a machine's speed may swing by, more or less


class Lead(NamedTuple):
    """How far the best setting is ahead of the next one.

    Attributes:
        of: the number that they are compared by.
        best, next: the two.
        by: the difference, 0 or more.
        error: its standard error: over rows that both met, so that what is hard for both drops
            out; of several seeds over these, paired where they are the same. nan where unknown.
        errors: how many of them a clear difference exceeds.
        seeds: of each; 1 where the error is over rows.
    """

    of: Measure
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

    def numbers(self, say: Words, *, two: bool) -> str:
        """Return the numbers of the best and of the next, which of two needs no name."""
        of, show = self.of, self.seeds > 1
        best, other = (
            setting.text(of) if show else of.text(setting.value(of))
            for setting in (self.best, self.next)
        )
        spec = self.best.entries[0].run.spec
        if unit := spec.unit if of.column.group == BOUNDS else of.column.unit:
            best += f" {say(unit)}"
        against = say(" against {other}") if two else say("; next is {next} with {other}")
        return best + against.format(next=self.next.name, other=other)

    def apart(self, say: Words) -> str:
        """Return the difference in words, and whether it tells the two apart."""
        if math.isnan(self.error):
            return ""
        if not self.by and not self.error:
            return say("; they are equal")
        if self.seeds > 1:
            clear = say("; the difference of {apart} over {seeds} seeds tells them apart")
            unclear = say("; the difference of {apart} over {seeds} seeds does not tell them apart")
        else:
            clear = say("; the difference of {apart} is more than twice its standard error")
            unclear = say(
                "; the difference of {apart} is less than twice its standard error: these test "
                "rows do not tell them apart"
            )
        apart = number_text(self.by, self.error, self.of.column.decimals)
        return (clear if self.clear else unclear).format(apart=apart, seeds=self.seeds)


def in_order(settings: Sequence[Setting], of: Measure) -> list[Setting]:
    """Return them with the best first, and those without the number last."""
    known = [setting for setting in settings if setting.value(of) is not None]
    known.sort(key=lambda setting: -of.column.better * (setting.value(of) or 0.0))
    return [*known, *(setting for setting in settings if setting not in known)]


def ranked(settings: Sequence[Setting], of: Measure) -> list[Setting]:
    """Return those that have the number, the best first."""
    return [setting for setting in in_order(settings, of) if setting.value(of) is not None]


def lead(settings: Sequence[Setting], of: Measure) -> Lead | None:
    """Return how far the best is ahead; None where fewer than two have the number."""
    order = ranked(settings, of)
    if len(order) < 2:
        return None
    best, other = order[:2]
    by = abs((best.value(of) or 0.0) - (other.value(of) or 0.0))
    if max(len(best.entries), len(other.entries)) > 1:
        return Lead(of, best, other, by, *_over_seeds(best, other, of))
    first, second = best.entries[0].row(of), other.entries[0].row(of)
    if first is None or second is None:
        return Lead(of, best, other, by, math.nan)
    apart = of.column.better * (first - second)
    finite = apart[torch.isfinite(apart)]  # an image that both reproduce exactly has inf - inf
    return Lead(of, best, other, finite.mean().item(), standard_error(finite))


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
        apart = [first[seed] - second[seed] for seed in first]  # type: ignore[operator]
        return error_over(apart), quantile(seeds - 1), seeds
    parts = [error_over([*each.values()]) ** 2 for each in both]
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
        if (ahead := lead(settings, of)) is None:
            continue
        two = len(ranked(settings, of)) == 2
        high = say("The {number} is higher for {name}:"), say("The {number} is highest for {name}:")
        low = say("The {number} is lower for {name}:"), say("The {number} is lowest for {name}:")
        words = (high if of.column.better > 0 else low)[0 if two else 1]
        claim = words.format(number=say(of.title), name=ahead.best.name)
        yield claim, ahead.numbers(say, two=two) + ahead.apart(say) + say(".")
    for of in numbers:
        if not of.column.better and not of.column.decimals:
            yield from _counts(settings, of, say)
    if not {name.rpartition(".")[2] for name in options} <= SAME_WORK:
        yield from _speed(settings, say)


def _counts(settings: Sequence[Setting], of: Measure, say: Words) -> Iterator[tuple[str, str]]:
    """Yield how many each has, as active units; the least and the most of many settings."""
    numbers = [number for setting in settings if (number := setting.value(of)) is not None]
    if len(numbers) < len(settings):
        return
    form, things = say("{count} for {name}"), say(of.title)
    texts = [form.format(count=of.text(s.value(of)), name=s.name) for s in settings]
    if len(set(numbers)) == 1:
        yield say("Each has {count} {things}.").format(count=of.text(numbers[0]), things=things), ""
    elif len(settings) <= NAMED:
        yield say("The {things}:").format(things=things), ", ".join(texts) + say(".")
    else:
        order = sorted(range(len(texts)), key=lambda row: numbers[row])
        ends = {"least": texts[order[0]], "most": texts[order[-1]]}
        rest = say("go from {least} to {most}.").format(**ends)
        yield say("The {things}").format(things=things), rest


def _speed(settings: Sequence[Setting], say: Words) -> Iterator[tuple[str, str]]:
    """Yield which trained fastest, where speeds differ by more than chance."""
    speeds = {s: speed for s in settings if (speed := s.mean(lambda entry: entry.speed))}
    if len(speeds) < 2:
        return
    first, *_, last = sorted(speeds, key=lambda setting: -speeds[setting])
    fast, slow = speeds[first], speeds[last]
    shown = {"fast": f"{fast:,.0f}", "slow": f"{slow:,.0f}", "last": last.name}
    shown["noun"] = say(first.entries[0].run.spec.unit.split()[-1])
    if fast < ALIKE * slow:
        claim = say("All trained about equally fast,")
        yield claim, say("{slow} to {fast} {noun}s a second.").format(**shown)
    else:
        claim = say("{name} trained fastest,").format(name=first.name)
        rest = say("{fast} {noun}s a second; {last} took {times} times as long per {noun}.")
        yield claim, rest.format(times=brief(fast / slow), **shown)


def notes(
    opened: RunSet, settings: Sequence[Setting], numbers: Sequence[Measure], say: Words = str
) -> Iterator[str]:
    """Yield what is to heed when these runs are compared."""
    able = ranking(numbers, True)
    bounds = [of for of in able if of.column.group == BOUNDS]
    others = [of for of in able if of not in bounds]
    titles = [say(of.title) for of in others if len(ranked(settings, of)) == len(settings)]
    parts = [*[", ".join(titles[:-1])] * (len(titles) > 1), *titles[-1:]]
    instead = say("Judge by {numbers} instead.").format(numbers=say(" and ").join(parts))
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
    for of in bounds:
        if without := [setting.name for setting in settings if setting.value(of) is None]:
            words = say("There is no {number} of {names}.")
            yield f"{words.format(number=say(of.title), names=', '.join(without))} {instead}"
    if len({run.config.training.seed for run in opened.runs}) == 1:
        yield say(
            "Standard errors are over test rows; each run was trained once, and another seed can "
            "change more than that: see vaekit train RECIPE --seeds 5."
        )
