"""Bounds on log p(x) by weighted draws, and gradients of bounds with less noise.

Shapes: `S` Monte-Carlo dims, `B` batch; a log weight is log p(x, z) - log q(z|x), `(S, B)`.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from vaekit._torchutil import wide
from vaekit.distributions import offering
from vaekit.errors import at_least, within
from vaekit.models import Trace
from vaekit.objectives.base import Objective, Weight, over_samples
from vaekit.objectives.bounds import ELBO
from vaekit.registry import register

LARGEST = 100.0  # order of a divergence: beyond it the worst draw is all that counts
MOST = 100  # parts of an integral
NEAR_ONE = 1e-9  # of an order: nearer, the limit is more exact than the formula


def log_mean_exp(values: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
    """Return the logarithm of the mean of exp over the Monte-Carlo dims, or over these alone.

    Example:
        >>> log_mean_exp(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
        tensor([0., 1.])
    """
    dims = tuple(range(values.dim() - 1)) if dims is None else dims
    return values.logsumexp(dims) - math.log(math.prod([values.shape[dim] for dim in dims]))


@register("objective", "iwae")
class IWAE(Objective):
    """The importance-weighted bound, L_K = log 1/K sum_k p(x, z_k) / q(z_k|x).

    Burda, Grosse & Salakhutdinov, arXiv 1509.00519, eq. 8. The gradient is that of the bound
    itself: draws count by their normalized weights, the best ones most.

    Args:
        samples: K, the draws.

    Raises:
        VaekitError: for no samples.

    Example:
        >>> IWAE(samples=50).samples
        (50,)
    """

    needs = offering("latent", "rsample", "density", "exact", "fixed")

    def __init__(self, *, samples: int = 50) -> None:
        super().__init__()
        self.samples = (at_least("samples", samples, 1),)

    def value(self, trace: Trace) -> Tensor:
        return log_mean_exp(trace.log_weight)


@register("objective", "miwae")
class MIWAE(Objective):
    """The mean of M importance-weighted bounds of K draws each.

    1/M sum_m log 1/K sum_k p(x, z_mk) / q(z_mk|x): looser than one bound of M K draws, and the
    encoder's gradient has less noise for its size (Rainforth et al., "Tighter variational bounds
    are not necessarily better", arXiv 1802.04537, section 5). M = 1 is IWAE, K = 1 the ELBO.

    Args:
        m: M, the bounds.
        k: K, the draws of each.

    Raises:
        VaekitError: for none of either.

    Example:
        >>> MIWAE(m=4, k=16).samples
        (4, 16)
    """

    needs = IWAE.needs

    def __init__(self, *, m: int = 8, k: int = 8) -> None:
        super().__init__()
        self.samples = at_least("m", m, 1), at_least("k", k, 1)

    def value(self, trace: Trace) -> Tensor:
        return _mean_of_bounds(trace.log_weight)


def _mean_of_bounds(log_weight: Tensor) -> Tensor:
    """Return the mean over the first dim of the bound over the second, `(M, K, B)` to `(B,)`."""
    return log_mean_exp(log_weight, (1,)).mean(0)


@register("objective", "piwae")
class PIWAE(Objective):
    """The bound of M K draws, where the encoder climbs the mean of M bounds of K draws each.

    The posterior's parameters take the gradient of `miwae`, whose noise is less, and all others
    that of `iwae`, which is tighter (Rainforth et al., arXiv 1802.04537, section 5). What is
    reported is the bound of all M K draws.

    Args:
        m: M, the encoder's bounds.
        k: K, the draws of each.

    Raises:
        VaekitError: for none of either.

    Example:
        >>> PIWAE(m=4, k=16).samples
        (4, 16)
    """

    needs = IWAE.needs | offering("separate")

    def __init__(self, *, m: int = 8, k: int = 8) -> None:
        super().__init__()
        self.samples = at_least("m", m, 1), at_least("k", k, 1)

    def value(self, trace: Trace) -> Tensor:
        return log_mean_exp(trace.log_weight)

    def surrogate(self, trace: Trace, value: Tensor) -> dict[str, Tensor]:
        return {"posterior": _mean_of_bounds(trace.log_weight), "rest": value}


@register("objective", "ciwae")
class CIWAE(Objective):
    """b ELBO + (1 - b) IWAE of the same draws, b the weight.

    Rainforth et al., arXiv 1802.04537, section 5, where b is called beta. The ELBO is the mean of
    the log weights of all K draws, without a closed form.

    Args:
        weight: b, of the ELBO, from 0 to 1, which a schedule may fill.
        samples: K, the draws.

    Raises:
        VaekitError: for a weight beyond 0 and 1, or no samples.

    Example:
        >>> CIWAE(weight=0.5, samples=64).weight
        tensor(0.5000)
    """

    weight: Tensor
    needs = IWAE.needs

    def __init__(self, *, weight: float = 0.05, samples: int = 50) -> None:
        super().__init__()
        self.weight = Weight(within("weight", weight, 0.0, 1.0))
        self.samples = (at_least("samples", samples, 1),)

    def value(self, trace: Trace) -> Tensor:
        elbo, iwae = over_samples(trace.log_weight), log_mean_exp(trace.log_weight)
        return self.weight * elbo + (1 - self.weight) * iwae


@register("objective", "renyi")
class Renyi(Objective):
    """The variational Renyi bound of order alpha, by K draws.

    1/(1 - alpha) log 1/K sum_k (p(x, z_k) / q(z_k|x))^(1 - alpha) (Li & Turner, "Renyi divergence
    variational inference", arXiv 1602.02311). Order 0 is IWAE, order 1 the ELBO, as the
    limit; between them it falls from one to the other, and beyond 1 the worst draws count most.

    Args:
        alpha: the order of the divergence, from 0 to 100.
        samples: K, the draws.

    Raises:
        VaekitError: for an order out of its range, or no samples.

    Example:
        >>> Renyi(alpha=0.5, samples=5).samples
        (5,)
    """

    needs = IWAE.needs

    def __init__(self, *, alpha: float = 0.5, samples: int = 50) -> None:
        super().__init__()
        self.alpha = float(within("alpha", alpha, 0.0, LARGEST))
        self.samples = (at_least("samples", samples, 1),)

    def value(self, trace: Trace) -> Tensor:
        power = 1 - self.alpha
        if abs(power) < NEAR_ONE:
            return over_samples(trace.log_weight)
        powered = log_mean_exp(power * wide(trace.log_weight)) / power
        return powered.to(trace.log_weight.dtype)


@register("objective", "tvo")
class TVO(Objective):
    """The thermodynamic variational objective: a sum in place of an integral that is log p(x).

    sum_k (b_(k+1) - b_k) E_k[log w], with w = p(x, z) / q(z|x), 0 = b_0 < ... < b_P = 1, and E_k
    the mean over the draws by weights of w^(b_k) (Masrani, Le & Wood, arXiv 1907.00031, eq. 6).
    Over all b the integral of these means is IWAE of the same draws, which the sum does not exceed;
    of one part it is the ELBO. The gradient is that of the sum, through the draws.

    Args:
        partitions: P, parts of [0, 1], whose bounds b_1 to b_P are even in their logarithms.
        first: b_1, where there are several parts.
        samples: the draws.

    Raises:
        VaekitError: for no partitions or more than 100, a first bound outside [1e-6, 0.999], or no
            samples.

    Example:
        >>> TVO(partitions=2, first=0.1).bounds
        (0.0, 0.1, 1.0)
    """

    needs = IWAE.needs

    def __init__(self, *, partitions: int = 5, first: float = 0.025, samples: int = 50) -> None:
        super().__init__()
        more = within("partitions", partitions, 1, MOST) - 1
        first = within("first", first, 1e-6, 0.999)
        self.bounds = 0.0, *(first ** (1 - k / more) for k in range(more)), 1.0
        self.samples = (at_least("samples", samples, 1),)

    def value(self, trace: Trace) -> Tensor:
        weights = wide(trace.log_weight)
        parts = [
            (b - a) * ((a * weights).softmax(0) * weights).sum(0) for a, b in pairwise(self.bounds)
        ]
        return torch.stack(parts).sum(0).to(trace.log_weight.dtype)


@register("objective", "elbo-stl")
class STL(ELBO):
    """The ELBO by draws, with the gradient that sticks the landing.

    The same value as `elbo:kl=sampled`. In the gradient log q(z|x) has its parameters detached, so
    that the encoder learns through the draws alone: without the score of q, whose mean is 0. Where
    q is the true posterior the encoder's gradient has no noise (Roeder, Wu & Duvenaud, "Sticking
    the landing", arXiv 1703.09194). It is for one latent.

    Args:
        beta: the KL weight, which a schedule may fill.
        samples: Monte-Carlo draws.

    Raises:
        VaekitError: for a negative beta or no samples.

    Example:
        >>> STL().kl
        'sampled'
    """

    needs = offering("latent", "rsample", "bound", "density", "stopped", "one_site")

    def __init__(self, *, beta: float = 1.0, samples: int = 1) -> None:
        super().__init__(beta=beta, kl="sampled", samples=samples)

    def surrogate(self, trace: Trace, value: Tensor) -> Tensor:
        gap = trace.site.log_q_stopped - trace.site.log_p
        return over_samples(trace.log_likelihood) - self.beta * over_samples(gap)


@register("objective", "dreg")
class DReG(IWAE):
    """The bound of IWAE, with the doubly reparameterized gradient for the encoder.

    The posterior's parameters take the gradient of sum_k w_k^2 log p(x, z_k) / q(z_k|x) through the
    draws alone, with w the normalized weights and those of q detached (Tucker, Lawson, Gu &
    Maddison, "Doubly reparameterized gradient estimators for Monte Carlo objectives", arXiv
    1810.04152, eq. 8): its mean is that of IWAE's gradient, and it has less noise, where draws are
    many by far. All other parameters take the gradient of the bound. It is for one latent.

    Args:
        samples: K, the draws.

    Raises:
        VaekitError: for no samples.

    Example:
        >>> DReG(samples=64).samples
        (64,)
    """

    needs = IWAE.needs | offering("stopped", "one_site", "separate")

    def surrogate(self, trace: Trace, value: Tensor) -> dict[str, Tensor]:
        weight = trace.log_weight.detach().softmax(0)
        path = trace.log_likelihood + trace.site.log_p - trace.site.log_q_stopped
        return {"posterior": (weight.square() * path).sum(0), "rest": value}


@register("objective", "vimco")
class VIMCO(IWAE):
    """The bound of IWAE for a discrete latent, whose draws carry no gradients.

    The encoder's gradient is sum_k (L - L_k) grad log q(z_k|x) beside that of L itself, where L_k
    is the bound with the weight of draw k replaced by the geometric mean of the others' (Mnih &
    Rezende, "Variational inference for Monte Carlo objectives", arXiv 1602.06725). No draw of
    `gumbel` is relaxed, and its temperature has no effect.

    Args:
        samples: K, the draws, from 2 on.

    Raises:
        VaekitError: for fewer samples.

    Example:
        >>> VIMCO(samples=5).exact
        True
    """

    needs = IWAE.needs - offering("rsample") | offering("score", "one_site")
    exact = True

    def __init__(self, *, samples: int = 50) -> None:
        super().__init__(samples=at_least("samples", samples, 2))

    def surrogate(self, trace: Trace, value: Tensor) -> Tensor:
        log_weight = trace.log_weight.detach()
        count = len(log_weight)
        others = (log_weight.sum(0) - log_weight) / max(count - 1, 1)
        same = torch.eye(count, dtype=torch.bool, device=log_weight.device)[:, :, None]
        without = log_mean_exp(torch.where(same, others, log_weight), (1,))
        return value + ((value.detach() - without) * trace.site.log_q).sum(0)
