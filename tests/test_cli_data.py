"""`vaekit data`: the list, the card and its image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vaekit import data
from vaekit.cli.main import main
from vaekit.data import SETS, Dataset, Entry, Split, draw_shapes, fingerprint


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["data", *arguments])
    caught = capsys.readouterr()
    assert caught.err == ""
    return caught.out


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(said(capsys, *arguments, "--json"))


def states(lines: list[dict[str, Any]]) -> dict[str, str]:
    return {line["name"]: line["state"] for line in lines}


def test_the_list_says_what_is_here(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = as_json(capsys)
    assert [line["name"] for line in before] == list(data.known())
    assert {"here"}.isdisjoint(states(before).values())
    assert states(before)["digits"] == "built in"
    assert states(before)["cifar10"] == "download"
    assert states(before)["frey-faces"] == "not here"
    for folder in ("frey_faces", "emoji-64"):
        (here / "sets" / folder).mkdir(parents=True)
    (here / "sets" / "frey_faces" / "freyfaces.npz").touch()
    (here / "sets" / "emoji-64" / "noto_emoji_64.npz").touch()
    (here / "sets" / "cifar-10-binary.tar.gz").touch()
    after = as_json(capsys, "--data-dir", "sets")
    paths = {line["name"]: line["path"] for line in after if line["state"] == "here"}
    assert paths == {
        "frey-faces": "sets/frey_faces",
        "emoji-64": "sets/emoji-64",
        "cifar10": "sets",
    }
    shown = {line["name"]: (line["kind"], line["shape"], line["rows"]) for line in after}
    rows = {"train": 50000, "validation": 10000, "test": 10000}
    assert shown["binarized-mnist"] == ("binary", [1, 28, 28], rows)


def test_the_list_has_the_sets_of_a_catalog(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "lab").mkdir()
    (here / "lab" / "catalog.toml").write_text(
        '[lab-rows]\nkind = "table"\nshape = [3]\nrows = [18, 2]\nnote = "Rows"\n'
        '[[lab-rows.forms]]\nfiles = [{ path = "rows.npz", checksum = "0" }]\n'
    )
    assert states(as_json(capsys, "--data-dir", "lab"))["lab-rows"] == "not here"
    np.savez(here / "lab" / "rows.npz", images=np.zeros((20, 3)))
    line = as_json(capsys, "--data-dir", "lab")[-1]
    assert (line["name"], line["state"], line["path"]) == ("lab-rows", "here", "lab")
    assert (line["kind"], line["rows"]) == ("table", {"train": 18, "test": 2})
    assert "lab-rows" not in states(as_json(capsys))


def test_the_list_as_a_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "frey_faces").mkdir()
    (here / "frey_faces" / "freyfaces.npz").touch()
    words = map(str.split, said(capsys, "--data-dir", str(here)).splitlines())
    lines = [line for line in words if line and set(line[0]) != {"─"}]
    assert lines[0] == ["name", "kind", "shape", "train", "test", "where"]
    assert [line[0] for line in lines[1:]] == list(data.known())
    found = {line[0]: line[1:] for line in lines}
    assert found["digits"] == ["gray", "1", "x", "8", "x", "8", "1,497", "300", "built", "in"]
    assert found["mouse-bladder"] == ["counts", "20670", "1,890", "210", "not", "here"]
    assert found["frey-faces"][-3:] == ["1,765", "200", f"{here}/frey_faces"]
    assert found["dsprites"][-3:] == ["663,552", "73,728", "download"]


def test_the_card_of_shapes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = as_json(capsys, "shapes")
    assert list(here.iterdir()) == []
    rows = draw_shapes()
    assert (card["name"], card["kind"], card["shape"]) == ("shapes", "binary", [1, 32, 32])
    assert card["rows"] == {"train": 3456, "test": 384}
    assert card["class_names"] == ["square", "ellipse", "triangle"]
    assert np.sum(list(card["class_counts"].values()), 0).tolist() == [1280] * 3
    sizes = {"shape": 3, "size": 4, "orientation": 5, "position x": 8, "position y": 8}
    assert card["factors"] == sizes
    assert card["range"] == [0, 255]
    assert card["mean"] == pytest.approx(float(rows.images.float().mean()), rel=1e-5)
    assert card["sha256"] == fingerprint(data.load("shapes"))
    assert card["likelihood"] == "bernoulli"


def test_the_card_in_lines_and_its_image(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = dict(line.split(maxsplit=1) for line in said(capsys, "digits").splitlines())
    assert lines["shape"] == "1 x 8 x 8, 64 values"
    assert lines["rows"] == "train 1,497, test 300"
    assert lines["classes"].startswith("10: 0: 178, 1: 182, 2: 177,")
    assert lines["likelihood"] == "gaussian"
    assert lines["range"].startswith("0 to 255, mean 77.85 (0.3053 of 255)")
    assert lines["image"] == "digits.png"
    assert "CC BY 4.0" in lines["note"]
    with Image.open(here / "digits.png") as image:
        made = np.asarray(image)
    factor, gap = 12, 2
    assert made.shape == (8 * 8 * factor + 7 * gap, 8 * 8 * factor + 7 * gap, 4)
    places = [number * 1497 // 64 for number in range(64)]  # evenly over all training rows
    images = data.load("digits").train.images[places, 0].numpy()
    step = 8 * factor + gap
    for number in (0, 7, 8, 63):
        top, left = number // 8 * step, number % 8 * step
        tile = made[top : top + step - gap : factor, left : left + step - gap : factor, 0]
        assert np.array_equal(tile, images[number])


def test_where_the_image_goes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = as_json(capsys, "shapes", "-o", "new/grid.png")
    assert card["image"] == "new/grid.png"
    assert [p.name for p in here.rglob("*") if p.is_file()] == ["grid.png"]


def test_a_path_has_a_card_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 7, 3)).astype(np.uint8)
    np.savez(here / "mine.npz", images=images, labels=np.arange(20) % 4)
    card = as_json(capsys, "mine.npz")
    assert (card["kind"], card["shape"], card["rows"]) == (
        *("color", [3, 6, 7]),
        {"train": 18, "test": 2},
    )
    assert np.sum(list(card["class_counts"].values()), 0).tolist() == [5] * 4
    assert card["mean"] == pytest.approx(images.mean())
    assert (card["range"], card["class_names"]) == ([images.min(), images.max()], [])


def test_tables_have_no_image(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(here / "rows.npz", images=np.random.default_rng(0).normal(size=(20, 3)))
    lines = said(capsys, "rows.npz").splitlines()
    assert not any(line.startswith("image") for line in lines)
    assert [path.name for path in here.iterdir()] == ["rows.npz"]
    with pytest.raises(SystemExit) as left:
        main(["data", "rows.npz", "-o", "rows.png"])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert error == "vaekit: 'rows' holds no images to draw: leave --out.\n"
    assert [path.name for path in here.iterdir()] == ["rows.npz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shaeps"], "'shaeps'; did you mean 'shapes'?"),
        (["frey-faces"], "did not find the files of 'frey-faces' (freyfaces.npz); looked in: "),
        (["none.npz"], "did not find the file 'none.npz'"),
        (["digits", "-o", "grid.gif"], "got the file grid.gif; expected one that ends in .png"),
    ],
)
def test_what_cannot_be_shown(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["data", *arguments])
    caught = capsys.readouterr()
    assert (left.value.code, caught.out) == (2, "")
    assert message in caught.err
    assert caught.err.count("\n") == 1
    assert list(here.iterdir()) == []


def test_counts_and_factors_without_names(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    rows = Split(torch.tensor([[0.0, 3.0], [1.0, 0.0]]), torch.tensor([0, 1]), torch.eye(2))

    def make(_: Any) -> Dataset:
        return Dataset("cells", "counts", rows, rows, classes=2)

    entry = Entry("cells", "counts", (2,), (2, 2), 2, "made", "none", make=make)
    monkeypatch.setitem(SETS, "cells", entry)
    lines = dict(line.split(maxsplit=1) for line in said(capsys, "cells").splitlines())
    assert lines["range"] == "0 to 3, mean 1"
    assert lines["not"] == "0       50.00% of the values"
    assert lines["classes"] == "2; rows 0: 2, 1: 2"
    assert lines["factors"] == "factor 1 (2), factor 2 (2)"


def test_a_table_with_a_column_of_text_may_have_it_as_its_label(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a category unless the label; the card says how to make it one."""
    rows = "".join(f"{n},2.5,{'barolo' if n % 3 else 'grignolino'}\n" for n in range(20))
    (here / "wine.csv").write_text("acid,ash,class\n" + rows)
    plain = as_json(capsys, "wine.csv")
    assert (plain["label"], plain["columns"]) == (None, ["acid", "ash", "class"])
    assert "'class' binary; `label='class'` makes it a class, and no feature" in plain["said"]
    assert "range" not in said(capsys, "wine.csv")
    card = as_json(capsys, "wine.csv", "--label", "class")
    assert (card["label"], card["columns"]) == ("class", ["acid", "ash"])
    assert card["class_names"] == ["barolo", "grignolino"]
    assert "--label 'class'" in said(capsys, "wine.csv", "--label", "class")
