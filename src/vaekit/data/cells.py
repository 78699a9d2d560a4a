"""The rows of a .csv: cells as text, with the number of their line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TextIO

from vaekit.errors import VaekitError

DELIMITERS = ",;\t"
LOOK = 20

Row = list[str]
Lines = tuple[list[Row], list[int]]


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
    return best if most > 1 else _frequent(start)


def _frequent(start: Sequence[str]) -> str:
    """For ragged rows, whose error names a line."""
    return max(DELIMITERS, key=start[0].count) if start[0] else ","


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
