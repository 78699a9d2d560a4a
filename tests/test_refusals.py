"""Misuse, bad data and bad places: one line that helps, exit code 2, and nothing written."""

from __future__ import annotations

import json
import resource
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from refused import Case
from refused_data import DATA
from refused_options import OPTIONS
from refused_runs import RUNS

from vaekit.cli.main import in_shell, main

CASES = [*OPTIONS, *DATA, *RUNS]
QUICK = "--latent 2 --net mlp:hidden=4 --epochs 1 --limit 60 --quiet --no-report"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("refusals") / "run"
    main(["train", "vae", "--out", str(path), *QUICK.split()])
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to type commands in; no data set is found but in the package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    return tmp_path


@contextmanager
def limit_restored() -> Iterator[None]:
    """Before pytest goes on: it may write to a file that is larger than a full disk allows."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def tree(path: Path) -> dict[str, bytes]:
    """All that lies below a folder: links by their targets, folders as such, files by content."""
    found = {}
    for p in sorted(path.rglob("*")):
        if p.is_symlink():
            content = str(p.readlink()).encode()
        else:
            content = b"a folder" if p.is_dir() else p.read_bytes()
        found[str(p.relative_to(path))] = content
    return found


def test_the_table_has_a_name_and_words_for_each_case() -> None:
    assert len(CASES) > 250
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case.words for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_one_line_and_code_2_and_nothing_is_written(
    case: Case, here: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = shlex.split(case.command)
    if "run" in command:
        shutil.copytree(trained, here / "run")
    with limit_restored():
        case.make(here)
        before = tree(here)
        with pytest.raises(SystemExit) as left:
            main(command)
    captured = capsys.readouterr()
    assert (left.value.code, captured.out) == (2, "")
    assert captured.err.startswith("vaekit: ")
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err
    for word in case.words:
        assert word in captured.err
    assert tree(here) == before


def test_a_batch_larger_than_the_set_works_and_says_so(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*["train", "vae", "--out", "new", "--batch-size", "999"], *QUICK.split()]
    main([word for word in words if word != "--quiet"])
    note = "a batch of 999 is more than the 54 training rows: each step takes all of them."
    assert json.loads((here / "new" / "run.json").read_text())["notes"] == [note]
    assert f"vaekit: note: {note}" in capsys.readouterr().err


def noted(words: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a training says beside its progress, before and in its run folder."""
    quick = QUICK.replace("--quiet", "--batch-size 16")
    main(["train", "vae", "--out", "new", *words.split(), *quick.split()])
    notes: list[str] = json.loads(Path("new/run.json").read_text())["notes"]
    printed = [line for line in capsys.readouterr().err.splitlines() if ": note: " in line]
    assert printed == [f"vaekit: note: {in_shell(note)}" for note in notes]
    return notes


@pytest.mark.parametrize("words", ["", "--range -1,1"])
def test_images_stored_from_minus_one_are_told_of(
    words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("signed.npy", np.linspace(-1, 1, 80 * 64, dtype=np.float32).reshape(80, 8, 8))
    notes = noted(f"--data signed.npy {words}", capsys)
    told = (
        "the images of signed are stored from -1 to 1; the model sees (x + 1) / 2, in [0, 1] "
        "(`range='-1,1'` gives it the stored values)."
    )
    assert notes == ([] if words else [told])


def test_a_mean_that_cannot_reach_the_data_is_told_of(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("signed.npy", np.linspace(-1, 1, 80 * 64, dtype=np.float32).reshape(80, 64))
    (note,) = noted("--data signed.npy --likelihood :mean=sigmoid", capsys)
    assert note.startswith("mean=sigmoid cannot leave [0, 1], and the rows of signed lie in [-1,")
    assert "take mean=identity, or write the rows in [0, 1], as (x + 1) / 2" in note


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--likelihood :mean=sigmoid", 0),
        ("--likelihood :mean=relu", 0),
        ("--range -1,1 --likelihood :mean=tanh", 0),
        ("--range -1,1 --likelihood :mean=sigmoid", 1),
        ("--range -1,1 --likelihood :mean=relu", 1),
        ("--range -1,1", 0),
    ],
)
def test_means_are_held_against_the_range(
    words: str, said: int, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = noted(words, capsys)
    assert len(notes) == said
    assert all("--range 0,1" in in_shell(note) for note in notes)
