"""Every test starts from the same seed and leaves global settings as they were."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _real_data(request: pytest.FixtureRequest) -> None:
    """Skips a test marked data(name) where that folder is not under VAEKIT_DATA."""
    marker = request.node.get_closest_marker("data")
    folder = os.environ.get("VAEKIT_DATA")
    if marker and not (folder and (Path(folder) / marker.args[0]).is_dir()):
        pytest.skip(f"{marker.args[0]} is not under VAEKIT_DATA")
