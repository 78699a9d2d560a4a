"""The data card: what a data set is, in plain values."""

from __future__ import annotations

from typing import Any

import torch

from vaekit.data.dataset import Dataset, Split, fingerprint
from vaekit.data.rows import chunks


def card(dataset: Dataset) -> dict[str, Any]:
    """What a data set is, as plain JSON values.

    Returns:
        name, kind, shape; rows per split; classes, their names (where they have some) and the rows
        of each class per split; factors: their names, and how many values each takes; columns;
        range, mean and density (the part that is not 0) of the values as they are stored, over all
        splits; source, note; sha256, the `fingerprint`.

    Example:
        >>> from vaekit.data import load
        >>> made = card(load("digits"))
        >>> made["rows"], made["range"], made["class_counts"]["test"][:3]
        ({'train': 1497, 'test': 300}, [0.0, 255.0], [19, 27, 29])
    """
    splits = dataset.splits
    low, high = zip(*(part.bounds for part in splits.values()), strict=True)
    mean, density = _moments(list(splits.values()))
    return {
        "name": dataset.name,
        "kind": dataset.kind,
        "shape": list(dataset.train.images.shape[1:]),
        "stored": str(dataset.train.images.dtype).removeprefix("torch."),
        "rows": {name: len(part) for name, part in splits.items()},
        "classes": dataset.classes,
        "class_names": list(dataset.class_names),
        "class_counts": _class_counts(dataset),
        "factors": _factors(dataset),
        "columns": list(dataset.column_names),
        "range": [min(low), max(high)],
        "mean": mean,
        "density": density,
        "source": dataset.source,
        "note": dataset.note,
        "sha256": fingerprint(dataset),
    }


def _moments(splits: list[Split]) -> tuple[float, float]:
    """The mean of all stored values, and the part of them that is not 0."""
    total, filled, many = 0.0, 0, 0
    for split in splits:
        for part in chunks(split.images):
            whole = part.dtype == torch.uint8
            total += float(part.sum() if whole else part.sum(dtype=torch.float64))
            filled += int(part.count_nonzero())
            many += part.numel()
    return total / many, filled / many


def _class_counts(dataset: Dataset) -> dict[str, list[int]]:
    return {
        name: part.labels.bincount(minlength=dataset.classes).tolist()
        for name, part in dataset.splits.items()
        if part.labels is not None
    }


def _factors(dataset: Dataset) -> dict[str, int]:
    parts = [part.factors for part in dataset.splits.values() if part.factors is not None]
    if not parts:
        return {}
    values = torch.cat(parts)
    numbered = [f"factor {number}" for number in range(1, values.shape[1] + 1)]
    names = dataset.factor_names or numbered
    return {name: len(values[:, i].unique()) for i, name in enumerate(names)}
