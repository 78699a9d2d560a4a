"""Writes the tables of published results from benchmarks/results/reproductions.csv.

docs/benchmarks.md has all that was measured, README.md and README.zh-CN.md the short form.

python tools/reproductions.py
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from vaekit.runs import Reproduction, known, measured, verdict

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "reproductions.csv"
BEGIN, END = "<!-- reproductions -->\n", "<!-- end reproductions -->\n"
HEAD = (
    "| `vaekit reproduce` | model and data | measured | reference | here, ± over seeds "
    "| ± over rows | verdict |\n|---|---|---|---|---|---|---|\n"
)
SHORT = {
    "en": "| `vaekit reproduce` | model and data | reference | here | reproduced |\n",
    "zh": "| `vaekit reproduce` | 模型和数据 | 参考值 | 这里的结果 | 是否复现 |\n",
}
WORDS = {
    "en": {"reproduced": "yes", "missed": "{:.2f} nats worse", "better": "{:.2f} nats better"},
    "zh": {"reproduced": "是", "missed": "差 {:.2f} nat", "better": "好 {:.2f} nat"},
}


def table() -> str:
    """A row for each reproduction that was measured."""
    return HEAD + "".join(_line(*each) for each in _measured())


def short(lang: str) -> str:
    """The same in fewer columns: the reference, the mean of what came out here, a verdict."""
    lines = []
    for one, rows in _measured():
        mean, reference = _mean(rows), one.reference or float(rows[0]["reference"])
        off = mean - reference
        words = WORDS[lang][verdict(one, off)].format(abs(off))
        lines.append(f"| `{one.name}` | {one.title} | {reference:.2f} | {mean:.2f} | {words} |\n")
    return SHORT[lang] + "|---|---|---|---|---|\n" + "".join(lines)


def _measured() -> list[tuple[Reproduction, list[dict[Any, str]]]]:
    rows = measured(RESULTS)
    found = [(one, [row for row in rows if row["name"] == one.name]) for one in known().values()]
    return [(one, own) for one, own in found if own]


def _mean(rows: list[dict[Any, str]]) -> float:
    return statistics.fmean(float(row["ours"]) for row in rows)


def _line(one: Reproduction, rows: list[dict[Any, str]]) -> str:
    mean, reference = _mean(rows), one.reference or float(rows[0]["reference"])
    shown = ", ".join(f"{float(row['ours']):.2f}" for row in rows)
    if len(rows) > 1:
        spread = statistics.stdev(float(row["ours"]) for row in rows)
        shown = f"**{mean:.2f}** ± {spread:.2f} ({shown})"
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


PAGES = {
    ROOT / "docs" / "benchmarks.md": table,
    ROOT / "README.md": lambda: short("en"),
    ROOT / "README.zh-CN.md": lambda: short("zh"),
}


def written(page: Path) -> str:
    """The page with its table as it should be."""
    before, _, rest = page.read_text().partition(BEGIN)
    return before + BEGIN + PAGES[page]() + END + rest.partition(END)[2]


def main() -> None:
    """Writes them."""
    for page in PAGES:
        page.write_text(written(page))


if __name__ == "__main__":
    main()
