"""A colorizer against what is known in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves
from scipy.stats import norm
from torch import Tensor, nn

import vaekit as vk
from vaekit import Batches, VaekitError
from vaekit.data import Split
from vaekit.evaluate import colors, measure
from vaekit.objectives import ELBO, require
from vaekit.recipes import build

WEIGHTS = np.array([0.30, 0.59, 0.11])
RED = np.array([0.8, 0.4, 0.3])
TEAL = np.array([0.4, (WEIGHTS @ RED - 0.30 * 0.4 - 0.11 * 0.5) / 0.59, 0.5])  # as bright as RED


def plain(color: np.ndarray, rows: int, side: int = 4) -> Tensor:
    return torch.from_numpy(color).float().view(1, 3, 1, 1).repeat(rows, 1, side, side)


def model(net: nn.Module | None = None, *, side: int = 4, noise: float = 0.0, scale: Any = 0.1
          ) -> vk.Colorizer:  # fmt: skip
    net = vk.ColorNet((side, side), channels=(4,)) if net is None else net
    family = vk.Gaussian((3, side, side), scale=scale)
    return vk.Colorizer(vk.Conditional(net, family, in_shape=(1, side, side)), noise=noise)


def test_luminance_of_a_known_picture(proves: Proves) -> None:
    x = torch.rand(2, 5, 3, 6, 7, dtype=torch.float64)
    expected = np.einsum("c,sbchw->sbhw", WEIGHTS, x.numpy())[:, :, None]
    proves("luminance", "0.30 R + 0.59 G + 0.11 B by numpy", vk.luminance(x), expected, limit=1e-12)
    gray = torch.rand(5, 1, 6, 7)
    torch.testing.assert_close(vk.luminance(gray.expand(-1, 3, -1, -1)), gray)
    with pytest.raises(VaekitError, match=r"\(5, 1, 6, 7\); expected colors"):
        vk.luminance(gray)


def test_the_objective_is_its_formula(proves: Proves) -> None:
    """By scipy's density, for three draws of the noise at two weights."""
    painter = model(scale=0.2, noise=0.3).double()
    sigma = painter.likelihood.family.scale.log_scale.exp().item()
    x = torch.rand(5, 3, 4, 4, dtype=torch.float64)
    trace = painter(x, samples=(3,))
    y, true = trace.px.mean.detach().numpy(), x.numpy()
    log_p = norm.logpdf(true, y, sigma).sum((-3, -2, -1)).mean(0)
    light = np.einsum("c,sbchw->sbhw", WEIGHTS, y - true)
    price = (0.5 * (light / sigma) ** 2).sum((-2, -1)).mean(0)
    for weight in (0.0, 2.5):
        bound = vk.Coloring(luminance=weight)(trace)
        expected = log_p - weight * price
        proves("color objective", "scipy's normal density", bound.value, expected, limit=1e-9)
        np.testing.assert_allclose(bound.parts["log_likelihood"], log_p, rtol=1e-9)
        np.testing.assert_allclose(bound.parts["luminance"], price, rtol=1e-9)


@pytest.mark.parametrize("scale", ["fitted", "shared", 0.3])
def test_its_gradient_is_that_of_both_errors_whatever_the_scale(scale: Any) -> None:
    painter = model(scale=scale).double()
    x = torch.rand(6, 3, 4, 4, dtype=torch.float64)
    trace = painter(x)
    y = trace.px.loc
    (found,) = torch.autograd.grad(vk.Coloring(luminance=3.0)(trace).value.sum(), y)
    z = y.detach().requires_grad_()
    sums = (z - x).square().sum() + 3 * (vk.luminance(z) - vk.luminance(x)).square().sum()
    (expected,) = torch.autograd.grad(-sums, z)
    sigma = trace.scored.scale.detach()
    torch.testing.assert_close(2 * sigma**2 * found, expected)


def test_the_price_does_not_move_the_scale() -> None:
    """A fitted one is fitted once a step, and a shared one is the best for the colors alone."""
    x = torch.rand(6, 3, 4, 4)
    fitted = model(scale="fitted")
    vk.Coloring()(fitted(x))
    assert fitted.likelihood.family.scale._count == 1
    gradients = []
    for weight in (0.0, 9.0):
        shared = model(vk.ColorNet((4, 4), (2,)), scale="shared")
        with torch.no_grad():
            for value in shared.likelihood.net.parameters():
                value.fill_(0.1)
        vk.Coloring(luminance=weight)(shared(x)).value.sum().backward()
        gradients.append(shared.likelihood.family.scale.log_scale.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_two_colors_of_one_luminance_become_their_mean(weight: float, proves: Proves) -> None:
    """3 of 4 pictures are red, 1 is teal, all equally bright: the best guess is the mean of them,

    its error their variance, and its likelihood that of a Gaussian of this variance.
    """
    x = torch.cat([plain(RED, 48), plain(TEAL, 16)])
    best = 0.75 * RED + 0.25 * TEAL
    variance = (0.75 * 0.25 * (RED - TEAL) ** 2).mean()
    painter = model(scale="fitted")
    adam = torch.optim.Adam(painter.parameters(), lr=0.03)
    batches = Batches(Split(x), 64)
    objective = vk.Coloring(luminance=weight)
    halving = {"lr": lambda step: 0.03 * 0.5 ** (step // 60)}
    vk.fit(painter, objective, batches, steps=600, optimizer=adam, schedules=halving)
    made = painter.reconstruct(x)
    np.testing.assert_allclose(made.numpy(), np.broadcast_to(
        best[None, :, None, None], made.shape), atol=5e-3)  # fmt: skip
    found = measure(painter, [(x, None)])
    expected = -0.5 * 48 * (math.log(2 * math.pi * variance) + 1)
    assert found.log_likelihood == pytest.approx(expected, abs=0.3)
    assert (found.elbo, found.kl) == (None, None)
    judged = colors(painter, [(x[:40], None), (x[40:], None)])
    plain_error = (0.75 * (RED - WEIGHTS @ RED) ** 2 + 0.25 * (TEAL - WEIGHTS @ RED) ** 2).mean()
    numbers = [judged.psnr, judged.gray_psnr, judged.gain]
    levels = [-10 * math.log10(variance), -10 * math.log10(plain_error)]
    oracle = "variance of two colors of one luminance"
    proves("PSNR of a colorizer", oracle, numbers, [*levels, levels[0] - levels[1]], limit=1e-2)
    assert judged.luminance_error < 0.5
    assert judged.rows == 64


class Blur(nn.Module):
    """The mean gray value, everywhere, in three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, gray: Tensor) -> Tensor:
        return self.one * gray.mean((2, 3), keepdim=True).expand(-1, 3, *gray.shape[2:])


def test_noise_that_is_removed_is_measured(proves: Proves) -> None:
    """A mean over 64 pixels of flat pictures leaves 1/64 of the noise: 18.06 decibels less."""
    x = torch.rand(2000, 1, 1, 1).expand(-1, 3, 8, 8).double()
    found = colors(model(Blur(), side=8).double(), [(x, None)], levels=(1.0, 20.0))
    for one, levels in zip(found.noise, (1, 20), strict=True):
        before = 20 * math.log10(255 / levels)
        numbers = [one.before, one.after, one.gain]
        expected = [before, before + 10 * math.log10(64), 10 * math.log10(64)]
        proves("noise that a mean removes", "10 log10(64) dB", numbers, expected, limit=0.01)
        assert one.gain == pytest.approx(expected[2], abs=5 * one.gain_error)
    assert found.luminance_error < 1e-6
    doubled = colors(model(Blur(), side=8).double(), [(2 * x - 1, None)], data_range=2.0)
    assert doubled.noise[0].before == pytest.approx(20 * math.log10(255), abs=0.1)


def test_standard_errors_are_those_of_resampled_sets() -> None:
    x = torch.rand(60, 3, 4, 4) * torch.rand(60, 3, 1, 1)
    painter = model()
    found = colors(painter, [(x, None)])
    sets = [colors(painter, [(x[torch.randint(0, 60, (60,))], None)]) for _ in range(400)]
    for name, error in found.errors.items():
        spread = torch.tensor([getattr(one, name) for one in sets]).std().item()
        assert error == pytest.approx(spread, rel=0.25), name


def test_the_noise_is_drawn_for_each_sample_in_both_modes() -> None:
    seen: list[Tensor] = []

    class Kept(Blur):
        def forward(self, gray: Tensor) -> Tensor:
            seen.append(gray)
            return super().forward(gray)

    x = torch.rand(500, 3, 4, 4)
    painter = model(Kept(), noise=0.05)
    for training in (True, False):
        torch.manual_seed(3)
        trace = painter.train(training)(x, samples=(2, 3))
        assert trace.log_likelihood.shape == trace.kl.shape == (2, 3, 500)
    torch.testing.assert_close(seen[0], seen[1])
    noise = seen[0].view(6, 500, 1, 4, 4) - vk.luminance(x)
    assert noise.std().item() == pytest.approx(0.05, rel=0.02)
    assert torch.corrcoef(noise.flatten(1)).fill_diagonal_(0).abs().max() < 0.05
    painter.reconstruct(x)
    torch.testing.assert_close(seen[-1], vk.luminance(x))


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (32, 32), (30, 21)])
@pytest.mark.parametrize("dense", [False, True])
def test_the_network_fits_any_size_and_begins_at_the_gray_picture(
    shape: tuple[int, int], dense: bool
) -> None:
    net = vk.ColorNet(shape, (2, 3, 4), (5,) if dense else (), dense=dense, dropout=0.1)
    x = torch.rand(3, 1, *shape)
    assert net(x).shape == (3, 3, *shape)
    with torch.no_grad():
        net.output.weight.zero_()
        net.output.bias.zero_()
    torch.testing.assert_close(net(x), x.expand(-1, 3, -1, -1))


def test_the_weights_of_the_dense_network() -> None:
    with torch.device("meta"):
        net = vk.ColorNet((30, 30), dense=True, hidden=(4500,))
    convolutions = 10 * 25 + 10 + 10 * 5 * 25 + 5
    count = 5 * 59 * 59 * 4500 + 4500 + 4500 * 2700 + 2700 + convolutions
    assert sum(value.numel() for value in net.parameters()) == count
    assert round(count / 1e6) == 90


def test_parts_that_do_not_fit_are_refused() -> None:
    net = vk.ColorNet((4, 4), (2,))
    for family in (vk.Gaussian((3, 4, 4)), vk.Laplace((3, 4, 4), scale=0.1)):
        with pytest.raises(VaekitError, match="takes a Gaussian of one scale"):
            vk.Colorizer(vk.Conditional(net, family))
    with pytest.raises(VaekitError, match=r"expected colors \(3, H, W\)"):
        vk.Colorizer(vk.Conditional(net, vk.Gaussian((3, 4, 5), scale=1.0)))
    with pytest.raises(VaekitError, match="noise=-1"):
        model(noise=-1)
    with pytest.raises(VaekitError, match="luminance=-1"):
        vk.Coloring(luminance=-1)
    with pytest.raises(VaekitError, match="only a dense net"):
        vk.ColorNet((4, 4), hidden=(3,))
    with pytest.raises(VaekitError, match="needs a KL between posterior and prior"):
        require(ELBO(), model())
    with pytest.raises(VaekitError, match="needs colors for a gray image"):
        require(vk.Coloring(), build("vae", vk.data.load("digits").spec()).model)


def test_the_recipe_starts_at_the_mean_colors_of_the_data() -> None:
    rows = (255 * torch.rand(20, 3, 6, 6) ** torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)).byte()
    spec = vk.Dataset("t", "color", Split(rows), Split(rows)).spec()
    made = build("colorizer", spec, model=":noise=2", net=":channels=4,8")
    net: Any = made.model.likelihood.net
    mean = rows.double().mean((0, 2, 3)) / 255
    expected = (mean - (mean * torch.from_numpy(WEIGHTS)).sum()).float()
    torch.testing.assert_close(net.output.bias.detach(), expected)
    assert made.model.noise == pytest.approx(2 / 255)
    dense = build("colorizer", spec, net=":dense=true:channels=4,2:residual=false").model
    assert isinstance(dense.likelihood.net.output, nn.Linear)
    start = dense.likelihood.net.output.bias.detach().view(3, 6, 6)  # nothing is added to it
    torch.testing.assert_close(start, (rows.double().mean(0) / 255).float())
    with pytest.raises(VaekitError, match="a Gaussian of one scale"):
        build("colorizer", spec, likelihood=":scale=free")
