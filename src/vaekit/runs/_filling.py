"""Tables with gaps, filled in by a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vaekit._torchutil import rng
from vaekit.data import Split, starts
from vaekit.errors import VaekitError
from vaekit.evaluate import impute
from vaekit.runs._run import Run

if TYPE_CHECKING:
    import pandas

BLOCK = 500  # rows


def fill(
    run: Run, data: Any, *, samples: int = 100, draws: int = 0, seed: int = 0, **how: Any
) -> pandas.DataFrame:
    """Return rows of a table with their gaps filled in: see `Run.impute`."""
    import pandas

    if run.spec.kind not in ("table", "mixed") or not run.spec.is_table:
        raise VaekitError(f"gaps are filled in tables; {run.path} is of other data.")
    rows, made = run.new_data(data, missing="allow", **how).test, []
    with rng(seed, run.device):
        for index in torch.arange(len(rows)).split(BLOCK):
            x, context = rows.batch(index)
            under = None if context is None else context.to(run.device)
            filled = impute(run.vae, x.to(run.device), under, samples=samples, draws=draws).cpu()
            made.append(filled if draws else filled[None])
    ids = np.arange(len(rows)) if rows.ids is None else rows.ids
    tables = [
        pandas.DataFrame({"row": ids, **({"draw": number} if draws else {}), **_kept(run, rows, x)})
        for number, x in enumerate(torch.cat(made, 1), 1)
    ]
    return pandas.concat(tables, ignore_index=True)


def _kept(run: Run, rows: Split, filled: torch.Tensor) -> dict[str, np.ndarray]:
    """Return the columns of filled rows in the units of the data; what is seen is as it was."""
    units = rows.values.units(rows.images)  # type: ignore[arg-type]
    columns, seen = run.spec.columns_of(filled), units.numpy().T
    first = starts(run.spec.columns) or range(len(columns))
    known = run.spec.written(units, drawn=False).values() if run.spec.columns else seen
    for place, (name, column), cells in zip(first, columns.items(), known, strict=True):
        kind = column.dtype if column.dtype.kind == "i" else cells.dtype
        columns[name] = np.where(np.isnan(seen[place]), column, cells).astype(kind)
    return columns
