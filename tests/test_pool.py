"""Convolutions with max-pooling: by hand, by sizes, and by the rules of all models."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import vaekit as vk
from vaekit import VaekitError
from vaekit.nn import ConvDecoder, PoolEncoder
from vaekit.nn.pool import grids
from vaekit.options import Net
from vaekit.recipes import build
from vaekit.testing import check_model

GRIDS = [(28, 28), (30, 30), (64, 64), (1, 5), (7, 1), (1, 1), (33, 18)]
CLASSIC = {
    "channels": (10, 5),
    "kernel": (5,),
    "padding": "valid",
    "decoder_channels": (5, 10, 3),
    "decoder_kernel": (4, 6, 4),
}


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_pool_encoder_is_the_composition_of_its_layers(padding: str) -> None:
    net = PoolEncoder((2, 14, 17), (2, 2), (3, 4), (7,), kernel=(5, 3), padding=padding)
    x = torch.randn(3, 2, 14, 17)
    one, two, dense = (layer for layer in net.body if isinstance(layer, ROWS))
    border, up = (1, True) if padding == "same" else (0, False)
    h = F.max_pool2d(F.gelu(F.conv2d(x, one.weight, one.bias, padding=2 * border)), 2, ceil_mode=up)
    h = F.max_pool2d(F.gelu(F.conv2d(h, two.weight, two.bias, padding=border)), 2, ceil_mode=up)
    h = F.gelu(F.linear(h.flatten(1), dense.weight, dense.bias))
    wanted = F.linear(h, net.output.weight, net.output.bias).reshape(3, 2, 2)
    torch.testing.assert_close(net(x), wanted)


ROWS = torch.nn.Linear | torch.nn.Conv2d


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("grid", GRIDS)
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
    assert grids((30, 30), (5, 5), "valid") == [((26, 26), (13, 13)), ((9, 9), (4, 4))]
    spec = vk.DataSpec("faces", (1, 30, 30), "grey", rows=20)
    model = build("vae", spec, {"latent": 10}, net=Net(kind="pool", **CLASSIC)).model
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
    spec = vk.DataSpec("t", (1, 9, 7), "grey", rows=20, mean=torch.rand(1, 9, 7))
    net = Net(kind="pool", channels=(4, 3), kernel=(5, 3), hidden=(8,), norm="batch")
    check_model(
        build("vae", spec, {"latent": 2}, net=net).model.double(), torch.rand(6, 1, 9, 7).double()
    )


def test_kernels_reach_conv_nets_stage_by_stage() -> None:
    spec = vk.DataSpec("t", (1, 12, 12), "grey", rows=20)
    model = build("vae", spec, net=Net(kind="conv", channels=(4, 6), kernel=(5, 3))).model
    sides = [
        [m.kernel_size[0] for m in part.modules() if isinstance(m, CONVS)]
        for part in (model.posterior.net, model.likelihood.net)
    ]
    assert sides == [[5, 3], [3, 5]]


CONVS = torch.nn.Conv2d | torch.nn.ConvTranspose2d


def test_a_table_has_nothing_to_pool() -> None:
    spec = vk.DataSpec("t", (5,), "table", rows=20)
    with pytest.raises(VaekitError, match="a pool net needs images; t has rows of shape"):
        build("vae", spec, net=Net(kind="pool"))
