"""The codes nearest to others."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.distributions import BALL, Space, geodesic_length
from vaekit.errors import VaekitError

BLOCK = 1 << 24  # distances at a time


def nearest_codes(
    codes: Tensor,
    among: Tensor,
    k: int,
    *,
    own: Tensor | None = None,
    space: Space | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the Euclidean distances to the k nearest of other codes, and which they are.

    Between codes that are whole numbers, each one of so many, it is how many of them differ; in a
    ball the length of the geodesic.

    Args:
        codes: `(N, Z)`.
        among: `(M, Z)`.
        k: how many, M at most.
        space: where they live, if that is curved.
        own: where each code itself is among the others, `(N,)`: it is no neighbor of its own.

    Returns:
        Both `(N, k)`, the nearest first.

    Raises:
        VaekitError: for a k that is more than there are.

    Example:
        >>> nearest_codes(torch.tensor([[0.0, 0.0]]), torch.tensor([[9.0, 0.0], [3.0, 4.0]]), 1)
        (tensor([[5.]]), tensor([[1]]))
    """
    most = len(among) - (own is not None)
    if not 1 <= k <= most:
        raise VaekitError(f"got `k={k}`; expected 1 to {most}, as many as there are.")
    found, p = [], 2.0
    if not codes.is_floating_point():
        codes, among, p = codes.float(), among.float(), 0.0
    for rows in torch.arange(len(codes)).split(max(1, BLOCK // len(among))):
        apart = torch.cdist(codes[rows], among, p, compute_mode="donot_use_mm_for_euclid_dist")
        if space is not None and space.kind == BALL:
            apart = geodesic_length(apart, codes[rows, None], among, space.curvature)
        if own is not None:
            apart[torch.arange(len(rows)), own[rows]] = torch.inf
        found.append(apart.topk(k, largest=False))
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])
