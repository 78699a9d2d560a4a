"""Schedules: functions of the optimizer's step. Parts never count steps; the loop does.

A schedule is written `kind:number:number...`, in steps:

    constant:V               V
    linear:A:B:N             from A to B in N steps, then B
    cosine:A:B:N             the same along half a cosine
    cyclic:A:B:N:C[:R]       C cycles in N steps, each A to B in its first R (0.5), then B
    exponential:A:B:N        from A to B in N steps by one factor each, then B; both above 0
    step:A:F:N1,N2,...       A, multiplied by F at each of these steps
    flat-linear:A:B:N0:N     A for N0 steps, then linear to B at step N
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from torch import nn

from vaekit.errors import VaekitError, choose, unknown
from vaekit.objectives import Objective, weights

if TYPE_CHECKING:
    from vaekit._train_options import Training

Schedule = Callable[[int], float]
RISE = 100  # steps, where nobody says it
Place = tuple[nn.Module, str]  # of a `Weight`; its tensor may be replaced


def _linear(start: float, end: float, *span: float) -> Schedule:
    flat, steps = (0.0, *span)[-2:]
    return lambda step: start + (end - start) * min(max(step - flat, 0) / (steps - flat), 1.0)


def _exponential(start: float, end: float, steps: float) -> Schedule:
    return lambda step: start * (end / start) ** min(step / steps, 1.0)


def _cosine(start: float, end: float, steps: float) -> Schedule:
    def at(step: int) -> float:
        done = min(step / steps, 1.0)
        return end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))

    return at


def _cyclic(start: float, end: float, steps: float, cycles: float, ratio: float = 0.5) -> Schedule:
    """Return the schedule of Fu et al. 2019, Cyclical annealing schedule."""
    period = steps / cycles

    def at(step: int) -> float:
        done = 1.0 if step >= steps else (step % period) / period / ratio
        return start + (end - start) * min(done, 1.0)

    return at


def _stepped(start: float, factor: float, *milestones: float) -> Schedule:
    return lambda step: start * factor ** sum(step >= m for m in milestones)


KINDS: dict[str, tuple[Callable[..., Schedule], tuple[int, ...], str]] = {
    "constant": (lambda value: lambda step: value, (1,), "constant:V"),
    "linear": (_linear, (3,), "linear:A:B:STEPS"),
    "cosine": (_cosine, (3,), "cosine:A:B:STEPS"),
    "exponential": (_exponential, (3,), "exponential:A:B:STEPS"),
    "cyclic": (_cyclic, (4, 5), "cyclic:A:B:STEPS:CYCLES[:RATIO]"),
    "step": (_stepped, tuple(range(3, 100)), "step:A:FACTOR:STEP1,STEP2,..."),
    "flat-linear": (_linear, (4,), "flat-linear:A:B:FLAT:STEPS"),
}


def _read(text: str) -> tuple[str, list[float]]:
    """Return the kind of the schedule that `text` describes, and its numbers."""
    name, *rest = text.replace(",", ":").split(":")
    _, counts, usage = choose("schedule", name, KINDS)
    try:
        numbers = [float(number) for number in rest]
    except ValueError:
        raise VaekitError(f"got the schedule '{text}'; expected {usage} in numbers.") from None
    if not all(map(math.isfinite, numbers)):
        raise VaekitError(f"got the schedule '{text}'; expected {usage} in finite numbers.")
    bad_length = name not in ("constant", "step") and any(n <= 0 for n in numbers[2:])
    bad_length |= name == "exponential" and min(numbers[:2]) <= 0
    if len(numbers) not in counts or bad_length:
        above = "all" if name == "exponential" else "lengths"
        raise VaekitError(f"got the schedule '{text}'; expected {usage}, {above} above 0.")
    if name == "flat-linear" and numbers[2] >= numbers[3]:
        raise VaekitError(f"got the schedule '{text}'; expected {usage} with FLAT below STEPS.")
    return name, numbers


def parse(text: str) -> Schedule:
    """Return the schedule that `text` describes.

    Raises:
        VaekitError: for an unknown kind, a missing number, or a length of no steps.

    Example:
        >>> beta = parse("linear:0:1:100")
        >>> beta(0), beta(25), beta(500)
        (0.0, 0.25, 1.0)
        >>> parse("liner:0:1:100")
        Traceback (most recent call last):
        ...
        vaekit.errors.VaekitError: unknown schedule 'liner'; did you mean 'linear'? ...
    """
    name, numbers = _read(text)
    return KINDS[name][0](*numbers)


def settles(text: str) -> int:
    """Return the step from which the schedule that `text` describes is constant.

    Example:
        >>> settles("constant:1"), settles("linear:0:1:100"), settles("cyclic:0:1:100:2")
        (0, 100, 75)
    """
    name, numbers = _read(text)
    if name == "cyclic":
        steps, cycles, ratio = (*numbers[2:], 0.5)[:3]
        return math.ceil(steps * (1 - (1 - ratio) / cycles))
    return 0 if name == "constant" else math.ceil(numbers[-1])


def learning_rate(text: str, lr: float, steps: int, per_epoch: int) -> Schedule:
    """Return the learning rate over a training of `steps` steps.

    `constant`; `cosine` down to 0; `flat-linear[:F]`, flat for the fraction F (0.5), then linear
    to 0; `step:FACTOR:E1,E2,...`, multiplied by FACTOR at the start of these epochs.

    Example:
        >>> rate = learning_rate("step:0.1:3,6", 1e-3, steps=1000, per_epoch=100)
        >>> rate(299), round(rate(300), 9), round(rate(999), 9)
        (0.001, 0.0001, 1e-05)
    """
    name, _, rest = text.partition(":")
    try:
        if name == "constant" and not rest:
            return parse(f"constant:{lr}")
        if name == "cosine" and not rest:
            return parse(f"cosine:{lr}:0:{steps}")
        if name == "flat-linear":
            flat = steps * float(rest or 0.5)
            return parse(f"flat-linear:{lr}:0:{max(flat, 1e-9)}:{steps}")
        if name == "step":
            factor, _, epochs = rest.partition(":")
            if float(factor) < 0:
                raise ValueError
            at = ",".join(str(float(epoch) * per_epoch) for epoch in epochs.split(","))
            return parse(f"step:{lr}:{factor}:{at}")
    except ValueError:
        pass
    raise VaekitError(
        f"got the learning-rate schedule '{text}'; expected constant, cosine, flat-linear[:F] "
        "with F between 0 and 1, or step:FACTOR:EPOCH1,EPOCH2,... with a FACTOR of 0 or more."
    )


def rising(schedule: Schedule, steps: int) -> Schedule:
    """Return the schedule with a rise from almost 0 over its first `steps` steps.

    Adam's first steps are as large as its rate whatever the gradient: a rate that is good later is
    too large for them.

    References:
        Ma and Yarats 2021, On the adequacy of untuned warmup for adaptive optimization.

    Example:
        >>> rate = rising(parse("constant:1"), 4)
        >>> rate(0), rate(1), rate(3), rate(9)
        (0.25, 0.5, 1.0, 1.0)
    """
    return lambda step: schedule(step) * min(1.0, (step + 1) / steps)


def kl_warmup(text: str, end: float, steps: int, per_epoch: int) -> tuple[Schedule, int] | None:
    """Return a KL weight that rises to `end`, and the step of its arrival; None for `none`.

    `linear:E` or `cosine:E` over E epochs; `cyclic[:C[:R]]`, C (4) cycles over the whole
    training, rising in the first R (0.5) of each.

    References:
        Fu et al. 2019, Cyclical annealing schedule: a simple approach to mitigating KL vanishing.

    Example:
        >>> beta, arrived = kl_warmup("linear:2", 4.0, steps=1000, per_epoch=100)
        >>> beta(0), beta(100), beta(200), arrived
        (0.0, 2.0, 4.0, 200)
    """
    if text == "none":
        return None
    name, _, rest = text.partition(":")
    try:
        if name in ("linear", "cosine"):
            length = float(rest) * per_epoch
            return parse(f"{name}:0:{end}:{length}"), math.ceil(length)
        if name == "cyclic":
            cycles, _, ratio = (rest or "4").partition(":")
            cyclic = f"cyclic:0:{end}:{steps}:{cycles}:{ratio or 0.5}"
            return parse(cyclic), settles(cyclic)
    except (ValueError, ZeroDivisionError, OverflowError):
        pass
    raise VaekitError(
        f"got the warm-up '{text}'; expected none, linear:EPOCHS, cosine:EPOCHS or "
        "cyclic[:CYCLES[:RATIO]]."
    )


def make_schedules(
    options: Training, objective: Objective, steps: int, per_epoch: int
) -> tuple[dict[str, Schedule], int]:
    """Return the schedules that the options name, and the step at which weights have arrived.

    Raises:
        VaekitError: for one that cannot be read, or a warm-up of an objective without a KL weight.
    """
    schedules: dict[str, Schedule] = {}
    falls = options.lr_schedule != "constant"
    rises = options.lr_warmup
    if rises is None:
        rises = min(RISE, steps // 20) if falls else 0
    if falls or rises:
        schedules["lr"] = learning_rate(options.lr_schedule, options.lr, steps, per_epoch)
    if rises:
        schedules["lr"] = rising(schedules["lr"], rises)
    over, beta = 0, objective.kl_weight
    if options.kl_warmup != "none" and beta is None:
        others = [f"`schedule={name}=KIND:NUMBERS`" for name in weights(objective)]
        raise VaekitError(
            f"{type(objective).__name__} has no KL weight to warm up: use `kl_warmup=none`"
            f"{f', and {others[0]} for a weight of another kind' if others else ''}."
        )
    end = 1.0 if beta is None else getattr(objective, beta).item()
    if rise := kl_warmup(options.kl_warmup, end, steps, per_epoch):
        schedules[f"objective.{beta}"], over = rise
    for text in options.schedule:
        name, equals, rest = text.partition("=")
        if not equals:
            raise VaekitError(f"got the schedule '{text}'; expected NAME=KIND:NUMBERS.")
        schedules[name] = parse(rest)
        if name in ("lr", "critic_lr") and min(_read(rest)[1][:2]) < 0:
            raise VaekitError(f"got the schedule '{text}'; expected rates of 0 and above.")
        if _ending(name, weights(objective, "objective")):  # what moves the model moves no measure
            over = max(over, settles(rest))
    return schedules, over


def _ending(name: str, paths: Iterable[str]) -> list[str]:
    return [path for path in paths if f".{path}".endswith(f".{name}")]


def _find_weight(name: str, known: dict[str, Place]) -> Place:
    """Return the weight whose path ends in `name`: objective.beta for beta, where unique."""
    paths = [name] if name in known else _ending(name, known)
    if len(paths) > 1:
        raise VaekitError(f"'{name}' is the weight of {', '.join(paths)}: write one of these.")
    if not paths:
        short = []  # the shortest end of each path that no other one has
        for path in known:
            ends = [path.split(".", n)[-1] for n in range(path.count("."), -1, -1)]
            short.append(next((end for end in ends if len(_ending(end, known)) == 1), path))
        raise unknown("weight", name, ["lr", *short])
    return known[paths[0]]


def targets(
    schedules: dict[str, Schedule], model: nn.Module, objective: Objective
) -> tuple[dict[str, Schedule], dict[Place, Schedule]]:
    """Return the schedules of learning rates by name, and those of weights by their place.

    A weight is named by its path below `model` or `objective`, or by an end of that path which no
    other one has. `objective.critic_on` follows the critic where no schedule is given for it.

    Raises:
        VaekitError: for a name that belongs to no weight, or to several.

    Example:
        >>> from vaekit.objectives import ELBO
        >>> schedule = parse("linear:0:1:100")
        >>> objective = ELBO()
        >>> rates, filled = targets({"lr": schedule, "beta": schedule}, nn.Identity(), objective)
        >>> list(rates), filled == {(objective, "beta"): schedule}
        (['lr'], True)
    """
    names = ("lr", "critic_lr") if getattr(objective, "critic", None) else ("lr",)
    known = {**weights(objective, "objective"), **weights(model, "model")}
    filled = {_find_weight(n, known): s for n, s in schedules.items() if n not in names}
    if "objective.critic_on" in known:
        on: Schedule = lambda step: float(step >= objective.critic_start)  # noqa: E731
        filled.setdefault(known["objective.critic_on"], on)
    return {name: schedules[name] for name in names if name in schedules}, filled
