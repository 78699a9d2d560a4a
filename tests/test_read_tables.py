"""Tables as people write them: what is read, what is said of it, and what is refused by name."""

# ruff: noqa: E501
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaekit._train_options import Data, NewData
from vaekit.data import (
    Dataset,
    DataSpec,
    from_value,
    label_of,
    load,
    prepare,
    read,
)
from vaekit.errors import VaekitError

N = 30


def lines(*rows: str, end: str = "\n") -> str:
    return end.join(rows) + end


def body(row: Callable[[int], str], n: int = N) -> list[str]:
    return [row(i) for i in range(n)]


def read_all(data: Dataset, column: int = 0) -> list[float]:
    """A column in the file's units, in the order of the file: by the rows' lines, or names."""
    values = torch.cat([part.values.units(part.images) for part in data.splits.values()])
    ids = np.concatenate([part.ids for part in data.splits.values()])
    return values[np.argsort([int(str(i).lstrip("row")) for i in ids]), column].tolist()


@dataclass(frozen=True)
class Entry:
    """A file and what is read of it: columns, the first column's values, what is said."""

    text: str | bytes
    columns: str
    first: Sequence[float]
    said: str = ""
    asked: dict[str, Any] = field(default_factory=dict)
    name: str = "t.csv"
    classes: str = ""


FLOATS = [round(0.1 + i * 1.37 % 5, 3) for i in range(N)]
WHOLE = [float(i * 7 % 13) for i in range(N)]
DE = [str(value).replace(".", ",") for value in FLOATS]
NAMED = "the first row names the columns: "
ID = "'id' names the rows and is no feature (`columns='id,...'` keeps it)"

READ = {
    "plain": Entry(lines("a,b", *[f"{v},{i}" for i, v in enumerate(FLOATS)]), "a b", FLOATS),
    "plain without names": Entry(lines(*[f"{v},{i}" for i, v in enumerate(FLOATS)]), "1 2", FLOATS),
    "names 0 1 2 over floats": Entry(
        lines("0,1,2", *[f"{v},{v},{v}" for v in FLOATS]), "0 1 2", FLOATS, NAMED + "0, 1, 2"),
    "years over floats": Entry(
        lines("2019,2020", *[f"{v},{v}" for v in FLOATS]), "2019 2020", FLOATS,
        NAMED + "2019, 2020"),
    "names 0 1 2 over whole numbers": Entry(
        lines("0,1,2", *[f"{v:g},{v:g},3{i}" for i, v in enumerate(WHOLE)]), "0 1 2", WHOLE,
        NAMED + "0, 1, 2"),
    "rows that go on by ones": Entry(
        lines(*body(lambda i: f"{3*i},{3*i+1},{3*i+2}")), "1 2 3", [3.0 * i for i in range(N)]),
    "a series that starts whole": Entry(
        lines(*body(lambda i: f"{i+1},{(i+1)**2+1}")), "1 2", [i + 1.0 for i in range(N)]),
    "index without a name": Entry(
        lines(",a,b", *[f"{i},{v},{i}" for i, v in enumerate(FLOATS)]), "a b", FLOATS,
        "the first column names the rows and is no feature"),
    "index over numbered columns": Entry(
        lines(",0,1", *[f"{i},{v},{v}" for i, v in enumerate(FLOATS)]), "0 1", FLOATS,
        NAMED + ", 0, 1; the first column names the rows and is no feature"),
    "unnamed": Entry(
        lines("Unnamed: 0,a", *[f"{i},{v}" for i, v in enumerate(FLOATS)]), "a", FLOATS,
        "'Unnamed: 0' names the rows and is no feature (`columns='Unnamed: 0,...'` keeps it)"),
    "names of rows by R": Entry(
        lines('"a","b"', *[f'"row{i}",{v},{i}' for i, v in enumerate(FLOATS)]), "a b", FLOATS,
        "the first column names the rows and is no feature"),
    "id": Entry(lines("id,a", *[f"{i + 1},{v}" for i, v in enumerate(FLOATS)]), "a", FLOATS, ID),
    "id as a value": Entry(
        lines("id,a", *[f"{i + 1},{v}" for i, v in enumerate(FLOATS)]), "a id", FLOATS,
        asked={"columns": "a,id"}),
    "id that repeats": Entry(
        lines("a,id", *[f"{v},{i // 2}" for i, v in enumerate(FLOATS)]), "a id", FLOATS,
        "'id' is read as a feature (`drop='id'` leaves it out)"),
    "name": Entry(
        lines("name,a", *[f"row{i},{v}" for i, v in enumerate(FLOATS)]), "a", FLOATS,
        "'name' names the rows and is no feature"),
    "semicolons": Entry(
        lines("a;b", *[f"{v};{v}" for v in FLOATS]), "a b", FLOATS, "cells separated by ';'"),
    "decimal commas": Entry(
        lines("a;b", *[f"{v};{i}" for i, v in enumerate(DE)]), "a b", FLOATS,
        "cells separated by ';'; decimal commas"),
    "decimal commas without names": Entry(
        lines(*[f"{v};{v};{v}" for v in DE]), "1 2 3", FLOATS,
        "cells separated by ';'; decimal commas"),
    "decimal commas late in the file": Entry(
        lines("a;b", *["1;2"] * N, "1,5;2"), "a b", [1.0] * N + [1.5],
        "cells separated by ';'; decimal commas; 'b' is the same in all rows"),
    "tabs": Entry(
        lines("a\tb", *[f"{v}\t{v}" for v in DE]), "a b", FLOATS,
        "cells separated by tabs; decimal commas"),
    "tsv": Entry(lines("a\tb", *[f"{v}\t{v}" for v in FLOATS]), "a b", FLOATS, name="t.tsv"),
    "pipes": Entry(
        lines("a|b", *[f"{v}|{v}" for v in FLOATS]), "a b", FLOATS, "cells separated by '|'"),
    "spaces": Entry(
        lines("a  b", *[f"  {v}   {v}" for v in FLOATS]), "a b", FLOATS,
        "cells separated by spaces"),
    "text of spaces": Entry(lines(*[f" {v}  {v}" for v in FLOATS]), "1 2", FLOATS, name="t.data"),
    "sep=": Entry(lines("sep=;", "a;b", *[f"{v};{v}" for v in FLOATS]), "a b", FLOATS),
    "one column": Entry(lines("x", *DE), "x", FLOATS, "decimal commas"),
    "one column without a name": Entry(
        lines(*DE), "1", FLOATS,
        "one column (`columns='1,2'` reads two of whole numbers); decimal commas"),
    "two columns of whole numbers": Entry(
        lines(*["3,7"] * 9, *body(lambda i: f"{i},{i+5}", 10)), "1 2", [3.0] * 9 + [*map(float, range(10))],
        asked={"columns": "1,2"}),
    "thousands": Entry(
        lines("a,b", *body(lambda i: f'"1,{i:03}",{i}')), "a b", [1000.0 + i for i in range(N)],
        "'a' read with ',' between thousands"),
    "thousands by points": Entry(
        lines("a;b", *body(lambda i: f"1.{i:03};0,{i+1}")), "a b", [1000.0 + i for i in range(N)],
        "cells separated by ';'; decimal commas; 'a' read with '.' between thousands"),
    "percent": Entry(
        lines("a,b", *body(lambda i: f"{i}%,{i}")), "a b", [*map(float, range(N))], "'a' read in percent"),
    "truths": Entry(
        lines("a,b", *body(lambda i: f"{i%2==0},{i}")), "a b", [1.0, 0.0] * 15, "'a' read as 0 and 1"),
    "yes and no": Entry(
        lines("a,b", *body(lambda i: f"{['no','Yes'][i%2]},{i}")), "a b", [0.0, 1.0] * 15,
        "'a' read as 0 and 1"),
    "comments": Entry(
        lines("# made by me", "a,b", "1,2", "# again", *body(lambda i: f"{i},{i}")), "a b",
        [1.0, *map(float, range(N))]),
    "names in a comment": Entry(
        lines("# x, y", *[f"{v},{v}" for v in FLOATS]), "x y", FLOATS,
        "the columns' names are those of the comment: x, y"),
    "trailing commas": Entry(lines("a,b,", *[f"{v},{v}," for v in FLOATS]), "a b", FLOATS),
    "trailing commas below names": Entry(
        lines("a,b", *[f"{v},{v}," for v in FLOATS]), "a b", FLOATS),
    "an empty column": Entry(
        lines("a,b", *[f"{v},?" for v in FLOATS]), "a", FLOATS, "'b' is empty and left out; '?' is a gap"),
    "dates": Entry(
        lines("d,b", *body(lambda i: f"1970-01-{i+1:02},{i}")), "d b", [*map(float, range(N))],
        asked={"date": "d"}),
    "dates by days first": Entry(
        lines("d,b", *body(lambda i: f"{i+1}.01.1970 12:00,{i}")), "d b", [i + 0.5 for i in range(N)],
        asked={"date": "d"}),
    "dates by months first": Entry(
        lines("d,b", *body(lambda i: f"1/{i+1}/1970,{i}")), "d b", [*map(float, range(N))],
        asked={"date": "d"}),
    "a column left out": Entry(
        lines("a,sort", *[f"{v},x{i % 2}" for i, v in enumerate(FLOATS)]), "a", FLOATS,
        asked={"drop": "sort"}),
    "rows with gaps left out": Entry(
        lines("a,b", *body(lambda i: f"{i},{'' if i==7 else i}")), "a b", [*map(float, [*range(7), *range(8, N)])],
        "1 of 30 rows have gaps and are left out", {"missing": "drop"}),
    "gaps of several kinds": Entry(
        lines("a,b", *body(lambda i: f"{[i,'NA','?','-','null',''][min(i%9,5)] if i<9 else i},{i}")), "a b",
        [0.0, *map(float, range(9, N))],
        "'-', '?' are gaps; 8 of 30 rows have gaps and are left out", {"missing": "drop"}),
    "a constant": Entry(
        lines("a,b", *[f"{v},3" for v in FLOATS]), "a b", FLOATS, "'b' is the same in all rows"),
    "a code for gaps": Entry(
        lines("a,b", *body(lambda i: f"{-999 if i%10==7 else i},{i}")), "a b",
        [-999.0 if i % 10 == 7 else float(i) for i in range(N)],
        "'a' has -999 in 3 rows, far from the others: is it a gap?"),
    "times in seconds": Entry(
        lines("a,b", *body(lambda i: f"{1700000000+i},{i}")), "a b", [1.7e9 + i for i in range(N)]),
    "Latin-1": Entry(
        lines("Temp µC;b", *body(lambda i: f"{i};{i}")).encode("latin-1"), "Temp_µC b",
        [*map(float, range(N))], "not UTF-8: read as Western European text (cp1252); cells"),
    "UTF-16": Entry(lines("a,b", *body(lambda i: f"{i},{i}")).encode("utf-16"), "a b", [*map(float, range(N))]),
    "UTF-8 with a mark": Entry(
        lines("a,b", *body(lambda i: f"{i},{i}")).encode("utf-8-sig"), "a b", [*map(float, range(N))]),
    "labels by number": Entry(
        lines(*[f"{v},{v},s{i % 3}" for i, v in enumerate(FLOATS)]), "1 2", FLOATS,
        asked={"label": "3"}, name="t.data", classes="s0 s1 s2"),
    "labels that are whole": Entry(
        lines("a,y", *[f"{v},{[-1.0, 1.0, 1000.0][i % 3]}" for i, v in enumerate(FLOATS)]), "a",
        FLOATS, asked={"label": "y"}, classes="-1 1 1000"),
    "labels as written": Entry(
        lines("a,y", *[f"{v},{['1.0', '2', 'x'][i % 3]}" for i, v in enumerate(FLOATS)]), "a",
        FLOATS, asked={"label": "y"}, classes="1.0 2 x"),
    "labels beyond 2^53": Entry(
        lines("a,y", *[f"{v},{2**53 + i % 4}" for i, v in enumerate(FLOATS)]), "a", FLOATS,
        asked={"label": "y"}, classes=" ".join(str(2**53 + i) for i in range(4))),
    "quotes after spaces": Entry(
        lines("a,y", *[f'{v}, "s{i % 2}, t"' for i, v in enumerate(FLOATS)]), "a", FLOATS,
        asked={"label": "y"}, classes="s0, t s1, t"),
    "labels with spaces": Entry(
        lines("a,y", *[f"{v},{['yes', 'no', ' yes'][i % 3]}" for i, v in enumerate(FLOATS)]), "a",
        FLOATS, "'yes' with and without spaces around is one class", {"label": "y"},
        classes="no yes"),
    "labels of one row each": Entry(
        lines("name,a", *[f"row{i:02},{v}" for i, v in enumerate(FLOATS)]), "a", FLOATS,
        "each row is a class of its own by 'name'", {"label": "name"},
        classes=" ".join(f"row{i:02}" for i in range(N))),
}  # fmt: skip


def write(folder: Path, entry: Entry) -> Path:
    path = folder / entry.name
    path.write_bytes(entry.text if isinstance(entry.text, bytes) else entry.text.encode())
    return path


@pytest.mark.parametrize("name", READ)
def test_tables_are_read_as_a_person_would(tmp_path: Path, name: str) -> None:
    entry = READ[name]
    data = load(write(tmp_path, entry), **entry.asked)
    assert " ".join(each.replace(" ", "_") for each in data.column_names) == entry.columns
    assert read_all(data) == pytest.approx(list(entry.first), rel=1e-6)
    assert (data.said.startswith(entry.said)) if entry.said else (data.said == "")
    assert " ".join(data.class_names) == entry.classes
    assert data.train.images.dtype == torch.float32


REFUSED = {
    "a date": (lines("d,b", *body(lambda i: f"2024-01-{i%28+1:02},{i}")),
               {"kind": "table"}, "column 'd' has '2024-01-01', a date, in line 2. Read it as days by "
               "`date='d'`, or leave it out: `drop='d'`."),
    "days or months": (lines("d,b", *body(lambda i: f"1/2/2024,{i}")), {"date": "d"}, "may be its month"),
    "no date": (lines("d,b", *body(lambda i: f"{i},{i}")), {"date": "d"}, "column 'd' has '0', which is no date"),
    "text": (lines("a,b,c", *body(lambda i: f"x{i},{i},y{i}")), {}, "`drop='a,c'`"),
    "text beside categories": (lines("a,b,c", *body(lambda i: f"x{i},{i},y{i%2}")), {}, "`drop='a'`"),
    "a gap": (lines("a,b", *body(lambda i: f"{i},{'NA' if i==7 else i}")), {},
              "column 'b' has 'NA', a gap, in line 9. Fill the cell, or remove the row: "
              "`missing=drop` leaves such rows out, `missing=mean`"),
    "a gap in a first row without names": (lines("1.5,,3", *body(lambda i: f"{i}.5,{i},3{i}")), {},
              "column '2' is empty in line 1."),
    "a short row": (lines("a,b", *body(lambda i: f"{i},{i}"), "1"), {"missing": "drop"}, "1 cells in line 32"),
    "a label of another file": (lines(*body(lambda i: f"{i}.5,s{i%2}")), {"label": "class"},
                                "Known: 1, 2."),
    "a row as a label": (lines(*body(lambda i: f"{i}.5,s{i%2}")), {"label": "s0"}, "Known: 1, 2."),
    "two roles": (lines("a,b", *body(lambda i: f"{i},{i}")), {"drop": "a", "columns": "a"},
                  "`drop` and `columns` both name 'a'"),
    "no such column": (lines("a,b", *body(lambda i: f"{i},{i}")), {"drop": "c"}, "'c'. Known: a, b."),
    "only names of rows": (lines("id", *body(lambda i: f"{i}")), {}, "('id' names the rows: `columns` makes"),
    "thousands or decimals": (lines("a|b", *body(lambda i: f"1,{i:03}|{i}")), {},
                              "has '1,000', which is 1000 or 1: write it"),
    "two kinds of numbers": (lines("a;b", *body(lambda i: f"{'1.5.' if i==5 else i};{i}")), {},
                             "'1.5.', which is no number, in line 7"),
    "no text": (b"\x89PNG\0\xff\n" * 20, {}, "is no text; save it as CSV in UTF-8"),
    "images": (lines("a,b", *body(lambda i: f"{i},{i}")), {"kind": "gray"}, "does not suit"),
    "not binary": (lines("a,b", *body(lambda i: f"{i},{i}")), {"kind": "binary"}, "is not 0 and 1 only"),
    "no counts": (lines("a,b", *body(lambda i: f"{i-5},{i}")), {"kind": "counts"}, "counts go from 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_a_word_is_refused_in_a_line_that_names_it(tmp_path: Path, name: str) -> None:
    text, asked, message = REFUSED[name]
    path = write(tmp_path, Entry(text, "", []))  # type: ignore[arg-type]
    with pytest.raises(VaekitError) as caught:
        load(path, **asked)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_mean_of_the_training_rows_fills_gaps(tmp_path: Path) -> None:
    path = write(
        tmp_path, Entry(lines("a,b", *body(lambda i: f"{i},{'' if i % 3 == 1 else i}")), "", [])
    )
    data = load(path, missing="mean")
    train = data.train.images[:, 1]
    filled = torch.from_numpy(data.train.images[:, 0].numpy() % 3 == 1)
    assert (train[filled] == train[~filled].mean()).all()
    assert (data.test.images[data.test.images[:, 0] % 3 == 1, 1] == train[filled][0]).all()
    assert data.said == "10 gaps filled with the mean of the column"


@pytest.mark.parametrize("standardize", [True, False])
def test_new_rows_are_filled_and_moved_as_the_training(tmp_path: Path, standardize: bool) -> None:
    rows = body(lambda i: f"{1700000000 + i},{'' if i == 7 else i}")
    path = write(tmp_path, Entry(lines("a,b", *rows), "", []))
    options = Data(data=str(path), missing="mean", standardize=standardize, validation=0)
    made = prepare(load(path, missing="mean"), options)
    spec = DataSpec.from_json(made.spec().to_json())  # as a run keeps it
    path.write_text(lines("b,a", "?,1700000003", "5,1700000031"))
    known = options.model_dump() | {"takes": spec}
    new = read(NewData(**known)).train
    x = spec.values(new.images)
    assert spec.values.inverse(x)[:, 0].tolist() == pytest.approx(
        [1700000003, 1700000031], abs=1e-3
    )
    kept = made.train.images[made.train.images[:, 1] != made.train.images[:, 1].round(), 1]
    assert spec.values.loc is not None
    assert new.images[0, 1].item() == pytest.approx(spec.values.loc[1].item(), rel=1e-6)
    assert len(kept) in (0, 1)


def test_a_dataframe_is_read_as_its_file_is() -> None:
    import pandas

    days = pandas.date_range("1970-01-02", periods=N)
    frame = pandas.DataFrame({"id": range(N), "d": days, "p": [f"{i}%" for i in range(N)]})
    data = from_value(frame, Data(date=("d",)))
    assert (data.column_names, read_all(data)) == (("d", "p"), [i + 1.0 for i in range(N)])
    assert data.said == f"{ID}; 'p' read in percent"
    with pytest.raises(VaekitError, match=r"column 'd' has .*, a date, in row 0"):
        from_value(frame, Data(kind="table"))


def test_splits_of_frames_share_an_offset() -> None:
    import pandas

    frames = [pandas.DataFrame({"t": 1.7e9 + start + np.arange(20.0)}) for start in (0, 1000)]
    data = from_value({"train": frames[0], "test": frames[1]})
    units = data.test.values.units(data.test.images)
    assert units[:, 0].tolist() == frames[1]["t"].tolist()


def test_a_table_of_unlike_columns_that_is_not_standardized_is_said() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 2)) * [1e6, 1e-3]
    assert "`standardize`" in from_value(rows).said
    assert from_value(rows, Data(standardize=True)).said == ""
    assert from_value(rows * [1e-6, 1e3]).said == ""


def test_a_label_is_a_name_and_never_a_place() -> None:
    spec = DataSpec("t", (3,), "table", rows=20, classes=3, context=(3,))
    names = ["-1", "1", "3"]
    assert [label_of(label, spec, names) for label in (-1, "-1", "1.0", 3)] == [0, 0, 1, 2]
    for label in (0, 2, "x"):
        with pytest.raises(VaekitError, match="the labels of t are -1, 1, 3"):
            label_of(label, spec, names)


def test_kinds_that_a_file_does_not_tell(tmp_path: Path) -> None:
    path = write(tmp_path, Entry(lines("a,b", *body(lambda i: f"{i % 2},{i // 2 % 2}")), "", []))
    assert [load(path, kind=kind).kind for kind in ("table", "counts", "binary")] == [
        *("table", "counts", "binary")
    ]
    assert load(path, kind="binary").train.images.unique().tolist() == [0, 255]
