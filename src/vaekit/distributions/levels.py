"""Gray levels as bins of a logistic variable, alone and in mixtures over the pixels of an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit._torchutil import lazy
from vaekit.distributions.base import USUAL, Distribution, offering
from vaekit.distributions.continuous import logistic_noise


@dataclass(eq=False, repr=False)
class DiscretizedLogistic(Distribution):
    """Independent gray levels k / (K - 1): the mass of a logistic variable in the level's bin.

    Bins are 1 / (K - 1) wide around the levels; the first and the last one are open. With the bin's
    ends a > b in scales from loc, the mass is sigmoid(a) - sigmoid(b), whose logarithm is
    log sigmoid(a) + log sigmoid(-b) + log(1 - exp(b - a)): exact wherever the bin lies.

    Args:
        loc: in [0, 1] for levels within, `(*batch, *event)`.
        log_scale: of any shape that broadcasts to `loc`.
        bins: K.
        event_dim: how many of the last dims are one draw.

    References:
        Salimans et al. 2017, PixelCNN++, arXiv 1701.05517, section 2.1.

    Example:
        >>> p = DiscretizedLogistic(torch.full((1,), 0.3), torch.full((1,), -2.0), 4)
        >>> p.log_prob(torch.tensor([[0.0], [1 / 3], [2 / 3], [1.0]])).exp().sum()
        tensor(1.)
    """

    loc: Tensor
    log_scale: Tensor
    bins: int = 256

    shaped_as = "loc"
    kind = "pixels"
    offers = USUAL

    @property
    def levels(self) -> int:  # type: ignore[override]
        """Return how many values an element can take."""
        return self.bins

    @lazy
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Return E[x] and E[x^2]: sums over ends of bins of the mass above."""
        top, mean = self.bins - 1, torch.zeros_like(self.loc)
        square = torch.zeros_like(mean)
        for k in range(top):  # one after the other: all at once would be K times the memory
            above = torch.sigmoid((self.loc - (k + 0.5) / top) * torch.exp(-self.log_scale))
            mean, square = mean + above / top, square + above * ((2 * k + 1) / top**2)
        return mean, square

    @property
    def mean(self) -> Tensor:
        return self._moments[0]

    @property
    def variance(self) -> Tensor:
        mean, square = self._moments
        return square - mean.square()

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        x = torch.addcmul(self.loc, self.log_scale.exp(), logistic_noise(self.loc, shape))
        return (x.clamp(0, 1) * (self.bins - 1)).round() / (self.bins - 1)

    def terms(self, x: Tensor) -> Tensor:
        return bin_terms(x - self.loc, x, self.log_scale, self.bins)


def bin_terms(apart: Tensor, x: Tensor, log_scale: Tensor, bins: int) -> Tensor:
    """Return the log-mass of the bins of levels x, `apart` = x - loc: see `DiscretizedLogistic`."""
    half, slope = 0.5 / (bins - 1), torch.exp(-log_scale)
    above, below = slope * (apart + half), slope * (apart - half)
    left = torch.where(x > half, F.logsigmoid(-below), torch.zeros_like(below))
    right = torch.where(x < 1 - half, F.logsigmoid(above), torch.zeros_like(above))
    # 1 - exp(b - a) is in closed bins alone; an open one's other end is at infinity.
    width = torch.log(-torch.expm1(-2 * half * slope))
    closed = (x > half) & (x < 1 - half)
    return left + right + torch.where(closed, width, torch.zeros_like(above))


@dataclass(eq=False, repr=False)
class DiscretizedLogisticMixture(Distribution):
    """Gray levels of the channels of a pixel: a mixture over pixels of discretized logistics.

    All channels of a pixel are of one component. Within it the location of a channel is linear in
    the levels of those before: loc_c + sum_(b < c) w_cb (2 x_b - 1).

    Args:
        logits: of the components, `(*batch, K, H, W)`.
        loc, log_scale: `(*batch, K, C, H, W)`.
        weights: w by (c, b) = (1, 0), (2, 0), (2, 1), ..., `(*batch, K, C (C - 1) / 2, H, W)`.
        bins: the number of levels.

    References:
        Salimans et al. 2017, PixelCNN++, arXiv 1701.05517, sections 2.1 and 2.2.
    """

    logits: Tensor
    loc: Tensor
    log_scale: Tensor
    weights: Tensor
    bins: int = 256

    kind = "pixels"
    offers = offering("draws", "density", "marginal", "mean", "stopped", "exact")
    shaped_as = "loc"

    def __post_init__(self) -> None:
        self.event_dim = 3

    @property
    def levels(self) -> int:  # type: ignore[override]
        """Return how many values an element can take."""
        return self.bins

    def _location(self, channel: int, before: Tensor, loc: Tensor, weights: Tensor) -> Tensor:
        """Return the location of a channel, given those before it, `(..., c, H, W)`."""
        if not channel:
            return loc[..., 0, :, :]
        first = channel * (channel - 1) // 2
        weight = weights[..., first : first + channel, :, :]
        return loc[..., channel, :, :] + (weight * (2 * before - 1)).sum(-3)

    @property
    def mean(self) -> Tensor:
        """Return the mean of the mixture of continuous logistics, within [0, 1]."""
        channels: list[Tensor] = []
        for channel in range(self.loc.shape[-3]):
            before = torch.stack(channels, -3) if channels else self.loc
            channels.append(self._location(channel, before, self.loc, self.weights))
        shares = self.logits.softmax(-3).unsqueeze(-3)
        return (shares * torch.stack(channels, -3)).sum(-4).clamp(0, 1)

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        logits = self.logits.expand(*shape, *self.logits.shape)
        which = (logits - torch.empty_like(logits).exponential_().log()).argmax(-3, keepdim=True)
        picked = []
        for part in (self.loc, self.log_scale, self.weights):
            index = which.unsqueeze(-3)
            index = index.expand(*index.shape[:-3], *part.shape[-3:])
            picked.append(part.expand(*shape, *part.shape).gather(-4, index).squeeze(-4))
        loc, log_scale, weights = picked
        noise, x = logistic_noise(loc, ()) * log_scale.exp(), torch.zeros_like(loc)
        for channel in range(loc.shape[-3]):
            at = self._location(channel, x[..., :channel, :, :], loc, weights)
            level = ((at + noise[..., channel, :, :]).clamp(0, 1) * (self.bins - 1)).round()
            x[..., channel, :, :] = level / (self.bins - 1)
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-probability `(...)`, nats: a sum over pixels of the mixtures' logs."""
        seen, terms = x.unsqueeze(-4), self.logits.log_softmax(-3)
        for channel in range(x.shape[-3]):
            before, here = seen[..., :channel, :, :], seen[..., channel, :, :]
            at = self._location(channel, before, self.loc, self.weights)
            terms = terms + bin_terms(
                here - at, here, self.log_scale[..., channel, :, :], self.bins
            )
        return terms.logsumexp(-3).sum((-1, -2))
