"""A walk of a recipe through the shell, which every probe of a part takes."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest

from vaekit.cli.main import main
from vaekit.runs import open_run

DATA = ("--data", "digits", "--limit", "200", "--threads", "1")
ASKED = ("nll:samples=8", "latent", "aggregate", "reconstruction", "bound:samples=2")


def run(*words: object) -> int:
    """The exit code of `vaekit WORDS`."""
    try:
        main([str(word) for word in words])
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def weights(path: Path) -> Any:
    return open_run(path, weights="last").model.state_dict()


def walk(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    recipe: str,
    *options: str,
    refused: Collection[str] = (),
    asked: Sequence[str] = ASKED,
) -> dict[str, Any]:
    """Trains, resumes, evaluates, reports, compares, samples and traverses; what was measured.

    What is `refused` must exit 2 in one line, and all else 0.
    """
    whole, parted, plain = tmp_path / "whole", tmp_path / "parted", tmp_path / "plain"
    assert run("train", recipe, *DATA, *options, "--epochs", 2, "--out", whole) == 0
    assert run("train", recipe, *DATA, *options, "--epochs", 1, "--out", parted) == 0
    assert run("train", "--resume", parted, "--epochs", 2) == 0
    first, second = weights(whole), weights(parted)
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)
    assert run("train", "vae", *DATA, "--epochs", 1, "--out", plain) == 0
    assert "report.html" in {path.name for path in whole.iterdir()}
    commands: dict[str, list[object]] = {
        "evaluate": ["evaluate", whole, *asked, "--json"],
        "report": ["report", whole],
        "compare": ["compare", whole, plain, "--out", tmp_path / "page.html"],
        "sample": ["sample", whole, "--out", tmp_path / "samples.png"],
        "traverse": ["traverse", whole, "--out", tmp_path / "traverse.png"],
    }
    found: dict[str, Any] = {}
    for name, words in commands.items():
        capsys.readouterr()
        code = run(*words)
        said = capsys.readouterr()
        assert code == (2 if name in refused else 0), f"{name}: {said.err}"
        if name in refused:
            assert len(said.err.strip().splitlines()) == 1, said.err
        elif name == "evaluate":
            found = json.loads(said.out)
    return found
