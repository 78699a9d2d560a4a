"""What evaluation refuses, and what its records share."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.models import VAE

__all__ = ["refuse_gaps", "refuse_no_density", "refuse_not_a_number", "standard_error", "whole"]


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
