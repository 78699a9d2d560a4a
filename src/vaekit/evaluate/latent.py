"""What each latent dimension carries, over a data set. Shapes: `S` draws, `B` batch; nats."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
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
    """What the dimensions of a latent carry; those of several latents follow each other.

    Attributes:
        kl_per_dim: the mean KL(q || p) of each dimension, nats; None where one of the latents has
            no density that factorizes.
        variance: Var_x E[z_j|x] of each dimension.
        posterior_scale: sqrt(mean Var[z_j|x]) over rows and dimensions: the root mean square of
            the posterior's sigmas; None where one of the latents has no variance, as a point.

    References:
        Burda, Grosse and Salakhutdinov 2016, Importance weighted autoencoders.
    """

    kl_per_dim: list[float] | None
    variance: list[float]
    posterior_scale: float | None = None

    @property
    def active_units(self) -> int:
        """Return how many dimensions have Var_x E[z_j|x] > 0.01 (Burda et al. 2016)."""
        return sum(value > ACTIVE for value in self.variance)


@register("metric", "latent")
class LatentMeter(Metric):
    """Active units, the KL of each dimension, and how wide the posterior is.

    It takes traces of a model in eval mode. Where the posterior has no mean, or depends on draws
    of another latent, E[z|x] is the mean over the draws of the trace, whose noise is then in the
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
        self._moments: dict[str, dict[str, Moments]] = {}  # by site: "mean", "kl", "variance"

    def suits(self, subject: Subject) -> str | None:
        """Refuse codes, which are counted and have no variance."""
        codes = Offer.CODES in subject.model.offers
        return "its latents are codes: take the metric codes" if codes else None

    def update(self, trace: Trace) -> None:
        """Add a batch; nothing is read from the device."""
        for site in trace.sites:
            q: Any = site.q
            if Offer.CODES in q.offers:
                continue
            shape = site.z.shape
            batch = {"mean": q.mean.expand(shape) if Offer.MEAN in q.offers else site.z}
            if Offer.FACTORS in q.offers & site.p.offers:
                batch["kl"] = site.kl_terms
            if Offer.MOMENTS in q.offers:
                batch["variance"] = q.variance.expand(shape)
            moments = self._moments.setdefault(site.name, defaultdict(Moments))
            for name, values in batch.items():
                moments[name].add(_rows(wide(values.detach()), q.event_dim))

    def compute(self) -> Record:
        """Return `active_units`, `units`, the three fields of `Latent`, and `rows`."""
        latent = self.latent()
        assert latent is not None
        units = len(latent.variance)
        rows = next(iter(self._moments.values()))["mean"].rows
        return {"active_units": latent.active_units, "units": units, **asdict(latent), "rows": rows}

    def lines(self, record: Record) -> Iterator[Line]:
        """Yield how many units are active, and each dimension's KL."""
        yield "latent", None, None, f"{record['active_units']} of {record['units']} units active"
        if record["kl_per_dim"] is not None:
            yield "  kl_per_dim", None, None, " ".join(f"{v:.2f}" for v in record["kl_per_dim"])

    def facts(self, record: Record) -> Iterator[tuple[str, str]]:
        """Yield nothing: the report draws bars."""
        return iter(())

    def latents(self) -> dict[str, Latent]:
        """Return the numbers of each latent, by its name."""
        return {
            name: Latent(
                moments["kl"].mean.tolist() if "kl" in moments else None,
                moments["mean"].variance.tolist(),
                moments["variance"].mean.mean().sqrt().item() if "variance" in moments else None,
            )
            for name, moments in self._moments.items()
        }

    def latent(self) -> Latent | None:
        """Return all latents as one; None for a model without any."""
        parts = list(self.latents().values())
        if not parts:
            return None
        variance = [value for part in parts for value in part.variance]
        kl = [value for part in parts for value in part.kl_per_dim or ()]
        scales = [
            (len(p.variance), p.posterior_scale) for p in parts if p.posterior_scale is not None
        ]
        total = sum(size * scale**2 for size, scale in scales)
        return Latent(
            kl if all(part.kl_per_dim is not None for part in parts) else None,
            variance,
            math.sqrt(total / len(variance)) if len(scales) == len(parts) else None,
        )


@register("metric", "codes")
class Codebook(Metric):
    """How many of its codes a model uses: perplexity, exp of their entropy, and the share used."""

    needs = offering("codes")
    columns = (
        Column("perplexity", "perplexity of the codes", decimals=1, group="Bound and latent"),
        Column("share_used", "share of the codes that is used", group="Bound and latent"),
    )

    def update(self, trace: Trace) -> None:
        """Count the codes, over all positions alike."""
        for site in trace.sites:
            levels = site.p.space.levels or int(site.z.max()) + 1
            self.add(counts=torch.bincount(site.z.flatten().long(), minlength=levels))

    def compute(self) -> Record:
        """Return `perplexity`, `share_used`, and how many `codes` there are."""
        counts = self.sums["counts"].double()
        share = counts / counts.sum()
        return {
            "perplexity": float(torch.special.entr(share).sum().exp()),
            "share_used": float((counts > 0).double().mean()),
            "codes": len(counts),
        }


def _rows(values: Tensor, event_dim: int) -> Tensor:
    """Turn `(S, B, *Z)` into `(B, Z)`: the mean over draws, the event in one dim."""
    lead = values.dim() - event_dim - 1
    if lead:
        values = values.mean(tuple(range(lead)))
    return values.flatten(1) if event_dim else values.unsqueeze(1)
