"""Drawn rows beside real ones: each number against its definition, and what it is there to tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from conftest import Proves
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

import vaekit
from vaekit.errors import VaekitError
from vaekit.evaluate import synthetic


def rows(n: int, seed: int, mix: float = 0.8) -> Tensor:
    """Return rows of three columns, the first two of which hang together."""
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    x[:, 1] = mix * x[:, 0] + (1 - mix**2) ** 0.5 * x[:, 1]
    return x.double()


TRAIN, REAL = rows(2000, 1), rows(500, 2)


def test_rows_of_the_same_distribution_are_told_from_none() -> None:
    found = [synthetic(rows(500, seed), REAL, TRAIN) for seed in (3, 4, 5)]
    assert all(abs(each.auroc - 0.5) < 4 * each.auroc_standard_error for each in found)
    assert all(abs(each.nearer - 0.5) < 0.08 for each in found)
    assert {(each.copies, each.copies_real, each.rows) for each in found} == {(0.0, 0.0, 500)}
    assert max(each.marginals for each in found) < 0.1
    assert max(each.correlations for each in found) < 0.1


def test_each_number_is_what_it_says(proves: Proves) -> None:
    drawn = rows(500, 3, mix=0.0) * torch.tensor([1.0, 1.0, 2.0])
    found = synthetic(drawn, REAL, TRAIN)
    kolmogorov = [stats.ks_2samp(a, b).statistic for a, b in zip(drawn.T, REAL.T, strict=True)]
    assert abs(found.marginals - np.mean(kolmogorov)) < 1e-9
    assert (found.worst_column, abs(found.worst - max(kolmogorov)) < 1e-9) == (2, True)
    apart = np.abs(np.corrcoef(drawn.T) - np.corrcoef(REAL.T))[np.triu_indices(3, 1)]
    proves("metric synthetic, correlations", "numpy's corrcoef", found.correlations, apart.mean(),
           limit=1e-9)  # fmt: skip
    assert found.correlations > 0.2 > 0.1 > found.correlations_real
    loc, scale = TRAIN.mean(0), TRAIN.std(0, unbiased=False)
    own, held = (cdist((x - loc) / scale, (TRAIN - loc) / scale).min(1) for x in (drawn, REAL))
    assert abs(found.nearer - stats.mannwhitneyu(held, own).statistic / 500**2) < 1e-6
    assert found.auroc > 0.6


def test_trees_that_have_not_seen_a_row_say_whether_it_is_drawn(proves: Proves) -> None:
    drawn = rows(500, 3, mix=0.0) * torch.tensor([1.0, 1.0, 2.0])
    x, which = np.concatenate([drawn, REAL]), np.arange(1000) < 500
    x, looks = x[:, REAL.var(0).argsort(descending=True)], np.zeros(1000)
    for known, held in StratifiedKFold(3, shuffle=True, random_state=0).split(x, which):
        trees = HistGradientBoostingClassifier(max_iter=25, early_stopping=False, random_state=0)
        looks[held] = trees.fit(x[known], which[known]).predict_proba(x[held])[:, 1]
    wanted = stats.mannwhitneyu(looks[which], looks[~which]).statistic / 500**2
    found = synthetic(drawn, REAL, TRAIN).auroc
    proves("metric synthetic, auroc", "sklearn's trees, fold by fold", found, wanted, limit=1e-9)


def test_copies_are_said(proves: Proves) -> None:
    half = torch.cat([TRAIN[:250], rows(250, 3)])
    found = synthetic(half, REAL, TRAIN)
    scale = TRAIN.std(0, unbiased=False)
    near = cdist(half / scale, TRAIN / scale, "sqeuclidean").min(1) / 3 <= 1e-6
    proves("metric synthetic, copies", "scipy's cdist", found.copies, near.mean(), limit=0)
    assert found.copies == 0.5
    assert abs(found.nearer - 0.75) < 0.05
    assert abs(found.auroc - 0.5) < 0.12  # which no classifier of rows alone can see


def test_gaps_tell_nothing() -> None:
    gaps = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) < 0.3
    some = REAL.masked_fill(gaps, torch.nan)
    found = synthetic(rows(500, 3), some, TRAIN)
    assert abs(found.auroc - 0.5) < 4 * found.auroc_standard_error
    assert all(np.isfinite(v) for v in found.values())
    assert synthetic(some, some, REAL).copies == (~gaps).any(1).double().mean()


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(VaekitError, match="the number of real rows"):
        synthetic(REAL[:5], REAL[:5], TRAIN)
    with pytest.raises(VaekitError, match=r"expected \(N, D\) twice and \(M, D\)"):
        synthetic(REAL[:, :2], REAL, TRAIN)


def test_whole_numbers_are_compared_as_they_are_written(tmp_path: Path) -> None:
    dice = pandas.DataFrame(np.random.default_rng(0).integers(1, 4, (600, 2)), columns=["a", "b"])
    how: dict[str, Any] = {"latent": 2, "net": "mlp:hidden=8", "epochs": 3, "report": False}
    run = vaekit.train("vae", data=dice, out=tmp_path / "run", **how)
    found = run.evaluate("synthetic")["synthetic"]
    assert (found["copies"], found["copies_real"]) == (1.0, 1.0)  # all nine pairs were trained on


def test_a_run_and_its_report_say_how_near_draws_are(tmp_path: Path) -> None:
    frame = pandas.DataFrame(rows(1200, 6).numpy(), columns=["a", "b", "c"])
    how: dict[str, Any] = {"latent": 2, "net": "mlp:hidden=32", "epochs": 40, "test": 200}
    run = vaekit.train("vae", data=frame, out=tmp_path / "run", **how)
    found = run.evaluate("synthetic")["synthetic"]
    assert (found["rows"], found["worst_column"] in "abc") == (200, True)
    assert found["correlations"] < 0.2
    page = (tmp_path / "run" / "report.html").read_text()
    for words in ("draws told from real rows (AUROC)", "a: test rows, draws of the model"):
        assert words in page
    how |= {"data": "digits", "limit": 80, "epochs": 1, "report": False, "test": None}
    images = vaekit.train("vae", **{**how, "out": tmp_path / "images"})
    with pytest.raises(VaekitError, match="it is of tables"):
        images.evaluate("synthetic")
