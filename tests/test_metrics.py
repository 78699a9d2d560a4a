"""Measures of latents, scales, units, gradients and images, and the classifier."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves
from scipy import ndimage
from torch import Tensor, nn

import vaekit as vk
from vaekit import Run, VaekitError
from vaekit.cli.main import main
from vaekit.data import DataSpec, Split, load
from vaekit.distributions import Bernoulli, Delta, Gaussian, Laplace, StandardGaussian
from vaekit.evaluate import (
    Classifier,
    DeadUnits,
    Latent,
    LatentMeter,
    ScaleMeter,
    accuracy,
    gradient_noise,
    l1,
    ms_ssim,
    mse,
    predict,
    psnr,
    reconstructions,
    ssim,
    train_classifier,
)
from vaekit.models import VAE, Site, Trace
from vaekit.objectives import Objective
from vaekit.registry import make
from vaekit.testing import LinearGaussian

Values = list[float]


def data() -> Tensor:
    """Rows with eigenvalues that fall from far above s2 to hardly above it."""
    scales = torch.tensor([5.0, 2.0, 1.02, 1.001, 1.0, 1.0, 1.0], dtype=torch.float64)
    noise = torch.randn(4000, 7, dtype=torch.float64)
    noise = noise - noise.mean(0)
    noise = noise @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(noise.T, correction=0)).T)
    turn = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64)).Q
    return (noise * scales.sqrt()) @ turn + 3


def measured(model: VAE, x: Tensor, sizes: int, samples: int = 1) -> LatentMeter:
    meter = LatentMeter()
    with torch.no_grad():
        for part in x.split(sizes):
            meter.update(model(part, samples=(samples,)))
    return meter


@pytest.mark.parametrize("samples", [1, 3])
def test_the_linear_gaussian_model_has_the_kl_and_variance_of_its_closed_form(
    proves: Proves, samples: int
) -> None:
    """Mean KL of latent i is 1/2 log(lam_i / s2); Var_x E[z_i|x] = 1 - s2 / lam_i."""
    x = data()
    values, _ = LinearGaussian.spectrum(x)
    oracle = LinearGaussian.fit(x, latent=4)
    latent = measured(oracle.vae(), x, 317, samples).latent()
    assert latent is not None
    ratio = values[:4] / oracle.variance
    proves("evaluate.latent: KL per dimension", "1/2 log(lam_i / s2)", latent.kl_per_dim,
           0.5 * ratio.log(), limit=1e-9)  # fmt: skip
    proves("evaluate.latent: Var E[z|x]", "1 - s2 / lam_i", latent.variance,
           1 - 1 / ratio, limit=1e-9)  # fmt: skip
    assert latent.active_units == int((values[:4] > oracle.variance / 0.99).sum()) == 3
    proves("evaluate.latent: posterior scale", "sqrt(mean s2 / lam_i)", latent.posterior_scale,
           (1 / ratio).mean().sqrt(), limit=1e-9)  # fmt: skip


def test_a_variance_far_from_zero_does_not_cancel() -> None:
    """E[z|x] about 1e7 with a variance of 1e-4, in uneven batches, against numpy."""
    loc = 1e7 + 1e-2 * torch.randn(1000, 2, dtype=torch.float64)
    meter = LatentMeter()
    for part in loc.split(333):
        meter.update(trace_of(Site.draw("z", Delta(part), StandardGaussian(torch.zeros(2)), (1,))))
    latent = meter.latent()
    assert latent is not None
    assert latent.variance == pytest.approx(loc.numpy().var(0).tolist(), rel=1e-6)


def trace_of(*sites: Site) -> Trace:
    px = Gaussian(torch.zeros(1, 1, 1), torch.zeros(()))
    return Trace(torch.zeros(1, 1), sites, px, None)


def test_several_latents_follow_each_other_and_what_does_not_exist_is_absent() -> None:
    loc = torch.tensor([[0.0, 2.0], [0.0, -2.0]])
    q, p = Gaussian(loc, torch.zeros(2)), StandardGaussian(torch.zeros(2))
    one, two = Site.draw("one", q, p, (3,)), Site.draw("two", q, p, (3,))
    meter = LatentMeter()
    meter.update(trace_of(one, two))
    latent = meter.latent()
    assert latent is not None
    assert latent.kl_per_dim == pytest.approx([0, 2, 0, 2])
    assert latent.variance == pytest.approx([0, 4, 0, 4])
    assert latent.active_units == 2
    assert set(meter.latents()) == {"one", "two"}
    assert latent.posterior_scale == pytest.approx(1)

    point = LatentMeter()
    point.update(trace_of(one, Site.draw("point", Delta(loc), p, (3,))))
    latent = point.latent()
    assert latent is not None
    assert latent.kl_per_dim is None
    assert latent.active_units == 2
    assert latent.posterior_scale is None

    none = LatentMeter()
    none.update(trace_of())
    assert none.latent() is None


@pytest.mark.parametrize("samples", [(1,), (4,), (2, 3)])
def test_numbers_of_draws_are_no_rows(samples: tuple[int, ...]) -> None:
    loc = torch.randn(40, 2, 3, dtype=torch.float64)
    q = Gaussian(loc, torch.zeros(2, 3, dtype=torch.float64), event_dim=2)
    p = StandardGaussian(torch.zeros(2, 3, dtype=torch.float64), event_dim=2)
    meter = LatentMeter()
    meter.update(trace_of(Site.draw("z", q, p, samples)))
    latent = meter.latent()
    assert latent is not None
    assert latent.variance == pytest.approx(loc.flatten(1).numpy().var(0).tolist())
    expected = 0.5 * np.square(loc.flatten(1).numpy()).mean(0)
    assert latent.kl_per_dim == pytest.approx(expected.tolist())


def test_meters_keep_nothing_of_the_graph() -> None:
    px = Gaussian(torch.randn(1, 5, 3, requires_grad=True), torch.zeros(3, requires_grad=True))
    meter = ScaleMeter()
    meter.add(Trace(torch.randn(5, 3), (), px, None))
    assert not meter._sums.requires_grad
    latent = LatentMeter()
    loc = torch.randn(5, 2, requires_grad=True)
    latent.update(trace_of(Site.draw("z", Gaussian(loc, loc), StandardGaussian(loc[0]), (2,))))
    found = [m for moments in latent._moments.values() for m in moments.values()]
    assert len(found) == 3
    assert not any(moments.mean.requires_grad for moments in found)


@pytest.mark.parametrize("log_scale", [-300.0, 300.0])
def test_a_scale_that_lost_all_measure_has_a_gain(log_scale: float) -> None:
    zeros = torch.zeros(1, 5, 3, dtype=torch.float64)
    px = Gaussian(zeros, torch.tensor(log_scale, dtype=torch.float64))
    meter = ScaleMeter()
    meter.add(Trace(torch.full((5, 3), 1e150, dtype=torch.float64), (), px, None))
    assert meter.gain() > 100


def test_a_unit_is_active_above_a_hundredth() -> None:
    """Burda et al. 2016, sec. 5.2: Var_x E[z|x] > 0.01."""
    assert Latent(None, [0.0, 0.0099, 0.01, 0.0101, 0.012, 3.0]).active_units == 3


def test_the_posterior_scale_is_the_root_of_the_mean_square_over_rows_dims_and_latents() -> None:
    """In uneven batches: sigmas 1 and 3 of two rows, then 2; and 5 in the two dims of another."""
    meter, p = LatentMeter(), StandardGaussian(torch.zeros(1))
    wide = StandardGaussian(torch.zeros(2))
    for sigmas in ([1.0, 3.0], [2.0]):
        scale = torch.tensor(sigmas)[:, None].log()
        one = Site.draw("one", Gaussian(torch.zeros(len(sigmas), 1), scale), p, (4,))
        five = torch.full((len(sigmas), 2), 5.0).log()
        two = Site.draw("two", Gaussian(torch.zeros(len(sigmas), 2), five), wide, (4,))
        meter.update(trace_of(one, two))
    found = meter.latents()
    assert found["one"].posterior_scale == pytest.approx(((1 + 9 + 4) / 3) ** 0.5)
    latent = meter.latent()
    assert latent is not None
    assert latent.posterior_scale == pytest.approx(((1 + 9 + 4 + 3 * 2 * 25) / 9) ** 0.5)


def test_a_latent_that_hangs_on_draws_is_averaged_over_them() -> None:
    draws = torch.tensor([[[1.0], [5.0]], [[3.0], [7.0]]])  # S = 2, B = 2
    site = Site("z", draws, Gaussian(draws, torch.zeros(1)), StandardGaussian(torch.zeros(1)))
    meter = LatentMeter()
    meter.update(trace_of(site))
    latent = meter.latent()
    assert latent is not None
    assert latent.variance == pytest.approx([4.0])
    assert latent.kl_per_dim == pytest.approx([(1 + 9 + 25 + 49) / 8])


def test_the_scale_meter_takes_roots_of_mean_squares_and_means_of_magnitudes(
    proves: Proves,
) -> None:
    x = torch.randn(30, 4)
    loc, log_scale = torch.randn(2, 30, 4), torch.randn(2, 30, 4)
    for family, power in ((Gaussian, 2), (Laplace, 1)):
        meter = ScaleMeter()
        for rows in (slice(0, 7), slice(7, 30)):
            px = family(loc[:, rows], log_scale[:, rows])
            meter.add(Trace(x[rows], (), px, None))
        expected = [(v.abs() ** power).mean().item() ** (1 / power) for v in
                    (log_scale.exp(), x - loc)]  # fmt: skip
        proves("scales claimed and seen", "their formula", meter.means(), expected, limit=1e-5)
        assert meter.power == power
    meter = ScaleMeter()
    meter.add(Trace(x, (), Bernoulli(loc), None))
    assert meter.means() is None


def test_gaps_do_not_count_in_the_scale() -> None:
    x = torch.tensor([[1.0, math.nan], [1.0, 9.0]])
    mask = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    meter = ScaleMeter()
    meter.add(Trace(x, (), Gaussian(torch.zeros(1, 2, 2), torch.zeros(())), None, mask=mask))
    assert meter.means() == pytest.approx((1.0, 1.0))


def test_dead_units_are_those_that_no_row_and_no_position_moves(proves: Proves) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2), nn.Tanh())
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([0.0, 1.0, -1.0, 1.0]).view(4, 1, 1, 1))
        net[0].bias.copy_(torch.tensor([1.0, 0.0, 0.0, -50.0]))
        net[3].weight[1] = 0
    x = torch.zeros(6, 1, 3, 3)
    x[4, 0, 1, 1] = 1.0  # one position of one row
    with torch.no_grad(), DeadUnits(net) as dead:
        for part in x.split(2):
            net(part)
    # constant 1; moved; -1 clipped to 0; below zero; tanh moved; tanh constant
    proves(
        "share of dead units", "four of six, by construction", dead.fraction(), 4 / 6, limit=1e-12
    )
    assert not any(m._forward_hooks for m in net.modules())
    with torch.no_grad(), DeadUnits(net, rows=4) as early:
        net(x)
    assert early.fraction() == 1.0, "rows beyond the limit counted"
    with DeadUnits(nn.Linear(2, 2)) as none:
        pass
    assert none.fraction() is None


M, S, W, SIGMA = 0.4, 0.6, 1.5, 0.8


class Known(nn.Module):
    """q(z|x) = N(m, S^2) for every x; m alone is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.tensor(M, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        log_variance = x.new_full((len(x), 1), 2 * math.log(S))
        return torch.cat([self.m.expand(len(x), 1), log_variance], 1)


class Line(nn.Module):
    """E[x|z] = W z."""

    def forward(self, z: Tensor) -> Tensor:
        return W * z


def one_parameter() -> VAE:
    posterior = vk.Conditional(Known(), vk.Gaussian(1), in_shape=(1,))
    likelihood = vk.Conditional(Line(), vk.Gaussian(1, scale=SIGMA), in_shape=(1,))
    return VAE(vk.StandardNormal(1), posterior, likelihood).double()


@pytest.mark.parametrize("kl", ["closed", "sampled"])
def test_variance_and_mean_of_the_reparameterised_gradient(kl: str, proves: Proves) -> None:
    """z = m + s e: d/dm log p(x|z) = w (x - w z) / sigma^2, and d/dm KL = m closed, z sampled."""
    rows, repeats = 3, 4000
    x = torch.tensor([[0.3], [-1.0], [2.2]], dtype=torch.float64)
    slope = W**2 / SIGMA**2 + (kl == "sampled")
    variance = (slope * S) ** 2 / rows
    mean = W * (x.mean().item() - W * M) / SIGMA**2 - M
    found = gradient_noise(one_parameter(), vk.ELBO(kl=kl), x, repeats=repeats)
    assert (found.parameters, found.repeats) == (1, repeats)
    limit = 5 * math.sqrt(2 / repeats)  # five standard errors of a Gaussian's variance
    proves(f"gradient variance, {kl} KL", "closed form", found.variance / variance, 1, limit=limit)
    error = 5 * 2 * abs(mean) * math.sqrt(variance / repeats)
    assert found.squared_norm == pytest.approx(mean**2, abs=error)
    assert found.ratio == found.variance / found.squared_norm


def test_the_closed_kl_has_less_noise_here() -> None:
    x = torch.ones(4, 1, dtype=torch.float64)
    noise = [gradient_noise(one_parameter(), vk.ELBO(kl=kl), x) for kl in ("closed", "sampled")]
    slope = W**2 / SIGMA**2
    assert noise[1].variance / noise[0].variance == pytest.approx(((slope + 1) / slope) ** 2)


def small() -> VAE:
    return VAE(
        vk.StandardNormal(2),
        vk.Conditional(vk.MLP(5, 4, [6]), vk.Gaussian(2)),
        vk.Conditional(vk.MLP(2, 5, [6]), vk.Bernoulli(5)),
    )


def by_numpy(model: VAE, objective: Objective, x: Tensor, repeats: int) -> np.ndarray:
    """All gradients, `(R, P)`, each by `backward`."""
    rows = []
    torch.manual_seed(7)
    for _ in range(repeats):
        model.zero_grad()
        objective(model(x, samples=objective.samples)).value.mean().backward()
        rows.append(np.concatenate([p.grad.flatten().numpy() for p in model.parameters()]))
    return np.array(rows, dtype=np.float64)


@pytest.mark.parametrize(
    "objective", [vk.ELBO(samples=2), vk.IWAE(samples=3)], ids=["elbo", "iwae"]
)
def test_it_is_numpys_covariance(objective: Objective) -> None:
    model, x = small(), torch.rand(6, 5)
    rows = by_numpy(model, objective, x, 9)
    found = gradient_noise(model, objective, x, repeats=9, seed=7)
    variance = np.trace(np.cov(rows.T, ddof=1))
    assert found.variance == pytest.approx(variance, rel=1e-6)
    squared = (rows.mean(0) ** 2).sum() - variance / 9
    assert found.squared_norm == pytest.approx(squared, rel=1e-5)


def test_the_squared_norm_is_unbiased() -> None:
    x = torch.full((1, 1), W * M + M * SIGMA**2 / W, dtype=torch.float64)  # where E[g] = 0
    found = [
        gradient_noise(one_parameter(), vk.ELBO(), x, repeats=2, seed=seed).squared_norm
        for seed in range(400)
    ]
    mean, error = np.mean(found), np.std(found) / 20
    assert abs(mean) < 4 * error
    variance = (W**2 / SIGMA**2 * S) ** 2
    assert variance / 2 > 8 * error, "the biased one would be seen"
    assert any(one < 0 for one in found)


def test_without_a_mean_gradient_the_ratio_is_infinite() -> None:
    x = torch.full((1, 1), W * M + M * SIGMA**2 / W, dtype=torch.float64)
    ratios = [gradient_noise(one_parameter(), vk.ELBO(), x, repeats=2, seed=s) for s in range(20)]
    assert {one.ratio == math.inf for one in ratios if one.squared_norm <= 0} == {True}


def test_everything_is_left_as_it_was() -> None:
    model = small()
    model.posterior.net.add_module("drop", nn.Dropout(0.5))
    model.train()
    x, before = torch.rand(4, 5), torch.get_rng_state()
    with torch.no_grad():
        one = gradient_noise(model, vk.ELBO(), x, repeats=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert one == gradient_noise(model.eval(), vk.ELBO(), x, repeats=3)
    assert one != gradient_noise(model, vk.ELBO(), x, repeats=3, seed=1)


class Apart(Objective):
    """Each part has a target of its own."""

    def value(self, trace: Trace) -> Tensor:
        return trace.log_likelihood.mean(0) - trace.kl.mean(0)

    def surrogate(self, trace: Trace, value: Tensor) -> dict[str, Tensor]:
        return {"posterior": value, "likelihood": 3 * value}


def test_targets_by_part_are_differentiated_part_by_part() -> None:
    model, x = small(), torch.rand(6, 5)
    rows = by_numpy(model, vk.ELBO(), x, 5)
    first = sum(p.numel() for p in model.posterior.parameters())
    rows[:, first:] *= 3
    found = gradient_noise(model, Apart(), x, repeats=5, seed=7)
    assert found.variance == pytest.approx(rows.var(0, ddof=1).sum(), rel=1e-6)


def test_refusals() -> None:
    with pytest.raises(vk.VaekitError, match="got `repeats=1`; expected a whole"):
        gradient_noise(small(), vk.ELBO(), torch.rand(4, 5), repeats=1)
    with pytest.raises(vk.VaekitError, match="no parameter that is trained"):
        gradient_noise(small().requires_grad_(False), vk.ELBO(), torch.rand(4, 5))
    model = small()
    next(model.parameters()).data.fill_(math.nan)
    with pytest.raises(vk.VaekitError, match="not finite"):
        gradient_noise(model, vk.ELBO(), torch.rand(4, 5))


def smooth(*shape: int) -> Tensor:
    """Images with structure at several scales, in [0, 1]."""
    noise = np.random.default_rng(0).normal(size=shape)
    value = sum(ndimage.gaussian_filter(noise, (0, 0, s, s)) * s for s in (1, 3, 8))
    return torch.from_numpy((value - value.min()) / (value.max() - value.min()))


def windowed(image: np.ndarray, side: int) -> np.ndarray:
    """Weighted means of every window that lies inside, by scipy."""
    near = np.arange(side) - side // 2
    window = np.exp(-(near[:, None] ** 2 + near[None] ** 2) / (2 * 1.5**2))
    full = ndimage.correlate(image, window / window.sum(), mode="constant")
    edge = side // 2
    return full[edge : full.shape[0] - edge, edge : full.shape[1] - edge]


def factors(x: np.ndarray, y: np.ndarray, top: float) -> tuple[np.ndarray, np.ndarray]:
    """l and cs of one channel at every window, centered moments first (Wang et al. 2004)."""
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


def test_ssim_is_that_of_a_filter_over_the_whole_image(proves: Proves) -> None:
    x = smooth(1, 1, 40, 33)
    y = 1 - 0.7 * x.flip(2)
    u, v = x[0, 0].numpy(), y[0, 0].numpy()
    m, n = windowed(u, 11), windowed(v, 11)
    var_u, var_v = windowed(u * u, 11) - m**2, windowed(v * v, 11) - n**2
    cov = windowed(u * v, 11) - m * n
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * m * n + c1) * (2 * cov + c2) / ((m**2 + n**2 + c1) * (var_u + var_v + c2))
    proves("SSIM", "scipy.ndimage.correlate", ssim(x, y), value.mean(), limit=1e-10)


def halved(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, of those there are at an odd edge."""
    rows, columns = (-(-s // 2) for s in image.shape)
    return np.array(
        [
            [image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(columns)]
            for i in range(rows)
        ]
    )


@pytest.mark.parametrize(
    ("side", "scales"),
    [((7, 9), 1), ((20, 20), 1), ((28, 28), 2), ((43, 41), 3), ((81, 85), 4), ((161, 161), 5)],
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
def test_equal_images_are_equal_even_where_they_are_constant(value: float) -> None:
    for x in (torch.full((2, 3, 32, 32), value), torch.rand(2, 1, 12, 12), torch.rand(1, 1, 1, 1)):
        assert (mse(x, x) == 0).all()
        assert (psnr(x, x) == math.inf).all()
        assert (ssim(x, x) - 1).abs().max() < 1e-12
        assert (ms_ssim(x, x) - 1).abs().max() < 1e-12


def test_two_constant_images_differ_in_luminance_alone(proves: Proves) -> None:
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
    with pytest.raises(vk.VaekitError, match=r"got the shape \(2, 144\); expected images"):
        ms_ssim(x.flatten(1), x.flatten(1))
    with pytest.raises(vk.VaekitError, match="1 of the 288 numbers of y are not finite"):
        psnr(x, x.masked_fill(x == x.max(), math.nan))
    for top in (0.0, -1.0, math.nan):
        with pytest.raises(vk.VaekitError, match="got `data_range="):
            psnr(x, x, top)
    with pytest.raises(vk.VaekitError, match="got no rows"):
        reconstructions(None, [])  # type: ignore[arg-type]


TRAINED = {
    "net": "mlp:hidden=64",
    "epochs": 40,
    "lr": 3e-3,
    "report": False,
    "latent": 4,
    "snapshots": 0,
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path))
        yield path  # type: ignore[misc]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vk.train("cvae", out=tmp_path_factory.mktemp("agreement") / "r", **TRAINED)


@pytest.fixture(scope="module")
def judge() -> Classifier:
    return train_classifier(load("digits").train, 10)


def test_the_classifier_learns_digits_and_is_the_same_again(judge: Classifier) -> None:
    data = load("digits")
    assert accuracy(judge, data.test) > 0.97
    torch.manual_seed(123)
    state = torch.get_rng_state()
    short = [train_classifier(data.train, 10, epochs=1, seed=2) for _ in range(2)]
    assert torch.equal(state, torch.get_rng_state()), "the caller's random numbers stay"
    for one, other in zip(short[0].parameters(), short[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_accuracy_is_the_share_of_rows_told_right(judge: Classifier) -> None:
    data = load("digits").test
    told = predict(judge, data.x())
    assert data.labels is not None
    assert accuracy(judge, data) == pytest.approx(np.mean(told.numpy() == data.labels.numpy()))
    wrong = replace(data, labels=(told + 1) % 10)
    assert accuracy(judge, wrong) == 0


def test_labels_that_say_nothing_are_not_learned() -> None:
    """A classifier of shuffled labels tells one in ten: accuracy does not flatter."""
    data = load("digits").train
    assert data.labels is not None
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    model = train_classifier(replace(data, labels=data.labels[order]), 10, epochs=2)
    assert accuracy(model, load("digits").test) < 0.25


def test_agreement_of_a_model_and_of_one_that_ignores_its_label(
    run: Run, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run.evaluate("bound:samples=1", "agreement:images=500")["agreement"]
    assert found["classifier_accuracy"] > 0.97
    assert found["share"] > 0.9
    assert found["worst_share"] == min(found["shares"]) <= found["share"]
    assert len(found["shares"]) == 10, "as many images of each class"
    assert found["share"] == pytest.approx(np.mean(found["shares"]))
    within = np.mean([share * (1 - share) / 49 for share in found["shares"]])
    assert found["standard_error"] == pytest.approx(np.sqrt(within / 10))
    assert len(list((cache / "vaekit" / "classifiers").iterdir())) == 1
    again = run.evaluate("bound:samples=1", "agreement:images=500")["agreement"]
    assert again == found, "with the classifier from the cache"
    main(["evaluate", str(run.path), "agreement:images=100", "--json"])
    assert json.loads(capsys.readouterr().out)["agreement"]["samples"] == 100

    weight = run.model.likelihood.net.body[0].weight
    kept = weight.clone()
    try:
        with torch.no_grad():
            weight[:, -10:] = 0
        blind = run.evaluate("bound:samples=1", "agreement:images=500")["agreement"]["share"]
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    assert 0.02 < blind < 0.3


def test_the_classifier_of_other_labels_is_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is trained once for each data set and its labels, and then read from the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trained: list[object] = []

    def train(*_: object, **__: object) -> Classifier:
        trained.append(_)
        return Classifier((1, 8, 8), 2)

    monkeypatch.setattr("vaekit.evaluate._agreement.train_classifier", train)
    monkeypatch.setattr("vaekit.evaluate._agreement.accuracy", lambda *_: 1.0)
    model = SimpleNamespace(sample=lambda n, *_, mean: torch.zeros(n, 1, 8, 8))
    spec = DataSpec("d", (1, 8, 8), "gray", rows=9, classes=2, context=(2,))
    rows = SimpleNamespace(on_rows=None, device="cpu")
    agreement: Any = make("metric", {"name": "agreement"})
    asked = [([0, 1], "a", 1), ([0, 1], "a", 1), ([1, 0], "a", 2), ([1, 0], "b", 3)]
    for labels, key, count in asked:
        train_rows = SimpleNamespace(labels=torch.tensor(labels))
        data = SimpleNamespace(name="d", train=train_rows, test=None)
        subject = SimpleNamespace(model=model, spec=spec, rows=rows, key=key, class_names="ab")
        subject.data = lambda data=data: data
        agreement.study(subject)
        assert len(trained) == count


def test_what_is_refused(run: Run, tmp_path: Path) -> None:
    plain = vk.train("vae", out=tmp_path / "plain", **{**TRAINED, "epochs": 1})
    with pytest.raises(VaekitError, match="not conditioned on labels"):
        plain.evaluate("agreement:images=10")
    with pytest.raises(VaekitError, match="got `agreement:images=0`"):
        run.evaluate("agreement:images=0")
    with pytest.raises(VaekitError, match="takes \\(C, H, W\\)"):
        train_classifier(Split(torch.rand(20, 3), torch.arange(20) % 2), 2)
    with pytest.raises(VaekitError, match="without labels"):
        train_classifier(Split(torch.rand(20, 1, 8, 8)), 2)
