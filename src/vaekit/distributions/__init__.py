"""The kit's distributions: densities with all constants, draws with gradients, closed-form KLs."""

from vaekit.distributions.base import WORDS as WORDS
from vaekit.distributions.base import (
    Distribution,
    Offer,
    Space,
    codes,
    counts,
    offering,
    pixels,
    reals,
    sum_event,
)
from vaekit.distributions.continuous import Delta, Gaussian, Laplace, StandardGaussian
from vaekit.distributions.counting import NegativeBinomial, Poisson
from vaekit.distributions.discrete import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    bernoulli_sum,
)
from vaekit.distributions.kl import closed_form, kl, kl_terms
from vaekit.distributions.wrapped import TorchDistribution

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "Delta",
    "Distribution",
    "Gaussian",
    "Laplace",
    "NegativeBinomial",
    "Offer",
    "Poisson",
    "Space",
    "StandardGaussian",
    "TorchDistribution",
    "bernoulli_sum",
    "closed_form",
    "codes",
    "counts",
    "kl",
    "kl_terms",
    "offering",
    "pixels",
    "reals",
    "sum_event",
]
