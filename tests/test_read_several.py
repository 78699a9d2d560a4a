"""Several paths, a test set of its own, no test rows, few rows, archives, a hub, names of sets."""

from __future__ import annotations

import bz2
import io
import json
import shutil
import sys
import tarfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.sparse
import torch
from PIL import Image

import vaekit
from vaekit.cli.main import main
from vaekit.data import Dataset, SparseRows, load, meant
from vaekit.errors import VaekitError

QUICK: dict[str, Any] = {"epochs": 1, "latent": 2, "net": "mlp:hidden=8", "report": False}
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
TABLE = np.round(RNG.normal(5, 2, (40, 3)), 3)
Y = np.arange(40) % 2


def images_of(data: Dataset) -> np.ndarray:
    """All rows in the order of their ids: the file's name, then the number in it."""
    parts = list(data.splits.values())
    ids = np.concatenate([part.ids for part in parts])
    rows = torch.cat([
        part.x() if isinstance(part.images, SparseRows) else part.values.units(part.images)
        for part in parts
    ])  # fmt: skip
    key = [(name.rpartition(":")[0], int(name.rpartition(":")[2])) for name in map(str, ids)]
    return rows.numpy()[sorted(range(len(key)), key=key.__getitem__)]


def pictures(folder: Path, images: np.ndarray, start: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images, start):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


def tables(folder: Path, **more: Any) -> list[Path]:
    frame = pandas.DataFrame(TABLE, columns=list("abc")).assign(**more)
    frame[:25].to_csv(folder / "a.csv", index=False)
    frame[25:].to_csv(folder / "b.csv", index=False)
    return [folder / "a.csv", folder / "b.csv"]


# several paths ----------------------------------------------------------------------------------


def test_the_rows_of_tables_follow_each_other(tmp_path: Path) -> None:
    paths = tables(tmp_path, sort=np.where(np.arange(40) < 30, "x", "y"), by=Y)
    mine = load(",".join(map(str, paths)), label="sort", group="by", test=8)
    assert (mine.name, mine.column_names, mine.class_names) == ("a+b", tuple("abc"), ("x", "y"))
    assert np.allclose(images_of(mine), TABLE, atol=1e-5)
    assert {str(i).partition(":")[0] for i in mine.train.ids} == {"a.csv", "b.csv"}
    groups = [set(part.groups.tolist()) for part in (mine.train, mine.test)]
    assert not groups[0] & groups[1]
    again = load(paths, label="sort", group="by", test=8)
    assert torch.equal(again.train.images, mine.train.images)


def test_a_column_names_the_rows_of_each_file(tmp_path: Path) -> None:
    mine = load(tables(tmp_path, id=[*range(25), *range(15)]))
    assert mine.column_names == ("a", "b", "c")
    assert sorted(map(str, mine.test.ids))[0].startswith(("a.csv:", "b.csv:"))
    assert np.allclose(images_of(mine), TABLE, atol=1e-5)


def test_gaps_of_one_file_are_filled_by_the_mean_of_all(tmp_path: Path) -> None:
    paths = tables(tmp_path)
    paths[1].write_text(paths[1].read_text() + "NA,1,2\n")
    with pytest.raises(VaekitError, match=r"column 'a' has 'NA', a gap, in line 17 of .*b\.csv"):
        load(paths)
    mine = load(paths, missing="mean", test=0)
    assert images_of(mine)[-1, 0] == pytest.approx(TABLE[:, 0].mean(), abs=1e-5)
    assert len(load(paths, missing="drop", test=0).train) == 40


def write_npz(path: Path, part: slice) -> None:
    np.savez(path, images=IMAGES[part], labels=Y[part])


def write_sparse(path: Path, part: slice) -> None:
    scipy.sparse.save_npz(path, scipy.sparse.csr_array(IMAGES[part].reshape(-1, 30)))


ARRAYS: dict[str, tuple[Callable[[Path, slice], Any], str, np.ndarray]] = {
    "arrays": (write_npz, ".npz", IMAGES[:, None]),
    "bare arrays": (lambda path, part: np.save(path, IMAGES[part]), ".npy", IMAGES[:, None]),
    "tensors": (lambda path, part: torch.save(torch.from_numpy(IMAGES[part]), path), ".pt",
                IMAGES[:, None]),
    "counts": (write_sparse, ".npz", IMAGES.reshape(-1, 30)),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_the_rows_of_arrays_follow_each_other(name: str, tmp_path: Path) -> None:
    write, ending, wanted = ARRAYS[name]
    paths = [tmp_path / f"a{ending}", tmp_path / f"b{ending}"]
    for path, part in zip(paths, (slice(25), slice(25, 40)), strict=True):
        write(path, part)
    mine = load(paths)
    assert mine.rows == {"train": 36, "test": 4}
    assert np.array_equal(images_of(mine), wanted)
    assert mine.classes == (2 if name == "arrays" else 0)


def test_folders_are_classes_splits_or_appended(tmp_path: Path) -> None:
    ants, bees = pictures(tmp_path / "ants", IMAGES[:25]), pictures(tmp_path / "bees", IMAGES[25:])
    mine = load([ants, bees])
    assert (mine.class_names, mine.rows) == (("ants", "bees"), {"train": 36, "test": 4})
    for day, part in (("day1", slice(25)), ("day2", slice(25, 40))):
        for i in range(2):
            pictures(tmp_path / day / "cd"[i], IMAGES[part][i::2])
    mine = load([tmp_path / "day1", tmp_path / "day2"])
    assert mine.class_names == ("c", "d")
    assert {str(name)[:6] for name in mine.train.ids} == {"day1/c", "day1/d", "day2/c", "day2/d"}
    train, test = (pictures(tmp_path / n, IMAGES[:20]) for n in ("train", "test"))
    assert load(f"{train},{test}").rows == {"train": 20, "test": 20}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a.csv", "c.csv"), r"c\.csv has other columns than .*a\.csv: it lacks 'c'; expected"),
        (("a.csv", "x.npy"), "are not all tables, arrays or images"),
        (("x.npy", "y.npy"), r"'images' of .*y\.npy is uint8 \(40, 5, 5\), and of .*x\.npy uint8"),
        (("x.npy", "z.npz"), r"x\.npy holds images, and .*z\.npz images, labels; expected the"),
        (("a.csv", "none.csv"), "did not find the file"),
        (("a.csv", "x.xyz"), "are not all tables"),
        (("a,b.csv", "a.csv"), "has a comma"),
    ],
)
def test_what_does_not_go_together(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    tables(tmp_path)
    (tmp_path / "c.csv").write_text("a,b\n" + "1,2\n" * 20)
    (tmp_path / "x.xyz").write_text("")
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", IMAGES[:, :5])
    write_npz(tmp_path / "z.npz", slice(40))
    with pytest.raises(VaekitError, match=message) as caught:
        load([tmp_path / name for name in names])
    assert "\n" not in str(caught.value)


def test_a_comma_in_a_name_is_no_second_path(tmp_path: Path) -> None:
    tables(tmp_path)[0].rename(tmp_path / "a,b.csv")
    assert load(tmp_path / "a,b.csv").rows == {"train": 23, "test": 2}


def test_a_run_of_several_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = tables(tmp_path)
    monkeypatch.chdir(tmp_path)
    for i, data in enumerate((paths, "a.csv,b.csv")):
        run = vaekit.train("vae", data=data, out=tmp_path / f"{i}", **QUICK)
        assert run.config.data.data == ",".join(map(str, paths))
    monkeypatch.chdir(paths[0].parents[1])
    assert vaekit.load(run.path).evaluate()["protocol"]["of"] == 4
    assert run.encode([*map(str, paths)]).shape == (40, 2)


def test_a_labels_table_is_read_as_any_table(tmp_path: Path) -> None:
    pictures(tmp_path / "mine", IMAGES)
    rows = "".join(f"{i}.png;caf\u00e9{i % 2}\n" for i in range(40))
    (tmp_path / "labels.csv").write_bytes(f"# mine\nfile;sort\n{rows}".encode("latin-1"))
    mine = load(tmp_path / "mine", labels="labels.csv")
    assert mine.class_names == ("caf\u00e90", "caf\u00e91")
    place = [int(str(name).removesuffix(".png")) for name in mine.train.ids]
    assert mine.train.labels.tolist() == [i % 2 for i in place]


def test_a_dataset_of_the_kit_is_taken_as_it_is(tmp_path: Path) -> None:
    mine = load("digits")
    run = vaekit.train("vae", data=mine, limit=50, out=tmp_path / "run", **QUICK)
    assert run.evaluate()["protocol"]["of"] == 300
    assert vaekit.load(run.path, data=mine).evaluate()["protocol"]["of"] == 300
    with pytest.raises(VaekitError, match="`test` does not suit data: a Dataset has its own"):
        vaekit.train("vae", data=mine, test=5, out=tmp_path / "other", **QUICK)


def test_a_misspelled_option_is_named_in_a_short_line(tmp_path: Path) -> None:
    with pytest.raises(VaekitError, match="did you mean 'batch_size'") as caught:
        vaekit.train("vae", batchsize=3, out=tmp_path / "run")
    assert len(str(caught.value)) <= 200


# test rows --------------------------------------------------------------------------------------


def test_a_test_set_is_read_as_its_training_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = tables(tmp_path, sort=np.where(Y, "x", "y"), id=range(40))
    frame = pandas.read_csv(b)[["sort", "c", "a", "b", "id"]]
    frame.to_csv(b, index=False)
    mine = load(a, label="sort", test_data=b)
    assert mine.rows == {"train": 25, "test": 15}
    assert mine.said.endswith("test rows of b")
    assert np.allclose(mine.test.images, TABLE[25:], atol=1e-5)
    assert mine.test.labels.tolist() == (1 - Y[25:]).tolist()
    assert mine.test.ids.tolist() == [str(i) for i in range(25, 40)]
    monkeypatch.chdir(tmp_path)
    how = {"label": "sort", "test_data": "b.csv"}
    run = vaekit.train("vae", data=a, out=tmp_path / "run", **how, **QUICK)
    monkeypatch.chdir(tmp_path.parent)
    assert vaekit.load(run.path).evaluate()["protocol"]["of"] == 15
    data = run.dataset()
    assert torch.allclose(data.train.x().mean(0), torch.zeros(3), atol=0.5)
    assert torch.equal(data.test.values.loc, data.train.values.loc)


def test_a_test_set_of_images_and_of_gaps(tmp_path: Path) -> None:
    for i, name in enumerate(("c", "d")):
        pictures(tmp_path / "mine" / name, IMAGES[i:20:2])
    pictures(tmp_path / "more" / "d", IMAGES[20:])
    mine = load(tmp_path / "mine", test_data=tmp_path / "more")
    assert mine.rows == {"train": 20, "test": 20}
    assert mine.test.labels.tolist() == [1] * 20
    a, b = tables(tmp_path)
    b.write_text("a,b,c\n,1,2\n3,4,5\n")
    mine = load(a, test_data=b, missing="mean")
    assert mine.test.images[0, 0] == pytest.approx(TABLE[:25, 0].mean(), abs=1e-5)


def test_what_is_no_test_set(tmp_path: Path) -> None:
    a, _ = tables(tmp_path)
    np.save(tmp_path / "x.npy", IMAGES)
    np.savez(tmp_path / "y.npz", images=IMAGES, test_images=IMAGES)
    for path, how, message in (
        (a, {"test_data": tmp_path / "x.npy"}, "x has rows of shape|expected"),
        (a, {"test_data": tmp_path / "none.csv"}, "did not find"),
        (a, {"test_data": a, "test": 3}, "exclude each other"),
        (tmp_path / "y.npz", {"test_data": a}, "`test_data` does not suit .*its own test rows"),
        ("digits", {"test_data": a}, "`test_data` does not suit digits"),
    ):
        with pytest.raises(VaekitError, match=message):
            load(path, **how)
    with pytest.raises(VaekitError, match=r'give \{"train": ..., "test": ...\}'):
        vaekit.train("vae", data=TABLE, test_data=a, out=tmp_path / "run", **QUICK)


def test_no_row_is_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    mine = load(tmp_path / "x.npy", test=0, size=4)
    assert (mine.rows, mine.said) == ({"train": 40}, "no row is held out for tests")
    how = QUICK | {"report": True, "epochs": 2}
    run = vaekit.train("vae", data=tmp_path / "x.npy", test=0, out=tmp_path / "run", **how)
    assert run.dataset().rows == {"train": 36, "validation": 4}
    assert torch.equal(run.dataset().test.images, run.dataset().validation.images)
    assert "x: no row is held out for tests." in caplog.text
    other = shutil.copytree(run.path, tmp_path / "other")
    for call in (run.evaluate, lambda: vaekit.compare([run.path, other])):
        with pytest.raises(VaekitError, match=r"has no test rows \(`test=0`\): measure `split=va"):
            call()
    assert run.evaluate(split="validation")["protocol"]["of"] == 4
    assert run.evaluate(data=IMAGES)["protocol"]["of"] == 40
    with pytest.raises(SystemExit):
        main(["evaluate", str(run.path)])
    assert "(--test 0): measure --split validation, or" in capsys.readouterr().err


def test_five_images_train(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "few", IMAGES[:5])
    how = QUICK | {"report": True, "epochs": 2}
    run = vaekit.train("vae", data=folder, out=tmp_path / "run", **how)
    assert run.dataset().rows == {"train": 3, "validation": 1, "test": 1}
    assert (run.path / "report.html").is_file()
    (folder / "0.png").unlink()
    with pytest.raises(VaekitError, match="has 4 images; expected 5 at least"):
        load(folder)


# archives, hubs and names -----------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
def test_a_tar_is_read_as_its_folder(ending: str, tmp_path: Path) -> None:
    for i, name in enumerate(("c", "d")):
        pictures(tmp_path / "mine" / name, IMAGES[i::2])
    modes = {"gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}
    with tarfile.open(tmp_path / f"x{ending}", modes.get(ending.rpartition(".")[2], "w")) as tar:
        tar.add(tmp_path / "mine", arcname="./mine")
    mine, folder = load(tmp_path / f"x{ending}"), load(tmp_path / "mine")
    assert torch.equal(mine.train.images, folder.train.images)
    assert mine.class_names == ("c", "d")
    assert mine.train.labels.tolist() == folder.train.labels.tolist()


def test_a_damaged_tar_and_one_that_unpacks_to_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(VaekitError, match=r"x\.tar is not a readable \.tar"):
        load(tmp_path / "x.tar")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        entry = tarfile.TarInfo("zeros.png")
        entry.size = 1 << 20
        tar.addfile(entry, io.BytesIO(bytes(entry.size)))
    (tmp_path / "x.tar.bz2").write_bytes(bz2.compress(content.getvalue()))
    monkeypatch.setattr("vaekit.data._archives.ROOM", 1 << 19)
    with pytest.raises(VaekitError, match="would unpack to more than 524288 bytes; unpack it"):
        load(tmp_path / "x.tar.bz2")


def hub(monkeypatch: pytest.MonkeyPatch, **sets: Any) -> None:
    """As the library `datasets` answers."""
    library = types.ModuleType("datasets")
    library.load_dataset = library.load_from_disk = sets.__getitem__  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", library)


class Image_:  # noqa: N801
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


Image_.__name__ = "Image"


class ClassLabel:
    def int2str(self, number: int) -> str:
        return ("ant", "bee")[number]


class Set:
    """A Dataset of Hugging Face, in as much as it is asked."""

    def __init__(self, features: dict[str, Any], **columns: Any) -> None:
        self.features, self.columns = features, columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key: str) -> Any:
        return self.columns[key]

    def cast_column(self, key: str, kind: Any) -> Set:
        assert not kind.decode
        return self

    def to_pandas(self) -> pandas.DataFrame:
        return pandas.DataFrame(self.columns)


def test_a_hub_of_images_and_of_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    def pngs(images: np.ndarray) -> list[dict[str, Any]]:
        streams = [io.BytesIO() for _ in images]
        for image, stream in zip(images, streams, strict=True):
            Image.fromarray(image).save(stream, "PNG")
        return [{"bytes": stream.getvalue(), "path": None} for stream in streams]

    kinds = {"image": Image_(), "label": ClassLabel()}
    parts = {name: Set(kinds, image=pngs(IMAGES[p]), label=Y[p].tolist())
             for name, p in (("train", slice(30)), ("test", slice(30, 40)))}  # fmt: skip
    numbers = {"a": object(), "b": object(), "sort": ClassLabel()}
    table = Set(numbers, a=TABLE[:, 0], b=TABLE[:, 1], sort=Y.tolist())
    hub(monkeypatch, **{"my/ants": parts, "table": table})
    mine = load("hf:my/ants")
    assert (mine.rows, mine.class_names) == ({"train": 30, "test": 10}, ("ant", "bee"))
    place = [int(str(name).rpartition("/")[2].removesuffix(".png")) for name in mine.train.ids]
    assert np.array_equal(mine.train.images[:, 0], IMAGES[place])
    assert mine.train.labels.tolist() == Y[place].tolist()
    mine = load("hf:table", label="sort")
    assert (mine.column_names, mine.class_names) == (("a", "b"), ("ant", "bee"))
    with pytest.raises(VaekitError, match="hf:none cannot be read: KeyError: 'none'"):
        load("hf:none")


def test_a_hub_as_its_library_writes_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"a": TABLE[:, 0], "sort": Y})
    table.save_to_disk(tmp_path / "mine")
    assert load(f"hf:{tmp_path / 'mine'}", label="sort").rows == {"train": 36, "test": 4}


def test_a_hub_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(VaekitError, match=r"hf: needs datasets: pip install 'vaekit\[hf\]'\."):
        load("hf:mnist")


def test_a_folder_that_is_called_as_a_set(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert meant("digits") == "digits"
    for name in ("digits", "MNIST"):
        pictures(tmp_path / name, IMAGES)
        assert load(name).train.images.shape[1:] == (1, 6, 5)
        assert f"{name} is the folder here, no set of that name" in caplog.text
    run = vaekit.train("vae", data="digits", out="run", **QUICK)
    assert run.config.data.data == "./digits"
    assert run.encode("digits").shape == (40, 2)
    main(["data", "digits", "--json"])
    assert json.loads(capsys.readouterr().out)["shape"] == [1, 6, 5]
    with pytest.raises(VaekitError, match="did you mean 'fashion-mnist'"):
        load("Fashion_MNIST")
