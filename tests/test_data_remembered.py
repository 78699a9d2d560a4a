"""Images are chosen by their names, opened once, and remembered once they are decoded."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from PIL import Image

import vaekit
from vaekit._train_options import Data
from vaekit.cli.main import main
from vaekit.data import Dataset, MappedRows, Split, load, prepare, read
from vaekit.errors import VaekitError

LEVELS = np.random.default_rng(0).integers(0, 256, (60, 7, 9)).astype(np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vaekit" / "decoded"


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    notes: list[str] = []
    monkeypatch.setattr("vaekit.data._image_cache.note", notes.append)
    return notes


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each image of a folder was opened."""
    names: Counter[str] = Counter()
    open_file = Path.open

    def counted(path: Path, *args: Any, **options: Any) -> IO[Any]:
        names[path.name] += path.suffix == ".png"
        return open_file(path, *args, **options)

    monkeypatch.setattr(Path, "open", counted)
    return names


def folder(path: Path, images: np.ndarray = LEVELS, pattern: str = "p{1}_{0}.png") -> Path:
    """Image i of person i // 4."""
    for i, image in enumerate(images):
        place = path / pattern.format(i, i // 4, "abc"[i % 3], ("train", "train", "val")[i % 3])
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    return path


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as file:
        for one in sorted(path.rglob("*.png")):
            file.write(one, one.relative_to(path))
    return path.with_suffix(".zip")


def same(one: Dataset, other: Dataset) -> bool:
    def parts(split: Split) -> list[torch.Tensor]:
        return [p for p in (split.x(), split.labels, split.groups) if p is not None]

    pairs = ((split, other.splits[name]) for name, split in one.splits.items())
    return one.splits.keys() == other.splits.keys() and all(
        torch.equal(a, b) for p, q in pairs for a, b in zip(parts(p), parts(q), strict=True)
    )


# a limit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize(
    ("pattern", "options"),
    [
        ("p{1}_{0}.png", {}),
        ("p{1}_{0}.png", {"group": r"p(\d+)_", "test": 9}),
        ("{2}/{0}.png", {"validation": 5}),
        ("{3}/{2}/{0}.png", {}),
        ("{3}/{2}/{0}.png", {"validation": 0.3}),
        ("{2}/p{1}_{0}.png", {"group": r"p(\d+)_", "crop": 6, "size": 4}),
    ],
)
def test_a_limit_takes_the_rows_that_it_would_of_all(
    tmp_path: Path, pattern: str, options: dict[str, Any], seed: int
) -> None:
    path = folder(tmp_path / "a", pattern=pattern)
    for place in (path, zipped(path)):
        asked = Data(data=str(place), limit=20, split_seed=seed, **options)
        wanted = prepare(read(asked.model_copy(update={"limit": None})), asked)
        assert same(prepare(read(asked), asked), wanted)
        assert len(wanted.train) < 20 or wanted.validation is not None
        assert read(asked).class_names == wanted.class_names


def test_a_limit_that_takes_all_and_one_of_two(tmp_path: Path) -> None:
    path = folder(tmp_path / "a")
    for limit in (2, 53, 54, 55, 1000):
        asked = Data(data=str(path), limit=limit, validation=1)
        wanted = prepare(read(Data(data=str(path))), asked)
        assert same(prepare(read(asked), asked), wanted)


def test_only_what_is_taken_is_opened_and_once(tmp_path: Path, opened: Counter[str]) -> None:
    path = folder(tmp_path / "a", pattern="{0}.png")
    asked = Data(data=str(path), limit=20)
    data = read(asked)
    seen = {number for number, level in enumerate(LEVELS[:, 0, 0]) if opened[f"{number}.png"]}
    assert set(opened.values()) - {0} == {1}
    assert len(seen) == 26 == len(data.train) + len(data.test)
    order = np.random.RandomState(0).permutation(60)
    assert set(order[:6].tolist()) < seen
    opened.clear()
    load(path)
    assert [opened[f"{number}.png"] for number in range(60)] == [1] * 60


def test_what_is_damaged_counts_among_what_is_opened(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", pattern="{0}.png")
    order = np.random.RandomState(0).permutation(60)
    test, unseen = sorted(order[:6].tolist()), set(order[6:].tolist())
    for number in test[1:3]:
        (path / f"{number}.png").write_bytes((path / f"{number}.png").read_bytes()[:60])
    message = f"2 of 26 images cannot be read: '{test[1]}.png' ("
    with pytest.raises(VaekitError, match=re.escape(message)):
        load(path, limit=20)
    with pytest.raises(VaekitError, match="2 of 60 images cannot be read"):
        load(path)
    for number in test[1:3]:
        Image.fromarray(LEVELS[number]).save(path / f"{number}.png")
    taken = {
        number
        for number in unseen
        if (load(path, limit=20).train.images[:, 0] == torch.from_numpy(LEVELS[number]))
        .all((1, 2))
        .any()
    }
    for number in unseen - taken:
        (path / f"{number}.png").write_bytes(b"")
    assert len(load(path, limit=20).train) == 20


def test_runs_of_other_limits_compare_where_they_are_tested_on_the_same_rows(
    tmp_path: Path,
) -> None:
    path = folder(tmp_path / "a")
    options = {"data": str(path), "latent": 2, "net": "mlp:hidden=8", "epochs": 1, "threads": 1}
    runs = [
        vaekit.train("vae", out=tmp_path / name, report=False, **options, **more).path
        for name, more in (("few", {"limit": 20}), ("all", {}), ("other", {"split_seed": 1}))
    ]
    found = vaekit.compare(runs[:2], out=tmp_path / "p.html")
    assert "limit" in found.words[0]
    with pytest.raises(VaekitError, match="the sha256 of the test rows"):
        vaekit.compare(runs[1:], out=tmp_path / "p.html")
    vaekit.load(runs[0]).evaluate()


# gray and color ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("colored", [(), (0,), (19,), (5, 7), (300,), tuple(range(301))])
@pytest.mark.parametrize("options", [{}, {"size": 5}, {"gray": True}])
def test_gray_becomes_three_equal_channels_where_one_image_is_colored(
    tmp_path: Path, colored: tuple[int, ...], options: dict[str, Any], kept: bool
) -> None:
    path = tmp_path / "a"
    path.mkdir()
    rng = np.random.default_rng(1)
    wanted = []
    for number in range(301):
        shape = (6, 7, 3) if number in colored else (6, 7)
        image = Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8))
        image.save(path / f"{number:03}.png")
        if colored and not options.get("gray"):  # as if all were read in color
            image = image.convert("RGB")
        elif options.get("gray"):
            image = image.convert("L")
        if "size" in options:  # all scaled, and the center cut out
            box = (0.5, 0, 6.5, 6)
            image = image.resize((5, 5), Image.Resampling.LANCZOS, box)
        array = np.asarray(image)
        wanted.append(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))
    data = load(path, group=r"(\d+)\.", cache=kept, **options)
    assert isinstance(data.train.images, MappedRows) == kept
    rows = torch.cat([data.train.x(), data.test.x()]).mul(255).round().byte()
    places = torch.cat([data.train.groups, data.test.groups]).argsort()  # type: ignore[list-item]
    assert np.array_equal(rows[places].numpy(), np.stack(wanted))
    assert data.kind == ("color" if colored and not options.get("gray") else "gray")


def test_room_in_memory_is_asked_for_again_when_gray_becomes_color(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(tmp_path / "a")
    monkeypatch.setattr("vaekit.data._rows.available", lambda: 2 * 60 * 63 + 1)
    load(path, cache=False)
    Image.new("RGB", (9, 7), (1, 2, 3)).save(path / "p99_99.png")
    with pytest.raises(VaekitError, match=r"61 images of .* would take .*; 7561 bytes are free"):
        load(path, cache=False)


# remembered -------------------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few images are worth it."""
    monkeypatch.setattr("vaekit.data._image_cache.WORTH", 59)


def test_sets_that_are_large_enough_are_remembered(
    tmp_path: Path, cache: Path, heard: list[str], few: None, opened: Counter[str]
) -> None:
    path = folder(tmp_path / "a")
    first = load(path)
    assert heard == [
        f"60 images (3780 bytes) are remembered in {cache}; `vaekit data --clean` empties it."
    ]
    assert sum(opened.values()) == 60
    second = load(path)
    assert not heard[1:], "nobody asks where they are read from"
    assert sum(opened.values()) == 60
    assert same(first, second)
    assert first.kind == second.kind
    assert isinstance(second.train.images, torch.Tensor)
    load(path, limit=40)  # too few, and others
    assert len(heard) == 1
    assert isinstance(load(path, cache=True).train.images, MappedRows)
    assert heard[1:] == [f"60 images (3780 bytes) are read from {next(cache.glob('*.pixels'))}."]
    assert sum(opened.values()) == 60 + 46
    load(path, cache=False)
    assert sum(opened.values()) == 60 + 46 + 60


def test_what_is_remembered_is_not_changed_by_what_is_made_of_it(
    tmp_path: Path, cache: Path, few: None
) -> None:
    path = folder(tmp_path / "a")
    load(path)
    content = next(cache.glob("*.pixels")).read_bytes()
    load(path).train.images.fill_(0)  # type: ignore[union-attr]
    assert next(cache.glob("*.pixels")).read_bytes() == content


def test_small_sets_and_those_without_a_cache_are_not(tmp_path: Path, cache: Path) -> None:
    path = folder(tmp_path / "a")
    load(path)
    assert not cache.exists()


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("kind", ["file", "full"])
def test_a_cache_that_cannot_be_written_stops_nobody(
    tmp_path: Path, heard: list[str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = folder(tmp_path / "a")

    def full(file: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if kind == "file":
        (tmp_path / "cache").write_bytes(b"")
    else:
        monkeypatch.setattr(os, "posix_fallocate", full)
    assert same(load(path), load(path, cache=False))
    why = {"file": "cannot write", "full": "there is no room for 11340 bytes of decoded images in"}
    assert len(heard) == 1
    assert heard[0].startswith(why[kind])
    assert heard[0].endswith("they are decoded again the next time.")
    with pytest.raises(VaekitError, match=r"cannot write|there is no room"):
        load(path, cache=True)
    monkeypatch.setattr("vaekit.data._image_cache.available", lambda: 3000)
    with pytest.raises(
        VaekitError, match=r"cannot write|there is no room"
    ):  # where memory does not hold it either
        load(path)


def test_what_was_used_longest_ago_makes_room(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(tmp_path / "a")
    monkeypatch.setattr("vaekit.data._image_cache.ROOM", 3 * (60 * 25 + 150))
    kept = {}
    for size in (5, 4, 3):  # 60 images of 25, 16 and 9 bytes, and gray
        before = set(cache.glob("*.pixels"))
        load(path, size=size, gray=True, cache=True)
        kept[size] = next(iter(set(cache.glob("*.pixels")) - before)).with_suffix("")
    for age, size in enumerate((5, 3, 4)):
        for suffix in (".pixels", ".json"):
            os.utime(kept[size].with_suffix(suffix), (age + 1, age + 1))
    load(path, size=5, gray=True, cache=True)  # used again
    load(path, crop=6, gray=True, cache=True)  # 60 * 36 bytes
    assert not list(cache.glob(f"{kept[3].name}.*"))
    assert len(list(cache.glob(f"{kept[5].name}.*"))) == 2
    assert sum(path.stat().st_size for path in cache.iterdir()) <= 3 * (60 * 25 + 150)
    load(path, gray=True, cache=True)  # 3780 bytes
    assert len(list(cache.iterdir())) == 2
    assert len(load(path, gray=True, cache=True).train) == 54


TOGETHER = """
import sys
from vaekit.data import fingerprint, load
print(fingerprint(load(sys.argv[1], cache=True)))
"""


def test_several_processes_at_once(tmp_path: Path, cache: Path) -> None:
    path = folder(tmp_path / "a")
    line = [sys.executable, "-c", TOGETHER, str(path)]
    runs = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = {run.communicate()[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len(found) == 1
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".pixels"]
    assert same(load(path), load(path, cache=False))


def test_the_cache_is_emptied(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder(tmp_path / "a")
    for size in (3, 4):
        load(path, size=size, cache=True)
    (cache / ".x.pixels.0123abcd.tmp").write_bytes(b"")  # another process's
    bytes_ = sum(one.stat().st_size for one in cache.iterdir())
    capsys.readouterr()
    main(["data", "--clean"])
    assert capsys.readouterr().out == (
        f"freed {bytes_} bytes: 2 sets of decoded images in {cache}\n"
    )
    assert [one.suffix for one in cache.iterdir()] == [".tmp"]
    main(["data", "--clean", "--json"])
    assert '"sets": 0' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["data", "digits", "--clean"])
    assert "--clean empties the cache of all sets: leave digits" in capsys.readouterr().err
