"""Warnings of what goes wrong quietly: idle latents, dead units, a wrong scale, large steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from vaekit._torchutil import evaluating, rng
from vaekit.data import Batches
from vaekit.evaluate import ACTIVE, DeadUnits, Latent, LatentMeter, ScaleMeter
from vaekit.training._progress import Meter, Progress

MOST = 256  # dimensions that a line of metrics.jsonl lists one by one
COLLAPSED = 3  # measured epochs in a row without an active unit
SETTLED = 100  # steps after the warm-up before which a latent may just not have started
MISMATCHED = 2  # measured epochs in a row with a scale further off than FACTOR
FACTOR = 2.0
DYING = 0.4  # share of dead hidden units with which a latent seldom comes alive
MANY = 0.25  # share of dead hidden units that is worth a word
CLOSING = 0.9  # a gap that is below this share of the epoch before's is on its way out
WORSE = 2  # epochs in a row below the first step
ERRORS = 5.0  # standard errors of the first step's rows: below by less is their noise
SCALES = {2: ("sigma", "root mean square", "²"), 1: ("scale", "mean absolute", "")}  # by power
OVERFITS = "it was fitted to the training rows, so the model overfits: take patience=10"
LOOSE = (
    "it was fitted to passes of the training, whose errors are larger, as under dropout or large "
    "steps: take less dropout, or a smaller lr"
)
FIT_IT = "take scale=fitted (where the objective has several samples, scale={:.2g})"
NARROWER = ", or a narrower likelihood (scale=fitted)"
NEVER_ALIVE = (
    "{:.0%} of the hidden units are dead; try the net's option activation=gelu, or a smaller lr."
)
TOO_HEAVY = (
    "The KL weighs {:g} times what it does in the bound (so does a mean over pixels in place of a "
    "sum): take beta=1."
)
IGNORED = (
    "The decoder ignores z; try kl_warmup=linear:10, the net's option init=he, a smaller weight of "
    "the KL (the objective's beta=0.5){}."
)
DEAD = (
    "{share:.0%} of the hidden units are dead at epoch {epoch}: they give the same number for "
    "every row, so hardly a gradient reaches their weights, and few come back; take "
    "activation=gelu or leaky-relu, norm=batch, or a smaller lr."
)


@dataclass(frozen=True)
class Examined:
    """The numbers of a pass over rows after an epoch.

    Attributes:
        means: of the objective, its parts and the ELBO, nats.
        latent: what each dimension carries; None for a model without a latent.
        scale: what the likelihood claims and that of its errors: see `ScaleMeter`.
        fitted, power: of that meter.
        dead_units: the share of hidden units that no row moves; None without activations.
    """

    means: dict[str, float]
    latent: Latent | None
    scale: tuple[float, float] | None
    fitted: bool
    power: int
    dead_units: float | None

    def latent_record(self) -> dict[str, Any] | None:
        """Return the latent for metrics.jsonl; of very many dimensions the KL's sum and ends."""
        if self.latent is None:
            return None
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


def examine(progress: Progress, batches: Batches, seed: int) -> Examined:
    """Measure a model at the current step, with the same draws every time."""
    model: Any = progress.model
    objective = progress.objective
    meter, latent, scale = Meter(), LatentMeter(), ScaleMeter()
    with rng(seed, progress.device), evaluating(model, objective), DeadUnits(model) as dead:
        for x, context in batches.epoch(0):
            trace = model(x, context, samples=objective.samples)
            meter.add(objective(trace))
            latent.update(trace)
            scale.add(trace)
    means, units = with_elbo(meter.means()), dead.fraction()
    return Examined(means, latent.latent(), scale.means(), scale.fitted, scale.power, units)


@dataclass(frozen=True)
class Course:
    """The course of a training up to an epoch.

    Attributes:
        objective: its mean over the epoch, nats.
        start: its mean at the first step, before its update, and the standard error; or None.
        lr: the learning rate.
        beta: the weight of the KL.
    """

    objective: float
    start: tuple[float, float] | None
    lr: float
    beta: float = 1.0


@dataclass
class Watch:
    """A watch turns the numbers after each epoch into warnings, each given once.

    Posterior collapse: no unit has Var_x E[z_j|x] > 0.01 for three epochs after the warm-up, and a
    hundred steps have passed since. Scale: the likelihood's own is further than a factor of 2 from
    that of its errors for two epochs, and does not close the gap by a tenth or more an epoch.
    Dead units: more than a quarter of the hidden units. Worse: for two epochs after the warm-up the
    objective is below that of the first step, by more than five standard errors of its rows.

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

    def __call__(
        self, examined: Examined, epoch: int, *, steps: int, course: Course | None = None
    ) -> list[str]:
        """Return the new warnings after this epoch, `steps` after the end of the warm-up."""
        share = examined.dead_units or 0.0
        texts = {
            "collapse": self._collapse(examined, epoch, steps, course.beta if course else 1.0),
            "scale": self._scale(examined, epoch),
            "dead": DEAD.format(share=share, epoch=epoch) if share > MANY else None,
            "worse": self._worse(course, epoch, steps),
        }
        new = {name: text for name, text in texts.items() if text and name not in self.said}
        self.said += new
        return list(new.values())

    def _collapse(self, examined: Examined, epoch: int, steps: int, beta: float) -> str | None:
        latent, dead = examined.latent, examined.dead_units or 0.0
        idle = "kl" in examined.means and latent is not None and latent.active_units == 0
        self.collapsed = self.collapsed + 1 if idle and steps > 0 else 0
        if self.collapsed < COLLAPSED or steps < SETTLED:
            return None
        mend = IGNORED.format("" if examined.scale is None else NARROWER)
        if dead > DYING:
            mend = NEVER_ALIVE.format(dead)
        elif beta > 1:
            mend = TOO_HEAVY.format(beta)
        return (
            f"the posterior has collapsed: at epoch {epoch} no latent unit had been active "
            f"(Var E[z|x] > {ACTIVE}) for {self.collapsed} epochs; KL {examined.means['kl']:.3f} "
            f"nats. {mend}"
        )

    def _scale(self, examined: Examined, epoch: int) -> str | None:
        alone = not examined.fitted and "kl" not in examined.means  # no term that it weighs against
        known = examined.scale is not None and all(0 < v < math.inf for v in examined.scale)
        if alone or not known or examined.scale is None:
            self.mismatched, self.gap = 0, math.inf
            return None
        claimed, seen = examined.scale
        gap = abs(math.log(claimed / seen))
        closing, self.gap = gap < CLOSING * self.gap and self.gap < math.inf, gap
        self.mismatched = self.mismatched + 1 if gap > math.log(FACTOR) and not closing else 0
        if self.mismatched < MISMATCHED:
            return None
        name, error, sign = SCALES[examined.power]
        ratio = (claimed / seen) ** examined.power
        effect, times = ("wide", ratio) if ratio > 1 else ("narrow", 1 / ratio)
        if "kl" in examined.means:
            effect += (
                f", so the KL weighs {times:.3g} times too {'much' if ratio > 1 else 'little'}"
            )
        fitted = LOOSE if ratio > 1 else OVERFITS  # what is too wide has not learned by heart
        mend = fitted if examined.fitted else FIT_IT.format(seen)
        return (
            f"the likelihood's {name} is {claimed:.4g} and the {error} error {seen:.4g} at epoch "
            f"{epoch}: it is too {effect}, by ({name} / error){sign}; {mend}."
        )

    def _worse(self, course: Course | None, epoch: int, steps: int) -> str | None:
        if course is None or course.start is None:
            return None
        first, error = course.start
        below = course.objective < first - ERRORS * error
        self.worse = self.worse + 1 if below and steps > 0 else 0
        if self.worse < WORSE:
            return None
        return (
            f"the training makes the model worse: over epoch {epoch} the objective is "
            f"{course.objective:.5g} nats, at the first step, untrained, it was {first:.5g}. "
            f"The steps are too large: take lr={course.lr / 10:.2g} in place of {course.lr:.2g}."
        )
