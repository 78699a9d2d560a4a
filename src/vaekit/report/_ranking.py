"""What is said of runs that are compared: by what they rank, claims, and what is to heed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from vaekit.errors import VaekitError, choose
from vaekit.report._curves import value as brief
from vaekit.report._leads import leads, ranked, ranking
from vaekit.report._measures import BOUNDS, Measure, Setting
from vaekit.report._run_set import RunSet, Words
from vaekit.runs import Run

NAMED = 4  # settings that a sentence names one by one
SAME_WORK = {"beta", "seed", "lr", "weight_decay", "clip", "epochs", "limit", "patience",
             "kl_warmup", "lr_schedule", "schedule", "scale", "start", "init"}  # fmt: skip
SEEDS_FILE = Path(__file__).with_name("seeds.csv")  # of tools/seedspread.py
EMPTY: Mapping[str, Any] = MappingProxyType({})
ALIKE = 1.25  # times: what a machine's speed may swing by, more or less


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
    typical: Mapping[str, float] = EMPTY,
) -> Iterator[tuple[str, str]]:
    """Yield for each number that ranks, each count, and speed a claim and what it rests on.

    Speed is compared where an option differs on which it hangs: all else is how busy the machine
    was. `typical` is what two seeds differ by: see `typical_of`.
    """
    if not comparable:
        yield say("Their likelihoods differ, so their bounds are not comparable."), ""
    for ahead in leads(settings, numbers, comparable):
        two = len(ranked(settings, ahead.of)) == 2
        yield ahead.claims(say, two, typical.get(ahead.of.key))
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
    opened: RunSet,
    settings: Sequence[Setting],
    numbers: Sequence[Measure],
    say: Words = str,
    known: Mapping[str, Any] = EMPTY,
) -> Iterator[str]:
    """Yield what is to heed when these runs are compared; `known` as of `typical_of`."""
    active = next((of for of in numbers if of.column.name == "active_units"), None)
    if active and all(setting.value(active) == 0 for setting in settings):
        yield say(
            "None of these runs has learned anything of single rows: in none is a latent unit "
            "active, so each gives all rows the same distribution, and what ranks them is how well "
            "that one fits. Mend one before comparing: its own report says how."
        )
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
    if opened.scaled:
        yield say(
            "A model sees columns that are scaled by its own training rows; here densities and "
            "square errors are in the units of the data, which those of `vaekit evaluate` are not."
        )
    for of in bounds:
        if without := [setting.name for setting in settings if setting.value(of) is None]:
            words = say("There is no {number} of {names}.")
            yield f"{words.format(number=say(of.title), names=', '.join(without))} {instead}"
    if all(len(setting.entries) > 1 for setting in settings):
        return
    yield say(
        "One seed of an option names no winner: its errors are over rows alone, and another seed "
        "may change more. Train several, as `vaekit train RECIPE --seeds 3` or, in a sweep, "
        "`--grid seed=0,1,2`, and compare their runs."
    )
    if known:
        words = say(
            "What two seeds typically differ by is the median over the pairs of {seeds} seeds of "
            "{recipe} on {data} ({kind} data), the bound by as many values as rows have here."
        )
        yield words.format(**known)


def errors_note(settings: Sequence[Setting], say: Words = str) -> str:
    """Return over what errors are, and by what settings are told apart."""
    over = settings[0].entries[0].over(say)
    words = say("± is one standard error over {over}; differences are paired by row.")
    if any(len(setting.entries) > 1 for setting in settings):
        words = say(
            "± of several seeds is one standard error over these, of one run over {over}. p is "
            "that of a t-test over seeds, corrected by Holm over all numbers that rank here: up to "
            "0.05 tells settings apart."
        )
    elif over.split()[0] == "1":
        words = say("There is no standard error over {over}.")
    return words.format(over=over)


def typical_of(run: Run) -> tuple[dict[str, float], dict[str, Any]]:
    """Return by what two seeds of such a run typically differ, by number, and how that is known.

    It is the median over pairs of the seeds in seeds.csv, of the first recipe with this kind of
    data and likelihood. Nats grow with the values of a row, and are scaled by these. Both are empty
    for other kinds.
    """
    import pandas as pd
    from scipy.spatial.distance import pdist

    table = pd.read_csv(SEEDS_FILE)
    table = table[(table.kind == run.spec.kind) & (table.likelihood == type(run.px).__name__)]
    if table.empty:
        return {}, {}
    table = table[table.recipe == table.recipe.iloc[0]]
    first, keys = (
        table.iloc[0],
        ["elbo", *(["psnr", "ssim", "mse"] * (run.spec.unit[-5:] == "image"))],
    )
    found = {key: float(np.median(pdist(table[[key]]))) for key in keys}
    found["elbo"] *= math.prod(run.spec.shape) / int(first["values"])
    return found, {"seeds": len(table), **first[["recipe", "data", "kind"]]}
