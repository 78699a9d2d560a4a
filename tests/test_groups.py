"""Errors of rows that come in groups, as the images of one person: over groups, not over rows."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves

import vaekit
from vaekit.cli.main import main
from vaekit.evaluate import (
    Rows,
    chosen,
    colors,
    measure,
    measured,
    nll,
    reconstructions,
    standard_error,
)
from vaekit.metrics import frechet as distance
from vaekit.runs import fit_prior, fixed_batches, rows_to_fit
from vaekit.testing import LinearGaussian

STUDIES = ("nll:samples=5", "ais:steps=2:rows=30", "aggregate", "reconstruction")


def sandwich(values: np.ndarray, groups: np.ndarray) -> float:
    """The error of an intercept with clustered errors, as packages of regressions have it.

    (X'X)^-1 (sum_g X_g' e_g e_g' X_g) (X'X)^-1, times G / (G - 1) and (N - 1) / (N - K).
    """
    x = np.ones((len(values), 1))
    bread = np.linalg.inv(x.T @ x)
    left = values - x @ (bread @ x.T @ values)
    names = np.unique(groups)
    scores = [x[groups == name].T @ left[groups == name] for name in names]
    meat = sum(np.outer(score, score) for score in scores)
    small = len(names) / (len(names) - 1) * (len(x) - 1) / (len(x) - x.shape[1])
    return float(np.sqrt(small * (bread @ meat @ bread)[0, 0]))


def test_the_error_is_that_of_a_regression_with_clustered_errors(proves: Proves) -> None:
    draws = np.random.RandomState(0)
    groups = draws.randint(0, 6, 240) * 7  # unequal sizes, and names that are no places
    values = draws.normal(size=240) + draws.normal(size=43)[groups]
    found = standard_error(torch.tensor(values), torch.tensor(groups))
    wanted = sandwich(values, groups)
    proves("standard error over groups", "a regression's sandwich, numpy", found, wanted,
           limit=1e-12)  # fmt: skip
    alone = standard_error(torch.tensor(values))
    assert alone == pytest.approx(values.std(ddof=1) / 240**0.5)
    assert alone == pytest.approx(standard_error(torch.tensor(values), torch.arange(240)))
    assert found > 3 * alone
    assert math.isnan(standard_error(torch.tensor(values), torch.zeros(240, dtype=torch.int64)))


def test_every_error_over_rows_takes_groups() -> None:
    torch.manual_seed(0)
    groups = torch.arange(60) % 6
    x = torch.randn(60, 3, dtype=torch.float64) + torch.randn(6, 3).double()[groups]
    oracle = LinearGaussian.fit(x, latent=1)
    model, batches = oracle.vae(), [(x[:40], None), (x[40:], None)]
    log_p = -oracle.log_prob(x).numpy()
    wanted = sandwich(log_p, groups.numpy())
    found = nll(model, batches, samples=3, groups=groups)
    assert found.standard_error == pytest.approx(wanted, rel=1e-6)
    assert found.standard_error != pytest.approx(nll(model, batches, samples=3).standard_error)
    square = (model.reconstruct(x) - x).square().mean(1).numpy()
    errors = reconstructions(model, batches, groups=groups).errors
    assert errors["mse"] == pytest.approx(sandwich(square, groups.numpy()))
    torch.manual_seed(0)
    alone = measure(model, batches, samples=2)
    torch.manual_seed(0)
    over = measure(model, batches, samples=2, groups=groups)
    assert alone.elbo == over.elbo
    assert alone.elbo_error != pytest.approx(over.elbo_error)


def test_a_colorizer_has_errors_over_groups() -> None:
    torch.manual_seed(0)
    net = vaekit.ColorNet((4, 4), channels=(2,))
    model = vaekit.Colorizer(vaekit.Conditional(net, vaekit.Gaussian((3, 4, 4), scale=0.1)))
    x, groups = torch.rand(30, 3, 4, 4) * torch.rand(30, 1, 1, 1), torch.arange(30) // 5
    alone, over = (colors(model, [(x, None)], groups=each) for each in (None, groups))
    assert alone.psnr == over.psnr
    assert all(alone.errors[name] != pytest.approx(over.errors[name]) for name in alone.errors)


# a run on a table --------------------------------------------------------------------------------


def table(path: Path, groups: int = 40, rows: int = 10) -> str:
    """A csv whose rows lie around a point of their group."""
    draws = np.random.RandomState(0)
    who = np.repeat(np.arange(groups), rows)
    x = 3 * draws.normal(size=(groups, 3))[who] + draws.normal(size=(len(who), 3))
    lines = [f"p{n}," + ",".join(f"{v:.3f}" for v in row) for n, row in zip(who, x, strict=True)]
    path.write_text("\n".join(["who,a,b,c", *lines]) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("groups")
    how: dict[str, Any] = {"data": table(folder / "t.csv"), "group": "who", "test": 60}
    how |= {"net": "mlp:hidden=8", "epochs": 2, "threads": 1}
    return [vaekit.train("vae", latent=n, out=folder / str(n), **how) for n in (1, 2)]


def by_hand(run: Any, split: str = "test", limit: int | None = None) -> tuple[Any, Any]:
    """The ELBO of each row, and its group."""
    subject = run.subject(run.dataset(), split, limit=limit)
    metrics = {name: metric for name, (metric, _) in chosen(subject, "evaluate").items()}
    measured(subject, metrics)
    row = metrics["bound"].row("elbo")
    assert row is not None
    return row.numpy(), run.dataset().splits[split].groups.numpy()[subject.rows.index.numpy()]


def test_evaluate_has_errors_over_groups_and_says_so(
    runs: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    values, groups = by_hand(runs[0])
    assert (len(values), len(np.unique(groups))) == (60, 6)
    found = runs[0].evaluate(*STUDIES)
    assert found["elbo_standard_error"] == pytest.approx(sandwich(values, groups))
    assert found["elbo_standard_error"] > 1.5 * values.std(ddof=1) / 60**0.5
    assert found["standard_error_over"] == "6 groups"
    for name in STUDIES:
        assert found[name.partition(":")[0]]["standard_error_over"] == "6 groups"
    main(["evaluate", str(runs[0].path)])
    assert "\n± is one standard error over 6 groups\n" in capsys.readouterr().out


def test_errors_of_samples_are_over_groups(
    runs: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("frechet", "kid", "prdc")
    found = runs[0].evaluate(*names)
    groups = runs[0].dataset().test.groups
    loose = replace(runs[0].dataset(), test=replace(runs[0].dataset().test, groups=None))
    source = runs[0].source()
    subject = runs[0].subject(loose, source=source)
    alone = measured(subject, {n: m for n, (m, _) in chosen(subject, "evaluate", names).items()})
    for name, key in (("frechet", "distance"), ("kid", "distance"), ("prdc", "recall")):
        assert found[name]["standard_error_over"] == "6 groups"
        assert alone[name]["standard_error_over"] == "60 rows"
        assert found[name][key] == alone[name][key]
        over, single = (each[name][f"{key}_standard_error"] for each in (found, alone))
        assert abs(over / single - 1) > 0.1, name
    assert (
        found["frechet"]["distance_standard_error"]
        > 1.5 * (alone["frechet"]["distance_standard_error"])
    )
    asked: list[Any] = []

    def halves(drawn: Any, real: Any, **how: Any) -> Any:
        asked.append(how.get("groups"))
        return distance(drawn, real, **how)

    monkeypatch.setattr("vaekit.evaluate._samples.frechet", halves)
    runs[0].evaluate("frechet:most=30")
    assert asked[0].tolist() == groups[torch.arange(30) * 2].tolist()
    main(["evaluate", str(runs[0].path), "frechet"])
    assert "\n± is one standard error over 6 groups\n" in capsys.readouterr().out


def test_what_is_said_of_errors_names_those_that_are_over_something_else(
    runs: list[Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main(["evaluate", str(runs[0].path), "synthetic", "aggregate"])
    words = "± is one standard error over 6 groups; that of synthetic is over 60 rows"
    assert f"\n{words}\n" in capsys.readouterr().out
    kept = runs[0].save(tmp_path / "kept") / "README.md"
    assert f"60 test rows; {words}:" in kept.read_text()
    digits: dict[str, Any] = {"data": "digits", "net": "mlp:hidden=8", "epochs": 1, "threads": 1}
    run = vaekit.train("cvae", **digits, report=False, out=tmp_path / "digits")
    main(["evaluate", str(run.path), "agreement:images=100", "kid:features=pca"])
    words = "± is one standard error over 300 rows; that of agreement is over 100 images"
    assert f"\n{words}\n" in capsys.readouterr().out


def test_each_study_has_errors_over_groups(runs: list[Any]) -> None:
    """As the same numbers of the same rows do not have without their groups."""
    run, data = runs[0], runs[0].dataset()
    loose = replace(data, test=replace(data.test, groups=None))
    parts = [run.subject(each, source=each) for each in (data, loose)]
    over, alone = (
        measured(part, {name: one for name, (one, _) in chosen(part, "evaluate", STUDIES).items()})
        for part in parts
    )
    assert over["nll"]["mean"] == alone["nll"]["mean"]
    for name in ("nll", "ais"):
        apart = over[name]["standard_error"] / alone[name]["standard_error"]
        assert abs(apart - 1) > 0.1, name
    for name in ("aggregate", "reconstruction"):
        assert over[name]["errors"].keys() == alone[name]["errors"].keys()
        for key, error in over[name]["errors"].items():
            assert not error or abs(error / alone[name]["errors"][key] - 1) > 1e-3, key
    assert alone["nll"]["standard_error_over"] == "60 rows"


def test_rows_under_a_limit_take_their_groups_along(runs: list[Any]) -> None:
    values, groups = by_hand(runs[0], limit=7)
    found = runs[0].evaluate(limit=7)
    assert found["elbo_standard_error"] == pytest.approx(sandwich(values, groups))
    assert found["standard_error_over"] == f"{len(np.unique(groups))} groups"
    split = runs[0].dataset().test
    few = Rows(split, limit=20).few(5)
    assert few.groups is not None
    assert few.groups.tolist() == split.groups[torch.arange(5) * 60 // 5].tolist()


def test_annealing_of_fewer_rows_has_the_groups_of_these(runs: list[Any]) -> None:
    found = runs[0].evaluate("ais:steps=2:rows=3", limit=30)["ais"]
    groups = runs[0].dataset().test.groups[torch.arange(3) * 60 // 3]
    assert found["standard_error_over"] == f"{len(groups.unique())} groups"


def test_one_group_has_no_error_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how: dict[str, Any] = {"net": "mlp:hidden=8", "epochs": 1, "threads": 1, "report": False}
    data = table(tmp_path / "t.csv", 4, 20)
    run = vaekit.train("vae", data=data, group="who", test=5, out=tmp_path / "r", **how)
    main(["evaluate", str(run.path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["elbo_standard_error"] is None
    assert found["standard_error_over"] == "1 group"
    main(["evaluate", str(run.path)])
    shown = capsys.readouterr().out
    assert "1 group has no standard error" in shown
    assert "±" not in shown


def test_a_comparison_has_differences_and_gaps_over_groups(runs: list[Any], tmp_path: Path) -> None:
    found = vaekit.compare([run.path for run in runs], out=tmp_path / "p.html")
    (one, groups), (two, _) = map(by_hand, runs)
    error = sandwich(one - two, groups)
    (text,) = (words for words in found.words if words.startswith("The bound"))
    assert f"{abs((one - two).mean()):.2f} ± {error:.2f} over 6 groups" in text
    train, of = by_hand(runs[0], "train", limit=60)
    wanted = math.hypot(sandwich(train, of), sandwich(one, groups))
    assert found.runs[0]["train_test_gap_standard_error"] == pytest.approx(wanted)
    assert found.runs[0]["standard_error_over"] == "6 groups"
    subject = runs[0].subject(runs[0].dataset(), units=True)
    bound = chosen(subject, "compare")["bound"][0]
    measured(subject, {"bound": bound})
    square = bound.row("mse")
    assert square is not None
    known = found.runs[0]["mse_standard_error"]
    assert known == pytest.approx(sandwich(square.numpy(), groups))
    assert found.notes[0].startswith("± is one standard error over 6 groups")


def test_the_report_says_over_what_its_errors_are(runs: list[Any]) -> None:
    page = runs[0].folder.report.read_text()
    assert "± is one standard error over 6 groups of test rows" in page
    test = runs[0].dataset().test
    square = (runs[0].reconstruct(test.x()) - test.x()).square().mean(1).double().numpy()
    error = sandwich(square, test.groups.numpy())
    assert f"{square.mean():.4f} ± {error:.4f}" in re.sub("<[^>]*>", "", page)


def test_the_fitted_prior_is_judged_by_groups(runs: list[Any]) -> None:
    fitted = runs[0].sampled_prior("fitted")
    assert fitted is not None
    assert fitted.groups > 1
    assert f"± over {fitted.groups} groups" in str(fitted)
    parts = rows_to_fit(runs[0].dataset())
    assert fitted.groups == len(parts[1].groups.unique())
    train, held_out = (fixed_batches(part, 0) for part in parts)
    alone = fit_prior(runs[0].model, train, held_out)
    assert alone is not None
    assert alone.gain == pytest.approx(fitted.gain)
    assert abs(alone.error / fitted.error - 1) > 0.05
