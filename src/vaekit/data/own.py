"""The common end of all readers of a user's own data: free memory, and from rows to a data set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data.dataset import Dataset, Split
from vaekit.data.splits import asked_rows, hold_out
from vaekit.errors import VaekitError
from vaekit.io import in_words
from vaekit.train_options import Data

MEMINFO = Path("/proc/meminfo")
MIN_ROWS = 10
TEST = 0.1


def available() -> int | None:
    """Return the bytes that can be taken without swapping; None where the system does not tell."""
    try:
        lines = MEMINFO.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line[:12] == "MemAvailable")
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def check_memory(what: str, wanted: int, mend: str) -> None:
    """Refuse what does not fit.

    Raises:
        VaekitError: if `wanted` bytes are more than are free.
    """
    free = available()
    if free is not None and wanted > free:
        raise VaekitError(
            f"{what} would take {in_words(wanted)}; {in_words(free)} are free. {mend}"
        )


def own(
    path: str | Path,
    kind: str,
    rows: Split | Mapping[str, Split],
    asked: Data | None = None,
    **facts: Any,
) -> Dataset:
    """Return the data set of rows, some of which are held out where they bring no test split.

    Args:
        path: where the rows come from.
        kind: as in `Dataset`.
        rows: all of them, or the splits "train" and perhaps "validation" and "test".
        asked: how it is to be read; by default a tenth becomes the test split, drawn by
            `asked.split_seed`.
        facts: as in `named`.

    Raises:
        VaekitError: as `split_up` does.

    Example:
        >>> own("mine.csv", "table", Split(torch.rand(30, 2))).test
        Split(3 rows, (2,), torch.float32)
    """
    asked = Data() if asked is None else asked
    return named(path, kind, split_up(path, rows, asked.test, asked.split_seed), **facts)


def split_up(
    path: str | Path, rows: Split | Mapping[str, Split], test: float | None, split_seed: int
) -> dict[str, Split]:
    """Return the splits, test rows held out where there are none.

    Raises:
        VaekitError: for fewer than `MIN_ROWS` training rows, where no training row is left, or
            `test` of rows that bring a test split.
    """
    parts = {"train": rows} if isinstance(rows, Split) else dict(rows)
    check_rows(path, len(parts["train"]))
    if "test" not in parts:
        amount = asked_rows("test", TEST if test is None else test, len(parts["train"]))
        parts["train"], parts["test"] = hold_out(parts["train"], amount, split_seed)
    elif test is not None:
        raise _unsuited("test", path, "it brings its own test rows")
    return parts


def named(
    path: str | Path,
    kind: str,
    parts: Mapping[str, Split],
    *,
    name: str = "",
    note: str = "",
    class_names: tuple[str, ...] = (),
    column_names: tuple[str, ...] = (),
    shuffled: bool = False,
) -> Dataset:
    """Return the data set of these splits.

    Args:
        path: where they come from; its stem becomes the name.
        kind, parts, class_names, column_names, shuffled: as in `Dataset`.
        name: of rows that were given and come from no path.
        note: what is to be known of the values.
    """
    source = "given" if name else str(path)
    labels = [int(part.labels.max()) for part in parts.values() if part.labels is not None]
    return Dataset(
        name or Path(path).absolute().stem,
        kind,
        parts["train"],
        parts["test"],
        len(class_names) or max(labels, default=-1) + 1,
        source=source,
        note=f"{source}; {note}" if note else source,
        validation=parts.get("validation"),
        class_names=class_names,
        column_names=column_names,
        shuffled=shuffled,
    )


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
    return torch.from_numpy(np.unique(np.asarray(keys), return_inverse=True)[1].astype(np.int64))


def refuse(path: str | Path, asked: Data, **options: str) -> None:
    """Refuse options that mean nothing for this path, each with what to do instead.

    Raises:
        VaekitError: for the first of `options` that is set in `asked`.
    """
    for name, mend in options.items():
        if getattr(asked, name):
            raise _unsuited(name, path, mend)


def _unsuited(name: str, path: str | Path, mend: str) -> VaekitError:
    return VaekitError(f"`{name}` does not suit {path}: {mend}.")
