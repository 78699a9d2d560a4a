"""Models as JSON, composed models that train, and what is saved of a run."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vaekit as vk
from vaekit.cli.main import main
from vaekit.objectives import AAE, VAEGAN, FactorVAE
from vaekit.registry import describe, entries, find
from vaekit.runs import build_structure, structure

QUICK: dict[str, Any] = {"data": "digits", "limit": 200, "epochs": 2, "threads": 1, "snapshots": 0}
QUICK |= {"lr_schedule": "constant"}
SHAPE = (1, 8, 8)


class TwoHeads(nn.Module):
    """A network of a user's own, which returns two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh())
        self.loc, self.log_variance = nn.Linear(16, 3), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x)
        return self.loc(h), self.log_variance(h)


def decoder() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 16), nn.GELU(), nn.Linear(16, 64), nn.Unflatten(1, SHAPE))


def composed(encoder: nn.Module | None = None, prior: nn.Module | None = None) -> vk.VAE:
    net = vk.MLP(SHAPE, 6, hidden=(16,)) if encoder is None else encoder
    return vk.VAE(
        vk.StandardNormal(3) if prior is None else prior,  # type: ignore[arg-type]
        vk.Conditional(net, vk.Gaussian(3), in_shape=SHAPE),
        vk.Conditional(decoder(), vk.Gaussian(SHAPE, scale="fitted"), in_shape=3),
    )


def again(module: nn.Module) -> nn.Module:
    """The module by its JSON alone, with the same weights."""
    made = build_structure(json.loads(json.dumps(structure(module))))
    made.load_state_dict(module.state_dict())
    return made


def refused(call: Callable[[], Any], *words: str) -> str:
    with pytest.raises(vk.VaekitError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert all(word in text for word in words), text
    return text


# Structure.


def test_a_composed_model_is_its_json_and_its_weights() -> None:
    model = composed()
    x = torch.rand(5, *SHAPE)
    made = again(model)
    assert isinstance(made, vk.VAE)
    assert torch.equal(made.reconstruct(x), model.reconstruct(x))
    assert repr(made) == repr(model)


@pytest.mark.parametrize(
    "net",
    ["mlp:latent_dropout=0.1", "conv", "conv-study", "pool", "patch", "unpool", "tf-tutorial"],
)
def test_every_network_of_the_kit_comes_back(net: str) -> None:
    spec = vk.DataSpec("t", (3, 16, 12), "color", rows=20)
    model = vk.build("ae", spec, latent=3, net=net).model.eval()
    x = torch.rand(2, *spec.shape)
    made: Any = again(model)
    assert torch.equal(made.reconstruct(x), model.reconstruct(x))


def test_a_colorizer_a_counting_model_and_objectives_come_back() -> None:
    color = vk.build("colorizer", vk.DataSpec("t", (3, 8, 8), "color", rows=20), model=":noise=2")
    made: Any = again(color.model)
    assert made.noise == color.model.noise == pytest.approx(2 / 255)
    counts = vk.build("vae", vk.DataSpec("t", (9,), "counts", rows=20), latent=2).model
    assert repr(again(counts)) == repr(counts)
    critics = [make((2,), critic_hidden=(3,)) for make in (FactorVAE, AAE, VAEGAN)]
    plain = [vk.ELBO(beta=4.0), vk.IWAE(samples=7), vk.Reconstruction(), color.objective]
    for objective in (*plain, *critics):
        back: Any = again(objective)
        assert back.samples == objective.samples
        assert type(back) is type(objective)


LAYERS = [
    *(nn.Linear(2, 3, bias=False), nn.Conv2d(2, 3, 3, padding="same"), nn.GRU(3, 4, 2)),
    *(nn.ConvTranspose2d(3, 4, 3, 2, 1, 1), nn.BatchNorm2d(4, affine=False), nn.LayerNorm((3, 4))),
    *(nn.LSTM(3, 4, proj_size=2, bidirectional=True), nn.Embedding(5, 3, padding_idx=0)),
    *(nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d((1, None)), nn.Hardtanh(-2, 2)),
    *(nn.LeakyReLU(0.3), nn.MaxPool2d(2, ceil_mode=True), nn.ConstantPad2d(1, 2.0), nn.PReLU(3)),
    *(nn.ModuleDict({"a": nn.ReLU()}), nn.ModuleList([nn.Tanh()]), nn.Unflatten(1, (2, 3))),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_layers_of_torch_come_back(layer: nn.Module) -> None:
    made = again(layer)
    assert repr(made) == repr(layer)
    assert type(made) is type(layer)


def test_a_part_that_occurs_twice_stays_one() -> None:
    shared = nn.Linear(4, 4)
    made: Any = again(nn.Sequential(shared, nn.ReLU(), nn.Sequential(shared)))
    assert made[0] is made[2][0]
    net = vk.MLP(3, 3, hidden=())
    both = vk.VAE(
        vk.StandardNormal(3),
        vk.Conditional(net, vk.Gaussian(3, scale=1.0)),
        vk.Conditional(net, vk.Gaussian(3, scale=1.0)),
    )
    twin: Any = again(both)
    assert twin.posterior.net is twin.likelihood.net


def test_lists_tuples_and_the_frozen_come_back_as_they_were() -> None:
    @vk.register("module", "of-lists")
    class OfLists(nn.Module):
        """Of lists."""

        def __init__(self, sizes: list[int], pair: tuple[int, int], *parts: nn.Module) -> None:
            super().__init__()
            self.sizes, self.pair = sizes, pair
            self.parts = nn.ModuleList(parts)

    part = OfLists([1, 2], (3, 4), nn.Linear(1, 1), nn.ReLU())
    part.parts[0].weight.requires_grad_(False)
    made: Any = again(part)
    assert made.sizes == [1, 2]
    assert made.pair == (3, 4)
    assert isinstance(made.parts[1], nn.ReLU)
    assert [p.requires_grad for p in made.parameters()] == [False, True]


class WideNormal(vk.StandardNormal):
    """Another prior.

    Args:
        width: unused.
    """

    def __init__(self, event_shape: int, *, width: float = 1.0) -> None:
        super().__init__(event_shape)
        self.width = width


@pytest.fixture
def wide() -> type[WideNormal]:
    """The class as a registered part: what was registered by a file is gone after each test."""
    return vk.register("prior", "wide-normal")(WideNormal)


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian:scale=shared", "student-t"])
def test_a_replaced_prior_is_saved_as_it_is_now(
    tmp_path: Path, wide: type[WideNormal], likelihood: str
) -> None:
    model = composed()
    model.prior = wide(3, width=2.0)
    made: Any = again(model)
    assert type(made.prior) is wide
    assert made.prior.width == 2.0
    how: dict[str, Any] = {"latent": 3, "net": "mlp:hidden=8", "likelihood": likelihood, **QUICK}
    run = vk.train("vae", out=tmp_path / "r", report=False, **how)
    assert json.loads((run.save(tmp_path / "a") / "config.json").read_text())["recipe"] == "vae"
    run.model.prior = wide(3, width=2.0)
    there = vk.load(run.save(tmp_path / "b"))
    assert type(there.model.prior) is wide
    assert there.config.recipe == "composed"
    assert torch.equal(there.sample(3), run.sample(3))


class Scaled(nn.Linear):
    """A subclass of a layer."""


def changed(change: Callable[[vk.VAE], Any]) -> vk.VAE:
    model = composed()
    change(model)
    return model


def tie(model: Any) -> None:
    model.likelihood.net[0].weight = nn.Parameter(model.likelihood.net[0].weight.detach())
    model.posterior.net.output.bias = nn.Parameter(torch.zeros(6))
    model.posterior.net.body[1].bias = model.likelihood.net[0].bias


REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "own": (lambda: composed(TwoHeads()), "model.posterior.net", "test_saving.TwoHeads"),
    "subclass": (lambda: nn.Sequential(Scaled(2, 2)), "model.0", "test_saving.Scaled"),
    "parametrized": (
        lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2))),
        *("model.0", "ParametrizedLinear"),
    ),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(2)), "model.0", "LazyLinear"),
    "replaced size": (
        lambda: changed(lambda m: setattr(m.posterior.net, "output", nn.Linear(16, 6, bias=False))),
        *("model.posterior.net.output.bias", "changed after it was made"),
    ),
    "replaced activation": (
        lambda: changed(lambda m: m.posterior.net.body.__setitem__(2, nn.ReLU())),
        *("model.posterior.net.body.2", "ReLU"),
    ),
    "argument": (lambda: changed(lambda m: setattr(m, "gaps", True)), "model.gaps", "True"),
    "double": (lambda: composed().double(), "float64", "float32"),
    "tied weights": (lambda: changed(tie), "shared", "posterior.net.body.1.bias"),
    "hook": (
        lambda: changed(lambda m: m.posterior.net.register_forward_hook(lambda *a: None)),
        *("model.posterior.net", "a hook"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_json_says_is_refused_by_its_name(case: str) -> None:
    make, *words = REFUSED[case]
    refused(lambda: structure(make()), *words)


def test_a_part_kept_under_another_name_and_a_tensor_are_refused() -> None:
    @vk.register("module", "hides")
    class Hides(nn.Module):
        """Keeps its argument elsewhere."""

        def __init__(self, net: object) -> None:
            super().__init__()
            self.inner = net

    refused(lambda: structure(Hides(nn.ReLU())), "write self.net = net")
    refused(lambda: structure(Hides([nn.ReLU()])), "write self.net = nn.ModuleList(net)")
    refused(lambda: structure(Hides(torch.zeros(2))), "a Tensor: only numbers")
    refused(lambda: structure(Hides(nn.ReLU)), "a type: only numbers")


LINEAR = {"torch": "Linear", "arguments": {"in_features": 2, "out_features": 1}}


def deep(levels: int) -> Any:
    tree: Any = LINEAR
    for _ in range(levels):
        tree = {"torch": "Sequential", "parts": {"0": tree}}
    return tree


def mlp(**arguments: Any) -> Any:
    return {"part": "module/mlp", "arguments": {"in_shape": 2, "out_shape": 2, **arguments}}


CRAFTED: dict[str, Any] = {
    "a function": {"part": "os.system", "arguments": {"command": "touch pwned"}},
    "a function as a kind": {"part": "os/system", "arguments": {"command": "touch pwned"}},
    "a layer by a path": {"torch": "os.system", "arguments": {}},
    "a module of torch": {"torch": "hub", "arguments": {}},
    "a dunder": {"torch": "__class__", "arguments": {}},
    "a dunder part": {"part": "module/__class__", "arguments": {}},
    "a loader of data": {"part": "data/digits", "arguments": {}},
    "a maker": {"part": "model/colorizer", "arguments": {"data": 1, "net": 1, "family": 1}},
    "a metric": {"part": "metric/nll", "arguments": {}},
    "an unknown part": {"part": "module/mpl", "arguments": {}},
    "a layer that is not listed": {"torch": "Transformer", "arguments": {}},
    "nothing": {},
    "text": "Linear",
    "a list": [LINEAR],
    "a number": 3,
    "both": {"torch": ["Linear"], "arguments": {}},
    "arguments as a list": {"torch": "Linear", "arguments": [2, 1]},
    "a device": {"torch": "Linear", "arguments": {**LINEAR["arguments"], "device": "cpu"}},
    "a weight": {"torch": "Embedding", "arguments": {"num_embeddings": 1, "_weight": 1}},
    "sizes in words": mlp(in_shape="os.system"),
    "an option more": mlp(options={"dict": {"activation": "relu", "hook": "x"}}),
    "an argument more": mlp(__class__="x"),
    "options as a list": mlp(options=[1, 2]),
    "a part for a size": mlp(in_shape=LINEAR),
    "a size below 0": {"torch": "Linear", "arguments": {"in_features": -2, "out_features": 1}},
    "more than there is": {
        "torch": "Linear",
        "arguments": {"in_features": 10**12, "out_features": 10**12},
    },
    "endless layers": {
        "torch": "GRU",
        "arguments": {"input_size": 2, "hidden_size": 2, "num_layers": 10**9},
    },
    "layers in words": {"torch": "GRU", "arguments": {"input_size": 2, "num_layers": "9"}},
    "too deep": deep(500),
    "deep lists": mlp(hidden=json.loads("[" * 500 + "]" * 500)),
    "a path from nowhere": {"same": "model.posterior"},
    "itself": {"torch": "Sequential", "parts": {"0": {"same": "model"}}},
    "a child of a dunder": {"torch": "Sequential", "parts": {"__class__": LINEAR}},
    "a child of a path": {"torch": "Sequential", "parts": {"a.b": LINEAR}},
    "a frozen nothing": {**LINEAR, "frozen": ["bias.data"]},
    "a frozen number": {**LINEAR, "frozen": 3},
}


@pytest.mark.parametrize("case", CRAFTED)
def test_a_crafted_structure_is_one_line_and_nothing_runs(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(lambda: build_structure(CRAFTED[case]), "config.json")
    assert not list(tmp_path.iterdir())


# Training.


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a recipe, one of a composed model, and one with a network of a user's own."""
    here = tmp_path_factory.mktemp("saving")
    torch.manual_seed(0)
    vk.train("vae", latent=3, net="mlp:hidden=16", out=here / "vae", report=False, **QUICK)
    vk.train(composed(), "elbo:beta=0.5", out=here / "kit", **QUICK)
    vk.train(composed(TwoHeads()), out=here / "own", **QUICK)
    return here


def test_a_composed_model_gives_all_that_a_recipe_gives(runs: Path, tmp_path: Path) -> None:
    run = vk.load(runs / "kit")
    assert run.config.recipe == "composed"
    assert run.objective.beta.item() == 0.5
    assert {"report.html", "metrics.jsonl", "run.json", "model.safetensors", "README.md"} <= {
        path.name for path in run.path.iterdir()
    }
    page = run.folder.report.read_text()
    assert "composed on digits" in page
    assert "elbo:beta=0.5" in page
    found = run.evaluate("latent")
    assert found["elbo"] == pytest.approx(found["log_likelihood"] - found["kl"], abs=1e-5)
    assert run.sample(2).shape == (2, *SHAPE)
    x = torch.rand(4, *SHAPE)
    assert torch.allclose(run.decode(run.encode(x)), run.reconstruct(x))
    compared = vk.compare([runs / "kit", runs / "vae"], out=tmp_path / "c.html")
    assert compared.differences["recipe"] == ["composed", "vae"]
    assert compared.differences["objective.beta"] == [0.5, 1.0]
    assert "latent" not in compared.differences
    mine, plain = compared.differences["net"]
    assert (mine.startswith("custom "), plain) == (True, "mlp")
    wide = composed(vk.MLP(SHAPE, 6, hidden=(24,)))
    vk.train(wide, "elbo:beta=0.5", out=tmp_path / "wide", report=False, **QUICK)
    nets = vk.compare([runs / "kit", tmp_path / "wide"], out=tmp_path / "d.html").differences["net"]
    assert nets[0] == mine != nets[1]


def test_the_command_line_takes_a_composed_run(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ("info", "evaluate", "sample", "reconstruct", "traverse", "report"):
        main([words, str(runs / "kit")])
    main(["save", str(runs / "kit"), "kit.vaekit"])
    for words in ("info", "sample", "reconstruct", "traverse", "evaluate"):
        main([words, "kit.vaekit"])
    main(["save", str(runs / "kit"), str(tmp_path / "plain")])
    capsys.readouterr()
    main(["runs", str(runs), "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["kit"]["recipe"] == "composed"
    assert rows["kit"]["state"] == "finished"
    main(["runs", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)[0]["state"] == "saved"
    for command in (["report"], ["train", "--resume"]):
        for saved in ("kit.vaekit", "plain"):
            with pytest.raises(SystemExit):
                main([*command, saved])
            assert "saved model without the records" in capsys.readouterr().err


def test_a_model_is_trained_in_place_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    def fresh() -> vk.VAE:
        torch.manual_seed(3)
        return composed(TwoHeads())

    model = fresh()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run = vk.train(model, out=tmp_path / "a", report=False, **QUICK)
    assert run.model is model
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    vk.resume(tmp_path / "a", epochs=4, model=fresh(), report=False)
    vk.train(fresh(), out=tmp_path / "b", report=False, **{**QUICK, "epochs": 4})
    one, two = (
        vk.load(tmp_path / name, weights="last", model=fresh()).model.state_dict() for name in "ab"
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    refused(lambda: vk.resume(tmp_path / "a", epochs=5), "TwoHeads", "pass model=")


def test_what_is_frozen_stays_and_is_frozen_when_resumed(tmp_path: Path) -> None:
    model = composed()
    model.posterior.requires_grad_(False)
    before = {name: value.clone() for name, value in model.posterior.state_dict().items()}
    run = vk.train(model, out=tmp_path / "a", report=False, **QUICK)
    run = vk.resume(tmp_path / "a", epochs=3, report=False)
    assert all(torch.equal(v, before[n]) for n, v in run.model.posterior.state_dict().items())
    assert not any(p.requires_grad for p in run.model.posterior.parameters())


def test_a_conditional_model_is_composed_too(tmp_path: Path) -> None:
    joined = vk.joined_shape((64,), (10,))
    model = vk.VAE(
        vk.StandardNormal(2),
        vk.Conditional(vk.MLP(joined, 4, hidden=(8,)), vk.Gaussian(2), in_shape=SHAPE),
        vk.Conditional(vk.MLP(12, SHAPE, hidden=(8,)), vk.Bernoulli(SHAPE), in_shape=2),
    )
    run = vk.train(model, context="label", out=tmp_path / "r", report=False, **QUICK)
    saved = vk.load(run.save(tmp_path / "m.vaekit"))
    assert torch.equal(saved.sample(3, label=4), run.sample(3, label=4))


MISTAKES: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "a network": (lambda: vk.train(TwoHeads()), ("got a TwoHeads", "vaekit.VAE(")),  # type: ignore[arg-type]
    "an option of parts": (lambda: vk.train(composed(), latent=3), ("latent", "brings its parts")),
    "a nested option": (lambda: vk.train(composed(), **{"net.hidden": 3}), ("net.hidden",)),
    "an unknown option": (lambda: vk.train(composed(), epohs=3), ("did you mean 'epochs'",)),
    "other rows": (lambda: vk.train(composed(), data="digits", size=4), ("(1, 8, 8)", "(1, 4, 4)")),
    "a context": (
        lambda: vk.train(composed(TwoHeads()), data="digits", context="label"),
        ("cannot pass over one x", "context (10,)"),
    ),
    "an objective": (lambda: vk.train(composed(), vk.Coloring()), ("Coloring needs",)),
    "an objective by name": (lambda: vk.train(composed(), "elbow"), ("did you mean 'elbo'",)),
    "counts": (
        lambda: vk.train(
            vk.VAE(
                vk.StandardNormal(3),
                vk.Conditional(vk.MLP(SHAPE, 6), vk.Gaussian(3)),
                vk.Conditional(vk.MLP(3, SHAPE), vk.Poisson(SHAPE)),
            )
        ),
        ("Poisson takes counts",),
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_does_not_fit_is_refused_before_a_file_is_written(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, words = MISTAKES[case]
    refused(call, *words)
    assert not list(tmp_path.iterdir())


def test_two_heads_are_what_one_joined_head_is() -> None:
    net = TwoHeads()
    q = vk.Conditional(net, vk.Gaussian(3), in_shape=SHAPE)(torch.rand(2, 5, *SHAPE))
    assert q.mean.shape == (2, 5, 3)
    x = torch.rand(5, *SHAPE)
    loc, log_variance = net(x)
    q = vk.Conditional(net, vk.Gaussian(3), in_shape=SHAPE)(x)
    assert torch.equal(q.mean, loc)
    assert torch.allclose(q.variance, log_variance.exp())


# Saving.

LOADS = """
import sys, torch, vaekit
run = vaekit.load(sys.argv[1])
torch.save([run.sample(4, mean=False), run.encode(torch.ones(2, 1, 8, 8))], sys.argv[2])
print(run.weights, run.step, run.config.recipe, *map(str, run.class_names[:2]))
"""

OWN = """
import sys, torch, vaekit
from test_saving import TwoHeads, composed
run = vaekit.load(sys.argv[1], model=composed(TwoHeads()))
torch.save([run.sample(4, mean=False), run.encode(torch.ones(2, 1, 8, 8))], sys.argv[2])
print(run.weights, run.step, run.config.recipe, *map(str, run.class_names[:2]))
"""


def elsewhere(code: str, path: Path, out: Path) -> tuple[list[Tensor], list[str]]:
    """What another process draws and encodes, and says of the run."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(out)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(out), done.stdout.split()


@pytest.mark.parametrize("name", ["vae", "kit", "own"])
@pytest.mark.parametrize("form", ["run", "folder", "m.vaekit"])
def test_another_process_opens_it_and_draws_the_same(
    runs: Path, name: str, form: str, tmp_path: Path
) -> None:
    model = composed(TwoHeads()) if name == "own" else None
    run = vk.load(runs / name, model=model, device="cpu")
    path = runs / name if form == "run" else run.save(tmp_path / form)
    (draws, codes), words = elsewhere(OWN if name == "own" else LOADS, path, tmp_path / "out.pt")
    assert torch.equal(draws, run.sample(4, mean=False))
    assert torch.equal(codes, run.encode(torch.ones(2, *SHAPE)))
    recipe = "vae" if name == "vae" else "composed"
    assert words == [run.weights, str(run.step), recipe, "0", "1"]


def test_four_files_without_a_place_of_this_machine(tmp_path: Path) -> None:
    lines = ["first,second", *(f"{i},{(i * 7) % 11}" for i in range(60))]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    options = {**QUICK, "data": tmp_path / "mine.csv", "limit": None, "data_dir": tmp_path}
    run = vk.train("vae", latent=2, net="mlp:hidden=8", out=tmp_path / "run", **options)
    folder, file = vk.save(run, tmp_path / "saved"), vk.save(run.path, tmp_path / "saved.vaekit")
    names = {"config.json", "model.safetensors", "fitted.safetensors", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    with zipfile.ZipFile(file) as archive:
        assert set(archive.namelist()) == names
        for name in names:
            content = archive.read(name)
            assert len(content) == (folder / name).stat().st_size
            assert str(tmp_path).encode() not in content
    config = json.loads((folder / "config.json").read_text())
    assert config["format"] == 3
    assert config["data"]["data"] == "mine.csv"
    assert config["spec"]["column_names"] == ["first", "second"]
    there = vk.load(file)
    values = there.spec.values
    assert values.loc is not None
    assert torch.equal(values.loc, run.spec.values.loc)  # type: ignore[arg-type]
    assert values.loc[0] != 0
    rows = torch.tensor([[3.0, 4.0]])
    assert torch.allclose(values.inverse(values(rows)), rows)
    refused(there.evaluate, "mine.csv")  # its rows are not sent
    card = (folder / "README.md").read_text()
    assert "mine: table, 2" in card
    assert "validation rows, epoch 2" in card


def test_the_card_says_what_was_measured_of_these_weights(runs: Path, tmp_path: Path) -> None:
    main(["evaluate", str(runs / "vae"), "nll:samples=10", "--limit", "20"])
    run = vk.load(runs / "vae")
    card = (run.save(tmp_path / "m") / "README.md").read_text()
    assert "20 test rows" in card
    assert f"| elbo | {run.folder.evaluations()[-1]['elbo']:.4f} ±" in card
    last = vk.load(runs / "vae", weights="last")
    assert "epoch 2" in (last.save(tmp_path / "n") / "README.md").read_text()


def test_what_is_there_is_not_replaced_unasked(runs: Path, tmp_path: Path) -> None:
    run = vk.load(runs / "kit")
    folder, file = run.save(tmp_path / "m"), run.save(tmp_path / "m.vaekit")
    for path in (folder, file):
        before = path.stat().st_mtime_ns
        refused(lambda path=path: run.save(path), "exists", "`overwrite`")
        assert path.stat().st_mtime_ns == before
        assert run.save(path, overwrite=True) == path
    (tmp_path / "text").write_text("mine")
    refused(lambda: run.save(tmp_path / "text", overwrite=True), "is a file")
    refused(lambda: run.save(runs / "vae", overwrite=True), "is a run folder")
    (tmp_path / "folder.vaekit").mkdir()
    refused(lambda: run.save(tmp_path / "folder.vaekit"), "is a folder")
    (tmp_path / "empty").mkdir()
    assert run.save(tmp_path / "empty").is_dir()


def edited(folder: Path, out: Path, **changes: Any) -> Path:
    """A saved folder with another config.json."""
    config = json.loads((folder / "config.json").read_text())
    out.mkdir()
    (out / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    for name, value in changes.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value
    (out / "config.json").write_text(json.dumps(config))
    return out


def test_sizes_that_the_weights_do_not_have_take_no_memory(runs: Path, tmp_path: Path) -> None:
    saved = vk.load(runs / "kit").save(tmp_path / "kit")
    tree = json.loads((saved / "config.json").read_text())["parts"]["model"]
    tree["arguments"]["posterior"]["arguments"]["net"]["arguments"]["hidden"] = [2**31 - 1]
    bad = edited(saved, tmp_path / "a", parts={"model": tree})
    refused(lambda: vk.load(bad), "of another model", "posterior.net")
    recipe = vk.load(runs / "vae").save(tmp_path / "vae")
    parts = json.loads((recipe / "config.json").read_text())["parts"]
    net = {**parts["net"], "hidden": [2**31 - 1]}
    refused(lambda: vk.load(edited(recipe, tmp_path / "b", parts={"net": net})), "another model")
    wide = {"torch": "Linear", "arguments": {"in_features": 3, "out_features": 1}}
    for model in (wide, "os.system", 3, [wide]):
        name = f"c{len(list(tmp_path.iterdir()))}"
        refused(lambda n=name, m=model: vk.load(edited(saved, tmp_path / n, parts={"model": m})))
    prior = {"part": "prior/standard-normal", "arguments": {"event_shape": 2**31 - 1}}
    plain = {"part": "objective/elbo", "arguments": {}}
    refused(lambda: vk.load(edited(saved, tmp_path / "d", parts={"model": prior})), "for the model")
    refused(lambda: vk.load(edited(saved, tmp_path / "e", parts={"model": plain})), "for the model")
    refused(lambda: vk.load(edited(saved, tmp_path / "f", parts={"modl": plain})), "modl")
    refused(lambda: vk.load(edited(saved, tmp_path / "g", parts={"objective": wide})), "objective")
    refused(lambda: vk.load(edited(saved, tmp_path / "h", format=1)), "the format 1")


def test_a_buffer_that_no_weight_accounts_for_is_refused(runs: Path, tmp_path: Path) -> None:
    saved = vk.load(runs / "kit").save(tmp_path / "kit")
    tree = json.loads((saved / "config.json").read_text())["parts"]["model"]
    arguments = tree["arguments"]
    arguments["prior"]["arguments"]["event_shape"] = 2**31 - 1
    arguments["posterior"]["arguments"]["family"]["arguments"]["event_shape"] = 2**31 - 1
    arguments["likelihood"]["arguments"]["in_shape"] = 2**31 - 1
    bad = edited(saved, tmp_path / "bad", parts={"model": tree})
    refused(lambda: vk.load(bad), "2,147,483,647 elements of prior.zero")


def test_a_zip_of_other_things_or_far_too_much_is_refused(runs: Path, tmp_path: Path) -> None:
    good = vk.load(runs / "kit").save(tmp_path / "good.vaekit")
    with zipfile.ZipFile(good) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}

    def packed(name: str, content: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in content.items():
                archive.writestr(member, data)
        return tmp_path / name

    assert vk.load(packed("deflated.vaekit", files)).weights == "best"
    bomb = {**files, "model.safetensors": bytes(50 << 20)}
    refused(lambda: vk.load(packed("bomb.vaekit", bomb)), "would unpack to 50.0 MiB")
    up = {"../" + name: data for name, data in files.items()}
    refused(lambda: vk.load(packed("up.vaekit", up)), "config.json")
    half = {name: data for name, data in files.items() if name != "model.safetensors"}
    refused(lambda: vk.load(packed("half.vaekit", half)), "there is no checkpoint")
    junk = {**files, "model.safetensors": b"x" * 99}
    refused(lambda: vk.load(packed("junk.vaekit", junk)), "is truncated")
    deep = {**files, "config.json": b"[" * 100_000}
    refused(lambda: vk.load(packed("deep.vaekit", deep)), "is broken")
    (tmp_path / "cut.vaekit").write_bytes(good.read_bytes()[:-30])
    refused(lambda: vk.load(tmp_path / "cut.vaekit"), "cut.vaekit")
    (tmp_path / "flip.vaekit").write_bytes(good.read_bytes().replace(b"posterior", b"postexior"))
    refused(lambda: vk.load(tmp_path / "flip.vaekit"), "broken")


def test_names_of_copies_lead_nowhere_else(runs: Path, tmp_path: Path) -> None:
    """A config may name any file of the process as an import; it is copied under its last name."""
    source = Path(json.__file__).read_bytes()
    saved = vk.load(runs / "kit").save(tmp_path / "a" / "b" / "kit")
    record = {"file": "../../evil/__init__.py", "sha256": hashlib.sha256(source).hexdigest()}
    bad = edited(saved, tmp_path / "bad")
    (bad / "imports").mkdir()
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "__init__.py").write_bytes(source)
    config = json.loads((bad / "config.json").read_text()) | {"imports": [record]}
    (bad / "config.json").write_text(json.dumps(config))
    vk.load(bad).save(tmp_path / "x" / "out")
    assert not (tmp_path / "x" / "evil").exists()
    config["imports"] = [{"file": "a.py", "sha256": ["x"]}]
    (bad / "config.json").write_text(json.dumps(config))
    refused(lambda: vk.load(bad), "imports are no list of files")


def test_a_resumed_run_keeps_its_objective(runs: Path, tmp_path: Path) -> None:
    class Learned(vk.ELBO):
        def __init__(self) -> None:
            super().__init__()
            self.log_weight = nn.Parameter(torch.zeros(()))

    shutil.copytree(runs / "own", tmp_path / "own")
    again = {"model": composed(TwoHeads()), "objective": Learned(), "epochs": 3}
    refused(lambda: vk.resume(tmp_path / "own", **again), "of another training: log_weight")


def test_the_numbers_of_a_card_are_those_of_its_weights(tmp_path: Path) -> None:
    """Not of the last epoch, where another one was best; of averaged weights there are none."""
    run = vk.train("vae", out=tmp_path / "r", report=False, ema=0.9, **QUICK)
    records = run.folder.records()
    best = next(one for one in records if one["step"] == run.step)
    worse = {name: value - 7 for name, value in best["validation"].items()}
    run.folder.append({**best, "epoch": 9, "step": 999, "best": False, "validation": worse})
    card = (run.save(tmp_path / "best") / "README.md").read_text()
    assert f"validation rows, epoch {best['epoch']}:" in card
    assert f"| elbo | {best['validation']['elbo']:.4g} |" in card
    averaged = vk.load(run.path, weights="ema").save(tmp_path / "ema")
    assert "None were kept with it." in (averaged / "README.md").read_text()


@pytest.mark.parametrize("kind", ["prior", "posterior", "likelihood"])
def test_a_part_made_with_its_defaults_can_be_saved(kind: str) -> None:
    """What is written has all options, those that nobody gave too; it prints as the part does."""
    tried = 0
    for name in entries(kind):
        asked = describe(kind, name)["given"]
        if asked == ["event_shape"]:
            part = find(kind, name)((3, 16, 16) if kind == "likelihood" else 2)
            again = build_structure(structure(part), kind)
            assert repr(again) == repr(part), name
            tried += 1
    assert tried > 3
