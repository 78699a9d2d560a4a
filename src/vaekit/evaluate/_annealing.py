"""log p(x) by annealed importance sampling.

Shapes: `C` chains, `B` batch, z `(C, B, *Z)`; nats, added up in float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit._torchutil import evaluating, wide
from vaekit.data import check_memory
from vaekit.distributions import Distribution, offering
from vaekit.errors import VaekitError, at_least, choose
from vaekit.evaluate import _checks as checks
from vaekit.evaluate._likelihood import refuse_unnormalized, rows_and_draws
from vaekit.evaluate._metrics import Column, Line, Record, Study, Subject
from vaekit.models import LatentModel, exact
from vaekit.registry import register

LogDensity = Callable[[Tensor], Tensor]  # z (C, B, *Z) to log f(z) (C, B), differentiable


def leapfrog(
    log_density: LogDensity, z: Tensor, momentum: Tensor, step: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Take `count` leapfrog steps of unit mass along -log f.

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
    """Make one Metropolis-adjusted transition: the new z, and its acceptance probability `(C, B)`.

    It leaves f unchanged and is reversible; what is not finite is rejected.

    Args:
        log_density: log f.
        z: `(C, B, *Z)`.
        step: leapfrog steps of each row, `(B,)`.
        count: leapfrog steps of one transition.
    """
    ones = [1] * (z.dim() - 2)
    momentum = torch.randn_like(z)
    new, after = leapfrog(log_density, z, momentum, step.unflatten(0, (-1, *ones)), count)
    energy = 0.5 * (momentum.square() - after.square()).flatten(2).sum(-1)
    chance = (log_density(new) - log_density(z) + energy).clamp(max=0).exp().nan_to_num(0)
    accept = torch.rand_like(chance) < chance
    return torch.where(accept.unflatten(1, (-1, *ones)), new, z), chance


SCHEDULES: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda t: t,
    "sigmoid": lambda t: torch.sigmoid(4 * (2 * t - 1)),
}
TARGET, PILOTS = 0.65, 4  # the acceptance aimed at, and the chains that tune the step size


@dataclass(frozen=True, eq=False)
class _Path:
    """f_b(z) = start(z)^(1 - b) (p(z) p(x|z))^b for b from 0 to 1, over one batch."""

    model: LatentModel
    x: Tensor
    context: Tensor | None
    prior: Distribution
    start: Distribution
    betas: list[float]
    leapfrogs: int

    def log_ratio(self, z: Tensor) -> Tensor:
        """Return log p(x, z) - log start(z), (C, B)."""
        value = self.model.likelihood_at((z,), self.context).log_prob(self.x)
        if self.start is self.prior:
            return value
        return value + self.prior.log_prob(z) - self.start.log_prob(z)

    def moved(self, z: Tensor, i: int, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return z after a transition that leaves density i unchanged, and its acceptance."""
        beta = self.betas[i]

        def log_density(z: Tensor) -> Tensor:
            return self.start.log_prob(z) + beta * self.log_ratio(z)

        return hmc(log_density, z, step, self.leapfrogs)

    def draw(self, chains: int) -> Tensor:
        """Draw z (C, B, *Z) from the start."""
        z = self.start.sample((chains,))
        batched = z.dim() > 1 + len(self.prior.space.shape)
        return z if batched else self.start.sample((chains, len(self.x)))

    def steps(self) -> list[Tensor]:
        """Return step sizes (B,) for every transition, tuned by chains of their own, then fixed.

        Chains that adapt their own steps are not the transitions that the bound is proved for.
        """
        z, steps = self.draw(PILOTS), []
        step = z.new_full(self.x.shape[:1], 0.3)
        for i in range(1, len(self.betas) - 1):
            z, chance = self.moved(z, i, step)
            step = (step * (0.3 * (chance.mean(0) - TARGET)).exp()).clamp(1e-4, 2.0)
            steps.append(step)
        return steps

    def anneal(
        self, steps: list[Tensor], z: Tensor, *, reverse: bool = False
    ) -> tuple[Tensor, list[float]]:
        """Return log-weights (C, B) of chains from draws z of the start, and the acceptances.

        In reverse from an exact draw of the posterior.
        """
        log_weight, accepted = wide(z.new_zeros(z.shape[:2])), []
        gaps = list(enumerate(itertools.pairwise(self.betas)))
        for i, (before, after) in reversed(gaps) if reverse else gaps:
            if not reverse:
                log_weight += (after - before) * wide(self.log_ratio(z))
            if i < len(steps):
                z, chance = self.moved(z, i + 1, steps[i])
                accepted.append(chance.mean().item())
            if reverse:
                log_weight += (after - before) * wide(self.log_ratio(z))
        return log_weight, accepted


@dataclass(frozen=True)
class _Plan:
    """The options of `ais`."""

    chains: int = 16
    steps: int = 500
    leapfrogs: int = 10
    start: str = "prior"
    schedule: str = "sigmoid"

    def __post_init__(self) -> None:
        for name in ("chains", "steps", "leapfrogs"):
            at_least(name, getattr(self, name), 1)
        check_memory(f"{self.steps:,} steps", 64 * self.steps, "Take fewer `steps`.")
        choose("start", self.start, dict.fromkeys(["prior", "posterior"]))
        choose("schedule", self.schedule, SCHEDULES)

    def paths(
        self, model: LatentModel, x: Tensor, context: Tensor | None
    ) -> Iterator[tuple[slice, _Path]]:
        """Yield the path of a few rows at a time."""
        curve = SCHEDULES[self.schedule](torch.linspace(0, 1, self.steps + 1, dtype=torch.float64))
        betas = ((curve - curve[0]) / (curve[-1] - curve[0])).tolist()
        step, _ = rows_and_draws(model, at_least("len(x)", len(x), 1), self.chains)
        for first in range(0, len(x), step):
            part = slice(first, first + step)
            some, of = x[part], None if context is None else context[part]
            (site,) = model.draw(model.infer(some, of), (0,))
            start = site.p if self.start == "prior" else site.q
            yield part, _Path(model, some, of, site.p, start, betas, self.leapfrogs)


def _refuse(model: LatentModel, context: Tensor | None) -> None:
    checks.refuse_no_density(model, "log p(x)")
    shape = () if context is None else tuple(context.shape[1:])
    spaces = [str(site.p.space) for site in model.example(shape).sites]
    if len(spaces) != 1 or not spaces[0].startswith("reals"):
        raise VaekitError(
            f"annealing moves one latent on the reals; this model's lives on "
            f"{' and '.join(spaces)}: use log_likelihood."
        )


def ais(
    model: LatentModel,
    x: Tensor,
    context: Tensor | None = None,
    *,
    chains: int = 16,
    steps: int = 500,
    leapfrogs: int = 10,
    start: str = "prior",
    schedule: str = "sigmoid",
) -> checks.Numbers:
    """Estimate log p(x) by annealed importance sampling, `(B,)`: a lower bound in expectation.

    Chains go from `start` to p(z) p(x|z) along f_b = start^(1 - b) (p(z) p(x|z))^b by Hamiltonian
    transitions; log w = sum_t (b_t - b_(t-1)) log [p(x, z_t) / start(z_t)], and the mean of the
    weights is p(x) in expectation for any number of steps. Step sizes are tuned by pilot chains,
    one for each row and temperature.

    Args:
        model: a model with one latent on the reals; it is used in eval mode.
        x: `(B, *X)`.
        context: what the model is conditioned on, `(B, *G)`.
        chains: C.
        steps: intermediate distributions; with 1 it is plain importance sampling.
        leapfrogs: leapfrog steps of one transition.
        start: "prior" or "posterior", the model's q(z|x).
        schedule: of b: "sigmoid" (slow at both ends) or "linear".

    Returns:
        `log_p` (B,); `log_weight` (C, B), the chains' weights, whose exponentials average to p(x);
        and `acceptance`, the mean over all transitions, near 0.65 where the step sizes suit.

    Raises:
        VaekitError: for an unknown name, counts below 1, another kind of latent, a posterior
            without a density, or numbers that are not finite in x.

    References:
        Neal 2001, Annealed importance sampling.
        Wu et al. 2017, On the quantitative analysis of decoder-based generative models.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> x = torch.randn(50, 3, dtype=torch.float64)
        >>> oracle = LinearGaussian.fit(x, latent=1)
        >>> result = ais(oracle.vae(), x, start="posterior", steps=10)
        >>> bool((result.log_p - oracle.log_prob(x)).abs().max() < 1e-9)
        True
    """
    _refuse(model, context)
    checks.refuse_gaps("x", x)
    plan = _Plan(chains, steps, leapfrogs, start, schedule)
    weights, accepted = [], []
    with evaluating(model), exact(model):
        for _, path in plan.paths(model, x, context):
            log_weight, some = path.anneal(path.steps(), path.draw(chains))
            weights.append(log_weight)
            accepted += some
    log_weights = torch.cat(weights, 1)
    acceptance = sum(accepted) / len(accepted) if accepted else math.nan
    log_p = _log_mean(log_weights)
    return checks.Numbers(log_p=log_p, log_weight=log_weights, acceptance=acceptance)


def bidirectional(
    model: LatentModel, n: int, context: Tensor | None = None, **options: Any
) -> checks.Numbers:
    """Draw n x from the model, and bound their log p(x) from both sides.

    The z that made an x is an exact draw of p(z|x); chains that anneal from it backwards give
    weights whose inverses average to 1 / p(x): an upper bound in expectation. The lower bound is
    that of `ais`.

    Args:
        model: a model with one latent on the reals; it is used in eval mode.
        n: how many x.
        context: what the model is conditioned on, `(n, *G)`.
        options: `chains`, `steps`, `leapfrogs`, `start` and `schedule`, as of `ais`.

    Returns:
        x `(n, *X)`; `lower` and `upper`, `(n,)`: where they meet, both are right; and `gap`, the
        mean of upper - lower, which bounds the error of either, in expectation.

    Raises:
        VaekitError: as `ais`.

    References:
        Grosse, Ghahramani and Adams 2015, Sandwiching the marginal likelihood using bidirectional
        Monte Carlo.
        Wu et al. 2017, On the quantitative analysis of decoder-based generative models.

    Example:
        >>> from vaekit.testing import LinearGaussian, seeded
        >>> with seeded():
        ...     x = torch.randn(50, 3, dtype=torch.float64)
        ...     oracle = LinearGaussian.fit(x, latent=1)
        ...     result = bidirectional(oracle.vae(), 5, steps=50)
        >>> bool((result.lower - oracle.log_prob(result.x)).abs().max() < 0.1), result.gap < 0.1
        (True, True)
    """
    _refuse(model, context)
    plan = _Plan(**options)
    lower, upper = [], []
    with evaluating(model), exact(model):
        (z,) = model.draw_prior(at_least("n", n, 1), context)
        x = model.likelihood_at((z,), context).sample()
        for part, path in plan.paths(model, x, context):
            steps = path.steps()
            lower.append(_log_mean(path.anneal(steps, path.draw(plan.chains))[0]))
            true = z[part].expand(plan.chains, *z[part].shape)
            upper.append(-_log_mean(-path.anneal(steps, true, reverse=True)[0]))
    low, high = torch.cat(lower), torch.cat(upper)
    return checks.Numbers(x=x, lower=low, upper=high, gap=(high - low).mean().item())


def _log_mean(log_weight: Tensor) -> Tensor:
    checks.refuse_not_a_number("log p(x)", log_weight)
    return log_weight.logsumexp(0) - math.log(len(log_weight))


@register("metric", "ais")
class Annealing(Study):
    """-log p(x) by annealing, and by it from both sides on data that the model makes itself.

    Args:
        steps: of annealing.
        rows: at most so many, evenly spread; annealing takes seconds for each.
    """

    needs = offering("density", "one_site")
    columns = (Column("mean", "nll by annealing", better=-1),)

    def __init__(self, *, steps: int = 500, rows: int = 100) -> None:
        super().__init__()
        self.steps, self.most = at_least("steps", steps, 1), at_least("rows", rows, 1)

    def suits(self, subject: Subject) -> str | None:
        """Refuse what does not normalize: it has no likelihood."""
        return refuse_unnormalized(subject)

    def study(self, subject: Subject) -> Record:
        """Return the bound, and how far the two bounds of simulated data are apart."""
        model: Any = subject.model
        rows = subject.rows.few(self.most)
        batches = list(rows.batches("ais", 10))
        parts = [ais(model, x, context, steps=self.steps) for x, context in batches]
        log_p = torch.cat([part.log_p for part in parts])
        some = [context for _, context in batches if context is not None]
        both = bidirectional(model, len(log_p), torch.cat(some) if some else None, steps=self.steps)
        return {
            "mean": -log_p.mean().item(),
            "standard_error": checks.standard_error(log_p, rows.groups),
            "standard_error_over": rows.over,
            "acceptance": sum(part.acceptance for part in parts) / len(parts),
            "steps": self.steps,
            "chains": len(parts[0].log_weight),
            "rows": len(log_p),
            "simulated_rows": len(both.x),
            "simulated_gap": both.gap,
        }

    def lines(self, record: Record) -> Iterator[Line]:
        """Yield the bound, the gap, and the acceptance."""
        how = f"{record['rows']} rows, {record['chains']} chains, {record['steps']} steps"
        yield "nll by annealing", record["mean"], record["standard_error"], how
        yield "  gap when simulated", record["simulated_gap"], None, ""
        yield "  acceptance", record["acceptance"], None, ""
