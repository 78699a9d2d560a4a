"""Warnings of what goes wrong quietly: idle latents, dead units, a wrong scale, rows by heart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vaekit._torchutil import evaluating, rng
from vaekit.data import Batches
from vaekit.distributions import Offer
from vaekit.evaluate import ACTIVE, Codebook, DeadUnits, Latent, LatentMeter, ScaleMeter
from vaekit.models import exact
from vaekit.objectives import Objective
from vaekit.training._progress import Meter

MOST = 256  # dimensions that a line of metrics.jsonl lists one by one
COLLAPSED = 3  # measured epochs in a row without an active unit
SETTLED = 100  # steps after the warm-up before which a latent may just not have started
MISMATCHED = 2  # measured epochs in a row with a scale further off than FACTOR
FACTOR = 2.0
ONCE = ("kl_warmup", "patience")  # options that help by any value
LIVELIER = ("activation=gelu", "activation=leaky-relu")
DYING = 0.4  # share of dead hidden units with which a latent seldom comes alive
MANY = 0.25  # share of dead hidden units that is worth a word
CLOSING = 0.9  # a gap that is below this share of the epoch before's is on its way out
WORSE = 2  # epochs in a row below the first step
ERRORS = 5.0  # standard errors of the first step's rows: below by less is their noise
WINDOW = 5  # epochs whose mean is taken where a course is judged
NOISE = 4.0  # standard errors of such a mean, from epoch to epoch: a fall by less is chance
SHARE = 0.02  # of all that a training gained: what it must fall by to be spoken of
STILL = 0.03  # what it must rise by over a fifth of its epochs
FALL = 0.1  # of all that was gained: what the last epoch must be below the best by
LEAST = 0.05  # nats, below which neither matters
SCALES = {2: ("sigma", "root mean square", "²"), 1: ("scale", "mean absolute", "")}  # by power
OVERFITS = "it was fitted to the training rows, so the model overfits: take {}"
LOOSE = (
    "it was fitted to passes of the training, whose errors are larger, as under dropout or large "
    "steps: take {}"
)
FIT_IT = "take scale=fitted (where the objective has several samples, scale={:.2g})"
NEVER_ALIVE = "{:.0%} of the hidden units are dead; try {}."
TOO_HEAVY = (
    "The KL weighs {:g} times what it does in the bound (so does a mean over pixels in place of a "
    "sum): take beta=1."
)
DEAD = (
    "{share:.0%} of the hidden units are dead at epoch {epoch}: they give the same number for "
    "every row, so hardly a gradient reaches their weights, and few come back; take {mend}."
)
OVERFIT_MENDS = "patience=10", "a smaller net", "more rows", "of photos augment=flip"
BY_HEART = (
    "the model overfits: on validation rows the objective fell by {fall:.3g} nats from its best, "
    "around epoch {best}, to epoch {epoch}, and on training rows it rose by {rise:.3g}. The "
    "weights of the best epoch are kept; take {mend}."
)


def mends(given: Mapping[str, set[str]], *known: str) -> str:
    """Return the mends that are not among the options already, as "a, b, or c".

    Example:
        >>> mends({"init": {"he"}, "patience": {"None"}}, "init=he", "patience=10", "a smaller lr")
        'patience=10, or a smaller lr'
        >>> mends({"patience": {"3"}}, "patience=10", "a smaller net")
        'a smaller net'
    """

    def has(mend: str) -> bool:
        name, _, value = mend.split()[-1].partition("=")
        values = given.get(name, set())
        return value in values or (name in ONCE and bool(values - {"None", "none"}))

    new = [mend for mend in known if not has(mend)]
    return ", or ".join([", ".join(new[:-1])] * (len(new) > 1) + new[-1:])


@dataclass(frozen=True)
class Examined:
    """The numbers of a pass over rows after an epoch.

    Attributes:
        means: of the objective, its parts and the ELBO, nats.
        latent: what each dimension carries; None for a model without a latent.
        scale: what the likelihood claims and that of its errors: see `ScaleMeter`.
        fitted, power: of that meter.
        dead_units: the share of hidden units that no row moves; None without activations.
        gain: nats per row that the scale of the errors would add.
        codes: of a model of codes how many it uses: see `Codebook`.
    """

    means: dict[str, float]
    latent: Latent | None
    scale: tuple[float, float] | None
    fitted: bool
    power: int
    dead_units: float | None
    gain: float = 0.0
    codes: dict[str, Any] | None = None

    def latent_record(self) -> dict[str, Any] | None:
        """Return the latent for metrics.jsonl; of very many dimensions the KL's sum and ends."""
        if self.latent is None:
            return self.codes
        kl: Any = self.latent.kl_per_dim
        if kl is not None and len(kl) > MOST:
            kl = {"sum": sum(kl), "least": min(kl), "most": max(kl), "of": len(kl)}
        return {
            "kl_per_dim": kl,
            "active_units": self.latent.active_units,
            "posterior_scale": self.latent.posterior_scale,
        }


def with_elbo(means: dict[str, float]) -> dict[str, float]:
    """Return `means` with the ELBO, at beta = 1, where there is a KL."""
    return means | ({"elbo": means["log_likelihood"] - means["kl"]} if "kl" in means else {})


def examine(model: Any, objective: Objective, batches: Batches, seed: int) -> Examined:
    """Measure a model as it is now, with the same draws every time, none of them relaxed."""
    meter, latent, scale, codes = Meter(), LatentMeter(), ScaleMeter(), Codebook()
    noise, dead, coded = rng(seed, batches.device), DeadUnits(model), Offer.CODES in model.offers
    with noise, evaluating(model, objective), exact(model), dead:
        for x, context in batches.epoch(0):
            trace = model(x, context, samples=objective.samples)
            meter.add(objective(trace))
            latent.update(trace)
            scale.add(trace)
            if coded:
                codes.update(trace)
    means, units = with_elbo(meter.means()), dead.fraction()
    of_scale = (scale.means(), scale.fitted, scale.power)
    return Examined(
        means, latent.latent(), *of_scale, units, scale.gain(), codes.compute() if coded else None
    )


@dataclass(frozen=True)
class Course:
    """The course of a training up to an epoch.

    Attributes:
        objective: its mean over the epoch, nats.
        start: its mean at the first step, before its update, and the standard error; or None.
        lr: the learning rate that was asked for, which a schedule may have changed since.
        beta: the weight of the KL; None where it has none.
        held_out: whether the measured rows are not those of the training.
        given: the values of the options by their names, which no advice repeats.
    """

    objective: float
    start: tuple[float, float] | None
    lr: float
    beta: float | None = 1.0
    held_out: bool = False
    given: Mapping[str, set[str]] = field(default_factory=dict)


@dataclass
class Watch:
    """A watch turns the numbers after each epoch into warnings, each given once.

    Posterior collapse: no unit has Var_x E[z_j|x] > 0.01 for three epochs after the warm-up, and a
    hundred steps have passed since. Scale: the likelihood's own is further than a factor of 2 from
    that of its errors for two epochs, and does not close the gap by a tenth or more an epoch.
    While the objective rises nothing is lost yet. Dead units: more than a quarter of the hidden
    units. Worse: for two epochs after the warm-up the objective is below that of the first step, by
    more than five standard errors of its rows, and so it is on the measured rows.
    Overfitting: the mean over five epochs of the objective on validation rows has fallen from its
    best by a fiftieth of all that was gained, and by four times what it jumps by from epoch to
    epoch, and so had that over the five before; that on training rows has risen.

    Example:
        >>> watch = Watch()
        >>> examined = Examined({"kl": 0.0}, None, (1.0, 0.25), False, 2, None)
        >>> [len(watch(examined, epoch, steps=99)) for epoch in (1, 2, 3)]
        [0, 1, 0]
    """

    collapsed: int = 0
    mismatched: int = 0
    gap: float = math.inf
    worse: int = 0
    said: list[str] = field(default_factory=list)
    untrained: float | None = None  # the objective on the measured rows before the first step
    seen: list[list[float]] = field(default_factory=list)  # measured, of training; KL; by epoch

    def __call__(
        self, examined: Examined, epoch: int, *, steps: int, course: Course | None = None
    ) -> list[str]:
        """Return the new warnings after this epoch, `steps` after the end of the warm-up."""
        share = examined.dead_units or 0.0
        given = course.given if course else {}
        mend = mends(given, *LIVELIER, "norm=batch", "a smaller lr")
        if course is not None and steps > 0:
            means = examined.means
            self.seen.append([means["objective"], course.objective, means.get("kl", 0.0)])
        texts = {
            "collapse": self._collapse(examined, epoch, steps, course),
            "scale": self._scale(examined, epoch, given),
            "dead": DEAD.format(share=share, epoch=epoch, mend=mend) if share > MANY else None,
            "worse": self._worse(examined, course, epoch, steps),
            "by heart": self._by_heart(course, epoch, steps),
        }
        new = {name: text for name, text in texts.items() if text and name not in self.said}
        self.said += new
        return list(new.values())

    def _collapse(
        self, examined: Examined, epoch: int, steps: int, course: Course | None
    ) -> str | None:
        latent, dead = examined.latent, examined.dead_units or 0.0
        idle = "kl" in examined.means and latent is not None and latent.active_units == 0
        self.collapsed = self.collapsed + 1 if idle and steps > 0 else 0
        if self.collapsed < COLLAPSED or steps < SETTLED or self._rises():
            return None
        beta, given = (course.beta, course.given) if course else (1.0, {})
        lighter = beta is not None
        known = [*["kl_warmup=linear:10"] * lighter, "the net's option init=he"]
        known += ["a smaller weight of the KL (the objective's beta=0.5)"] * lighter
        if examined.scale is not None and not examined.fitted:
            known += ["a narrower likelihood, as scale=fitted"]
        mend = f"The decoder ignores z; try {mends(given, *known)}."
        if dead > DYING:
            livelier = mends(given, "the net's option activation=gelu", "a smaller lr")
            mend = NEVER_ALIVE.format(dead, livelier)
        elif beta is not None and beta > 1:
            mend = TOO_HEAVY.format(beta)
        return (
            f"the posterior has collapsed: at epoch {epoch} no latent unit had been active "
            f"(Var E[z|x] > {ACTIVE}) for {self.collapsed} epochs; KL {examined.means['kl']:.3f} "
            f"nats. {mend}"
        )

    def _rises(self) -> bool:
        """Return whether the objective on the measured rows, or the KL, rose in the last epochs."""
        if len(self.seen) < COLLAPSED:
            return False
        (first, _, before), (last, _, now) = self.seen[-COLLAPSED], self.seen[-1]
        start = self.seen[0][0] if self.untrained is None else self.untrained
        gained = max(pair[0] for pair in self.seen) - start
        return now - before > LEAST or last - first > max(LEAST, SHARE * gained)

    def _scale(self, examined: Examined, epoch: int, given: Mapping[str, set[str]]) -> str | None:
        alone = not examined.fitted and "kl" not in examined.means  # no term that it weighs against
        known = examined.scale is not None and all(0 < v < math.inf for v in examined.scale)
        if alone or not known or examined.scale is None:
            self.mismatched, self.gap = 0, math.inf
            return None
        claimed, seen = examined.scale
        apart = math.log(claimed) - math.log(seen)
        gap = abs(apart)
        closing, self.gap = gap < CLOSING * self.gap and self.gap < math.inf, gap
        self.mismatched = self.mismatched + 1 if gap > math.log(FACTOR) and not closing else 0
        if self.mismatched < MISMATCHED:
            return None
        name, error, sign = SCALES[examined.power]
        ratio = math.exp(max(-700.0, min(examined.power * apart, 700.0)))
        effect, times = ("wide", ratio) if ratio > 1 else ("narrow", 1 / ratio)
        if "kl" in examined.means:
            effect += (
                f", so the KL weighs {times:.3g} times too {'much' if ratio > 1 else 'little'}"
            )
        mend = FIT_IT.format(seen)
        if examined.fitted and ratio > 1:  # what is too wide has not learned by heart
            drops = any(value not in ("0", "0.0") for value in given.get("dropout", ()))
            mend = LOOSE.format("less dropout, or a smaller lr" if drops else "a smaller lr")
        elif examined.fitted:
            mend = OVERFITS.format(mends(given, *OVERFIT_MENDS))
        return (
            f"the likelihood's {name} is {claimed:.4g} and the {error} error {seen:.4g} at epoch "
            f"{epoch}: it is too {effect}, by ({name} / error){sign}; {mend}."
        )

    def _worse(
        self, examined: Examined, course: Course | None, epoch: int, steps: int
    ) -> str | None:
        if course is None or course.start is None:
            return None
        first, margin = course.start[0], ERRORS * course.start[1]
        below = course.objective < first - margin
        if self.untrained is not None:  # rows may have heavy tails
            below &= examined.means["objective"] < self.untrained - margin
        self.worse = self.worse + 1 if below and steps > 0 else 0
        if self.worse < WORSE:
            return None
        return (
            f"the training makes the model worse: over epoch {epoch} the objective is "
            f"{course.objective:.5g} nats, at the first step, untrained, it was {first:.5g}. "
            f"The steps are too large: take lr={course.lr / 10:.2g} in place of {course.lr:.2g}."
        )

    def _by_heart(self, course: Course | None, epoch: int, steps: int) -> str | None:
        if course is None or not course.held_out:
            return None
        held, learned = ([pair[n] for pair in self.seen] for n in (0, 1))
        if len(held) < 3 * WINDOW:
            return None
        means = _running(held)
        best = max(range(len(means) - 2 * WINDOW), key=means.__getitem__)
        fall = means[best] - max(means[-1], means[-1 - WINDOW])  # noise is slower than epochs, too
        rise = _running(learned)[-1] - _running(learned)[best]
        gained = means[best] - held[0]
        if fall < max(LEAST, SHARE * gained, NOISE * _error(held, WINDOW)) or rise <= 0:
            return None
        shown = {"best": epoch - len(means) + 1 + best - WINDOW // 2, "fall": fall, "rise": rise}
        mend = mends(course.given, *OVERFIT_MENDS)
        return BY_HEART.format(epoch=epoch, mend=mend, **shown)


def _running(numbers: Sequence[float]) -> list[float]:
    """Return the mean of each WINDOW numbers in a row."""
    return [statistics.fmean(numbers[n : n + WINDOW]) for n in range(len(numbers) - WINDOW + 1)]


def _error(numbers: Sequence[float], window: int) -> float:
    """Return the standard error of a difference of two means over `window` numbers in a row.

    By the second differences of the last numbers, in which a steady rise or fall drops out.
    """
    last = numbers[-max(2 * window, 6) :]
    bends = [a - 2 * b + c for a, b, c in zip(last, last[1:], last[2:], strict=False)]
    return math.sqrt(statistics.fmean(bend**2 for bend in bends) / 6 * 2 / window)


def fallen(records: Sequence[Mapping[str, Any]]) -> tuple[float, int] | None:
    """Return by how much held-out rows fell at the end from the best epoch, and which that was.

    None where the last epoch is below it by less than a tenth of all that was gained; where the
    training stopped by its patience, or its epochs do not compare; and where another warning has
    said why: overfitting, or steps that made the model worse.

    Args:
        records: of metrics.jsonl; None without validation rows, too.

    Example:
        >>> values = [-100.0, -20.0, -10.0, -11.0, -40.0]
        >>> records = [{"epoch": n, "validation": {"objective": v}} for n, v in enumerate(values)]
        >>> fallen(records), fallen(records[:4])
        ((30.0, 2), None)
    """
    if not records or records[-1].get("stopped_early") or records[-1].get("compares") is False:
        return None
    said = [text for record in records for text in record.get("warnings", [])]
    if any("overfits" in text or "makes the model worse" in text for text in said):
        return None
    known = [(record.get("validation") or {}).get("objective", math.nan) for record in records]
    if not all(map(math.isfinite, known)):
        return None
    best = max(range(len(known)), key=known.__getitem__)
    fall = known[best] - known[-1]
    if fall <= max(LEAST, FALL * (known[best] - known[0])):
        return None
    return fall, records[best]["epoch"]


def rising(records: Sequence[Mapping[str, Any]]) -> tuple[float, int] | None:
    """Return by how much the objective rose in the last fifth of a training, and since which epoch.

    None where it had stopped: the mean over the last fifth of the epochs is above that over the
    fifth before by less than 3 % of all that was gained, or than chance allows; where the
    training stopped by its patience, or its epochs do not compare; and under ten epochs with the
    weights of the last one (a warm-up's are not), which tell nothing.

    Args:
        records: of metrics.jsonl; of validation rows where all have them.

    Example:
        >>> records = [{"epoch": n, "train": {"objective": -100.0 / n}} for n in range(1, 11)]
        >>> rising(records)[1], rising([{**r, "train": {"objective": -1.0}} for r in records])
        (9, None)
    """
    if not records or records[-1].get("stopped_early") or records[-1].get("compares") is False:
        return None
    split = "validation" if all(r.get("validation") for r in records) else "train"
    while records[0].get("weights") != records[-1].get("weights"):
        records = records[1:]
    known = [r[split]["objective"] for r in records]
    fifth = len(known) // 5
    if fifth < 2 or not all(map(math.isfinite, known)):
        return None
    before, since = statistics.fmean(known[-2 * fifth : -fifth]), statistics.fmean(known[-fifth:])
    rise, gained = since - before, max(known) - known[0]
    if rise <= max(LEAST, STILL * gained, NOISE * _error(known, fifth)):
        return None
    return max(known[-fifth:]) - known[-fifth], records[-fifth]["epoch"]


def last_notes(path: Path, records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what the records of a whole training tell: more epochs would help, or fewer."""
    if still := rising(records):
        more = f"`vaekit train --resume {path} --epochs {records[-1]['epoch'] * 2}`"
        yield (
            f"the training ended while still rising, by {still[0]:.3g} nats since epoch "
            f"{still[1]}: train longer, by {more}."
        )
    if fall := fallen(records):
        yield (
            f"the training ended {fall[0]:.3g} nats below its best epoch, {fall[1]}, whose weights "
            "are kept: its last steps were too large; take a smaller lr."
        )
