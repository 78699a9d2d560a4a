"""What a path may end in, and what reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vaekit.data.dataset import Dataset
from vaekit.data.images import load_images
from vaekit.data.npz import load_npy, load_npz
from vaekit.data.tables import load_csv
from vaekit.options import Data

# A new format is one entry: the end of the path, and a function of the path and how to read it.
FORMATS: dict[str, Callable[[Path, Data], Dataset]] = {
    ".npz": load_npz,
    ".npy": load_npy,
    ".csv": load_csv,
    ".zip": load_images,
}
# Formats whose readers bring images to the size that is asked for, before they hold them all.
SHAPED = frozenset((".zip",))
load_folder = load_images
