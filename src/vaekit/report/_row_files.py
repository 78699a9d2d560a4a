"""Rows in a file: of a table in its units and types, and codes with where each row comes from."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit._io import npz_bytes, write
from vaekit.data import DataSpec, Split
from vaekit.errors import VaekitError
from vaekit.models import rows_at_once
from vaekit.report._codes import posteriors
from vaekit.runs import Run

ENDINGS = (".csv", ".npz", ".parquet")
LINES = 1 << 14  # that are written at a time
DIGITS = "%.10g"  # of numbers that are not whole


def save_rows(
    spec: DataSpec,
    x: Tensor,
    path: Path,
    *,
    drawn: bool = True,
    dates: Collection[str] = (),
    more: Mapping[str, Any] = {},
) -> Path:
    """Write rows `(N, D)` as a model sees them into a .csv or .parquet: see `DataSpec.columns_of`.

    Args:
        spec: of the data of a run.
        x: the rows.
        path: the file.
        drawn: whether they are draws, which have the types of the data, or means.
        dates: the columns that are days since 1970, and dates in the file.
        more: further columns, before them, as their labels.

    Raises:
        VaekitError: where it cannot be written.
    """
    import pandas

    columns = {**more, **spec.columns_of(x, drawn=drawn)}
    for name in (each for each in dates if each in columns):
        days = columns[name]
        form = "%Y-%m-%d" if days.dtype.kind == "i" else "%Y-%m-%dT%H:%M:%S"
        columns[name] = pandas.to_datetime(days, unit="D").strftime(form)
    if path.suffix == ".parquet":
        return _parquet(columns, path)
    text = pandas.DataFrame(columns).to_csv(index=False, float_format=DIGITS)
    return write(path, text.encode())


def save_columns(
    columns: Mapping[str, np.ndarray], path: Path, digits: str | None = DIGITS
) -> Path:
    """Write columns of equal length into a .csv, a .parquet, or the arrays of an .npz.

    Args:
        columns: by name.
        path: the file.
        digits: how numbers are written; None as short as they are told from others of their type.

    Raises:
        VaekitError: for another ending, or where it cannot be written.
    """
    if path.suffix == ".csv":
        return write(path, partial(_lines, columns, digits))
    if path.suffix == ".parquet":
        return _parquet(dict(columns), path)
    if path.suffix not in ENDINGS:
        raise VaekitError(f"got the file {path}; expected one that ends in {', '.join(ENDINGS)}.")
    texts = {n: v.astype(str) if v.dtype == object else v for n, v in columns.items()}
    return write(path, npz_bytes(**texts))


def save_codes(run: Run, rows: Split, path: Path) -> Path:
    """Write E[z|x] and the standard deviations of z of rows, in their order.

    A .csv or a .parquet has the columns `row` (a file's name, an identifier, the line of a table's
    file, or a number from 0), z0, z1, ..., sd0, sd1, ... (where the posterior has deviations), and
    `label` (the class by its name, where there are labels); an .npz the arrays `codes`,
    `deviations`, `rows`, `labels` and `class_names`. A .csv is written as the rows are encoded.

    Raises:
        VaekitError: for another ending, or where it cannot be written.
    """
    if path.suffix not in ENDINGS:
        raise VaekitError(f"got the file {path}; expected one that ends in {', '.join(ENDINGS)}.")
    if path.suffix == ".csv":
        posteriors(run, rows.take(torch.arange(1)))  # refuses what has no codes before it writes
        return write(path, lambda: _texts(_blocks(run, rows)))
    parts = list(_blocks(run, rows))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if path.suffix == ".parquet":
        return _parquet(columns, path)
    z, sd = ([v for n, v in columns.items() if n.rstrip("0123456789") == k] for k in ("z", "sd"))
    arrays: dict[str, Any] = {"codes": np.stack(z, 1), "rows": columns["row"].astype(str)}
    arrays |= {"deviations": np.stack(sd, 1)} if sd else {}
    if rows.labels is not None:
        arrays |= {"labels": rows.labels.numpy(), "class_names": np.array(run.class_names)}
    return write(path, npz_bytes(**arrays))


def _blocks(run: Run, rows: Split) -> Iterator[dict[str, np.ndarray]]:
    """Yield the columns of some rows at a time."""
    size = max(rows_at_once(run.model), 1)
    names = np.array(run.class_names, object)
    for index in torch.arange(len(rows)).split(size):
        part = rows.take(index)
        means, scales = posteriors(run, part)
        block = {"row": index.numpy() if rows.ids is None else rows.ids[index.numpy()]}
        block |= {f"z{dim}": column for dim, column in enumerate(means.numpy().T)}
        if scales is not None:
            block |= {f"sd{dim}": column for dim, column in enumerate(scales.numpy().T)}
        if part.labels is not None:
            block["label"] = names[part.labels.numpy()]
        yield block


def _lines(columns: Mapping[str, np.ndarray], digits: str | None) -> Iterator[bytes]:
    """Yield the text of a .csv, some lines at a time."""
    import pandas

    for start in range(0, max(len(next(iter(columns.values()), [])), 1), LINES):
        some = pandas.DataFrame({n: each[start : start + LINES] for n, each in columns.items()})
        yield some.to_csv(header=not start, index=False, float_format=digits).encode()


def _texts(blocks: Iterator[dict[str, np.ndarray]]) -> Iterator[bytes]:
    """Yield the text of a .csv, a block at a time, with numbers as short as they are told apart."""
    for place, columns in enumerate(blocks):
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([] if place else [columns])
        writer.writerows(zip(*(each.tolist() for each in columns.values()), strict=True))
        yield stream.getvalue().encode()


def _parquet(columns: dict[str, np.ndarray], path: Path) -> Path:
    import pandas

    try:
        return write(path, pandas.DataFrame(columns).to_parquet(index=False))
    except ImportError:
        raise VaekitError(
            f"{path}: .parquet needs pyarrow, which is not installed: pip install "
            "'vaekit[parquet]', or name a .csv."
        ) from None
