"""The allocator keeps what it is told to keep; tensors are written and looked at as they are."""

from __future__ import annotations

import math
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vaekit._torchutil import load_state, lost_weight, save_state

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
PAGES = 16 * 8 * 256  # of 4 KiB, 128 MiB in all
FAULTS = """
import resource, torch
from vaekit._torchutil import keep_memory
{first}
def step():
    kept = [torch.zeros(2 << 20) for _ in range(16)]  # 8 MiB each, freed together
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = [step() for _ in range(4)][-1]
print(step() - before)
"""


def faults(first: str) -> int:
    """Page faults of a step after the first ones: each is a page that had been given back."""
    code = [sys.executable, "-c", FAULTS.format(first=first)]
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}  # else it grows as blocks are freed
    return int(subprocess.run(code, check=True, capture_output=True, text=True, env=env).stdout)


@glibc
def test_freed_memory_is_kept_only_where_it_is_asked() -> None:
    assert faults("pass") > PAGES / 8  # huge pages cost fewer faults
    assert faults("assert keep_memory()") < PAGES / 10


@glibc
def test_the_command_line_keeps_it() -> None:
    assert faults("from vaekit.cli._show import start; start()") < PAGES / 10


TRAIN = "import os, vaekit; vaekit.train(data='digits', limit=50, epochs=1, latent=2, report=False)"


@glibc
@pytest.mark.parametrize(("asked", "kept"), [("1", True), ("0", False)])
def test_python_keeps_it_too_unless_told_not_to(asked: str, kept: bool, tmp_path: Path) -> None:
    told = f"os.environ['VAEKIT_KEEP_MEMORY'] = '{asked}'; os.chdir({str(tmp_path)!r})"
    count = faults(f"import os; {told}; {TRAIN}")
    assert count < PAGES / 10 if kept else count > PAGES / 8


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp")
@pytest.mark.parametrize(
    ("theirs", "seen"),
    [
        ({}, "5000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "0"),
    ],
)
def test_threads_of_a_command_wait_without_spinning_long(theirs: dict[str, str], seen: str) -> None:
    """OpenMP says itself, as it is loaded, what it took from the environment."""
    code = [sys.executable, "-c", "from vaekit.cli._show import start; start()"]
    known = {n: v for n, v in os.environ.items() if n not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    env = {**known, **theirs, "OMP_DISPLAY_ENV": "VERBOSE"}
    said = subprocess.run(code, check=True, capture_output=True, text=True, env=env).stderr
    assert re.findall(r"GOMP_SPINCOUNT = '(\d+)'", said) in ([seen], [])  # other wheels, none


def test_tensors_that_share_memory_are_written_whole(tmp_path: Path) -> None:
    w = torch.randn(3, 4)
    state = {"a": w, "same": w, "turned": w.t(), "row": w[1], "one": torch.ones(1).expand(5)}
    state |= {"none": torch.zeros(0), "neither": torch.zeros(0, 2), "half": w.bfloat16()}
    save_state(tmp_path / "x.safetensors", state)
    found = load_state(tmp_path / "x.safetensors")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())


@pytest.mark.parametrize(
    ("numbers", "lost"),
    [
        ([3e38, 3e38], 0),  # their sum is too large for float32
        ([-3e38, 3e38], 0),
        ([math.inf, -math.inf], 2),
        ([math.nan, 1.0], 1),
        ([1.0, -math.inf], 1),
    ],
)
def test_weights_that_are_no_numbers_are_counted(numbers: list[float], lost: int) -> None:
    said = lost_weight({"weight": torch.tensor([numbers])}, torch.nn.Linear(2, 1, bias=False))
    expected = f"weight has NaN or infinite numbers, in {lost} of 2 values"
    assert said == (expected if lost else None)
