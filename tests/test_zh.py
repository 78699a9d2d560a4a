"""The pages in Chinese show what the English pages show, and their formulas are rendered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGLISH = ROOT / "docs" / "guide"
CHINESE = ROOT / "docs" / "zh"
PAGES = {page: ENGLISH / page.name for page in sorted(CHINESE.glob("*.md"))}
PAGES = {page: english for page, english in PAGES.items() if english.is_file()}
PAGES[ROOT / "README.zh-CN.md"] = ROOT / "README.md"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
IMAGE = re.compile(r"!\[[^\]]*(?:\[[^\]]*\][^\]]*)*\]\(([^)]+)\)")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e-?\d+)?")
WIDE = r"[\u2014-\u201f\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"  # Chinese, and its punctuation


def _prose(page: Path) -> str:
    """What stands outside the fences."""
    return FENCE.sub("", page.read_text())


def _text(page: Path) -> str:
    """The prose without code: a $ in it is a formula's, a * is emphasis."""
    return re.sub(r"`[^`]*`", "``", _prose(page))


@pytest.fixture(params=PAGES.items(), ids=lambda pair: pair[0].relative_to(ROOT).as_posix())
def pair(request: pytest.FixtureRequest) -> tuple[Path, Path]:
    return request.param  # type: ignore[no-any-return]


def test_code_output_and_display_formulas_are_those_of_the_english_page(
    pair: tuple[Path, Path],
) -> None:
    chinese, english = (FENCE.findall(page.read_text()) for page in pair)
    assert chinese == english


def test_pictures_are_those_of_the_english_page(pair: tuple[Path, Path]) -> None:
    chinese, english = (
        [(page.parent / found).resolve() for found in IMAGE.findall(_prose(page))] for page in pair
    )
    assert chinese == english


def test_formulas_and_emphasis_are_rendered(pair: tuple[Path, Path]) -> None:
    """GitHub takes no $ for a formula's that touches a Chinese sign, save before punctuation."""
    for line in _text(pair[0]).splitlines():
        around = re.split(r"\$[^$]+\$", line)
        assert not any("$" in text for text in around), f"a $ without its other: {line}"
        assert not any(re.search(rf"{WIDE}$", text) for text in around[:-1]), line
        assert not any(re.match(r"[\u4e00-\u9fff]", text) for text in around[1:]), line
        # A mark between a sign and a letter opens or closes nothing: **bold.**text
        for bold in re.finditer(r"(.?)\*\*(.+?)\*\*(.?)", line):
            before, inner, after = bold.groups()
            assert inner[0].isalnum() or not before.isalnum(), line
            assert inner[-1].isalnum() or not after.isalnum(), line


def test_links_within_a_page_lead_to_a_heading(pair: tuple[Path, Path]) -> None:
    headings = re.findall(r"^#+ (.+)$", _prose(pair[0]), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", _prose(pair[0]))) <= anchors


def test_the_chinese_readme_has_the_names_and_numbers_of_the_english_one() -> None:
    """In the tables that tools write, too, but for the words of a title in Chinese."""
    chinese, english = (_prose(ROOT / name) for name in ("README.zh-CN.md", "README.md"))
    assert sorted(NUMBER.findall(chinese)) == sorted(NUMBER.findall(english))
    names = [set(re.findall(r"`[^`]+`", text)) for text in (chinese, english)]
    assert names[0] == names[1], "recipes, commands and flags"
