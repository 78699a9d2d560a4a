"""From the text of a table's file to cells: encoding, what separates cells, names of columns."""

from __future__ import annotations

import csv
import gzip
import math
import re
import warnings
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from vaekit.data._cells import form_of, is_gap, number
from vaekit.data._rows import check_file
from vaekit.data._splits import taken
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    import pandas

    from vaekit._train_options import Data

DELIMITERS = "\t;|, "  # the likely ones first: a comma may be a decimal mark, spaces lie in text
ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")
NAMES = {"\t": "tabs", " ": "spaces"}
SOME = 200  # cells of a line that tell what cuts it
LOOK = 1 << 28  # bytes of unpacked text between looks at how many there are
HEAD = 20  # lines that tell how the file is written
SEPARATOR = re.compile(r"sep=(.)\s*")
DECIMAL = re.compile(r"[+-]?\d+,(\d+)")
WHOLE = re.compile(r"\d{1,18}")


@dataclass(frozen=True)
class TextTable:
    """How the text of a table is written.

    Attributes:
        path: of the file.
        encoding: of its text.
        delimiter: separates cells; a space stands for any number of spaces.
        mark: the decimal mark.
        header: whether the first row names the columns.
        names: of the columns: numbers from 1 where the file has none.
        count: of lines.
        skipped: the lines that are comments, from 0.
        spaced: whether quotes follow spaces.
        said: what was guessed.
    """

    path: Path
    encoding: str = "utf-8-sig"
    delimiter: str = ","
    mark: str = "."
    header: bool = False
    names: list[str] = field(default_factory=list)
    count: int = 0
    skipped: tuple[int, ...] = ()
    said: tuple[str, ...] = ()
    spaced: bool = False

    def rows(self, stream: TextIO) -> Iterator[tuple[int, list[str]]]:
        """Yield the line and the cells of each row."""
        skipped = set(self.skipped)
        csv.field_size_limit(1 << 30)  # a line that another delimiter cuts is one long cell
        lines = ("\n" if i in skipped else line for i, line in enumerate(stream))
        reader = csv.reader(
            (line.strip() + "\n" for line in lines) if self.delimiter == " " else lines,
            delimiter=self.delimiter,
            skipinitialspace=self.spaced or self.delimiter == " ",
        )
        return ((reader.line_num, cells) for cells in reader if not _blank(cells))

    def frame(self, texts: Collection[int]) -> pandas.DataFrame:
        """Return the cells by pandas' C reader: numbers where a whole column is, but in `texts`."""
        import pandas

        spaces = self.delimiter == " "
        try:
            with opened(self.path, self.encoding) as stream, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pandas warns of its own changes
                frame = pandas.read_csv(
                    stream,
                    sep=r"\s+" if spaces else self.delimiter,
                    header=0 if self.header else None,
                    names=range(len(self.names)),
                    dtype=dict.fromkeys(texts, str),
                    na_filter=False,
                    decimal=self.mark,
                    skiprows=list(self.skipped),
                    skipinitialspace=self.spaced,
                    float_precision="round_trip",
                    low_memory=False,  # by blocks, a column of text would keep some numbers
                )
        except (pandas.errors.ParserError, pandas.errors.EmptyDataError) as error:
            self.line(None)
            why = str(error).strip()
            raise VaekitError(f"{self.path} cannot be read as .csv: {why}.") from error
        if len(frame) and not isinstance(frame.index, pandas.RangeIndex):
            self.line(None)
            raise VaekitError(f"{self.path} cannot be read as .csv: some rows have too many cells.")
        if frame.dtypes.iloc[-1] not in (int, float) and (frame.iloc[:, -1] == "").any():
            self.line(None)  # a row may be short, which pandas fills up
        return frame

    def lines(self, rows: int) -> np.ndarray:
        """Return the line of each row: one after the other, but for blank and skipped ones."""
        if self.count - len(self.skipped) == rows + self.header:
            return np.delete(np.arange(self.count), self.skipped)[int(self.header) :] + 1
        with opened(self.path, self.encoding) as stream:
            return np.array([line for line, _ in self.rows(stream)][int(self.header) :])

    def line(self, number: int | None) -> tuple[int, list[str]]:
        """Return the line and the cells of a row, or of the last one.

        Raises:
            VaekitError: for a row before it with more or fewer cells than the columns.
        """
        line, cells, width = 0, [""], len(self.names)
        with opened(self.path, self.encoding) as stream:
            for row, (line, cells) in enumerate(self.rows(stream)):
                if len(cells) != width and not (row == 0 and self.header):
                    raise VaekitError(
                        f"{self.path} has {len(cells)} cells in line {line}; expected {width} as "
                        "before. Mend the line, or remove it."
                    )
                if row == number:
                    break
        return line, cells


def read_text(path: Path, options: Data) -> TextTable:
    """Return how the text of a table is written.

    Raises:
        VaekitError: for a file that is missing, empty, or no text.
    """
    _check_unpacked(path, options)
    encoding, count, skipped = _lines(path)
    with opened(path, encoding) as stream:
        head = list(islice(enumerate(stream), len(skipped) + HEAD + 1))
        separator = SEPARATOR.fullmatch(head[0][1]) if head else None
        skipped = (0, *skipped) if separator else skipped
        lines = [line for i, line in head if i not in skipped and line.strip()]
        if not lines:
            raise VaekitError(f"{path} has no rows. Expected a line of numbers for each.")
        said = ["not UTF-8: read as Western European text (cp1252)"] * (encoding == "cp1252")
        delimiter = separator[1] if separator else _delimiter(lines)
        if not separator and delimiter == "," and _is_decimal(lines, options):
            delimiter = "\t"  # which is in no line
            said += ["one column (`columns='1,2'` reads two of whole numbers)"]
        elif not separator and delimiter in "".join(lines) and ".csv" in path.name.lower():
            known = NAMES.get(delimiter, f"'{delimiter}'")
            said += [f"cells separated by {known}"] if delimiter != "," else []
        rows = _cut(lines, delimiter)
        comments = [line for i, line in head if i in skipped]
        names, header, more = _names(rows, comments, delimiter)
    mark = _mark(path, rows[int(header) :], delimiter)
    facts: Any = {"mark": mark, "header": header, "names": names, "said": (*said, *more)}
    facts["spaced"] = delimiter != " " and _is_spaced(lines, delimiter)
    return TextTable(path, encoding, delimiter, count=count, skipped=skipped, **facts)


def _mark(path: Path, body: list[list[str]], delimiter: str) -> str:
    """Return the decimal mark: what a column shows; else a comma between semicolons.

    Raises:
        VaekitError: where cells as 1,003 may be either, and nothing tells.
    """
    marks, either, points = set(), "", False
    for column in zip(*body, strict=False):
        form, known = form_of(column)
        commas = [cell for cell in column if "," in cell]
        points |= form == "number" and any("." in cell for cell in column)
        marks |= {known} if len(known) == 1 else set()
        either = either or (commas[0] if len(known) == 2 and commas else "")
    if either and not marks and not points and delimiter not in ",;":
        raise VaekitError(
            f"{path} has '{either}', which is {number(either):g} or {number(either, ','):g}: "
            "write it without the comma, or with a point."
        )
    semicolons = bool(either) and not marks and not points and delimiter == ";"
    return "," if "," in marks or semicolons else "."


@contextmanager
def opened(path: Path, encoding: str) -> Iterator[TextIO]:
    """Open the text of a file; refuse what cannot be read."""
    opens: Any = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opens(path, "rt", encoding=encoding, newline="") as stream:
            yield stream
    except FileNotFoundError:
        raise VaekitError(f"there is no file {path}.") from None
    except UnicodeDecodeError:
        raise VaekitError(f"{path} is no text; save it as CSV in UTF-8.") from None
    except MemoryError:
        raise VaekitError(f"{path} is too large for the memory; take fewer rows.") from None
    except (OSError, EOFError, csv.Error, zlib.error) as error:
        raise VaekitError(f"{path} cannot be read as .csv: {error}.") from error


def _check_unpacked(path: Path, options: Data) -> None:
    """Refuse a file that unpacks to more than it may."""
    if path.suffix.lower() != ".gz" or not path.is_file():
        return
    try:
        with gzip.open(path) as stream:
            size = 0
            while part := stream.read(1 << 20):
                size += len(part)
                if size % LOOK < len(part):
                    check_file(path, size, options)
    except (OSError, EOFError, zlib.error) as error:
        raise VaekitError(f"{path} cannot be read as .csv: {error}.") from error


def _lines(path: Path) -> tuple[str, int, tuple[int, ...]]:
    """Return the encoding of a file, how many lines it has, and which are comments."""
    with opened(path, "latin-1") as stream:
        start = stream.read(1 << 14)
    marked = start.startswith(("\xff\xfe", "\xfe\xff"))
    for encoding in ("utf-16",) if marked else ENCODINGS:
        try:
            with opened(path, encoding) as stream:
                count, comments, rows = 0, [], 0
                for count, line in enumerate(stream, 1):
                    if line.startswith("#"):
                        comments.append(count - 1)
                    elif not rows:
                        rows = len(line.strip())
                return encoding, count, tuple(comments) if rows else ()
        except VaekitError as error:
            if "is no text" not in str(error) or (marked or "\0" in start):
                raise
    raise AssertionError("any bytes are Latin-1")


def _cut(lines: list[str], delimiter: str) -> list[list[str]]:
    table = TextTable(Path(), delimiter=delimiter, spaced=_is_spaced(lines, delimiter))
    rows = table.rows(iter(lines))  # type: ignore[arg-type]
    return [[cell.strip() for cell in cells] for _, cells in rows]


def _is_spaced(lines: list[str], delimiter: str) -> bool:
    return any(f'{delimiter} "' in line for line in lines)


def _blank(cells: list[str]) -> bool:
    """Return whether a line is blank, which pandas skips."""
    return not cells or (len(cells) == 1 and cells[0].isspace())


def _delimiter(lines: list[str]) -> str:
    """Return what cuts the lines into equally many cells, and into most numbers.

    The first line may have a cell less: where it names columns, and not that of rows' names.
    """
    best, most = "", -1.0
    for delimiter in DELIMITERS:
        rows = _cut(lines, delimiter)
        body = rows[1:] or rows
        widths, first = {len(cells) for cells in body}, len(rows[0])
        if len(widths) != 1 or (first not in widths and (first < 2 or {first + 1} != widths)):
            continue
        cells = [cell for row in body for cell in row[:SOME]]
        numbers = sum(bool(form_of([cell])[1]) or is_gap(cell) for cell in cells) / len(cells)
        if len(body[0]) > 1 and numbers > most:
            best, most = delimiter, numbers
    if best:
        return best
    # Of ragged rows, whose error names a line, the most frequent one.
    found = max(DELIMITERS[:-1], key=lines[0].count)
    if found in lines[0]:
        return found
    decimals = all(form_of([line.strip()])[1] for line in lines[1:])
    return "\t" if decimals else ","


def _is_decimal(lines: list[str], options: Data) -> bool:
    """Return whether lines without a header, as 1,5, are one number each and not two.

    They are two where a second one is named, or ends in a 0 that a decimal would not have.
    """
    found = [DECIMAL.fullmatch(line.strip()) for line in lines]
    asked = {options.label, options.group, *options.columns, *options.drop, *options.date}
    takes = taken(options)
    if not all(found) or "2" in asked or (takes is not None and takes.shape == (2,)):
        return False
    tails = [each[1] for each in found if each]
    fixed = len({len(tail) for tail in tails}) == 1 and len(tails[0]) <= 3
    return fixed or not any(tail.endswith("0") and tail != "0" for tail in tails)


def _names(
    rows: list[list[str]], comments: list[str], delimiter: str
) -> tuple[list[str], bool, list[str]]:
    """Return the names of the columns, whether the first row has them, and what is to be said."""
    first, body = rows[0], rows[1:]
    width = len(body[0]) if body else len(first)
    numbered = _is_numbered(first, body)
    if numbered or _is_header(first, body):
        shown = ", ".join(first[:4]) + ", ..." * (len(first) > 4)
        said = [f"the first row names the columns: {shown}"] if numbered else []
        if len(first) == width - 1:
            trailing = not any(cells[-1] for cells in body)
            first = [*first, ""] if trailing else ["", *first]
        return first, True, said
    named = _cut([comments[-1].lstrip("# ")], delimiter) if comments else []
    cells = named[0] if named else []
    if len(cells) == width > 1 and not any(form_of([cell])[1] for cell in cells):
        return cells, False, [f"the columns' names are those of the comment: {', '.join(cells)}"]
    return [str(i + 1) for i in range(width)], False, []


def _is_header(first: list[str], body: list[list[str]]) -> bool:
    """Return whether the first row is not like those below: text over what is no text."""
    texts = [form_of([cell])[0] == "text" for cell in first]
    if not body or len(first) != len(body[0]):
        return any(texts)
    below = list(zip(*body, strict=False))
    over = [
        any(not is_gap(cell) and form_of([cell])[0] != "text" for cell in below[i])
        for i in range(min(len(first), len(below)))
    ]
    if any(text and other for text, other in zip(texts, over, strict=False)):
        return True
    return all(text or is_gap(cell) for text, cell in zip(texts, first, strict=True))


def _is_numbered(first: list[str], body: list[list[str]]) -> bool:
    """Return whether distinct whole numbers name columns that are not like them.

    Either the columns have none, and the names go on evenly or are far away from what is below; or
    the names go on by ones, and no row below does.
    """
    texts = [not is_gap(cell) and form_of([cell])[0] == "text" for cell in first]
    named = [i for i, cell in enumerate(first) if WHOLE.fullmatch(cell)]
    rest = [i for i in range(1, len(first)) if i not in named and not texts[i]]
    shift = len(body[0]) - len(first) if body else 0
    names = [int(first[i]) for i in named]
    if not named or not body or rest or len(set(names)) < len(names) or shift not in (0, 1):
        return False
    if first[0] and 0 not in named and not texts[0]:
        return False
    cells = [[row[i + shift] for row in body if i + shift < len(row)] for i in named]
    whole = any(WHOLE.fullmatch(cell.lstrip("+-")) for column in cells for cell in column)
    far = all(_is_far(name, column) for name, column in zip(names, cells, strict=True))
    steps = {after - before for before, after in pairwise(names)}
    if not whole:
        even = len(names) > 2 and len(steps) == 1 and min(steps) > 0
        return far or even or (names[0] == 0 and steps <= {1})
    if steps != {1} or any(_by_ones(row) for row in zip(*cells, strict=False)):
        return False
    return far or (len(names) > 2 and names[0] in (0, 1))


def _is_far(name: int, column: list[str]) -> bool:
    """Return whether a number is farther from a column's than these are from each other."""
    found = [number(cell, mark) for cell in column for mark in ".,"]
    found = [value for value in found if math.isfinite(value)]
    if not found:
        return False
    low, high = min(found), max(found)
    return max(low - name, name - high) > high - low


def _by_ones(cells: tuple[str, ...]) -> bool:
    values = [number(cell) for cell in cells]
    return all(b - a == 1 for a, b in pairwise(values))
