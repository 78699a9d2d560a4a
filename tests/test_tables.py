"""Tables from .csv: numbers against numpy's own reader, and every refusal by its line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaekit import data
from vaekit.data import prepare, tables
from vaekit.data.tables import load_csv
from vaekit.errors import VaekitError
from vaekit.options import Data


def fails(message: str) -> Any:
    return pytest.raises(VaekitError, match=re.escape(message))


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "mine.csv"
    path.write_bytes(text.encode(encoding))
    return path


def lines(*rows: str, again: int = 1) -> str:
    return "\n".join(rows * again) + "\n"


TABLE = np.random.default_rng(0).normal(50, 30, (40, 3)).astype(np.float32)


def text(delimiter: str = ",", header: str = "") -> str:
    rows = [delimiter.join(map(repr, row)) for row in TABLE.tolist()]
    return "\n".join([header, *rows] if header else rows) + "\n"


def rows(path: Path, **options: Any) -> np.ndarray:
    """All rows, sorted."""
    mine = load_csv(path, Data(**options))
    found = np.concatenate([part.images.numpy() for part in mine.splits.values()])
    return found[np.lexsort(found.T)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["", "a,b c,d"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("block", [7, 4096])
def test_numbers_and_names(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    delimiter: str,
    header: str,
    encoding: str,
    block: int,
) -> None:
    monkeypatch.setattr(tables, "BLOCK", block)
    path = write(tmp_path, text(delimiter, header.replace(",", delimiter)), encoding)
    mine = load_csv(path)
    assert (mine.kind, mine.name, mine.classes) == ("table", "mine", 0)
    assert mine.column_names == (tuple(header.split(",")) if header else ("1", "2", "3"))
    assert (len(mine.train), len(mine.test)) == (36, 4)
    assert np.array_equal(rows(path), TABLE[np.lexsort(TABLE.T)])


def test_numbers_are_numpys(tmp_path: Path) -> None:
    cells = [" 1", "2e3 ", "-.5", "+7.", '"8,5"'.replace(",", "."), "1E-3", "0x1"[:1], "16777217"]
    path = write(tmp_path, lines(*[f"{cell},{i}" for i, cell in enumerate(cells * 2)]))
    expected = np.loadtxt(path, delimiter=",", quotechar='"').astype(np.float32)
    assert np.array_equal(rows(path), expected[np.lexsort(expected.T)])


def test_line_ends_empty_lines_and_quotes(tmp_path: Path) -> None:
    path = write(tmp_path, 'a,"b,\nc"\r\n' + '\r\n1,"2"\r\n\r\n' * 10)
    mine = load_csv(path)
    assert mine.column_names == ("a", "b,\nc")
    assert mine.train.images.tolist() == [[1, 2]] * 9


def test_one_column(tmp_path: Path) -> None:
    assert sorted(rows(write(tmp_path, lines("x", *map(str, range(12)))))[:, 0]) == list(range(12))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["b", "a b", " c"] * 4, ("a b", "b", "c")),
        (["class 10", "class 9", "x"] * 4, ("class 9", "class 10", "x")),
        (["10", "9", "-1"] * 4, ("-1", "9", "10")),
        (["2.0", "1", "1e1"] * 4, ("1", "2", "10")),
    ],
)
@pytest.mark.parametrize("label", ["sort", "2"])
def test_labels_are_classes_in_order(
    tmp_path: Path, labels: list[str], names: tuple[str, ...], label: str
) -> None:
    body = [f"{i},{name},{2 * i}" for i, name in enumerate(labels)]
    mine = load_csv(write(tmp_path, lines("x,sort,y", *body)), Data(label=label))
    assert (mine.class_names, mine.classes, mine.column_names) == (names, 3, ("x", "y"))
    for part in mine.splits.values():
        for (x, y), found in zip(part.images.tolist(), part.labels, strict=True):
            name = labels[int(x)].strip()
            wanted = name if name in names else str(int(float(name)))
            assert (mine.class_names[found], y) == (wanted, 2 * x)


def test_a_text_label_without_a_header_is_found_by_its_number(tmp_path: Path) -> None:
    mine = load_csv(
        write(tmp_path, lines("5.1,3.5,setosa", "4,3,virginica", again=6)), Data(label="3")
    )
    assert (len(mine.train) + len(mine.test), mine.class_names) == (12, ("setosa", "virginica"))
    assert mine.column_names == ("1", "2")


def test_numbers_as_names_of_other_columns(tmp_path: Path) -> None:
    mine = load_csv(write(tmp_path, lines("0,1,digit", *["5,6,7"] * 10)), Data(label="digit"))
    assert (mine.column_names, mine.class_names) == (("0", "1"), ("7",))
    assert mine.train.images.tolist() == [[5, 6]] * 9


def test_groups_stay_together_and_are_no_feature(tmp_path: Path) -> None:
    body = [f"{i},{'pqrst'[i % 5]},{i % 2}" for i in range(40)]
    path = write(tmp_path, lines("x,person,side", *body))
    mine = load_csv(path, Data(group="person", label="side", test=9))
    assert mine.column_names == ("x",)
    people = [{int(x) % 5 for x in part.images[:, 0]} for part in (mine.train, mine.test)]
    assert (len(people[1]), people[0] & people[1], len(mine.test)) == (2, set(), 16)
    assert torch.equal(mine.train.images[:, 0].long() % 5, mine.train.groups)
    assert torch.equal(mine.train.images[:, 0].long() % 2, mine.train.labels)


@pytest.mark.parametrize(("test", "held"), [(None, 4), (0.25, 10), (7, 7)])
def test_what_is_held_out(tmp_path: Path, test: float | None, held: int) -> None:
    assert len(load_csv(write(tmp_path, text()), Data(test=test)).test) == held


def test_a_csv_is_standardised_and_comes_back(tmp_path: Path) -> None:
    path = write(tmp_path, text(header="a,b,c"))
    mine = data.load(path)
    made = prepare(mine, Data(data=str(path)))
    x = made.train.x()
    assert torch.allclose(x.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(x.std(0, correction=0), torch.ones(3), atol=1e-5)
    for part in made.splits.values():
        assert torch.allclose(part.values.inverse(part.x()), part.images, rtol=1e-5, atol=1e-4)
    raw = prepare(mine, Data(data=str(path), standardise=False))
    assert torch.equal(raw.train.x(), raw.train.images)


@pytest.mark.parametrize(
    ("content", "asked", "message"),
    [
        ("", {}, "has no rows."),
        ("\n\n", {}, "has no rows."),
        ("a,b\n", {}, "has no rows."),
        (lines("a,b", "1,2"), {}, "has 1 rows; expected 10 at least."),
        (lines("a,b", *["1,2"] * 5, "1,2,3"), {}, "has 3 cells in line 7; expected 2 as before."),
        (lines("a,b", *["1,2"] * 5, "", "1"), {}, "has 1 cells in line 8; expected 2 as before."),
        (lines("a,b", *["1,2"] * 30, "1,,3"), {}, "has 3 cells in line 32; expected 2 as before."),
        (lines("a,b", "1,2", "1,"), {}, "column 'b' is empty in line 3. Fill the cell, or remove"),
        (lines("a,b", "1,2", "nan,2"), {}, "column 'a' has 'nan', which is not finite, in line 3."),
        (lines("1,2", "1,-inf"), {}, "column '2' has '-inf', which is not finite, in line 2."),
        (
            lines("a,b", "1,1e39"),
            {},
            "has '1e39', which is too large for float32, in line 2. Scale",
        ),
        (
            lines("x,species", "1,setosa"),
            {},
            "column 'species' has 'setosa', which is no number, in line 2. If it is a label or a "
            "group: --label 'species', --group 'species'; else remove it.",
        ),
        (lines("a,b", "1,1_000"), {}, "has '1_000', which is no number, in line 2."),
        (lines("a;b", "1;2,5"), {}, "has '2,5', which is no number, in line 2."),
        (lines("a,b", *["1,2"] * 12), {"label": "c"}, "unknown column of"),
        (lines("a,b", *["1,2"] * 12), {"label": "3"}, "'3'. Known: a, b."),
        (lines("a,b", *["1,2"] * 12), {"label": "bb"}, "'bb'; did you mean 'b'? Known: a, b."),
        (lines("a,b", *["1,2"] * 12, "1,"), {"label": "b"}, "column 'b' is empty in line 14."),
        (lines("a,b", "1,2", "1,2.5"), {"label": "b"}, "has '2.5', which is no class, in line 3."),
        (lines("a,b", "1,2", "1,inf"), {"label": "b"}, "has 'inf', which is no class, in line 3."),
        (lines("a,b", "1,p", "1, "), {"group": "b"}, "column 'b' is empty in line 3."),
        (lines("a", *["1"] * 12), {"label": "a"}, "has no column but those of labels and groups"),
        (lines("a,b", *["1,2"] * 12), {"test": 12}, "leaves none"),
    ],
)
def test_tables_that_are_refused(
    tmp_path: Path, content: str, asked: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, content)
    with fails(message) as caught:
        load_csv(path, Data(**asked))
    assert "\n" not in str(caught.value)


def test_the_line_is_the_files_in_every_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BLOCK", 8)
    path = write(tmp_path, lines("a,b", *["1,2"] * 21, "1,x", *["1,2"] * 9))
    with fails("has 'x', which is no number, in line 23."):
        load_csv(path)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = write(tmp_path, text(), "utf-16")
    with fails(f"{path} is no UTF-8 text; save it as CSV in UTF-8."):
        load_csv(path)
    path.write_bytes(b"1,2\n" * 12 + b"1,\xff\n")
    with fails(f"{path} is no UTF-8 text"):
        load_csv(path)
    path.write_text("a" * 200_000 + "\n")
    with fails("cannot be read as .csv: field larger than field limit"):
        load_csv(path)
    with fails("there is no file"):
        load_csv(tmp_path / "none.csv")
    with fails("cannot be read as .csv"):
        load_csv(tmp_path)
    path.write_bytes(os.urandom(4000))
    with fails(str(path)):
        load_csv(path)


def test_an_unnamed_first_column_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_csv(write(tmp_path, lines(",a", *[f"{i},2" for i in range(12)])))
    assert "its first column has no name and is read as a feature" in capsys.readouterr().err
