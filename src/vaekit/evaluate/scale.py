"""The scale of a likelihood against the error that it should describe."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.distributions import Gaussian, Laplace
from vaekit.evaluate.latent import wide
from vaekit.models import Trace

__all__ = ["ScaleMeter"]


class ScaleMeter:
    """The scale that a likelihood claims and the one that its errors have, over a data set.

    For a Gaussian, the root mean square of sigma and of x - E[x|z]; for a Laplace distribution,
    the mean of b and of |x - loc|. Other likelihoods have no scale.

    Attributes:
        fitted: whether the scale is fitted to the training rows in closed form.
        power: 2 for squares, 1 for absolute values.

    Example:
        >>> from vaekit.distributions import Gaussian
        >>> px = Gaussian(torch.zeros(1, 2, 3), torch.zeros(()))
        >>> meter = ScaleMeter()
        >>> meter.add(Trace(torch.full((2, 3), 0.5), (), px, None))
        >>> meter.means()
        (1.0, 0.5)
    """

    def __init__(self) -> None:
        self.fitted, self.power = False, 2
        self._sums: Tensor | None = None

    def add(self, trace: Trace) -> None:
        """Adds a batch; nothing is read from the device."""
        px = trace.px
        if not isinstance(px, Gaussian | Laplace):
            return
        self.power = 1 if isinstance(px, Laplace) else 2
        self.fitted = px.store is not None
        error, scale = trace.x - px.loc.detach(), px.scale.detach()
        count = torch.tensor(float(error.numel()), device=error.device)
        if trace.mask is not None:
            seen = (trace.mask != 0).expand_as(error)
            error, scale = torch.where(seen, error, 0.0), torch.where(seen, scale, 0.0)
            count = seen.sum()
        power = torch.abs if self.power == 1 else torch.square
        repeats = error.numel() / max(1, scale.numel())  # a shared scale is not expanded
        sums = [wide(power(scale).sum()) * repeats, wide(power(error).sum()), wide(count)]
        total = torch.stack(sums)
        self._sums = total if self._sums is None else self._sums + total

    def means(self) -> tuple[float, float] | None:
        """The scale claimed and the scale of the errors; None where the likelihood has none."""
        if self._sums is None:
            return None
        claimed, seen, count = self._sums.tolist()
        if not count:
            return None
        root = 1 / self.power
        return (claimed / count) ** root, (seen / count) ** root
