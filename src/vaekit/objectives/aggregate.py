"""Terms of the aggregate posterior q(z), the mixture of q(z|x) over rows: each from a batch.

Shapes: `S` Monte-Carlo dims, `B` batch, `D` latent dims, `L` directions. Each draw of the batch has
a value of its own, whose mean over the draws is taken.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from vaekit.distributions import Offer, offering
from vaekit.errors import VaekitError, at_least, one_of, within
from vaekit.models import Site, Trace
from vaekit.objectives.base import Objective, Weight, over_samples
from vaekit.registry import register

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of the sum of kernels: arXiv 1711.01558's code
MOST = 10_000  # directions
Terms = dict[str, tuple[Tensor | float, Tensor]]


class Priced(Objective):
    """E_q[log p(x|z)] less terms that have a weight each; what they are is recorded by name."""

    @abstractmethod
    def terms(self, trace: Trace) -> Terms:
        """Return each term by its name: its weight, and its value, `(B,)` or one for the batch."""

    def _terms(self, trace: Trace) -> Terms:
        """Return the terms, computed once for a trace, as some of them draw."""
        known: dict[Any, Terms] = trace.__dict__.setdefault("priced", {})
        key = (self, torch.is_grad_enabled())
        if key not in known:
            known[key] = self.terms(trace)
        return known[key]

    def value(self, trace: Trace) -> Tensor:
        price = sum(weight * term for weight, term in self._terms(trace).values())
        return over_samples(trace.log_likelihood) - price

    def parts(self, trace: Trace) -> dict[str, Tensor]:
        """Return the terms besides, `(B,)`, detached."""
        terms = {name: term for name, (_, term) in self._terms(trace).items()}
        each = {name: term.detach().expand(len(trace.x)) for name, term in terms.items()}
        return {**super().parts(trace), **each}


def several(trace: Trace, name: str) -> int:
    """Return how many rows the batch has, for what compares them: of a single one there is none.

    Raises:
        VaekitError: for a batch of one row.
    """
    if len(trace.x) == 1:
        raise VaekitError(
            f"{name} compares the rows of a batch, and this one has a single row: take "
            "`batch_size=2` or more, and two rows or more to measure."
        )
    return len(trace.x)


def rows_of(site: Site) -> Tensor:
    """Return z with its event in one dim, `(S, B, D)`."""
    return (
        site.z.flatten(site.z.dim() - site.p.event_dim) if site.p.event_dim else site.z[..., None]
    )


def prior_rows(site: Site) -> Tensor:
    """Return as many draws of p(z) as there are of q(z|x), `(S, B, D)`; no gradients."""
    lead = tuple(site.z.shape[: site.z.dim() - site.p.event_dim])
    z = site.p.sample(lead[:-1])  # of a prior for each row
    z = z if z.dim() == site.z.dim() else site.p.sample(lead)
    return rows_of(Site(site.name, z, site.q, site.p))


@register("objective", "beta-tc")
class BetaTC(Priced):
    """E_q[log p(x|z)] - alpha I(x; z) - beta TC(z) - gamma sum_d KL(q(z_d) || p(z_d)).

    Chen et al., arXiv 1802.04942, eq. 4: at weights of 1 it is the ELBO with the KL at the draws,
    whatever the estimator. q(z) and its marginals are estimated from the batch: log q(z_i) is
    log sum_j w_ij q(z_i | x_j), and so in each dimension. Stratified (appendix C.2) w_ii is 1/N and
    w_ij is (N - 1) / (N (B - 1)), the mean of the paper's weights over which row gets the odd one:
    the sum is unbiased, the order of rows does not matter, and of all rows it is exact. Weighted by
    minibatch (C.1) all are 1/(N B), of which only the gradient is of use.

    Args:
        rows: N, of the training.
        alpha, beta, gamma: the weights of mutual information, total correlation and dimension-wise
            KL, which a schedule may fill.
        estimator: "stratified" or "minibatch".
        samples: Monte-Carlo draws.

    Raises:
        VaekitError: for negative weights, another estimator, no samples, and a batch of one row.

    Example:
        >>> BetaTC(60_000, beta=6.0).beta
        tensor(6.)
    """

    alpha: Tensor
    beta: Tensor
    gamma: Tensor
    coupled = True
    least_rows = 2
    needs = offering("latent", "rsample", "density", "marginal", "factors", "one_site", "exact")

    def __init__(
        self,
        rows: int,
        *,
        alpha: float = 1.0,
        beta: float = 6.0,
        gamma: float = 1.0,
        estimator: str = "stratified",
        samples: int = 1,
    ) -> None:
        super().__init__()
        self.rows = at_least("rows", rows, 1)
        self.estimator = one_of("estimator", estimator, ["stratified", "minibatch"])
        self.alpha = Weight(at_least("alpha", alpha, 0.0))
        self.beta = Weight(at_least("beta", beta, 0.0))
        self.gamma = Weight(at_least("gamma", gamma, 0.0))
        self.samples = (at_least("samples", samples, 1),)

    def log_weights(self, batch: int, like: Tensor) -> Tensor:
        """Return log w_ij, `(B, B)`."""
        n = max(self.rows, batch, 2)
        if self.estimator == "minibatch":
            return like.new_full((batch, batch), -math.log(n * max(batch, 1)))
        others = math.log((n - 1) / (n * max(batch - 1, 1)))
        return like.new_full((batch, batch), others).fill_diagonal_(-math.log(n))

    def terms(self, trace: Trace) -> Terms:
        """Return I(x; z), TC(z) and the dimension-wise KL, `(B,)` each."""
        site, batch = trace.site, several(trace, "beta-tc")
        lead = site.z.dim() - site.q.event_dim
        each = site.q.terms(site.z.unsqueeze(lead)).flatten(lead + 1)  # log q(z_id | x_j)
        weights = self.log_weights(batch, each)
        log_q = (each.sum(-1) + weights).logsumexp(-1)
        product = (each + weights[..., None]).logsumexp(-2).sum(-1)
        return {
            "mutual_information": (self.alpha, over_samples(site.log_q - log_q)),
            "total_correlation": (self.beta, over_samples(log_q - product)),
            "dimension_wise_kl": (self.gamma, over_samples(product - site.log_p)),
        }


@register("objective", "dip")
class DIP(Priced):
    """The ELBO - lambda_od sum_{i != j} C_ij^2 - lambda_d sum_i (C_ii - 1)^2: DIP-VAE.

    C is the covariance of the posterior's means over the batch (divided by B); of the variant "ii"
    it is that of q(z): the mean of the posterior's variances is added on the diagonal (Kumar,
    Sattigeri & Balakrishnan, arXiv 1711.00848, eq. 6 and 7).

    Args:
        lambda_od: the weight of what is off the diagonal, which a schedule may fill.
        lambda_d: that of the diagonal; by default ten times the other one for "i", and as much as
            it for "ii".
        variant: "i" or "ii".
        samples: Monte-Carlo draws.

    Raises:
        VaekitError: for a negative weight, another variant, no samples, and a batch of one row.

    Example:
        >>> DIP(variant="ii", lambda_d=10.0).lambda_d
        tensor(10.)
    """

    lambda_od: Tensor
    lambda_d: Tensor
    coupled = True
    least_rows = 2

    @property
    def needs(self) -> frozenset[Offer]:  # type: ignore[override]
        """Return its needs: the variances of independent dimensions for variant ii alone."""
        more = ["moments", "factors"] if self.variant == "ii" else []
        return offering("latent", "rsample", "bound", "mean", "one_site", *more)

    def __init__(
        self,
        *,
        lambda_od: float = 10.0,
        lambda_d: float | None = None,
        variant: str = "i",
        samples: int = 1,
    ) -> None:
        super().__init__()
        self.lambda_od = Weight(at_least("lambda_od", lambda_od, 0.0))
        self.variant = one_of("variant", variant, ["i", "ii"])
        usual = lambda_od * (10.0 if variant == "i" else 1.0)
        self.lambda_d = Weight(at_least("lambda_d", usual if lambda_d is None else lambda_d, 0.0))
        self.samples = (at_least("samples", samples, 1),)

    def terms(self, trace: Trace) -> Terms:
        """Return the KL `(B,)`, and both sums of squares."""
        site, batch = trace.site, several(trace, "dip")
        apart = site.q.mean - site.q.mean.mean(0)
        covariance = apart.flatten(1).T @ apart.flatten(1) / max(batch, 1)
        if self.variant == "ii":
            variance: Tensor = site.q.variance  # type: ignore[attr-defined]
            covariance = covariance + variance.mean(0).flatten().diag()
        diagonal = covariance.diagonal()
        off = covariance.square().sum() - diagonal.square().sum()
        return {
            "kl": (1.0, over_samples(trace.kl)),
            "covariance_off": (self.lambda_od, off),
            "covariance_diagonal": (self.lambda_d, (diagonal - 1).square().sum()),
        }


def mmd(x: Tensor, y: Tensor, *, kernel: str = "imq", bandwidth: float = 1.0) -> Tensor:
    """Return the squared maximum mean discrepancy of two sets of points, unbiased.

    The U-statistic (Gretton et al. 2012, eq. 3), the mean of k(x_i, x_j) and of k(y_i, y_j) over
    i != j less twice that of all k(x_i, y_j): its mean is 0 for points of one law, so that it may
    be negative. With C = 2 D bandwidth^2, the mean squared distance of two draws of N(0,
    bandwidth^2 I), and r the distance of two points, the kernel is exp(-r^2 / C) ("rbf"), or the
    sum of s C / (s C + r^2) over s from 0.1 to 10 ("imq", the inverse multiquadratics of Tolstikhin
    et al., arXiv 1711.01558).

    Args:
        x, y: `(..., B, D)`, as many points each.
        kernel: "rbf" or "imq".
        bandwidth: of the kernel.

    Returns:
        `(...)`.

    Example:
        >>> x, y = torch.zeros(3, 2), torch.full((3, 2), 2.0)
        >>> mmd(x, x), mmd(x, y, kernel="rbf").round(decimals=4)
        (tensor(0.), tensor(1.7293))
    """
    points = torch.cat([x, y], -2)
    points = points - points.detach().mean(-2, keepdim=True)  # near 0 nothing cancels
    inner = points @ points.mT
    norms = inner.diagonal(dim1=-2, dim2=-1)
    square = (norms[..., None] + norms[..., None, :] - 2 * inner).clamp(min=0)
    c, n = 2 * x.shape[-1] * bandwidth**2, x.shape[-2]
    if kernel == "rbf":
        values = torch.exp(-square / c)
    else:
        values = torch.stack([s * c / (s * c + square) for s in SCALES]).sum(0)
    same = values.diagonal(dim1=-2, dim2=-1).sum(-1)
    within_sets = values[..., :n, :n].sum((-1, -2)) + values[..., n:, n:].sum((-1, -2))
    crossed = values[..., :n, n:].sum((-1, -2))
    return (within_sets - same) / max(n * (n - 1), 1) - 2 * crossed / max(n * n, 1)


def _mmd(trace: Trace, name: str, kernel: str, bandwidth: float) -> Tensor:
    """Return that of the draws of a batch and of as many of p(z)."""
    several(trace, name)
    found = mmd(rows_of(trace.site), prior_rows(trace.site), kernel=kernel, bandwidth=bandwidth)
    return found.mean()


def _kernel(kernel: str, bandwidth: float) -> tuple[str, float]:
    return one_of("kernel", kernel, ["rbf", "imq"]), within("bandwidth", bandwidth, 1e-3, 1e3)


OF_DRAWS = offering("latent", "numbers", "rsample", "draws", "one_site")


@register("objective", "info-vae")
class InfoVAE(Priced):
    """E_q[log p(x|z)] - (1 - alpha) KL - (alpha + lambda - 1) MMD^2(q(z), p(z)): InfoVAE.

    Zhao, Song & Ermon, arXiv 1706.02262, eq. 6, with the divergence of q(z) and p(z) by a kernel:
    see `mmd`. At alpha = 1 z may tell all of x, as long as the codes together follow the prior.

    Args:
        alpha: what the KL weighs less.
        lam: lambda, which a schedule may fill.
        kernel: "rbf" or "imq".
        bandwidth: of the kernel, in units of z: 1 suits N(0, I).
        samples: Monte-Carlo draws.

    Raises:
        VaekitError: for an alpha outside [0, 1], a lambda below 1 - alpha, another kernel, a
            bandwidth outside [0.001, 1000], no samples, and a batch of one row.

    Example:
        >>> InfoVAE(alpha=0.5, lam=100.0).lam
        tensor(100.)
    """

    lam: Tensor
    coupled = True
    least_rows = 2
    trains_prior = False  # which the discrepancy draws from, and does not move
    needs = OF_DRAWS | {Offer.BOUND}

    def __init__(
        self,
        *,
        alpha: float = 0.0,
        lam: float = 1000.0,
        kernel: str = "rbf",
        bandwidth: float = 1.0,
        samples: int = 1,
    ) -> None:
        super().__init__()
        self.alpha = within("alpha", alpha, 0.0, 1.0)
        self.lam = Weight(at_least("lam", lam, 1.0 - self.alpha))
        self.kernel, self.bandwidth = _kernel(kernel, bandwidth)
        self.samples = (at_least("samples", samples, 1),)

    def terms(self, trace: Trace) -> Terms:
        """Return the KL `(B,)` and the batch's MMD."""
        found = _mmd(trace, "info-vae", self.kernel, self.bandwidth)
        return {
            "kl": (1 - self.alpha, over_samples(trace.kl)),
            "mmd": ((self.alpha + self.lam - 1).clamp(min=0), found),
        }


@register("objective", "wae-mmd")
class WAEMMD(Priced):
    """E_q[log p(x|z)] - lambda MMD^2(q(z), p(z)): the Wasserstein autoencoder.

    Tolstikhin et al., arXiv 1711.01558, eq. 4 and algorithm 2: the codes of all rows together
    follow the prior, those of one row may be a point. The discrepancy is that of `mmd`. It is no
    bound.

    Args:
        lam: lambda, nats, which a schedule may fill.
        kernel: "imq" or "rbf".
        bandwidth: of the kernel, in units of z: 1 suits N(0, I).
        samples: Monte-Carlo draws.

    Raises:
        VaekitError: for a negative lambda, another kernel, a bandwidth outside [0.001, 1000], no
            samples, and a batch of one row.

    Example:
        >>> WAEMMD(lam=10.0).lam
        tensor(10.)
    """

    lam: Tensor
    coupled = True
    least_rows = 2
    needs = OF_DRAWS

    def __init__(
        self,
        *,
        lam: float = 100.0,
        kernel: str = "imq",
        bandwidth: float = 1.0,
        samples: int = 1,
    ) -> None:
        super().__init__()
        self.lam = Weight(at_least("lam", lam, 0.0))
        self.kernel, self.bandwidth = _kernel(kernel, bandwidth)
        self.samples = (at_least("samples", samples, 1),)

    def terms(self, trace: Trace) -> Terms:
        """Return the batch's MMD."""
        return {"mmd": (self.lam, _mmd(trace, "wae-mmd", self.kernel, self.bandwidth))}


def sliced_w2(x: Tensor, y: Tensor, *, projections: int = 50) -> Tensor:
    """Return the squared 2-Wasserstein distance of projections on lines, its mean over lines.

    The directions are spread evenly over the sphere; along one of them the distance is between the
    points in their order, so that the order of rows does not matter. Of two clouds that differ by a
    shift d it is |d|^2 / D.

    Args:
        x, y: `(..., B, D)`, as many points each.
        projections: how many lines, drawn anew at each call.

    Returns:
        `(...)`.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> sliced_w2(x, x.flip(0) + 3)
        tensor(9.)
    """
    lines = torch.randn(x.shape[-1], projections, dtype=x.dtype, device=x.device)
    lines = lines / lines.norm(dim=0)
    apart = (x @ lines).sort(dim=-2).values - (y @ lines).sort(dim=-2).values
    return apart.square().mean((-1, -2))


@register("objective", "swae")
class SWAE(Priced):
    """E_q[log p(x|z)] - lambda SW^2(q(z), p(z)): the sliced Wasserstein autoencoder.

    Kolouri et al., arXiv 1804.01947, eq. 15, with lines drawn for each batch: see `sliced_w2`. It
    is no bound.

    Args:
        lam: lambda, nats, which a schedule may fill.
        projections: how many lines.
        samples: Monte-Carlo draws.

    Raises:
        VaekitError: for a negative lambda, less than one line or more than 10,000, no samples, and
            a batch of one row.

    Example:
        >>> SWAE(lam=10.0).lam
        tensor(10.)
    """

    lam: Tensor
    coupled = True
    least_rows = 2
    needs = OF_DRAWS

    def __init__(self, *, lam: float = 100.0, projections: int = 50, samples: int = 1) -> None:
        super().__init__()
        self.lam = Weight(at_least("lam", lam, 0.0))
        self.projections = within("projections", projections, 1, MOST)
        self.samples = (at_least("samples", samples, 1),)

    def terms(self, trace: Trace) -> Terms:
        """Return the batch's distance."""
        several(trace, "swae")
        z, site = rows_of(trace.site), trace.site
        found = sliced_w2(z, prior_rows(site), projections=self.projections)
        return {"sliced_w2": (self.lam, found.mean())}
