"""log p(x) by annealed importance sampling (Neal 2001; Wu et al., arXiv 1611.04273).

Shapes: `C` chains, `B` batch, z `(C, B, *Z)`; nats, added up in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.evaluate.checks import refuse_gaps, refuse_no_density, refuse_not_a_number, whole
from vaekit.evaluate.likelihood import rows_and_draws
from vaekit.evaluate.path import Plan, backward, forward, pilot
from vaekit.models import VAE, evaluating

__all__ = ["Annealed", "Sandwich", "ais", "bidirectional"]


@dataclass(frozen=True, eq=False)
class Annealed:
    """What annealing found: `log_p` (B,), a lower bound in expectation, and how.

    `log_weight` (C, B) are the chains' weights, whose exponentials average to p(x); `acceptance`
    is the mean over all transitions, near 0.65 where the step sizes suit.
    """

    log_p: Tensor
    log_weight: Tensor
    acceptance: float


@dataclass(frozen=True, eq=False)
class Sandwich:
    """Bounds of log p(x) of data drawn from the model: lower <= log p(x) <= upper on average.

    x `(n, *X)`; `lower` and `upper` are `(n,)`. Where they meet, both are right.
    """

    x: Tensor
    lower: Tensor
    upper: Tensor

    @property
    def gap(self) -> float:
        """The mean of upper - lower: it bounds the error of either, in expectation."""
        return (self.upper - self.lower).mean().item()


def _refuse(model: VAE) -> None:
    refuse_no_density(model, "log p(x)")
    space = model.prior.space
    if space.kind != "reals" or "one_site" not in model.offers:
        raise VaekitError(
            f"annealing moves one latent on the reals; this model's lives on {space}: take "
            "log_likelihood."
        )


def _parts(model: VAE, rows: int, chains: int) -> Iterator[slice]:
    step, _ = rows_and_draws(model, whole("rows of x", rows), chains)
    return (slice(start, start + step) for start in range(0, rows, step))


def ais(
    model: VAE,
    x: Tensor,
    given: Tensor | None = None,
    *,
    chains: int = 16,
    steps: int = 500,
    leapfrogs: int = 10,
    start: str = "prior",
    schedule: str = "sigmoid",
) -> Annealed:
    """log p(x) by annealed importance sampling, `(B,)`: a lower bound in expectation.

    Chains go from `start` to p(z) p(x|z) along f_b = start^(1 - b) (p(z) p(x|z))^b by Hamiltonian
    transitions; log w = sum_t (b_t - b_(t-1)) log [p(x, z_t) / start(z_t)], and the mean of the
    weights is p(x) in expectation for any number of steps (Neal 2001; Wu et al.,
    arXiv 1611.04273). Step sizes are found by pilot chains, one for each row and temperature.

    Args:
        model: a model with one latent on the reals; it is used in eval mode.
        x: `(B, *X)`.
        given: what the model is conditioned on, `(B, *G)`.
        chains: C.
        steps: intermediate distributions; with 1 it is plain importance sampling.
        leapfrogs: leapfrog steps of one transition.
        start: "prior" or "posterior", the model's q(z|x).
        schedule: of b: "sigmoid" (slow at both ends) or "linear".

    Raises:
        VaekitError: for an unknown name, counts below 1, another kind of latent, a posterior
            without a density, or numbers that are not finite in x.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> x = torch.randn(50, 3, dtype=torch.float64)
        >>> oracle = LinearGaussian.fit(x, latent=1)
        >>> found = ais(oracle.vae(), x, start="posterior", steps=10)
        >>> bool((found.log_p - oracle.log_prob(x)).abs().max() < 1e-9)
        True
    """
    _refuse(model)
    refuse_gaps("x", x)
    plan = Plan(chains, steps, leapfrogs, start, schedule)
    weights, accepted = [], []
    with evaluating(model):
        for part in _parts(model, len(x), chains):
            path = plan.path(model, x[part], None if given is None else given[part])
            log_weight, some = forward(path, pilot(path), path.draw(chains))
            weights.append(log_weight)
            accepted += some
    found = torch.cat(weights, 1)
    acceptance = sum(accepted) / len(accepted) if accepted else math.nan
    return Annealed(_log_mean(found), found, acceptance)


def bidirectional(
    model: VAE,
    n: int,
    given: Tensor | None = None,
    *,
    chains: int = 16,
    steps: int = 500,
    leapfrogs: int = 10,
    start: str = "prior",
    schedule: str = "sigmoid",
) -> Sandwich:
    """Bidirectional Monte Carlo: n x drawn from the model, and both bounds of their log p(x).

    The z that made an x is an exact draw of p(z|x); chains that anneal from it backwards give
    weights whose inverses average to 1 / p(x): an upper bound in expectation (Grosse et al.,
    arXiv 1511.02543; Wu et al., arXiv 1611.04273). The lower bound is `ais`, with the same options.

    Raises:
        VaekitError: as `ais`.

    Example:
        >>> from vaekit.testing import LinearGaussian, seeded
        >>> with seeded():
        ...     x = torch.randn(50, 3, dtype=torch.float64)
        ...     oracle = LinearGaussian.fit(x, latent=1)
        ...     found = bidirectional(oracle.vae(), 5, steps=50)
        >>> bool((found.lower - oracle.log_prob(found.x)).abs().max() < 0.1), found.gap < 0.1
        (True, True)
    """
    _refuse(model)
    plan = Plan(chains, steps, leapfrogs, start, schedule)
    lower, upper = [], []
    with evaluating(model):
        z = model.draw_latent(whole("n", n), given)
        x = model.likelihood(z, given).sample()
        for part in _parts(model, n, chains):
            path = plan.path(model, x[part], None if given is None else given[part])
            sizes = pilot(path)
            lower.append(_log_mean(forward(path, sizes, path.draw(chains))[0]))
            true = z[part].expand(chains, *z[part].shape)
            upper.append(-_log_mean(-backward(path, sizes, true)))
    return Sandwich(x, torch.cat(lower), torch.cat(upper))


def _log_mean(log_weight: Tensor) -> Tensor:
    refuse_not_a_number("log p(x)", log_weight)
    return log_weight.logsumexp(0) - math.log(len(log_weight))
