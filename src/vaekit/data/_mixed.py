"""Mixed tables: what each column of a table is, and its cells as numbers, categories one-hot."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.data._cells import is_gap, is_number, iso_form, offset_of
from vaekit.data._kinds import ColumnSpec
from vaekit.data._layout import by_class
from vaekit.data._splits import taken, whole
from vaekit.errors import VaekitError, unknown

if TYPE_CHECKING:
    from vaekit.data._columns import Table

FEW = 50  # categories that are taken for such unasked
REPEATED = 2  # times that each is seen, on average
MOST = 1000  # categories of a column
SHOWN = 6  # categories that an error names


def kinds_of(table: Table) -> tuple[ColumnSpec, ...]:
    """Return what each feature of a table is; () of one that is read as numbers alone.

    A table is mixed where `kinds` says of what a column is, or where one has few texts, or dates
    that nobody named.

    Raises:
        VaekitError: for kinds of what is no feature, and cells that do not suit them.
    """
    takes, options = taken(table.options), table.options
    if takes is not None:
        return takes.columns
    if table.known is not None:
        names = tuple(column.name for column in table.known)
        if names not in ((), table.columns):
            raise VaekitError(
                f"{table.what} has the columns {', '.join(table.columns)}; expected "
                f"{', '.join(names)} as in the training rows."
            )
        return table.known
    if options.kind is not None or options.shape:
        if options.kinds:
            other = "kind" if options.kind else "shape"
            raise VaekitError(f"`kinds` is of mixed tables: leave `{other}`, or `kinds`.")
        return ()
    asked, positions = _asked(table), table.positions
    found = {i: asked.get(i) or _guess(table, i) for i in positions}
    plain = [i for i in positions if i not in asked and i not in table.asked["date"]]
    if not asked and not any(table.form(i) in ("text", "date") and found[i] for i in plain):
        return ()
    return tuple(_column(table, i, found[i] or "numeric") for i in positions)


def _asked(table: Table) -> dict[int, str]:
    """Return the kinds that options name, by the position of the column."""
    found = {}
    for name, _, kind in (each.rpartition("=") for each in table.options.kinds):
        position = table._position(name)
        if position is None:
            raise unknown(f"column of {table.what}", name, table.names)
        if position not in table.positions:
            raise VaekitError(
                f"{table.what}: `kinds` names '{table.names[position]}', which is no feature but a "
                "label, a group, a name of rows, or left out: leave one of the two."
            )
        found[position] = kind
    return found


def _guess(table: Table, i: int) -> str:
    """Return what a column is by its cells; "" of text that has no kind."""
    form = table.form(i)
    if i in table.asked["date"] or form == "date":
        return "date"
    if form == "boolean":
        return "binary" if len(_distinct(table, i)) < 3 else "category"
    if form == "text":
        return _guess_text([text for text in table.read_texts(i) if not is_gap(text)])
    if form != "number":
        return "numeric"
    values = table._values(i)
    values = values[np.isfinite(values)]
    if not (values == np.rint(values)).all():
        return "numeric"
    return "binary" if {*values.tolist()} == {0.0, 1.0} else "integer"


def _guess_text(cells: Sequence[str]) -> str:
    """Return what a column of these texts is; "" where they are too many, or damaged numbers."""
    count = len({*cells})
    numbers = sum(map(is_number, cells))
    if not 2 <= count <= min(FEW, len(cells) / REPEATED) or 2 * numbers > len(cells):
        return ""
    return "binary" if count == 2 else "category"


def _distinct(table: Table, i: int) -> list[str]:
    """Return the distinct texts of a column, without gaps, in their order."""
    texts = {text for text in table.read_texts(i) if not is_gap(text)}
    numbers = all(whole(text) == text for text in texts)
    return sorted(texts, key=int if numbers else by_class)


def _column(table: Table, i: int, kind: str) -> ColumnSpec:
    """Return what is known of a column of this kind."""
    name = table.names[i]
    if kind == "date":
        return ColumnSpec(name, kind, form=iso_form(table.column(i).texts))
    if kind == "log":
        return ColumnSpec(name, kind, zeros=not bool((table._values(i) > 0).all()))
    if kind not in ("binary", "category"):
        return ColumnSpec(name, kind)
    texts = _distinct(table, i)
    if kind == "binary" and len(texts) > 2:
        raise table.refusal(
            _row(table, i, texts[2:]), i, "is binary and has {}, a third value,",
            f"`kinds={name}=category` takes several.",
        )  # fmt: skip
    if len(texts) > MOST:
        raise VaekitError(
            f"{table.what}: column '{name}' has {len(texts):,} distinct values; a category has "
            f"{MOST:,} at most: leave it out, `drop={name!r}`."
        )
    if kind == "binary" and len(texts) == 1:
        return ColumnSpec(name, "category", tuple(texts))
    return ColumnSpec(name, kind, tuple(texts))


def _row(table: Table, i: int, texts: Collection[str]) -> int:
    """Return the first row that has one of these texts."""
    return int(np.flatnonzero(np.isin(table.read_texts(i), list(texts)))[0])


def said_of_kinds(table: Table) -> Iterator[str]:
    """Yield what the columns of a mixed table are taken for, kind by kind."""
    from vaekit.data._columns import listed

    kinds: dict[str, list[str]] = {}
    for column in table.kinds:
        more = f" of {column.width}" if column.kind == "category" else ""
        kinds.setdefault(column.kind + more, []).append(column.name)
    if kinds:
        yield ", ".join(f"{listed(names)} {kind}" for kind, names in kinds.items())
    texts = [table.names[i] for i in table.positions if table.form(i) == "text"]
    if kinds and len(texts) == 1 and not table.asked["label"]:
        yield f"`label={texts[0]!r}` makes it a class, and no feature"


def blocks(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the features less an offset, float32 `(N, D)`, and the offset: see `Table.features`.

    Raises:
        VaekitError: for a cell that does not suit the kind of its column.
    """
    parts: list[np.ndarray] = []
    offsets: list[np.ndarray] = []
    known = getattr(getattr(taken(table.options), "values", None), "offset", None)
    for i, column in zip(table.positions, table.kinds, strict=True):
        if column.categories:
            part = _one_hot(table, i, column)
        else:
            part = _numbers(table, i, column)[:, None]
        offset = np.zeros(column.width)
        if known is not None:
            offset[0] = known[sum(len(each) for each in offsets)]
        elif taken(table.options) is None and column.scaled and column.kind != "log":
            offset[0] = offset_of(part[:, 0])
        parts.append((part - offset).astype(np.float32))
        offsets.append(offset)
    return np.concatenate(parts, 1), np.concatenate(offsets)


def _numbers(table: Table, i: int, column: ColumnSpec) -> np.ndarray:
    """Return the values of a column, checked by its kind."""
    values, name = table.checked(i), column.name
    broken = {
        "integer": (values != np.rint(values), "is integer and has {},", "numeric"),
        "count": ((values < 0) | (values != np.rint(values)), "counts and has {},", "numeric"),
        "log": (values < 0 if column.zeros else values <= 0, "is log and has {},", "quantile"),
    }
    bad, fault, other = broken.get(column.kind, (np.zeros(1, bool), "", ""))
    bad = bad & ~np.isnan(values)
    if bad.any():
        mend = f"Mend the cell, or take `kinds={name}={other}`."
        if taken(table.options) is not None:
            mend = "Mend the cell, or remove the row."
        raise table.refusal(int(np.flatnonzero(bad)[0]), i, fault, mend)
    return values


def _one_hot(table: Table, i: int, column: ColumnSpec) -> np.ndarray:
    """Return categories one-hot, `(N, width)`, and of binary columns 0 or 1; NaN where a gap is.

    A category that the training has not seen is refused, or a gap where these are allowed.
    """
    texts, number = table.read_texts(i), {text: n for n, text in enumerate(column.categories)}
    strange = [text for text in dict.fromkeys(texts) if text not in number and not is_gap(text)]
    number |= {text: number[whole(text)] for text in strange if whole(text) in number}
    truths = {text.lower(): n for text, n in number.items() if text.lower() in ("true", "false")}
    number |= {text: truths[text.lower()] for text in strange if text.lower() in truths}
    strange = [text for text in strange if text not in number]
    missing = table.options.missing
    if strange and missing != "allow":
        shown = ", ".join(column.categories[:SHOWN]) + ", ..." * (len(column.categories) > SHOWN)
        mend = f"Those are: {shown}. Mend the cell, or remove the row."
        fault = "has {}, which is none of the training's categories,"
        raise table.refusal(_row(table, i, strange), i, fault, mend)
    if strange:
        said = f"'{strange[0]}' is no category of '{column.name}' in training: taken for a gap"
        table.said = (*table.said, said)
    codes = np.array([number.get(text, -1) for text in texts])
    if (codes < 0).any() and missing == "refuse":
        raise table.refusal(int(np.flatnonzero(codes < 0)[0]), i)
    made: Any = np.eye(column.width)[codes] if column.kind == "category" else codes[:, None] * 1.0
    made[codes < 0] = np.nan
    return made
