"""Which arrays of an .npz are images, labels, factors and groups, of which split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vaekit.data._splits import taken
from vaekit.errors import VaekitError, cut, unknown

if TYPE_CHECKING:
    from vaekit._train_options import Data

KEYS = ("images", "labels", "factors", "groups")
SPARSE_KEYS = ("data", "indices", "indptr", "shape")
HOW = "write it with numpy.savez(path, images=..., labels=...)"
# What others call them, the likeliest first; letters without case.
CALLED = {
    "images": ("images", "imgs", "image", "x", "data", "arr_0"),
    "labels": ("labels", "label", "y", "targets", "target"),
    "factors": ("factors",),
    "groups": ("groups",),
}
SPLITS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}


def found(
    path: Path, keys: Sequence[str], options: Data | None = None
) -> tuple[dict[str, str], str]:
    """Return the key in the file of each array that is read, and what is to be said of them.

    Arrays are called `images`, `val_labels`, `test_factors` and so on. Those that `options.images`
    and `options.labels` name come first; one array alone is the images.

    Raises:
        VaekitError: for a file without images, a key that is not there, and splits of which some
            have labels.

    Example:
        >>> found(Path("m.npz"), ["x_train", "y_train", "x_test", "y_test", "extra"])[0]
        {'images': 'x_train', 'labels': 'y_train', 'test_images': 'x_test', 'test_labels': 'y_test'}
        >>> found(Path("a.npz"), ["arr_0", "arr_1"])[1]
        "images are 'arr_0'; left out: arr_1"
    """
    asked = _asked(path, keys, options)
    if not {"images"} & {*keys, *asked} and set(SPARSE_KEYS) <= set(keys):
        known = (*SPARSE_KEYS, "format", "_is_array", *KEYS[1:])  # scipy writes both
        sparse = {key: key for key in known if key in keys}
        return sparse, _left_out(keys, sparse)
    part = {"data"} if {"indices", "indptr"} & set(keys) else set()  # of a sparse matrix, not whole
    ranked = sorted([key for key in keys if key not in part], key=lambda key: role(key)[1])
    likeliest = {role(key)[0]: key for key in reversed(ranked) if key not in asked.values()}
    likeliest |= asked if "images" in asked or len(keys) != 1 else {"images": keys[0]}
    if "images" not in likeliest:
        likely = [key for key in keys if not role(key)[0]] or keys
        mend = f"name them, as `images={likely[0]}`, and `labels`" if keys else HOW
        shown = cut(", ".join(keys[:8]) + ", ..." * (len(keys) > 8), 300)
        raise VaekitError(f"{path} has no array 'images'; it has: {shown or 'nothing'}; {mend}.")
    prefixes = [split for split in ("", "val_", "test_") if f"{split}images" in likeliest]
    names = [f"{split}{name}" for split in prefixes for name in KEYS]
    read = {name: likeliest[name] for name in names if name in likeliest}
    for split in prefixes[1:]:
        for name in ("labels", "factors"):
            if (name in read) != (f"{split}{name}" in read):
                raise VaekitError(
                    f"{path} has '{read[split + 'images']}', so it needs both '{name}' and "
                    f"'{split}{name}', or neither."
                )
    guessed = [f"{n} are '{k}'" for n, k in read.items() if _is_guess(n, k) and n not in asked]
    return read, "; ".join(filter(None, [", ".join(guessed), _left_out(keys, read)]))


def _asked(path: Path, keys: Sequence[str], options: Data | None) -> dict[str, str]:
    """Return the keys that options name; of new rows, those that are there."""
    named = {} if options is None else {"images": options.images, "labels": options.labels}
    asked = {name: key for name, key in named.items() if key}
    for key in [] if options is None or taken(options) else asked.values():
        if key not in keys:
            raise unknown(f"array of {path}", key, keys)
    return {name: key for name, key in asked.items() if key in keys}


def _is_guess(name: str, key: str) -> bool:
    """Return whether a key does not say itself what it is: `arr_0`, or `X` of no split."""
    return name in KEYS and key != name and not re.search("train", key, re.IGNORECASE)


def role(key: str) -> tuple[str, tuple[bool, int]]:
    """Return what a key is called here, or nothing, and its rank among keys called so."""
    words = [word for word in re.split(r"[_ ./-]", key.lower()) if word]
    splits = [SPLITS[word] for word in words if word in SPLITS]
    rest = "_".join(word for word in words if word not in SPLITS)
    for name, others in CALLED.items():
        if rest in others and len(splits) <= 1:
            prefix = f"{splits[0]}_" if splits and splits[0] != "train" else ""
            return f"{prefix}{name}", (key != f"{prefix}{name}", others.index(rest))
    return "", (True, 0)


def _left_out(keys: Sequence[str], read: dict[str, str]) -> str:
    others = [key for key in keys if key not in read.values()]
    shown = ", ".join(map(cut, others[:5])) + (
        f" and {len(others) - 5} more" if len(others) > 5 else ""
    )
    return f"left out: {shown}" if others else ""
