"""Data sets by name or path, what a recipe may know of them, and batches on the device."""

from __future__ import annotations

from vaekit.data.batches import Batch, Batches
from vaekit.data.card import card
from vaekit.data.dataset import Dataset, Split, fingerprint
from vaekit.data.find import known, load, read
from vaekit.data.prepare import prepare
from vaekit.data.rows import Rows
from vaekit.data.spec import KINDS, DataSpec
from vaekit.data.splits import partition, spread
from vaekit.data.values import Values, canonical

__all__ = [
    "KINDS",
    "Batch",
    "Batches",
    "DataSpec",
    "Dataset",
    "Rows",
    "Split",
    "Values",
    "canonical",
    "card",
    "fingerprint",
    "known",
    "load",
    "partition",
    "prepare",
    "read",
    "spread",
]
