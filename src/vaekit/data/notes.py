"""What a user is told while data are read, and is no error."""

from __future__ import annotations

import sys

__all__ = ["gib", "note"]


_SAID: set[str] = set()


def note(text: str) -> None:
    """A line on standard error, once a process; replace it to hear the notes elsewhere."""
    if text not in _SAID:
        _SAID.add(text)
        sys.stderr.write(f"vaekit: note: {text}\n")


def gib(count: float) -> str:
    """Bytes in words.

    Example:
        >>> gib(3 * 2**30), gib(5e6), gib(12)
        ('3.0 GiB', '4.8 MiB', '12 bytes')
    """
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"
