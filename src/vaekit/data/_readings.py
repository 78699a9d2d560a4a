"""How the values of arrays are read: what kind they are, and which range they have."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data._rows import CHUNK, LARGE
from vaekit.data._splits import taken
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit._train_options import Data
    from vaekit.data._transforms import DataSpec

MAPPED_ENDS = (-1.0, 1.0)
MAPPED = "values from -1 to 1 mapped by (x + 1) / 2"
EXACT = 1 << 24  # float32 holds every whole number up to here
HAIR = 1 / 255  # floats outside their range by no more than a level are clipped
ROOM = 0.5  # of a range of its own: so far other rows may lie outside it
CHANNELS = 16  # at most
WIDEST = 1e37  # of images: what is larger overflows where a range is scaled
WIDE = 1000.0  # a table with larger values trains badly as it is


def as_images(what: str, array: np.ndarray, shape: str | None) -> np.ndarray:
    """Return rows `(N, D)` as images of the shape, if there is one; whole levels become uint8.

    Raises:
        VaekitError: for another D; `what` names the rows.

    Example:
        >>> as_images("mine", np.arange(12.0).reshape(2, 6), "2x3").shape
        (2, 2, 3)
    """
    if not shape or array.ndim != 2:
        return array
    sides = tuple(map(int, shape.split("x")))
    if array.shape[1] != math.prod(sides):
        called = f"{' x '.join(map(str, sides))} = {math.prod(sides)}"
        raise VaekitError(f"`shape={shape}` asks for {called} values; {what} has {array.shape[1]}.")
    images = array.reshape(-1, *sides)
    levels = images.dtype.kind in "iuf" and all(
        ((part >= 0) & (part <= 255) & (part == np.rint(part))).all() for part in _blocks(images)
    )
    above = levels and images.size > 0 and images.max() > 1  # 0 and 1 alone are bits
    return images.astype(np.uint8) if above or (levels and images.dtype.kind != "f") else images


def as_rows(
    what: str,
    array: np.ndarray,
    takes: DataSpec | None = None,
    kind: str | None = None,
    gaps: bool | None = None,
) -> np.ndarray:
    """Return rows, channels first, of a type that is read: uint8, float32, or int32 of counts.

    Rows of a table that a trained model takes are of the type that its training rows had; else
    `kind` may say what they are. With `gaps` NaN stands for what is not seen.

    Raises:
        VaekitError: for another shape or type, and values that are not finite; `what` names it.
    """
    if array.size == 0:
        raise VaekitError(f"{what} is empty: shape {array.shape}; expected rows.")
    array = _channels_first(what, array)
    if array.dtype.kind not in "iubf":
        raise VaekitError(f"{what} has type {array.dtype}; expected integers, bool, or floats.")
    table, whole = array.ndim == 2, array.dtype.kind in "iub"
    if takes is not None and table and takes.kind in ("table", "counts"):
        levels = takes.top == 255 and array.dtype == np.uint8
        array = array if levels or not whole else array.astype(np.float64)
        if takes.values.offset is not None and not levels:
            array = array - takes.values.offset.numpy()
        return array if levels else finite(what, array, gaps or None)
    if kind == "counts" and table and takes is None:
        return counts_of(what, array).astype(np.int32, copy=False)
    if kind == "table" and table and whole and takes is None:
        return finite(what, array)
    if array.dtype == np.bool_:
        return array * np.uint8(255)
    if array.dtype == np.uint8:
        return array
    if table and whole:
        return counts_of(what, array).astype(np.int32, copy=False)
    if whole:
        return _integers(what, array)
    return finite(what, array, gaps if takes is None else gaps or None)


def _channels_first(what: str, array: np.ndarray) -> np.ndarray:
    """Return rows `(N, D)` as they are, images as `(N, C, H, W)`.

    Channels are the first dim or the last: where one has 1 or 3 of them, it is it; else what is
    smaller than both other sides, and at most `CHANNELS`.
    """
    shape: tuple[int, ...] = array.shape
    if len(shape) == 2:
        return array
    if len(shape) == 3:
        return array[:, None]
    if len(shape) == 4:
        plain = [axis for axis in (1, 3) if shape[axis] in (1, 3)]
        sides = {1: min(shape[2:]), 3: min(shape[1:3])}
        few = [axis for axis in (1, 3) if shape[axis] < min(sides[axis], CHANNELS + 1)]
        for axis in [*plain, *few]:
            return array if axis == 1 else array.transpose(0, 3, 1, 2)
    volumes = "; of volumes, take slices" if len(shape) in (4, 5) else ""
    raise VaekitError(
        f"{what} has shape {shape}; expected (N, H, W), (N, H, W, C) or (N, C, H, W) with at most "
        f"{CHANNELS} channels, or (N, D){volumes}."
    )


def _integers(what: str, array: np.ndarray) -> np.ndarray:
    """Return the integers of images as int32, which float32 holds exactly."""
    low, high = int(array.min()), int(array.max())
    if not -EXACT <= low <= high <= EXACT:
        raise VaekitError(
            f"{what} goes from {low} to {high}; integers of images go from {-EXACT:,} to {EXACT:,}."
        )
    return array.astype(np.int32, copy=False)


def _check_kind(what: str, array: np.ndarray, kind: str | None) -> None:
    """Refuse a kind that rows of this shape cannot be."""
    images, rows = array.ndim > 2, f"has rows of shape {array.shape[1:]}"
    channels = array.shape[1] if images else 0
    fits = {"gray": channels == 1, "color": channels > 1, "counts": not images}
    fits |= {"table": not images}
    if not fits.get(kind or "", True):
        others = {0: "table, counts or binary", 1: "gray or binary"}
        mend = others.get(channels, "color or binary")
        raise VaekitError(f"`kind={kind}` does not suit {what}, which {rows}: {mend}.")


def counts_of(what: str, array: np.ndarray) -> np.ndarray:
    """Return counts as they are.

    Raises:
        VaekitError: for what is not whole, negative, or too large for float32.
    """
    if array.dtype.kind not in "iufb":
        raise VaekitError(f"{what} has type {array.dtype}; expected counts.")
    array = array.astype(np.uint8) if array.dtype.kind == "b" else array
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if not 0 <= low <= high <= EXACT:
        raise VaekitError(
            f"{what} goes from {low:g} to {high:g}; counts go from 0 to {EXACT:,}. "
            f"Of a table that is no counts say `kind=table`, or store it as float32."
        )
    if array.dtype.kind == "f":
        broken = (part[part != np.rint(part)][:1] for part in _blocks(array))
        for value in (one[0] for one in broken if one.size):
            raise VaekitError(
                f"{what} has the value {value:g}; counts are whole numbers. "
                f"Give the raw counts, neither normalized nor logarithms."
            )
    return array


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield some rows at a time: a mask of all of them would take as much memory again."""
    size = max(1, CHUNK // max(1, math.prod(array.shape[1:])))
    return (array[start : start + size] for start in range(0, len(array), size))


def finite(what: str, array: np.ndarray, gaps: bool | None = None) -> np.ndarray:
    """Return numbers as float32.

    Args:
        what: names them.
        array: the numbers.
        gaps: whether NaN is a gap; None where it cannot be one.

    Raises:
        VaekitError: for NaN that is no gap, and what is infinite as float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        array = array.astype(np.float32, copy=False)
    wrong = np.isinf if gaps else lambda part: ~np.isfinite(part)
    counts = [np.count_nonzero(wrong(part)) for part in _blocks(array)]
    if any(counts):
        sort = "infinite" if gaps else "NaN or infinite"
        blocks = zip(accumulate(map(len, _blocks(array)), initial=0), _blocks(array), strict=False)
        start, block = next(each for each in blocks if wrong(each[1]).any())
        row = start + int(wrong(block.reshape(len(block), -1)).any(1).argmax())
        mend = " Where NaN is a gap, `missing=allow` trains on what is seen."
        holes = gaps is False and not any(np.isinf(part).any() for part in _blocks(array))
        raise VaekitError(
            f"{what} has {sum(counts)} values that are {sort} (or too large for float32), the "
            f"first in row {row}; remove those rows.{mend if holes else ''}"
        )
    return array


@dataclass(frozen=True)
class Reading:
    """What rows are, and how an array of them is stored.

    Attributes:
        kind: as in `Dataset`.
        low, high: of images, but for those of 8 bits: these become 0 and 1.
        own: whether the model sees that range, as the data have it.
        clip: whether some values lie outside it, and are clipped.
        bytes: whether integers are levels of 8 bits.
        cut: whether levels of 8 bits are scaled by that range, too.
        top: what becomes 255 in binary rows.
        said: what is to be known of the values.
    """

    kind: str
    low: float = 0.0
    high: float = 1.0
    own: bool = False
    clip: bool = False
    bytes: bool = False
    cut: bool = False
    top: float | None = None
    said: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """What a data set keeps of it."""
        ends = (float(self.low), float(self.high))
        own, levels = (ends, None) if self.own else (None, ends if ends != (0, 1) else None)
        return {"levels": levels, "top": self.top, "own": own}

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return what is stored, uint8 or float32, of what `as_rows` returned."""
        if self.bytes and rows.dtype == np.int32:
            rows = rows.astype(np.uint8)
        if rows.dtype == np.int32 or (self.cut and rows.dtype == np.uint8):
            rows = rows.astype(np.float32)
        if rows.dtype == np.float32 and self.clip:
            rows = rows.clip(self.low, self.high)
        if rows.dtype == np.float32 and (self.low, self.high) != (0, 1):
            rows = rows - self.low
            rows /= self.high - self.low  # in place: once more would be as much memory again
        if self.top in (None, 255):
            return rows
        return np.multiply(rows, 255, dtype=np.uint8, casting="unsafe")


def reading(
    what: str,
    parts: Sequence[np.ndarray],
    takes: DataSpec | None = None,
    kind: str | None = None,
    levels: tuple[float, float] | None = None,
) -> Reading:
    """Return how these splits, or samples of their values, are read: all alike.

    Floats of images are in [0, 1], or in [-1, 1] and reach well below 0; other ranges stay as they
    are. What is a hair outside is clipped. Integers of images are levels of 8 bits if they fit into
    them; else the least and the largest become 0 and 1.

    Args:
        what: names them in errors.
        parts: as `as_rows` returns them; the training rows are the first.
        takes: what a trained model takes: they are read as its training rows were.
        kind: what they are, where it is said.
        levels: what becomes 0 and 1 in images, where it is said.

    Raises:
        VaekitError: for splits of different ranges, floats that look like levels, values that are
            not of the kind, and those outside the range that the model takes.
    """
    if takes is not None:
        return _as_trained(what, parts, takes)
    _check_kind(what, parts[0], kind)
    if kind == "counts" or (kind != "binary" and _are_counts(parts)):
        return Reading("counts")
    how = _ranged(what, parts, kind, levels)
    if (top := None if how.own else _top([how(part) for part in parts])) and kind in (
        None,
        "binary",
    ):
        return Reading("binary", how.low, how.high, clip=how.clip, top=top, said=how.said)
    if kind == "binary":
        low, high = range_of(parts)
        mend = ": `binarize` makes it so" if parts[0].ndim > 2 else ""
        raise VaekitError(
            f"`kind=binary` does not suit {what}, which goes from {low:g} to {high:g} and is not 0 "
            f"and 1 only (of uint8, 0 and 255){mend}."
        )
    return how


def _are_counts(parts: Sequence[np.ndarray]) -> bool:
    table = parts[0].ndim == 2 and all(part.dtype == np.int32 for part in parts)
    return table and range_of(parts) != (0, 1)


def kind_of(what: str, parts: Sequence[np.ndarray], options: Data) -> Reading:
    """Return how float32 rows of a table are read, all splits alike: "binary" of 0 and 1 alone.

    Raises:
        VaekitError: where the values are not of the kind that `options` ask for.

    Example:
        >>> from vaekit._train_options import Data
        >>> rows = np.float32([[0, 1], [1, 0]])
        >>> kind_of("t", [rows], Data()).kind, kind_of("t", [rows + 1], Data(kind="counts")).kind
        ('binary', 'counts')
    """
    takes = taken(options)
    if options.kind == "counts" and takes is None:
        for part in parts:
            counts_of(what, part)
    return reading(what, parts, takes, options.kind)


def _top(parts: Sequence[np.ndarray]) -> int | None:
    """Return the value of two that binary rows have besides 0: 1, or 255 of uint8; else None."""
    for top in (1, 255) if parts[0].dtype == np.uint8 else (1,):
        ends = (((p == 0) | (p == top)).all() for part in parts for p in _blocks(part))
        if all(ends) and range_of(parts) == (0, top):
            return top
    return None


def _ranged(
    what: str,
    parts: Sequence[np.ndarray],
    kind: str | None,
    levels: tuple[float, float] | None = None,
) -> Reading:
    """Return how rows that are neither counts nor binary are read, by the range of floats."""
    shape = parts[0].shape
    plain = "table" if len(shape) == 2 else "gray" if shape[1] == 1 else "color"
    if len(shape) == 2:
        if levels is not None:
            raise VaekitError(f"`levels` is for images; {what} has rows of shape {shape[1:]}.")
        return Reading(plain, said=_of_table(parts))
    if levels is not None or all(part.dtype == np.int32 for part in parts):
        return _of_levels(plain, parts, levels)
    floats = [part for part in parts if part.dtype == np.float32]
    low, high = range_of(floats) if floats else (0.0, 1.0)
    _check_alike(what, parts, low, high)
    text = f"values from {low:.7g} to {high:.7g}"
    least = 0 if low >= -HAIR else -1
    if low >= least - HAIR and high <= 1 + HAIR and (least == 0 or low <= -ROOM):
        clip = low < least or high > 1
        said = [MAPPED] if least else []
        said += [f"{text} are clipped to [{least}, 1]"] if clip else []
        return Reading(plain, least, 1.0, clip=clip, said="; ".join(said))
    if kind is None and low >= 0 and 100 < high < 256:
        raise VaekitError(
            f"{what} has floats from {low:g} to {high:g}; expected 0 to 1, or -1 to 1. "
            f"Scale them to [0, 1] (`levels='0,255'` divides by 255), or store uint8; "
            f"`kind={plain}` keeps this range."
        )
    if len(floats) < len(parts):
        raise VaekitError(f"{what} has uint8 rows and floats from {low:g} to {high:g}: give alike.")
    if max(-low, high) > WIDEST:
        raise VaekitError(f"{what} has {text}, too large for float32 to scale: make them smaller.")
    low, high = range_of(floats[:1])  # other splits may be a little wider
    high = high if high > low else low + 1
    return Reading(plain, low, high, own=True, said=f"{text} keep their own range")


def _of_levels(
    plain: str, parts: Sequence[np.ndarray], levels: tuple[float, float] | None
) -> Reading:
    """Return how images are read that are integers, or of which it is said what becomes 0 and 1."""
    low, high = range_of(parts)
    text = f"values from {low:.7g} to {high:.7g}"
    if levels is not None:
        clip = low < levels[0] or high > levels[1]
        said = f"{text}: {levels[0]:.7g} becomes 0, {levels[1]:.7g} becomes 1"
        said += ", others are cut off" if clip else ""
        return Reading(plain, *levels, clip=clip, cut=True, said=said)
    if 0 <= low <= high <= 255:
        return Reading(plain, bytes=True)
    low, high = range_of(parts[:1])  # the training rows tell, and others are cut off
    high = high if high > low else low + 1
    said = f"{text} are scaled: {low:.7g} becomes 0, {high:.7g} becomes 1 (`levels` says otherwise)"
    return Reading(plain, low, high, clip=True, said=said)


def _check_alike(what: str, parts: Sequence[np.ndarray], low: float, high: float) -> None:
    """Refuse splits of different ranges: none tells which of them is meant."""
    seen = [range_of([p]) if p.dtype == np.float32 else (0.0, 1.0) for p in parts]
    first, others = seen[0], seen[1:]
    beyond = low < -ROOM or high > 1 + ROOM  # [0, 1] in both directions
    for part, other in zip(parts[1:], others, strict=True):
        within = [ends[0] >= -HAIR and ends[1] <= 1 + HAIR for ends in (first, other)]
        levels = part.dtype == np.uint8 or parts[0].dtype == np.uint8
        mapped = low >= -1 - HAIR and high <= 1 + HAIR
        room = ROOM * (first[1] - first[0])
        outside = other[0] < first[0] - room or other[1] > first[1] + room
        if beyond and (within[0] != within[1] or outside) and not (levels and mapped):
            raise VaekitError(
                f"{what} has training rows from {first[0]:g} to {first[1]:g} and other rows from "
                f"{other[0]:g} to {other[1]:g}; expected one range: scale all alike."
            )


def _of_table(parts: Sequence[np.ndarray]) -> str:
    """Return what is to be known of the values of a table: how they are read if it is a guess."""
    low, high = range_of(parts)
    if all(part.dtype == np.uint8 for part in parts):
        few = 1 < high < 128
        return "uint8 rows are levels, divided by 255 (`kind=counts` takes counts)" if few else ""
    if max(-low, high) < WIDE:
        return ""
    return f"values from {low:.4g} to {high:.4g} as they are (`standardize` scales each column)"


def _as_trained(what: str, parts: Sequence[np.ndarray], takes: DataSpec) -> Reading:
    images, floats = len(takes.shape) == 3, [p for p in parts if p.dtype.kind == "f"]
    if images and takes.own is not None:
        return _in_own(what, parts, takes.own, takes.kind)
    if images and takes.levels not in (None, MAPPED_ENDS):
        return _in_levels(what, parts, takes.levels, takes.kind)
    whole = [part for part in parts if part.dtype == np.int32]
    if images and whole and not 0 <= range_of(whole)[0] <= range_of(whole)[1] <= 255:
        low, high = range_of(whole)
        raise VaekitError(
            f"{what} has integers from {low:g} to {high:g}; this run takes levels from 0 to 255: "
            "scale them so."
        )
    least = -1.0 if takes.levels else 0.0
    low, high = range_of(floats) if images and floats else (0.0, 1.0)
    if low < least - HAIR or high > 1 + HAIR:
        mend = "divide by 255, or give uint8" if high > 2 else "scale them so"
        raise VaekitError(
            f"{what} has floats from {low:g} to {high:g}; this run takes [{least:g}, 1]: {mend}."
        )
    clip = low < least or high > 1
    said = f"values from {low:.7g} to {high:.7g} are clipped to [{least:g}, 1]" if clip else ""
    levels = any(part.dtype == np.uint8 and part.max() > 1 for part in parts)  # of bools, too
    top = 255 if levels else takes.top
    how = Reading(takes.kind, least, 1.0, clip=clip, bytes=images, top=top, said=said)
    plain = replace(how, top=None)
    if takes.kind == "binary" and takes.top and not all(_are_bits(plain(part)) for part in parts):
        raise VaekitError(f"{what} has other values than 0 and 1, all that this run takes.")
    return how


def _are_bits(rows: np.ndarray) -> bool:
    top = 255 if rows.dtype == np.uint8 and rows.max() > 1 else 1
    return all(((part == 0) | (part == top)).all() for part in _blocks(rows))


def _in_own(what: str, parts: Sequence[np.ndarray], own: tuple[float, float], kind: str) -> Reading:
    """Return how images are read whose model takes floats of a range of their own."""
    low, high = range_of(parts)
    room = ROOM * (own[1] - own[0])
    if any(part.dtype == np.uint8 for part in parts) or not (
        own[0] - room <= low <= high <= own[1] + room
    ):
        given = "uint8" if parts[0].dtype == np.uint8 else "floats"
        raise VaekitError(
            f"{what} has {given} from {low:g} to {high:g}; this run takes floats as its training "
            f"rows had them, from {own[0]:g} to {own[1]:g}."
        )
    return Reading(kind, *own, own=True)


def _in_levels(
    what: str, parts: Sequence[np.ndarray], ends: tuple[float, float], kind: str
) -> Reading:
    """Return how images are read whose model takes values of a range as 0 to 1: they are cut."""
    (low, high), room = range_of(parts), ROOM * (ends[1] - ends[0])
    if low < ends[0] - room or high > ends[1] + room:
        raise VaekitError(
            f"{what} has values from {low:g} to {high:g}; this run takes those from {ends[0]:g} to "
            f"{ends[1]:g}, which become 0 and 1: give them in the same unit."
        )
    clip = low < ends[0] or high > ends[1]
    said = f"values from {low:.7g} to {high:.7g} are cut to [{ends[0]:g}, {ends[1]:g}]"
    return Reading(kind, *ends, clip=clip, cut=True, said=said if clip else "")


def range_of(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the smallest and the largest value of all but gaps; NaN where all are gaps."""
    low, high = min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)
    if math.isnan(low + high):
        low = min(float(np.fmin.reduce(part, None)) for part in parts)
        high = max(float(np.fmax.reduce(part, None)) for part in parts)
    return low, high


def tensor_of(array: np.ndarray) -> Tensor:
    """Return an array as a tensor, not copied if contiguous or large; it is never written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        if min(array.strides) < 0:  # torch knows no steps backwards
            array = array.copy()
        # In a large one channels that come last may stay so.
        return torch.from_numpy(array if array.nbytes > LARGE else np.ascontiguousarray(array))
