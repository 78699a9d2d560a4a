"""Measures of the aggregate posterior, against full sums written out and closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from torch import Tensor

import vaekit as vk
from vaekit import distributions as d
from vaekit.evaluate import aggregate, aggregate_log_prob, aggregate_posterior
from vaekit.models import VAE
from vaekit.testing import LinearGaussian

Proves = Callable[..., None]
PARTS = ("mutual_information", "total_correlation", "dimension_wise_kl")


def written_out(loc: np.ndarray, scale: np.ndarray, z: np.ndarray) -> SimpleNamespace:
    """The measures at z (N, D), by loops over rows and dims with scipy's normal density."""
    n, dims = loc.shape
    log_qx = np.array([norm.logpdf(z[i], loc[i], scale[i]).sum() for i in range(n)])
    log_q, product = np.empty(n), np.empty(n)
    for i in range(n):
        pairs = np.array(
            [[norm.logpdf(z[i, k], loc[j, k], scale[j, k]) for k in range(dims)] for j in range(n)]
        )
        log_q[i] = logsumexp(pairs.sum(1)) - math.log(n)
        product[i] = sum(logsumexp(pairs[:, k]) - math.log(n) for k in range(dims))
    log_p = norm.logpdf(z).sum(1)
    return SimpleNamespace(
        mutual_information=(log_qx - log_q).mean(),
        total_correlation=(log_q - product).mean(),
        dimension_wise_kl=(product - log_p).mean(),
        marginal_kl=(log_q - log_p).mean(),
        kl_sampled=(log_qx - log_p).mean(),
    )


def loose(rows: int = 23, latent: int = 3) -> tuple[VAE, Tensor]:
    """A linear model whose posterior is not exact, and data."""
    model = LinearGaussian.fit(torch.randn(60, 5, dtype=torch.float64), latent).vae()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.3 * torch.randn_like(value))
    return model, torch.randn(rows, 5, dtype=torch.float64)


def test_every_measure_is_the_full_sum(monkeypatch: pytest.MonkeyPatch, proves: Proves) -> None:
    """However the rows come in batches, and the points in pieces."""
    model, x = loose()
    for sizes, room in (([23], 2**23), ([10, 10, 3], 2**12), ([1] * 23, 1)):
        monkeypatch.setattr(aggregate, "BYTES", room)
        batches = [(part, None) for part in x.split(sizes)]
        torch.manual_seed(5)
        found = aggregate_posterior(model, batches)
        torch.manual_seed(5)
        with torch.no_grad():
            z = torch.cat([model(part).site.z[0] for part, _ in batches])
            q = model.posterior(x)
        expected = written_out(q.loc.numpy(), q.scale.numpy(), z.numpy())
        for name, value in vars(expected).items():
            part = name.replace("_", " ")
            proves(part, "loops over scipy's normal", getattr(found, name), value, limit=1e-11)
        assert sum(getattr(found, name) for name in PARTS) == pytest.approx(found.kl_sampled)
        assert (found.rows, found.samples) == (23, 1)
        assert found.mutual_information < math.log(23)


def test_rate_and_distortion_are_those_of_the_closed_forms(proves: Proves) -> None:
    oracle = LinearGaussian.fit(torch.randn(60, 5, dtype=torch.float64), 2)
    x = torch.randn(40, 5, dtype=torch.float64)
    model = oracle.vae()
    found = aggregate_posterior(model, [(x[:25], None), (x[25:], None)], samples=2000)
    q = model.posterior(x)
    loc, variance = q.mean.detach(), q.variance[0].detach()
    rate = 0.5 * (loc.square() + variance - 1 - variance.log()).sum(1)
    oracle_name = "the linear-Gaussian closed form"
    proves("rate", oracle_name, found.rate, rate.mean(), limit=1e-12)
    distortion = -oracle.elbo(x, loc, variance, beta=0.0).mean()
    proves("distortion, 2000 draws", oracle_name, found.distortion, distortion, limit=2e-3)
    assert found.errors["rate"] == pytest.approx(rate.std().item() / math.sqrt(40))
    assert found.kl_sampled == pytest.approx(found.rate, abs=0.02)


def test_of_many_rows_of_the_model_itself_the_aggregate_is_the_prior() -> None:
    """As N grows q(z) becomes p(z), so I(x; z) = 1/2 log det(M / s2) and nothing else is left.

    The sum over N points is above the integral by about E[q(z|x) / q(z)] / 2N, here 0.0004.
    """
    oracle = LinearGaussian(
        torch.zeros(3).double(),
        torch.tensor([[1.0], [0.5], [0.0]]).double(),
        torch.tensor(0.5).double(),
    )
    model = oracle.vae()
    x = model.sample(4000)
    found = aggregate_posterior(model, [(part, None) for part in x.split(500)])
    exact = 0.5 * torch.logdet(oracle.precision / oracle.variance).item()
    assert exact == pytest.approx(0.626, abs=1e-3)
    assert abs(found.mutual_information - exact) < 4 * found.errors["mutual_information"] + 0.002
    assert abs(found.marginal_kl) < 4 * found.errors["marginal_kl"] + 0.002
    assert abs(found.total_correlation) < 1e-12, "one latent"


def test_the_exact_row_of_the_table_of_estimators() -> None:
    """5000 posteriors, 10 latents, sigma 0.1: MI = log N = 8.52, TC 14.5, dimension-wise KL 0.02.

    An estimate from a batch gives 4.2 to 42, -33 to 94 and -84 to 1.3 here.
    """
    loc = torch.randn(5000, 10)
    z = loc + 0.1 * torch.randn_like(loc)
    q = [d.Gaussian(part, torch.tensor(math.log(0.1))) for part in loc.split(500)]
    some = torch.arange(1000)
    log_q, terms = aggregate_log_prob(q, z[some])
    log_qx = d.Gaussian(loc, torch.tensor(math.log(0.1))).log_prob(z)[some]
    log_p = d.StandardGaussian(torch.zeros(10)).log_prob(z)[some]
    assert (log_qx - log_q).mean() == pytest.approx(math.log(5000), abs=0.005)
    assert (log_q - terms.sum(1)).mean() == pytest.approx(14.5, abs=0.4)
    assert (terms.sum(1) - log_p).mean() == pytest.approx(0.02, abs=0.15)


def test_the_mutual_information_is_between_nothing_and_log_n() -> None:
    x = torch.randn(50, 5, dtype=torch.float64)
    oracle = LinearGaussian.fit(x, 2)
    blind = oracle.vae(torch.zeros(2, 5).double(), torch.ones(2).double())
    sharp = oracle.vae(variance=torch.full((2,), 1e-8).double())
    none, all_of_it = (aggregate_posterior(m, [(x, None)], samples=2) for m in (blind, sharp))
    for name in (*PARTS, "rate", "marginal_kl"):
        assert abs(getattr(none, name)) < 1e-12
    assert all_of_it.mutual_information == pytest.approx(math.log(50), abs=1e-6)
    one = aggregate_posterior(sharp, [(x[:1], None)])
    assert abs(one.mutual_information) < 1e-9
    assert math.isnan(one.errors["rate"])


class Whole(d.Gaussian):
    """A Gaussian that does not say it factorises."""

    offers = d.Gaussian.offers - {"factors"}


def test_what_does_not_factorise_has_no_total_correlation() -> None:
    class Family(vk.Gaussian):
        distribution = Whole

    model, x = loose()
    torch.manual_seed(0)
    expected = aggregate_posterior(model, [(x, None)])
    model.posterior.family = Family(3)
    torch.manual_seed(0)
    found = aggregate_posterior(model, [(x, None)])
    assert found.mutual_information == pytest.approx(expected.mutual_information, abs=1e-12)
    assert found.total_correlation is None
    assert found.dimension_wise_kl is None


def test_what_has_no_density_is_refused_in_one_line() -> None:
    model, x = loose(4)
    point = VAE(
        vk.StandardNormal(2),
        vk.Conditional(vk.MLP(5, 2), vk.Delta(2)),
        vk.Conditional(vk.MLP(2, 5), vk.Gaussian(5)),
    )
    with pytest.raises(vk.VaekitError, match=r"^Delta has no density, so the model has no q\(z\)"):
        aggregate_posterior(point, [(x.float(), None)])
    with pytest.raises(vk.VaekitError, match="got no rows"):
        aggregate_posterior(model, [])
    with pytest.raises(vk.VaekitError, match="20 of the 20 numbers of x are not finite"):
        aggregate_posterior(model, [(x * math.nan, None)])
    with pytest.raises(vk.VaekitError, match="got samples=0"):
        aggregate_posterior(model, [(x, None)], samples=0)
    with torch.no_grad():
        next(model.posterior.parameters()).fill_(math.inf)
    with pytest.raises(vk.VaekitError, match=r"rate of \d of 4 rows is not a number"):
        aggregate_posterior(model, [(x, None)])
