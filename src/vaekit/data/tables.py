"""Your own data from a .csv."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaekit.data.cells import Lines, Row, is_number, opened, rows_of
from vaekit.data.dataset import Dataset, Split
from vaekit.data.listing import natural
from vaekit.data.own import keyed, own
from vaekit.errors import VaekitError, unknown
from vaekit.io import note
from vaekit.options import Data

BLOCK = 4096  # rows


def load_csv(path: str | Path, asked: Data | None = None) -> Dataset:
    """The table in a .csv, float32 `(N, D)`: a row per line, cells parted by comma, semicolon, tab.

    The first row is a header if a cell in it is no number; it names the columns. `asked.label` is a
    column that holds classes (text, or whole numbers), `asked.group` one whose rows of one value
    stay in one split; neither is a feature. Both are a name, or a number from 1.

    Raises:
        VaekitError: for a file that is missing or no UTF-8 text, a name that two columns have, rows
            of unequal length, and cells that are empty, no number, NaN, infinite, or too large:
            column and line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "mine.csv")
        ...     _ = path.write_text("a,b,sort\\n" + "1,2.5,x\\n3,4,y\\n" * 10)
        ...     mine = load_csv(path, Data(label="sort"))
        >>> mine.train, mine.column_names, mine.class_names
        (Split(18 rows, (2,), torch.float32), ('a', 'b'), ('x', 'y'))
    """
    path, asked = Path(path), Data() if asked is None else asked
    try:
        table = _read(path, asked)
        features = np.concatenate(table.features)
    except MemoryError:
        raise VaekitError(f"{path} is too large for the memory; take fewer rows.") from None
    labels, class_names = _classes(path, table) if table.label is not None else (None, ())
    groups = keyed(table.groups) if table.group is not None else None
    rows = Split(torch.from_numpy(features), labels, groups=groups)
    names = tuple(table.names[i] for i in table.columns)
    return own(path, "table", rows, asked, class_names=class_names, column_names=names)


def text_columns(path: Path) -> list[str]:
    """The columns whose first cell under the header is text, by name."""
    with opened(path) as stream:
        rows = next((rows for rows, _ in rows_of(path, stream, 2)), [])
    named = zip(rows[0], rows[1], strict=True) if len(rows) == 2 else ()
    pairs = [(name.strip(), cell.strip()) for name, cell in named]
    return [n for n, cell in pairs if cell and not is_number(cell) and not is_number(n)]


@dataclass
class _Table:
    """Where the columns of a file are, and what was read of them."""

    path: Path
    header: bool
    names: list[str]
    columns: list[int]
    label: int | None
    group: int | None
    features: list[np.ndarray] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def _read(path: Path, asked: Data) -> _Table:
    table = None
    with opened(path) as stream:
        for rows, lines in rows_of(path, stream, BLOCK):
            if not rows:
                continue
            if table is None:
                table = _first(path, [cell.strip() for cell in rows[0]], asked)
                rows, lines = (rows[1:], lines[1:]) if table.header else (rows, lines)
            _add(table, (rows, lines))
    if table is None or not sum(map(len, table.features)):
        raise VaekitError(f"{path} has no rows. Expected a line of numbers for each.")
    return table


def _first(path: Path, row: Row, asked: Data) -> _Table:
    apart = [_index(row, name) for name in (asked.label, asked.group)]
    header = any(not is_number(cell) for i, cell in enumerate(row) if i not in apart)
    # A column that is named and no number was found by its name, which only a header has.
    header = header or any(name in row and not is_number(name) for name in _asked(asked))
    names = row if header else [str(i + 1) for i in range(len(row))]
    _check_names(path, names)
    if not names[0]:
        note(f"{path}: its first column has no name and is read as a feature; is it an index?")
    for name, index in zip((asked.label, asked.group), apart, strict=True):
        if name and index is None:
            raise unknown(f"column of {path}", name, names)
    columns = [i for i in range(len(row)) if i not in apart]
    if not columns:
        raise VaekitError(f"{path} has no column but those of labels and groups; add features.")
    return _Table(path, header, names, columns, apart[0], apart[1])


def _check_names(path: Path, names: Row) -> None:
    twice = [name for i, name in enumerate(names) if name and name in names[:i]]
    if twice:
        raise VaekitError(f"{path} has two columns '{twice[0]}'; give each a name of its own.")


def _asked(asked: Data) -> list[str]:
    return [name for name in (asked.label, asked.group) if name]


def _index(row: Row, name: str | None) -> int | None:
    """Of the column that is called so, or has this number, counted from 1."""
    if not name:
        return None
    if name in row and not is_number(name):
        return row.index(name)
    whole = name.isdecimal() and 1 <= int(name) <= len(row)
    return int(name) - 1 if whole else None


def _add(table: _Table, block: Lines) -> None:
    rows, lines = block
    if not rows:
        return
    whole = len(table.columns) == len(table.names)
    wanted = rows if whole else [[row[i] for i in table.columns] for row in rows]
    table.features.append(_numbers(table, wanted, lines))
    for index, into in ((table.label, table.labels), (table.group, table.groups)):
        if index is not None:
            cells = (row[index].strip() for row in rows)
            into += [_text(table, cell, index, n) for cell, n in zip(cells, lines, strict=True)]
    table.lines += lines if table.label is not None else []


def _text(table: _Table, cell: str, index: int, line: int) -> str:
    if not cell:
        raise _bad(table, index, "is empty", line)
    return cell


def _bad(table: _Table, index: int, what: str, line: int, mend: str = "") -> VaekitError:
    mend = mend or "Fill the cell, or remove the row."
    name = table.names[index]
    return VaekitError(f"{table.path}: column '{name}' {what} in line {line}. {mend}")


def _numbers(table: _Table, rows: list[Row], lines: list[int]) -> np.ndarray:
    shape = len(rows), len(table.columns)
    try:
        flat = np.fromiter(map(float, chain.from_iterable(rows)), np.float64, shape[0] * shape[1])
    except ValueError:
        raise _culprit(table, rows, lines) from None
    if any("_" in cell for cell in map("".join, rows)):  # which float() takes as in 1_000
        raise _culprit(table, rows, lines)
    with np.errstate(over="ignore"):
        made = flat.astype(np.float32).reshape(shape)
    if not np.isfinite(made).all():
        raise _culprit(table, rows, lines)
    return made


def _culprit(table: _Table, rows: list[Row], lines: list[int]) -> VaekitError:
    """The error for the first cell that is no finite number."""
    for row, line in zip(rows, lines, strict=True):
        for index, cell in zip(table.columns, row, strict=True):
            what, mend = _fault(table.names[index], cell)
            if what:
                return _bad(table, index, what, line, mend)
    raise AssertionError("all cells are finite numbers")


def _fault(name: str, cell: str) -> tuple[str, str]:
    if not cell.strip():
        return "is empty", ""
    if not is_number(cell):
        mend = f"If it is a label or a group: label '{name}', group '{name}'; else remove it."
        return f"has '{cell}', which is no number,", mend
    if not math.isfinite(float(cell)):
        return f"has '{cell}', which is not finite,", ""
    if abs(float(cell)) > float(np.finfo(np.float32).max):
        return f"has '{cell}', which is too large for float32,", "Scale the column."
    return "", ""


def _classes(path: Path, table: _Table) -> tuple[Tensor, tuple[str, ...]]:
    """Labels counted from 0 in the order of their names, as numbers if all are."""
    numbers = all(is_number(label) for label in set(table.labels))
    labels = [_whole(table, *pair) for pair in _pairs(table)] if numbers else table.labels
    names = sorted(set(labels), key=int if numbers else natural)
    place = {name: i for i, name in enumerate(names)}
    return torch.tensor([place[label] for label in labels]), tuple(names)


def _pairs(table: _Table) -> Sequence[tuple[str, int]]:
    return list(zip(table.labels, table.lines, strict=True))


def _whole(table: _Table, label: str, line: int) -> str:
    value = float(label)
    if not math.isfinite(value) or value != int(value):
        assert table.label is not None
        mend = "A label is text or a whole number; to learn the column, leave label."
        raise _bad(table, table.label, f"has '{label}', which is no class,", line, mend)
    return str(int(value))
