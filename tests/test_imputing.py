"""What is missing is filled in as the exact conditional of a linear Gaussian model says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

import vaekit
from vaekit.cli.main import main
from vaekit.data import load
from vaekit.errors import VaekitError
from vaekit.evaluate import impute
from vaekit.testing import LinearGaussian

D, B = 5, 40


@pytest.fixture
def problem() -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A model, rows with gaps, and mean and covariance of what is missing given what is seen."""
    torch.manual_seed(0)
    mix = torch.randn(D, D)
    rows = torch.randn(500, D) @ mix + 0.3
    oracle = LinearGaussian.fit(rows, latent=2)
    weight, mean = oracle.weight.double(), oracle.mean.double()
    covariance = weight @ weight.T + oracle.variance.double() * torch.eye(D)
    x = rows[:B].clone()
    missing = torch.rand(B, D, generator=torch.Generator().manual_seed(1)) < 0.4
    missing[:, 0] = False
    x[missing] = torch.nan
    expected, spread = x.double().clone(), torch.zeros(B, D, dtype=torch.float64)
    for i in range(B):
        m, o = missing[i], ~missing[i]
        gain = covariance[m][:, o] @ covariance[o][:, o].inverse()
        expected[i, m] = mean[m] + gain @ (x[i, o].double() - mean[o])
        spread[i, m] = (covariance[m][:, m] - gain @ covariance[o][:, m]).diagonal()
    variance = 9 * oracle.posterior(rows)[1].diagonal()  # wide: what is seen tells less of z
    return oracle.vae(variance=variance), x, missing, expected, spread


def test_a_single_fill_is_the_conditional_mean(problem: Any) -> None:
    model, x, missing, expected, spread = problem
    torch.manual_seed(0)
    filled = impute(model, x, samples=20_000)
    assert torch.equal(filled[~missing], x[~missing])
    apart = (filled.double() - expected)[missing] / spread[missing].sqrt()
    assert apart.abs().max() < 0.15
    assert apart.square().mean().sqrt() < 0.04


def test_draws_have_the_conditional_mean_and_variance(problem: Any) -> None:
    model, x, missing, expected, spread = problem
    torch.manual_seed(0)
    drawn = impute(model, x, samples=5000, draws=2000).double()
    assert drawn.shape == (2000, B, D)
    assert torch.equal(drawn[7][~missing], x[~missing].double())
    apart = (drawn.mean(0) - expected)[missing] / spread[missing].sqrt()
    assert apart.square().mean().sqrt() < 0.06
    ratio = drawn.var(0)[missing] / spread[missing]
    assert (ratio - 1).abs().median() < 0.05
    assert (ratio.mean() - 1).abs() < 0.05


def test_rows_without_gaps_stay_and_wrong_numbers_are_refused(problem: Any) -> None:
    model, x, missing, *_ = problem
    whole = torch.where(missing, torch.zeros_like(x), x)
    assert torch.equal(impute(model, whole, samples=2), whole)
    for how in ({"samples": 0}, {"draws": -1}):
        with pytest.raises(VaekitError, match="at least"):
            impute(model, x, **how)


# a table with gaps, through a run ---------------------------------------------------------------


def table(rows: int, seed: int) -> pandas.DataFrame:
    draw = np.random.default_rng(seed)
    a = draw.normal(size=rows)
    b = 2 * a + 0.2 * draw.normal(size=rows)
    level = draw.integers(0, 4, rows) + 10 * (a > 0)
    return pandas.DataFrame({"a": a, "b": b, "level": level, "far": 1e6 + 100 * a})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("gaps")
    whole = table(1500, 0)
    gaps = np.random.default_rng(9).random(whole.shape) < 0.2
    holes = whole.astype(float).mask(gaps).assign(team=["red", "blue", "red"] * 500)
    holes.to_csv(place / "t.csv", index=False)
    how: dict[str, Any] = {"label": "team", "latent": 2, "net": "mlp:hidden=32", "epochs": 40}
    vaekit.train("vae", data=str(place / "t.csv"), missing="allow", out=place / "run", **how)
    return place / "run"


def test_statistics_are_those_of_what_is_seen(run: Path) -> None:
    loaded = vaekit.load(run)
    data = loaded.dataset()
    rows = data.train.values.units(data.train.images).double().numpy()
    assert 0.15 < np.isnan(rows).mean() < 0.25
    values = loaded.spec.values
    assert values.loc is not None
    assert values.scale is not None
    stored = data.train.images.double().numpy()
    assert np.allclose(values.loc, np.nanmean(stored, 0), atol=1e-4)
    assert np.allclose(values.scale, np.nanstd(stored, 0), rtol=1e-4)
    assert loaded.spec.gaps
    x = loaded.spec.values(data.train.images)
    assert float(x.nanmean(0).abs().max()) < 1e-4


def test_the_report_and_numbers_of_a_table_with_gaps_are_numbers(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert not re.search(r"\bnan\b", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))
    record = vaekit.load(run).evaluate("nll:samples=20", "reconstruction")
    assert all(np.isfinite(record[name]) for name in ("elbo", "kl", "mse"))
    assert record["mse"] < 0.5  # 1 is the mean's
    loaded = vaekit.load(run)
    x = loaded.dataset().test.x()
    apart = (x - loaded.reconstruct(x)).square().nanmean(1).mean()  # of what is seen of each
    assert abs(record["reconstruction"]["mse"] - float(apart)) < 1e-5


def test_the_shell_fills_a_table_and_keeps_what_is_seen(run: Path, tmp_path: Path) -> None:
    whole = table(200, 1)
    gaps = np.random.default_rng(1).random(whole.shape) < 0.25
    given = whole.astype({"level": "Int64"}).mask(gaps)
    given.insert(0, "name", [f"r{i}" for i in range(200)])
    given["team"] = ["red", "blue"] * 100
    given.to_csv(tmp_path / "new.csv", index=False)
    words = ["impute", str(run), "--data", str(tmp_path / "new.csv"), "--id", "name"]
    main([*words, "-o", str(tmp_path / "filled.csv")])
    filled = pandas.read_csv(tmp_path / "filled.csv")
    assert list(filled) == ["row", *whole, "team"]
    assert filled["row"].tolist() == given["name"].tolist()
    assert not filled.isna().any(axis=None)
    for name, holes in zip(whole, gaps.T, strict=True):  # to the last digit
        assert filled[name][~holes].tolist() == given[name][~holes].tolist()
    assert filled["team"].tolist() == given["team"].tolist()
    assert filled["level"].dtype == np.int64
    error = (filled[list(whole)] - whole).where(gaps).pow(2).mean()
    mean = (whole.mean() - whole).where(gaps).pow(2).mean()
    assert (error[["a", "b", "far"]] < 0.5 * mean[["a", "b", "far"]]).all()
    main([*words, "--draws", "3", "-o", str(tmp_path / "draws.csv")])
    draws = pandas.read_csv(tmp_path / "draws.csv")
    assert len(draws) == 600
    assert draws["draw"].value_counts().to_dict() == {1: 200, 2: 200, 3: 200}
    spread = draws.groupby("row")["a"].std().loc[given["name"]].to_numpy()
    assert (spread[~gaps[:, 0]] == 0).all()
    assert (spread[gaps[:, 0]] > 0).all()


def test_python_fills_frames(run: Path) -> None:
    rows = table(30, 2)
    rows.loc[3, "b"] = np.nan
    filled = vaekit.load(run).impute(rows)
    assert list(filled) == ["row", *rows]
    assert np.isfinite(filled["b"][3])
    assert np.allclose(filled["b"].drop(3), rows["b"].drop(3), rtol=1e-6)


def test_what_takes_no_gaps_is_refused(tmp_path: Path) -> None:
    rows = table(100, 0)
    rows.loc[3, "a"] = np.nan
    rows.to_csv(tmp_path / "t.csv", index=False)
    how: dict[str, Any] = {"data": str(tmp_path / "t.csv"), "epochs": 1, "report": False}
    with pytest.raises(VaekitError, match="`missing=allow` trains on what is seen"):
        vaekit.train("vae", out=tmp_path / "a", **how)
    rows["b"] = np.nan
    rows.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(VaekitError, match="column 'b' has nothing but gaps"):
        vaekit.train("vae", out=tmp_path / "b", missing="allow", columns=list(rows), **how)
    counts = np.random.default_rng(0).poisson(2, (40, 5))
    run = vaekit.train("vae", data=counts, epochs=1, out=tmp_path / "c", report=False)
    with pytest.raises(VaekitError, match="counts data, which are stored without gaps"):
        run.impute(counts)


# images with gaps -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """A folder, digits in [0, 1], and the same with a quarter of their pixels NaN."""
    place = tmp_path_factory.mktemp("holed")
    whole = load("digits").train.images.numpy().astype(np.float32) / 255
    gaps = np.random.default_rng(3).random(whole.shape) < 0.25
    given = np.where(gaps, np.float32(np.nan), whole)
    np.savez(place / "d.npz", images=given)
    return place, whole, given


@pytest.mark.parametrize("net", ["mlp:hidden=64", "conv", "pool"])
def test_images_with_gaps_train_and_are_filled(holed: Any, net: str, tmp_path: Path) -> None:
    place, whole, given = holed
    how: dict[str, Any] = {"net": net, "epochs": 15, "latent": 8, "report": net == "conv"}
    how |= {"batch_size": 32, "lr": 3e-3}
    run = vaekit.train("vae", data=str(place / "d.npz"), missing="allow", out=tmp_path / "r", **how)
    gaps = np.isnan(given)
    filled = run.impute(given[:300])
    assert filled.shape == (300, 1, 8, 8)
    assert np.array_equal(filled[~gaps[:300]], given[:300][~gaps[:300]])
    error = np.square(filled - whole[:300])[gaps[:300]].mean()
    mean = np.square(np.nanmean(given, 0) - whole[:300])[gaps[:300]].mean()
    assert error < 0.8 * mean
    record = run.evaluate("nll:samples=5", "reconstruction")
    assert all(np.isfinite(record[name]) for name in ("elbo", "kl", "mse"))
    card = run.folder.read_json("run")["data"]["card"]
    assert card["range"] == [0, 1]
    assert abs(card["mean"] - np.nanmean(given)) < 1e-4
    if net == "conv":
        page = (run.path / "report.html").read_text()
        assert not re.search(r"\bnan\b", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))


def test_the_shell_writes_filled_images(holed: Any, tmp_path: Path) -> None:
    _, whole, given = holed
    levels = np.rint(4 * whole) - 7  # floats of a range of their own
    np.save(tmp_path / "own.npy", np.where(np.isnan(given), np.nan, levels))
    run = tmp_path / "r"
    train = ["train", "vae", "--data", str(tmp_path / "own.npy"), "--missing", "allow", "-o"]
    main([*train, str(run), "--epochs", "1", "--no-report"])
    words = ["impute", str(run), "--data", str(tmp_path / "own.npy"), "-o"]
    main([*words, str(tmp_path / "a.npz")])
    filled = np.load(tmp_path / "a.npz")["images"]
    assert np.array_equal(filled[~np.isnan(given)], levels[~np.isnan(given)])
    assert np.isfinite(filled).all()
    main([*words, str(tmp_path / "a.png")])
    main([*words, str(tmp_path / "draws"), "--draws", "2"])
    assert (tmp_path / "a.png").stat().st_size > 1000
    found = sorted(path.parent.name for path in (tmp_path / "draws").rglob("*.png"))
    assert found == ["draw 1"] * len(given) + ["draw 2"] * len(given)


def test_levels_that_were_dequantized_stay_as_they_were(tmp_path: Path) -> None:
    run = vaekit.train("vae", data="digits", dequantize=True, epochs=1, out=tmp_path / "r",
                       report=False)  # fmt: skip
    levels = load("digits").test.images.numpy()[:20].astype(np.float32) / 255
    given = levels.copy()
    given[:, :, 2:4] = np.nan
    filled = run.impute(given)
    assert np.allclose(filled[~np.isnan(given)], levels[~np.isnan(given)], atol=1e-6)
    assert 0 <= filled.min() <= filled.max() <= 1


def test_gaps_of_images_are_refused_where_there_can_be_none(holed: Any, tmp_path: Path) -> None:
    place, _, given = holed
    how: dict[str, Any] = {"epochs": 1, "report": False, "out": tmp_path / "r"}
    with pytest.raises(VaekitError, match=r"NaN is a gap, `missing=allow` trains on what is seen"):
        vaekit.train("vae", data=str(place / "d.npz"), **how)
    how["missing"] = "allow"
    with pytest.raises(VaekitError, match="binarized pixels have no gaps"):
        vaekit.train("vae", data=given, binarize="dynamic", **how)
    with pytest.raises(VaekitError, match="nothing but gaps"):
        vaekit.train("vae", data=np.full((40, 8, 8), np.nan), **how)
    with pytest.raises(VaekitError, match="1497 values that are infinite"):
        vaekit.train("vae", data=np.where(np.arange(64).reshape(8, 8) == 3, np.inf, given), **how)
    with pytest.raises(VaekitError, match="takes no gaps"):
        vaekit.train("colorizer", data=np.repeat(given, 3, 1), **how)


def test_cells_of_every_kind_stay_as_they_were_read(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = 80
    days = pandas.to_datetime("2020-01-01") + pandas.to_timedelta(draw.integers(0, 300, rows), "D")
    known = pandas.DataFrame(
        {
            "row": draw.normal(size=rows),
            "big": 9007199254740993 + np.arange(rows),
            "when": days.strftime("%d.%m.%Y"),
            "grape": draw.choice(["Barolo", "Syrah"], rows),
            "old": draw.choice(["true", "false"], rows),
            "share": [f"{each:.1f}" for each in 90 * draw.random(rows)],
        }
    )
    known.to_csv(tmp_path / "t.csv", index=False)
    how: dict[str, Any] = {"latent": 2, "net": "mlp:hidden=8", "epochs": 1, "report": False}
    run = vaekit.train("vae", data=str(tmp_path / "t.csv"), out=tmp_path / "run", **how)
    given = known.astype(object).mask(draw.random(known.shape) < 0.3)
    given.loc[0] = [0.1, 9007199254740995, "31.12.1999", "Merlot", "true", "12.5"]
    given.to_csv(tmp_path / "new.csv", index=False)
    filled = run.impute(str(tmp_path / "new.csv"))
    assert list(filled) == ["row_", *known]
    given["share"] = given["share"].astype(float)
    for name in known:
        seen = given[name].notna()
        assert filled[name][seen].tolist() == given[name][seen].tolist(), name
        assert filled[name].notna().all(), name
    assert {*filled["old"]} == {"true", "false"}
    assert pandas.to_datetime(filled["when"], format="%d.%m.%Y").notna().all()
    whole = known.assign(when=days, old=known["old"] == "true")
    whole.loc[3, "row"] = np.nan
    again = run.impute(whole)
    whole["share"] = whole["share"].astype(float)
    for name in ("big", "when", "grape", "old", "share"):
        assert again[name].tolist() == whole[name].tolist(), name


def test_blocks_without_gaps_pass_a_model_that_takes_no_empty_batch() -> None:
    class Strict(torch.nn.Module):
        def __init__(self, net: torch.nn.Module) -> None:
            super().__init__()
            self.net, self.in_shape = net, (3,)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert len(x) > 0
            y: torch.Tensor = self.net(x)
            return y

    model: Any = LinearGaussian.fit(torch.randn(50, 3), latent=1).vae()
    model.posterior.net = Strict(model.posterior.net)
    x = torch.randn(4, 3)
    assert torch.equal(impute(model, x), x)


def test_a_label_that_is_no_column_or_has_gaps(run: Path, tmp_path: Path) -> None:
    loaded = vaekit.load(run)
    rows = table(20, 3).assign(team=["red", ""] * 10)
    assert "label" not in loaded.score(rows, samples=0)
    with pytest.raises(VaekitError, match="unknown column of data 'nope'"):
        loaded.score(rows.drop(columns="team"), label="nope", samples=0)
