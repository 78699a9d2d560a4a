"""The von Mises-Fisher distribution, and the gradient of its draws."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves
from probing import whole_way
from scipy import integrate, optimize, stats

import vaekit as vk
from vaekit import distributions as d
from vaekit.parts import VonMisesFisher
from vaekit.testing import check_family

SIZES, SHARP = (2, 3, 8, 50), (0.3, 4.0, 300.0)


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def made(size: int, sharp: float) -> d.VonMisesFisher:
    loc = torch.nn.functional.normalize(torch.randn(size), dim=0)
    return d.VonMisesFisher(loc, torch.tensor(sharp))


def pdf(size: int, sharp: float) -> Any:
    """Of the cosine, but for a constant."""
    return lambda t: np.exp(sharp * (t - 1)) * (1 - t * t) ** ((size - 3) / 2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sharp", SHARP)
def test_density_and_entropy_are_scipy_s(size: int, sharp: float, proves: Proves) -> None:
    q = made(size, sharp)
    known = stats.vonmises_fisher(q.loc.numpy(), sharp)
    x = q.sample((5,))
    proves("VonMisesFisher, density", "scipy", q.log_prob(x), known.logpdf(x.numpy()), limit=1e-8)
    proves("VonMisesFisher, entropy", "scipy", q.entropy(), known.entropy(), limit=1e-8)
    flat = d.SphereUniform(torch.zeros(size))
    wanted = -known.entropy() - flat.log_prob(x[0]).item()
    proves("KL(VonMisesFisher || SphereUniform)", "scipy", d.kl(q, flat), wanted, limit=1e-8)
    many = q.sample((40_000,))
    assert torch.allclose(many.norm(dim=-1), torch.ones(()), atol=1e-9)
    error = 5 * many.std(0) / 200
    assert ((many.mean(0) - q.mean).abs() < error + 1e-9).all()
    assert ((many.var(0) / q.variance - 1).abs() < 0.1).all()
    theirs = known.rvs(20_000, random_state=1) @ q.loc.numpy()
    assert stats.ks_2samp((many[:20_000] @ q.loc).numpy(), theirs).pvalue > 1e-4


@pytest.mark.parametrize("size", [3, 8])
@pytest.mark.parametrize("sharp", [0.3, 4.0, 30.0])
def test_a_draw_moves_as_its_quantile_does(size: int, sharp: float, proves: Proves) -> None:
    q, density = made(size, sharp), pdf(size, sharp)
    for share in (0.001, 0.3, 0.8, 0.999):

        def quantile(k: float, share: float = share) -> float:
            def mass(end: float) -> float:
                return float(integrate.quad(pdf(size, k), -1, end, limit=200)[0])

            whole = mass(1)
            return float(optimize.brentq(lambda end: mass(end) / whole - share, -1, 1, xtol=1e-13))

        t, h = torch.tensor([quantile(sharp)]), 1e-4 * sharp
        wanted = (quantile(sharp + h) - quantile(sharp - h)) / (2 * h)
        assert density(t.item()) > 0
        proves("VonMisesFisher, gradient of a draw", "the quantile function of scipy's integral",
               q._slope(1 - t, q.concentration.expand(1)), -wanted, limit=1e-4)  # fmt: skip


@pytest.mark.parametrize("sharp", [0.5, 5.0, 100.0])
def test_gradients_of_draws_have_no_bias(sharp: float) -> None:
    """The slope of E[t] by the concentration is the variance of t: no correction is left out."""
    q = made(5, sharp)
    q.concentration.requires_grad_()
    k = q.concentration.expand(100_000).detach().requires_grad_()
    wide = d.VonMisesFisher(q.loc.expand(100_000, 5), k)
    t = (wide.rsample() * q.loc).sum(-1)
    for power in (1, 2):
        (slopes,) = torch.autograd.grad((t**power).sum(), k, retain_graph=True)
        wanted = ((t**power - (t**power).mean()) * (t - t.mean())).detach()
        gap = slopes.mean() - wanted.mean()
        assert gap.abs() < 5 * (slopes.std() + wanted.std()) / 100_000**0.5


def test_a_family_of_directions_has_gradients_and_no_draw_is_left_out() -> None:
    check_family(VonMisesFisher(4), smooth=False)
    q = d.VonMisesFisher(torch.eye(3)[:1].float(), torch.tensor([1e5]))
    x = q.sample((1000,))
    assert torch.isfinite(x).all()
    assert (x[..., 0] > 0.99).all()
    k = torch.tensor([1e-3, 1.0, 1e4, 1e6], requires_grad=True, dtype=torch.float32)
    assert made(3, float("nan")).sample((2,)).isnan().any()  # and there is an end
    loc = torch.eye(10)[0].float().expand(4, 10)
    q = d.VonMisesFisher(loc, k)
    (q.rsample((50,)).sum() + q.entropy().sum()).backward()
    assert torch.isfinite(k.grad).all()  # type: ignore[arg-type]


def test_s_vae_goes_the_whole_way(tmp_path: Path) -> None:
    whole_way(tmp_path, "s_vae", 3)


def test_ways_between_directions_do_not_leave_the_ball(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_default_dtype(torch.float32)
    how: Any = {"epochs": 1, "limit": 100, "net": "mlp:hidden=16", "latent": 3, "report": False}
    run = vk.train("s_vae", data="digits", out=tmp_path / "run", **how)
    x, seen, decode = run.dataset().test.x()[:2], [], run.decode
    first, last = run.encode(x)
    monkeypatch.setattr(run, "decode", lambda z, *a: decode(seen.append(z) or z, *a))
    vk.report.interpolate(run, x[:1], x[1:], steps=5)
    vk.report.traverse(run, first, [0, 2], torch.tensor([-3.0, 0.0, 3.0]))
    arc, moved = seen
    assert torch.allclose(arc[[0, -1]], torch.stack([first, last]), atol=1e-5)
    assert arc.norm(dim=1).min() >= 0.98 * min(first.norm(), last.norm())
    assert (moved.norm(dim=1) < 1 + 1e-6).all()
    assert (moved[[0, 2, 3, 5]].norm(dim=1) > 1 - 1e-6).all()


@pytest.mark.parametrize("kind", [d.VonMisesFisher, d.PowerSpherical])
@pytest.mark.parametrize("sharp", [30.0, 1e5, 1e7])
def test_a_sharp_direction_keeps_its_digits_in_float32(kind: Any, sharp: float) -> None:
    """Of a cosine that is 1 but for its last digits nothing is left: at 1e7 the entropy was noise.

    A sharp direction in D dimensions is a Gaussian of D - 1, of variance 1 / concentration; with
    half the concentration for the power of (1 + cosine).
    """
    size, each = 11, sharp if kind is d.VonMisesFisher else sharp / 2
    loc = torch.nn.functional.normalize(torch.randn(200, size).float(), dim=-1)
    k = torch.full((200,), sharp, dtype=torch.float32, requires_grad=True)
    q = kind(loc, k)
    x = q.rsample((500,))
    exact = kind(loc.double(), k.detach().double().requires_grad_())
    assert torch.allclose(q.entropy().double(), exact.entropy(), rtol=2e-6, atol=2e-5)
    ours, theirs = (torch.autograd.grad(p.entropy().sum(), p.concentration)[0] for p in (q, exact))
    assert torch.allclose(sharp * ours.double(), sharp * theirs, rtol=2e-5, atol=2e-4)
    known = exact.log_prob(x.double()).mean()
    assert torch.allclose(q.log_prob(x).mean().double(), known, rtol=0, atol=5e-3)
    square = (x - loc).square().sum(-1).mean()
    slope = torch.autograd.grad(200 * square, k)[0].mean() * sharp / square
    if sharp > 100:
        gaussian = 0.5 * (size - 1) * (1 + math.log(2 * math.pi / each))
        assert q.entropy().mean().item() == pytest.approx(gaussian, abs=1e-3)
        assert square.item() * each == pytest.approx(size - 1, rel=0.01)
        assert slope.item() == pytest.approx(-1, rel=0.01)
