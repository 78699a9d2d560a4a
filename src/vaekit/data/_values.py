"""Your own data from Python: arrays, tensors, DataFrames, Datasets, loaders, and splits of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset, TensorDataset

from vaekit._train_options import Data
from vaekit.data._dataset import Dataset, Split
from vaekit.data._kinds import ColumnSpec
from vaekit.data._labels import annotation, is_one_hot, numbered
from vaekit.data._loaders import (
    FirstPass,
    Items,
    Stream,
    as_array,
    batches_of,
    described,
    labels_of,
    read_items,
)
from vaekit.data._pixels import shaped
from vaekit.data._readings import Reading, as_images, as_rows, kind_of, reading, tensor_of
from vaekit.data._rows import MappedRows, Rows, available
from vaekit.data._splits import classes_of, dataset_of, refuse, spread, taken
from vaekit.data._tables import filled, less, read_frame, rows_of
from vaekit.data._transforms import DataSpec
from vaekit.errors import VaekitError, unknown

NAMES = ("train", "validation", "test")
EXPECTED = (
    "a name, a path, an array, a tensor, a DataFrame, (x, y), a Dataset, a DataLoader, batches, "
    'or {"train": ..., "validation": ..., "test": ...} of these'
)
SHAPING = ("size", "crop", "gray")
PROBED = 32  # items that are read twice to see whether they are the same again
BLOCK = 256  # items that are read at a time
SAMPLE = 1000  # rows of a loader that stand for all where they are looked at
SAMPLED = "a sample of the training rows stands"


def is_value(data: Any) -> bool:
    """Return whether data are given themselves, and not by a name, a path, or several paths.

    Example:
        >>> is_value("digits"), is_value(["a.csv", "b.csv"]), is_value(np.ones((30, 2)))
        (False, False, True)
    """
    paths = isinstance(data, list | tuple) and len(data) > 0
    return not all(isinstance(each, str | os.PathLike) for each in (data if paths else [data]))


def from_value(value: Any, options: Data | None = None) -> Dataset:
    """Return the data set in a value: what `vaekit.train` takes as `data` besides names and paths.

    Arrays, tensors, DataFrames and map-style Datasets are split as files are; kinds and ranges are
    those of an .npz, or, of a DataFrame, those of a .csv. Loaders, and other iterables of batches,
    are never split: their training rows are streamed, after a first pass that counts them, and the
    others are read into memory. A Dataset whose items differ from read to read, or are too many
    for the memory, is read item by item when a batch asks for it.

    Args:
        value: an array or a tensor `(N, ...)`, a DataFrame, a `vaekit.data.Dataset`, a map-style
            Dataset of torch of x or (x, y), a DataLoader or another iterable of batches that can be
            run through again and again, a pair (x, y), or a dict of the splits. y holds labels
            `(N,)`, whole numbers from 0 or text, or factors `(N, F)`.
        options: how it is read; `label` and `group` name columns of a DataFrame.

    Raises:
        VaekitError: for a value that is none of these, or not as an .npz or a .csv must be.

    Example:
        >>> from_value(np.arange(60).reshape(20, 3)).train
        Split(18 rows, (3,), torch.float32)
        >>> from_value([1, 2, 3])
        Traceback (most recent call last):
        ...
        vaekit.errors.VaekitError: data is a list of 3 numbers; expected a name, a path, ...
    """
    options = options or Data()
    paths, split = "it is for names and paths", 'give {"train": ..., "test": ...}'
    refuse("data", options, data_dir=paths, cache="it is for files", test_data=split)
    if isinstance(value, Dataset):
        own = "a Dataset has its own"
        refuse("data", options, **dict.fromkeys(("label", "group", "test", "kind", "shape"), own))
        return shaped(replace(value, source="given", note="given"), options)
    splits = value if isinstance(value, Mapping) else {"train": value}
    for name in splits:
        if name not in NAMES:
            raise unknown("split in data", str(name), NAMES)
    if "train" not in splits:
        raise VaekitError(
            f"data is {described(dict(splits))}; expected train among them: "
            '{"train": ..., "validation": ..., "test": ...}.'
        )
    parts: dict[str, _Part] = {}
    for name in NAMES:
        if name == "train" or splits.get(name) is not None:
            what = f'data["{name}"]' if splits is value else "data"
            known = parts["train"].kinds if parts and parts["train"].columns else None
            parts[name] = _part(what, splits[name], options, name == "train", known)
    name = "splits" if splits is value else parts["train"].name
    return shaped(_joined(parts, options, name), options)


@dataclass(eq=False)
class _Part:
    """The rows of a split, before it is known how all splits are read.

    Attributes:
        name: what they are, for runs and errors.
        what: how errors call them.
        seen: rows that show the values of all.
        stored: returns what is stored of them.
        rows: how many they are.
        y: labels or factors, numbers or text.
        offset, said: of the columns of a DataFrame.
        survey, loader: where the rows are a sample of those that a loader serves.
    """

    name: str
    what: str
    seen: np.ndarray
    stored: Callable[[Reading], Tensor | Rows]
    rows: int
    y: np.ndarray | None = None
    groups: Tensor | None = None
    ids: np.ndarray | None = None
    covariates: np.ndarray | None = None
    cells: dict[str, np.ndarray] | None = None
    columns: tuple[str, ...] = ()
    kinds: tuple[ColumnSpec, ...] = ()
    offset: np.ndarray | None = None
    said: str = ""
    survey: FirstPass | None = None
    loader: Any = None


def _part(
    what: str,
    value: Any,
    options: Data,
    training: bool,
    known: tuple[ColumnSpec, ...] | None = None,
) -> _Part:
    if isinstance(value, TensorDataset) and len(value.tensors) <= 2:
        pair = (*value.tensors, None)[:2]
        return replace(_part(what, pair, options, training), name="dataset")
    if isinstance(value, tuple) and len(value) == 2:
        part = _part(what, value[0], options, training, known)
        if value[1] is None:
            return part
        if part.y is not None or part.loader is not None:
            raise VaekitError(f"{what} has its labels twice; give x alone, or (x, y) of arrays.")
        return replace(part, y=_y(what, value[1]))
    if type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "columns"):
        return _frame(what, value, options, known)
    mend = "it is for DataFrames"
    refuse("data", options, label=f"{mend}: give (x, y)", group=mend)
    if hasattr(value, "__array__"):
        name = "tensor" if isinstance(value, Tensor) else "array"
        return _array(name, what, value, options)
    items = hasattr(value, "__getitem__") and hasattr(value, "__len__")
    mapped = isinstance(value, TorchDataset) and not isinstance(value, IterableDataset)
    if mapped and not items:
        raise VaekitError(f"{what} is a Dataset without __len__; give it one, or a DataLoader.")
    if mapped or (items and not hasattr(value, "__iter__")):
        return _items(what, value, options, training)
    return _loader(what, value, options, training)


def _array(name: str, what: str, value: Any, options: Data | None = None) -> _Part:
    """Return the rows of an array; without options, as of a loader, there are no gaps."""
    how: tuple[Any, ...] = () if options is None else (taken(options), options.kind, options.gaps)
    array = as_images(what, as_array(what, value), None if options is None else options.shape)
    rows = as_rows(what, array, *how)
    return _Part(name, what, rows, lambda how: tensor_of(how(rows)), len(rows))


def _frame(
    what: str, frame: Any, options: Data, known: tuple[ColumnSpec, ...] | None = None
) -> _Part:
    table = read_frame(what, frame, options, known)
    if not len(frame):
        raise VaekitError(f"{what} is empty: a DataFrame of no rows.")
    rows = rows_of(table)
    y = None if rows.labels is None else np.array(rows.labels, str)
    seen = as_images(what, rows.features, options.shape)
    seen = seen if seen is rows.features else as_rows(what, seen, taken(options))
    stored = lambda how: tensor_of(how(seen))  # noqa: E731
    facts: dict[str, Any] = {"y": y, "groups": rows.groups, "ids": rows.ids, "said": rows.said}
    facts |= {"columns": () if options.shape else table.columns, "offset": rows.offset}
    facts |= {"kinds": table.kinds, "covariates": rows.covariates, "cells": rows.cells}
    return _Part("dataframe", what, seen, stored, len(seen), **facts)


def _y(what: str, y: Any) -> np.ndarray:
    """Return labels or factors: numbers, or text."""
    if isinstance(y, list | tuple) or getattr(getattr(y, "dtype", None), "kind", "") == "O":
        try:
            array = np.asarray([as_array("", v) if isinstance(v, Tensor) else v for v in y])
        except ValueError:
            array = np.empty(0, object)
        y = array.astype(str) if all(isinstance(v, str) for v in y) else array
    array = as_array(f"y of {what}", y)
    column = array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in "iubU"
    return array.ravel() if column else array


def _items(what: str, items: Any, options: Data, training: bool) -> _Part:
    """Return the items of a Dataset: in memory, unless they are too many or differ by read."""
    if not len(items):
        raise VaekitError(f"{what} is empty: a Dataset of no items.")
    probed = spread(len(items), PROBED).tolist()
    first, again = (read_items(items, probed)[0] for _ in range(2))
    random, free = not np.array_equal(first, again), available()
    if random and training:
        refuse("data", options, **dict.fromkeys(SHAPING, "do it in the Dataset"))
    if not random and (free is None or first[:1].nbytes * len(items) <= free / 2):
        array, ys = read_items(items, list(range(len(items))))
        part = _array("dataset", what, array)
    else:
        survey, ys = FirstPass(), []
        for start in range(0, len(items), BLOCK):
            block = list(range(start, min(start + BLOCK, len(items))))
            array, more = read_items(items, block, first)
            survey.add(array)
            ys += more

        def stored(how: Reading) -> Rows:
            stream = Stream(items, survey, how)
            return MappedRows(Items(stream), survey=stream.row() if random else None)

        part = _Part("dataset", what, survey.witness, stored, len(items))
    return part if all(y is None for y in ys) else replace(part, y=_y(what, ys))


def _loader(what: str, loader: Any, options: Data, training: bool) -> _Part:
    """Return the rows of a loader: a sample and a survey where it trains, else all of them."""
    _check_loader(what, loader)
    if training:
        refuse("data", options, **dict.fromkeys(("test", *SHAPING), "a loader serves it"))
    survey = FirstPass() if training else None
    arrays: list[np.ndarray] = []
    ys: list[Any] = []
    for array, y in batches_of(what, loader):
        if survey is None or survey.rows < SAMPLE:
            arrays.append(array.copy())
            ys.append(y)
        if survey is not None:
            survey.add(array, labels_of(what, y, len(array)))
    if len({y is None for y in ys}) > 1:
        raise VaekitError(f"{what} has batches with labels and without; give all batches alike.")
    rows = slice(SAMPLE if training else None)
    y = None if ys[0] is None else np.concatenate([_y(what, y) for y in ys])[rows]
    part = replace(_array("loader", what, np.concatenate(arrays)[rows]), y=y)
    if survey is None:
        return part
    return replace(part, seen=survey.witness, survey=survey, loader=loader)


def _check_loader(what: str, loader: Any) -> None:
    if isinstance(loader, IterableDataset):
        raise VaekitError(
            f"{what} is an IterableDataset, which gives items; expected batches: "
            "DataLoader(data, batch_size=...)."
        )
    plain = isinstance(loader, list | tuple) and not any(
        hasattr(x, "__array__")
        for each in loader
        for x in (each if isinstance(each, list | tuple) else (each,))
    )
    if plain or isinstance(loader, Mapping) or not hasattr(loader, "__iter__"):
        raise VaekitError(f"{what} is {described(loader)}; expected {EXPECTED}.")
    if iter(loader) is loader:
        raise VaekitError(
            f"{what} is {described(loader)}, which can be run through only once; give a list, a "
            "DataLoader, or an object whose __iter__ starts anew."
        )


def _joined(parts: dict[str, _Part], options: Data, name: str) -> Dataset:
    """Return the data set of splits that are all read alike."""
    train = parts["train"]
    for part in parts.values():
        if part.columns != train.columns:
            raise VaekitError(
                f"{part.what} has the columns {', '.join(part.columns) or 'without names'}; "
                f"expected {', '.join(train.columns) or 'none with names'} as in {train.what}."
            )
    seen = [part.seen for part in parts.values()]
    how = kind_of("data", seen, options) if train.columns and not train.kinds else None
    how = Reading("mixed") if train.kinds else how
    how = how or reading("data", seen, taken(options), options.kind, options.ends)
    annotations, class_names = _annotations(parts, classes_of(options))
    splits = {
        n: Split(
            _moved(part.stored(how), part.offset, train.offset),
            groups=part.groups,
            ids=part.ids,
            covariates=part.covariates,
            cells=part.cells,
            values=less(train.offset),
            **annotations[n],
        )
        for n, part in parts.items()
    }
    scaled = how.kind == "table" and (options.standardize is not None or train.columns)
    notes = [each for each in ("" if scaled else how.said, train.said) if each]
    if train.loader is not None and "test" not in splits:
        splits["test"] = splits.get("validation", splits["train"])
        stand = "validation rows stand" if "validation" in splits else SAMPLED
        notes.insert(0, f"no test rows: {stand} for them")
    facts: dict[str, Any] = {"class_names": class_names, "column_names": train.columns}
    facts["columns"] = train.kinds
    facts |= how.facts
    said = "; ".join(notes)
    data = dataset_of("data", how.kind, splits, options, name=name, said=said, **facts)
    if train.survey is None:
        return filled(data, options) if train.columns else data
    classes = max(data.classes, len(train.survey.labels))
    return replace(data, classes=classes, stream=Stream(train.loader, train.survey, how))


def _moved(rows: Tensor | Rows, offset: np.ndarray | None, other: np.ndarray | None) -> Any:
    """Return rows less one offset as they are less another one."""
    if offset is None or other is None or (offset == other).all():
        return rows
    assert isinstance(rows, Tensor)
    return (rows.double() + torch.from_numpy(offset - other)).float()


def _annotations(
    parts: dict[str, _Part], takes: DataSpec | None
) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Return labels or factors of each split, and the names of classes that are text."""
    ys = {name: part.y for name, part in parts.items() if part.y is not None}
    if not ys:
        return {name: {} for name in parts}, ()
    if lacking := [part.what for name, part in parts.items() if name not in ys]:
        raise VaekitError(
            f"{lacking[0]} has no labels and other splits have; give (x, y) for all, or x alone."
        )
    sorts = {(y.dtype.kind == "U", y.ndim) for y in ys.values()}
    if len(sorts) > 1:
        raise VaekitError("y is text or factors in one split and not in another; give it alike.")
    ((_, dims),) = sorts
    whats = {f"y of {part.what}": name for name, part in parts.items()}
    classes = dims == 1 or (dims == 2 and all(map(is_one_hot, ys.values())))
    if classes and parts["train"].survey is None:
        rows = {what: parts[name].rows for what, name in whats.items()}
        numbers, names = numbered({w: ys[name] for w, name in whats.items()}, rows, takes)
        found = zip(whats.values(), numbers, strict=True)
        return {n: {} if labels is None else {"labels": labels} for n, labels in found}, names
    key = "factors" if dims == 2 else "labels"  # those of a loader are counted as it serves them
    annotations = {
        name: {key: annotation(what, key, ys[name], parts[name].rows)}
        for what, name in whats.items()
    }
    return annotations, ()
