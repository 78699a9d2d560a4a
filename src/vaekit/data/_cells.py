"""What cells of text are: numbers in one notation or another, gaps, yes and no, dates."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas

GAPS = frozenset(("", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-"))
UNSAID = GAPS - {"none", "?", "-"}  # gaps to everybody
TRUTHS = ({"false": 0.0, "true": 1.0}, {"no": 0.0, "yes": 1.0})
THOUSANDS = {
    ".": re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?"),
    ",": re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d*)?"),
}
PLAIN = 2.0**-12  # of a deviation: what float32 may lose of a column
DATE = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})([T ].*)?")
DAY_OR_MONTH = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})([T ].*)?")


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


def is_gap(cell: Any) -> bool:
    """Return whether a cell is empty, or says that its value is not known.

    Example:
        >>> [is_gap(cell) for cell in ("", " NA", "?", None, "0", "x")]
        [True, True, True, True, False, False]
    """
    if isinstance(cell, str):
        return cell.strip().lower() in GAPS
    import pandas

    return bool(pandas.isna(cell))


def number(text: str, mark: str = ".") -> float:
    """Return the number in a text whose decimal mark is a point or a comma; NaN where it is none.

    Example:
        >>> [number("1,003"), number("1,003", ","), number("1.003,5", ","), number("1,5")]
        [1003.0, 1.003, 1003.5, nan]
    """
    text, other = text.strip(), "," if mark == "." else "."
    if other in text:
        if not THOUSANDS[mark].fullmatch(text):
            return math.nan
        text = text.replace(other, "")
    text = text.replace(mark, ".")
    return float(text) if is_number(text) else math.nan


def form_of(texts: Iterable[str]) -> tuple[str, str]:
    """Return what the cells of a column are, and the decimal marks under which they are numbers.

    They are "number", "percent", "boolean", "date", "text", or "empty": nothing but gaps.

    Example:
        >>> form_of(["1,5", "2", "?"]), form_of(["5%"]), form_of(["yes", "no"]), form_of(["a", "1"])
        (('number', ','), ('percent', '.,'), ('boolean', ''), ('text', ''))
    """
    full = [text.strip() for text in texts if not is_gap(text)]
    if not full:
        return "empty", ""
    if any({text.lower() for text in full} <= words.keys() for words in TRUTHS):
        return "boolean", ""
    form = "percent" if all(text.endswith("%") for text in full) else "number"
    bare = [text[:-1] for text in full] if form == "percent" else full
    marks = "".join(m for m in ".," if not any(math.isnan(number(text, m)) for text in bare))
    if marks:
        return form, marks
    dates = all(DATE.fullmatch(text) or DAY_OR_MONTH.fullmatch(text) for text in full)
    return "date" if dates else "text", ""


@dataclass(frozen=True)
class Column:
    """The cells of a column of text: each distinct one, and which of them a row has.

    Example:
        >>> import pandas
        >>> column = Column.of(pandas.Series(["1,5", "2", "", "2"]))
        >>> column.form, column.values(",")
        ('number', array([1.5, 2. , nan, 2. ]))
    """

    rows: np.ndarray
    texts: list[str]

    @classmethod
    def of(cls, cells: pandas.Series) -> Column:
        """Return the column of these cells."""
        import pandas

        texts = cells.astype(object).where(cells.notna(), "").astype(str)
        rows, distinct = pandas.factorize(texts.to_numpy(object))
        return cls(rows, [str(text).strip() for text in distinct])

    @cached_property
    def _read(self) -> tuple[str, str]:
        return form_of(self.texts)

    @property
    def form(self) -> str:
        """What the cells are: see `form_of`."""
        return self._read[0]

    @property
    def marks(self) -> str:
        """The decimal marks under which the cells are numbers."""
        return self._read[1]

    @property
    def gaps(self) -> list[str]:
        """The distinct cells that are gaps."""
        return [text for text in self.texts if is_gap(text)]

    def has(self, text: str) -> bool:
        """Return whether a text is in a cell."""
        return any(text in each for each in self.texts)

    def values(self, mark: str) -> np.ndarray:
        """Return the numbers of all rows, float64; NaN where there is none."""
        if self.form == "boolean":
            words = TRUTHS[0] | TRUTHS[1]
            found = [words.get(text.lower(), math.nan) for text in self.texts]
        else:
            mark = mark if mark in self.marks else (self.marks or ".")[0]
            cut = 1 if self.form == "percent" else 0
            bare = (text[: len(text) - cut] for text in self.texts)
            found = [math.nan if is_gap(text) else number(text, mark) for text in bare]
        return np.array(found, np.float64)[self.rows]

    def days(self, form: str = "") -> np.ndarray | None:
        """Return dates as days since 1970, NaN where there is none; None where day may be month.

        They are read by a form, as strftime has it, where all are of it.
        """
        import pandas

        written = iso(self.texts)
        if form:
            times = pandas.to_datetime(pandas.Series(self.texts), format=form, errors="coerce")
            formed = [
                is_gap(t) or not lost for t, lost in zip(self.texts, times.isna(), strict=True)
            ]
            written = times.dt.strftime("%Y-%m-%d").fillna("").tolist() if all(formed) else written
        if written is None:
            return None
        times = pandas.to_datetime(
            pandas.Series(written), format="ISO8601", errors="coerce", utc=True
        )
        days = (times - pandas.Timestamp(0, tz="UTC")) / pandas.Timedelta(days=1)
        return days.to_numpy(np.float64)[self.rows]


def iso(texts: Sequence[str]) -> list[str] | None:
    """Return dates as year-month-day; None where all would be dates with day and month exchanged.

    Example:
        >>> iso(["1.2.2024"]), iso(["01/02/2024", "01/31/2024"]), iso(["01/02/2024"])
        (['2024-02-01'], ['2024-01-02', '2024-01-31'], None)
    """
    parts = [found.groups("") for text in texts if (found := DAY_OR_MONTH.fullmatch(text))]
    first = parts and max(int(part[0]) for part in parts) > 12
    second = parts and max(int(part[2]) for part in parts) > 12
    if parts and not first and not second and any(part[1] != "." for part in parts):
        return None
    written = []
    for text in texts:
        if found := DATE.fullmatch(text):
            year, _, month, day, rest = found.groups("")
        elif found := DAY_OR_MONTH.fullmatch(text):
            day, _, month, year, rest = found.groups("")
            day, month = (month, day) if second and not first else (day, month)
        else:
            written.append("")
            continue
        written.append(f"{year}-{int(month):02}-{int(day):02}{rest}")
    return written


def iso_form(texts: Iterable[str]) -> str:
    """Return how dates are written, as strftime says it; "" where it is not the same for all.

    Example:
        >>> iso_form(["2024/01/31", ""]), iso_form(["31.01.2024"]), iso_form(["01/31/2024"])
        ('%Y/%m/%d', '%d.%m.%Y', '%m/%d/%Y')
    """
    full = [text for text in texts if not is_gap(text)]
    written = iso(full)
    for form in ("%Y{}%m{}%d", "%d{}%m{}%Y", "%m{}%d{}%Y"):
        for mark in "-/.":
            how = form.format(mark, mark)
            if written and all(
                _formed(day, how) == text for day, text in zip(written, full, strict=True)
            ):
                return how
    return ""


def _formed(day: str, how: str) -> str:
    """Return a date, written year-month-day, in a form."""
    for sign, part in zip(("%Y", "%m", "%d"), day.split("-"), strict=False):
        how = how.replace(sign, part)
    return how


def offset_of(values: np.ndarray) -> float:
    """Return what to take from a column before it is float32: 0 where that loses nothing.

    Example:
        >>> offset_of(np.arange(5) + 1.7e9), offset_of(np.arange(5) / 7)
        (1700000002.0, 0.0)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        loss = np.abs(values - values.astype(np.float32))
    if not (loss > 0).any():
        return 0.0
    lost = float(np.nanmax(loss)) > PLAIN * float(np.nanstd(values))
    return float(np.rint(np.nanmean(values))) if lost else 0.0
