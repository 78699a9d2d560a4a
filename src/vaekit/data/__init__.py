"""Data sets by name or path, what a recipe may know of them, and batches on the device."""

from __future__ import annotations

from vaekit.data.batches import Batch, Batches
from vaekit.data.dataset import Dataset, Split, canonical, fingerprint, partition
from vaekit.data.find import known, load
from vaekit.data.spec import KINDS, DataSpec

__all__ = [
    "KINDS",
    "Batch",
    "Batches",
    "DataSpec",
    "Dataset",
    "Split",
    "canonical",
    "fingerprint",
    "known",
    "load",
    "partition",
]
