"""Run folders that are damaged or crafted: one line and code 2, no hang, and no memory taken."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hostile
import pytest
import torch
from broken import edited
from safetensors.torch import load, save

import vaekit
from vaekit import VaekitError
from vaekit._safetensors import read_tensors, safetensors_bytes
from vaekit._torchutil import load_state, save_state
from vaekit.runs import tabulate

BEST, LAST = hostile.BEST, hostile.LAST
USES = [name for name in hostile.COMMANDS if name not in ("runs", "animate")]  # of a model


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile.train(tmp_path_factory.mktemp("damaged") / "run")


@pytest.fixture
def run(good: Path, tmp_path: Path) -> Path:
    """A run to damage, beside one that is sound."""
    shutil.copytree(good, tmp_path / "good")
    return shutil.copytree(good, tmp_path / "run")


@contextmanager
def quick(seconds: int = 20) -> Iterator[None]:
    """What waits for ever fails."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refused(command: str, run: Path) -> str:
    """The one line with which a command refuses a run."""
    with quick():
        code, _, error = hostile.said(command.replace("{}", str(run)))
    assert code == 2, error
    assert error.count("\n") == 1
    return error


# Those from 43 on are faults that a reader without checks takes for its own.
SEEDS = [
    *range(32),
    43,
    49,
    51,
    54,
    58,
    76,
    77,
    78,
    89,
    98,
    99,
    100,
    107,
    111,
    114,
    115,
    117,
    125,
    2120,
]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fault_is_one_line_in_each_command(seed: int, good: Path, tmp_path: Path) -> None:
    commands = ["runs", "sample", "evaluate", *(["save", "report"] * (seed % 4 == 0)), "resume"]
    with quick(60):
        assert [*hostile.checked(seed, good, tmp_path, commands)] == []


def test_faults_come_again_by_their_seed_and_are_of_every_kind(good: Path, tmp_path: Path) -> None:
    said = []
    for n, seed in enumerate([*range(30), *range(30)]):
        shutil.copytree(good, tmp_path / str(n))
        said.append(hostile.damage(tmp_path / str(n), seed))
    assert said[:30] == said[30:]
    kinds = {random.Random(n).choices(list(hostile.KINDS), list(hostile.KINDS.values()))[0]
             for n in range(48)}  # fmt: skip
    assert kinds == set(hostile.KINDS)


# Weights -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [BEST, LAST, "model.safetensors"])
def test_one_flipped_bit_anywhere_is_refused(run: Path, name: str) -> None:
    if name == "model.safetensors":
        shutil.rmtree(run / "checkpoints")
    whole = (run / name).read_bytes()
    for seed in range(20):
        (run / name).write_bytes(whole)
        hostile.flipped(run / name, random.Random(seed))
        with pytest.raises(VaekitError, match=rf"{Path(name).name} is damaged: its checksum is "):
            vaekit.load(run, weights="last" if name == LAST else None)


def test_a_bit_of_what_stands_before_the_tensors_is_found_too() -> None:
    content = safetensors_bytes({"x": torch.arange(4.0), "y": torch.arange(4.0)}, {"step": "7"})
    tensors, known = read_tensors(content, Path("x"))
    assert (known, tensors["x"].tolist()) == ({"step": "7"}, [0.0, 1.0, 2.0, 3.0])
    swapped = content.replace(b'"x":', b'"z":').replace(b'"y":', b'"x":').replace(b'"z":', b'"y":')
    for other in (content.replace(b'"step":"7"', b'"step":"5"'), swapped):
        assert len(other) == len(content)
        assert other != content
        with pytest.raises(VaekitError, match="is damaged"):
            read_tensors(other, Path("x"))


def test_a_bad_checkpoint_of_a_seed_does_not_hide_it_in_a_sweep(run: Path) -> None:
    hostile.flipped(run / LAST, random.Random(0))
    assert "last.safetensors is damaged" in refused("train --resume {} --epochs 3", run)
    assert {row["name"] for row in tabulate(run.parent)} == {"run", "good"}


def test_files_without_a_checksum_are_read(run: Path) -> None:
    before = vaekit.load(run).sample(2)
    for path in run.rglob("*.safetensors"):
        content = path.read_bytes()
        path.write_bytes(save(load(content), hostile.metadata_of(content)))
        assert b"checksum" not in path.read_bytes()
    assert torch.equal(vaekit.load(run).sample(2), before)
    vaekit.resume(run, epochs=2, report=False)
    shutil.rmtree(run / "checkpoints")
    vaekit.load(run).sample(2)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("command", USES)
def test_weights_that_are_no_numbers_are_refused(run: Path, command: str, value: float) -> None:
    for path, parts in ((run / BEST, ("model",)), (run / LAST, ("progress", "model"))):
        state = load_state(path)
        weights = state
        for part in parts:
            weights = weights[part]
        weights["posterior.net.output.bias"][0] = value
        save_state(path, state)
    error = refused(hostile.COMMANDS[command], run)
    assert "posterior.net.output.bias" in error
    assert "nan" in error.lower() or "infinite" in error


# Sizes -------------------------------------------------------------------------------------------


@contextmanager
def little_memory(room: int = 1 << 30) -> Iterator[None]:
    """No more than so many bytes besides those that are taken."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("command", ["sample", "evaluate", "resume"])
@pytest.mark.parametrize(
    ("key", "value", "word"),
    [("parts__latent", 10**9, "1000000000"), ("spec__shape", [1, 10**5, 10**5], "10000000000")],
)
def test_absurd_sizes_take_no_memory(
    run: Path, command: str, key: str, value: object, word: str
) -> None:
    edited("config.json", **{key: value})(run.parent)
    with little_memory():
        assert word in refused(hostile.COMMANDS[command], run)


# The lock, and the table of runs -----------------------------------------------------------------

PLACES: dict[str, Callable[[Path], object]] = {
    "a fifo": os.mkfifo,
    "a folder": Path.mkdir,
    "a link": lambda path: path.symlink_to("gone"),
    "a loop": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("what", PLACES)
def test_a_lock_that_is_no_file_is_one_line(run: Path, what: str) -> None:
    (run / "checkpoints" / ".lock").unlink()
    PLACES[what](run / "checkpoints" / ".lock")
    assert "checkpoints/.lock is no file" in refused("train --resume {} --epochs 2", run)
    PLACES[what](run / ".evaluation.json.lock")
    code, printed, error = hostile.said(f"evaluate {run} --limit 9")
    assert (code, printed.split()[0]) == (2, "elbo")
    assert ".evaluation.json.lock is no file, and it would be locked: remove it." in error
    assert not (run / "checkpoints" / "gone").exists()
    with quick():
        assert [row["state"] for row in tabulate(run.parent)] == ["finished", "finished"]


BAD: dict[str, Callable[[Path], object]] = {
    "config.json holds no JSON": lambda run: (run / "config.json").write_bytes(
        hostile.text_of(hostile.DEEP)
    ),
    "metrics.jsonl holds 'x' for seconds; expected a valid number": lambda run: (
        run / "metrics.jsonl"
    ).write_text(
        (run / "metrics.jsonl").read_text().replace('"seconds": ', '"seconds": "x", "_": ')
    ),
    "run.json holds [] for data; expected": lambda run: edited("run.json", data=[])(run.parent),
    "config.json has no training": lambda run: edited("config.json", training=...)(run.parent),
}


@pytest.mark.parametrize("state", BAD)
def test_a_bad_run_says_why_and_hides_no_other(run: Path, state: str) -> None:
    BAD[state](run)
    rows = {row["name"]: row["state"] for row in tabulate(run.parent)}
    assert rows["run"].startswith(f"broken: {state}")
    assert rows["good"] == "finished"


def test_a_folder_that_cannot_be_read_hides_no_other(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path, **how: bool) -> os.stat_result:
        if path.parent == run:
            raise PermissionError(13, "Permission denied", str(path))
        return os.stat(path, **how)

    monkeypatch.setattr(Path, "stat", closed)
    rows = {row["name"]: row["state"] for row in tabulate(run.parent)}
    assert rows == {"run": "broken: Permission denied", "good": "finished"}


def test_a_record_names_its_file_and_what_it_holds(run: Path) -> None:
    records = json.loads((run / "evaluation.json").read_text())
    records[0]["protocol"]["rows"] = "many"
    (run / "evaluation.json").write_text(json.dumps(records))
    error = refused("save {} {}.saved", run)
    assert "evaluation.json is broken: it holds 'many' for 0.protocol.rows; expected" in error
