"""A colorizer: p(x | its gray image), a model without a latent."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit._torchutil import evaluating
from vaekit.distributions import offering
from vaekit.errors import VaekitError
from vaekit.models.base import Context, Draws, Mask, Model, in_pieces
from vaekit.models.trace import Trace
from vaekit.parts import Conditional, Gaussian
from vaekit.registry import register


def luminance(x: Tensor) -> Tensor:
    """Return the gray images `(*, 1, H, W)` of colors `(*, 3, H, W)`.

    L(x) = 0.30 R + 0.59 G + 0.11 B. The weights sum to 1, so gray in three channels is its own
    luminance, in any range.

    Raises:
        VaekitError: for another number of channels.

    Example:
        >>> luminance(torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1))
        tensor([[[0.4100]]])
    """
    if x.dim() < 3 or x.shape[-3] != 3:
        raise VaekitError(f"got the shape {tuple(x.shape)}; expected colors, (*, 3, H, W).")
    red, green, blue = x.unbind(-3)
    return (0.30 * red + 0.59 * green + 0.11 * blue).unsqueeze(-3)


@register("module", "colorizer")
class Colorizer(Model):
    """p(x | g): colors x `(B, 3, H, W)` of which the gray image g `(B, 1, H, W)` is known.

    `forward` is one pass, a `Trace` without sites, over g = L(x) + noise e, with e ~ N(0, I) drawn
    from torch's generator anew for each of the `samples`, in train and in eval mode alike: its
    log-likelihood is that of the colors given a noisy image. `colorize` adds no noise.

    Args:
        likelihood: p(x | g), a Gaussian of one scale (fixed, shared or fitted).
        noise: the standard deviation of the noise, in units of x: 1/255 is a gray level.

    Raises:
        VaekitError: where the likelihood takes other images, has another family or a scale for
            each pixel; or where the noise is negative or not finite.

    Example:
        >>> import vaekit as vk
        >>> net = vk.ColorNet((8, 8), channels=(4, 8))
        >>> p = vk.Conditional(net, vk.Gaussian((3, 8, 8), scale="fitted"))
        >>> model = Colorizer(p, noise=1 / 255)
        >>> trace = model(torch.rand(5, 3, 8, 8), samples=(2,))
        >>> trace.log_likelihood.shape, trace.sites
        (torch.Size([2, 5]), ())
        >>> model.colorize(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 3, 8, 8])
    """

    offers = offering("colors", "exact")

    def __init__(self, likelihood: Conditional, *, noise: float = 0.0) -> None:
        super().__init__()
        family = likelihood.family
        if likelihood.in_shape[:1] != (1,) or family.event_shape != (3, *likelihood.in_shape[1:]):
            raise VaekitError(
                f"got a likelihood of {family.event_shape} given {likelihood.in_shape}; expected "
                "colors (3, H, W) given a gray image (1, H, W)."
            )
        if not isinstance(family, Gaussian) or family.param_shape != family.event_shape:
            raise VaekitError(
                f"got the likelihood {family}; a colorizer takes a Gaussian of one scale: a "
                "number, 'shared' or 'fitted'."
            )
        if not 0 <= noise < math.inf:
            raise VaekitError(f"got `noise={noise}`; expected a number from 0 on.")
        self.likelihood = likelihood
        self.noise = noise

    @property
    def x_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Return the shape of one x."""
        return self.likelihood.family.event_shape

    def forward(
        self, x: Tensor, context: Context = None, *, samples: Draws = (1,), mask: Mask = None
    ) -> Trace:
        """Pass over x `(B, 3, H, W)` with `samples` draws of the noise."""
        gray = luminance(x)
        seen = gray.expand(*samples, *gray.shape)
        if self.noise:
            seen = seen + self.noise * torch.randn(seen.shape, dtype=seen.dtype, device=seen.device)
        px = self.likelihood(seen, context)
        return Trace(x=x, sites=(), px=px, model=self, context=context, mask=mask)

    def colorize(self, gray: Tensor) -> Tensor:
        """Return E[x | g], `(B, 3, H, W)`, of gray images `(B, 1, H, W)`."""
        return self._colored(gray, None)

    def reconstruct(self, x: Tensor, context: Context = None, *, mask: Mask = None) -> Tensor:
        """Return E[x | L(x)], `(B, 3, H, W)`: x as it is colored again."""
        return self._colored(luminance(x), context)

    def _colored(self, gray: Tensor, context: Context) -> Tensor:
        with evaluating(self):
            return in_pieces(self, lambda *g: (self.likelihood(*g).mean,), gray, context)[0]
