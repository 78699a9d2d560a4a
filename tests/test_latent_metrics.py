"""Metrics of latents: known answers, formulas by others, what public code gets wrong, and runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from conftest import Proves
from numpy.typing import NDArray
from scipy import linalg, stats
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score

import vaekit
from vaekit import Run, VaekitError
from vaekit.cli.main import main
from vaekit.data import spread
from vaekit.metrics import beta_vae_score, dci, factor_vae_score, mig, modularity, sap

Array = NDArray[Any]
SETS: dict[str, Any] = {"train": 400, "test": 400}
ALL: dict[str, Callable[..., Any]] = {
    "mig": mig,
    "modularity": modularity,
    "svm": sap,
    "r2": lambda *rows, **how: sap(*rows, by="r2", **how),
    "dci": lambda *rows, **how: dci(*rows, trees=5, **how),
    "factor": lambda z, v, **how: factor_vae_score(z, v, **SETS, **how),
    "beta": lambda z, v, **how: beta_vae_score(z, v, **SETS, **how),
}
FIRST = {"r2": "sap", "svm": "sap", "dci": "disentanglement", "factor": "score", "beta": "score"}
EVENLY = linalg.hadamard(4) / 2  # turns codes so that each has a part of all


def some(rows: int = 600, seed: int = 0, noise: float = 0.3) -> tuple[Array, Array]:
    """Return factors of 2, 3 and 5 values, and codes with one of each, one of two, and noise."""
    draw = np.random.default_rng(seed)
    factors = np.stack([draw.integers(0, size, rows) for size in (2, 3, 5)], 1)
    mixed = factors @ [1.0, 0.0, 0.5]
    codes = np.column_stack([factors, mixed, 0 * mixed]) + noise * draw.normal(size=(rows, 5))
    return codes, factors


def grid(*sizes: int) -> Array:
    """Return each combination of values once."""
    return np.indices(sizes).reshape(len(sizes), -1).T


def first(name: str, *rows: Any, **how: Any) -> float:
    return float(ALL[name](*rows, **how)[FIRST.get(name, name)])


def binned(column: Array, bins: int = 20) -> Array:
    """In the public implementation's words: bins of equal width from 1 on."""
    return np.digitize(column, np.histogram(column, bins)[1][:-1])


def information(codes: Array, factors: Array) -> Array:
    return np.array([[mutual_info_score(v, binned(z)) for v in factors.T] for z in codes.T])


def public_mig(codes: Array, factors: Array) -> float:
    """The large-scale study's, of codes `(N, D)`."""
    top = np.sort(information(codes, factors), 0)[::-1]
    sizes = [mutual_info_score(v, v) for v in factors.T]
    return float(np.mean((top[0] - top[1]) / sizes))


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_rows_does_not_matter(name: str) -> None:
    codes, factors = some(240)
    order = np.random.default_rng(1).permutation(len(codes))
    assert ALL[name](codes[order], factors[order]) == ALL[name](codes, factors)


@pytest.mark.parametrize("name", ALL)
def test_factors_are_numbers_or_names_of_any_kind(name: str) -> None:
    codes, factors = some(240)
    wanted = ALL[name](codes, factors)
    words = np.array(["a", "b", "c", "d", "e"])[factors]
    frame = pandas.DataFrame(words).astype({0: "category"})
    learned = torch.tensor(factors.astype(float), requires_grad=True)
    same = [10 * factors, factors.astype(float), torch.tensor(factors), learned, words, frame]
    for each in same if name != "r2" else same[1:4]:
        assert ALL[name](codes, each) == wanted
    assert ALL[name](torch.tensor(codes), factors) == wanted


@pytest.mark.parametrize("name", ALL)
def test_a_factor_that_does_not_vary_is_dropped(name: str) -> None:
    codes, factors = some(240)
    more = ALL[name](codes, np.insert(factors, 1, 7, axis=1))
    if "by_factor" in more:
        assert more["by_factor"].pop(1) is None
    if "accuracy" in more:
        assert more["accuracy"].pop(1) is None
    assert more == ALL[name](codes, factors)


@pytest.mark.parametrize("name", ALL)
def test_perfect_codes_are_better_than_turned_ones_and_noise(name: str) -> None:
    factors = np.repeat(grid(2, 3, 4, 2), 20, 0)
    scaled = factors / factors.std(0)
    noise = np.random.default_rng(0).normal(size=scaled.shape)
    rows = (scaled, scaled @ EVENLY, noise)
    perfect, turned, none = (first(name, codes, factors) for codes in rows)
    least = 0.2 if name == "svm" else 0.95  # by lines half of a pair is right by chance
    assert perfect > least
    chance = 0.25 if name in ("factor", "beta") else 0  # which are accuracies
    assert turned < (0.8 if name == "modularity" else chance + 0.2)
    if name not in ("modularity", "dci"):  # of little information all may be on one factor
        assert none < chance + 0.12


def test_what_perfect_codes_have_by_their_formulas() -> None:
    factors = np.repeat(grid(2, 3, 5), 20, 0)
    assert mig(factors, factors).by_factor == pytest.approx([1, 1, 1], abs=1e-12)
    assert modularity(factors, factors).by_code == pytest.approx([1, 1, 1], abs=1e-12)
    assert sap(factors, factors, by="r2").by_factor == pytest.approx([1, 1, 1], abs=1e-12)
    assert factor_vae_score(factors, factors, **SETS) == {"score": 1, "train_score": 1, "kept": 3}
    assert beta_vae_score(factors, factors, **SETS) == {"score": 1, "train_score": 1}
    found = dci(factors, factors, trees=50)
    assert found.disentanglement > 0.999
    assert found.completeness > 0.999
    assert found.accuracy == [1, 1, 1]
    assert np.argmax(found.importance, 0).tolist() == [0, 1, 2]


def test_perfect_codes_are_told_by_pairs_of_either_half() -> None:
    factors = np.repeat(grid(2, 3), 20, 0)
    assert beta_vae_score(factors, factors, **SETS) == {"score": 1, "train_score": 1}


def test_a_dimension_of_no_importance_counts_for_nothing_in_the_mean() -> None:
    """Of two perfect dimensions and a still one: 1, and not 0, nor two thirds."""
    factors = np.repeat(grid(2, 3), 20, 0)
    found = dci(np.insert(factors, 1, 4, axis=1), factors, trees=5)
    assert (found.disentanglement, found.by_code[1]) == (pytest.approx(1, abs=1e-6), 0)


def test_a_dimension_that_is_still_foretells_nothing() -> None:
    """The mean of 0.1 is off by a last digit, which is no correlation."""
    codes, factors = some(700)
    wanted = sap(codes, factors, by="r2").by_factor
    for value in (0.1, 1e6 / 3):
        still = np.insert(codes, 0, value, axis=1)
        assert sap(still, factors, by="r2").by_factor == pytest.approx(wanted, abs=1e-12)
        alone = np.full((700, 2), [value, 3 * value])
        assert sap(alone, factors, by="r2").by_factor == [0, 0, 0], "to the bit"


def test_the_ends_of_what_is_taken() -> None:
    codes, factors = some(40)
    codes[0, 0] = 1e30
    assert mig(codes, factors).by_factor[0] is not None
    exact = np.repeat([[-1, 4], [1, -4], [0, 9]], [16, 16, 1], axis=0)  # the first of variance 1
    assert factor_vae_score(exact, factors[:33], **SETS, least=1.0)["kept"] == 2


def test_a_dimension_that_stands_twice_leaves_no_gap_and_is_as_modular() -> None:
    factors = np.repeat(grid(2, 3), 20, 0)
    twice = factors[:, [0, 0, 1]]
    assert mig(twice, factors).by_factor == pytest.approx([0, 1], abs=1e-12)
    assert sap(twice, factors, by="r2").by_factor == pytest.approx([0, 1], abs=1e-12)
    assert sap(twice, factors).by_factor[0] == 0
    assert modularity(twice, factors).modularity == pytest.approx(1, abs=1e-12)
    assert dci(twice, factors, trees=20).completeness < 0.95


def test_gaps_and_modularity_are_those_of_the_public_implementation(proves: Proves) -> None:
    for seed, noise in enumerate((0.1, 0.5, 2.0)):
        codes, factors = some(700, seed, noise)
        squares = information(codes, factors) ** 2
        by_hand = 1 - (squares.sum(1) - squares.max(1)) / (squares.max(1) * (len(factors.T) - 1))
        oracle = "sklearn's mutual_info_score, numpy's histogram"
        proves(
            "metric mig, mig",
            oracle,
            mig(codes, factors).mig,
            public_mig(codes, factors),
            limit=1e-12,
        )
        found = modularity(codes, factors)
        proves("metric modularity", oracle, found.modularity, by_hand.mean(), limit=1e-12)
        assert found.by_code == pytest.approx(by_hand, abs=1e-12)


def test_where_public_code_is_wrong() -> None:
    """A reshape in place of a transpose mixes dimensions, so that the order of rows decides."""
    factors = np.random.default_rng(0).permutation(np.repeat(grid(2, 3, 5), 20, 0))
    ordered = factors[np.lexsort(factors.T)]

    def reshaped(codes: Array, factors: Array) -> float:
        return public_mig(codes.reshape(codes.shape[::-1]).T, factors)

    for each in (factors, ordered):
        assert public_mig(each, each) == pytest.approx(mig(each, each).mig)
        assert mig(each, each).mig == pytest.approx(1)
    assert reshaped(factors, factors) < 0.1
    assert abs(reshaped(factors, factors) - reshaped(ordered, ordered)) > 0.02
    still = np.insert(factors, 0, 3, axis=1)
    with np.errstate(invalid="ignore"):
        assert math.isnan(public_mig(factors, still))
    assert mig(factors, still).mig == pytest.approx(1)


def test_predictability_is_numpys_correlation_and_a_line_between_gaussians(proves: Proves) -> None:
    codes, factors = some(700)
    size = codes.shape[1]
    squares = np.corrcoef(codes.T, factors.T)[:size, size:] ** 2
    top = np.sort(squares, 0)
    oracle = "numpy's corrcoef"
    proves(
        "metric sap, r2",
        oracle,
        sap(codes, factors, by="r2").by_factor,
        top[-1] - top[-2],
        limit=1e-12,
    )
    moved = 5 - 1000 * codes
    assert sap(moved, factors, by="r2").by_factor == pytest.approx(top[-1] - top[-2], abs=1e-9)
    draw = np.random.default_rng(0)
    y = np.arange(90_000) % 2
    z = np.stack([y + 0.5 * draw.normal(size=len(y)), draw.normal(size=len(y))], 1)
    oracle = "the normal distribution"
    wanted = stats.norm.cdf(1.0) - 0.5
    proves("metric sap, svm", oracle, sap(z, y[:, None]).sap, wanted, limit=0.015)


def test_importances_are_judged_by_scipys_entropies_and_rows_held_out(proves: Proves) -> None:
    codes, factors = some(900, noise=0.6)
    codes = np.insert(codes, 2, 4.0, axis=1)  # of no importance
    found = dci(codes, factors, trees=10)
    share = np.array(found.importance)
    assert share.shape == (6, 3)
    assert share.sum(0) == pytest.approx([1, 1, 1])
    assert share[2].tolist() == [0, 0, 0]
    assert found.by_code[2] == 0
    for name, part, got in (
        ("disentanglement", share, found.disentanglement),
        ("completeness", share.T, found.completeness),
    ):
        each = 1 - stats.entropy(part.T + 1e-11, base=part.shape[1])
        wanted = np.average(each, weights=part.sum(1))
        proves(f"metric dci, {name}", "scipy's entropy", got, wanted, limit=1e-9)
    rng = np.random.default_rng(0)
    order = rng.permutation(np.lexsort((*factors.T, *codes.T)))  # a third of it is held out
    train, held, right = order[:600], order[600:], []
    for values in factors.T:
        trees = GradientBoostingClassifier(n_estimators=10, random_state=0)
        trees.fit(codes[train], values[train])
        right.append((trees.predict(codes[held]) == values[held]).mean())
    assert max(right) < 1
    proves("metric dci, informativeness", "sklearn, rows held out", found.informativeness,
           np.mean(right), limit=1e-9)  # fmt: skip
    noise = np.random.default_rng(0).normal(size=codes.shape)
    assert dci(noise, factors, trees=100).informativeness < 0.42  # by heart they know them all
    still = dci(np.ones((100, 2)), grid(10, 10), trees=2)
    assert (still.disentanglement, still.completeness) == (0, 0)


def slow_sets(codes: Array, factors: Array, count: int, paired: bool, seed: int) -> tuple[Any, Any]:
    """What is measured of each set, one by one, and which factor was shared."""
    draw, found, labels = np.random.default_rng(seed), [], []
    for _ in range(count):
        k = int(draw.integers(factors.shape[1]))
        alike = [np.flatnonzero(factors[:, k] == v) for v in factors[:, k]] if paired else []
        one = draw.integers(len(codes), size=64)
        if paired:
            two = [draw.choice(alike[i]) for i in one]
            found.append(abs(codes[one] - codes[two]).mean(0))
        else:
            same = codes[draw.choice(np.flatnonzero(factors[:, k] == factors[one[0], k]), 64)]
            found.append((same / codes.std(0, ddof=1)).var(0, ddof=1))
        labels.append(k)
    return np.array(found), np.array(labels)


def test_votes_and_differences_are_those_of_sets_one_by_one(proves: Proves) -> None:
    codes, factors = some(300, noise=0.9)
    votes, shared = slow_sets(codes, factors, 4000, paired=False, seed=1)
    table = np.zeros((3, 5))
    np.add.at(table, (shared, votes.argmin(1)), 1)
    found = factor_vae_score(codes, factors, train=20_000, test=20_000)
    wanted = table.max(0).sum() / 4000
    assert 0.5 < wanted < 0.95, "neither chance nor certain"
    proves("metric factor-vae-score", "sets one by one", found.score, wanted, limit=0.025)
    x, y = slow_sets(codes, factors, 1500, paired=True, seed=2)
    model = LogisticRegression(max_iter=1000).fit(x[:1000], y[:1000])
    scores = beta_vae_score(codes, factors, train=1000, test=5000)
    wanted = model.score(x[1000:], y[1000:])
    assert 0.5 < wanted < 0.99
    proves("metric beta-vae-score", "pairs one by one, sklearn", scores.score, wanted, limit=0.05)


def test_votes_are_by_shares_of_variance_and_without_collapsed_dimensions() -> None:
    codes, factors = some(400, noise=0.9)
    before = factor_vae_score(codes, factors, **SETS)
    assert factor_vae_score(codes * [1, 8, 64, 2, 4], factors, **SETS) == before
    small = np.insert(codes, 0, 0.3 * factors[:, 0], axis=1)  # 0.15 of deviation, 0.02 of variance
    assert factor_vae_score(small, factors, **SETS) == before
    assert factor_vae_score(small, factors, **SETS, least=0.0)["kept"] == 6
    assert factor_vae_score(codes / 1e3, factors, **SETS) == {
        "score": 0,
        "train_score": 0,
        "kept": 0,
    }


def test_votes_that_decide_are_not_those_that_are_scored() -> None:
    factors = np.repeat(grid(2, 3, 5), 20, 0)
    noise = np.random.default_rng(0).normal(size=(len(factors), 20))
    found = factor_vae_score(noise, factors, train=100, test=100)
    assert found.score < 0.48, "chance is a third"
    assert found.train_score > 0.52, "of five votes for a dimension, most are for one factor"


def test_pairs_are_two_rows_and_values_that_stand_alone_are_not_drawn() -> None:
    """Of a row beside itself all differences are 0, which would tell the factor."""
    draw = np.random.default_rng(0)
    factors = np.stack([np.repeat(np.arange(300), 2), draw.integers(0, 2, 600)], 1)
    codes = draw.normal(size=(600, 3))
    assert beta_vae_score(codes, factors, **SETS).score < 0.65
    factors[:20, 0] = -1 - np.arange(20)
    assert beta_vae_score(codes, factors, **SETS).score < 0.65
    factors[:, 0] = np.arange(600)
    for score in (beta_vae_score, factor_vae_score):
        with pytest.raises(
            VaekitError, match="column 0 of `factors` has another value in each row"
        ):
            score(codes, factors, **SETS)


def test_seeds_are_of_the_draws() -> None:
    codes, factors = some(300, noise=0.9)
    for name in ("svm", "dci", "factor", "beta"):
        assert ALL[name](codes, factors, seed=3) == ALL[name](codes, factors, seed=3)
        assert ALL[name](codes, factors, seed=3) != ALL[name](codes, factors, seed=4)


@pytest.mark.parametrize("name", ALL)
def test_what_cannot_be_measured_is_refused(name: str) -> None:
    codes, factors = some(60)
    hole = codes.copy()
    hole[3, 1] = np.nan
    ids = factors + 0.5
    for z, v, words in (
        (codes[:, :1], factors, r"`codes.shape\[1\]=1`; expected a whole number of at least 2"),
        (codes[:, 0], factors, r"expected codes \(N, D\)"),
        (codes[:9], factors[:9], r"`len\(codes\)=9`; expected"),
        (hole, factors, "1 of the 300 numbers of codes are not finite"),
        (1e31 * codes, factors, r"got `codes` up to .*; expected at most 1e\+30"),
        (codes, factors[:9], r"expected whole numbers or names \(60, F\)"),
        (codes, factors[:, 0], "expected whole numbers or names"),
        (codes, [[1], [2, 3]], "expected whole numbers or names"),
        (codes, factors[:, :0], "expected whole numbers or names"),
        (codes, 1j * factors, "expected whole numbers or names"),
        (codes, ids, "column 0 of `factors` has numbers that are not whole"),
        (codes, 0 * factors, "of which 0 of 3 vary over"),
    ):
        with pytest.raises(VaekitError, match=words) as caught:
            ALL[name](z, v)
        assert "\n" not in str(caught.value)
    if name in ("modularity", "dci", "factor", "beta"):
        with pytest.raises(VaekitError, match=r"1 of 1 vary over .* expected at least 2"):
            ALL[name](codes, factors[:, :1])


def test_options_have_bounds() -> None:
    rows = some(60)
    for call, words in {
        lambda: mig(*rows, bins=1): "bins=1`",
        lambda: modularity(*rows, bins=10_001): "bins=10001`; expected at most 10,000",
        lambda: sap(*rows, by="lasso"): "expected 'svm' or 'r2'",
        lambda: sap(*rows, seed=-1): "seed=-1`",
        lambda: dci(*rows, trees=0): "trees=0`",
        lambda: factor_vae_score(*rows, size=1): "size=1`",
        lambda: factor_vae_score(*rows, least=-0.1): "least=-0.1`",
        lambda: beta_vae_score(*rows, train=10): "train=10`",
        lambda: beta_vae_score(*rows, test=2_000_000): "test=2000000`; expected at most 1,000,000",
    }.items():
        with pytest.raises(VaekitError, match=words):
            call()


# Runs ---------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"net": "mlp:hidden=32", "epochs": 1, "report": False}
FAST = "factor-vae-score:train=200:test=200", "beta-vae-score:train=200:test=200"
NAMES = ["shape", "size", "orientation", "position x", "position y"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("latents") / "r"
    return vaekit.train("beta_vae", data="shapes", latent=3, limit=1000, out=out, **SMALL)


def test_a_metric_of_a_run_is_that_of_its_codes(run: Run) -> None:
    found = run.evaluate("mig", "modularity", "sap", "dci:trees=2", *FAST, seed=3)
    test = run.source().test
    assert test.factors is not None
    codes = run.encode(run.prepared(run.source()).test.x())
    wanted = {
        "mig": mig(codes, test.factors),
        "modularity": modularity(codes, test.factors),
        "sap": sap(codes, test.factors, seed=3),
        "dci": dci(codes, test.factors, trees=2, seed=3),
        "factor-vae-score": factor_vae_score(codes, test.factors, train=200, test=200, seed=3),
        "beta-vae-score": beta_vae_score(codes, test.factors, train=200, test=200, seed=3),
    }
    for name, numbers in wanted.items():
        assert found[name]["factors"] == NAMES
        assert (found[name]["rows"], found[name]["dimensions"]) == (384, 3)
        for key, value in numbers.items():
            got = found[name][key]
            assert ([*got.values()] if isinstance(got, dict) else got) == value
    assert [*found["mig"]["by_factor"]] == NAMES


def test_rows_are_a_random_share_of_those_that_are_asked_for(run: Run) -> None:
    few, same, other = (
        run.evaluate("mig:most=100", seed=seed, split="train")["mig"] for seed in (0, 0, 1)
    )
    assert few["rows"] == 100
    assert few == same
    assert few["mig"] != other["mig"]
    test, index = run.source().test, spread(384, 50)
    assert test.factors is not None
    wanted = mig(run.encode(test.x(index)), test.factors[index]).mig
    assert run.evaluate("mig", limit=50)["mig"]["mig"] == pytest.approx(wanted)
    some = run.evaluate("mig:factors=position x,size")["mig"]
    assert some["factors"] == ["position x", "size"]
    every = run.evaluate("mig")["mig"]["by_factor"]
    assert some["by_factor"] == {name: every[name] for name in ("position x", "size")}


def test_what_is_printed_and_kept(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", str(run.path), "mig", "dci:trees=1", *FAST])
    out = capsys.readouterr().out
    for name in ("mig", "disentanglement", "completeness", "informativeness", "factor-vae-score"):
        assert f"\n{name} " in out
    assert "5 factors, 384 rows, codes of 3 dimensions" in out
    assert out.count("\n  by factor          shape ") == 2
    kept = json.loads((run.path / "evaluation.json").read_text())
    assert "beta-vae-score" in json.dumps(kept)


def test_codes_of_several_latents_stand_side_by_side(tmp_path: Path) -> None:
    run = vaekit.train(
        "joint_vae", data="shapes", latent=2, posterior=":categories=3", limit=300,
        out=tmp_path / "j", **SMALL
    )  # fmt: skip
    rows = run.prepared(run.source()).test
    with torch.no_grad():
        numbers, choices = run.model.encode(rows.x())
    assert (numbers.shape, choices.shape) == ((384, 2), (384, 1, 3))
    found = run.evaluate("mig")["mig"]
    assert (found["rows"], found["dimensions"]) == (384, 5)
    assert found["mig"] == mig(torch.cat([numbers, choices[:, 0]], 1), rows.factors).mig


def test_compare_has_what_all_runs_were_evaluated_by(run: Run, tmp_path: Path) -> None:
    """Not what one of them lacks, what was measured in another way, and of a training's rows."""
    other = vaekit.train(
        "beta_vae", data="shapes", latent=3, limit=1000, seed=1, out=tmp_path / "b", **SMALL
    )
    for each, metrics in ((run, ("mig", "dci:trees=1")), (other, ("mig:bins=5", "dci:trees=1"))):
        for split, some in (("test", metrics), ("train", ("modularity",))):
            vaekit.runs.keep_evaluation(each, each.evaluate(*some, split=split, seed=4))
    vaekit.runs.keep_evaluation(run, run.evaluate("sap:by=r2"))
    found = vaekit.compare([run.path, other.path], out=tmp_path / "c.html", limit=50)
    for each, numbers in zip((run, other), found.runs, strict=True):
        wanted = each.evaluate("dci:trees=1", seed=4)["dci"]
        assert numbers["completeness"] == wanted["completeness"]
        assert numbers["metrics"]["dci"]["rows"] == 384
        assert not {"mig", "modularity", "sap"} & {*numbers}
    assert "The completeness differs by " in "\n".join(found.words)
    (said,) = (text for text in found.words if text.startswith("The completeness differs by "))
    assert "over 384 rows" in said
    vaekit.runs.keep_evaluation(other, other.evaluate("mig", seed=4))
    found = vaekit.compare([run.path, other.path], out=tmp_path / "c.html", limit=50)
    gap = abs(found.runs[0]["mig"] - found.runs[1]["mig"])
    assert f"The mig differs by {gap:.3f} over 384 rows" in "\n".join(found.words)
    assert "mig" in {key for line in found.table.values() for key in line[0]}


def test_faces_and_data_of_your_own_have_factors(tmp_path: Path) -> None:
    run = vaekit.train(
        "vae", data="avatars", size=32, latent=2, limit=200, out=tmp_path / "a", **SMALL
    )
    found = run.evaluate("mig", limit=100)["mig"]
    assert found["factors"][0] == "hair style"
    assert len(found["by_factor"]) == 14
    draw = np.random.default_rng(0)
    kinds, images = grid(5, 40), draw.integers(0, 255, (200, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", images=images, factors=kinds)
    run = vaekit.train("vae", data=tmp_path / "own.npz", latent=2, out=tmp_path / "o", **SMALL)
    assert run.evaluate("mig", split="train")["mig"]["factors"] == ["factor 1", "factor 2"]
    assert run.evaluate("mig", data=tmp_path / "own.npz")["mig"]["rows"] == 200
    run = vaekit.train("vae", data=(images, kinds + 0.5), latent=2, out=tmp_path / "f", **SMALL)
    with pytest.raises(VaekitError, match="its factor 'factor 1' has numbers that are not whole"):
        run.evaluate("mig", split="train")


@pytest.mark.data("dsprites")
def test_sprites_have_factors(tmp_path: Path) -> None:
    run = vaekit.train("vae", data="dsprites-66k", latent=2, limit=500, out=tmp_path / "s", **SMALL)
    found = run.evaluate("mig", "modularity", limit=500)
    assert found["mig"]["factors"] == ["shape", "scale", "orientation", "position x", "position y"]


def test_runs_that_have_none_are_refused_by_name(run: Run, tmp_path: Path) -> None:
    digits = vaekit.train("vae", data="digits", latent=2, out=tmp_path / "d", **SMALL)
    thin = vaekit.train("vae", data="shapes", latent=1, limit=300, out=tmp_path / "t", **SMALL)
    codes = vaekit.train(
        "vq_vae", data="shapes", limit=300, out=tmp_path / "c", epochs=1, report=False
    )
    for each, metric, words in (
        (digits, "mig", "its rows have no factors: take shapes, avatars, or your own"),
        (thin, "dci", "it takes codes of two dimensions or more"),
        (codes, "sap", "its latents are codes"),
        (run, "mig:factors=sise", "unknown factor 'sise'; did you mean 'size'"),
        (run, "mig:bins=1", "mig:bins=1"),
        (run, "dci:trees=0", "trees=0"),
        (run, "sap:by=lasso", "by=lasso"),
        (run, "mig:most=5", "most=5"),
        (run, "factor-vae-score:factors=size", "1 of 1 vary"),
    ):
        with pytest.raises(VaekitError, match=words) as caught:
            each.evaluate(metric)
        assert "\n" not in str(caught.value)
    assert run.evaluate("mig", limit=20)["mig"]["rows"] == 20
    with pytest.raises(VaekitError, match="it takes 20 rows, and there are 5"):
        run.evaluate("mig", limit=5)
