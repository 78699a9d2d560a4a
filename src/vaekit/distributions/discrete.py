"""Bernoulli variables and the continuous ones that normalize them, and categorical ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.base import USUAL, Distribution, Offer

LONGEST = 112  # factors of one product: their rounding adds up
SMALL = 0.1  # below it a function of a continuous Bernoulli variable is taken by its series


@cache
def _together(factors: int, dtype: torch.dtype) -> int:
    """Return how many factors of at least 1/2 to multiply at once: a divisor, no underflow."""
    most = -math.frexp(torch.finfo(dtype).tiny)[1]
    return max(n for n in range(1, min(factors, most, LONGEST) + 1) if factors % n == 0)


def bernoulli_sum(logits: Tensor, x: Tensor, sigmoid: Tensor | None = None) -> Tensor:
    """Return the log-density of Bernoulli variables summed over the last dim, without a gradient.

    sum_d x l - max(l, 0) + log sigmoid(|l|), one logarithm for many factors in [1/2, 1].

    Args:
        logits: `(..., D)`.
        x: the same.
        sigmoid: of the logits, where it is known.

    Example:
        >>> bernoulli_sum(torch.zeros(2, 4), torch.ones(2, 4))
        tensor([-2.7726, -2.7726])
    """
    logits, x = torch.broadcast_tensors(logits, x)
    buffer = logits.clamp(min=0).addcmul_(logits, x, value=-1)  # the only one: memory is slow
    linear = buffer.sum(-1)
    if sigmoid is None:
        factors = torch.abs(logits, out=buffer).sigmoid_()
    else:  # sigmoid(|l|) is the larger one of s and 1 - s
        factors = torch.maximum(torch.sub(1, sigmoid, out=buffer), sigmoid, out=buffer)
    groups = factors.unflatten(-1, (-1, _together(factors.shape[-1], factors.dtype)))
    return groups.prod(-1).log_().sum(-1).sub_(linear)


@dataclass(eq=False, repr=False)
class _OfLogits(Distribution):
    """A distribution over pixels with one parameter, the logits."""

    logits: Tensor

    kind = "pixels"
    offers = USUAL


class Bernoulli(_OfLogits):
    """Independent Bernoulli variables: x logits - log(1 + exp(logits)) per element.

    For x in {0, 1} this is a likelihood. For gray values in [0, 1] it is the usual loss and **not
    a likelihood**: it is not normalized over [0, 1].

    Args:
        logits: `(*batch, *event)`.
        event_dim: how many of the last dims are one draw.

    References:
        Loaiza-Ganem and Cunningham 2019, The continuous Bernoulli: fixing a pervasive error in
        variational autoencoders.

    Example:
        >>> p = Bernoulli(torch.zeros(4))
        >>> p.log_prob(torch.tensor([0.0, 1.0, 1.0, 0.0]))
        tensor(-2.7726)
    """

    levels = 2

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return torch.bernoulli(self.mean.expand(*shape, *self.logits.shape))

    def terms(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return x * self.logits - F.softplus(self.logits, threshold=35)
        below = self.logits.abs().neg_().exp_().add_(1).log_()  # without gradients this is faster
        return x * self.logits - below.add_(self.logits.clamp(min=0))

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density `(...)`: where no gradient is wanted, by `bernoulli_sum`."""
        event = self.logits.shape[self.logits.dim() - self.event_dim :]
        alike = x.dtype == self.logits.dtype and x.shape[x.dim() - self.event_dim :] == event
        if torch.is_grad_enabled() or not (alike and event):
            return super().log_prob(x)
        return bernoulli_sum(self.logits.flatten(-self.event_dim), x.flatten(-self.event_dim))


class ContinuousBernoulli(_OfLogits):
    """Independent continuous Bernoulli variables on [0, 1], with natural parameter `logits`.

    p(x) = l exp(l x) / (exp(l) - 1) for l = `logits`, which is C(s) s^x (1 - s)^(1 - x) with
    s = sigmoid(l) and C = 2 atanh(1 - 2 s) / (1 - 2 s). The mean is not s: it is
    s / (2 s - 1) + 1 / (2 atanh(1 - 2 s)).

    Args:
        logits: `(*batch, *event)`.
        event_dim: how many of the last dims are one draw.

    References:
        Loaiza-Ganem and Cunningham 2019, The continuous Bernoulli: fixing a pervasive error in
        variational autoencoders.

    Example:
        >>> p = ContinuousBernoulli(torch.zeros(1))
        >>> p.log_prob(torch.tensor([0.3])), p.mean
        (tensor(0.), tensor([0.5000]))
    """

    offers = USUAL - {Offer.MOMENTS} | {Offer.RSAMPLE}

    @property
    def mean(self) -> Tensor:
        half = 0.5 * self.logits  # coth(a) - 1 / a, by its series near zero
        far = torch.where(half.abs() < SMALL, SMALL, half)
        near = half * (1 / 3 - half.square() * (1 / 45 - half.square() * (2 / 945)))
        above = torch.where(half.abs() < SMALL, near, 1 / torch.tanh(far) - 1 / far)
        return 0.5 + 0.5 * above

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        """Draw by the inverse of the distribution function, on the side that cannot overflow."""
        size = (*shape, *self.logits.shape)
        u = torch.rand(size, dtype=self.logits.dtype, device=self.logits.device)
        down = torch.where(self.logits > 0, -self.logits, self.logits)
        far = down.clamp(max=-1e-3)
        low = torch.where(
            down > -1e-3, u + 0.5 * down * u * (1 - u), torch.log1p(u * torch.expm1(far)) / far
        )
        return torch.where(self.logits > 0, 1 - low, low)

    def terms(self, x: Tensor) -> Tensor:
        half = 0.5 * self.logits  # log(sinh(a) / a), by its series near zero
        far = half.abs().clamp(min=SMALL)
        near = half.square() * (1 / 6 - half.square() * (1 / 180 - half.square() / 2835))
        above = far + torch.log(-torch.expm1(-2 * far) / (2 * far))
        return (x - 0.5) * self.logits - torch.where(half.abs() < SMALL, near, above)


class Categorical(_OfLogits):
    """Independent variables with values k / (K - 1), k = 0 .. K - 1: softmax(logits)_k each.

    With K = 256 this is a likelihood of 8-bit images; x is canonical, in [0, 1].

    Args:
        logits: `(*batch, *event, K)`.
        event_dim: how many dims one draw has (the last dim of `logits` not counted).

    Example:
        >>> p = Categorical(torch.zeros(5, 256))
        >>> p.log_prob(torch.full((5,), 7 / 255))
        tensor(-27.7259)
        >>> p.mean[0]
        tensor(0.5000)
    """

    @property
    def levels(self) -> int:  # type: ignore[override]
        """Return how many values an element can take."""
        return self.logits.shape[-1]

    def _values(self) -> Tensor:
        return torch.linspace(0, 1, self.levels, dtype=self.logits.dtype, device=self.logits.device)

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(-1) @ self._values()

    @property
    def variance(self) -> Tensor:
        return self.logits.softmax(-1) @ self._values().square() - self.mean.square()

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.logits.shape[self.logits.dim() - 1 - self.event_dim : -1])

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        wait = self.logits.new_empty((*shape, *self.logits.shape)).exponential_()
        level = (self.logits - wait.log_()).argmax(-1)  # the Gumbel-max trick
        return level.to(self.logits.dtype) / (self.levels - 1)

    def terms(self, x: Tensor) -> Tensor:
        level = (x * (self.levels - 1)).round().long()
        shape = torch.broadcast_shapes(level.shape, self.logits.shape[:-1])
        picked = self.logits.expand(*shape, -1).gather(-1, level.expand(shape).unsqueeze(-1))
        return picked.squeeze(-1) - self.logits.logsumexp(-1)
