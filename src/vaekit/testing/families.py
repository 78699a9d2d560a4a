"""The check of a family, and the random state and finite differences that all checks use."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit._torchutil import rng
from vaekit.distributions import Distribution
from vaekit.parts import Family


def seeded(seed: int = 0) -> AbstractContextManager[None]:
    """Seed the global random state; restore it afterwards."""
    return rng(seed)


def check_gradient(function: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-6) -> None:
    """Compare autograd with a central difference along a random direction, at the same noise."""

    def value(theta: Tensor) -> Tensor:
        with seeded(1):
            return function(theta)

    direction = torch.randn_like(at)
    theta = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(theta), theta)
    ahead, behind = value(at + step * direction), value(at - step * direction)
    expected = ((ahead - behind) / (2 * step)).item()
    got = (gradient * direction).sum().item()
    assert abs(got - expected) < 1e-4 * (1 + abs(expected)), f"gradient {got}: {expected}"


def check_family(
    family: Family,
    *,
    spread: float = 1.0,
    draws: int = 4000,
    context: Tensor | None = None,
    smooth: bool = True,
) -> None:
    """Check a family: shapes, sums, normalization, draws against densities, gradients.

    Densities are integrated (summed, where values are discrete) element by element; draws are
    compared with them by Kolmogorov and Smirnov's test. A family whose density does not factorize
    is checked for shapes and gradients alone.

    Args:
        family: with a small event, 12 elements or so.
        spread: standard deviation of the random parameters.
        draws: how many draws are compared with the density.
        context: `(2, *G)`, for a family that reads it.
        smooth: whether draws move evenly with the parameters; not those of a straight-through or
            relaxed family, whose gradient is none of a finite difference.

    Example:
        >>> from vaekit.parts import Laplace
        >>> check_family(Laplace(3))
    """
    family = family.to(torch.float64).eval()
    with seeded():
        params = spread * torch.randn(2, *family.param_shape, dtype=torch.float64)
        p = family(params, context)
        assert p.event_shape == family.event_shape, f"event {p.event_shape}: {family.event_shape}"
        _check_shapes(p, family)
        if "factors" in p.offers:
            _check_normalized(p, draws)
        if "rsample" in p.offers and smooth:
            check_gradient(lambda theta: family(theta, context).rsample((3,)).sin().sum(), params)
        if "density" in p.offers:
            x = p.sample()

            def score(theta: Tensor) -> Tensor:
                q = family(theta, context)
                (q.rsample if "rsample" in q.offers else q.sample)()  # as a pass of a model does
                return q.log_prob(x).sum()

            check_gradient(score, params)
        if {"density", "stopped"} <= p.offers:
            stopped = family(params.clone().requires_grad_(), context).stopped().log_prob(x)
            assert not stopped.requires_grad, "stopped() lets gradients through"
            assert torch.equal(stopped, p.log_prob(x)), "stopped() changes the density"


def _check_shapes(p: Distribution, family: Family) -> None:
    x = p.sample((5,))
    assert x.shape == (5, 2, *family.event_shape), f"draws (5, 2, *event) came as {x.shape}"
    if "density" not in p.offers:
        return
    log_prob = p.log_prob(x)
    assert log_prob.shape == (5, 2), f"log_prob (5, 2) came as {tuple(log_prob.shape)}"
    row = p.log_prob(x[0])
    assert torch.allclose(log_prob[0], row, atol=1e-10), "log_prob depends on the sample dims"
    if "factors" in p.offers:
        total = p.terms(x).flatten(2).sum(-1)
        assert torch.allclose(log_prob, total, atol=1e-10), "log_prob is not the sum of terms"


def _grid(p: Distribution) -> tuple[Tensor, Tensor]:
    """Return points and weights of a quadrature over the values of an element."""
    kind, levels, double = p.space.kind, p.space.levels, torch.float64
    if kind == "counts" or (kind == "pixels" and levels is not None):
        points = torch.arange(20_000, dtype=double)
        if levels is not None:
            points = torch.linspace(0, 1, levels, dtype=double)
        return points, torch.ones_like(points)
    points = torch.linspace(0, 1, 40_001, dtype=double)
    if kind == "positive":
        points = torch.exp(90 * points - 80)
    elif kind != "pixels":
        points = torch.sinh(18 * points - 9) / 10
    steps = points.diff() / 2
    return points, F.pad(steps, (1, 0)) + F.pad(steps, (0, 1))


def _check_normalized(p: Distribution, draws: int) -> None:
    points, weights = _grid(p)
    x = points.view(-1, 1, *[1] * p.event_dim).expand(-1, 2, *p.event_shape)
    mass = p.terms(x).exp().flatten(1) * weights[:, None]
    error = (mass.sum(0) - 1).abs().max().item()
    assert error < 1e-4, f"the density sums to 1 only within {error:.1e}"
    mean = (mass * points[:, None]).sum(0)
    gap = (mean - p.mean.flatten()).abs().max().item()
    assert gap < 1e-3, f"the mean differs from the density's by {gap:.1e}"
    sample = p.sample((draws,)).flatten(1)
    index = torch.searchsorted(points, sample.T.contiguous() - 1e-9)
    counts = torch.zeros_like(mass).scatter_add_(
        0, index.T.clamp(max=len(points) - 1), torch.ones_like(sample)
    )
    gap = (counts.cumsum(0) / draws - mass.cumsum(0)).abs().max().item()
    limit = 2.5 / math.sqrt(draws)  # passed by all of 100 elements but once in 2,500 tests
    assert gap < limit, f"draws and density differ: distance {gap:.3f}, limit {limit:.3f}"
