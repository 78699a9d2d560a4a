"""What `Run.evaluate` and its command measure, keep and refuse."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm

import vaekit
from vaekit import Run, VaekitError
from vaekit.cli.main import main
from vaekit.data import fingerprint, load
from vaekit.evaluate import aggregate_posterior, ms_ssim, psnr, ssim

SMALL = {"latent": 2, "net": "mlp:hidden=16", "epochs": 3, "limit": 300, "lr": 1e-2}
SMALL["report"] = False
ONE = "bound:samples=1"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    trained = {**SMALL, "epochs": 100, "likelihood": "gaussian"}
    return vaekit.train("vae", out=tmp_path_factory.mktemp("evaluate") / "r", **trained)


def evaluate(*words: object) -> None:
    main(["evaluate", *(str(word) for word in words)])


def test_nll_meets_the_integral_over_two_latents(tmp_path: Path) -> None:
    """-log of the integral of p(z) p(x|z) on a grid, by numpy and scipy.

    After 15 epochs p(z|x) still has one mode, which 4,000 draws of q cover.
    """
    run = vaekit.train("vae", out=tmp_path / "r", **{**SMALL, "epochs": 15})
    found = [run.evaluate(ONE, "nll:samples=4000", limit=20, seed=seed)["nll"] for seed in range(8)]
    at = np.linspace(-5, 5, 251)
    grid = np.stack(np.meshgrid(at, at), -1).reshape(-1, 2)
    with torch.no_grad():
        loc = run.model.likelihood(torch.tensor(grid, dtype=torch.float32)).mean.flatten(1)
    sigma = run.model.likelihood.family.scale.log_scale.exp().item()
    x = load("digits").test.images[::15].flatten(1).float() / 255
    log_prior = norm.logpdf(grid).sum(1) + 2 * math.log(at[1] - at[0])
    square = [np.square(row - loc.numpy()).sum(1) / sigma**2 for row in x.numpy()]
    constant = 32 * math.log(2 * math.pi * sigma**2)
    log_p = [logsumexp(log_prior - one / 2) - constant for one in square]
    means = [one["mean"] for one in found]
    noise = np.std(means, ddof=1) / 8**0.5
    assert noise < 0.04
    assert np.mean(means) == pytest.approx(-np.mean(log_p), abs=4 * noise)
    for one in found:
        assert one["standard_error"] == pytest.approx(np.std(log_p, ddof=1) / 20**0.5, rel=0.1)
        assert one["mean"] < one["at_half"] < one["mean"] + 0.1
        assert (one["samples"], one["rows"]) == (4000, 20)


def test_each_part_is_what_the_library_gives(run: Run) -> None:
    found = run.evaluate(ONE, "latent", "aggregate", "reconstruction", limit=60)
    x = run.dataset().test.x(slice(None, None, 5))
    y = run.reconstruct(x)
    images = found["reconstruction"]
    for name, one in (("psnr", psnr), ("ssim", ssim), ("ms_ssim", ms_ssim)):
        values = one(x, y).numpy()
        assert images[name] == pytest.approx(values.mean())
        assert images["errors"][name] == pytest.approx(values.std(ddof=1) / 60**0.5)
    assert images["mse"] == pytest.approx((x - y).square().mean().item())
    assert found["implied_sigma"] == pytest.approx(math.sqrt(found["mse"]))
    with torch.no_grad():
        q = run.model.posterior(x)
        kl = torch.distributions.kl_divergence(
            torch.distributions.Normal(q.mean, q.scale), torch.distributions.Normal(0.0, 1.0)
        )
    latent = found["latent"]
    assert latent["kl_per_dim"] == pytest.approx(kl.mean(0).tolist(), rel=1e-5)
    whole = found["aggregate"]
    assert whole["rate"] == pytest.approx(kl.sum(1).mean().item(), rel=1e-5)
    assert latent["active_units"] == int((q.mean.var(0, correction=0) > 0.01).sum())
    with torch.random.fork_rng():
        torch.manual_seed(9)
        again = aggregate_posterior(run.model, [(x, None)], samples=200)
    off = abs(whole["mutual_information"] - again.mutual_information)
    assert off < 5 * whole["errors"]["mutual_information"]


def test_no_number_hangs_on_what_else_is_asked_for(run: Run) -> None:
    """And the same seed gives the same numbers, another one others."""
    two = "bound:samples=2"
    parts = ["nll:samples=20", "latent", "aggregate", "reconstruction", "ais:steps=3"]
    whole = run.evaluate(two, *parts, limit=10)
    for part in parts:
        alone = run.evaluate(two, part, limit=10)
        name = part.partition(":")[0]
        assert alone[name] == whole[name]
        assert alone["elbo"] == whole["elbo"]
    other = run.evaluate(two, *parts, limit=10, seed=1)
    assert other["nll"]["mean"] != whole["nll"]["mean"]
    assert other["reconstruction"] == whole["reconstruction"]


def test_the_protocol_is_whole(run: Run) -> None:
    found = run.evaluate("bound:samples=2", limit=10, split="validation")["protocol"]
    assert found["sha256"] == fingerprint(load("digits"))
    assert (found["data"], found["split"], found["rows"]) == ("digits", "validation", 10)
    assert (found["seed"], found["weights"], found["likelihood"]) == (0, "best", "Gaussian")
    assert found["vaekit"] == vaekit.__version__
    assert found["unit"] == "nats per image"


def test_annealing_agrees_with_importance_sampling(run: Run) -> None:
    found = run.evaluate(ONE, "nll:samples=2000", "ais:steps=100", limit=20)
    assert found["ais"]["mean"] == pytest.approx(found["nll"]["mean"], abs=0.2)
    assert 0 < found["ais"]["simulated_gap"] < 1
    assert (found["ais"]["rows"], found["ais"]["steps"]) == (20, 100)
    assert run.evaluate(ONE, "ais:steps=1")["ais"]["rows"] == 100, "without a limit"


def test_a_run_keeps_its_numbers_in_one_file(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    kept = run.path / "evaluation.json"
    kept.unlink(missing_ok=True)
    evaluate(run.path, "--limit", 10, "--json")
    first = json.loads(capsys.readouterr().out)
    evaluate(run.path, "nll:samples=30", "--limit", 10)
    evaluate(run.path, "nll:samples=40", "--limit", 10)
    assert json.loads(kept.read_text())[0] == first
    evaluate(run.path, "nll:samples=30", "--limit", 10)
    samples = [one.get("nll", {}).get("samples") for one in json.loads(kept.read_text())]
    assert samples == [None, 40, 30], "the same question replaces what it gave before"
    kept.write_text("{")
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        evaluate(run.path, "--limit", 10)
    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == "", "it is refused before anything is measured"
    assert "holds no JSON" in shown.err
    kept.unlink()


def test_all_parts_are_printed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("nll:samples=30", "latent", "aggregate", "reconstruction", "ais:steps=2")
    evaluate(run.path, *words, "--limit", 10, "--json")
    found = json.loads(capsys.readouterr().out)
    evaluate(run.path, *words, "--limit", 10)
    shown = capsys.readouterr().out
    for number in (
        found["nll"]["mean"],
        found["nll"]["standard_error"],
        found["nll"]["at_half"],
        found["aggregate"]["total_correlation"],
        found["aggregate"]["errors"]["mutual_information"],
        found["reconstruction"]["psnr"],
        found["ais"]["mean"],
        found["ais"]["simulated_gap"],
    ):
        assert f"{number:.4f}" in shown
    assert "weights best" in shown


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_gray_values_under_a_bernoulli_have_no_nll(
    likelihood: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vaekit.train("vae", out=tmp_path / "r", likelihood=likelihood, **SMALL)
    if likelihood == "gaussian":
        evaluate(tmp_path / "r", "nll:samples=5", "ais:steps=1", "--limit", 3)
        return
    for word in ("nll:samples=5", "ais:steps=5"):
        with pytest.raises(SystemExit) as caught:
            evaluate(tmp_path / "r", word)
        assert caught.value.code == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert "does not normalize over gray values" in shown.err
        assert "--binarize" in shown.err
    assert not (tmp_path / "r" / "evaluation.json").exists()


KEEPS = """
import sys, threading, vaekit
from vaekit.runs import keep_evaluation
run = vaekit.load(sys.argv[1])
def keep(first):
    for n in range(first, first + 10):
        keep_evaluation(run, {"protocol": {"seed": n, "split": "test", "rows": 9}})
threads = [threading.Thread(target=keep, args=(int(sys.argv[2]) + 10 * k,)) for k in range(2)]
[each.start() for each in threads]
[each.join() for each in threads]
"""


def test_measurements_at_once_are_all_kept(run: Run, tmp_path: Path) -> None:
    """Two processes of two threads each, ten records a thread."""
    (run.path / "evaluation.json").unlink(missing_ok=True)
    words = [[sys.executable, "-c", KEEPS, str(run.path), str(first)] for first in (0, 20)]
    for process in [subprocess.Popen(each) for each in words]:
        assert process.wait() == 0
    kept = json.loads((run.path / "evaluation.json").read_text())
    assert sorted(record["protocol"]["seed"] for record in kept) == list(range(40))
    assert not list(run.path.glob(".*")), "no lock is left"


def test_what_was_measured_is_kept_before_it_is_printed(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = run.path / "evaluation.json"
    kept.unlink(missing_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr("vaekit.cli._runs.answer", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evaluate(run.path, "--limit", 10)
    assert len(json.loads(kept.read_text())) == 1
    capsys.readouterr()

    def full(*_: object) -> None:
        raise VaekitError("there is no space")

    monkeypatch.setattr("vaekit.runs._opening.write", full)
    with pytest.raises(SystemExit):
        evaluate(run.path, "--limit", 10)
    assert "elbo" in capsys.readouterr().out, "shown though it cannot be kept"
    kept.unlink()


def test_bits_of_a_likelihood_of_levels(tmp_path: Path) -> None:
    run = vaekit.train("vae", out=tmp_path / "r", likelihood="categorical", **SMALL)
    found = run.evaluate(ONE, "nll:samples=10", limit=30)["nll"]
    assert found["bits_per_dim"] == pytest.approx(found["mean"] / (64 * math.log(2)))


def test_an_autoencoder_is_judged_by_its_codes_and_reconstructions(tmp_path: Path) -> None:
    run = vaekit.train("ae", out=tmp_path / "r", **SMALL)
    found = run.evaluate(ONE, "latent", "reconstruction", limit=50)
    codes = run.encode(run.dataset().test.x(slice(None, None, 6)))
    assert found["latent"]["active_units"] == int((codes.var(0, correction=0) > 0.01).sum())
    assert found["latent"]["kl_per_dim"] is None
    assert found["reconstruction"]["ssim"] < 1
    for name in ("nll", "ais", "aggregate"):
        with pytest.raises(VaekitError, match=f"lacks .*densit.*, so there is no {name}"):
            run.evaluate(name)


def test_one_image_and_one_draw(run: Run) -> None:
    parts = ["nll:samples=1", "latent", "aggregate", "reconstruction", "ais:steps=1"]
    found = run.evaluate(ONE, *parts, limit=1)
    assert found["nll"]["at_half"] is None
    assert found["nll"]["standard_error"] is None
    assert found["elbo_standard_error"] is None
    assert found["aggregate"]["mutual_information"] == 0, "of one row"
    assert found["latent"]["active_units"] == 0
    assert found["ais"]["rows"] == 1
    text = json.dumps(found, allow_nan=False)
    assert math.isfinite(json.loads(text)["nll"]["mean"])


def test_constant_images(tmp_path: Path) -> None:
    """Black ones: a likelihood of levels is certain of them, and they are no signal."""
    np.savez(tmp_path / "black.npz", images=np.zeros((40, 12, 12), dtype=np.uint8))
    small = {**SMALL, "data": tmp_path / "black.npz", "epochs": 30, "limit": None}
    run = vaekit.train("vae", out=tmp_path / "r", binarize="threshold", **small)
    found = run.evaluate("nll:samples=50", "latent", "reconstruction")
    assert 0 <= found["nll"]["mean"] < 1
    assert found["latent"]["active_units"] == 0
    assert found["reconstruction"]["mse"] < 1e-4
    assert found["reconstruction"]["ssim"] > 0.99
    json.dumps(found, allow_nan=False)


def test_the_range_of_the_values_is_that_of_the_ratio(tmp_path: Path) -> None:
    run = vaekit.train("vae", out=tmp_path / "r", range="-1,1", **SMALL)
    found = run.evaluate(ONE, "reconstruction", limit=30)["reconstruction"]
    x = run.dataset().test.x(slice(None, None, 10))
    assert x.min() == -1
    ratio = 10 * torch.log10(4 / (x - run.reconstruct(x)).double().square().mean((1, 2, 3)))
    assert found["psnr"] == pytest.approx(ratio.mean().item())
    on_screen = [(part + 1) / 2 for part in (x, run.reconstruct(x))]
    assert found["ssim"] == pytest.approx(ssim(*on_screen).mean().item())
    assert found["mse"] == pytest.approx((on_screen[0] - on_screen[1]).square().mean().item())


def test_a_table_has_no_measures_of_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "t.npz", images=rng.normal(size=(80, 5)).astype(np.float32))
    small = {**SMALL, "data": tmp_path / "t.npz", "limit": None}
    run = vaekit.train("vae", out=tmp_path / "r", **small)
    found = run.evaluate(ONE, "reconstruction")["reconstruction"]
    assert found["ssim"] is found["psnr"] is None
    assert set(found["errors"]) == {"mse", "l1"}


def test_the_weights_that_are_measured_are_said(tmp_path: Path) -> None:
    run = vaekit.train("vae", out=tmp_path / "r", ema=0.9, **SMALL)
    found = {
        weights: vaekit.load(run.path, weights=weights).evaluate(ONE, "nll:samples=10", limit=50)
        for weights in ("best", "last", "ema")
    }
    assert {name: one["protocol"]["weights"] for name, one in found.items()} == {
        "best": "best", "last": "last", "ema": "ema",
    }  # fmt: skip
    assert found["ema"]["nll"]["mean"] != found["last"]["nll"]["mean"]


@pytest.mark.parametrize("asked", ["nll:samples=0", "ais:steps=0", "bound:samples=0", ""])
def test_counts_below_one_are_refused(run: Run, asked: str) -> None:
    with pytest.raises(VaekitError, match="expected a whole number of at least 1"):
        run.evaluate(*filter(None, [asked]), limit=None if asked else 0)
    with pytest.raises(VaekitError, match=r"got nll:samples=2\.5; expected a whole number"):
        run.evaluate("nll:samples=2.5")


def test_progress_is_told(run: Run) -> None:
    told: list[tuple[str, int, int]] = []
    run.evaluate(ONE, "nll:samples=5", limit=20, on_rows=lambda *what: told.append(what))
    assert ("bound", 20, 20) in told
    assert ("nll", 20, 20) in told
