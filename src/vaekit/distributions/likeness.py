"""The structural similarity of images, and what is proportional to a power of it.

References:
    Wang et al. 2004, Image quality assessment: from error visibility to structural similarity.
    Wang, Simoncelli and Bovik 2003, Multiscale structural similarity for image quality assessment.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions.base import Distribution, offering

WINDOW, SIGMA = 11, 1.5
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, the finest first
LEAST = 1e-4  # of a scale in a loss: a power of 0 has no slope


def similarity(x: Tensor, y: Tensor, data_range: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the luminance and the contrast-and-structure factor at every window, (B, C, h, w).

    With Gaussian windows inside the images, C1 = (0.01 range)^2 and C2 = (0.03 range)^2 they are
    (2 m_x m_y + C1) / (m_x^2 + m_y^2 + C1) and (2 s_xy + C2) / (s_x^2 + s_y^2 + C2).

    Args:
        x: `(B, C, H, W)`.
        y: `(B, C, H, W)`.
        data_range: the largest possible value less the smallest.

    Example:
        >>> light, contrast = similarity(torch.zeros(1, 1, 12, 12), torch.ones(1, 1, 12, 12))
        >>> light.shape, contrast[0, 0, 0, 0]
        (torch.Size([1, 1, 2, 2]), tensor(1.))
    """
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    side = min(WINDOW, *x.shape[2:])
    size = side - 1 + side % 2
    at = torch.arange(size, dtype=x.dtype, device=x.device) - size // 2
    window = torch.exp(-(at**2) / (2 * SIGMA**2))
    window = window / window.sum()
    values = torch.cat([x, y, x * x, y * y, x * y], 1)  # their Gaussian means inside, by rows first
    rows = F.conv2d(values.flatten(0, 1)[:, None], window.view(1, 1, -1, 1))
    means = F.conv2d(rows, window.view(1, 1, 1, -1))[:, 0].unflatten(0, values.shape[:2])
    mean_x, mean_y, square_x, square_y, product = means.chunk(5, 1)
    spread = (square_x - mean_x**2) + (square_y - mean_y**2)
    together = product - mean_x * mean_y
    light = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return light, (2 * together + c2) / (spread + c2)


def scaled_similarity(x: Tensor, y: Tensor, data_range: float = 1.0, least: float = 0.0) -> Tensor:
    """Return the multi-scale structural similarity, `(B,)`: see `vaekit.evaluate.ms_ssim`.

    Args:
        x: `(B, C, H, W)`.
        y: `(B, C, H, W)`.
        data_range: the largest possible value less the smallest.
        least: what a scale counts as where it is less.

    Example:
        >>> image = torch.linspace(0, 1, 1024).view(1, 1, 32, 32)
        >>> scaled_similarity(image, image)
        tensor([1.])
    """
    side = min(x.shape[2:])
    weights = [w for j, w in enumerate(WEIGHTS) if j == 0 or -(-side // 2**j) >= WINDOW]
    value = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device)
    for j, weight in enumerate(weights, 1):
        light, contrast = similarity(x, y, data_range)
        scale = (light * contrast if j == len(weights) else contrast).mean((2, 3))
        value = value * scale.clamp(min=least) ** (weight / sum(weights))
        if j < len(weights):
            x, y = (F.avg_pool2d(v, 2, ceil_mode=True) for v in (x, y))
    return value.mean(1)


@dataclass(eq=False, repr=False)
class Similarity(Distribution):
    """Images like a mean: log p(x) = weight (MS-SSIM(x, mean) - 1) and a constant nobody knows.

    It is **no likelihood**: it is not normalized, and numbers of it compare with nothing else.
    A draw of it is its mean. Scales that are less than 1e-4 count as that.

    Args:
        mean: `(*batch, C, H, W)`, in [0, 1].
        weight: nats of one image that has nothing in common with the mean.

    Example:
        >>> p = Similarity(torch.full((1, 12, 12), 0.5), torch.tensor(144.0), event_dim=3)
        >>> p.log_prob(p.mean), p.space.normalized
        (tensor(0.), False)
    """

    loc: Tensor
    weight: Tensor

    center = "loc"
    kind = "pixels"
    offers = offering("mean")
    normalized = False

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        return self.loc.expand(*shape, *self.loc.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        x, loc = torch.broadcast_tensors(x.to(self.loc.dtype), self.loc)
        lead = loc.shape[:-3]
        found = scaled_similarity(x.reshape(-1, *x.shape[-3:]), loc.reshape(-1, *x.shape[-3:]),
                                  least=LEAST)  # fmt: skip
        return self.weight * (found.view(lead) - 1)
