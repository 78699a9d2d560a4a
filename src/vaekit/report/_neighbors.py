"""The rows nearest to others, by their codes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from vaekit.data import Split, pick
from vaekit.evaluate import nearest_codes
from vaekit.report._codes import posteriors
from vaekit.report._grids import in_color
from vaekit.runs import Run


def neighbors(run: Run, rows: Split, among: Split, k: int) -> tuple[Tensor, Tensor]:
    """Return `nearest_codes` of the codes E[z|x] of rows among those of others."""
    codes, own = posteriors(run, rows)[0], torch.arange(len(rows)) if rows is among else None
    others, space = codes if own is not None else posteriors(run, among)[0], run.codes_space
    return nearest_codes(codes, others, k, own=own, space=space)


def neighbor_table(
    found: tuple[Tensor, Tensor], rows: Split, among: Split, names: tuple[str, ...]
) -> Mapping[str, np.ndarray]:
    """Return a table of neighbors, k lines for each row: `row`, `rank`, `neighbor`, `distance`.

    And `label`, the class of the neighbor by its name, where there are labels.
    """
    (distance, index), k = found, found[0].shape[1]
    own, others = (np.arange(len(part)) if part.ids is None else part.ids for part in (rows, among))
    where = index.flatten().numpy()
    table = {
        "row": np.repeat(own, k),
        "rank": np.tile(np.arange(1, k + 1), len(rows)),
        "neighbor": others[where],
        "distance": distance.flatten().numpy(),
    }
    if among.labels is not None:
        table["label"] = np.array(names, object)[among.labels.numpy()[where]]
    return table


def neighbor_images(
    run: Run, found: tuple[Tensor, Tensor], rows: Split, among: Split, most: int = 12
) -> Tensor:
    """Return the first rows, with its neighbors behind it, in [0, 1]: `(R, 1 + k, C, H, W)`."""
    few = min(most, len(rows))
    index = found[1][:few]
    beside = among.values(pick(among.images, index.flatten()))  # they may be stored otherwise
    first = rows.values(pick(rows.images, torch.arange(few)))
    x, others = (in_color(run.spec.values.inverse(part)) for part in (first, beside))
    return torch.cat([x[:, None], others.view(few, -1, *x.shape[1:])], 1)
