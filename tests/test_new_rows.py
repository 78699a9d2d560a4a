"""A row has one code: in the training file, alone in a new one, shuffled, with columns moved."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

import vaekit
from vaekit.cli.main import main
from vaekit.errors import VaekitError

RNG = np.random.RandomState(0)
SMALL: Any = {"latent": 2, "epochs": 2, "threads": 1, "report": False, "net": "mlp:hidden=8"}


def codes_of(path: Path) -> dict[str, list[float]]:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {row["row"]: [float(row[name]) for name in row if name[0] in "zs"] for row in rows}


def encoded(run: Path, data: Path, *more: str) -> dict[str, list[float]]:
    out = data.parent / "codes.csv"
    main(["encode", str(run), "--data", str(data), "-o", str(out), "--overwrite", *more])
    return codes_of(out)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, pandas.DataFrame]:
    """A run on a .csv of three columns of unlike scales, a name and a class."""
    folder = tmp_path_factory.mktemp("table")
    frame = pandas.DataFrame(RNG.randn(60, 3) * [1, 50, 1e3] + [0, 7, 5e5], columns=list("abc"))
    frame["sort"] = RNG.choice(["x", "y"], 60)
    frame.to_csv(folder / "t.csv", index=False)
    vaekit.train("vae", data=folder / "t.csv", label="sort", out=folder / "run", **SMALL)
    return folder / "run", folder, frame


def test_a_row_of_a_table_has_one_code(
    table: tuple[Path, Path, pandas.DataFrame], tmp_path: Path
) -> None:
    run, folder, frame = table
    whole = encoded(run, folder / "t.csv")
    assert list(whole) == [str(i + 2) for i in range(60)]
    kinds: dict[str, pandas.DataFrame] = {
        "alone": frame.iloc[[7]],
        "shuffled": frame.sample(frac=1, random_state=0),
        "moved": frame[["c", "sort", "a", "b"]],
        "unlabeled": frame[["b", "a", "c"]],
    }
    for name, part in kinds.items():
        part.to_csv(tmp_path / f"{name}.csv", index=False)
        place = str(part.index.get_loc(7) + 2)
        np.testing.assert_allclose(encoded(run, tmp_path / f"{name}.csv")[place], whole["9"], 1e-5)
    loaded = vaekit.load(run)
    numbers = frame[list("abc")].to_numpy()[7:8]
    for given in (frame.iloc[[7]], numbers, numbers.tolist(), numbers[0], numbers.astype("f4")):
        np.testing.assert_allclose(loaded.encode(given)[0], whole["9"][:2], 1e-4)


def test_rows_in_pieces_have_the_codes_of_all_at_once(
    table: tuple[Path, Path, pandas.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, folder, frame = table
    loaded = vaekit.load(run)
    features = frame[list("abc")]
    whole = loaded.encode(features)
    parts = np.concatenate([loaded.encode(features[at : at + 7]) for at in range(0, 60, 7)])
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-6)
    monkeypatch.setattr("vaekit.report._row_files.rows_at_once", lambda model: 7)
    found = encoded(run, folder / "t.csv")
    np.testing.assert_allclose([z[:2] for z in found.values()], whole, rtol=0, atol=1e-6)


def test_names_of_rows_and_classes_are_written(
    table: tuple[Path, Path, pandas.DataFrame], tmp_path: Path
) -> None:
    run, _, frame = table
    named = frame.assign(who=[f"p{i}" for i in range(60)])
    named.to_csv(tmp_path / "t.csv", index=False)
    assert list(encoded(run, tmp_path / "t.csv", "--id", "who"))[:2] == ["p0", "p1"]
    with (tmp_path / "codes.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == frame["sort"].tolist()


def test_columns_that_do_not_fit_are_refused_by_name(
    table: tuple[Path, Path, pandas.DataFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _, frame = table
    for part, words in (
        (frame[["a", "b"]], "lacks the column 'c'; this run takes a, b, c"),
        (frame.assign(d=1), "has the column 'd'; this run takes a, b, c"),
        (frame.rename(columns={"c": "C"}), "lacks the column 'c'"),
        (frame.assign(c="?"), "column 'c' has '?', a gap, in line 2. Fill the cell"),
        (frame.assign(c="many"), "column 'c' has 'many', which is no number"),
    ):
        part.to_csv(tmp_path / "t.csv", index=False)
        with pytest.raises(SystemExit, match="2"):
            main(["encode", str(run), "--data", str(tmp_path / "t.csv")])
        assert words in capsys.readouterr().err


def test_an_outlier_of_a_table_is_a_value(
    table: tuple[Path, Path, pandas.DataFrame], tmp_path: Path
) -> None:
    """The statistics are the training's: rows that are far off have far lower bounds."""
    run, _, frame = table
    frame.assign(b=frame["b"] + 1e4).to_csv(tmp_path / "far.csv", index=False)
    frame.to_csv(tmp_path / "near.csv", index=False)
    loaded = vaekit.load(run)
    far, near = (loaded.evaluate(data=tmp_path / f"{n}.csv")["elbo"] for n in ("far", "near"))
    assert far["mean"] < near["mean"] - 100 if isinstance(far, dict) else far < near - 100


def test_the_run_s_own_test_rows_give_its_numbers(tmp_path: Path) -> None:
    arrays = {
        "images": RNG.randint(0, 256, (60, 6, 6)),
        "test_images": RNG.randint(0, 256, (20, 6, 6)),
    }
    np.savez(tmp_path / "x.npz", **{k: v.astype(np.uint8) for k, v in arrays.items()})
    np.savez(tmp_path / "own.npz", images=arrays["test_images"].astype(np.uint8))
    run = vaekit.train("vae", data=tmp_path / "x.npz", out=tmp_path / "run", **SMALL)
    ours, theirs = run.evaluate(), run.evaluate(data=tmp_path / "own.npz")
    for name in ("elbo", "kl", "log_likelihood"):
        assert ours[name] == theirs[name]
    assert theirs["protocol"]["split"] == "new"
    assert theirs["protocol"]["rows"] == 20


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run on a folder of gray images in two classes."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(24):
        place = folder / "old" / ("dark", "light")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.randint(0, 256, (8, 8), np.uint8)).save(place / f"{number}.png")
    vaekit.train("vae", data=folder / "old", out=folder / "run", **SMALL)
    return folder / "run", folder


@pytest.mark.parametrize("kind", ["uint8", "floats", "signed", "counts", "flags", "table"])
@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_a_row_of_an_array_has_one_code(kind: str, ending: str, tmp_path: Path) -> None:
    rng = np.random.RandomState(1)
    rows = {
        "uint8": rng.randint(0, 256, (30, 6, 6)).astype(np.uint8),
        "floats": rng.rand(30, 6, 6),
        "signed": rng.rand(30, 6, 6, 3).astype(np.float32) * 2 - 1,
        "counts": rng.poisson(3, (30, 5)),
        "flags": rng.rand(30, 5) < 0.4,
        "table": rng.randn(30, 5) * 100,
    }[kind]

    def write(name: str, part: np.ndarray) -> Path:
        path = tmp_path / f"{name}{ending}"
        np.save(path, part) if ending == ".npy" else np.savez(path, images=part)
        return path

    run, order = tmp_path / "run", rng.permutation(30)
    data = write("x", rows)
    vaekit.train("vae", data=data, standardize=kind == "table" or None, out=run, **SMALL)
    whole = encoded(run, data)
    assert list(whole) == [str(i) for i in range(30)]
    alone = encoded(run, write("one", rows[7:8]))
    shuffled = encoded(run, write("shuffled", rows[order]))
    np.testing.assert_allclose(alone["0"], whole["7"], 1e-6, 1e-6)
    for new, old in enumerate(order):
        np.testing.assert_allclose(shuffled[str(new)], whole[str(old)], 1e-6, 1e-6)
    loaded = vaekit.load(run)
    np.testing.assert_allclose(loaded.encode(rows[7:8])[0], whole["7"][:2], 1e-5, 1e-6)
    ours, own = loaded.dataset().test, tmp_path / f"own{ending}"
    write("own", rows[[int(i) for i in ours.ids]])  # type: ignore[union-attr]
    measured = [loaded.evaluate(**how)["elbo"] for how in ({}, {"data": own})]  # type: ignore[arg-type]
    assert measured[0] == pytest.approx(measured[1], 1e-6)


def test_an_image_has_one_code_in_whatever_it_comes(
    photos: tuple[Path, Path], tmp_path: Path
) -> None:
    run, folder = photos
    file = folder / "old" / "light" / "7.png"
    whole = encoded(run, folder / "old")
    assert list(whole)[:3] == ["dark/0.png", "dark/2.png", "dark/4.png"]
    wanted = whole["light/7.png"]
    assert encoded(run, file)["7.png"] == pytest.approx(wanted, 1e-5)
    image = Image.open(file)
    pixels = np.asarray(image)
    kinds: dict[str, Any] = {
        "path": file,
        "text": str(file),
        "paths": [file],
        "pillow": image,
        "images": [image, image],
        "color": image.convert("RGB").convert("L"),
        "uint8": pixels,
        "floats": pixels / 255,
        "float32": (pixels / 255).astype(np.float32),
        "planes": pixels[None],
        "batch": pixels[None, None],
        "lists": (pixels / 255).tolist(),
        "lists of levels": pixels.tolist(),
        "a tensor alone": torch.from_numpy(pixels / 255),
        "a tensor without channel": torch.from_numpy(pixels / 255)[None],
        "tensor": torch.from_numpy(pixels.copy())[None, None],
        "double": torch.from_numpy(pixels / 255)[None, None],
        "last": pixels[None, :, :, None],
    }
    loaded = vaekit.load(run)
    for name, given in kinds.items():
        assert loaded.encode(given)[0].tolist() == pytest.approx(wanted[:2], 1e-4), name
    made = loaded.reconstruct(pixels)
    torch.testing.assert_close(made, loaded.decode(loaded.encode(pixels).numpy()))


REFUSED: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "levels": (lambda x: x.astype(float), "values up to|from .* to .*; this run takes \\[0, 1\\]"),
    "levels in a tensor": (lambda x: torch.from_numpy(x * 1.0)[None, None], "divide levels by 255"),
    "flat": (lambda x: x.reshape(1, -1), "rows of shape \\(64,\\)"),
    "another size": (lambda x: x[:4, :4], "shape \\(1, 4, 4\\); this run takes \\(1, 8, 8\\)"),
    "NaN": (lambda x: np.full((1, 1, 8, 8), np.nan), "NaN or infinite"),
    "NaN in a tensor": (lambda x: torch.full((1, 1, 8, 8), torch.nan), "from nan to nan"),
    "signed": (lambda x: x / 127.5 - 1, "this run takes \\[0, 1\\]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_images_that_do_not_fit_are_refused(photos: tuple[Path, Path], name: str) -> None:
    make, words = REFUSED[name]
    pixels = np.asarray(Image.open(photos[1] / "old" / "light" / "7.png"))
    with pytest.raises(VaekitError, match=words) as caught:
        vaekit.load(photos[0]).encode(make(pixels))
    assert "\n" not in str(caught.value)


def test_a_folder_by_its_bare_name_has_each_row_once_and_its_changes_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        Path("new").mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(f"new/{number}.png")
    run = vaekit.train("vae", data="new", out="run", **SMALL)
    assert len(run.read("new")) == 12
    main(["encode", "run", "--data", "new", "-o", "codes.csv"])
    assert list(codes_of(Path("codes.csv"))) == [f"{number}.png" for number in range(12)]
    Image.fromarray(np.full((8, 8), 99, np.uint8)).save("new/3.png")
    vaekit.load("run").dataset()
    assert "new has changed since" in caplog.text


def test_new_images_go_through_reconstruct_and_a_class_alone(
    photos: tuple[Path, Path], tmp_path: Path
) -> None:
    run, folder = photos
    dark, light = (str(folder / "old" / name) for name in ("dark", "light"))
    main(["reconstruct", str(run), "--data", dark, "-o", str(tmp_path / "r.png")])
    assert (tmp_path / "r.png").exists()
    out = str(tmp_path / "w.npz")
    main(["interpolate", str(run), f"{dark}/0.png", f"{light}/7.png", "-o", out])
    loaded = vaekit.load(run)
    ends = loaded.reconstruct([f"{dark}/0.png", f"{light}/7.png"])
    walk = torch.from_numpy(np.load(out)["images"])
    torch.testing.assert_close(walk[[0, -1]], ends)
    new = tmp_path / "new"
    (new / "light").mkdir(parents=True)
    Image.open(folder / "old" / "light" / "7.png").save(new / "light" / "a.png")
    encoded(run, new)
    with (tmp_path / "codes.csv").open() as file:
        assert [(row["row"], row["label"]) for row in csv.DictReader(file)] == [
            ("light/a.png", "light")
        ]


@pytest.mark.parametrize("ending", [".csv", ".npz", ".parquet"])
def test_files_of_codes_agree(photos: tuple[Path, Path], tmp_path: Path, ending: str) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    run = vaekit.load(photos[0])
    rows = run.read(photos[1] / "old")
    path = vaekit.report.save_codes(run, rows, tmp_path / f"codes{ending}")
    if ending == ".npz":
        with np.load(path) as file:
            assert file["codes"].shape == file["deviations"].shape == (24, 2)
            codes, names = file["codes"], file["rows"].tolist()
            labels = file["class_names"][file["labels"]].tolist()
    else:
        frame = pandas.read_csv(path) if ending == ".csv" else pandas.read_parquet(path)
        codes, names = frame[["z0", "z1"]].to_numpy(), frame["row"].tolist()
        labels = frame["label"].tolist()
    np.testing.assert_allclose(codes, run.encode(rows.x()), rtol=1e-5)
    assert labels == [name.partition("/")[0] for name in names]


def test_labels_that_the_run_does_not_know(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are left out with a word; a run that is conditioned on them refuses them."""
    x = RNG.rand(40, 6, 6).astype(np.float32)
    few, none, more = np.arange(40) % 3, (x[:2], None), (x[:2], np.array([1, 7]))
    plain = vaekit.train("vae", data=(x, few), out=tmp_path / "plain", **SMALL)
    assert plain.read((x[:2], np.array([1, 2]))).labels.tolist() == [1, 2]  # type: ignore[union-attr]
    assert plain.read(more).labels is None
    assert "the label '7' is none of this run's: 0, 1, 2" in caplog.text
    told = vaekit.train("cvae", data=(x, few), out=tmp_path / "told", **SMALL)
    with pytest.raises(VaekitError, match="the label '7' is none of this run's"):
        told.encode(more)
    with pytest.raises(VaekitError, match="has no labels, on which this run is conditioned"):
        told.encode(none)
    bare = vaekit.train("vae", data=x, out=tmp_path / "bare", **SMALL)
    assert bare.read(more).labels is None


def test_counts_and_flags_are_read_as_in_training(tmp_path: Path) -> None:
    """Few rows do not tell what they are: all zeros, all ones, whole numbers of another type."""
    counts = RNG.poisson(3, (40, 5)).astype(np.int64)
    flags = RNG.randint(0, 2, (40, 6, 6)).astype(np.uint8)
    scaled = RNG.rand(40, 4).astype(np.float32) * 100
    for name, rows, others in (
        ("counts", counts, [np.uint8, np.int32, np.float64]),
        ("flags", flags, [bool, np.float32]),
        ("scaled", scaled.round(), [np.int64, np.float64]),
    ):
        np.save(tmp_path / f"{name}.npy", rows)
        out = tmp_path / f"run-{name}"
        run = vaekit.train("vae", data=tmp_path / f"{name}.npy", out=out, **SMALL)
        wanted = run.encode(rows)
        for row in (0, int(rows.reshape(40, -1).sum(1).argmax())):
            for kind in (rows.dtype, *others):
                got = vaekit.load(out).encode(rows[row : row + 1].astype(kind))
                torch.testing.assert_close(got[0], wanted[row], rtol=1e-4, atol=1e-5)
        ones = np.ones((1, *rows.shape[1:]), rows.dtype)
        both = np.concatenate([rows, ones])
        torch.testing.assert_close(run.encode(ones)[0], run.encode(both)[-1], rtol=1e-4, atol=1e-5)
