"""Decoded images in a file: the same rows as in memory, and nothing half-written is ever read."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vaekit.data import decode, decoded, fingerprint, memory
from vaekit.data.images import load_images
from vaekit.data.rows import MappedRows
from vaekit.errors import VaekitError
from vaekit.options import Data

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 6, 5, 3)).astype(np.uint8)


def fails(message: str) -> Any:
    return pytest.raises(VaekitError, match=re.escape(message))


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "faces"
    for i, image in enumerate(IMAGES):
        place = path / "ab"[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    return path


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    notes: list[str] = []
    monkeypatch.setattr(decoded, "note", notes.append)
    return notes


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "vaekit" / "decoded").iterdir())


@pytest.mark.parametrize("options", [{}, {"size": 4}, {"crop": 3, "grey": True}])
def test_rows_in_a_file_are_the_rows_in_memory(
    faces: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    here = load_images(faces, Data(cache=False, **options))
    for _ in range(2):  # written, then read
        there = load_images(faces, Data(cache=True, **options))
        assert (there.kind, there.class_names) == (here.kind, here.class_names)
        for name, part in here.splits.items():
            mapped = there.splits[name]
            assert isinstance(mapped.images, MappedRows)
            assert torch.equal(mapped.x(), part.x())
            assert torch.equal(mapped.labels, part.labels)
    assert len(kept(tmp_path)) == 2


def test_they_are_decoded_once_and_a_line_says_so(
    faces: Path, tmp_path: Path, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_images(faces, Data(cache=True))
    assert len(heard) == 1
    array, record = sorted(kept(tmp_path), reverse=True)
    assert heard[0] == f"30 images (2700 bytes) are decoded once to {array}."

    def never(*_: Any) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(decode, "_pixels", never)
    monkeypatch.setattr(decode, "scan", never)
    second = load_images(faces, Data())  # what is there is used
    assert heard[1:] == [f"30 images (2700 bytes) are read from {array}."]
    assert fingerprint(first) == fingerprint(second)
    assert record.suffix == ".json"


def test_the_note_goes_to_standard_error(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        load_images(faces, Data(cache=True))
    out, err = capsys.readouterr()
    assert [line.split(" to ")[0].split(" from ")[0] for line in err.splitlines()] == [
        "vaekit: note: 30 images (2700 bytes) are decoded once",
        "vaekit: note: 30 images (2700 bytes) are read",
    ]
    assert out == ""


@pytest.mark.parametrize(("free", "mapped"), [(5401, False), (5399, True)])
def test_a_file_is_used_where_images_would_take_half_of_the_memory(
    faces: Path, heard: list[str], monkeypatch: pytest.MonkeyPatch, free: int, mapped: bool
) -> None:
    monkeypatch.setattr(decode, "available", lambda: free)
    assert isinstance(load_images(faces).train.images, MappedRows) == mapped
    monkeypatch.setattr(memory, "available", lambda: 5399)
    with fails(
        f"30 images of {faces}, copied once to be split, would take 5400 bytes; 5399 bytes are "
        f"free. Leave --no-cache"
    ):
        load_images(faces, Data(cache=False))


def test_memory_is_what_the_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 9 kB\nMemAvailable:     4096 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", info)
    assert memory.available() == 4096 * 1024
    info.unlink()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory.available() <= pages


def test_a_changed_file_or_option_makes_another_cache(faces: Path, tmp_path: Path) -> None:
    load_images(faces, Data(cache=True))
    for i, asked in enumerate((Data(cache=True, size=3), Data(cache=True, grey=True))):
        load_images(faces, asked)
        assert len(kept(tmp_path)) == 2 * (i + 2)
    Image.fromarray(255 - IMAGES[0]).save(faces / "a" / "0.png")
    os.utime(faces / "a" / "0.png", ns=(1, 1))
    mine = load_images(faces, Data(cache=True, test=1))
    assert len(kept(tmp_path)) == 8
    rows = np.concatenate(
        [part.images.pick(torch.arange(len(part))) for part in mine.splits.values()]
    )
    assert (rows == (255 - IMAGES[0]).transpose(2, 0, 1)).all((1, 2, 3)).sum() == 1


def test_a_split_or_a_group_uses_the_same_file(faces: Path, tmp_path: Path) -> None:
    load_images(faces, Data(cache=True))
    load_images(faces, Data(cache=True, group="folder", test=0.4))
    assert len(kept(tmp_path)) == 2


def spoil_array(array: Path, record: Path) -> None:
    array.write_bytes(array.read_bytes()[:-1])


def spoil_header(array: Path, record: Path) -> None:
    array.write_bytes(b"\x00" * 128 + array.read_bytes()[128:])


def spoil_record(array: Path, record: Path) -> None:
    record.write_bytes(b"{")


def other_record(array: Path, record: Path) -> None:
    facts = json.loads(record.read_text())
    record.write_text(json.dumps({**facts, "shape": [31, 3, 6, 5]}))


def half_record(array: Path, record: Path) -> None:
    record.write_text("[]")


def no_array(array: Path, record: Path) -> None:
    array.unlink()


def no_record(array: Path, record: Path) -> None:
    record.unlink()


@pytest.mark.parametrize(
    "spoil",
    [spoil_array, spoil_header, spoil_record, other_record, half_record, no_array, no_record],
)
def test_a_spoilt_file_is_made_again(
    faces: Path, tmp_path: Path, heard: list[str], spoil: Any
) -> None:
    good = load_images(faces, Data(cache=True)).train.x()
    record, array = kept(tmp_path)
    spoil(array, record)
    heard.clear()
    assert torch.equal(load_images(faces, Data(cache=True)).train.x(), good)
    assert "are decoded once to" in heard[0]
    assert kept(tmp_path) == [record, array]


SLOW = """
import sys, time
from vaekit.data import decode
from vaekit.data.images import load_images
from vaekit.options import Data

decode.MOST = 1
pixels = decode._pixels

def slow(files, number, plan):
    if number == 20:
        print("half-way", flush=True)
        time.sleep(60)
    return pixels(files, number, plan)

decode._pixels = slow
load_images(sys.argv[1], Data(cache=True))
"""


def test_a_killed_run_leaves_nothing_that_a_later_run_trips_over(
    faces: Path, tmp_path: Path, heard: list[str]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(faces)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"half-way\n"
    left = kept(tmp_path)
    assert [path.suffix for path in left] == [".part"]
    # While it lives, what it writes is left to it.
    good = load_images(faces, Data(cache=True)).train.x()
    assert left[0] in kept(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    for path in kept(tmp_path):
        if path.suffix != ".part":
            path.unlink()
    assert torch.equal(load_images(faces, Data(cache=True)).train.x(), good)
    assert [path.suffix for path in kept(tmp_path)] == [".json", ".npy"]
    assert torch.equal(load_images(faces, Data(cache=False)).train.x(), good)


FULL = """
import resource, sys
from vaekit.data.images import load_images
from vaekit.errors import VaekitError
from vaekit.options import Data

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    load_images(sys.argv[1], Data(cache=True))
except VaekitError as error:
    print(error)
"""


def test_a_full_disk_is_one_line(faces: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(faces)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    place = tmp_path / "cache" / "vaekit" / "decoded"
    assert run.stdout == (
        f"there is no room for 2700 bytes of decoded images in {place}. Name another folder in "
        f"XDG_CACHE_HOME, take a smaller --size, or --no-cache.\n"
    )
    assert list(place.iterdir()) == []


def test_space_is_reserved_before_anything_is_decoded(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def full(file: int, offset: int, size: int) -> None:
        asked.append((offset, size))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with fails("there is no room for 2700 bytes of decoded images in"):
        load_images(faces, Data(cache=True))
    assert asked == [(128, 2700)]
    assert kept(tmp_path) == []


def test_a_system_that_cannot_reserve_writes_all_the_same(
    faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unable)
    load_images(faces, Data(cache=True))
    monkeypatch.delattr(os, "posix_fallocate")
    load_images(faces, Data(cache=True, size=3))


def test_a_cache_that_cannot_be_written_is_one_line(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with fails("Not a directory). Name another folder in XDG_CACHE_HOME"):
        load_images(faces, Data(cache=True))


def test_other_peoples_parts_stay(faces: Path, tmp_path: Path) -> None:
    place = tmp_path / "cache" / "vaekit" / "decoded"
    place.mkdir(parents=True)
    names = [
        "x.npy.elsewhere-1-ab.part",
        "odd.part",
        f"x.npy.{os.uname().nodename}-{os.getpid()}-0.part",
    ]
    for name in names:
        (place / name).write_bytes(b"")
    load_images(faces, Data(cache=True))
    assert {path.name for path in kept(tmp_path) if path.suffix == ".part"} == set(names)


def test_it_is_read_by_several_threads_and_in_order(
    faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = decode._pixels
    monkeypatch.setattr(decode, "MOST", 1)

    def uneven(files: Any, number: int, plan: Any) -> np.ndarray:
        time.sleep(0.01 * (number % 3 == 0))
        return pixels(files, number, plan)

    monkeypatch.setattr(decode, "_pixels", uneven)
    mine = load_images(faces, Data(group=r"(\d+)\.", cache=True))
    for part in mine.splits.values():
        for row, label in zip(part.images.pick(torch.arange(len(part))), part.labels, strict=True):
            found = (IMAGES.transpose(0, 3, 1, 2) == row.numpy()).all((1, 2, 3)).nonzero()[0]
            assert found.tolist() == [found[0]]
            assert found[0] % 2 == label


def test_animations_are_closed_after_their_first_picture(faces: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(
        stream, "GIF", save_all=True, append_images=[Image.new("RGB", (5, 6))]
    )
    (faces / "a" / "moving.gif").write_bytes(stream.getvalue())
    mine = load_images(faces)  # an open file would be a ResourceWarning, and so an error
    assert len(mine.train) + len(mine.test) == 31
