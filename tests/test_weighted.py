"""Weighted bounds, and gradients of bounds with less noise: formulas, limits, exact means."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves
from probing import DATA, pair, rows_of_digits, run, stepped, walk
from scipy import integrate, optimize, special
from test_formulas import by_weights, of, small, some
from test_probe_ladder import Ladder
from torch import Tensor
from torch import distributions as td

import vaekit as vk
from vaekit.data import Batches, DataSpec
from vaekit.distributions import Gaussian
from vaekit.errors import VaekitError
from vaekit.models import VAE, Site, Trace, exact
from vaekit.objectives import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    PIWAE,
    STL,
    TVO,
    VIMCO,
    DReG,
    Objective,
    Renyi,
    by_part,
    over_samples,
    require,
)
from vaekit.parts import CategoricalPrior, Conditional, Gumbel
from vaekit.recipes import build
from vaekit.registry import make
from vaekit.testing import LinearGaussian, check_objective
from vaekit.training import differentiate, fit, make_optimizer

Array = Any


def bounded(weights: Array) -> Array:
    """log 1/K sum_k w_k of log weights (K, ...)."""
    return special.logsumexp(weights, axis=0) - math.log(len(weights))


def several(weights: Array) -> Array:
    """The mean over M of the bounds, one by one."""
    return sum(bounded(each) for each in weights) / len(weights)


def joined(weights: Array) -> Array:
    return bounded(weights.reshape(-1, weights.shape[-1]))


def left_sum(weights: Array, bounds: tuple[float, ...]) -> Array:
    """The integral over b of the mean of log w by weights of w^b, by rectangles from the left."""
    parts = itertools.pairwise(bounds)
    return sum((b - a) * (special.softmax(a * weights, axis=0) * weights).sum(0) for a, b in parts)


VALUES: dict[str, tuple[Any, Callable[[Array], Array]]] = {
    "iwae of 6 draws": (IWAE(samples=6), bounded),
    "miwae": (MIWAE(m=2, k=3), several),
    "miwae, more bounds than draws": (MIWAE(m=4, k=2), several),
    "ciwae": (CIWAE(weight=0.25, samples=5), lambda w: 0.25 * w.mean(0) + 0.75 * bounded(w)),
    "renyi": (Renyi(samples=5), lambda w: bounded(w / 2) * 2),
    "renyi, alpha=2.5": (Renyi(alpha=2.5, samples=5), lambda w: bounded(-1.5 * w) / -1.5),
    "piwae": (PIWAE(m=2, k=3), joined),
    "tvo": (TVO(partitions=3, first=0.1, samples=5), lambda w: left_sum(w, (0, 0.1, 0.1**0.5, 1))),
    "elbo-stl": (STL(samples=4), lambda w: w.mean(0)),
    "dreg": (DReG(samples=5), bounded),
    "vimco": (VIMCO(samples=5), bounded),
}


def numbers(objective: Objective) -> tuple[Any, Tensor, Trace, Callable[..., Array]]:
    """A small model, rows, a pass, and numpy's log weights by its weights, laid flat."""
    model, x = small(), torch.rand(7, 5, dtype=torch.float64)
    torch.manual_seed(1)
    trace = model(x, samples=objective.samples)
    torch.manual_seed(1)
    noise = of(some(*objective.samples, 7, 2))
    like = [of(p) for p in model.parameters()]

    def log_weights(flat: Array) -> Array:
        parts = np.split(flat, np.cumsum([w.size for w in like])[:-1])
        shaped = [part.reshape(w.shape) for part, w in zip(parts, like, strict=True)]
        fit, rate, _ = by_weights(shaped, of(x), noise)
        return fit - rate

    return model, x, trace, log_weights


def flattened(values: Any) -> Array:
    return np.concatenate([of(value).ravel() for value in values])


@pytest.mark.parametrize("name", VALUES)
def test_values_are_those_of_numpy(name: str, proves: Proves) -> None:
    objective, formula = VALUES[name]
    model, _, trace, log_weights = numbers(objective.double())
    value = formula(log_weights(flattened(model.parameters())))
    proves(f"objective {name}", "numpy and scipy", objective(trace).value, value, limit=1e-11)


@pytest.mark.parametrize("name", [name for name in VALUES if name[:5] not in ("elbo-", "dreg",
                                                                            "vimco")])  # fmt: skip
def test_gradients_are_those_of_differences(name: str, proves: Proves) -> None:
    """That of the value; under PIWAE the encoder has that of the mean of several bounds."""
    objective, formula = VALUES[name]
    model, x, trace, log_weights = numbers(objective.double())
    differentiate(objective(trace), len(x), lambda names: by_part(model, objective, names))
    got = flattened(p.grad for p in model.parameters())
    at = flattened(model.parameters())
    slopes = optimize.approx_fprime(at, lambda w: -formula(log_weights(w)).mean(), 1e-7)
    if name == "piwae":
        other = optimize.approx_fprime(at, lambda w: -several(log_weights(w)).mean(), 1e-7)
        size = flattened(model.posterior.parameters()).size
        assert np.abs(other - slopes)[:size].max() > 1e-2
        slopes[:size] = other[:size]
    proves(f"gradient of the objective {name}", "differences by scipy", got, slopes, limit=1e-5)


def trace_of(log_weight: Tensor) -> Trace:
    """A pass whose log weights are these."""
    px = Gaussian(torch.zeros(*log_weight.shape, 1).double(), torch.zeros(()))
    trace = Trace(torch.zeros(log_weight.shape[-1], 1), (), px, None)
    trace.__dict__["log_weight"] = log_weight
    return trace


def valued(objective: Objective, log_weight: Tensor) -> Tensor:
    return objective.double().value(trace_of(log_weight))


def test_each_bound_is_another_at_its_ends(proves: Proves) -> None:
    w = 3 * some(5, 7)
    rows: dict[str, tuple[Tensor, Tensor]] = {
        "MIWAE(1, K)": (valued(MIWAE(m=1, k=5), w[None]), valued(IWAE(samples=5), w)),
        "MIWAE(M, 1)": (valued(MIWAE(m=5, k=1), w[:, None]), w.mean(0)),
        "IWAE(1)": (valued(IWAE(samples=1), w[:1]), w[0]),
        "CIWAE(0)": (valued(CIWAE(weight=0, samples=5), w), valued(IWAE(samples=5), w)),
        "CIWAE(1)": (valued(CIWAE(weight=1, samples=5), w), w.mean(0)),
        "Renyi(0)": (valued(Renyi(alpha=0, samples=5), w), valued(IWAE(samples=5), w)),
        "Renyi(1)": (valued(Renyi(alpha=1, samples=5), w), w.mean(0)),
    }
    for name, (got, wanted) in rows.items():
        proves(f"{name} at its end", "IWAE, or the mean of log weights", got, wanted, limit=1e-12)


def test_a_renyi_bound_goes_to_the_elbo_as_its_order_goes_to_one() -> None:
    """As half the variance of the log weights times 1 - alpha, in float32 as well."""
    w = 3 * some(5, 7)
    for dtype, error in ((torch.float64, 1e-6), (torch.float32, 1e-5)):
        for power in (1e-3, -1e-3, 1e-5, -1e-7, 1e-8, 1e-11):
            objective = Renyi(alpha=1 - power, samples=5)
            got = objective.value(trace_of(w.to(dtype))).double()
            wanted = w.mean(0) + power / 2 * w.var(0, correction=0)
            assert (got - wanted).abs().max() < error + 40 * power**2, (dtype, power)


def test_a_thermodynamic_sum_goes_from_the_elbo_to_the_weighted_bound(proves: Proves) -> None:
    """Draw by draw: finer sums are higher, and their integral is the logarithm of the mean."""
    log_weight = 3 * torch.randn(6, 9, dtype=torch.float64)
    one, *finer = (
        valued(TVO(partitions=parts, first=first), log_weight)
        for parts, first in ((1, 0.5), (2, 0.1), (3, 0.01), (100, 1e-4))
    )
    whole = valued(IWAE(), log_weight)
    proves("objective tvo of one part", "numpy's mean", one, of(log_weight).mean(0), limit=1e-12)
    assert bool((one < finer[0]).all())
    assert bool((finer[0] < finer[2]).all())
    assert all(bool((each < whole).all()) for each in finer)
    slope = lambda b: left_sum(of(log_weight), (b, b + 1))  # noqa: E731
    exact, _ = integrate.quad_vec(slope, 0, 1)
    proves("objective iwae, by the thermodynamic integral", "scipy", whole, exact, limit=1e-8)
    far = TVO(partitions=100, first=0.01)
    by_hand = sum((b - a) * slope(a) for a, b in itertools.pairwise(far.bounds))
    proves("objective tvo of 100 parts", "scipy's softmax", valued(far, log_weight), by_hand,
           limit=1e-12)  # fmt: skip


def test_bounds_of_the_same_draws_keep_their_order() -> None:
    """By Jensen's inequality: ELBO, MIWAE, IWAE of all; falling with a Renyi bound's order."""
    w = 3 * some(6, 200)
    iwae, elbo = valued(IWAE(samples=6), w), w.mean(0)
    miwae = valued(MIWAE(m=2, k=3), w.view(2, 3, 200))
    assert ((elbo < miwae) & (miwae < iwae)).all()
    orders = [valued(Renyi(alpha=a, samples=6), w) for a in (0.0, 0.3, 0.9, 1.0, 1.5, 30.0, 100.0)]
    assert all((low < high).all() for high, low in itertools.pairwise(orders))
    assert (orders[-1] > w.amin(0)).all()
    fewer = [valued(IWAE(samples=5), w[torch.arange(6) != k]) for k in range(6)]
    assert (torch.stack(fewer).mean(0) < iwae).all(), "the bound of five draws is above that of six"
    grown = w + 300 * (torch.arange(6) == 0)[:, None]
    assert valued(Renyi(samples=6), 10 * grown).isfinite().all()


@pytest.mark.parametrize("name", [name for name in VALUES if name != "elbo-stl"])
def test_the_best_draw_counts_most(name: str) -> None:
    """A softmax of the loss, in a known library, lets the worst do so; orders beyond 1 are that."""
    objective, _ = VALUES[name]
    rising = torch.arange(float(math.prod(objective.samples))).double()
    w = rising.reshape(*objective.samples, 1).requires_grad_()
    (slope,) = torch.autograd.grad(valued(objective, w).sum(), w)
    assert slope.sum() == pytest.approx(1)
    within = slope[..., 0] if isinstance(objective, MIWAE) else slope.flatten()
    steps = within.diff(dim=-1)
    assert (steps < 0).all() if "2.5" in name else (steps > 0).all()


@pytest.mark.parametrize("name", [name for name in VALUES if name != "vimco"])
def test_bounds_conform(name: str) -> None:
    check_objective(VALUES[name][0])


# The linear-Gaussian model ----------------------------------------------------------------------


def rows(n: int = 40, d: int = 6) -> Tensor:
    mixed = torch.linalg.qr(some(d, d)).Q
    return some(n, d) * torch.linspace(3, 0.3, d) @ mixed + 2


def slopes(objective: Objective, model: VAE, trace: Trace, by: str) -> Array:
    """The gradient of what is differentiated, for the parameters of one part."""
    for p in model.parameters():
        p.grad = None
    differentiate(objective(trace), 1, lambda names: by_part(model, objective, names))
    return -flattened(p.grad for p in model.get_submodule(by).parameters())


@pytest.mark.parametrize("name", [name for name in VALUES if name != "vimco"])
def test_each_weighted_bound_is_log_p_at_the_optimum(name: str, proves: Proves) -> None:
    x, objective = rows(), VALUES[name][0].double()
    oracle = LinearGaussian.fit(x, 3)
    trace = oracle.vae()(x, samples=objective.samples)
    wanted = "log p(x) of probabilistic PCA"
    got = objective(trace).value
    proves(f"{name} at the optimum", wanted, got, oracle.log_prob(x), limit=1e-9)


@pytest.mark.parametrize(("quiet", "loud"), [(STL(), ELBO(kl="sampled")), (DReG(), IWAE())])
def test_at_the_optimum_the_encoders_gradient_is_zero_draw_by_draw(
    quiet: Objective, loud: Objective
) -> None:
    x = rows()
    model = LinearGaussian.fit(x, 3).vae()
    for _ in range(5):
        plain = slopes(loud.double(), model, model(x, samples=loud.samples), "posterior")
        got = slopes(quiet.double(), model, model(x, samples=quiet.samples), "posterior")
        assert np.abs(got).max() < 1e-7
        assert np.abs(plain).max() > 0.1
        assert np.abs(flattened(p.grad for p in model.likelihood.parameters())).max() > 0.1


def expected(x: Tensor, draws: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows x for each point of a grid of noise, the noise (K, N, 1), and the points' weights."""
    points = torch.linspace(-8, 8, 70 if draws == 3 else 200).double()
    noise = torch.stack(torch.meshgrid(*[points] * draws, indexing="ij")).flatten(1)
    weight = td.Normal(0, 1).log_prob(noise).sum(0).softmax(0)
    return x.expand(len(weight), -1), noise[..., None], weight


@pytest.mark.parametrize("objective", [STL(), DReG(samples=1), DReG(samples=2), DReG(samples=3)],
                         ids=lambda o: f"{type(o).__name__} of {o.samples[0]}")  # fmt: skip
def test_the_mean_gradient_is_that_of_the_bound(objective: Objective, proves: Proves) -> None:
    """Away from the optimum, by quadrature over the noise of all draws: no chance is left."""
    mean, weight, encoder = (torch.tensor(v).double() for v in ([0.3, -0.2], [[0.8], [-0.5]],
                                                                [[0.2, 0.4]]))  # fmt: skip
    oracle = LinearGaussian(mean, weight, torch.tensor(1.0).double())
    model = oracle.vae(encoder, torch.tensor([0.6]).double())
    x, noise, mass = expected(torch.tensor([[1.5, 0.7]]).double(), objective.samples[0])
    q: Any = model.posterior(x)
    z = q.loc + q.scale * noise
    trace = Trace(x, (Site("z", z, q, model.prior()),), model.likelihood(z), model)
    bound = objective.double()(trace)
    target = bound.target if isinstance(bound.target, dict) else {"posterior": bound.target}
    values = list(model.posterior.parameters())
    got = torch.autograd.grad((mass * target["posterior"]).sum(), values, retain_graph=True)
    net: Any = model.posterior.net
    loc, log_variance = (x @ net.weight.T + net.bias).chunk(2, 1)
    known = td.Normal(loc, (log_variance / 2).exp())
    u = loc + known.scale * noise
    px = td.Normal(model.likelihood.net(u), model.likelihood.family.scale.log_scale.exp())  # type: ignore[operator, union-attr]
    log_weight = px.log_prob(x).sum(-1) + (td.Normal(0, 1).log_prob(u) - known.log_prob(u)).sum(-1)
    exactly = (mass * (log_weight.exp().mean(0).log())).sum()
    wanted = torch.autograd.grad(exactly, values)
    name = f"mean gradient of {type(objective).__name__} of {objective.samples[0]}"
    proves(name, "quadrature by torch.distributions", flattened(got), flattened(wanted), limit=1e-6)
    assert np.abs(flattened(wanted)).max() > 0.1


def test_dreg_has_less_noise_than_the_bounds_own_gradient() -> None:
    """And the more draws the more so: 1810.04152, figure 1."""
    x = rows(8)
    model = LinearGaussian.fit(x, 3).vae()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    ratios = []
    for count in (4, 64):
        noise = []
        for objective in (DReG(samples=count), IWAE(samples=count)):
            draws = [
                slopes(objective.double(), model, model(x, samples=(count,)), "posterior")
                for _ in range(60)
            ]
            noise.append(np.std(draws, 0).mean())
        ratios.append(noise[0] / noise[1])
    assert ratios[1] < ratios[0] < 0.8


# VIMCO ------------------------------------------------------------------------------------------


def choosing(learned: bool = True) -> VAE:
    """A model of two variables of two values each: four codes in all."""
    torch.manual_seed(0)
    made = VAE(
        CategoricalPrior((2, 2), learned=learned),
        Conditional(vk.MLP(3, 4, hidden=(5,)), Gumbel(2, categories=2)),
        Conditional(vk.MLP(4, 3, hidden=(5,)), vk.Bernoulli(3), in_shape=(2, 2)),
    ).double()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return made


def all_draws(model: VAE, x: Tensor, draws: int) -> tuple[Trace, Tensor]:
    """A pass whose rows are all that so many draws for x may be, and their log-probabilities."""
    eye = torch.eye(2).double()
    codes = [torch.stack(each) for each in itertools.product(eye, repeat=2)]
    z = torch.stack([torch.stack(each) for each in itertools.product(codes, repeat=draws)], 1)
    with exact(model):
        q: Any = model.posterior(x.expand(z.shape[1], -1))
        site = Site("z", z, q, model.prior())
        trace = Trace(x.expand(z.shape[1], -1), (site,), model.likelihood(z), model)
    log_q = q.logits.log_softmax(-1)
    return trace, (z * log_q).sum((0, 2, 3))


@pytest.mark.parametrize("draws", [2, 3])
def test_vimco_has_the_mean_gradient_of_the_bound(draws: int, proves: Proves) -> None:
    """By a sum over all that the draws may be, for encoder, decoder and prior."""
    model, x = choosing(), torch.tensor([[1.0, 0.0, 1.0]]).double()
    objective = VIMCO(samples=draws).double()
    trace, log_chance = all_draws(model, x, draws)
    bound = objective(trace)
    values = list(model.parameters())
    assert isinstance(bound.target, Tensor)
    mine = (log_chance.detach().exp() * bound.target).sum()
    got = torch.autograd.grad(mine, values, retain_graph=True)
    z = trace.site.z
    parts = {
        "x": td.Bernoulli(logits=model.likelihood.net(z.flatten(0, 1).flatten(1)))
        .log_prob(x).sum(-1).view(draws, -1),
        "z": td.OneHotCategorical(logits=model.prior.logits).log_prob(z).sum(-1),
        "q": td.OneHotCategorical(logits=model.posterior.net(x).view(2, 2)).log_prob(z).sum(-1),
    }  # fmt: skip
    each = (parts["x"] + parts["z"] - parts["q"]).exp().mean(0).log()
    assert log_chance.exp().sum().item() == pytest.approx(1)
    wanted = torch.autograd.grad((parts["q"].sum(0).exp() * each).sum(), values)
    name = f"mean gradient of VIMCO of {draws}"
    oracle = "a sum over all draws by torch.distributions"
    proves(name, oracle, flattened(got), flattened(wanted), limit=1e-10)
    assert np.abs(flattened(wanted[1:5])).max() > 0.01
    noise = [
        _variance(signal, trace, log_chance, values)
        for signal in (bound.target - bound.value, bound.value.detach() * trace.site.log_q.sum(0))
    ]
    assert noise[0] < 0.5 * noise[1], "a baseline takes noise away"


def _variance(signal: Tensor, trace: Trace, log_chance: Tensor, values: list[Any]) -> float:
    """The exact variance of the gradient of a signal."""
    encoder = list(trace.model.posterior.parameters())
    each = np.stack([
        flattened(torch.autograd.grad(one, encoder, retain_graph=True)) for one in signal
    ])  # fmt: skip
    chance = of(log_chance.detach().exp())[:, None]
    return float(((chance * each**2).sum(0) - (chance * each).sum(0) ** 2).sum())


def test_the_learning_signal_of_vimco_is_its_formula(proves: Proves) -> None:
    model = choosing()
    with exact(model):
        trace = model(torch.rand(6, 3).double(), samples=(5,))
    bound = VIMCO(samples=5).double()(trace)
    assert isinstance(bound.target, Tensor)
    w, log_q = of(trace.log_weight), of(trace.site.log_q)
    signal = np.zeros(6)
    for k in range(5):
        others = np.delete(w, k, 0)
        mean = np.concatenate([others, others.mean(0, keepdims=True)])  # of logarithms
        signal += (bounded(w) - bounded(mean)) * log_q[k]
    proves("VIMCO, learning signal", "numpy and scipy", bound.target - bound.value, signal,
           limit=1e-12)  # fmt: skip
    far = torch.tensor([[-4000.0], [0.0], [-9000.0]])
    lonely = trace_of(far.double())
    site = Site("z", torch.zeros(3, 1, 1), trace.site.q, trace.site.p)
    site.__dict__["log_q"] = torch.zeros(3, 1)
    object.__setattr__(lonely, "sites", (site,))
    assert VIMCO().surrogate(lonely, far.logsumexp(0)).isfinite().all()


class Watched(VIMCO):
    """One that keeps what it sees."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seen: list[Tensor] = []

    def value(self, trace: Trace) -> Tensor:
        self.seen.append(trace.site.z)
        return super().value(trace)


def test_a_training_by_vimco_draws_exactly_and_the_bound_rises() -> None:
    spec = DataSpec("digits", (64,), "gray", rows=200)
    how = {"posterior": "gumbel:categories=4", "prior": "categorical", "likelihood": "bernoulli"}
    made = build("vae", spec, latent=3, net="mlp:hidden=16", objective="vimco:samples=4", **how)
    objective = Watched(samples=4)
    model: Any = made.model
    adam = make_optimizer("adam", model.parameters(), lr=1e-2)
    seen: list[bool] = []
    values: list[float] = []

    def note(progress: Any) -> None:
        seen.append(model.posterior.family.relaxed)
        values.append(progress.meter.means()["objective"])
        progress.meter.reset()

    before = [p.clone() for p in model.posterior.parameters()]
    fit(model, objective, Batches(rows_of_digits(), 50), steps=200, optimizer=adam, on_step=note)
    assert not any(seen)
    assert model.posterior.family.relaxed, "the next training is relaxed again"
    assert all(set(z.unique().tolist()) == {0.0, 1.0} for z in objective.seen)
    assert np.mean(values[-20:]) > np.mean(values[:20]) + 5
    assert all(
        not torch.equal(a, b) for a, b in zip(before, model.posterior.parameters(), strict=True)
    )


# What is reported, and what is refused ------------------------------------------------------------


@pytest.mark.parametrize("name", ["piwae", "elbo-stl", "dreg", "vimco"])
def test_the_value_is_reported_and_not_what_is_differentiated(name: str) -> None:
    objective = copy.deepcopy(VALUES[name][0])
    model: Any = (choosing() if name == "vimco" else small()).float()
    adam = make_optimizer("adam", model.parameters(), lr=1e-3)
    x = torch.rand(32, *model.x_shape).round()
    seen: list[Any] = []
    objective.register_forward_hook(lambda module, given, bound: seen.append(bound))
    found: list[float] = []
    split = vk.data.Split(x)
    batches = Batches(split, 32)
    fit(model, objective, batches, steps=1, optimizer=adam,
        on_step=lambda p: found.append(p.meter.means()["objective"]))  # fmt: skip
    assert found == [pytest.approx(seen[0].value.mean().item(), rel=1e-5)]
    target = seen[0].target
    for part in target.values() if isinstance(target, dict) else [target]:
        assert part.shape == (32,)
    if name in ("dreg", "vimco"):
        other = target["posterior"] if isinstance(target, dict) else target
        assert not torch.allclose(other, seen[0].value)


def test_what_cannot_be_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    joint = ("--posterior", "joint", "--prior", "joint")
    one = "needs one latent and not several (one_site), which this model does not offer: Joint"
    stopped = "needs the posterior with its parameters detached (stopped), which this model does"
    apart = "needs a posterior whose parameters serve nothing else (separate)"
    vamp = ("--prior", "vamp:components=5")
    cases = [
        *[(name, joint, one) for name in ("elbo-stl", "dreg", "vimco")],
        *[(name, ("--posterior", "iaf"), stopped) for name in ("elbo-stl", "dreg")],
        *[(name, vamp, apart) for name in ("piwae", "dreg")],
        ("vimco", (), "VIMCO needs draws of the posterior that carry no gradients"),
        ("vimco", (), "take the objective iwae, or the posterior gumbel with the prior categ"),
        ("vimco:samples=1", (), "expected a whole number of at least 2"),
        ("ciwae:weight=1.5", (), "expected at most 1"),
        ("renyi:alpha=-1", (), "expected a number of at least 0"),
        ("miwae:k=0", (), "expected a whole number of at least 1"),
    ]
    for name, parts, message in cases:
        code = run("train", "vae", *DATA, "--objective", name, *parts)
        said = capsys.readouterr().err
        assert code == 2, (name, parts, said)
        assert message.lower() in said.lower(), (name, parts)
        assert len(said.strip().splitlines()) == 1
    ladder = Ladder((8,), make("net", {"name": "mlp", "hidden": (8,)}), vk.Bernoulli(8), 2)
    for objective in (STL(), DReG()):
        with pytest.raises(VaekitError, match=r"one latent and not several \(one_site\)"):
            require(objective, ladder)


def test_a_likelihood_beside_a_weighted_bound_learns_its_scale() -> None:
    spec = DataSpec("t", (5,), "table", rows=20)
    for name in ("miwae", "piwae", "ciwae", "renyi", "dreg"):
        with pytest.raises(VaekitError, match="likelihood that is not fitted to the batch"):
            build("vae", spec, objective=name, likelihood="gaussian:scale=fitted")
        model: Any = build("vae", spec, objective=name).model
        assert [n for n, _ in model.likelihood.family.named_parameters()], name
    build("vae", spec, objective="elbo-stl", likelihood="gaussian:scale=fitted")


def test_a_surrogate_by_part_moves_each_part_by_its_own() -> None:
    """Through the loop: PIWAE's decoder steps as IWAE's does, and its encoder otherwise."""
    ends = []
    for objective in (PIWAE(m=2, k=3), MIWAE(m=2, k=3), IWAE(samples=6)):
        torch.manual_seed(3)
        model, _ = pair(objective)
        torch.manual_seed(4)
        ends.append(stepped((model, objective), steps=1).model)
    for part, same, other in (("posterior", 1, 2), ("likelihood", 2, 1)):
        states = [end.get_submodule(part).state_dict() for end in ends]
        assert all(torch.allclose(v, states[same][n], atol=1e-6) for n, v in states[0].items())
        assert not all(torch.allclose(v, states[other][n], atol=1e-6) for n, v in states[0].items())


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("vae", ("--latent", "2", "--objective", "dreg:samples=4")),
        ("gumbel_vae", ("--latent", "4", "--objective", "vimco:samples=4")),
    ],
)
def test_they_go_the_whole_way(
    recipe: str, options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = walk(tmp_path, capsys, recipe, *options)
    assert found["kl"] > 0
    assert over_samples(torch.ones(2, 3)).shape == (3,)
