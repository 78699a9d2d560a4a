"""What the README shows runs as it stands there."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest

from vaekit.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("vaekit ")
]
HERE = ("mnist", "pictures/", "wine.csv")  # what is not in a fresh checkout
DIGITS = [line for line in SHELL if not any(name in line for name in HERE)]
MNIST = [line for line in SHELL if "--data mnist" in line]


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
@pytest.mark.slow
def test_its_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    assert {"images", "bound"} & set(names)


@pytest.mark.slow
def test_its_shell_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(DIGITS) == 9
    for line in DIGITS:
        main(shlex.split(line, comments=True)[1:])
    assert (tmp_path / "samples.png").is_file()
    assert len((tmp_path / "runs" / "first" / "metrics.jsonl").read_text().splitlines()) == 200
    assert json.loads(re.search(r"\{\n.*?\n\}", capsys.readouterr().out, re.DOTALL).group())["elbo"]  # type: ignore[union-attr]


@pytest.mark.parametrize("line", MNIST)
def test_its_flags_for_mnist_exist(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        main(shlex.split(line, comments=True)[1:])
    assert caught.value.code == 2
    assert "train-images-idx3-ubyte" in capsys.readouterr().err, "only the data are missing"


def test_its_table_names_every_recipe() -> None:
    from vaekit.recipes import names

    (row,) = [line for line in README.splitlines() if line.startswith("| recipes")]
    assert set(re.findall(r"`(\w+)`", row)) == set(names())


def test_its_table_of_published_results_is_that_of_the_measurements() -> None:
    path = ROOT / "tools" / "reproductions.py"
    spec = importlib.util.spec_from_file_location("reproductions", path)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.written(README) == README, "run python tools/reproductions.py"


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=str
)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", page.read_text())
    assert [link for link in links if ":" not in link.split("#")[0]
            and not (page.parent / link.split("#")[0]).exists()] == []  # fmt: skip
