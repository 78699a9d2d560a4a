"""Rows that are not one tensor in memory: sparse counts, images in a file, items of a Dataset.

They stay as they are until a batch is picked; `pick` makes its dense rows. A `Survey` is what a
look at all of them tells.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit._io import bytes_of, in_words
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit._train_options import Data

CHUNK = 1 << 20  # elements: of the pieces in which all rows are looked at, which caches hold
LEAST, TIMES = 2 << 30, 20  # bytes, or times its size, that a file may ask for: the larger
LARGE = 1 << 26  # bytes: more rows than these are not copied when they are taken
SHARE = 16  # nor are more of so many than one in this many
MEMINFO = Path("/proc/meminfo")


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


def check_file(path: Path, wanted: int, options: Data, size: int | None = None) -> None:
    """Refuse a file that asks for more memory than it may, or than is free.

    Args:
        path: of the file.
        wanted: the bytes that reading it takes at its peak.
        options: whose `max_memory` may say how many it may ask for.
        size: of the file, where that is known.

    Raises:
        VaekitError: in both cases.
    """
    size = path.stat().st_size if size is None else size
    given = options.max_memory
    most = max(LEAST, TIMES * size) if given is None else bytes_of("max_memory", given)
    if wanted > most:
        need = f"{-(-wanted // 2**30)}GiB"
        raise VaekitError(
            f"{path} of {in_words(size)} asks for {in_words(wanted)} of memory, more than "
            f"{in_words(most)}: if you trust it, `max_memory={need!r}` lets it."
        )
    check_memory(str(path), wanted, "Take fewer rows, or uint8.")


@dataclass(eq=False)
class Survey:
    """What is known of values after a look at all of them.

    Attributes:
        low, high: the smallest and the largest of those that are no gaps.
        sums: over the rows, of the shape of one: whole numbers of uint8, else float64.
        filled: how many are not 0.
        gaps: how many are NaN.
    """

    low: float = math.inf
    high: float = -math.inf
    sums: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    filled: int = 0
    gaps: int = 0

    def see(self, part: Tensor) -> None:
        """Take some more rows into account."""
        low, high = (end.item() for end in torch.aminmax(part))
        if math.isnan(low + high):
            gaps, self.gaps = part.isnan(), self.gaps + int(part.isnan().sum())
            low = part.masked_fill(gaps, math.inf).min().item()
            high = part.masked_fill(gaps, -math.inf).max().item()
            part = part.masked_fill(gaps, 0)
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        whole = part.dtype == torch.uint8  # int32 sums of a piece are exact, and 30 x faster
        sums = part.sum(0, dtype=torch.int32).long() if whole else part.sum(0, dtype=torch.float64)
        self.sums = self.sums + sums
        self.filled += int(part.count_nonzero())


def survey(parts: Iterable[Tensor]) -> Survey:
    """Return what is known of rows that come in pieces."""
    seen = Survey()
    for part in parts:
        seen.see(part)
    return seen


class Rows(ABC):
    """Rows of one shape and type, `shape = (N, ...)`, that are not a tensor.

    Attributes:
        survey: of random rows, of which one that is picked again may be another, as of augmented
            images: what is known of a row, which no second look would tell.
    """

    shape: torch.Size
    dtype: torch.dtype
    device = torch.device("cpu")
    survey: Survey | None = None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """The number of dims, rows included."""
        return len(self.shape)

    @abstractmethod
    def pick(self, index: Tensor) -> Tensor:
        """Return the dense rows at `index` (int64)."""

    @abstractmethod
    def take(self, index: Tensor) -> Tensor | Rows:
        """Return these rows alone, still not dense where they are many."""

    @abstractmethod
    def to(self, device: torch.device) -> Tensor | Rows:
        """Return the same rows where `device` reads them."""


class SparseRows(Rows):
    """A table `(N, D)` of which only what is not 0 is stored: compressed sparse rows.

    Args:
        values: what is not 0, float32; uint8 of bits.
        columns: its columns, int64.
        starts: where each row begins in both, and the end: int64 `(N + 1,)`.
        width: D.

    Example:
        >>> rows = SparseRows(torch.tensor([5.0, 7.0]), torch.tensor([2, 0]),
        ...     torch.tensor([0, 1, 1, 2]), width=3)
        >>> rows.pick(torch.tensor([2, 0, 1]))
        tensor([[7., 0., 0.],
                [0., 0., 5.],
                [0., 0., 0.]])
    """

    def __init__(self, values: Tensor, columns: Tensor, starts: Tensor, width: int) -> None:
        self.values, self.columns, self.starts = values, columns, starts
        self.shape = torch.Size((len(starts) - 1, width))
        self.device, self.dtype = values.device, values.dtype

    def _positions(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return, for all that the rows at `index` store, the row and where it is stored."""
        first = self.starts[index]
        count = self.starts[index + 1] - first
        row = torch.repeat_interleave(count)
        within = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
        return row, first[row] + within

    def pick(self, index: Tensor) -> Tensor:
        row, position = self._positions(index)
        dense = self.values.new_zeros(len(index), self.shape[1])
        dense[row, self.columns[position]] = self.values[position]
        return dense

    def take(self, index: Tensor) -> SparseRows:
        _, position = self._positions(index)
        ends = (self.starts[index + 1] - self.starts[index]).cumsum(0)
        starts = torch.cat([ends.new_zeros(1), ends])
        return SparseRows(self.values[position], self.columns[position], starts, self.shape[1])

    def to(self, device: torch.device) -> SparseRows:
        values, columns, starts = self.values, self.columns, self.starts
        return SparseRows(values.to(device), columns.to(device), starts.to(device), self.shape[1])


class MappedRows(Rows):
    """Rows that are read when a batch asks for them: images in a file, or items of a Dataset.

    Args:
        array: a numpy memory map `(N, ...)`, or what has a shape and a dtype and is indexed so.
        index: which rows of the array these are; by default all.
        survey: of rows that are random.

    Example:
        >>> rows = MappedRows(np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2))
        >>> rows.take(torch.tensor([2, 1])).pick(torch.tensor([1])).flatten()
        tensor([4, 5, 6, 7], dtype=torch.uint8)
    """

    def __init__(
        self, array: Any, index: Tensor | None = None, survey: Survey | None = None
    ) -> None:
        self.array, self.survey = array, survey
        self.index = torch.arange(array.shape[0]) if index is None else index
        self.shape = torch.Size((len(self.index), *array.shape[1:]))
        self.dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype

    def pick(self, index: Tensor) -> Tensor:
        wanted = self.index[index.cpu()].numpy()
        return torch.from_numpy(np.ascontiguousarray(self.array[wanted]))

    def take(self, index: Tensor) -> MappedRows:
        return MappedRows(self.array, self.index[index.cpu()], self.survey)

    def to(self, device: torch.device) -> MappedRows:
        """Return itself: the rows stay where they are, and batches move."""
        return self


class TakenRows(Rows):
    """Some rows of a large tensor in memory, which stays as it is: batches alone are copied.

    Args:
        rows: the tensor, on the CPU.
        index: which of them these are, int64.

    Example:
        >>> rows = TakenRows(torch.arange(12.0).view(3, 4), torch.tensor([2, 0]))
        >>> rows.shape, rows.pick(torch.tensor([0]))
        (torch.Size([2, 4]), tensor([[ 8.,  9., 10., 11.]]))
    """

    def __init__(self, rows: Tensor, index: Tensor) -> None:
        self.rows, self.index = rows, index
        self.shape = torch.Size((len(index), *rows.shape[1:]))
        self.dtype = rows.dtype

    def pick(self, index: Tensor) -> Tensor:
        return self.rows.index_select(0, self.index[index])

    def take(self, index: Tensor) -> Tensor | Rows:
        return take(self.rows, self.index[index])

    def to(self, device: torch.device) -> Tensor | Rows:
        """Return itself on the CPU; on another device these rows alone, in a tensor."""
        if device.type == "cpu":
            return self
        copy, done = torch.empty(self.shape, dtype=self.dtype, device=device), 0
        for part in chunks(self):
            copy[done : done + len(part)] = part
            done += len(part)
        return copy


def is_random(rows: Tensor | Rows) -> bool:
    """Return whether a row that is picked again may be another."""
    return isinstance(rows, Rows) and rows.survey is not None


def take(rows: Tensor | Rows, index: Tensor) -> Tensor | Rows:
    """Return the rows at `index` (int64) alone: a copy, or `TakenRows` where they are many.

    So are those held out of many, which others keep in memory anyhow.

    Example:
        >>> take(torch.eye(3), torch.tensor([1]))
        tensor([[0., 1., 0.]])
    """
    if not isinstance(rows, Tensor):
        return rows.take(index)
    size = len(index) * math.prod(rows.shape[1:]) * rows.element_size()
    few = size <= LARGE and (rows.nbytes <= LARGE or size <= rows.nbytes // SHARE)
    return rows[index] if few or rows.device.type != "cpu" else TakenRows(rows, index)


def pick(rows: Tensor | Rows, index: Tensor) -> Tensor:
    """Return the rows at `index`, dense, whatever holds them.

    Example:
        >>> pick(torch.eye(3), torch.tensor([1]))
        tensor([[0., 1., 0.]])
    """
    return rows.index_select(0, index) if isinstance(rows, Tensor) else rows.pick(index)


def every(rows: Tensor | Rows, test: Callable[[Tensor], Tensor]) -> bool:
    """Return whether the test of their elements holds for all rows.

    Example:
        >>> every(torch.eye(3), lambda part: part >= 0)
        True
    """
    return all(bool(test(part).all()) for part in chunks(rows))


def chunks(rows: Tensor | Rows) -> Iterator[Tensor]:
    """Yield all rows in order, dense, in pieces that memory holds with ease."""
    size = max(1, CHUNK // max(1, math.prod(rows.shape[1:])))
    if isinstance(rows, Tensor):
        yield from rows.split(size)
    else:
        yield from map(rows.pick, torch.arange(len(rows), device=rows.device).split(size))
