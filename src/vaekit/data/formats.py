"""What a path may end in, and what reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vaekit.data.dataset import Dataset
from vaekit.data.npz import load_npz
from vaekit.errors import VaekitError
from vaekit.options import Data

__all__ = ["FORMATS", "load_folder"]

# A new format is one entry: the end of the path, and a function of the path and how to read it.
FORMATS: dict[str, Callable[[Path, Data], Dataset]] = {".npz": load_npz}


def load_folder(path: Path, asked: Data) -> Dataset:
    """Images in a folder."""
    raise VaekitError(f"{path} is a folder.")
