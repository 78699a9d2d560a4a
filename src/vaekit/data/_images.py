"""Your own data from image files, in a folder or a .zip, and what their paths tell."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaekit.data._dataset import Dataset
from vaekit.data._image_cache import read_pixels
from vaekit.data._image_files import ImageFiles
from vaekit.data._layout import Layout, layout, split_of
from vaekit.data._rows import Rows, chunks, take
from vaekit.data._splits import check_rows, joined, limited, refuse, split_up, taken
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaekit._train_options import Data
    from vaekit.data._archives import Archive
    from vaekit.data._transforms import DataSpec


def load_images(path: Path, options: Data, archive: Archive | None = None) -> Dataset:
    """Return the images in a folder and its subfolders, or in a .zip, which is never unpacked.

    Files that end in one of `SUFFIXES` are read, hidden ones not, in natural order (9 before 10).
    They are turned as their EXIF record says, and laid over `options.background` where they are
    transparent; of an animation or a stack the first image counts, or all with `options.pages`. If
    all are gray, or `options.gray`, they have one channel, else three; the kind is "binary" if
    every value is 0 or 255. Gray images of more than 8 bits become floats: see `reading`. Images of
    several sizes are brought to a usual one. Runs of vaekit and images that it drew are left out.

    Folders that all images share are passed. Then folders train, test and val (or training,
    testing, validation and the like) are the splits, the next folder is the class, if there are two
    at least. `options.labels` and `options.label_from` name classes in their place. What is guessed
    and what is left out is in `said`.

    Under `options.limit` the rows are chosen by their names, and no other file is opened: what is
    said of all images is then said of these.

    Raises:
        VaekitError: for a path that cannot be read, or in two ways, no or fewer than 10 images,
            damaged files (all are named) unless `skip_damaged`, images of several depths, more
            pixels than Pillow's limit, a `group` that does not match, and a full disk.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from vaekit.data import load
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i in range(20):
        ...         Image.fromarray(np.full((8, 8), i, np.uint8)).save(f"{folder}/{i}.png")
        ...     mine = load(folder)
        >>> mine.kind, mine.train, mine.test.images[:, 0, 0, 0]
        ('gray', Split(18 rows, (1, 8, 8), torch.uint8), tensor([18,  1], dtype=torch.uint8))
    """
    _check(path, options)
    limit, seed, shuffled = options.limit, options.split_seed, False
    takes = taken(options)
    with closing(ImageFiles(path, archive, pages=options.pages == "all")) as files:
        if takes is None:
            check_rows(path, len(files.members), "images")
        names = [each.name for each in files.members]
        rooted = archive is not None and archive.rooted
        found = layout(path, _told(names) if rooted else names, options, takes)
        parts = split_up(path, found.rows, options)
        if limit is not None and limit < len(parts["train"]):
            parts["train"], shuffled = limited(parts["train"], limit, seed), True
        places = {
            name: torch.arange(len(part)) if part.ids is None else torch.from_numpy(part.ids)
            for name, part in parts.items()
        }
        wanted = torch.cat(list(places.values())).unique()
        files.members = [files.members[place] for place in wanted.tolist()]
        images, facts = read_pixels(files, options)
        words = _said(files, found, options) + facts.pop("said")
    kind, damaged = facts.pop("kind"), wanted[facts.pop("damaged")]
    if takes is not None:
        images, kind = _as_trained(path, images, takes), takes.kind
    called = np.array(names, object)
    for name, part in parts.items():
        sound = ~torch.isin(places[name], damaged)
        part, places[name] = part.take(sound), places[name][sound]
        pixels = take(images, torch.searchsorted(wanted, places[name]))
        parts[name] = replace(part, images=pixels, ids=called[places[name].numpy()])
    return joined(
        path,
        kind,
        parts,
        class_names=found.class_names,
        factor_names=found.factor_names,
        shuffled=shuffled,
        said="; ".join(words),
        chosen={"size": facts.pop("size")} if "size" in facts else {},
        **facts,
    )


def _told(names: Sequence[str]) -> list[str]:
    """Return what names below several paths tell of classes: folders in them, or they themselves.

    Example:
        >>> _told(["a/cat/1.png", "b/dog/1.png"]), _told(["cat/1.png", "dog/1.png"])
        (['cat/1.png', 'dog/1.png'], ['cat/1.png', 'dog/1.png'])
    """
    inner = [name.partition("/")[2] for name in names]
    roots = {name.partition("/")[0] for name in names}
    own = all("/" in name for name in inner) and not any(map(split_of, roots))
    return inner if own else list(names)


def _said(files: ImageFiles, found: Layout, options: Data) -> list[str]:
    """Return how the folders are read where it is not plain, and what is left out of them."""
    left = ", ".join(found.left + files.left)
    words = found.words + ([f"left out: {left}"] if left else [])
    if files.tables and not found.class_names and taken(options) is None and not options.labels:
        words.append(f"{files.tables[0]} may hold labels (labels={files.tables[0]})")
    return words


def _check(path: Path, options: Data) -> None:
    """Refuse options of tables, and those that exclude each other."""
    table = "it is for tables, and this is images"
    refuse(path, options, columns=table, drop=table, date=table)
    if options.label and not options.labels:
        refuse(path, options, label="folders name the classes of images, or `labels=FILE` a table")
    if options.labels and options.label_from:
        raise VaekitError("`labels` and `label_from` exclude each other: leave one.")


def _as_trained(path: Path, images: Tensor | Rows, takes: DataSpec) -> Tensor | Rows:
    """Return the pixels with the channels, and of the size, that a trained model takes."""
    size, shape = (tuple(each[-2:]) for each in (images.shape, takes.shape))
    if len(takes.shape) != 3 or size != shape:
        seen, wanted = f"{size[1]} x {size[0]}", " x ".join(map(str, takes.shape[:0:-1]))
        mend = f"rows of {wanted}: bring them to that"
        if takes.is_table:
            mend = f"rows of {takes.shape[0]} numbers: give a table, or an array of such rows"
        raise VaekitError(f"{path} has images of {seen}; this run takes {mend}.")
    if images.shape[1] == takes.shape[0]:
        return images
    if takes.shape[0] == 1:
        raise VaekitError(f"{path} has images in color; this run takes gray ones: turn them gray.")
    return torch.cat([part.expand(-1, 3, -1, -1) for part in chunks(images)])
