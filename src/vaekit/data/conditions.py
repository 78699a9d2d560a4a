"""What a model is conditioned on: labels, one-hot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vaekit.data.dataset import Dataset, Split
from vaekit.data.spec import DataSpec
from vaekit.errors import VaekitError


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """1 at the label, 0 elsewhere: int64 `(N,)` to uint8 `(N, classes)`.

    Example:
        >>> one_hot(torch.tensor([2, 0]), 3).tolist()
        [[0, 0, 1], [1, 0, 0]]
    """
    made = torch.zeros(len(labels), classes, dtype=torch.uint8)
    return made.scatter_(1, labels[:, None], 1)


def conditioned(split: Split, data: Dataset, context: str) -> Split:
    """The split with what `context` names: "none", or "label".

    Raises:
        VaekitError: where the data have no labels.
    """
    if context == "none":
        return replace(split, context=None)
    if split.labels is None or data.classes < 2:
        raise VaekitError(
            f"context label needs labels of two classes or more; {data.name} has none: leave it, "
            "or name the column of a .csv that holds them, as label class."
        )
    return replace(split, context=one_hot(split.labels, data.classes))


def label_of(label: int | str, spec: DataSpec, names: Sequence[str]) -> int:
    """The number of a label that a model is conditioned on: itself, or a class's name.

    Raises:
        VaekitError: where the model is not conditional, or there is no such class.

    Example:
        >>> spec = DataSpec("t", (3,), "table", rows=20, classes=2, context=(2,))
        >>> label_of(1, spec, ["dog", "cat"]), label_of("cat", spec, ["dog", "cat"])
        (1, 1)
    """
    if not spec.context:
        raise VaekitError(
            f"got the label {label}; this run is not conditioned on labels: leave it, or train "
            "one that is, as `vaekit train cvae`."
        )
    text = str(label)
    if text in names:
        return list(names).index(text)
    if text.isdecimal() and int(text) < spec.classes:
        return int(text)
    numbered = f"0 to {spec.classes - 1}"
    shown = "" if names[0] == "0" else f", or {', '.join(names[:5])}{', ...' * (len(names) > 5)}"
    raise VaekitError(f"got the label {label}; the labels of {spec.name} are {numbered}{shown}.")
