"""Data sets by name or path, what a recipe may know of them, and batches on the device."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vaekit.data.batches import Batch, Batches
from vaekit.data.card import card
from vaekit.data.dataset import Dataset, Split, fingerprint
from vaekit.data.rows import Rows
from vaekit.data.spec import KINDS, DataSpec
from vaekit.data.splits import partition, spread
from vaekit.data.values import Values, canonical

if TYPE_CHECKING:
    from vaekit.data.find import known, load, read
    from vaekit.data.preparing import prepare

# What takes options is loaded when it is first used: batches of tensors need torch alone.
_LATER = {"known": "find", "load": "find", "prepare": "preparing", "read": "find"}

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


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"vaekit.data.{_LATER[name]}"), name)
    raise AttributeError(f"module 'vaekit.data' has no attribute '{name}'")
