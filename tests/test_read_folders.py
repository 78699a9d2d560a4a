"""Folders and .zip files of images as people lay them out: what is read, left out, and said."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vaekit.cli.main import main
from vaekit.data import Dataset, load
from vaekit.errors import VaekitError
from vaekit.report import save_images

Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def level(value: int) -> Image.Image:
    return Image.fromarray(np.full((4, 4), value, np.uint8))


def images(*folders: str, each: int = 6, kind: str = "png") -> Files:
    """Files 0, 1, ... in each folder; no two of all of them have one level."""
    names = [f"{folder}/{i}.{kind}".removeprefix("/") for folder in folders for i in range(each)]
    written = {"jpg": "JPEG", "jp2": "JPEG2000"}.get(kind, kind.upper())
    return {name: encoded(level(n), written) for n, name in enumerate(names)}


def folder(path: Path, files: Files) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            (path / name).write_bytes(content)
        else:
            (path / name).mkdir(exist_ok=True)
    return path


def archive(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path.with_suffix(".zip")


def rows(mine: Dataset) -> tuple[int, ...]:
    return tuple(len(part) for part in mine.splits.values())


STRAY = {"0.png": encoded(level(200))}
AB, TT = ("a", "b"), ("train/a", "train/b", "test/a", "test/b")
TRAIN_TEST = images("train/a", "train/b", "test/a", "test/b", each=5) | images("train/a", each=9)
RUN = {"runs/x/config.json": b"{}", "runs/x/run.json": b"{}", "runs/x/latest.png": STRAY["0.png"]}

# What is there; the rows of training, (validation,) test; classes; words that are said.
READ: dict[str, tuple[Files, tuple[int, ...], tuple[str, ...], tuple[str, ...]]] = {
    "plain splits": (images(*TT), (12, 12), AB, ()),
    "other words": (
        images("Training/a", "Training/b", "TESTING/a", "TESTING/b"),
        (12, 12), AB, ("read as: train 12, test 12, 2 classes",),
    ),
    "short words": (
        images("trn/a", "trn/b", "dev/a", "dev/b", "eval/a", "eval/b"),
        (12, 12, 12), AB, ("read as: train 12, validation 12, test 12, 2 classes",),
    ),
    "sets": (images("training_set/a", "training_set/b", "test_set/a", "test_set/b"),
             (12, 12), AB, ("read as: train 12, test 12",)),
    "a stray file": (images(*TT) | STRAY, (12, 12), AB,
                     ("read as: train 12, test 12, 2 classes", "left out: 1 file (0.png)")),
    "nested": (images(*(f"x/{name}" for name in TT)), (12, 12), AB, ("in the folder x",)),
    "nested twice": (images(*(f"x/y/{n}" for n in TT)), (12, 12), AB, ("in the folder x/y",)),
    "nested, and a stray": (images(*(f"x/{n}" for n in TT)) | STRAY, (12, 12), AB,
                            ("left out: 1 file (0.png)", "in the folder x")),
    "twice": (images(*TT, *(f"x/{name}" for name in TT)), (12, 12), AB,
              ("left out: 24 files (x/test/a/0.png, ...)",)),
    "split in a split": (images("train/train/a", "train/train/b", "test/test/a", "test/test/b"),
                         (12, 12), AB, ("read as: train 12, test 12, 2 classes",)),
    "defects": (
        images("train/good", "test/good", "test/hole", "ground_truth/hole", each=10),
        (10, 20), ("good", "hole"), ("left out: 10 images in ground_truth",),
    ),
    "masks": (images("images/a", "images/b", "masks/a", "masks/b"), (11, 1), AB,
              ("left out: 12 images in masks",)),
    "masks in splits": (
        images("train/images", "train/masks", "test/images", "test/masks", each=10), (10, 10), (),
        ("10 images in test/masks", "10 images in train/masks"),
    ),
    "masks that people wear": (images("mask", "no_mask"), (11, 1), ("mask", "no_mask"), ()),
    "masks as files": (images("", each=12) | {f"{i}_mask.png": STRAY["0.png"] for i in range(9)},
                       (11, 1), (), ("left out: 9 masks (0_mask.png, ...)",)),
    "splits of each class": (images("a/train", "b/train", "a/test", "b/test"), (12, 12), AB,
                             ("read as: train 12, test 12, 2 classes",)),
    "valid and invalid": (images("valid", "invalid", each=9), (16, 2), ("invalid", "valid"), ()),
    "test of no class": (images("train/a", "train/b", "test/unknown"), (12, 6), AB,
                         ("rows of test have no labels",)),
    "a flat test folder": (images("train/a", "train/b", "test"), (12, 6), AB,
                           ("read as: train 12, test 6, 2 classes", "rows of test have no labels")),
    "test beside classes": (images("a", "b", "test"), (12, 6), AB,
                            ("rows of test have no labels",)),
    "classes in order": (
        images("10", "9", "2", "cat", "Dog", "-1") | {"empty/": b""},
        (32, 4), ("-1", "2", "9", "10", "cat", "Dog"), ("left out: 1 empty folder (empty)",),
    ),
    "a stray beside classes": (images(*AB, each=15) | STRAY, (27, 3), AB,
                               ("left out: 1 file (0.png)",)),
    "files beside classes": (images(*AB, "", each=9), (24, 3), (), ("which are then no classes",)),
    "vehicles": (images("train", "car", "plane"), (16, 2), ("car", "plane", "train"), ()),
    "jfif and jpe": (
        images("", kind="jpg") | {f"{i}.jfif": encoded(level(i), "JPEG") for i in range(6)}
        | {"x.JPE": encoded(level(9), "JPEG")}, (12, 1), (), (),
    ),
    "jpeg 2000": (images("", kind="jp2", each=12), (11, 1), (), ()),
    "unknown endings": (images("", each=12) | {"a.heic": b"x", "b.HEIC": b"x", "c.psd": b"x",
                                               "notes.txt": b"x", "LICENSE": b"x"},
                        (11, 1), (), ("left out: 2 .heic (pip install", "them), 1 .psd")),
    "a run": (images("", each=12) | RUN, (11, 1), (), ("left out: 1 run folder (runs/x)",)),
    "a project": (images("", each=12) | {"config.json": b"{}"}, (11, 1), (), ()),
    "a table beside": (images("", each=12) | {"y.csv": b"name,y\n"}, (11, 1), (),
                       ("y.csv may hold labels",)),
}  # fmt: skip


@pytest.mark.parametrize("place", [folder, archive])
@pytest.mark.parametrize("name", READ)
def test_folders_are_read_as_a_person_would(tmp_path: Path, name: str, place: Any) -> None:
    files, counts, classes, said = READ[name]
    mine = load(place(tmp_path / "p", files))
    assert (rows(mine), mine.class_names) == (counts, classes)
    assert bool(mine.said) == bool(said), mine.said
    for words in said:
        assert words in mine.said
    for part in mine.splits.values():  # each row is called by its file, and labeled by its folder
        if part.labels is not None:
            for path, label in zip(part.ids, part.labels.tolist(), strict=True):
                assert mine.class_names[label] in path.split("/")
        for path, row in zip(part.ids, part.images[:, 0, 0, 0].tolist(), strict=True):
            if path.endswith("png"):
                assert row == np.asarray(Image.open(io.BytesIO(files[path])))[0, 0]


REFUSED: dict[str, tuple[Files, str]] = {
    "train and another": (images("train/a", "train/b", "holdout/a"), "may be splits, or classes"),
    "no train": (images("val", "test", each=12), "rename one to train"),
    "two test splits": (images("train", "test", "eval"), "'eval', 'test' are one split"),
    "half beside train": (images("train", "", each=9), "may be splits, or classes"),
    "masks or a class": (images("masks", "cat", "dog"), "may be a class, or masks"),
    "none that is read": ({"a.heic": b"x"}, "has no images"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_two_readings_are_refused_in_a_line(tmp_path: Path, name: str) -> None:
    files, words = REFUSED[name]
    with pytest.raises(VaekitError, match=re.escape(words)) as caught:
        load(folder(tmp_path / "p", files))
    assert "\n" not in str(caught.value)


def test_label_from_decides_what_may_be_a_class(tmp_path: Path) -> None:
    path = folder(tmp_path / "p", images("masks", "cat", "dog"))
    mine = load(path, label_from="([^/]+)/[^/]+$")
    assert (mine.class_names, sum(rows(mine))) == (("cat", "dog", "masks"), 18)
    flat = folder(tmp_path / "q", {f"{c}.{i}.png": encoded(level(i)) for c in AB for i in range(9)})
    mine = load(flat, label_from=r"([a-z]+)\.")
    for part in mine.splits.values():
        assert [mine.class_names[i] for i in part.labels] == [name[0] for name in part.ids]
    with pytest.raises(VaekitError, match="does not match"):
        load(flat, label_from="(a)")


TABLES = {
    "names": ("file,y\n", "{}.png,{}"),
    "no ending": ("id,file,y\n", "7,{},{}"),
    "with a folder": ("file;y\n", "img/{}.png;{}"),
    "windows": ("file\ty\n", "img\\{}.png\t{}"),
    "whole floats": ("file,y\n", "{}.png,{}.0"),
}


@pytest.mark.parametrize("name", TABLES)
def test_labels_in_a_table_beside_images(tmp_path: Path, name: str) -> None:
    head, line = TABLES[name]
    path = folder(tmp_path / "p", images("", each=12))
    table = head + "\n".join(line.format(i, i % 3) for i in reversed(range(12)))
    (path / "y.csv").write_text(table)
    mine = load(path, labels="y.csv", **({"label": "y"} if "id" in head else {}))
    assert (rows(mine), mine.class_names) == ((11, 1), ("0", "1", "2"))
    for part in mine.splits.values():
        wanted = [int(Path(file).stem) % 3 for file in part.ids]
        assert part.labels is not None
        assert part.labels.tolist() == wanted


def test_attributes_become_factors_and_gaps_are_said(tmp_path: Path) -> None:
    path = folder(tmp_path / "p", images("img", each=13))
    lines = [f"{i}.png,{'ab'[i % 2]},{i / 4},{i}" for i in range(12)] + ["99.png,a,0,0"]
    (path / "y.csv").write_text("file,sort,age,size\n" + "\n".join(lines))
    with pytest.raises(VaekitError, match="name the class, as `label=sort`"):
        load(path, labels="y.csv")
    with pytest.raises(VaekitError, match="not whole"):
        load(path, labels="y.csv", label="age")
    mine = load(path, labels="y.csv", label="sort")
    assert (mine.class_names, mine.factor_names, rows(mine)) == (AB, ("age", "size"), (11, 1))
    assert "left out: 1 image without a label (img/12.png)" in mine.said
    assert "1 rows of y.csv have no image" in mine.said
    for part in mine.splits.values():
        numbers = [int(Path(file).stem) for file in part.ids]
        assert part.factors.tolist() == [[n / 4, n] for n in numbers]


@pytest.mark.parametrize(
    ("table", "words"),
    [("file,y\nz,q\n", "no column holds the names"), ("file,y\n0,1\n0,2\n", "in two rows")],
)
def test_tables_of_labels_that_do_not_fit(tmp_path: Path, table: str, words: str) -> None:
    path = folder(tmp_path / "p", images("", each=12) | {"y.csv": table.encode()})
    with pytest.raises(VaekitError, match=words):
        load(path, labels="y.csv")
    with pytest.raises(VaekitError, match="neither in"):
        load(path, labels="none.csv")
    with pytest.raises(VaekitError, match="exclude each other"):
        load(path, labels="y.csv", label_from="(.)")


def test_pages_frames_and_what_turns_blank_are_said_also_from_the_cache(tmp_path: Path) -> None:
    stack = encoded(level(1), "TIFF", save_all=True, append_images=[level(2), level(3)])
    film = encoded(level(4), "GIF", save_all=True, append_images=[level(90)])
    white = Image.new("RGBA", (4, 4), (255, 255, 255, 0))
    white.putpixel((1, 1), (255, 255, 255, 255))
    files = images("", each=10) | {"s.tif": stack, "t.gif": film, "w.png": encoded(white)}
    path = folder(tmp_path / "p", files)
    for _ in range(2):
        said = load(path, cache=True).said
        assert "3 further pages or frames of 2 files (s.tif)" in said
        assert "1 image (w.png) of one flat color" in said


def test_what_vaekit_drew_is_left_out(tmp_path: Path) -> None:
    path = folder(tmp_path / "p", images("", each=12))
    x = load(path).train.x()
    save_images(x, path / "samples.png")
    mine = load(path)
    assert (rows(mine), mine.said) == ((11, 1), "left out: 1 image that vaekit drew (samples.png)")


def test_the_image_of_a_set_spares_data_and_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder(tmp_path / "p", images("", each=12))
    monkeypatch.chdir(path)
    main(["data", "."])
    assert "would lie in the data" in capsys.readouterr().out
    assert len(list(path.iterdir())) == 12
    monkeypatch.chdir(tmp_path)
    Path("p.png").write_bytes(STRAY["0.png"])
    main(["data", "p"])
    assert "there is another p.png" in capsys.readouterr().out
    assert Path("p.png").read_bytes() == STRAY["0.png"]
    with pytest.raises(SystemExit, match="2"):
        main(["data", "p", "-o", "p.png"])
    assert "name another, or add --overwrite" in capsys.readouterr().err
    Path("p.png").unlink()
    for _ in range(2):  # its own one is drawn again
        main(["data", "p"])
        assert "not drawn" not in capsys.readouterr().out


def test_a_conditional_model_of_a_flat_test_folder_holds_out_its_own_rows(tmp_path: Path) -> None:
    path = folder(tmp_path / "p", images("train/a", "train/b", "test", each=10))
    mine = load(path, context="label")
    assert rows(mine) == (18, 2)
    assert mine.test.labels is not None
    assert "10 images of test without labels" in mine.said
    assert json.dumps(mine.said)
