"""Families: from a network's output to a distribution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit import distributions as d
from vaekit.errors import at_least, choose
from vaekit.parts.conditional import Family
from vaekit.parts.scales import FreeScale, make_scale
from vaekit.registry import register

Map = Callable[[Tensor], Tensor]
EPS = 1e-3
PIXEL_FLOOR = -6.0  # of a free log-scale: sigma 0.0025, half a gray level of 8 bits


def _identity(x: Tensor) -> Tensor:
    return x


def _slope(mean: Tensor, mean_of: Map) -> Tensor:
    """Return the argument at which the growing function `mean_of` is `mean`, by bisection."""
    low, high = torch.full_like(mean, -200.0), torch.full_like(mean, 200.0)
    target = mean.clamp(10 * EPS, 1 - 10 * EPS)
    for _ in range(60):
        middle = (low + high) / 2
        above = mean_of(middle) > target
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


LOWEST, HIGHEST = -30.0, 20.0  # of a log-mean: float32 holds whole numbers up to exp(16.6) alone
RAREST = 1e-4  # the least mean that a bias starts at


def _bounded(raw: Tensor) -> Tensor:
    """Return `raw`, softly bounded by LOWEST and HIGHEST: its exp and the squares stay finite.

    A hard clamp would cut the gradient that leads back, and an element beyond it would stay there.
    """
    low = HIGHEST - F.softplus(HIGHEST - raw, threshold=60)
    return LOWEST + F.softplus(low - LOWEST, threshold=60)


def _start(mean: Tensor) -> Tensor:
    """Return what `_bounded` maps to the log of this mean, floored."""
    gap = HIGHEST - mean.clamp(min=RAREST).log().clamp(max=HIGHEST - 1)
    return HIGHEST - (gap + torch.log(-torch.expm1(-gap)))


# name: (what makes a mean of the network's output, its inverse)
MEANS: dict[str, tuple[Map, Map]] = {
    "identity": (_identity, _identity),
    "sigmoid": (torch.sigmoid, lambda m: m.clamp(EPS, 1 - EPS).logit()),
    "tanh": (torch.tanh, lambda m: m.clamp(EPS - 1, 1 - EPS).atanh()),
    "relu": (torch.relu, _identity),
}


class _LocationScale(Family):
    """The base of the Gaussian and Laplace families; see Gaussian."""

    power: ClassVar[int]

    def __init__(
        self,
        event_shape: int | tuple[int, ...],
        *,
        scale: str | float = "free",
        mean: str = "identity",
        floor: float | None = None,
    ) -> None:
        super().__init__(event_shape)
        self.mean = mean
        self._mean, self._inverse = choose("mean", mean, MEANS)
        self._how = scale
        self.scale = make_scale(scale, self.power, floor)
        self.copies = 2 if isinstance(self.scale, FreeScale) else 1  # locations, then log scale^p

    @property
    def offers(self) -> frozenset[d.Offer]:
        """Return what it offers: a fitted scale suits no posterior and no weighted bound."""
        words: frozenset[d.Offer] = self.distribution.offers
        return words if self._how == "fitted" else words | {d.Offer.FIXED}

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        event_dim, make = len(self.event_shape), self.distribution
        if isinstance(self.scale, FreeScale):
            loc, raw = params.chunk(2, -event_dim)
            return make(self._mean(loc), self.scale(raw), event_dim=event_dim)
        loc, scale = self._mean(params), self.scale.log_scale
        store = self.scale if self._how == "fitted" else None
        return make(loc, scale, event_dim=event_dim, store=store)

    def start(self, mean: Tensor) -> Tensor:
        """Return the inverse of the mean's map; free scales at 1."""
        loc = self._inverse(mean)
        if not isinstance(self.scale, FreeScale):
            return loc
        return torch.cat([loc, torch.full_like(loc, self.scale.one)])

    def extra_repr(self) -> str:
        return f"{self.event_shape}, scale={self._how!r}, mean={self.mean!r}"


@register("posterior", "gaussian")
@register("likelihood", "gaussian", scale="fitted", floor=PIXEL_FLOOR)
class Gaussian(_LocationScale):
    """Independent Gaussians.

    Args:
        event_shape: the shape of one draw.
        scale: where sigma comes from. "free": one per element from the network (which then
            returns twice the event: locations, then log-variances, log sigma^2); "softplus": the
            same, the network's second half being what softplus makes sigma of;
            "shared": one learned number; "fitted": one number in closed form, sigma^2 = MSE
            (Rybkin et al., arXiv 2006.13202); or a number, which is kept.
        mean: what maps the network's output to the location: "identity", "sigmoid", "tanh",
            "relu".
        floor: a soft lower bound of a free log-scale; give one for pixels.

    Raises:
        VaekitError: for an unknown name or a scale that is not positive.

    Example:
        >>> family = Gaussian(2)
        >>> family.param_shape
        (4,)
        >>> family(torch.zeros(5, 4)).log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
        >>> Gaussian((1, 28, 28), scale="fitted").param_shape
        (1, 28, 28)
    """

    distribution = d.Gaussian
    power = 2


@register("posterior", "laplace")
@register("likelihood", "laplace", scale="fitted", floor=PIXEL_FLOOR)
class Laplace(_LocationScale):
    """Independent Laplace distributions.

    Args:
        event_shape: the shape of one draw.
        scale: as of `Gaussian`; a free one is given as log scale, the fitted is mean |x - loc|.
        mean: what maps the network's output to the location: identity, sigmoid, tanh, relu.
        floor: a soft lower bound of a free log-scale; give one for pixels.

    Example:
        >>> Laplace(3, scale=1.0)(torch.zeros(1, 3)).log_prob(torch.zeros(1, 3))
        tensor([-2.0794])
    """

    distribution = d.Laplace
    power = 1


class _Plain(Family):
    """A distribution whose parameters are the network's output, through `maps`."""

    maps: ClassVar[Any] = staticmethod(_identity)
    starts: ClassVar[Any] = staticmethod(_identity)

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        return self.distribution(self.maps(params), event_dim=len(self.event_shape))

    def start(self, mean: Tensor) -> Tensor:
        """Return parameters with this mean, cut off where they would be infinite."""
        return self.starts(mean)


@register("likelihood", "bernoulli")
class Bernoulli(_Plain):
    """Independent Bernoulli variables on logits; for gray values not a likelihood.

    Example:
        >>> Bernoulli(3)(torch.zeros(1, 3)).mean
        tensor([[0.5000, 0.5000, 0.5000]])
    """

    distribution = d.Bernoulli
    starts = staticmethod(lambda mean: mean.clamp(EPS, 1 - EPS).logit())


@register("likelihood", "continuous-bernoulli")
class ContinuousBernoulli(_Plain):
    """Independent continuous Bernoulli variables on [0, 1] (arXiv 1907.06845).

    Example:
        >>> ContinuousBernoulli(3)(torch.zeros(1, 3)).log_prob(torch.rand(1, 3))
        tensor([0.])
    """

    distribution = d.ContinuousBernoulli
    starts = staticmethod(
        lambda mean: _slope(mean, lambda logits: d.ContinuousBernoulli(logits).mean)
    )


@register("likelihood", "categorical")
class Categorical(_Plain):
    """Independent variables over `levels` gray values k / (levels - 1), in [0, 1].

    The network returns `levels` logits for every element, as `(C * levels, ...)`: all levels of
    the first channel, then of the second.

    Args:
        event_shape: the shape of one draw.
        levels: how many values an element can take.

    Example:
        >>> family = Categorical((3, 4, 4), levels=256)
        >>> family.param_shape
        (768, 4, 4)
        >>> family(torch.zeros(2, 768, 4, 4)).mean.shape
        torch.Size([2, 3, 4, 4])
    """

    distribution = d.Categorical

    def __init__(self, event_shape: int | tuple[int, ...], *, levels: int = 256) -> None:
        super().__init__(event_shape)
        self.levels = self.copies = at_least("levels", levels, 2)

    def maps(self, params: Tensor) -> Tensor:
        """Move the levels of an element to the last dim."""
        dim = -len(self.event_shape)
        return params.unflatten(dim, (self.event_shape[0], self.copies)).movedim(dim, -1)

    def start(self, mean: Tensor) -> Tensor:
        """Return logits a k / (K - 1) with this mean."""
        values = torch.linspace(0, 1, self.copies, dtype=mean.dtype, device=mean.device)
        slope = _slope(mean, lambda a: d.Categorical(a.unsqueeze(-1) * values).mean)
        logits = slope.unsqueeze(1) * values.view(-1, *[1] * (mean.dim() - 1))
        return logits.flatten(0, 1)


@register("posterior", "delta")
class Delta(_Plain):
    """All mass on the network's output: the posterior of an autoencoder.

    Example:
        >>> Delta(2)(torch.ones(1, 2)).mean
        tensor([[1., 1.]])
    """

    distribution = d.Delta


@register("likelihood", "poisson")
class Poisson(_Plain):
    """Independent Poisson variables; the network returns log-means, softly bounded by 20.

    Example:
        >>> Poisson(3)(torch.zeros(1, 3)).mean
        tensor([[1., 1., 1.]])
    """

    distribution = d.Poisson
    maps = staticmethod(_bounded)
    starts = staticmethod(_start)


@register("likelihood", "negative-binomial")
class NegativeBinomial(Family):
    """Independent negative binomials: counts with the variance m + m^2 / t for the mean m.

    The network returns log-means. They and the log-dispersions are softly kept in [-30, 20].

    Args:
        event_shape: the shape of one draw.
        dispersion: where t comes from. "shared": one learned log t per element of the event, the
            same for all rows (the gene dispersion of Lopez et al., Nature Methods 2018); "free":
            one per element and row from the network (which then returns twice the event:
            log-means, then log-dispersions).

    Raises:
        VaekitError: for an unknown dispersion.

    Example:
        >>> NegativeBinomial(5).param_shape, NegativeBinomial(5, dispersion="free").param_shape
        ((5,), (10,))
        >>> NegativeBinomial(3)(torch.zeros(1, 3)).log_prob(torch.zeros(1, 3))
        tensor([-2.0794], grad_fn=<SumBackward1>)
    """

    distribution = d.NegativeBinomial

    def __init__(self, event_shape: int | tuple[int, ...], *, dispersion: str = "shared") -> None:
        super().__init__(event_shape)
        self.free = choose("dispersion", dispersion, {"shared": False, "free": True})
        self.copies = 2 if self.free else 1  # log-means first
        if not self.free:
            self.log_dispersion = nn.Parameter(torch.zeros(self.event_shape))

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        event_dim = len(self.event_shape)
        if self.free:
            log_mean, log_dispersion = _bounded(params).chunk(2, -event_dim)
        else:
            log_mean, log_dispersion = _bounded(params), _bounded(self.log_dispersion)
        return d.NegativeBinomial(log_mean, log_dispersion, event_dim=event_dim)

    def start(self, mean: Tensor) -> Tensor:
        """Return the log of the mean, floored at 1e-4; free dispersions at 1."""
        log_mean = _start(mean)
        return torch.cat([log_mean, torch.zeros_like(log_mean)]) if self.free else log_mean

    def extra_repr(self) -> str:
        return f"{self.event_shape}, dispersion={'free' if self.free else 'shared'!r}"
