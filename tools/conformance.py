"""Writes docs/conformance.md: what proves each part, and the error that the tests measured.

How many oracles share no code with vaekit goes to README.md and README.zh-CN.md.

python tools/conformance.py                        all tests that prove a part
python tools/conformance.py tests/test_nn.py ...   those of some files; other rows stay
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "conformance.md"
READMES = {"README.md": " comparisons", "README.zh-CN.md": " 项对照"}  # which count them
HEAD = """# Conformance

What proves each part, and how far it is from its oracle: the largest error, relative to the
oracle's value where that exceeds 1, over all values of the test. Oracles share no code with vaekit,
but for the rows `one by one`, `of all rows`, `in chunks of 32`, `the mean of the same weights`,
`log weights of the trace`, `those of the recursion`, `evaluate of its runs, to the digits shown`,
`vaekit` and `vaekit Gaussian`, which hold two ways to the same number to each other. Written by
`python tools/conformance.py` from a run of the tests, which fail above the limit; what else
they would see stands in [mutants.md](mutants.md).

| part | oracle | error | limit | test |
|---|---|---|---|---|
"""


class Row(NamedTuple):
    """A comparison of the page; of all those of one part and oracle the one that is furthest.

    Its test is named by file and name, as two files may have tests of one name.
    """

    part: str
    oracle: str
    error: float
    limit: float
    test: str

    @property
    def file(self) -> str:
        """Return the file of its test."""
        return self.test.partition("::")[0]

    def line(self) -> str:
        """Return it as a row of the page."""
        part, oracle = (text.replace("|", "\\|") for text in (self.part, self.oracle))
        return f"| {part} | {oracle} | {self.error:.0e} | {self.limit:.0e} | `{self.test}` |\n"


def proving() -> set[str]:
    """Return each test that compares a part with an oracle, by file and name: takes `proves`."""
    return {
        f"{path.name}::{node.name}"
        for path in (ROOT / "tests").glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and "proves" in {a.arg for a in node.args.args}
    }


def of_page(text: str) -> list[Row]:
    """Return the rows of a page.

    >>> of_page(HEAD + Row("KL(q || p)", "sums", 3e-16, 1e-12, "test_x.py::test_kl").line())
    [Row(part='KL(q || p)', oracle='sums', error=3e-16, limit=1e-12, test='test_x.py::test_kl')]
    """
    rows = []
    for line in text.partition("|---|---|---|---|---|\n")[2].splitlines():
        cells = [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]]
        part, oracle, error, limit, test = cells
        rows.append(Row(part, oracle, float(error), float(limit), test.strip("`")))
    return rows


def apart(rows: Iterable[Row]) -> int:
    """Return how many of the oracles share no code with vaekit: not those that the page names.

    >>> apart([Row("nll", oracle, 0.0, 0.0, "test_nll") for oracle in ("scipy", "one by one")])
    1
    """
    shared = tuple(re.findall(r"`([^`]+)`", HEAD.partition("Written by")[0]))
    return sum(not row.oracle.endswith(shared) for row in rows)


def measured(files: Sequence[str]) -> list[Row]:
    """Return what the tests of these files note; of all files where none is named."""
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes.jsonl"
        environment = {**os.environ, "VAEKIT_CONFORMANCE": str(notes)}
        which = files or ["-n", "2", "tests"]
        command = [sys.executable, "-m", "pytest", *which]
        subprocess.run(command, check=True, env=environment, cwd=ROOT)
        return [Row(**json.loads(line)) for line in notes.read_text().splitlines()]


def merged(old: Iterable[Row], new: Iterable[Row], tests: set[str]) -> list[Row]:
    """Return the new rows, and the old ones of other files whose test is still there."""
    rows = list(new)
    again = {row.file for row in rows}
    rows += [row for row in old if row.test in tests and row.file not in again]
    worst = {(row.part, row.oracle): row for row in sorted(rows, key=lambda row: row.error)}
    return sorted(worst.values(), key=lambda row: (row.test, row.part))


def main(files: Sequence[str]) -> None:
    """Runs the tests and writes the page."""
    old = of_page(PAGE.read_text()) if files else []
    rows = merged(old, measured(files), proving())
    PAGE.write_text(HEAD + "".join(row.line() for row in rows))
    for readme, words in READMES.items():
        text = (ROOT / readme).read_text()
        (ROOT / readme).write_text(re.sub(rf"\[\d+{words}\]", f"[{apart(rows)}{words}]", text))
    print(f"wrote {PAGE.relative_to(ROOT)}: {len(rows)} rows")


if __name__ == "__main__":
    main(sys.argv[1:])
