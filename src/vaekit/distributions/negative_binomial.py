"""The negative binomial in log-mean and log-dispersion."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vaekit.distributions.base import Distribution, Space, counts
from vaekit.distributions.saddle import (
    factorial_excess,
    log_ratio,
    positive,
    stirling_error,
)

__all__ = ["NegativeBinomial"]


class NegativeBinomial(Distribution):
    """Independent negative binomials: counts 0, 1, 2, ... that spread more than Poisson's.

    With the mean m = exp(log_mean) and the dispersion t = exp(log_dispersion), per element

    lgamma(x + t) - lgamma(t) - log x! + t log t + x log m - (x + t) log(t + m)

    (Lopez et al., "Deep generative modeling for single-cell transcriptomics", Nature Methods 2018).
    The variance is m + m^2 / t: t to infinity is Poisson, a small t spreads widely. It is evaluated
    in the saddle-point form, since the lgammas lose their digits for a large x or t. In float32
    both logarithms must lie in [-40, 40], and the error is below 5e-6 max(1, |log p|) for means up
    to 60,000; it grows with the mean, as the rounding of log_mean itself allows.

    Args:
        log_mean: `(*batch, *event)`.
        log_dispersion: log t, of any shape that broadcasts to `log_mean`.
        event_dim: how many of the last dims are one draw.

    Example:
        >>> p = NegativeBinomial(torch.zeros(3), torch.zeros(()))
        >>> p.log_prob(torch.tensor([0.0, 1.0, 2.0]))
        tensor(-4.1589)
        >>> p.variance
        tensor([2., 2., 2.])
    """

    parameters: ClassVar[tuple[str, ...]] = ("log_mean", "log_dispersion")
    offers: ClassVar[frozenset[str]] = frozenset({"density", "factors", "moments", "stopped"})

    def __init__(self, log_mean: Tensor, log_dispersion: Tensor, *, event_dim: int = 1) -> None:
        self.log_mean = log_mean
        self.log_dispersion = log_dispersion
        self.event_dim = event_dim

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    @property
    def dispersion(self) -> Tensor:
        """t, of the shape of `log_dispersion`."""
        return self.log_dispersion.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean + self.mean.square() / self.dispersion

    @property
    def space(self) -> Space:
        return counts(*self.event_shape)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        """Poisson draws with the rate m g / t, where g is Gamma(t, 1)."""
        size = (*shape, *self.log_mean.shape)
        dispersion = self.dispersion.expand(size)
        gamma = torch.distributions.Gamma(
            dispersion, torch.ones_like(dispersion), validate_args=False
        )
        return torch.poisson(gamma.sample() * (self.mean / self.dispersion))

    def terms(self, x: Tensor) -> Tensor:
        x, m, t = x.to(self.log_mean.dtype), self.mean, self.dispersion
        return _spread(x, t) - _deviance(x, m, t) - factorial_excess(x)


def _deviance(x: Tensor, m: Tensor, t: Tensor) -> Tensor:
    """x log(x / m) - (x + t) log((x + t) / (m + t)), which is 0 at x = m and positive elsewhere."""
    seen = positive(x)
    first = x * log_ratio((seen - m) * t, seen * (m + t), m * (seen + t))
    return first - t * log_ratio(x - m, x + t, m + t)


def _spread(x: Tensor, t: Tensor) -> Tensor:
    """lgamma(x + t) - lgamma(t) - ((x + t) log(x + t) - t log t - x), which is 0 for t = inf."""
    return stirling_error(x + t) - stirling_error(t) - 0.5 * torch.log1p(x / t)
