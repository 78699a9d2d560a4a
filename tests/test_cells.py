"""Counts of cells: a library size that the likelihood alone gets, covariates, sparse, .h5ad."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.sparse
import torch
from conftest import Proves
from scipy import stats
from torch import Tensor

import vaekit as vk
from vaekit.cli.main import main
from vaekit.data import DataSpec, SparseRows
from vaekit.errors import VaekitError
from vaekit.parts import OfLibrary
from vaekit.testing import check_family, check_model

N, GENES = 400, 30


def made(rows: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts of two types on two plates, the second three times as deep."""
    draw = np.random.default_rng(seed)
    kind, plate = draw.integers(0, 2, rows), draw.integers(0, 2, rows)
    shares = np.random.default_rng(9).dirichlet(np.full(GENES, 0.4), 2)[kind]
    counts = draw.poisson(shares * (100 * 3.0**plate)[:, None])
    counts[:, 0] += 1
    return counts, kind, plate


def write_cells(
    path: Path, rows: int = N, seed: int = 0, plates: tuple[str, ...] = ("P1", "P2")
) -> np.ndarray:
    """Write an .h5ad as AnnData does; return its counts."""
    import h5py

    counts, kind, plate = made(rows, seed)
    with h5py.File(path, "w") as file:
        matrix = scipy.sparse.csr_array(counts.astype(np.float32))
        x = file.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "shape": matrix.shape})
        for part in ("data", "indices", "indptr"):
            x[part] = getattr(matrix, part)
        obs, var = file.create_group("obs"), file.create_group("var")
        obs.attrs.update({"_index": "_index", "column-order": ["type", "plate"]})
        obs["_index"], obs["type"] = [f"c{i}" for i in range(rows)], [f"t{k}" for k in kind]
        group = obs.create_group("plate")
        group["categories"], group["codes"] = list(plates), plate.astype(np.int8)
        var.attrs["_index"] = "_index"
        var["_index"] = [f"g{i}" for i in range(GENES)]
        file["uns/note"] = "kept"
    return counts


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("cells")
    write_cells(place / "cells.h5ad")
    words = ["--label", "type", "--context", "plate", "--library", "observed", "--epochs", "30"]
    words += ["--likelihood", "zinb", "--latent", "2", "--net", "mlp:hidden=16", "--lr", "0.01"]
    main(["train", "vae", "--data", str(place / "cells.h5ad"), *words, "-o", str(place / "run")])
    return place / "run"


# the family ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family",
    [vk.Poisson(4), vk.NegativeBinomial(4, dispersion="free"), vk.ZeroInflatedNegativeBinomial(4)],
)
def test_means_are_shares_of_the_total(family: Any) -> None:
    wrapped = OfLibrary(family)
    total = torch.tensor([[7.0], [30.0]], dtype=torch.float64)
    check_family(wrapped, context=total)
    params = torch.randn(3, 2, *wrapped.param_shape, dtype=torch.float64)
    p: Any = wrapped(params, total)
    shares = torch.softmax(params[..., :4], -1)
    means = shares * total
    assert torch.allclose(p.log_mean.exp() if hasattr(p, "log_mean") else p.mean, means, rtol=1e-7)
    start = wrapped.start(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    begun: Any = wrapped(start[None], total[:1])
    assert torch.allclose(begun.mean / begun.mean.sum(), torch.arange(1, 5).double() / 10)


def test_a_poisson_of_shares_is_scored_as_by_scipy(proves: Proves) -> None:
    logits, total = torch.tensor([[0.3, -1.0, 2.0]]).double(), torch.tensor([[40.0]]).double()
    x = torch.tensor([[3.0, 0.0, 41.0]]).double()
    shares = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum()
    expected = stats.poisson.logpmf(x.numpy(), 40 * shares).sum(1)
    got = OfLibrary(vk.Poisson(3))(logits, total).log_prob(x)
    proves("OfLibrary of a Poisson, density", "scipy", got, expected, limit=1e-9)


def test_other_families_and_passes_without_a_total_are_refused() -> None:
    for family in (vk.Gaussian(3), vk.Poisson((2, 2))):
        with pytest.raises(VaekitError, match="a library size goes with likelihoods of rows of"):
            OfLibrary(family)
    with pytest.raises(VaekitError, match="give it as the context"):
        OfLibrary(vk.Poisson(3))(torch.zeros(1, 3))


def test_the_total_reaches_the_family_alone() -> None:
    data = DataSpec("t", (5,), "counts", rows=50, context=(3,), library=(1.0, 9.0),
                    covariates={"plate": ("a", "b")})  # fmt: skip
    model: Any = vk.build("vae", data, latent=2, net="mlp:hidden=8").model
    x = torch.randint(0, 9, (6, 5)).float()
    context = torch.cat([torch.eye(2)[torch.tensor([0, 1] * 3)], x.sum(1, keepdim=True)], 1)
    deeper = context.clone()
    deeper[:, 2] *= 10
    q, same = model.posterior(x, context), model.posterior(x, deeper)
    assert torch.equal(q.loc, same.loc)
    z = torch.randn(6, 2)
    p, ten = model.likelihood(z, context), model.likelihood(z, deeper)
    assert torch.allclose(ten.mean, 10 * p.mean, rtol=1e-4)
    assert torch.allclose(p.mean.sum(-1), context[:, 2], rtol=1e-4)
    other = context[:, [1, 0, 2]]
    assert not torch.allclose(model.posterior(x, other).loc, q.loc)
    assert not torch.allclose(model.likelihood(z, other).mean, p.mean)
    check_model(model, x, context)


# a run -----------------------------------------------------------------------------------------


def test_what_is_measured_says_what_it_is_given(run: Path, capsys: pytest.CaptureFixture) -> None:
    main(["evaluate", str(run), "nll:samples=10"])
    line = "ZeroInflatedNegativeBinomial likelihood given plate and the library size"
    assert line in capsys.readouterr().out
    loaded = vk.load(run)
    assert loaded.spec.given == "plate and the library size"
    assert not loaded.conditional
    assert "log p(x | total)" in (run / "report.html").read_text()
    data = loaded.dataset()
    totals = data.train.x().sum(1)
    assert torch.equal(data.train.context[:, 2], totals)  # type: ignore[index]
    assert loaded.spec.library[0] == totals.min()
    assert loaded.spec.library[-1] == totals.max()


def test_samples_have_totals_as_the_training_and_take_values_of_covariates(
    run: Path, tmp_path: Path
) -> None:
    loaded = vk.load(run)
    drawn = loaded.sample(400).sum(1)
    known = loaded.dataset().train.x().sum(1)
    for share in (0.25, 0.5, 0.75):
        low, high = known.quantile(torch.tensor([max(0, share - 0.15), min(1, share + 0.15)]))
        assert low * 0.9 <= drawn.quantile(share) <= high * 1.1
    one = loaded.context(n=3, plate="P2")
    assert one[:, :2].tolist() == [[0, 1]] * 3
    assert loaded.sample(3, context=one).shape == (3, GENES)
    words = ["sample", str(run), "-n", "200", "--given", "plate=P1", "-o", str(tmp_path / "s.csv")]
    main(words)
    assert pandas.read_csv(tmp_path / "s.csv").shape == (200, GENES)
    with pytest.raises(VaekitError, match=r"unknown covariate 'plat'; did you mean 'plate'"):
        loaded.sample(3, covariates={"plat": "P1"})
    with pytest.raises(VaekitError, match=r"unknown plate 'P3'. Known: P1, P2"):
        loaded.context(plate="P3")
    with pytest.raises(VaekitError, match="not conditioned on labels"):
        loaded.sample(3, label="t0")


def test_the_latent_holds_neither_depth_nor_plate(run: Path, tmp_path: Path) -> None:
    loaded = vk.load(run)
    rows = loaded.read(str(run.parent / "cells.h5ad"))
    z = loaded.encode(*rows.batch()).numpy()
    counts, kind, plate = made()
    assert share(z, kind) > 0.8
    assert share(z, plate) < 0.05
    free = vk.train("vae", data=counts.astype(np.int32), latent=2, net="mlp:hidden=16", lr=0.01,
                    likelihood="poisson", epochs=30, batch_size=32, out=tmp_path / "r",
                    lr_schedule="constant", report=False)  # fmt: skip
    assert share(free.encode(counts.astype(np.int32)).numpy(), plate) > 0.5


def share(codes: np.ndarray, groups: np.ndarray) -> float:
    """How much of the variance of a latent in use lies between groups, where that is most."""
    means = np.stack([codes[groups == group].mean(0) for group in groups])
    return float((means.var(0) / codes.var(0) * (codes.var(0) > 0.05)).max())


def test_values_that_were_not_trained_on_are_refused(run: Path, tmp_path: Path) -> None:
    write_cells(tmp_path / "new.h5ad", 20, plates=("P1", "P7"))
    with pytest.raises(VaekitError, match=r"'P7' of plate is none of this run's values.*P1, P2"):
        vk.load(run).read(tmp_path / "new.h5ad")
    with pytest.raises(VaekitError, match="`context=plate` names a column of a table"):
        vk.load(run).read(made(20)[0].astype(np.int32))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"context": "plat"}, "unknown column of obs"),
        ({"context": "none,plate"}, "expected none, or what there is"),
        ({"library": "observed", "likelihood": "gaussian"}, "a library size goes with"),
    ],
)
def test_what_does_not_go_is_refused(how: Any, why: str, tmp_path: Path) -> None:
    write_cells(tmp_path / "c.h5ad", 40)
    with pytest.raises(VaekitError, match=why):
        vk.train("vae", data=tmp_path / "c.h5ad", out=tmp_path / "r", epochs=1, **how)
    with pytest.raises(VaekitError, match="`library` is for counts"):
        vk.train("vae", data="digits", library="observed", out=tmp_path / "r", epochs=1)


def test_columns_of_a_table_are_covariates_and_no_features(tmp_path: Path) -> None:
    counts, kind, plate = made(200)
    frame = pandas.DataFrame(counts[:, :4] / 7.0, columns=list("abcd"))
    frame["site"], frame["sort"] = np.array(["x", "y"])[plate], np.array(["u", "v"])[kind]
    frame.to_csv(tmp_path / "t.csv", index=False)
    how: dict[str, Any] = {"context": "label,site", "label": "sort", "epochs": 1, "report": False}
    run = vk.train("vae", data=tmp_path / "t.csv", out=tmp_path / "r", **how)
    assert run.spec.column_names == ("a", "b", "c", "d")
    assert run.spec.covariates == {"site": ("x", "y")}
    assert run.spec.context == (4,)
    again = vk.load(tmp_path / "r")
    rows = again.read(frame.iloc[:9])
    assert torch.equal(rows.context[:, 2:], torch.eye(2)[plate[:9]].to(torch.uint8))  # type: ignore[index]
    assert torch.equal(again.encode(*rows.batch()), run.encode(frame.iloc[:9]))
    assert again.sample(4, label="v").shape == (4, 4)
    frame.loc[3, "site"] = None
    with pytest.raises(VaekitError, match="column 'site' is empty in row 3"):
        again.read(frame)


# files -----------------------------------------------------------------------------------------


def test_an_h5ad_gets_codes_and_denoised_counts_and_keeps_the_rest(
    run: Path, tmp_path: Path
) -> None:
    import h5py

    source, out = tmp_path / "new.h5ad", tmp_path / "made" / "out.h5ad"
    counts = write_cells(source, 50, seed=4)
    before = source.read_bytes()
    main(["encode", str(run), "--data", str(source), "--denoised", "-o", str(out)])
    assert source.read_bytes() == before
    loaded = vk.load(run)
    rows = loaded.read(source)
    with h5py.File(out) as file, h5py.File(source) as known:
        codes, layer = np.asarray(file["obsm/X_vaekit"]), np.asarray(file["layers/denoised"])
        assert file["uns/note"][()] == b"kept"
        assert np.array_equal(file["X/data"], known["X/data"])
        assert file["obsm"].attrs["encoding-type"] == "dict"
        assert file["layers/denoised"].attrs["encoding-type"] == "array"
    x, context = rows.batch()
    assert np.allclose(codes, loaded.encode(x, context), atol=1e-6)
    assert np.allclose(layer, loaded.reconstruct(x, context), rtol=1e-4, atol=1e-5)
    assert layer.dtype == np.float32
    shares = layer.sum(1) / counts.sum(1)
    assert 0.7 < shares.min() <= shares.max() <= 1 + 1e-4
    assert [path.name for path in out.parent.iterdir()] == ["out.h5ad"]
    main(["encode", str(run), "--data", str(out), "-o", str(out), "--overwrite"])  # on itself
    with h5py.File(out) as file:
        assert np.array_equal(file["obsm/X_vaekit"], codes)


def test_genes_that_a_run_does_not_take_are_nan(run: Path, tmp_path: Path) -> None:
    import h5py

    write_cells(tmp_path / "few.h5ad", 60)
    few = tmp_path / "more.h5ad"
    write_cells(few, 30)
    with h5py.File(few, "r+") as file:
        matrix = np.zeros((30, GENES + 2), np.float32)
        matrix[:, 2:] = made(30)[0]
        del file["X"], file["var/_index"]
        file["X"], file["var/_index"] = matrix, ["p", "q", *(f"g{i}" for i in range(GENES))]
    out = tmp_path / "out.h5ad"
    main(["encode", str(run), "--data", str(few), "--denoised", "-o", str(out)])
    with h5py.File(out) as file:
        layer = np.asarray(file["layers/denoised"])
    assert np.isnan(layer[:, :2]).all()
    loaded = vk.load(run)
    assert np.allclose(layer[:, 2:], loaded.reconstruct(*loaded.read(few).batch()), rtol=1e-4)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-o", "codes.csv", "--denoised"], "--denoised goes into an .h5ad"),
        (["-o", "out.h5ad"], "would be a copy of an .h5ad: name that, as --data cells.h5ad"),
    ],
)
def test_an_h5ad_is_made_of_one(
    run: Path, words: list[str], why: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        main(["encode", str(run), *words])
    assert why in capsys.readouterr().err


def test_sparse_rows_are_dense_by_batch_alone(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From reading to training, scores, codes and neighbors: never all rows at once."""
    rows, width = 3000, 4000
    draw = np.random.default_rng(0)
    matrix = scipy.sparse.random_array((rows, width), density=0.002, rng=draw, dtype=np.float64)
    matrix = scipy.sparse.csr_array((5 * matrix).ceil())
    scipy.sparse.save_npz(tmp_path / "c.npz", matrix)
    largest, plain = [0], SparseRows.pick

    def watched(self: SparseRows, index: Tensor) -> Tensor:
        dense = plain(self, index)
        largest[0] = max(largest[0], dense.numel())
        return dense

    def refused(self: Any, *_: Any, **__: Any) -> None:
        raise AssertionError("a sparse matrix became dense")

    monkeypatch.setattr(SparseRows, "pick", watched)
    for name in ("toarray", "todense"):
        monkeypatch.setattr(scipy.sparse.csr_array, name, refused)
        monkeypatch.setattr(scipy.sparse.csr_matrix, name, refused)
    how: dict[str, Any] = {"library": "observed", "epochs": 1, "batch_size": 128, "latent": 2}
    how |= {"report": False, "validation": 200, "test": 200}
    made = vk.train("vae", data=tmp_path / "c.npz", net="mlp:hidden=4", out=tmp_path / "r", **how)
    assert isinstance(made.dataset().train.images, SparseRows)
    path = str(tmp_path / "c.npz")
    made.score(path, samples=1)
    for command in ("encode", "neighbors"):
        main([command, str(tmp_path / "r"), "--data", path, "-o", str(tmp_path / f"{command}.csv")])
    assert 0 < largest[0] <= 0.4 * rows * width, largest
    assert math.isfinite(made.evaluate("nll:samples=2")["elbo"])
