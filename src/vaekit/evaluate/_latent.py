"""What a latent carries over a data set: each dimension, and the aggregate posterior.

Shapes: `S` draws, `B` batch, `N` rows, `M` points, `D` latent dims; nats.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit._torchutil import Moments, evaluating, wide
from vaekit.data import check_memory
from vaekit.distributions import Distribution, Offer, flat, offering
from vaekit.evaluate import _checks as checks
from vaekit.evaluate._metrics import (
    FEWER,
    Batch,
    Column,
    Line,
    Metric,
    Record,
    Study,
    Subject,
    cut,
)
from vaekit.models import Model, Trace, exact
from vaekit.registry import register

ACTIVE = 0.01  # Var_x E[z_j|x] of a unit that is active: Burda et al., arXiv 1509.00519
BYTES = 2**20  # of densities at a time: the size of a core's cache
PARTS = ("mutual_information", "marginal_kl", "total_correlation", "dimension_wise_kl")
BOUNDED = 0.95  # of log N: what is left of the rate is not mutual information alone
NAMES = ("rate", "distortion", *PARTS, "kl_sampled")


@dataclass(frozen=True)
class Latent:
    """What the dimensions of a latent carry; those of several latents follow each other.

    Attributes:
        kl_per_dim: the mean KL(q || p) of each dimension, nats; None where one of the latents has
            no density that factorizes.
        variance: Var_x E[z_j|x] of each dimension; in a ball of its flat coordinates.
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
            mean = q.mean.expand(shape) if Offer.MEAN in q.offers else site.z
            batch = {"mean": flat(q.space, mean)}
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
    """How many of its codes a model uses: perplexity, exp of their entropy, and the share used.

    Of codes in steps, each with a codebook of its own, the entropy is the mean over the books.
    """

    needs = offering("codes")
    columns = (
        Column("perplexity", "perplexity of the codes", decimals=1, group="Bound and latent"),
        Column("share_used", "share of the codes that is used", group="Bound and latent"),
    )

    def update(self, trace: Trace) -> None:
        """Count the codes, over all positions alike."""
        for site in trace.sites:
            levels = site.p.space.levels or int(site.z.max()) + 1
            depth = getattr(getattr(trace.model, "quantizer", None), "depth", 1)
            books = site.z.long().unflatten(-1, (-1, depth)).flatten(0, -2).T
            self.add(counts=torch.stack([b.bincount(minlength=levels) for b in books]))

    def compute(self) -> Record:
        """Return `perplexity`, `share_used`, and how many `codes` there are."""
        counts = wide(self.sums["counts"])
        share = counts / counts.sum(1, keepdim=True)
        return {
            "perplexity": float(torch.special.entr(share).sum(1).mean().exp()),
            "share_used": float(wide(counts > 0).mean()),
            "codes": counts.shape[1],
        }


def _rows(values: Tensor, event_dim: int) -> Tensor:
    """Turn `(S, B, *Z)` into `(B, Z)`: the mean over draws, the event in one dim."""
    lead = values.dim() - event_dim - 1
    if lead:
        values = values.mean(tuple(range(lead)))
    return values.flatten(1) if event_dim else values.unsqueeze(1)


def aggregate_posterior(
    model: Model, batches: Iterable[Batch], *, samples: int = 1, groups: Tensor | None = None
) -> checks.Numbers:
    """Compute rate, distortion, and how the rate splits, over a whole data set, nats per example.

    log q(z) is the exact sum over all N rows; estimates from a batch are biased by nats. The cost
    grows as N^2, the memory as N besides one batch. Expectations are over `samples` draws for
    each row. The mean KL splits exactly:
    `mutual_information` + `total_correlation` + `dimension_wise_kl` = `kl_sampled`.

    Args:
        model: a model with one latent whose posterior has a density.
        batches: pairs (x, context), each row once.
        samples: draws of z for each row.
        groups: of all rows: see `standard_error`.

    Returns:
        `rate`, the mean KL(q(z|x) || p(z)), in closed form where there is one; `distortion`, the
        mean of -log p(x|z); `mutual_information`, I(x; z) = mean of log q(z|x) - log q(z), at most
        log N; `marginal_kl`, KL(q(z) || p(z)); `total_correlation`, KL(q(z) || prod_d q(z_d)), None
        where q(z|x) does not factorize; `dimension_wise_kl`, sum_d KL(q(z_d) || p(z_d)), None where
        q(z|x) or p(z) does not; `kl_sampled`, the mean KL from the same draws as these terms;
        `errors`, the standard error of each, by name; `rows`, N; `samples`; and `bounded`, whether
        the mutual information is within 5 % of log N, its most: then it, `marginal_kl` and
        `total_correlation` say how few rows there are, and more of the model take more rows.

    Raises:
        VaekitError: for no rows, a posterior without a density, several latents, or numbers that
            are not finite in x.

    References:
        Hoffman and Johnson 2016, ELBO surgery.
        Chen et al. 2018, Isolating sources of disentanglement in VAEs.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> x = torch.randn(50, 3, dtype=torch.float64)
        >>> model = LinearGaussian.fit(x, latent=1).vae()
        >>> result = aggregate_posterior(model, [(x[:30], None), (x[30:], None)])
        >>> parts = result.mutual_information + result.total_correlation + result.dimension_wise_kl
        >>> abs(parts - result.kl_sampled) < 1e-12
        True
    """
    checks.refuse_no_density(model, "q(z)")
    checks.draws_of("samples", samples, 1)
    sites, scores = [], []
    with evaluating(model), exact(model):
        for x, context in cut(model, batches, samples):
            checks.refuse_gaps("x", x)
            trace = model(x, context, samples=(samples,))
            site = trace.site
            scored = [site.log_q, site.log_p, site.kl, trace.log_likelihood]
            sites.append(site)
            scores.append(wide(torch.stack(scored)))
        z = torch.cat([site.z for site in checks.some(sites)], 1)
        log_q, terms = aggregate_log_prob([site.q for site in sites], z.flatten(0, 1))
    log_qx, log_p, kl, log_px = torch.cat(scores, 2)
    values = {"rate": kl, "distortion": -log_px, "kl_sampled": log_qx - log_p}
    least = log_qx - math.log(log_qx.shape[1])  # of log q(z); flows round its terms another way
    values |= _split(log_qx, log_q.view_as(log_qx).maximum(least), terms, log_p, sites[0].p)
    rows = {name: value.mean(0) for name, value in values.items()}
    for name, value in rows.items():
        checks.refuse_not_a_number(name.replace("_", " "), value[None])
    most = BOUNDED * math.log(len(rows["rate"]))
    return checks.Numbers(
        {name: rows[name].mean().item() if name in rows else None for name in NAMES},
        bounded=0 < most <= rows["mutual_information"].mean().item(),
        errors={name: checks.standard_error(value, groups) for name, value in rows.items()},
        rows=len(rows["rate"]),
        samples=samples,
    )


def _split(
    log_qx: Tensor, log_q: Tensor, terms: Tensor | None, log_p: Tensor, prior: Distribution
) -> dict[str, Tensor]:
    """Return what the KL splits into, (S, N) each."""
    parts = {"mutual_information": log_qx - log_q, "marginal_kl": log_q - log_p}
    if terms is not None:
        product = terms.sum(1).view_as(log_q)
        parts["total_correlation"] = log_q - product
        if "factors" in prior.offers:
            parts["dimension_wise_kl"] = product - log_p
    return parts


def aggregate_log_prob(
    posteriors: Sequence[Distribution], z: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Return log q(z) = log 1/N sum_n q(z|x_n) at points z, and log q(z_d) for each dimension.

    Args:
        posteriors: q(z|x_n) of batches of rows, N in all.
        z: `(M, *Z)`.

    Returns:
        `(M,)`, and `(M, D)` where q factorizes, else None.

    Example:
        >>> from vaekit.distributions import Gaussian
        >>> q = Gaussian(torch.tensor([[0.0], [0.0]]), torch.zeros(1))
        >>> log_q, terms = aggregate_log_prob([q, q], torch.zeros(3, 1))
        >>> log_q.shape, terms.shape, round(log_q[0].item(), 4)
        (torch.Size([3]), torch.Size([3, 1]), -0.9189)
    """
    factors = all("factors" in q.offers for q in posteriors)
    rows = [q.log_prob(z[:1, None]).shape[1] for q in posteriors]
    parts = []  # densities of a few points under all rows of one batch fill the bytes
    for few in z.split(max(1, BYTES // (8 * max(rows) * z[0].numel()))):
        sums = []
        for q in posteriors:
            if factors:
                terms = q.terms(few[:, None]).flatten(2)
                columns = [_summed(terms.sum(2))[:, None], _summed(terms)]
            else:
                columns = [_summed(q.log_prob(few[:, None]))[:, None]]
            sums.append(torch.cat(columns, 1))
        parts.append(wide(torch.stack(sums)).logsumexp(0) - math.log(sum(rows)))
    value = torch.cat(parts)
    return value[:, 0], value[:, 1:] if factors else None


def _summed(log_density: Tensor) -> Tensor:
    """Return `logsumexp(1)`; what underflows is cut off before exp, which is slow there."""
    top = log_density.amax(1, keepdim=True)
    rest = (log_density - top.clamp(min=-1e30)).clamp_(min=-87)  # exp(-87): the least float32
    return rest.exp_().sum(1).log_().add_(top.squeeze(1))


@register("metric", "aggregate")
class Aggregate(Study):
    """Rate, distortion, and how the rate splits: mutual information, total correlation, the rest.

    log q(z) is the exact sum over all rows, so that the cost grows as their square.

    Args:
        samples: draws of z for each row.
    """

    needs = offering("marginal", "density", "one_site")
    columns = tuple(Column(name, name.replace("_", " ")) for name in NAMES)

    def __init__(self, *, samples: int = 1) -> None:
        super().__init__()
        self.draws = checks.draws_of("samples", samples, 1)

    def study(self, subject: Subject) -> Record:
        """Return the numbers of `aggregate_posterior`."""
        codes = self.draws * subject.rows.count
        model: Any = subject.model
        site = model.example(subject.spec.context).site
        check_memory(f"{codes:,} codes", 16 * codes * site.z.numel(), FEWER)
        batches = subject.batches("aggregate posterior", self.draws)
        how: Any = {"samples": self.draws, "groups": self.groups}
        return aggregate_posterior(subject.model, batches, **how)

    def lines(self, record: Record) -> Iterator[Line]:
        """Yield a line for each number; those that the number of rows bounds say so."""
        bounded = f"bounded by log N = {math.log(record['rows']):.2f}: take more rows"
        for name, value, error, unit in super().lines(record):
            cut = record.get("bounded") and name in PARTS[:3]
            yield name, value, error, bounded if cut else unit
