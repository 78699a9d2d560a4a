"""Small files that ask for much: memory, minutes, or what Python's readers make of them.

Each is made here, read under a limit of memory as `vaekit data` reads it, and ends in rows or in
one line that names the mend.
"""

from __future__ import annotations

import gzip
import io
import json
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vaekit
from vaekit import VaekitError
from vaekit.cli.main import main

ROOM = 5 << 29  # bytes above what this process has: the bound of a small file, and some
SECONDS = 20
CASES: dict[str, tuple[Callable[[Path], Any], str, str]] = {}


def case(name: str, command: str, words: str = "") -> Any:
    """Enter a maker of files: the command reads them, and refuses them with these words."""

    def enter(make: Callable[[Path], Any]) -> Callable[[Path], Any]:
        CASES[name] = make, command, words
        return make

    return enter


@contextmanager
def limited() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def images(shape: tuple[int, ...] = (40, 8, 8)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def png(value: int = 0, size: tuple[int, int] = (8, 8)) -> bytes:
    stream = io.BytesIO()
    Image.new("L", size, value).save(stream, "PNG")
    return stream.getvalue()


def csv(path: Path, cells: Callable[[int], str], head: str = "a,b,c", rows: int = 40) -> None:
    path.write_text("\n".join([head, *(f"{i}.5,{i * i}.25,{cells(i)}" for i in range(rows))]))


def sparse(path: Path, shape: tuple[int, int], rows: int = 12) -> None:
    indptr = np.minimum(np.arange(rows + 1) * 2, 24)
    parts = {"data": np.ones(24, int), "indices": np.arange(24) % 4, "indptr": indptr}
    np.savez_compressed(path, **parts, shape=np.array(shape), format=np.array(b"csr"))


@case("a wide sparse table", "data x.npz", "--max-memory 128GiB lets it")
def wide(at: Path) -> None:
    sparse(at / "x.npz", (12, 1 << 31))


@case("a sparse table of many rows", "data x.npz", "12,000,000 rows of 1,000,000 values")
def many_rows(at: Path) -> None:
    sparse(at / "x.npz", (12_000_000, 10**6), 12_000_000)


def says_it_unpacks(path: Path, kind: str, rows: int) -> None:
    """Write an .npz of a few bytes whose directory says that it holds so many rows."""
    stream = io.BytesIO()
    head = {"descr": kind, "fortran_order": False, "shape": (rows, 32, 32)}
    np.lib.format.write_array_header_1_0(stream, head)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", stream.getvalue())
        entry = archive.getinfo("images.npy")
        entry.file_size = len(stream.getvalue()) + rows * 1024 * np.dtype(kind).itemsize


@case("an .npz that unpacks to much", "data x.npz", "asks for 3.0 GiB of memory, more than 2.0 GiB")
def bomb(at: Path) -> None:
    says_it_unpacks(at / "x.npz", "|u1", 3 << 20)


@case("floats that take twice their bytes", "data x.npz", "asks for 2.5 GiB of memory")
def floats(at: Path) -> None:
    says_it_unpacks(at / "x.npz", "<f4", 20 << 14)


@case("text that unpacks to much", "data x.csv.gz", "--max-memory")
def text_bomb(at: Path) -> None:
    part = gzip.compress(b"1,2\n" * (1 << 24), 1)  # 64 MiB
    (at / "x.csv.gz").write_bytes(part * 37)


@case("an image that decodes to much", "data x", "--max-memory")
def folder_bomb(at: Path) -> None:
    (at / "x").mkdir()
    content = png(0, (8000, 8000))
    for i in range(40):
        (at / "x" / f"{i}.png").write_bytes(content)


@case("a label of 10^8", "data x.npz")
def label(at: Path) -> None:
    np.savez(at / "x.npz", images=images(), labels=np.array([10**8, *[0] * 39]))


@case("a label of 2^40", "data x.npz")
def larger_label(at: Path) -> None:
    np.savez(at / "x.npz", images=images(), labels=np.array([1 << 40, *[0] * 39]))


@case("a label above 2^63", "data x.npz")
def unsigned(at: Path) -> None:
    np.savez(at / "x.npz", images=images(), labels=np.array([(1 << 63) + 5, *[0] * 39], np.uint64))


@case("a long key of a group", "data x.csv --group c")
def group(at: Path) -> None:
    csv(at / "x.csv", lambda i: "z" * 120_000 if i == 5 else str(i % 9) + "g", rows=60_000)


@case("a label of 5,000 digits after a letter", "data x.csv --label c")
def digits(at: Path) -> None:
    csv(at / "x.csv", lambda i: "x" + "1" * 5000 if i == 3 else "y")


@case("a label of 5,000 digits", "data x.csv --label c", "which is no class, in line 5")
def only_digits(at: Path) -> None:
    csv(at / "x.csv", lambda i: "1" * 5000 if i == 3 else "7")


@case("a cell of 5,000 digits", "data x.csv", "which is not finite, in line 5")
def cell(at: Path) -> None:
    csv(at / "x.csv", lambda i: "1" * 5000 if i == 3 else "7")


@case("a column named by 5,000 digits", "data x.csv")
def column(at: Path) -> None:
    csv(at / "x.csv", lambda i: f"{i % 3}", head="1" * 5000 + ",b,c")


@case("a column asked for by 5,000 digits", f"data x.csv --label {'1' * 5000}", "unknown column")
def asked(at: Path) -> None:
    csv(at / "x.csv", lambda i: f"{i % 3}")


@case("a table of 10,000 columns", "data x.csv")
def columns(at: Path) -> None:
    names = ",".join(f"gene{i}" for i in range(10_000))
    row = ",".join(f"{i % 7}.5" for i in range(10_000))
    (at / "x.csv").write_text("\n".join([names, *[row] * 12]))


@case("an entry named by 5,000 digits", "data x.zip")
def entry(at: Path) -> None:
    with zipfile.ZipFile(at / "x.zip", "w") as archive:
        for i in range(12):
            archive.writestr("1" * 5000 + f"{i}.png", png(i))


@case("an entry without a name", "data x.zip")
def nameless(at: Path) -> None:
    with zipfile.ZipFile(at / "x.zip", "w") as archive:
        for i in range(12):
            archive.writestr(f"{i}.png", png(i))
        archive.writestr("Xname.png", png())
    content = (at / "x.zip").read_bytes()
    (at / "x.zip").write_bytes(content.replace(b"Xname.png", b"\0name.png"))


@case("folders in each other without end", "data x.zip", "folders within each other, 15000 deep")
def deep(at: Path) -> None:
    with zipfile.ZipFile(at / "x.zip", "w") as archive:
        for i in range(12):
            archive.writestr("a/" * 15_000 + f"{i}.png", png(i))


@case("a bad stream in an .npz", "data x.npz", "is not a readable .npz file")
def stream(at: Path) -> None:
    np.savez_compressed(at / "x.npz", images=images())
    content = bytearray((at / "x.npz").read_bytes())
    content[300:320] = b"\xff" * 20
    (at / "x.npz").write_bytes(content)


@case("a bad stream in a .csv.gz", "data x.csv.gz", "cannot be read as .csv")
def text_stream(at: Path) -> None:
    content = bytearray(gzip.compress(bytes(images((999,)))))
    content[30:50] = b"\xff" * 20
    (at / "x.csv.gz").write_bytes(content)


@case("an .npy that says it is huge", "data x.npy", "is not a readable .npy file")
def huge(at: Path) -> None:
    np.save(at / "x.npy", images())
    content = (at / "x.npy").read_bytes()
    (at / "x.npy").write_bytes(content.replace(b"(40, 8, 8), }         ", b"(40000000, 99, 99), }"))


@case("pages of brackets in a head", "data x.npy", "is not a readable .npy file")
def brackets(at: Path) -> None:
    np.save(at / "x.npy", images())
    content = (at / "x.npy").read_bytes()
    (at / "x.npy").write_bytes(content[:8] + b"\xff\x2f" + b"(" * 0x2FFF + content[10:])


@pytest.mark.parametrize("name", CASES)
def test_small_files_end_in_rows_or_in_a_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make, command, words = CASES[name]
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    began, code = time.monotonic(), 0
    with limited():
        try:
            main([*command.split(), "--json"])
        except SystemExit as left:
            code = int(left.code or 0)
    out, error = capsys.readouterr()
    lines = [line for line in error.splitlines() if ": note: " not in line]
    assert time.monotonic() - began < SECONDS
    if not words:
        assert (code, lines) == (0, [])
        assert sum(json.loads(out)["rows"].values()) >= 12
        return
    assert code == 2
    assert len(lines) == 1
    assert words in lines[0]
    assert len(lines[0]) < 1000
    assert not [word for word in ("allocate", "memory ran out") if word in lines[0]]


def test_a_file_may_ask_for_what_is_given_to_it(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", images=np.zeros((4000, 32, 32), np.uint8))
    path = tmp_path / "x.npz"
    with pytest.raises(VaekitError, match=r"asks for 3\.9 MiB of memory, more than 1\.0 MiB"):
        vaekit.data.load(path, max_memory="1 MiB")
    assert vaekit.data.load(path, max_memory="4mb").rows == {"train": 3600, "test": 400}
    for wrong in ("much", "1.2.3GiB", "", "-1", "9" * 400):
        with pytest.raises(VaekitError, match=r"`max_memory=.*; expected a size"):
            vaekit.data.load(path, max_memory=wrong)


def test_labels_beyond_2_to_53_stay_apart(tmp_path: Path) -> None:
    csv(tmp_path / "x.csv", lambda i: str(9007199254740992 + i % 4))
    data = vaekit.data.load(tmp_path / "x.csv", label="c")
    assert data.class_names == tuple(str(9007199254740992 + i) for i in range(4))


def test_names_are_ordered_as_numbers_of_any_length(tmp_path: Path) -> None:
    names = ["a", "a0", "a9", "a010", "a10", "a" + "9" * 5000, "a1" + "0" * 5000, "b"]
    csv(tmp_path / "x.csv", lambda i: names[-1 - i % len(names)])
    assert vaekit.data.load(tmp_path / "x.csv", label="c").class_names == tuple(names)


def test_few_of_many_classes_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", images=images((20_000, 2, 2)), labels=np.arange(20_000) * 3)
    main(["data", "x.npz"])
    text = capsys.readouterr().out
    assert "classes     20000: 0: 1, 3: 1," in text
    assert "and 19,900 more" in text
    assert len(text) < 5000


def test_a_label_of_a_loader_is_no_number_of_classes(tmp_path: Path) -> None:
    import torch

    rows, y = torch.rand(60, 3), torch.zeros(60, dtype=torch.int64)
    y[3] = 1 << 40
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows, y), batch_size=20)
    with pytest.raises(VaekitError, match="has the value 1099511627776; expected integers from 0"):
        vaekit.train("vae", data=loader, out=tmp_path / "run", report=False)


def test_tall_images_make_no_huge_pictures(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=images((40, 1000, 1)))
    options: dict[str, Any] = {"net": "mlp:hidden=4", "latent": 2, "epochs": 1, "report": False}
    run = vaekit.train("vae", data=tmp_path / "x.npz", out=tmp_path / "run", **options)
    with Image.open(run.path / "latest.png") as image:
        assert max(image.size) < 8 * 1100


def test_records_that_are_nested_too_deeply_hide_no_other_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"net": "mlp:hidden=4", "latent": 2, "epochs": 1, "report": False}
    for name in ("good", "config", "metrics", "evaluation"):
        vaekit.train("vae", data="digits", limit=50, out=tmp_path / name, **options)
    deep = "[" * 100_000 + "]" * 100_000
    for name, end in (("config", "json"), ("metrics", "jsonl"), ("evaluation", "json")):
        (tmp_path / name / f"{name}.{end}").write_text(deep)
    main(["runs", str(tmp_path)])
    assert "good" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path / "config")])
    assert "config.json is broken" in capsys.readouterr().err


def test_a_bad_stream_in_a_snapshot_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"net": "mlp:hidden=4", "latent": 2, "epochs": 2, "report": False}
    run = vaekit.train("vae", data="digits", limit=50, out=tmp_path / "run", **options)
    path = run.path / "snapshots" / "000001.npz"
    content = bytearray(path.read_bytes())
    content[80:120] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(SystemExit) as left:
        main(["animate", str(run.path), "-o", str(tmp_path / "x.gif")])
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


PEAK = """
import re, sys
import vaekit.data

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10

vaekit.data.load("digits")
before = peak()
vaekit.data.load(sys.argv[1], max_memory="1GiB")
print(peak() - before)
"""


@pytest.mark.parametrize(
    ("kind", "shape", "times"), [("i2", (40_000, 800), 5), ("f8", (30_000, 800), 1.5)]
)
def test_what_is_compared_is_the_peak_of_reading(
    kind: str, shape: tuple[int, int], times: float, tmp_path: Path
) -> None:
    rows = np.random.default_rng(0).integers(0, 200, shape).astype(kind)
    np.savez(tmp_path / "x.npz", images=rows)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "x.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0.9 * times < int(done.stdout) / rows.nbytes < 1.2 * times
    with pytest.raises(VaekitError, match="of memory, more than"):
        vaekit.data.load(tmp_path / "x.npz", max_memory=str(int(0.99 * times * rows.nbytes)))
