"""Scores of rows against oracles: what is strange, how strange, and by which columns."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from conftest import Proves
from PIL import Image

import vaekit
from vaekit.cli.main import main
from vaekit.data import DataSpec, Split
from vaekit.errors import VaekitError
from vaekit.evaluate import Rows, Subject, percentiles, score, separation, usual_terms
from vaekit.testing import LinearGaussian

SMALL: dict[str, Any] = {"latent": 2, "net": "mlp:hidden=16", "report": False}


def subject_of(x: torch.Tensor, scale: float = 1.0) -> tuple[LinearGaussian, Subject]:
    oracle = LinearGaussian.fit(x, latent=2)
    spec = DataSpec("t", (x.shape[1],), "table", len(x))
    variance = scale * oracle.posterior(x)[1].diagonal()
    return oracle, Subject(oracle.vae(variance=variance), spec, Rows(Split(x)))


X = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))


def test_scores_are_those_of_the_oracle() -> None:
    oracle, subject = subject_of(
        X @ torch.tensor([[2.0, 1, 0, 1], [0, 1, 1, 0], [0, 0, 1, 2], [0, 0, 0, 1]])
    )
    x = subject.rows.split.images
    found = score(subject, samples=2000).values
    assert torch.allclose(found["nll"], -oracle.log_prob(x).double(), atol=0.05)
    loc, covariance = oracle.posterior(x)
    elbo = oracle.elbo(x, loc, covariance.diagonal())
    assert abs(float((found["bound"] + elbo).mean())) < 0.1
    assert (found["bound"].mean() > found["nll"].mean()).item()
    again = subject.model.reconstruct(x)  # type: ignore[union-attr]
    assert torch.allclose(found["error"], (x - again).square().mean(1).double(), atol=1e-5)
    assert "nll" not in score(subject, samples=0).values


def test_rows_in_blocks_have_the_scores_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _, subject = subject_of(X)
    seen: list[tuple[str, int, int]] = []
    rows = Rows(Split(X, groups=torch.arange(60) // 4), on_rows=lambda *done: seen.append(done))
    whole = score(subject, samples=3000, usual=usual_terms(subject))
    monkeypatch.setattr("vaekit.evaluate._scores.BLOCK", 25)
    parts = score(replace(subject, rows=rows), samples=3000, usual=usual_terms(subject))
    assert torch.allclose(whole.values["error"], parts.values["error"], atol=1e-6)
    assert torch.allclose(whole.values["nll"], parts.values["nll"], atol=0.1)
    assert torch.equal(parts.values["nll"][:25], score(subject, samples=3000).values["nll"][:25])
    assert parts.columns is not None
    assert parts.columns.shape == (60, 3)
    assert [each for each in seen if each[0] == "nll"][-1] == ("nll", 60, 60)
    assert all(a[1] < b[1] for a, b in itertools.pairwise(seen) if a[0] == b[0] == "nll")


def test_contributions_are_the_terms_of_the_likelihood() -> None:
    _, subject = subject_of(X)
    usual = usual_terms(subject)
    model: Any = subject.model
    expected = -model(X, samples=(4000,)).px.log_prob(X).mean().detach()
    assert abs(float(usual.sum() - expected)) < 0.1
    x = X.clone()
    x[7, 2] = 40.0  # far away in one column
    scores = score(replace(subject, rows=Rows(Split(x))), samples=0, usual=usual)
    assert scores.columns is not None
    assert scores.excess is not None
    assert (int(scores.columns[7, 0]), scores.columns.shape) == (2, (60, 3))
    assert (scores.excess.diff(dim=1) <= 0).all()
    assert scores.excess[7, 0] > 10 * scores.excess[:7].max()


def test_percentiles_keep_their_promise() -> None:
    draw = torch.Generator().manual_seed(0)
    above = 0
    for _ in range(400):
        values = torch.randn(100, generator=draw).exp()  # 99 of reference, and one more
        above += int(percentiles(values[99:], values[:99])[0] >= 0.9)
    assert abs(above / 400 - 0.1) < 4 * (0.09 / 400) ** 0.5
    tied = percentiles(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0, 2.0]))
    assert tied.tolist() == [0.0, 0.5]


def test_separation_is_that_of_all_pairs_with_its_error(proves: Proves) -> None:
    draw = np.random.default_rng(0)
    odd, others = draw.normal(1, 1, 80), draw.normal(0, 1, 300)
    values = torch.from_numpy(np.concatenate([odd, others]))
    found = separation(values, torch.arange(380) < 80)
    above = (odd[:, None] > others).astype(float)
    proves("AUROC of scores", "all pairs, numpy", found["auroc"], above.mean(), limit=1e-12)
    # DeLong, DeLong and Clarke-Pearson 1988: the variance of both means of placements.
    spread = above.mean(1).var(ddof=1) / 80 + above.mean(0).var(ddof=1) / 300
    ratio = found["auroc_error"] / spread**0.5
    proves("AUROC of scores, error", "that of DeLong, as a ratio", ratio, 1, limit=0.2)
    order = (values.argsort(descending=True) < 80).double()
    precision = order.cumsum(0) / torch.arange(1, 381)
    proves("average precision of scores", "row by row, torch", found["average_precision"],
           (precision * order).sum() / 80, limit=1e-12)  # fmt: skip
    equal = separation(torch.zeros(10), torch.arange(10) < 5)
    assert (equal["auroc"], equal["auroc_error"]) == (0.5, 0)


# through a run ----------------------------------------------------------------------------------


def table(rows: int, seed: int) -> pandas.DataFrame:
    draw = np.random.default_rng(seed)
    a = draw.normal(size=rows)
    noise = draw.normal(size=(rows, 2))
    return pandas.DataFrame({"a": a, "b": 2 * a + 0.3 * noise[:, 0], "c": 100 + 10 * noise[:, 1]})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("scores")
    table(1500, 0).to_csv(place / "t.csv", index=False)
    path = place / "run"
    vaekit.train("vae", data=str(place / "t.csv"), epochs=30, out=path, test=100, **SMALL)
    return path


def strange(path: Path) -> Path:
    """Write 100 rows, the last ten of which have another c; the name of each, and its class."""
    rows = table(100, 1)
    rows.loc[90:, "c"] += 200
    rows.insert(0, "name", [f"row {i}" for i in range(100)])
    rows["sort"] = ["fine"] * 90 + ["broken"] * 10
    rows.to_csv(path, index=False)
    return path


def test_a_table_is_scored_row_by_row(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, out = strange(tmp_path / "new.csv"), tmp_path / "s.csv"
    words = ["score", str(run), "--data", str(new), "--id", "name", "--label", "sort"]
    main([*words, "--odd", "broken", "--threshold", "0.99", "-o", str(out)])
    said = capsys.readouterr().out
    found = pandas.read_csv(out)
    assert found["row"].tolist() == [f"row {i}" for i in range(100)]
    assert found["label"].tolist() == ["fine"] * 90 + ["broken"] * 10
    assert found["strange"][90:].all()
    assert found["strange"][:90].sum() <= 5
    assert (found["column1"][90:] == "c").all()
    assert (found["nll_percentile"][90:] > 0.99).all()
    assert 0.35 < found["nll_percentile"][:90].mean() < 0.65
    assert "nll: AUROC 1.0000 ± 0.0000, average precision 1.0000" in said
    assert "the strangest by nll: row 9" in said
    for ending in ("parquet", "npz") if _has("pyarrow") else ("npz",):
        main([*words, "-o", str(tmp_path / f"s.{ending}")])
    with np.load(tmp_path / "s.npz") as file:
        assert np.allclose(file["nll"], found["nll"])
        assert file["column1"][95] == "c"


def _has(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def test_python_gives_the_same_table(run: Path, tmp_path: Path) -> None:
    loaded = vaekit.load(run)
    new = strange(tmp_path / "new.csv")
    frame = loaded.score(table(100, 1), samples=20)
    assert list(frame)[:3] == ["row", "nll", "nll_percentile"]
    assert len(loaded.score()) == 100
    assert len(loaded.score(split="validation", limit=30)) == 30
    again = loaded.score(str(new), label="sort", samples=20)
    assert np.allclose(again["nll"][:90], frame["nll"][:90])
    assert (loaded.score(samples=20) == loaded.score(samples=20)).all(axis=None)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"threshold": 1.5}, "`threshold=1.5`; expected a share between 0 and 1"),
        (
            {"threshold": 0.9999},
            "there are 140 validation rows, which tell percentiles up to 0.9929",
        ),
        ({"samples": -1}, "samples=-1"),
        ({"odd": "x"}, "`odd=x` needs labels: these rows have none"),
        ({"id": "name"}, "`id` is for new rows"),
        ({"split": "best"}, "unknown split 'best'"),
    ],
)
def test_what_cannot_be_scored_is_refused(run: Path, how: dict[str, Any], message: str) -> None:
    with pytest.raises(VaekitError) as caught:
        vaekit.load(run).score(**how)
    assert message in str(caught.value)


def test_a_class_that_the_run_does_not_know_can_be_odd(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)

    def write(place: Path, level: int, count: int) -> None:
        place.mkdir(parents=True)
        for i in range(count):
            image = (level + draw.integers(0, 20, (8, 8))).astype(np.uint8)
            Image.fromarray(image).save(place / f"{i}.png")

    write(tmp_path / "train" / "good", 40, 60)
    write(tmp_path / "new" / "good", 40, 12)
    write(tmp_path / "new" / "broken", 200, 8)
    vaekit.train("vae", data=str(tmp_path / "train"), out=tmp_path / "run", epochs=20, **SMALL)
    loaded = vaekit.load(tmp_path / "run")
    frame = loaded.score(tmp_path / "new", odd="broken", samples=5)
    assert frame["row"][0] == "broken/0.png"
    assert (
        frame.groupby("label")["nll"].min()["broken"] > frame.groupby("label")["nll"].max()["good"]
    )
    with pytest.raises(VaekitError, match="these are of: broken, good"):
        loaded.score(tmp_path / "new", odd="bad")
    arrays = np.full((20, 8, 8), 45, np.uint8), np.arange(20) % 2 + 7
    assert set(loaded.score(arrays, odd="8", samples=2)["label"]) == {"7", "8"}


def test_without_its_training_data_there_are_scores_and_no_percentiles(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table(300, 0).to_csv(tmp_path / "t.csv", index=False)
    run = vaekit.train("vae", data=str(tmp_path / "t.csv"), out=tmp_path / "run", epochs=1, **SMALL)
    (tmp_path / "t.csv").rename(tmp_path / "moved.csv")
    loaded = vaekit.load(run.path)
    frame = loaded.score(table(20, 1))
    assert [name for name in frame if "percentile" in name or "column" in name] == []
    with pytest.raises(VaekitError, match="`threshold` needs validation rows"):
        loaded.score(table(20, 1), threshold=0.9)


PEAK = """
import re, sys
from vaekit.cli.main import main
main(["score", *sys.argv[1:], "--samples", "2", "--device", "cpu"])
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_million_rows_are_scored_within_400_mib(run: Path, tmp_path: Path) -> None:
    few = table(1000, 1)
    pandas.concat([few] * 1000).to_csv(tmp_path / "many.csv", index=False, float_format="%.6g")
    few.to_csv(tmp_path / "few.csv", index=False)
    peaks = []
    for name in ("few", "many"):
        words = [str(run), "--data", str(tmp_path / f"{name}.csv"), "-o", str(tmp_path / name)]
        words[-1] += ".out.csv"
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *words], check=True, capture_output=True, text=True
        )
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    assert (tmp_path / "many.out.csv").read_bytes().count(b"\n") == 1_000_001
    assert peaks[1] - peaks[0] < 400


@pytest.mark.parametrize("recipe", vaekit.recipes.names())
def test_every_recipe_is_scored_or_refused_by_name(recipe: str, tmp_path: Path) -> None:
    how: dict[str, Any] = {"epochs": 1, "limit": 60, "report": False, "out": tmp_path / "run"}
    color = recipe == "colorizer"
    data = np.random.default_rng(0).integers(0, 256, (80, 3, 16, 16)).astype("u1")
    x = data if color else data[:, 0]
    if recipe == "count_vae":
        x, how = x.reshape(80, -1) // 50, {**how, "kind": "counts"}
    run = vaekit.train(recipe, data=(x, np.arange(80) % 2), batch_size=20, **how)
    frame = run.score(samples=2, limit=5)
    assert len(frame) == 5
    assert np.isfinite(frame["error"]).all()
    assert recipe != "ms_ssim_vae" or "nll" not in frame  # its likelihood does not normalize
