"""The model colorizer: from gray images to color."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaekit.errors import VaekitError
from vaekit.models import Colorizer, luminance
from vaekit.nn import Nets, start_at
from vaekit.parts import Conditional
from vaekit.registry import register

if TYPE_CHECKING:
    from vaekit.data import DataSpec
    from vaekit.parts import Family


@register("model", "colorizer")
def colorizer(data: DataSpec, net: Nets, family: Family, *, noise: float = 1.0) -> Colorizer:
    """p(x | its gray image), a model without a latent.

    Args:
        data: in color.
        net: from gray to color.
        family: a Gaussian of one scale.
        noise: standard deviation of the noise on the gray input while training, in gray levels.
    """
    if data.kind != "color" or data.shape[:1] != (3,):
        raise VaekitError(
            f"colorizer learns from color images; {data.name} has rows of shape {data.shape} "
            f"({data.kind}): take data in color, and leave `gray` and `binarize`."
        )
    if data.context:
        raise VaekitError("colorizer is given gray images and no labels: leave `context`.")
    network = net.encoder((1, *data.shape[1:]), data.shape)
    if net.start == "mean" and data.mean is not None:
        start_at(network, data.mean - luminance(data.mean))
    if getattr(family, "mean", "identity") != "identity":
        raise VaekitError("colorizer adds what it learns to the gray image: leave mean=identity.")
    level = (data.values.high - data.values.low) / 255
    return Colorizer(Conditional(network, family), noise=noise * level)
