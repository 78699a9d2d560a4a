"""A grid of trainings: names, values, refusals, what is interrupted, and its comparison."""

from __future__ import annotations

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

import vaekit
from vaekit._torchutil import load_state
from vaekit.api import compare_grid
from vaekit.cli._train import RunOptions
from vaekit.cli.main import main
from vaekit.runs import parse_grid, tabulate
from vaekit.training import Callback, Progress

SMALL: dict[str, Any] = {"net": "mlp:hidden=8", "limit": 200, "epochs": 2}
QUICK = ["--net", "mlp:hidden=8", "--limit", "200", "--epochs", "2", "--no-report"]


class Stops(Callback):
    """Ctrl-C after some steps."""

    def step(self, progress: Progress) -> None:
        if progress.step == 1:
            signal.raise_signal(signal.SIGINT)


def weights(path: Path) -> dict[str, torch.Tensor]:
    state = load_state(path / "checkpoints" / "last.safetensors")
    found: dict[str, torch.Tensor] = state["progress"]["model"]
    return found


def test_a_grid_goes_on_where_it_was_and_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two runs one was interrupted and one is new; the one that is done stays untouched."""
    out = tmp_path / "g"
    torch.set_flush_denormal(True)
    alone = vaekit.train("vae", latent=3, out=tmp_path / "a", threads=1, report=False, **SMALL)
    done = vaekit.train("vae", latent=2, out=out / "latent=2", threads=1, report=False, **SMALL)
    before = (out / "latent=2" / "metrics.jsonl").read_bytes()
    begun = vaekit.train(
        "vae",
        latent=3,
        out=out / "latent=3",
        threads=1,
        report=False,
        callbacks=[Stops()],
        **SMALL,
    )
    assert len(begun.folder.records()) < 2
    grid = ["--grid", "latent=2,3", "--jobs", "1", "--out", str(out)]
    main(["sweep", "vae", *grid, *QUICK, "--files", str(out / "images")])
    shown = capsys.readouterr()
    assert (out / "latent=2" / "metrics.jsonl").read_bytes() == before
    one, two = weights(alone.path), weights(out / "latent=3")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert "They differ in latent: 2 against 3; all else is equal." in shown.out
    assert shown.out.splitlines()[-1] == f"page     {out / 'compare.html'}"
    assert sorted(shown.err.splitlines()) == ["latent=2 is trained", "latent=3 is trained"]
    page = (out / "compare.html").read_text()
    assert "<h1>vae on digits: latent</h1>" in page
    assert (out / "images" / "curves.png").is_file()
    assert {p.name for p in out.iterdir()} == {"latent=2", "latent=3", "compare.html", "images"}
    assert {row["name"] for row in tabulate(tmp_path)} >= {"g/latent=2", "g/latent=3"}
    assert done.path.is_dir()


def test_from_python_with_several_options(tmp_path: Path) -> None:
    grid = {"latent": [2], "net.activation": ["relu", "leaky-relu"]}
    runs = vaekit.sweep("vae", grid=grid, out=tmp_path / "g", jobs=1, report=False, **SMALL)
    assert [run.path.name for run in runs] == [
        "latent=2,net.activation=relu",
        "latent=2,net.activation=leaky-relu",
    ]
    assert [run.config.parts["net"]["activation"] for run in runs] == ["relu", "leaky-relu"]
    assert all(len(run.folder.records()) == 2 for run in runs)
    assert "activation: relu against leaky-relu" in (tmp_path / "g/compare.html").read_text()


# What is refused, before anything is trained --------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "options", "message"),
    [
        ({"latnt": [2, 3]}, {}, "unknown option of the grid 'latnt'; did you mean 'latent'"),
        ({"net.activatoin": ["relu", "gelu"]}, {}, "did you mean 'activation'"),
        ({"nett.activation": ["relu", "gelu"]}, {}, "did you mean 'net'"),
        ({"training.latent": [2, 3]}, {}, "unknown option of the grid 'training.latent'"),
        ({"beta": [1, 4]}, {}, "unknown option of the grid 'beta'"),
        ({"latent": [2, 0]}, {}, "latent is 0"),
        ({"latent": [2, "many"]}, {}, "latent is 'many'"),
        ({"net.activation": ["relu", "rleu"]}, {}, "did you mean 'relu'"),
        ({"latent": [2, 2]}, {}, "latent has a value twice"),
        ({"latent": [2, "2"]}, {}, "latent has a value twice"),
        ({"lr": [0.2, 0.3], "training.lr": [0.4, 0.5]}, {}, "lr is in the grid twice"),
        ({"latent": [2, 3]}, {"latent": 4}, "the grid and an option besides"),
        ({"latent": [2]}, {}, "at least two values"),
        ({}, {}, "at least two values"),
        ({"latent": 2}, {}, "expected a mapping of text to sequences of values"),
        ({"latent": []}, {}, "expected a list of values"),
        ({"data": ["digits", "mnist"]}, {}, "runs of different data do not compare"),
        ({"latent": [2, 3]}, {"jobs": 0}, "got `jobs=0`"),
        ({"latent": [2, 3]}, {"data": "digts"}, "did you mean 'digits'"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(
    tmp_path: Path, grid: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(vaekit.VaekitError) as caught:
        vaekit.sweep("vae", grid=grid, out=tmp_path / "g", **{**SMALL, **options})
    assert message in str(caught.value)
    assert not (tmp_path / "g").exists()


def test_a_folder_with_other_things_or_another_training_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    grid = {"latent": [2, 3]}
    with pytest.raises(vaekit.VaekitError, match="holds other things than runs of a grid"):
        vaekit.sweep("vae", grid=grid, out=tmp_path, **SMALL)
    out = tmp_path / "g"
    vaekit.train("vae", out=out / "latent=3", latent=3, threads=1, report=False, **SMALL)
    with pytest.raises(vaekit.VaekitError, match="latent=3 holds another training"):
        vaekit.sweep("vae", grid=grid, out=out, **{**SMALL, "epochs": 3})
    assert not (out / "latent=2").exists()


# The grid as it is typed ----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["latent", "=2,3", "latent=", "latent=2,,3", ""])
def test_what_is_no_grid_is_refused(text: str) -> None:
    with pytest.raises(vaekit.VaekitError, match="expected NAME=VALUE,VALUE"):
        parse_grid([text])


def test_an_option_twice_is_refused() -> None:
    with pytest.raises(vaekit.VaekitError, match="got latent twice in the grid"):
        parse_grid(["latent=2", "latent=3"])


@pytest.mark.parametrize(
    ("grid", "names"),
    [
        ({"batch-size": ["64", "32"]}, ["batch_size=64", "batch_size=32"]),
        ({"training.lr": [0.001, "1e-4"]}, ["lr=0.001", "lr=0.0001"]),
        ({"net": ["mlp", "conv"]}, ["net=mlp", "net=conv"]),
        ({"net.hidden": ["16,8", (4,)]}, ["net.hidden=16-8", "net.hidden=4"]),
        (
            {"likelihood.scale": ["fitted", "0.5"]},
            ["likelihood.scale=fitted", "likelihood.scale=0.5"],
        ),
        (
            {"seed": range(2), "objective.kl": ["closed"]},
            ["seed=0,objective.kl=closed", "seed=1,objective.kl=closed"],
        ),
        (
            {"schedule": [["beta=linear:0:1:9"], ["beta=linear:0:1:5"]]},
            ["schedule=beta=linear:0:1:9", "schedule=beta=linear:0:1:5"],
        ),
    ],
)
def test_keys_and_values_are_those_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid: dict[str, Any], names: list[str]
) -> None:
    """Each is checked as a training of its own; none begins here."""
    seen: dict[str, Any] = {}

    def stop(out: Path, configs: Any, *_: Any, **__: Any) -> None:
        seen.update(configs)
        raise KeyboardInterrupt

    monkeypatch.setattr("vaekit.runs._sweep.train_all", stop)
    with pytest.raises(KeyboardInterrupt):
        vaekit.sweep("vae", grid=grid, out=tmp_path / "g", limit=200, epochs=2)
    assert list(seen) == names
    assert all(config.training.threads == 1 for config in seen.values())


def test_the_help_lists_the_grid_and_all_options_of_train(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["sweep", "beta_vae", "--help"])
    shown = capsys.readouterr().out
    for flag in ("--grid", "--jobs", "--objective", "--net", "--epochs", "--files"):
        assert flag in shown


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vaekit.runs._sweep.train_all", stop)
    with pytest.raises(SystemExit) as left:
        main(["sweep", "vae", "--grid", "latent=2,3", "--out", str(tmp_path / "g"), *QUICK])
    assert left.value.code == 130
    assert f"--out {tmp_path / 'g'}" in capsys.readouterr().out


def test_json_is_one_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of runs that are there."""
    monkeypatch.setattr("vaekit.runs._sweep.train_all", lambda *_, **__: [])
    out = tmp_path / "g"
    for latent in (2, 3):
        vaekit.train("vae", out=out / f"latent={latent}", latent=latent, threads=1, report=False,
                     **SMALL)  # fmt: skip
    grid = ["--grid", "latent=2,3", "--jobs", "1", "--out", str(out)]
    main(["sweep", "vae", *grid, *QUICK, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["runs"]] == ["latent=2", "latent=3"]
    assert found["differences"] == {"latent": [2, 3]}


# Folders, and what a page would refuse --------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lang": "fr"}, "unknown language 'fr'"),
        ({"files": "file/images"}, "cannot make file/images"),
        ({"out": "page"}, "expected a file that ends in .html"),
        ({"out": "file/g"}, "cannot make file/g"),
    ],
)
def test_what_the_page_would_refuse_is_refused_before_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "page" / "compare.html").mkdir(parents=True)
    with pytest.raises(vaekit.VaekitError) as caught:
        compare_grid("vae", {"latent": [2, 3]}, SMALL, **{"out": "g", **options})
    assert message in str(caught.value)
    assert {path.name for path in tmp_path.rglob("*")} == {"file", "page", "compare.html"}


@pytest.mark.parametrize("verb", ["train", "train_seeds"])
def test_a_language_without_a_catalog_is_refused_before_the_training(
    tmp_path: Path, verb: str
) -> None:
    with pytest.raises(vaekit.VaekitError, match="unknown language 'fr'"):
        getattr(vaekit, verb)("vae", out=tmp_path / "g", lang="fr", **SMALL)
    assert not (tmp_path / "g").exists()


def test_ten_at_once_have_ten_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made, not looked for: each is there before any of the others may take it."""
    taken: list[Path] = []
    together = threading.Barrier(10)

    def train_all(out: Path, configs: Any, *_: Any, **__: Any) -> list[dict[str, Any]]:
        taken.append(out)
        together.wait(60)
        (out / "run").mkdir()
        return [{"elbo": 0.0, "log_likelihood": 0.0, "kl": 0.0, "protocol": {}} for _ in configs]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vaekit.runs._sweep.train_all", train_all)
    monkeypatch.setattr("vaekit.api.compare", lambda *_, **__: None)
    looked = vaekit.runs.next_folder

    def late(parent: Path, name: str) -> Path:
        found = looked(parent, name)
        time.sleep(0.05)
        return found

    monkeypatch.setattr("vaekit.runs._folder.next_folder", late)

    def one(number: int) -> None:
        if number % 2:
            vaekit.train_seeds("vae", seeds=1, **SMALL)
        else:
            compare_grid("vae", {"latent": [2, 3]}, SMALL)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(one, range(10)))
    names = [f"vae-digits-{what}-{n}" for what in ("seeds", "sweep") for n in range(1, 6)]
    assert sorted(map(str, taken)) == [f"runs/{name}" for name in names]


def test_the_commands_have_a_folder_each_and_leave_none_that_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:
        entered = [RunOptions().several("sweep", "vae", {}) for _ in range(3)]
        found = [stack.enter_context(each)["out"].name for each in entered]
        (tmp_path / "runs" / found[1] / "latent=2").mkdir()
    assert found == [f"vae-digits-sweep-{number}" for number in (1, 2, 3)]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [found[1]]
