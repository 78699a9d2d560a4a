"""Your own data from image files, in a folder or a .zip, and what their paths tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaekit.data.dataset import Dataset, Split
from vaekit.data.decode import read_pixels
from vaekit.data.listing import listing, natural
from vaekit.data.own import check_rows, keyed, named, refuse, split_up
from vaekit.data.rows import MappedRows, Rows
from vaekit.data.splits import limited
from vaekit.errors import VaekitError
from vaekit.options import Data

SPLITS = {
    "train": "train",
    "test": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}


@dataclass(frozen=True, eq=False)
class Layout:
    """Of images by their order.

    Attributes:
        splits: the rows of each split; empty where the folders name none.
        labels: int64 `(N,)`, or None.
        class_names: of the labels.
        groups: int64 `(N,)`, or None.
    """

    splits: dict[str, Tensor]
    labels: Tensor | None
    class_names: tuple[str, ...]
    groups: Tensor | None

    def rows(self, images: Tensor | Rows) -> Split | dict[str, Split]:
        """The images with what their paths tell."""
        every = Split(images, self.labels, groups=self.groups)
        if not self.splits:
            return every
        return {name: every.take(index) for name, index in self.splits.items()}


def layout(path: Path, names: Sequence[str], group: str | None = None) -> Layout:
    """What the relative paths `names` tell.

    Folders that all images share are left out. Then folders train, test and val (or valid,
    validation) are the splits, if they hold all images and train is there; the next folder is the
    class, if all images lie in one and there are two at least.

    Raises:
        VaekitError: for a `group` that is no regular expression with a group, or does not match.

    Example:
        >>> names = ["a/train/cat/1.png", "a/train/dog/1.png", "a/test/cat/2.png"]
        >>> found = layout(Path("a"), names)
        >>> found.labels, found.class_names, found.splits["test"]
        (tensor([0, 1, 0]), ('cat', 'dog'), tensor([2]))
    """
    parts = [name.split("/") for name in names]
    while len({p[0] for p in parts}) == 1 and all(len(p) > 1 for p in parts):
        parts = [p[1:] for p in parts]
    splits = _splits(parts)
    if splits:
        parts = [p[1:] for p in parts]
    folders = [p[0] if len(p) > 1 else "" for p in parts]
    class_names = tuple(sorted(set(folders), key=natural))
    known = len(class_names) > 1 and "" not in class_names
    number = {name: i for i, name in enumerate(class_names)}
    labels = torch.tensor([number[folder] for folder in folders]) if known else None
    groups = None if group is None else keyed(_keys(path, names, folders, group))
    return Layout(splits, labels, class_names if known else (), groups)


def _splits(parts: Sequence[Sequence[str]]) -> dict[str, Tensor]:
    found = [SPLITS.get(p[0].lower(), "") if len(p) > 1 else "" for p in parts]
    if "" in found or "train" not in found:
        return {}
    return {
        name: torch.tensor([i for i, split in enumerate(found) if split == name])
        for name in dict.fromkeys(found)
    }


def _keys(path: Path, names: Sequence[str], folders: Sequence[str], group: str) -> list[str]:
    if group == "folder":
        for name, folder in zip(names, folders, strict=True):
            if not folder:
                raise VaekitError(f"group folder: '{name}' in {path} lies in no subfolder.")
        return list(folders)
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise VaekitError(f"group '{group}' is no regular expression: {error}.") from None
    if not pattern.groups:
        raise VaekitError(
            f"group '{group}' has no group in brackets; expected one, as in 'p([0-9]+)_'."
        )
    found = [pattern.search(name) for name in names]
    keys = [match.group(1) if match else None for match in found]
    for name, key in zip(names, keys, strict=True):
        if key is None:
            raise VaekitError(f"group '{group}' does not match '{name}' in {path}.")
    return [key for key in keys if key is not None]


def load_images(path: str | Path, asked: Data | None = None) -> Dataset:
    """The images in a folder and its subfolders, or in a .zip, which is read without unpacking it.

    Files that end in png, jpg, jpeg, bmp, gif, webp, tif, tiff, ppm or pgm are read, hidden ones
    not, in natural order (9 before 10). They are turned as their EXIF record says, and laid over
    white where they are transparent; of an animation the first picture counts. If all are gray, or
    `asked.gray`, they have one channel, else three; "binary" if every value is 0 or 255.

    `asked.crop` keeps the central pixels; `asked.size` then scales the shorter side and keeps the
    center. Folders give splits and classes, and `asked.group` the groups: see `layout`. Under
    `asked.limit` the rows are chosen by their names, and no other file is opened: what is said of
    all images is then said of these. For the user's cache see `vaekit.data.decode.read_pixels`.

    Raises:
        VaekitError: for a path that cannot be read, no or fewer than 10 images, damaged files (how
            many, and the first), sizes that differ without `asked.size`, more than 8 bits per
            value, more pixels than Pillow's limit, and a full disk.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i in range(20):
        ...         Image.fromarray(np.full((8, 8), i, np.uint8)).save(f"{folder}/{i}.png")
        ...     mine = load_images(folder)
        >>> mine.kind, mine.train, mine.test.images[:, 0, 0, 0]
        ('gray', Split(18 rows, (1, 8, 8), torch.uint8), tensor([18,  1], dtype=torch.uint8))
    """
    path, asked = Path(path), Data() if asked is None else asked
    refuse(path, asked, label="folders name the classes of images")
    with closing(listing(path)) as files:
        check_rows(path, len(files.members), "images")
        found = layout(path, [member.name for member in files.members], asked.group)
        # Rows without pixels as yet: a split of them knows their places in the listing.
        places = MappedRows(np.empty((len(files.members), 0), np.uint8))
        parts = split_up(path, found.rows(places), asked)
        shuffled = False
        if asked.limit is not None and asked.limit < len(parts["train"]):
            parts["train"] = limited(parts["train"], asked.limit, asked.split_seed)
            shuffled = True
        wanted = torch.cat([_places(part) for part in parts.values()]).unique()
        files.members = [files.members[place] for place in wanted.tolist()]
        images, kind = read_pixels(files, asked)
    for name, part in parts.items():
        rows = Split(images).take(torch.searchsorted(wanted, _places(part)))
        parts[name] = replace(part, images=rows.images)
    return named(path, kind, parts, class_names=found.class_names, shuffled=shuffled)


def _places(split: Split) -> Tensor:
    assert isinstance(split.images, MappedRows)
    return split.images.index
