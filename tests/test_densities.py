"""Priors fitted to codes: what each kind of fit gives, where it is known, and what a run keeps."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from conftest import Proves
from scipy import stats
from test_probe_codes import FSQ
from torch import Tensor, nn

import vaekit as vk
from vaekit import Run, VaekitError
from vaekit._safetensors import read_tensors, safetensors_bytes
from vaekit.cli.main import main
from vaekit.data import Split
from vaekit.distributions import GaussianMixture, TorchDistribution, codes
from vaekit.parts import FullMixture, MovedPrior, Prior, SecondStage, StandardNormal
from vaekit.registry import make, register
from vaekit.runs import FittedPrior, fit_prior, rows_to_fit, takes_fitted, takes_mixture
from vaekit.training import Fit, climb

SMALL = {"net": "mlp:hidden=64", "epochs": 15, "latent": 4, "report": False}
QUICK = {
    "mixture": "mixture:components=3",
    "flow": "flow:transforms=2:hidden=16:epochs=3",
    "two-stage": "two-stage:hidden=32:epochs=3",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vk.train("vae", out=tmp_path_factory.mktemp("densities") / "r", **SMALL)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vk.train("ae", out=tmp_path_factory.mktemp("densities") / "ae", **SMALL)


@pytest.fixture(autouse=True)
def _noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note is said once a process."""
    monkeypatch.setattr("vaekit._io._NOTED", set())


def fitted(name: str, z: Tensor, held_out: Tensor, told: Any = None, **options: Any) -> Fit:
    given = {"z": z, "held_out": held_out, "seed": 0, "on_epoch": told, "classes": None}
    makers = {key: lambda value=value: value for key, value in given.items()}
    found: Fit | None = make("density", {"name": name, **options}, makers)
    assert found is not None
    return found


def correlated(n: int) -> tuple[Tensor, Any]:
    """Draws of a Gaussian that lies far from 0, whose elements differ in scale, and its density."""
    mean, scale = np.array([30.0, -2.0, 0.0]), np.array([[5.0, 0, 0], [4, 3, 0], [0, 0.01, 0.02]])
    normal = stats.multivariate_normal(mean, scale @ scale.T)
    z = torch.as_tensor(normal.rvs(n, random_state=0), dtype=torch.float32)
    return z, normal


def test_a_moved_prior_is_a_change_of_variables(proves: Proves) -> None:
    prior = MovedPrior(StandardNormal(4), (2, 2)).double()
    z = 3 * torch.randn(50, 2, 2).double() + torch.arange(4).view(2, 2)
    prior.move_to(z)
    loc, scale = z.flatten(1).mean(0), z.flatten(1).std(0, correction=0)
    expected = stats.norm(loc, scale).logpdf(z.flatten(1)).sum(1)
    proves("moved prior, density", "scipy", prior().log_prob(z), expected, limit=1e-12)
    draws = prior().sample((4000,)).flatten(1)
    assert draws.mean(0).allclose(loc, atol=0.3)
    assert draws.std(0).allclose(scale, rtol=0.1)


def test_a_dimension_that_never_moves_has_a_finite_density() -> None:
    z = torch.randn(500, 3) * torch.tensor([1.0, 0.0, 5.0])
    found = fitted("flow", z[:400], z[400:], epochs=2, hidden=8, transforms=1)
    assert found.log_p.isfinite().all()
    assert found.prior().sample((9,)).isfinite().all()


def test_a_full_mixture_is_its_density() -> None:
    prior = FullMixture((2, 1), components=2)
    parts = {
        "log_weights": torch.tensor([0.3, 0.7]).log(),
        "loc": torch.randn(2, 2, 1),
        "tril": torch.tensor([[[1.0, 0], [2, 3]], [[0.5, 0], [0, 1]]]),
    }
    prior.load_state_dict(parts)
    z = torch.randn(9, 2, 1)
    assert torch.equal(prior().log_prob(z), GaussianMixture(**parts).log_prob(z))


@pytest.mark.parametrize("flow", ["maf", "spline"])
def test_a_flow_comes_near_the_density_of_the_codes(flow: str) -> None:
    """By the log-density of held-out points: no model of them has more than their own, on average.

    Codes far from 0 and of unlike scales are as easy: they are moved first.
    """
    z, normal = correlated(3000)
    own = torch.as_tensor(normal.logpdf(z[2000:]))
    found = fitted("flow", z[:2000], z[2000:], flow=flow, transforms=3, hidden=32, epochs=60)
    assert -0.1 < float((found.log_p - own).mean()) < 0.02
    assert found.prior().sample((2000,)).std(0).allclose(z.std(0), rtol=0.15)


def test_a_flow_bends_where_a_gaussian_cannot() -> None:
    a = torch.randn(3000)
    z = torch.stack([a, a.square() + 0.2 * torch.randn(3000)], 1)
    bent = fitted("flow", z[:2500], z[2500:], transforms=3, hidden=32, epochs=60)
    straight = fitted("mixture", z[:2500], z[2500:], components=(1,))
    own = -math.log(0.2) - 2 * 0.5 * math.log(2 * math.pi) - 1  # minus the entropy of both
    assert float(bent.log_p.mean()) > own - 0.25
    assert float(straight.log_p.mean()) < own - 0.8


def test_a_second_vae_learns_its_scale_and_draws_with_it() -> None:
    """Draws have the spread of the codes: those of E[z|u] alone would lack the noise of p(z|u).

    Its bound is below the density itself, and its latent is as large as the first one's.
    """
    z, normal = correlated(4000)
    found = fitted("two-stage", z[:3000], z[3000:], hidden=(64,), epochs=60)
    own = torch.as_tensor(normal.logpdf(z[3000:]))
    assert -0.6 < float((found.log_p - own).mean()) < 0.02
    prior: Any = found.prior
    assert prior.prior.model.prior.space == prior.space
    scale = prior.prior.model.likelihood.family.scale.log_scale.exp()
    assert 0.02 < float(scale) < 0.8  # in units of the codes' own spread: 1 is where it starts
    draws = prior().sample((4000,))
    assert torch.cov(draws.T).allclose(torch.cov(z.T), rtol=0.2, atol=0.02)
    with torch.no_grad():
        u = torch.randn(4000, 3)
        means = prior.loc + prior.scale * prior.prior.model.decode(u)
    assert (means.var(0) < draws.var(0)).all()


def test_a_second_vae_has_no_density() -> None:
    part = vk.Conditional(vk.MLP(2, 4), vk.Gaussian(2))
    prior = SecondStage(vk.VAE(vk.StandardNormal(2), part, part))
    assert "density" not in prior.offers
    assert prior().event_dim == 1
    with pytest.raises(VaekitError, match="is only known as a bound"):
        prior().log_prob(torch.zeros(1, 2))


@pytest.mark.parametrize("name", ["flow", "two-stage"])
def test_a_fit_is_the_same_again_and_tells_its_epochs(name: str) -> None:
    z, told = torch.randn(300, 2) * torch.tensor([1.0, 30.0]), list[Any]()
    options: dict[str, Any] = {"hidden": 8 if name == "flow" else (8,), "epochs": 3}
    first = fitted(name, z, z[:100], lambda *each: told.append(each), **options)
    again = fitted(name, z, z[:100], **options)
    assert torch.equal(first.log_p, again.log_p)
    assert [each[:2] for each in told] == [(1, 3), (2, 3), (3, 3)]
    assert not first.log_p.requires_grad
    best, left = max(each[2] for each in told), float(first.log_p.mean())  # the epoch that was best
    if name == "flow":
        assert best == pytest.approx(left, rel=1e-6)
    else:  # one draw of the bound, beside that of a hundred
        assert left - 2 < best < left + 0.1


def test_a_climb_ends_after_the_best_epoch_and_leaves_its_weights() -> None:
    """What is held out wants 0, the rest 1: the first epochs are best."""
    part, told = nn.Linear(1, 1, bias=False), list[float]()
    nn.init.zeros_(part.weight)
    value = lambda z: -(part.weight[0, 0] - z[:, 0]).square()  # noqa: E731
    ones, zeros = torch.ones(2560, 1), torch.zeros(50, 1)
    assert climb(part, value, ones, zeros, 100, lambda *each: told.append(each[2]))
    assert len(told) == 11
    assert float(value(zeros).detach().mean()) == pytest.approx(max(told)) == pytest.approx(told[0])
    level = lambda z: -(part.weight[0, 0] * z[:, 0] - z[:, 0]).square()  # noqa: E731
    told.clear()
    assert climb(part, level, ones, zeros, 100, lambda *each: told.append(each[2]))
    assert len(told) == 11, "what grows no more is no better"


@pytest.mark.parametrize("name", QUICK)
def test_a_run_keeps_what_was_fitted(run: Run, name: str, tmp_path: Path) -> None:
    fitted = run.fit_prior(QUICK[name])
    assert (fitted.spec["name"], fitted.scores) == (name, name != "two-stage")
    assert QUICK[name].startswith(fitted.name.split(":")[0])
    drawn = run.sample(5, prior="fitted")
    again = vk.load(run.path)
    kept = again.sampled_prior("fitted")
    assert kept is not None
    assert (kept.spec, kept.gain, kept.error) == (fitted.spec, fitted.gain, fitted.error)
    assert str(kept) == str(fitted)
    assert torch.equal(again.sample(5, prior="fitted"), drawn)
    vk.save(run, tmp_path / "one.vaekit")
    assert torch.equal(vk.load(tmp_path / "one.vaekit").sample(5, prior="fitted"), drawn)


def test_more_nats_for_held_out_codes_are_more_nats_of_the_bound(run: Run) -> None:
    """ELBO(fitted) - ELBO(p(z)) is the gain on the codes of the rows; p(z) itself stays."""
    fitted = run.fit_prior("mixture")
    before, with_it = run.evaluate(), run.evaluate(prior="fitted")
    assert with_it["log_likelihood"] == before["log_likelihood"]
    gained = with_it["elbo"] - before["elbo"]
    assert abs(gained - fitted.gain) < 5 * fitted.error + 0.3  # other rows, ten draws of each
    assert with_it["protocol"]["prior"] == f"fitted: {fitted.name}"
    assert "prior" not in before["protocol"]
    assert run.evaluate() == before
    with pytest.raises(VaekitError, match="unknown prior 'best'"):
        run.evaluate(prior="best")


def test_a_bound_of_a_density_is_no_density(run: Run) -> None:
    fitted = run.fit_prior(QUICK["two-stage"])
    assert "at least" in str(fitted)
    with pytest.raises(VaekitError, match="no density but as a bound"):
        run.evaluate(prior="fitted")
    found = run.evaluate("frechet:features=pca", prior="fitted")
    assert found["elbo"] is None
    assert found["frechet"]["distance"] > 0


def test_an_autoencoder_draws_once_a_prior_is_fitted(plain: Run) -> None:
    assert takes_fitted(plain.model)
    for prior in (None, "model"):
        with pytest.raises(VaekitError, match="has no prior to draw from"):
            plain.sample(3, prior=prior)
    assert not plain.draws
    asked = plain.sample(3, prior="fitted")
    fitted = plain.fit_prior("mixture")
    assert torch.equal(asked, plain.sample(3))
    assert fitted.gain is fitted.error is None
    assert str(fitted).endswith("the model itself has none")
    again = vk.load(plain.path)
    assert again.draws
    drawn = again.sample(300)
    assert torch.equal(drawn, plain.sample(300))
    x = plain.dataset().test.x().flatten(1)
    far = torch.cdist(drawn.flatten(1), x).amin(1).mean()
    anywhere = plain.decode(10 * torch.randn(300, 4))
    assert far < torch.cdist(anywhere.flatten(1), x).amin(1).mean()
    with pytest.raises(VaekitError, match="has no prior to draw from"):
        again.sample(3, prior="model")
    with pytest.raises(VaekitError, match="the posterior is a point"):
        again.evaluate(prior="fitted")
    near = again.evaluate("frechet:features=pca", prior="fitted")["frechet"]
    assert near["prior"] == "fitted"
    fitted.prior.loc.add_(1.0)
    far = plain.evaluate("frechet:features=pca", prior="fitted")["frechet"]
    assert near["distance"] < far["distance"]
    page = vk.report.write_run_report(again).read_text()
    assert "Samples: prior fitted to the codes." in page
    assert "from p(z)" not in page
    (plain.path / "fitted.safetensors").unlink()
    assert "Samples: " not in vk.report.write_run_report(vk.load(plain.path)).read_text()


def test_the_report_says_which_prior_was_chosen(run: Run) -> None:
    fitted = run.fit_prior("flow:transforms=2:hidden=32:epochs=30")
    assert fitted.better
    page = vk.report.write_run_report(run).read_text()
    assert "z is drawn from a normalizing flow on the codes" in page
    assert f"{fitted.gain:.2f} ± {fitted.error:.2f} nats more likely under the fitted" in page
    assert "归一化流" in vk.report.write_run_report(run, lang="zh").read_text()
    kept = vk.load(run.path).sampled_prior()
    assert kept is not None
    assert kept.name == fitted.name


def test_files_of_before_hold_a_mixture(run: Run) -> None:
    fitted, path = run.fit_prior("mixture"), run.path / "fitted.safetensors"
    state, known = read_tensors(path.read_bytes(), path)
    numbers = {**json.loads(known["numbers"]), "gain": 123.0}
    del numbers["groups"]
    old = {"weights": known["weights"], "numbers": json.dumps(numbers)}
    path.write_bytes(safetensors_bytes(state, old))
    opened = vk.load(run.path).sampled_prior()
    assert opened is not None
    assert (opened.gain, opened.name, opened.rows) == (123.0, "mixture", fitted.rows)
    assert opened.groups == 0
    assert torch.equal(opened.prior().loc, fitted.prior().loc)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "damage",
    [
        {"prior": json.dumps({"part": "prior/none", "arguments": {"event_shape": 4}})},
        {"prior": json.dumps({"torch": "Linear", "arguments": {}})},
        {"prior": "{"},
        {"numbers": "[]"},
        {"weights": "other"},
        {"spec": '{"name": "flow", "other": 3}'},
    ],
)
def test_what_does_not_fit_is_not_opened(
    run: Run, damage: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    run.fit_prior(QUICK["flow"])
    path = run.path / "fitted.safetensors"
    state, known = read_tensors(path.read_bytes(), path)
    path.write_bytes(safetensors_bytes(state, {**known, **damage}))
    with caplog.at_level(logging.WARNING, "vaekit"):
        anew = vk.load(run.path).sampled_prior("fitted")
    assert anew is not None
    assert anew.name == "mixture"
    assert ("fits it again" in caplog.text) is ("spec" not in damage)


def test_a_flow_of_other_weights_is_refused_and_said(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.fit_prior(QUICK["flow"])
    other = vk.load(run.path)
    with torch.no_grad():
        next(other.vae.posterior.parameters()).mul_(1.1)
    with caplog.at_level(logging.WARNING, "vaekit"):
        anew = other.sampled_prior("fitted")
    assert anew is not None
    assert anew.name == "mixture"
    assert f"--prior {QUICK['flow']}` fits it again" in caplog.text


def test_a_prior_is_better_by_more_than_two_standard_errors() -> None:
    prior = MovedPrior(StandardNormal(2), 2)
    for gain, error, better in ((2.0, 1.0, False), (2.1, 1.0, True), (-3.0, 1.0, False)):
        found = FittedPrior(prior, {"name": "flow"}, gain, error, 100, 20)
        assert found.better is better
    assert str(found).endswith("than under p(z), ± over 20 codes")


def test_rows_that_choose_are_none_of_those_that_are_fitted_to() -> None:
    """Nor are they of a group that is: validation rows where there are enough, else every fifth."""
    rows, groups = torch.arange(103.0)[:, None], torch.arange(103) // 8
    for own in (None, groups):
        data: Any = SimpleNamespace(train=Split(rows, groups=own), validation=None)
        train, held = rows_to_fit(data)
        both = torch.cat([train.images, held.images]).flatten()
        assert torch.equal(both.sort().values, rows.flatten())
        assert 0.15 < len(held) / 103 < 0.25
        if own is not None:
            assert not {*train.groups.tolist()} & {*held.groups.tolist()}
    for count, wanted in ((20, 21), (21, 21)):
        few = Split(torch.zeros(count, 1))
        train, held = rows_to_fit(cast(Any, SimpleNamespace(train=Split(rows), validation=few)))
        assert (len(held), len(train)) == ((wanted, 82) if count == 20 else (21, 103))


def test_codes_of_both_kinds_of_rows_have_noise_of_their_own() -> None:
    seen = list[Tensor]()

    def kept(z: Tensor, held_out: Tensor) -> None:
        seen.extend([z, held_out])

    register("density", "kept")(kept)
    part = vk.Conditional(vk.MLP(2, 4), vk.Gaussian(2))
    model, x = vk.VAE(vk.StandardNormal(2), part, part), torch.randn(9, 2)
    for seed in (0, 1, 5):
        assert fit_prior(model, [(x, None)], [(x, None)], "kept", seed) is None
    assert len({tuple(z.flatten().tolist()) for z in seen}) > 3
    assert not any(torch.equal(*pair) for pair in zip(seen[::2], seen[1::2], strict=True))
    assert not any(z.requires_grad for z in seen)
    gap = torch.full((1, 2), math.nan)
    for rows in ([(x, None), (gap, None)], []):
        assert fit_prior(model, [(x, None)], rows) is None
        assert fit_prior(model, rows, [(x, None)]) is None


def test_codes_are_those_of_a_model_at_rest() -> None:
    """Batch statistics stay, dropout is off, and the mode is as it was."""
    net = vk.MLP(6, 4, (8,), norm="batch", dropout=0.5)
    decoder = vk.Conditional(vk.MLP(2, 6), vk.Gaussian(6))
    model = vk.VAE(vk.StandardNormal(2), vk.Conditional(net, vk.Gaussian(2)), decoder).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(400, 6)
    fitted = [fit_prior(model, [(x[:300], None)], [(x[300:], None)]) for _ in range(2)]
    assert fitted[0] is not None
    assert fitted[1] is not None
    assert fitted[0].gain == fitted[1].gain
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_models_without_a_place_for_one_are_refused(tmp_path: Path) -> None:
    sphere = vk.train("power_spherical_vae", out=tmp_path / "r", **{**SMALL, "epochs": 1})
    with pytest.raises(VaekitError, match="has no codes to fit a prior to"):
        sphere.fit_prior()
    few = {**SMALL, "epochs": 1, "limit": 9, "validation": 0, "latent": 8}
    with pytest.raises(VaekitError, match="no prior mixture can be fitted to the codes"):
        vk.train("vae", out=tmp_path / "few", **few).fit_prior()


class Counted(Prior):
    """Each code by itself, with probabilities `(n, K)` of its own."""

    probs: Tensor

    def __init__(self, counts: tuple[int, int]) -> None:
        super().__init__()
        self.counts = counts
        self.register_buffer("probs", torch.full(counts, 1 / counts[1]))

    @property
    def space(self) -> vk.Space:
        return codes(*self.counts)

    def forward(self, *_: Any) -> vk.Distribution:
        return TorchDistribution(torch.distributions.Categorical(self.probs), event_dim=1)


class Coded(FSQ):
    """A model of codes whose prior is a part."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.prior = Counted((self.latent, self.levels))

    def draw(self, state: Any, samples: tuple[int, ...]) -> tuple[vk.Site, ...]:
        (site,) = super().draw(state, samples)
        return (vk.Site("codes", site.z, site.q, self.prior()),)


def counted(codes: Tensor, held_out: Tensor, space: vk.Space) -> Fit:
    """How often each code is."""
    prior = Counted((space.shape[0], space.levels or 0))
    prior.probs.copy_(torch.nn.functional.one_hot(codes, space.levels or 0).float().mean(0) + 1e-9)
    return Fit(prior, prior().log_prob(held_out))


def test_a_prior_of_numbered_codes_is_fitted_by_a_density_of_ones_own() -> None:
    """Its gain is the sum over places of log K - H, but for what the held-out codes lack."""
    register("prior", "counted")(Counted)
    register("density", "counted")(counted)
    x = torch.rand(3000, 5)
    net = make("net", {"name": "mlp", "hidden": [8]})
    model = Coded((5,), net, vk.Gaussian(5, scale=1.0), 3, levels=5)
    split = [(x[:2000], None)], [(x[2000:], None)]
    assert takes_fitted(model)
    assert not takes_mixture(model)
    fitted = fit_prior(model, *split, "counted")
    assert fitted is not None
    p = cast(Any, fitted.prior).probs.double()
    expected = 3 * math.log(5) - float(-(p * p.log()).sum())
    assert fitted.gain == pytest.approx(expected, abs=4 * (fitted.error or 0))
    assert str(fitted).startswith("fitted to the codes: the prior counted, under which")
    again = FittedPrior.from_bytes(fitted.to_bytes("key"), "key", model.prior.space)
    assert again is not None
    assert again.prior().sample((4,)).shape == (4, 3)
    better, plain = fitted.in_place_of(model), model(x[2000:])
    assert float((plain.kl - better(x[2000:]).kl).mean()) == pytest.approx(fitted.gain)
    with pytest.raises(VaekitError, match=r"are codes\(3; 5\), to which no flow can be fitted"):
        fit_prior(model, *split, "flow")


def test_the_shell_fits_and_says(run: Run, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    path = str(run.path)
    main(["fit-prior", path, "--prior", QUICK["flow"], "--seed", "3"])
    said = capsys.readouterr()
    assert said.out.startswith("prior fitted to the codes: a normalizing flow, under which")
    assert "epoch 1 of 3 at most" in said.err
    main(["evaluate", path, "--prior", "fitted"])
    assert f"prior fitted: {QUICK['flow']}, not p(z)" in capsys.readouterr().out
    vk.save(run, tmp_path / "m.vaekit")
    for words, why in {
        (path, "--prior", "flw"): "unknown density 'flw'; did you mean 'flow'?",
        (path, "--prior", "flow:epochs=0"): "got `flow:epochs=0`; expected a whole number",
        (path, "--prior", "flow:flow=glow"): "unknown flow 'glow'",
        (path, "--prior", "mixture:components=0"): "got `mixture:components=0`",
        (str(tmp_path / "m.vaekit"),): "is a saved model, which keeps no new prior",
    }.items():
        with pytest.raises(SystemExit) as left:
            main(["fit-prior", *words])
        assert left.value.code == 2
        error = capsys.readouterr().err
        assert why in error
        assert error.count("\n") == 1
