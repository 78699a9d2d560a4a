"""Several seeds side by side."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import vaekit
from vaekit._torchutil import load_state
from vaekit.cli.main import main
from vaekit.runs import summarize

QUICK = ["--latent", "3", "--net", "mlp:hidden=16", "--limit", "300", "--no-report"]
SMALL: dict[str, Any] = {
    "latent": 3,
    "net": "mlp:hidden=16",
    "limit": 300,
    "epochs": 2,
    "report": False,
}


def weights(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_state(path / "checkpoints" / "last.safetensors")[
        "progress"
    ]["model"]
    return found


def test_each_seed_is_the_run_that_it_would_be_alone_and_the_means_are_numpys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    words = ["train", "vae", *QUICK, "--epochs", "2", "--out", str(out), "--seed", "7"]
    main([*words, "--seeds", "3", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((out / "seeds.json").read_text())
    assert [row["seed"] for row in found["runs"]] == [7, 8, 9]
    assert sorted(p.name for p in out.iterdir()) == ["seed-7", "seed-8", "seed-9", "seeds.json"]
    torch.set_flush_denormal(True)
    alone = vaekit.train("vae", out=tmp_path / "alone", threads=1, seed=8, **SMALL)
    one, two = weights(alone.path), weights(out / "seed-8")
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(
        one["likelihood.net.output.weight"],
        weights(out / "seed-9")["likelihood.net.output.weight"],
    )
    measured = alone.evaluate()
    for name in ("elbo", "log_likelihood", "kl"):
        values = [row[name] for row in found["runs"]]
        assert values[1] == pytest.approx(measured[name], rel=1e-5)
        assert found["mean"][name] == pytest.approx(sum(values) / 3)
        spread = sum((v - sum(values) / 3) ** 2 for v in values) / 2
        assert found["standard_error"][name] == pytest.approx((spread / 3) ** 0.5)
    assert found["standard_error_over"] == "3 seeds"
    assert found["protocol"]["split"] == "test"
    assert json.loads((out / "seed-8" / "run.json").read_text())["environment"]["threads"] == 1

    main([*words, "--seeds", "3", "--quiet"])  # again: all are done
    shown = capsys.readouterr()
    assert shown.err == ""
    assert f"{found['mean']['elbo']:.4f}" in shown.out
    (line,) = (each for each in shown.out.splitlines() if each.startswith("± over 3 seeds"))
    assert f"{found['standard_error']['elbo']:.4f}" in line
    assert f"{found['standard_error']['elbo']:.4f}" in shown.out


def test_one_seed_has_no_standard_error_and_no_bound_no_elbo(tmp_path: Path) -> None:
    found = vaekit.train_seeds("ae", seeds=1, out=tmp_path / "s", **SMALL)
    assert set(found["mean"]) == set(found["standard_error"]) == {"log_likelihood", "mse"}
    assert set(found["standard_error"].values()) == {None}
    row = {"elbo": -1.0, "log_likelihood": -0.5, "kl": 0.5}
    made = summarize([row, {**row, "elbo": -3.0}])
    assert made["mean"]["elbo"] == -2.0
    assert made["standard_error"]["elbo"] == pytest.approx(statistics.stdev([-1, -3]) / 2**0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "expected a whole number of at least 1"),
        ({"data": "digts"}, "did you mean 'digits'"),
        ({"data": torch.zeros(9, 4)}, "got `data=Tensor"),
        ({"latnt": 3}, "did you mean 'latent'"),
        ({"kl_warmup": "linear"}, "expected none, linear:EPOCHS"),
        ({"device": "cuda:99"}, "there is no device"),
        ({"recipe": "vea"}, "unknown recipe"),
    ],
)
def test_what_can_be_refused_is_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(vaekit.VaekitError, match=message):
        vaekit.train_seeds(**{"recipe": "vae", "seeds": 2, "out": tmp_path / "s", **options})
    assert not (tmp_path / "s").exists()


def test_a_folder_with_other_things_or_other_runs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(vaekit.VaekitError, match="holds other things than seeds"):
        vaekit.train_seeds("vae", seeds=2, out=tmp_path, **SMALL)
    vaekit.train("vae", out=tmp_path / "s" / "seed-1", seed=1, threads=1, **SMALL)
    with pytest.raises(vaekit.VaekitError, match="seed-1 holds another training"):
        vaekit.train_seeds("vae", seeds=2, out=tmp_path / "s", **{**SMALL, "latent": 5})
    assert not (tmp_path / "s" / "seed-0").exists()


def test_an_error_of_a_worker_is_one_line(tmp_path: Path) -> None:
    words = ["train", "vae", *QUICK, "--seeds", "2", "--epochs", "60", "--out", str(tmp_path / "s")]
    words += ["--schedule", "lr=step:1e-3:1e33:20"]
    code = f"from vaekit.cli.main import main\nmain({words!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "the training diverged at step" in done.stderr
    assert done.stderr.startswith("vaekit: seed-")
    assert not (tmp_path / "s" / "seeds.json").exists()


def test_what_a_part_prints_does_not_stop_its_process(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "import vaekit.nn.nets as nets\n"
        "from vaekit.registry import register\n"
        "@register('net', 'loud')\n"
        "class Loud(nets.DenseNets):\n"
        '    """An MLP that prints more than a pipe holds."""\n'
        "    def encoder(self, *shapes):\n"
        "        print('x' * 200_000)\n"
        "        return super().encoder(*shapes)\n"
    )
    words = ["train", "vae", *QUICK, "--seeds", "2", "--out", str(tmp_path / "s"), "--json"]
    words[words.index("mlp:hidden=16")] = "loud:hidden=16"
    words += ["--import", str(tmp_path / "loud.py"), "--epochs", "1"]
    command = [sys.executable, "-m", "vaekit", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]
    assert (tmp_path / "s" / "seeds.json").exists()


def test_warnings_of_seeds_are_shown_under_quiet_and_progress_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = ["--epochs", "2", "--likelihood", "gaussian:scale=1", "--out", str(tmp_path / "s")]
    main(["train", "vae", *QUICK, *wide, "--seeds", "1", "--quiet"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vaekit: note: seed 0: the likelihood's sigma is 1 and the root mean")


def test_what_is_said_at_the_end_is_said_of_seeds_and_in_their_reports(tmp_path: Path) -> None:
    slow: dict[str, Any] = {**SMALL, "epochs": 15, "lr": 1e-3, "lr_schedule": "constant"}
    slow |= {"data": "digits", "likelihood": "gaussian:scale=fitted", "report": True}
    found = vaekit.train_seeds("vae", seeds=1, out=tmp_path / "s", **slow)
    (words,) = [w for w in found["runs"][0]["warnings"] if "still rising" in w]
    path = tmp_path / "s" / "seed-0"
    assert words.endswith(f"by `vaekit train --resume {path} --epochs 30`.")
    assert "ended while still rising" in (path / "report.html").read_text()


def living(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def started(out: Path) -> subprocess.Popen[str]:
    """Two seeds in training, side by side where there are two cores."""
    words = ["train", "vae", *QUICK, "--seeds", "2", "--epochs", "200", "--out", str(out)]
    hears = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored in background jobs
    code = f"import signal\nfrom vaekit.cli.main import main\n{hears}\nmain({words!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (out / "seed-0" / "metrics.jsonl").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


def children(parent: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ctrl_c_stops_all_and_the_same_call_continues(tmp_path: Path, name: str) -> None:
    out = tmp_path / "s"
    with started(out) as process:
        if name == "SIGINT":
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        else:
            process.send_signal(signal.Signals[name])
        shown, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "stopped  continue with the same command and --out" in shown
    assert "Traceback" not in error
    step = load_state(out / "seed-0" / "checkpoints" / "last.safetensors")["progress"]["step"]
    assert 0 < step < 200 * 3
    whole = vaekit.train_seeds("vae", seeds=2, out=tmp_path / "whole", **{**SMALL, "epochs": 200})
    again = vaekit.train_seeds("vae", seeds=2, out=out, **{**SMALL, "epochs": 200})
    assert again["mean"] == whole["mean"]
    for seed in ("seed-0", "seed-1"):
        one, two = weights(out / seed), weights(tmp_path / "whole" / seed)
        assert all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at /proc")
def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    with started(tmp_path / "s") as process:
        workers = children(process.pid)
        assert workers
        process.kill()
        said = process.communicate()[1]
        assert not re.search("Traceback|leaked", said), "of those who tell nobody"
    until = time.monotonic() + 30
    while any(map(living, workers)):
        assert time.monotonic() < until, "a worker lives on"
        time.sleep(0.1)
    assert (tmp_path / "s" / "seed-0" / "checkpoints" / "last.safetensors").is_file()


def test_the_seeds_of_a_table_share_rows_and_units(tmp_path: Path) -> None:
    """The rows hang on `split_seed` alone, so that the densities that are averaged have one unit:
    that of columns divided by the deviations of the same training rows."""
    rows = torch.randn(90, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 9, 80])
    lines = [",".join(f"{value:.6g}" for value in row) for row in rows.tolist()]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c", *lines]))
    how: Any = {**SMALL, "data": str(tmp_path / "t.csv"), "limit": None, "validation": 20}
    vaekit.train_seeds("vae", seeds=2, out=tmp_path / "s", **how)
    one, two = (vaekit.load(tmp_path / "s" / f"seed-{seed}") for seed in (0, 1))
    a, b = one.spec.values, two.spec.values
    assert torch.equal(a.loc, b.loc)
    assert torch.equal(a.scale, b.scale)
    assert torch.equal(one.dataset().test.x(), two.dataset().test.x())
    train = one.dataset().train
    assert train.x().mean(0) == pytest.approx(torch.zeros(3).numpy(), abs=1e-5)
    assert train.x().std(0, correction=0) == pytest.approx(torch.ones(3).numpy(), abs=1e-5)
