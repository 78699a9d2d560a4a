"""Your own data from a .csv."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor

from vaekit.data.dataset import Dataset, Split
from vaekit.data.images import natural
from vaekit.data.own import keyed, own
from vaekit.errors import VaekitError, unknown
from vaekit.io import note
from vaekit.options import Data

DELIMITERS = ",;\t"
LOOK = 20
Row = list[str]
Lines = tuple[list[Row], list[int]]
BLOCK = 4096  # rows


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """The text of a file, UTF-8 with or without a mark.

    Raises:
        VaekitError: where it is missing, cannot be read, or is no such text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield stream
    except FileNotFoundError:
        raise VaekitError(f"there is no file {path}.") from None
    except UnicodeDecodeError:
        raise VaekitError(f"{path} is no UTF-8 text; save it as CSV in UTF-8.") from None
    except (OSError, csv.Error) as error:
        raise VaekitError(f"{path} cannot be read as .csv: {error}.") from error


def rows_of(path: Path, stream: TextIO, many: int) -> Iterator[Lines]:
    """At most `many` rows at a time, and the line where each ends; empty lines are left out.

    Raises:
        VaekitError: for a row with more or fewer cells than the first.
    """
    reader = csv.reader(stream, delimiter=_delimiter(stream))
    width = 0
    while block := [(row, reader.line_num) for row in islice(reader, many)]:
        rows = [row for row, _ in block if row]
        lines = [line for row, line in block if row]
        width = width or (len(rows[0]) if rows else 0)
        if set(map(len, rows)) - {width}:
            row, line = next((r, n) for r, n in zip(rows, lines, strict=True) if len(r) != width)
            raise VaekitError(
                f"{path} has {len(row)} cells in line {line}; expected {width} as before. "
                "Mend the line, or remove it."
            )
        yield rows, lines


def _delimiter(stream: TextIO) -> str:
    """What cuts the first lines into equally many cells, and into most."""
    start = [stream.readline() for _ in range(LOOK)]
    stream.seek(0)
    best, most = ",", 1
    for delimiter in DELIMITERS:
        widths = {len(row) for row in csv.reader(start, delimiter=delimiter) if row}
        if len(widths) == 1 and max(widths) > most:
            best, most = delimiter, max(widths)
    # Of ragged rows, whose error names a line, the most frequent one.
    return best if most > 1 else max(DELIMITERS, key=start[0].count)


def is_number(cell: str) -> bool:
    """Whether a cell is a number to a table; NaN and infinity are, to be refused by name.

    Example:
        >>> [is_number(cell) for cell in ("1e-3", " 2 ", "nan", "", "a", "1_000")]
        [True, True, True, False, False, False]
    """
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


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
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()
    if table.label is not None:
        labels, class_names = classed(table.labels, partial(_no_class, table))
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
    apart = [place_of(row, name) for name in (asked.label, asked.group)]
    header = any(not is_number(cell) for i, cell in enumerate(row) if i not in apart)
    # A column that is named and no number was found by its name, which only a header has.
    named = [name for name in (asked.label, asked.group) if name]
    header = header or any(name in row and not is_number(name) for name in named)
    names = row if header else [str(i + 1) for i in range(len(row))]
    twice = [name for i, name in enumerate(names) if name and name in names[:i]]
    if twice:
        raise VaekitError(f"{path} has two columns '{twice[0]}'; give each a name of its own.")
    if not names[0]:
        note(f"{path}: its first column has no name and is read as a feature; is it an index?")
    for name, index in zip((asked.label, asked.group), apart, strict=True):
        if name and index is None:
            raise unknown(f"column of {path}", name, names)
    columns = [i for i in range(len(row)) if i not in apart]
    if not columns:
        raise VaekitError(f"{path} has no column but those of labels and groups; add features.")
    return _Table(path, header, names, columns, apart[0], apart[1])


def place_of(row: Row, name: str | None) -> int | None:
    """The place of the column that is called so, or has this number, counted from 1."""
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
            cells = [row[index].strip() for row in rows]
            if "" in cells:
                raise _bad(table, index, "is empty", lines[cells.index("")])
            into += cells
    table.lines += lines if table.label is not None else []


def _bad(table: _Table, index: int, what: str, line: int, mend: str = "") -> VaekitError:
    mend = mend or "Fill the cell, or remove the row."
    return VaekitError(f"{table.path}: column '{table.names[index]}' {what} in line {line}. {mend}")


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


def classed(
    cells: Sequence[str], bad: Callable[[int], VaekitError]
) -> tuple[Tensor, tuple[str, ...]]:
    """Labels counted from 0 in the order of their names, as numbers if all are; and the names.

    Raises:
        VaekitError: `bad(i)`, where all are numbers and the one at i is not whole.

    Example:
        >>> classed(["b", "a10", "a9"], lambda i: VaekitError(""))
        (tensor([2, 1, 0]), ('a9', 'a10', 'b'))
    """
    numbers = all(is_number(cell) for cell in set(cells))
    if numbers:
        values = [float(cell) for cell in cells]
        for i, value in enumerate(values):
            if not math.isfinite(value) or value != int(value):
                raise bad(i)
        cells = [str(int(value)) for value in values]
    names = sorted(set(cells), key=int if numbers else natural)
    place = {name: i for i, name in enumerate(names)}
    return torch.tensor([place[cell] for cell in cells]), tuple(names)


def _no_class(table: _Table, i: int) -> VaekitError:
    assert table.label is not None
    mend = "A label is text or a whole number; to learn the column, leave label."
    what = f"has '{table.labels[i]}', which is no class,"
    return _bad(table, table.label, what, table.lines[i], mend)
