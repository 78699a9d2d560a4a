"""Which term of which part went bad, when a loss is no number any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.distributions import Distribution
from vaekit.errors import VaekitError
from vaekit.models import Trace


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
