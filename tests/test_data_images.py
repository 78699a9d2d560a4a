"""Images by path: pixels, splits, classes and groups against files whose content is known."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vaekit._io import STALE, replacing
from vaekit.data import Dataset, MappedRows, card, fingerprint, load
from vaekit.errors import VaekitError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def fails(message: str) -> Any:
    return pytest.raises(VaekitError, match=re.escape(message))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


Files = dict[str, bytes]


def folder(path: Path, files: Files) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def archive(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def numbered(images: np.ndarray, pattern: str = "{}.png") -> Files:
    return {pattern.format(i): encoded(image) for i, image in enumerate(images)}


def every(mine: Dataset) -> np.ndarray:
    """The rows of all splits, sorted by their bytes."""
    parts = [part.x().mul(255).round().byte().numpy() for part in mine.splits.values()]
    return ordered(np.concatenate(parts))


def ordered(images: np.ndarray) -> np.ndarray:
    return np.stack(sorted(images, key=lambda image: image.tobytes()))


def one_by_one(path: Path, **options: Any) -> np.ndarray:
    """All images in the order of the files, by the groups that number them."""
    mine = load(path, group=r"([0-9]+)\.", **options)
    images = torch.cat([mine.train.x(), mine.test.x()]).mul(255).round().byte()
    return images[torch.cat([mine.train.groups, mine.test.groups]).argsort()].numpy()


# pixels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [folder, archive])
@pytest.mark.parametrize("shape", [(12, 5, 7), (12, 5, 7, 3)])
def test_lossless_pixels_survive_bit_for_bit(
    tmp_path: Path, place: Callable[[Path, Files], Path], shape: tuple[int, ...]
) -> None:
    images = noise(*shape)
    path = place(tmp_path / "mine.zip", numbered(images))
    mine = load(path, test=3)
    wanted = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    assert np.array_equal(every(mine), ordered(wanted))
    assert (len(mine.train), len(mine.test), mine.name) == (9, 3, "mine")
    assert (mine.kind, mine.classes) == ("gray" if images.ndim == 3 else "color", 0)
    assert mine.source == str(path)


def test_files_are_in_natural_order_and_the_draw_is_fixed(tmp_path: Path) -> None:
    images = np.arange(12, dtype=np.uint8)[:, None, None] + np.zeros((12, 2, 2), np.uint8)
    mine = load(folder(tmp_path / "a", numbered(images, "im{}.png")), test=2)
    # The oracle is numpy's frozen permutation, applied to 0, 1, ... 9, 10, 11.
    order = np.random.RandomState(0).permutation(12)
    assert mine.test.images[:, 0, 0, 0].tolist() == order[:2].tolist()
    assert mine.train.images[:, 0, 0, 0].tolist() == order[2:].tolist()


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF", "PPM", "WEBP"])
def test_other_lossless_formats(tmp_path: Path, kind: str) -> None:
    images = np.repeat(noise(10, 6, 6, 1), 3, axis=3) if kind == "GIF" else noise(10, 6, 6, 3)
    options = {"lossless": True} if kind == "WEBP" else {}
    files = {f"{i}.{kind}": encoded(image, kind, **options) for i, image in enumerate(images)}
    made = one_by_one(folder(tmp_path / "a", files))
    wanted = images.transpose(0, 3, 1, 2)
    assert np.array_equal(made, wanted[:, :1] if kind == "GIF" else wanted)


def test_gray_only_if_all_are_or_asked(tmp_path: Path) -> None:
    gray, color = noise(9, 4, 4), noise(4, 4, 3)
    files = numbered(gray) | {"9.png": encoded(color)}
    path = folder(tmp_path / "a", files)
    made = one_by_one(path)
    assert np.array_equal(made[:9], np.repeat(gray[:, None], 3, axis=1))
    assert np.array_equal(made[9], color.transpose(2, 0, 1))
    luma = np.rint(color @ np.array([0.299, 0.587, 0.114]))  # ITU-R 601-2
    made = one_by_one(path, gray=True)
    assert np.abs(made[9, 0] - luma).max() <= 1
    assert np.array_equal(made[:9, 0], gray)


def test_black_and_white_is_binary(tmp_path: Path) -> None:
    bits = noise(12, 6, 6) // 128 * np.uint8(255)
    files = {f"{i}.png": encoded(Image.fromarray(b).convert("1")) for i, b in enumerate(bits)}
    mine = load(folder(tmp_path / "a", files))
    assert mine.kind == "binary"
    assert np.array_equal(every(mine), ordered(bits[:, None]))
    assert load(tmp_path / "a", size=3).kind == "gray"


def test_a_palette_of_grays_is_gray_and_one_of_colors_is_not(tmp_path: Path) -> None:
    levels = noise(10, 4, 4)
    for name, step in (("gray", (1, 1, 1)), ("color", (1, 1, 0))):
        files = {}
        for i, image in enumerate(levels):
            made = Image.fromarray(image).convert("P")
            made.putpalette([level * s for level in range(256) for s in step])
            files[f"{i}.png"] = encoded(made)
        found = one_by_one(folder(tmp_path / name, files))
        assert found.shape[1] == len(set(step)) * 2 - 1
        assert np.array_equal(found[:, 0], levels)
        assert name == "gray" or not found[:, 2].any()


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[..., :3] = 40
    pixels[..., 3] = np.array([255, 0, 128, 51])
    files = {f"{i}.png": encoded(pixels) for i in range(10)}
    made = one_by_one(folder(tmp_path / "a", files))
    exact = 255 + (40.0 - 255) * pixels[0, :, 3] / 255
    assert np.abs(made - exact).max() <= 0.5
    assert made[0, 0, 0].tolist() == [40, 255, 147, 212]


def test_a_transparent_palette_color_lies_over_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    content = encoded(image, transparency=1)
    made = one_by_one(folder(tmp_path / "a", {f"{i}.png": content for i in range(10)}))
    assert made[0, :, 0, 0].tolist() == [10, 20, 30]
    assert made[0, :, 0, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation(tmp_path: Path, turn: int) -> None:
    upright = noise(10, 3, 5)
    # What the camera stored, by the meaning of the tag: where row 0 and column 0 are.
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: a.T[::-1],
        7: lambda a: a.T[::-1, ::-1],
        8: lambda a: a.T[:, ::-1],
    }[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    files = {
        f"{i}.png": encoded(np.ascontiguousarray(stored(image)), exif=exif.tobytes())
        for i, image in enumerate(upright)
    }
    assert np.array_equal(one_by_one(folder(tmp_path / "a", files))[:, 0], upright)


def test_exif_behind_the_pixels_of_a_png_is_heard(tmp_path: Path) -> None:
    images = noise(10, 3, 5)
    exif = Image.Exif()
    exif[0x0112] = 3
    record = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    files = {n: c[:-12] + record + c[-12:] for n, c in numbered(images).items()}
    path = folder(tmp_path / "a", files)
    assert np.array_equal(one_by_one(path)[:, 0], images[:, ::-1, ::-1])
    exif[0x0112] = 6
    record = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    (path / "8.png").write_bytes(encoded(images[8])[:-12] + record + encoded(images[8])[-12:])
    assert load(path).chosen == {"size": 2}  # of several sizes
    assert np.array_equal(one_by_one(path, crop=3)[8, 0], images[8, :, 1:4].T[:, ::-1])


def test_crop_keeps_the_center_and_size_scales_what_is_left(tmp_path: Path) -> None:
    images = noise(10, 9, 12)
    path = folder(tmp_path / "a", numbered(images))
    assert np.array_equal(one_by_one(path, crop=4)[:, 0], images[:, 2:6, 4:8])
    # Blocks of one level: whatever the kernel, halving an area far from an edge gives that level.
    blocks = np.full((10, 32, 48), 7, np.uint8)
    blocks[:, 8:24, 16:32] = 200
    path = folder(tmp_path / "b", numbered(blocks))
    made = one_by_one(path, crop=16, size=8)
    assert made.shape == (10, 1, 8, 8)
    assert (made == 200).all()


def test_the_center_is_kept_when_a_side_is_longer(tmp_path: Path) -> None:
    images = noise(10, 20, 60)
    made = one_by_one(folder(tmp_path / "a", numbered(images)), size=10)
    # All scaled, then the center cut out: which pixels an edge sees is then not a matter of taste.
    whole = [Image.fromarray(im).resize((30, 10), Image.Resampling.LANCZOS) for im in images]
    assert np.array_equal(made[:, 0], np.stack([np.asarray(im)[:, 10:20] for im in whole]))


def test_scaling_does_not_alias(tmp_path: Path) -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 254).astype(np.uint8)
    path = folder(tmp_path / "a", numbered(np.repeat(board[None], 10, axis=0)))
    assert np.abs(one_by_one(path, size=16).astype(int) - 127).max() <= 3


def test_size_brings_mixed_sizes_to_one(tmp_path: Path) -> None:
    files = {f"{i}.png": encoded(np.full((8 + i, 20 - i), 10 * i, np.uint8)) for i in range(10)}
    path = folder(tmp_path / "a", files)
    made = one_by_one(path, size=6)
    assert np.array_equal(made, np.full((10, 1, 6, 6), 10) * np.arange(10)[:, None, None, None])
    usual = load(path)
    assert usual.chosen == {"size": 8}
    assert "images of several sizes are brought to 8 x 8 (`size` says otherwise)" in usual.said
    assert card(usual)["sha256"] == card(load(path, size=8))["sha256"]
    with fails("`crop=9` is more than '0.png' in"):
        load(path, crop=9, size=4)


# folders ----------------------------------------------------------------------------------------


def levels(names: list[str]) -> Files:
    """Image i has the level i."""
    return {name: encoded(np.full((3, 3), i, np.uint8)) for i, name in enumerate(names)}


@pytest.mark.parametrize("place", [folder, archive])
def test_subfolders_are_classes(tmp_path: Path, place: Callable[[Path, Files], Path]) -> None:
    names = [f"top/{c}/x/{i}.png" for c in ("class 10", "class 9", "a") for i in range(6)]
    mine = load(place(tmp_path / "a.zip", levels(names)))
    assert (mine.class_names, mine.classes) == (("a", "class 9", "class 10"), 3)
    truth = {i: ("class 10", "class 9", "a")[i // 6] for i in range(18)}
    for part in mine.splits.values():
        for level, label in zip(part.images[:, 0, 0, 0].tolist(), part.labels, strict=True):
            assert mine.class_names[label] == truth[level]


def test_one_folder_or_loose_images_are_no_classes(tmp_path: Path) -> None:
    assert load(folder(tmp_path / "a", levels([f"x/{i}.png" for i in range(10)]))).classes == 0
    names = [f"x/{i}.png" for i in range(10)] + ["y/1.png", "loose.png", "more.png"]
    mine = load(folder(tmp_path / "b", levels(names)))
    assert (mine.classes, mine.train.labels, mine.class_names) == (0, None, ())


def test_folders_name_the_splits(tmp_path: Path) -> None:
    names = [f"Train/{c}/{i}.png" for c in "ab" for i in range(5)]
    names += [f"valid/b/{i}.png" for i in range(2)] + [f"test/{c}/0.png" for c in "abc"]
    mine = load(folder(tmp_path / "a", levels(names)))
    seen = {n: part.images[:, 0, 0, 0].tolist() for n, part in mine.splits.items()}
    assert {n: sorted(part) for n, part in seen.items()} == {
        "train": list(range(10)),
        "validation": [10, 11],
        "test": [12, 13, 14],
    }
    assert (mine.class_names, mine.classes) == (("a", "b", "c"), 3)
    assert mine.validation.labels.tolist() == [1, 1]
    assert sorted(mine.test.labels.tolist()) == [0, 1, 2]


def test_train_and_val_alone_hold_out_a_test_split(tmp_path: Path) -> None:
    names = [f"train/{i}.png" for i in range(20)] + ["val/0.png"]
    mine = load(folder(tmp_path / "a", levels(names)))
    assert [len(mine.splits[name]) for name in ("train", "validation", "test")] == [18, 1, 2]
    assert mine.classes == 0


def test_a_group_stays_in_one_split(tmp_path: Path) -> None:
    names = [f"p{person}_{i}.png" for person in range(8) for i in range(5)]
    path = folder(tmp_path / "a", levels(names))
    mine = load(path, group=r"p(\d+)_", test=7)
    persons = [
        {level // 5 for level in p.images[:, 0, 0, 0].tolist()} for p in (mine.train, mine.test)
    ]
    assert (len(persons[1]), persons[0] & persons[1]) == (2, set())
    assert len(mine.test) == 10  # as much larger as whole groups take
    (path / "other.png").write_bytes(encoded(np.zeros((3, 3), np.uint8)))
    with fails("`group='p(\\\\d+)_'` does not match 'other.png' in"):
        load(path, group=r"p(\d+)_")


def test_folders_as_groups(tmp_path: Path) -> None:
    names = [f"{c}/{i}.png" for c in "abcdefgh" for i in range(2)]
    path = folder(tmp_path / "a", levels(names))
    mine = load(path, group="folder")
    assert torch.equal(mine.train.groups, mine.train.labels)
    assert not set(mine.train.groups.tolist()) & set(mine.test.groups.tolist())
    (path / "loose.png").write_bytes(encoded(np.zeros((3, 3), np.uint8)))
    with fails("`group='folder'`: 'loose.png' in"):
        load(path, group="folder")


@pytest.mark.parametrize(
    ("group", "message"), [("(", "is no regular expression"), ("p", "has no group in brackets")]
)
def test_groups_that_are_no_pattern(tmp_path: Path, group: str, message: str) -> None:
    path = folder(tmp_path / "a", numbered(noise(10, 3, 3)))
    with fails(message):
        load(path, group=group)


def test_what_is_hidden_or_no_image_is_left_out(tmp_path: Path) -> None:
    files = numbered(noise(10, 3, 3))
    others = {
        ".hidden.png": b"x",
        ".git/1.png": b"x",
        "__MACOSX/._1.png": b"x",
        "notes.txt": b"x",
        "png": b"x",
    }
    assert len(every(load(folder(tmp_path / "a", files | others)))) == 10
    assert len(every(load(archive(tmp_path / "a.zip", files | others)))) == 10


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", numbered(noise(10, 3, 3), "x/{}.png"))
    folder(tmp_path / "b", numbered(noise(4, 3, 3)))
    (path / "y").symlink_to(tmp_path / "b")
    (path / "x" / "loop").symlink_to(path)
    (tmp_path / "b" / "back").symlink_to(tmp_path / "b")
    read = load(path)
    assert len(every(read)) == 14
    assert "left out: 2 upward links (x/loop, ...)" in read.said


def test_what_links_bring_in_from_above_or_not_at_all_is_left_out_and_said(tmp_path: Path) -> None:
    path = folder(tmp_path / "home" / "a", numbered(noise(10, 3, 3)))
    folder(tmp_path / "home" / "stranger", numbered(noise(4, 3, 3)))
    (path / "up").symlink_to(tmp_path)
    (path / "gone.png").symlink_to("nowhere.png")
    (path / "self.png").symlink_to("self.png")
    (path / "class").symlink_to("nowhere")
    (path / ".#lock").symlink_to("nobody@nowhere")
    read = load(path)
    assert len(every(read)) == 10
    assert read.said == "left out: 3 dead links (class, ...), 1 upward link (up)"


# refusals ---------------------------------------------------------------------------------------


def chunk(name: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def png(width: int, height: int, depth: int = 8, color: int = 0, body: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


GOOD = encoded(noise(40, 40))


@pytest.mark.parametrize("place", [folder, archive])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "1 of 11 images cannot be read: '5x.png' (no image, or a damaged one)"),
        (b"hello", "1 of 11 images cannot be read: '5x.png' (no image"),
        (GOOD[:20], "1 of 11 images cannot be read: '5x.png' ("),
        (GOOD[:-600], "1 of 11 images cannot be read: '5x.png' (image file is truncated"),
        (GOOD[:300] + b"x" * 300 + GOOD[600:], "1 of 11 images cannot be read: '5x.png' ("),
        (encoded(noise(40, 40), "JPEG")[:-200], "read: '5x.png' (image file is truncated"),
        (png(40000, 40000), "'5x.png' has 1600000000 pixels; at most"),
        (png(10000, 10000), "'5x.png' has 100000000 pixels; at most 89478485"),
        (png(40, 40, 16, 0, bytes(40 * 81)), "'0.png' has values of uint8, '5x.png' int32. Bring"),
        (encoded(Image.new("F", (40, 40)), "TIFF"), "has values of uint8, '5x.png' float32. Bring"),
    ],
)
def test_images_that_are_refused(
    tmp_path: Path, place: Callable[[Path, Files], Path], content: bytes, message: str
) -> None:
    path = place(tmp_path / "a.zip", numbered(noise(10, 40, 40)) | {"5x.png": content})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for asked in ({}, {"cache": True}):
            with fails(message) as caught:
                load(path, **asked)
            assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("cache/vaekit/decoded/*"))


def test_all_spoilt_images_are_counted(tmp_path: Path) -> None:
    files = numbered(noise(300, 40, 40)) | {"2.png": GOOD[:-600], "270.png": GOOD[:-600]}
    with fails("2 of 300 images cannot be read: '2.png' (image file is truncated"):
        load(folder(tmp_path / "a", files))
    mine = load(tmp_path / "a", skip_damaged=True)
    assert mine.rows == {"train": 269, "test": 29}
    assert re.search("left out: 2 damaged files: '2.png' [(].*, '270.png' [(]", mine.said)
    ids = np.concatenate([part.ids for part in mine.splits.values()])
    assert not {"2.png", "270.png"} & set(ids)
    pixels = {name: noise(300, 40, 40)[i] for i, name in enumerate(numbered(noise(300, 40, 40)))}
    part = mine.test
    for name, row in zip(part.ids, part.images, strict=True):
        assert np.array_equal(row[0], pixels[name])


def test_paths_that_have_no_images(tmp_path: Path) -> None:
    for many, message in (
        (0, "has no images; looked for .bmp, .gif"),
        (1, "has 1 images; expected 5"),
    ):
        files = numbered(noise(many, 3, 3)) | {"notes.txt": b"x"}
        for path in (folder(tmp_path / f"{many}", files), archive(tmp_path / f"{many}.zip", files)):
            with fails(f"{path} {message}"):
                load(path)
    (tmp_path / "empty").mkdir()
    with fails("has no images"):
        load(tmp_path / "empty")


def test_files_below_that_are_no_files(tmp_path: Path) -> None:
    path = folder(tmp_path / "a", numbered(noise(10, 3, 3)))
    os.mkfifo(path / "pipe.png")
    with fails("pipe.png is not a plain file"):
        load(path)


def test_zips_that_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", numbered(noise(10, 40, 40)))
    content = path.read_bytes()
    with zipfile.ZipFile(path) as file:
        at = file.start_dir
    marks = {  # byte of the first entry in the directory, what it becomes, the line
        8: (b"\x01\x00", "'0.png' is encrypted; unzip it and name the folder."),
        10: (b"\x61\x00", "compressed in a way that Python cannot read (method 97)"),
        24: (b"\xff\xff\xff\x7f", "'0.png' would unpack to 2.0 GiB, more than any image"),
    }
    for offset, (mark, message) in marks.items():
        place = at + offset
        path.write_bytes(content[:place] + mark + content[place + len(mark) :])
        with fails(message):
            load(path)
    for spoilt in (b"", b"hello", content[:-30], content[: len(content) // 2]):
        path.write_bytes(spoilt)
        with fails(f"{path} is not a readable .zip"):
            load(path)
    damaged = content[:200] + bytes(255 - byte for byte in content[200:400]) + content[400:]
    path.write_bytes(damaged)
    with fails("1 of 10 images cannot be read: '0.png' ("):
        load(path)
    with fails("did not find the file"):
        load(tmp_path / "none.zip")


def test_a_zip_with_any_damaged_byte_is_read_or_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", numbered(noise(10, 4, 4)))
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    read = refused = 0
    for place, bit in zip(rng.integers(0, len(content), 200), rng.integers(0, 8, 200), strict=True):
        spoilt = bytearray(content)
        spoilt[place] ^= 1 << bit
        path.write_bytes(spoilt)
        try:
            load(path)
            read += 1
        except VaekitError as error:
            refused += "\n" not in str(error)
    assert (read + refused, refused > 100) == (200, True)


def test_labels_are_no_option_of_images(tmp_path: Path) -> None:
    with fails("`label` does not suit"):
        load(folder(tmp_path / "a", numbered(noise(10, 3, 3))), label="x")


# find -------------------------------------------------------------------------------------------


def test_folders_and_zips_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEKIT_DATA", str(tmp_path / "sets"))
    images = noise(12, 6, 6)
    folder(tmp_path / "sets" / "mine", numbered(images))
    archive(tmp_path / "sets" / "ours.zip", numbered(images))
    for name in ("mine", "sets/mine", "ours.zip", str(tmp_path / "sets" / "mine") + "/"):
        assert np.array_equal(every(load(name)), ordered(images[:, None]))
    assert load("mine", size=3).train.images.shape[1:] == (1, 3, 3)
    assert (load("mine").name, load("ours.zip").name) == ("mine", "ours")


def test_paths_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.xyz").write_bytes(b"x")
    with fails("mine.xyz is of no format that is read; expected a folder or .zip of images, .npz"):
        load("mine.xyz")
    with fails("did not find the folder 'no/folder'; looked in"):
        load("no/folder")
    with fails("did not find the file 'no/mine.zip'; looked in"):
        load("no/mine.zip")
    with fails("cannot read xxx"):
        load("x" * 5000)
    with fails("cannot find ~nobody-is-called-so/x"):
        load("~nobody-is-called-so/x")


# LFW --------------------------------------------------------------------------------------------


@pytest.mark.data("lfw")
@pytest.mark.slow
def test_lfw_is_its_readmes_loading_code_and_keeps_persons_together() -> None:
    path = Path(os.environ["VAEKIT_DATA"]) / "lfw" / "lfw_64.zip"
    mine = load(path, group=r"p(\d+)_", cache=False)
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
        images = np.stack([np.asarray(Image.open(io.BytesIO(file.read(n)))) for n in names])
    person = np.array([int(name[1:5]) for name in names])
    assert np.array_equal(every(mine), ordered(images.transpose(0, 3, 1, 2)))
    train, test = set(mine.train.groups.tolist()), set(mine.test.groups.tolist())
    assert (len(train | test), train & test) == (5749, set())
    assert len(mine.train) + len(mine.test) == 13233
    assert len(mine.test) >= 1323
    # A group is a person: as many rows as the README's code counts.
    counted = torch.cat([mine.train.groups, mine.test.groups]).bincount().numpy()
    assert np.array_equal(counted, np.bincount(person))


# decoded once, to a file ------------------------------------------------------------------------


IMAGES = np.random.default_rng(0).integers(0, 256, (30, 6, 5, 3)).astype(np.uint8)


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
    monkeypatch.setattr("vaekit.data._image_cache.note", notes.append)
    return notes


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "vaekit" / "decoded").iterdir())


@pytest.mark.parametrize("options", [{}, {"size": 4}, {"crop": 3, "gray": True}])
def test_rows_in_a_file_are_the_rows_in_memory(
    faces: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    here = load(faces, cache=False, **options)
    for _ in range(2):  # written, then read
        there = load(faces, cache=True, **options)
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
    first = load(faces, cache=True)
    assert len(heard) == 1
    record, array = kept(tmp_path)
    assert heard[0] == f"30 images (2700 bytes) are decoded once to {array}."

    def never(*_: Any) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(Image, "open", never)
    second = load(faces)  # what is there is used
    assert not heard[1:], "nobody asks where they are read from"
    assert fingerprint(first) == fingerprint(second)
    assert record.suffix == ".json"


def test_the_note_is_logged_once(faces: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        load(faces, cache=True)
    assert [text.split(" to ")[0].split(" from ")[0] for text in caplog.messages] == [
        "30 images (2700 bytes) are decoded once",
        "30 images (2700 bytes) are read",
    ]


@pytest.mark.parametrize(("free", "mapped"), [(5401, False), (5399, True)])
def test_a_file_is_used_where_images_would_take_half_of_the_memory(
    faces: Path, heard: list[str], monkeypatch: pytest.MonkeyPatch, free: int, mapped: bool
) -> None:
    monkeypatch.setattr("vaekit.data._image_cache.available", lambda: free)
    assert isinstance(load(faces).train.images, MappedRows) == mapped
    monkeypatch.setattr("vaekit.data._rows.available", lambda: 5399)
    with fails(
        f"30 images of {faces}, copied once to be split, would take 5400 bytes; 5399 bytes are "
        f"free. Leave `cache` on"
    ):
        load(faces, cache=False)


def test_memory_is_what_the_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 9 kB\nMemAvailable:     4096 kB\n")
    monkeypatch.setattr("vaekit.data._rows.MEMINFO", info)
    np.save(tmp_path / "a.npy", np.zeros((10, 1 << 20), np.uint8))
    with fails("a.npy would take 10.0 MiB; 4.0 MiB are free."):
        load(tmp_path / "a.npy")
    info.unlink()
    monkeypatch.setattr(os, "sysconf", {"SC_AVPHYS_PAGES": 1280, "SC_PAGE_SIZE": 4096}.get)
    with fails("a.npy would take 10.0 MiB; 5.0 MiB are free."):
        load(tmp_path / "a.npy")


def test_a_changed_file_or_option_makes_another_cache(faces: Path, tmp_path: Path) -> None:
    load(faces, cache=True)
    for i, asked in enumerate(({"size": 3}, {"gray": True})):
        load(faces, cache=True, **asked)
        assert len(kept(tmp_path)) == 2 * (i + 2)
    Image.fromarray(255 - IMAGES[0]).save(faces / "a" / "0.png")
    os.utime(faces / "a" / "0.png", ns=(1, 1))
    mine = load(faces, cache=True, test=1)
    assert len(kept(tmp_path)) == 8
    rows = np.concatenate(
        [part.images.pick(torch.arange(len(part))) for part in mine.splits.values()]
    )
    assert (rows == (255 - IMAGES[0]).transpose(2, 0, 1)).all((1, 2, 3)).sum() == 1


def test_a_split_or_a_group_uses_the_same_file(faces: Path, tmp_path: Path) -> None:
    load(faces, cache=True)
    load(faces, cache=True, group="folder", test=0.4)
    assert len(kept(tmp_path)) == 2


def spoil_array(array: Path, record: Path) -> None:
    array.write_bytes(array.read_bytes()[:-1])


def longer_array(array: Path, record: Path) -> None:
    array.write_bytes(array.read_bytes() + b"\x00")


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
    [spoil_array, longer_array, spoil_record, other_record, half_record, no_array, no_record],
)
def test_a_spoilt_file_is_made_again(
    faces: Path, tmp_path: Path, heard: list[str], spoil: Any
) -> None:
    good = load(faces, cache=True).train.x()
    record, array = kept(tmp_path)
    spoil(array, record)
    heard.clear()
    assert torch.equal(load(faces, cache=True).train.x(), good)
    assert "are decoded once to" in heard[0]
    assert kept(tmp_path) == [record, array]


SLOW = """
import sys, time
from PIL import Image
from vaekit.data import load

opened, calls = Image.open, []

def slow(*args, **options):
    calls.append(1)
    if len(calls) == 20:
        print("half-way", flush=True)
        time.sleep(60)
    return opened(*args, **options)

Image.open = slow
load(sys.argv[1], cache=True)
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
    assert [path.suffix for path in left] == [".tmp"]
    # While it lives, what it writes is left to it.
    good = load(faces, cache=True).train.x()
    assert left[0] in kept(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    for path in kept(tmp_path):
        if path.suffix != ".tmp":
            path.unlink()
    os.utime(left[0], (time.time() - STALE - 1,) * 2)  # nobody has written to it for long
    assert torch.equal(load(faces, cache=True).train.x(), good)
    assert [path.suffix for path in kept(tmp_path)] == [".json", ".pixels"]
    assert torch.equal(load(faces, cache=False).train.x(), good)


FULL = """
import resource, sys
from vaekit.data import load
from vaekit.errors import VaekitError

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    load(sys.argv[1], cache=True)
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
        f"XDG_CACHE_HOME, take a smaller `size`, or `cache=False`.\n"
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
        load(faces, cache=True)
    assert asked == [(0, 2700)]
    assert kept(tmp_path) == []


def test_a_system_that_cannot_reserve_writes_all_the_same(
    faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unable)
    load(faces, cache=True)
    monkeypatch.delattr(os, "posix_fallocate")
    load(faces, cache=True, size=3)


def test_a_cache_that_cannot_be_written_is_one_line(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with fails("Not a directory). Name another folder in XDG_CACHE_HOME"):
        load(faces, cache=True)


def test_other_peoples_parts_stay(faces: Path, tmp_path: Path) -> None:
    place = tmp_path / "cache" / "vaekit" / "decoded"
    place.mkdir(parents=True)
    names = {
        ".x.npy.0123abcd.tmp",
        ".odd.tmp",
    }
    for name in names:
        (place / name).write_bytes(b"")
    with replacing(place / "y.npy") as mine:  # as another thread does
        mine.write_bytes(b"")
        load(faces, cache=True)
        found = {path.name for path in kept(tmp_path) if path.suffix == ".tmp"}
    assert found == names | {mine.name}


def test_it_is_read_by_several_threads_and_in_order(
    faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaekit.data._image_cache.MOST", 1)
    opened, calls = Image.open, itertools.count()

    def uneven(*args: Any, **options: Any) -> Any:
        time.sleep(0.01 * (next(calls) % 3 == 0))
        return opened(*args, **options)

    monkeypatch.setattr(Image, "open", uneven)
    mine = load(faces, group=r"(\d+)\.", cache=True)
    for part in mine.splits.values():
        for row, label in zip(part.images.pick(torch.arange(len(part))), part.labels, strict=True):
            found = (IMAGES.transpose(0, 3, 1, 2) == row.numpy()).all((1, 2, 3)).nonzero()[0]
            assert found.tolist() == [found[0]]
            assert found[0] % 2 == label


def test_animations_are_closed_after_their_first_image(faces: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(
        stream, "GIF", save_all=True, append_images=[Image.new("RGB", (5, 6))]
    )
    (faces / "a" / "moving.gif").write_bytes(stream.getvalue())
    mine = load(faces)  # an open file would be a ResourceWarning, and so an error
    assert len(mine.train) + len(mine.test) == 31
