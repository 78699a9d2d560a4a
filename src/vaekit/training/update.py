"""One step of the optimizer: the only minus sign, the only mean over the batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from vaekit.distributions import Distribution
from vaekit.errors import VaekitError, unknown
from vaekit.models import Trace
from vaekit.objectives import Bound, Objective
from vaekit.training.graphs import Captured
from vaekit.training.schedules import Schedule

BACKEND = "inductor"
Pass = Callable[[Tensor, Tensor | None], tuple[Any, Bound]]


class DivergedError(VaekitError):
    """The training met a number that is not finite."""


def _parameters(part: str, d: Distribution) -> Iterator[tuple[str, Tensor]]:
    for name in d.parameters:
        yield f"{name} of the {part}", getattr(d, name)


def _numbers(trace: Trace) -> Iterator[tuple[str, Tensor]]:
    """What a pass computes, in the order in which it does."""
    yield "the data x", trace.x
    for site in trace.sites:
        yield from _parameters(f"prior of {site.name}", site.p)
        yield from _parameters(f"posterior of {site.name}", site.q)
        yield f"the draw {site.name}", site.z
    yield from _parameters("likelihood", trace.px)
    yield "the log-likelihood", trace.log_likelihood
    for site in trace.sites:
        for term in ("kl", "log_q", "log_p"):
            if term in site.__dict__:
                yield f"{term} of {site.name}", getattr(site, term)


def _count(name: str, value: Tensor) -> str:
    bad = (~torch.isfinite(value)).sum().item()
    kind = "nan" if torch.isnan(value).any() else "infinite"
    return f"{name}: {kind}, {bad} of {value.numel()} values"


def bad_weights(model: nn.Module) -> str | None:
    """The first parameter that is not finite, in words; None where all are."""
    for name, value in model.named_parameters():
        if not bool(torch.isfinite(value).all()):
            return _count(f"the weight {name}", value)
    return None


@torch.no_grad()
def diagnose(trace: Any, model: nn.Module) -> str:
    """What went bad first, in words.

    Example:
        >>> from vaekit.distributions import Gaussian
        >>> px = Gaussian(torch.zeros(1, 2, 3), torch.full((1, 2, 3), torch.inf))
        >>> diagnose(Trace(torch.zeros(2, 3), (), px, None), nn.Identity())
        'log_scale of the likelihood: infinite, 6 of 6 values'
    """
    weights = bad_weights(model)
    if weights is not None:
        return f"{weights}, after the step before"
    for name, value in _numbers(trace):
        if not bool(torch.isfinite(value).all()):
            return _count(name, value)
    return "the objective, from terms that are finite"


def compiled_pass(eager: Pass, *, capture: bool = True) -> Pass:
    """The same pass by torch.compile, without its trace: a graph for each size of batch.

    On a GPU the graph and that of its gradient are captured and replayed (CUDA graphs), so that a
    step launches each as a whole and not every operation by itself. What it returns lies in memory
    that the next pass overwrites: read it, or copy it, before.

    Args:
        eager: `(x, context) -> (trace, bound)`.
        capture: False where the whole step is captured (`Captured`) and the pass is part of it.
    """
    options: Any = {"triton.cudagraphs": capture} if BACKEND == "inductor" else None

    @torch.compile(dynamic=False, backend=BACKEND, options=options)
    def graph(x: Tensor, context: Tensor | None) -> Bound:
        return eager(x, context)[1]

    def replayed(x: Tensor, context: Tensor | None) -> tuple[None, Bound]:
        if capture and x.is_cuda:
            torch.compiler.cudagraph_mark_step_begin()
        return None, graph(x, context)

    return replayed


NORM_EVERY = 20  # steps between looks at the gradient's norm, where clipping does not take it
CHECK_EVERY = 50  # steps between looks at the loss on an accelerator, where a look makes it wait


def mean_and_error(values: Tensor) -> tuple[float, float] | None:
    """The mean of values `(B,)` and its standard error; None where all are one.

    Example:
        >>> mean, error = mean_and_error(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        >>> mean, round(error, 4)
        (2.5, 0.6455)
    """
    values = values.detach()
    if len(values) < 2 or not bool((values != values[0]).any()):
        return None
    return values.mean().item(), values.std().item() / len(values) ** 0.5


class Meter:
    """Sums of an objective and its parts over the rows seen.

    Example:
        >>> meter = Meter()
        >>> meter.add(Bound(torch.tensor([-3.0, -1.0]), parts={"kl": torch.tensor([2.0, 4.0])}))
        >>> meter.means()
        {'objective': -2.0, 'kl': 3.0}
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.total: Tensor | None = None
        self.rows = 0

    def add(self, bound: Bound) -> None:
        """Adds a batch; nothing is read from the device."""
        values = [bound.value.detach(), *bound.parts.values()]
        total = torch.stack(values).sum(1)
        if self.total is None:
            self.names = ["objective", *bound.parts]
            wide = torch.float32 if total.device.type == "mps" else torch.float64
            self.total = torch.zeros_like(total, dtype=wide)
        self.total += total
        self.rows += len(bound.value)

    def means(self) -> dict[str, float]:
        """The means so far."""
        if self.total is None:
            return {}
        return dict(zip(self.names, (self.total / self.rows).tolist(), strict=True))

    def reset(self) -> None:
        """Starts anew."""
        self.total, self.rows = None, 0

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {"names": self.names, "total": self.total, "rows": self.rows}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """The sums as they were."""
        self.names, self.rows = state["names"], state["rows"]
        self.total = None if state["total"] is None else state["total"].to(device)


class Mean:
    """The mean of a number over the steps at which it was measured, summed on the device.

    Example:
        >>> mean = Mean()
        >>> mean.value() is None
        True
        >>> mean.add(torch.tensor(2.0))
        >>> mean.add(torch.tensor(4.0))
        >>> mean.value()
        3.0
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.count = 0

    def add(self, value: Tensor) -> None:
        """Adds a 0-dim tensor; nothing is read from the device."""
        value = value.detach()
        value = value.float() if value.device.type == "mps" else value.double()
        self.total = value if self.total is None else self.total + value
        self.count += 1

    def value(self) -> float | None:
        """The mean so far; None where nothing was measured."""
        return None if self.total is None else (self.total / self.count).item()

    def reset(self) -> None:
        """Starts anew."""
        self.total, self.count = None, 0

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {"total": self.total, "count": self.count}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """The sum as it was."""
        self.count = state["count"]
        self.total = None if state["total"] is None else state["total"].to(device)


def unwrap(model: nn.Module) -> Any:
    """The model inside a DistributedDataParallel."""
    parallel = isinstance(model, nn.parallel.DistributedDataParallel)
    return model.module if parallel else model


def differentiate(bound: Bound, model: nn.Module) -> Tensor:
    """Adds the gradient of minus the mean target to the parameters; the detached loss.

    A target by part of the model is differentiated part by part, each for its own parameters.
    """
    target = bound.target
    if isinstance(target, Tensor):
        loss = -target.mean()
        loss.backward()
        return loss.detach()
    for name, part in target.items():
        values = [p for p in getattr(model, name).parameters() if p.requires_grad]
        loss = -part.mean()
        gradients = torch.autograd.grad(loss, values, retain_graph=True, allow_unused=True)
        for value, gradient in zip(values, gradients, strict=True):
            if gradient is not None:
                value.grad = gradient if value.grad is None else value.grad + gradient
    return -bound.value.detach().mean()


def schedule_target(name: str, objective: nn.Module, model: nn.Module) -> Tensor:
    """The 0-dim tensor that a schedule fills: `beta` of the objective, or a path in the model.

    Raises:
        VaekitError: where there is none of that name.
    """
    buffers = {**dict(model.named_buffers()), **dict(objective.named_buffers())}
    scalars = {known: value for known, value in buffers.items() if value.dim() == 0}
    if name not in scalars:
        raise unknown("schedule target", name, ["lr", *scalars])
    return scalars[name]


Made = tuple[Any, Bound, Tensor, Tensor | None]  # trace, bound, detached loss, gradient's norm


class Update:
    """One step: schedules, pass, objective, gradient, clipping, optimiser, running mean.

    Args:
        model: called as `model(x, context, samples=...)`, so that wrappers see every pass.
        objective: what is maximised.
        optimizer: any torch optimiser.
        schedules: by name; "lr" is the optimiser's.
        clip: the largest norm of the gradient.
        average: a running mean of the weights, updated after each step.
        compiled: whether pass and objective become one graph: see `compiled_pass`.
        captured: whether pass, gradient and optimiser are replayed as one: see `Captured`.
        gradient: collects the gradient's norm (before clipping): of every step where it is
            clipped, else of every 20th and of the first one that it sees.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        *,
        schedules: dict[str, Schedule] | None = None,
        clip: float | None = None,
        average: AveragedModel | None = None,
        gradient: Mean | None = None,
        compiled: bool = False,
        captured: bool = False,
    ) -> None:
        self.model, self.objective, self.optimizer = model, objective, optimizer
        self.clip, self.average = clip, average
        self.gradient = Mean() if gradient is None else gradient
        self._schedules = dict(schedules or {})
        self._lr = self._schedules.pop("lr", None)
        inner = unwrap(model)
        self._targets = {n: schedule_target(n, objective, inner) for n in self._schedules}
        parameters = [*model.parameters(), *objective.parameters()]
        self._parameters = [p for p in parameters if p.requires_grad]
        self._bad_step: Tensor | None = None
        self._pass: Pass = self._eager
        if compiled:
            self._pass = compiled_pass(self._eager, capture=not captured)
        self._captured: Captured | None = None
        if captured:
            self._captured = Captured(self._step, optimizer, self._parameters[0].device)

    def __call__(self, x: Tensor, context: Tensor | None, step: int) -> Bound:
        """Makes the step of this number.

        Raises:
            DivergedError: where the loss is not finite; on the CPU the weights are then still good.
        """
        self._fill(step)
        look = self.clip is not None or step % NORM_EVERY == 0 or not self.gradient.count
        work = self._captured
        made: Made = self._step(x, context, step, look) if work is None else work(x, context)
        trace, bound, loss, norm = made
        if work is not None or loss.device.type != "cpu":
            self._check_later(trace, loss, step)
        if look and norm is not None:
            self.gradient.add(norm)
        if self.average is not None:
            self.average.update_parameters(unwrap(self.model))
        return bound

    def _step(
        self, x: Tensor, context: Tensor | None, step: int | None = None, look: bool = True
    ) -> Made:
        """Pass, gradient, optimiser; without a number nothing is read back from the device."""
        trace, bound = self._pass(x, context)
        loss = differentiate(bound, unwrap(self.model))
        if step is not None and loss.device.type == "cpu" and not math.isfinite(loss.item()):
            self._stop(trace, step)
        norm = self._norm() if look else None
        self.optimizer.step()
        self.optimizer.zero_grad()
        return trace, bound, loss, norm

    def _eager(self, x: Tensor, context: Tensor | None) -> tuple[Any, Bound]:
        trace = self.model(x, context, samples=self.objective.samples)
        return trace, self.objective(trace)

    def _norm(self) -> Tensor:
        """The gradient's norm, before it is clipped."""
        if self.clip is not None:
            return nn.utils.clip_grad_norm_(self._parameters, self.clip)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        return nn.utils.get_total_norm(gradients)

    def _fill(self, step: int) -> None:
        if self._lr is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self._lr(step)
        for name, schedule in self._schedules.items():
            self._targets[name].fill_(schedule(step))

    def _check_later(self, trace: Any, loss: Tensor, step: int) -> None:
        """Notes the first loss that is not finite, and looks for one now and then."""
        now = torch.where(torch.isfinite(loss), math.inf, float(step))
        self._bad_step = now if self._bad_step is None else torch.minimum(self._bad_step, now)
        if (step + 1) % CHECK_EVERY == 0 and math.isfinite(first := self._bad_step.item()):
            self._stop(trace, int(first))

    def _stop(self, trace: Any, step: int) -> None:
        self.optimizer.zero_grad()
        found = "train without compile, and one model by itself, to see where"
        if isinstance(trace, Trace):
            found = diagnose(trace, unwrap(self.model))
        raise DivergedError(
            f"the training diverged at step {step}: {found}. "
            "Try a smaller lr, clip=1, or a scale with a floor."
        )
