"""What differs, and what came of it, in sentences with the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from vaekit.report.comparison.entries import BOUNDS, Entry, Measure, lead, ranked, ranking
from vaekit.report.comparison.opened import Opened, option_text, tells
from vaekit.report.svg import value

NAMED = 4  # runs that a sentence tells one by one
SAME_WORK = {"beta", "seed", "lr", "weight_decay", "clip", "epochs", "limit", "patience", "warm_up",
             "lr_schedule", "schedule", "scale", "start", "init"}  # fmt: skip
ALIKE = 1.25  # times: what a machine's speed may swing by, more or less


def in_words(found: Mapping[str, Sequence[Any]]) -> str:
    """What differs, as a sentence.

    Example:
        >>> in_words({"latent": [16, 64]})
        'They differ in latent: 16 against 64; all else is equal.'
        >>> in_words({"latent": [2, 8, 8], "net": ["mlp", "mlp", "conv"]})
        'They differ in latent: 2, 8; net: mlp, conv; all else is equal.'
        >>> in_words({})
        'They have the same options.'
    """
    told = {name: values for name, values in found.items() if tells(values)}
    if not told:
        return "They have the same options."
    parts = [f"{name}: {_values(values)}" for name, values in told.items()]
    return f"They differ in {'; '.join(parts)}; all else is equal."


def _values(values: Sequence[Any]) -> str:
    texts = list(dict.fromkeys(option_text(value) for value in values if value is not None))
    return " against ".join(texts) if len(values) == 2 else ", ".join(texts)


def sentences(
    entries: Sequence[Entry], found: Sequence[Measure], comparable: bool, differing: Iterable[str]
) -> Iterator[str]:
    """Each number that ranks, each count, and speed: a sentence.

    Speed is told where an option differs on which it hangs: all else is how busy the machine was.
    """
    if not comparable:
        yield "Their likelihoods differ, so their bounds are not comparable."
    for of in ranking(found, comparable):
        yield from _led(entries, of)
    for of in found:
        if not of.column.better and not of.column.decimals:
            yield from _counts(entries, of)
    if not {name.rpartition(".")[2] for name in differing} <= SAME_WORK:
        yield from _speed(entries)


def warnings(opened: Opened, entries: Sequence[Entry], found: Sequence[Measure]) -> Iterator[str]:
    """What is to heed when these runs are compared."""
    able = [of for of in ranking(found, True) if of.column.group != BOUNDS]
    titles = [of.title for of in able if len(ranked(entries, of)) == len(entries)]
    judges = " and ".join([*[", ".join(titles[:-1])] * (len(titles) > 1), *titles[-1:]])
    if not opened.comparable:
        yield (
            "The bounds of different likelihoods are not comparable, so no run is ranked by them: "
            f"{opened.kinds()}. Judge by {judges} instead."
        )
    elif not opened.likelihoods[0].proper:
        yield (
            f"{opened.likelihoods[0].name} is not a likelihood of these data: the bounds are the "
            "usual loss, the same for all runs here, and compare with nothing else."
        )
    for of in ranking(found, True):
        without = [one.name for one in entries if one.value(of) is None]
        if of.column.group == BOUNDS and without:
            yield f"There is no {of.title} of {', '.join(without)}. Judge by {judges} instead."
    if len({one.run.config.training.seed for one in entries}) == 1:
        yield (
            "Standard errors are over test rows; each run was trained once, and another seed can "
            "change more than that: see vaekit train RECIPE --seeds 5."
        )


def _led(entries: Sequence[Entry], of: Measure) -> Iterator[str]:
    """The best by this measure, the next, and whether the rows tell them apart."""
    found = lead(entries, of)
    if found is None:
        return
    two = len(ranked(entries, of)) == 2
    most = (
        ("higher" if two else "highest") if of.column.better > 0 else "lower" if two else "lowest"
    )
    best, other = (of.text(one.value(of)) for one in (found.best, found.next))
    unit = entries[0].run.spec.unit if of.column.group == BOUNDS else of.column.unit
    against = f" against {other}" if two else f"; next is {found.next.name} with {other}"
    best = f"{best} {unit}".rstrip()
    yield f"The {of.title} is {most} for {found.best.name}: {best}{against}{_told(found, of)}."


def _told(found: Any, of: Measure) -> str:
    if math.isnan(found.error):
        return ""
    by, error = (f"{number:,.{of.column.decimals}f}" for number in (found.by, found.error))
    if found.clear:
        return f"; the difference of {by} ± {error} is more than twice its standard error"
    return (
        f"; the difference of {by} ± {error} is less than twice its standard error: these test "
        "rows do not tell them apart"
    )


def _counts(entries: Sequence[Entry], of: Measure) -> Iterator[str]:
    """How many each has, as active units; the least and the most where the runs are many."""
    counts = [(number, one) for one in entries if (number := one.value(of)) is not None]
    if len(counts) < len(entries):
        return
    texts = [f"{of.text(number)} for {one.name}" for number, one in counts]
    if len({number for number, _ in counts}) == 1:
        yield f"Each has {of.text(counts[0][0])} {of.title}."
    elif len(entries) <= NAMED:
        yield f"The {of.title}: {', '.join(texts)}."
    else:
        order = sorted(range(len(counts)), key=lambda place: counts[place][0])
        yield f"The {of.title} go from {texts[order[0]]} to {texts[order[-1]]}."


def _speed(entries: Sequence[Entry]) -> Iterator[str]:
    known = [(one.speed, one) for one in entries if one.speed]
    if len(known) < 2:
        return
    known.sort(key=lambda pair: -pair[0])
    (fast, first), (slow, last) = known[0], known[-1]
    noun = first.run.spec.unit.split()[-1]
    if fast < ALIKE * slow:
        yield f"All trained about equally fast, {slow:,.0f} to {fast:,.0f} {noun}s a second."
        return
    yield (
        f"{first.name} trained fastest, {fast:,.0f} {noun}s a second; "
        f"{last.name} took {value(fast / slow)} times as long per {noun}."
    )
