"""Metrics of samples: what is compared with what, by which features, and what is refused."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch import Tensor, nn

import vaekit
from vaekit import Run, VaekitError
from vaekit.cli.main import main
from vaekit.data import load
from vaekit.evaluate import Classifier, measured
from vaekit.metrics import frechet, kid, prdc
from vaekit.registry import find

SMALL: dict[str, Any] = {"latent": 4, "net": "mlp:hidden=64", "report": False, "data": "digits"}
MODULE = "vaekit.evaluate._samples"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path))
        yield path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vaekit.train("vae", out=tmp_path_factory.mktemp("samples") / "r", epochs=40, **SMALL)


class Pixels(nn.Module):
    """Its features are the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Wrong(nn.Module):
    """Its features are none."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum()


def script(net: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings(action="ignore"):  # that it is old
        torch.jit.script(net).save(str(path))
    return path


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return script(Pixels(), tmp_path_factory.mktemp("files") / "pixels.pt")


def measure(run: Run, name: str, split: str = "test", **how: Any) -> dict[str, Any]:
    """A metric of a run, whose samples may be others."""
    sample = how.pop("sample", None)
    source = run.source()
    subject = run.subject(run.prepared(source), split, source=source, sha256=run.sha256, seed=3)
    subject = subject if sample is None else replace(subject, sample=sample)
    return measured(subject, {name: find("metric", name)(**how)})[name]


def noise(n: int, context: Tensor | None, **how: Any) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(how["seed"]))


def test_a_metric_is_that_of_the_arrays(run: Run, pixels: Path) -> None:
    """The features of a file that leaves pixels as they are."""
    data = run.dataset()
    real, train = (part.x().flatten(1) for part in (data.test, data.train))
    train = train[torch.arange(len(real)) * len(train) // len(real)]
    known = torch.rand(len(real), 1, 8, 8)
    drawn, places = known.flatten(1), iter(range(2))

    def sample(n: int, context: Any, **how: Any) -> Tensor:
        assert (context, how["mean"], how["prior"]) == (None, True, "model")
        return known[next(places) * 500 :][:n]

    for name, distance in (("frechet", frechet), ("kid", kid), ("prdc", prdc)):
        places = iter(range(2))
        found = measure(run, name, sample=sample, features=str(pixels))
        wanted, floor = distance(drawn, real, seed=3), distance(train, real, seed=3)
        assert {key: found[key] for key in wanted} == pytest.approx({**wanted}, rel=1e-9)
        parts = [key for key in floor if f"{key}_standard_error" in floor]
        assert [found[f"{key}_train"] for key in parts] == pytest.approx([floor[k] for k in parts])
        assert (found["samples"], found["features"]) == (len(real), "pixels.pt")


def test_principal_components_are_those_of_training_rows(run: Run) -> None:
    data = load("digits")  # all that the set has, whatever the run left for validation
    train, real = (part.x().flatten(1).double().numpy() for part in (data.train, data.test))
    axes = np.linalg.svd(train - train.mean(0), full_matrices=False)[2]
    drawn = run.sample(len(real), prior="model", mean=True).flatten(1).double().numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.evaluate._features.COMPONENTS", 6)
        how: Any = {"features": "pca", "sample": lambda *_, **__: torch.from_numpy(drawn).float()}
        found, kernel = (measure(run, name, **how) for name in ("frechet", "kid"))
    ours, theirs = ((x - train.mean(0)) @ axes[:6].T for x in (drawn, real))
    assert found["distance"] == pytest.approx(frechet(ours, theirs).distance, rel=1e-4)
    wanted = kid(ours, theirs, seed=3)  # of a kernel that knows where 0 is
    assert kernel["distance"] == pytest.approx(wanted.distance, rel=1e-3)
    assert "6 principal components of pixels, of 1,497 training rows" in found["how"]


def test_components_of_wide_counts_are_those_of_standardized_logarithms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaekit.evaluate._features.COMPONENTS", 4)
    rng = np.random.default_rng(0)
    rates = rng.gamma(2.0, size=(400, 9)) * np.geomspace(0.3, 300, 9)
    how: Any = {"data": rng.poisson(rates).astype(np.float32), "kind": "counts"}
    run = vaekit.train("vae", out=tmp_path / "r", epochs=1, **SMALL | how)
    data = run.source()  # with the rows that the run left for validation
    train, real = (np.log1p(part.x().double().numpy()) for part in (data.train, data.test))
    drawn = rng.poisson(rates[: len(real)] * 1.5)
    found = measure(run, "frechet", features="pca", sample=lambda *_, **__: torch.tensor(drawn))
    loc, scale = train.mean(0), train.std(0, ddof=1)
    axes = np.linalg.svd((train - loc) / scale, full_matrices=False)[2][:4]
    ours, theirs = (((x - loc) / scale) @ axes.T for x in (np.log1p(drawn), real))
    assert found["distance"] == pytest.approx(frechet(ours, theirs).distance, rel=1e-3)
    assert "4 principal components of standardized columns" in found["how"]


def test_what_features_are_made_of_is_said_and_bounded(run: Run, monkeypatch: Any) -> None:
    untrained = Classifier((1, 8, 8), 10)
    monkeypatch.setattr("vaekit.evaluate._features.cached_classifier", lambda *_, **__: untrained)
    monkeypatch.setattr("vaekit.evaluate._features.ROWS", 200)
    for features, words in (
        ("classifier", "trained on 200 training rows"),
        ("pca", "all 64 pixels"),
    ):
        assert words in measure(run, "kid", features=features, sample=noise)["how"]
    monkeypatch.setattr("vaekit.evaluate._features.COMPONENTS", 6)
    found = measure(run, "kid", features="pca", sample=noise)
    assert "6 principal components of pixels, of 200 training rows" in found["how"]


@pytest.mark.parametrize("features", ["classifier", "pca", "random"])
def test_training_rows_are_nearest_then_samples_then_noise(run: Run, features: str) -> None:
    found = {
        name: (
            measure(run, name, features=features),
            measure(run, name, "test", features=features, sample=noise),
        )
        for name in ("frechet", "kid", "prdc")
    }
    for name in ("frechet", "kid"):
        ours, theirs = found[name]
        error = 2 * ours["distance_standard_error"]
        assert ours["distance_train"] + error < ours["distance"] < theirs["distance"] - error
        assert ours == measure(run, name, features=features), "the same each time"
    ours, theirs = found["prdc"]
    for name in ("recall", "coverage"):  # means are precise, and denser than rows
        assert ours[f"{name}_train"] > ours[name]
    for name in ("precision", "density", "coverage"):
        assert ours[name] > theirs[name]


def test_the_classifier_is_trained_once(run: Run, cache: Path, monkeypatch: Any) -> None:
    before = measure(run, "frechet")
    assert before["features"] == "classifier"
    assert "a classifier of 10 labels, trained on" in before["how"]
    monkeypatch.setattr("vaekit.evaluate._agreement.train_classifier", None)
    assert measure(run, "frechet") == before
    files = [*(cache / "vaekit" / "classifiers").iterdir()]
    assert len(files) == 1


def test_draws_are_all_different_and_of_the_prior_that_is_asked_for(
    run: Run, monkeypatch: Any
) -> None:
    monkeypatch.setattr(f"{MODULE}.BATCH", 50)
    seen: list[Tensor] = []
    sample, asked = Run.sample, []
    done: list[Any] = []

    def spy(self: Run, n: int, **how: Any) -> Tensor:
        asked.append((n, how["prior"], how["mean"]))
        seen.append(sample(self, n, **how))
        return seen[-1]

    monkeypatch.setattr(Run, "sample", spy)
    for prior, words in (("model", "z of p(z)"), ("fitted", "z of the prior fitted to the codes")):
        seen.clear()
        asked.clear()
        done.clear()
        how: Any = {"prior": prior, "on_rows": lambda *row: done.append(row)}
        found = run.evaluate("frechet:features=pca:most=120", **how)["frechet"]
        assert done[-3:] == [("samples", rows, 120) for rows in (50, 100, 120)]
        assert asked == [(50, prior, True), (50, prior, True), (20, prior, True)]
        assert len(torch.cat(seen).unique(dim=0)) == 120
        assert words in found["how"]
        assert found["prior"] == prior
    with pytest.raises(VaekitError, match="prior"):
        run.evaluate("frechet", prior="best")


def test_no_number_hangs_on_what_else_is_asked_for(run: Run) -> None:
    asked = ("frechet:features=pca", "kid:features=pca", "prdc:features=pca")
    together = run.evaluate(*asked)
    alone = [run.evaluate(each) for each in asked]
    assert [together[each.partition(":")[0]] for each in asked] == [
        each[name] for each, name in zip(alone, ("frechet", "kid", "prdc"), strict=True)
    ]
    other = run.evaluate(*asked, seed=1)
    assert other["frechet"]["distance"] != together["frechet"]["distance"]


def real_rows(patch: Any, run: Run, pixels: Path, **how: Any) -> tuple[Tensor, Tensor, str]:
    """Drawn and real rows, as features that leave them as they are have them."""
    both: list[Tensor] = []

    def keep(drawn: Tensor, real: Tensor, **_: Any) -> Any:
        both[:0] = [drawn, real]
        return frechet(drawn, real, halves=0)

    patch.setattr(f"{MODULE}.frechet", keep)
    found = measure(run, "frechet", features=str(pixels), **how)
    return both[-2], both[-1], found["how"]


def test_means_stand_beside_gray_levels_and_draws_beside_what_the_model_sees(
    run: Run, pixels: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    how: dict[str, Any] = {**SMALL, "epochs": 1, "out": tmp_path / "binary"}
    binary = vaekit.train("vae", **how, binarize="dynamic")
    gray = run.dataset().test.x().flatten(1)
    for mean in (None, True):
        drawn, real, words = real_rows(monkeypatch, binary, pixels, mean=mean)
        assert torch.equal(real, gray)
        assert "means E[x|z]" in words
        assert "rows before binarization; " in words
        assert not set(drawn.unique().tolist()) <= {0.0, 1.0}
    drawn, real, words = real_rows(monkeypatch, binary, pixels, mean=False)
    assert torch.equal(real, binary.dataset().test.x().flatten(1))
    assert "draws of x" in words
    assert "before" not in words
    assert {*drawn.unique().tolist(), *real.unique().tolist()} == {0.0, 1.0}
    how["out"] = tmp_path / "threshold"
    sharp = vaekit.train("vae", **how, binarize="threshold")
    drawn, real, words = real_rows(monkeypatch, sharp, pixels)
    assert torch.equal(real, (gray > 0.5).float())
    assert "draws of x" in words


def test_samples_and_real_rows_have_one_range(
    pixels: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    how: dict[str, Any] = {**SMALL, "epochs": 20, "out": tmp_path / "signed"}
    signed = vaekit.train("vae", **how, range="-1,1", dequantize=True)
    drawn, real, _ = real_rows(monkeypatch, signed, pixels)
    assert real.min() == 0
    assert real.max() == 1
    assert (256 * real - (256 * real).round()).abs().max() < 1, "no noise"
    assert abs(drawn.mean() - real.mean()) < 0.05


def test_numbers_are_of_values_in_0_to_1_whatever_the_model_sees(run: Run, tmp_path: Path) -> None:
    """The same rows, drawn and real, under both ranges: each feature, and each metric."""
    how: dict[str, Any] = {**SMALL, "epochs": 1, "out": tmp_path / "signed"}
    signed = vaekit.train("vae", **how, range="-1,1")
    for features in ("pca", "random", "classifier"):
        for name in ("frechet", "kid", "prdc"):
            drawn: dict[str, Any] = {"sample": noise, "features": features}
            other: Any = {
                **drawn,
                "sample": lambda n, context, **how: 2 * noise(n, context, **how) - 1,
            }
            found, wanted = measure(signed, name, **other), measure(run, name, **drawn)
            assert found.keys() == wanted.keys()
            for key, value in wanted.items():
                near = isinstance(value, float)
                same = pytest.approx(value, rel=1e-4, abs=1e-6) if near else value
                assert found[key] == same, (features, name, key)


def test_the_classifier_of_agreement_sees_values_in_0_to_1(
    tmp_path: Path, monkeypatch: Any
) -> None:
    how: dict[str, Any] = {**SMALL, "epochs": 1}
    runs = [
        vaekit.train("cvae", **how, range=each, out=tmp_path / each) for each in ("0,1", "-1,1")
    ]
    found = []
    for run, (low, high) in zip(runs, ((0.0, 1.0), (-1.0, 1.0)), strict=True):
        source = run.source()
        subject = run.subject(run.prepared(source), source=source, sha256=run.sha256)
        rows = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        rows = low + (high - low) * rows
        monkeypatch.setattr(run.model, "sample", lambda *_, rows=rows, **__: rows)
        found.append(find("metric", "agreement")(images=100).study(subject))
    assert found[0] == found[1]
    assert found[0]["classifier_accuracy"] > 0.9


def test_each_split_has_its_rows_and_training_rows_are_no_floor_of_themselves(
    run: Run, pixels: Path, monkeypatch: Any
) -> None:
    for split in ("train", "validation"):
        _, real, _ = real_rows(monkeypatch, run, pixels, split=split, most=60)
        own = run.dataset().splits[split]
        index = torch.arange(60) * len(own) // 60
        assert torch.equal(real, own.x(index).flatten(1))
    assert "distance_train" not in measure(run, "kid", "train", features="pca")


def test_a_conditional_run_is_asked_for_the_labels_of_the_rows(tmp_path: Path) -> None:
    run = vaekit.train("cvae", **{**SMALL, "epochs": 1, "out": tmp_path / "c"})
    given: list[Tensor] = []

    def sample(n: int, context: Tensor, **how: Any) -> Tensor:
        given.append(context)
        return noise(n, context, **how)

    measure(run, "kid", features="pca", sample=sample)
    labels = run.dataset().test.labels
    assert labels is not None
    assert torch.equal(torch.cat(given).argmax(1), labels)
    assert run.evaluate("kid:features=pca")["kid"]["samples"] == len(labels)


def test_tables_are_compared_by_standardized_columns(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    frame = pandas.DataFrame({"a": 1000 * draw.normal(size=600), "b": draw.integers(0, 5, 600)})
    frame["kind"] = np.where(frame["b"] > 2, "much", "little")
    frame["still"] = -7
    how: dict[str, Any] = {**SMALL, "data": frame, "epochs": 30, "test": 200}
    run = vaekit.train("vae", **how, out=tmp_path / "table")
    found = run.evaluate("frechet", "kid", "prdc")
    assert found["frechet"]["features"] == "column"
    assert "standardized columns" in found["frechet"]["how"]
    assert "draws of x" in found["frechet"]["how"]
    assert found["frechet"]["distance_train"] < found["frechet"]["distance"] < 3
    assert found["prdc"]["precision"] > 0.3
    for features in ("classifier", "random"):
        with pytest.raises(VaekitError, match=f"`features={features}` looks at images"):
            run.evaluate(f"kid:features={features}")
    counts = draw.poisson(3.0, (300, 70)).astype(np.float32)
    run = vaekit.train("vae", **{**how, "data": counts, "kind": "counts"}, out=tmp_path / "counts")
    assert "64 principal components" in run.evaluate("frechet")["frechet"]["how"]


def test_what_is_printed_and_kept(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["frechet:features=pca", "prdc:features=pca"], ["frechet:features=random"]):
        main(["evaluate", str(run.path), *words])
    out = capsys.readouterr().out
    assert "Frechet distance (pixel features); training rows " in out
    assert out.count("; half as many rows ") == 2, "of a distance alone"
    assert "FID" not in out
    assert "means E[x|z], z of p(z), beside " in out
    kept = [each["frechet"]["features"] for each in run.folder.evaluations() if "frechet" in each]
    assert kept == ["pixel", "random"]
    main(["evaluate", str(run.path), "kid:features=pca", "--prior", "fitted"])
    assert "KID (pixel features, fitted prior); training" in capsys.readouterr().out
    main(["evaluate", str(run.path), "kid:features=pca", "--prior", "fitted", "--json"])
    assert json.loads(capsys.readouterr().out)["kid"]["prior"] == "fitted"


def test_a_comparison_takes_them_where_they_name_it(
    run: Run, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(find("metric", "frechet"), "places", frozenset({"compare"}))
    other = vaekit.train("vae", **{**SMALL, "epochs": 1, "out": tmp_path / "other"})
    found = vaekit.compare([run.path, other.path], out=tmp_path / "page.html", limit=100)
    assert "Frechet distance" in (tmp_path / "page.html").read_text()
    assert "Frechet distance" in json.dumps(found.table)


def test_files_that_are_no_features_are_refused(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "broken.pt").write_bytes(b"no network")
    torch.save({"a": torch.ones(1)}, tmp_path / "state.pt")
    script(Wrong(), tmp_path / "wrong.pt")
    script(nn.Linear(9, 2), tmp_path / "linear.pt")
    (tmp_path / "net.onnx").write_bytes(b"no network")
    for file, words in {
        "broken.pt": "is no TorchScript file",
        "state.pt": "is no TorchScript file",
        "wrong.pt": r"gives \(\); expected \(\d+, D\)",
        "linear.pt": r"does not take rows \(\d+, 1, 8, 8\), images in \[0, 1\]: .*shapes",
        "none.pt": "expected classifier, pca, random, or a TorchScript",
    }.items():
        with pytest.raises(VaekitError, match=words) as caught:
            run.evaluate(f"kid:features={tmp_path / file}")
        assert "\n" not in str(caught.value)
        assert "Error(" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(VaekitError, match=r"needs onnxruntime: pip install 'vaekit\[onnx\]'"):
        run.evaluate(f"kid:features={tmp_path / 'net.onnx'}")


def test_an_onnx_file_is_run_by_onnxruntime(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    """By a stand-in: it is not among what the tests need."""

    class Session:
        def __init__(self, path: str, providers: list[str]) -> None:
            if Path(path).read_bytes() != b"fine":
                raise ValueError("no protobuf")

        def get_inputs(self) -> list[Any]:
            return [SimpleNamespace(name="image")]

        def run(self, _: None, given: dict[str, Any]) -> list[Any]:
            return [given["image"].repeat(2, 1)]  # maps are averaged

    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Session))
    (tmp_path / "a.onnx").write_bytes(b"fine")
    found = measure(run, "kid", features=str(tmp_path / "a.onnx"))
    assert found["features"] == "a.onnx"
    assert "sha256" in found["how"]
    (tmp_path / "a.onnx").write_bytes(b"other")
    with pytest.raises(VaekitError, match=r"is no readable \.onnx file"):
        measure(run, "kid", features=str(tmp_path / "a.onnx"))


def test_what_cannot_be_judged_is_refused_by_name(run: Run, tmp_path: Path) -> None:
    for words, why in {
        "frechet:most=5": "most=5`; expected a whole number of at least 20",
        "kid:size=1": "size=1`",
        "prdc:k=0": "k=0`",
        "prdc:k=300": "got `k=300`; expected at most",
        "frechet:features=pcs": "expected classifier, pca, random, or a TorchScript or .onnx file",
    }.items():
        with pytest.raises(VaekitError, match=why):
            run.evaluate(words)
    with pytest.raises(VaekitError, match="it takes 20 rows, and there are 10"):
        run.evaluate("frechet", limit=10)
    assert run.evaluate("kid:features=pca", limit=20)["kid"]["samples"] == 20
    subject = run.subject(run.prepared(run.source()), source=run.source())
    two = replace(subject, spec=replace(subject.spec, classes=2))
    assert find("metric", "kid")(features="classifier").suits(two) is None
    with pytest.raises(VaekitError, match="with rows of its own data: name a `split`"):
        run.evaluate("frechet", data=run.dataset().test.x().numpy())
    how: dict[str, Any] = {**SMALL, "epochs": 1}
    point = vaekit.train("ae", **how, out=tmp_path / "ae")
    with pytest.raises(VaekitError, match="so there is no prdc to measure"):
        point.evaluate("prdc")
    draw = np.random.default_rng(0)
    holed = np.where(draw.random((100, 4)) < 0.1, np.nan, 1.0)
    gaps = vaekit.train("vae", **{**how, "data": holed}, missing="allow", out=tmp_path / "gaps")
    with pytest.raises(VaekitError, match="its rows have gaps"):
        gaps.evaluate("kid")
    plain = vaekit.train("vae", **{**how, "data": draw.random((99, 1, 8, 8))}, out=tmp_path / "p")
    with pytest.raises(VaekitError, match="learns labels, and its data have none"):
        plain.evaluate("kid:features=classifier", split="train")
    assert plain.evaluate("kid", split="train")["kid"]["features"] == "pixel"
    for name, labels in (("one label", 0 * np.arange(99)), ("ten of each", np.arange(99) % 10)):
        labeled = draw.random((99, 1, 8, 8)), labels
        made = vaekit.train("vae", **{**how, "data": labeled}, out=tmp_path / name)
        assert made.evaluate("kid", split="train")["kid"]["features"] == "pixel", name
    how = {"data": draw.random((99, 3, 8, 8)), "epochs": 1, "report": False}
    colors = vaekit.train("colorizer", **how, out=tmp_path / "colors")
    with pytest.raises(VaekitError, match="so there is no frechet to measure"):
        colors.evaluate("frechet", split="train")
