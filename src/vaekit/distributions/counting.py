"""Counts: Poisson, negative binomials and multinomial, in a form that keeps its digits.

lgamma(x + t) - lgamma(t) and x log(x / m) - x are differences of large numbers. Stirling's formula
taken out of each lgamma leaves small ones: the saddle-point form.

References:
    Loader 2000, Fast and accurate computation of binomial probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.base import HALF_LOG_TAU, USUAL, Distribution, Offer, sum_event

TINY = 1e-30  # the least rate, and what is left of all shares
FAR = 10.0  # from here on seven terms of the series are exact to 3e-17
SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def positive(x: Tensor) -> Tensor:
    """Return x, with 1 in place of 0: for logarithms that a factor x = 0 removes."""
    return torch.where(x > 0, x, torch.ones_like(x))


def log_ratio(gap: Tensor, top: Tensor, bottom: Tensor) -> Tensor:
    """Return log(top / bottom) of positive numbers with `gap`, their more exact difference.

    Example:
        >>> one = torch.ones(())
        >>> log_ratio(1e-12 * one, one, one), log_ratio(-3 * one, one, 4 * one)
        (tensor(1.0000e-12), tensor(-1.3863))
    """
    sign = torch.where(gap < 0, -1.0, 1.0).to(gap.dtype)
    return sign * torch.log1p(sign * gap / torch.minimum(top, bottom))


def _stirling_error(a: Tensor) -> Tensor:
    """Return lgamma(a) - ((a - 1/2) log a - a + 1/2 log 2 pi), for a > 0: close to 1 / (12 a).

    Example:
        >>> _stirling_error(torch.tensor([1.0, 1e6]))
        tensor([8.1061e-02, 8.3333e-08])
    """
    near = a.clamp(max=FAR)
    direct = torch.lgamma(near) - (near - 0.5) * near.log() + near - HALF_LOG_TAU
    inverse = 1 / a.clamp(min=FAR)
    square, series = inverse.square(), torch.zeros_like(inverse)
    for weight in reversed(SERIES):
        series = series * square + weight
    return torch.where(a < FAR, direct, series * inverse)


def _factorial_excess(x: Tensor) -> Tensor:
    """Return log x! - (x log x - x), for x >= 0: 0 at 0, then close to 1/2 log(2 pi x).

    Example:
        >>> _factorial_excess(torch.tensor([0.0, 1.0]))
        tensor([0., 1.])
    """
    seen = positive(x)
    excess = _stirling_error(seen) + 0.5 * seen.log() + HALF_LOG_TAU
    return torch.where(x > 0, excess, torch.zeros_like(x))


class _Counts(Distribution):
    """A distribution over whole numbers."""

    kind = "counts"
    offers = USUAL


@dataclass(eq=False, repr=False)
class _OfLogMean(_Counts):
    """One whose first parameter is the logarithm of a mean."""

    log_mean: Tensor

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()


@dataclass(eq=False, repr=False)
class Poisson(_Counts):
    """Independent Poisson variables: x log_rate - exp(log_rate) - log x! per element.

    It is evaluated in the saddle-point form, which keeps its digits for large counts. In float32
    a log-rate must lie in [-80, 80].

    Args:
        log_rate: log of the mean, `(*batch, *event)`.
        event_dim: how many of the last dims are one draw.

    Example:
        >>> p = Poisson(torch.zeros(3))
        >>> p.log_prob(torch.tensor([0.0, 1.0, 2.0]))
        tensor(-3.6931)
    """

    log_rate: Tensor

    @property
    def mean(self) -> Tensor:
        return self.log_rate.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return torch.poisson(self.mean.expand(*shape, *self.log_rate.shape))

    def terms(self, x: Tensor) -> Tensor:
        x, rate = x.to(self.log_rate.dtype), self.mean
        seen = positive(x)
        ratio = log_ratio(seen - rate, seen, rate)
        return (x - rate) - x * ratio - _factorial_excess(x)


@dataclass(eq=False, repr=False)
class NegativeBinomial(_OfLogMean):
    """Independent negative binomials: counts 0, 1, 2, ... that spread more than Poisson's.

    With the mean m = exp(log_mean) and the dispersion t = exp(log_dispersion), per element

    lgamma(x + t) - lgamma(t) - log x! + t log t + x log m - (x + t) log(t + m)

    The variance is m + m^2 / t: t to infinity is Poisson, a small t spreads widely. It is evaluated
    in the saddle-point form, since the lgammas lose their digits for a large x or t. In float32
    both logarithms must lie in [-40, 40], and the error is below 5e-6 max(1, |log p|) for means up
    to 60,000; it grows with the mean, as the rounding of log_mean itself allows.

    Args:
        log_mean: `(*batch, *event)`.
        log_dispersion: log t, of any shape that broadcasts to `log_mean`.
        event_dim: how many of the last dims are one draw.

    References:
        Lopez et al. 2018, Deep generative modeling for single-cell transcriptomics.

    Example:
        >>> p = NegativeBinomial(torch.zeros(3), torch.zeros(()))
        >>> p.log_prob(torch.tensor([0.0, 1.0, 2.0]))
        tensor(-4.1589)
        >>> p.variance
        tensor([2., 2., 2.])
    """

    log_dispersion: Tensor

    @property
    def dispersion(self) -> Tensor:
        """Return t, of the shape of `log_dispersion`."""
        return self.log_dispersion.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean + self.mean.square() / self.dispersion

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        """Draw from a Poisson with the rate m g / t, where g is Gamma(t, 1)."""
        size = (*shape, *self.log_mean.shape)
        dispersion = self.dispersion.expand(size)
        gamma = torch.distributions.Gamma(
            dispersion, torch.ones_like(dispersion), validate_args=False
        )
        return torch.poisson(gamma.sample() * (self.mean / self.dispersion))

    def terms(self, x: Tensor) -> Tensor:
        x, m, t = x.to(self.log_mean.dtype), self.mean, self.dispersion
        # lgamma(x + t) - lgamma(t) - ((x + t) log(x + t) - t log t - x): 0 for t = inf.
        spread = _stirling_error(x + t) - _stirling_error(t) - 0.5 * torch.log1p(x / t)
        # x log(x / m) - (x + t) log((x + t) / (m + t)): 0 at x = m, positive elsewhere.
        seen = positive(x)
        first = x * log_ratio((seen - m) * t, seen * (m + t), m * (seen + t))
        deviance = first - t * log_ratio(x - m, x + t, m + t)
        return spread - deviance - _factorial_excess(x)


@dataclass(eq=False, repr=False)
class ZeroInflatedNegativeBinomial(_Counts):
    """Independent counts that are 0 with probability s = sigmoid(logits), else negative binomials.

    With the mean m = exp(log_mean) and the dispersion t = exp(log_dispersion) of the latter, whose
    log-probability is log NB(x), per element

    log(s + (1 - s) NB(0)) = softplus(log NB(0) - logits) - softplus(-logits)  where x = 0, else
    log NB(x) - softplus(logits)

    The mean is (1 - s) m, the variance (1 - s) m (1 + m (1 / t + s)).

    Args:
        log_mean: `(*batch, *event)`, as of `NegativeBinomial`.
        logits: of an added zero, of the same shape.
        log_dispersion: log t, of any shape that broadcasts to `log_mean`.
        event_dim: how many of the last dims are one draw.

    References:
        Lopez et al. 2018, Deep generative modeling for single-cell transcriptomics.

    Example:
        >>> p = ZeroInflatedNegativeBinomial(torch.zeros(2), torch.zeros(2), torch.zeros(()))
        >>> p.terms(torch.tensor([0.0, 1.0])).exp(), p.mean
        (tensor([0.7500, 0.1250]), tensor([0.5000, 0.5000]))
    """

    log_mean: Tensor
    logits: Tensor
    log_dispersion: Tensor

    @property
    def counted(self) -> NegativeBinomial:
        """Return the negative binomial of what is no added zero."""
        return NegativeBinomial(self.log_mean, self.log_dispersion, event_dim=self.event_dim)

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(-self.logits) * self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        added, mean = torch.sigmoid(self.logits), self.log_mean.exp()
        return self.mean * (1 + mean * ((-self.log_dispersion).exp() + added))

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        drawn = self.counted.sample(shape)
        return drawn * torch.bernoulli(torch.sigmoid(-self.logits).expand(drawn.shape))

    def terms(self, x: Tensor) -> Tensor:
        counted = self.counted.terms(x)
        zero = _softplus(counted - self.logits) - _softplus(-self.logits)
        return torch.where(x == 0, zero, counted - _softplus(self.logits))


@dataclass(eq=False, repr=False)
class Multinomial(_OfLogMean):
    """Counts of one total: so many draws of an element, each by its share of the mean.

    With the shares s = exp(log_mean) / sum of them, and n the total of x itself

    log p(x | n) = log n! - sum_i log x_i! + sum_i x_i log s_i

    A density is that of x given its total; draws have the total that the means add up to, rounded.
    It is evaluated as Poisson variables of the means n s, given their sum, whose terms keep their
    digits: log p = sum_i log Poisson(x_i; n s_i) - log Poisson(n; n). The last one is shared out by
    s in `terms`.

    Args:
        log_mean: `(*batch, *event)`.
        event_dim: how many of the last dims are one draw.

    References:
        Liang et al. 2018, Variational autoencoders for collaborative filtering, arXiv 1802.05814.

    Example:
        >>> p = Multinomial(torch.tensor([2.0, 2.0]).log())
        >>> p.log_prob(torch.tensor([1.0, 1.0])).exp(), p.variance
        (tensor(0.5000), tensor([1., 1.]))
    """

    offers = USUAL - {Offer.FACTORS}

    @property
    def shares(self) -> Tensor:
        """Return s, of the shape of `log_mean`."""
        return self.mean / self._total(self.mean)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.shares)

    def _total(self, x: Tensor) -> Tensor:
        dims = tuple(range(-self.event_dim, 0))
        return x.sum(dims, keepdim=True)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        """Draw element after element from what is left of the total."""
        shares = self.shares.flatten(-self.event_dim)
        after = shares.flip(-1).cumsum(-1).flip(-1)  # of this element and those behind it
        chance = (shares / after.clamp(min=TINY)).clamp(max=1)
        chance[..., -1] = 1
        left, drawn = sum_event(self.mean, self.event_dim).round(), []
        left = left.expand(*shape, *left.shape)
        for each in chance.unbind(-1):
            drawn.append(torch.binomial(left, each.expand(left.shape).contiguous()))
            left = left - drawn[-1]
        return torch.stack(drawn, -1).unflatten(-1, self.event_shape)

    def terms(self, x: Tensor) -> Tensor:
        x = x.to(self.log_mean.dtype)
        total, shares = self._total(x), self.shares
        rate = (total * shares).clamp(min=TINY)
        poisson = Poisson(rate.log(), event_dim=self.event_dim).terms(x)
        return poisson + shares * _factorial_excess(total)


def _softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)), exact to the last digits of float64."""
    return F.softplus(x, threshold=60)
