"""Recipes: likelihoods by the kind of data, counts, and unpooling by remembered places."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize, stats

import vaekit as vk
from vaekit import Run, VaekitError
from vaekit import distributions as d
from vaekit.cli.main import main
from vaekit.data import Dataset, DataSpec, Split
from vaekit.evaluate import bits_per_dim, is_likelihood, measure
from vaekit.nn import UnpoolDecoder
from vaekit.recipes import build
from vaekit.testing import check_model


def spec_of(kind: str) -> DataSpec:
    return DataSpec("mine", (1, 4, 4), kind, rows=50, mean=torch.full((1, 4, 4), 0.5))


NAMES = {
    "bernoulli": vk.Bernoulli,
    "continuous-bernoulli": vk.ContinuousBernoulli,
    "categorical": vk.Categorical,
    "gaussian": vk.Gaussian,
    "laplace": vk.Laplace,
    "negative-binomial": vk.NegativeBinomial,
    "poisson": vk.Poisson,
    "multinomial": vk.Multinomial,
    "zinb": vk.ZeroInflatedNegativeBinomial,
}


@pytest.mark.parametrize("kind", ["binary", "gray", "color", "table", "counts"])
@pytest.mark.parametrize("name", NAMES)
def test_a_likelihood_fits_the_kind_of_data_or_is_refused(name: str, kind: str) -> None:
    over_counts = name in ("negative-binomial", "poisson", "zinb", "multinomial")
    if name in ("gaussian", "laplace") or over_counts == (kind == "counts"):
        model = build("vae", spec_of(kind), likelihood=name).model
        assert type(model.likelihood.family) is NAMES[name]
        assert isinstance(model.posterior.net, vk.LogCounts) == (kind == "counts")
        return
    with pytest.raises(vk.VaekitError) as caught:
        build("vae", spec_of(kind), likelihood=name)
    line = str(caught.value)
    takes = "takes counts;" if over_counts else "takes values in [0, 1], not counts;"
    assert f"the likelihood {name} {takes} the data mine are of kind {kind}: take " in line
    assert "\n" not in line


def test_counts_are_negative_binomial_by_default_with_any_recipe_and_net() -> None:
    for name in ("ae", "vae", "beta_vae", "iwae"):
        for net in ("mlp:hidden=8", "conv:channels=4"):
            model = build(name, spec_of("counts"), net=net).model
            assert isinstance(model.likelihood.family, vk.NegativeBinomial)
            x = torch.randint(0, 50, (3, 1, 4, 4)).float()
            assert model(x).log_likelihood.shape == (1, 3)


def test_counts_that_are_not_whole_are_refused() -> None:
    for bad in (0.5, -1.0, math.inf, math.nan):
        rows = Split(torch.tensor([[0.0, 3.0], [bad, 1.0]]))
        with pytest.raises(vk.VaekitError, match="not all are whole numbers from 0 on"):
            Dataset("mine", "counts", rows, rows)


def test_masses_of_counts_are_likelihoods_with_bits() -> None:
    for family in (vk.Poisson(4), vk.NegativeBinomial(4)):
        assert is_likelihood(family.space, "counts")
        assert not is_likelihood(family.space, "gray")
        bits = bits_per_dim(-8 * math.log(2), family.space, spec_of("counts"))
        assert bits == pytest.approx(2)
        assert bits_per_dim(-1.0, family.space, spec_of("table")) is None
    assert is_likelihood(d.reals(4), "counts") == is_likelihood(d.reals(4), "gray")
    assert bits_per_dim(-1.0, d.reals(4), spec_of("counts")) is None
    assert not is_likelihood(vk.Bernoulli(4).space, "counts")


GENES, DISPERSION = 12, 4.0


def synthetic(rows: int, weight: np.ndarray, seed: int) -> np.ndarray:
    """Counts (rows, GENES) of negative binomials with the log-mean 1 + z weight, z ~ N(0, 1)."""
    rng = np.random.RandomState(seed)
    mean = np.exp(1 + rng.randn(rows, 1) * weight)
    return rng.poisson(mean * rng.gamma(DISPERSION, 1 / DISPERSION, mean.shape))


def true_log_prob(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """log p(x) (rows,), by quadrature over z."""
    z = np.linspace(-7, 7, 400)
    mean = np.exp(1 + z[:, None, None] * weight)
    terms = stats.nbinom.logpmf(x, DISPERSION, DISPERSION / (DISPERSION + mean)).sum(-1)
    joint = terms + stats.norm.logpdf(z)[:, None]
    return np.logaddexp.reduce(joint, 0) + math.log(z[1] - z[0])


def independent_log_prob(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """log p(x) (rows,) under the best independent negative binomial of each gene."""

    def score(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        t, m = np.exp(theta)
        return np.asarray(stats.nbinom.logpmf(x, t, t / (t + m)))

    total = np.zeros(len(test))
    for gene in range(GENES):
        start = np.array([0.0, math.log(train[:, gene].mean())])
        best = optimize.minimize(lambda v, x: -score(v, x).mean(), start, (train[:, gene],))
        total += score(best.x, test[:, gene])
    return total


def test_a_vae_on_counts_finds_what_independent_negative_binomials_miss() -> None:
    """Its ELBO on held-out rows lies between the best independent model and the truth."""
    weight = np.random.RandomState(0).choice([-0.8, 0.8], GENES)
    train, test = synthetic(2000, weight, 1), synthetic(1000, weight, 2)
    data = Dataset("cells", "counts", *(Split(torch.from_numpy(x).float()) for x in (train, test)))
    made = build("vae", data.spec(), latent=1, net="mlp:hidden=32")
    batches = vk.Batches(data.train, 100)
    parameters = [*made.model.parameters(), *made.objective.parameters()]
    adam = torch.optim.Adam(parameters, lr=5e-3)
    vk.fit(made.model, made.objective, batches, steps=600, optimizer=adam)
    found = measure(made.model, [(data.test.images, None)], samples=20)
    low, high = independent_log_prob(train, test).mean(), true_log_prob(test, weight).mean()
    assert found.elbo is not None
    assert high - low > 2
    assert low + 0.8 * (high - low) < found.elbo < high
    family: Any = made.model.likelihood.family
    fitted = family.log_dispersion.detach().exp()
    assert fitted.log().mean().exp().item() == pytest.approx(DISPERSION, rel=0.25)
    check_model(made.model, data.test.images[:6])


SMALL = {"epochs": 40, "limit": 600, "report": False, "latent": 3, "lr": 1e-2}


NET = "channels=6,4"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vk.train("unpool_ae", net=f":{NET}", out=tmp_path_factory.mktemp("u") / "r", **SMALL)


PLACES = 6 * 16 + 4 * 4


def test_it_reconstructs_with_its_places_and_worse_with_those_of_others(run: Run) -> None:
    x = run.dataset().test.x()
    code = run.encode(x)
    assert code.shape[1] == 3 + PLACES
    assert set(code[:, 3:].unique().tolist()) == {0.0, 1.0, 2.0, 3.0}
    torch.testing.assert_close(run.decode(code), run.reconstruct(x))
    own = (run.decode(code) - x).square().mean()
    mixed = torch.cat([code[:, :3], code.roll(1, 0)[:, 3:]], 1)
    others = (run.decode(mixed) - x).square().mean()
    assert others > 1.5 * own, "what the places say goes past the latent"


REFUSED = [
    (["sample"], "has no prior to draw from"),
    (["evaluate", "nll:samples=5"], "so there is no nll to measure"),
    (["traverse", "--set", "0=1"], "prior has no standard deviation"),
]


def test_it_has_no_samples_and_no_bound(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run.evaluate("reconstruction", limit=50)
    assert found["elbo"] is None
    assert found["kl"] is None
    for words, said in REFUSED:
        with pytest.raises(SystemExit) as caught:
            main([words[0], str(run.path), *words[1:]])
        assert caught.value.code == 2
        shown = capsys.readouterr().err
        assert len(shown.splitlines()) == 1
        assert said in shown
    with pytest.raises(VaekitError, match="no prior to draw from"):
        run.sample(3)
    with pytest.raises(VaekitError, match="no prior to score codes by"):
        run.model.prior().log_prob(torch.zeros(3 + PLACES))


def test_its_report_and_pictures_do_without_samples(run: Run, tmp_path: Path) -> None:
    folder = str(run.path)
    main(["report", folder])
    assert "data:image/png" in (run.path / "report.html").read_text()
    for command in ("reconstruct", "interpolate", "traverse"):
        main([command, folder, "-o", str(tmp_path / f"{command}.npz")])
    with np.load(tmp_path / "traverse.npz") as arrays:
        assert arrays["images"].shape == (100, 1, 8, 8)
    plain = vk.train("ae", net=f"pool:{NET}", out=tmp_path / "ae", **SMALL)
    pages = tmp_path / "c"
    main(
        [
            "compare",
            folder,
            str(plain.path),
            "--out",
            str(tmp_path / "c.html"),
            "--files",
            str(pages),
        ]
    )
    assert (pages / "reconstructions.png").is_file()
    assert not (pages / "samples.png").exists(), "neither has a prior"
    second = vk.train("unpool_ae", net=f":{NET}", out=tmp_path / "two", **{**SMALL, "epochs": 1})
    main(["compare", folder, str(second.path), "--out", str(tmp_path / "d.html")])
    assert (tmp_path / "d.html").stat().st_size > 10_000


def test_labels_reach_both_sides(tmp_path: Path) -> None:
    small = {**SMALL, "epochs": 1, "net": f":{NET}"}
    made = vk.train("unpool_ae", context="label", out=tmp_path / "r", **small)
    x, context = made.dataset().test.batch(slice(4))
    assert context is not None
    code = made.encode(x, context)
    assert code.shape == (4, 3 + PLACES)
    torch.testing.assert_close(made.decode(code, context), made.reconstruct(x, context))
    assert not torch.allclose(made.decode(code, context.roll(1, 1)), made.reconstruct(x, context))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"posterior": "gaussian"}, "the net unpool gives a point with its places, and no spread"),
        ({"net": ":decoder_kernel=4"}, "unknown option of the net unpool 'decoder_kernel'"),
        ({"net": ":kernel=4"}, "kernel is 4; unpooling with padding same needs odd ones"),
        ({"net": ":kernel=3,3,3"}, "expected one number for all 2 stages, or one for each."),
        ({"net": ":padding=valid:kernel=5"}, "an image of 8 x 8 is too small for 2 stages"),
    ],
)
def test_what_does_not_fit_is_refused(
    options: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(VaekitError, match=message):
        vk.train("unpool_ae", out=tmp_path / "r", **{**SMALL, **options})


def test_a_code_smaller_than_its_parts_is_refused() -> None:
    with pytest.raises(VaekitError, match="expected at least 1780: 10 of z, and 1770 places"):
        UnpoolDecoder(10, (1, 30, 30), 10, (10, 5), kernel=5, padding="valid")
