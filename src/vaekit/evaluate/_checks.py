"""What evaluation refuses, what its records share, and in which units numbers may be printed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from vaekit.data import DataSpec
from vaekit.distributions import Offer, Space
from vaekit.errors import VaekitError, at_least
from vaekit.models import offered

T = TypeVar("T")
MOST_DRAWS = 1_000_000  # of z for a row


class Numbers(dict[str, Any]):
    """A record of numbers by name, as items and as attributes.

    Example:
        >>> Numbers(mean=0.5).mean
        0.5
    """

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"nothing that was measured is called {name}")
        return self[name]


def some(parts: Iterable[T]) -> list[T]:
    """Return the results of all batches, or raise an error where there are none."""
    if not (results := list(parts)):
        raise VaekitError("got no rows to measure; expected at least one.")
    return results


def draws_of(name: str, value: int, least: int) -> int:
    """Return a number of draws of each row; refuse one that nobody would wait for.

    Example:
        >>> draws_of("samples", 50, 0)
        50
    """
    if at_least(name, value, least) > MOST_DRAWS:
        raise VaekitError(f"got `{name}={value}`; expected at most {MOST_DRAWS:,}.")
    return value


def refuse_no_density(model: Any, what: str) -> None:
    """Raise an error where the posterior has no density, and so the model no `what`."""
    if Offer.DENSITY not in offered(model):
        family = getattr(getattr(model, "posterior", None), "family", model)
        raise VaekitError(
            f"{type(family).__name__} has no density, so the model has no {what}: measure the "
            "reconstructions of an autoencoder, or use a Gaussian posterior."
        )


def refuse_gaps(name: str, value: Tensor) -> None:
    """Raise an error where `value` holds numbers that are not finite."""
    if bad := (~torch.isfinite(value)).sum().item():
        raise VaekitError(
            f"{bad} of the {value.numel()} numbers of {name} are not finite; drop those rows, or "
            "mask them where the model takes a mask."
        )


def refuse_not_a_number(what: str, values: Tensor) -> None:
    """Raise an error where a column of `values` (K, B) holds what is not a number."""
    if bad := values.isnan().any(0).sum().item():
        raise VaekitError(
            f"{what} of {bad} of {values.shape[1]} rows is not a number: the model's weights "
            "are not finite, or too large for its precision."
        )


def standard_error(values: Tensor, groups: Tensor | None = None) -> float:
    """Return the standard error of the mean of values `(N,)`; nan for one, and for one group.

    That of independent values is their standard deviation over sqrt(N). Rows of one group, as the
    images of one person, are alike: of G groups it is the root of
    G / (G - 1) sum_g (sum_(n in g) (v_n - mean))^2, over N, which is the same where each row is a
    group of its own.

    Args:
        values: of the rows.
        groups: int64 `(N,)`, of each row; None where rows are independent.

    References:
        Liang and Zeger 1986, Longitudinal data analysis using generalized linear models.

    Example:
        >>> values = torch.tensor([1.0, 2.0, 3.0, 4.0])
        >>> round(standard_error(values), 4)
        0.6455
        >>> round(standard_error(values, torch.tensor([7, 7, 5, 5])), 4)
        1.0
    """
    apart = values - values.mean()
    if groups is not None:
        names, of = groups.to(values.device).unique(return_inverse=True)
        apart = apart.new_zeros(len(names)).index_add_(0, of, apart)
    count = len(apart)
    if count < 2:
        return math.nan
    return math.sqrt(count / (count - 1)) * apart.norm().item() / len(values)


def counted(rows: int, groups: Tensor | None = None, what: str = "rows") -> str:
    """Return over what an error is: groups where rows have some.

    Example:
        >>> counted(1000), counted(4, torch.tensor([7, 7, 5, 5])), counted(10, what="seeds")
        ('1,000 rows', '2 groups', '10 seeds')
    """
    count, what = (rows, what) if groups is None else (len(groups.unique()), "groups")
    return f"{count:,} {what.removesuffix('s') if count == 1 else what}"


def over_words(over: str, results: Mapping[str, Any] | None = None) -> str:
    """Return in words what an error is over; that one row, or one group, has none.

    Metrics of `results` whose own error is over something else are named.

    Example:
        >>> over_words("6 groups"), over_words("1 group")
        ('± is one standard error over 6 groups', '1 group has no standard error')
        >>> over_words("6 groups", {"agreement": {"standard_error_over": "1,000 images"}})
        '± is one standard error over 6 groups; that of agreement is over 1,000 images'
    """
    one = over.startswith("1 ")
    words = [f"{over} has no standard error" if one else f"± is one standard error over {over}"]
    for name, record in (results or {}).items():
        own = record.get("standard_error_over", over) if isinstance(record, dict) else over
        if own != over and not own.startswith("1 "):
            words.append(f"that of {name} is over {own}")
    return "; ".join(words)


def average(values: Tensor, groups: Tensor | None = None) -> tuple[float, float]:
    """Return the mean over rows `(N,)` and its standard error."""
    return values.mean().item(), standard_error(values, groups)


def is_likelihood(space: Space, kind: str) -> bool:
    """Return whether a distribution on this space normalizes over data of this kind.

    Gray values under a Bernoulli are the usual case that does not (arXiv 1907.06845); a categorical
    over other than the 256 levels of 8 bits is another. A distribution of counts sums to one over
    counts alone; a density of values that are in truth discrete does integrate to one.

    Example:
        >>> from vaekit.distributions import pixels
        >>> is_likelihood(pixels(4, levels=2), "binary"), is_likelihood(pixels(4, levels=2), "gray")
        (True, False)
    """
    if not space.normalized:
        return False
    if space.kind == "counts":
        return kind == "counts"
    if space.levels is None:
        return True
    if space.levels == 2:
        return kind == "binary"
    return space.levels == 256 and kind in ("gray", "color")


def bits_per_dim(log_prob: float, space: Space, data: DataSpec) -> float | None:
    """Return -log p(x) / (D log 2) for likelihoods of discrete values; None for most others.

    A density of values that are in truth discrete has no bits. That of 8-bit values dequantized by
    uniform noise has: 8 more on [0, 1), a bound (Theis et al., arXiv 1511.01844, sec. 3.1).

    Example:
        >>> from vaekit.data import Transform
        >>> from vaekit.distributions import pixels, reals
        >>> gray = DataSpec("t", (16,), "gray", rows=20)
        >>> bits_per_dim(-16 * math.log(256), pixels(16, levels=256), gray)
        8.0
        >>> bits_per_dim(-3.0, reals(16), gray) is None
        True
        >>> noisy = DataSpec("t", (16,), "gray", rows=20, values=Transform(dequantize=True))
        >>> bits_per_dim(0.0, reals(16), noisy)
        8.0
    """
    exact = space.discrete and is_likelihood(space, data.kind)
    if not exact and (space.discrete or not data.values.dequantize):
        return None
    bits = -log_prob / (math.prod(space.shape) * math.log(2))
    return bits if exact else bits + data.values.bits
