"""The columns of a table: features, labels, groups, what names the rows; and their values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.data._cells import Column, is_gap, is_number, offset_of
from vaekit.data._kinds import ColumnSpec
from vaekit.data._mixed import blocks, kinds_of
from vaekit.data._splits import taken, whole
from vaekit.errors import VaekitError, cut, unknown

if TYPE_CHECKING:
    from vaekit._train_options import Data
    from vaekit.data._transforms import DataSpec

WHOLE = re.compile(r"[+-]?[0-9]{1,300}")
FILL = "Fill the cell, or remove the row"
GAP = (
    f"{FILL}: `missing=drop` leaves such rows out, `missing=mean` fills in the column's mean, "
    "`missing=allow` trains on what is seen."
)
INDEX = re.compile(r"(index|unnamed: *\d+)?", re.IGNORECASE)
NAME = re.compile(r"names?", re.IGNORECASE)
CLASS = re.compile(r"labels?|class|target|y", re.IGNORECASE)
ID = re.compile(r"(.*[_ -])?(id|uuid)|.*[a-z]I[dD]|I[dD]|.*_ID|UUID")
APART = ("label", "group", "context")  # roles of columns that are no features


@dataclass(eq=False)
class Table:
    """A DataFrame and the roles of its columns.

    Attributes:
        what: names it in errors.
        names: of all columns.
        frame: the cells.
        options: says what columns are.
        locate: returns where a row and column lie, and the cell as it is written there.
        mark: the decimal mark of cells that are numbers under either.
        said: what was guessed.
        lines: returns the line of each row in its file; or None.
        files: of several files, the name of each and its rows.
        known: the kinds of the columns, where training rows told them; or None.
    """

    what: str
    names: list[str]
    frame: Any
    options: Data
    locate: Callable[[int, int], tuple[str, Any]]
    mark: str = "."
    said: Sequence[str] = ()
    lines: Callable[[], np.ndarray] | None = None
    files: Sequence[tuple[str, int]] = ()
    known: tuple[ColumnSpec, ...] | None = None

    def __post_init__(self) -> None:
        self._find_class()
        seen = set[str]()
        for name in self.names:
            if name in seen:
                raise VaekitError(
                    f"{self.what} has two columns '{name[:60]}'; give each a name of its own."
                )
            seen.update({name} - {""})
        self.read: dict[int, Column] = {}  # the columns of text that were looked at
        self.forms: dict[int, str] = {}  # of all columns that were

    def _find_class(self) -> None:
        """Take the one column besides pixels for the class.

        Raises:
            VaekitError: where none is named so.
        """
        options = self.options
        if not options.shape or options.label or options.columns or options.drop:
            return
        pixels = math.prod(map(int, options.shape.split("x")))
        named = [name for name in self.names if CLASS.fullmatch(name.strip())]
        if len(self.names) == pixels + 1 and named:
            self.options = options.model_copy(update={"label": named[0]})
            self.said = (*self.said, f"'{named[0]}' is the class")
        elif len(self.names) == pixels + 1 and not any(map(names_rows, self.names)):
            raise VaekitError(
                f"{self.what} has {pixels + 1} columns, one more than `shape={options.shape}` "
                f"takes: name the class, as `label={self.names[0]}`, or what to `drop`."
            )

    # What columns are.

    @cached_property
    def asked(self) -> dict[str, list[int]]:
        """The positions of the columns that options name, by option.

        Raises:
            VaekitError: for a column that is not there, and one that two options name.
        """
        o, takes = self.options, taken(self.options)
        wanted = {"label": o.label, "group": o.group, "id": getattr(o, "id", None)}
        several = {"columns": o.columns, "drop": o.drop, "date": o.date, "context": o.covariates}
        every = {role: (name,) if name else () for role, name in wanted.items()} | several
        found: dict[str, list[int]] = {}
        for role, names in every.items():
            found[role] = []
            for name in names:
                position = self._position(name)
                if position is not None:
                    found[role].append(position)
                elif takes is None or role in o.named:  # type: ignore[attr-defined]
                    raise unknown(f"column of {self.what}", name, self.names)
        for one, other in (("drop", "columns"), ("drop", "label"), ("drop", "group"),
                           ("drop", "date"), ("columns", "label"), ("date", "label"),
                           ("drop", "context"), ("columns", "context")):  # fmt: skip
            for i in set(found[one]) & set(found[other]):
                raise VaekitError(
                    f"{self.what}: `{one}` and `{other}` both name '{self.names[i]}': leave one."
                )
        return found

    def _position(self, name: str) -> int | None:
        """Return the position of the column of this name; or of this number, counted from 1."""
        if name in self.names:
            return self.names.index(name)
        if not name.isdecimal() or len(name) > 18 or any(map(is_number, self.names)):
            return None
        return int(name) - 1 if 1 <= int(name) <= len(self.names) else None

    @cached_property
    def apart(self) -> set[int]:
        """The positions of the columns that options say are no features."""
        return {i for role in (*APART, "id", "drop") for i in self.asked[role]}

    @cached_property
    def identifiers(self) -> list[int]:
        """The positions of the columns that name or count the rows."""
        takes = taken(self.options)
        known = takes.column_names if takes is not None else ()
        free = [i for i in range(len(self.names)) if i not in self.apart | {*self.asked["columns"]}]
        if takes is not None:
            return [i for i in free if self.names[i] not in known and names_rows(self.names[i])]
        return [i for i in free if names_rows(self.names[i]) and self._is_identifier(i)]

    def _is_identifier(self, i: int) -> bool:
        """Return whether the cells of each file are distinct, and text or numbers of rows."""
        ends = np.cumsum([rows for _, rows in self.files or [("", len(self.frame))]]).tolist()
        return all(self._identifies(i, slice(a, b)) for a, b in pairwise([0, *ends]))

    def _identifies(self, i: int, rows: slice) -> bool:
        cells = self.frame.iloc[rows, i]
        if not len(cells) or cells.isna().any() or cells.duplicated().any():
            return False
        form = self.form(i)
        if form != "number":
            return form == "text"
        values = self._values(i)[rows]
        counted = (np.sort(values) - np.arange(len(values)) == values.min()).all()
        whole = bool((values == np.rint(values)).all())
        return bool(counted and values.min() in (0, 1)) or (whole and is_id(self.names[i]))

    @cached_property
    def empty(self) -> list[int]:
        """The positions of the columns that nothing is said of, and that hold nothing but gaps."""
        if self.asked["columns"]:
            return []
        left = self.apart | {*self.identifiers, *self.asked["date"]}
        return [i for i in range(len(self.names)) if i not in left and self.form(i) == "empty"]

    @cached_property
    def positions(self) -> list[int]:
        """The positions of the features: of new rows in the order of the training.

        Raises:
            VaekitError: where there is none, and for columns that a trained model does not take.
        """
        takes, left = taken(self.options), self.apart | {*self.identifiers}
        mine = self.asked["columns"] or [i for i in range(len(self.names)) if i not in left]
        if takes is not None:
            return self._known(takes, mine)
        mine = [i for i in mine if i not in self.empty]
        if not mine:
            others = ", ".join(f"'{self.names[i]}'" for i in self.identifiers)
            more = f" ({others} names the rows: `columns` makes it one)" if others else ""
            raise VaekitError(
                f"{self.what} has no column but those of labels and groups{more}; add features."
            )
        return mine

    def _known(self, takes: DataSpec, mine: list[int]) -> list[int]:
        """Return the columns that a trained model takes, in its order."""
        names = [self.names[i] for i in mine]
        width = math.prod(takes.shape)
        if not takes.column_names and len(mine) == width:
            return mine
        if len(takes.shape) > 1 and not takes.column_names:
            raise VaekitError(
                f"{self.what} is a table of {len(mine)} columns; this run takes images of shape "
                f"{takes.shape}: give images, an array, or a table of {width} pixels a row."
            )
        known = takes.column_names or tuple(map(str, range(1, width + 1)))
        missing = [name for name in known if name not in names]
        more = [self.names[i] for i in mine if self.names[i] not in known and i not in self.empty]
        for wrong, what in ((missing, "lacks"), (more, "has")):
            if wrong:
                raise VaekitError(
                    f"{self.what} {what} the column{'s' * (len(wrong) > 1)} {listed(wrong)}; this "
                    f"run takes {', '.join(known[:8])}{', ...' * (len(known) > 8)}: "
                    "name its columns so, or leave out what is not among them."
                )
        return [self.names.index(name) for name in known]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the features."""
        return tuple(self.names[i] for i in self.positions)

    @cached_property
    def kinds(self) -> tuple[ColumnSpec, ...]:
        """What each feature is, where they are of several kinds: see `kinds_of`."""
        return kinds_of(self)

    @cached_property
    def dates(self) -> set[int]:
        """The positions of the columns that are read as dates."""
        pairs = zip(self.positions, self.kinds, strict=False)
        return {*self.asked["date"], *(i for i, column in pairs if column.kind == "date")}

    # What cells are.

    def form(self, i: int) -> str:
        """Return what the cells of a column are: see `form_of`."""
        if i not in self.forms:
            self.forms[i] = self._form(i)
        return self.forms[i]

    def _form(self, i: int) -> str:
        from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

        cells = self.frame.iloc[:, i]
        if is_bool_dtype(cells):
            return "boolean"
        if is_datetime64_any_dtype(cells):
            return "date"
        if is_numeric_dtype(cells):
            return "empty" if len(cells) and cells.isna().all() else "number"
        return self.column(i).form

    def column(self, i: int) -> Column:
        """Return the cells of a column of text."""
        if i not in self.read:
            self.read[i] = Column.of(self.frame.iloc[:, i])
        return self.read[i]

    def _values(self, i: int) -> np.ndarray:
        """Return a column as float64; NaN where there is no number."""
        from pandas.api.types import is_numeric_dtype

        cells = self.frame.iloc[:, i]
        if is_numeric_dtype(cells):  # as those of truths are
            return cells.to_numpy(np.float64, na_value=np.nan)
        if self.form(i) != "date":
            return self.column(i).values(self.mark)
        days = self.column(i).days(self._date_form(i))
        if days is None:
            mend = "Write dates as 2024-01-31, or with a number above 12 among the days."
            raise self.refusal(0, i, "has {}, whose day may be its month,", mend)
        return days

    def _date_form(self, i: int) -> str:
        """Return how the training wrote the dates of a column; "" where that is not known."""
        takes = taken(self.options)
        known = self.known if takes is None else takes.columns
        return next((each.form for each in known or () if each.name == self.names[i]), "")

    def features(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the features less an offset as float32 `(N, D)`, and the offset, float64 `(D,)`.

        The offset is 0 but for columns whose content float32 would lose, as times in seconds. NaN
        stands for a gap where gaps are not refused.

        Raises:
            VaekitError: for a cell that is no finite number of float32.
        """
        if self.kinds:
            return blocks(self)
        takes, plain = taken(self.options), self.options.kind not in (None, "table")
        plain |= self.options.shape is not None
        known = None if takes is None else takes.values.offset
        columns, offsets = [], np.zeros(len(self.positions))
        for place, i in enumerate(self.positions):
            values = self.checked(i)
            if known is not None:
                offsets[place] = known[place]
            elif takes is None and not plain:
                offsets[place] = offset_of(values)
            if offsets[place]:
                values = values - offsets[place]
            columns.append(values.astype(np.float32))
        return np.stack(columns, 1), offsets

    def checked(self, i: int) -> np.ndarray:
        """Return the values of a column; refuse what is no number, and gaps."""
        form, date = self.form(i), i in self.dates
        if form == "date" and not date:
            name = self.names[i]
            mend = f"Read it as days by `date={name!r}`, or leave it out: `drop={name!r}`."
            raise self.refusal(self._first_full(i), i, "has {}, a date,", mend)
        if date and form not in ("date", "empty"):
            leave = "date" if i in self.asked["date"] else "kinds"
            mend = f"Leave `{leave}`; a date is written as 2024-01-31."
            raise self.refusal(self._first_full(i), i, "has {}, which is no date,", mend)
        values = self._values(i)
        with np.errstate(over="ignore"):
            bad = ~np.isfinite(values.astype(np.float32))
        if bad.any():
            wrong = bad if self.options.missing == "refuse" else bad & ~self.gaps(i)
            if wrong.any():
                raise self._fault(int(np.flatnonzero(wrong)[0]), i)
        return values

    def _first_full(self, i: int) -> int:
        return int(np.flatnonzero(~self.gaps(i))[0])

    def gaps(self, i: int) -> np.ndarray:
        """Return which cells of a column are gaps."""
        from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

        cells = self.frame.iloc[:, i]
        if is_numeric_dtype(cells) or is_datetime64_any_dtype(cells):
            return cells.isna().to_numpy(bool)
        column = self.column(i)
        return np.array([is_gap(text) for text in column.texts])[column.rows]

    def kept(self) -> np.ndarray:
        """Return the rows that are read: all, but for those with gaps where they are left out."""
        keep = np.ones(len(self.frame), bool)
        if self.options.missing == "drop":
            apart = [i for role in APART for i in self.asked[role]]
            for i in (*self.positions, *apart):
                keep &= ~(self.gaps(i) if i not in apart else self.texts(i) == "")
        return np.flatnonzero(keep)

    def texts_of(self, role: str, rows: np.ndarray) -> list[np.ndarray]:
        """Return the cells of these rows in the columns that are "label", "group" or "context".

        Raises:
            VaekitError: for an empty cell.
        """
        found = []
        for i in self.asked[role]:
            texts = self.texts(i)[rows]
            if (texts == "").any():
                raise self.refusal(int(rows[texts == ""][0]), i)
            found.append(texts)
        return found

    def ids(self) -> np.ndarray:
        """Return what each row is called: the cell of a column that says it, else line or index."""
        named = [*self.asked["id"], *self.identifiers[::-1]][:1]
        found = self.texts(named[0]) if named else None
        if found is None:
            found = self.frame.index.to_numpy() if self.lines is None else self.lines()
        files = [name for name, rows in self.files for _ in range(rows)]
        several = [f"{name}:{each}" for name, each in zip(files, found, strict=False)]
        return np.array(several, object) if files else found

    def texts(self, i: int) -> np.ndarray:
        """Return the cells of a column as text, without spaces around; a gap is empty."""
        cells = self.frame.iloc[:, i]
        texts = cells.astype(object).where(cells.notna(), "").astype(str).to_numpy(object)
        return np.array([text.strip() for text in texts], object)

    def read_texts(self, i: int) -> np.ndarray:
        """Return the cells of a column as texts of categories: whole numbers without a point."""
        from pandas.api.types import is_bool_dtype, is_numeric_dtype

        cells, texts = self.frame.iloc[:, i], self.texts(i)
        if not is_numeric_dtype(cells) or is_bool_dtype(cells):
            return texts
        number = {text: whole(text) or text for text in {*texts}}
        return np.array([number[text] for text in texts], object)

    def cells(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the cells of these rows as they were read, by column; None is a gap.

        Features first, in their order; what names the rows is left out. Text is a number where
        all of a feature is, and no category: a whole one of any size.
        """
        from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

        named = {*self.identifiers, *self.asked["id"]}
        kinds = dict(zip(self.positions, self.kinds, strict=False))
        found: dict[str, np.ndarray] = {}
        for i in dict.fromkeys((*self.positions, *range(len(self.names)))):
            cells = self.frame.iloc[:, i]
            if i in named:
                continue
            text = not (is_numeric_dtype(cells) or is_datetime64_any_dtype(cells))
            gaps = self.gaps(i)
            if not gaps.any() and not (text and i in self.positions):
                found[self.names[i]] = cells.to_numpy()[rows]
                continue
            values = cells.to_numpy(object, copy=True)
            numeric = i in self.positions and not (i in kinds and kinds[i].categories)
            if numeric and text and self.form(i) in ("number", "percent"):
                pairs = zip(values, self._values(i).tolist(), strict=True)
                values[:] = [int(t) if WHOLE.fullmatch(str(t).strip()) else v for t, v in pairs]
            values[gaps] = None
            found[self.names[i]] = values[rows]
        return found

    # What is refused.

    def _fault(self, row: int, i: int) -> VaekitError:
        """Return the error for a cell that is no finite float32, and the mend."""
        cell = self.locate(row, i)[1]
        if is_gap(cell):
            return self.refusal(row, i)
        if self.form(i) in ("text", "date"):
            name = self.names[i]
            kinds = dict(zip(self.positions, self.kinds, strict=False))
            texts = [j for j in self.positions if self.form(j) == "text"]
            drop = [self.names[j] for j in texts if j not in kinds or not kinds[j].categories]
            mend = (
                f"If it is a category: `kinds={name + '=category'!r}`; a label or a group: "
                f"`label={name!r}`, `group={name!r}`; else leave it out: `drop={','.join(drop)!r}`."
            )
            if taken(self.options) is not None:
                mend = f"{FILL}."
            return self.refusal(row, i, "has {}, which is no number,", mend)
        if not math.isfinite(float(cell) if is_number(cell) else math.nan):
            return self.refusal(row, i, "has {}, which is not finite,", f"{FILL}.")
        return self.refusal(row, i, "has {}, which is too large for float32,", "Scale the column.")

    def refusal(self, row: int, column: int, fault: str = "", mend: str = "") -> VaekitError:
        """Return the error for a cell: by default for a gap."""
        where, cell = self.locate(row, column)
        if not fault:
            text = isinstance(cell, str) and cell.strip()
            fault = "has {}, a gap," if text else "is empty"
            feature = taken(self.options) is None and column not in self.apart
            mend = GAP if feature else f"{FILL}."
        shown = f"'{cut(cell)}'" if isinstance(cell, str) else cell
        name = cut(self.names[column])
        return VaekitError(f"{self.what}: column '{name}' {fault.format(shown)} in {where}. {mend}")

    def no_class(self, row: int) -> VaekitError:
        """Return the error for a label that is a number and not whole."""
        mend = "A label is text or a whole number; to learn the column, leave `label`."
        return self.refusal(row, self.asked["label"][0], "has {}, which is no class,", mend)


def names_rows(name: str) -> bool:
    """Return whether a column of this name may count, name or identify the rows."""
    return bool(INDEX.fullmatch(name) or NAME.fullmatch(name)) or is_id(name)


def is_id(name: str) -> bool:
    """Return whether a column of this name identifies what its rows are about.

    Example:
        >>> [is_id(name) for name in ("id", "PassengerId", "user_id", "ID", "humid", "idle")]
        [True, True, True, True, False, False]
    """
    return bool(ID.fullmatch(name))


def listed(names: Sequence[str]) -> str:
    """Return names one after the other; of many, the first.

    Example:
        >>> listed(["a", "b"]), listed(list("abcdef"))
        ("'a', 'b'", "'a', 'b', 'c', 'd', 'e', ...")
    """
    return ", ".join(f"'{name}'" for name in names[:5]) + ", ..." * (len(names) > 5)
