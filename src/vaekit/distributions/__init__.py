"""The kit's distributions: densities with all constants, draws with gradients, closed-form KLs."""

from vaekit.distributions.base import (
    Distribution,
    Space,
    ball,
    codes,
    counts,
    pixels,
    reals,
    simplex,
    sphere,
    sum_event,
)
from vaekit.distributions.bernoulli import Bernoulli, ContinuousBernoulli
from vaekit.distributions.categorical import Categorical
from vaekit.distributions.delta import Delta
from vaekit.distributions.gaussian import Gaussian, StandardGaussian
from vaekit.distributions.kl import closed_form, kl_terms
from vaekit.distributions.laplace import Laplace
from vaekit.distributions.negative_binomial import NegativeBinomial
from vaekit.distributions.poisson import Poisson

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "Delta",
    "Distribution",
    "Gaussian",
    "Laplace",
    "NegativeBinomial",
    "Poisson",
    "Space",
    "StandardGaussian",
    "ball",
    "closed_form",
    "codes",
    "counts",
    "kl_terms",
    "pixels",
    "reals",
    "simplex",
    "sphere",
    "sum_event",
]
