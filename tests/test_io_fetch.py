"""Downloads, from a server on this machine: whole and right, or nothing at all."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaekit import data
from vaekit._io import STALE, fetch, replacing, write
from vaekit.cli.main import main
from vaekit.data import SETS, Entry, File, Form, Split
from vaekit.errors import VaekitError

CONTENT = np.random.default_rng(0).integers(0, 256, 600_000).astype(np.uint8).tobytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Answers(BaseHTTPRequestHandler):
    """/whole gives CONTENT; the other paths go wrong as their names say."""

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        self.server.seen.append((name, self.headers["Accept-Encoding"]))  # type: ignore[attr-defined]
        if name == "none":
            self.send_error(404, "Not Found")
            return
        content = {"other": b"other", "html": b"<html>log in</html>"}.get(name, CONTENT)
        extra = 1000 if name == "short" else 0
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) + extra))
        self.end_headers()
        self._send(content, slow=name == "slow")

    def _send(self, content: bytes, slow: bool) -> None:
        half = len(content) // 2
        self.wfile.write(content[:half])
        self.wfile.flush()
        if slow:
            self.server.gate.wait(60)  # type: ignore[attr-defined]
        try:
            self.wfile.write(content[half:])
        except OSError:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.seen: list[tuple[str, str]] = []
        self.gate = threading.Event()

    @property
    def at(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.gate.set()
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "vaekit"


def read_bytes(paths: Sequence[Path]) -> dict[str, Any]:
    parts = [np.frombuffer(path.read_bytes(), np.uint8) for path in paths]
    rows = Split(torch.from_numpy(np.stack(parts)))
    return {"train": rows, "test": rows}


Known = Callable[..., Entry]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Known:
    """Makes a set 'afar' of one file or several, each with its addresses."""

    def make(*urls: str, checksum: str = SHA256, more: tuple[File, ...] = ()) -> Entry:
        form = Form((File("far/rows.bin", checksum, urls), *more), read_bytes)
        entry = Entry("afar", "table", (600_000,), (1, 1), 0, "a fake", "none", (form,))
        monkeypatch.setitem(SETS, "afar", entry)
        return entry

    return make


def everything(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def fails(message: str) -> Any:
    return pytest.raises(VaekitError, match=re.escape(message))


def one_line(caught: Any) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_set_is_downloaded_once(
    server: Server, cache: Path, known: Known, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    total = SHA256 if kind == "sha256" else f"md5:{hashlib.md5(CONTENT).hexdigest()}"
    known(f"{server.at}/whole", checksum=total)
    found = data.load("afar")
    assert found.train.images.numpy().tobytes() == CONTENT
    assert found.source == str(cache / "far" / "rows.bin")
    assert everything(cache) == ["far/rows.bin"]
    assert capfd.readouterr().err == f"downloading {server.at}/whole\n"
    assert data.load("afar").source == found.source
    assert server.seen == [("whole", "identity")]
    assert capfd.readouterr() == ("", "")


def test_a_file_at_hand_is_not_downloaded(
    server: Server, cache: Path, known: Known, tmp_path: Path
) -> None:
    known(f"{server.at}/whole")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "rows.bin").write_bytes(CONTENT)
    assert Path(data.load("afar", "mine").source) == Path("mine/rows.bin")
    assert server.seen == []
    assert not cache.exists()


def test_only_what_is_missing_is_downloaded(server: Server, cache: Path, known: Known) -> None:
    """As after a download that was killed between two files; a spoilt one is replaced."""
    second = File("far/b.bin", SHA256, (f"{server.at}/second",))
    third = File("far/c.bin", SHA256, (f"{server.at}/third",))
    known(f"{server.at}/whole", more=(second, third))
    (cache / "far").mkdir(parents=True)
    (cache / "far" / "rows.bin").write_bytes(CONTENT)
    (cache / "far" / "b.bin").write_bytes(CONTENT[:99])
    assert data.load("afar").train.images.shape == (3, 600_000)
    assert [name for name, _ in server.seen] == ["second", "third"]
    assert everything(cache) == ["far/b.bin", "far/c.bin", "far/rows.bin"]


def test_a_spoilt_file_in_the_cache_says_what_to_do(
    server: Server, cache: Path, known: Known
) -> None:
    known(f"{server.at}/whole")
    (cache / "far").mkdir(parents=True)
    (cache / "far" / "rows.bin").write_bytes(CONTENT[:99])
    with fails("rows.bin is truncated or another file") as caught:
        data.load("afar")
    assert "delete it, and it is downloaded again" in one_line(caught)
    (cache / "far" / "rows.bin").unlink()
    assert len(data.load("afar").train) == 1


@pytest.mark.parametrize("name", ["other", "html"])
def test_another_checksum_keeps_nothing(
    server: Server, cache: Path, known: Known, name: str
) -> None:
    known(f"{server.at}/{name}")
    with fails(f"{server.at}/{name} gave another file: got the checksum ") as caught:
        data.load("afar")
    got = hashlib.sha256({"other": b"other", "html": b"<html>log in</html>"}[name]).hexdigest()
    message = one_line(caught)
    assert f"{got}, expected {SHA256}; nothing was kept" in message
    assert everything(cache) == []


def test_a_missing_file_on_the_server(server: Server, cache: Path, known: Known) -> None:
    known(f"{server.at}/none")
    with fails(f"cannot download {server.at}/none: the server answers 404 Not Found.") as caught:
        data.load("afar")
    message = one_line(caught)
    assert "did not find the files of 'afar' (rows.bin); looked in: " in message
    assert "as `data_dir`, or in VAEKIT_DATA" in message
    assert everything(cache) == []


def test_a_truncated_answer(server: Server, cache: Path, known: Known) -> None:
    known(f"{server.at}/short")
    with fails(f"the download of {server.at}/short broke off before its end") as caught:
        data.load("afar")
    assert "nothing was kept. Try again." in one_line(caught)
    assert everything(cache) == []


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_no_network(cache: Path, known: Known, capsys: pytest.CaptureFixture[str]) -> None:
    host = f"127.0.0.1:{closed_port()}"
    known(f"http://{host}/whole")
    with pytest.raises(SystemExit) as left:
        main(["data", "afar"])
    assert left.value.code == 2
    note, error, *rest = capsys.readouterr().err.splitlines()
    assert (note, rest) == (f"downloading http://{host}/whole", [])
    assert error.startswith(
        f"vaekit: cannot download http://{host}/whole: no connection to {host}. "
        f"Nor is it at hand: did not find the files of 'afar' (rows.bin); looked in: "
    )
    assert everything(cache) == []


def test_the_next_address_is_tried(server: Server, cache: Path, known: Known) -> None:
    gone = f"http://127.0.0.1:{closed_port()}/whole"
    known(gone, f"{server.at}/none", f"{server.at}/other", f"{server.at}/whole")
    assert len(data.load("afar").train) == 1
    assert [name for name, _ in server.seen] == ["none", "other", "whole"]
    assert everything(cache) == ["far/rows.bin"]


def test_a_full_disk(server: Server, cache: Path, known: Known) -> None:
    """A limit on the size of files stands in for it: writing fails half way."""
    known(f"{server.at}/whole")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with fails(f"cannot write {cache}/far/rows.bin (File too large); nothing was kept."):
            data.load("afar")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not cache.exists()


def test_a_cache_that_cannot_be_made(server: Server, cache: Path, known: Known) -> None:
    known(f"{server.at}/whole")
    cache.parent.mkdir()
    cache.write_text("a file")
    with fails(f"cannot write {cache}/far/rows.bin (") as caught:
        data.load("afar")
    assert "XDG_CACHE_HOME" in one_line(caught)
    assert cache.read_text() == "a file"


FETCH = """
import sys
from pathlib import Path
from vaekit._io import fetch
fetch([sys.argv[1]], Path(sys.argv[2]), sys.argv[3])
"""


def test_a_killed_download_leaves_nothing_to_trip_over(
    server: Server, cache: Path, known: Known
) -> None:
    target = cache / "far" / "rows.bin"
    slow = [sys.executable, "-c", FETCH, f"{server.at}/slow", str(target), SHA256]
    with subprocess.Popen(slow, stderr=subprocess.DEVNULL) as process:
        for _ in range(1200):
            if any(part.stat().st_size for part in target.parent.glob(".*.tmp")):
                break
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    left = everything(cache)
    assert len(left) == 1
    assert re.fullmatch(r"far/\.rows\.bin\.[0-9a-f]{8}\.tmp", left[0])
    os.utime(cache / left[0], (time.time() - STALE - 1,) * 2)
    known(f"{server.at}/whole")
    assert data.load("afar").train.images.numpy().tobytes() == CONTENT
    assert everything(cache) == ["far/rows.bin"]


def test_temporary_files_of_others_are_left(server: Server, cache: Path) -> None:
    """Of writers that may live, and of other programs; unless nobody has written for an hour."""
    folder = cache / "far"
    folder.mkdir(parents=True)
    alive, other, old, dead = (
        folder / name
        for name in (
            ".rows.bin.0123abcd.tmp",
            ".rows.bin.tmp",
            ".rows.bin.ffffffff.tmp",
            ".more.bin.01234567.tmp",
        )
    )
    for path in (alive, other, old, dead):
        path.write_bytes(b"half")
    for path in (other, old, dead):
        os.utime(path, (time.time() - STALE - 1,) * 2)
    fetch([f"{server.at}/whole"], folder / "rows.bin", SHA256)
    assert sorted(folder.iterdir()) == sorted([folder / "rows.bin", alive, other])


def test_ctrl_c_during_a_download(
    server: Server, cache: Path, known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pooch

    def stop(self: Any, url: str, output_file: str, *_: Any) -> None:
        Path(output_file).write_bytes(CONTENT[:99])
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", stop)
    known(f"{server.at}/whole")
    with pytest.raises(KeyboardInterrupt):
        data.load("afar")
    assert everything(cache) == []


def test_a_name_that_the_file_system_takes_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 251 + ".png")
    assert write(path, b"text").read_bytes() == b"text"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_two_writers_of_a_file_have_a_temporary_one_each(tmp_path: Path) -> None:
    """As two threads of one process."""
    path = tmp_path / "a.json"
    with replacing(path) as one, replacing(path) as other:
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert path.read_bytes() == b"one", "the last to end"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
