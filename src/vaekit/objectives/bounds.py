"""Bounds on log p(x), and the plain reconstruction.

Shapes: `S` Monte-Carlo dims, `B` batch.
"""

from __future__ import annotations

import math

from torch import Tensor

from vaekit.distributions import Offer, offering
from vaekit.errors import at_least, one_of
from vaekit.models import Trace
from vaekit.objectives.base import Objective, Weight, over_samples
from vaekit.registry import register


@register("objective", "elbo")
class ELBO(Objective):
    """The evidence lower bound, E_q[log p(x|z)] - beta KL(q(z|x) || p(z)).

    Kingma & Welling, arXiv 1312.6114, eq. 3; with beta != 1 it is the objective of beta-VAE
    (Higgins et al., ICLR 2017, eq. 4), and for beta < 1 no bound.

    Args:
        beta: the KL weight, which a schedule may fill.
        kl: "closed", the closed form where there is one; "sampled", log q - log p at the draw.
        samples: Monte-Carlo draws.

    Raises:
        VaekitError: for another `kl`, a negative beta or no samples.

    Example:
        >>> ELBO(beta=4.0).beta
        tensor(4.)
    """

    beta: Tensor

    @property
    def needs(self) -> frozenset[Offer]:  # type: ignore[override]
        """Return its needs: densities only where the KL is taken at the draw."""
        density = ["density"] if self.kl == "sampled" else []
        return offering("latent", "rsample", "bound", *density)

    def __init__(self, *, beta: float = 1.0, kl: str = "closed", samples: int = 1) -> None:
        super().__init__()
        self.kl = one_of("kl", kl, ["closed", "sampled"])
        self.samples = (at_least("samples", samples, 1),)
        self.beta = Weight(at_least("beta", beta, 0.0))

    def value(self, trace: Trace) -> Tensor:
        kl = trace.kl if self.kl == "closed" else trace.kl_sampled
        return over_samples(trace.log_likelihood) - self.beta * over_samples(kl)


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
        dims = tuple(range(trace.log_weight.dim() - 1))
        draws = math.prod(trace.log_weight.shape[:-1])
        return trace.log_weight.logsumexp(dims) - math.log(draws)


@register("objective", "reconstruction")
class Reconstruction(Objective):
    """E_q[log p(x|z)] alone: the objective of an autoencoder. It is no bound.

    Args:
        samples: Monte-Carlo draws.

    Example:
        >>> Reconstruction().monitor
        'log_likelihood'
    """

    needs = offering("latent", "rsample")
    monitor = "log_likelihood"

    def __init__(self, *, samples: int = 1) -> None:
        super().__init__()
        self.samples = (at_least("samples", samples, 1),)

    def value(self, trace: Trace) -> Tensor:
        return over_samples(trace.log_likelihood)
