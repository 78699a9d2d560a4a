"""The aggregate posterior q(z) = 1/N sum_n q(z|x_n), summed exactly over a data set.

Shapes: `N` rows, `M` points, `D` latent dims; nats.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from vaekit.distributions import Distribution, offering
from vaekit.errors import at_least
from vaekit.evaluate import checks
from vaekit.evaluate.metrics import Batch, Column, Record, Study, Subject, cut
from vaekit.models import Model, Site, exact
from vaekit.registry import register
from vaekit.torchutil import evaluating

BYTES = 2**20  # of densities at a time: the size of a core's cache
PARTS = ("mutual_information", "marginal_kl", "total_correlation", "dimension_wise_kl")
NAMES = ("rate", "distortion", *PARTS, "kl_sampled")


def aggregate_posterior(
    model: Model, batches: Iterable[Batch], *, samples: int = 1
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

    Returns:
        `rate`, the mean KL(q(z|x) || p(z)), in closed form where there is one; `distortion`, the
        mean of -log p(x|z); `mutual_information`, I(x; z) = mean of log q(z|x) - log q(z), at most
        log N; `marginal_kl`, KL(q(z) || p(z)); `total_correlation`, KL(q(z) || prod_d q(z_d)), None
        where q(z|x) does not factorize; `dimension_wise_kl`, sum_d KL(q(z_d) || p(z_d)), None where
        q(z|x) or p(z) does not; `kl_sampled`, the mean KL from the same draws as these terms;
        `errors`, the standard error of each, by name; `rows`, N; and `samples`.

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
    at_least("samples", samples, 1)
    with evaluating(model), exact(model):
        parts = cut(model, batches, samples)
        passes = checks.some(_scored(model, x, context, samples) for x, context in parts)
        sites = [site for site, _ in passes]
        z = torch.cat([site.z for site in sites], 1)
        log_q, terms = aggregate_log_prob([site.q for site in sites], z.flatten(0, 1))
    log_qx, log_p, kl, log_px = torch.cat([scores for _, scores in passes], 2)
    values = {"rate": kl, "distortion": -log_px, "kl_sampled": log_qx - log_p}
    values |= _split(log_qx, log_q.view_as(log_qx), terms, log_p, sites[0].p)
    return _averaged(values, samples)


def _scored(model: Model, x: Tensor, context: Tensor | None, samples: int) -> tuple[Site, Tensor]:
    """Return the site, and (4, S, B): log q(z|x), log p(z), KL, log p(x|z)."""
    checks.refuse_gaps("x", x)
    trace = model(x, context, samples=(samples,))
    site = trace.site
    return site, torch.stack([site.log_q, site.log_p, site.kl, trace.log_likelihood]).double()


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


def _averaged(values: dict[str, Tensor], samples: int) -> checks.Numbers:
    rows = {name: value.mean(0) for name, value in values.items()}
    for name, value in rows.items():
        checks.refuse_not_a_number(name.replace("_", " "), value[None])
    return checks.Numbers(
        {name: rows[name].mean().item() if name in rows else None for name in NAMES},
        errors={name: checks.standard_error(value) for name, value in rows.items()},
        rows=len(rows["rate"]),
        samples=samples,
    )


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
        sums = [_density(q, few, factors) for q in posteriors]
        parts.append(torch.stack(sums).double().logsumexp(0) - math.log(sum(rows)))
    value = torch.cat(parts)
    return value[:, 0], value[:, 1:] if factors else None


def _density(q: Distribution, z: Tensor, factors: bool) -> Tensor:
    """Return the log of the sum over rows of q(z), and of each q(z_d) if factors: (I, 1 + D)."""
    if not factors:
        return _summed(q.log_prob(z[:, None]))[:, None]
    terms = q.terms(z[:, None]).flatten(2)
    return torch.cat([_summed(terms.sum(2))[:, None], _summed(terms)], 1)


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
        self.draws = at_least("samples", samples, 1)

    def study(self, subject: Subject) -> Record:
        """Return the numbers of `aggregate_posterior`."""
        batches = subject.batches("aggregate posterior", self.draws)
        return aggregate_posterior(subject.model, batches, samples=self.draws)
