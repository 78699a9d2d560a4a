"""What each latent dimension holds, over a data set. Shapes: `S` draws, `B` batch; nats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vaekit.models import Site, Trace
from vaekit.torchutil import Moments, wide

ACTIVE = 0.01  # Var_x E[z_j|x] of a unit that is active: Burda et al., arXiv 1509.00519


@dataclass(frozen=True)
class Latent:
    """What a latent's dimensions hold, flattened; those of several latents follow each other.

    Attributes:
        kl_per_dim: the mean KL(q || p) of each dimension, nats; None where one of the latents has
            no density that factorises.
        variance: Var_x E[z_j|x] of each dimension.
        posterior_scale: sqrt(mean Var[z_j|x]) over rows and dimensions: the root mean square of
            the posterior's sigmas; None where one of the latents has no variance, as a point.
    """

    kl_per_dim: list[float] | None
    variance: list[float]
    posterior_scale: float | None = None

    @property
    def active_units(self) -> int:
        """How many dimensions have Var_x E[z_j|x] > 0.01 (Burda et al., arXiv 1509.00519)."""
        return sum(value > ACTIVE for value in self.variance)


class LatentMeter:
    """Per dimension, the mean KL and the variance of E[z|x] over the rows of a data set.

    And the scale of the posterior, over all dimensions.

    Fed with traces of a model in eval mode. Where a latent hangs on draws of another, E[z|x] is
    the mean over the draws of the trace, whose noise is then in the variance.

    Example:
        >>> from vaekit.testing import LinearGaussian, seeded
        >>> with seeded():
        ...     x = torch.randn(50, 3, dtype=torch.float64)
        >>> meter = LatentMeter()
        >>> meter.add(LinearGaussian.fit(x, latent=1).vae()(x))
        >>> len(meter.latent().kl_per_dim), meter.latent().active_units
        (1, 1)
    """

    def __init__(self) -> None:
        self._means: dict[str, Moments] = {}
        self._kl: dict[str, Moments | None] = {}
        self._noise: dict[str, Moments | None] = {}

    def add(self, trace: Trace) -> None:
        """Adds a batch; nothing is read from the device."""
        for site in trace.sites:
            event = site.q.event_dim
            means = wide(site.q.mean.detach().expand(site.z.shape))
            self._means.setdefault(site.name, Moments()).add(_rows(means, event))
            kl = self._kl.setdefault(site.name, Moments() if _factorises(site) else None)
            if kl is not None:
                kl.add(_rows(wide(site.kl_terms.detach()), event))
            q: Any = site.q
            noise = self._noise.setdefault(site.name, Moments() if "moments" in q.offers else None)
            if noise is not None:
                noise.add(_rows(wide(q.variance.detach().expand(site.z.shape)), event))

    def latents(self) -> dict[str, Latent]:
        """What was measured, by the name of the latent."""
        found = {}
        for name, means in self._means.items():
            kl, noise = self._kl[name], self._noise[name]
            found[name] = Latent(
                None if kl is None else kl.mean.tolist(),
                means.variance.tolist(),
                None if noise is None else noise.mean.mean().sqrt().item(),
            )
        return found

    def latent(self) -> Latent | None:
        """All latents as one; None for a model without any."""
        found = list(self.latents().values())
        if not found:
            return None
        kl = [one.kl_per_dim for one in found if one.kl_per_dim is not None]
        return Latent(
            [value for part in kl for value in part] if len(kl) == len(found) else None,
            [value for one in found for value in one.variance],
            _scale(found),
        )


def _scale(latents: Sequence[Latent]) -> float | None:
    """Over all dimensions of all of them."""
    total = 0.0
    for one in latents:
        if one.posterior_scale is None:
            return None
        total += len(one.variance) * one.posterior_scale**2
    return math.sqrt(total / sum(len(one.variance) for one in latents))


def _factorises(site: Site) -> bool:
    return "factors" in site.q.offers and "factors" in site.p.offers


def _rows(values: Tensor, event_dim: int) -> Tensor:
    """`(S, B, *Z)` to `(B, Z)`: the mean over draws, the event in one dim."""
    lead = values.dim() - event_dim - 1
    if lead:
        values = values.mean(tuple(range(lead)))
    return values.flatten(1) if event_dim else values.unsqueeze(1)
