"""What docs/guide/coverage.md and the pages for readers of tutorials name is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from cyclopts import App

from vaekit.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
COVERAGE = ROOT / "docs" / "guide" / "coverage.md"
PAGES = [COVERAGE, *(ROOT / "docs" / folder / "tutorials.md" for folder in ("guide", "zh"))]
FILES = {f"examples/tutorials/{file.name}" for file in (ROOT / "examples/tutorials").iterdir()}
HEAD = ["item of the tutorial", "where", "command", "number", "image"]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def rows(page: Path) -> list[list[str]]:
    """The cells of each row of all tables, without their heads."""
    lines = re.findall(r"^\| (.+) \|$", page.read_text(), re.MULTILINE)
    return [cells for line in lines if (cells := line.split(" | ")) != HEAD]


def commands(page: Path) -> list[str]:
    return re.findall(r"`(vaekit (?!compare`)[^`]+ [^`]+)`", page.read_text())


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(page: Path, links: list[str]) -> list[str]:
    """Those that lead to no file, or to no heading of it."""
    found = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


def test_each_item_has_a_place_and_no_cell_is_open() -> None:
    found = rows(COVERAGE)
    assert len(found) >= 70
    for cells in found:
        assert len(cells) == len(HEAD), cells
        assert all(cell.strip() for cell in cells), cells
        assert LINK.search(cells[1]), cells
        assert cells[4] == "-" or LINK.search(cells[4]) or cells[4].startswith("not shown"), cells


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_links_lead_to_a_heading_or_a_file(page: Path) -> None:
    links = LINK.findall(page.read_text())
    assert len(links) > 30
    assert broken(page, [link for link in links if "://" not in link]) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_each_file_of_a_tutorial_is_named(page: Path) -> None:
    text = " ".join(commands(page))
    assert {file for file in FILES if file not in text} == set()


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in commands(page)}))
def test_its_commands_are_understood(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training up to all of its options, checked; the others up to what they are called with."""
    monkeypatch.chdir(ROOT)
    words = shlex.split(line)[1:]
    if words[0] == "train":
        main([*words, "--print-config"])
        assert capsys.readouterr().out.startswith("recipe: ")
        return

    def parse(self: App, tokens: list[str], **how: bool) -> None:
        self.parse_args(tokens, **how)

    monkeypatch.setattr(App, "__call__", parse)
    main(words)


def test_a_broken_row_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.md").write_text("# A page\n\n```sh\n# no heading\n```\n## 两个 `KL`\n")
    links = ["page.md#a-page", "page.md#两个-kl", "page.md#no-heading", "none.md", "page.md"]
    assert broken(tmp_path / "other.md", links) == ["page.md#no-heading", "none.md"]
    with pytest.raises(SystemExit, match="2"):
        main(["train", "vae", "--no-such-option", "1", "--print-config"])
