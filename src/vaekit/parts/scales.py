"""Where the scale of a location-scale family comes from."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.errors import VaekitError, unknown
from vaekit.torchutil import over_ranks

LOWEST, HIGHEST = -15.0, 10.0  # log-variance in [-30, 20]: exp overflows in no precision used


class FreeScale(nn.Module):
    """A scale per element, from the network, which returns log scale^p, or what softplus takes.

    With p = 2 the network returns log-variances, as is usual for Gaussians; with `softplus` the
    scale is log(1 + exp(raw)). `floor` bounds the log-scale softly from below: a scale per pixel
    makes the likelihood unbounded on constant pixels (Mattei & Frellsen, arXiv 1802.04826), so
    give one there.

    Attributes:
        one: what the network returns for the scale 1.
    """

    def __init__(self, power: int, floor: float | None = None, *, softplus: bool = False) -> None:
        super().__init__()
        self.power = power
        self.floor = floor
        self.softplus = softplus
        self.one = math.log(math.e - 1) if softplus else 0.0

    def forward(self, raw: Tensor) -> Tensor:
        log_scale = raw / self.power if self.power != 1 else raw
        if self.softplus:  # which is exp(raw), so log-scale = raw, below
            log_scale = F.softplus(raw.clamp_min(LOWEST)).log()
        if self.floor is not None:
            log_scale = self.floor + F.softplus(log_scale - self.floor)
        return log_scale.clamp(LOWEST, HIGHEST)


class FixedScale(nn.Module):
    """One given number."""

    log_scale: Tensor

    def __init__(self, scale: float) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise VaekitError(f"got the scale {scale}; expected a positive number.")
        self.register_buffer("log_scale", torch.tensor(math.log(scale)))


class SharedScale(nn.Module):
    """One learned number, shared by all elements."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))


class FittedScale(nn.Module):
    """One number, shared by all elements, set in closed form: scale^p = mean |x - loc|^p.

    With p = 2 it is the maximum-likelihood sigma of a Gaussian (Rybkin et al., arXiv 2006.13202,
    eq. 5), with p = 1 that of a Laplace distribution. While training, a batch is scored by its
    own optimum; evaluation and sampling use the stored running mean (over the last twenty
    batches or so), since an optimum found on the batch that it scores flatters. It is the optimum
    of the ELBO; importance-weighted bounds have another, and want a "shared" scale.
    """

    _moment: Tensor
    _count: Tensor

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power = power
        self.register_buffer("_moment", torch.ones(()))
        self.register_buffer("_count", torch.zeros(()))

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
        if mask is None:
            parts = power.sum(), power.new_full((), power.numel())
        else:
            weight = mask.to(power.dtype).expand_as(power)
            parts = (power * weight).sum(), weight.sum()
        total, count = over_ranks(torch.stack(parts))
        mean = (total / count.clamp(min=1)).clamp(min=1e-10).to(self._moment.dtype)
        good = (count > 0) & torch.isfinite(mean)
        self._count += good
        moved = self._moment.lerp(mean, (1 / self._count.clamp(min=1)).clamp(min=0.05))
        self._moment.copy_(torch.where(good, moved, self._moment))
        return mean.log() / self.power


Scale = FreeScale | FixedScale | SharedScale | FittedScale


def make_scale(how: str | float, power: int, floor: float | None = None) -> Scale:
    """Return the scale named: "free", "softplus", "shared", "fitted", or a fixed number.

    Example:
        >>> make_scale(0.5, 2).log_scale
        tensor(-0.6931)
        >>> make_scale("fited", 2)
        Traceback (most recent call last):
        ...
        vaekit.errors.VaekitError: unknown scale 'fited'; did you mean 'fitted'? ...
    """
    if isinstance(how, int | float):
        return FixedScale(float(how))
    makers: dict[str, Callable[[], Scale]] = {
        "free": lambda: FreeScale(power, floor),
        "softplus": lambda: FreeScale(power, floor, softplus=True),
        "shared": SharedScale,
        "fitted": lambda: FittedScale(power),
    }
    if how not in makers:
        raise unknown("scale", how, [*makers, "a number"])
    return makers[how]()
