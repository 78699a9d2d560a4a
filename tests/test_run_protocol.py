"""What stands beside the numbers of `Run.evaluate`: which weights, which data, how made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vaekit
from vaekit.cli.main import main

SMALL: dict[str, Any] = {"latent": 2, "net": "mlp:hidden=16", "report": False, "threads": 1}


def test_numbers_of_other_steps_are_kept_beside_each_other(tmp_path: Path) -> None:
    """Weights that were trained further are another question."""
    path = tmp_path / "r"
    vaekit.train("vae", out=path, epochs=2, limit=256, ema=0.9, **SMALL)
    main(["evaluate", str(path), "--limit", "10"])
    vaekit.resume(path, epochs=4, report=False)
    main(["evaluate", str(path), "--limit", "10"])
    kept = json.loads((path / "evaluation.json").read_text())
    records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    best = [record["step"] for record in records if record["best"]]
    assert [one["protocol"]["step"] for one in kept] == [4, best[-1]]
    assert best[-1] > 4
    for weights in ("last", "ema"):
        assert vaekit.load(path, weights=weights).step == records[-1]["step"] == 8


def test_data_that_have_changed_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`--resume` refuses them."""
    monkeypatch.setattr("vaekit._io._NOTED", set())
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 3)).astype(np.float32)
    np.save(tmp_path / "t.npy", rows)
    run = vaekit.train("vae", out=tmp_path / "r", data=tmp_path / "t.npy", epochs=1, **SMALL)
    before = run.evaluate("bound:samples=1")["protocol"]
    assert "has changed" not in caplog.text
    np.save(tmp_path / "t.npy", rows[::-1].copy())
    after = vaekit.load(run.path).evaluate("bound:samples=1")["protocol"]
    assert caplog.text.count("t has changed since") == 1
    assert {**after, "sha256": ""} == {**before, "sha256": ""}
    assert after["sha256"] != before["sha256"]


@pytest.mark.parametrize(("asked", "done"), [(None, True), (True, True), (False, False)])
def test_whether_a_density_is_of_standardised_columns_is_said(
    asked: bool | None, done: bool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    lines = [",".join(f"{value:.3f}" for value in row) for row in rng.normal(size=(60, 3))]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c", *lines]))
    options = {**SMALL, "data": tmp_path / "t.csv", "standardize": asked}
    run = vaekit.train("vae", out=tmp_path / "r", epochs=1, **options)
    protocol = run.evaluate("bound:samples=1")["protocol"]
    assert (protocol["unit"], protocol["made"]) == ("nats per row", {"standardize": done})


@pytest.mark.parametrize("recipe", ["vae", "ae"])
def test_each_term_of_the_bound_has_a_standard_error(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The KL is a closed form, so that its error has no noise of the draws in it."""
    run = vaekit.train(recipe, out=tmp_path / "r", limit=256, epochs=5, **SMALL)
    found = run.evaluate("bound:samples=1")
    x = run.dataset().test.x(slice(None))
    if recipe == "ae":
        y = run.model.reconstruct(x)
        terms = run.vae.likelihood_at(run.vae.encode(x)).log_prob(x).detach()
        assert found["kl_standard_error"] is found["elbo_standard_error"] is None
        assert found["mse"] == pytest.approx((x - y).square().mean().item(), rel=1e-5)
        wanted = terms.numpy().std(ddof=1) / len(x) ** 0.5
        assert found["log_likelihood_standard_error"] == pytest.approx(wanted, rel=1e-5)
        return
    with torch.no_grad():
        q = run.vae.posterior(x)
    kl = (0.5 * (q.mean**2 + q.scale**2 - 1) - q.scale.log()).sum(1).numpy()
    wanted = kl.std(ddof=1) / len(x) ** 0.5
    assert found["kl_standard_error"] == pytest.approx(wanted, rel=1e-4)
    main(["evaluate", str(run.path), "bound:samples=1", "reconstruction"])
    shown = capsys.readouterr().out
    assert f"± {wanted:.4f}" in shown
    assert "decibels" in next(line for line in shown.splitlines() if "psnr" in line)
