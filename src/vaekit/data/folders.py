"""Where data sets are looked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vaekit.errors import VaekitError

__all__ = ["not_found", "search_folders"]


def search_folders(data_dir: str | Path | None = None) -> tuple[Path, ...]:
    """The folders searched, in order: `data_dir`, $VAEKIT_DATA, the user's cache.

    Example:
        >>> search_folders("mine")[0].name
        'mine'
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vaekit"
    named = (data_dir, os.environ.get("VAEKIT_DATA"))
    return (*(Path(folder).expanduser() for folder in named if folder), cache)


def not_found(what: str, places: Sequence[Path]) -> VaekitError:
    """The error for data that are in none of `places`: where it looked, and the mend."""
    looked = ", ".join(str(place) for place in dict.fromkeys(places))
    return VaekitError(
        f"did not find {what}; looked in: {looked}. "
        f"Name the folder that has it with --data-dir DIR or in VAEKIT_DATA."
    )
