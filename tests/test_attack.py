"""The attack of tools/attack.py: 300 cases, or as many as the variable ATTACK says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parent.parent / "tools" / "attack.py"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and mounts small disks")


@pytest.mark.slow
def test_nothing_is_lost_and_every_command_answers() -> None:
    words = [sys.executable, TOOL, "--cases", os.environ.get("ATTACK", "300")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
