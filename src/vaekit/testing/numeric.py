"""Random state and finite differences for the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vaekit.torchutil import rng


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Global random state from `seed` inside, and afterwards as it was."""
    with rng(seed):
        yield


def check_gradient(function: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-6) -> None:
    """Autograd against a central difference along a random direction, same noise on both sides."""

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
