"""What the paths of images tell: splits, classes and groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vaekit.data.dataset import Split
from vaekit.data.listing import natural
from vaekit.data.own import keyed
from vaekit.data.rows import Rows
from vaekit.errors import VaekitError

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
    pattern = _pattern(group)
    found = [pattern.search(name) for name in names]
    keys = [match.group(1) if match else None for match in found]
    for name, key in zip(names, keys, strict=True):
        if key is None:
            raise VaekitError(f"group '{group}' does not match '{name}' in {path}.")
    return [key for key in keys if key is not None]


def _pattern(group: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise VaekitError(f"group '{group}' is no regular expression: {error}.") from None
    if not pattern.groups:
        raise VaekitError(
            f"group '{group}' has no group in brackets; expected one, as in 'p([0-9]+)_'."
        )
    return pattern
