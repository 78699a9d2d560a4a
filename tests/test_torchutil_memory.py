"""The allocator keeps what it is told to keep; the command line tells it, a library does not."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

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
