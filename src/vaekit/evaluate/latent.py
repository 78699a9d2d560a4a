"""What each latent dimension holds, over a data set. Shapes: `S` draws, `B` batch; nats."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit.distributions import Offer, offering
from vaekit.evaluate.metrics import Column, Line, Metric, Record, Subject
from vaekit.models import Trace
from vaekit.registry import register
from vaekit.torchutil import Moments, wide

ACTIVE = 0.01  # Var_x E[z_j|x] of a unit that is active: Burda et al., arXiv 1509.00519


@dataclass(frozen=True)
class Latent:
    """What a latent's dimensions hold, flattened; those of several latents follow each other.

    Attributes:
        kl_per_dim: the mean KL(q || p) of each dimension, nats; None where one of the latents has
            no density that factorizes.
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


@register("metric", "latent")
class LatentMeter(Metric):
    """Active units, the KL of each dimension, and how wide the posterior is.

    Fed with traces of a model in eval mode. Where the posterior has no mean, or hangs on draws of
    another latent, E[z|x] is the mean over the draws of the trace, whose noise is then in the
    variance.

    Example:
        >>> from vaekit.testing import LinearGaussian, seeded
        >>> with seeded():
        ...     x = torch.randn(50, 3, dtype=torch.float64)
        >>> meter = LatentMeter()
        >>> meter.update(LinearGaussian.fit(x, latent=1).vae()(x))
        >>> len(meter.latent().kl_per_dim), meter.latent().active_units
        (1, 1)
    """

    needs = offering("latent")
    places = frozenset({"report", "compare"})
    columns = (Column("active_units", "active units", decimals=0, group="Bound and latent"),)

    def __init__(self) -> None:
        super().__init__()
        self._means: dict[str, Moments] = {}
        self._kl: dict[str, Moments | None] = {}
        self._noise: dict[str, Moments | None] = {}

    def suits(self, subject: Subject) -> str | None:
        """Codes are counted, and have no variance."""
        return CODES if Offer.CODES in subject.model.offers else None

    def update(self, trace: Trace) -> None:
        """Adds a batch; nothing is read from the device."""
        for site in trace.sites:
            q: Any = site.q
            if Offer.CODES in q.offers:
                continue
            event, shape = q.event_dim, site.z.shape
            factors = Offer.FACTORS in q.offers & site.p.offers
            means = q.mean.detach().expand(shape) if Offer.MEAN in q.offers else site.z.detach()
            self._means.setdefault(site.name, Moments()).add(_rows(wide(means), event))
            kl = self._kl.setdefault(site.name, Moments() if factors else None)
            if kl is not None:
                kl.add(_rows(wide(site.kl_terms.detach()), event))
            noise = self._noise.setdefault(
                site.name, Moments() if Offer.MOMENTS in q.offers else None
            )
            if noise is not None:
                noise.add(_rows(wide(q.variance.detach().expand(shape)), event))

    def compute(self) -> Record:
        """`active_units`, `units`, `kl_per_dim`, `variance`, `posterior_scale`, `rows`."""
        held = self.latent()
        assert held is not None
        units = len(held.variance)
        rows = next(iter(self._means.values())).rows
        return {"active_units": held.active_units, "units": units, **asdict(held), "rows": rows}

    def lines(self, record: Record) -> Iterator[Line]:
        """How many are active, and each dimension's KL."""
        yield "latent", None, None, f"{record['active_units']} of {record['units']} units active"
        if record["kl_per_dim"] is not None:
            yield "  kl_per_dim", None, None, " ".join(f"{v:.2f}" for v in record["kl_per_dim"])

    def facts(self, record: Record) -> Iterator[tuple[str, str]]:
        """None: the report draws bars."""
        return iter(())

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


CODES = "its latents are codes: take the metric codes"


@register("metric", "codes")
class Codebook(Metric):
    """How many of its codes a model uses: perplexity, exp of their entropy, and the share used."""

    needs = offering("codes")
    columns = (
        Column("perplexity", "perplexity of the codes", decimals=1, group="Bound and latent"),
        Column("share_used", "share of the codes that is used", group="Bound and latent"),
    )

    def update(self, trace: Trace) -> None:
        """Counts the codes of each place, over all places alike."""
        for site in trace.sites:
            levels = site.p.space.levels or int(site.z.max()) + 1
            self.add(counts=torch.bincount(site.z.flatten().long(), minlength=levels))

    def compute(self) -> Record:
        """`perplexity`, `share_used`, and how many `codes` there are."""
        counts = self.sums["counts"].double()
        share = counts / counts.sum()
        return {
            "perplexity": float(torch.special.entr(share).sum().exp()),
            "share_used": float((counts > 0).double().mean()),
            "codes": len(counts),
        }


def _scale(latents: Sequence[Latent]) -> float | None:
    """Over all dimensions of all of them."""
    total = 0.0
    for one in latents:
        if one.posterior_scale is None:
            return None
        total += len(one.variance) * one.posterior_scale**2
    return math.sqrt(total / sum(len(one.variance) for one in latents))


def _rows(values: Tensor, event_dim: int) -> Tensor:
    """`(S, B, *Z)` to `(B, Z)`: the mean over draws, the event in one dim."""
    lead = values.dim() - event_dim - 1
    if lead:
        values = values.mean(tuple(range(lead)))
    return values.flatten(1) if event_dim else values.unsqueeze(1)
