"""From the rows of a data set to those of a training: limited, held out, binarized, scaled."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from vaekit.data.dataset import Dataset, Split, conditioned, generator
from vaekit.data.rows import chunks, still
from vaekit.data.spec import Values, canonical
from vaekit.data.splits import partition
from vaekit.errors import VaekitError
from vaekit.options import Data
from vaekit.torchutil import Moments

VALIDATION = 0.1
PICTURES = ("binary", "gray", "color")


def prepare(data: Dataset, options: Data, *, values: Values | None = None) -> Dataset:
    """The data set as `options` ask for it.

    Its rows hang on `options.split_seed` and not on the seed of a training. What is random in
    validation and test rows (binarization, dequantization) is drawn once and kept, so that their
    numbers compare. `values` are those of an earlier training: its rows are placed and scaled by
    them, and nothing is fitted anew.

    Raises:
        VaekitError: for what does not suit this kind of data.

    Example:
        >>> from vaekit.data import load
        >>> made = prepare(load("digits"), Data(binarize="dynamic", limit=100))
        >>> made.kind, len(made.train), len(made.validation), made.train.values.binarize
        ('binary', 90, 10, True)
    """
    _check_kind(data, options)
    if data.stream is not None or getattr(data.train.images, "random", False):
        _check_served(data, options)
    train, validation = _rows(data, options)
    held = {"validation": validation, "test": data.test}
    parts = {"train": train} | {
        name: part and replace(part, images=still(part.images)) for name, part in held.items()
    }
    if options.binarize != "none":
        parts = {name: _binarized(name, part, options.binarize) for name, part in parts.items()}
    values = _values(data, options, train) if values is None else _fixed(values)
    placed = {n: _placed(n, p, values, options) for n, p in parts.items()}
    made = {n: p and conditioned(p, data, options.context) for n, p in placed.items()}
    kind = data.kind if options.binarize == "none" else "binary"
    return replace(data, kind=kind, **made)  # type: ignore[arg-type]


def _rows(data: Dataset, options: Data) -> tuple[Split, Split | None]:
    if data.stream is not None:
        return data.train, data.validation
    seed = None if data.shuffled else options.split_seed
    if options.validation is None and data.validation is not None:
        return partition(data.train, 0, options.limit, seed)[0], data.validation
    validation = VALIDATION if options.validation is None else options.validation
    return partition(data.train, validation, options.limit, seed)


def _check_served(data: Dataset, options: Data) -> None:
    """Refuses what would choose among rows that a loader serves, or keep those that change."""
    loader = data.stream is not None
    kept = options.binarize in ("static", "threshold")
    for asked, name, mend in (
        (loader and options.limit, "limit", "take fewer in the loader"),
        (loader and options.validation, "validation", 'give {"train": ..., "validation": ...}'),
        (kept, f"binarize {options.binarize}", "take dynamic, or binarize what is given"),
    ):
        if asked:
            rows = "that a loader serves" if loader else "that change from read to read"
            raise VaekitError(f"{name} does not suit data {rows}: {mend}.")


def _check_kind(data: Dataset, options: Data) -> None:
    binarized, ranged = options.binarize != "none", options.range != "0,1"
    pictures = data.kind in PICTURES
    levels = data.kind in ("gray", "color") and data.train.images.dtype == torch.uint8
    for asked, option, suited, kinds in (
        (binarized, f"binarize {options.binarize}", pictures, "images"),
        (ranged, f"range {options.range}", pictures, "images"),
        (options.standardize, "standardize", data.kind == "table", "tables"),
        (options.dequantize, "dequantize", levels, "gray and color images of 8 bits"),
    ):
        if asked and not suited:
            raise VaekitError(
                f"{option} is for {kinds}; {data.name} holds {data.kind} data: leave it."
            )
    if options.dequantize and binarized:
        raise VaekitError("dequantize and binarize exclude each other: leave one.")
    if ranged and binarized:
        raise VaekitError("binarized pixels are 0 and 1: leave range, or binarize.")


def _binarized(name: str, split: Split | None, how: str) -> Split | None:
    """Pixels of 0 or 255; those of training rows under "dynamic" are drawn with each batch."""
    if split is None or (how == "dynamic" and name == "train"):
        return split
    if how == "threshold":
        parts = [(canonical(part) > 0.5).to(torch.uint8) * 255 for part in chunks(split.images)]
    else:
        rng = generator("binarize", name)  # not the run's seed: one draw for all runs
        draw = Values(binarize=True)
        parts = [draw(part, rng).to(torch.uint8) * 255 for part in chunks(split.images)]
    return replace(split, images=torch.cat(parts))


def _values(data: Dataset, options: Data, train: Split) -> Values:
    low, high = (float(end) for end in options.range.split(","))
    wanted = options.standardize
    if wanted is None:
        named = bool(data.column_names) or data.source.lower().endswith(".csv")
        wanted = data.kind == "table" and named
    if not wanted:
        return Values(low, high)
    loc, scale = _moments(data, train)
    return Values(loc=loc, scale=scale)


def _fixed(values: Values) -> Values:
    return replace(values, binarize=False, dequantize=False)


def _moments(data: Dataset, train: Split) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per column; a column that does not vary has the deviation 1."""
    if data.stream is not None:
        mean, scale = data.stream.moments
        most = mean.abs()
    else:
        moments, most = Moments(), torch.zeros(())
        for part in chunks(train.images):
            rows = canonical(part).double()
            moments.add(rows)
            most = torch.maximum(most, rows.abs().amax(0))
        mean, scale = moments.mean, moments.variance.sqrt()
    flat = scale <= 1e-9 * most
    return mean.float(), torch.where(flat, torch.ones_like(scale), scale).float()


def _placed(name: str, split: Split | None, values: Values, options: Data) -> Split | None:
    if split is None:
        return None
    if name == "train":
        dynamic = options.binarize == "dynamic"
        values = replace(values, binarize=dynamic, dequantize=options.dequantize)
    elif options.dequantize:
        rng, noise = generator("dequantize", name), Values(dequantize=True)
        images = torch.cat([noise.draw(part, rng) for part in chunks(split.images)])
        split = replace(split, images=images)
    return replace(split, values=values)
