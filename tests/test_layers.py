"""The layers of a network: words, shapes and parameters, by hand from the formula."""

from __future__ import annotations

import gettext
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

import vaekit as vk
from vaekit import registry
from vaekit.cli import main
from vaekit.data import ColumnSpec, DataSpec
from vaekit.models import LayerTable, Model, layer_tables
from vaekit.nn import Patches, Residual, SubPixel, in_words, layer_phrases
from vaekit.recipes import build

GRAY = DataSpec("gray", (1, 28, 28), "gray", rows=20)
LABELED = DataSpec("labeled", (1, 28, 28), "gray", rows=20, context=(10,), classes=10)
COLOR = DataSpec("color", (3, 12, 12), "color", rows=20)
COLUMNS = [("a", "numeric"), ("b", "count"), ("c", "binary"), ("d", "category", ("x", "y"))]
MIXED = DataSpec("t", (5,), "mixed", rows=20, columns=tuple(ColumnSpec(*c) for c in COLUMNS))
COUNTS = DataSpec("counts", (30,), "counts", rows=20)


def tables(recipe: str, data: DataSpec, **parts: Any) -> tuple[LayerTable, ...]:
    """Its tables, whose parameters are those of the model."""
    model = build(recipe, data, **parts).model
    found = layer_tables(model, data.context)
    assert sum(table.parameters for table in found) == sum(p.numel() for p in model.parameters())
    return found


def rows(table: LayerTable) -> list[tuple[str, Any, int]]:
    return [(layer.words, layer.shape, layer.parameters) for layer in table.layers]


def test_a_small_convolutional_network() -> None:
    encoder, decoder = tables("vae", GRAY, net="conv:channels=32,64:activation=relu", latent=20)
    assert (encoder.title(), encoder.takes) == ("encoder q(z|x)", (1, 28, 28))
    assert rows(encoder) == [
        ("convolution 3 x 3, stride 2, padding 1", (32, 14, 14), 3 * 3 * 1 * 32 + 32),
        ("ReLU", (32, 14, 14), 0),
        ("convolution 3 x 3, stride 2, padding 1", (64, 7, 7), 3 * 3 * 32 * 64 + 64),
        ("ReLU", (64, 7, 7), 0),
        ("flatten", (64 * 7 * 7,), 0),
        ("dense", (40,), 64 * 7 * 7 * 40 + 40),
    ]
    assert encoder.meaning() == "mean and log variance of a Gaussian over 20 latents"
    up = "transposed convolution 3 x 3, stride 2, padding 1, output padding 1"
    assert (decoder.title(), decoder.takes) == ("decoder p(x|z)", (20,))
    assert rows(decoder) == [
        ("dense", (3136,), 20 * 3136 + 3136),
        ("ReLU", (3136,), 0),
        ("unflatten", (64, 7, 7), 0),
        (up, (32, 14, 14), 3 * 3 * 64 * 32 + 32),
        ("ReLU", (32, 14, 14), 0),
        (up, (1, 28, 28), 3 * 3 * 32 * 1 + 1),
    ]
    shown = "mean of a Gaussian over 1 x 28 x 28, one fitted scale, mean through sigmoid"
    assert decoder.meaning() == shown


def test_an_mlp_with_norm_and_dropout() -> None:
    net = "mlp:hidden=50:norm=batch:dropout=0.2:latent_dropout=0.1:activation=leaky-relu"
    encoder, decoder = tables("vae", GRAY, net=net, latent=3, likelihood="bernoulli")
    assert rows(encoder) == [
        ("flatten", (784,), 0),
        ("dense, no bias", (50,), 784 * 50),
        ("batch norm", (50,), 2 * 50),
        ("leaky ReLU, slope 0.01", (50,), 0),
        ("dropout 0.2", (50,), 0),
        ("dense", (6,), 50 * 6 + 6),
    ]
    assert rows(decoder)[:2] == [("dropout 0.1 of z", (3,), 0), ("dense, no bias", (50,), 150)]
    assert decoder.meaning() == "logits of a Bernoulli over 1 x 28 x 28"


def test_labels_are_joined_to_what_goes_in() -> None:
    encoder, decoder = tables("cvae", LABELED, net="mlp:hidden=5", latent=2)
    assert (encoder.title(), encoder.takes) == ("encoder q(z|x, y)", (784 + 10,))
    assert (decoder.title(), decoder.takes) == ("decoder p(x|z, y)", (2 + 10,))
    assert rows(encoder)[0] == ("dense", (5,), 794 * 5 + 5)
    encoder, _ = tables("cvae", LABELED, net="conv:channels=4", latent=2)
    assert encoder.takes == (11, 28, 28)
    assert rows(encoder)[0][2] == 3 * 3 * 11 * 4 + 4


@pytest.mark.parametrize(
    ("recipe", "data", "parts"),
    [
        ("vae", GRAY, {"net": "pool"}),
        ("vae", GRAY, {"net": "pool:padding=valid:kernel=5:channels=10,5:hidden=20"}),
        ("unpool_ae", GRAY, {}),
        ("vae", GRAY, {"net": "tf-tutorial"}),
        ("colorizer", COLOR, {}),
        ("colorizer", COLOR, {"net": "color:dense=true"}),
        ("vae", COUNTS, {}),
        ("vae", COUNTS, {"likelihood": "poisson"}),
        ("iwae", COLOR, {"likelihood": "laplace"}),
    ],
)
def test_every_network_of_the_kit(recipe: str, data: DataSpec, parts: dict[str, Any]) -> None:
    for table in tables(recipe, data, **parts):
        assert table.gives
        assert [row for row in rows(table) if not row[1] and row[2]] in (
            [],
            [("log_dispersion of the distribution", None, 30)],
            [("log_scale of the distribution", None, 1)],
        )
        for layer in table.layers:
            assert not re.search(r"\w+\(", layer.words.replace("log(1 + x)", ""))


def test_layers_stand_in_the_order_in_which_they_compute() -> None:
    (net,) = tables("colorizer", COLOR, net="color:channels=4,8")
    shapes = [shape for words, shape, _ in rows(net) if "convolution" in words]
    assert shapes == [(4, 12, 12), (8, 6, 6), (4, 12, 12), (4, 12, 12), (3, 12, 12)]
    counts = tables("vae", COUNTS, net="mlp:hidden=4")[0]
    assert rows(counts)[:2] == [("log(1 + x)", (30,), 0), ("dense", (4,), 30 * 4 + 4)]


class Twice(nn.Module):
    """A layer that is called twice, one that is never called, a parameter, two heads."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.unused = nn.Linear(9, 7)
        self.inner = nn.Linear(9, 9)
        self.gain = nn.Parameter(torch.ones(9))
        self.heads = nn.ModuleList(nn.Linear(9, 2) for _ in range(heads))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        h = self.inner(self.inner(x)) * self.gain
        return tuple(head(h) for head in self.heads)


def composed(encoder: nn.Module, decoder: nn.Module) -> vk.VAE:
    return vk.VAE(
        vk.StandardNormal(2),
        vk.Conditional(encoder, vk.Gaussian(2), in_shape=9),
        vk.Conditional(decoder, vk.Bernoulli(9), in_shape=2),
    )


def test_networks_of_ones_own() -> None:
    decoder = nn.Sequential(nn.Bilinear(2, 2, 3), nn.Linear(3, 9))  # it takes two arguments
    model = composed(Twice(2), decoder)
    encoder, broken = layer_tables(model)
    assert rows(encoder) == [
        ("Twice", (2,), 9),
        ("dense", None, 9 * 7 + 7),
        ("dense", (9,), 9 * 9 + 9),
        ("dense", (2,), 9 * 2 + 2),
        ("dense", (2,), 9 * 2 + 2),
    ]
    assert [shape for _, shape, _ in rows(broken)] == [None, None]
    assert (
        broken.layers[0].words
        == "Bilinear (in1_features=2, in2_features=2, out_features=3, bias=True)"
    )
    total = sum(p.numel() for p in model.parameters())
    assert encoder.parameters + broken.parameters == total


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.sigmoid()


class Backwards(nn.Module):
    """Its layers are defined in another order than they compute in."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.unused = nn.Linear(5, 4), nn.Linear(3, 3)
        self.swish, self.first = Swish(), nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.swish(self.first(x)))


def test_layers_defined_in_another_order_stand_as_they_compute() -> None:
    """One that is not called stays behind the one before it; an activation of one's own counts."""
    encoder, _ = layer_tables(composed(Backwards(), nn.Linear(2, 9)))
    assert rows(encoder) == [
        ("dense", (5,), 50),
        ("Swish", (5,), 0),
        ("dense", (4,), 24),
        ("dense", None, 12),
    ]


def test_what_two_networks_share_is_counted_once() -> None:
    shared = nn.Linear(9, 9)
    encoder = nn.Sequential(shared, nn.Linear(9, 4))
    model = composed(encoder, nn.Sequential(nn.Linear(2, 9), shared))
    first, second = layer_tables(model)
    assert [layer.parameters for layer in first.layers] == [90, 40]
    assert [layer.parameters for layer in second.layers] == [27, 0]


class Plain(Model):
    """A model without conditionals."""

    offers, x_shape = frozenset(), (4,)

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(4, 2), nn.Sequential(nn.Linear(2, 4), nn.Tanh())
        self.scale = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, context: Any = None, **how: Any) -> Any:
        return self.up(self.down(x))

    def reconstruct(self, x: Tensor, context: Any = None, *, mask: Any = None) -> Tensor:
        return self.up(self.down(x))


def test_a_model_of_another_kind() -> None:
    up, others = layer_tables(Plain())
    assert (up.title(), up.takes, up.meaning()) == ("up", (2,), "")
    assert rows(up) == [("dense", (4,), 12), ("tanh", (4,), 0)]
    assert others.rows() == [
        ("down: dense", "2", "10"),
        ("Plain", "4", "3"),
        ("sum", "", "13"),
    ]


class Grouped(Plain):
    """Its networks stand in a container of its own."""

    def __init__(self) -> None:
        super().__init__()
        inner = vk.Conditional(nn.Linear(4, 4), vk.Gaussian(2), in_shape=4)
        self.up = nn.ModuleDict({"code": inner, "more": nn.Sequential(nn.Linear(4, 4), nn.Tanh())})

    def forward(self, x: Tensor, context: Any = None, **how: Any) -> Any:
        return self.up["more"](self.up["code"](x).mean)


def test_networks_in_a_container_have_a_table_each() -> None:
    titles = [table.title() for table in layer_tables(Grouped())]
    assert titles[:2] == ["up.code", "up.more"]


def test_mode_random_state_and_hooks_stay() -> None:
    model = composed(nn.Sequential(nn.Linear(9, 4), nn.Dropout(0.5)), nn.Linear(2, 9)).train()
    calls: list[str] = []
    handle = model.posterior.net.register_forward_hook(lambda *_: calls.append("mine"))
    model.posterior.net[1].eval()
    before, state = [each.training for each in model.modules()], torch.get_rng_state()
    layer_tables(model)
    assert torch.equal(state, torch.get_rng_state())
    assert [each.training for each in model.modules()] == before
    assert all(p.grad is None for p in model.parameters())
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert sum(hooks) == 1
    assert calls == ["mine"]
    handle.remove()


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.ConvTranspose2d(4, 8, (3, 5), 2, (1, 2), groups=2, dilation=2),
         "transposed convolution 3 x 5, stride 2, padding 1 x 2, dilation 2, 2 groups"),
        (nn.Conv2d(1, 1, 3, padding="same", padding_mode="reflect"),
         "convolution 3 x 3, padding same, padding of reflect"),
        (nn.MaxPool2d(3, 2, 1), "max-pooling 3 x 3, stride 2, padding 1"),
        (nn.AvgPool2d((2, 1)), "average pooling 2 x 1"),
        (nn.ZeroPad2d((1, 2, 0, 0)), "zero padding, left 1, right 2"),
        (nn.ZeroPad2d((0, -1, 0, -2)), "crop, right 1, bottom 2"),
        (nn.ZeroPad2d(-1), "zero padding -1"),
        (nn.Upsample(scale_factor=2), "upsampling by 2, nearest"),
        (nn.Upsample((7, 8)), "upsampling to 7 x 8, nearest"),
        (nn.GroupNorm(2, 4), "group norm, 2 groups"),
        (nn.Softplus(), "softplus"),
        (nn.GLU(1), "gate"),
        (Residual(4), "residual block"),
        (Patches(4), "patches 4 x 4"),
        (SubPixel(4, (1, 5, 5), 2), "sub-pixel convolution 3 x 3, padding 1, to 2 x 2 pixels"),
        (nn.PReLU(), "PReLU (num_parameters=1)"),
    ],
)  # fmt: skip
def test_layers_in_words(module: nn.Module, words: str) -> None:
    assert in_words(layer_phrases(module)) == words


LOCALES = Path(vk.__file__).parent / "report" / "locales"
MODULES = [
    *(nn.Linear(2, 2, bias=False), nn.Conv2d(2, 2, 3, 2, 1, 2, 2, padding_mode="circular")),
    *(nn.ConvTranspose2d(2, 2, 3, 2, 0, 1), nn.MaxPool2d(2, ceil_mode=True), nn.AvgPool2d(2)),
    *(nn.ZeroPad2d(1), nn.ZeroPad2d((1, 2, 3, 4)), nn.ZeroPad2d((0, -1, 0, 0)), nn.Upsample(3)),
    *(nn.Upsample(None, 2), nn.BatchNorm1d(2), nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.ReLU()),
    *(nn.LeakyReLU(), nn.Dropout(), vk.LatentDropout(2, 0.1), nn.Flatten(), nn.PReLU()),
    *(nn.Unflatten(1, (1, 2)), nn.GLU(), Residual(4)),
    *(Patches(2), SubPixel(4, (1, 5, 5), 2)),
]


def test_every_form_is_in_the_catalog_of_the_report() -> None:
    catalog = gettext.translation("vaekit", LOCALES, ["zh"])._catalog  # type: ignore[attr-defined]
    forms = {form for module in MODULES for form, *_ in layer_phrases(module)} - {"{}"}
    shape: dict[str, Any] = {"event_shape": lambda: (1, 4, 4), "levels": lambda: 4}
    shape["library"] = lambda: False
    vector = shape | {"event_shape": lambda: (4,)}
    mixed: dict[str, Any] = {"event_shape": lambda: (5,), "data": lambda: MIXED}
    for kind in ("posterior", "likelihood"):
        for name, entry in registry.entries(kind).items():
            scales = (
                ["free", "softplus", "shared", "fitted", 0.5]
                if "scale" in entry["options"]
                else [None]
            )
            if not getattr(registry.find(kind, name), "fits", True):
                scales.remove("fitted")
            if name == "discretized-logistic":
                scales = ["free", "shared", 0.5]
            for scale in scales:
                spec = {"name": name, **({} if scale is None else {"scale": scale})}
                spec |= {"mean": "tanh"} if "mean" in entry["options"] else {}
                given = mixed if name == "blocks" else vector if kind == "posterior" else shape
                forms |= {form for form, *_ in registry.make(kind, spec, given).gives}
    assert forms - {*catalog} == set()
    assert len(forms) > 45


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> vk.Run:
    options: dict[str, Any] = {"net": "mlp:hidden=8", "latent": 2, "limit": 50, "epochs": 1}
    out = tmp_path_factory.mktemp("layers") / "r"
    return vk.train("vae", data="digits", threads=1, out=out, **options)


def test_the_report_has_the_table_and_a_drawing(run: vk.Run) -> None:
    html = run.folder.report.read_text()
    row = html[html.index('<section class="row" id="network">') :]
    row = row[: row.index("</section>")]
    cell = '<td class="n">(.*?)</td>'
    cells = re.findall(rf'<tr><th scope="row">(.*?)</th>{cell}{cell}', row)
    assert cells[:3] == [("input", "1 x 8 x 8", ""), ("flatten", "64", "0"), ("dense", "8", "520")]
    assert cells[5] == ("sum", "", "556")
    assert "encoder q(z|x): mean and log variance of a Gaussian over 2 latents" in row
    assert f"{520 + 36 + 24 + 576:,} in all" in row
    drawn = re.findall(r'<svg [^>]*aria-label="([^"]*)"', row)
    assert drawn == ["x 1 x 8 x 8 → 8 → q(z|x) μ, σ 2 + 2", "z 2 → 8 → p(x|z) 1 x 8 x 8"]
    assert len(re.findall(r"<rect ", row)) == 7
    style = html[html.index("<style>") : html.index("</style>")]
    for names in re.findall(r'class="([^"]*)"', row[row.index("<svg") : row.index("</figure>")]):
        assert all(f".{name}" in style for name in names.split())


def test_the_shell_prints_the_table(
    run: vk.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = run.save(tmp_path / "m.vaekit")
    total = 64 * 8 + 8 + 8 * 4 + 4 + 2 * 8 + 8 + 8 * 64 + 64
    for path in (run.path, saved):
        main(["show", str(path)])
        shown = capsys.readouterr().out
        assert re.search(r"^ input +1 x 8 x 8 *$", shown, re.MULTILINE)
        assert re.search(rf"^ dense +8 +{64 * 8 + 8} *$", shown, re.MULTILINE)
        assert "mean and log variance of a Gaussian over 2 latents" in shown
        assert shown.splitlines()[-1] == f"parameters in all: {total:,}"
    main(["show", str(saved), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == total
    assert [net["role"] for net in found["networks"]] == ["encoder", "decoder"]
    assert found["networks"][0]["layers"][1] == {
        "layer": "dense", "path": "posterior.net.body.1", "output": [8], "parameters": 520,
    }  # fmt: skip
    words = "train vae --data digits --net mlp:hidden=8 --latent 2 --limit 50 --print-layers --json"
    main(words.split())
    assert json.loads(capsys.readouterr().out) == found


def test_the_shell_draws_a_file_that_is_complete_in_itself(
    run: vk.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["show", str(run.path), "-o", str(tmp_path / "net.svg")])
    assert "parameters in all" in capsys.readouterr().out
    root = ElementTree.parse(tmp_path / "net.svg").getroot()
    assert root.get("aria-label") == (
        "x 1 x 8 x 8 → 8 → q(z|x) μ, σ 2 + 2; z 2 → 8 → p(x|z) 1 x 8 x 8"
    )
    boxes = [each for each in root.iter() if (each.get("class") or "").startswith("stage")]
    assert len(boxes) == 7  # x, 8, mu and sigma; z, 8, x
    wide = float(str(root.get("width")))
    assert all(0 < float(str(box.get("width"))) < wide / 3 for box in boxes)
    text = (tmp_path / "net.svg").read_text()
    for name in ("--paper", "--accent", "prefers-color-scheme", "svg .stage.on"):
        assert name in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "{none}"], "is no run folder"),
        (["show", "{run}", "-o", "{none}/net.png"], "a network is drawn as .svg"),
        (["show"], "requires an argument"),
    ],
)
def test_the_shell_refuses(
    words: list[str],
    message: str,
    run: vk.Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([word.format(none=tmp_path, run=run.path) for word in words])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_the_page_shows_what_is_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "runs.md").read_text()
    (command,) = re.findall(r"^vaekit (train .* --print-layers)$", page, re.MULTILINE)
    shown = re.findall(r"<!-- layers -->\n```\n(.*?)```\n<!-- end layers -->", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    main(command.split())
    printed = capsys.readouterr().out
    assert [line.rstrip() for line in printed.splitlines()] == shown[0].splitlines()
    assert [*tmp_path.iterdir()] == []  # and nothing is written
