"""Rows with gaps, filled in by a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vaekit._io import note
from vaekit._torchutil import rng
from vaekit.data import Split, canonical, pick
from vaekit.errors import VaekitError
from vaekit.evaluate import impute
from vaekit.runs._run import Run

BLOCK = 500  # rows


def fill(run: Run, data: Any, *, draws: int = 0, how: Any, **given: Any) -> Any:
    """Return rows with their gaps filled in: see `Run.impute`."""
    import pandas

    rows = with_gaps(run, data, **given)
    filled = fill_rows(run, rows, draws=draws, **how)
    if not run.spec.is_table:
        return filled.numpy() if draws else filled[0].numpy()
    ids = np.arange(len(rows)) if rows.ids is None else rows.ids
    tables = []
    for number, x in enumerate(filled, 1):
        kept = _kept(run, rows, x)
        row, draw = (name + "_" * (name in kept) for name in ("row", "draw"))
        tables.append(pandas.DataFrame({row: ids, **({draw: number} if draws else {}), **kept}))
    return pandas.concat(tables, ignore_index=True)


def with_gaps(run: Run, data: Any, **given: Any) -> Split:
    """Return new rows in which NaN is a gap.

    Raises:
        VaekitError: for a run of rows that have none: counts, and pixels that are 0 or 1.
    """
    if run.spec.kind in ("counts", "binary"):
        raise VaekitError(
            f"{run.path} was trained on {run.spec.kind} data, which are stored without gaps: "
            "`vaekit impute` is for tables of numbers, and gray and color images."
        )
    rows = run.new_data(data, missing="allow", back=True, **given).test
    if rows.images.dtype == torch.uint8 or not rows.survey.gaps:
        note("none of these rows has a gap: they are written as they are.")
    return rows


def fill_rows(
    run: Run, rows: Split, *, samples: int = 100, draws: int = 0, seed: int = 0
) -> torch.Tensor:
    """Return rows of `with_gaps` filled in, `(draws or 1, N, *X)`: of a table as a model sees them.

    Images are in [0, 1], or in a range of their own that the data have.
    """
    made, (low, high) = [], run.spec.own or run.spec.levels or (0.0, 1.0)
    with rng(seed, run.device):
        for index in torch.arange(len(rows)).split(BLOCK):
            x, context = rows.batch(index)
            under = None if context is None else context.to(run.device)
            filled = impute(run.vae, x.to(run.device), under, samples=samples, draws=draws).cpu()
            if not run.spec.is_table:
                stored = canonical(pick(rows.images, index))
                filled = run.spec.values.inverse(filled)
                if run.config.data.dequantize:  # level k was drawn as (k + u) / 256
                    stored = (256 * stored).floor() / 255
                    filled = ((256 * filled - 0.5) / 255).clamp(0, 1)
                filled = low + (high - low) * torch.where(stored.isnan(), filled, stored)
            made.append(filled if draws else filled[None])
    return torch.cat(made, 1)


def _kept(run: Run, rows: Split, filled: torch.Tensor) -> dict[str, np.ndarray]:
    """Return the columns of filled rows in the units of the data; what is seen is as it was read.

    After the features come the columns that are none, as a label.
    """
    import pandas

    columns, read = run.spec.columns_of(filled), dict(rows.cells or {})
    units = rows.values.units(rows.images)  # type: ignore[arg-type]
    for name, seen in zip(list(columns), units.numpy().T, strict=False):
        if name not in read:  # of an array
            read[name] = seen
    forms = {column.name: column.form for column in run.spec.columns if column.kind == "date"}
    for name in () if run.spec.columns else run.config.data.date:
        columns[name] = pandas.to_datetime(columns[name], unit="D").strftime("%Y-%m-%d").to_numpy()
        forms[name] = "%Y-%m-%d"
    for name, made in columns.items():
        columns[name] = _merged(made, read.pop(name), forms.get(name))
    return columns | read


def _merged(made: np.ndarray, cells: np.ndarray, form: str | None) -> np.ndarray:
    """Return cells with what was made in their gaps, as others of them are written."""
    import pandas

    gaps = pandas.isna(cells)
    if not gaps.any():
        return cells
    if form is not None and cells.dtype.kind == "M" and made.dtype.kind != "M":
        made = pandas.to_datetime(pandas.Series(made), format=form).to_numpy()
    seen = {str(cell).casefold(): cell for cell in cells[~gaps]} if made.dtype == object else {}
    values = [
        seen.get(str(m).casefold(), m) if gap else cell
        for m, cell, gap in zip(made.tolist() if made.dtype.kind != "M" else made, cells, gaps,
                                strict=True)
    ]  # fmt: skip
    if made.dtype.kind == "b" and any(isinstance(v, str) for v in values):
        values = [str(v).lower() if isinstance(v, bool) else v for v in values]
    whole = all(isinstance(v, int) for v in values)
    large = any(isinstance(v, int) and abs(v) > 2**53 for v in values)
    if whole or large or any(isinstance(v, str) for v in values):
        return pandas.Series(values, dtype=object).infer_objects().to_numpy()
    return np.asarray(values)
