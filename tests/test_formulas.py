"""A row of docs/conformance.md for each formula that no other test records, by numpy and scipy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Proves
from numpy.typing import NDArray
from scipy import integrate, linalg, optimize, spatial, special, stats
from sklearn.metrics import r2_score
from sklearn.mixture import GaussianMixture as Mixture
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch import distributions as td

import vaekit as vk
from vaekit import distributions as d
from vaekit._torchutil import Moments
from vaekit._train_options import Data, Training
from vaekit.data import (
    Batches,
    DataSpec,
    Split,
    Transform,
    load,
    one_hot,
    partition,
    prepare,
    read,
    spread,
)
from vaekit.evaluate import (
    Codebook,
    Rows,
    Subject,
    bits_per_dim,
    colors,
    correlated,
    log_volume,
    measured,
    standard_error,
    synthetic,
)
from vaekit.models import Trace, layer_tables
from vaekit.nn import LatentDropout, UnpoolEncoder, activation, initialize, start_at, unpool
from vaekit.objectives import ELBO, IWAE, Reconstruction
from vaekit.registry import make
from vaekit.report import Pair, Table, between, explained, scaled
from vaekit.runs import fit_prior, summarize
from vaekit.testing import LinearGaussian
from vaekit.training import DensePass, Mean, fit, make_optimizer, make_schedules, parse

Array = NDArray[np.float64]
N = 20_000  # draws


def of(value: Any) -> Array:
    return np.asarray(value.detach() if isinstance(value, Tensor) else value, dtype=np.float64)


def some(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


# Distributions ----------------------------------------------------------------------------------

LOC, LOG = torch.tensor([-1.0, 0.3, 2.0]).double(), torch.tensor([-0.7, 0.0, 0.4]).double()
WEIGHTS = np.array([0.2, 0.5, 0.3])
GAMMA = td.Gamma(LOG.exp() + 0.5, LOC.exp())


def levels(logits: Tensor) -> list[Any]:
    """The values k / 4 and their chances, for each element."""
    chances = special.softmax(of(logits), -1)
    return [stats.rv_discrete(values=(range(5), row)) for row in chances]


CATEGORICAL = torch.randn(3, 5, generator=torch.Generator().manual_seed(1)).double()
LEVELS = levels(CATEGORICAL)
S = special.expit(of(LOC))
# name: (the distribution, mean and variance, and the distribution function at x (N, 3))
KNOWN: dict[str, tuple[d.Distribution, Array, Array | None, Callable[[Array], Any]]] = {
    name: (p, of(frozen.mean()), of(frozen.var()), frozen.cdf)
    for name, p, frozen in (
        ("Gaussian", d.Gaussian(LOC, LOG), stats.norm(of(LOC), of(LOG.exp()))),
        ("Gaussian at temperature 0.5", d.Gaussian(LOC, LOG).tempered(0.5),
         stats.norm(of(LOC), 0.5 * of(LOG.exp()))),
        ("StandardGaussian", d.StandardGaussian(0 * LOC), stats.norm(0 * of(LOC), 1)),
        ("StandardGaussian at temperature 2", d.StandardGaussian(0 * LOC).tempered(2),
         stats.norm(0 * of(LOC), 2)),
        ("Laplace", d.Laplace(LOC, LOG), stats.laplace(of(LOC), of(LOG.exp()))),
        ("Logistic", d.Logistic(LOC, LOG), stats.logistic(of(LOC), of(LOG.exp()))),
        ("StudentT", d.StudentT(LOC, LOG, torch.tensor(3.7, dtype=torch.float64)),
         stats.t(3.7, of(LOC), of(LOG.exp()))),
        ("Bernoulli", d.Bernoulli(LOC), stats.bernoulli(S)),
        ("Poisson", d.Poisson(LOC), stats.poisson(np.exp(of(LOC)))),
        ("NegativeBinomial", d.NegativeBinomial(LOC, LOG),
         stats.nbinom(of(LOG.exp()), of(LOG.exp() / (LOG.exp() + LOC.exp())))),
        ("TorchDistribution(Gamma)", d.TorchDistribution(GAMMA, event_dim=1),
         stats.gamma(of(GAMMA.concentration), scale=1 / of(GAMMA.rate))),
    )
}  # fmt: skip
KNOWN["Categorical"] = (
    d.Categorical(CATEGORICAL),
    np.array([p.mean() / 4 for p in LEVELS]),
    np.array([p.var() / 16 for p in LEVELS]),
    lambda x: np.stack([p.cdf(np.rint(4 * x[:, i])) for i, p in enumerate(LEVELS)], 1),
)
KNOWN["ContinuousBernoulli"] = (
    d.ContinuousBernoulli(LOC),
    S / (2 * S - 1) + 1 / (2 * np.arctanh(1 - 2 * S)),
    None,
    lambda x: (S**x * (1 - S) ** (1 - x) + S - 1) / (2 * S - 1),
)
KNOWN["GaussianMixture"] = (
    d.GaussianMixture(torch.tensor(WEIGHTS).log(), LOC[:, None], LOG.exp()[:, None, None]),
    np.array([WEIGHTS @ of(LOC)]),
    np.array([WEIGHTS @ of(LOC**2 + (2 * LOG).exp()) - (WEIGHTS @ of(LOC)) ** 2]),
    lambda x: stats.norm(of(LOC), of(LOG.exp())).cdf(x) @ WEIGHTS[:, None],
)


KNOWN["LogCosh"] = (
    d.LogCosh(LOC, LOG),
    of(LOC),
    None,
    stats.hypsecant(of(LOC), of(LOG.exp())).cdf,
)
KNOWN["Mixture of Gaussians"] = (
    d.Mixture(torch.tensor(WEIGHTS).log(), d.Gaussian(LOC[:, None], LOG[:, None])),
    *KNOWN["GaussianMixture"][1:],
)


SHARES = special.softmax(of(LOC))
KNOWN["Multinomial"] = (
    d.Multinomial(torch.tensor(7 * SHARES).log()),
    7 * SHARES,
    7 * SHARES * (1 - SHARES),
    stats.binom(7, SHARES).cdf,
)


def binned(k: Array) -> Array:
    """The chance of at most k of 0 to 4, of logistic variables between the middles."""
    below = stats.logistic(of(LOC), of(LOG.exp())).cdf((np.rint(k) + 0.5) / 4)
    return np.where(np.rint(k) >= 4, 1.0, below)


CHANCES = np.diff([np.zeros(3), *(binned(np.full(3, float(k))) for k in range(5))], axis=0)
KNOWN["DiscretizedLogistic"] = (
    d.DiscretizedLogistic(LOC, LOG, 5),
    np.arange(5) @ CHANCES / 4,
    (np.arange(5) ** 2 @ CHANCES - (np.arange(5) @ CHANCES) ** 2) / 16,
    lambda x: binned(4 * x),
)


@pytest.mark.parametrize("name", KNOWN)
def test_moments_and_draws_are_those_of_the_distribution_function(
    name: str, proves: Proves
) -> None:
    p, mean, variance, cdf = KNOWN[name]
    proves(f"{name}, mean", "scipy", p.mean, mean, limit=1e-9)
    if variance is not None:
        proves(f"{name}, variance", "scipy", p.variance, variance, limit=1e-12)  # type: ignore[attr-defined]
    x = np.sort(of(p.sample((N,))).reshape(N, -1), 0)
    below = np.stack([np.searchsorted(column, column, "right") for column in x.T], 1) / N
    apart = np.abs(below - cdf(x)).max(0)
    limit = 2.2 / math.sqrt(N)  # passed by all but once in 8,000 tests
    proves(f"draws of {name}", "distribution function of scipy", apart, 0 * apart, limit=limit)


@pytest.mark.parametrize("name", ["Logistic", "LogCosh", "DiscretizedLogistic"])
def test_densities_of_logistic_variables_are_scipys(name: str, proves: Proves) -> None:
    known: dict[str, Callable[[Array], Array]] = {
        "Logistic": stats.logistic(of(LOC), of(LOG.exp())).logpdf,
        "LogCosh": stats.hypsecant(of(LOC), of(LOG.exp())).logpdf,
        "DiscretizedLogistic": lambda x: np.log(binned(4 * x) - (x > 0) * binned(4 * x - 1)),
    }
    x = 4 * some(40, 3) if name != "DiscretizedLogistic" else torch.randint(0, 5, (40, 3)) / 4
    got, wanted = KNOWN[name][0].log_prob(x.double()), known[name](of(x)).sum(1)
    proves(f"{name}, density", "scipy", got, wanted, limit=1e-11)


def test_densities_of_mixtures_and_of_torch_are_scipys(proves: Proves) -> None:
    tril = some(3, 2, 2).tril(-1) + some(3, 2).exp().diag_embed()
    loc, z = some(3, 2), some(40, 2)
    p = d.GaussianMixture(torch.tensor(WEIGHTS).log(), loc, tril)
    parts = [stats.multivariate_normal(m, s @ s.T) for m, s in zip(of(loc), of(tril), strict=True)]
    wanted = np.log(sum(w * part.pdf(of(z)) for w, part in zip(WEIGHTS, parts, strict=True)))
    proves("GaussianMixture, density", "scipy", p.log_prob(z), wanted, limit=1e-11)
    x = some(40, 3).exp()
    gamma = stats.gamma(of(GAMMA.concentration), scale=1 / of(GAMMA.rate))
    got = d.TorchDistribution(GAMMA, event_dim=1).log_prob(x)
    wanted = gamma.logpdf(of(x)).sum(1)
    proves("TorchDistribution(Gamma), density", "scipy", got, wanted, limit=1e-11)


def test_the_fit_of_a_mixture_is_that_of_scikit_learn(proves: Proves) -> None:
    z = torch.cat([some(300, 2), 1.5 * some(200, 2) + 4])
    found = d.fit_mixture(z, 2, steps=100)
    known = Mixture(2, tol=1e-9, reg_covar=1e-4 * z.var(0, correction=0).mean().item(),
                    max_iter=500, random_state=0).fit(of(z))  # fmt: skip
    got = found.log_prob(z).mean()
    proves("fit_mixture, likelihood", "scikit-learn's EM", got, known.score(of(z)), limit=1e-3)


# Families ---------------------------------------------------------------------------------------


def softplus(raw: Array) -> Array:
    value: Array = np.logaddexp(0, raw)
    return value


def test_families_make_their_parameters_by_formula(proves: Proves) -> None:
    raw = 3 * some(50, 8)
    loc, more = np.split(of(raw), 2, 1)
    scales = {
        "free": (vk.Gaussian(4), np.exp(more / 2)),
        "softplus": (vk.Gaussian(4, scale="softplus"), softplus(more)),
        "floor": (vk.Gaussian(4, floor=-1.0), np.exp(-1 + softplus(more / 2 + 1))),
        "free, of a Laplace": (vk.Laplace(4), np.exp(more)),
    }
    for name, (family, scale) in scales.items():
        q: Any = family(raw)
        proves(f"family scale, {name}", "its formula, numpy", q.scale, scale, limit=1e-12)
        assert torch.equal(q.loc, raw[:, :4])
    clamped: Any = vk.Gaussian(1)(torch.tensor([[0.0, -99.0], [0.0, 99.0]]).double())
    ends = np.exp([[-15.0], [10.0]])
    proves("family scale, free, far out", "exp(-15) and exp(10)", clamped.scale, ends, limit=1e-12)
    maps = {"identity": loc, "sigmoid": special.expit(loc), "tanh": np.tanh(loc),
            "relu": np.maximum(loc, 0)}  # fmt: skip
    for name, wanted in maps.items():
        q = vk.Gaussian(4, mean=name, scale=0.25)(raw[:, :4])
        proves(f"family mean, {name}", "numpy", q.mean, wanted, limit=1e-12)
    raw = some(4, 15, 2)
    of_each: Any = vk.Categorical((3, 2), levels=5)(raw)
    wanted = of(raw).reshape(4, 3, 5, 2).swapaxes(2, 3)  # all levels of a channel, then the next
    proves("family logits of a Categorical", "numpy", of_each.logits, wanted, limit=0)
    shared: Any = vk.Laplace(4, scale="shared").double()
    nn.init.constant_(shared.scale.log_scale, 0.7)
    scale = shared(some(7, 4)).scale
    proves("family scale, shared and fixed", "exp and itself", scale, np.exp(0.7), limit=1e-7)
    proves("family scale, shared and fixed", "exp and itself", q.scale, 0.25, limit=1e-7)


@pytest.mark.parametrize("family", [vk.Gaussian, vk.Laplace])
def test_the_fitted_scale_and_its_running_mean(family: Any, proves: Proves) -> None:
    made, moment = family(3, scale="fitted").double().train(), 0.0
    power = 2 if family is vk.Gaussian else 1
    name = f"fitted scale of {'a Gaussian' if power == 2 else 'a Laplace'}"
    for count in range(1, 31):
        x, loc = count * some(7, 3), some(7, 3)
        mean = (np.abs(of(x) - of(loc)) ** power).mean()
        moment += max(1 / count, 0.05) * (mean - moment)
        scored = made(loc).fitted(x)
        best = stats.norm(of(loc), mean**0.5) if power == 2 else stats.laplace(of(loc), mean)
        density = best.logpdf(of(x)).sum(1)
        proves(f"{name}, density", "scipy", scored.log_prob(x), density, limit=1e-6)
    stored = made.scale.log_scale.exp()
    proves(f"{name}, stored", "its recursion", stored, moment ** (1 / power), limit=1e-6)


def test_families_start_at_a_mean(proves: Proves) -> None:
    mean = np.array([0.05, 0.3, 0.5, 0.9])
    level = np.arange(7) / 6
    backs: dict[str, tuple[Any, Callable[[Array], Array]]] = {
        "Bernoulli": (vk.Bernoulli(4), special.expit),
        "ContinuousBernoulli": (
            vk.ContinuousBernoulli(4),
            lambda slopes: np.array([quad_mean(lambda x, a=a: a * x) for a in slopes]),
        ),
        "Gaussian through tanh": (vk.Gaussian(4, scale=1.0, mean="tanh"), np.tanh),
        "Categorical": (
            vk.Categorical(4, levels=7),
            lambda logits: special.softmax(logits.reshape(4, 7), 1) @ level,
        ),
        "Poisson": (vk.Poisson(4), lambda r: np.exp(-30 + softplus(50 - softplus(20 - r)))),
        "ZeroInflatedNegativeBinomial": (
            vk.ZeroInflatedNegativeBinomial(4),
            lambda r: np.exp(-30 + softplus(50 - softplus(20 - r[:4]))) * special.expit(-r[4:]),
        ),
        "NegativeBinomial": (
            vk.NegativeBinomial(4),
            lambda r: np.exp(-30 + softplus(50 - softplus(20 - r))),
        ),
    }
    for name, (family, back) in backs.items():
        wanted = mean * (1e8 if family.space.kind == "counts" else 1)  # near the bound of exp(20)
        got = back(of(family.start(torch.tensor(wanted))))
        proves(f"start of {name}", "its mean by numpy and quadrature", got, wanted, limit=1e-6)


def quad_mean(log_density: Callable[[Any], Any]) -> float:
    """The mean on [0, 1] of what is proportional to exp of this."""
    mass = integrate.quad(lambda x: np.exp(log_density(x)), 0, 1)[0]
    return float(integrate.quad(lambda x: x * np.exp(log_density(x)), 0, 1)[0] / mass)


# Objectives -------------------------------------------------------------------------------------


def small(hidden: tuple[int, ...] = (4,)) -> Any:
    torch.manual_seed(0)
    encoder = vk.Conditional(vk.MLP(5, 4, hidden=hidden), vk.Gaussian(2))
    decoder = vk.Conditional(vk.MLP(2, 5, hidden=hidden), vk.Bernoulli(5))
    return vk.VAE(vk.StandardNormal(2), encoder, decoder).double()


def gelu(h: Array) -> Array:
    return h * stats.norm.cdf(h)


def by_weights(weights: list[Array], x: Array, noise: Array) -> tuple[Array, Array, Array]:
    """log p(x|z), log q(z|x) - log p(z), and the KL, of `small` and this noise."""
    a, b, c, e, f, g, h, i = weights
    loc, log_var = np.split(gelu(x @ a.T + b) @ c.T + e, 2, -1)
    scale = np.exp(log_var / 2)
    z = loc + scale * noise
    logits = gelu(z @ f.T + g) @ h.T + i
    fit = (x * special.log_expit(logits) + (1 - x) * special.log_expit(-logits)).sum(-1)
    rate = (stats.norm.logpdf(z, loc, scale) - stats.norm.logpdf(z)).sum(-1)
    kl = 0.5 * (loc**2 + scale**2 - 1 - log_var).sum(-1)
    return fit, rate, kl


VALUES: dict[str, tuple[Any, Callable[[Array, Array, Array], Array]]] = {
    "elbo": (ELBO(samples=6), lambda fit, rate, kl: fit.mean(0) - kl),
    "elbo, beta": (ELBO(beta=3.5, samples=6), lambda fit, rate, kl: fit.mean(0) - 3.5 * kl),
    "elbo, sampled KL": (
        ELBO(beta=2.0, kl="sampled", samples=6),
        lambda fit, rate, kl: (fit - 2 * rate).mean(0),
    ),
    "iwae": (
        IWAE(samples=6),
        lambda fit, rate, kl: special.logsumexp(fit - rate, axis=0) - math.log(6),
    ),
    "reconstruction": (Reconstruction(samples=6), lambda fit, rate, kl: fit.mean(0)),
}


@pytest.mark.parametrize("name", VALUES)
def test_objectives_and_their_gradients_are_those_of_numpy(name: str, proves: Proves) -> None:
    objective, formula = VALUES[name]
    model, x = small(), torch.rand(7, 5, dtype=torch.float64)
    torch.manual_seed(1)
    bound = objective.double()(model(x, samples=(6,)))
    torch.manual_seed(1)
    noise = of(some(6, 7, 2))
    weights = [of(p) for p in model.parameters()]

    def value(flat: Array) -> Array:
        parts = np.split(flat, np.cumsum([w.size for w in weights])[:-1])
        shaped = [part.reshape(w.shape) for part, w in zip(parts, weights, strict=True)]
        return formula(*by_weights(shaped, of(x), noise))

    flat = np.concatenate([w.ravel() for w in weights])
    proves(f"objective {name}", "numpy and scipy", bound.value, value(flat), limit=1e-11)
    slopes = optimize.approx_fprime(flat, lambda at: value(at).sum(), 1e-7)
    found = torch.autograd.grad(bound.target.sum(), list(model.parameters()))
    got = np.concatenate([of(slope).ravel() for slope in found])
    proves(f"gradient of the objective {name}", "differences by scipy", got, slopes, limit=1e-4)


def test_the_gradient_by_hand_is_that_of_differences(proves: Proves) -> None:
    model, x = small(), torch.rand(7, 5, dtype=torch.float64)
    by_hand = DensePass.of(model, ELBO(beta=2.0).double())
    assert by_hand is not None
    torch.manual_seed(1)
    _, _, loss = by_hand(x, 7)
    torch.manual_seed(1)
    noise, weights = of(some(1, 7, 2)), [of(p) for p in model.parameters()]

    def value(flat: Array) -> float:
        parts = np.split(flat, np.cumsum([w.size for w in weights])[:-1])
        shaped = [part.reshape(w.shape) for part, w in zip(parts, weights, strict=True)]
        fit, _, kl = by_weights(shaped, of(x), noise)
        return float((2 * kl - fit[0]).mean())

    flat = np.concatenate([w.ravel() for w in weights])
    proves("fast pass, loss", "numpy and scipy", loss, value(flat), limit=1e-11)
    got = np.concatenate([of(p.grad).ravel() for p in model.parameters()])
    wanted = optimize.approx_fprime(flat, value, 1e-7)
    proves("fast pass, gradient", "differences by scipy", got, wanted, limit=1e-5)


# Metrics ----------------------------------------------------------------------------------------


def test_the_printed_likelihood_and_its_error(proves: Proves) -> None:
    """At the optimum of the linear-Gaussian model any draws give log p(x) exactly."""
    x = torch.randn(60, 4).double()
    oracle = LinearGaussian.fit(x, 2)
    spec = DataSpec("t", (4,), "table", rows=60)
    subject = Subject(oracle.vae().float(), spec, Rows(Split(x.float())))
    metric = make("metric", {"name": "nll", "samples": 8})
    record = measured(subject, {"nll": metric})["nll"]
    cover = np.cov(of(x).T, bias=True)
    values, vectors = linalg.eigh(cover)
    noise = values[:2].mean()
    model = vectors[:, 2:] * (values[2:] - noise) @ vectors[:, 2:].T + noise * np.eye(4)
    log_p = stats.multivariate_normal(of(x).mean(0), model).logpdf(of(x))
    oracle_s = "scipy's normal of W W' + s2 I"
    for name, wanted in (("mean", -log_p.mean()), ("at_half", -log_p.mean())):
        proves(f"metric nll, {name}", oracle_s, record[name], wanted, limit=1e-5)
    got = record["standard_error"]
    proves("metric nll, error", "scipy's sem", got, stats.sem(log_p), limit=1e-5)


def test_errors_moments_and_bits(proves: Proves) -> None:
    x = torch.randn(50, 3).double().cumsum(0) + 1e6
    got = standard_error(x[:, 0])
    proves("standard error over rows", "scipy's sem", got, stats.sem(of(x[:, 0])), limit=1e-9)
    moments, mean = Moments(), Mean()
    for part in (x[:7], x[7:20], x[20:]):
        moments.add(part)
        mean.add(part.sum(0), len(part))
    proves("moments over batches", "numpy", moments.mean, of(x).mean(0), limit=1e-12)
    proves("moments over batches", "numpy", moments.variance, of(x).var(0), limit=1e-9)
    proves("mean over batches", "numpy", mean.value(), of(x).mean(0), limit=1e-12)
    gray = DataSpec("t", (16,), "gray", rows=20)
    bits = bits_per_dim(-70.0, d.pixels(16, levels=256), gray)
    proves("bits per dimension", "-log p / (D log 2)", bits, 70 / 16 / math.log(2), limit=1e-12)
    noisy = DataSpec("t", (16,), "gray", 20, values=Transform(low=-1.0, dequantize=True))
    bits = bits_per_dim(-70.0, d.reals(16), noisy)  # 256 levels lie on a length of 2
    wanted = (70 + 16 * math.log(256 / 2)) / 16 / math.log(2)
    proves("bits per dimension, dequantized", "the width of a level", bits, wanted, limit=1e-12)


def test_a_density_in_the_units_of_the_file_is_scipys(proves: Proves) -> None:
    """Of columns v = loc + scale x, of which some are not seen."""
    x, loc, log_scale, scale = some(9, 4), some(4), some(4), some(4).exp()
    mask = (torch.rand(9, 4) < 0.6).double()
    p = d.Gaussian(loc, log_scale)
    known = stats.norm(of(3 + scale * loc), of(scale * log_scale.exp())).logpdf(of(3 + scale * x))
    for name, seen in (("log-volume", None), ("log-volume of what is seen", mask)):
        trace = Trace(x=x, sites=(), px=p, model=None, mask=seen)
        got = trace.log_likelihood - log_volume(trace, scale)
        wanted = (known if seen is None else known * of(seen)).sum(1)
        proves(f"density less its {name}", "scipy", got, wanted, limit=1e-9)


def test_the_scale_that_an_error_implies_is_the_likeliest(proves: Proves) -> None:
    net: Any = vk.MLP(2, 4, hidden=())
    decoder = vk.Conditional(net, vk.Gaussian(4, scale=1.0))
    nn.init.zeros_(net.output.weight)  # its mean is of no z
    nn.init.normal_(net.output.bias)
    encoder = vk.Conditional(vk.MLP(4, 4, hidden=()), vk.Gaussian(2))
    model, x = vk.VAE(vk.StandardNormal(2), encoder, decoder), torch.randn(60, 4)
    subject = Subject(model, DataSpec("t", (4,), "table", rows=60), Rows(Split(x)))
    found = measured(subject, {"bound": make("metric", {"name": "bound"})})["bound"]
    apart = of(x) - of(net.output.bias)
    wanted = stats.norm.fit(apart.ravel(), floc=0)[1]
    proves("sigma that the error implies", "scipy's fit of a normal", found["implied_sigma"],
           wanted, limit=1e-6)  # fmt: skip


def test_perplexity_is_the_exponential_of_scipys_entropy(proves: Proves) -> None:
    metric, parts = Codebook(), [torch.randint(0, 5, (1, 20, 3)), torch.randint(2, 4, (1, 9, 3))]
    parts.append(torch.tensor([[[7, 1, 1]]]))  # a code that is used once
    for z in parts:
        site: Any = SimpleNamespace(z=z, p=SimpleNamespace(space=d.codes(3, 9)))
        metric.update(SimpleNamespace(sites=[site], model=None))  # type: ignore[arg-type]
    counts = np.bincount(np.concatenate([z.numpy().ravel() for z in parts]), minlength=9)
    found = metric.compute()
    perplexity = np.exp(stats.entropy(counts))
    proves("metric codes, perplexity", "scipy", found["perplexity"], perplexity, limit=1e-12)
    proves("metric codes, share used", "numpy", found["share_used"], (counts > 0).mean(), limit=0)


def test_errors_of_decibels_are_those_of_the_jackknife(proves: Proves) -> None:
    net = vk.ColorNet((6, 6), channels=(3,))
    model = vk.Colorizer(vk.Conditional(net, vk.Gaussian((3, 6, 6), scale=0.1)))
    x = torch.rand(400, 3, 6, 6)
    found = colors(model, [(x, None)], levels=())
    weights = np.array([0.30, 0.59, 0.11])[:, None, None]
    gray = (weights * of(x)).sum(1, keepdims=True)
    made = of(model.colorize(torch.tensor(gray).float()))
    light = ((weights * made).sum(1, keepdims=True) - gray) ** 2
    errors = {
        "psnr": [((made - of(x)) ** 2).mean((1, 2, 3))],
        "gray_psnr": [((gray - of(x)) ** 2).mean((1, 2, 3))],
        "luminance_error": [light.mean((1, 2, 3))],
    }
    errors["gain"] = [*errors["psnr"], *errors["gray_psnr"]]
    for name, rows in errors.items():
        without = [(row.sum() - row) / 399 for row in rows]
        values = {
            "luminance_error": lambda e: 255 * np.sqrt(e[0]),
            "gain": lambda e: 10 * np.log10(e[1] / e[0]),
        }.get(name, lambda e: -10 * np.log10(e[0]))
        part = f"metric color, {name}"
        wanted = values([row.mean() for row in rows])
        proves(part, "numpy", found[name], wanted, limit=1e-5)
        spread_of = values(without).std() * math.sqrt(399)
        proves(f"{part}, error", "the jackknife", found["errors"][name], spread_of, limit=1e-4)


# Networks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu", "leaky-relu:0.2", "gelu", "silu", "tanh"])
def test_a_dense_net_is_numpys(name: str, proves: Proves) -> None:
    net, x = vk.MLP(6, (2, 3), hidden=(7, 5), activation=name).double(), some(9, 6)
    formula: Callable[[Array], Array] = {
        "relu": lambda h: np.maximum(h, 0),
        "leaky-relu:0.2": lambda h: np.where(h > 0, h, 0.2 * h),
        "gelu": gelu,
        "silu": lambda h: h * special.expit(h),
        "tanh": np.tanh,
    }[name]
    weights = [of(p) for p in net.parameters()]

    def by_hand(h: Array) -> Array:
        for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            h = formula(h @ weight.T + bias)
        return (h @ weights[-2].T + weights[-1]).reshape(9, 2, 3)

    proves("MLP", "numpy", net(x), by_hand(of(x)), limit=1e-12)
    proves(f"activation {name}", "numpy", activation(name)()(x), formula(of(x)), limit=1e-12)
    got, wanted = vk.nn.LogCounts(net)(x.exp()), by_hand(np.log1p(np.exp(of(x))))
    proves("LogCounts of an MLP", "numpy", got, wanted, limit=1e-12)


def test_lengths_are_places_of_the_kernel(proves: Proves) -> None:
    """Down, the places where a kernel fits; up, what its overlaps cover, plus output padding."""
    for n in range(5, 24):
        for kernel, stride, pads in ((3, 2, 1), (4, 2, 1), (5, 3, 2), (3, 1, 0), (2, 2, 0)):
            how: Any = {"kernel": kernel, "stride": stride, "pads": pads}
            down: Any = vk.ConvEncoder((1, n, 7), 1, (1,), **how)
            up: Any = vk.ConvDecoder(1, (1, n, 7), (1,), **how)
            places = range(0, n + 2 * pads - kernel + 1, stride)
            high = down.body[0](torch.zeros(1, 1, n, 7)).shape[2]
            proves("length after a stage down", "places counted", high, len(places), limit=0)
            reach = places[-1] + kernel - 2 * pads  # what the last place covers
            rest = n - reach
            proves("output padding", "what no place reaches", up.output.output_padding[0], rest,
                   limit=0)  # fmt: skip
            back = up.output(torch.zeros(1, 1, len(places), 1)).shape[2]
            proves("length after a stage up", "the length before", back, n, limit=0)
        body: Any = vk.PoolEncoder((1, n, 9), 1, (1,), kernel=3, padding="valid").body
        pooled = nn.Sequential(*body[:3])(torch.zeros(1, 1, n, 9)).shape[2]
        proves("length after valid pooling", "places", pooled, len(range(0, n - 3, 2)), limit=0)


def test_pooling_and_unpooling_by_loops(proves: Proves) -> None:
    net = UnpoolEncoder((1, 7, 6), 3, (2,), kernel=3, padding="same").double()
    x = some(4, 1, 7, 6)
    weight, bias, *_ = (of(p) for p in net.parameters())
    padded = np.pad(of(x), ((0, 0), (0, 0), (1, 1), (1, 1)))
    high = np.zeros((4, 2, 8, 6)) - np.inf
    for i, j in np.ndindex(7, 6):
        window = padded[:, None, 0, i : i + 3, j : j + 3]
        high[:, :, i, j] = gelu((window * weight[None, :, 0]).sum((2, 3)) + bias)
    maxima, places = np.zeros((4, 2, 4, 3)), np.zeros((4, 2, 4, 3))
    for i, j in np.ndindex(4, 3):
        four = high[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(4, 2, 4)
        maxima[:, :, i, j], places[:, :, i, j] = four.max(2), four.argmax(2)
    two = [of(p) for p in net.parameters()][-2:]
    code = maxima.reshape(4, -1) @ two[0].T + two[1]
    wanted = np.concatenate([code, places.reshape(4, -1)], 1)
    proves("UnpoolEncoder: code and places", "numpy, window by window", net(x), wanted, limit=1e-12)
    put = np.zeros((4, 2, 8, 6))
    for at in np.ndindex(4, 2, 4, 3):
        row, column = divmod(int(places[at]), 2)
        put[at[0], at[1], 2 * at[2] + row, 2 * at[3] + column] = maxima[at]
    got = unpool(torch.tensor(maxima), torch.tensor(places), (7, 6))
    proves("unpool", "numpy, value by value", got, put[:, :, :7], limit=0)


def test_how_networks_start_and_drop(proves: Proves) -> None:
    layer = nn.Linear(600, 400)
    for how, wanted in (("glorot", math.sqrt(2 / 1000)), ("he", math.sqrt(2 / 600))):
        got = of(initialize(layer, how).weight).std()
        proves(f"initialize {how}, deviation", "its formula", got, wanted, limit=2e-4)
    gram = of(initialize(layer, "orthogonal").weight) @ of(layer.weight).T
    proves("initialize orthogonal, W W'", "I", gram, np.eye(400), limit=1e-5)
    up = nn.ConvTranspose2d(64, 48, 4, 2)
    got = of(initialize(up, "he").weight).std()
    wanted = math.sqrt(2 / (64 * 16 / 4))
    proves("initialize he, transposed", "sqrt(2 s^2 / (C k^2))", got, wanted, limit=1e-3)
    net = start_at(vk.ConvDecoder(2, (3, 8, 8), (4,)), image := torch.rand(3, 8, 8))
    wanted = of(image).mean((1, 2))
    proves("start_at of planes", "their means, numpy", net.output.bias, wanted, limit=1e-6)
    kept = LatentDropout(200, 0.3)(torch.ones(500, 200))
    values = np.unique(of(kept))
    proves("dropout of the latent, values", "0 and 1 / (1 - p)", values, [0, 1 / 0.7], limit=1e-6)
    proves("dropout of the latent, mean", "1", of(kept).mean(), 1, limit=0.01)


def test_parameters_of_the_table_of_layers_are_counted(proves: Proves) -> None:
    model = vk.VAE(
        vk.StandardNormal(2),
        vk.Conditional(vk.ConvEncoder((1, 9, 8), 4, (3, 5), norm="batch"), vk.Gaussian(2)),
        vk.Conditional(vk.ConvDecoder(2, (1, 9, 8), (5, 3)), vk.Bernoulli((1, 9, 8))),
    )
    tables = {table.path: table.parameters for table in layer_tables(model)}
    down = 9 * 3 + 2 * 3 + 9 * 3 * 5 + 2 * 5 + (5 * 3 * 2 + 1) * 4
    up = (2 + 1) * 5 * 3 * 2 + 9 * 5 * 3 + 3 + 9 * 3 + 1
    found = [tables["posterior"], tables["likelihood"]]
    proves("parameters in the table of layers", "k^2 C C' + C'", found, [down, up], limit=0)


# Data -------------------------------------------------------------------------------------------


def test_what_becomes_of_stored_values(proves: Proves) -> None:
    rows = torch.arange(256, dtype=torch.uint8).repeat(400, 1)
    unit = np.arange(256) / 255
    got = Transform()(rows[:1])
    proves("canonical", "v / 255", got, unit[None], limit=1e-7)
    placed = Transform(low=-1.0)(rows[:1])
    proves("range -1,1", "2 v / 255 - 1", placed, 2 * unit[None] - 1, limit=1e-6)
    back = Transform(low=-1.0).inverse(placed)
    proves("range -1,1, inverse", "v / 255", back, unit[None], limit=1e-6)
    x = of(Transform(dequantize=True)(rows))
    noise = 256 * x - np.arange(256)
    proves("dequantize, level", "floor(256 x)", np.floor(256 * x[:9]), rows[:9], limit=0)
    apart = stats.kstest(noise.ravel(), "uniform").statistic
    proves("dequantize, noise", "scipy's uniform", apart, 0, limit=2.2 / math.sqrt(noise.size))
    mean = Transform(low=-1.0, dequantize=True).mean(torch.tensor(0.4, dtype=torch.float64))
    proves("mean of dequantized values", "2 (255 m + 1/2) / 256 - 1", mean, 2 * 102.5 / 256 - 1,
           limit=1e-12)  # fmt: skip
    bits = of(Transform(binarize=True)(rows))
    excess = (bits.mean(0) - unit) / np.sqrt(np.maximum(unit * (1 - unit), 1e-3) / 400)
    assert {*np.unique(bits)} == {0, 1}
    proves("binarize dynamic, share of ones", "its value, in errors", excess, 0 * excess, limit=4.5)
    proves("width of a level in bits", "log2(256 / 2)", Transform(low=-1.0).bits, 7, limit=1e-12)


def test_binarized_and_standardized_splits(tmp_path: Path, proves: Proves) -> None:
    digits = load("digits")
    made = prepare(digits, Data(binarize="threshold", limit=100))
    got = of(made.test.x())
    wanted = of(digits.test.images) / 255 > 0.5
    proves("binarize threshold", "v / 255 > 1/2, numpy", got, wanted, limit=0)
    static = of(prepare(digits, Data(binarize="static")).test.x())
    gap = static.mean() - of(digits.test.images).mean() / 255
    proves("binarize static, share of ones", "mean of the values", gap, 0, limit=0.01)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(5, 3, 80), "b": rng.gamma(2, 9, 80), "c": np.ones(80)})
    table.to_csv(tmp_path / "t.csv", index=False)
    source = read(Data(data=str(tmp_path / "t.csv"), validation=0))
    made = prepare(source, Data(data=str(tmp_path / "t.csv"), validation=0))
    raw = {name: of(made.splits[name].values.inverse(made.splits[name].x()))
           for name in ("train", "test")}  # fmt: skip
    assert sorted(np.concatenate([*raw.values()])[:, 0]) == pytest.approx(sorted(table["a"]))
    scaler = StandardScaler().fit(raw["train"])
    for name in raw:
        wanted = scaler.transform(raw[name])
        got = made.splits[name].x()
        proves("standardize", "sklearn's StandardScaler", got, wanted, limit=1e-5)


def test_shares_spreads_and_labels(proves: Proves) -> None:
    train, validation = partition(Split(torch.rand(203, 2)), 0.1)
    assert validation is not None
    sizes = [len(train), len(validation)]
    proves("rows held out", "a tenth, rounded", sizes, [203 - 20, 20], limit=0)
    wanted = [math.floor(i * 203 / 40) for i in range(40)]
    proves("rows evenly spread", "floor(i N / n)", spread(203, 40), wanted, limit=0)
    labels = torch.tensor([2, 0, 1])
    proves("one_hot", "rows of I", one_hot(labels, 4), np.eye(4)[[2, 0, 1]], limit=0)


# Training ---------------------------------------------------------------------------------------

STEPS = np.arange(0, 130)
SCHEDULES = {
    "constant:0.3": 0.3 + 0 * STEPS,
    "linear:1:3:100": np.interp(STEPS, [0, 100], [1, 3]),
    "cosine:2:0:100": 1 + np.cos(np.pi * np.minimum(STEPS / 100, 1)),
    "cyclic:0:1:100:4:0.4": np.where(STEPS < 100, np.minimum(STEPS % 25 / 10, 1), 1),
    "step:2:0.5:30,70": 2 * 0.5 ** np.searchsorted([30, 70], STEPS, "right"),
    "flat-linear:2:0:40:100": np.interp(STEPS, [40, 100], [2, 0]),
    "exponential:1:0.5:100": np.maximum(0.5, np.exp(-np.log(2) / 100 * np.array(STEPS))),
}


def test_schedules_are_numpys(proves: Proves) -> None:
    for text, wanted in SCHEDULES.items():
        got = [parse(text)(int(step)) for step in STEPS]
        proves(f"schedule {text.partition(':')[0]}", "numpy", got, wanted, limit=1e-12)
    rates = {
        "cosine": 0.01 * (1 + np.cos(np.pi * np.minimum(STEPS / 120, 1))) / 2,
        "flat-linear:0.75": np.interp(STEPS, [90, 120], [0.01, 0]),
        "step:0.1:3,5": 0.01 * 0.1 ** np.searchsorted([30, 50], STEPS, "right"),
    }
    for text, wanted in rates.items():
        made, _ = make_schedules(Training(lr=0.01, lr_schedule=text, lr_warmup=8), ELBO(), 120, 10)
        wanted = wanted * np.minimum((STEPS + 1) / 8, 1)
        got = [made["lr"](int(step)) for step in STEPS]
        name = f"learning rate {text.partition(':')[0]}, with warm-up"
        proves(name, "numpy", got, wanted, limit=1e-12)
    warmups = {
        "linear:4": np.interp(STEPS, [0, 40], [0, 3]),
        "cosine:4": 1.5 * (1 - np.cos(np.pi * np.minimum(STEPS / 40, 1))),
        "cyclic:3": np.where(STEPS < 120, np.minimum(STEPS % 40 / 20, 1), 1) * 3,
    }
    for text, wanted in warmups.items():
        made, over = make_schedules(Training(kl_warmup=text), ELBO(beta=3.0), 120, 10)
        got = [made["objective.beta"](int(step)) for step in STEPS]
        name = f"warm-up of the KL, {text.partition(':')[0]}"
        proves(name, "numpy", got, wanted, limit=1e-12)
        last = np.flatnonzero(np.abs(wanted - 3) > 1e-9).max() + 1
        proves(f"{name}, its end", "the first step at beta", over, last, limit=0)


def adam(p: Array, gradients: Array, *, decoupled: float = 0.0, decay: float = 0.0) -> Array:
    m = v = 0 * p
    for t, g in enumerate(gradients, 1):
        g = g + decay * p
        p = p * (1 - 0.1 * decoupled)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p = p - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return p


def sgd(p: Array, gradients: Array) -> Array:
    velocity = 0 * p
    for g in gradients:
        velocity = 0.9 * velocity + g
        p = p - 0.1 * (g + 0.9 * velocity)
    return p


def rmsprop(p: Array, gradients: Array) -> Array:
    square = 0 * p
    for g in gradients:
        square = 0.99 * square + 0.01 * g**2
        p = p - 0.1 * g / (np.sqrt(square) + 1e-8)
    return p


def adagrad(p: Array, gradients: Array) -> Array:
    sums = np.cumsum(gradients**2, 0)
    return p - (0.1 * gradients / (np.sqrt(sums) + 1e-10)).sum(0)


OPTIMIZERS: dict[str, tuple[dict[str, Any], Callable[[Array, Array], Array]]] = {
    "adam": ({"weight_decay": 0.2}, lambda p, g: adam(p, g, decay=0.2)),
    "adamw": ({"weight_decay": 0.2}, lambda p, g: adam(p, g, decoupled=0.2)),
    "sgd": ({"more": ("momentum=0.9", "nesterov=true")}, sgd),
    "rmsprop": ({}, rmsprop),
    "adagrad": ({}, adagrad),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_step_by_their_formula(name: str, proves: Proves) -> None:
    options, formula = OPTIMIZERS[name]
    p, gradients = nn.Parameter(some(6)), some(12, 6)
    start = of(p).copy()
    optimizer = make_optimizer(name, [p], lr=0.1, **options)
    for gradient in gradients:
        p.grad = gradient.clone()
        optimizer.step()
    wanted = formula(start, of(gradients))
    proves(f"optimizer {name}", "its recursion, numpy", p, wanted, limit=1e-10)


@pytest.mark.parametrize("clip", [None, 2.0])
def test_an_epoch_of_steps_with_a_short_last_batch(clip: float | None, proves: Proves) -> None:
    """Every row counts alike: 64 + 64 + 22 rows, each step's sum over the nominal 64."""
    x = torch.rand(150, 5)
    encoder = vk.Conditional(vk.MLP(5, 2, hidden=()), vk.Delta(2))
    decoder = vk.Conditional(vk.MLP(2, 5, hidden=()), vk.Gaussian(5, scale=0.5))
    model = vk.VAE(vk.StandardNormal(2), encoder, decoder)
    a, b, c, e = (of(p).copy() for p in model.parameters())
    batches, fits, norms = Batches(Split(x), 64, seed=3), [], []
    for batch, _ in Batches(Split(x), 64, seed=3).epoch(0):
        rows = of(batch)
        code = rows @ a.T + b
        error = (rows - code @ c.T - e) / 0.25
        density = stats.norm.logpdf(rows, code @ c.T + e, 0.5).sum(1)
        fits.append(density)
        back = error @ c
        slopes = [back.T @ rows, back.sum(0), error.T @ code, error.sum(0)]
        slopes = [slope / 64 for slope in slopes]
        norms.append(math.sqrt(sum((slope**2).sum() for slope in slopes)))
        share = 1.0 if clip is None else min(1.0, clip / norms[-1])
        a, b, c, e = (p + 0.01 * share * s for p, s in zip((a, b, c, e), slopes, strict=True))
    sgd = make_optimizer("sgd", model.parameters(), lr=0.01)
    found = fit(model, Reconstruction(), batches, steps=3, optimizer=sgd, clip=clip)
    name = "steps, short last batch" if clip is None else "steps, clipped"
    for got, wanted in zip(model.parameters(), (a, b, c, e), strict=True):
        proves(name, "gradients written out, numpy", got, wanted, limit=1e-5)
    mean = np.concatenate(fits).mean()
    proves("mean of an epoch", "over its rows, scipy", found.means["log_likelihood"], mean,
           limit=1e-5)  # fmt: skip
    if clip is not None:
        assert max(norms) > clip
        proves("gradient norm, before clipping", "numpy", found.gradient_norm, np.mean(norms),
               limit=1e-5)  # fmt: skip


# Reports ----------------------------------------------------------------------------------------


def test_walks_correlations_and_crossings(proves: Proves) -> None:
    a, b = (v / v.norm(dim=1, keepdim=True) for v in some(2, 4, 3))
    got = between(a, b, steps=7, kind="spherical")
    wanted = [spatial.geometric_slerp(*of(p), np.linspace(0, 1, 7)) for p in zip(a, b, strict=True)]
    proves("spherical walk", "scipy's geometric_slerp", got, wanted, limit=1e-6)
    got = between(a, 3 * b, steps=7)
    wanted = np.linspace(of(a), 3 * of(b), 7, axis=1)
    proves("linear walk", "numpy's linspace", got, wanted, limit=1e-6)
    rows = some(50, 4).cumsum(1)
    wanted = np.corrcoef(of(rows).T)
    proves("correlation of columns", "numpy's corrcoef", correlated(rows), wanted, limit=1e-12)
    more, train = some(50, 4), some(90, 4)
    found = synthetic(more, rows, train)
    apart = [stats.ks_2samp(*of(pair)).statistic for pair in zip(more.T, rows.T, strict=True)]
    got, wanted = found.marginals, np.mean(apart)
    proves("metric synthetic, marginals", "scipy's ks_2samp", got, wanted, limit=1e-12)
    scale = train.std(0, unbiased=False)
    near = [spatial.distance.cdist(of(x / scale), of(train / scale)).min(1) for x in (more, rows)]
    wanted = stats.mannwhitneyu(near[1], near[0]).statistic / 50**2
    proves("metric synthetic, nearer", "scipy's mannwhitneyu", found.nearer, wanted, limit=1e-12)
    counts = torch.randint(0, 9, (20, 4)).double()
    made = 0.7 * counts + 0.5
    share = r2_score(of(counts), of(made), multioutput="raw_values")
    ends = [float(word) for word in re.findall(r"-?\d\.\d+", explained(Table(counts, made)).words)]
    proves("R^2 of columns", "sklearn's r2_score", ends, [share.min(), share.max()], limit=5e-3)
    for whole in (True, False):
        table = Table(counts, made, counts=whole)
        got, both = torch.stack(scaled(table)), np.stack([of(counts), of(made)])[..., table.shown]
        wanted = np.log1p(both) / np.log1p(both[0]).max()
        wanted = wanted if whole else (both - both[0].mean(0)) / both[0].std(0) / 2.5
        proves("map of rows", "log(1 + x), or deviations, numpy", got, wanted, limit=1e-12)
    pair, one, two = Pair((0.0, 2.5), (1.0, 0.6)), stats.norm(0, 1), stats.norm(2.5, 0.6)
    cross = optimize.brentq(lambda z: one.pdf(z) - two.pdf(z), 0, 2.5)
    proves("crossing of two posteriors", "scipy's brentq", pair.crossing, cross, limit=1e-9)
    shared = integrate.quad(lambda z: min(one.pdf(z), two.pdf(z)), -9, 9, points=[0, cross, 2.5],
                            limit=200)[0]  # fmt: skip
    proves("overlap of two posteriors", "scipy's quad", pair.overlap, shared, limit=1e-5)


def test_means_over_seeds_and_the_gain_of_a_fitted_prior(proves: Proves) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 3))
    names = ("elbo", "log_likelihood", "kl")
    found = summarize([dict(zip(names, row, strict=True)) for row in values.tolist()])
    for index, name in enumerate(names):
        column = values[:, index]
        error = found["standard_error"][name]
        proves("mean over seeds", "numpy", found["mean"][name], column.mean(), limit=1e-12)
        proves("error over seeds", "scipy's sem", error, stats.sem(column), limit=1e-12)

    x = torch.rand(400, 5)
    model = vk.VAE(
        vk.StandardNormal(2),
        vk.Conditional(vk.MLP(5, 4, hidden=()), vk.Gaussian(2)),
        vk.Conditional(vk.MLP(2, 5, hidden=()), vk.Bernoulli(5)),
    )
    prior = fit_prior(model, [(x[:300], None)], [(x[300:], None)], "mixture:components=1")
    assert prior is not None
    torch.manual_seed(0)
    weight, bias = (of(p) for p in model.posterior.parameters())
    codes = []
    for rows, seed in ((x[:300], 0), (x[300:], 1)):
        loc, log_var = np.split(of(rows) @ weight.T + bias, 2, 1)
        torch.manual_seed(seed)
        codes.append(loc + np.exp(log_var / 2) * of(torch.randn(1, len(rows), 2)[0]))
    ridge = 1e-4 * codes[0].var(0).mean() * np.eye(2)
    fitted = stats.multivariate_normal(codes[0].mean(0), np.cov(codes[0].T, bias=True) + ridge)
    gains = fitted.logpdf(codes[1]) - stats.norm.logpdf(codes[1]).sum(1)
    proves("gain of the fitted prior", "scipy's normal", prior.gain, gains.mean(), limit=1e-4)
    proves("gain of the fitted prior, error", "scipy's sem", prior.error, stats.sem(gains),
           limit=1e-4)  # fmt: skip
