"""Writes docs/conformance.md: what proves each part, and the error that the tests measured.

python tools/conformance.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "conformance.md"
HEAD = """# Conformance

What proves each part, and how far it is from its oracle: the largest error, relative to the
oracle's value where that exceeds 1, over all values of the test. Oracles share no code with vaekit,
but for the rows `one by one`, `of all rows`, `in chunks of 32`, `the mean of the same weights` and
`log weights of the trace`, which hold two ways to the same number to each other. Written by `python
tools/conformance.py` from a run of the tests, which fail above the limit; what else they would
see stands in [mutants.md](mutants.md).

| part | oracle | error | limit | test |
|---|---|---|---|---|
"""


def measured() -> list[dict[str, str | float]]:
    """A row per part and oracle, with the largest error of all its comparisons."""
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes.jsonl"
        environment = {**os.environ, "VAEKIT_CONFORMANCE": str(notes)}
        command = [sys.executable, "-m", "pytest", "-n", "2", "tests"]
        subprocess.run(command, check=True, env=environment, cwd=ROOT)
        rows = [json.loads(line) for line in notes.read_text().splitlines()]
    worst: dict[tuple[str, str], dict[str, str | float]] = {}
    for row in sorted(rows, key=lambda row: float(row["error"])):
        worst[row["part"], row["oracle"]] = row
    return sorted(worst.values(), key=lambda row: (str(row["test"]), str(row["part"])))


def main() -> None:
    """Runs the tests and writes the page."""
    lines = []
    for row in measured():
        part, oracle = (str(row[name]).replace("|", "\\|") for name in ("part", "oracle"))
        test = str(row["test"]).split("::")[-1]
        lines.append(
            f"| {part} | {oracle} | {row['error']:.0e} | {row['limit']:.0e} | `{test}` |\n"
        )
    PAGE.write_text(HEAD + "".join(lines))
    print(f"wrote {PAGE.relative_to(ROOT)}: {len(lines)} rows")


if __name__ == "__main__":
    main()
