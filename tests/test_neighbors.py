"""Neighbors by codes are those of scikit-learn, and can be joined to rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors

import vaekit
from vaekit.cli.main import main
from vaekit.errors import VaekitError
from vaekit.evaluate import nearest_codes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("neighbors") / "run"
    vaekit.train("vae", data="digits", latent=3, epochs=2, report=False, out=path, limit=200)
    return path


@pytest.mark.parametrize("block", [1, 1 << 24])
def test_they_are_those_of_scikit_learn(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaekit.evaluate._neighbors.BLOCK", block)
    codes, among = torch.randn(30, 4), torch.randn(50, 4)
    distance, index = nearest_codes(codes, among, 7)
    known = NearestNeighbors(n_neighbors=7).fit(among.numpy())
    expected, places = known.kneighbors(codes.numpy())
    assert np.allclose(distance, expected, atol=1e-5)
    assert np.array_equal(index, places)
    own, first = nearest_codes(codes, codes, 2, own=torch.arange(30))
    assert not (first == torch.arange(30)[:, None]).any()
    assert (own > 0).all()
    for k in (0, 51):
        with pytest.raises(VaekitError, match=f"`k={k}`; expected 1 to 50"):
            nearest_codes(codes, among, k)


def test_a_table_joins_neighbors_to_rows_and_classes(run: Path, tmp_path: Path) -> None:
    main(["neighbors", str(run), "-k", "3", "-o", str(tmp_path / "n.csv")])
    table = pandas.read_csv(tmp_path / "n.csv")
    loaded = vaekit.load(run)
    data = loaded.dataset()
    assert len(table) == 3 * len(data.test)
    assert table["rank"].tolist()[:4] == [1, 2, 3, 1]
    codes = {n: loaded.encode(*part.batch()) for n, part in data.splits.items()}
    assert data.test.ids is not None
    assert data.train.ids is not None
    assert data.train.labels is not None
    place = {int(id_): i for i, id_ in enumerate(data.train.ids)}
    where = [place[neighbor] for neighbor in table["neighbor"]]
    apart = (codes["test"].repeat_interleave(3, 0) - codes["train"][where]).norm(dim=1)
    assert np.allclose(table["distance"], apart, atol=1e-4)
    assert table["label"].tolist() == data.train.labels[where].tolist()


def test_new_rows_among_new_rows_and_a_sheet(run: Path, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (12, 8, 8)).astype("u1")
    np.save(tmp_path / "new.npy", rows)
    words = ["neighbors", str(run), "--data", str(tmp_path / "new.npy"), "-k", "1"]
    main([*words, "--among", str(tmp_path / "new.npy"), "-o", str(tmp_path / "n.csv")])
    table = pandas.read_csv(tmp_path / "n.csv")
    assert (table["row"] == table["neighbor"]).all()  # another reading of the same rows
    assert np.allclose(table["distance"], 0, atol=1e-4)
    main([*words, "-o", str(tmp_path / "n.png")])
    with Image.open(tmp_path / "n.png") as sheet:
        assert sheet.height > 12 * 8
    loaded = vaekit.load(run)  # new rows are floats, training rows bytes: both in [0, 1]
    new, train = loaded.read(rows.astype("f4") / 255), loaded.dataset().train
    found = vaekit.report.neighbors(loaded, new, train, 1)
    seen = vaekit.report.neighbor_images(loaded, found, new, train)
    assert torch.allclose(seen[:, 0, 0], torch.from_numpy(rows) / 255, atol=1e-6)
    assert torch.equal(seen[:, 1], train.x(found[1][:, 0]))
    with pytest.raises(SystemExit):
        main([*words, "-k", "999"])
