"""Families over counts 0, 1, 2, ..."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit import distributions as d
from vaekit.conditional import Family
from vaekit.errors import choose

__all__ = ["NegativeBinomial", "Poisson"]

LOWEST, HIGHEST = -30.0, 20.0  # of a log-mean: float32 holds whole numbers up to exp(16.6) alone
RAREST = 1e-4  # the least mean that a bias starts at


def _bounded(raw: Tensor) -> Tensor:
    """`raw`, softly kept in [LOWEST, HIGHEST]: its exp and the squares of that stay finite.

    A hard clamp would cut the gradient that leads back, and an element beyond it would stay there.
    """
    low = HIGHEST - F.softplus(HIGHEST - raw, threshold=60)
    return LOWEST + F.softplus(low - LOWEST, threshold=60)


def _start(mean: Tensor) -> Tensor:
    """What `_bounded` takes to the log of this mean, floored."""
    gap = HIGHEST - mean.clamp(min=RAREST).log().clamp(max=HIGHEST - 1)
    return HIGHEST - (gap + torch.log(-torch.expm1(-gap)))


class Poisson(Family):
    """Independent Poisson variables; the network returns log-means, softly bounded by 20.

    Example:
        >>> Poisson(3)(torch.zeros(1, 3)).mean
        tensor([[1., 1., 1.]])
    """

    distribution = d.Poisson

    @property
    def space(self) -> d.Space:
        return d.counts(*self.event_shape)

    def forward(self, params: Tensor, given: Tensor | None = None) -> d.Distribution:
        return d.Poisson(_bounded(params), event_dim=len(self.event_shape))

    def start(self, mean: Tensor) -> Tensor:
        """The log of the mean, floored at 1e-4."""
        return _start(mean)


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
        if not self.free:
            self.log_dispersion = nn.Parameter(torch.zeros(self.event_shape))

    @property
    def param_shape(self) -> tuple[int, ...]:
        """Twice the event where the dispersion is free: log-means first."""
        return (self.event_shape[0] * (2 if self.free else 1), *self.event_shape[1:])

    @property
    def space(self) -> d.Space:
        return d.counts(*self.event_shape)

    def forward(self, params: Tensor, given: Tensor | None = None) -> d.Distribution:
        event_dim = len(self.event_shape)
        if self.free:
            log_mean, log_dispersion = _bounded(params).chunk(2, -event_dim)
        else:
            log_mean, log_dispersion = _bounded(params), _bounded(self.log_dispersion)
        return d.NegativeBinomial(log_mean, log_dispersion, event_dim=event_dim)

    def start(self, mean: Tensor) -> Tensor:
        """The log of the mean, floored at 1e-4; free dispersions at 1."""
        log_mean = _start(mean)
        return torch.cat([log_mean, torch.zeros_like(log_mean)]) if self.free else log_mean

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.event_shape}, dispersion={'free' if self.free else 'shared'!r}"
