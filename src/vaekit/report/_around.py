"""Codes around rows: what a page shows of a model that is too large to compute in it.

Around each row there are a plane of the two strongest dimensions, a line along each of the
strongest ones, and the way to the next row.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vaekit.report._walks import between

BASES, LINES = 4, 8  # rows that have codes around them; dimensions that have lines
SIDE, WAY = 11, 9  # steps of a line, and of a side of the plane; of the way to the next row


def around(codes: Tensor, rows: Tensor, dims: Tensor, space: Any) -> Tensor:
    """Return codes around those of some rows, `(R, M, D)`.

    Args:
        codes: of test rows, `(N, D)`.
        rows: which of them have codes around them.
        dims: the strongest dimensions, strongest first.
        space: where the codes live.

    Example:
        >>> codes = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> z = around(codes, torch.tensor([0, 1]), torch.tensor([0, 1]), None)
        >>> z.shape  # 11 x 11 of the plane, 2 lines of 11, and 9 on the way
        torch.Size([2, 152, 2])
        >>> z[0, -1].tolist()
        [1.0, 1.0]
    """
    middle, reach = ranges(codes[:, dims])
    first, last = codes[rows], codes[rows.roll(-1)]
    cells = (2 * torch.arange(SIDE) + 1) / SIDE - 1
    plane = first[:, None, None].repeat(1, SIDE, SIDE, 1)
    plane[..., dims[:2]] = middle[:2]
    plane[..., dims[0]] += cells * reach[:2].max()
    plane[..., dims[:2][-1]] += cells[:, None] * reach[:2].max()
    lines = first[:, None, None].repeat(1, len(dims), SIDE, 1)
    for k, dim in enumerate(dims.tolist()):
        lines[:, k, :, dim] = middle[k] + torch.linspace(-1, 1, SIDE) * reach[k]
    parts = [plane.flatten(1, 2), lines.flatten(1, 2), between(first, last, steps=WAY)]
    return inside(torch.cat(parts, 1), space)


def ranges(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the middle of each dimension and how far a page goes to both sides of it.

    The page's script computes the same in `measure`.
    """
    values, last = codes.sort(0).values, len(codes) - 1
    low, top = values[math.floor(0.005 * last)], values[math.ceil(0.995 * last)]
    return (low + top) / 2, (top - low) / 2 + (0.15 * (top - low)).clamp(min=0.01)


def inside(z: Tensor, space: Any) -> Tensor:
    """Return codes where codes live: a sphere and a ball have no outside."""
    kind, norm = getattr(space, "kind", ""), z.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    if kind == "ball":
        return z * (0.999 / math.sqrt(space.curvature or 1) / norm).clamp(max=1)
    return z / norm if kind == "sphere" else z


def contexts(first: Tensor, count: int) -> Tensor:
    """Return what codes around rows are conditioned on, `(R * M, G)`: on the way a mixture."""
    own = first[:, None].expand(-1, count - WAY, -1)
    return torch.cat([own, between(first, first.roll(-1, 0), steps=WAY)], 1).flatten(0, 1)


def principal(codes: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the mean of codes `(N, D)`, and their first principal axes, as rows.

    Example:
        >>> middle, axes = principal(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), 8)
        >>> middle, axes[0].abs()
        (tensor([1., 1.]), tensor([1., 0.]))
    """
    middle = codes.mean(0)
    return middle, torch.linalg.svd(codes - middle, full_matrices=False).Vh[:most]


def near(codes: Tensor) -> list[float]:
    """Return how far codes are from the nearest other one: the median, and 95 % of them."""
    far = torch.cdist(codes, codes).fill_diagonal_(torch.inf).amin(1)
    return far.quantile(torch.tensor([0.5, 0.95])).tolist()
