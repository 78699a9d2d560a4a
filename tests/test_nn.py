"""vaekit.nn against hand-written compositions, adjoints, closed-form spreads and torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vaekit as vk
from vaekit import VaekitError
from vaekit.data import load
from vaekit.nn import (
    MLP,
    ColorNet,
    ConvDecoder,
    ConvEncoder,
    LatentDropout,
    PoolEncoder,
    Residual,
    ResidualDecoder,
    ResidualEncoder,
    UnpoolDecoder,
    UnpoolEncoder,
    activation,
    initialize,
    lowered,
    places_of,
    precision,
    start_at,
    unpool,
    use_format,
)
from vaekit.recipes import build
from vaekit.testing import check_model
from vaekit.training import fit

GRIDS = [(28, 28), (28, 20), (30, 30), (64, 64), (1, 5), (7, 1), (1, 1), (33, 18)]


KERNELS = [2, 3, 4, 5, 6]


def halve(length: int) -> int:
    return math.ceil(length / 2)


def kinds(net: nn.Module) -> list[type[nn.Module]]:
    body = net.get_submodule("body")
    return [type(layer) for layer in body.children()]


def affine(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)


# Activations


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("relu", lambda x: x.clamp(min=0)),
        ("leaky_relu", lambda x: torch.where(x > 0, x, 0.01 * x)),
        ("leaky_relu:0.2", lambda x: torch.where(x > 0, x, 0.2 * x)),
        ("gelu", lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))),
        ("silu", lambda x: x / (1 + torch.exp(-x))),
        ("tanh", lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())),
    ],
)
def test_activation_is_its_formula(spec: str, wanted: Callable[[Tensor], Tensor]) -> None:
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    torch.testing.assert_close(activation(spec)()(x), wanted(x))


def test_a_gate_is_one_half_of_an_affine_map_times_the_other() -> None:
    torch.manual_seed(0)
    net = MLP(3, 2, (4, 5), activation="glu").double()
    first, _, second, _ = net.body
    assert (first.out_features, second.in_features, second.out_features) == (8, 4, 10)
    h = torch.randn(7, 3, dtype=torch.float64)
    x = h
    for layer in (first, second):
        width = layer.out_features // 2
        (w, v), (b, c) = layer.weight.split(width), layer.bias.split(width)
        h = (h @ w.T + b) / (1 + torch.exp(-(h @ v.T + c)))
    torch.testing.assert_close(net(x), h @ net.output.weight.T + net.output.bias)
    with pytest.raises(VaekitError, match="of dense nets alone"):
        ConvEncoder((1, 4, 4), 2, activation="glu")


def test_activation_makes_a_new_module_each_time() -> None:
    make = activation("leaky_relu:0.2")
    assert make() is not make()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rleu", "unknown activation 'rleu'; did you mean 'relu'?"),
        ("leakyrelu:0.2", "unknown activation 'leakyrelu'; did you mean 'leaky_relu'?"),
        ("relu:0.2", "activation 'relu' takes no number; got 'relu:0.2'"),
        ("leaky_relu:", "activation 'leaky_relu:' needs a number after the colon"),
        ("leaky_relu:x", "activation 'leaky_relu:x' needs a number after the colon"),
        ("leaky_relu:nan", "activation 'leaky_relu:nan' needs a number after the colon"),
    ],
)
def test_activation_errors(spec: str, message: str) -> None:
    with pytest.raises(VaekitError) as caught:
        activation(spec)
    assert message in str(caught.value)


# MLP


def test_mlp_is_the_composition_of_its_layers() -> None:
    net = MLP((2, 3), (4, 2), hidden=(7, 5))
    first, second = (layer for layer in net.body.children() if affine(layer))
    x = torch.randn(6, 2, 3)
    h = F.gelu(F.linear(x.reshape(6, 6), first.weight, first.bias))
    h = F.gelu(F.linear(h, second.weight, second.bias))
    wanted = F.linear(h, net.output.weight, net.output.bias).reshape(6, 4, 2)
    torch.testing.assert_close(net(x), wanted)
    assert (net.in_shape, net.out_shape) == ((2, 3), (4, 2))


def test_mlp_uses_the_activation_it_was_given() -> None:
    net = MLP(3, 2, hidden=(4,), activation="leaky_relu:0.2")
    x = torch.randn(5, 3)
    h = net.body[0](x)
    wanted = net.output(torch.where(h > 0, h, 0.2 * h))
    torch.testing.assert_close(net(x), wanted)


def test_mlp_without_hidden_layers_is_affine() -> None:
    net = MLP((2, 3), 4, hidden=()).double()
    x, y = torch.randn(2, 5, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(net(0.3 * x + 0.7 * y), 0.3 * net(x) + 0.7 * net(y))
    assert sum(p.numel() for p in net.parameters()) == 6 * 4 + 4


def test_mlp_takes_sizes_and_shapes_alike() -> None:
    net = MLP(6, 4, hidden=8)
    same = MLP(torch.Size([6]), [4], hidden=[8])
    same.load_state_dict(net.state_dict())
    x = torch.randn(3, 6)
    assert (same.in_shape, same.out_shape) == ((6,), (4,))
    assert torch.equal(net(x), same(x))


def test_flat_shapes_need_no_reshaping(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a view was made")

    flat, shaped, x = MLP(6, 4), MLP(6, (2, 2)), torch.randn(3, 6)
    monkeypatch.setattr(Tensor, "unflatten", refuse)
    assert flat(x).shape == (3, 4)
    assert nn.Flatten not in kinds(flat)
    with pytest.raises(AssertionError, match="a view was made"):
        shaped(x)


@pytest.mark.parametrize("shape", [(3, 3, 2), (3, 6), (2, 3), (1, 3, 2, 3)])
def test_a_wrong_input_shape_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(VaekitError) as caught:
        MLP((2, 3), 1)(torch.zeros(shape))
    assert str(caught.value) == f"MLP takes (N, 2, 3); got {shape}."


# Blocks: the order of norm, activation and dropout, in every network


def networks(**options: object) -> list[nn.Module]:
    return [
        MLP((1, 6, 5), 4, hidden=(8, 6), **options),
        ConvEncoder((1, 6, 5), 4, channels=(3, 5), hidden=(8,), **options),
        ConvDecoder(4, (1, 6, 5), channels=(5, 3), hidden=(8,), **options),
    ]


def test_order_of_the_layers() -> None:
    dense = [nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Dropout]
    down = [nn.Conv2d, nn.BatchNorm2d, nn.Tanh, nn.Dropout]
    up = [nn.ConvTranspose2d, nn.BatchNorm2d, nn.Tanh, nn.Dropout]
    mlp, encoder, decoder = networks(activation="tanh", norm="batch", dropout=0.1)
    assert kinds(mlp) == [nn.Flatten, *dense, *dense]
    assert kinds(encoder) == [*down, *down, nn.Flatten, *dense]
    before, unflattened, after = (kinds(decoder)[:8], kinds(decoder)[8], kinds(decoder)[9:])
    assert (before, after) == ([*dense, *dense], up)
    assert issubclass(unflattened, nn.Unflatten)
    assert kinds(networks()[1]) == [nn.Conv2d, nn.GELU] * 2 + [nn.Flatten, nn.Linear, nn.GELU]


def test_norm_comes_before_the_activation() -> None:
    """Relu of a normed value has mean 0.4; a norm after it would give mean 0."""
    net = MLP(20, 1, hidden=(50,), activation="relu", norm="batch")
    h = net.body(5 + 3 * torch.randn(4000, 20))
    assert h.min() == 0
    assert abs(h.mean() - 1 / math.sqrt(2 * math.pi)) < 0.01


def test_dropout_comes_after_the_activation() -> None:
    """Each activation is 0, at the rate p, or its value in eval mode / (1 - p)."""
    net = MLP(4, 1, hidden=(2000,), activation="tanh", dropout=0.3)
    x = torch.randn(64, 4)
    h = net.body(x)
    kept = h != 0
    assert abs(kept.float().mean() - 0.7) < 0.01
    net.eval()
    torch.testing.assert_close(h[kept], net.body(x)[kept] / 0.7)


def test_dropout_keeps_the_scale_of_normed_activations() -> None:
    """Dropout before the norm would be normed away: the second moment here is 1 / (1 - p)."""
    net = MLP(20, 1, hidden=(200,), activation="leaky_relu:1", norm="batch", dropout=0.5)
    h = net.body(torch.randn(1000, 20))
    assert abs(h.square().mean() - 2) < 0.05


def test_latent_dropout_drops_z_and_no_label() -> None:
    """Of z a share is 0 and the rest z / (1 - p), independently; what is beside z is untouched."""
    drop, code = LatentDropout(3, 0.2), 1 + torch.rand(20_000, 5)
    out = drop(code)
    assert torch.equal(out[:, 3:], code[:, 3:])
    zeros = out[:, :3] == 0
    assert abs(zeros.float().mean(0) - 0.2).max() < 0.015
    assert abs(torch.corrcoef(zeros.T.float()) - torch.eye(3)).max() < 0.03
    torch.testing.assert_close(out[:, :3][~zeros], code[:, :3][~zeros] / 0.8)
    assert torch.equal(drop.eval()(code), code)


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("which", range(3))
def test_every_parameter_gets_a_gradient(which: int, norm: str) -> None:
    net = networks(norm=norm, activation="gelu")[which].double()
    x = torch.randn(16, *net.in_shape, dtype=torch.float64)
    net(x).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name


@pytest.mark.parametrize("which", range(3))
def test_one_full_graph_for_every_batch_size(which: int) -> None:
    net = networks(norm="batch")[which]
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    for n in (3, 4, 5):
        x = torch.randn(n, *net.in_shape)
        torch.testing.assert_close(compiled(x), net(x))


@pytest.mark.parametrize("which", range(3))
def test_channels_last_changes_no_number(which: int) -> None:
    net = networks()[which].double()
    x = torch.randn(3, *net.in_shape, dtype=torch.float64)
    wanted = net(x)
    torch.testing.assert_close(net.to(memory_format=torch.channels_last)(x), wanted)


# Residual blocks


def test_a_residual_block_is_its_formula() -> None:
    torch.manual_seed(1)
    block = Residual(8, groups=4, activation="silu").double()  # in 2 groups of 4
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(3, 8, 5, 4, dtype=torch.float64)

    def normed(x: Tensor, norm: nn.Module) -> Tensor:
        groups = x.view(3, 2, -1)
        mean, variance = groups.mean(2, keepdim=True), groups.var(2, correction=0, keepdim=True)
        flat = ((groups - mean) / (variance + 1e-5).sqrt()).view(x.shape)
        y = flat * norm.weight[:, None, None] + norm.bias[:, None, None]
        return y / (1 + torch.exp(-y))

    first, _, one, second, _, two = block.body
    h = F.conv2d(normed(x, first), one.weight, one.bias, padding=1)
    h = F.conv2d(normed(h, second), two.weight, two.bias, padding=1)
    torch.testing.assert_close(block(x), x + h)


@pytest.mark.parametrize("grid", GRIDS)
def test_residual_networks_halve_and_come_back(grid: tuple[int, int]) -> None:
    image = (3, *grid)
    encoder = ResidualEncoder(image, (2, 3), channels=(8, 12), hidden=(5,), blocks=2)
    decoder = ResidualDecoder((2, 3), image, channels=(12, 8), hidden=(5,), dropout=0.1)
    assert decoder(encoder(torch.randn(2, *image))).shape == (2, *image)
    down = [layer for layer in encoder.body if isinstance(layer, nn.Conv2d)][1:]
    assert [(layer.in_channels, layer.out_channels) for layer in down] == [(8, 12), (12, 12)]
    blocks = [layer.body[0].num_channels for layer in encoder.body if isinstance(layer, Residual)]
    assert blocks == [8, 8, 12, 12]
    assert encoder.body[-2].in_features == 12 * math.prod(halve(halve(n)) for n in grid)


@pytest.mark.parametrize("which", range(2))
def test_residual_networks_train_every_weight(which: int) -> None:
    torch.manual_seed(0)
    made = ResidualEncoder((1, 6, 5), 4, (4, 8)), ResidualDecoder(4, (1, 6, 5), (8, 4))
    net = made[which].double()
    x = torch.randn(16, *net.in_shape, dtype=torch.float64)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), net(x))
    net(x).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.abs().max() > 1e-6, name


# Convolutions


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("colors", [1, 3])
def test_sizes_halve_and_come_back(grid: tuple[int, int], kernel: int, colors: int) -> None:
    image, stages = (colors, *grid), [grid]
    for _ in range(3):
        stages.append((halve(stages[-1][0]), halve(stages[-1][1])))
    encoder = ConvEncoder(image, (2, 3), channels=(2, 3, 4), kernel=kernel)
    decoder = ConvDecoder((2, 3), image, channels=(4, 3, 2), kernel=kernel)
    down, up = spatial_sizes(encoder), spatial_sizes(decoder)
    code = encoder(torch.randn(2, *image))
    assert code.shape == (2, 2, 3)
    assert decoder(code).shape == (2, *image)
    assert down == stages[1:]
    assert up == stages[-2::-1]


def spatial_sizes(net: nn.Module) -> list[tuple[int, ...]]:
    seen: list[tuple[int, ...]] = []
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _m, _i, y: seen.append(tuple(y.shape[2:])))
    return seen


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("pads", [None, 0, 1])
@pytest.mark.parametrize("grid", [(30, 30), (29, 22)])
def test_strides_divide_and_multiply(grid: tuple[int, int], stride: int, pads: int | None) -> None:
    """By the formula of a convolution; without pads a length n becomes ceil(n / stride)."""
    encoder = ConvEncoder((1, *grid), 2, (2, 3), kernel=3, stride=stride, pads=pads)
    decoder = ConvDecoder(2, (1, *grid), (3, 2), kernel=3, stride=stride, pads=pads, refine=5)
    down, up = spatial_sizes(encoder), spatial_sizes(decoder)
    assert decoder(encoder(torch.randn(2, 1, *grid))).shape == (2, 1, *grid)
    wanted, lengths = [], grid
    for _ in range(2):
        if pads is None:
            lengths = -(-lengths[0] // stride), -(-lengths[1] // stride)
        else:
            lengths = tuple((n + 2 * pads - 3) // stride + 1 for n in lengths)  # type: ignore[assignment]
        wanted.append(lengths)
    assert down == wanted
    assert up == [wanted[0], grid, grid]


def test_a_last_convolution_and_a_bare_projection() -> None:
    net = ConvDecoder(4, (3, 8, 8), (6, 5), norm="batch", projection="affine", refine=3)
    kinds = [type(layer).__name__ for layer in net.body]
    block = ["ConvTranspose2d", "BatchNorm2d", "GELU"]
    assert kinds == ["Linear", "Planes", *block, *block]
    assert str(net.output) == "Conv2d(5, 3, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))"
    assert [net.body[at].out_channels for at in (2, 5)] == [5, 5]


def test_dropout_first_is_the_same_under_relu_and_another_under_gelu() -> None:
    x = torch.randn(7, 9)
    for name, same in (("relu", True), ("leaky_relu", True), ("gelu", False)):
        made = []
        for first in (False, True):
            net = MLP(9, 9, (9,), activation=name, dropout=0.5, dropout_first=first)
            net.body[0].load_state_dict({"weight": torch.eye(9), "bias": torch.zeros(9)})
            torch.manual_seed(0)
            made.append(net.body(x))
        assert torch.allclose(*made) is same


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_stage_up_is_the_adjoint_of_the_stage_down(grid: tuple[int, int], kernel: int) -> None:
    down = ConvEncoder((2, *grid), 1, channels=(3,), kernel=kernel).double().body[0]
    up = ConvDecoder(1, (2, *grid), channels=(3,), kernel=kernel).double().output
    up.load_state_dict({"weight": down.weight, "bias": torch.zeros(2)})
    nn.init.zeros_(down.bias)
    x = torch.randn(1, 2, *grid, dtype=torch.float64)
    y = torch.randn_like(down(x))
    torch.testing.assert_close((down(x) * y).sum(), (x * up(y)).sum())


def test_conv_encoder_is_the_composition_of_its_layers() -> None:
    net = ConvEncoder((1, 6, 5), (2, 2), channels=(3, 4), hidden=(7,))
    one, two, dense = (layer for layer in net.body.children() if affine(layer))
    x = torch.randn(3, 1, 6, 5)
    h = F.gelu(F.conv2d(x, one.weight, one.bias, stride=2, padding=1))
    h = F.gelu(F.conv2d(h, two.weight, two.bias, stride=2, padding=1))
    h = F.gelu(F.linear(h.reshape(3, 16), dense.weight, dense.bias))
    wanted = F.linear(h, net.output.weight, net.output.bias).reshape(3, 2, 2)
    torch.testing.assert_close(net(x), wanted)


def test_conv_decoder_is_the_composition_of_its_layers() -> None:
    net = ConvDecoder((2, 2), (1, 6, 5), channels=(4, 3), hidden=(7,))
    one, two, up = (layer for layer in net.body.children() if affine(layer))
    z, transposed = torch.randn(3, 2, 2), F.conv_transpose2d
    h = F.gelu(F.linear(z.reshape(3, 4), one.weight, one.bias))
    h = F.gelu(F.linear(h, two.weight, two.bias)).reshape(3, 4, 2, 2)
    # 2 -> 3 and 3 -> 5 need no output padding; 3 -> 6 does
    h = F.gelu(transposed(h, up.weight, up.bias, stride=2, padding=1))
    wanted = transposed(
        h, net.output.weight, net.output.bias, stride=2, padding=1, output_padding=(1, 0)
    )
    torch.testing.assert_close(net(z), wanted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP(0, 1), "in_shape is 0; every size must be a whole number, at least 1,"),
        (lambda: MLP(1, (2, -1)), "out_shape is (2, -1); every size must be a whole number"),
        (lambda: MLP(1, 2.5), "got `out_shape=2.5`; expected a whole number or a sequence of"),
        (lambda: MLP((), 1), "in_shape is (); it takes at least 1 size"),
        (lambda: MLP(1, 1, hidden=(8, 0)), "hidden is (8, 0); every size must be a whole number"),
        (lambda: MLP(1, 1, norm="bach"), "unknown norm 'bach'; did you mean 'batch'?"),
        (lambda: MLP(1, 1, activation="thanh"), "unknown activation 'thanh'; did you mean 'tanh'?"),
        (lambda: MLP(1, 1, hidden=(), activation="x"), "unknown activation 'x'."),
        (
            lambda: MLP(1, 1, dropout=-0.1),
            "dropout is -0.1; it takes a share in [0, 1), 0 for none.",
        ),
        (lambda: MLP(1, 1, dropout=1.0), "dropout is 1.0; it takes a share in [0, 1)"),
        (lambda: MLP(1, 1, dropout=math.nan), "dropout is nan; it takes a share in [0, 1)"),
        (lambda: LatentDropout(2, 1.0), "latent_dropout is 1.0; it takes a share in [0, 1)"),
        (lambda: ConvEncoder(784, 2), "in_shape is 784; a convolution takes (C, H, W)."),
        (lambda: ConvEncoder((28, 28), 2), "in_shape is (28, 28); a convolution takes (C, H, W)."),
        (lambda: ConvEncoder((1, 0, 3), 2), "in_shape is (1, 0, 3); every size"),
        (lambda: ConvEncoder((1, 8, 8), 2, ()), "channels is (); it takes at least 1 size"),
        (lambda: ConvEncoder((1, 8, 8), 2, kernel=1), "kernel is 1; with stride 2 it must be at"),
        (lambda: ConvEncoder((1, 8, 8), 2, norm="x"), "unknown norm 'x'. Known: none, batch."),
        (lambda: ConvEncoder((1, 8, 8), 2, dropout=1), "dropout is 1; it takes a share in [0, 1)"),
        (lambda: ConvDecoder(2, (28, 28)), "out_shape is (28, 28); a convolution takes (C, H, W)."),
        (lambda: ConvDecoder(2, (1, 8, 8), ()), "channels is (); it takes at least 1 size"),
        (lambda: ConvDecoder(2, (1, 8, 8), (0, 2)), "channels is (0, 2); every size"),
        (lambda: ConvDecoder(2, (1, 8, 8), (4,), kernel=0), "kernel is 0; every size must be a"),
        (lambda: ConvDecoder(2, (1, 8, 8), (4,), stride=4), "kernel is 3; with stride 4 it must"),
        (lambda: ConvEncoder((1, 8, 8), 2, stride=(1, 2, 2)), "stride is (1, 2, 2); expected one"),
        (lambda: ConvEncoder((1, 8, 8), 2, kernel=4, stride=1), "kernel is 4; with stride 1 it"),
        (lambda: ConvEncoder((1, 4, 4), 2, pads=0), "a kernel of 3 with `pads=0` does not fit a"),
        (lambda: ConvDecoder(2, (1, 8, 8), refine=2), "got `refine=2`; expected an odd side"),
        (lambda: ConvDecoder(2, (1, 8, 8), projection="x"), "unknown end 'x'"),
        (lambda: ColorNet((8, 8), (4,), dense=True), "channels is (4,); it takes at least 2"),
        (lambda: ConvDecoder(2, (1, 8, 8), dropout=-1), "dropout is -1; it takes a share"),
    ],
)
def test_construction_errors(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(VaekitError) as caught:
        make()
    assert str(caught.value).startswith(message)


# Initialization


LAYERS = {
    "linear": lambda: nn.Linear(300, 200),
    "conv": lambda: nn.Conv2d(40, 30, 5, stride=2),
    "grouped": lambda: nn.Conv2d(80, 60, 5, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(40, 30, 5),
    "strided": lambda: nn.ConvTranspose2d(40, 30, 5, stride=2),
    "strided_grouped": lambda: nn.ConvTranspose2d(80, 60, 5, stride=2, groups=2),
}


FAN_SUMS = {
    "linear": 300 + 200,
    "conv": 40 * 25 + 30 * 25,
    "transposed": 40 * 25 + 30 * 25,
    "strided": 40 * 25 + 30 * 25,
}


FAN_INS = {
    "linear": 300,
    "conv": 40 * 25,
    "grouped": 40 * 25,
    "transposed": 40 * 25,
    "strided": 40 * 25 / 4,
    "strided_grouped": 40 * 25 / 4,
}


@pytest.mark.parametrize("name", FAN_SUMS)
def test_glorot_spread(name: str) -> None:
    weight = initialize(LAYERS[name](), "glorot").weight
    wanted = math.sqrt(2 / FAN_SUMS[name])
    assert abs(weight.std() / wanted - 1) < 0.02
    assert 0.99 < weight.abs().max() / (math.sqrt(3) * wanted) <= 1.0001


@pytest.mark.parametrize("name", FAN_INS)
def test_he_spread(name: str) -> None:
    weight = initialize(LAYERS[name](), "he").weight
    wanted = math.sqrt(2 / FAN_INS[name])
    assert abs(weight.std() / wanted - 1) < 0.02
    assert weight.abs().max() > 3 * wanted


@pytest.mark.parametrize("name", ["linear", "conv", "strided"])
def test_he_preserves_the_variance_through_relu(name: str) -> None:
    layer = initialize(LAYERS[name](), "he")
    shape = (400, 300) if name == "linear" else (20, 40, 32, 32)
    y = layer(F.relu(torch.randn(shape)))
    inside = y if name == "linear" else y[..., 4:-4, 4:-4]
    assert abs(inside.square().mean() - 1) < 0.3


@pytest.mark.parametrize("kernel", [3, 4])
def test_he_preserves_the_variance_through_a_decoder(kernel: int) -> None:
    """The third stage of a decoder would have 1/8 of the variance with torch's fan_in."""
    net = ConvDecoder(256, (16, 64, 64), channels=(128, 64, 32), kernel=kernel)
    y = initialize(net, "he")(math.sqrt(0.5) * torch.randn(8, 256))
    assert abs(y[..., 8:-8, 8:-8].square().mean() - 1) < 0.6


@pytest.mark.parametrize("name", ["linear", "conv", "strided"])
def test_orthogonal_rows(name: str) -> None:
    layer = initialize(LAYERS[name]().double(), "orthogonal")
    rows = layer.weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows), dtype=torch.float64))


def test_orthogonal_columns_where_they_are_fewer() -> None:
    weight = initialize(nn.Linear(5, 9).double(), "orthogonal").weight
    torch.testing.assert_close(weight.T @ weight, torch.eye(5, dtype=torch.float64))


@pytest.mark.parametrize("how", ["glorot", "he", "orthogonal"])
@pytest.mark.parametrize("which", range(3))
def test_initialise_reaches_every_weight_and_no_norm(which: int, how: str) -> None:
    net = networks(norm="batch")[which]
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.37)
    assert initialize(net, how) is net
    for layer in net.modules():
        if affine(layer):
            assert not torch.isclose(layer.weight, torch.tensor(0.37)).all()
            assert layer.bias is None or not layer.bias.any()
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert (layer.weight == 0.37).all()
            assert (layer.bias == 0.37).all()


def test_torch_leaves_everything_as_it_is() -> None:
    net = ConvDecoder(4, (1, 6, 5), norm="batch")
    before = [parameter.clone() for parameter in net.parameters()]
    state = torch.get_rng_state()
    assert initialize(net, "torch") is net
    assert all(map(torch.equal, before, net.parameters()))
    assert torch.equal(state, torch.get_rng_state())


def test_unknown_initialization() -> None:
    with pytest.raises(VaekitError, match="unknown initialization 'gloro'; did you mean 'glorot'"):
        initialize(nn.Linear(1, 1), "gloro")


# The first output


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 4, 4)])
def test_start_at_sets_every_element_of_a_dense_output(shape: tuple[int, ...]) -> None:
    net, value = MLP(5, shape), torch.randn(shape)
    nn.init.zeros_(net.output.weight)
    assert start_at(net, value) is net
    assert torch.equal(net(torch.randn(3, 5)), value.expand(3, *shape))


def test_start_at_works_on_a_conv_encoder() -> None:
    net, value = ConvEncoder((1, 8, 8), (2, 3)), torch.randn(2, 3)
    nn.init.zeros_(net.output.weight)
    start_at(net, value)
    assert torch.equal(net(torch.randn(4, 1, 8, 8)), value.expand(4, 2, 3))


def test_start_at_sets_the_mean_of_every_channel() -> None:
    net = ConvDecoder(5, (3, 6, 4))
    value = torch.arange(72.0).reshape(3, 6, 4)
    nn.init.zeros_(net.output.weight)
    start_at(net, value)
    wanted = torch.tensor([11.5, 35.5, 59.5]).reshape(3, 1, 1).expand(2, 3, 6, 4)
    torch.testing.assert_close(net(torch.randn(2, 5)), wanted)


def test_start_at_keeps_the_bias_trainable() -> None:
    net = start_at(MLP(5, 2), torch.ones(2, requires_grad=True))
    net(torch.randn(3, 5)).sum().backward()
    assert net.output.bias.is_leaf
    torch.testing.assert_close(net.output.bias.grad, torch.full((2,), 3.0))


class Odd(nn.Module):
    """A net with the parts it was given."""

    def __init__(self, **parts: object) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


@pytest.mark.parametrize(
    ("net", "value", "message"),
    [
        (nn.ReLU(), torch.zeros(2), "start_at needs a network with `out_shape` and an affine"),
        (Odd(output=nn.Linear(1, 2)), torch.zeros(2), "start_at needs a network with `out_shape`"),
        (
            Odd(output=nn.Linear(1, 2, bias=False), out_shape=(2,)),
            torch.zeros(2),
            "start_at needs a network with `out_shape` and an affine `output` that has a bias; "
            "Odd lacks them.",
        ),
        (
            Odd(output=nn.BatchNorm1d(2), out_shape=(2,)),
            torch.zeros(2),
            "start_at needs a network with `out_shape` and an affine `output`",
        ),
        (
            MLP(1, (2, 3)),
            torch.zeros(6),
            "got `value` of shape (6,); expected (2, 3).",
        ),
        (
            ConvDecoder(1, (3, 4, 4)),
            torch.zeros(3),
            "got `value` of shape (3,); expected (3, 4, 4).",
        ),
        (MLP(1, 2), torch.tensor([0.0, -math.inf]), "start_at takes finite values; clamp means"),
        (
            Odd(output=nn.Linear(1, 3), out_shape=(1,)),
            torch.zeros(1),
            "out_shape (1,) does not fit the 3 output biases.",
        ),
    ],
)
def test_start_at_errors(net: nn.Module, value: Tensor, message: str) -> None:
    before = [parameter.clone() for parameter in net.parameters()]
    with pytest.raises(VaekitError) as caught:
        start_at(net, value)
    assert str(caught.value).startswith(message)
    assert all(map(torch.equal, before, net.parameters()))


# The memory format: other strides, the same numbers


@pytest.fixture
def _channels_last() -> Iterator[None]:
    before = use_format(torch.channels_last)
    yield
    use_format(before)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_memory_format_changes_no_number(channels: int) -> None:
    """Outputs, gradients and running means of both nets, against the usual format."""
    found = []
    before = use_format(torch.contiguous_format)
    try:
        for form in (torch.contiguous_format, torch.channels_last):
            use_format(form)
            torch.manual_seed(1)
            encoder = ConvEncoder((channels, 30, 20), 6, channels=(4, 8), norm="batch").double()
            decoder = ConvDecoder(6, (channels, 30, 20), channels=(8, 4), norm="batch").double()
            x = torch.rand(5, channels, 30, 20, dtype=torch.float64)
            y = decoder(encoder(x))
            (y * x).sum().backward()
            nets = [*encoder.named_parameters(), *decoder.named_parameters()]
            found.append((y, *(p.grad for _, p in nets), *decoder.buffers()))
            assert y.is_contiguous()
    finally:
        use_format(before)
    for usual, other in zip(*found, strict=True):
        torch.testing.assert_close(usual, other, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("_channels_last")
@pytest.mark.parametrize("channels", [1, 3])
def test_every_convolution_computes_in_the_format(channels: int) -> None:
    """Each gets and gives planes whose channels lie side by side."""
    seen: list[Tensor] = []
    encoder = ConvEncoder((channels, 28, 28), 6, channels=(4, 8))
    decoder = ConvDecoder(6, (channels, 28, 28), channels=(8, 4))
    for layer in [*encoder.modules(), *decoder.modules()]:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _, given, out: seen.extend([*given, out]))
    decoder(encoder(torch.rand(5, channels, 28, 28)))
    assert len(seen) == 8
    for planes in seen:
        assert planes.is_contiguous(memory_format=torch.channels_last)
    assert {planes.stride(1) for planes in seen[:-1]} == {1}


POOLED = [(28, 28), (30, 30), (64, 64), (1, 5), (7, 1), (1, 1), (33, 18)]


CLASSIC = "pool:channels=10,5:kernel=5:padding=valid:decoder_channels=5,10,3:decoder_kernel=4,6,4"


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_pool_encoder_is_the_composition_of_its_layers(padding: str) -> None:
    net = PoolEncoder((2, 14, 17), (2, 2), (3, 4), (7,), kernel=(5, 3), padding=padding)
    x = torch.randn(3, 2, 14, 17)
    one, two, dense = (layer for layer in net.body if isinstance(layer, AFFINE))
    border, up = (1, True) if padding == "same" else (0, False)
    h = F.max_pool2d(F.gelu(F.conv2d(x, one.weight, one.bias, padding=2 * border)), 2, ceil_mode=up)
    h = F.max_pool2d(F.gelu(F.conv2d(h, two.weight, two.bias, padding=border)), 2, ceil_mode=up)
    h = F.gelu(F.linear(h.flatten(1), dense.weight, dense.bias))
    wanted = F.linear(h, net.output.weight, net.output.bias).reshape(3, 2, 2)
    torch.testing.assert_close(net(x), wanted)


AFFINE = torch.nn.Linear | torch.nn.Conv2d


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("grid", POOLED)
def test_any_size_goes_down_by_halves_and_comes_back(grid: tuple[int, int], kernel: int) -> None:
    net = PoolEncoder((1, *grid), 4, (2, 3), kernel=kernel)
    lengths = [math.ceil(math.ceil(length / 2) / 2) for length in grid]
    assert net.output.in_features == 3 * math.prod(lengths)
    back = ConvDecoder(4, (1, *grid), (3, 2), kernel=max(kernel, 2))
    assert back(net(torch.rand(2, 1, *grid))).shape == (2, 1, *grid)


def test_an_even_kernel_keeps_the_size_as_torch_does() -> None:
    net = PoolEncoder((1, 6, 5), 4, (2,), kernel=4)
    conv = next(layer for layer in net.body if isinstance(layer, torch.nn.Conv2d))
    x = torch.randn(2, 1, 6, 5)
    padded = F.pad(x, (1, 2, 1, 2))
    wanted = F.max_pool2d(F.gelu(F.conv2d(padded, conv.weight, conv.bias)), 2, ceil_mode=True)
    torch.testing.assert_close(net.body[:4](x), wanted)


def test_the_classic_case_meets_its_sizes() -> None:
    """30 x 30, 1-10-5 with kernels of 5, 5-10-3-1 with 4, 6, 4: every size between, as derived."""
    spec = vk.DataSpec("faces", (1, 30, 30), "gray", rows=20)
    model = build("vae", spec, latent=10, net=CLASSIC).model
    seen: dict[str, list[tuple[int, ...]]] = {"down": [], "up": []}
    for name, part in (("down", model.posterior.net), ("up", model.likelihood.net)):
        for layer in part.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.MaxPool2d):
                layer.register_forward_hook(
                    lambda _m, _i, y, name=name: seen[name].append(tuple(y.shape[1:]))
                )
    model.reconstruct(torch.rand(2, 1, 30, 30))
    assert seen["down"] == [(10, 26, 26), (10, 13, 13), (5, 9, 9), (5, 4, 4)]
    assert seen["up"] == [(10, 8, 8), (3, 15, 15), (1, 30, 30)]
    weights = 5 * 10 * 16 + 10 * 3 * 36 + 3 * 16 + 10 + 3 + 1
    assert sum(p.numel() for p in model.likelihood.net.parameters()) == weights + 10 * 80 + 80
    assert sum(p.numel() for p in model.posterior.net.parameters()) == (
        10 * 25 + 10 + 5 * 10 * 25 + 5 + 80 * 20 + 20
    )


def test_a_pool_model_keeps_the_rules_of_all_models() -> None:
    spec = vk.DataSpec("t", (1, 9, 7), "gray", rows=20, mean=torch.rand(1, 9, 7))
    net = "pool:channels=4,3:kernel=5,3:hidden=8:norm=batch"
    check_model(
        build("vae", spec, latent=2, net=net).model.double(), torch.rand(6, 1, 9, 7).double()
    )


def test_kernels_reach_conv_nets_stage_by_stage() -> None:
    spec = vk.DataSpec("t", (1, 12, 12), "gray", rows=20)
    model = build("vae", spec, net="conv:channels=4,6:kernel=5,3").model
    sides = [
        [m.kernel_size[0] for m in part.modules() if isinstance(m, CONVS)]
        for part in (model.posterior.net, model.likelihood.net)
    ]
    assert sides == [[5, 3], [3, 5]]


CONVS = torch.nn.Conv2d | torch.nn.ConvTranspose2d


def test_a_table_has_nothing_to_pool() -> None:
    spec = vk.DataSpec("t", (5,), "table", rows=20)
    with pytest.raises(VaekitError, match="a pool net needs images; t has rows of shape"):
        build("vae", spec, net="pool")


@pytest.mark.parametrize("ceil", [True, False])
@pytest.mark.parametrize("grid", [(8, 6), (9, 7), (1, 5), (2, 3)])
def test_unpooling_is_that_of_torch(grid: tuple[int, int], ceil: bool) -> None:
    if not ceil and min(grid) < 2:
        return
    x = torch.randn(3, 4, *grid)
    h, index = F.max_pool2d(x, 2, ceil_mode=ceil, return_indices=True)
    row, column = index // grid[1], index % grid[1]
    wanted = F.max_unpool2d(h, index, 2, output_size=grid)
    torch.testing.assert_close(unpool(h, 2 * (row % 2) + column % 2, grid), wanted)


def test_the_code_is_z_and_the_place_of_each_maximum() -> None:
    net = UnpoolEncoder((1, 9, 8), 3, (2, 4), kernel=3, padding="same")
    x = torch.rand(5, 1, 9, 8)
    code = net(x)
    assert places_of((1, 9, 8), (2, 4)) == [(2, 5, 4), (4, 3, 2)]
    assert code.shape == (5, 3 + 40 + 24)
    torch.testing.assert_close(code[:, :3], net.net(x))
    h = net.net.body[:3](x)  # zeros around it, convolution, activation
    first = code[:, 3:43].reshape(5, 2, 5, 4)
    for n, c, i, j in ((0, 0, 0, 0), (4, 1, 4, 3), (2, 0, 3, 1)):
        window = h[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        spot = int(first[n, c, i, j])
        assert window[spot // 2, spot % 2] == window.max()


@pytest.mark.parametrize(("padding", "grid"), [("valid", (30, 30)), ("same", (9, 8))])
def test_the_decoder_is_the_composition_of_its_layers(padding: str, grid: tuple[int, int]) -> None:
    """With torch's own unpooling by the indices of torch's own pooling."""
    image, side = (1, *grid), 5 if padding == "valid" else 3
    up = UnpoolEncoder(image, 3, (2, 4), kernel=side, padding=padding)
    code = up(x := torch.rand(5, *image))
    down = UnpoolDecoder(code.shape[1], image, 3, (2, 4), kernel=side, padding=padding)
    border, ceil = (1, True) if padding == "same" else (0, False)
    h, kept = x, []
    for layer in (layer for layer in up.net.body if isinstance(layer, torch.nn.Conv2d)):
        h = F.gelu(F.conv2d(h, layer.weight, layer.bias, padding=border))
        size = h.shape[2:]
        h, index = F.max_pool2d(h, 2, ceil_mode=ceil, return_indices=True)
        kept.append((index, size))
    g = F.gelu(down.dense[0](code[:, :3])).reshape(h.shape)
    for (index, size), layer in zip(kept[::-1], [down.ups[0][0], down.output], strict=True):
        g = F.max_unpool2d(g, index, 2, output_size=size)
        g = F.conv_transpose2d(g, layer.weight, layer.bias, padding=border)
        g = F.gelu(g) if layer is not down.output else g
    torch.testing.assert_close(down(code), g)
    assert start_at(down, torch.full(image, 0.25)).output.bias.tolist() == [0.25]


def in_bfloat16(net: MLP, x: Tensor) -> Tensor:
    """The net layer by layer: each operand and each result rounded to bfloat16."""
    h = x.bfloat16()
    for layer in [*net.body, net.output]:
        if isinstance(layer, nn.Linear):
            h = nn.functional.linear(h, layer.weight.bfloat16(), layer.bias.bfloat16())
        else:
            h = layer(h)
    return h.float()


def test_products_are_rounded_and_the_output_is_not_left_so() -> None:
    torch.manual_seed(0)
    net, x = MLP(30, 5, hidden=(20, 10), activation="relu"), torch.randn(7, 30)
    exact = net(x)
    with precision("bf16"):
        found = net(x)
    assert found.dtype == torch.float32
    assert torch.equal(found, in_bfloat16(net, x))
    assert not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0.02)
    assert torch.equal(net(x), exact)  # afterwards as before


def test_gradients_reach_weights_of_full_precision() -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder((1, 12, 12), 6, channels=(4, 8))
    decoder = ConvDecoder(6, (1, 12, 12), channels=(8, 4))
    x, gradients = torch.rand(5, 1, 12, 12), []
    for name in ("fp32", "bf16"):
        with precision(name):
            ((decoder(encoder(x)) - x) ** 2).mean().backward()
        each = [p for net in (encoder, decoder) for p in net.parameters()]
        gradients.append(torch.cat([p.grad.flatten() for p in each if p.grad is not None]))
        encoder.zero_grad()
        decoder.zero_grad()
    assert gradients[1].dtype == torch.float32
    assert not torch.equal(*gradients)
    assert (gradients[0] - gradients[1]).norm() < 0.03 * gradients[0].norm()


def test_unpooling_networks_are_lowered_too_and_keep_the_places() -> None:
    torch.manual_seed(0)
    encoder = UnpoolEncoder((1, 12, 12), 6, (4, 8))
    decoder = UnpoolDecoder(encoder.out_shape, (1, 12, 12), 6, (4, 8))
    x = torch.rand(5, 1, 12, 12)
    codes, images = {}, {}
    for name in ("fp32", "bf16"):
        with precision(name):
            codes[name] = encoder(x)
            images[name] = decoder(codes["fp32"])
    for found in (codes, images):
        assert found["bf16"].dtype == torch.float32
        assert not torch.equal(found["bf16"], found["fp32"])
    z, places = codes["bf16"].split([6, codes["bf16"].shape[1] - 6], 1)
    torch.testing.assert_close(z, codes["fp32"][:, :6], rtol=0.05, atol=0.02)
    torch.testing.assert_close(images["bf16"], images["fp32"], rtol=0.05, atol=0.02)
    assert set(places.unique().tolist()) == {0.0, 1.0, 2.0, 3.0}
    assert (places == codes["fp32"][:, 6:]).float().mean() > 0.95  # but where two are alike


def test_only_the_steps_of_a_training_are_lowered() -> None:
    """Same seeds: losses of the steps differ by rounding; what is done between epochs does not."""
    losses, seen = {}, []
    for name in ("fp32", "bf16"):
        torch.manual_seed(0)
        data = load("digits")
        made = vk.recipes.build("vae", data.spec(), latent=2)
        progress = fit(
            made.model,
            made.objective,
            vk.Batches(data.train, 128),
            steps=24,
            optimizer=torch.optim.Adam(made.model.parameters(), lr=1e-3),
            precision=name,
            on_step=lambda progress: seen.append(("step", lowered())),
            on_epoch=lambda progress: seen.append(("epoch", lowered())),
        )
        losses[name] = progress.means["objective"]
        assert {value.dtype for value in made.model.parameters()} == {torch.float32}
    assert set(seen) == {("step", False), ("step", True), ("epoch", False)}
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=5e-3)


def test_the_command_trains_in_it(tmp_path: Path) -> None:
    told = {"data": "digits", "epochs": 1, "report": False, "latent": 2, "threads": 1}
    lines = {}
    for name in ("fp32", "bf16!"):
        run = vk.train("vae", out=tmp_path / name, precision=name, **told)
        lines[name] = (run.folder.path / "metrics.jsonl").read_text()
        assert run.config.training.precision == name
    assert lines["fp32"] != lines["bf16!"]


@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        ("fma avx2", True),
        ("fma avx2 avx512f avx512_vnni", True),
        ("avx2 avx512_bf16", False),
        ("avx2 amx_bf16 amx_tile", False),
        ("asimd bf16", False),
        (None, False),  # a system that does not say
    ],
)
def test_bf16_without_instructions_for_it_is_refused(
    flags: str | None, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse\n")
    monkeypatch.setattr("vaekit._torchutil.CPUINFO", tmp_path / "cpuinfo")
    told: Any = {"data": "digits", "limit": 50, "report": False, "latent": 2, "threads": 1}
    told |= {"out": tmp_path / "run", "epochs": 1}
    if refused:
        with pytest.raises(VaekitError, match=r"no instructions .* insist by `precision=bf16!`"):
            vk.train("vae", precision="bf16", **told)
        assert not (tmp_path / "run").exists()
        told["out"] = tmp_path / "other"
        assert vk.train("vae", precision="bf16!", **told).config.training.precision == "bf16!"
    else:
        vk.train("vae", precision="bf16", **told)
        monkeypatch.undo()
        (tmp_path / "cpuinfo").write_text("flags : fpu")  # it was begun elsewhere
        monkeypatch.setattr("vaekit._torchutil.CPUINFO", tmp_path / "cpuinfo")
        assert "2 of 2 epochs" in repr(vk.resume(tmp_path / "run", epochs=2, report=False))


def fails(name: str) -> None:
    with precision(name):
        raise ValueError(f"{name}, lowered: {lowered()}")


def test_it_ends_with_an_error_too_and_names_what_it_takes() -> None:
    before = torch.get_float32_matmul_precision()
    for name in ("bf16", "tf32"):
        with pytest.raises(ValueError, match=f"{name}, lowered: {name == 'bf16'}"):
            fails(name)
        assert not lowered()
        assert torch.get_float32_matmul_precision() == before
    with pytest.raises(VaekitError, match="fp16"), precision("fp16"):
        pass
