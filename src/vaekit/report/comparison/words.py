"""What came of the differences, in sentences with the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vaekit.report.comparison.measured import Entry
from vaekit.report.comparison.ranking import MEASURES, judge_of, lead, likelihoods, ranked
from vaekit.report.svg import value

NAMED = 4  # runs that a sentence tells one by one
SAME_WORK = {"beta", "seed", "lr", "weight_decay", "clip", "epochs", "limit", "patience", "warm_up",
             "lr_schedule", "schedule", "scale", "start", "init"}  # fmt: skip
ALIKE = 1.25  # times: what a machine's speed may swing by, more or less


def sentences(
    entries: Sequence[Entry],
    comparable: bool,
    unit: str,
    rank: str | None,
    differing: Iterable[str],
) -> Iterator[str]:
    """Bound, reconstructions, units and speed, each a sentence.

    Speed is told where an option differs on which it hangs: all else is how busy the machine was.
    """
    judge = judge_of(entries, comparable, rank)
    if judge == "elbo":
        yield _led(entries, "elbo", f" {unit}")
    yield from _bounds_apart(entries, comparable)
    if entries[0].psnr is not None:
        yield _led(entries, "ssim" if judge == "ssim" else "psnr", " dB" * (judge != "ssim"))
    else:
        yield _led(entries, "mse", "")
    yield from _units(entries)
    if not {*differing} <= SAME_WORK:
        yield from _speed(entries)


def warnings(entries: Sequence[Entry], comparable: bool) -> Iterator[str]:
    """What is to heed when these runs are compared."""
    if not comparable:
        kinds = likelihoods((one.name, one.likelihood) for one in entries)
        yield (
            "The bounds of different likelihoods are not comparable, so no run is ranked by them: "
            f"{kinds}. {_judges(entries)} judge instead."
        )
    elif not entries[0].likelihood[2]:
        yield (
            f"{entries[0].likelihood[0]} is not a likelihood of these data: the bounds are the "
            "usual loss, the same for all runs here, and compare with nothing else."
        )
    without = [one.name for one in entries if one.elbo is None]
    if without:
        yield f"An autoencoder has no bound: {', '.join(without)}. {_judges(entries)} judge it."
    if len({one.run.config.training.seed for one in entries}) == 1:
        yield (
            "Standard errors are over test rows; each run was trained once, and another seed can "
            "change more than that: see vaekit train RECIPE --seeds 5."
        )


def _judges(entries: Sequence[Entry]) -> str:
    return "PSNR and SSIM" if entries[0].psnr is not None else "Mean square errors"


def _bounds_apart(entries: Sequence[Entry], comparable: bool) -> Iterator[str]:
    if not comparable:
        yield "Their likelihoods differ, so their bounds are not comparable."


def _led(entries: Sequence[Entry], name: str, unit: str) -> str:
    """The best by this measure, the next, and whether the rows tell them apart."""
    measure = MEASURES[name]
    found = lead(entries, measure)
    if found is None:
        return f"No two of them have a {measure.title}."
    order = ranked(entries, measure)
    best, other = (_mean(one, name) for one in (found.best, found.next))
    by, error = (f"{number:,.{measure.decimals}f}" for number in (found.by, found.error))
    most = "higher" if measure.sign > 0 else "lower"
    if len(order) > 2:
        most = "highest" if measure.sign > 0 else "lowest"
    against = (
        f" against {other}" if len(order) == 2 else f"; next is {found.next.name} with {other}"
    )
    told = (
        f"the difference of {by} ± {error} is more than twice its standard error"
        if found.clear
        else f"the difference of {by} ± {error} is less than twice its standard error: these test "
        "rows do not tell them apart"
    )
    return f"The {measure.title} is {most} for {found.best.name}: {best}{unit}{against}; {told}."


def _mean(one: Entry, name: str) -> str:
    values = MEASURES[name].of(one)
    assert values is not None
    return f"{values.mean().item():,.{MEASURES[name].decimals}f}".replace("-", "−")


def _units(entries: Sequence[Entry]) -> Iterator[str]:
    """How many latent dimensions follow the data."""
    if any(one.active is None for one in entries):
        return
    if len({(one.active, one.units) for one in entries}) == 1:
        yield f"Each has {entries[0].active} of {entries[0].units} latent units active."
        return
    counts = [f"{one.active} of {one.units}" for one in entries]
    if len(entries) <= NAMED:
        told = ", ".join(f"{c} for {one.name}" for c, one in zip(counts, entries, strict=True))
        yield f"Active latent units: {told}."
        return
    least, *_, most = sorted(entries, key=lambda one: one.active or 0)
    yield (
        f"Active latent units go from {least.active} of {least.units} for {least.name} to "
        f"{most.active} of {most.units} for {most.name}."
    )


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
