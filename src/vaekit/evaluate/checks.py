"""What evaluation refuses, what its records share, and in which units numbers may be printed."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from vaekit.data import DataSpec
from vaekit.errors import VaekitError
from vaekit.models import VAE
from vaekit.parts.conditional import Family


def refuse_no_density(model: VAE, what: str) -> None:
    """An error where the posterior has no density, and so the model no `what`."""
    if "density" not in model.offers:
        raise VaekitError(
            f"{type(model.posterior.family).__name__} has no density, so the model has no {what}: "
            "an autoencoder can be judged by its reconstructions, or take a Gaussian posterior."
        )


def refuse_gaps(name: str, value: Tensor) -> None:
    """An error where `value` holds numbers that are not finite."""
    bad = (~torch.isfinite(value)).sum().item()
    if bad:
        raise VaekitError(
            f"{bad} of the {value.numel()} numbers of {name} are not finite; drop those rows, or "
            "mask them where the model takes a mask."
        )


def refuse_not_a_number(what: str, values: Tensor) -> None:
    """An error where a column of `values` (K, B) holds what is not a number."""
    bad = values.isnan().any(0).sum().item()
    if bad:
        raise VaekitError(
            f"{what} of {bad} of {values.shape[1]} rows is not a number: the model's weights "
            "are not finite, or too large for its precision."
        )


def whole(name: str, value: Any, least: int = 1) -> int:
    """`value`, or an error where it is not a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise VaekitError(f"got {name}={value}; expected a whole number of at least {least}.")
    return int(value)


def standard_error(values: Tensor) -> float:
    """Of the mean of independent values `(N,)`; nan for one.

    Example:
        >>> round(standard_error(torch.tensor([1.0, 2.0, 3.0])), 4)
        0.5774
    """
    return values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan


def is_likelihood(family: Family, kind: str) -> bool:
    """Whether this family normalises over the values that data of this kind take.

    Grey values under a Bernoulli are the usual case that is not (arXiv 1907.06845); a categorical
    over other than the 256 levels of 8 bits is another. A distribution of counts sums to one over
    counts alone; a density of values that are in truth discrete does integrate to one.

    Example:
        >>> from vaekit.families import Bernoulli
        >>> is_likelihood(Bernoulli(4), "binary"), is_likelihood(Bernoulli(4), "grey")
        (True, False)
    """
    if family.space.kind == "counts":
        return kind == "counts"
    levels = family.space.parameter
    if levels is None:
        return True
    return kind == "binary" if levels == 2 else levels == 256 and kind in ("grey", "colour")


def bits_per_dim(log_prob: float, family: Family, data: DataSpec) -> float | None:
    """-log p(x) / (D log 2) for likelihoods of discrete values, in bits; None for most others.

    A density of values that are in truth discrete has no bits. That of 8-bit values dequantised by
    uniform noise has: 8 more on [0, 1), a bound (Theis et al., arXiv 1511.01844, sec. 3.1).

    Example:
        >>> from vaekit.data import Values
        >>> from vaekit.families import Categorical, Gaussian
        >>> grey = DataSpec("t", (16,), "grey", rows=20)
        >>> bits_per_dim(-16 * math.log(256), Categorical(16), grey)
        8.0
        >>> bits_per_dim(-3.0, Gaussian(16, scale=1.0), grey) is None
        True
        >>> noisy = DataSpec("t", (16,), "grey", rows=20, values=Values(dequantise=True))
        >>> bits_per_dim(0.0, Gaussian(16, scale=1.0), noisy)
        8.0
    """
    space, values = family.space, data.values
    discrete = space.kind == "counts" or space.parameter is not None
    exact = discrete and is_likelihood(family, data.kind)
    if not exact and (discrete or not values.dequantise):
        return None
    bits = -log_prob / (math.prod(family.event_shape) * math.log(2))
    return bits if exact else bits + values.bits
