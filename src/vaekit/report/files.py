"""Writing a file whole or not at all."""

from __future__ import annotations

from pathlib import Path

from vaekit.errors import VaekitError
from vaekit.files import missing_folders, remove_empty, write_atomically

__all__ = ["write_file"]


def write_file(path: str | Path, data: bytes) -> Path:
    """Writes `data` to `path` atomically, making the folders above it.

    Raises:
        VaekitError: where it cannot be written; an old file is left as it was.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_file(f"{folder}/new/name.txt", b"text").read_bytes()
        b'text'
    """
    path = Path(path)
    if not path.name:
        raise VaekitError(f"'{path}' names no file.")
    made = missing_folders(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VaekitError(
            f"cannot make {path.parent}: {error.strerror or error}. Name another place."
        ) from error
    try:
        write_atomically(path, data)
    except VaekitError:
        remove_empty(made)
        raise
    return path
