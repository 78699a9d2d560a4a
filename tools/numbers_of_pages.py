"""Writes the numbers that pages quote: runs what each is of, and puts the results in their place.

python tools/numbers_of_pages.py [NAME ...]   # by default all; --quick: of some seconds

docs/numbers.toml names them: the code, which sets `found` to a list of numbers, after the Python of
the first page where `block` says so; the text in which they stand, with a format in braces for
each; the pages; and within what they hold on another processor, where trainings end a little
elsewhere.
"""

from __future__ import annotations

import re
import sys
import tempfile
import tomllib
from contextlib import chdir
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NUMBER = r"(-?[\d.,]*\d)"


def quoted() -> dict[str, dict[str, Any]]:
    """What docs/numbers.toml names."""
    return tomllib.loads((ROOT / "docs" / "numbers.toml").read_text())


def measured(entry: dict[str, Any]) -> list[float]:
    """Run the code of an entry in an empty folder, and return its numbers."""
    names: dict[str, Any] = {"TESTS": ROOT / "tests"}
    page = (ROOT / entry["pages"][0]).read_text()
    block = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0] if entry.get("block") else ""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        exec(block + entry["code"], names)
    return [float(number) for number in names["found"]]


def pattern(entry: dict[str, Any]) -> re.Pattern[str]:
    """The text of an entry, with any number where one stands."""
    parts = re.split(r"\{[^}]*\}", entry["text"].strip())
    return re.compile(NUMBER.join(map(re.escape, parts)))


def stands(entry: dict[str, Any], page: Path) -> list[float]:
    """The numbers that stand in a page now."""
    if (match := pattern(entry).search(page.read_text())) is None:
        raise SystemExit(f"{page} has no {entry['text'].strip()[:60]!r}: write it, with numbers.")
    return [float(number.replace(",", "")) for number in match.groups()]


def main(names: list[str]) -> None:
    """Write the numbers of these entries, or of all."""
    quick, chosen = "--quick" in names, [name for name in names if not name.startswith("-")]
    for name, entry in quoted().items():
        if (chosen and name not in chosen) or (quick and not entry.get("quick")):
            continue
        found = measured(entry)
        for page in (ROOT / page for page in entry["pages"]):
            before, old = stands(entry, page), pattern(entry).search(page.read_text())
            text = entry["text"].strip().format(*found)
            page.write_text(page.read_text().replace(old[0] if old else text, text))
            print(f"{name}: {page.relative_to(ROOT)}: {before} -> {stands(entry, page)}")


if __name__ == "__main__":
    main(sys.argv[1:])
