"""Measures of pictures against numpy and scipy.ndimage, written from the papers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

import vaekit as vk
from vaekit.evaluate import l1, ms_ssim, mse, psnr, reconstructions, ssim
from vaekit.models import VAE

Proves = Callable[..., None]


def smooth(*shape: int) -> Tensor:
    """Pictures with structure at several scales, in [0, 1]."""
    noise = np.random.default_rng(0).normal(size=shape)
    value = sum(ndimage.gaussian_filter(noise, (0, 0, s, s)) * s for s in (1, 3, 8))
    return torch.from_numpy((value - value.min()) / (value.max() - value.min()))


def windowed(picture: np.ndarray, side: int) -> np.ndarray:
    """Weighted means of every window that lies inside, by scipy."""
    near = np.arange(side) - side // 2
    window = np.exp(-(near[:, None] ** 2 + near[None] ** 2) / (2 * 1.5**2))
    full = ndimage.correlate(picture, window / window.sum(), mode="constant")
    edge = side // 2
    return full[edge : full.shape[0] - edge, edge : full.shape[1] - edge]


def factors(x: np.ndarray, y: np.ndarray, top: float) -> tuple[np.ndarray, np.ndarray]:
    """l and cs of one channel at every window, centred moments first (Wang et al. 2004)."""
    side = min(11, *x.shape)
    side -= 1 - side % 2
    luminance, contrast = [], []
    near = np.arange(side) - side // 2
    window = np.exp(-(near[:, None] ** 2 + near[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    for a in range(x.shape[0] - side + 1):
        for b in range(x.shape[1] - side + 1):
            u, v = x[a : a + side, b : b + side], y[a : a + side, b : b + side]
            m, n = (window * u).sum(), (window * v).sum()
            var_u, var_v = (window * (u - m) ** 2).sum(), (window * (v - n) ** 2).sum()
            cov = (window * (u - m) * (v - n)).sum()
            c1, c2 = (0.01 * top) ** 2, (0.03 * top) ** 2
            luminance.append((2 * m * n + c1) / (m**2 + n**2 + c1))
            contrast.append((2 * cov + c2) / (var_u + var_v + c2))
    return np.array(luminance), np.array(contrast)


@pytest.mark.parametrize("shape", [(2, 1, 28, 28), (1, 3, 16, 21), (2, 1, 8, 8), (1, 1, 5, 30)])
@pytest.mark.parametrize("top", [1.0, 255.0])
def test_ssim_is_the_papers(shape: tuple[int, ...], top: float, proves: Proves) -> None:
    x = top * smooth(*shape)
    y = (x + 0.1 * top * torch.randn_like(x)).clamp(0, top)
    expected = []
    for a, b in zip(x.numpy(), y.numpy(), strict=True):
        channels = [factors(u, v, top) for u, v in zip(a, b, strict=True)]
        expected.append(np.mean([(light * cs).mean() for light, cs in channels]))
    got = ssim(x, y, top)
    proves("SSIM", "numpy, window by window", got, expected, limit=1e-10)
    proves("SSIM in float32", "numpy", ssim(x.float(), y.float(), top), expected, limit=1e-5)
    assert got.max() < 0.95


def test_ssim_is_that_of_a_filter_over_the_whole_picture(proves: Proves) -> None:
    x = smooth(1, 1, 40, 33)
    y = 1 - 0.7 * x.flip(2)
    u, v = x[0, 0].numpy(), y[0, 0].numpy()
    m, n = windowed(u, 11), windowed(v, 11)
    var_u, var_v = windowed(u * u, 11) - m**2, windowed(v * v, 11) - n**2
    cov = windowed(u * v, 11) - m * n
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * m * n + c1) * (2 * cov + c2) / ((m**2 + n**2 + c1) * (var_u + var_v + c2))
    proves("SSIM", "scipy.ndimage.correlate", ssim(x, y), value.mean(), limit=1e-10)


def halved(picture: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, of those there are at an odd edge."""
    rows, columns = (-(-s // 2) for s in picture.shape)
    return np.array(
        [
            [picture[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(columns)]
            for i in range(rows)
        ]
    )


@pytest.mark.parametrize(
    ("side", "scales"), [((7, 9), 1), ((20, 20), 1), ((28, 28), 2), ((43, 41), 3), ((161, 161), 5)]
)
def test_ms_ssim_is_the_papers(side: tuple[int, int], scales: int, proves: Proves) -> None:
    """Peers take the last scale once for every scale."""
    x = smooth(1, 1, *side)
    y = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    u, v, expected = x[0, 0].numpy(), y[0, 0].numpy(), 1.0
    for j, weight in enumerate(weights / weights.sum()):
        light, cs = factors(u, v, 1.0)
        expected *= ((light * cs).mean() if j == scales - 1 else cs.mean()) ** weight
        u, v = halved(u), halved(v)
    got = ms_ssim(x, y)
    proves(f"MS-SSIM of {scales} scales", "numpy, window by window", got, expected, limit=1e-10)
    assert got < 0.99


def test_channels_and_rows_are_measured_by_themselves(proves: Proves) -> None:
    x = smooth(3, 2, 24, 24)
    y = (x + torch.tensor([0.02, 0.1, 0.3]).view(3, 1, 1, 1) * torch.randn_like(x)).clamp(0, 1)
    for measure in (mse, l1, ssim, ms_ssim):
        single = [
            torch.stack([measure(x[i : i + 1, c : c + 1], y[i : i + 1, c : c + 1]) for c in (0, 1)])
            for i in range(3)
        ]
        expected = torch.stack(single).mean((1, 2))
        name = measure.__name__
        proves(f"{name} of many", f"{name} one by one", measure(x, y), expected, limit=1e-12)
    assert (ssim(x, y).diff() < -0.05).all()


def test_errors_are_the_norms_of_numpy(proves: Proves) -> None:
    x, y = torch.rand(2, 4, 3, 5, 5)
    difference = (x.double() - y.double()).numpy().reshape(4, -1)
    square = np.linalg.norm(difference, 2, axis=1) ** 2 / 75
    proves("MSE", "numpy.linalg.norm", mse(x, y), square, limit=1e-12)
    proves(
        "L1", "numpy.linalg.norm", l1(x, y), np.linalg.norm(difference, 1, axis=1) / 75, limit=1e-12
    )
    for top in (1.0, 255.0):
        expected = 20 * np.log10(top) - 10 * np.log10(square)
        proves("PSNR", "20 log10 range - 10 log10 MSE", psnr(x, y, top), expected, limit=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_equal_pictures_are_equal_even_where_they_are_constant(value: float) -> None:
    for x in (torch.full((2, 3, 32, 32), value), torch.rand(2, 1, 12, 12), torch.rand(1, 1, 1, 1)):
        assert (mse(x, x) == 0).all()
        assert (psnr(x, x) == math.inf).all()
        assert (ssim(x, x) - 1).abs().max() < 1e-12
        assert (ms_ssim(x, x) - 1).abs().max() < 1e-12


def test_two_constant_pictures_differ_in_luminance_alone(proves: Proves) -> None:
    a, b = 0.2, 0.7
    x, y = (torch.full((1, 1, 28, 28), v, dtype=torch.float64) for v in (a, b))
    light = (2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)
    name = "(2 ab + C1) / (a^2 + b^2 + C1)"
    proves("SSIM of constants", name, ssim(x, y), light, limit=1e-10)
    last = 0.2856 / (0.0448 + 0.2856)
    proves("MS-SSIM of constants", f"{name} to its weight", ms_ssim(x, y), light**last, limit=1e-10)
    proves("PSNR of constants", "-20 log10 |a - b|", psnr(x, y), -20 * math.log10(0.5), limit=1e-12)


def test_structure_turned_over_counts_as_none() -> None:
    x = (torch.arange(32)[:, None] + torch.arange(32)).remainder(2).double().expand(1, 1, 32, 32)
    assert ssim(x, 1 - x) < -0.9
    assert ms_ssim(x, 1 - x) == 0
    assert 0 < ssim(x, 0.5 + 0 * x) < 0.01


def test_a_data_set_is_measured_by_its_rows(proves: Proves) -> None:
    model = VAE(
        vk.StandardNormal(2),
        vk.Conditional(vk.MLP((1, 12, 12), 4, hidden=()), vk.Gaussian(2)),
        vk.Conditional(vk.MLP(2, (1, 12, 12), hidden=()), vk.Bernoulli((1, 12, 12))),
    )
    x = torch.rand(7, 1, 12, 12)
    found = reconstructions(model, [(x[:5], None), (x[5:], None)])
    y = model.reconstruct(x)
    for measure in (mse, l1, psnr, ssim, ms_ssim):
        name = measure.__name__
        expected = measure(x, y).mean()
        proves(f"mean {name}", "of all rows", getattr(found, name), expected, limit=1e-6)
    assert found.rows == 7


def test_what_cannot_be_measured_is_refused_in_one_line() -> None:
    x = torch.rand(2, 1, 12, 12)
    with pytest.raises(
        vk.VaekitError, match=r"^got the shapes \(2, 1, 12, 12\) and \(1, 1, 12, 12\)"
    ):
        ssim(x, x[:1])
    with pytest.raises(vk.VaekitError, match=r"got the shape \(2, 144\); expected pictures"):
        ms_ssim(x.flatten(1), x.flatten(1))
    with pytest.raises(vk.VaekitError, match="1 of the 288 numbers of the second are not finite"):
        psnr(x, x.masked_fill(x == x.max(), math.nan))
    for top in (0.0, -1.0, math.nan):
        with pytest.raises(vk.VaekitError, match="got data_range="):
            psnr(x, x, top)
    with pytest.raises(vk.VaekitError, match="got no rows"):
        reconstructions(None, [])  # type: ignore[arg-type]
