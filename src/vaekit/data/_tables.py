"""Tables: files of text, and DataFrames of any origin; a bad cell is named by its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit._io import note
from vaekit.data._cells import is_number
from vaekit.data._columns import APART, Table, names_rows
from vaekit.data._csv import read_text
from vaekit.data._dataset import Dataset, Split
from vaekit.data._kinds import ColumnSpec
from vaekit.data._layout import by_class
from vaekit.data._readings import Reading, as_images, as_rows, kind_of, reading, tensor_of
from vaekit.data._remarks import said_of
from vaekit.data._rows import pick
from vaekit.data._splits import classes_of, dataset_of, keyed, numbers_of, taken, whole
from vaekit.data._transforms import Transform
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    import pandas

    from vaekit._train_options import Data


def load_csv(path: Path, options: Data) -> Dataset:
    """Return the table in a .csv, .tsv, .data or .txt, perhaps with .gz, as float32 `(N, D)`.

    How the text is written is seen in its first lines, and said where it is not usual: what
    separates cells, the decimal mark, whether the first row names the columns. Columns of numbers,
    percents and truths are features; an index and a column that names the rows are what rows are
    called. `options.label` is a column that holds classes (text, or whole numbers), `options.group`
    one whose rows of one value stay in one split; neither is a feature. Columns are named, or given
    by their number from 1.

    Raises:
        VaekitError: for a file that is missing or no text, a name that two columns have, rows of
            unequal length, text, dates and gaps in a feature, and cells that are infinite or too
            large: column and line.

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
    return dataset_of_table(path, text_table(path, options))


def read_frame(
    what: str,
    frame: pandas.DataFrame,
    options: Data,
    known: tuple[ColumnSpec, ...] | None = None,
) -> Table:
    """Return a DataFrame as a table; its index is no column. `known` are its columns' kinds.

    Raises:
        VaekitError: for columns of one name, and an unknown label or group; `what` names the frame.
    """

    def locate(row: int, column: int) -> tuple[str, Any]:
        return f"row {frame.index[row]}", frame.iat[row, column]

    names = [str(name) for name in frame.columns]
    return Table(what, names, frame, options, locate, known=known)


def text_table(path: Path, options: Data) -> Table:
    """Return the table in a file of text: see `load_csv`."""
    text = read_text(path, options)

    def locate(row: int, column: int) -> tuple[str, str]:
        line, cells = text.line(row + text.header)
        return f"line {line}", cells[column]

    table = Table(str(path), text.names, None, options, locate, text.mark, text.said)
    texts = [i for i, name in enumerate(text.names) if text.header and names_rows(name)]
    texts += [i for role in (*APART, "id") for i in table.asked[role]]
    texts += [text.names.index(name) for name in categories(options) if name in text.names]
    table.frame = text.frame(texts)  # which keeps what names something as it is written
    if not len(table.frame):
        raise VaekitError(f"{path} has no rows. Expected a line of numbers for each.")
    table.lines = lambda: text.lines(len(table.frame))
    return table


def categories(options: Data) -> list[str]:
    """Return the columns that are known to be categories, which may be written in digits."""
    takes, pairs = taken(options), (each.rpartition("=") for each in options.kinds)
    named = [name for name, _, kind in pairs if kind == "category"]
    return [c.name for c in takes.columns if c.kind == "category"] if takes else named


@dataclass(frozen=True)
class TableRows:
    """The rows of a table: what is stored of its features, and what belongs to each.

    Attributes:
        features: float32 `(N, D)`; NaN is a gap that is to be filled.
        offset: what was taken from them, float64 `(D,)`.
        labels: as text; None without.
        groups: by number; None without.
        covariates: text `(N, C)`; None without.
        ids: what each row is called.
        places: of the rows in the table.
        cells: of the columns as they were read, where rows are to be written back.
        said: what was guessed and left out.
    """

    features: np.ndarray
    offset: np.ndarray
    labels: list[str] | None
    groups: Tensor | None
    covariates: np.ndarray | None
    ids: np.ndarray
    places: np.ndarray
    said: str
    cells: dict[str, np.ndarray] | None = None


def rows_of(table: Table) -> TableRows:
    """Return the rows of a table that are read.

    Raises:
        VaekitError: for cells that cannot be.
    """
    features, offset = table.features()
    places = table.kept()
    takes = taken(table.options)
    if (
        takes is not None
        and not takes.labeled
        and any((table.texts(i)[places] == "").any() for i in table.asked["label"])
    ):
        note(f"{table.what} has rows without a label: labels are left out.")
        table.asked["label"] = []
    labels, groups, context = (table.texts_of(role, places) for role in APART)
    features = features if len(places) == len(features) else features[places]
    said = said_of(table, features + offset if offset.any() else features, places)
    facts: dict[str, Any] = {"labels": list(labels[0]) if labels else None}
    facts |= {"groups": keyed(list(groups[0])) if groups else None}
    facts |= {"covariates": np.stack(context, 1) if context else None}
    if getattr(table.options, "back", False):
        facts["cells"] = table.cells(places)
    return TableRows(features, offset, ids=table.ids()[places], places=places, said=said, **facts)


def dataset_of_table(path: Path, table: Table) -> Dataset:
    """Return the data set in a table; its rows are images if `options.shape` says so.

    Raises:
        VaekitError: as `load_csv`.
    """
    rows, options = rows_of(table), table.options
    takes, known = taken(options), classes_of(options)
    labels: Tensor | None = None
    names: tuple[str, ...] = ()
    if rows.labels is not None and known is not None:
        labels, names = numbers_of(rows.labels, known), known.class_names
    elif rows.labels is not None:
        labels, names = classed(rows.labels, lambda i: table.no_class(int(rows.places[i])))
    facts: dict[str, Any] = {"class_names": names, "column_names": table.columns, "said": rows.said}
    facts["columns"] = table.kinds
    if options.shape:
        stored = as_rows(str(path), as_images(str(path), rows.features, options.shape), takes)
        how = reading(str(path), [stored], takes, options.kind, options.ends)
        facts |= {"column_names": (), "said": "; ".join(filter(None, (rows.said, how.said)))}
    elif table.kinds:
        stored, how = rows.features, Reading("mixed")
    else:
        stored, how = rows.features, kind_of(str(path), [rows.features], options)
    images, values = tensor_of(how(stored)), less(rows.offset)
    split = Split(
        *(images, labels),
        groups=rows.groups,
        ids=rows.ids,
        values=values,
        covariates=rows.covariates,
        cells=rows.cells,
    )
    return filled(dataset_of(path, how.kind, split, options, **facts, **how.facts), options)


def less(offset: np.ndarray | None) -> Transform:
    """Return what says that an offset, if it is not 0, was taken from stored rows."""
    some = offset is not None and offset.any()
    return Transform(offset=torch.from_numpy(offset)) if some else Transform()


def filled(data: Dataset, options: Data) -> Dataset:
    """Return the data set with the mean of the training rows, or of a run's, in place of gaps.

    Raises:
        VaekitError: for a column that is all gaps in the training rows.
    """
    if options.missing != "mean" or data.train.images.dtype != torch.float32:
        return data
    takes, rows = taken(options), pick(data.train.images, torch.arange(len(data.train)))
    if data.columns and rows.isnan().any():
        raise VaekitError(
            f"{data.source} has gaps, and `missing=mean` has no mean of a category: take "
            "`missing=allow`, or `missing=drop`."
        )
    mean = rows.double().nanmean(0) if takes is None else takes.values.loc
    if mean is None:  # the training had other options
        return data
    if mean.isnan().any():
        name = data.column_names[int(mean.isnan().nonzero()[0])]
        raise VaekitError(
            f"{data.source}: column '{name}' has nothing but gaps in the training rows: "
            f"`drop={name!r}`."
        )
    parts: dict[str, Any] = {}
    for name, part in data.splits.items():
        rows = pick(part.images, torch.arange(len(part)))
        parts[name] = replace(part, images=torch.where(rows.isnan(), mean.float(), rows))
    return replace(data, **parts)


def classed(
    cells: Sequence[str], bad: Callable[[int], VaekitError]
) -> tuple[Tensor, tuple[str, ...]]:
    """Return labels counted from 0 in the order of their names (as numbers if all are), and these.

    Raises:
        VaekitError: `bad(i)`, where all are numbers and the one at i is not whole.

    Example:
        >>> classed(["b", "a10", "a9"], lambda i: VaekitError(""))
        (tensor([2, 1, 0]), ('a9', 'a10', 'b'))
        >>> classed(["1.0", "2", "-1"], lambda i: VaekitError(""))[1]
        ('-1', '1', '2')
    """
    names = {cell: cell for cell in cells}
    if numbers := all(map(is_number, names)):
        names = {cell: whole(cell) for cell in names}
        if strange := {cell for cell, name in names.items() if not name}:
            raise bad(next(i for i, cell in enumerate(cells) if cell in strange))
    order = sorted(set(names.values()), key=int if numbers else by_class)
    number = {name: i for i, name in enumerate(order)}
    return torch.tensor([number[names[cell]] for cell in cells]), tuple(order)
