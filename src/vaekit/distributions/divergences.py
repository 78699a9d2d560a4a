"""Closed-form Kullback-Leibler divergences, by the exact types of the pair.

A plain dict, not `torch.distributions.kl_divergence`: its first lookup breaks full-graph capture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.base import Distribution, sum_event
from vaekit.distributions.continuous import (
    FullGaussian,
    Gaussian,
    Laplace,
    LowRankGaussian,
    StandardGaussian,
)
from vaekit.distributions.counting import Poisson
from vaekit.distributions.discrete import Bernoulli, Categorical
from vaekit.distributions.relaxed import GumbelSoftmax, OneHotCategorical
from vaekit.distributions.sphere import PowerSpherical, SphereUniform, VonMisesFisher, log_area

Formula = Callable[[Any, Any], Tensor | None]
FORMULAS: dict[tuple[type, type, bool], Formula] = {}
T = TypeVar("T", bound=Formula)


def closed_form(
    q: type[Distribution], p: type[Distribution], *, whole: bool = False
) -> Callable[[T], T]:
    """Register a function `(q, p)` as KL(q || p) of these types.

    It returns a term for each element, `(*batch, *event)`; with `whole`, their sum `(*batch)`,
    where the KL is no sum over elements; None where it has none for this pair after all.
    """

    def register(formula: T) -> T:
        FORMULAS[q, p, whole] = formula
        return formula

    return register


def kl_terms(q: Distribution, p: Distribution) -> Tensor | None:
    """Return KL(q || p) per element `(*batch, *event)`, nats; None without a closed form.

    Example:
        >>> q = Gaussian(torch.ones(2), torch.zeros(2))
        >>> kl_terms(q, StandardGaussian(torch.zeros(2)))
        tensor([0.5000, 0.5000])
    """
    formula = FORMULAS.get((type(q), type(p), False))
    return None if formula is None else formula(q, p)


def kl(q: Distribution, p: Distribution) -> Tensor | None:
    """Return KL(q || p), `(*batch)`, nats; None where no closed form is known.

    Example:
        >>> kl(Gaussian(torch.ones(2), torch.zeros(2)), StandardGaussian(torch.zeros(2)))
        tensor(1.)
    """
    terms = kl_terms(q, p)
    if terms is not None:
        return sum_event(terms, q.event_dim)
    whole = FORMULAS.get((type(q), type(p), True))
    return None if whole is None else whole(q, p)


@closed_form(Gaussian, StandardGaussian)
def _gaussian_standard(q: Gaussian, p: StandardGaussian) -> Tensor:
    """Return 1/2 (loc^2 + scale^2 - 1) - log scale."""
    square = torch.addcmul(q.scale.square(), q.loc, q.loc)
    return square.sub(1).mul(0.5) - q.log_scale


@closed_form(Gaussian, Gaussian)
def _gaussians(q: Gaussian, p: Gaussian) -> Tensor:
    """Return 1/2 (((loc_q - loc_p)^2 + scale_q^2) / scale_p^2 - 1) + log scale_p - log scale_q."""
    ratio = ((q.loc - p.loc).square() + q.scale.square()) / p.scale.square()
    return 0.5 * (ratio - 1) + (p.log_scale - q.log_scale)


@closed_form(StandardGaussian, Gaussian)
def _standard_gaussian(q: StandardGaussian, p: Gaussian) -> Tensor:
    return _gaussians(Gaussian(q.zero, torch.zeros_like(q.zero)), p)


@closed_form(StandardGaussian, StandardGaussian)
def _standards(q: StandardGaussian, p: StandardGaussian) -> Tensor:
    return torch.zeros_like(q.zero + p.zero)


@closed_form(FullGaussian, StandardGaussian, whole=True)
def _full_standard(q: FullGaussian, p: StandardGaussian) -> Tensor:
    """Return 1/2 (|loc|^2 + |L|^2 - D) - sum log diag L."""
    squares = q.loc.square().sum(-1) + q.tril.square().sum((-1, -2)) - q.loc.shape[-1]
    return 0.5 * squares - q.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


@closed_form(LowRankGaussian, StandardGaussian, whole=True)
def _low_rank_standard(q: LowRankGaussian, p: StandardGaussian) -> Tensor:
    """Return 1/2 (|loc|^2 + trace - D - log det) of the covariance matrix."""
    squares = q.loc.square().sum(-1) + q.variance.sum(-1) - q.loc.shape[-1]
    return 0.5 * (squares - q.log_det)


@closed_form(PowerSpherical, SphereUniform, whole=True)
@closed_form(VonMisesFisher, SphereUniform, whole=True)
def _spherical_uniform(q: PowerSpherical | VonMisesFisher, p: SphereUniform) -> Tensor:
    """Return the logarithm of the sphere's surface less the entropy of q."""
    return log_area(q.loc.shape[-1]) - q.entropy()


@closed_form(Laplace, Laplace)
def _laplaces(q: Laplace, p: Laplace) -> Tensor:
    """Return log(b_p / b_q) + (b_q exp(-d / b_q) + d) / b_p - 1 with d = |loc_q - loc_p|."""
    d = (q.loc - p.loc).abs()
    return p.log_scale - q.log_scale + (q.scale * torch.exp(-d / q.scale) + d) / p.scale - 1


@closed_form(Laplace, StandardGaussian)
def _laplace_standard(q: Laplace, p: StandardGaussian) -> Tensor:
    """Return 1/2 (loc^2 + 2 scale^2 + log 2 pi) - log(2 scale) - 1."""
    square = q.loc.square() + 2 * q.scale.square()
    return 0.5 * (square + math.log(math.pi / 2)) - q.log_scale - 1


@closed_form(Gaussian, Laplace)
def _gaussian_laplace(q: Gaussian, p: Laplace) -> Tensor:
    """Return E|z - loc_p| / b + log 2 b - 1/2 log(2 pi e scale^2), of a folded normal variable."""
    u = (q.loc - p.loc) / q.scale
    apart = (2 / math.pi) ** 0.5 * torch.exp(-0.5 * u.square()) + u * torch.erf(u / 2**0.5)
    cross = q.scale * apart / p.scale + p.log_scale + math.log(2)
    return cross - q.log_scale - 0.5 * math.log(2 * math.pi * math.e)


@closed_form(Bernoulli, Bernoulli)
def _bernoullis(q: Bernoulli, p: Bernoulli) -> Tensor:
    """Return s (l_q - l_p) - log(1 + e^l_q) + log(1 + e^l_p) with s = sigmoid(l_q)."""
    return q.mean * (q.logits - p.logits) + F.logsigmoid(-q.logits) - F.logsigmoid(-p.logits)


@closed_form(Categorical, Categorical)
def _categoricals(q: Categorical, p: Categorical) -> Tensor:
    """Return sum_k q_k (log q_k - log p_k)."""
    log_q, log_p = q.logits.log_softmax(-1), p.logits.log_softmax(-1)
    return (log_q.exp() * (log_q - log_p)).sum(-1)


@closed_form(GumbelSoftmax, OneHotCategorical, whole=True)
@closed_form(OneHotCategorical, OneHotCategorical, whole=True)
def _one_hots(q: GumbelSoftmax | OneHotCategorical, p: OneHotCategorical) -> Tensor:
    """Return sum_k q_k (log q_k - log p_k) over all variables: of relaxed ones as if they were not.

    It is the KL of what is measured, and finite at any logits.
    """
    log_q, log_p = q.logits.log_softmax(-1), p.logits.log_softmax(-1)
    return sum_event(log_q.exp() * (log_q - log_p), q.event_dim)


@closed_form(Poisson, Poisson)
def _poissons(q: Poisson, p: Poisson) -> Tensor:
    """Return rate_q d - rate_q + rate_p with d = log rate_q - log rate_p."""
    d = q.log_rate - p.log_rate
    return q.mean * (d + torch.expm1(-d))
