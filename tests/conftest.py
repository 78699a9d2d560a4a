"""Every test starts from the same seed and leaves global settings as they were."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaekit import _imports as imports
from vaekit import recipes, registry

ROOT = Path(__file__).resolve().parent.parent

# One thread each: the tests run side by side, and threads that wait for each other cost more.
os.environ["OMP_NUM_THREADS"] = "1"
# matplotlib writes a list of fonts when it is first imported: not among what a test looks at.
os.environ["MPLCONFIGDIR"] = str(ROOT / ".pytest_cache" / "matplotlib")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _parts() -> Iterator[None]:
    """What a test registers is gone after it; the kit's own parts stay, once imported."""
    recipes.names()  # enters the kit's own
    before = set(registry._OBJECTS)
    yield
    for kind, name in set(registry._OBJECTS) - before:
        if name not in registry._index().get(kind, {}):
            del registry._OBJECTS[kind, name]
    imports._LOADED.clear()


@pytest.fixture(autouse=True)
def _real_data(request: pytest.FixtureRequest) -> None:
    """Skips a test marked data(name) where that folder is not under VAEKIT_DATA."""
    marker = request.node.get_closest_marker("data")
    folder = os.environ.get("VAEKIT_DATA")
    if marker and not (folder and (Path(folder) / marker.args[0]).is_dir()):
        pytest.skip(f"{marker.args[0]} is not under VAEKIT_DATA")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves the tests that prove a part, where `tools/conformance.py` runs them."""
    if os.environ.get("VAEKIT_CONFORMANCE"):
        items[:] = [item for item in items if "proves" in getattr(item, "fixturenames", ())]


Proves = Callable[..., None]


@pytest.fixture
def proves(request: pytest.FixtureRequest) -> Proves:
    """Compares a part with its oracle, and notes what `tools/conformance.py` prints of it."""

    def compare(part: str, oracle: str, got: Any, expected: Any, *, limit: float) -> None:
        got, expected = (
            np.asarray(v.detach() if isinstance(v, torch.Tensor) else v, dtype=np.float64)
            for v in (got, expected)
        )
        assert got.size
        error = float(np.max(np.abs(got - expected) / np.maximum(1, np.abs(expected))))
        assert error <= limit, f"{part} differs from {oracle} by {error:.1e}; limit {limit:.0e}"
        notes = os.environ.get("VAEKIT_CONFORMANCE")
        if notes:
            row = {"part": part, "oracle": oracle, "error": error, "limit": limit}
            row["test"] = f"{request.path.name}::{request.node.originalname}"
            with Path(notes).open("a") as file:
                file.write(json.dumps(row) + "\n")

    return compare
