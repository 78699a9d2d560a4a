"""Who is ahead among runs by each number, by how much, and whether seeds tell that apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from vaekit.evaluate import standard_error
from vaekit.report._measures import BOUNDS, Measure, Setting, error_over, number_text
from vaekit.report._run_set import Words

LEVEL = 0.05  # how often equal recipes may be told apart


def in_order(settings: Sequence[Setting], of: Measure) -> list[Setting]:
    """Return them with the best first, and those without the number last."""
    known = [setting for setting in settings if setting.value(of) is not None]
    known.sort(key=lambda setting: -of.column.better * (setting.value(of) or 0.0))
    return [*known, *(setting for setting in settings if setting not in known)]


def ranked(settings: Sequence[Setting], of: Measure) -> list[Setting]:
    """Return those that have the number, the best first."""
    return [setting for setting in in_order(settings, of) if setting.value(of) is not None]


def ranking(numbers: Sequence[Measure], comparable: bool) -> list[Measure]:
    """Return the numbers that rank: best when high first; bounds where they compare."""
    able = [m for m in numbers if m.column.better and (comparable or m.column.group != BOUNDS)]
    return sorted(able, key=lambda m: -m.column.better)


class Lead(NamedTuple):
    """How far the best setting is ahead of another, and whether seeds tell the two apart.

    Attributes:
        of: the number that they are compared by.
        best, other: the two: the next one, or the last one where every setting has one seed.
        by: the difference, 0 or more.
        rows: its standard error over rows that both met, so that what is hard for both drops out;
            nan where unknown.
        error: its standard error over seeds; nan where one of the two has one seed.
        p: how likely so large a difference of two recipes with equal means is; nan likewise.
    """

    of: Measure
    best: Setting
    other: Setting
    by: float
    rows: float = math.nan
    error: float = math.nan
    p: float = math.nan

    @property
    def clear(self) -> bool:
        """Whether the two are told apart, for which each needs several seeds."""
        return self.p <= LEVEL and not self.equal

    @property
    def equal(self) -> bool:
        """Whether the two numbers are the same in print."""
        return self.texts[0].split()[0] == self.texts[1].split()[0]

    @property
    def texts(self) -> list[str]:
        """The two numbers, with their errors where these are over seeds."""
        of, both = self.of, (self.best, self.other)
        seeded = not math.isnan(self.error)
        return [s.text(of) if seeded else of.text(s.value(of)) for s in both]

    def claims(self, say: Words, two: bool, typical: float | None) -> tuple[str, str]:
        """Return what came of it, and what that rests on.

        Args:
            say: the translation of words.
            two: whether no other setting has the number.
            typical: what two seeds of a recipe differ by, where that is known.
        """
        entry, decimals = self.best.entries[0], self.of.column.decimals
        (first, second), seeded = self.texts, not math.isnan(self.p)
        first = first.split()[0] if self.equal else first
        first = f"{first} {entry.unit(self.of, say)}".rstrip()
        counts = dict.fromkeys(f"{len(s.entries)}" for s in (self.best, self.other))
        over_rows = number_text(self.by, self.rows, decimals)
        shown = {
            "number": say(self.of.title),
            "best": self.best.name,
            "other": self.other.name,
            "first": first,
            "second": second,
            "apart": number_text(self.by, self.error, decimals) if seeded else over_rows,
            "rows": over_rows.partition(" ")[2],
            "over": entry.over(say, self.of),
            "seeds": " + ".join(counts),
            "p": f"{self.p:.2g}",
            "typical": "" if typical is None else f"{float(f'{typical:.2g}'):,g}",
        }
        how = _equal if self.equal else _over_seeds if seeded else _one_seed
        claim, rest = how(self, say, two, typical is not None)
        return claim.format(**shown), rest.format(**shown)


def _equal(ahead: Lead, say: Words, two: bool, known: bool) -> tuple[str, str]:
    claim = say("The {number} of {best} and {other} is equal in the digits that are shown:")
    return claim, "{first}" + say(".")


def _one_seed(ahead: Lead, say: Words, two: bool, known: bool) -> tuple[str, str]:
    """Return the difference, which names no winner; `known` is what two seeds differ by."""
    most = say("The {number} differs by up to {apart} over {over}:")
    rest = say("{first} for {best}, {second} for {other}")
    more = say("; two seeds of one recipe typically differ by {typical}") if known else ""
    claim = say("The {number} differs by {apart} over {over}:") if two else most
    return claim, rest + more + say(".")


def _over_seeds(ahead: Lead, say: Words, two: bool, known: bool) -> tuple[str, str]:
    """Return who is ahead, or that seeds do not tell the first two apart."""
    high = say("The {number} is higher for {best}:"), say("The {number} is highest for {best}:")
    low = say("The {number} is lower for {best}:"), say("The {number} is lowest for {best}:")
    claim = (high if ahead.of.column.better > 0 else low)[not two]
    rest = say("{first} against {second}")
    if not ahead.clear:
        claim = say("The {number} does not tell {best} and {other} apart:")
    elif not two:
        rest = say("{first}; next is {other} with {second}")
    rest += say("; the difference is {apart} over {seeds} seeds (p = {p})")
    rest += say(", {rows} over {over}") if math.isfinite(ahead.rows) else ""
    return claim, rest + say(".")


def lead(settings: Sequence[Setting], of: Measure) -> Lead | None:
    """Return how far the best is ahead; None where fewer than two have the number.

    Seeds that both have are not paired: two recipes draw other weights and batches from one seed,
    so that nothing is gained, and pairs of three seeds would leave 2 degrees of freedom, not 4.
    """
    order = ranked(settings, of)
    if len(order) < 2:
        return None
    seeded = any(len(setting.entries) > 1 for setting in order)
    best, other = order[0], order[1 if seeded else -1]
    numbers = [[entry.value(of) for entry in setting.entries] for setting in (best, other)]
    by = abs((best.value(of) or 0.0) - (other.value(of) or 0.0))
    ahead = Lead(of, best, other, by, _over_rows(best, other, of))
    if min(map(len, numbers)) < 2:
        return ahead
    error, p = t_test(by, *numbers)
    return ahead._replace(error=error, p=p)


def t_test(by: float, first: Sequence[Any], second: Sequence[Any]) -> tuple[float, float]:
    """Return the error of the difference of two means, and p, of two sides.

    Of as many seeds it is Student's test, for which unequal variances matter little then; Welch's
    would miss a bound that is 6 deviations of seeds better in a quarter of trials with three seeds
    each. Of unequal numbers it is Welch's.

    Example:
        >>> t_test(4.0, [1.0, 2.0, 3.0], [5.0, 6.0, 7.0])  # t = 4.9 with 4 degrees of freedom
        (0.816..., 0.00804...)
    """
    from scipy.special import stdtr

    counts = len(first), len(second)
    parts = [error_over(numbers) ** 2 for numbers in (first, second)]
    if not sum(parts):
        return 0.0, float(not by)
    below = sum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))
    degrees = sum(counts) - 2 if counts[0] == counts[1] else sum(parts) ** 2 / below
    error = math.sqrt(sum(parts))
    return error, 2 * float(stdtr(degrees, -by / error))


def _over_rows(best: Setting, other: Setting, of: Measure) -> float:
    """Return the standard error of their difference over rows; nan where it is not known."""
    first, second = best.row(of), other.row(of)
    if first is None or second is None:
        return math.nan
    apart, groups = first - second, best.entries[0].metrics[of.metric].groups
    finite = apart.isfinite()  # an image that both reproduce exactly has inf - inf
    return standard_error(apart[finite], None if groups is None else groups[finite])


def leads(settings: Sequence[Setting], numbers: Sequence[Measure], comparable: bool) -> list[Lead]:
    """Return the lead by each number that ranks, corrected as one family of tests by Holm.

    The best is tested against the next alone, so that a number has one test, however many settings
    there are: of equal ones the first two of an order are closer than any two. Of equal recipes
    with three seeds each 3 % of pages name any winner (tests/test_verdicts.py).
    """
    found = [lead(settings, of) for of in ranking(numbers, comparable)]
    known = [ahead for ahead in found if ahead is not None]
    corrected = holm([ahead.p for ahead in known])
    return [ahead._replace(p=p) for ahead, p in zip(known, corrected, strict=True)]


def holm(p: Sequence[float]) -> list[float]:
    """Return values of p of a family of tests, corrected so that at most 5 % of families err.

    References:
        Holm 1979, A simple sequentially rejective multiple test procedure.

    Example:
        >>> holm([0.02, math.nan, 0.01])
        [0.02, nan, 0.02]
    """
    order = sorted((one, place) for place, one in enumerate(p) if not math.isnan(one))
    found, least = [math.nan] * len(p), 0.0
    for rank, (one, place) in enumerate(order):
        least = found[place] = max(least, min(1.0, (len(order) - rank) * one))
    return found
