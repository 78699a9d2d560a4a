"""Your own table from a DataFrame."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from vaekit.data.own import keyed
from vaekit.data.tables import place_of
from vaekit.errors import VaekitError, unknown
from vaekit.options import Data


class Frame(NamedTuple):
    """What is read of a DataFrame: labels are still text."""

    features: np.ndarray
    columns: tuple[str, ...]
    labels: np.ndarray | None
    groups: Tensor | None


def read_frame(what: str, frame: Any, asked: Data) -> Frame:
    """A DataFrame as a .csv is read; its index is no column.

    Raises:
        VaekitError: for columns of one name, and cells that are empty, no number, infinite, or too
            large: column and row; `what` names the DataFrame.
    """
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise VaekitError(f"{what} has two columns '{twice}'; give each a name of its own.")
    apart = [_column(what, names, name) for name in (asked.label, asked.group)]
    kept = [i for i in range(len(names)) if i not in apart]
    if not kept:
        raise VaekitError(f"{what} has no column but those of labels and groups; add features.")
    features = np.stack([_numbers(what, frame, i) for i in kept], 1)
    label, group = (None if i is None else _cells(what, frame, i) for i in apart)
    return Frame(
        features,
        tuple(names[i] for i in kept),
        None if label is None else np.array(label, str),
        None if group is None else keyed(group),
    )


def _column(what: str, names: list[str], name: str | None) -> int | None:
    place = names.index(name) if name in names else place_of(names, name)
    if name and place is None:
        raise unknown(f"column of {what}", name, names)
    return place


def _bad(what: str, frame: Any, column: int, fault: str, row: int, mend: str = "") -> VaekitError:
    place = f"{what}: column '{frame.columns[column]}' {fault} in row {frame.index[row]}."
    return VaekitError(f"{place} {mend or 'Fill the cell, or remove the row.'}")


def _numbers(what: str, frame: Any, column: int) -> np.ndarray:
    cells = frame.iloc[:, column]
    try:
        values = cells.to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        values = None
    if values is None or cells.dtype.kind in "Mm":
        name = frame.columns[column]
        raise VaekitError(
            f"{what}: column '{name}' holds {cells.dtype}, no numbers. If it is a label or a "
            f"group: label '{name}', group '{name}'; else remove it."
        )
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(found))
    if len(wrong):
        row, value = int(wrong[0]), values[wrong[0]]
        if np.isnan(value):
            raise _bad(what, frame, column, "is empty", row)
        fault, mend = "which is not finite,", ""
        if np.isfinite(value):
            fault, mend = "which is too large for float32,", "Scale the column."
        raise _bad(what, frame, column, f"has {value:g}, {fault}", row, mend)
    return found


def _cells(what: str, frame: Any, column: int) -> list[str]:
    """The cells of a column as text."""
    cells = frame.iloc[:, column]
    texts = ["" if empty else str(v).strip() for v, empty in zip(cells, cells.isna(), strict=True)]
    if "" in texts:
        raise _bad(what, frame, column, "is empty", texts.index(""))
    return texts
