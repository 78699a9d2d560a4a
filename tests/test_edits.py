"""Rows moved toward classes, drawn like others, and walked between, against sums by hand."""

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
from vaekit.errors import VaekitError

SMALL: dict[str, Any] = {"latent": 3, "net": "mlp:hidden=32", "report": False, "epochs": 2}


def trained(recipe: str, tmp_path_factory: pytest.TempPathFactory, **data: Any) -> vaekit.Run:
    out = tmp_path_factory.mktemp("edits") / recipe
    return vaekit.train(recipe, out=out, **SMALL, **data)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> vaekit.Run:
    return trained("vae", tmp_path_factory, data="avatars", size=32, limit=200)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> vaekit.Run:
    return trained("cvae", tmp_path_factory, data="digits", limit=200)


def call(*words: object) -> None:
    main([str(word) for word in words])


def photos(run: vaekit.Run, folder: Path) -> list[str]:
    """Write four test images; their paths."""
    folder.mkdir(exist_ok=True)
    paths = [str(folder / f"{name}.png") for name in "abcd"]
    for path, image in zip(paths, run.dataset().test.x(slice(4)), strict=True):
        pixels = (255 * image).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(path)
    return paths


@pytest.mark.parametrize("name", ["brown", "glasses", "skin color"])
def test_the_way_to_a_class_is_the_difference_of_means(run: vaekit.Run, name: str) -> None:
    data = run.dataset()
    codes, x = run.encode(data.train.x()), data.test.x(slice(4))
    assert data.train.factors is not None
    assert data.train.labels is not None
    if name == "brown":
        of = data.train.labels == data.class_names.index(name)
    else:
        factor = data.train.factors[:, data.factor_names.index(name)].double()
        of = factor > (0 if name == "glasses" else factor.mean())
    assert 0 < of.sum() < len(of)
    way = codes[of].mean(0) - codes[~of].mean(0)
    made = run.edit(x, {name: -1.5})
    torch.testing.assert_close(made, run.decode(run.encode(x) - 1.5 * way))
    steps = run.edit(x, {name: 2.0, "pink": 1.0}, steps=3)
    torch.testing.assert_close(steps[:, 0], run.reconstruct(x))
    torch.testing.assert_close(steps[:, 2], run.edit(x, {"pink": 1.0, name: 2.0}))


def test_a_run_that_is_told_the_label_is_told_another(told: vaekit.Run) -> None:
    x, context = told.dataset().test.batch(slice(5))
    assert context is not None
    z = told.encode(x, context)
    made = told.edit(x, {"7": 1.0}, context=context, steps=3)
    torch.testing.assert_close(made[:, 2], told.decode(z, told.context(7, 5)))
    half = (context + told.context(7, 5)) / 2
    torch.testing.assert_close(made[:, 1], told.decode(z, half))
    away = told.edit(x, {"7": -0.5}, context=context)
    torch.testing.assert_close(away, told.decode(z, 1.5 * context - 0.5 * told.context(7, 5)))


def test_the_command_writes_a_sheet_images_or_arrays(run: vaekit.Run, tmp_path: Path) -> None:
    paths = photos(run, tmp_path / "new")
    words = ("edit", run.path, *paths[:3], "--toward", "glasses", -1.5, "--toward", "brown", 1)
    call(*words, "-o", tmp_path / "e.png")
    with Image.open(tmp_path / "e.png") as sheet:
        assert sheet.width > 700
    call(*words, "--steps", 2, "-o", tmp_path / "e.npz")
    made = run.edit(paths[:3], {"glasses": -1.5, "brown": 1.0})
    images = np.load(tmp_path / "e.npz")["images"].reshape(3, 2, 3, 32, 32)
    assert np.allclose(images[:, 1], made, atol=1e-5)
    call("edit", run.path, tmp_path / "new", "--toward", "brown", 1, "-o", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{n}.png" for n in "abcd"]
    call("edit", run.path, "-n", 2, "--toward", "brown", 1, "-o", tmp_path / "t.png")


def test_rows_of_a_table_move_toward_a_class(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    sort = draw.integers(0, 2, 300)
    frame = pandas.DataFrame({"a": sort * 4 + draw.normal(size=300), "b": draw.normal(size=300)})
    frame["sort"] = np.array(["low", "high"])[sort]
    frame.to_csv(tmp_path / "t.csv", index=False)
    out, how = tmp_path / "run", SMALL | {"epochs": 60, "net": "mlp"}
    vaekit.train("vae", data=str(tmp_path / "t.csv"), label="sort", out=out, **how)
    frame[sort == 0][:5].to_csv(tmp_path / "new.csv", index=False)
    call("edit", out, tmp_path / "new.csv", "--toward", "high", 1, "-o", tmp_path / "e.csv")
    edited = pandas.read_csv(tmp_path / "e.csv")
    assert list(edited) == ["row", "a", "b"]
    assert edited["row"].tolist() == [2, 3, 4, 5, 6]
    assert (edited["a"] > 2).all()
    call("sample", out, "--like", tmp_path / "new.csv", "-n", 3, "-o", tmp_path / "l.csv")
    assert (
        pandas.read_csv(tmp_path / "l.csv")["like"].tolist() == np.repeat(range(2, 7), 3).tolist()
    )
    call("interpolate", out, tmp_path / "new.csv", "-n", 2, "--steps", 3, "-o", tmp_path / "i.csv")
    walk = pandas.read_csv(tmp_path / "i.csv")
    named = pandas.read_csv(tmp_path / "new.csv").assign(who=[*"abcde"])
    named.to_csv(tmp_path / "named.csv", index=False)
    words = (tmp_path / "named.csv", "--id", "who", "--toward", "high", 1, "-o", tmp_path / "n.csv")
    call("edit", out, *words)
    assert pandas.read_csv(tmp_path / "n.csv")["row"].tolist() == [*"abcde"]
    assert walk["pair"].tolist() == [0, 0, 0, 1, 1, 1]
    assert walk["at"].tolist() == [0, 0.5, 1] * 2


def test_draws_like_a_row_lie_between_its_posterior_and_the_prior(
    run: vaekit.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = run.dataset().test.x(slice(2))
    mean, scale = vaekit.report.posteriors(run, x)
    assert scale is not None
    seen: dict[str, Any] = {}

    def decode(self: Any, zs: Any, context: Any = None) -> Any:
        return seen.setdefault("z", zs[0])

    for variety in (0.0, 0.3, 1.0):
        seen.clear()
        with monkeypatch.context() as patch:
            patch.setattr("vaekit.models.base.LatentModel.decode", decode)
            run.sample(4000, like=x, variety=variety, prior="model")
        z, angle = seen["z"].view(2, 4000, 3), variety * np.pi / 2
        spread = (np.cos(angle) ** 2 * scale.square() + np.sin(angle) ** 2).sqrt()
        error = (z.mean(1) - np.cos(angle) * mean).abs() / (spread / 4000**0.5)
        assert error.max() < 4
        assert torch.allclose(z.std(1), spread, rtol=0.06)


def test_like_a_row_in_every_form(run: vaekit.Run, told: vaekit.Run, tmp_path: Path) -> None:
    (path, *_), x = photos(run, tmp_path / "new"), run.dataset().test.x(slice(1))
    made = run.sample(5, like=x, seed=3)
    assert made.shape == (5, 3, 32, 32)
    assert torch.allclose(run.sample(5, like=[path], seed=3), made, atol=1e-5)
    for number, like in enumerate((path, 0)):
        out = tmp_path / f"{number}.npz"
        call("sample", run.path, "--like", like, "-n", 5, "--seed", 3, "-o", out)
        assert np.allclose(np.load(out)["images"], made, atol=1e-5)
    call("sample", run.path, "--like", tmp_path / "new", "-n", 2, "-o", tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 8
    assert (tmp_path / "out" / "a-1.png").exists()
    call("sample", run.path, "--like", 3, "-n", 9, "-o", tmp_path / "s.png")
    x, context = told.dataset().test.batch(slice(1))
    own = told.sample(4, like=x, context=context, variety=0, seed=1)
    seven = told.sample(4, like=x, context=context, label="7", variety=0, seed=1)
    assert not torch.allclose(own, seven)


def test_new_images_walk_in_pairs(run: vaekit.Run, tmp_path: Path) -> None:
    paths = photos(run, tmp_path / "new")
    call("interpolate", run.path, *paths, "--steps", 3, "-o", tmp_path / "i.npz")
    walks = torch.from_numpy(np.load(tmp_path / "i.npz")["images"]).view(2, 3, 3, 32, 32)
    ends = run.reconstruct(paths)
    torch.testing.assert_close(walks[:, 0], ends[[0, 2]])
    torch.testing.assert_close(walks[:, 2], ends[[1, 3]])
    ids = run.read(paths).ids
    assert ids is not None
    assert ids.tolist() == ["a.png", "b.png", "c.png", "d.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("edit", "run"), "got no --toward; expected a class and a strength"),
        (("edit", "run", "--toward", "glases", 1), "did you mean 'glasses'?"),
        (("edit", "run", "--toward", "brown", 1, "--toward", "brown", 2), "the same class twice"),
        (("edit", "run", "--toward", "brown", "nan"), "expected finite strengths"),
        (("edit", "run", "--toward", "brown", 1, "--steps", 1), "got --steps 1"),
        (("edit", "run", "--toward", "brown", 1, "-o", "e.gif"), "ends in .png or .npz"),
        (("edit", "told", "--toward", "11", 1), "unknown class '11'"),
        (("interpolate", "run", "a.png", "b.png", "c.png"), "got 3 images; expected pairs"),
        (("sample", "run", "--like", 1000), "there is no test row 1000"),
        (("sample", "run", "--like", "no.png"), "no.png"),
        (("sample", "run", "--like", 0, "--variety", 2), "got --variety 2.0; expected a share"),
        (("sample", "run", "--variety", 0.2), "--variety is of draws that are --like a row"),
    ],
)
def test_misuse_is_one_line_and_writes_nothing(
    words: tuple[object, ...],
    message: str,
    run: vaekit.Run,
    told: vaekit.Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {"run": run.path, "told": told.path}
    with pytest.raises(SystemExit) as caught:
        call(words[0], paths[str(words[1])], *words[2:])
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_data_without_labels_and_of_one_class_are_refused(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    plain = vaekit.train("vae", data=x, kind="table", out=tmp_path / "r", **SMALL)
    with pytest.raises(VaekitError, match="has no labels: train with some"):
        plain.edit(x[:2], {"a": 1.0})
    frame = pandas.DataFrame(x).assign(sort="all")
    one = vaekit.train("vae", data=frame, label="sort", out=tmp_path / "one", **SMALL)
    with pytest.raises(VaekitError, match="all training rows are of `toward=all`"):
        one.edit(frame[:2], {"all": 1.0})


def test_many_rows_fill_a_folder_and_a_sheet_shows_the_first(
    run: vaekit.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = (255 * run.dataset().test.x(slice(20))).byte().numpy()
    np.save(tmp_path / "new.npy", x)
    words = ("edit", run.path, tmp_path / "new.npy", "--toward", "brown", 1, "--steps", 2)
    call(*words, "-o", tmp_path / "e.png")
    assert "shows the first 16 of 20 rows; an .npz or a folder has all" in capsys.readouterr().out
    call(*words, "-o", tmp_path / "e.npz")
    assert len(np.load(tmp_path / "e.npz")["images"]) == 40
    call(*words, "-n", 18, "-o", tmp_path / "more.png")
    assert "shows the first" not in capsys.readouterr().out


def test_codes_that_are_directions_stay_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = SMALL | {"data": "digits", "limit": 100, "out": tmp_path / "run"}
    run = vaekit.train("power_spherical_vae", **how)
    x, seen = run.dataset().test.x(slice(3)), []
    whole = vaekit.models.LatentModel.decode

    def decode(self: Any, zs: Any, context: Any = None) -> Any:
        seen.append(zs[0] if isinstance(zs, tuple) else zs)
        return whole(self, zs, context)

    monkeypatch.setattr("vaekit.models.base.LatentModel.decode", decode)
    run.edit(x, {"3": 9.0})
    assert (seen[-1].norm(dim=1) <= 1 + 1e-5).all()
    run.sample(4, like=x)
    assert torch.allclose(seen[-1].norm(dim=1), torch.ones(12), atol=1e-5)


def test_what_a_run_of_a_table_takes_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"])
    run = vaekit.train("vae", data=frame, out=tmp_path / "run", **SMALL | {"epochs": 1})
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(VaekitError, match="this run takes rows of 2 numbers: give a table"):
        run.read(tmp_path / "a.png")
    frame.assign(sort="x").to_csv(tmp_path / "new.csv", index=False)
    run.new_data(str(tmp_path / "new.csv"), label="sort")
    assert "this run was trained without labels; the labels of these rows are left" in caplog.text


def test_another_label_leaves_the_rest_of_a_context(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    frame = pandas.DataFrame(draw.normal(size=(120, 2)), columns=["a", "b"])
    frame["sort"], frame["plate"] = draw.choice(["x", "y"], 120), draw.choice(["P1", "P2"], 120)
    how: dict[str, Any] = {"context": "label,plate", "label": "sort", "epochs": 1, "latent": 2}
    how |= {"net": "mlp:hidden=8", "report": False, "out": tmp_path / "run"}
    run = vaekit.train("cvae", data=frame, **how)
    rows = frame[(frame["sort"] == "x") & (frame["plate"] == "P2")][:3]
    x, context = run.read(rows).batch()
    wanted = run.decode(run.encode(x, context), run.context("y", 3, plate="P2").float())
    assert torch.allclose(run.edit(x, {"y": 1.0}, context=context), wanted, atol=1e-6)
    one = run.sample(1, like=x, context=context, label="y", variety=0.0)
    other = run.sample(1, like=x, context=run.context("y", 3, plate="P2").float(), variety=0.0)
    assert one.shape == other.shape == (3, 2)
    plain = run.sample(1, like=x, context=context, variety=0.0)
    assert not torch.allclose(one, plain)
