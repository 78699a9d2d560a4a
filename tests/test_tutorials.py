"""The files in examples/tutorials are the networks and the losses of tutorials, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vaekit.cli.main import main

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "tutorials"
FILES = sorted(FOLDER.glob("*.yaml"))
ReLU, Sigmoid = nn.ReLU(), nn.Sigmoid()


def dense(*widths: int, between: Callable[[int], list[nn.Module]]) -> list[nn.Module]:
    """Linear maps, and what stands after each of them."""
    pairs = pairwise(widths)
    return [layer for a, b in pairs for layer in (nn.Linear(a, b), *between(b))]


def relu(_: int) -> list[nn.Module]:
    return [ReLU]


def deeper(
    latent: int = 32,
    extra: int = 0,
    between: Callable[[int], list[nn.Module]] = relu,
    *z: nn.Module,
) -> list[nn.Module]:
    """784-512-256 and back; what a label adds to the inputs; both heads are one map."""
    down = dense(784 + extra, 512, 256, between=between)
    up = dense(latent + extra, 256, 512, between=between)
    return [*down, nn.Linear(256, 2 * latent), *z, *up, nn.Linear(512, 784), Sigmoid]


def color_faces() -> list[nn.Module]:
    widths, down, up = (3, 16, 32, 64, 128, 256), [], []
    for a, b in pairwise(widths):
        down += [nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), ReLU]
    for a, b in ((256, 128), (128, 64), (64, 32), (32, 16), (16, 16)):
        up += [nn.ConvTranspose2d(a, b, 3, 2, 1, 1), nn.BatchNorm2d(b), ReLU]
    ends = [nn.Linear(1024, 256), nn.Linear(128, 1024)]
    return [*down, *ends, *up, nn.Conv2d(16, 3, 3, 1, 1), ReLU]


def gray_faces_conv() -> list[nn.Module]:
    down = [nn.Conv2d(1, 10, 5), ReLU, nn.MaxPool2d(2), nn.Conv2d(10, 5, 5, 2, 1), ReLU]
    ends = [nn.MaxPool2d(2), nn.Linear(45, 20), nn.Linear(10, 45)]
    up = [nn.ConvTranspose2d(5, 10, 4, 2), ReLU, nn.ConvTranspose2d(10, 3, 6, 3), ReLU]
    return [*down, *ends, *up, nn.ConvTranspose2d(3, 1, 4), ReLU]


def textbook_conv() -> list[nn.Module]:
    """Keras' "same" on the way up is a transposed convolution that is cropped at its end."""
    down = [nn.Conv2d(1, 32, 3, 2), ReLU, nn.Conv2d(32, 64, 3, 2), ReLU, nn.Linear(2304, 4)]
    up = [nn.Linear(2, 7 * 7 * 32), ReLU, nn.ConvTranspose2d(32, 64, 3, 2), ReLU]
    up += [nn.ConvTranspose2d(64, 32, 3, 2), ReLU, nn.ConvTranspose2d(32, 1, 3, 1, 1), Sigmoid]
    return [*down, *up]


def plain(*widths: int, latent: int) -> list[nn.Module]:
    down, up = dense(*widths, between=relu), dense(latent, *widths[:0:-1], between=relu)
    return [*down, nn.Linear(widths[-1], 2 * latent), *up, nn.Linear(widths[1], 784), Sigmoid]


def gray_faces_dense() -> list[nn.Module]:
    down = [*dense(900, 512, 96, between=relu), nn.Linear(96, 25), nn.Linear(25, 20)]
    return [*down, *dense(10, 25, 96, 512, between=relu), nn.Linear(512, 900)]


def stack() -> list[nn.Module]:
    convolutions = [nn.ConvTranspose2d(1, 10, 5, 2), ReLU, nn.Conv2d(10, 5, 5), ReLU]
    return [*convolutions, nn.Linear(17405, 4500), nn.Linear(4500, 2700)]


SOURCES: dict[str, Callable[[], list[nn.Module]]] = {
    "color-faces": color_faces,
    "colorizer": stack,
    "conv-manifold": textbook_conv,
    "deeper-mlp": deeper,
    "deeper-mlp-1.1": lambda: deeper(32, 0, lambda n: [nn.BatchNorm1d(n), ReLU]),
    "deeper-mlp-1.2": lambda: deeper(32, 0, relu, nn.Dropout(0.2)),
    "deeper-mlp-1.3": lambda: deeper(32, 10),
    "deeper-mlp-2.1-16": lambda: deeper(16),
    "deeper-mlp-2.1-64": lambda: deeper(64),
    "deeper-mlp-2.2": lambda: deeper(32, 0, lambda n: [nn.LeakyReLU(0.01)]),
    "deeper-mlp-2.3": deeper,
    "deeper-mlp-dropout": lambda: deeper(32, 0, lambda n: [nn.Dropout(0.5), ReLU]),
    "first-mlp": lambda: plain(784, 400, latent=20),
    "gray-faces-conv": gray_faces_conv,
    "gray-faces-dense": gray_faces_dense,
    "textbook-mlp": lambda: plain(784, 500, 200, latent=20),
}


def words(layers: list[nn.Module]) -> list[str]:
    """What each layer is; of an activation the kind."""
    return [str(layer).replace("inplace=True", "") for layer in layers]


def leaves(model: Any) -> Iterator[nn.Module]:
    """The layers of q(z|x) and of p(x|z), and what its mean goes through."""
    shape = (nn.Flatten, nn.Unflatten, nn.ZeroPad2d)
    for part in filter(None, (getattr(model, "posterior", None), model.likelihood)):
        for layer in part.net.modules():
            if not any(layer.children()) and not isinstance(layer, shape):
                yield layer
    family = model.likelihood.family
    mean = "sigmoid" if type(family).__name__ == "Bernoulli" else getattr(family, "mean", "")
    if mean in ("sigmoid", "relu"):
        yield {"sigmoid": Sigmoid, "relu": ReLU}[mean]


def built(file: Path) -> Any:
    """The recipe of a file, on data of the shape that it names."""
    from vaekit.cli._train import read_options
    from vaekit.data import DataSpec
    from vaekit.recipes import build

    options = read_options(file)
    shape, kind = (1, 28, 28), "gray"
    if options["data"] == "avatars":
        side = options["size"]
        gray = options.get("gray", False)
        shape, kind = (1 if gray else 3, side, side), "gray" if gray else "color"
    context = (10,) if options["recipe"] == "cvae" else ()
    binary = options.get("binarize", "none") != "none"
    spec = DataSpec("x", shape, "binary" if binary else kind, rows=100, context=context)
    parts = ("likelihood", "net", "latent", "objective")
    changes = {name: options[name] for name in parts if name in options}
    return build(options["recipe"], spec, **changes)


def test_each_file_has_its_source() -> None:
    assert {file.stem for file in FILES} == {*SOURCES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_layers_and_numbers_of_parameters_are_those_of_the_source(file: Path) -> None:
    with torch.device("meta"):
        wanted, model = SOURCES[file.stem](), built(file).model
    assert words(list(leaves(model))) == words(wanted)
    counts = [sum(p.numel() for p in net.parameters()) for net in (model, nn.ModuleList(wanted))]
    assert counts[0] == counts[1] > 0


def cross_entropy(x: Any, y: Any, mu: Any, log_var: Any) -> Any:
    return F.binary_cross_entropy(y, x, reduction="sum") + kl(mu, log_var).sum()


def kl(mu: Any, log_var: Any) -> Any:
    return -0.5 * (1 + log_var - mu**2 - log_var.exp())


# As each source computes its loss, and how many of our nats per image one of it is, for 64 images.
LOSSES: dict[str, tuple[Callable[..., Any], float]] = {
    "color-faces": (
        lambda x, y, *code: F.mse_loss(y, x) + 0.00025 * kl(*code).sum(1).mean(),
        0.00025,
    ),
    "deeper-mlp": (cross_entropy, 64),
    "deeper-mlp-2.3": (
        lambda x, y, *code: F.mse_loss(y, x, reduction="sum") + kl(*code).sum(),
        64,
    ),
    "gray-faces-dense": (lambda x, y, *code: F.mse_loss(y, x) + kl(*code).sum(), 64),
    "gray-faces-conv": (lambda x, y, *code: F.mse_loss(y, x) + kl(*code).sum(), 64),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_that_of_the_source_but_for_a_factor_and_a_constant(name: str) -> None:
    loss, factor = LOSSES[name]
    torch.manual_seed(0)
    both = []
    for shift in (0.0, 0.3):
        recipe = built(FOLDER / f"{name}.yaml")
        model, objective = recipe.model.double().eval(), recipe.objective
        x = torch.rand(64, *model.x_shape, dtype=torch.float64)
        x = 255 * x if name.startswith("gray") else x
        model.posterior.net.output.bias.data += shift
        trace = model(x)
        (site,) = trace.sites
        code = site.q.mean, 2 * site.q.log_scale
        both.append((loss(x, trace.px.mean[0], *code), -objective(trace).value.mean()))
    (first, ours), (second, theirs) = both
    assert abs(second - first) > 1e-3 * abs(first)
    torch.testing.assert_close(second - first, factor * (theirs - ours), rtol=1e-3, atol=0)


def test_the_colorizer_s_loss_is_that_of_its_source() -> None:
    """MSE of 2,700 colors and of 900 luminances; 255 times the gray image goes in."""
    from vaekit.models import luminance
    from vaekit.nn import ColorNet

    x, (y, z) = torch.rand(4, 3, 30, 30), torch.rand(2, 4, 3, 30, 30)
    recipe = built(FOLDER / "colorizer.yaml")
    losses, ours = [], []
    for made in (y, z):
        px = recipe.model.likelihood.family(made[None])
        trace = recipe.model(x)
        losses.append(F.mse_loss(made, x) + F.mse_loss(luminance(made), luminance(x)))
        ours.append(-recipe.objective(replace(trace, px=px)).value.mean())
    torch.testing.assert_close(
        losses[1] - losses[0], 2 / 2700 * (ours[1] - ours[0]), rtol=1e-4, atol=1e-6
    )
    net = ColorNet((6, 6), (2, 3), (5,), dense=True, residual=False, gain=255.0, activation="relu")
    g, layers = torch.rand(2, 1, 6, 6), [*net.body, net.output]
    wanted = nn.Sequential(*layers)(255 * g).view(2, 3, 6, 6)
    torch.testing.assert_close(net(g), wanted)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with digits as large as MNIST's."""
    from vaekit.data import load

    monkeypatch.chdir(tmp_path)
    digits, arrays = load("digits"), {}
    for start, rows in (("", digits.train), ("test_", digits.test)):
        large = F.interpolate(rows.images[:100].float(), (28, 28))
        arrays[f"{start}images"] = large[:, 0].to(torch.uint8).numpy()
        arrays[f"{start}labels"] = rows.labels[:100].numpy()  # type: ignore[index]
    np.savez(tmp_path / "mnist.npz", **arrays)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_trains_for_an_epoch(file: Path, here: Path) -> None:
    text = file.read_text().replace("data: mnist", "data: mnist.npz")
    if file.stem == "colorizer":  # 90 million weights: a checkpoint has 1.1 GB
        text = text.replace("size: 30", "size: 8").replace("hidden=4500", "hidden=64")
    (here / "small.yaml").write_text(text.replace("limit: 1044", ""))
    more = ["--limit", "40", "--epochs", "1", "--threads", "1", "--no-report", "--quiet"]
    main(["train", "--config", "small.yaml", *more, "--out", "run"])
    assert (here / "run" / "metrics.jsonl").read_text().count("\n") == 1
