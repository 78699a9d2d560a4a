"""Pieces of log-densities of counts that keep their digits.

lgamma(x + t) - lgamma(t) and x log(x / m) - x are differences of large numbers. Stirling's formula
taken out of each lgamma leaves small ones: the saddle-point form of Loader, "Fast and accurate
computation of binomial probabilities", 2000.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["factorial_excess", "log_ratio", "positive", "stirling_error"]

FAR = 10.0  # from here on seven terms of the series are exact to 3e-17
SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def positive(x: Tensor) -> Tensor:
    """x, with 1 in the place of 0: for logarithms that a factor x = 0 removes."""
    return torch.where(x > 0, x, torch.ones_like(x))


def log_ratio(gap: Tensor, top: Tensor, bottom: Tensor) -> Tensor:
    """log(top / bottom) of positive numbers whose difference `gap` is known to more digits.

    Example:
        >>> one = torch.ones(())
        >>> log_ratio(1e-12 * one, one, one), log_ratio(-3 * one, one, 4 * one)
        (tensor(1.0000e-12), tensor(-1.3863))
    """
    sign = torch.where(gap < 0, -1.0, 1.0).to(gap.dtype)
    return sign * torch.log1p(sign * gap / torch.minimum(top, bottom))


def stirling_error(a: Tensor) -> Tensor:
    """lgamma(a) - ((a - 1/2) log a - a + 1/2 log 2 pi), for a > 0: close to 1 / (12 a).

    Example:
        >>> stirling_error(torch.tensor([1.0, 1e6]))
        tensor([8.1061e-02, 8.3333e-08])
    """
    near = a.clamp(max=FAR)
    direct = torch.lgamma(near) - (near - 0.5) * near.log() + near - HALF_LOG_TAU
    inverse = 1 / a.clamp(min=FAR)
    square, series = inverse.square(), torch.zeros_like(inverse)
    for weight in reversed(SERIES):
        series = series * square + weight
    return torch.where(a < FAR, direct, series * inverse)


def factorial_excess(x: Tensor) -> Tensor:
    """log x! - (x log x - x), for x >= 0: 0 at 0, then close to 1/2 log(2 pi x).

    Example:
        >>> factorial_excess(torch.tensor([0.0, 1.0]))
        tensor([0., 1.])
    """
    seen = positive(x)
    excess = stirling_error(seen) + 0.5 * seen.log() + HALF_LOG_TAU
    return torch.where(x > 0, excess, torch.zeros_like(x))
