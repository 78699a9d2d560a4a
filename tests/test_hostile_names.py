"""Names of files, runs, columns and classes that would steer a reader: each is shown as text."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

import vaekit
from vaekit.cli.main import main
from vaekit.errors import visible
from vaekit.report import save_figure

STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
COLUMNS = ["v1.2345678", "#23262b", "\x1b[31mred", "bi\u202edi", "new\nline", "<b>&amp;'\""]
CLASSES = ["\x1b]0;t\x07", "nu\u2066ll\x9b", "two\nlines", "</title><b>", "$x$ & \x7f"]
SMALL: dict[str, Any] = {
    "label": "class",
    "latent": 2,
    "net": "mlp:hidden=4",
    "epochs": 1,
    "threads": 1,
}


class Reader(HTMLParser):
    """The text of a page and of its attributes, but for style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.words += [value or "" for _, value in attributes]

    def handle_data(self, data: str) -> None:
        if self.lasttag not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return "\0".join(self.words)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    rows = np.random.default_rng(0).normal(size=(300, len(COLUMNS)))
    with (folder / "d\x1b\u202e\n.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, "class"])
        for number, row in enumerate(rows):
            writer.writerow([*map(str, row), CLASSES[number % len(CLASSES)]])
    (data,) = folder.iterdir()
    for seed, name in enumerate(("one\x07\n\u202d", "two")):
        vaekit.train("vae", data=str(data), out=folder / name, seed=seed, **SMALL)
    return folder


def run_of(here: Path) -> Path:
    return next(path for path in here.iterdir() if path.name.startswith("one"))


def test_every_name_is_text_in_a_report(here: Path) -> None:
    page = (run_of(here) / "report.html").read_text()
    assert not STEERS.search(page)
    text = Reader(page).text
    for name in (*COLUMNS, *CLASSES, "one\x07\n\u202d", "d\x1b\u202e\n"):
        assert visible(name, lines=False) in text, name
    (known,) = re.findall('<script type="application/json">(.*?)</script>', page, re.DOTALL)
    names = json.loads(known)["names"]
    assert names, "the script writes them into the page"
    assert not any(STEERS.search(name) or "\n" in name for name in names)


def test_every_name_is_text_in_a_comparison(here: Path, tmp_path: Path) -> None:
    vaekit.compare([run_of(here), here / "two"], out=tmp_path / "p.html", title="t\x1b\n\u202e")
    page = (tmp_path / "p.html").read_text()
    assert not STEERS.search(page)
    for name in ("one\x07\n\u202d", "d\x1b\u202e\n", "t\x1b\n\u202e"):
        assert visible(name, lines=False) in Reader(page).text, name


@pytest.mark.parametrize("command", ["scatter", "show"])
def test_drawings_are_xml_that_has_every_name(here: Path, tmp_path: Path, command: str) -> None:
    main([command, str(run_of(here)), "-o", str(tmp_path / "s.svg")])
    content = (tmp_path / "s.svg").read_text()
    assert not STEERS.search(content)
    text = "\0".join(ElementTree.fromstring(content).itertext())
    for name in CLASSES if command == "scatter" else ():
        assert visible(name, lines=False) in text, name


def test_what_is_no_letter_is_written_as_in_python() -> None:
    assert visible("a\tb\nc\x1b\u202e\ud800\x00") == "a\tb\nc\\x1b\\u202e\\ud800\\x00"
    assert visible("a\tb\nc", lines=False) == "a\\tb\\nc"
    assert visible("שלום é \u200d👩\u200d🔬") == "שלום é \u200d👩\u200d🔬"


def test_no_title_of_a_figure_breaks_its_svg(tmp_path: Path) -> None:
    figure = Figure()
    figure.suptitle("a\x1b[31m\u202e < b")
    content = save_figure(lambda: figure, tmp_path / "s.svg").read_text()
    assert not STEERS.search(content)
    assert r"a\x1b[31m\u202e < b" in "".join(ElementTree.fromstring(content).itertext())


def test_files_beside_pages_have_names_as_text(here: Path, tmp_path: Path) -> None:
    vaekit.compare([run_of(here), here / "two"], out=tmp_path / "p.html", files=tmp_path)
    for path in (run_of(here) / "README.md", tmp_path / "table.md"):
        content = path.read_text()
        assert not STEERS.search(content)
        assert "\\x" in content
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert {line.count("|") for line in lines} == {4}, "a name is no end of a line"
