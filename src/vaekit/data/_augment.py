"""Training images changed at random: flipped, moved, turned."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from vaekit.data._rows import is_random
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit.data._dataset import Dataset

FEWEST, MOST = 100, 20_000  # images that are changed unasked
SEEN, SIDE, AXES, TOLD = 2000, 16, 32, 0.75  # of them, of their pixels, components; a share

Change = Callable[[Tensor, float, torch.Generator | None], Tensor]


def augmented(
    images: Tensor, changes: Sequence[str], generator: torch.Generator | None = None
) -> Tensor:
    """Return images `(B, C, H, W)`, each changed at random; their type and their range stay.

    Args:
        images: as they are stored, uint8 or floats.
        changes: what is done, one after the other: "flip" (left and right, half of them), "crop:4"
            (moved by whole pixels, up to 4 in each direction, the edge repeated), "rotate:10"
            (turned by up to 10 degrees, the edge repeated).
        generator: of the random numbers; by default torch's global one.

    Raises:
        VaekitError: for a change that is none of these.

    Example:
        >>> image = torch.arange(4.0).view(1, 1, 2, 2)
        >>> augmented(image.expand(64, 1, 2, 2), ["flip"]).unique(dim=0)[1].tolist()
        [[[1.0, 0.0], [3.0, 2.0]]]
    """
    for change, amount in map(read_change, changes):
        images = change(images, amount, generator)
    return images


def chosen_changes(data: Dataset, limit: int | None = None) -> tuple[str, ...]:
    """Return what is done to training images that nobody named: "flip", or nothing.

    Few color images are flipped that look the same mirrored: where a Gaussian of half of them, of
    `AXES` principal components and one variance of the rest, finds less than three quarters of the
    other half likelier than their mirror images. What one knows by its meaning, as that letters
    have a right side, it does not see. `limit` is how many rows are used at most.

    Example:
        >>> from vaekit.data import Dataset, Split
        >>> x = torch.randint(256, (400, 3, 8, 8), generator=torch.Generator().manual_seed(0))
        >>> lit = x * torch.arange(8) // 7
        >>> rows = [Split(images.byte()) for images in (x, lit)]
        >>> [chosen_changes(Dataset("x", "color", each, each)) for each in rows]
        [('flip',), ()]
    """
    split, rows = data.train, data.train.images
    stored = len(rows.shape) == 4 and rows.dtype == torch.uint8 and not is_random(rows)
    colors = data.kind == "color" and data.stream is None and stored
    if not (colors and FEWEST <= min(len(split), limit or len(split)) <= MOST):
        return ()
    x = split.example(min(len(split), SEEN))
    height, width = (min(side, SIDE) for side in x.shape[-2:])
    x = adaptive_avg_pool2d(x, (height, width)).double()
    mean, known = x[::2].mean(0), x[1::2]
    _, spreads, axes = torch.linalg.svd((x[::2] - mean).flatten(1), full_matrices=False)
    variances = spreads.square() + 1e-9
    count = min(AXES, len(x) // 8, mean.numel() - 1)
    rest = variances[count:].sum() / (mean.numel() - count)

    def far(images: Tensor) -> Tensor:
        moved = (images - mean).flatten(1)
        along = (moved @ axes[:count].T).square()
        return (along / variances[:count]).sum(1) + (moved.square().sum(1) - along.sum(1)) / rest

    return ("flip",) if (far(known.flip(-1)) > far(known)).double().mean() < TOLD else ()


def read_change(text: str) -> tuple[Change, float]:
    """Return what a change does, and how far it goes.

    Raises:
        VaekitError: for a change that is none.
    """
    match = re.fullmatch(r"(flip)|(crop):(\d+)|(rotate):(\d+(?:\.\d+)?)", text)
    if not match:
        raise VaekitError(
            f"got `augment={text}`; expected flip, crop:PIXELS or rotate:DEGREES; or none alone."
        )
    _, crop, pixels, rotate, degrees = match.groups()
    if crop:
        return _moved, float(pixels)
    return (_turned, float(degrees)) if rotate else (_flipped, 0.0)


def _flipped(images: Tensor, _: float, generator: torch.Generator | None) -> Tensor:
    flip = _draw(images, 1, generator)[0] < 0.5
    return torch.where(flip[:, None, None, None], images.flip(-1), images)


def _moved(images: Tensor, most: float, generator: torch.Generator | None) -> Tensor:
    (high, wide), edge = images.shape[-2:], int(most)
    u = _draw(images, 2, generator)
    down, right = (u * (2 * edge + 1)).long().clamp(max=2 * edge)
    top, bottom = (row.expand(-1, -1, edge, -1) for row in (images[:, :, :1], images[:, :, -1:]))
    images = torch.cat([top, images, bottom], 2)  # six times as fast as to pick rows and columns
    left, end = (one.expand(-1, -1, -1, edge) for one in (images[..., :1], images[..., -1:]))
    windows = torch.cat([left, images, end], 3).unfold(2, high, 1).unfold(3, wide, 1)
    return windows[torch.arange(len(images), device=images.device), :, down, right]


def _turned(images: Tensor, most: float, generator: torch.Generator | None) -> Tensor:
    from torch.nn.functional import affine_grid, grid_sample

    angle = (_draw(images, 1, generator)[0] * 2 - 1) * math.radians(most)
    cos, sin, (high, wide) = angle.cos(), angle.sin(), images.shape[-2:]
    zero = torch.zeros_like(angle)
    # The grid's sides go from -1 to 1: what is not square would be sheared.
    turn = torch.stack([cos, -sin * high / wide, zero, sin * wide / high, cos, zero], 1)
    grid = affine_grid(turn.view(-1, 2, 3), list(images.shape), align_corners=False)
    whole = images.dtype == torch.uint8
    floats = images.float() if whole else images
    turned = grid_sample(floats, grid, padding_mode="border", align_corners=False)
    return turned.round().to(torch.uint8) if whole else turned


def _draw(images: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    return torch.rand(count, len(images), generator=generator, device=images.device)
