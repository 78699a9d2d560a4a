"""Errors that a user can cause: one line with what came, what was expected and the mend.

An argument stands in backticks as in Python, `size=64`; the command line writes it as its flag.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypeVar

T = TypeVar("T")
N = TypeVar("N", int, float)

SHOWN, MANY = 100, 270  # characters of the names, beside the one that was meant, and of others


# All that steers a terminal or a page and is no letter: controls but for tab and line, what turns
# the direction of text, halves of letters, and what XML has no place for.
STEERING = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"


LONG = re.compile(r"\S{300,}")  # a name or a cell of a damaged file


class VaekitError(ValueError):
    r"""Something the user can mend. The command line prints its one line and exits with code 2.

    Example:
        >>> print(VaekitError("got `name=a\nb`."))
        got `name=a\nb`.
    """

    def __init__(self, message: str = "") -> None:
        text = LONG.sub(lambda word: f"{word[0][:80]}...{word[0][-80:]}", str(message))
        super().__init__(visible(text, lines=False))


def unknown(what: str, name: str, known: Collection[str]) -> VaekitError:
    """Return the error for a name that is not known, with the nearest known one.

    Of many names beside that one the first are shown.

    Example:
        >>> unknown("activation", "rleu", ["relu", "tanh"])
        VaekitError("unknown activation 'rleu'; did you mean 'relu'? Known: relu, tanh.")
    """
    short = [each for each in known if len(each) <= 100][:1000]
    near = difflib.get_close_matches(name.lower()[:100], short, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    shown, most = ", ".join(known) or "none", SHOWN if near else MANY - len(what)
    if len(shown) > most:
        shown = f"{shown[:most].rpartition(', ')[0] or shown[:most]}, .."
    return VaekitError(f"unknown {what} '{cut(name)}'{hint} Known: {shown.removesuffix('.')}.")


def cut(text: str, most: int = 60) -> str:
    """Return a text for a message, its end left out where it is long.

    Example:
        >>> cut("short"), cut("1" * 5000, 5)
        ('short', '11111...')
    """
    return text if len(text) <= most else f"{text[:most]}..."


def visible(text: str, *, lines: bool = True) -> str:
    """Return text without what steers its reader, as a name in a file of others may.

    Args:
        text: of any kind.
        lines: whether tabs and ends of lines stay; a name has none.

    Example:
        >>> visible(chr(27) + "]0;title").replace(chr(92), "/")
        '/x1b]0;title'
    """
    steering = STEERING if lines else rf"[\t\n\u2028\u2029]|{STEERING}"
    return re.sub(steering, lambda sign: repr(sign[0])[1:-1], text)


def choose(what: str, name: str, table: Mapping[str, T]) -> T:
    """Return `table[name]`, or raise the error that offers the nearest name.

    Raises:
        VaekitError: if `name` is not in `table`.

    Example:
        >>> choose("number", "two", {"one": 1, "two": 2})
        2
    """
    if name not in table:
        raise unknown(what, name, table)
    return table[name]


def at_least(name: str, value: N, least: N) -> N:
    """Return `value` if it is `least` or more, and whole where `least` is an int.

    Args:
        name: of the argument.
        value: what it was set to.
        least: an int asks for a whole number, a float for any number.

    Raises:
        VaekitError: otherwise, for NaN as well.

    Example:
        >>> at_least("rows", 8, 1), at_least("beta", 0.5, 0.0)
        (8, 0.5)
        >>> at_least("rows", 0, 1)
        Traceback (most recent call last):
        vaekit.errors.VaekitError: got `rows=0`; expected a whole number of at least 1.
    """
    kind, words = (Integral, "a whole number") if isinstance(least, int) else (Real, "a number")
    if isinstance(value, bool) or not isinstance(value, kind) or not value >= least:
        raise VaekitError(f"got `{name}={value}`; expected {words} of at least {least:g}.")
    return value


def within(name: str, value: N, least: N, most: N) -> N:
    """Return `value` if it is a number between two ends, and whole where `least` is an int.

    Example:
        >>> within("steps", 2000, 1, 1000)
        Traceback (most recent call last):
        vaekit.errors.VaekitError: got `steps=2000`; expected at most 1,000.
    """
    if at_least(name, value, least) > most:
        raise VaekitError(f"got `{name}={value}`; expected at most {most:,}.")
    return value


def one_of(name: str, value: T, known: Collection[T]) -> T:
    """Return `value` if it is among those known.

    Raises:
        VaekitError: otherwise, with all that are known.

    Example:
        >>> one_of("kl", "closed", ["closed", "sampled"])
        'closed'
        >>> one_of("kl", "open", ["closed", "sampled"])
        Traceback (most recent call last):
        vaekit.errors.VaekitError: got `kl=open`; expected 'closed' or 'sampled'.
    """
    if value not in known:
        words = [repr(each) for each in known]
        listed = " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
        raise VaekitError(f"got `{name}={value}`; expected {listed}.")
    return value


def same_shape(name: str, got: Sequence[int], expected: Sequence[int]) -> None:
    """Check that a shape is the one expected.

    Raises:
        VaekitError: where they differ.

    Example:
        >>> same_shape("x", (8, 3), (8, 2))
        Traceback (most recent call last):
        vaekit.errors.VaekitError: got `x` of shape (8, 3); expected (8, 2).
    """
    if tuple(got) != tuple(expected):
        raise VaekitError(f"got `{name}` of shape {tuple(got)}; expected {tuple(expected)}.")


def first_wrong(error: Any) -> str:
    """Return what a record does wrong by the first error of pydantic's, as "has no data.sha256".

    Example:
        >>> from pydantic import TypeAdapter, ValidationError
        >>> try:
        ...     TypeAdapter(dict[str, int]).validate_python({"step": "x"}, strict=True)
        ... except ValidationError as error:
        ...     first_wrong(error)
        "holds 'x' for step; expected a valid integer"
    """
    first = error.errors()[0]
    where, got = ".".join(map(str, first["loc"])), repr(first["input"])
    if first["type"] == "missing":
        return f"has no {where}"
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"has an unknown key {where}"
    if first["type"] == "value_error":
        return f"has a fault: {first['msg'].removeprefix('Value error, ').rstrip('.')}"
    expected = first["msg"].removeprefix("Input should be ")
    got = got if len(got) <= 60 else f"{got[:60]}..."
    return f"holds {got}{f' for {where}' if where else ''}; expected {expected}"
