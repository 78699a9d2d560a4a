"""Codes of which some dimensions are set by hand."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from torch import Tensor

from vaekit.distributions import Distribution
from vaekit.errors import VaekitError


def fixed_at(z: Tensor, fixed: Mapping[int, float], prior: Distribution) -> Tensor:
    """z with the dimensions d of `fixed` at mean_d + value_d * sigma_d of the prior.

    Under N(0, I) that is the value itself. The other dimensions stay as they are.

    Args:
        z: codes `(N, *Z)`.
        fixed: the value of a dimension, by its number in the flattened code.
        prior: p(z), whose batch shape is empty or `(N,)`.

    Returns:
        A new tensor `(N, *Z)`.

    Raises:
        VaekitError: for a dimension that z does not have, or a prior that has no variance.

    Example:
        >>> import torch
        >>> from vaekit.distributions import StandardGaussian
        >>> fixed_at(torch.ones(2, 3), {2: -2.0}, StandardGaussian(torch.zeros(3)))
        tensor([[ 1.,  1., -2.],
                [ 1.,  1., -2.]])
    """
    size = prod(z.shape[1:])
    wrong = [dim for dim in fixed if not 0 <= dim < size]
    if wrong:
        raise VaekitError(f"there is no dimension {wrong[0]}; the latent has 0 to {size - 1}.")
    if not fixed:
        return z.clone()
    if "moments" not in prior.offers:
        raise VaekitError(
            "this model's prior has no standard deviation to count a dimension of z in: decode "
            "codes in Python, with Run.decode."
        )
    p: Any = prior
    mean, scale = (part.expand_as(z).flatten(1) for part in (p.mean, p.variance.sqrt()))
    codes = z.flatten(1).clone()
    for dim, value in fixed.items():
        codes[:, dim] = mean[:, dim] + value * scale[:, dim]
    return codes.unflatten(1, z.shape[1:])
