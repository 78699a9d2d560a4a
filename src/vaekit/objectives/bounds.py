"""Bounds on log p(x), the plain reconstruction, and a colorizer's objective.

Shapes: `S` Monte-Carlo dims, `B` batch.
"""

from __future__ import annotations

from torch import Tensor

from vaekit.distributions import Offer, offering
from vaekit.errors import at_least, one_of
from vaekit.models import Trace, luminance
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
    kl_weight = "beta"

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


@register("objective", "coloring")
class Coloring(Objective):
    """log p(x|g) less a price for another luminance than the image has.

    E[ log N(x; y, s^2 I) - luminance / 2 sum_hw ((L(y) - L(x)) / s)^2 ],  y = E[x|g],

    with g the gray image under noise, L(x) = 0.30 R + 0.59 G + 0.11 B (so L(x) is that image
    without the noise: to copy the noise is not rewarded) and s the scale that scores x, which the
    price does not move. Whatever s is, y is pulled along -1/(2 s^2) the gradient of

    sum (y - x)^2 + luminance sum_hw (L(y) - L(x))^2,

    color error plus luminance error. Both are least at the same y, E[x|g], where the network can
    reach it; the weight says what counts more where it cannot. The first term alone is a
    likelihood; with a weight above 0 the value is none.

    Args:
        luminance: the weight of the luminance error, which a schedule may fill.

    Raises:
        VaekitError: for a negative weight.

    Example:
        >>> from vaekit.distributions import Gaussian
        >>> import torch
        >>> gray = torch.full((1, 2, 3, 1, 1), 0.5)
        >>> px = Gaussian(gray, torch.zeros(()), event_dim=3)
        >>> trace = Trace(torch.full((2, 3, 1, 1), 0.7), (), px, None)
        >>> Coloring(luminance=0.0)(trace).value - Coloring(luminance=10.0)(trace).value
        tensor([0.2000, 0.2000])
    """

    luminance: Tensor
    needs = offering("colors")

    def __init__(self, *, luminance: float = 1.0) -> None:
        super().__init__()
        self.luminance = Weight(at_least("luminance", luminance, 0.0))

    def value(self, trace: Trace) -> Tensor:
        return over_samples(trace.log_likelihood) - self.luminance * _price(trace)

    def parts(self, trace: Trace) -> dict[str, Tensor]:
        """Return the log-likelihood and the price of luminance, at weight 1, `(B,)`, detached."""
        return {**super().parts(trace), "luminance": _price(trace).detach()}


def _price(trace: Trace) -> Tensor:
    """Return 1/2 sum ((L(y) - L(x)) / s)^2, `(B,)`, nats."""
    y: Tensor = trace.scored.mean
    scale: Tensor = trace.scored.scale.detach()  # type: ignore[attr-defined]
    error = (luminance(y) - luminance(trace.x)) / scale
    return over_samples(0.5 * error.square().sum((-3, -2, -1)))
