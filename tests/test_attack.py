"""The attack of tools/attack.py: a few cases of each kind, and all of them in `make test-all`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parent.parent / "tools" / "attack.py"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and mounts small disks")


@pytest.mark.slow
def test_nothing_is_lost_and_every_command_answers() -> None:
    done = subprocess.run([sys.executable, TOOL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
