"""Where a training is: its state, its means, and the search for what is not finite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from vaekit._torchutil import over_ranks, ranks, wide
from vaekit.distributions import Distribution
from vaekit.errors import VaekitError
from vaekit.models import Trace
from vaekit.objectives import Bound, Objective


class DivergedError(VaekitError):
    """The training met a number that is not finite."""


def _numbers(trace: Trace) -> Iterator[tuple[str, Tensor]]:
    """Yield what a pass computes, in that order."""

    def parameters(part: str, d: Distribution) -> Iterator[tuple[str, Tensor]]:
        return ((f"{name} of the {part}", getattr(d, name)) for name in d.parameters)

    yield "the data x", trace.x
    for site in trace.sites:
        yield from parameters(f"prior of {site.name}", site.p)
        yield from parameters(f"posterior of {site.name}", site.q)
        yield f"the draw {site.name}", site.z
    yield from parameters("likelihood", trace.px)
    yield "the log-likelihood", trace.log_likelihood
    for site in trace.sites:
        for term in ("kl", "log_q", "log_p"):
            if term in site.__dict__:
                yield f"{term} of {site.name}", getattr(site, term)


def _first_bad(numbers: Iterable[tuple[str, Tensor]]) -> str | None:
    for name, value in numbers:
        if bad := int((~torch.isfinite(value)).sum()):
            kind = "nan" if torch.isnan(value).any() else "infinite"
            return f"{name}: {kind}, {bad} of {value.numel()} values"
    return None


def bad_weights(*modules: nn.Module) -> str | None:
    """Describe the first parameter that is not finite; return None where all are."""
    named = (pair for module in modules for pair in module.named_parameters())
    return _first_bad((f"the weight {name}", value) for name, value in named)


@torch.no_grad()
def diagnose(trace: Any, *modules: nn.Module) -> str:
    """Describe what went bad first: the weights of these modules, else a term of the trace.

    Example:
        >>> from vaekit.distributions import Gaussian
        >>> px = Gaussian(torch.zeros(1, 2, 3), torch.full((1, 2, 3), torch.inf))
        >>> diagnose(Trace(torch.zeros(2, 3), (), px, None), nn.Identity())
        'log_scale of the likelihood: infinite, 6 of 6 values'
    """
    if not isinstance(trace, Trace):
        return "train without compile, and one model by itself, to see where"
    if weights := bad_weights(*modules):
        return f"{weights}, after the step before"
    return _first_bad(_numbers(trace)) or "the objective, from terms that are finite"


def mean_and_error(values: Tensor) -> tuple[float, float] | None:
    """Return the mean of values `(B,)` and its standard error; None where all are equal.

    Example:
        >>> mean, error = mean_and_error(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        >>> mean, round(error, 4)
        (2.5, 0.6455)
    """
    values = values.detach()
    if len(values) < 2 or not bool((values != values[0]).any()):
        return None
    return values.mean().item(), values.std().item() / len(values) ** 0.5


class Mean:
    """The mean of a number, or of a vector, summed on the device.

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

    def add(self, value: Tensor, count: int = 1) -> None:
        """Add a value, or the sum of so many; nothing is read from the device."""
        value = wide(value.detach())
        self.total = value if self.total is None else self.total + value
        self.count += count

    def value(self) -> Any:
        """Return the mean so far, a float or a list of them; None where nothing was added."""
        return None if self.total is None else (self.total / self.count).tolist()

    def reset(self) -> None:
        """Start anew."""
        self.total, self.count = None, 0

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {"total": self.total, "count": self.count}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from what `state` returned."""
        self.count = state["count"]
        total = state["total"]
        if total is not None and device.type == "mps":  # which knows no float64
            total = total.float()
        self.total = None if total is None else total.to(device)


class Meter:
    """Means of an objective and its parts over the rows seen.

    Example:
        >>> meter = Meter()
        >>> meter.add(Bound(torch.tensor([-3.0, -1.0]), parts={"kl": torch.tensor([2.0, 4.0])}))
        >>> meter.means()
        {'objective': -2.0, 'kl': 3.0}
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.mean = Mean()

    @property
    def rows(self) -> int:
        """Return how many rows were added."""
        return self.mean.count

    def add(self, bound: Bound) -> None:
        """Add a batch; nothing is read from the device."""
        self.names = ["objective", *bound.parts]
        values = torch.stack([bound.value.detach(), *bound.parts.values()])
        self.mean.add(values.sum(1), len(bound.value))

    def means(self) -> dict[str, float]:
        """Return the means so far."""
        return dict(zip(self.names, self.mean.value() or (), strict=False))

    def join(self) -> None:
        """Add what the other processes of the training have seen."""
        total = self.mean.total
        if total is not None and ranks() > 1:
            both = over_ranks(torch.cat([total, total.new_tensor([self.rows])]))
            self.mean.total, self.mean.count = both[:-1], int(both[-1])

    def reset(self) -> None:
        """Start anew."""
        self.mean.reset()

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {"names": self.names, "total": self.mean.total, "rows": self.rows}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from what `state` returned."""
        self.names = state["names"]
        self.mean.restore({"total": state["total"], "count": state["rows"]}, device)


@dataclass(eq=False)
class Progress:
    """Where a training is: everything that continuing it exactly needs."""

    model: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    device: torch.device
    step: int = 0
    shift: int = 0  # of the step: so far it would be, had its batches always been of this size
    meter: Meter = field(default_factory=Meter)
    gradient: Mean = field(default_factory=Mean)
    means: dict[str, float] = field(default_factory=dict)  # of the epoch that has just ended
    gradient_norm: float | None = None  # its mean over that epoch
    start: tuple[float, float] | None = None  # objective of the first step, and standard error
    rows: int = 0  # of that epoch
    took: float = 0.0  # the seconds of its steps
    seconds: float = 0.0  # of the steps of the current epoch so far, those before a resume included
    interrupted: bool = False
    critic: torch.optim.Optimizer | None = None

    @property
    def place(self) -> int:
        """Return the step of schedules and epochs, which a resume with other batches moves."""
        return self.step + self.shift

    @property
    def _parts(self) -> dict[str, Any]:
        names = ("model", "objective", "optimizer", "critic", "average")
        return {name: getattr(self, name) for name in names}

    def end_epoch(self) -> None:
        """Read the means of the epoch, over all processes, and start the next one's."""
        self.meter.join()
        self.means, self.rows = self.meter.means(), self.meter.rows
        self.took, self.seconds = self.seconds, 0.0
        self.gradient_norm = self.gradient.value()
        self.meter.reset()
        self.gradient.reset()

    def state(self) -> dict[str, Any]:
        """Return nested numbers and tensors, for `save_state`."""
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        parts = self._parts.items()
        return {
            "step": self.step,
            **({"shift": self.shift} if self.shift else {}),
            **{name: None if part is None else dict(part.state_dict()) for name, part in parts},
            "meter": self.meter.state(),
            "gradient": self.gradient.state(),
            "seconds": self.seconds,
            "start": self.start,
            "random": random,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Set everything as it was when `state` was taken."""
        self.step, self.shift = state["step"], state.get("shift", 0)
        for name, part in self._parts.items():
            if part is not None and state[name] is not None:
                part.load_state_dict(state[name])
        self.meter.restore(state["meter"], self.device)
        if "gradient" in state:  # older checkpoints have none
            self.gradient.restore(state["gradient"], self.device)
        self.start, self.seconds = state.get("start"), state.get("seconds", 0.0)
        torch.set_rng_state(state["random"]["cpu"])
        if self.device.type == "cuda" and "cuda" in state["random"]:
            torch.cuda.set_rng_state(state["random"]["cuda"], self.device)
