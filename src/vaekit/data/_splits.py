"""Which rows are for training, validation and test, and the data set that they become."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit._io import note
from vaekit.data._dataset import Dataset, Split, generator
from vaekit.data._rows import pick
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit._train_options import Data
    from vaekit.data._transforms import DataSpec

MIN_ROWS = 5
TEST = 0.1
UNTESTED = "no row is held out for tests"
UNLIKE = 1000  # scales of columns that one deviation of a likelihood does not suit


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


def count_rows(what: str, amount: float, rows: int) -> int:
    """Return how many of `rows` a fraction below 1 is (1 at least), or a count from 1 on.

    Raises:
        VaekitError: for a number that is neither.

    Example:
        >>> count_rows("test", 0.1, 50), count_rows("test", 7, 50)
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
    count = count_rows(what, amount, len(order))
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


def dataset_of(
    path: str | Path, kind: str, rows: Split | Mapping[str, Split], options: Data, **facts: Any
) -> Dataset:
    """Return the data set of rows, some of which are held out where they bring no test split.

    Args:
        path: where the rows come from.
        kind: as in `Dataset`.
        rows: all of them, or the splits "train" and perhaps "validation" and "test".
        options: by default a tenth becomes the test split, drawn by `options.split_seed`.
        facts: as in `joined`.

    Raises:
        VaekitError: as `split_up` does.

    Example:
        >>> from vaekit._train_options import Data
        >>> dataset_of("mine.csv", "table", Split(torch.rand(30, 2)), Data()).test
        Split(3 rows, (2,), torch.float32)
    """
    parts = split_up(path, rows, options)
    images, scaled = parts["train"].images, options.standardize or facts.get("column_names")
    said = facts.get("said", "")
    plain = kind == "table" and not scaled and taken(options) is None
    if plain and isinstance(images, Tensor) and "standardize" not in said:
        facts["said"] = "; ".join(filter(None, (said, unscaled(images))))
    return joined(path, kind, parts, **facts)


def unscaled(rows: Tensor) -> str:
    """Return what is to be said of a table whose columns differ much in scale; else nothing.

    Example:
        >>> unscaled(torch.arange(20.0)[:, None] * torch.tensor([1e6, 1e-3]))
        'columns vary by 0.0059 to 5.9e+06, and are not standardized (`standardize` does it)'
    """
    spread = rows.float().std(0)
    spread = spread[spread > 0]
    if not len(spread) or spread.max() <= UNLIKE * spread.min():
        return ""
    scales = f"{spread.min():.2g} to {spread.max():.2g}"
    return f"columns vary by {scales}, and are not standardized (`standardize` does it)"


def split_up(
    path: str | Path, rows: Split | Mapping[str, Split], options: Data
) -> dict[str, Split]:
    """Return the splits, test rows held out where there are none, unless `test` is 0.

    Of rows that a trained model takes none are: all are in "train", and one again in "test".

    Raises:
        VaekitError: for fewer than `MIN_ROWS` training rows, where no training row is left, or
            `test` of rows that bring a test split.
    """
    parts, test = {"train": rows} if isinstance(rows, Split) else dict(rows), options.test
    if taken(options) is not None:
        rows = together([*parts.values()])
        return {"train": rows, "test": rows.take(torch.zeros(1, dtype=torch.int64))}
    check_rows(path, len(parts["train"]))
    if "test" not in parts and test == 0:
        return parts
    if "test" not in parts:
        count = count_rows("test", TEST if test is None else test, len(parts["train"]))
        parts["train"], parts["test"] = hold_out(parts["train"], count, options.split_seed)
    elif test is not None:
        asked = "test" if options.test_data is None else "test_data"
        raise _unsuited(asked, path, "it brings its own test rows")
    return parts


def joined(
    path: str | Path,
    kind: str,
    parts: Mapping[str, Any],
    *,
    name: str = "",
    class_names: tuple[str, ...] = (),
    **facts: Any,
) -> Dataset:
    """Return the data set of these splits.

    Args:
        path: where they come from; its stem becomes the name.
        kind, class_names: as in `Dataset`.
        parts: the splits by name.
        name: of rows that were given and come from no path.
        facts: more of `Dataset`, as `said`.
    """
    source = "given" if name else str(path)
    labels = [int(part.labels.max()) for part in parts.values() if part.labels is not None]
    if "test" not in parts:
        parts = {**parts, "test": parts["train"]}
        facts["untested"] = True
        facts["said"] = "; ".join(
            filter(None, (facts.get("said", ""), "no row is held out for tests"))
        )
    return Dataset(
        name or Path(path).absolute().stem,
        kind,
        classes=len(class_names) or max(labels, default=-1) + 1,
        source=source,
        note=source,
        class_names=class_names,
        **parts,
        **facts,
    )


def together(parts: Sequence[Split]) -> Split:
    """Return the rows of several splits, one after the other; `ids` of rows without are numbers."""
    if len(parts) == 1:
        return parts[0]
    every = [torch.arange(len(part)) for part in parts]
    ids = [i.numpy() if p.ids is None else p.ids for p, i in zip(parts, every, strict=True)]
    images = torch.cat([pick(p.images, i) for p, i in zip(parts, every, strict=True)])
    labels = [part.labels for part in parts if part.labels is not None]
    both = torch.cat(labels) if len(labels) == len(parts) else None
    return Split(images, both, ids=np.concatenate(ids))


def taken(options: Data) -> DataSpec | None:
    """Return what a trained model takes, where rows are read for one; None for a training."""
    return getattr(options, "takes", None)


def check_rows(path: str | Path, rows: int, what: str = "rows") -> None:
    """Refuse what is too little to train on.

    Raises:
        VaekitError: for fewer than `MIN_ROWS` rows.
    """
    if rows < MIN_ROWS:
        raise VaekitError(f"{path} has {rows} {what}; expected {MIN_ROWS} at least.")


def keyed(keys: np.ndarray | list[str]) -> Tensor:
    """Return a number for each distinct key, int64 `(N,)`.

    Example:
        >>> keyed(["b", "a", "b"])
        tensor([1, 0, 1])
    """
    if isinstance(keys, np.ndarray):
        return torch.from_numpy(np.unique(keys, return_inverse=True)[1].astype(np.int64))
    # Not by an array of text, in which each key takes as much as the longest one.
    number = {key: i for i, key in enumerate(sorted(set(keys)))}
    return torch.tensor([number[key] for key in keys])


def whole(cell: str) -> str:
    """Return a whole number as it is usually written, exactly; empty where a text is none.

    Example:
        >>> [whole(cell) for cell in ("9007199254740993", "1.0", "1e3", "-0", "1.5", "x")]
        ['9007199254740993', '1', '1000', '0', '', '']
    """
    try:
        return str(int(Decimal(cell))) if "_" not in cell and float(cell).is_integer() else ""
    except (ValueError, ArithmeticError):
        return ""


def classes_of(options: Data) -> DataSpec | None:
    """Return the trained model whose classes labels are of; None where they are their own."""
    return None if getattr(options, "free", False) else taken(options)


def numbers_of(cells: Sequence[str], takes: DataSpec) -> Tensor | None:
    """Return the numbers of labels by the classes of a training; None where one is not among them.

    Raises:
        VaekitError: where the model is conditioned on them, and there is another.
    """
    number = {name: i for i, name in enumerate(takes.class_names or map(str, range(takes.classes)))}
    cells = [cell if cell in number else whole(cell) or cell for cell in cells]
    strange = sorted({cell for cell in cells if cell not in number})
    if strange:
        text = f"the label '{strange[0]}' is none of this run's: {', '.join([*number][:8])}"
        text = text if number else "this run was trained without labels"
        if takes.labeled:
            raise VaekitError(f"{text}; it is conditioned on them: name one of these.")
        note(f"{text}; the labels of these rows are left out.")
        return None
    return torch.tensor([number[cell] for cell in cells])


def refuse(path: str | Path, options: Data, **mends: str) -> None:
    """Refuse options that mean nothing for this path, each with what to do instead.

    Raises:
        VaekitError: for the first of `mends` that is set in `options`.
    """
    for name, mend in mends.items():
        value = getattr(options, name)
        if value or isinstance(value, float):  # a count of rows, 0 too
            raise _unsuited(name, path, mend)


def _unsuited(name: str, path: str | Path, mend: str) -> VaekitError:
    return VaekitError(f"`{name}` does not suit {path}: {mend}.")
