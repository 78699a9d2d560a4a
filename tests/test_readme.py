"""What the README shows runs as it stands there, and prints what is shown under it."""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import shlex
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.sparse
from PIL import Image
from sklearn.datasets import load_wine

import vaekit
from vaekit.cli.main import main
from vaekit.parts import Gaussian, NegativeBinomial

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = FENCE.findall(README)
PYTHON = [index for index, (kind, _) in enumerate(BLOCKS) if kind == "python"]
NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*")
FRESH = ("photos/", "wine.csv", "spectra.npy", "cells.npz")  # what a reader brings


def _commands(text: str) -> list[str]:
    return [
        line
        for kind, block in FENCE.findall(text)
        if kind == "sh"
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("vaekit ")
    ]


OWN = [line for line in _commands(README) if any(name in line for name in FRESH)]
SHELL = [line for line in _commands(README) if line not in OWN]
MNIST = [
    line for line in _commands((ROOT / "docs" / "benchmarks.md").read_text()) if "--data" in line
]


def _shown(index: int) -> str:
    """What stands under a block as its output: the next fence, where it is without a language."""
    following = BLOCKS[index + 1] if index + 1 < len(BLOCKS) else ("none", "")
    return following[1] if not following[0] else ""


def _alike(shown: str, printed: str) -> bool:
    """Whether a line is as it is shown: words and whole numbers are equal, others near.

    `...` in it stands for anything.
    """
    parts = [NUMBER.sub("#", part).split() for part in shown.split("...")]
    words = ".*".join(r"\s+".join(map(re.escape, part)) for part in parts)
    pattern = words.replace(re.escape("#"), "#").replace("#", f"({NUMBER.pattern})")
    found = re.fullmatch(rf"\s*{pattern}\s*", printed)
    if not found:
        return False
    wanted = NUMBER.findall(shown.replace("...", " "))
    return all(
        abs(float(a.replace(",", "")) - float(b.replace(",", "")))
        <= (0.1 * abs(float(a.replace(",", ""))) if "." in a else 0)
        for a, b in zip(wanted, found.groups(), strict=True)
    )


def check(shown: str, printed: str) -> None:
    """Compare output with what is shown, line by line; a line `...` stands for any lines."""
    lines = printed.splitlines()
    at, skip = 0, False
    for line in shown.splitlines():
        if line.strip() == "...":
            skip = True
            continue
        while skip and at < len(lines) and not _alike(line, lines[at]):
            at += 1
        assert at < len(lines), f"not printed: {line}\nin\n{printed}"
        assert _alike(line, lines[at]), f"shown:   {line}\nprinted: {lines[at]}"
        at, skip = at + 1, False
    assert skip or at == len(lines), f"printed beside: {lines[at:]}"


def test_shown_output_is_compared_loosely_where_it_varies_and_exactly_where_not() -> None:
    check("rows 300, psnr 19.80 dB\n", "rows  300, psnr 20.11 dB\n")
    check("a 1\n...\nz 2.00 ...\n", "a 1\nb\nc\nz -2.00 and more\n".replace("-", ""))
    for shown, printed in (
        ("rows 300", "rows 299"),
        ("psnr 19.80 dB", "psnr 25.11 dB"),
        ("psnr 19.80 dB", "ssim 19.80 dB"),
        ("a", "a\nb"),
        ("a\nb", "a"),
    ):
        with pytest.raises(AssertionError):
            check(shown, printed)


@pytest.mark.parametrize("index", PYTHON, ids=range(len(PYTHON)))
@pytest.mark.slow
def test_its_python_prints_what_is_shown(
    index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _shown(index)
    exec(BLOCKS[index][1], {})
    check(_shown(index), capsys.readouterr().out)


def test_its_python_is_as_long_as_its_headings_say() -> None:
    for index, lines in zip(PYTHON, (8, 15), strict=True):
        code = [line for line in BLOCKS[index][1].splitlines() if line.strip()]
        assert len(code) <= lines
        assert f", in {lines} lines" in README


@pytest.mark.slow
def test_its_shell_prints_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    checked = 0
    for index, (kind, block) in enumerate(BLOCKS):
        lines = [line for line in block.splitlines() if kind == "sh" and line in SHELL]
        for line in lines:
            capsys.readouterr()
            main(shlex.split(line, comments=True)[1:])
        if lines and _shown(index):
            check(_shown(index), capsys.readouterr().out)
            checked += 1
    assert checked == 2, "the demo, and an evaluation"
    assert (tmp_path / "samples.png").is_file()
    assert (tmp_path / "compare.html").is_file()


@pytest.mark.slow
def test_data_of_ones_own_in_four_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch each, on such files."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.RandomState(0)
    (tmp_path / "photos").mkdir()
    for name in range(40):
        pixels = rng.randint(0, 256, (70, 80, 3)).astype("uint8")
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.png")
    wine = load_wine()
    with (tmp_path / "wine.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*wine.feature_names, "class"])
        for row, kind in zip(wine.data, wine.target, strict=True):
            writer.writerow([*row, wine.target_names[kind]])
    np.save(tmp_path / "spectra.npy", rng.rand(200, 30).astype("float32"))
    scipy.sparse.save_npz(
        tmp_path / "cells.npz", scipy.sparse.csr_matrix(rng.poisson(0.3, (200, 50)))
    )
    assert len(OWN) == 4
    for line in OWN:
        main([*shlex.split(line, comments=True)[1:], "--epochs", "1", "--threads", "1"])
    for name, kind in (("cells", NegativeBinomial), ("wine", Gaussian), ("photos", Gaussian)):
        likelihood = vaekit.load(tmp_path / "runs" / f"vae-{name}-1").model.likelihood
        assert isinstance(likelihood.family, kind), name


@pytest.mark.parametrize("line", MNIST)
def test_the_flags_for_mnist_exist(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        main(shlex.split(line, comments=True)[1:])
    assert caught.value.code == 2
    assert "train-images-idx3-ubyte" in capsys.readouterr().err, "only the data are missing"


def _tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_its_table_of_recipes_is_that_of_the_registry(page: str) -> None:
    tool = _tool("recipes")
    assert tool.written(page) == (ROOT / page).read_text(), "run python tools/recipes.py"


def test_a_paper_is_found_in_the_text_of_a_recipe() -> None:
    paper = _tool("recipes").paper
    assert paper("Hinton & Salakhutdinov, Science 313, 2006.") == (
        "Hinton & Salakhutdinov, Science 313, 2006"
    )
    assert paper('Why. Zhao et al., "What-where", arXiv 1506.02351. More.') == (
        'Zhao et al., "What-where", [arXiv 1506.02351](https://arxiv.org/abs/1506.02351)'
    )
    assert paper("No paper, 0.30 R + 0.59 G.") == ""


def test_the_tables_of_published_results_are_those_of_the_measurements() -> None:
    tool = _tool("reproductions")
    for page in tool.PAGES:
        assert tool.written(page) == page.read_text(), "run python tools/reproductions.py"


def _reproduced() -> tuple[int, int]:
    rows = _tool("reproductions").short("en").splitlines()[2:]
    return sum(row.endswith("| yes |") for row in rows), len(rows)


def test_the_zoo_is_that_of_the_recipes_and_their_numbers() -> None:
    """`python tools/zoo.py` writes it anew."""
    tool = _tool("zoo")
    assert (ROOT / "docs" / "zoo.md").read_text() == tool.page()


def test_its_numbers_are_those_of_the_results() -> None:
    """Those of the three reasons: how fast, how many comparisons, reproductions and data sets."""
    from vaekit.data import SETS

    bars = _tool("benchmarks").bars()
    training = [bar for bar in bars if bar.what.startswith(("MLP", "conv", "IWAE"))]
    ours = [bar.value for bar in training if bar.against == "pythae 0.1.2"]
    loops = [bar.value for bar in bars if "loop" in bar.against]
    (likelihood,) = [bar.value for bar in bars if bar.against == "pythae 0.1.2's get_nll"]
    why = README.partition("## Why")[2].partition("## Install")[0]
    why = " ".join(why.split())
    assert f"{min(ours):.2f} to {max(ours):.2f} times as fast as with pythae" in why
    assert f"{min(loops):.2f} to {max(loops):.2f} times as fast as with the loops" in why
    assert f"5,000 draws is {likelihood:.2f} times as fast" in why
    page = (ROOT / "docs" / "conformance.md").read_text()
    head, _, table = page.partition("|---|")
    ways = re.findall(r"`([^`]+)`", head.partition("Written by")[0])  # that share code with vaekit
    oracles = [row.split("|")[2].strip() for row in table.splitlines() if row.startswith("| ")]
    comparisons = sum(not oracle.endswith(tuple(ways)) for oracle in oracles)
    assert len(oracles) > comparisons
    assert f"[{comparisons} comparisons]" in why
    done, measured = _reproduced()
    assert f"Of {measured} published and textbook results, {done} come out" in why
    assert f"[{len(SETS)} data sets]" in why


def test_it_cites_and_asks_for_what_the_package_says() -> None:
    package = (ROOT / "pyproject.toml").read_text()
    (python,) = re.findall(r'requires-python = ">=([\d.]+)"', package)
    (torch,) = re.findall(r'"torch>=([\d.]+)"', package)
    assert f"Python {python} or later and PyTorch {torch} or later" in README
    (bibtex,) = [block for kind, block in BLOCKS if kind == "bibtex"]
    assert f"version = {{{vaekit.__version__}}}" in bibtex
    (title,) = re.findall(r'^title: "(.*)"', (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert f"{{{title}}}" in bibtex


def test_its_table_of_projects_has_the_answers_that_are_explained() -> None:
    """README's cells are those of docs/compared.md, where each has its evidence."""
    from vaekit.recipes import names

    page = (ROOT / "docs" / "compared.md").read_text()
    explained = {}
    for section in page.split("\n## ")[1:]:
        title, _, rest = section.partition("\n")
        rows = [line.strip("|").split(" | ") for line in rest.splitlines() if line.startswith("| ")]
        assert all(len(row) == 3 and all(cell.strip() for cell in row) for row in rows), title
        explained[title.lower()] = {row[0].strip(): row[1].strip() for row in rows[1:]}
    table = README.partition("## Beside other projects")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")]
    head, *rows = [[cell.strip() for cell in line] for line in lines]
    assert {row[0].lower(): dict(zip(head[1:], row[1:], strict=True)) for row in rows} == explained
    assert explained["models"]["vaekit"] == str(len(names()))
    done, measured = _reproduced()
    assert explained["reproduced"]["vaekit"] == f"{done} of {measured}"


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=str
)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", page.read_text())
    assert [link for link in links if ":" not in link.split("#")[0]
            and not (page.parent / link.split("#")[0]).exists()] == []  # fmt: skip


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md", "docs/benchmarks.md"])
def test_links_to_headings_lead_to_one(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]*#[^)]+)\)", (ROOT / page).read_text()):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = (ROOT / page).parent / path if path else ROOT / page
        headings = re.findall(r"^#+ (.+)$", FENCE.sub("", target.read_text()), re.MULTILINE)
        names = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings]
        assert anchor in names, f"{os.fspath(target)}#{anchor}"
