"""What goes wrong quietly: idle latents, dead units, a scale far off, steps that are too large."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from vaekit.data import Batches
from vaekit.evaluate import ACTIVE, DeadUnits, Latent, LatentMeter, ScaleMeter
from vaekit.torchutil import evaluating, rng
from vaekit.training.loop import Progress
from vaekit.training.meters import Meter

COLLAPSED = 3  # measured epochs in a row without an active unit
SETTLED = 100  # steps after the warm-up before which a latent may just not have started
MISMATCHED = 2  # measured epochs in a row with a scale further off than FACTOR
FACTOR = 2.0
DYING = 0.4  # share of dead hidden units with which a latent seldom comes alive
MANY = 0.25  # share of dead hidden units that is worth a word
CLOSING = 0.9  # a gap that is below this share of the epoch before's is on its way out
WORSE = 2  # epochs in a row below the first step
ERRORS = 5.0  # standard errors of the first step's rows: below by less is their noise


@dataclass(frozen=True)
class Examined:
    """What a pass over rows found.

    Attributes:
        means: of the objective, its parts and the ELBO, nats.
        latent: what each dimension holds; None for a model without a latent.
        scale: what the likelihood claims and what its errors have: see `ScaleMeter`.
        fitted, power: of that meter.
        dead_units: the share of hidden units that no row moves; None without activations.
    """

    means: dict[str, float]
    latent: Latent | None
    scale: tuple[float, float] | None
    fitted: bool
    power: int
    dead_units: float | None


def with_elbo(means: dict[str, float]) -> dict[str, float]:
    """`means` with the ELBO, at beta = 1, where there is a KL."""
    if "kl" not in means:
        return dict(means)
    return {**means, "elbo": means["log_likelihood"] - means["kl"]}


def examine(progress: Progress, batches: Batches, seed: int) -> Examined:
    """Measures a model where its training is, with the same draws every time."""
    model: Any = progress.model
    objective = progress.objective
    meter, latent, scale = Meter(), LatentMeter(), ScaleMeter()
    with rng(seed, progress.device), evaluating(model, objective), DeadUnits(model) as dead:
        for x, context in batches.epoch(0):
            trace = model(x, context, samples=objective.samples)
            meter.add(objective(trace))
            latent.update(trace)
            scale.add(trace)
    means, held = with_elbo(meter.means()), latent.latent()
    return Examined(means, held, scale.means(), scale.fitted, scale.power, dead.fraction())


@dataclass(frozen=True)
class Course:
    """What the steps of an epoch came to.

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
    """Says what the user should know, each once, from what was measured after each epoch.

    Posterior collapse: no unit has Var_x E[z_j|x] > 0.01 for three epochs after the warm-up, and a
    hundred steps have passed since. Scale: the likelihood's own is further than a factor of 2 from
    that of its errors for two epochs, and does not close the gap by a tenth or more an epoch.
    Dead units: more than a quarter of the hidden units. Worse: for two epochs after the warm-up the
    objective is below that of the first step, by more than five standard errors of its rows.

    Example:
        >>> watch = Watch()
        >>> found = Examined({"kl": 0.0}, None, (1.0, 0.25), False, 2, None)
        >>> [len(watch(found, epoch, steps=99)) for epoch in (1, 2, 3)]
        [0, 1, 0]
    """

    collapsed: int = 0
    mismatched: int = 0
    gap: float = math.inf
    worse: int = 0
    said: list[str] = field(default_factory=list)

    def __call__(
        self, found: Examined, epoch: int, *, steps: int, course: Course | None = None
    ) -> list[str]:
        """The sentences that are new after this epoch, `steps` after the end of the warm-up."""
        texts = {
            "collapse": self._collapse(found, epoch, steps, 1.0 if course is None else course.beta),
            "scale": self._scale(found, epoch),
            "dead": _dead(found, epoch),
            "worse": self._worse(course, epoch, steps),
        }
        new = {name: text for name, text in texts.items() if text and name not in self.said}
        self.said += new
        return list(new.values())

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def _collapse(self, found: Examined, epoch: int, steps: int, beta: float) -> str | None:
        latent = found.latent
        idle = "kl" in found.means and latent is not None and latent.active_units == 0
        self.collapsed = self.collapsed + 1 if idle and steps > 0 else 0
        if self.collapsed < COLLAPSED or steps < SETTLED:
            return None
        return (
            f"the posterior has collapsed: at epoch {epoch} no latent unit had been active "
            f"(Var E[z|x] > {ACTIVE}) for {self.collapsed} epochs; KL {found.means['kl']:.3f} "
            f"nats. {_wake(found, beta)}"
        )

    def _scale(self, found: Examined, epoch: int) -> str | None:
        if found.scale is None or not all(0 < value < math.inf for value in found.scale):
            self.mismatched, self.gap = 0, math.inf
            return None
        claimed, seen = found.scale
        gap = abs(math.log(claimed / seen))
        closing, self.gap = gap < CLOSING * self.gap and self.gap < math.inf, gap
        self.mismatched = self.mismatched + 1 if gap > math.log(FACTOR) and not closing else 0
        return None if self.mismatched < MISMATCHED else _mismatch(found, epoch)

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
            f"The steps are too large: take lr={course.lr / 10:.2g} in place of "
            f"{course.lr:.2g}."
        )


def _wake(found: Examined, beta: float) -> str:
    """What may make a latent active that is not."""
    if found.dead_units is not None and found.dead_units > DYING:
        return (
            f"{found.dead_units:.0%} of the hidden units are dead; try the net's option "
            "activation=gelu, or a smaller lr."
        )
    if beta > 1:
        return (
            f"The KL weighs {beta:g} times what it does in the bound (so does a mean over pixels "
            "in place of a sum): take beta=1."
        )
    narrower = "" if found.scale is None else ", or a narrower likelihood (scale=fitted)"
    return (
        "The decoder ignores z; try kl_warmup=linear:10, the net's option init=he, a smaller "
        f"weight of the KL (the objective's beta=0.5){narrower}."
    )


def _dead(found: Examined, epoch: int) -> str | None:
    share = found.dead_units
    if share is None or share <= MANY:
        return None
    return (
        f"{share:.0%} of the hidden units are dead at epoch {epoch}: they give the same number for "
        "every row, so hardly a gradient reaches their weights, and few come back; take "
        "activation=gelu or leaky-relu, norm=batch, or a smaller lr."
    )


def _mismatch(found: Examined, epoch: int) -> str:
    assert found.scale is not None
    claimed, seen = found.scale
    name, error = ("sigma", "root mean square") if found.power == 2 else ("scale", "mean absolute")
    ratio, formula = (claimed / seen) ** found.power, f"({name} / error)"
    formula += "²" if found.power == 2 else ""
    wide, times = ("wide", ratio) if ratio > 1 else ("narrow", 1 / ratio)
    effect = "much" if ratio > 1 else "little"
    mend = f"take scale=fitted (where the objective has several samples, scale={seen:.2g})"
    if found.fitted:
        mend = "it was fitted to the training rows, so the model overfits: take patience=10"
    return (
        f"the likelihood's {name} is {claimed:.4g} and the {error} error {seen:.4g} at epoch "
        f"{epoch}: it is too {wide}, so the KL weighs {times:.3g} times too {effect}, by "
        f"{formula}; {mend}."
    )
