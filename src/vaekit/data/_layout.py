"""What the paths of images tell: splits and classes, and what is left out beside them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data._dataset import Split
from vaekit.data._image_labels import Labels, read_labels
from vaekit.data._splits import classes_of, keyed, numbers_of
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit._train_options import Data
    from vaekit.data._transforms import DataSpec

SPLIT = re.compile(
    r"(?:(?P<train>train|training|trn)|(?P<validation>val|valid|validation|dev)"
    r"|(?P<test>test|testing|tst|eval))(?:[-_ ]?(?:set|data|images?))?",
    re.IGNORECASE,
)
PLAIN = ("train", "val", "valid", "validation", "test")
MASKS = re.compile(
    r"(?P<sure>ground[-_ ]?truths?|gt|annotations?|segmentations?|seg[-_ ]?masks?)|masks?|labels?",
    re.IGNORECASE,
)
MASK = re.compile(r"(.+)[-_](?:mask|gt|seg|segmentation|groundtruth)\.\w+", re.IGNORECASE)
IMAGES = re.compile(r"images?|imgs?|photos?|pictures?|pics?|inputs?|data", re.IGNORECASE)
STRAY = 0.05  # of the files: no more than this, or one, lie beside folders by mistake
Parts = dict[int, list[str]]  # of the paths, by their places; those that are left out are removed


@dataclass
class Layout:
    """What the paths of images tell.

    Attributes:
        rows: all rows, or the splits, with labels and groups. They have no pixels as yet; their ids
            are their places in the list of paths.
        class_names: of the labels.
        factor_names: of the factors.
        words: how the folders are read, where that is not plain.
        left: what is left out, in words.
    """

    rows: Split | dict[str, Split]
    class_names: tuple[str, ...] = ()
    factor_names: tuple[str, ...] = ()
    words: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def layout(
    path: Path, names: Sequence[str], options: Data, takes: DataSpec | None = None
) -> Layout:
    """Return what the relative paths tell.

    Of rows for a trained model none is left out but masks, and the classes are the model's.

    Raises:
        VaekitError: where two readings are equally likely, for a `group` or `label_from` that does
            not match, and for `labels` that do not fit.
    """
    reading = _Reading(path, names, options, takes)
    reading.descend()
    return reading.layout()


class _Reading:
    """The folders of images, read from the top down."""

    def __init__(
        self, path: Path, names: Sequence[str], options: Data, takes: DataSpec | None
    ) -> None:
        self.path, self.names, self.options, self.takes = path, names, options, takes
        self.parts: Parts = {i: name.split("/") for i, name in enumerate(names)}
        self.known = set() if takes is None else set(takes.class_names)
        self.given = bool(options.label_from or options.labels)  # classes do not come of folders
        self.beside: Labels | None = None
        self.splits: dict[int, str] = {}
        self.words: list[str] = []  # what is said
        self.left: list[str] = []
        self.guessed = False

    def descend(self) -> None:
        """Find the splits, and leave out what lies beside them, and masks."""
        self._leave_masks()
        self._read_labels()
        inner = self._unwrap()
        if all(len(p) > 2 and split_of(p[1]) for p in self.parts.values()):  # splits of each class
            self.parts = {i: [p[1], p[0], *p[2:]] for i, p in self.parts.items()}
            self.guessed = True
        words = self._split_folders()
        if words:
            for head in sorted(self._heads() - set(words)):
                self._leave([i for i, p in self.parts.items() if self._head(p) == head], "file")
            self.guessed |= any(word.lower() not in PLAIN for word in words) or bool(self.left)
            self.words += [f"in the folder {'/'.join(inner)}"] if inner else []
            for i, p in self.parts.items():
                self.splits[i] = words[self._head(p)]
                if split_of(p[0]):
                    self.parts[i] = p[1:]
            self._unwrap_splits()
            self._unwrap()
        elif self.takes is None and not self.given:
            self._leave_strays()

    @staticmethod
    def _head(p: list[str]) -> str:
        return p[0] if len(p) > 1 else ""

    def _heads(self) -> set[str]:
        return {self._head(p) for p in self.parts.values()}

    def _leave(self, places: list[int], what: str) -> None:
        """Leave out these files, which are counted, and the first is named."""
        if places:
            more = ", ..." if len(places) > 1 else ""
            self.left.append(f"{counted(len(places), what)} ({self.names[places[0]]}{more})")
            for place in places:
                del self.parts[place]

    def _leave_masks(self) -> None:
        """Leave out masks that lie beside images: folders of them, or a file for an image."""
        stems = {"/".join(p).rpartition(".")[0] for p in self.parts.values()}
        files = [
            i
            for i, p in self.parts.items()
            if (match := MASK.fullmatch("/".join(p))) and match[1] in stems
        ]
        self._leave(files, "mask")
        below = defaultdict(set)  # folders, and "" for files, in each folder
        for folder in {tuple(p[:-1]) for p in self.parts.values()}:
            below[folder].add("")
            for depth in range(len(folder)):
                below[folder[:depth]].add(folder[depth])
        masks = {
            (*folder, name)
            for folder, inside in below.items()
            for name in inside
            if MASKS.fullmatch(name) and self._is_mask(name, inside)
        }
        if not masks:
            return
        apart = Counter[str]()
        for i, p in list(self.parts.items()):
            for depth in range(1, len(p)):
                if tuple(p[:depth]) in masks:
                    apart["/".join(p[:depth])] += 1
                    del self.parts[i]
                    break
        self.left += [f"{counted(n, 'image')} in {folder}" for folder, n in apart.items()]

    def _read_labels(self) -> None:
        """Read the table of labels, and leave out images that it lacks."""
        if self.options.labels:
            self.beside = read_labels(self.path, self.names, self.options, self.takes is None)
        if self.beside is not None and self.takes is None:
            lacking = [i for i in self.parts if i in self.beside.lacking]
            self._leave(lacking, "image without a label")
            self.words += self.beside.words

    def _is_mask(self, name: str, inside: set[str]) -> bool:
        """Return whether a folder of such a name holds masks, by what lies beside it."""
        beside = {each for each in inside if not MASKS.fullmatch(each)}
        if not beside or name in self.known or any("mask" in each.lower() for each in beside):
            return False
        named = any(IMAGES.fullmatch(each) or split_of(each) for each in beside)
        match = MASKS.fullmatch(name)
        if "" in beside or named or (match and match["sure"]):
            return True
        if self.takes is None and not self.given:
            raise VaekitError(
                f"{self.path}: '{name}' beside {_listed(beside)} may be a class, or masks: "
                "`label_from=...` names the classes, as '([^/]+)/[^/]+$'; or move it elsewhere."
            )
        return False

    def _unwrap(self) -> list[str]:
        """Leave out the folders that all images share, and return them."""
        inner = list[str]()
        while len(heads := self._heads()) == 1 and "" not in heads and not heads & self.known:
            inner += heads
            self.parts = {i: p[1:] for i, p in self.parts.items()}
        loose = [i for i, p in self.parts.items() if len(p) == 1]
        deep = any(len(p) > 2 for p in self.parts.values())
        wrapped = self.takes is None and len(heads) == 2 and "" in heads and deep
        if wrapped and self._few(loose) and not any(map(split_of, heads)):
            self._leave(loose, "file")
            inner += self._unwrap()
        return inner

    def _few(self, places: list[int]) -> bool:
        return len(places) <= max(1, STRAY * len(self.parts))

    def _split_folders(self) -> dict[str, str]:
        """Return which folder of the top is which split; nothing where they are none.

        Raises:
            VaekitError: where two readings are equally likely.
        """
        heads = self._heads()
        words = {head: split_of(head) for head in sorted(heads) if split_of(head)}
        others, splits = heads - set(words), set(words.values())
        if not words or heads & self.known:
            return {}
        if self.takes is not None:
            return words if "train" in splits and not others else {}
        for split in splits:
            same = [head for head in words if words[head] == split]
            if len(same) > 1:
                raise VaekitError(f"{self.path}: {_listed(same)} are one split; rename one.")
        if "train" in splits and (len(splits) > 1 or not others):
            return words
        if "train" in splits and others == {""}:
            if self._few([i for i, p in self.parts.items() if len(p) == 1]):
                return words
        elif splits == {"validation"}:
            return {}  # beside invalid, say
        elif "train" not in splits and len(others) > 1:
            return words | dict.fromkeys(others, "train")
        elif len(others) > 1 and not any(len(p) > 2 for p in self.parts.values()):
            return {}  # classes, one of which happens to be called so
        if self.given:
            return {}
        mend = "rename one to train" if not others else "rename it, or move the others elsewhere"
        raise VaekitError(
            f"{self.path}: {_listed(words)} beside {_listed(others) or 'no train'} may be splits, "
            f"or classes: {mend}; `label_from=...` takes them as no splits."
        )

    def _unwrap_splits(self) -> None:
        """Leave out a folder in a split that is named as the split is, or just images."""
        for split in set(self.splits.values()):
            mine = {i: p for i, p in self.parts.items() if self.splits[i] == split}
            heads = {self._head(p) for p in mine.values()}
            inner = heads.pop() if len(heads) == 1 else ""
            if inner and (split_of(inner) == split or IMAGES.fullmatch(inner)):
                self.parts |= {i: p[1:] for i, p in mine.items()}
                self.guessed = True

    def _leave_strays(self) -> None:
        """Leave out the few files beside folders of classes."""
        loose = [i for i, p in self.parts.items() if len(p) == 1]
        if loose and len(self._heads()) > 2 and self.options.group != "folder":
            if self._few(loose):
                self._leave(loose, "file")
                self.guessed = True
            else:
                self.words.append("files lie beside the folders, which are then no classes")

    def layout(self) -> Layout:
        """Return the rows, and what is said of them."""
        places = list(self.parts)
        folders = [self._head(p) for p in self.parts.values()]
        named = np.array([self.splits.get(i, "train") for i in places])
        labels, class_names, bare = self._labels(folders, named)
        group = None if self.takes is not None else self.options.group
        keys = None if group is None else keyed(self._keys(folders, group))
        ids = None if len(places) == len(self.names) else np.array(places)
        table = self.beside if self.takes is None else None
        factors = None if table is None or table.factors is None else table.factors[places]
        rows: Split | dict[str, Split]
        rows = Split(torch.empty(len(places), 0, dtype=torch.uint8), labels, factors, keys, ids=ids)
        counts = []
        if self.splits:
            masks = {
                name: torch.from_numpy(named == name) for name in dict.fromkeys(named.tolist())
            }
            rows = self._without(bare, {name: rows.take(mask) for name, mask in masks.items()})
            order = [name for name in ("train", "validation", "test") if name in rows]
            counts = [f"{name} {len(rows[name])}" for name in order]
        counts += [f"{len(class_names)} classes"] if class_names else []
        if self.guessed and counts:
            self.words.insert(0, "read as: " + ", ".join(counts))
        factor_names = () if factors is None or table is None else table.factor_names
        return Layout(rows, class_names, factor_names, self.words, self.left)

    def _without(self, bare: list[str], parts: dict[str, Split]) -> dict[str, Split]:
        """Return the splits, some without labels; none of those where a model needs labels."""
        for name in bare:
            self.guessed = True
            if "label" in self.options.context.split(","):
                images = counted(len(parts.pop(name)), "image")
                self.left.append(f"{images} of {name} without labels, on which the model depends")
            else:
                parts[name] = replace(parts[name], labels=None)
                self.words.append(f"the rows of {name} have no labels")
        return parts

    def _labels(
        self, folders: list[str], named: np.ndarray
    ) -> tuple[Tensor | None, tuple[str, ...], list[str]]:
        """Return labels, names of the classes, and the splits that have none."""
        if self.options.labels:
            cells = None if self.beside is None else self.beside.cells
            if cells is None:
                return None, (), []
            folders = [cells[i] for i in self.parts]
        elif self.options.label_from:
            folders = self._matched("label_from", self.options.label_from)
        given = self.given
        if takes := classes_of(self.options):  # a folder of one class may come, too
            mine = set(folders) <= set(takes.class_names)
            labels = numbers_of(folders, takes) if mine or given else None
            return labels, () if labels is None else takes.class_names, []
        splits = {} if given else {n: set[str]() for n in named.tolist() if n != "train"}
        for folder, name in zip(folders, named.tolist(), strict=True):
            if name in splits:
                splits[name].add(folder)
        trained = {f for f, n in zip(folders, named.tolist(), strict=True) if n == "train"}
        strange = len(trained) > 1  # as in test/unknown
        bare = [n for n, f in splits.items() if f == {""} or (strange and not f & trained)]
        used = {f for f, n in zip(folders, named.tolist(), strict=True) if n not in bare}
        if "" in used or len(used) < (1 if given else 2):
            return None, (), []
        return *numbered(folders, used), bare

    def _keys(self, folders: Sequence[str], group: str) -> list[str]:
        if group != "folder":
            return self._matched("group", group)
        if "" in folders:
            name = self.names[list(self.parts)[folders.index("")]]
            raise VaekitError(f"`group='folder'`: '{name}' in {self.path} lies in no subfolder.")
        return list(folders)

    def _matched(self, option: str, expression: str) -> list[str]:
        """Return what the first bracket of a regular expression finds in each path."""
        said = f"`{option}={expression!r}`"
        try:
            pattern = re.compile(expression)
        except re.error as error:
            raise VaekitError(f"{said} is no regular expression: {error}.") from None
        if not pattern.groups:
            raise VaekitError(f"{said} has no group in brackets; expected one, as in 'p([0-9]+)_'.")
        keys = []
        for name in (self.names[i] for i in self.parts):
            match = pattern.search(name)
            if match is None or match[1] is None:
                if self.takes is None:
                    raise VaekitError(f"{said} does not match '{name}' in {self.path}.")
                keys.append("")
                continue
            keys.append(match[1])
        return keys


def split_of(folder: str) -> str:
    """Return which split a folder of this name is, or nothing.

    Example:
        >>> [split_of(name) for name in ("Training", "dev", "test_set", "cat")]
        ['train', 'validation', 'test', '']
    """
    match = SPLIT.fullmatch(folder)
    return (match.lastgroup or "") if match else ""


def counted(count: int, what: str) -> str:
    """Return how many of what there are.

    Example:
        >>> counted(1, "file"), counted(2, "file")
        ('1 file', '2 files')
    """
    return f"{count} {what}{'s' * (count != 1)}"


def natural(name: str) -> tuple[list[Any], str]:
    """Return a key that sorts names by the numbers in them.

    Example:
        >>> sorted(["a10.png", "a9.png", "A1.png"], key=natural)
        ['A1.png', 'a9.png', 'a10.png']
    """
    parts: list[Any] = re.split(r"([0-9]+)", name)
    for i in range(1, len(parts), 2):  # as numbers are ordered, of whatever length
        digits = parts[i].lstrip("0")
        parts[i] = len(digits), digits
    return parts, name


def by_class(name: str) -> tuple[bool, float, tuple[list[Any], str], str]:
    """Return a key that sorts the names of classes: numbers first, then letters without case.

    Example:
        >>> sorted(["cat", "10", "Dog", "-1", "9"], key=by_class)
        ['-1', '9', '10', 'cat', 'Dog']
    """
    number = re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", name) is not None
    return not number, float(name) if number else 0.0, natural(name.casefold()), name


def numbered(
    cells: Sequence[str], used: Iterable[str] | None = None
) -> tuple[Tensor, tuple[str, ...]]:
    """Return the classes as numbers, and their names in order; 0 for a cell that is none.

    Example:
        >>> numbered(["b", "10", "9"])
        (tensor([2, 1, 0]), ('9', '10', 'b'))
    """
    names = tuple(sorted(set(cells if used is None else used), key=by_class))
    number = {name: i for i, name in enumerate(names)}
    return torch.tensor([number.get(cell, 0) for cell in cells]), names


def _listed(names: Iterable[str]) -> str:
    shown = [f"'{name}'" if name else "files" for name in sorted(names)]
    return ", ".join(shown[:4]) + ", ..." * (len(shown) > 4)
