"""How much memory is free."""

from __future__ import annotations

import os
from pathlib import Path

from vaekit.errors import VaekitError
from vaekit.io import in_words

MEMINFO = Path("/proc/meminfo")


def available() -> int | None:
    """Bytes that can be taken without swapping; None where the system does not tell."""
    try:
        lines = MEMINFO.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line[:12] == "MemAvailable")
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def check_memory(what: str, wanted: int, mend: str) -> None:
    """Refuses what does not fit.

    Raises:
        VaekitError: if `wanted` bytes are more than are free.
    """
    free = available()
    if free is not None and wanted > free:
        raise VaekitError(
            f"{what} would take {in_words(wanted)}; {in_words(free)} are free. {mend}"
        )
