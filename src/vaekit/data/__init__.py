"""Data sets by name or path, what a recipe may know of them, and batches on the device."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vaekit.data.batches import Batch, Batches
from vaekit.data.card import card
from vaekit.data.conditions import conditioned, label_of, one_hot
from vaekit.data.dataset import Dataset, Split, fingerprint, generator
from vaekit.data.entry import Entry, File, Form
from vaekit.data.rows import MappedRows, Rows, SparseRows, pick
from vaekit.data.spec import KINDS, DataSpec
from vaekit.data.splits import partition, spread
from vaekit.data.values import Values, canonical

if TYPE_CHECKING:
    from vaekit.data.catalogue import SETS
    from vaekit.data.find import known, labeled, load, read
    from vaekit.data.preparing import prepare

# What takes options is loaded when it is first used: batches of tensors need torch alone.
_LATER = dict.fromkeys(("known", "labeled", "load", "read"), "find") | {
    "SETS": "catalogue",
    "prepare": "preparing",
}

__all__ = [
    "KINDS",
    "SETS",
    "Batch",
    "Batches",
    "DataSpec",
    "Dataset",
    "Entry",
    "File",
    "Form",
    "MappedRows",
    "Rows",
    "SparseRows",
    "Split",
    "Values",
    "canonical",
    "card",
    "conditioned",
    "fingerprint",
    "generator",
    "known",
    "label_of",
    "labeled",
    "load",
    "one_hot",
    "partition",
    "pick",
    "prepare",
    "read",
    "spread",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"vaekit.data.{_LATER[name]}"), name)
    raise AttributeError(f"module 'vaekit.data' has no attribute '{name}'")
