"""`vaekit reproduce`: what it lists, how it trains, goes on, judges and records."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vaekit
from vaekit import VaekitError
from vaekit.cli.main import main
from vaekit.data import DataSpec
from vaekit.recipes import build
from vaekit.registry import make
from vaekit.runs import METRICS, Config, known, measure, measured, record, verdict
from vaekit.testing import LinearGaussian

SMALL = {"data": "digits", "latent": 2, "net": "mlp:hidden=8", "epochs": 2, "limit": 200}
FILE = """
title = "a small one"
number = "nats"
reference = 10.0
source = "nowhere"
protocol = "digits"
recipe = "vae"
[options]
data = "digits"
latent = 2
net = "mlp:hidden=8"
epochs = 2
limit = 200
[measure]
metric = "elbo"
[[more]]
label = "training rows"
metric = "nll"
samples = 4
split = "train"
limit = 20
weights = "last"
"""


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)


def test_all_that_ship_name_their_source_and_protocol() -> None:
    found = known()
    assert set(found) >= {"linear", "mlp-gray", "tutorial-mlp", "tutorial-conv", "mean-field"}
    for name, each in found.items():
        assert each.name == name
        assert each.title
        assert each.source
        assert each.protocol
        assert each.tolerance <= (1.0 if name == "tutorial-conv" else 0.5)
        Config.flat(each.recipe, **each.options)


@pytest.mark.usefixtures("one")
def test_a_row_is_what_was_measured() -> None:
    row = vaekit.reproduce("small.toml", threads=1)
    run = vaekit.load("runs/reproduce-small-0")
    expected = run.evaluate("bound:samples=1")
    assert row["ours"] == pytest.approx(-expected["elbo"], abs=1e-4)
    assert row["standard_error"] == pytest.approx(expected["elbo_standard_error"], abs=1e-4)
    assert row["standard_error_over"] == expected["standard_error_over"]
    assert row["steps"] == run.folder.records()[-1]["step"]
    last = vaekit.load(run.path, weights="last")
    more = last.evaluate("bound:samples=1", "nll:samples=4", split="train", limit=20)["nll"]
    assert row["more"] == f"training rows {more['mean']:.2f}"
    assert (row["name"], row["seed"], row["reference"]) == ("small", 0, 10.0)
    again = vaekit.reproduce(Path("small.toml"))
    assert {**again, "seconds": 0} == {**row, "seconds": 0}, "nothing is trained twice"


@pytest.mark.parametrize(
    ("ours", "words"),
    [(9.4, "better"), (9.6, "reproduced"), (10.4, "reproduced"), (10.6, "missed")],
)
@pytest.mark.usefixtures("one")
def test_the_verdict(ours: float, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def metric(*_: Any) -> dict[str, Any]:
        return {"ours": ours, "standard_error": 0.0}

    monkeypatch.setitem(METRICS, "elbo", metric)
    assert vaekit.reproduce("small.toml", threads=1)["verdict"] == words
    assert verdict(known()["mlp-gray"], ours - 10) == words


def test_the_closed_form_of_a_linear_vae_is_the_oracles(tmp_path: Path) -> None:
    options = {**known()["linear"].options, "epochs": 1}
    run = vaekit.train("vae", out=tmp_path / "r", report=False, threads=1, **options)
    x = run.dataset().train.x().flatten(1).double()
    exact = -LinearGaussian.fit(x, 8).log_prob(x).mean().item()
    assert measure(run, known()["linear"].measure)["reference"] == pytest.approx(exact, rel=1e-9)


@pytest.mark.usefixtures("one")
def test_a_stopped_one_goes_on(tmp_path: Path) -> None:
    vaekit.train("vae", out=tmp_path / "r", threads=1, seed=0, **{**SMALL, "epochs": 1})
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    config["training"]["epochs"] = 2
    (tmp_path / "r" / "config.json").write_text(json.dumps(config))
    row = vaekit.reproduce("small.toml", out=tmp_path / "r")
    whole = vaekit.reproduce("small.toml", out=tmp_path / "whole", threads=1)
    assert row["ours"] == whole["ours"]


def test_a_csv_keeps_one_row_for_each_name_and_seed(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "results.csv"
    assert measured(path) == []
    for name, seed, ours in (("a", 0, 1.0), ("a", 1, 2.0), ("b", 0, 3.0), ("a", 0, 4.0)):
        record({"name": name, "seed": seed, "ours": ours, "note": 'with, "commas"'}, path)
    with path.open(newline="") as file:
        rows = [(r["name"], r["seed"], float(r["ours"]), r["note"]) for r in csv.DictReader(file)]
    note = 'with, "commas"'
    assert rows == [("a", "1", 2.0, note), ("b", "0", 3.0, note), ("a", "0", 4.0, note)]


@pytest.mark.usefixtures("one")
def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaekit.runs._reproduce.ZOO", Path())
    main(["reproduce", "small", "--threads", "1", "--json", "--record", "r.csv", "--seed", "3"])
    row = json.loads(capsys.readouterr().out)
    assert row["seed"] == 3
    main(["reproduce", "--list", "--json", "--results", "r.csv"])
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["ours"] == [row["ours"]]
    assert (listed["name"], listed["reference"]) == ("small", 10.0)
    main(["reproduce", "--list", "--results", "r.csv"])
    assert f"{row['ours']:.2f}" in capsys.readouterr().out


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(VaekitError, match="did you mean 'linear'"):
        vaekit.reproduce("linaer")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (FILE.replace('metric = "elbo"', 'metric = "elbow"'), "got `metric='elbow'`"),
        (FILE.replace("reference = 10.0", ""), "it has no `reference`"),
        (FILE.replace("title", "tilte"), "did you mean 'title'"),
        ("title = ", "Invalid value"),
        ("", "`title` is missing"),
    ],
)
def test_a_file_that_is_no_reproduction_is_refused(
    content: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(VaekitError) as caught:
        vaekit.reproduce(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    with pytest.raises(VaekitError, match="cannot read"):
        vaekit.reproduce(tmp_path / "none.toml")


@pytest.mark.parametrize("name", known())
def test_each_trains_and_is_measured(name: str, tmp_path: Path) -> None:
    """On a few images of the size of its own."""
    entry = known()[name]
    options = {**entry.options, "epochs": 1}
    if options["data"] != "digits":
        options["data"] = images(tmp_path)
    if options.get("validation"):
        options["validation"] = 0.1
    run = vaekit.train(entry.recipe, out=tmp_path / "r", report=False, threads=1, **options)
    for each in (entry.measure, *entry.more):
        assert math.isfinite(measure(run, each)["ours"])


def images(folder: Path) -> Path:
    """Black and white ones."""
    pixels = 255 * np.random.default_rng(0).integers(0, 2, (300, 28, 28), dtype=np.uint8)
    np.savez(folder / "images.npz", images=pixels)
    return folder / "images.npz"


def test_the_tutorials_net_has_its_paddings_and_its_weights() -> None:
    """28 -> 13 -> 6 without padding, and 7 -> 14 -> 28 -> 28; other sizes are met too."""
    spec = DataSpec("d", (1, 28, 28), "binary", rows=9)
    model = build("vae", spec, latent=2, net="tf-tutorial").model
    shapes = [tuple(p.shape) for p in model.parameters() if p.dim() > 1]
    assert shapes == [
        *((32, 1, 3, 3), (64, 32, 3, 3), (4, 64 * 6 * 6), (32 * 7 * 7, 2)),
        *((32, 64, 3, 3), (64, 32, 3, 3), (32, 1, 3, 3)),
    ]
    net = make("net", {"name": "tf-tutorial"})
    for size in ((7, 7), (30, 21)):
        assert net.decoder((2,), (3, *size), 2)(torch.zeros(2, 2)).shape == (2, 3, *size)
        assert net.encoder((3, *size), (4,))(torch.zeros(2, 3, *size)).shape == (2, 4)
    with pytest.raises(VaekitError, match="from 7 x 7"):
        net.encoder((1, 6, 8), (4,))


@pytest.mark.parametrize("fast", ["auto", "off"])
def test_the_mean_field_run_takes_the_steps_of_its_source(fast: str) -> None:
    """The source's network and loop in plain torch beside the protocol: the same weights, batches
    and noise for 45 steps, every third of them on a short batch; losses and weights agree."""
    entry = known()["mean-field"]
    rows = vaekit.data.Split((torch.rand(300, 1, 28, 28) < 0.2).to(torch.uint8) * 255)
    spec = DataSpec("bits", (1, 28, 28), "binary", rows=300)
    names = ("latent", "net", "posterior", "objective")
    made: Any = build(entry.recipe, spec, **{name: entry.options[name] for name in names})
    sizes = [(784, 256), (256, 256), (256, 256), (128, 256), (256, 256), (256, 784)]
    a, b, c, d, e, f = layers = [torch.nn.Linear(*pair) for pair in sizes]
    encoder = torch.nn.Sequential(a, torch.nn.ReLU(), b, torch.nn.ReLU(), c)
    decoder = torch.nn.Sequential(d, torch.nn.ReLU(), e, torch.nn.ReLU(), f)
    plain = torch.nn.ModuleList(layers)
    with torch.no_grad():
        for ours, theirs in zip(made.model.parameters(), plain.parameters(), strict=True):
            theirs.copy_(ours)
    batches = vaekit.Batches(rows, 128, seed=0)
    config = Config.flat(entry.recipe, **{**entry.options, "data": "digits"}).training
    options = {"lr": config.lr, "more": config.optimizer_options}
    ours = vaekit.training.make_optimizer(config.optimizer, made.model.parameters(), **options)
    theirs = torch.optim.RMSprop(plain.parameters(), lr=1e-3, centered=True)
    losses: list[float] = []
    torch.manual_seed(1)
    how: Any = {"steps": 45, "optimizer": ours, "fast": fast}
    note = lambda p: losses.append(p.means["objective"] * p.rows)  # noqa: E731
    vaekit.fit(made.model, made.objective, batches, on_epoch=note, **how)
    torch.manual_seed(1)
    expected: list[float] = []
    for epoch in range(15):
        elbos = 0.0
        for x, _ in batches.epoch(epoch):
            loc, before = encoder(x.flatten(1)).chunk(2, dim=-1)
            q = torch.distributions.Normal(loc, torch.nn.functional.softplus(before))
            z = loc + q.scale * torch.randn_like(loc)
            prior = torch.distributions.Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)
            x_given_z = torch.distributions.Bernoulli(logits=decoder(z)).log_prob(x.flatten(1))
            elbo = (x_given_z.sum(1) + prior.sum(1)).sum()
            theirs.zero_grad()
            (-elbo).backward()
            theirs.step()
            elbos += elbo.item()
        expected.append(elbos)
    assert losses == pytest.approx(expected, rel=1e-5)
    for one, other in zip(made.model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
