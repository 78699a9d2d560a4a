"""What drawn faces differ in, and faces at random: whole numbers alone, alike on every machine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vaekit.errors import VaekitError


class Factor(NamedTuple):
    """What a face may have.

    Attributes:
        values: their names.
        odds: of each value, whole numbers; where there are none, all are alike.
    """

    values: tuple[str, ...]
    odds: tuple[int, ...] = ()


# Names with colors, and the odds of hair.
HAIR = {
    "black": ("#2b2529", 4),
    "dark brown": ("#54372b", 4),
    "brown": ("#83583c", 4),
    "auburn": ("#933d2a", 3),
    "ginger": ("#d9772f", 3),
    "blond": ("#e9c46f", 4),
    "silver": ("#b9bac2", 2),
    "pink": ("#ee8fb0", 1),
    "blue": ("#5a86cf", 1),
}
SKIN = {
    "porcelain": "#fcdfcb",
    "light": "#f7cfb0",
    "peach": "#efb892",
    "tan": "#d9a074",
    "caramel": "#bf8457",
    "brown": "#9f6744",
    "deep": "#7d4f36",
}
BACKGROUND = {
    "sky": "#c3e3f7",
    "mint": "#c9ecd2",
    "peach": "#fddcc4",
    "lilac": "#dcd1f4",
    "lemon": "#fbf0b4",
    "rose": "#f9cfd9",
}


def _numbered(count: int, word: str = "") -> tuple[str, ...]:
    return tuple(f"{word}{number:02}" for number in range(1, count + 1))


AVATAR_FACTORS: dict[str, Factor] = {
    "hair style": Factor(_numbered(48)),
    "hair color": Factor(tuple(HAIR), tuple(odds for _, odds in HAIR.values())),
    "skin color": Factor(tuple(SKIN)),
    "head": Factor(_numbered(4)),
    "background": Factor(tuple(BACKGROUND)),
    "eyes": Factor(_numbered(24)),
    "eyebrows": Factor(_numbered(13)),
    "nose": Factor(_numbered(6)),
    "mouth": Factor((*_numbered(18, "happy "), *_numbered(9, "sad ")), (2,) * 18 + (1,) * 9),
    "beard": Factor(("none", "curly", "pointed"), (16, 1, 1)),
    "glasses": Factor(("none", "round", "dark", "oval", "square", "narrow"), (15, 1, 1, 1, 1, 1)),
    "earrings": Factor(("none", "three studs", "stud", "drop"), (9, 1, 1, 1)),
    "freckles": Factor(("none", "some"), (5, 1)),
    "flowers": Factor(("none", "some"), (11, 1)),
}
IDENTITY = ("hair style", "hair color", "skin color", "head")


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Return uint64 numbers scrambled, as SplitMix64 does."""
    x = numbers + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _at_random(start: int, count: int, seed: int) -> np.ndarray:
    """Return the factors of faces `start` to `start + count` of a seed, int64 `(count, F)`."""
    faces = np.arange(start, start + count, dtype=np.uint64)
    faces = _mixed(faces ^ _mixed(np.array([seed], np.uint64)))
    columns = []
    for number, factor in enumerate(AVATAR_FACTORS.values()):
        upto = np.cumsum(factor.odds or (1,) * len(factor.values))
        bits = _mixed(faces + np.uint64(number)) >> np.uint64(32)
        ticket = (bits * np.uint64(upto[-1])) >> np.uint64(32)
        columns.append(np.searchsorted(upto, ticket.astype(np.int64), side="right"))
    return np.stack(columns, 1).astype(np.int64)


def kept_for_test(factors: np.ndarray) -> np.ndarray:
    """Return which faces are test faces: hair style, hair color, skin color and head decide it.

    A tenth of the 12,096 combinations of these four is kept for test, whatever the seed.

    Args:
        factors: int64 `(N, 14)`, as `random_avatars` returns them.

    Returns:
        bool `(N,)`.

    Example:
        >>> faces = np.zeros((2, len(AVATAR_FACTORS)), np.int64)
        >>> faces[1, len(IDENTITY) :] = 1  # another background, other eyes, and so on
        >>> kept_for_test(faces).tolist()
        [False, False]
    """
    sizes = [len(AVATAR_FACTORS[name].values) for name in IDENTITY]
    identity = np.ravel_multi_index(tuple(factors[:, : len(sizes)].T), sizes)
    return _mixed(identity.astype(np.uint64)) % np.uint64(10) == 0


def random_avatars(n: int, *, seed: int = 0, test: bool = False) -> np.ndarray:
    """Return the factors of n faces at random: each is drawn by its odds, apart from the others.

    Args:
        n: how many.
        seed: 0 gives the faces of the data set `avatars`; more faces of a seed begin with the same.
        test: test faces, of which `kept_for_test` is true; by default training faces.

    Returns:
        int64 `(n, 14)`: a column for each of `AVATAR_FACTORS`, counted from 0.

    Raises:
        VaekitError: for fewer than one face, or a seed below 0.

    Example:
        >>> random_avatars(3)[:, 0]
        array([ 6, 12, 40])
    """
    if n < 1 or not 0 <= seed < 2**64:
        raise VaekitError(
            f"got `n={n}`, `seed={seed}`; expected one face or more, and a seed from 0 to below "
            "2**64."
        )
    found: list[np.ndarray] = []
    start, block = 0, n * (10 if test else 1) + 100
    while sum(map(len, found)) < n:
        faces = _at_random(start, block, seed)
        found.append(faces[kept_for_test(faces) == test])
        start += block
    return np.concatenate(found)[:n]
