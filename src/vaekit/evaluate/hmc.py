"""Hamiltonian Monte Carlo on a batch of densities (Neal 2011, arXiv 1206.1901).

Shapes: `C` chains, `B` batch, z `(C, B, *Z)`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["LogDensity", "hmc", "leapfrog"]

LogDensity = Callable[[Tensor], Tensor]  # z (C, B, *Z) to log f(z) (C, B), differentiable


def leapfrog(
    log_density: LogDensity, z: Tensor, momentum: Tensor, step: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """`count` leapfrog steps of unit mass along -log f: half a kick, drifts and kicks, half a kick.

    It conserves volume, is reversed by reversing the momentum, and errs by O(step^2) in energy.

    Args:
        log_density: log f.
        z: positions `(C, B, *Z)`.
        momentum: `(C, B, *Z)`.
        step: what broadcasts to z.
        count: steps.

    Example:
        >>> z, momentum = torch.ones(1, 1, 1).double(), torch.zeros(1, 1, 1).double()
        >>> step = torch.tensor(0.01).double()
        >>> z, momentum = leapfrog(lambda z: -0.5 * z.square().sum(-1), z, momentum, step, 100)
        >>> round(z.item(), 3), round(momentum.item(), 3)  # cos(1), -sin(1)
        (0.54, -0.841)
    """
    momentum = momentum + 0.5 * step * _gradient(log_density, z)
    for i in range(count):
        z = z + step * momentum
        kick = step if i < count - 1 else 0.5 * step
        momentum = momentum + kick * _gradient(log_density, z)
    return z, momentum


def _gradient(log_density: LogDensity, z: Tensor) -> Tensor:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(log_density(z).sum(), z)
    return gradient


def hmc(log_density: LogDensity, z: Tensor, step: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """One Metropolis-adjusted transition: the new z, and the chance of acceptance `(C, B)`.

    It leaves f unchanged and is reversible; what is not finite is rejected.

    Args:
        log_density: log f.
        z: `(C, B, *Z)`.
        step: leapfrog steps of each row, `(B,)`.
        count: leapfrog steps of one transition.
    """
    event = z.dim() - 2
    momentum = torch.randn_like(z)
    wide = step.unflatten(0, (-1, *[1] * event))
    new, after = leapfrog(log_density, z, momentum, wide, count)
    energy = 0.5 * (momentum.square() - after.square()).flatten(2).sum(-1)
    chance = (log_density(new) - log_density(z) + energy).clamp(max=0).exp().nan_to_num(0)
    accept = torch.rand_like(chance) < chance
    return torch.where(accept.unflatten(1, (-1, *[1] * event)), new, z), chance
