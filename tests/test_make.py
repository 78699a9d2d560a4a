"""`make demo` by a Python that is none: what is refused before it fetches, and a second one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FAKE = f"""#!{sys.executable} -S
import os, shutil, sys
from pathlib import Path

with open(os.environ["CALLS"], "a") as log:
    print(*sys.argv[1:], file=log)
kind, (flag, what, *more) = os.environ["KIND"], sys.argv[1:]
here = Path(__file__)
if flag == "-c":
    if kind == "old":
        sys.version_info = (3, 10, 12, "final", 0)
    if kind == "no venv":
        sys.modules["ensurepip"] = None
    exec(what)
elif what == "venv":
    (Path(more[0]) / "bin").mkdir(parents=True)
    shutil.copy(here, Path(more[0], "bin", "python"))
    if kind == "breaks":
        sys.exit("cannot")
elif kind == "no pip":
    sys.exit("No module named pip")
elif "-e" in more:
    shutil.copy(os.environ["VAEKIT"], here.with_name("vaekit"))
"""
VAEKIT = """#!/bin/sh
echo vaekit "$@" >> "$CALLS"
case "$1" in demo) mkdir -p "$3" && touch "$3/config.json" "$3/$WRITES" ;;
*) touch "$3/report.html" ;; esac
"""


class Place:
    """A checkout with a fake Python on its path."""

    def __init__(self, path: Path) -> None:
        self.path, self.calls = path / "checkout", path / "calls"
        (self.path / "tools").mkdir(parents=True)
        (path / "bin").mkdir()
        for name in ("Makefile", "constraints.txt", "pyproject.toml", "tools/venv.sh"):
            shutil.copy(ROOT / name, self.path / name)
        for name, text in (("bin/python3", FAKE), ("vaekit", VAEKIT)):
            (path / name).write_text(text)
            (path / name).chmod(0o755)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))},
            "PATH": f"{path / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "CALLS": str(self.calls),
            "VAEKIT": str(path / "vaekit"),
        }

    def make(
        self, *words: str, kind: str = "", writes: str = "report.html"
    ) -> tuple[int, str, str]:
        """Run make; return its status, standard output and standard error."""
        done = subprocess.run(
            ["make", "demo", *words],
            cwd=self.path,
            env={**self.environment, "KIND": kind, "WRITES": writes},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    @property
    def trained(self) -> list[str]:
        """What vaekit was called with."""
        lines = self.calls.read_text().splitlines()
        return [line.removeprefix("vaekit ") for line in lines if line.startswith("vaekit ")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("old", (), "python3 is Python 3.10, and vaekit needs 3.11 or newer"),
        ("no venv", (), "python3 lacks the modules venv and ensurepip"),
        ("breaks", (), "python3 could not make .venv"),
        ("", ("PYTHON=python9.9",), "there is no python9.9 that runs"),
    ],
)
def test_what_is_missing_is_a_line_before_anything_is_fetched(
    place: Place, kind: str, words: tuple[str, ...], said: str
) -> None:
    status, out, err = place.make(*words, kind=kind)
    assert status == 2
    (line,) = [each for each in err.splitlines() if not each.startswith(("make: ", "cannot"))]
    assert line.startswith(said)
    assert out == ""
    assert not place.calls.exists() or "install" not in place.calls.read_text()
    assert not (place.path / ".venv").exists(), "a half-made one would be taken for a whole one"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("no pip", ".venv is half-made, it has no pip: remove it"),
        ("old", ".venv is of Python 3.10"),
    ],
)
def test_a_half_made_environment_is_a_line_too(place: Place, kind: str, said: str) -> None:
    (place.path / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(place.path.parent / "bin" / "python3", place.path / ".venv" / "bin" / "python")
    status, out, err = place.make(kind=kind)
    assert status == 2
    (line,) = [each for each in err.splitlines() if not each.startswith("make: ")]
    assert line.startswith(said)
    assert "install" not in place.calls.read_text() + out


def test_a_second_demo_says_where_the_first_one_is(place: Place) -> None:
    status, _, err = place.make()
    assert (status, err) == (0, "")
    assert place.trained == ["demo --out runs/demo"]
    status, out, _ = place.make()
    assert status == 0
    assert f"file://{place.path}/runs/demo/report.html" in out
    assert place.trained == ["demo --out runs/demo"], "nothing is trained again"


def test_a_demo_that_was_interrupted_goes_on(place: Place) -> None:
    place.make(writes="metrics.jsonl")
    place.make()
    assert place.trained == ["demo --out runs/demo", "train --resume runs/demo"]
