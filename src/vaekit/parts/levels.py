"""Likelihoods of gray levels: bins of logistic variables, in mixtures over pixels, and likeness."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from vaekit import distributions as d
from vaekit.errors import VaekitError, within
from vaekit.nn import Phrase
from vaekit.parts.conditional import Family, Shape
from vaekit.parts.families import EPS, make_scale
from vaekit.registry import register

WIDE = -2.3  # the log-scale that is started at: 0.1
SHARPEST = -7.0  # the least log-scale, of values in [-1, 1]: there a bin has all of the mass


@register("likelihood", "discretized-logistic")
class DiscretizedLogistic(Family):
    """Independent gray levels k / (levels - 1): the mass of a logistic variable in the level's bin.

    The location is the network's output, in gray levels from 0 to 1.

    Args:
        event_shape: the shape of one draw.
        levels: how many values an element can take.
        scale: "shared", one learned number; "free", one for each element, from the network; or a
            number.

    Raises:
        VaekitError: for fewer than 2 levels, and another scale.

    References:
        Kingma et al. 2016, Improved variational inference with inverse autoregressive flow, arXiv
        1606.04934, appendix C; Salimans et al. 2017, PixelCNN++, arXiv 1701.05517.

    Example:
        >>> family = DiscretizedLogistic((1, 4, 4))
        >>> family.param_shape, str(family.space)
        ((1, 4, 4), 'pixels(1, 4, 4; 256)')
    """

    distribution = d.DiscretizedLogistic

    def __init__(
        self, event_shape: Shape, *, levels: int = 256, scale: str | float = "shared"
    ) -> None:
        super().__init__(event_shape)
        if scale in ("fitted", "softplus"):
            raise VaekitError(f"got `scale={scale}`; expected shared, free, or a number.")
        self.levels = self.bins = within("levels", levels, 2, 2**16)
        made: Any = make_scale(scale, 1, SHARPEST)
        if scale == "shared":
            nn.init.constant_(made.log_scale, WIDE)
        self.scale = made
        self.copies = 2 if scale == "free" else 1

    @property
    def gives(self) -> tuple[Phrase, ...]:
        """Return what the network's output is."""
        if self.copies == 2:
            return (("location and log scale of a discretized logistic",),)
        return (("location of a discretized logistic",), ("one learned scale",))

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        dim = len(self.event_shape)
        if self.copies == 2:
            loc, raw = params.chunk(2, -dim)
            return d.DiscretizedLogistic(loc, self.scale(raw), self.bins, event_dim=dim)
        return d.DiscretizedLogistic(params, self.scale.log_scale, self.bins, event_dim=dim)

    def start(self, mean: Tensor) -> Tensor:
        """Return the mean as location; free scales at 0.1."""
        free = [torch.full_like(mean, WIDE)] if self.copies == 2 else []
        return torch.cat([mean.clamp(EPS, 1 - EPS), *free])


@register("likelihood", "discretized-logistic-mixture")
class DiscretizedLogisticMixture(Family):
    """Gray levels of the channels of a pixel: a mixture over pixels of discretized logistics.

    Channels of a pixel are of one component, and depend on those before. The network returns for
    each pixel K logits, and for each component the channels' locations, log scales and weights.

    Args:
        event_shape: `(C, H, W)`.
        components: K.
        levels: how many values an element can take.

    Raises:
        VaekitError: for rows that are no images, and fewer than 1 component or 2 levels.

    References:
        Salimans et al. 2017, PixelCNN++, arXiv 1701.05517.

    Example:
        >>> family = DiscretizedLogisticMixture((3, 4, 4), components=5)
        >>> family.param_shape
        (50, 4, 4)
    """

    distribution = d.DiscretizedLogisticMixture
    form = ("{} discretized logistics for each pixel", "components")

    def __init__(self, event_shape: Shape, *, components: int = 10, levels: int = 256) -> None:
        super().__init__(event_shape)
        if len(self.event_shape) != 3:
            raise VaekitError(
                f"discretized-logistic-mixture is of images; got rows of shape {self.event_shape}."
            )
        self.levels = self.bins = within("levels", levels, 2, 2**16)
        self.components = within("components", components, 1, 10_000)
        channels, *sides = self.event_shape
        self.each = (1, channels, channels, channels * (channels - 1) // 2)  # of a component
        self.numbers = (components * sum(self.each), *sides)

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        logits, *parts = params.split([self.components * size for size in self.each], -3)
        loc, scale, weights = (part.unflatten(-3, (self.components, -1)) for part in parts)
        log_scale = scale.clamp(min=SHARPEST, max=5.0)
        return d.DiscretizedLogisticMixture(logits, loc, log_scale, 0.5 * weights.tanh(), self.bins)

    def start(self, mean: Tensor) -> Tensor:
        """Return components spread around the mean, of equal weight and a scale of 0.1."""
        k, sides = self.components, mean.shape[1:]
        apart = torch.linspace(-0.3, 0.3, k, dtype=mean.dtype, device=mean.device)
        loc = (mean + apart.view(-1, 1, 1, 1) * (k > 1)).flatten(0, 1)
        scale = torch.full_like(loc, WIDE)
        return torch.cat(
            [mean.new_zeros(k, *sides), loc, scale, mean.new_zeros(k * self.each[-1], *sides)]
        )


@register("likelihood", "ms-ssim")
class Similarity(Family):
    """Images that look like their mean, by multi-scale structural similarity: no likelihood.

    log p(x|z) is weight D (MS-SSIM - 1) for D values, which is not normalized: bounds are a loss,
    and neither likelihoods nor draws of x come of it. The mean is the sigmoid of the output.

    Args:
        event_shape: `(C, H, W)`.
        weight: nats that an image loses for each of its values, where it has nothing in common
            with the mean.

    Raises:
        VaekitError: for rows that are no images, and a weight that is not positive.

    References:
        Snell et al. 2017, Learning to generate images with perceptual similarity metrics, arXiv
        1511.06409; Wang, Simoncelli and Bovik 2003, Multiscale structural similarity.

    Example:
        >>> family = Similarity((1, 12, 12))
        >>> family(torch.zeros(1, 1, 12, 12)).log_prob(torch.full((1, 1, 12, 12), 0.5))
        tensor([0.])
    """

    distribution = d.Similarity
    gives = (("logits of the mean of an image",),)

    def __init__(self, event_shape: Shape, *, weight: float = 1.0) -> None:
        super().__init__(event_shape)
        if len(self.event_shape) != 3:
            raise VaekitError(f"ms-ssim is of images (C, H, W); got rows {self.event_shape}.")
        if not 0 < weight < math.inf:
            raise VaekitError(f"got `weight={weight}`; expected a positive number.")
        self.weight = weight

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        weight = params.new_tensor(self.weight * math.prod(self.event_shape))
        return d.Similarity(params.sigmoid(), weight, event_dim=3)

    def start(self, mean: Tensor) -> Tensor:
        """Return the logits of this mean, a little inside [0, 1]."""
        return mean.clamp(EPS, 1 - EPS).logit()
