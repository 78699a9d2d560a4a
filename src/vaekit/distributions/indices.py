"""Distributions over codes: indices, each one of so many, as whole numbers.

A code has no place among the reals, so there is no mean; densities are probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.base import Distribution, Offer, Space, codes, offering

COLDEST = 1e-6  # of a temperature: below it the likeliest code is all that is drawn


class _OfCodes(Distribution):
    """A distribution over n codes, each one of K: its `codes`."""

    codes: tuple[int, int]
    offers = offering("draws", "density", "codes", "exact")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.codes[:1]

    @property
    def space(self) -> Space:
        return codes(*self.codes)


@dataclass(eq=False, repr=False)
class PointCodes(_OfCodes):
    """All mass on one code at each place: what a quantizer makes of x, whose log q is 0.

    Args:
        index: `(*batch, n)`, whole numbers below `count`.
        count: how many codes there are.

    Example:
        >>> q = PointCodes(torch.tensor([3, 0]), 4)
        >>> q.log_prob(torch.tensor([[3, 0], [3, 1]]))
        tensor([0., -inf])
    """

    index: Tensor
    count: int

    @property
    def codes(self) -> tuple[int, int]:  # type: ignore[override]
        """Return n and K."""
        return self.index.shape[-1], self.count

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return self.index.expand(*shape, *self.index.shape)

    def stopped(self) -> Self:
        """Return itself: there is nothing to detach."""
        return self

    def terms(self, x: Tensor) -> Tensor:
        zero = torch.zeros((), device=x.device)
        return torch.where(x == self.index, zero, -math.inf)


@dataclass(eq=False, repr=False)
class CategoricalCodes(_OfCodes):
    """Independent codes with probabilities softmax(logits).

    Args:
        logits: `(*batch, n, K)`.

    Example:
        >>> p = CategoricalCodes(torch.zeros(3, 8))
        >>> p.log_prob(torch.tensor([7, 0, 3])), str(p.space)
        (tensor(-6.2383), 'codes(3; 8)')
    """

    logits: Tensor

    offers = _OfCodes.offers | {Offer.FACTORS, Offer.STOPPED}

    @property
    def codes(self) -> tuple[int, int]:  # type: ignore[override]
        """Return n and K."""
        n, k = self.logits.shape[-2:]
        return n, k

    def tempered(self, temperature: float) -> Distribution:
        """Return the same with its logits by the temperature."""
        return CategoricalCodes(self.logits / max(temperature, COLDEST))

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        wait = self.logits.new_empty((*shape, *self.logits.shape)).exponential_()
        return (self.logits - wait.log_()).argmax(-1)  # the Gumbel-max trick

    def terms(self, x: Tensor) -> Tensor:
        log_p = self.logits.log_softmax(-1)
        return log_p.expand(*x.shape, -1).gather(-1, x.unsqueeze(-1)).squeeze(-1)


@dataclass(eq=False, repr=False)
class AutoregressiveCodes(_OfCodes):
    """Codes one after the other: p(c) = prod_i p(c_i | those before), by a network.

    The density is one pass, a draw is a pass for each code.

    Args:
        net: from codes `(N, m)` of the first m <= n places to logits `(N, m, K)`, each from the
            codes before its own alone.
        codes: n and K.
        device: where draws are made.
        temperature: that logits are divided by.
    """

    net: Callable[[Tensor], Tensor]
    codes: tuple[int, int]
    device: torch.device
    temperature: float = 1.0

    def tempered(self, temperature: float) -> Distribution:
        """Return the same with its logits by the temperature."""
        return replace(self, temperature=max(self.temperature * temperature, COLDEST))

    def terms(self, x: Tensor) -> Tensor:
        """Return the logarithms of the conditional probabilities `(..., n)`."""
        logits = self.net(x.reshape(-1, self.codes[0])) / self.temperature
        return CategoricalCodes(logits).terms(x.reshape(-1, self.codes[0])).reshape(x.shape)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        drawn = torch.zeros(prod(shape), 0, dtype=torch.long, device=self.device)
        for _ in range(self.codes[0]):
            logits = self.net(F.pad(drawn, (0, 1)))[:, -1:] / self.temperature
            drawn = torch.cat([drawn, CategoricalCodes(logits).sample()], 1)
        return drawn.reshape(*shape, self.codes[0])
