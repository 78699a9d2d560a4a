"""Mixed tables: what columns are taken for, and rows there and back, in the form of the file."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

import vaekit
from vaekit._train_options import Data
from vaekit.cli.main import main
from vaekit.data import DataSpec, from_value, load, prepare
from vaekit.errors import VaekitError

LEVELS = np.array(["school", "some college", "bachelor", "master"])


def adults(n: int, seed: int = 0, gaps: float = 0.0) -> pandas.DataFrame:
    """Rows whose columns depend on each other in known ways, as those of a census do."""
    draw = np.random.default_rng(seed)
    age = np.clip(draw.gamma(6, 6.5, n) + 17, 17, 90).round().astype(int)
    level = np.digitize((age - 38) / 25 + draw.normal(size=n), [-0.6, 0.4, 1.2])
    sex = np.where(draw.random(n) < 0.55, "male", "female")
    private, public = draw.random(n) < 0.6 - 0.12 * level, draw.random(n) < 0.6
    hours = 38 + 2.5 * level + 3 * (sex == "male") + 6 * draw.normal(size=n)
    hours = np.clip(hours, 5, 80).round().astype(int)
    gain = np.exp(5 + 0.5 * level + 0.02 * (age - 40) + 0.7 * draw.normal(size=n)).round(2)
    score = -4.8 + 1.8 * level + 0.08 * (hours - 40) + 0.06 * (age - 40) + 1.3 * (sex == "male")
    score += 0.8 * (np.log(gain) - 5)
    days = 365 * (20 - (age - 17) / 4) + 400 * draw.normal(size=n)
    since = pandas.Timestamp("2000-01-01") + pandas.to_timedelta(days.round(), unit="D")
    columns = {
        "age": age,
        "education": LEVELS[level],
        "sex": sex,
        "sector": np.where(private, "private", np.where(public, "public", "self")),
        "hours": hours,
        "visits": draw.poisson(np.exp(0.3 + 0.4 * level)),
        "gain": gain,
        "since": since.strftime("%d.%m.%Y"),
        "income": np.where(draw.random(n) < 1 / (1 + np.exp(-score)), ">50K", "<=50K"),
    }
    frame = pandas.DataFrame(columns)
    if gaps:
        whole = dict.fromkeys(("age", "hours", "visits"), "Int64")
        frame = frame.astype(whole).mask(draw.random(frame.shape) < gaps)
    return frame


KINDS = {"gain": "log", "visits": "count"}


def columns_of(data: Any) -> dict[str, str]:
    return {column.name: column.kind for column in data.columns}


def test_kinds_are_seen_said_and_turned() -> None:
    data = from_value(adults(400))
    seen = {
        "age": "integer", "education": "category", "sex": "binary", "sector": "category",
        "hours": "integer", "visits": "integer", "gain": "numeric", "since": "date",
        "income": "binary",
    }  # fmt: skip
    assert (data.kind, columns_of(data)) == ("mixed", seen)
    assert data.said == (
        "'age', 'hours', 'visits' integer, 'education' category of 4, 'sex', 'income' binary, "
        "'sector' category of 3, 'gain' numeric, 'since' date"
    )
    assert columns_of(from_value(adults(400), Data(kinds=KINDS))) == seen | KINDS
    spec = data.spec()
    assert spec.shape == (14,)
    assert spec.place_names[1:5] == tuple(f"education={each}" for each in sorted(LEVELS))
    assert DataSpec.from_json(json.loads(json.dumps(spec.to_json()))).columns == spec.columns


def test_numbers_alone_are_a_table_as_before_unless_kinds_are_asked_for() -> None:
    numbers = adults(400)[["age", "hours", "gain"]].assign(ok=["yes", "no"] * 200)
    plain = from_value(numbers)
    assert (plain.kind, plain.columns, plain.train.images.shape[1]) == ("table", (), 4)
    data = from_value(numbers, Data(kinds="gain=quantile"))
    expected = {"age": "integer", "hours": "integer", "gain": "quantile", "ok": "binary"}
    assert columns_of(data) == expected
    assert data.columns[3].categories == ("no", "yes")
    told = Data(kinds={"hours": "category"})
    assert columns_of(from_value(numbers, told))["hours"] == "category"


@pytest.mark.parametrize("kinds", [{}, KINDS, {"gain": "quantile", "hours": "category"}])
@pytest.mark.parametrize("gaps", [0.0, 0.1])
def test_rows_are_what_they_were_after_the_way_back(
    tmp_path: Path, kinds: dict[str, str], gaps: float
) -> None:
    frame = adults(400, gaps=gaps)
    frame.to_csv(tmp_path / "a.csv", index=False)
    how = Data(kinds=kinds, missing="allow", data=str(tmp_path / "a.csv"), validation=0)
    for source in (load(tmp_path / "a.csv", **how.model_dump(include={"kinds", "missing"})),
                   from_value(frame, how.model_copy(update={"data": "digits"}))):  # fmt: skip
        data = prepare(source, how)
        spec = data.spec()
        rows = data.train
        assert rows.ids is not None
        back = pandas.DataFrame(spec.columns_of(rows.x()))
        first = 2 if source.note != "given" else 0  # lines of the file, after its header
        expected = frame.iloc[np.asarray(rows.ids, int) - first].reset_index(drop=True)
        for name in frame:
            seen = expected[name].notna().to_numpy()
            got, wanted = back[name][seen], expected[name][seen]
            if pandas.api.types.is_numeric_dtype(wanted):
                digits = 2e-4 if name == "gain" else 0
                assert np.allclose(got.astype(float), wanted.astype(float), rtol=digits)
            else:
                assert got.astype(str).tolist() == wanted.astype(str).tolist(), name


def test_a_gap_is_one_in_all_places_of_a_category() -> None:
    frame = adults(300)
    frame.loc[7, "education"] = None
    for missing, count in (("allow", 300), ("drop", 299)):
        data = from_value(frame, Data(missing=missing, test=0))
        rows = data.train.images
        assert isinstance(rows, torch.Tensor)
        assert len(rows) == count
        lost = rows.isnan()
        assert lost.sum() == (4 if missing == "allow" else 0)
    with pytest.raises(VaekitError, match="column 'education' is empty in row 7"):
        from_value(frame)
    with pytest.raises(VaekitError, match="`missing=mean` has no mean of a category"):
        from_value(frame, Data(missing="mean"))


FRAME = adults(200)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"kinds": "age=number"}, r"^unknown kind of column 'number'.* Known: numeric, int"),
        ({}, {"kinds": "age"}, "got `kinds='age'`; expected NAME=KIND,..., as age=numeric"),
        ({}, {"kinds": "age=log,age=count"}, "^`kinds` names 'age' twice"),
        ({}, {"kinds": "agee=log"}, "unknown column of data 'agee'; did you mean 'age'"),
        ({}, {"kinds": "sex=binary", "label": "sex"}, "`kinds` names 'sex', which is no feature"),
        ({}, {"kinds": "age=log", "kind": "counts"}, "leave `kind`, or `kinds`"),
        ({}, {"kinds": "sex=numeric"}, r"column 'sex' has '(fe)?male', which is no number, in row"),
        ({}, {"kinds": "education=binary"}, "is binary and has '.*', a third value, in row"),
        ({}, {"kinds": "hours=date"}, r"column 'hours' has \d+, which is no date, .*Leave `kinds`"),
        ({"age": -1}, {"kinds": "age=count"}, "counts and has -1, in row 3. .*`kinds=age=numeric`"),
        ({"gain": 0.5}, {"kinds": "gain=count"}, "column 'gain' counts and has"),
        ({"gain": -2.0}, {"kinds": "gain=log"}, r"column 'gain' is log and has -2.0, in row 3."),
        ({"gain": 0.5}, {"kinds": "gain=integer"}, "column 'gain' is integer and has"),
        ({"sex": [f"s{i}" for i in range(200)]}, {}, "'s0', which is no number.*`kinds='sex=cat"),
        ({"age": ["x", *"1" * 199]}, {}, "column 'age' has 'x', which is no number, in row 0"),
        ({}, {"standardize": False}, "numbers of a mixed table are standardized"),
    ],
)  # fmt: skip
def test_what_does_not_suit_is_one_line(
    change: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    frame = FRAME.copy()
    for name, value in change.items():
        if isinstance(value, list):
            frame[name] = value
        else:
            frame.loc[3, name] = value
    with pytest.raises(VaekitError, match=message) as caught:
        prepare(from_value(frame, Data(**options)), Data(**options))
    assert "\n" not in str(caught.value)


def test_kinds_are_of_tables() -> None:
    for data in (np.random.default_rng(0).random((30, 1, 8, 8)), np.ones((30, 2))):
        with pytest.raises(VaekitError, match="`kinds` is for tables of named columns"):
            vaekit.train("vae", data=data, kinds={"a": "log"})


@pytest.mark.parametrize(
    "damage",
    [
        {"columns": []},
        {"columns": [{"name": "age", "kind": "integer"}]},
        {"columns": [{"name": "age", "kind": "numbers"}]},
        {"column_names": ["age"]},
        {"kind": "table"},
        {"values": {"warps": [{"place": 99, "how": "log", "spread": 1.0}]}},
        {"values": {"warps": [{"place": 0, "how": "quantile", "spread": 1.0}]}},
        {"values": {"warps": [{"place": 0, "how": "quantile", "spread": 1.0,
                               "knots": [[0.0, 0.0], [0.0, 1.0]]}]}},
    ],
)  # fmt: skip
def test_a_damaged_record_of_columns_is_one_line(damage: dict[str, Any]) -> None:
    record = prepare(from_value(adults(200)), Data()).spec().to_json()
    damage = {**damage, "values": {**record["values"], **damage.get("values", {})}}
    with pytest.raises(VaekitError, match=r"fit|kind of column"):
        DataSpec.from_json({**record, **damage})


def test_test_rows_of_another_file_or_frame_have_the_categories_of_training() -> None:
    train, test = adults(300), adults(60, seed=1)
    data = from_value({"train": train, "test": test[test.education == "master"]})
    assert data.test.images.shape[1:] == (14,)
    test.loc[4, "sector"] = "sea"
    with pytest.raises(VaekitError, match="'sea', which is none of the training's categories, in"):
        from_value({"train": train, "test": test})


def errors(real: pandas.DataFrame, made: pandas.DataFrame) -> dict[str, float]:
    """How far pairs of columns are from the real ones, on average: total variation of two
    categories, difference of the correlation ratio of a category and a number, and of
    correlations of numbers."""
    texts = ["education", "sex", "sector", "income"]
    a, b = map(numbers, (real, made))
    of = [name for name in a if name not in texts]

    def apart(x: str, y: str) -> float:
        p, q = (frame.groupby([x, y]).size() / len(frame) for frame in (a, b))
        return float(p.sub(q, fill_value=0).abs().sum() / 2)

    def ratio(frame: pandas.DataFrame, x: str, y: str) -> float:
        return float(np.sqrt(frame.groupby(x)[y].transform("mean").var() / frame[y].var()))

    return {
        "categories": np.mean([apart(*pair) for pair in itertools.combinations(texts, 2)]),
        "both": np.mean([abs(ratio(a, x, y) - ratio(b, x, y)) for x in texts for y in of]),
        "numbers": float((a[of].corr() - b[of].corr()).abs().to_numpy().mean()),
    }


def numbers(frame: pandas.DataFrame) -> pandas.DataFrame:
    days = pandas.to_datetime(frame["since"], format="%d.%m.%Y") - pandas.Timestamp(0)
    return frame.assign(since=days.dt.days.astype(float), gain=np.log(frame["gain"]))


def accuracy(train: pandas.DataFrame, test: pandas.DataFrame) -> float:
    """Of a classifier of income that learns from some rows, on others."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    both = pandas.concat([numbers(train), numbers(test)])
    x = pandas.get_dummies(both.drop(columns="income")).to_numpy(float)
    y, n = both["income"].to_numpy(), len(train)
    return HistGradientBoostingClassifier(max_iter=50).fit(x[:n], y[:n]).score(x[n:], y[n:])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run on a file with some gaps, with all defaults but for two kinds."""
    path = tmp_path_factory.mktemp("mixed")
    adults(3000, gaps=0.02).to_csv(path / "adults.csv", index=False)
    words = f"train vae --data {path}/adults.csv --missing allow --kinds gain=log,visits=count"
    main([*words.split(), "--out", str(path / "run"), "--no-report"])
    return vaekit.load(path / "run")


def test_synthetic_rows_keep_what_columns_have_to_do_with_each_other(run: Any) -> None:
    real, others = adults(3000), adults(3000, seed=1)
    out = run.path / "new.csv"
    main(["sample", str(run.path), "-n", "3000", "-o", str(out)])
    made = pandas.read_csv(out)
    apart = pandas.DataFrame(
        {name: real[name].sample(frac=1, random_state=i).array for i, name in enumerate(real)}
    )
    found, independent, drawn = (errors(others, each) for each in (made, apart, real))
    rows = zip(*(each.values() for each in (found, independent, drawn)), strict=True)
    report = [
        f"{n}: {a:.3f}, independent {b:.3f}, real {c:.3f}"
        for n, (a, b, c) in zip(found, rows, strict=True)
    ]
    assert found["categories"] < 0.6 * independent["categories"]
    assert found["both"] < 0.25 * independent["both"]
    assert found["numbers"] < 0.25 * independent["numbers"]
    right, best, chance = (accuracy(each, others) for each in (made, real, apart))
    report += [f"accuracy: {right:.3f}, independent {chance:.3f}, real {best:.3f}"]
    sys.stdout.write("\n".join(["", *report, ""]))
    assert right > best - 0.05
    assert chance < best - 0.15
    assert made.columns.tolist() == real.columns.tolist()
    assert (made.dtypes == real.dtypes).all()
    for name in ("education", "sex", "sector", "income"):
        assert {*made[name]} == {*real[name]}
    assert made["age"].between(real["age"].min(), real["age"].max()).all()
    assert pandas.to_datetime(made["since"], format="%d.%m.%Y").notna().all()


def test_a_run_on_a_mixed_table_is_used_as_any_other(run: Any, tmp_path: Path) -> None:
    new = adults(40, seed=2)
    new.to_csv(tmp_path / "new.csv", index=False)
    holes = np.random.default_rng(3).random(new.shape) < 0.3
    whole = dict.fromkeys(("age", "hours", "visits"), "Int64")
    new.astype(whole).mask(holes).to_csv(tmp_path / "holes.csv", index=False)
    for words in (
        "impute --data holes.csv -o filled.csv",
        "reconstruct -n 40 --data new.csv -o again.csv",
        "encode --data new.csv -o codes.csv",
        "score --data new.csv -o scores.csv",
        "neighbors --data new.csv -o near.csv",
        "evaluate nll:samples=5",
        "evaluate synthetic",
    ):
        command, *rest = words.replace(" new.csv", f" {tmp_path}/new.csv").split()
        rest = [f"{tmp_path}/{w}" if w.endswith(".csv") and "/" not in w else w for w in rest]
        main([command, str(run.path), *rest])
    filled = pandas.read_csv(tmp_path / "filled.csv")
    for i, name in enumerate(new):
        seen = ~holes[:, i]
        assert filled[name][seen].tolist() == new[name][seen].tolist(), name
    assert filled.notna().all(axis=None)
    assert {*filled["education"]} <= {*LEVELS}
    again = pandas.read_csv(tmp_path / "again.csv")
    assert (again["sex"] == new["sex"]).mean() > 0.6
    assert pandas.read_csv(tmp_path / "codes.csv").shape[0] == 40
    scores = pandas.read_csv(tmp_path / "scores.csv")
    assert {*scores["column1"]} <= {*new.columns}


def test_a_strange_category_and_a_strange_pair_stand_out(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    new = adults(40, seed=2)
    new.loc[5, ["age", "since"]] = [20, "01.01.1990"]  # who began after 60 years
    found = run.score(new, samples=20)
    assert int(np.argmax(found["nll"])) == 5
    assert found["column1"][5] in ("since", "age")
    new.loc[5, "sector"] = "sea"
    with pytest.raises(VaekitError, match="column 'sector' has 'sea', which is none of the train"):
        run.new_data(new.iloc[:, ::-1], missing="refuse")
    rows = run.read(new).x()  # where gaps are allowed, it is one
    assert "'sea' is no category of 'sector' in training: taken for a gap" in caplog.text
    assert rows[5].isnan().nonzero().flatten().tolist() == [6, 7, 8]


def test_columns_come_in_any_order_and_types(run: Any) -> None:
    new = adults(30, seed=4)
    first = run.read(new).x()
    assert torch.equal(run.read(new.iloc[:, ::-1]).x(), first)
    other = new.astype({"sex": "category", "age": float}).assign(label="x")
    with pytest.raises(VaekitError, match="has the column 'label'; this run takes age, education"):
        run.read(other)
    assert torch.equal(run.read(other.drop(columns="label")).x(), first)


def test_runs_of_other_kinds_compare_and_a_saved_one_draws_the_same(run: Any) -> None:
    """Their bounds are of the same numbers, and the test rows of the file are the same."""
    path = run.path.parent / "plain"
    words = f"train vae --data {run.path.parent}/adults.csv --missing allow --kinds visits=count"
    main([*words.split(), "--epochs", "10", "--out", str(path), "--no-report"])
    main(["compare", str(run.path), str(path), "--out", str(path.parent / "compare.html")])
    assert "The bound (ELBO) differs by" in (path.parent / "compare.html").read_text()
    plain = vaekit.load(path)
    gain = plain.evaluate()["elbo"], run.evaluate()["elbo"]
    assert gain[1] > gain[0] + 0.3  # a logarithm suits log-normal numbers
    counted = run.path.parent / "counted"  # or not: a density of visits is no probability of them
    words = words.replace(",visits=count", "").replace("visits=count", "visits=numeric")
    main([*words.split(), "--epochs", "1", "--out", str(counted), "--no-report"])
    main(["compare", str(path), str(counted), "--out", str(path.parent / "unlike.html")])
    assert "their bounds are not comparable" in (path.parent / "unlike.html").read_text()
    saved = vaekit.load(run.save(run.path.parent / "saved.vaekit"))
    drawn = [each.sample(5, seed=1, prior="model") for each in (run, saved)]
    assert torch.equal(*drawn)
    assert saved.spec.to_json() == run.spec.to_json()
    columns = [
        {n: v.tolist() for n, v in each.spec.columns_of(drawn[0]).items()} for each in (run, saved)
    ]
    assert columns[0] == columns[1]


def test_a_mixed_table_conditions_on_a_label(tmp_path: Path) -> None:
    how: dict[str, Any] = {"kinds": KINDS, "label": "income", "net": "mlp:hidden=8"}
    how |= {"out": tmp_path / "r", "report": False, "epochs": 1}
    run = vaekit.train("cvae", data=adults(400), **how)
    assert run.class_names == ["<=50K", ">50K"]
    assert "income" not in run.spec.columns_of(run.sample(3, label=">50K"))
    resumed = vaekit.resume(tmp_path / "r", data=adults(400), epochs=2, report=False)
    assert len(resumed.folder.records()) == 2


def test_digits_that_are_a_category_keep_their_zeros(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    codes = np.array(["01234", "00010", "99999"])[draw.integers(0, 3, 100)]
    frame = pandas.DataFrame({"zip": codes, "x": draw.normal(size=100)})
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = load(tmp_path / "a.csv", kinds={"zip": "category"})
    assert data.columns[0].categories == ("00010", "01234", "99999")
    assert load(tmp_path / "a.csv").kind == "table"


def test_dates_of_new_rows_are_in_the_form_of_the_training() -> None:
    """Alone, 02/03/2024 may be of March or of February."""
    draw = np.random.default_rng(0)
    days = pandas.Timestamp("2024-01-01") + pandas.to_timedelta(np.arange(100), unit="D")
    train = pandas.DataFrame({"d": days.strftime("%m/%d/%Y"), "x": draw.normal(size=100)})
    test = train[62:63].assign(d="03/03/2024")
    data = from_value({"train": train, "test": test.assign(d="02/03/2024")})
    assert isinstance(data.test.images, torch.Tensor)
    assert data.test.images[0, 0] == (pandas.Timestamp("2024-02-03") - pandas.Timestamp(0)).days
    with pytest.raises(VaekitError, match=r'data\["test"\] has the columns d; expected d, x'):
        from_value({"train": train, "test": test[["d"]]})


def test_large_numbers_and_names_with_commas(tmp_path: Path) -> None:
    """Seconds since 1970 are more than float32 holds; written, draws are within the training's."""
    draw = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {"at, s": 1.7e9 + draw.integers(0, 5000, 300), "sort": ["a", "b"] * 150}
    )
    how: dict[str, Any] = {"kinds": {"at, s": "quantile"}, "net": "mlp:hidden=8", "epochs": 1}
    run = vaekit.train("vae", data=frame, out=tmp_path / "r", report=False, **how)
    for each in (run, vaekit.load(tmp_path / "r", data=frame)):
        columns = each.spec.columns_of(torch.tensor([[-9.0, 0], [0, 1], [9, 1]]))
        low, middle, high = columns["at, s"]
        assert frame["at, s"].min() == low
        assert frame["at, s"].max() == high
        assert abs(middle - frame["at, s"].median()) < 300
    assert Data(kinds="at, s=log,b=count").kinds == ("at, s=log", "b=count")
