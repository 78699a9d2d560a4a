"""The warnings as classifiers: said of every run that has the illness, and of no other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import illnesses
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))
import numbers_of_pages as numbers  # noqa: E402

RUNS = [("", run) for run in illnesses.HEALTHY] + illnesses.ILL


@pytest.mark.parametrize(
    ("ill", "options"), RUNS, ids=[f"{n}-{i}" for n, (i, _) in enumerate(RUNS)]
)
def test_a_warning_is_said_of_what_it_is_of(
    ill: str, options: dict[str, Any], tmp_path: Path
) -> None:
    assert set(illnesses.said(tmp_path / "r", **options)) == set(filter(None, ill.split(", ")))


def test_the_page_has_the_table_of_these_runs() -> None:
    """Every run above is judged right, so that the counts are those of the lists."""
    found = illnesses.counts()
    assert min(found[1::4]) >= 5
    assert min(found[3::4]) >= 10
    entry = numbers.quoted()["warnings"]
    assert numbers.stands(entry, ROOT / "docs" / "warnings.md") == found


@pytest.mark.parametrize("name", [n for n, e in numbers.quoted().items() if e.get("quick")])
def test_a_quoted_number_is_what_its_code_finds(name: str) -> None:
    entry = numbers.quoted()[name]
    found = numbers.measured(entry)
    for page in entry["pages"]:
        assert numbers.stands(entry, ROOT / page) == pytest.approx(found, abs=entry["within"])


def test_every_entry_stands_in_its_pages() -> None:
    for entry in numbers.quoted().values():
        for page in entry["pages"]:
            assert numbers.stands(entry, ROOT / page)
