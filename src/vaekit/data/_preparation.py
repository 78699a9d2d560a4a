"""From the rows of a data set to those of a training: limited, held out, binarized, scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from vaekit._torchutil import Moments
from vaekit.data._augment import read_change
from vaekit.data._context import conditioned, with_context
from vaekit.data._dataset import Dataset, Split, generator
from vaekit.data._kinds import Warp, starts
from vaekit.data._rows import chunks, is_random, pick
from vaekit.data._splits import partition, whole
from vaekit.data._transforms import DataSpec, Transform, canonical
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit._train_options import Data

VALIDATION = 0.1
IMAGES = ("binary", "gray", "color")
LEVELS = "gray and color images of 8 bits"
OWN = (
    "the values of {} keep their own range: leave `range` and `binarize`, or scale them to [0, 1]."
)
TURNED = "binary images that are turned are not binary: leave `augment=rotate`, flip and crop suit."
STANDARDIZED = "numbers of a mixed table are standardized: leave `standardize`."
EXCLUDED = "`dequantize` and `binarize` exclude each other: leave one."


def prepare(data: Dataset, options: Data, *, values: Transform | None = None) -> Dataset:
    """Return the data set as `options` ask for it.

    Its rows depend on `options.split_seed` and not on the seed of a training. What is random in
    validation and test rows (binarization, dequantization) is drawn once, so that their numbers
    compare. `values` are those of an earlier training: its rows are placed and scaled by them, and
    nothing is fitted anew.

    Raises:
        VaekitError: for what does not suit this kind of data.

    Example:
        >>> from vaekit.data import load
        >>> from vaekit._train_options import Data
        >>> made = prepare(load("digits"), Data(binarize="dynamic", limit=100))
        >>> made.kind, len(made.train), len(made.validation), made.train.values.binarize
        ('binary', 90, 10, True)
    """
    _check(data, options)
    train, validation = data.train, data.validation
    if data.stream is None:
        seed = None if data.shuffled else options.split_seed
        brought = options.validation is None and validation is not None
        amount = VALIDATION if options.validation is None else options.validation
        train, drawn = partition(train, 0 if brought else amount, options.limit, seed)
        validation = validation if brought else drawn
    floats = data.kind in ("table", "mixed") or train.images.dtype == torch.float32
    gaps = options.gaps and floats and data.kind != "counts"
    if gaps:
        _refuse_empty(data, train)
    values = _fitted(data, options, train) if values is None else values
    values = replace(values, binarize=False, dequantize=False, augment=())
    splits = {"train": train, "validation": validation, "test": data.test}
    data = with_context(data, options, train)
    parts = {
        name: conditioned(placed(name, split, options, values), data, options)
        for name, split in splits.items()
        if split is not None
    }
    kind = data.kind if options.binarize == "none" else "binary"
    return replace(data, kind=kind, gaps=gaps, **{"validation": None, **parts})  # type: ignore[arg-type]


def _check(data: Dataset, options: Data) -> None:
    """Refuse what does not suit the kind of the data, other options, or rows that are served."""
    binarize, rows, loader = options.binarize, data.train.images, data.stream is not None
    binarized, ranged = binarize != "none", options.range != "0,1"
    images, table = data.kind in IMAGES, data.kind == "table"
    levels = data.kind in ("gray", "color") and rows.dtype == torch.uint8
    holed = options.gaps and images and rows.dtype == torch.float32
    fixed = binarize in ("static", "threshold") and (loader or is_random(rows))
    other = f"; {data.name} holds {data.kind} data: leave it."
    rows_are = "that a loader serves" if loader else "that change from read to read"
    turned = [each for each in options.changes if read_change(each)[1] and "rotate" in each]
    served, split = f"does not suit data {rows_are}:", '{"train": ..., "validation": ...}'
    for wrong, message in (
        (binarized and not images, f"`binarize={binarize}` is for images{other}"),
        (binarized and holed, "binarized pixels have no gaps: leave `binarize`, or `missing`."),
        (ranged and not images, f"`range={options.range}` is for images{other}"),
        (options.changes and not images, f"`augment` is for images{other}"),
        (turned and data.kind == "binary" and binarize != "dynamic", TURNED),
        (options.standardize is not None and data.kind == "mixed", STANDARDIZED),
        (options.kinds and data.kind != "mixed", f"`kinds` is for tables of named columns{other}"),
        (options.standardize and not table, f"`standardize` is for tables{other}"),
        (options.dequantize and not levels, f"`dequantize` is for {LEVELS}{other}"),
        (options.dequantize and binarized, EXCLUDED),
        (ranged and binarized, "binarized pixels are 0 and 1: leave `range`, or `binarize`."),
        ((ranged or binarized) and data.own is not None, OWN.format(data.name)),
        (options.library != "none" and data.kind != "counts", f"`library` is for counts{other}"),
        (loader and options.library != "none", f"`library` {served} give counts in memory."),
        (loader and options.covariates, f"columns as `context` {served} give a table."),
        (loader and options.limit, f"`limit` {served} take fewer in the loader."),
        (loader and options.validation, f"`validation` {served} give {split}."),
        (loader and options.changes, f"`augment` {served} change them in the loader."),
        (fixed, f"`binarize={binarize}` {served} take dynamic, or binarize what is given."),
    ):
        if wrong:
            raise VaekitError(message)


def _fitted(data: Dataset, options: Data, train: Split) -> Transform:
    if data.columns:
        return of_columns(data, train)
    named = data.kind == "table" and bool(data.column_names)
    offset = train.values.offset
    if not (named if options.standardize is None else options.standardize):
        low, high = data.own or map(float, options.range.split(","))
        filled = named and options.missing == "mean"
        mean = (train.survey.sums / len(train)).float() if filled else None
        return Transform(low, high, loc=mean, offset=offset)
    if options.missing == "allow":
        rows = pick(train.images, torch.arange(len(train))).double()
        mean, largest = rows.nanmean(0), rows.nan_to_num().abs().amax(0)
        scale = (rows - mean).square().nanmean(0).sqrt()
    elif data.stream is not None:
        mean, scale = data.stream.moments
        largest = mean.abs()
    else:
        moments, largest = Moments(), torch.zeros(())
        for part in chunks(train.images):
            rows = canonical(part).double()
            moments.add(rows)
            largest = torch.maximum(largest, rows.abs().amax(0))
        mean, scale = moments.mean, moments.variance.sqrt()
    scale = scale.masked_fill(scale <= 1e-9 * largest, 1.0)  # of a column that does not vary
    return Transform(loc=mean.float(), scale=scale.float(), offset=offset)


def of_columns(data: Dataset, train: Split) -> Transform:
    """Return what becomes of the rows of a mixed table: warps, and scales of what is scaled."""
    rows, offset = pick(train.images, torch.arange(len(train))), train.values.offset
    columns = list(zip(starts(data.columns), data.columns, strict=True))
    fits = (Warp.fit(place, column, rows[:, place]) for place, column in columns)
    bent = Transform(warps=tuple(warp for warp in fits if warp is not None))
    rows = bent(rows.double())
    scaled = torch.zeros(rows.shape[1], dtype=torch.bool)
    scaled[[place for place, column in columns if column.scaled]] = True
    mean = rows.nanmean(0)
    scale = (rows - mean).square().nanmean(0).sqrt()
    scale = scale.masked_fill(scale <= 1e-9 * rows.nan_to_num().abs().amax(0), 1.0)
    loc, scale = torch.where(scaled, mean, 0.0), torch.where(scaled, scale, 1.0)
    return replace(bent, loc=loc.float(), scale=scale.float(), offset=offset)


def _refuse_empty(data: Dataset, train: Split) -> None:
    """Refuse a column of a table, or images, that have nothing but gaps."""
    empty = torch.stack([part.isnan().all(0) for part in chunks(train.images)]).all(0)
    if data.kind != "table":
        if bool(empty.all()):
            raise VaekitError(f"{data.name} has nothing but gaps: all its values are NaN.")
        return
    for column in empty.nonzero().flatten().tolist()[:1]:
        names = data.place_names
        name = names[column].partition("=")[0] if names else str(column + 1)
        raise VaekitError(
            f"{data.name}: column '{name}' has nothing but gaps in the training rows: "
            f"`drop={name!r}`."
        )


def placed(name: str, split: Split, options: Data, values: Transform) -> Split:
    """Return the split as a model sees it: what is random is drawn now, or with each batch."""
    binarize, training = options.binarize, name == "train"
    drawn = binarize in ("dynamic", "static")
    if training and (binarize == "dynamic" or options.dequantize):
        values = replace(values, binarize=drawn, dequantize=options.dequantize)
        return replace(split, values=replace(values, augment=options.changes))
    if binarize != "none" or options.dequantize or (is_random(split.images) and not training):
        # Not by the seed of the run: one draw for all runs. The words are a part of the seed: in
        # another spelling the rows are others, and so is every number that was measured on them.
        rng = generator("binarise" if drawn else "dequantise", name)
        draw = Transform(binarize=drawn, dequantize=options.dequantize).draw
        parts: Any = chunks(split.images)
        if binarize == "threshold":
            parts = ((canonical(part) > 0.5) for part in parts)
        elif drawn or options.dequantize:
            parts = (draw(part, rng) for part in parts)
        if binarize != "none":
            parts = (part.to(torch.uint8) * 255 for part in parts)
        split = replace(split, images=torch.cat(list(parts)))
    return replace(split, values=replace(values, augment=options.changes if training else ()))


def label_of(label: int | str, spec: DataSpec, names: Sequence[str]) -> int:
    """Return the number of a class by its name, which may be a number: a place is no name.

    Raises:
        VaekitError: where the model is not conditional, or there is no such class.

    Example:
        >>> spec = DataSpec("t", (3,), "table", rows=20, classes=2, context=(2,))
        >>> label_of(3, spec, ["-1", "3"]), label_of("cat", spec, ["dog", "cat"])
        (1, 1)
    """
    if not spec.labeled:
        raise VaekitError(
            f"got the label {label}; this run is not conditioned on labels: leave it, or train "
            "one that is, as `vaekit train cvae`."
        )
    text = str(label).strip()
    text = text if text in names else whole(text) or text
    if text in names:
        return list(names).index(text)
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else ".")
    if list(names) == [str(i) for i in range(len(names))]:
        shown = f"0 to {len(names) - 1}."
    raise VaekitError(f"got the label {label}; the labels of {spec.name} are {shown}")
