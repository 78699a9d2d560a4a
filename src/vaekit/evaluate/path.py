"""The path from a start to p(z) p(x|z), and the chains that go along it.

Shapes: `C` chains, `B` batch, z `(C, B, *Z)`; nats, added up in float64.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.distributions import Distribution
from vaekit.errors import choose
from vaekit.evaluate.checks import whole
from vaekit.evaluate.hmc import hmc
from vaekit.models import VAE

__all__ = ["Path", "Plan", "backward", "forward", "pilot"]

SCHEDULES: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda t: t,
    "sigmoid": lambda t: torch.sigmoid(4 * (2 * t - 1)),
}
TARGET, PILOTS = 0.65, 4  # the acceptance aimed at, and the chains that look for the step size


@dataclass(frozen=True, eq=False)
class Path:
    """f_b(z) = start(z)^(1 - b) (p(z) p(x|z))^b for b from 0 to 1, over one batch."""

    model: VAE
    x: Tensor
    given: Tensor | None
    prior: Distribution
    start: Distribution
    betas: list[float]
    leapfrogs: int

    @property
    def gaps(self) -> list[float]:
        """How much every step adds to b."""
        return [after - before for before, after in itertools.pairwise(self.betas)]

    def log_ratio(self, z: Tensor) -> Tensor:
        """log p(x, z) - log start(z), (C, B)."""
        value = self.model.likelihood(z, self.given).log_prob(self.x)
        if self.start is self.prior:
            return value
        return value + self.prior.log_prob(z) - self.start.log_prob(z)

    def moved(self, z: Tensor, i: int, step: Tensor) -> tuple[Tensor, Tensor]:
        """z after a transition that leaves the i-th density unchanged, and its acceptance."""
        beta = self.betas[i]

        def log_density(z: Tensor) -> Tensor:
            return self.start.log_prob(z) + beta * self.log_ratio(z)

        return hmc(log_density, z, step, self.leapfrogs)

    def draw(self, chains: int) -> Tensor:
        """z (C, B, *Z) from the start."""
        z = self.start.sample((chains,))
        batched = z.dim() > 1 + len(self.model.prior.space.shape)
        return z if batched else self.start.sample((chains, len(self.x)))


@dataclass(frozen=True)
class Plan:
    """How to anneal: what `ais` takes."""

    chains: int
    steps: int
    leapfrogs: int
    start: str
    schedule: str

    def __post_init__(self) -> None:
        for name in ("chains", "steps", "leapfrogs"):
            whole(name, getattr(self, name))
        choose("start", self.start, dict.fromkeys(["prior", "posterior"]))
        choose("schedule", self.schedule, SCHEDULES)

    def path(self, model: VAE, x: Tensor, given: Tensor | None) -> Path:
        """The path for this batch."""
        prior = model.prior(given)
        start = prior if self.start == "prior" else model.infer(x, given)
        curve = SCHEDULES[self.schedule](torch.linspace(0, 1, self.steps + 1, dtype=torch.float64))
        betas = ((curve - curve[0]) / (curve[-1] - curve[0])).tolist()
        return Path(model, x, given, prior, start, betas, self.leapfrogs)


def pilot(path: Path) -> list[Tensor]:
    """Step sizes (B,) for every transition, found by chains of their own and then kept.

    Chains that adapt their own steps are not the transitions that the bound is proved for.
    """
    z, found = path.draw(PILOTS), []
    step = z.new_full(path.x.shape[:1], 0.3)
    for i in range(1, len(path.betas) - 1):
        z, chance = path.moved(z, i, step)
        step = (step * (0.3 * (chance.mean(0) - TARGET)).exp()).clamp(1e-4, 2.0)
        found.append(step)
    return found


def forward(path: Path, steps: list[Tensor], z: Tensor) -> tuple[Tensor, list[float]]:
    """Log-weights (C, B) of chains from draws z of the start, and the acceptances."""
    log_weight, accepted = torch.zeros(z.shape[:2], dtype=torch.float64, device=z.device), []
    for i, gap in enumerate(path.gaps):
        log_weight += gap * path.log_ratio(z).double()
        if i < len(steps):
            z, chance = path.moved(z, i + 1, steps[i])
            accepted.append(chance.mean().item())
    return log_weight, accepted


def backward(path: Path, steps: list[Tensor], z: Tensor) -> Tensor:
    """The same for the reversed chain, from an exact draw of the posterior."""
    log_weight = torch.zeros(z.shape[:2], dtype=torch.float64, device=z.device)
    for i, gap in reversed(list(enumerate(path.gaps))):
        if i < len(steps):
            z, _ = path.moved(z, i + 1, steps[i])
        log_weight += gap * path.log_ratio(z).double()
    return log_weight
