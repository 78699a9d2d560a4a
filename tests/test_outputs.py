"""What commands write: where, in which units, and never over what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

import vaekit
from vaekit.cli.main import main
from vaekit.data import DataSpec

SMALL: Any = {"latent": 2, "epochs": 2, "threads": 1, "report": False, "net": "mlp:hidden=8"}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a .csv of whole numbers, fractions, flags, and a class; and a run."""
    folder, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    frame = pandas.DataFrame({"age": rng.integers(18, 80, 400), "hours": rng.normal(40, 12.8, 400)})
    frame["sex"] = rng.integers(0, 2, 400)
    frame["city"] = rng.choice(["Bonn", "Ulm"], 400)
    frame.to_csv(folder / "people.csv", index=False)
    options = SMALL | {"epochs": 30, "label": "city"}
    vaekit.train("cvae", data=folder / "people.csv", out=folder / "run", **options)
    return folder


def test_samples_of_a_table_are_draws_in_its_units_and_types(people: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.csv"
    main(["sample", str(people / "run"), "-n", "1000", "-o", str(out)])
    new, old = pandas.read_csv(out), pandas.read_csv(people / "people.csv")
    assert sorted(new.columns) == sorted(old.columns)
    assert new["city"].value_counts().to_dict() == {"Bonn": 500, "Ulm": 500}
    assert new["age"].dtype == new["sex"].dtype == np.int64
    assert set(new["sex"]) == {0, 1}
    assert new["age"].between(old["age"].min(), old["age"].max()).all()
    for name in ("age", "hours", "sex"):
        assert new[name].std() == pytest.approx(old[name].std(), rel=0.15), name
        assert new[name].mean() == pytest.approx(old[name].mean(), abs=0.2 * old[name].std()), name
    main(
        ["sample", str(people / "run"), "-n", "4", "--label", "Ulm", "-o", str(tmp_path / "u.csv")]
    )
    assert set(pandas.read_csv(tmp_path / "u.csv")["city"]) == {"Ulm"}


def test_classes_go_by_their_names_alone(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(people / "run")
    for command in ("traverse", "report"):  # which take a class of their own choice
        main([command, run, *(["-o", str(tmp_path / "t.npz")] if command == "traverse" else [])])
    with pytest.raises(SystemExit, match="2"):
        main(["sample", run, "--label", "0"])
    assert "got the label 0; the labels of people are Bonn, Ulm" in capsys.readouterr().err


def test_means_of_a_table_are_not_rounded(people: Path, tmp_path: Path) -> None:
    out = tmp_path / "means.csv"
    main(["sample", str(people / "run"), "--no-draws", "-n", "50", "-o", str(out)])
    assert pandas.read_csv(out)["sex"].between(0.01, 0.99).any()
    run = vaekit.load(people / "run")
    both = [run.sample(20, mean=mean) for mean in (None, False, True)]
    assert both[0].equal(both[1])
    assert not both[0].equal(both[2])


def test_reconstructions_of_a_table_name_their_rows(people: Path) -> None:
    path = people / "run" / "outputs" / "reconstructions.csv"
    main(["reconstruct", str(people / "run"), "-n", "5"])
    frame = pandas.read_csv(path)
    run = vaekit.load(people / "run")
    data = run.dataset()
    x, context = data.test.batch(vaekit.data.spread(len(data.test), 5))
    means = run.spec.values.inverse(run.reconstruct(x, context))
    np.testing.assert_allclose(frame[["age", "hours", "sex"]], means, rtol=1e-5)
    assert set(frame["row"]) <= {int(i) for i in data.test.ids}  # type: ignore[union-attr]


@pytest.mark.parametrize(("kind", "top"), [("counts", None), ("binary", 1.0), ("table", 255.0)])
def test_draws_have_the_types_of_arrays(kind: str, top: float | None) -> None:
    spec = DataSpec("t", (2,), kind, 20, top=top)
    x = np.array([[1.0, 0.0]], np.float32)
    columns = spec.columns_of(torch.from_numpy(x))
    if kind == "table":
        assert [column.tolist() for column in columns.values()] == [[255.0], [0.0]]
    else:
        assert all(column.dtype == np.int64 for column in columns.values())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits") / "run"
    vaekit.train("vae", data="digits", limit=100, out=path, **SMALL)
    return path


def test_outputs_lie_in_the_run_and_replace_nothing_that_is_named(
    digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    kinds = {
        "sample": "samples.png",
        "reconstruct": "reconstructions.png",
        "interpolate": "interpolation.png",
        "traverse": "traversal.png",
        "manifold": "manifold.png",
        "scatter": "scatter.png",
        "encode": "codes.csv",
        "animate": "reconstructions.gif",
    }
    for command, name in kinds.items():
        for _ in range(2):  # what was not named is replaced
            main([command, str(digits)])
        assert (digits / "outputs" / name).is_file(), command
        mine = tmp_path / f"mine-{name}"
        mine.write_text("mine")
        with pytest.raises(SystemExit, match="2"):
            main([command, str(digits), "-o", str(mine)])
        assert "name another, or add --overwrite" in capsys.readouterr().err
        assert mine.read_text() == "mine"
        main([command, str(digits), "-o", str(mine), "--overwrite"])
        assert mine.read_bytes() != b"mine"
        mine.unlink()
    assert not list(tmp_path.iterdir())


def test_a_sheet_says_whether_it_shows_means(digits: Path, tmp_path: Path) -> None:
    for name, more in (("means", ()), ("draws", ("--draws",))):
        main(["sample", str(digits), "-n", "8", "-o", str(tmp_path / f"{name}.png"), *more])
    means, draws = (np.asarray(Image.open(tmp_path / f"{n}.png")) for n in ("means", "draws"))
    assert means.shape[1] == draws.shape[1]
    assert (means[-20:] != draws[-20:]).any(), "the words below differ"


def test_every_command_says_that_data_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (60, 6, 6)).astype(np.uint8)
    np.save(tmp_path / "x.npy", rows)
    vaekit.train("vae", data=tmp_path / "x.npy", out=tmp_path / "run", **SMALL)
    commands = ("reconstruct", "interpolate", "traverse", "scatter", "encode", "report", "evaluate")
    np.save(tmp_path / "x.npy", rows)  # another time of change alone
    for command in commands:
        main([command, str(tmp_path / "run")])
    assert "has changed" not in caplog.text
    np.save(tmp_path / "x.npy", rows[::-1])
    for command in commands:
        monkeypatch.setattr("vaekit._io._NOTED", set())
        caplog.clear()
        main([command, str(tmp_path / "run")])
        assert caplog.text.count("x has changed since") == 1, command


def test_samples_go_into_a_folder_of_files_by_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how: Any = {"latent": 2, "net": "mlp:hidden=8", "epochs": 1, "report": False}
    run = vaekit.train("cvae", data="digits", out=tmp_path / "run", **how)
    main(["sample", str(run.path), "-n", "20", "-o", str(tmp_path / "new")])
    files = sorted((tmp_path / "new").rglob("*.png"))
    assert [file.parent.name for file in files] == [str(i // 2) for i in range(20)]
    expected = run.spec.values.inverse(vaekit.report.sample_images(run, 20)[0])
    for file, image in zip(files, expected, strict=True):
        with Image.open(file) as opened:
            assert np.array_equal(opened, (image[0].clamp(0, 1) * 255).round())
    mine = vaekit.data.load(tmp_path / "new")  # they can be trained on
    assert (mine.classes, sum(mine.rows.values())) == (10, 20)
    with pytest.raises(SystemExit):
        main(["sample", str(run.path), "-n", "20", "-o", str(tmp_path / "new"), "--overwrite"])
    assert "there is a folder" in capsys.readouterr().err


def test_a_class_that_is_called_as_a_folder_above_stays_in_its_own(tmp_path: Path) -> None:
    made = vaekit.report.save_folder(torch.rand(3, 1, 4, 4), tmp_path / "new", ["..", "a/b", "c"])
    assert sorted(path.name for path in made.iterdir()) == ["-", "a-b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
