"""The rows nearest to others, by their codes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from vaekit.data import Split, pick
from vaekit.errors import VaekitError
from vaekit.report._codes import posteriors
from vaekit.report._grids import in_color
from vaekit.runs import Run

BLOCK = 1 << 24  # distances at a time


def nearest_codes(
    codes: Tensor, among: Tensor, k: int, *, same: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the Euclidean distances to the k nearest of other codes, and which they are.

    Args:
        codes: `(N, Z)`.
        among: `(M, Z)`.
        k: how many, M at most.
        same: both are the same rows, and none is its own neighbor.

    Returns:
        Both `(N, k)`, the nearest first.

    Raises:
        VaekitError: for a k that is more than there are.

    Example:
        >>> nearest_codes(torch.tensor([[0.0, 0.0]]), torch.tensor([[9.0, 0.0], [3.0, 4.0]]), 1)
        (tensor([[5.]]), tensor([[1]]))
    """
    if not 1 <= k <= len(among) - same:
        raise VaekitError(f"got `k={k}`; expected 1 to {len(among) - same}, as many as there are.")
    found = []
    for start, part in zip(
        range(0, len(codes), size := max(1, BLOCK // len(among))), codes.split(size), strict=True
    ):
        apart = torch.cdist(part, among, compute_mode="donot_use_mm_for_euclid_dist")
        if same:
            rows = torch.arange(len(part))
            apart[rows, rows + start] = torch.inf
        found.append(apart.topk(k, largest=False))
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])


def neighbors(run: Run, rows: Split, among: Split, k: int) -> tuple[Tensor, Tensor]:
    """Return `nearest_codes` of the codes E[z|x] of rows among those of others."""
    same = rows is among
    codes = posteriors(run, rows)[0]
    return nearest_codes(codes, codes if same else posteriors(run, among)[0], k, same=same)


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
