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
from vaekit.distributions.continuous import Delta, Gaussian, Laplace, StandardGaussian
from vaekit.distributions.counts import NegativeBinomial, Poisson
from vaekit.distributions.discrete import Bernoulli, Categorical, ContinuousBernoulli
from vaekit.distributions.kl import closed_form, kl_terms

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
