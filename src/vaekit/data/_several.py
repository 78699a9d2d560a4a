"""Several files as one: their rows follow each other, and keep the names of their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vaekit.data._arrays import Named, issparse, sparse_of
from vaekit.data._columns import Table, listed
from vaekit.errors import VaekitError


def joined_tables(tables: Sequence[Table]) -> Table:
    """Return the rows of tables of the same columns as those of one.

    Raises:
        VaekitError: for other columns, and decimal marks that differ.
    """
    import pandas

    first = tables[0]
    for table in tables[1:]:
        if table.names != first.names:
            lacks = [name for name in first.names if name not in table.names]
            more = [name for name in table.names if name not in first.names]
            how = (
                f"lacks {listed(lacks)}" if lacks else f"has {listed(more)}" if more else "differs"
            )
            raise VaekitError(
                f"{table.what} has other columns than {first.what}: it {how}; expected the same, "
                "in one order."
            )
        if table.mark != first.mark:
            raise VaekitError(f"{table.what} has another decimal mark than {first.what}.")
    ends = np.cumsum([len(table.frame) for table in tables])

    def locate(row: int, column: int) -> tuple[str, Any]:
        i = int(np.searchsorted(ends, row, side="right"))
        where, cell = tables[i].locate(row - int(ends[i] - len(tables[i].frame)), column)
        return f"{where} of {tables[i].what}", cell

    def lines() -> np.ndarray:
        return np.concatenate([t.frame.index if t.lines is None else t.lines() for t in tables])

    frames = [table.frame.set_axis(range(len(first.names)), axis=1) for table in tables]
    for column in range(len(first.names)):
        numbers = {pandas.api.types.is_numeric_dtype(frame[column]) for frame in frames}
        if len(numbers) > 1:  # text in one of them, as of gaps
            frames = [frame.astype({column: object}) for frame in frames]
    said = list(dict.fromkeys(word for table in tables for word in table.said))
    what, frame = first.what, pandas.concat(frames, ignore_index=True)
    table = Table(what, first.names, frame, first.options, locate, first.mark, said, lines)
    table.said, table.files = said, [(Path(each.what).name, len(each.frame)) for each in tables]
    return table


def joined_arrays(paths: Sequence[Path], several: Sequence[Named]) -> Named:
    """Return arrays of the same names, shapes and types as one.

    Raises:
        VaekitError: where they differ.
    """
    from scipy import sparse

    held = [sparse_of(path, each) for path, each in zip(paths, several, strict=True)]
    first, arrays = held[0], {}
    for path, other in zip(paths[1:], held[1:], strict=True):
        if other.keys() != first.keys():
            one, two = (", ".join(each) for each in (first, other))
            raise VaekitError(f"{paths[0]} holds {one}, and {path} {two}; expected the same.")
        for name, array in other.items():
            facts = [(a.shape[1:], a.dtype.kind, issparse(a)) for a in (first[name], array)]
            if facts[0] != facts[1]:
                raise VaekitError(
                    f"'{name}' of {path} is {array.dtype} {array.shape}, and of {paths[0]} "
                    f"{first[name].dtype} {first[name].shape}; expected rows that are alike."
                )
    for name, array in first.items():
        every = [each[name] for each in held]
        arrays[name] = sparse.vstack(every) if issparse(array) else np.concatenate(every)
    ids = [
        np.array([f"{path.name}:{name}" for name in each.ids.get("", range(rows.shape[0]))], object)
        for path, each, rows in zip(paths, several, (each["images"] for each in held), strict=True)
    ]
    said = "; ".join(dict.fromkeys(each.said for each in several if each.said))
    keys = {"images": "'images'"} | several[0].keys
    names = several[0].column_names
    beside = [each.covariates for each in several if each.covariates is not None]
    covariates = np.concatenate(beside) if len(beside) == len(several) else None
    return Named(arrays, keys, said, {"": np.concatenate(ids)}, names, covariates)
