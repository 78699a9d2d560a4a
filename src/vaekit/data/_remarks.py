"""What is said of data: what was guessed of a table, what is strange, and in what tests differ."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaekit.data._cells import UNSAID
from vaekit.data._columns import Table, is_id, listed
from vaekit.data._kinds import starts
from vaekit.data._mixed import said_of_kinds
from vaekit.data._splits import taken

if TYPE_CHECKING:
    from collections.abc import Collection

    from vaekit.data._dataset import Dataset

SENTINELS = [float(sign * (10**digits - 1)) for digits in (3, 4, 5, 6) for sign in (1, -1)]
COMPARED, VALUES = 2000, 4_000_000  # rows of each split, and values of these, at most
FEWEST = 20  # rows, or groups, that tell something of the others
APART, SURE = 0.5, 6.0  # standard deviations, and standard errors, from which rows are unlike
SPOKEN = 3  # differences that are named
PIXELS = ((28, 28), (32, 32), (64, 64), (3, 32, 32), (3, 64, 64))  # of images in many tables
FORMS = {"percent": "read in percent", "boolean": "read as 0 and 1"}


def said_of(table: Table, rows: np.ndarray, places: np.ndarray) -> str:
    """Return what was guessed, what was left out and what is strange.

    Args:
        table: of the rows.
        rows: its features in the file's units, `(N, D)`; NaN is a gap that is to be filled.
        places: of these rows in the table.
    """
    rows = rows[:, starts(table.kinds)] if table.kinds else rows
    if taken(table.options) is not None:
        return "; ".join([*(table.said if table.kinds else ()), *_gaps(table, rows)])
    parts = [_guessed(table), said_of_kinds(table), _names(table, places), _gaps(table, rows)]
    if not table.options.shape:
        parts += [_pixels(rows, table.columns), strange(rows, table.columns)]
    return "; ".join(said for part in parts for said in part)


def _pixels(rows: np.ndarray, names: Sequence[str]) -> Iterator[str]:
    """Yield the shape of images whose pixels these columns may be."""
    shape = next((sides for sides in PIXELS if math.prod(sides) == len(names)), None)
    called = len(names) > 3 and all(re.fullmatch("pixels?[ _.]?[0-9x]+", n.lower()) for n in names)
    if not shape and called and math.isqrt(len(names)) ** 2 == len(names):
        shape = (math.isqrt(len(names)),) * 2
    levels = rows.size and rows.min() == 0 and 128 <= rows.max() <= 255 and (rows % 1 == 0).all()
    if shape and (called or levels):
        sides = ",".join(map(str, shape))
        yield f"the columns may be pixels (`shape='{sides}'` reads them as images)"


def _guessed(table: Table) -> Iterator[str]:
    yield from table.said
    names, forms = table.names, {i: table.form(i) for i in table.positions}
    texts = {i: table.column(i) for i in table.positions if i in table.read}
    for i in table.identifiers:
        keep = names[i] and table.form(i) == "number"
        more = f" (`columns='{names[i]},...'` keeps it)" if keep else ""
        yield f"{_called(table, i)} names the rows and is no feature{more}"
    for i in table.empty:
        if names[i] != "" and (not names[i].isdecimal() or _gap_texts(table, [i]) - {""}):
            yield f"{_called(table, i)} is empty and left out"
    for form, what in FORMS.items() if not table.kinds else ():
        if found := [names[i] for i, each in forms.items() if each == form]:
            yield f"{listed(found)} {what}"
    numbers = {i: column for i, column in texts.items() if column.form == "number"}
    mark = {i: table.mark if table.mark in c.marks else c.marks[0] for i, c in numbers.items()}
    if table.mark == "," or "," in mark.values():
        yield "decimal commas"
    for own, other in (".,", ",."):
        if found := [names[i] for i, m in mark.items() if m == own and texts[i].has(other)]:
            yield f"{listed(found)} read with '{other}' between thousands"
    for i in table.positions:
        if not names[i]:
            yield f"{_called(table, i)} has no name and is read as a feature"
        elif is_id(names[i]) and not table.options.columns:
            yield f"'{names[i]}' is read as a feature (`drop={names[i]!r}` leaves it out)"


def _names(table: Table, places: np.ndarray) -> Iterator[str]:
    """Yield what is strange in labels and groups."""
    for role, what in (("label", "class"), ("group", "group")):
        for i in table.asked[role]:
            found = set(texts := table.texts(i)[places])
            if len(found) == len(texts):
                yield f"each row is a {what} of its own by '{table.names[i]}'"
            raw = {str(cell) for cell in table.frame.iloc[:, i]}
            if both := sorted(raw & found & {each.strip() for each in raw - found}):
                yield f"'{both[0]}' with and without spaces around is one {what}"


def _gaps(table: Table, rows: np.ndarray) -> Iterator[str]:
    shown = sorted(_gap_texts(table, [*table.positions, *table.empty]))
    if found := [text for text in shown if text.lower() not in UNSAID]:
        yield f"{', '.join(map(repr, found))} {'is a gap' if len(found) == 1 else 'are gaps'}"
    left = len(table.frame) - len(rows)
    if left:
        yield f"{left} of {len(table.frame)} rows have gaps and are left out"
    if count := int(np.isnan(rows).sum()):
        how = (
            "not seen" if table.options.missing == "allow" else "filled with the mean of the column"
        )
        yield f"{count} gap{'s' * (count > 1)} {how}"


def _gap_texts(table: Table, columns: Collection[int]) -> set[str]:
    return {text for i in columns if i in table.read for text in table.column(i).gaps}


def _called(table: Table, i: int) -> str:
    name = table.names[i]
    return f"'{name}'" if name else "the first column" if i == 0 else f"column {i + 1}"


def strange(rows: np.ndarray, names: Sequence[str]) -> Iterator[str]:
    """Yield what is strange in rows `(N, D)`: columns that do not vary, and codes of gaps.

    Example:
        >>> rows = np.stack([np.ones(30), np.r_[np.arange(28), -999, -999]], 1)
        >>> list(strange(rows, ["a", "b"]))
        ["'a' is the same in all rows", "'b' has -999 in 2 rows, far from the others: is it a gap?"]
    """
    if len(rows) < 2:
        return
    low, high = np.fmin.reduce(rows), np.fmax.reduce(rows)
    if found := [name for name, same in zip(names, low == high, strict=True) if same]:
        yield f"{listed(found)} {'is' if len(found) == 1 else 'are'} the same in all rows"
    for end in (low, high):
        for i in np.flatnonzero(np.isin(end, SENTINELS) & (low < high)).tolist():
            column, value = rows[:, i], end[i]
            rest = column[(column != value) & ~np.isnan(column)]
            far = min(abs(rest.min() - value), abs(rest.max() - value))
            times = int((column == value).sum())
            if times > 1 and far > rest.max() - rest.min():
                where = f"{value:g} in {times} rows"
                yield f"'{names[i]}' has {where}, far from the others: is it a gap?"


def unlike(data: Dataset) -> str:
    """Return in what test rows are unlike training rows, for people; nothing where they are alike.

    Compared are the means of each value, of its square distance from the mean of training rows, and
    of images of their brightness and contrast. They are unlike from half a standard deviation and
    six standard errors on. Rows of one group count as one. Under 20 rows tell nothing.

    Example:
        >>> from vaekit.data import Dataset, Split
        >>> rows = torch.arange(600.0).remainder(7).view(-1, 3)
        >>> unlike(Dataset("alike", "table", Split(rows), Split(rows[:50])))
        ''
        >>> unlike(Dataset("other", "table", Split(rows), Split(rows[:50] + 9.0 * torch.eye(3)[1])))
        'column 2 is higher by 4.5 standard deviations, column 2 varies more by 3.1 ...'
    """
    splits = (data.train, data.test)
    counts = [len(s) if s.groups is None else len(s.groups.unique()) for s in splits]
    if min(counts) < FEWEST:
        return ""
    size = max(100, min(COMPARED, VALUES // math.prod(data.train.images.shape[1:])))
    rows = [split.example(min(size, len(split))).flatten(1) for split in splits]
    counts = [min(pair) for pair in zip(counts, map(len, rows), strict=True)]
    center, names = rows[0].mean(0), data.place_names or range(1, 1 + rows[0].shape[1])
    parts = [[x, (x - center).square()] for x in rows]
    words = [f"column {name} {what}" for what in ("is {}er", "varies {}") for name in names]
    if data.train.images.ndim == 4:
        of_rows = [[x.mean(1, keepdim=True), x.std(1, keepdim=True)] for x in rows]
        parts = [a + b for a, b in zip(of_rows, parts, strict=True)]
        words = ["the brightness is {}er", "the contrast is {}er"]
        words += [f"a pixel {what}" for what in ("is {}er", "varies {}") for _ in center]
    first, other = (torch.cat(each, 1) for each in parts)
    apart = _effects(first, other, counts[0], counts[1])
    found: dict[str, float] = {}
    for n in apart.abs().argsort(descending=True, stable=True)[: int((apart != 0).sum())].tolist():
        ways = ("high", "low") if "{}er" in words[n] else ("more", "less")
        found.setdefault(words[n].format(ways[bool(apart[n] < 0)]), abs(apart[n].item()))
    spoken = list(found.items())[:SPOKEN]
    return ", ".join(f"{what} by {min(size, 99):.2g} standard deviations" for what, size in spoken)


def _effects(first: Tensor, other: Tensor, count: int, others: int) -> Tensor:
    """Return by how many standard deviations each column's mean differs; 0 where by few, or chance.

    Its error takes the variance of either side, or of the first for both, where that is more: a
    value that is rare in the first may be absent from few others.
    """
    by, a, b = other.mean(0) - first.mean(0), first.var(0), other.var(0)
    error = torch.maximum(a / count + b / others, a * (1 / count + 1 / others)).sqrt()
    effects = by / ((a + b) / 2).sqrt()
    return torch.where((by.abs() > SURE * error) & (effects.abs() >= APART), effects, 0.0)
