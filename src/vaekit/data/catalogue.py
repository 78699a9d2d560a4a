"""The data sets known by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vaekit.data.dataset import Dataset
from vaekit.data.digits import load_digits
from vaekit.data.mnist import load_mnist
from vaekit.data.shapes import load_shapes

__all__ = ["SETS"]

# A new set is one entry: its name, and a function of the folders to search.
SETS: dict[str, Callable[[tuple[Path, ...]], Dataset]] = {
    "digits": load_digits,
    "shapes": load_shapes,
    "mnist": load_mnist,
}
