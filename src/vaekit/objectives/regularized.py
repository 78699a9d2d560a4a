"""Regularized autoencoders: a deterministic map from z to x that is kept smooth.

Shapes: `S` Monte-Carlo dims, `B` batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaekit.distributions import offering
from vaekit.errors import at_least
from vaekit.models import Trace
from vaekit.objectives.aggregate import Priced, Terms, rows_of
from vaekit.objectives.base import Weight, over_samples
from vaekit.registry import register


class _Regularized(Priced):
    """E_q[log p(x|z)] - beta 1/2 |z|^2 less a price of what the decoder is."""

    beta: Tensor
    lam: Tensor
    needs = offering("latent", "numbers", "rsample", "one_site")

    def __init__(self, beta: float, lam: float, samples: int) -> None:
        super().__init__()
        self.beta = Weight(at_least("beta", beta, 0.0))
        self.lam = Weight(at_least("lam", lam, 0.0))
        self.samples = (at_least("samples", samples, 1),)

    def _codes(self, trace: Trace) -> tuple[Tensor, Tensor]:
        return self.beta, 0.5 * over_samples(rows_of(trace.site).square().sum(-1))


@register("objective", "rae-l2")
class RAEL2(_Regularized):
    """E_q[log p(x|z)] - beta 1/2 |z|^2 - lambda |theta|^2: an autoencoder that can be sampled.

    theta are the weights of the decoder's layers, without their biases and scales. With a posterior
    that is a point, and codes whose density is fitted afterwards (`vaekit fit-prior`), samples are
    as good as a VAE's (Ghosh et al., arXiv 1903.12436, eq. 8 and 9). It is no bound.

    Args:
        beta: the weight of |z|^2 / 2, which a schedule may fill.
        lam: lambda, which a schedule may fill.
        samples: Monte-Carlo draws.

    Raises:
        VaekitError: for a negative weight, or no samples.

    Example:
        >>> RAEL2(lam=0.5).lam
        tensor(0.5000)
    """

    def __init__(self, *, beta: float = 1.0, lam: float = 0.01, samples: int = 1) -> None:
        super().__init__(beta, lam, samples)

    def terms(self, trace: Trace) -> Terms:
        """Return half the squared length of z, `(B,)`, and that of the decoder's weights."""
        net: Any = trace.model.likelihood.net
        weights = [each.square().sum() for each in net.parameters() if each.dim() > 1]
        return {"code": self._codes(trace), "decoder": (self.lam, torch.stack(weights).sum())}


@register("objective", "rae-gp")
class RAEGP(_Regularized):
    """E_q[log p(x|z)] - beta 1/2 |z|^2 - lambda |dD(z)/dz|^2: an autoencoder that can be sampled.

    D(z) is the mean of p(x|z), and the penalty the squared Frobenius norm of its Jacobian with
    respect to z (Ghosh et al., arXiv 1903.12436, eq. 10), by one random direction of x for each row
    (Hutchinson's estimate, which has no bias). See `RAEL2` for the rest. It is no bound.

    Args:
        beta: the weight of |z|^2 / 2, which a schedule may fill.
        lam: lambda, which a schedule may fill.
        samples: Monte-Carlo draws.

    Raises:
        VaekitError: for a negative weight, or no samples.

    Example:
        >>> RAEGP(lam=0.1).lam
        tensor(0.1000)
    """

    compiles = False  # the penalty is of a gradient, and gradients of it are taken

    def __init__(self, *, beta: float = 1.0, lam: float = 1.0, samples: int = 1) -> None:
        super().__init__(beta, lam, samples)

    def terms(self, trace: Trace) -> Terms:
        """Return half the squared length of z, and an estimate of the Jacobian's, `(B,)` each."""
        return {"code": self._codes(trace), "jacobian": (self.lam, over_samples(slope(trace)))}


def slope(trace: Trace) -> Tensor:
    """Return |v^T dD(z)/dz|^2 for a v of N(0, I) in the space of x, `(S, B)`.

    Its mean over v is the squared Frobenius norm of the Jacobian. Where the trace has no gradients
    the decoder is called again.
    """
    learning, z, px = torch.is_grad_enabled(), trace.site.z, trace.px
    with torch.enable_grad():
        if not (learning and z.requires_grad):
            z = z.detach().requires_grad_()
            px = trace.model.likelihood_at((z,), trace.context)
        along = (px.mean * torch.randn_like(px.mean)).sum()
        (found,) = torch.autograd.grad(along, z, create_graph=learning)
    return found.flatten(z.dim() - trace.site.p.event_dim).square().sum(-1)
