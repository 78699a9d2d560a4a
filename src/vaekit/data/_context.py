"""What rows are conditioned on: labels, columns of few values, and the totals of counts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaekit.data._dataset import Dataset, Split
from vaekit.data._rows import check_memory, chunks
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit._train_options import Data

MOST = 1000  # values of a column
QUANTILES = 65  # of totals that are kept


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return uint8 `(N, classes)`, 1 at the label and 0 elsewhere, of int64 `(N,)`.

    Example:
        >>> one_hot(torch.tensor([2, 0]), 3).tolist()
        [[0, 0, 1], [1, 0, 0]]
    """
    return torch.nn.functional.one_hot(labels, classes).to(torch.uint8)


def with_context(data: Dataset, options: Data, train: Split) -> Dataset:
    """Return a data set that knows the values of covariates, and the totals of `train`.

    Raises:
        VaekitError: for a column of one value, or of more than `MOST`.
    """
    values = {}
    for place, name in enumerate(options.covariates):
        cells = [_cells(split, data, name)[:, place] for split in data.splits.values()]
        values[name] = tuple(map(str, np.unique(np.concatenate(cells))))
        if not 2 <= len(values[name]) <= MOST:
            raise VaekitError(
                f"`context={name}` has {len(values[name]):,} value{'s' * (len(values[name]) > 1)} "
                f"in {data.name}; expected 2 to {MOST:,}: leave it."
            )
    library: tuple[float, ...] = ()
    if options.library == "observed":
        at = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
        library = tuple(totals(train).double().quantile(at).tolist())
    return replace(data, covariates=values, library=library)


def totals(rows: Split) -> Tensor:
    """Return the total of each row of counts, float32 `(N,)`; sparse rows stay so.

    Example:
        >>> totals(Split(torch.tensor([[1.0, 2.0], [0.0, 5.0]])))
        tensor([3., 5.])
    """
    return torch.cat([part.sum(1, dtype=torch.float64).float() for part in chunks(rows.images)])


def conditioned(split: Split, data: Dataset, options: Data) -> Split:
    """Return the split with what `options.context` and `options.library` name: see `DataSpec`.

    Raises:
        VaekitError: where the data do not have it, or a value is not among those of the training.
    """
    parts = []
    if "label" in options.context.split(","):
        parts.append(_labels(split, data))
    for place, (name, values) in enumerate(data.covariates.items()):
        found, number = np.unique(_cells(split, data, name)[:, place], return_inverse=True)
        if strange := sorted({*map(str, found)} - {*values}):
            shown = f"{', '.join(values[:8])}{', ...' * (len(values) > 8)}"
            raise VaekitError(
                f"{data.name}: '{strange[0]}' of {name} is none of this run's values, on which it "
                f"is conditioned: {shown}."
            )
        places = torch.tensor([values.index(str(value)) for value in found])
        parts.append(one_hot(places[torch.from_numpy(number)], len(values)))
    if data.library:
        parts = [part.float() for part in parts] + [totals(split)[:, None]]
    return replace(split, context=torch.cat(parts, 1) if parts else None)


def _cells(split: Split, data: Dataset, name: str) -> np.ndarray:
    if split.covariates is None:
        raise VaekitError(
            f"`context={name}` names a column of a table, or of obs of an .h5ad; {data.name} has "
            "none such: take `context=label`, or none."
        )
    return split.covariates


def _labels(split: Split, data: Dataset) -> Tensor:
    if split.labels is None or data.classes < 2:
        raise VaekitError(
            f"`context=label` needs labels of two classes or more; {data.name} has none: leave it, "
            "or name the column of a .csv that holds them, as `label=class`; of images a table, as "
            "`labels=labels.csv`, or what their names tell, as `label_from='([a-z]+)[.]'`."
        )
    size = 9 * len(split) * data.classes  # torch makes it of int64 first
    check_memory(f"{len(split):,} labels of {data.classes:,} classes", size, "Name fewer classes.")
    return one_hot(split.labels, data.classes)
