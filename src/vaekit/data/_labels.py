"""What goes with rows: labels, which are names and never places, factors and groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data._readings import finite
from vaekit.data._splits import keyed, numbers_of
from vaekit.data._tables import classed
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.data._transforms import DataSpec

MOST = 1 << 20  # classes that are counted from 0
WHOLE = 1 << 53  # floats hold every whole number up to here
# What may go with images: the kinds of types, the dims, and what is expected.
ANNOTATIONS = {
    "labels": ("iubUS", 1, "one integer or text per image: ({},)"),
    "factors": ("iubf", 2, "numbers, one row per image: ({}, F)"),
    "groups": ("iubUS", 1, "one integer or text per image: ({},)"),
}


def annotation(what: str, name: str, array: np.ndarray, rows: int) -> Tensor:
    """Return the factors or groups (`name`), or labels that count from 0, of so many rows.

    Raises:
        VaekitError: for another type or shape, and labels below 0; `what` names them.
    """
    _check(what, name, array, rows, kinds="iub" if name == "labels" else "")
    if name == "groups":
        return keyed(array)
    if name == "labels" and not 0 <= array.min() <= array.max() < MOST:
        wrong = array.min() if array.min() < 0 else array.max()
        raise VaekitError(
            f"{what} has the value {wrong}; expected integers from 0 on, below {MOST:,}."
        )
    whole = array.dtype.kind != "f"
    return torch.from_numpy(array.astype(np.int64) if whole else finite(what, array))


def _check(what: str, name: str, array: np.ndarray, rows: int, kinds: str = "") -> None:
    known, dims, wanted = ANNOTATIONS[name]
    if array.dtype.kind not in (kinds or known) or array.ndim != dims or len(array) != rows:
        raise VaekitError(
            f"{what} has type {array.dtype} and shape {array.shape}; "
            f"expected {wanted.format(rows)}."
        )


def numbered(
    labels: Mapping[str, np.ndarray], rows: Mapping[str, int], takes: DataSpec | None = None
) -> tuple[list[Tensor | None], tuple[str, ...]]:
    """Return the classes of each split's labels, counted from 0, and their names.

    Labels are whole numbers of any size and sign, floats that are whole, text, a column of these,
    or one-hot rows. Those that are 0 to K - 1, each of them, stay as they are and have no names.

    Args:
        labels: of each split, by what errors call it.
        rows: how many rows each split has, by the same.
        takes: what a trained model takes, whose classes these are then; None for those of none.

    Raises:
        VaekitError: for another type or shape, and text in one split and numbers in another.

    Example:
        >>> numbered({"y": np.array([5000, 1000, 5000])}, {"y": 3})
        ([tensor([1, 0, 1])], ('1000', '5000'))
        >>> numbered({"y": np.array([[0.0], [1.0]])}, {"y": 2})
        ([tensor([0, 1])], ())
    """
    flat = {what: _flat(what, array, rows[what]) for what, array in labels.items()}
    split = [np.unique(array, return_inverse=True) for array in flat.values()]
    cells: list[list[Any]] = [values.tolist() for values, _ in split]
    if len({isinstance(cell, str) for part in cells for cell in part}) > 1:
        raise VaekitError(f"{' and '.join(labels)} are text and numbers; give all alike.")
    if takes is not None:
        known = [numbers_of([*map(str, part)], takes) if takes.classes else None for part in cells]
        names = takes.class_names
    else:
        known, names = _classes(cells, next(iter(labels)))
    places = [torch.from_numpy(inverse.reshape(-1)) for _, inverse in split]
    pairs = zip(known, places, strict=True)
    return [None if number is None else number[place] for number, place in pairs], names


def _classes(cells: list[list[Any]], what: str) -> tuple[list[Tensor | None], tuple[str, ...]]:
    """Return the classes of the distinct labels of each split, and their names."""
    every = sorted({cell for part in cells for cell in part})
    if isinstance(every[0], str):
        error = f"{what} has '{{}}'; a label is text or a whole number."
        order, names = classed(every, lambda i: VaekitError(error.format(every[i])))
        number = dict(zip(every, order.tolist(), strict=True))
    else:
        number = {cell: i for i, cell in enumerate(every)}
        names = () if every == [*range(len(every))] else tuple(map(str, every))
    return [torch.tensor([number[cell] for cell in part]) for part in cells], names


def _flat(what: str, array: np.ndarray, rows: int) -> np.ndarray:
    """Return labels as whole numbers or text, `(N,)`."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 2 and is_one_hot(array):
        array = array.argmax(1)
    if array.dtype.kind == "f" and (abs(array) <= WHOLE).all() and (array == np.rint(array)).all():
        array = array.astype(np.int64)
    _check(what, "labels", array, rows)
    if array.dtype.kind == "b":
        return array.astype(np.int64)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    return np.char.strip(array) if array.dtype.kind == "U" else array


def is_one_hot(array: np.ndarray) -> bool:
    """Return whether each row has one 1 and else 0."""
    if array.dtype.kind not in "iubf" or not array.shape[1]:
        return False
    return bool(((array == 0) | (array == 1)).all() and (array.sum(1) == 1).all())
