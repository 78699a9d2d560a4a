"""Nets of patches: by the oracle of torch's shuffles, any size, and no checkerboard."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import vaekit as vk
from vaekit.data import DataSpec
from vaekit.nn import (
    PatchDecoder,
    PatchEncoder,
    Patches,
    Residual,
    SubPixel,
    initialize,
    start_at,
    use_format,
)
from vaekit.recipes import build

FORMATS = [torch.channels_last, torch.contiguous_format]
IMAGES = [(1, 13, 17), (3, 28, 28), (1, 64, 65), (4, 5, 3), (2, 1, 1)]


@pytest.fixture(params=FORMATS, ids=["last", "first"])
def memory(request: pytest.FixtureRequest) -> Any:
    before = use_format(request.param)
    yield
    use_format(before)


@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize("side", [1, 2, 4])
def test_patches_are_torchs_of_an_image_with_zeros_at_its_end(
    memory: None, shape: tuple[int, ...], side: int
) -> None:
    x = torch.randn(2, *shape)
    whole = F.pad(x, (0, -shape[2] % side, 0, -shape[1] % side))
    assert torch.equal(Patches(side)(x), F.pixel_unshuffle(whole, side))


@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize("side", [2, 4])
def test_a_sub_pixel_convolution_is_torchs_shuffle_of_one(
    memory: None, shape: tuple[int, ...], side: int
) -> None:
    up: Any = SubPixel(6, shape, side).double()
    nn.init.normal_(up.weight)
    nn.init.normal_(up.bias)
    x = torch.randn(2, 6, *(math.ceil(n / side) for n in shape[1:]), dtype=torch.float64)
    wanted = F.pixel_shuffle(F.conv2d(x, up.weight, padding=1), side) + 0
    wanted = wanted[:, :, : shape[1], : shape[2]] + up.bias
    torch.testing.assert_close(up(x), wanted)


@pytest.mark.parametrize("shape", IMAGES)
def test_nets_of_patches_take_any_size(shape: tuple[int, int, int]) -> None:
    encoder = PatchEncoder(shape, (2, 3), (8, 12, 16), (5,))
    decoder = PatchDecoder((2, 3), shape, (16, 12, 8), (5,))
    code = encoder(torch.randn(2, *shape))
    assert code.shape == (2, 2, 3)
    assert decoder(code).shape == (2, *shape)
    assert decoder(code).is_contiguous()


@pytest.mark.parametrize("which", range(2))
def test_nets_of_patches_train_every_weight(which: int) -> None:
    torch.manual_seed(0)
    how: Any = {"blocks": 2, "depth": 2, "groups": 4, "patch": 2}
    made = PatchEncoder((1, 9, 6), 4, (4, 8), **how), PatchDecoder(4, (1, 9, 6), (8, 4), **how)
    net = made[which].double()
    x = torch.randn(16, *net.in_shape, dtype=torch.float64)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), net(x))
    net(x).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name


def test_a_residual_block_without_a_norm_is_its_formula() -> None:
    block = Residual(3, groups=0, activation="silu", depth=1).double()
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    conv: Any = block.body[-1]
    wanted = x + F.conv2d(x * torch.sigmoid(x), conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(block(x), wanted)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("init", ["torch", "he"])
def test_sub_pixels_start_as_resizing(init: str, kernel: int) -> None:
    """Bilinear, away from the border, of a map of 1 x 1; with a kernel of 1 the nearest place."""
    torch.manual_seed(0)
    up = initialize(SubPixel(3, (2, 24, 32), 4, kernel), init).double()
    x = torch.randn(5, 3, 6, 8, dtype=torch.float64)
    weight = up.weight.view(2, 16, 3, -1).sum(-1)[:, 0, :, None, None]
    mode = "nearest" if kernel == 1 else "bilinear"
    wanted = F.interpolate(F.conv2d(x, weight), scale_factor=4, mode=mode)
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(up(x)[inner], wanted[inner])
    assert wanted.std() > 0.1


def test_each_pixel_starts_at_its_mean() -> None:
    net, mean, z = PatchDecoder(4, (3, 8, 12)), torch.rand(3, 8, 12), torch.randn(5, 4)
    before = net(z)
    torch.testing.assert_close(start_at(net, mean)(z), before + mean)


# The spectrum of what a decoder makes


def peak(images: Tensor, period: int) -> float:
    """Energy at the frequencies of a period over that of the frequencies beside them, at most."""
    found = []
    for dim in (2, 3):
        flat = images - images.mean(dim, keepdim=True)
        power = torch.fft.rfft(flat, dim=dim).abs().square().movedim(dim, 0).flatten(1).mean(1)
        step = images.shape[dim] // period
        for at in range(step, len(power), step):
            near = [power[k] for k in (at - 2, at - 1, at + 1, at + 2) if 0 < k < len(power)]
            found.append(float(power[at] / torch.stack(near).mean()))
    return max(found)


def test_a_peak_is_found_where_there_is_one() -> None:
    torch.manual_seed(0)
    noise, comb = torch.randn(50, 1, 32, 32), torch.zeros(32, 32)
    comb[:, ::4] = 1.0
    assert peak(noise, 4) < 1.3
    assert peak(noise + 3 * comb, 4) > 10


def decoded(net: str, steps: int) -> Tensor:
    """E[x|z] of z from the prior, of a decoder after so many steps."""
    torch.manual_seed(0)
    spec = DataSpec("t", (3, 32, 32), "color", rows=20)
    recipe: Any = build("vae", spec, net=net, latent=16, likelihood="gaussian:scale=0.1")
    optimizer = torch.optim.Adam(recipe.model.parameters(), 1e-3)
    for _ in range(steps):
        x = F.interpolate(torch.rand(16, 3, 4, 4), 32, mode="bicubic")  # smooth, in color
        optimizer.zero_grad()
        (-vk.ELBO()(recipe.model(x)).target.mean()).backward()
        optimizer.step()
    found: Tensor = recipe.model.decode(torch.randn(100, 16))
    return found


@pytest.mark.parametrize("steps", [0, 20])
def test_no_checkerboard_is_in_what_a_decoder_makes(steps: int) -> None:
    """As transposed convolutions of 3 x 3 leave, at the period of their stride."""
    assert peak(decoded("patch", steps), 4) < 1.5
    assert peak(decoded("conv", steps), 4) > 2


def test_the_shape_of_the_data_decides_the_net(tmp_path: Any) -> None:
    """And the run keeps it; options without a name are those of dense layers."""
    images = torch.randint(0, 256, (40, 16, 18), dtype=torch.uint8).numpy()
    how: Any = {"epochs": 1, "report": False, "latent": 2}
    run = vk.train("vae", data=images, out=tmp_path / "a", **how)
    assert run.config.parts["net"]["name"] == "patch"
    assert vk.load(run.path, data=images).sample(2).shape == (2, 1, 16, 18)
    cases: list[Any] = [("b", images[:, :15, :15], {}), ("c", images, {"net": ":hidden=8"})]
    for name, x, more in cases:
        other = vk.train("vae", data=x, out=tmp_path / name, **how, **more)
        assert other.config.parts["net"]["name"] == "mlp"
    labeled = DataSpec("t", (1, 28, 28), "gray", rows=20, context=(10,), classes=10)
    assert any(isinstance(m, nn.Conv2d) for m in build("cvae", labeled).model.modules())
    table = DataSpec("t", (6,), "table", rows=20)
    for net, hidden in ((None, 128), ("mlp", 512)):  # who names it gets it as it is
        model: Any = build("vae", table, net=net).model
        assert {m.out_features for m in model.modules() if isinstance(m, nn.Linear)} >= {hidden}


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("shape", [(1, 13, 17), (3, 32, 32)])
def test_dense_maps_of_all_pixels_are_added_to_the_convolutions(shape: Any, scale: float) -> None:
    """To the encoder's first dense map, and to the decoder's pixels."""
    how: Any = {"channels": (8, 8), "hidden": (12,)}
    with_both: Any = PatchEncoder(shape, 5, scale=scale, **how), PatchDecoder(5, shape, **how)
    for net, kind in zip(with_both, (PatchEncoder, PatchDecoder), strict=True):
        plain: Any = kind(net.in_shape, net.out_shape, direct=False, **how)
        plain.load_state_dict({k: v for k, v in net.state_dict().items() if "direct" not in k})
        x, weight = torch.randn(4, *net.in_shape), net.direct.weight
        with torch.no_grad():
            weight.zero_()
            torch.testing.assert_close(net(x), plain(x))
            weight.normal_()
        if kind is PatchEncoder:
            first = next(m for m in plain.body if isinstance(m, nn.Linear))
            first.register_forward_hook(
                lambda *at, x=x, w=weight: at[2] + scale * x.flatten(1) @ w.T
            )
            torch.testing.assert_close(net(x), plain(x), rtol=1e-4, atol=1e-4)
        else:
            hidden = plain.body[: next(i for i, m in enumerate(plain.body) if m is last(plain))](x)
            more = (hidden @ weight.T).unflatten(1, shape)
            torch.testing.assert_close(net(x), plain(x) + more, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hidden", [(12,), ()])
def test_a_context_is_added_to_the_first_dense_map(hidden: tuple[int, ...]) -> None:
    """As if it were concatenated with what the convolutions give, and with the pixels."""
    how: Any = {"channels": (8, 8), "hidden": hidden, "scale": 0.5}
    net: Any = PatchEncoder((3, 9, 16), 5, context=4, **how)
    plain: Any = PatchEncoder((3, 9, 16), 5, **how)
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if k != "told.weight"})
    first = next(m for m in [*plain.body, plain.output] if isinstance(m, nn.Linear))
    x, context = torch.randn(2, 3, 9, 16), torch.randn(2, 4)
    first.register_forward_hook(lambda *at: F.linear(context, net.told.weight) + at[2])
    torch.testing.assert_close(net(torch.cat([x.flatten(1), context], 1)), plain(x))


def test_a_label_joins_the_dense_layers_of_patches_and_the_planes_of_convolutions() -> None:
    labeled = DataSpec("t", (1, 28, 28), "binary", rows=20, context=(10,), classes=10)
    shapes = {}
    for net in ("patch", "mlp", "conv"):
        model: Any = build("cvae", labeled, net=net, latent=3).model
        shapes[net] = model.posterior.net.in_shape
        x, told = torch.rand(2, 1, 28, 28), torch.eye(10)[:2]
        assert not torch.equal(model.posterior(x, told).loc, model.posterior(x, told.flip(0)).loc)
    assert shapes == {"patch": (794,), "mlp": (794,), "conv": (11, 28, 28)}


@pytest.mark.parametrize("shape", [(3, 70, 65), (1, 129, 200)])
def test_dense_maps_see_means_over_squares_of_large_images(shape: Any) -> None:
    """By numpy's means; those at the end are of what is left. What is made is resized to all."""
    how: Any = {"channels": (4, 4), "hidden": (6,)}
    net: Any = PatchEncoder(shape, 5, **how)
    by = -(-max(shape[1:]) // 64)
    x = torch.rand(2, *shape)
    rows, columns = (-(-length // by) for length in shape[1:])
    means = torch.stack([
        x[:, :, i * by : (i + 1) * by, k * by : (k + 1) * by].mean((2, 3))
        for i in range(rows)
        for k in range(columns)
    ], dim=2)  # fmt: skip
    line = net.direct[-1]
    torch.testing.assert_close(net.direct(x), means.flatten(1) @ line.weight.T)
    decoder: Any = PatchDecoder(5, shape, **how)
    hidden, line = torch.randn(2, 6), decoder.direct[0]
    nn.init.normal_(line.weight)
    small = (hidden @ line.weight.T).view(2, shape[0], rows, columns)
    wanted = F.interpolate(small, shape[1:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(decoder.direct(hidden), wanted)
    z = torch.randn(2, 5)
    plain: Any = PatchDecoder(5, shape, direct=False, **how)
    plain.load_state_dict({k: v for k, v in decoder.state_dict().items() if "direct" not in k})
    more = decoder.direct(decoder.body[: decoder.at](z))
    torch.testing.assert_close(decoder(z), plain(z) + more, rtol=1e-4, atol=1e-4)


def test_the_default_net_of_large_photos_is_small_and_its_first_steps_are_sane(
    tmp_path: Path,
) -> None:
    """A dense map of all 196,608 values had 100 million weights, and a KL of 1e9 in four steps."""
    photos = F.interpolate(torch.rand(12, 3, 8, 8), (256, 256), mode="bilinear")
    how: Any = {"epochs": 2, "batch_size": 5, "lr_warmup": 0, "report": False, "snapshots": 0}
    run = vk.train("vae", data=photos.mul(255).byte().numpy(), out=tmp_path / "run", **how)
    assert sum(p.numel() for p in run.model.parameters()) < 15e6
    assert run.folder.records()[-1]["train"]["kl"] < 1e4


def test_the_default_net_of_images_scales_what_its_dense_map_sees() -> None:
    """Who names channels, or opens a run from before, has them as they are."""
    for shape, net, scale in (
        ((1, 28, 28), None, 1.0),
        ((3, 64, 64), None, 784 / 12288),
        ((3, 64, 64), "patch:blocks=2", 784 / 12288),
        ((3, 128, 128), None, 784 / 12288),
        ((3, 64, 64), "patch:scale=0.5", 0.5),
        ((3, 64, 64), "patch:channels=16,32", 1.0),
    ):
        data = DataSpec("t", shape, "color" if shape[0] == 3 else "gray", rows=20)
        model: Any = build("vae", data, net=net).model
        assert model.posterior.net.scale == pytest.approx(scale)


@pytest.mark.parametrize(("columns", "scale"), [(256, 1.0), (1024, 0.25)])
def test_an_encoder_sees_many_columns_scaled_down(columns: int, scale: float) -> None:
    """Its direct map too, and who names a net gets it as it is."""
    wide = DataSpec("t", (columns,), "table", rows=20)
    model: Any = build("vae", wide).model
    net, plain = model.posterior.net, build("vae", wide, net="mlp:hidden=128:direct=true").model
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.1)
    known = {name.replace("body.1.", "body.0."): w for name, w in net.state_dict().items()}
    plain.posterior.net.load_state_dict(known if scale < 1 else net.state_dict())
    x = torch.randn(5, columns)
    torch.testing.assert_close(net(x), plain.posterior.net(scale * x))


def test_the_first_steps_on_many_columns_are_sane(tmp_path: Path) -> None:
    """The training of a table of 5,000 columns had ended 4,000 nats below where it began."""
    rows = torch.randn(300, 5) @ torch.randn(5, 5000) + 0.5 * torch.randn(300, 5000)
    how: Any = {"epochs": 12, "lr_warmup": 0, "batch_size": 100, "report": False, "snapshots": 0}
    run = vk.train("vae", data=rows.numpy(), out=tmp_path / "run", **how)
    bounds = [record["validation"]["objective"] for record in run.folder.records()]
    assert bounds[-1] > bounds[0] + 1000
    assert min(bounds) >= bounds[0]


def last(net: Any) -> nn.Module:
    """The dense map to the first planes of a decoder."""
    return [m for m in net.body if isinstance(m, nn.Linear)][-1]
