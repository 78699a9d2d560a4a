"""The fuzz of data files, as tools/fuzz.py does it: its first cases, and that it finds faults."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
CASES = 300
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and limits their memory")


def test_damaged_files_end_in_rows_or_in_a_line() -> None:
    command = [sys.executable, "tools/fuzz.py", "--cases", str(CASES), "--seed", "0", "--jobs", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")]
    counts = [[int(cell) for cell in row[1:]] for row in rows]
    assert sum(map(sum, counts)) == CASES
    read, refused, found = map(sum, zip(*counts, strict=True))
    assert min(read, refused) > CASES / 10  # neither all good nor all bad
    assert found == 0


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module("fuzz")


def test_a_case_is_the_same_each_time(fuzz: Any, tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for seed in range(2 * len(fuzz.KINDS)):
            (place := tmp_path / name / str(seed)).mkdir()
            fuzz.make(seed, place)
        files = [path for path in sorted((tmp_path / name).rglob("*")) if path.is_file()]
        made.append([(path.relative_to(tmp_path / name), path.read_bytes()) for path in files])
    ours = [pair for pair in made[0] if pair[0].suffix != ".h5ad"]  # HDF5 writes the time
    assert ours == [pair for pair in made[1] if pair[0].suffix != ".h5ad"]


def test_exceptions_and_waits_are_found(
    fuzz: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)

    def fails(*_: Any, **__: Any) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr("vaekit.data.read", fails)
    kind, end, text = fuzz.tried(0)
    assert (kind, end) == ("npz", "found")
    assert text.startswith("KeyError: 'a fault'")
    monkeypatch.setattr(fuzz, "LIMIT", 1)
    monkeypatch.setattr("vaekit.data.read", lambda *_, **__: time.sleep(5))
    assert fuzz.tried(0)[1:] == ("found", "took more than 1 s")


def test_a_process_that_ends_is_found_and_the_others_go_on(
    fuzz: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import os

    def dies(seed: int) -> tuple[str, str, str]:
        if seed == 3:
            os._exit(9)
        return fuzz.kind_of(seed), "rows", ""

    monkeypatch.setattr(fuzz, "tried", dies)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    results = sorted(fuzz.fuzz(range(6), jobs=1))
    assert [(seed, end) for seed, _, end, _ in results if seed != 3] == [
        (seed, "rows") for seed in (0, 1, 2, 4, 5)
    ]
    assert results[3][2:] == ("found", "its process was ended")
