"""What is measured while a model trains: means over rows, and what is not finite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.distributions import Distribution
from vaekit.errors import VaekitError
from vaekit.models import Trace
from vaekit.objectives import Bound
from vaekit.torchutil import over_ranks, ranks


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


def bad_weights(*modules: nn.Module) -> str | None:
    """The first parameter that is not finite, in words; None where all are."""
    for module in modules:
        for name, value in module.named_parameters():
            if not bool(torch.isfinite(value).all()):
                return _count(f"the weight {name}", value)
    return None


@torch.no_grad()
def diagnose(trace: Any, *modules: nn.Module) -> str:
    """What went bad first, in words: the weights of these modules, else a term of the trace.

    Example:
        >>> from vaekit.distributions import Gaussian
        >>> px = Gaussian(torch.zeros(1, 2, 3), torch.full((1, 2, 3), torch.inf))
        >>> diagnose(Trace(torch.zeros(2, 3), (), px, None), nn.Identity())
        'log_scale of the likelihood: infinite, 6 of 6 values'
    """
    if not isinstance(trace, Trace):
        return "train without compile, and one model by itself, to see where"
    weights = bad_weights(*modules)
    if weights is not None:
        return f"{weights}, after the step before"
    for name, value in _numbers(trace):
        if not bool(torch.isfinite(value).all()):
            return _count(name, value)
    return "the objective, from terms that are finite"


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

    def join(self) -> None:
        """Adds what the other processes of the training have seen."""
        if self.total is not None and ranks() > 1:
            *total, rows = over_ranks(torch.stack([*self.total, self.total.new_tensor(self.rows)]))
            self.total, self.rows = torch.stack(total), int(rows)

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
