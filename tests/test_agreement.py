"""The classifier, and what it says of conditional models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import vaekit
from vaekit import Run, VaekitError
from vaekit.cli.main import main
from vaekit.data import Split, load
from vaekit.evaluate.classifier import Classifier, accuracy, predict, train_classifier

TRAINED = {"hidden": (64,), "epochs": 40, "lr": 3e-3, "report": False, "latent": 4, "snapshots": 0}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path))
        yield path  # type: ignore[misc]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vaekit.train("cvae", out=tmp_path_factory.mktemp("agreement") / "r", **TRAINED)


@pytest.fixture(scope="module")
def judge() -> Classifier:
    return train_classifier(load("digits").train, 10)


def test_the_classifier_learns_digits_and_is_the_same_again(judge: Classifier) -> None:
    data = load("digits")
    assert accuracy(judge, data.test) > 0.97
    torch.manual_seed(123)
    state = torch.get_rng_state()
    short = [train_classifier(data.train, 10, epochs=1, seed=2) for _ in range(2)]
    assert torch.equal(state, torch.get_rng_state()), "the caller's random numbers stay"
    for one, other in zip(short[0].parameters(), short[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_accuracy_is_the_share_of_rows_told_right(judge: Classifier) -> None:
    data = load("digits").test
    told = predict(judge, data.x())
    assert data.labels is not None
    assert accuracy(judge, data) == pytest.approx(np.mean(told.numpy() == data.labels.numpy()))
    wrong = replace(data, labels=(told + 1) % 10)
    assert accuracy(judge, wrong) == 0


def test_labels_that_say_nothing_are_not_learned() -> None:
    """A classifier of shuffled labels tells one in ten: accuracy does not flatter."""
    data = load("digits").train
    assert data.labels is not None
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    model = train_classifier(replace(data, labels=data.labels[order]), 10, epochs=2)
    assert accuracy(model, load("digits").test) < 0.25


def test_agreement_of_a_model_and_of_one_that_ignores_its_label(
    run: Run, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run.evaluate(samples=1, agreement=500)["agreement"]
    assert found["classifier_accuracy"] > 0.97
    assert found["share"] > 0.9
    assert found["worst_share"] == min(found["shares"]) <= found["share"]
    assert found["share"] == pytest.approx(np.mean(found["shares"]))
    assert found["standard_error"] == pytest.approx(
        np.sqrt(found["share"] * (1 - found["share"]) / 500)
    )
    assert len(list((cache / "vaekit" / "classifiers").iterdir())) == 1
    again = run.evaluate(samples=1, agreement=500)["agreement"]
    assert again == found, "with the classifier from the cache"
    main(["evaluate", str(run.path), "--agreement", "100", "--json"])
    assert json.loads(capsys.readouterr().out)["agreement"]["samples"] == 100

    weight = run.model.likelihood.net.body[0].weight
    kept = weight.clone()
    try:
        with torch.no_grad():
            weight[:, -10:] = 0
        blind = run.evaluate(samples=1, agreement=500)["agreement"]["share"]
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    assert 0.02 < blind < 0.3


def test_what_is_refused(run: Run, tmp_path: Path) -> None:
    plain = vaekit.train("vae", out=tmp_path / "plain", **{**TRAINED, "epochs": 1})
    with pytest.raises(VaekitError, match="not conditioned on labels"):
        plain.evaluate(agreement=10)
    with pytest.raises(VaekitError, match="got agreement=0"):
        run.evaluate(agreement=0)
    with pytest.raises(VaekitError, match="takes \\(C, H, W\\)"):
        train_classifier(Split(torch.rand(20, 3), torch.arange(20) % 2), 2)
    with pytest.raises(VaekitError, match="without labels"):
        train_classifier(Split(torch.rand(20, 1, 8, 8)), 2)
