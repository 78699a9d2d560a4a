"""Writes the README's table of benchmarks from benchmarks/results/*.csv.

python tools/benchmarks.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from peers.results import read, table  # noqa: E402

README = ROOT / "README.md"
BEGIN, END = "<!-- bench -->\n", "<!-- end bench -->\n"


def written(text: str) -> str:
    """The README with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table(read()) + END + rest.partition(END)[2]


def main() -> None:
    """Writes it."""
    README.write_text(written(README.read_text()))


if __name__ == "__main__":
    main()
