"""Random state and finite differences for the checks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from vaekit.torchutil import rng


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
