"""Which rows are for training, for validation and for test."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vaekit.data.dataset import Split, generator
from vaekit.errors import VaekitError


def hold_out(rows: Split, test_rows: int, seed: int = 0) -> tuple[Split, Split]:
    """Split rows at random into training and test rows, for one `seed` alike on every machine.

    Rows of one group stay together: the test split is then as much larger as that takes.

    Raises:
        VaekitError: where no training row is left.

    Example:
        >>> [len(part) for part in hold_out(Split(torch.rand(50, 2)), 5)]
        [45, 5]
    """

    # RandomState's stream is frozen by numpy's policy; torch's and default_rng's may change.
    def shuffle(n: int) -> Tensor:
        return torch.from_numpy(np.random.RandomState(seed).permutation(n))

    return _cut(rows, _order(rows, shuffle), "test", test_rows)


def partition(
    train: Split, validation: float = 0.0, limit: int | None = None, seed: int | None = 0
) -> tuple[Split, Split | None]:
    """Shuffle the training rows by `seed` and split off a validation set.

    Args:
        train: the training rows; neither changed nor shared.
        validation: a fraction of the rows below 1, a count from 1 on, 0 for none. Rows of one
            group stay together: it is then as much larger as that takes.
        limit: keeps that many of the shuffled rows, before validation is taken.
        seed: of the shuffle, which has its own generator; None where `limited` has shuffled them.

    Returns:
        The training rows, and the validation rows or None.

    Raises:
        VaekitError: for a negative or unusable number, or where no training row is left.

    Example:
        >>> train, validation = partition(Split(torch.rand(100, 2)), 0.1, limit=50)
        >>> len(train), len(validation)
        (45, 5)
    """
    if limit is not None and limit < 1:
        raise VaekitError(f"got `limit={limit}`; expected at least 1 row, or None for all.")
    order = torch.arange(len(train)) if seed is None else _shuffled(train, seed)
    train, held_out = _cut(train, order[:limit], "validation", validation)
    return train, held_out if len(held_out) else None


def limited(train: Split, limit: int, seed: int) -> Split:
    """Return the rows that `partition` takes of these under `limit`, in its order.

    Example:
        >>> rows = Split(torch.rand(100, 2))
        >>> whole, few = partition(rows, limit=20), partition(limited(rows, 20, 0), seed=None)
        >>> torch.equal(whole[0].images, few[0].images)
        True
    """
    return train.take(_shuffled(train, seed)[:limit])


def _shuffled(train: Split, seed: int) -> Tensor:
    def shuffle(n: int) -> Tensor:
        return torch.randperm(n, generator=generator(seed, "partition"))

    return _order(train, shuffle)


def asked_rows(what: str, amount: float, rows: int) -> int:
    """Return how many of `rows` a fraction below 1 is (1 at least), or a count from 1 on.

    Raises:
        VaekitError: for a number that is neither.

    Example:
        >>> asked_rows("test", 0.1, 50), asked_rows("test", 7, 50)
        (5, 7)
    """
    whole = amount < 1 or float(amount).is_integer()
    if not math.isfinite(amount) or amount < 0 or not whole:
        raise VaekitError(
            f"got `{what}={amount:g}`; expected a fraction from 0 to below 1, or a whole number of "
            "rows."
        )
    if 0 < amount < 1:
        return max(1, round(amount * rows))
    return int(amount)


def _order(rows: Split, shuffle: Callable[[int], Tensor]) -> Tensor:
    """Return all rows in random order; the rows of a group, if there are any, side by side."""
    if rows.groups is None:
        return shuffle(len(rows))
    names, group = rows.groups.unique(return_inverse=True)
    return shuffle(len(names)).argsort()[group].argsort(stable=True)


def _cut(rows: Split, order: Tensor, what: str, amount: float) -> tuple[Split, Split]:
    """Return the rows of `order` after the first `amount`, and those, on to a group's end."""
    count = asked_rows(what, amount, len(order))
    if rows.groups is not None and 0 < count < len(order):
        group = rows.groups[order]
        others = (group[count:] != group[count - 1]).nonzero()
        count = count + int(others[0]) if len(others) else len(order)
    if count >= len(order):
        raise VaekitError(
            f"`{what}={amount:g}` takes {count} of {len(order)} training rows and leaves "
            f"none; take less (a fraction below 1, or a count)."
        )
    return rows.take(order[count:]), rows.take(order[:count])


def spread(rows: int, wanted: int) -> Tensor:
    """Return at most `wanted` of 0 .. rows - 1, evenly spread: a split may be sorted.

    Example:
        >>> spread(10, 4), spread(3, 4)
        (tensor([0, 2, 5, 7]), tensor([0, 1, 2]))
    """
    count = min(rows, wanted)
    return torch.arange(count) * rows // count
