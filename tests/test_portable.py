"""Without what only some systems have: a process in which these imports and functions are missing.

What stands in for them on Windows and macOS is not seen here: nothing was run there.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "vaekit"
ON_DEVICE = ("distributions", "nn", "parts", "models", "objectives", "evaluate", "training")

MISSING = """
import os, signal, sys

for name in ("fcntl", "resource", "termios", "tty", "pty", "grp", "pwd"):
    sys.modules[name] = None
for module, names in (
    (os, "sched_getaffinity sysconf fork getloadavg statvfs mkfifo chown nice O_DIRECTORY"),
    (signal, "SIGHUP SIGUSR1 SIGALRM SIGKILL setitimer alarm pthread_sigmask"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)

import ctypes

known = ctypes.CDLL  # and a libc without mallopt; what others load stays
ctypes.CDLL = lambda name, *how, **more: known(name, *how, **more) if name else object()

from pathlib import Path

import vaekit.data._rows
from vaekit.cli.main import main

vaekit.data._rows.MEMINFO = Path("none")
run, small = sys.argv[1], ["--net", "mlp:hidden=4", "--limit", "100", "--latent", "2", "--quiet"]
main(["train", "vae", *small, "--epochs", "1", "--out", run])
main(["train", "--resume", run, "--epochs", "2", "--quiet"])
main(["evaluate", run, "--limit", "20"])
assert vaekit.data._rows.available() is None
"""


def test_nothing_needs_what_only_some_systems_have(tmp_path: Path) -> None:
    """A training, its report, its second half, and what is measured."""
    done = subprocess.run(
        [sys.executable, "-c", MISSING, str(tmp_path / "run")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if not line.startswith("vaekit: note: ")]
    assert not told
    records = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in records] == [1, 2]
    assert (tmp_path / "run" / "report.html").is_file()
    assert len(json.loads((tmp_path / "run" / "evaluation.json").read_text())) == 1


@pytest.mark.parametrize("room", ON_DEVICE)
def test_nothing_on_a_model_s_device_is_of_float64(room: str) -> None:
    """Which MPS does not know: `wide` is for that. Numbers that are made on the CPU may be."""
    found = []
    for path in (SOURCE / room).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            words = ast.unparse(node)
            placed = node.func.attr.startswith("new_") or "device=" in words
            double = node.func.attr == "double" or (
                node.func.attr in ("to", "type") and "float64" in words
            )
            if double or ("float64" in words and placed):
                found.append(f"{path.name}:{node.lineno}: {words}")
    assert not found
