"""Files over the network: whole, with the right checksum, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from vaekit.errors import VaekitError
from vaekit.files import missing_folders, remove_empty

__all__ = ["UnreachableError", "checksum_of", "fetch", "fits"]

CHUNK = 1 << 18  # bytes
TIMEOUT = (10, 60)  # seconds: to connect, and between two chunks
STALE = 24 * 3600  # seconds: after which a temporary file of another machine is no one's


class UnreachableError(VaekitError):
    """The network or the server did not give the file."""


def checksum_of(path: Path, kind: str = "sha256") -> str:
    """The hex digest of a file.

    Raises:
        VaekitError: for a file that cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "abc").write_bytes(b"abc")
        ...     checksum_of(Path(folder, "abc"), "md5")
        '900150983cd24fb0d6963f7d28e17f72'
    """
    try:
        with path.open("rb") as file:
            made = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False))
    except OSError as error:
        raise VaekitError(f"cannot read {path} ({error.strerror or error}).") from error
    return made.hexdigest()


def fits(path: Path, checksum: str) -> tuple[bool, str]:
    """Whether a file has this checksum (a sha256, or "md5:..."), and the one it has.

    Raises:
        VaekitError: for a file that cannot be read.
    """
    kind, _, wanted = checksum.rpartition(":")
    got = checksum_of(path, kind or "sha256")
    return got == wanted, got


def fetch(urls: Sequence[str], target: Path, checksum: str) -> Path:
    """Downloads a file to `target` from the first of `urls` that gives it.

    It is written beside `target` under another name, checked, and renamed. What a killed download
    left behind is cleared by the next one of the same file.

    Returns:
        `target`; nothing is downloaded where it is there and has the checksum.

    Raises:
        UnreachableError: where the network or the server fails.
        VaekitError: for another checksum, and where the file cannot be written.
    """
    if target.is_file() and fits(target, checksum)[0]:
        return target
    temporary = target.with_name(f".{target.name}.{socket.gethostname()}.{os.getpid()}.part")
    made = missing_folders(target.parent)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear(target)
        _first(urls, temporary, checksum)
        temporary.replace(target)
    except OSError as error:
        raise VaekitError(
            f"cannot write {target} ({error.strerror or error}); nothing was kept. Free some room, "
            f"or let XDG_CACHE_HOME name another folder."
        ) from error
    finally:
        if temporary.exists():
            temporary.unlink()
        remove_empty(made)
    return target


def _first(urls: Sequence[str], temporary: Path, checksum: str) -> None:
    """The first of the addresses that gives the file; the error of the last where none does."""
    for position, url in enumerate(urls, start=1):
        sys.stderr.write(f"downloading {url}\n")
        try:
            return _download(url, temporary, checksum)
        except VaekitError:
            if position == len(urls):
                raise
    raise UnreachableError("there is no address to download from.")


def _download(url: str, temporary: Path, checksum: str) -> None:
    import pooch
    import requests

    answers: list[requests.Response] = []
    load = pooch.HTTPDownloader(
        chunk_size=CHUNK,
        timeout=TIMEOUT,
        headers={"Accept-Encoding": "identity"},  # a server that zips would change the bytes
        hooks={"response": lambda answer, **_: answers.append(answer)},
    )
    try:
        load(url, str(temporary), None)
    except requests.HTTPError as error:
        told = f"{answers[-1].status_code} {answers[-1].reason}"
        raise UnreachableError(f"cannot download {url}: the server answers {told}.") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise UnreachableError(
            f"the download of {url} broke off before its end; nothing was kept. Try again."
        ) from error
    except requests.RequestException as error:
        host = urlsplit(url).netloc
        raise UnreachableError(f"cannot download {url}: no connection to {host}.") from error
    finally:
        for answer in answers:
            answer.close()  # pooch leaves it open where it fails
    _check(url, temporary, checksum)


def _check(url: str, temporary: Path, checksum: str) -> None:
    right, got = fits(temporary, checksum)
    if not right:
        raise VaekitError(
            f"{url} gave another file: got the checksum {got}, expected {checksum}; "
            f"nothing was kept. Try again later, or fetch it elsewhere."
        )


def _clear(target: Path) -> None:
    """Removes what downloads of this file left that are no longer under way."""
    for path in target.parent.glob(f".{target.name}.*.part"):
        host, pid = path.name.removesuffix(".part").rsplit(".", 1)
        here = host == f".{target.name}.{socket.gethostname()}" and pid.isdigit()
        with contextlib.suppress(FileNotFoundError):  # cleared by another process meanwhile
            if (here and not _alive(int(pid))) or time.time() - path.stat().st_mtime > STALE:
                path.unlink()


def _alive(pid: int) -> bool:
    """Whether another process has this number."""
    if pid == os.getpid():
        return False
    if os.name == "nt":  # where a signal of 0 is no question
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
