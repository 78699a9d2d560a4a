"""Runs that move: data that lie elsewhere, devices that are not here, options that change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vaekit
from vaekit import VaekitError
from vaekit.cli.main import main
from vaekit.training import Callback, Mean

QUICK: dict[str, Any] = {"latent": 2, "net": "mlp:hidden=8", "threads": 1, "report": False}


def pictures(folder: Path, level: int = 0) -> Path:
    """Make twenty pictures, those of one level alike."""
    folder.mkdir(parents=True)
    for i in range(20):
        pixels = np.full((8, 8), 7 * i + level, np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures and a run that was trained on them, named from there."""
    place = tmp_path / "first"
    pictures(place / "data" / "pics")
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(place)
    for name, data in (("typed", "data/pics"), ("absolute", str(place / "data" / "pics"))):
        vaekit.train("vae", data=data, out=name, epochs=1, **QUICK)
    monkeypatch.chdir(tmp_path)
    return place


def only_run(first: Path, name: str) -> tuple[Path, Path]:
    """Move a run and the pictures apart, and leave others in the old place."""
    second = first.with_name("second")
    second.mkdir()
    (first / name).rename(second / name)
    (first / "data" / "pics").rename(second / "pics")
    return second / name, second / "pics"


def measured(path: Path, **how: Any) -> float:
    run = vaekit.load(path, training_data=how.pop("training_data", None))
    return float(run.evaluate("bound:samples=1", **how)["elbo"])


MOVES: dict[str, Callable[[Path, str, pytest.MonkeyPatch], tuple[Path, dict[str, Any]]]] = {}


def moves(make: Any) -> Any:
    MOVES[make.__name__] = make
    return make


@moves
def not_at_all(first: Path, name: str, _: pytest.MonkeyPatch) -> Any:
    return first / name, {}


@moves
def the_run_alone(first: Path, name: str, _: pytest.MonkeyPatch) -> Any:
    (first / name).rename(first.parent / "run")
    return first.parent / "run", {}


@moves
def both_together(first: Path, name: str, _: pytest.MonkeyPatch) -> Any:
    return first.rename(first.with_name("second")) / name, {}


@moves
def by_data_dir(first: Path, name: str, _: pytest.MonkeyPatch) -> Any:
    run, pics = only_run(first, name)
    return run, {"data_dir": pics.parent}


@moves
def by_data_dir_itself(first: Path, name: str, _: pytest.MonkeyPatch) -> Any:
    run, pics = only_run(first, name)
    return run, {"data_dir": pics}


@moves
def by_longer_name(first: Path, name: str, _: pytest.MonkeyPatch) -> Any:
    run, pics = only_run(first, name)
    (run.parent / "data").mkdir()
    pics.rename(run.parent / "data" / "pics")
    return run, {"data_dir": run.parent}


@moves
def by_variable(first: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    run, pics = only_run(first, name)
    monkeypatch.setenv("VAEKIT_DATA", str(pics.parent))
    return run, {}


@moves
def by_path(first: Path, name: str, _: pytest.MonkeyPatch) -> Any:
    run, pics = only_run(first, name)
    return run, {"training_data": pics.rename(run.parent / "other name")}


@moves
def past_others(first: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Where others of the name lie first."""
    run, pics = only_run(first, name)
    pictures(run.parent / "wrong" / "pics", level=3)
    monkeypatch.setenv("VAEKIT_DATA", str(pics.parent))
    return run, {"data_dir": run.parent / "wrong"}


@pytest.mark.parametrize("name", ["typed", "absolute"])
@pytest.mark.parametrize("move", MOVES)
def test_data_are_found_where_they_lie_now(
    move: str, name: str, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = measured(first / name)
    path, how = MOVES[move](first, name, monkeypatch)
    assert measured(path, **how) == before
    again = vaekit.resume(path, epochs=2, report=False, **how)
    assert len(again.folder.records()) == 2
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    assert vaekit.load(path).dataset().rows == {"train": 16, "validation": 2, "test": 2}  # kept


def test_other_data_are_refused(first: Path) -> None:
    run, pics = only_run(first, "absolute")
    other = pictures(run.parent / "elsewhere" / "pics", level=3)
    with pytest.raises(VaekitError, match=r"elsewhere/pics holds other rows than .* was trained"):
        measured(run, training_data=other)
    with pytest.raises(VaekitError, match=r"did not find .*`training_data=.* holds other rows"):
        measured(run, data_dir=other.parent)
    with pytest.raises(VaekitError, match="holds other rows"):
        vaekit.resume(run, epochs=2, training_data=other)
    with pytest.raises(VaekitError, match="got `training_data=gone`; there is no such path"):
        measured(run, training_data="gone")
    assert json.loads((run / "config.json").read_text())["data"]["data"] != str(pics)


def test_every_command_that_takes_data_takes_their_place(
    first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, pics = only_run(first, "typed")
    shutil.copytree(run, run.with_name("other"))
    commands = ("reconstruct", "interpolate -n 1", "traverse", "scatter", "encode", "report",
                "evaluate --limit 2", f"compare {run.with_name('other')}")  # fmt: skip
    for command in commands:
        verb, *rest = command.split()
        out = [] if verb in ("report", "evaluate") else ["-o", str(run / f"{verb}.out")]
        out = [each.replace("encode.out", "e.csv").replace(".out", ".png") for each in out]
        out = [each.replace("compare.png", "c.html") for each in out]
        with pytest.raises(SystemExit):
            main([verb, str(run), *rest, *out])
        assert "--training-data PATH" in capsys.readouterr().err, verb
        main([verb, str(run), *rest, *out, "--training-data", str(pics)])
    main(["train", "--resume", str(run), "--epochs", "2", "--quiet", "--training-data", str(pics)])


# What a resume changes.

DIGITS: dict[str, Any] = {**QUICK, "data": "digits", "limit": 250, "validation": 0}


def weights(run: vaekit.Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def same(one: vaekit.Run, other: vaekit.Run) -> bool:
    pairs = zip(weights(one).values(), weights(other).values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def record(run: vaekit.Run) -> tuple[dict[str, Any], list[str]]:
    config, facts = (json.loads((run.path / f"{n}.json").read_text()) for n in ("config", "run"))
    return config["training"], [n for n in facts["notes"] if n.startswith("from step")]


class StopAt(Callback):
    """Stops as by Ctrl-C after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self, progress: Any) -> None:
        self.left -= 1
        progress.interrupted |= not self.left


def test_another_learning_rate_is_as_a_schedule_that_steps(tmp_path: Path) -> None:
    how: dict[str, Any] = {"batch_size": 50, "lr": 1e-3, "lr_schedule": "constant", **DIGITS}
    run = vaekit.train("vae", out=tmp_path / "a", epochs=1, **how)
    run = vaekit.resume(run.path, epochs=3, lr=5e-4, report=False)
    how |= {"schedule": ["lr=step:1e-3:0.5:5"], "epochs": 3}
    assert same(run, vaekit.train("vae", out=tmp_path / "b", **how))
    training, notes = record(run)
    assert (training["lr"], training["epochs"]) == (5e-4, 3)
    assert notes == ["from step 5 on: lr 0.0005 in place of 0.001"]


def test_what_is_given_as_it_was_changes_nothing(tmp_path: Path) -> None:
    how: dict[str, Any] = {"batch_size": 50, "lr": 2e-3}
    more: dict[str, Any] = how | DIGITS | {"lr_schedule": "constant"}
    whole = vaekit.train("vae", out=tmp_path / "a", epochs=3, **more)
    part = vaekit.train("vae", out=tmp_path / "b", epochs=1, **more)
    again = vaekit.resume(part.path, epochs=3, threads=1, device="auto", report=False, **how)
    assert same(whole, again)
    assert record(again)[1] == []


@pytest.mark.parametrize(("stop", "size", "steps"), [(None, 25, 15), (None, 100, 8), (3, 25, 17)])
def test_other_batches_go_on_after_the_rows_that_were_seen(
    stop: int | None, size: int, steps: int, tmp_path: Path
) -> None:
    """After an epoch of 5 steps, or 3 of them: the rest of it in batches of the new size."""
    callbacks = [] if stop is None else [StopAt(stop)]
    how: dict[str, Any] = {"out": tmp_path / "a", "epochs": 1, "batch_size": 50, **DIGITS}
    vaekit.train("vae", callbacks=callbacks, **how)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    epochs = 2
    run = vaekit.resume(tmp_path / "a", epochs=epochs, batch_size=size, report=False)
    assert run.folder.records()[-1]["step"] == steps
    assert [line["epoch"] for line in run.folder.records()] == [1, 2]
    training, notes = record(run)
    assert training["batch_size"] == size
    assert notes == [f"from step {stop or 5} on: batch_size {size} in place of 50"]
    # Interrupted in the middle, and continued without a word of it: the same bits.
    vaekit.resume(tmp_path / "b", epochs=epochs, batch_size=size, callbacks=[StopAt(2)])
    assert same(run, vaekit.resume(tmp_path / "b", report=False))


def test_new_batches_serve_each_row_of_an_epoch_once(tmp_path: Path) -> None:
    seen: list[int] = []

    class Count(Callback):
        def step(self, progress: Any) -> None:
            seen.append(progress.meter.rows)

    run = vaekit.train("vae", out=tmp_path / "a", epochs=1, batch_size=100, **DIGITS)
    vaekit.resume(run.path, epochs=3, batch_size=40, callbacks=[Count()], report=False)
    assert seen == [40, 80, 120, 160, 200, 240, 250] * 2


def test_a_run_of_an_absent_device_goes_on_here(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = vaekit.train("vae", out=tmp_path / "a", epochs=2, **DIGITS)
    run = vaekit.train("vae", out=tmp_path / "b", epochs=1, **DIGITS)
    config = json.loads((run.path / "config.json").read_text())
    config["training"] |= {"device": "cuda:9", "capture": True}
    (run.path / "config.json").write_text(json.dumps(config))
    state = vaekit.training.load_checkpoint(run.folder.last)
    state["progress"]["random"]["cuda"] = torch.zeros(16, dtype=torch.uint8)
    from vaekit._torchutil import save_state

    save_state(run.folder.last, state)
    assert vaekit.load(run.path).device == torch.device("cpu")
    assert vaekit.load(run.path).evaluate("bound:samples=1")["elbo"] < 0
    with pytest.raises(VaekitError, match="no device 'cuda:9' here"):
        vaekit.resume(run.path, epochs=2, device="cuda:9")
    again = vaekit.resume(run.path, epochs=2, report=False)
    assert same(whole, again)
    assert "there is no cuda:9 here: the run goes on on the device cpu" in caplog.text
    training, notes = record(again)
    assert (training["device"], training["capture"]) == ("auto", False)
    assert len(notes) == 1
    assert "device cpu" in notes[0]


def test_what_a_run_keeps_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = vaekit.train("vae", out=tmp_path / "a", epochs=1, schedule=["lr=constant:1e-3"], **DIGITS)
    before = (run.path / "config.json").read_bytes()
    for option in (["--latent", "3"], ["--seed=1"], ["--net.hidden", "4"], ["--limit", "9"]):
        with pytest.raises(SystemExit) as left:
            main(["train", "--resume", str(run.path), *option])
        error = capsys.readouterr().err
        assert left.value.code == 2
        assert f"a run keeps its {option[0].partition('=')[0]}:" in error
        assert "--lr" in error
        assert error.count("\n") == 1
    with pytest.raises(VaekitError, match="`lr`, which `schedule` of this run sets"):
        vaekit.resume(run.path, lr=0.1)
    with pytest.raises(VaekitError, match="got `batch_size=0`; expected at least 1"):
        vaekit.resume(run.path, batch_size=0)
    assert (run.path / "config.json").read_bytes() == before


def test_the_batch_size_of_a_loader_is_its_own(tmp_path: Path) -> None:
    rows = torch.rand(60, 3)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows), batch_size=20)
    how: dict[str, Any] = {**QUICK, "data": loader}
    run = vaekit.train("vae", out=tmp_path / "a", epochs=1, **how)
    with pytest.raises(VaekitError, match="loader makes its batches"):
        vaekit.resume(run.path, data=loader, epochs=2, batch_size=10)


def test_sums_of_a_checkpoint_are_of_float32_where_a_device_has_no_other() -> None:
    class Total:
        """Stands for a tensor of float64, which MPS refuses."""

        def float(self) -> Total:
            return self

        def to(self, device: torch.device) -> str:
            return f"float32 on {device}"

    mean = Mean()
    mean.restore({"total": Total(), "count": 3}, torch.device("mps"))
    assert str(mean.total) == "float32 on mps"


def test_several_files_and_test_rows_move_with_their_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, draw = tmp_path / "first", np.random.default_rng(0)
    place.mkdir()
    for name in ("a", "b", "tests"):
        rows = draw.normal(size=(30, 3))
        np.savetxt(place / f"{name}.csv", rows, delimiter=",", header="x,y,z", comments="")
    monkeypatch.chdir(place)
    vaekit.train("vae", data="a.csv,b.csv", test_data="tests.csv", out="run", epochs=1, **QUICK)
    before = measured(Path("run"))
    place.rename(tmp_path / "second")
    monkeypatch.chdir(tmp_path)
    assert measured(Path("second", "run")) == before
    second = tmp_path / "second"
    (second / "run").rename(tmp_path / "run")
    assert measured(Path("run"), data_dir=second) == before
    (second / "b.csv").unlink()
    with pytest.raises(VaekitError, match=r"did not find '.*b.csv'"):
        measured(Path("run"), data_dir=second)
