"""Whether a number is a likelihood, and in which units it may be printed."""

from __future__ import annotations

import math

from vaekit.conditional import Family
from vaekit.data import DataSpec

__all__ = ["bits_per_dim", "is_likelihood"]


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
