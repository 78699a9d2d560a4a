"""Families, from a network's output to a distribution, and where a scale comes from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit import distributions as d
from vaekit._torchutil import over_ranks
from vaekit.errors import VaekitError, at_least, choose, unknown
from vaekit.nn import Phrase
from vaekit.parts.conditional import Family, Shape
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


# name: (what makes a mean of the network's output, its inverse)
MEANS: dict[str, tuple[Map, Map]] = {
    "identity": (_identity, _identity),
    "sigmoid": (torch.sigmoid, lambda m: m.clamp(EPS, 1 - EPS).logit()),
    "tanh": (torch.tanh, lambda m: m.clamp(EPS - 1, 1 - EPS).atanh()),
    "relu": (torch.relu, _identity),
}


class FreeScale(nn.Module):
    """A scale per element, from the network, which returns log scale^p, or what softplus takes.

    With p = 2 the network returns log-variances, as is usual for Gaussians; with `softplus` the
    scale is log(1 + exp(raw)). `floor` bounds the log-scale softly from below: a scale per pixel
    makes the likelihood unbounded on constant pixels (Mattei & Frellsen, arXiv 1802.04826), so
    give one there.

    Attributes:
        one: what the network returns for the scale 1.
        bounds: of the log-scale, which is clamped.
    """

    bounds = -15.0, 10.0  # log-variance in [-30, 20]: exp overflows in no precision used

    def __init__(self, power: int, floor: float | None = None, *, softplus: bool = False) -> None:
        super().__init__()
        self.power = power
        self.floor = floor
        self.softplus = softplus
        self.one = math.log(math.e - 1) if softplus else 0.0

    def forward(self, raw: Tensor) -> Tensor:
        log_scale = raw / self.power if self.power != 1 else raw
        if self.softplus:  # which is exp(raw), so log-scale = raw, below
            log_scale = F.softplus(raw.clamp_min(self.bounds[0])).log()
        if self.floor is not None:
            log_scale = self.floor + F.softplus(log_scale - self.floor)
        return log_scale.clamp(*self.bounds)


class FixedScale(nn.Module):
    """One given number."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise VaekitError(f"got the scale {scale}; expected a positive number.")
        self.log_scale = nn.Buffer(torch.tensor(math.log(scale)))


class SharedScale(nn.Module):
    """One learned number, shared by all elements; or one each, of `shape`."""

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(shape))


class FittedScale(nn.Module):
    """One number, shared by all elements, set in closed form: scale^p = mean |x - loc|^p.

    With p = 2 it is the maximum-likelihood sigma of a Gaussian (Rybkin et al., arXiv 2006.13202,
    eq. 5), with p = 1 that of a Laplace distribution. While training, a batch is scored by its
    own optimum; evaluation and sampling use the stored running mean (over the last twenty
    batches or so), since an optimum found on the batch that it scores flatters. It is the optimum
    of the ELBO; importance-weighted bounds have another, and want a "shared" scale. With a `shape`
    each of its elements has its own.

    Attributes:
        least: the least scale^p.
    """

    least = 1e-10

    def __init__(self, power: int, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.power = power
        self._moment = nn.Buffer(torch.ones(shape))
        self._count = nn.Buffer(torch.zeros(shape))

    @property
    def log_scale(self) -> Tensor:
        """Return the stored log-scale."""
        return self._moment.log() / self.power

    @torch.no_grad()
    def fit(self, residual: Tensor, mask: Tensor | None) -> Tensor | None:
        """Return the batch's log-scale and move the stored one toward it; None in eval mode."""
        if not self.training:
            return None
        power = residual.abs() if self.power == 1 else residual.square()
        over = tuple(range(power.dim() - self._moment.dim()))
        if mask is None:
            total = power.sum(over)
            parts = total, torch.full_like(total, power.numel() / total.numel())
        else:
            weight = mask.to(power.dtype).expand_as(power)
            parts = (power * weight).sum(over), weight.sum(over)
        total, count = over_ranks(torch.stack(parts))
        mean = (total / count.clamp(min=1)).clamp(min=self.least).to(self._moment.dtype)
        good = (count > 0) & torch.isfinite(mean)
        self._count.add_(good)
        moved = self._moment.lerp(mean, (1 / self._count.clamp(min=1)).clamp(min=0.05))
        self._moment.copy_(torch.where(good, moved, self._moment))
        return mean.log() / self.power


Scale = FreeScale | FixedScale | SharedScale | FittedScale


def make_scale(
    how: str | float, power: int, floor: float | None = None, shape: tuple[int, ...] = ()
) -> Scale:
    """Return the scale named: "free", "softplus", "shared", "fitted", or a fixed number.

    With a `shape`, a shared or fitted one is one number for each of its elements.

    Example:
        >>> make_scale(0.5, 2).log_scale
        tensor(-0.6931)
        >>> make_scale("fited", 2)
        Traceback (most recent call last):
        ...
        vaekit.errors.VaekitError: unknown scale 'fited'; did you mean 'fitted'? ...
    """
    if not isinstance(how, str):
        return FixedScale(float(how))
    makers: dict[str, Callable[[], Scale]] = {
        "free": lambda: FreeScale(power, floor),
        "softplus": lambda: FreeScale(power, floor, softplus=True),
        "shared": lambda: SharedScale(shape),
        "fitted": lambda: FittedScale(power, shape),
    }
    if how not in makers:
        raise unknown("scale", how, [*makers, "a number"])
    return makers[how]()


def _phrases(name: str) -> dict[str | float, str]:
    return {
        "one": f"location of {name}",
        "free": f"location and log scale of {name}",
        "softplus": f"location and, before softplus, scale of {name}",
    }


class _LocationScale(Family):
    """The base of the Gaussian and Laplace families; see Gaussian."""

    power: ClassVar[int] = 1
    terms: ClassVar[dict[str | float, str]]  # what the network gives, by where the scale is from
    fits: ClassVar[bool] = True  # whether there is a closed form of the best shared scale

    def __init__(
        self,
        event_shape: Shape,
        *,
        scale: str | float = "free",
        mean: str = "identity",
        floor: float | None = None,
    ) -> None:
        super().__init__(event_shape)
        if scale == "fitted" and not self.fits:
            raise VaekitError(
                f"a {type(self).__name__} has no scale in closed form: take scale=shared."
            )
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
        event_dim, make = len(self.event_shape), self._make
        if isinstance(self.scale, FreeScale):
            loc, raw = params.chunk(2, -event_dim)
            return make(self._mean(loc), self.scale(raw), event_dim=event_dim)
        loc, scale = self._mean(params), self.scale.log_scale
        store = self.scale if self._how == "fitted" else None
        return make(loc, scale, event_dim=event_dim, store=store)

    def _make(self, loc: Tensor, log_scale: Tensor, **how: Any) -> d.Distribution:
        made: d.Distribution = self.distribution(loc, log_scale, **how)
        return made

    @property
    def gives(self) -> tuple[Phrase, ...]:
        """Return what the network's output is; and where the scale comes from."""
        phrases: list[Phrase] = [(self.terms.get(self._how, self.terms["one"]),)]
        if isinstance(self._how, int | float):
            phrases.append(("scale {}", f"{self._how:g}"))
        elif self.copies == 1:
            fitted = self._how == "fitted"
            phrases.append(("one fitted scale" if fitted else "one learned scale",))
        if self.mean != "identity":
            phrases.append(("mean through {}", self.mean))
        return tuple(phrases)

    def start(self, mean: Tensor) -> Tensor:
        """Return the inverse of the mean's map; free scales at 1."""
        loc = self._inverse(mean)
        if not isinstance(self.scale, FreeScale):
            return loc
        return torch.cat([loc, torch.full_like(loc, self.scale.one)])

    def start_spread(self, rows: Tensor) -> None:
        """Start a shared scale at half the spread of these rows: an optimizer moves it slowly.

        Args:
            rows: `(N, *event)`; gaps are NaN.

        Example:
            >>> family = Gaussian(2, scale="shared")
            >>> family.start_spread(torch.tensor([[1.0, 0.5], [0.0, -0.5]]))
            >>> family.scale.log_scale.exp().item()
            0.25
        """
        spread = float((rows - rows.nanmean(0)).square().nanmean().sqrt())
        if isinstance(self.scale, SharedScale) and spread > 0:
            nn.init.constant_(self.scale.log_scale, math.log(spread / 2))

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
    terms: ClassVar = {
        "one": "mean of a Gaussian",
        "free": "mean and log variance of a Gaussian",
        "softplus": "mean and, before softplus, scale of a Gaussian",
    }


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
    terms: ClassVar = _phrases("a Laplace distribution")


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
    gives = (("logits of a Bernoulli",),)
    starts = staticmethod(lambda mean: mean.clamp(EPS, 1 - EPS).logit())


@register("likelihood", "continuous-bernoulli")
class ContinuousBernoulli(_Plain):
    """Independent continuous Bernoulli variables on [0, 1] (arXiv 1907.06845).

    Example:
        >>> ContinuousBernoulli(3)(torch.zeros(1, 3)).log_prob(torch.rand(1, 3))
        tensor([0.])
    """

    distribution = d.ContinuousBernoulli
    gives = (("logits of a continuous Bernoulli",),)
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

    def __init__(self, event_shape: Shape, *, levels: int = 256) -> None:
        super().__init__(event_shape)
        self.levels = self.copies = at_least("levels", levels, 2)

    @property
    def gives(self) -> tuple[Phrase, ...]:
        """Return what the network's output is."""
        return (("{} logits each of a categorical", str(self.levels)),)

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
    gives = (("location of a point mass",),)
