"""Trainings that begin with the weights of another run, or keep those of a part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vaekit
from vaekit.cli.main import main
from vaekit.errors import VaekitError

SMALL: dict[str, Any] = {"data": "digits", "limit": 100, "batch_size": 32, "report": False}
SMALL |= {"latent": 3, "net": "mlp:hidden=16:norm=batch:dropout=0.1"}
STILL: dict[str, Any] = {"optimizer": "sgd", "lr": 1e-30}  # by which hardly a weight moves


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> vaekit.Run:
    out = tmp_path_factory.mktemp("starting") / "first"
    return vaekit.train("vae", epochs=2, out=out, **SMALL)


def equal(run: vaekit.Run, other: vaekit.Run, part: str = "", near: float = 0.0) -> bool:
    states = run.model.state_dict(), other.model.state_dict()
    names = [name for name in states[0] if name.startswith(part) and "num_batches" not in name]
    assert names  # a running mean of the number of batches is cut to a whole one
    how = {"rtol": near, "atol": near}
    names = [name for name in names if not near or "family" not in name]  # fitted scales
    return all(torch.allclose(states[0][name], states[1][name], **how) for name in names)


def test_a_training_begins_with_the_weights_of_a_run(first: vaekit.Run, tmp_path: Path) -> None:
    plain = SMALL | {"net": "mlp:hidden=16"}
    whole = vaekit.train("vae", epochs=1, out=tmp_path / "whole", **plain)
    again = vaekit.train(
        "vae", init_from=whole.path, epochs=1, out=tmp_path / "a", **plain, **STILL
    )
    assert equal(again, whole, near=1e-12)
    saved = whole.save(tmp_path / "saved.vaekit")
    more = vaekit.train("vae", init_from=saved, epochs=1, out=tmp_path / "b", **plain, **STILL)
    assert equal(more, whole, near=1e-12)
    without = vaekit.train("vae", epochs=1, out=tmp_path / "c", **plain, **STILL)
    assert not equal(without, whole, near=1e-3)
    for run, name in ((again, "whole"), (more, "saved.vaekit")):
        said = json.loads((run.path / "config.json").read_text())["training"]["init_from"]
        assert said.startswith(f"{name}@")
        assert len(said) == len(name) + 65
        for file in run.path.glob("*.json*"):
            assert f"{tmp_path}/{name}" not in file.read_text()
    said = json.loads((again.path / "config.json").read_text())["training"]["init_from"]
    longer = vaekit.resume(again.path, epochs=2)
    assert equal(longer, whole, near=1e-12)
    assert longer.config.training.init_from == said


@pytest.mark.parametrize(("part", "other"), [("encoder", "decoder"), ("decoder", "encoder")])
def test_frozen_weights_stay_bit_for_bit(
    first: vaekit.Run, tmp_path: Path, part: str, other: str
) -> None:
    how: dict[str, Any] = {"init_from": first.path, "freeze": part, "ema": 0.9, "clip": 1.0}
    how |= {"weight_decay": 0.1, "optimizer": "adamw"} | SMALL
    run = vaekit.train("vae", epochs=3, out=tmp_path / "run", **how)
    names = {"encoder": "posterior", "decoder": "likelihood"}
    for weights in ("best", "last", "ema"):
        found = vaekit.load(run.path, weights=weights)
        assert equal(found, first, names[part]), weights
        assert not equal(found, first, names[other]), weights
    short = vaekit.train("vae", epochs=1, out=tmp_path / "short", **how)
    resumed = vaekit.resume(short.path, epochs=3)
    assert equal(resumed, run)
    state = vaekit.training.load_checkpoint(run.folder.last)["progress"]["optimizer"]
    moved = sum(p.numel() for p in getattr(run.model, names[other]).parameters())
    assert sum(s["exp_avg"].numel() for s in state["state"].values()) == moved


def test_a_frozen_part_of_random_weights_is_said(
    first: vaekit.Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for how, said in (({}, 1), ({"init_from": first.path}, 0)):
        caplog.clear()
        out = tmp_path / str(said)
        vaekit.train("vae", epochs=1, freeze="decoder", out=out, **how, **SMALL)
        assert caplog.text.count("the decoder stays as it was drawn") == said


def test_a_net_of_plain_layers_is_kept_too(tmp_path: Path) -> None:
    """Its steps are taken by hand where all of it trains."""
    how = SMALL | {"net": "mlp:hidden=16"}
    first = vaekit.train("vae", epochs=1, out=tmp_path / "first", **how)
    how |= {"init_from": first.path, "epochs": 2, "freeze": "decoder"}
    run = vaekit.train("vae", out=tmp_path / "run", **how)
    assert equal(run, first, "likelihood")
    assert not equal(run, first, "posterior")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"latent": 4}, r"other parts than this training: posterior.* All must fit"),
        ({"net": "mlp"}, "other parts than this training"),
        ({"init_from": "nowhere"}, "nowhere"),
        ({"freeze": "prior"}, "expected 'none', 'encoder' or 'decoder'"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_file_is_written(
    first: vaekit.Run, tmp_path: Path, how: dict[str, Any], message: str
) -> None:
    asked = SMALL | {"init_from": first.path} | how
    with pytest.raises(VaekitError, match=message):
        vaekit.train("vae", out=tmp_path / "run", **asked)
    assert not (tmp_path / "run").exists()


def test_other_weights_of_the_same_name_are_refused(first: vaekit.Run, tmp_path: Path) -> None:
    named = f"{first.path}@{'0' * 64}"
    with pytest.raises(VaekitError, match="has other weights than those of 0000000000000000"):
        vaekit.train("vae", out=tmp_path / "run", **SMALL | {"init_from": named})


def test_parts_that_are_not_there_and_seeds_are_refused(
    first: vaekit.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8)).astype("u1")
    how: dict[str, Any] = {"data": x, "report": False, "out": tmp_path / "run"}
    with pytest.raises(VaekitError, match="`freeze=encoder`; a Colorizer has none"):
        vaekit.train("colorizer", freeze="encoder", **how)
    with pytest.raises(VaekitError, match="nothing else of the model can be trained"):
        vaekit.train("colorizer", freeze="decoder", **how)
    words = ["--data", "digits", "--init-from", str(first.path), "--seeds", "2"]
    with pytest.raises(SystemExit):
        main(["train", "vae", *words, "--out", str(tmp_path / "seeds")])
    said = capsys.readouterr().err
    assert "seeds and a sweep do not begin with the weights of --init-from" in said
    begun = vaekit.train("vae", init_from=first.path, epochs=1, out=tmp_path / "b", **SMALL)
    for file in (begun.path / "checkpoints").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(VaekitError, match="has no checkpoint, and began with the weights of"):
        vaekit.resume(begun.path)
