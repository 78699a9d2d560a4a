"""Terms of the aggregate posterior from a batch, against sums over all rows and closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves
from numpy.typing import NDArray
from scipy import optimize, special, stats
from torch import Tensor, nn

import vaekit as vk
from vaekit import distributions as d
from vaekit.data import DataSpec
from vaekit.errors import VaekitError
from vaekit.evaluate import aggregate_log_prob, aggregate_posterior
from vaekit.models import Site, Trace
from vaekit.objectives import (
    DIP,
    ELBO,
    RAEGP,
    RAEL2,
    SWAE,
    WAEMMD,
    BetaTC,
    InfoVAE,
    Objective,
    mmd,
    require,
    sliced_w2,
)
from vaekit.recipes import build, names
from vaekit.registry import make
from vaekit.testing import check_objective

Array = NDArray[np.float64]
N, D, SIGMA = 5000, 10, 0.1
SPLIT = ("mutual_information", "total_correlation", "dimension_wise_kl")


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def drawn(q: d.Distribution, p: d.Distribution | None = None, draws: int = 1) -> Trace:
    """A pass whose likelihood says nothing of z."""
    rows, size = q.mean.shape
    site = Site.draw("z", q, p or d.StandardGaussian(torch.zeros(size)), (draws,))
    return Trace(
        torch.zeros(rows, 1), (site,), d.Gaussian(torch.zeros(1, rows, 1), torch.zeros(())), None
    )


def gaussians(rows: int, size: int = 3) -> d.Gaussian:
    return d.Gaussian(torch.randn(rows, size), 0.3 * torch.randn(rows, size))


def split(objective: BetaTC, trace: Trace) -> list[float]:
    parts = objective(trace).parts
    return [float(parts[name].mean()) for name in SPLIT]


# The table of estimators ------------------------------------------------------------------------


def pairs_of(means: Array, z: Array) -> Array:
    """log q(z_id | x_j), by numpy: log N(z; mean, 0.1^2) of each dimension."""
    apart = (z[:, None] - means[None]) / SIGMA
    return -0.5 * apart**2 - math.log(SIGMA) - 0.5 * math.log(2 * math.pi)


def table(each: Array, z: Array, log_weights: Array, *, twice: bool = False) -> Array:
    """MI, TC and dimension-wise KL of draws under log sum_j w_ij q(z_i | x_j)."""
    weighed = each + log_weights[..., None]
    log_q = special.logsumexp(weighed.sum(2) if twice else each.sum(2) + log_weights, 1)
    product = special.logsumexp(weighed, 1).sum(1)
    own = each[np.arange(len(z)), np.arange(len(z))].sum(1)
    log_p = stats.norm.logpdf(z).sum(1)
    return np.array([(own - log_q).mean(), (log_q - product).mean(), (product - log_p).mean()])


def published(batch: int, column: int | None = None) -> Array:
    """The paper's weights, log: 1/N on the diagonal, or, as is often copied, on column 0."""
    w = np.full((batch, batch), 1 / (batch - 1))
    rows = np.arange(batch)
    w[rows, (rows + 1) % batch] = (N - batch + 1) / (N * (batch - 1))
    w[rows, rows if column is None else column] = 1 / N
    return np.log(w)


@pytest.mark.parametrize("batch", [64, 256])
def test_the_table_of_estimators(batch: int, proves: Proves) -> None:
    """5,000 posteriors N(mean, 0.1^2 I) with means of N(0, I) in 10 dimensions; 20 batches.

    The exact sum gives MI = log N, TC of 14.5 and almost no dimension-wise KL. Two mistakes that
    code copies from code are far off: the stratified weight 1/N in column 0 in place of the
    diagonal (MI of 4 to 6, where every row is told from every other), and, besides, the weight
    added in each dimension before they are summed for the joint density (MI five times log N, TC
    below 0).
    """
    rng = np.random.default_rng(0)
    means = rng.standard_normal((N, D))
    z = means + SIGMA * rng.standard_normal((N, D))
    few, flat = 100, np.full((100, N), -math.log(N))
    rolled = [(np.roll(means, -at, 0), z[at : at + few]) for at in range(0, N, 1000)]
    exact = np.mean([table(pairs_of(m, points), points, flat) for m, points in rolled], 0)
    assert exact == pytest.approx([math.log(N), 14.5, 0.0], abs=0.4)
    right, column = published(batch), published(batch, column=0)
    seen: dict[str, list[Any]] = {
        name: [] for name in ("ours", "minibatch", "column", "twice", "paper")
    }
    for at in range(0, 20 * batch, batch):
        at %= N - batch
        some, points = means[at : at + batch], z[at : at + batch]
        q = d.Gaussian(torch.from_numpy(some), torch.tensor(math.log(SIGMA)).expand(batch, D))
        each = pairs_of(some, points)
        trace = drawn(q)
        trace.site.z.copy_(torch.from_numpy(points))
        seen["ours"].append(split(BetaTC(N), trace))
        seen["minibatch"].append(split(BetaTC(N, estimator="minibatch"), trace))
        seen["paper"].append(table(each, points, right))
        seen["column"].append(table(each, points, column))
        seen["twice"].append(table(each, points, column, twice=True))
        if not at:
            by_hand = table(each, points, np.full((batch, batch), -math.log(N * batch)))
            proves(
                "objective beta-tc:estimator=minibatch",
                "numpy",
                seen["minibatch"][0],
                by_hand,
                limit=1e-10,
            )
    found = {name: np.mean(values, 0) for name, values in seen.items()}
    small = batch == 64
    for name, wanted in {
        "ours": (8.52, 16.1, -1.66) if small else (8.52, 14.9, -0.35),
        "paper": (8.52, 16.1, -1.66) if small else (8.52, 14.9, -0.35),
        "minibatch": (12.7, 94.2, -83.8) if small else (14.1, 93.8, -84.8),
        "column": (4.21, 17.5, 1.30) if small else (5.55, 17.2, 0.36),
        "twice": (42.1, -20.4, 1.30) if small else (55.5, -32.8, 0.36),
    }.items():
        near = 0.6 if name != "twice" else 1.5
        assert found[name] == pytest.approx(wanted, abs=near), name
    assert found["ours"][0] == pytest.approx(exact[0], abs=0.01)
    assert found["column"][0] < exact[0] - 2.5
    assert found["twice"][0] > 4 * exact[0]
    assert found["twice"][1] < -15


@pytest.mark.parametrize("estimator", ["stratified", "minibatch"])
def test_at_weights_of_one_it_is_the_elbo_whatever_the_estimator(
    estimator: str, proves: Proves
) -> None:
    for rows, draws in ((7, 1), (5, 3)):
        trace = drawn(gaussians(rows), draws=draws)
        objective = BetaTC(1000, beta=1.0, estimator=estimator)
        elbo = ELBO(kl="sampled")(trace).value
        proves(f"objective beta-tc:{estimator}", "ELBO", objective(trace).value, elbo, limit=1e-12)
        parts = objective(trace).parts
        whole = sum(parts[name] for name in SPLIT)
        sampled = (trace.site.log_q - trace.site.log_p).mean(0)
        assert torch.allclose(whole, sampled)
        assert not torch.allclose(BetaTC(1000, beta=2.0, estimator=estimator)(trace).value, elbo)


def test_of_all_rows_it_is_exact(proves: Proves) -> None:
    """With the paper's own weights it is not: one row counts less than the others there."""
    q = gaussians(8, 2)
    trace = drawn(q)
    z, loc, scale = (t.numpy() for t in (trace.site.z[0], q.loc, q.scale))
    each = np.array([
        [[stats.norm.logpdf(z[i, k], loc[j, k], scale[j, k]) for k in range(2)] for j in range(8)]
        for i in range(8)
    ])  # fmt: skip
    log_q = np.log(np.exp(each.sum(2)).mean(1))
    product = np.log(np.exp(each).mean(1)).sum(1)
    wanted = log_q - product
    got = BetaTC(8)(trace).parts["total_correlation"]
    proves("objective beta-tc:estimator=stratified, B = N", "numpy", got, wanted, limit=1e-12)
    exact, _ = aggregate_log_prob([q], trace.site.z[0])
    own = trace.site.log_q[0] - exact
    assert torch.allclose(BetaTC(8)(trace).parts["mutual_information"], own)


def test_stratified_weights_have_no_bias() -> None:
    """The mean over all batches with row 0 of sum_j w_ij q(z | x_j) is q(z) of all rows."""
    rows, batch = 6, 3
    dense = torch.rand(rows)
    w = BetaTC(rows).log_weights(batch, dense).exp()
    others = [(a, b) for a in range(1, rows) for b in range(1, rows) if a != b]
    found = torch.stack([(w[0] * dense[[0, a, b]]).sum() for a, b in others]).mean()
    assert float(found) == pytest.approx(float(dense.mean()))
    assert torch.allclose(w.sum(1), torch.ones(batch))


# Kernels and lines ------------------------------------------------------------------------------


def kernel(name: str, x: Array, y: Array, bandwidth: float) -> float:
    square, c = float(((x - y) ** 2).sum()), 2 * len(x) * bandwidth**2
    if name == "rbf":
        return math.exp(-square / c)
    return sum(s * c / (s * c + square) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10))


def double_loop(name: str, a: Array, b: Array, bandwidth: float = 1.0) -> float:
    pairs = [(i, j) for i in range(len(a)) for j in range(len(a))]
    of_a, of_b = (
        np.mean([kernel(name, p[i], p[j], bandwidth) for i, j in pairs if i != j]) for p in (a, b)
    )
    between = np.mean([kernel(name, a[i], b[j], bandwidth) for i, j in pairs])
    return float(of_a + of_b - 2 * between)


def assigned(a: Array, b: Array) -> float:
    """The mean square along the best assignment of points of a line."""
    cost = (a - b.T) ** 2
    return float(cost[optimize.linear_sum_assignment(cost)].mean())


@pytest.mark.parametrize("name", ["rbf", "imq"])
@pytest.mark.parametrize("bandwidth", [1.0, 0.3])
def test_mmd_is_a_double_loop(name: str, bandwidth: float, proves: Proves) -> None:
    x, y = torch.randn(6, 3), 2 + torch.randn(6, 3)
    wanted = double_loop(name, x.numpy(), y.numpy(), bandwidth)
    got = mmd(x, y, kernel=name, bandwidth=bandwidth)
    proves(f"mmd:{name}", "a double loop", got, wanted, limit=1e-12)
    both = mmd(torch.stack([x, x]), torch.stack([y, x]), kernel=name, bandwidth=bandwidth)
    assert float(both[0]) == pytest.approx(wanted)


@pytest.mark.parametrize("name", ["rbf", "imq"])
def test_mmd_of_equal_laws_is_zero_in_the_mean(name: str) -> None:
    """With the diagonals kept, as in a V-statistic, it would be above 0 by about 2 k(0) / n."""
    values = mmd(torch.randn(2000, 8, 2), torch.randn(2000, 8, 2), kernel=name)
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(2000)
    assert bool((values < 0).any())


def test_mmd_of_gaussians_has_a_closed_form() -> None:
    """E exp(-r^2 / C) of two Gaussians that differ by N(m, v I) is a Gaussian integral."""
    size, scale, shift = 3, 1.7, torch.tensor([1.0, 0.0, -0.5])
    c = 2 * size

    def mean(v: float, m: float) -> float:
        return (1 + 2 * v / c) ** (-size / 2) * math.exp(-m / (c + 2 * v))

    wanted = (
        mean(2, 0) + mean(2 * scale**2, 0) - 2 * mean(1 + scale**2, float(shift.square().sum()))
    )
    x, y = torch.randn(80, 200, size), scale * torch.randn(80, 200, size) + shift
    values = mmd(x, y, kernel="rbf")
    error = float(values.std()) / math.sqrt(80)
    assert float(values.mean()) == pytest.approx(wanted, abs=4 * error)
    assert error < 0.03 * wanted


def test_the_bandwidth_is_the_distance_of_two_draws() -> None:
    """C = 2 D sigma^2 is the mean of |z - z'|^2: the kernel of such a pair is near exp(-1)."""
    z = 3 * torch.randn(2, 4000, 50)
    near = torch.exp(-(z[0] - z[1]).square().sum(1) / (2 * 50 * 9)).mean()
    assert float(near) == pytest.approx(math.exp(-1), abs=0.01)
    far = mmd(z[0, :2], z[0, :2] + 1e6, kernel="rbf", bandwidth=3.0)
    apart = float((z[0, 0] - z[0, 1]).square().sum())
    assert float(far) == pytest.approx(2 * math.exp(-apart / (2 * 50 * 9)))


def test_sliced_w2_on_a_line_is_the_best_assignment(proves: Proves) -> None:
    x, y = torch.randn(20, 1), 2 * torch.randn(20, 1) + 1
    best = assigned(x.numpy(), y.numpy())
    got = sliced_w2(x, y, projections=3)
    proves("sliced_w2", "scipy.optimize.linear_sum_assignment", got, best, limit=1e-12)
    assert float(sliced_w2(x[torch.randperm(20)], y)) == pytest.approx(best)
    assert abs(float((x - y).square().mean()) - best) > 0.1


def test_sliced_w2_of_a_shift_is_its_square_by_the_dimensions() -> None:
    x, shift = torch.randn(50, 4), torch.tensor([3.0, 0.0, -1.0, 2.0])
    found = sliced_w2(x, x + shift, projections=20_000)
    assert float(found) == pytest.approx(14 / 4, rel=0.03)


def test_the_discrepancies_are_of_the_codes_and_draws_of_the_prior(proves: Proves) -> None:
    """The value is log p(x|z), less the KL's share, less lambda times what stands above."""
    trace = drawn(gaussians(8, 1), d.Gaussian(torch.ones(8, 1), torch.zeros(8, 1)))
    torch.manual_seed(3)
    z, prior = trace.site.z[0].numpy(), trace.site.p.sample((1,))[0].numpy()
    seen, kl = trace.log_likelihood[0].numpy(), trace.kl[0].numpy()
    for name, objective, wanted in (
        ("wae-mmd", WAEMMD(lam=7.0), seen - 7 * double_loop("imq", z, prior)),
        (
            "info-vae",
            InfoVAE(alpha=0.25, lam=20.0),
            seen - 0.75 * kl - 19.25 * double_loop("rbf", z, prior),
        ),
        ("swae", SWAE(lam=7.0), seen - 7 * assigned(z, prior)),
    ):
        torch.manual_seed(3)
        value = objective.double()(trace).value
        proves(f"objective {name}", "numpy and scipy", value, wanted, limit=1e-10)


# DIP and the regularized autoencoders -----------------------------------------------------------


@pytest.mark.parametrize("variant", ["i", "ii"])
def test_dip_is_of_numpy_s_covariance(variant: str, proves: Proves) -> None:
    q = gaussians(9, 4)
    covariance = np.cov(q.loc.numpy().T, ddof=0)
    if variant == "ii":
        covariance += np.diag((q.scale.numpy() ** 2).mean(0))
    off = covariance - np.diag(np.diag(covariance))
    price = 3 * (off**2).sum() + 5 * ((np.diag(covariance) - 1) ** 2).sum()
    trace = drawn(q)
    value = DIP(variant=variant, lambda_od=3.0, lambda_d=5.0)(trace).value
    wanted = ELBO()(trace).value.numpy() - price
    proves(f"objective dip:variant={variant}", "numpy.cov", value, wanted, limit=1e-12)


class Decoder(nn.Module):
    """A small net of two layers, whose Jacobian depends on z."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 4))

    def forward(self, z: Tensor) -> Tensor:
        made: Tensor = self.net(z)
        return made


def autoencoder() -> vk.VAE:
    return vk.VAE(
        vk.StandardNormal(2),
        vk.Conditional(vk.MLP(4, 2, (6,)), vk.Delta(2)),
        vk.Conditional(Decoder(), vk.Gaussian(4, scale=1.0), in_shape=2),
    )


def test_rae_gp_is_the_jacobian_with_respect_to_z(proves: Proves) -> None:
    model, x = autoencoder(), torch.randn(3, 4)
    z = model.posterior(x).mean
    net: Any = model.likelihood.net
    full = [torch.func.jacrev(net)(row) for row in z]
    wanted = torch.stack([jacobian.square().sum() for jacobian in full])
    trace = model(x, samples=(4_000,))
    found = RAEGP()(trace).parts["jacobian"]
    proves("objective rae-gp", "torch.func.jacrev", found, wanted, limit=0.1)
    torch.manual_seed(1)
    learned = RAEGP()(model(x)).parts["jacobian"]
    with torch.no_grad():
        torch.manual_seed(1)
        assert torch.allclose(RAEGP()(model(x)).parts["jacobian"], learned)


def test_codes_without_gradients_have_the_same_slopes() -> None:
    """As those of an encoder that is frozen: the decoder is to be kept smooth all the same."""
    model, x = autoencoder(), torch.randn(3, 4)
    torch.manual_seed(1)
    wanted = RAEGP()(model(x)).parts["jacobian"]
    model.posterior.requires_grad_(False)
    torch.manual_seed(1)
    trace = model(x)
    assert not trace.site.z.requires_grad
    price = RAEGP(beta=0.0).terms(trace)["jacobian"][1]
    assert torch.allclose(price, wanted)
    (found,) = torch.autograd.grad(price.sum(), [*model.likelihood.net.parameters()][:1])
    assert bool(found.any())


def test_the_gradient_of_rae_gp_goes_down_the_jacobian_of_a_line() -> None:
    """Of D(z) = W z the penalty is |W|^2, its gradient 2 W, and none of it reaches the encoder."""
    model = autoencoder()
    model.likelihood.net = nn.Linear(2, 4)
    model(torch.randn(3, 4))
    trace = model(torch.randn(3, 4), samples=(50_000,))
    price = RAEGP(beta=0.0).terms(trace)["jacobian"][1].mean()
    weight: Any = model.likelihood.net.weight
    (found,) = torch.autograd.grad(price, weight, retain_graph=True)
    assert torch.allclose(found, 2 * weight, atol=0.05)
    encoder = torch.autograd.grad(price, list(model.posterior.parameters()), allow_unused=True)
    assert all(each is None or not bool(each.any()) for each in encoder)


def test_rae_l2_is_the_code_and_the_decoder_s_weights(proves: Proves) -> None:
    model, x = autoencoder(), torch.randn(3, 4)
    net: Any = model.likelihood.net.net
    weights = sum((of.weight.detach().numpy() ** 2).sum() for of in (net[0], net[2]))
    trace = model(x)
    code = (model.posterior(x).mean.detach().numpy() ** 2).sum(1)
    likelihood = trace.log_likelihood[0].detach().numpy()
    value = RAEL2(beta=0.5, lam=0.25)(trace).value
    wanted = likelihood - 0.25 * code - 0.25 * weights
    proves("objective rae-l2", "numpy", value, wanted, limit=1e-12)


def test_dip_weighs_the_diagonal_as_its_paper_does() -> None:
    assert (DIP(lambda_od=3.0).lambda_d, DIP(lambda_od=3.0, variant="ii").lambda_d) == (30, 3)


def test_places_of_a_pool_are_no_numbers_to_be_priced() -> None:
    images = DataSpec("t", (1, 8, 8), "gray", rows=20)
    for name in ("rae-l2", "rae-gp"):
        with pytest.raises(VaekitError, match="needs latents that are numbers"):
            build("unpool_ae", images, latent=2, objective=name)


def test_a_discrepancy_is_no_reward_while_its_weight_rises_from_zero() -> None:
    objective = InfoVAE(lam=1000.0).double()
    objective.lam.fill_(0.0)
    trace = drawn(gaussians(6))
    assert torch.allclose(objective(trace).value, ELBO()(trace).value)


# What all have in common ------------------------------------------------------------------------

COUPLED = [
    BetaTC(50, beta=3.0),
    BetaTC(50, estimator="minibatch"),
    DIP(),
    DIP(variant="ii"),
    InfoVAE(lam=20.0, alpha=0.5),
    WAEMMD(samples=2),
    WAEMMD(kernel="rbf"),
    SWAE(),
]


@pytest.mark.parametrize("objective", [*COUPLED, RAEL2()], ids=lambda o: type(o).__name__)
def test_they_conform(objective: Objective) -> None:
    check_objective(objective, bound=False)


@pytest.mark.parametrize("objective", COUPLED, ids=lambda o: type(o).__name__)
def test_a_single_row_is_refused_and_no_row_is_none(objective: Objective) -> None:
    with pytest.raises(VaekitError, match="compares the rows of a batch, and this one has a sin"):
        objective.double()(drawn(gaussians(1)))
    assert objective(drawn(gaussians(0))).value.shape == (0,)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"objective": "wae-mmd", "prior": "none"}, "WAEMMD needs a prior to draw from (draws)"),
        ({"objective": "swae", "prior": "vamp"}, "SWAE trains no prior, and the VampPrior has"),
        ({"objective": "info-vae", "prior": "gaussian"}, "InfoVAE trains no prior, and the Gaussi"),
        ({"objective": "beta-tc", "posterior": "iaf"}, "BetaTC needs densities that are products"),
        ({"objective": "beta-tc", "prior": "mixture"}, "BetaTC needs densities that are products"),
        ({"objective": "dip", "posterior": "iaf"}, "DIP needs the mean of the posterior (mean)"),
        ({"objective": "dip", "posterior": "delta"}, "DIP needs a KL between posterior and prior"),
        ({"objective": "info-vae:alpha=1.5"}, "alpha=1.5`; expected at most 1"),
        ({"objective": "info-vae:lam=0.5"}, "lam=0.5`; expected a number of at least 1"),
        ({"objective": "wae-mmd:kernel=linear"}, "kernel=linear`; expected 'rbf' or 'imq'"),
        ({"objective": "dip:variant=iii"}, "variant=iii`; expected 'i' or 'ii'"),
        ({"objective": "beta-tc:estimator=mss"}, "expected 'stratified' or 'minibatch'"),
    ],
)
def test_what_an_objective_needs_is_refused_by_name(parts: dict[str, str], message: str) -> None:
    spec = DataSpec("t", (5,), "table", rows=20)
    with pytest.raises(VaekitError) as caught:
        build("vae", spec, net="mlp:hidden=8", latent=2, **parts)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["wae-mmd", "swae", "rae-l2", "rae-gp", "info-vae", "beta-tc"])
def test_codes_and_several_latents_are_refused(name: str) -> None:
    spec = DataSpec("t", (1, 8, 8), "gray", rows=20)
    with pytest.raises(VaekitError, match="which this model does not offer"):
        build("fsq_vae", spec, objective=name, net="mlp:hidden=8")
    joint = build("joint_vae", spec, net="mlp:hidden=8")
    given = {"rows": lambda: 20}
    with pytest.raises(VaekitError, match="needs"):
        require(make("objective", {"name": name}, given), joint.model)


@pytest.mark.parametrize("name", names())
def test_mutual_information_is_at_most_log_n(name: str) -> None:
    """Of every recipe that has it, with posteriors that tell all rows apart."""
    torch.set_default_dtype(torch.float32)
    spec = DataSpec("t", (3, 16, 16), "color", rows=20, context=(3,) if name == "cvae" else ())
    try:
        model: Any = build(name, spec, **({} if name == "colorizer" else {"latent": 4})).model
    except VaekitError:
        pytest.skip("of other data")
    if not {"marginal", "density", "one_site"} <= getattr(model, "offers", set()):
        pytest.skip("it has no mutual information")
    x, context = torch.rand(20, 3, 16, 16), torch.eye(3)[torch.arange(20) % 3]
    rows = [(x, context if name == "cvae" else None)]
    for factor in (1,) if name == "iaf_vae" else (1, 2, 2):  # whose numbers overflow before
        with torch.no_grad():
            for weight in model.posterior.parameters():
                weight.mul_(factor)
        found = aggregate_posterior(model, rows, samples=3)["mutual_information"]
        assert -0.1 < found <= math.log(20) * (1 + 1e-6)
