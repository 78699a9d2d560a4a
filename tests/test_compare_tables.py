"""Runs of one table that each scaled its columns: compared in the units of the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm

import vaekit
from vaekit.report import compare, measure, open_runs, panels

SMALL: dict[str, Any] = {
    "net": "mlp:hidden=4",
    "latent": 1,
    "epochs": 2,
    "threads": 1,
    "report": False,
    "likelihood": "gaussian:scale=free:floor=-60",
}
WAYS: dict[str, dict[str, Any]] = {
    "all": {},
    "few": {"limit": 40},
    "held": {"validation": 0.5},
    "raw": {"standardize": False},
}
COLUMNS = {"m": (0.0, 1.0), "cm": (5.0, 10.0), "mg": (1e3, 200.0)}  # mean and deviation


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table, and a run for each way to prepare it."""
    folder = tmp_path_factory.mktemp("tables")
    loc, scale = np.array([*COLUMNS.values()]).T
    rows = np.random.default_rng(0).normal(loc, scale, (160, 3))
    text = ",".join(COLUMNS) + "\n" + "\n".join(",".join(map(str, row)) for row in rows)
    (folder / "t.csv").write_text(text)
    for name, how in WAYS.items():
        vaekit.train("vae", data=str(folder / "t.csv"), out=folder / name, **{**SMALL, **how})
    return folder


def be_normal(run: vaekit.Run, mean: np.ndarray, sigma: np.ndarray) -> None:
    """Make its p(x|z) independent normals of these parameters in the table's units, q(z|x) p(z)."""
    model: Any = run.model
    loc, scale = (
        run.spec.values.loc if run.spec.values.scale is not None else torch.zeros(3),
        torch.ones(3) if run.spec.values.scale is None else run.spec.values.scale,
    )
    made = torch.cat([(torch.tensor(mean) - loc) / scale, 2 * (torch.tensor(sigma) / scale).log()])
    with torch.no_grad():
        for part, bias in ((model.likelihood, made), (model.posterior, torch.zeros(2))):
            part.net.output.weight.zero_()
            part.net.output.bias.copy_(bias)


def test_one_density_has_one_number_however_columns_are_scaled(here: Path) -> None:
    """log p(v) = log p(x) - sum log scale for x = (v - loc) / scale: as scipy has it of v."""
    mean, sigma = np.array([0.3, 3.0, 950.0]), np.array([1.5, 8.0, 300.0])
    stored = vaekit.load(here / "all").source().test.images.double().numpy()
    expected = norm.logpdf(stored, mean, sigma).sum(1)
    square = np.square(stored - mean).mean(1)
    for name in WAYS:
        run = vaekit.load(here / name)
        be_normal(run, mean, sigma)
        entry = measure(run, name, limit=1000, seed=0, data_dir=None)
        bound = entry.records["bound"]
        assert bound["elbo"] == pytest.approx(expected.mean(), abs=1e-4), name
        assert bound["kl"] == pytest.approx(0.0, abs=1e-6)
        assert bound["mse"] == pytest.approx(square.mean(), rel=1e-5)
        assert bound["implied_sigma"] == pytest.approx(square.mean() ** 0.5, rel=1e-5)
        assert entry.records["reconstruction"]["mse"] == pytest.approx(square.mean(), rel=1e-5)
        known = entry.metrics["bound"].row("elbo")
        assert known is not None
        assert known.numpy() == pytest.approx(expected, abs=1e-4)


def test_runs_that_scaled_columns_in_their_own_ways_compare_and_name_the_unit(
    here: Path, tmp_path: Path
) -> None:
    found = compare([here / name for name in WAYS], out=tmp_path / "p.html")
    assert found.comparable
    words, page = " ".join((*found.words, *found.notes)), (tmp_path / "p.html").read_text()
    assert "limit: none, 40" in found.words[0]
    assert "nats per row, in the units of the data for " in words
    for title, unit in (("bound (ELBO)", "nats per row, in the"), ("mean square error", "in the")):
        assert f'{title} <span class="small">{unit} units of the data</span>' in page
    for row in found.runs:
        run = vaekit.load(row["run"])
        own, scale = run.evaluate(), run.spec.values.scale
        moved = 0.0 if scale is None else float(scale.double().log().sum())
        assert row["elbo"] == pytest.approx(own["elbo"] - moved, abs=1e-4)
        assert row["kl"] == own["kl"]
        train = run.evaluate(split="train", limit=own["protocol"]["rows"])
        gap = train["elbo"] - own["elbo"]
        assert row["train_test_gap"] == pytest.approx(gap, abs=1e-4)


def test_the_curves_of_training_are_in_the_same_unit(here: Path) -> None:
    opened = open_runs([here / "all", here / "raw"])
    how: dict[str, Any] = {"limit": 10, "seed": 0, "data_dir": None}
    entries = [measure(run, name, **how) for run, name in zip(opened.runs, "ab", strict=True)]
    settings = [vaekit.report.Setting(name, [entry]) for name, entry in zip(
        opened.names, entries, strict=True)]  # fmt: skip
    drawn = {panel.title: panel for panel in panels(opened, settings)}
    assert "objective" not in drawn, "which may weigh its terms, and then has no unit"
    run = opened.runs[0]
    last = run.folder.records()[-1]["validation"]
    moved = float(run.spec.values.scale.double().log().sum())
    for title, number in (
        ("log-likelihood", last["log_likelihood"]),
        ("ELBO", last["log_likelihood"] - last["kl"]),
    ):
        assert drawn[title].unit == "nats per row, in the units of the data"
        assert drawn[title].lines[0].points[-1][1] == pytest.approx(number - moved)
    assert drawn["KL"].unit == "nats per row"


def test_a_fixed_deviation_is_another_one_on_scaled_columns(here: Path, tmp_path: Path) -> None:
    fixed = {**SMALL, "likelihood": "gaussian:scale=1", "data": str(here / "t.csv")}
    paths = {
        name: vaekit.train("vae", out=tmp_path / name, **{**fixed, **WAYS[name]}).path
        for name in ("all", "held", "raw")
    }
    assert open_runs([paths["all"], paths["held"]]).comparable
    opened = open_runs([paths["all"], paths["raw"]])
    assert not opened.comparable
    assert [of.fixed for of in opened.likelihoods] == ["scale 1 of standardized columns", "scale 1"]
