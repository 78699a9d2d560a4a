"""Parts: what makes distributions of tensors."""

from vaekit.parts.conditional import Conditional, Family, joined_shape
from vaekit.parts.conditional import join as join
from vaekit.parts.families import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    Delta,
    Gaussian,
    Laplace,
    NegativeBinomial,
    Poisson,
)
from vaekit.parts.priors import NoPrior, Prior, StandardNormal
from vaekit.parts.scales import FittedScale as FittedScale

__all__ = [
    "Bernoulli",
    "Categorical",
    "Conditional",
    "ContinuousBernoulli",
    "Delta",
    "Family",
    "Gaussian",
    "Laplace",
    "NegativeBinomial",
    "NoPrior",
    "Poisson",
    "Prior",
    "StandardNormal",
    "joined_shape",
]
