"""How long a training is that names no epochs: by steps, by a preset, by minutes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vaekit
from vaekit.cli.main import main
from vaekit.runs import Config, RunFolder, make_job

SMALL: dict[str, Any] = {
    "latent": 2,
    "net": "mlp:hidden=8",
    "limit": 1300,
    "validation": 130,
    "report": False,
    "snapshots": 0,
    "threads": 1,
}


def planned(**how: Any) -> Any:
    options = {name: value for name, value in (SMALL | how).items() if name != "report"}
    return make_job(Config.flat("vae", **options), RunFolder(Path())).config.training


@pytest.mark.parametrize(
    ("how", "epochs"),
    [
        ({"batch_size": 18}, 19),  # 65 steps an epoch: 18 have 1,170
        ({"batch_size": 39}, 40),  # 30
        ({"batch_size": 117}, 120),  # 10
        ({"batch_size": 390}, 200),  # 3, so 400 for 1,200 steps: too many of so few rows
        ({"batch_size": 5}, 13),  # 234
        ({"batch_size": 18, "preset": "quick"}, 5),
        ({"batch_size": 5, "preset": "quick"}, 3),
        ({"batch_size": 18, "preset": "best"}, 76),
        ({"batch_size": 18, "preset": "best", "epochs": 3}, 3),
    ],
)
def test_the_epochs_that_nobody_names_follow_from_the_steps(
    how: dict[str, Any], epochs: int
) -> None:
    assert planned(**how).epochs == epochs


def test_a_table_takes_more_steps_as_they_are_short(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(1300, 4)))
    assert planned(data=str(tmp_path / "rows.npy"), batch_size=39).epochs == 200  # 30 steps each
    assert planned(data=str(tmp_path / "rows.npy"), batch_size=13).epochs == 75  # 80


def test_a_long_training_that_nobody_named_stops_where_nothing_gets_better() -> None:
    assert planned(batch_size=390).patience == 40
    assert planned(batch_size=9).patience == 20
    assert planned(batch_size=117, patience=3).patience == 3
    assert planned(batch_size=117, epochs=200).patience is None


def clocked(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let each look at the clock find so many seconds more."""
    ticks = itertools.count()
    monkeypatch.setattr("vaekit.runs._lengths.perf_counter", lambda: seconds * next(ticks))


def test_minutes_become_epochs_by_the_time_of_first_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    # A step of the trial takes 1 s and so does what is measured after an epoch: 11 s for one of ten
    # steps. Of 4 minutes 95 % are left, less the trial's 17 s.
    how: dict[str, Any] = {"batch_size": 117, "minutes": 4}
    clocked(monkeypatch, 1.0)
    found = planned(**how)
    assert found.epochs == (0.95 * 240 - 17) // 11 == 19
    assert found.patience == 20
    assert planned(**how | {"minutes": 0.1}).epochs == 1
    assert planned(**how, epochs=7).epochs == 7


def test_the_trial_moves_nothing_and_the_plan_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocked(monkeypatch, 1.0)
    how = SMALL | {"batch_size": 117}
    timed = vaekit.train("vae", out=tmp_path / "a", minutes=1, **how)
    assert timed.config.training.epochs == 3
    note = "what fits in 1 minutes here: 3 epochs of 10 steps"
    assert any(note in each for each in timed.folder.read_json("run")["notes"])
    named = vaekit.train("vae", out=tmp_path / "b", epochs=3, **how)
    for ours, theirs in zip(timed.model.parameters(), named.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    clocked(monkeypatch, 1e-6)  # a faster machine plans no more
    assert vaekit.resume(timed.path).config.training == timed.config.training


def test_minutes_of_several_trainings_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "vae", "--seeds", "2", "--minutes", "1", "--out", str(tmp_path / "s")])
    assert ended.value.code == 2
    assert "got --minutes for several trainings" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_seeds_that_name_no_epochs_keep_theirs_and_are_found_again(tmp_path: Path) -> None:
    how = SMALL | {"limit": 60, "validation": 6}
    vaekit.train_seeds("vae", seeds=2, out=tmp_path / "s", **how)
    configs = [tmp_path / "s" / f"seed-{seed}" / "config.json" for seed in (0, 1)]
    found = [json.loads(path.read_text())["training"] for path in configs]
    assert [(each["epochs"], each["seed"]) for each in found] == [(200, 0), (200, 1)]
    before = [path.stat().st_mtime_ns for path in configs]
    vaekit.train_seeds("vae", seeds=2, out=tmp_path / "s", **how)
    assert before == [path.stat().st_mtime_ns for path in configs]
    with pytest.raises(vaekit.VaekitError, match="holds another training"):
        vaekit.train_seeds("vae", seeds=2, out=tmp_path / "s", **how, epochs=3)
