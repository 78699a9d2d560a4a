"""Tables: .csv, .tsv and .parquet files, and DataFrames; a bad cell is named by its place."""

from __future__ import annotations

import csv
import gzip
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import torch
from torch import Tensor

from vaekit._io import note
from vaekit.data._dataset import Dataset, Split
from vaekit.data._layout import natural
from vaekit.data._readings import kind_of
from vaekit.data._splits import dataset_of, keyed, numbers_of, taken
from vaekit.errors import VaekitError, unknown

if TYPE_CHECKING:
    import pandas

    from vaekit._train_options import Data
    from vaekit.data._transforms import DataSpec

DELIMITERS = ",;\t"
HEAD = 20  # lines that tell the delimiter
FILL = "Fill the cell, or remove the row."


def load_csv(path: Path, options: Data) -> Dataset:
    """Return the table in a .csv, .tsv or .csv.gz as float32 `(N, D)`.

    Cells are separated by commas, semicolons or tabs. The first row is a header if a cell in it is
    no number; it names the columns. `options.label` is a column that holds classes (text, or whole
    numbers), `options.group` one whose rows of one value stay in one split; neither is a feature.
    Both are a name, or a number from 1.

    Raises:
        VaekitError: for a file that is missing or no UTF-8 text, a name that two columns have, rows
            of unequal length, and cells that are empty, no number, NaN, infinite, or too large:
            column and line.

    Example:
        >>> import tempfile
        >>> from vaekit.data import load
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "mine.csv")
        ...     _ = path.write_text("a,b,sort\\n" + "1,2.5,x\\n3,4,y\\n" * 10)
        ...     mine = load(path, label="sort")
        >>> mine.train, mine.column_names, mine.class_names
        (Split(18 rows, (2,), torch.float32), ('a', 'b'), ('x', 'y'))
    """
    delimiter, rows = _head(path)
    if not rows:
        raise VaekitError(f"{path} has no rows. Expected a line of numbers for each.")
    first = [cell.strip() for cell in rows[0]]
    roles = (options.label, options.group, getattr(options, "id", None))
    apart = [_position(first, name) for name in roles]
    header = any(not is_number(cell) for i, cell in enumerate(first) if i not in apart)
    # A label that is no number was recognized by its name, which only a header has.
    header |= any(name in first and not is_number(name) for name in roles)
    names = first if header else [str(i + 1) for i in range(len(first))]
    if not names[0]:
        note(f"{path}: its first column has no name and is read as a feature; is it an index?")

    def locate(row: int, column: int) -> tuple[str, str]:
        line, cells = _line(path, delimiter, row + header)
        return f"line {line}", cells[column]

    frame = _parsed(path, delimiter, len(names), header, apart)
    lines = _lines(path, delimiter, len(frame), header)
    return _dataset(path, Table(str(path), names, frame, options, apart, locate), lines)


def load_parquet(path: Path, options: Data) -> Dataset:
    """Return the table in a .parquet file, which is read as a DataFrame is.

    Raises:
        VaekitError: where pyarrow is not installed, and as `read_frame`.
    """
    import pandas

    try:
        frame = pandas.read_parquet(path)
    except ImportError:
        raise VaekitError(
            f"{path}: .parquet needs pyarrow, which is not installed: "
            "pip install 'vaekit[parquet]', or save the table as .csv."
        ) from None
    except Exception as error:  # pyarrow raises whatever damaged bytes make of its reader
        why = " ".join(str(error).split())
        raise VaekitError(f"{path} cannot be read as .parquet: {why}.") from error
    return _dataset(path, read_frame(str(path), frame, options))


@dataclass(frozen=True)
class Table:
    """A DataFrame and the roles of its columns.

    Attributes:
        what: names it in errors.
        names: of all columns.
        frame: the cells.
        options: names the columns that are no features.
        apart: the positions of label, group and identifier.
        locate: returns where a row and column lie, and the cell as it is written there.
    """

    what: str
    names: list[str]
    frame: pandas.DataFrame
    options: Data
    apart: list[int | None]
    locate: Callable[[int, int], tuple[str, Any]]

    def __post_init__(self) -> None:
        for i, name in enumerate(self.names):
            if name and name in self.names[:i]:
                raise VaekitError(
                    f"{self.what} has two columns '{name}'; give each a name of its own."
                )
        takes = taken(self.options)
        wanted = (self.options.label, self.options.group, getattr(self.options, "id", None))
        for column, position in zip(wanted, self.apart, strict=True):
            absent = takes is not None and column != wanted[2]  # new rows need no labels
            if column and position is None and not absent:
                raise unknown(f"column of {self.what}", column, self.names)
        if takes is not None:
            self._check_columns(takes)
        if not self.positions:
            raise VaekitError(
                f"{self.what} has no column but those of labels and groups; add features."
            )

    def _check_columns(self, takes: DataSpec) -> None:
        """Refuse columns that a trained model does not take, and those that it misses."""
        mine = [name for i, name in enumerate(self.names) if i not in self.apart]
        if not takes.column_names and len(mine) == takes.shape[-1]:
            return
        known = takes.column_names or tuple(map(str, range(1, takes.shape[-1] + 1)))
        missing = [name for name in known if name not in mine]
        more = [name for name in mine if name not in known]
        for names, what in ((missing, "lacks"), (more, "has")):
            if names:
                listed = ", ".join(f"'{name}'" for name in names[:5])
                raise VaekitError(
                    f"{self.what} {what} the column{'s' * (len(names) > 1)} {listed}; this run "
                    f"takes {', '.join(known[:8])}{', ...' * (len(known) > 8)}: "
                    "name its columns so, or leave out what is not among them."
                )

    @property
    def positions(self) -> list[int]:
        """The positions of the features: of new rows in the order of the training."""
        takes = taken(self.options)
        if takes is not None and takes.column_names:
            return [self.names.index(name) for name in takes.column_names]
        return [i for i in range(len(self.names)) if i not in self.apart]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the features."""
        return tuple(self.names[i] for i in self.positions)

    def features(self) -> np.ndarray:
        """Return the features as float32 `(N, D)`.

        Raises:
            VaekitError: for a cell that is no finite number of float32.
        """
        from pandas.api.types import is_numeric_dtype

        columns = []
        for i in self.positions:
            cells = self.frame.iloc[:, i]
            if is_numeric_dtype(cells):
                values = cells.to_numpy(np.float64, na_value=np.nan)
            else:
                values = np.array([float(v) if is_number(v) else math.nan for v in cells])
            with np.errstate(over="ignore"):
                columns.append(values.astype(np.float32))
            bad = np.flatnonzero(~np.isfinite(columns[-1]))
            if len(bad):
                raise self.refusal(int(bad[0]), i)
        return np.stack(columns, 1)

    def labels_and_groups(self) -> tuple[list[str] | None, Tensor | None]:
        """Return the labels as text, and the groups by number; None without.

        Raises:
            VaekitError: for an empty cell.
        """
        labels, groups = (None if i is None else self._texts(i) for i in self.apart[:2])
        return labels, None if groups is None else keyed(groups)

    def ids(self, lines: np.ndarray | None = None) -> np.ndarray:
        """Return what each row is called: the cell of the `id` column, else its line or index."""
        position = self.apart[2]
        if position is not None:
            return np.array(self._texts(position), object)
        return self.frame.index.to_numpy() if lines is None else lines

    def _texts(self, column: int) -> list[str]:
        cells = self.frame.iloc[:, column]
        pairs = zip(cells, cells.isna(), strict=True)
        texts = ["" if empty else str(cell).strip() for cell, empty in pairs]
        if "" in texts:
            raise self.refusal(texts.index(""), column)
        return texts

    def refusal(self, row: int, column: int, fault: str = "", mend: str = FILL) -> VaekitError:
        """Return the error for a cell: by default for one that is no finite number."""
        where, cell = self.locate(row, column)
        name = self.names[column]
        if not fault:
            fault, mend = _fault(name, cell)
        shown = f"'{cell}'" if isinstance(cell, str) else cell
        return VaekitError(f"{self.what}: column '{name}' {fault.format(shown)} in {where}. {mend}")

    def no_class(self, row: int) -> VaekitError:
        """Return the error for a label that is a number and not whole."""
        assert self.apart[0] is not None
        mend = "A label is text or a whole number; to learn the column, leave `label`."
        return self.refusal(row, self.apart[0], "has {}, which is no class,", mend)


def read_frame(what: str, frame: pandas.DataFrame, options: Data) -> Table:
    """Return a DataFrame as a table; its index is no column.

    Raises:
        VaekitError: for columns of one name, and an unknown label or group; `what` names the frame.
    """
    names = [str(name) for name in frame.columns]
    apart = [
        names.index(name) if name in names else _position(names, name)
        for name in (options.label, options.group, getattr(options, "id", None))
    ]

    def locate(row: int, column: int) -> tuple[str, Any]:
        return f"row {frame.index[row]}", frame.iat[row, column]

    return Table(what, names, frame, options, apart, locate)


def _dataset(path: Path, table: Table, lines: np.ndarray | None = None) -> Dataset:
    if not len(table.frame):
        raise VaekitError(f"{path} has no rows. Expected a line of numbers for each.")
    how = kind_of(str(path), numbers := table.features(), table.options)
    features = torch.from_numpy(how(numbers))
    texts, groups = table.labels_and_groups()
    labels: Tensor | None = None
    names: tuple[str, ...] = ()
    takes = taken(table.options)
    if texts is not None and takes is not None:
        labels, names = numbers_of(texts, takes), takes.class_names
    elif texts is not None:
        labels, names = classed(texts, table.no_class)
    rows = Split(features, labels, groups=groups, ids=table.ids(lines))
    facts: Any = {"class_names": names, "column_names": table.columns, **how.facts}
    return dataset_of(path, how.kind, rows, table.options, **facts)


def text_columns(path: Path) -> list[str]:
    """Return the columns whose first cell under the header is text, by name."""
    rows = _head(path)[1]
    named = zip(*rows[:2], strict=False) if len(rows) > 1 else ()  # rows may be ragged: see `_line`
    pairs = [(name.strip(), cell.strip()) for name, cell in named]
    return [n for n, cell in pairs if cell and not is_number(cell) and not is_number(n)]


def is_number(cell: Any) -> bool:
    """Return whether a cell is a number to a table; NaN and infinity are, to be refused by name.

    Example:
        >>> [is_number(cell) for cell in ("1e-3", " 2 ", "nan", "", "a", "1_000")]
        [True, True, True, False, False, False]
    """
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return "_" not in str(cell)


def classed(
    cells: Sequence[str], bad: Callable[[int], VaekitError]
) -> tuple[Tensor, tuple[str, ...]]:
    """Return labels counted from 0 in the order of their names (as numbers if all are), and these.

    Raises:
        VaekitError: `bad(i)`, where all are numbers and the one at i is not whole.

    Example:
        >>> classed(["b", "a10", "a9"], lambda i: VaekitError(""))
        (tensor([2, 1, 0]), ('a9', 'a10', 'b'))
    """
    numbers = all(map(is_number, set(cells)))
    if numbers:
        for i, value in enumerate(map(float, cells)):
            if not value.is_integer():
                raise bad(i)
        cells = [str(int(float(cell))) for cell in cells]
    names = sorted(set(cells), key=int if numbers else natural)
    number = {name: i for i, name in enumerate(names)}
    return torch.tensor([number[cell] for cell in cells]), tuple(names)


def _position(names: list[str], name: str | None) -> int | None:
    """Return the position of the column of this name, or of this number, counted from 1."""
    if not name:
        return None
    if name in names and not is_number(name):
        return names.index(name)
    return int(name) - 1 if name.isdecimal() and 1 <= int(name) <= len(names) else None


def _fault(name: str, cell: Any) -> tuple[str, str]:
    """Return what is wrong with a cell that is no finite float32, and the mend."""
    import pandas

    if pandas.isna(cell) or not str(cell).strip():
        return "is empty", FILL
    if not is_number(cell):
        mend = f"If it is a label or a group: `label={name!r}`, `group={name!r}`; else remove it."
        return "has {}, which is no number,", mend
    if not math.isfinite(float(cell)):
        return "has {}, which is not finite,", FILL
    return "has {}, which is too large for float32,", "Scale the column."


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """Open the text of a file, UTF-8 with or without a mark; refuse what cannot be read."""
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as stream:
            yield stream
    except FileNotFoundError:
        raise VaekitError(f"there is no file {path}.") from None
    except UnicodeDecodeError:
        raise VaekitError(f"{path} is no UTF-8 text; save it as CSV in UTF-8.") from None
    except MemoryError:
        raise VaekitError(f"{path} is too large for the memory; take fewer rows.") from None
    except (OSError, EOFError, csv.Error) as error:
        raise VaekitError(f"{path} cannot be read as .csv: {error}.") from error


def _head(path: Path) -> tuple[str, list[list[str]]]:
    """Return what cuts the first lines into equally many cells, and into most; and their cells."""
    best, most = ",", 1
    with _opened(path) as stream:
        lines = list(islice(stream, HEAD))
        for delimiter in DELIMITERS:
            widths = {len(row) for row in csv.reader(lines, delimiter=delimiter) if row}
            if len(widths) == 1 and max(widths) > most:
                best, most = delimiter, max(widths)
        if most == 1 and lines:  # of ragged rows, whose error names a line, the most frequent one
            best = max(DELIMITERS, key=lines[0].count)
        return best, [row for row in csv.reader(lines, delimiter=best) if not _skipped(row)]


def _skipped(cells: list[str]) -> bool:
    """Return whether a line is blank, which pandas skips."""
    return not cells or (len(cells) == 1 and cells[0].isspace())


def _parsed(
    path: Path, delimiter: str, width: int, header: bool, texts: list[int | None]
) -> pandas.DataFrame:
    """Return the cells of a file by pandas' C reader: numbers where a whole column is."""
    import pandas

    try:
        with _opened(path) as stream, warnings.catch_warnings():
            # pandas warns of columns of two types, which are refused, and of its own changes.
            warnings.simplefilter("ignore")
            frame = pandas.read_csv(
                stream,
                sep=delimiter,
                header=0 if header else None,
                names=range(width),
                dtype={i: str for i in texts if i is not None},
                na_filter=False,
                float_precision="round_trip",
            )
    except (pandas.errors.ParserError, pandas.errors.EmptyDataError) as error:
        _line(path, delimiter, None)
        why = str(error).strip()
        raise VaekitError(f"{path} cannot be read as .csv: {why}.") from error
    if len(frame) and not isinstance(frame.index, pandas.RangeIndex):
        _line(path, delimiter, None)
        raise VaekitError(f"{path} cannot be read as .csv: some rows have too many cells.")
    truths = [name for name in frame if frame[name].dtype == bool]
    return frame.astype(dict.fromkeys(truths, str))


def _lines(path: Path, delimiter: str, rows: int, header: bool) -> np.ndarray:
    """Return the line of each row: one after the other, but for blank ones and cells of several."""
    with _opened(path) as stream:
        count = sum(1 for _ in stream)
    if count == rows + header:
        return np.arange(rows) + 1 + header
    with _opened(path) as stream:
        reader = csv.reader(stream, delimiter=delimiter)
        lines = [reader.line_num for cells in reader if not _skipped(cells)]
    return np.array(lines[int(header) :])


def _line(path: Path, delimiter: str, number: int | None) -> tuple[int, list[str]]:
    """Return the line and the cells of a row, or of the last one.

    Raises:
        VaekitError: for a row before it with more or fewer cells than the first.
    """
    width, seen, line, cells = 0, -1, 0, []
    with _opened(path) as stream:
        reader = csv.reader(stream, delimiter=delimiter)
        for cells in reader:
            if _skipped(cells):
                continue
            seen, line, width = seen + 1, reader.line_num, width or len(cells)
            if len(cells) != width:
                raise VaekitError(
                    f"{path} has {len(cells)} cells in line {line}; expected {width} as before. "
                    "Mend the line, or remove it."
                )
            if seen == number:
                break
    return line, cells
