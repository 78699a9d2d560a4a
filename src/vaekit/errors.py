"""Errors a user can cause: one clear line with what was got, what was expected and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import TypeVar

__all__ = ["VaekitError", "choose", "unknown"]

T = TypeVar("T")


class VaekitError(ValueError):
    """Something the user can mend. The command line prints its one line and exits with code 2."""


def unknown(what: str, name: str, known: Collection[str]) -> VaekitError:
    """The error for a name that is not known, with the nearest known one.

    Example:
        >>> unknown("activation", "rleu", ["relu", "tanh"])
        VaekitError("unknown activation 'rleu'; did you mean 'relu'? Known: relu, tanh.")
    """
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return VaekitError(f"unknown {what} '{name}'{hint} Known: {', '.join(known) or 'none'}.")


def choose(what: str, name: str, table: Mapping[str, T]) -> T:
    """`table[name]`, or the error that offers the nearest name.

    Raises:
        VaekitError: if `name` is not in `table`.

    Example:
        >>> choose("number", "two", {"one": 1, "two": 2})
        2
    """
    if name not in table:
        raise unknown(what, name, table)
    return table[name]
