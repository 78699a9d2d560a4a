"""Writes the README's table of published results from benchmarks/results/reproductions.csv.

python tools/reproductions.py
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from vaekit.runs import Reproduction, known, measured, verdict

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results" / "reproductions.csv"
BEGIN, END = "<!-- reproductions -->\n", "<!-- end -->\n"
HEAD = """| `vaekit reproduce` | model and data | measured | reference | here | ± | verdict |
|---|---|---|---|---|---|---|
"""


def table() -> str:
    """A row for each reproduction that was measured."""
    rows = measured(RESULTS)
    lines = [
        _line(one, [row for row in rows if row["name"] == one.name])
        for one in known().values()
        if any(row["name"] == one.name for row in rows)
    ]
    return HEAD + "".join(lines)


def _line(one: Reproduction, rows: list[dict[Any, str]]) -> str:
    ours = [float(row["ours"]) for row in rows]
    mean, reference = statistics.fmean(ours), float(rows[0]["reference"])
    shown = ", ".join(f"{value:.2f}" for value in ours)
    if len(ours) > 1:
        shown = f"**{mean:.2f}** ({shown})"
    error = max(float(row["standard_error"]) for row in rows)
    cells = [
        f"`{one.name}`",
        one.title,
        one.number,
        f"{reference:.2f}",
        shown,
        f"{error:.2f}",
        verdict(one, mean - reference),
    ]
    return f"| {' | '.join(cells)} |\n"


def written(text: str) -> str:
    """The README with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def main() -> None:
    """Writes it."""
    README.write_text(written(README.read_text()))


if __name__ == "__main__":
    main()
