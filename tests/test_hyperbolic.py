"""The Poincaré ball: its maps, the wrapped normal, and a model with such a latent."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves
from scipy import stats
from torch import Tensor

import vaekit as vk
from vaekit import distributions as d
from vaekit.cli.main import main
from vaekit.data import DataSpec
from vaekit.errors import VaekitError
from vaekit.evaluate import nearest_codes
from vaekit.parts import FlatBall, Poincare, PoincarePrior
from vaekit.recipes import build
from vaekit.testing import check_family

CURVATURES = (0.3, 1.0, 2.0)
NORMS = (0.0, 0.5, 0.999)  # of means, in units of the radius
GRAY = DataSpec("t", (1, 4, 4), "gray", rows=20)


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def points(n: int, c: float, size: int = 3) -> Tensor:
    """Points all over a ball, some of them near the border."""
    x = torch.nn.functional.normalize(torch.randn(n, size), dim=-1)
    return x * torch.linspace(0.01, 0.9999, n)[:, None] / math.sqrt(c)


def at(norm: float, c: float, size: int = 2) -> Tensor:
    way = torch.nn.functional.normalize(torch.arange(1.0, size + 1), dim=0)
    return norm / math.sqrt(c) * way


def numpy_add(x: Any, y: Any, c: float) -> Any:
    """Ungar's fraction as it is printed."""
    xy, xx, yy = ((a * b).sum(-1, keepdims=True) for a, b in ((x, y), (x, x), (y, y)))
    over = (1 + 2 * c * xy + c * yy) * x + (1 - c * xx) * y
    return over / (1 + 2 * c * xy + c**2 * xx * yy)


def numpy_distance(x: Any, y: Any, c: float) -> Any:
    gaps = (1 - c * (x**2).sum(-1)) * (1 - c * (y**2).sum(-1))
    return np.arccosh(1 + 2 * c * ((x - y) ** 2).sum(-1) / gaps) / math.sqrt(c)


@pytest.mark.parametrize("c", CURVATURES)
def test_moebius_addition_is_that_of_the_books(c: float, proves: Proves) -> None:
    x, y = points(200, c), points(200, c)[torch.randperm(200)]
    got = d.add(x, y, c)
    proves("Poincaré ball, sum", "Ungar's fraction, numpy", got, numpy_add(x.numpy(), y.numpy(), c),
           limit=1e-9)  # fmt: skip
    x, y = x[:150], y[:150] * 0.9
    assert torch.allclose(d.add(-x, d.add(x, y, c), c), y, atol=1e-9)  # left cancellation
    assert torch.allclose(d.add(x, torch.zeros(3), c), x, atol=1e-12)
    assert d.add(-x, x, c).abs().max() < 1e-12
    assert (d.add(x, y, c) - d.add(y, x, c)).abs().max() > 0.1  # it does not commute
    lengths = [d.add(*pair, c).norm(dim=-1) for pair in ((x, y), (y, x))]
    assert torch.allclose(*lengths, atol=1e-9)  # but by a rotation


@pytest.mark.parametrize("c", CURVATURES)
def test_the_maps_are_inverse_and_measure_the_geodesic(c: float, proves: Proves) -> None:
    x, y = points(200, c), points(200, c)[torch.randperm(200)]
    v = d.log_at(x, y, c)
    assert torch.allclose(d.exp_at(x, v, c), y, atol=1e-8)
    assert torch.allclose(d.exp_zero(d.log_zero(x, c), c), x, atol=1e-10)
    assert torch.allclose(d.log_at(torch.zeros(3), y, c), d.log_zero(y, c), atol=1e-9)
    wanted = numpy_distance(x.numpy(), y.numpy(), c)
    proves("Poincaré ball, distance", "the arcosh of the books, numpy", v.norm(dim=-1), wanted,
           limit=1e-6)  # fmt: skip
    apart = d.geodesic_length((x - y).norm(dim=-1), x, y, c)
    proves("Poincaré ball, length", "the arcosh of the books, numpy", apart, wanted, limit=1e-6)
    half = d.geodesic(x, y, torch.full((1,), 0.3), c)
    there = numpy_distance(x.numpy(), half.numpy(), c)
    assert np.allclose(there, 0.3 * wanted, rtol=1e-5, atol=1e-6)
    assert np.allclose(numpy_distance(half.numpy(), y.numpy(), c), 0.7 * wanted, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("c", CURVATURES)
def test_the_density_is_autograd_s_jacobian(norm: float, c: float, proves: Proves) -> None:
    for size in (1, 2, 5):
        loc, log_scale = at(norm, c, size), 0.3 * torch.randn(size)
        q = d.WrappedNormal(loc, log_scale, c)
        v = log_scale.exp() * torch.randn(size)
        z = d.exp_at(loc, v, c)
        jacobian: Any = torch.autograd.functional.jacobian(lambda v: d.exp_at(loc, v, c), v)  # noqa: B023
        normal = stats.norm(0, log_scale.exp().numpy()).logpdf(v.numpy()).sum()
        by_length = normal - np.log(abs(np.linalg.det(jacobian.numpy())))
        volume = size * math.log(2 / (1 - c * float(z.square().sum())))
        proves("WrappedNormal, density", "autograd's Jacobian", q.log_prob(z), by_length - volume,
               limit=1e-6)  # fmt: skip
        warmer = stats.norm(0, 1.5 * log_scale.exp().numpy()).logpdf(v.numpy()).sum()
        proves("WrappedNormal, tempered", "autograd's Jacobian", q.tempered(1.5).log_prob(z),
               by_length - volume + warmer - normal, limit=1e-6)  # fmt: skip


@pytest.mark.parametrize("norm", [0.0, 0.7, 0.95])
@pytest.mark.parametrize("c", CURVATURES)
def test_the_density_integrates_to_one_over_the_ball(norm: float, c: float, proves: Proves) -> None:
    """By volume, over a grid of the ball itself, in rings that end far outside."""
    q = d.WrappedNormal(at(norm, c), torch.tensor([-0.3, -1.0]), c)
    s = math.sqrt(c)
    far = torch.linspace(0, 9 + 2 * math.atanh(norm), 1201) / s
    angle = torch.linspace(0, 2 * math.pi, 801)[:-1]
    radius = (s * far / 2).tanh() / s
    rays = torch.stack([angle.cos(), angle.sin()], -1)
    volume = (s * far).sinh() / s  # of a ring, by the distance and the angle
    mass = 0.0
    for ring, weight in zip(radius.split(100), volume.split(100), strict=True):
        density = q.log_prob(ring[:, None, None] * rays).exp()
        mass += float((density.mean(1) * weight).sum())
    mass *= 2 * math.pi * float(far[1])
    proves("WrappedNormal, mass", "a sum over the ball", mass, 1.0, limit=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_draws_have_the_density_s_distances(norm: float) -> None:
    """The radius about the mean is chi's, and that of a histogram under the density by volume."""
    c, size, scale = 1.5, 3, 0.8
    q = d.WrappedNormal(at(norm, c, size), torch.full((size,), math.log(scale)), c)
    z = q.sample((50_000,))
    far = numpy_distance(q.loc.numpy(), z.numpy(), c)
    assert stats.kstest(far / scale, stats.chi(size).cdf).pvalue > 1e-4
    edges = np.linspace(0.2, 3, 15)
    found, _ = np.histogram(far, edges)
    r = (edges[1:] + edges[:-1]) / 2
    ring = d.exp_at(q.loc, torch.tensor(r)[:, None] * at(1.0, 1.0, size), c)
    shell = 4 * np.pi * (np.sinh(math.sqrt(c) * r) / math.sqrt(c)) ** 2
    wanted = q.log_prob(ring).exp().numpy() * shell * (edges[1] - edges[0]) * len(z)
    assert np.allclose(found, wanted, rtol=0.02, atol=5 * np.sqrt(wanted).max())
    mean = d.log_at(q.loc, z, c).mean(0)
    assert mean.abs().max() < 5 * scale / 50_000**0.5  # the mean of geometry is loc
    assert torch.equal(q.mean, q.loc)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_near_the_border_and_at_0(dtype: torch.dtype) -> None:
    raw = torch.tensor([[0.0, 0.0, 0, 0], [1e-12, 0, 0, 0], [7.6, 0, -3, 1], [1e4, 1e4, 9, 9],
                        [30, -40, -40, -40]], dtype=dtype, requires_grad=True)  # fmt: skip
    q: Any = Poincare(2)(raw)
    z = q.rsample((200,))
    assert (z.norm(dim=-1) < 1).all()
    at_mean = q.log_prob(q.loc)
    whole = q.log_prob(z).sum() - PoincarePrior(2).to(dtype)().log_prob(z).sum() + at_mean.sum()
    assert torch.isfinite(whole)
    whole.backward()
    assert torch.isfinite(raw.grad).all()  # type: ignore[arg-type]
    assert (raw.grad[2].abs() > 0).all()  # type: ignore[index]
    for far in (torch.zeros(1, 2), torch.tensor([[0.6, 0.8]])):  # 0, and the border itself
        edge = far.to(dtype).requires_grad_()
        d.log_zero(edge, 1.0).sum().backward()
        assert torch.isfinite(edge.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_0_all_is_finite_where_the_least_numbers_are_flushed_to_0(dtype: torch.dtype) -> None:
    """As they are in a training: a part c of the least one is none."""
    zero = torch.zeros(2, dtype=dtype, requires_grad=True)
    torch.set_flush_denormal(True)
    try:
        found = d.WrappedNormal(zero, torch.zeros_like(zero), 0.01).log_prob(zero)
        (found + d.exp_zero(zero, 0.01).sum() + d.log_zero(zero, 0.01).sum()).backward()
    finally:
        torch.set_flush_denormal(False)
    assert abs(found.item() + math.log(2 * math.pi)) < 1e-6
    assert torch.isfinite(zero.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", NORMS)
def test_single_precision_is_near_double(norm: float) -> None:
    loc, log_scale = at(norm, 1.0, 8), torch.full((8,), -1.0)
    wide = d.WrappedNormal(loc, log_scale)
    z = wide.sample((2000,)).float()
    narrow = d.WrappedNormal(loc.float(), log_scale.float())
    wanted = d.WrappedNormal(loc.float().double(), log_scale).log_prob(z.double())
    assert (narrow.log_prob(z).double() - wanted).abs().max() < (1e-4 if norm < 0.9 else 0.05)
    own = narrow.rsample((2000,))
    entropy = 8 * (0.5 * math.log(2 * math.pi * math.e) - 1)
    gap = narrow.log_prob(own).mean() + entropy + 7 * _stretch(own, narrow).mean()
    assert gap.abs() < 5 * 2 / 2000**0.5


def _stretch(z: Tensor, q: d.WrappedNormal) -> Tensor:
    r = d.log_at(q.loc, z, 1.0).norm(dim=-1)
    return (r.sinh() / r).log()


def test_a_family_has_gradients_and_near_no_curvature_it_is_a_gaussian(proves: Proves) -> None:
    check_family(Poincare(4, curvature=1.5))
    params = torch.randn(5, 6)
    flat: Any = Poincare(3, curvature=1e-8)(params)
    loc, scale = params[:, :3].numpy(), params[:, 3:].div(2).exp().numpy()
    z = torch.randn(7, 5, 3)
    proves("WrappedNormal, no curvature", "scipy", flat.log_prob(z / 2),
           stats.norm(loc, scale).logpdf(z.numpy()).sum(-1), limit=1e-5)  # fmt: skip
    warm = PoincarePrior(3)().tempered(0.5)
    assert torch.allclose(warm.log_scale, torch.tensor(0.5).log())  # type: ignore[attr-defined]


def test_a_decoder_is_given_tangent_vectors_and_the_rest_as_it_is() -> None:
    z = points(9, 2.0)
    told = torch.randn(9, 4)
    got = FlatBall(3, curvature=2.0)(torch.cat([z, told], 1))
    assert torch.allclose(got[:, :3].norm(dim=1), d.log_zero(z, 2.0).norm(dim=1))
    assert torch.equal(got[:, 3:], told)
    model: Any = build("poincare_vae", GRAY, latent=3, posterior=":curvature=2").model
    assert model.likelihood.net[0].curvature == model.prior.curvature == 2.0


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"posterior": "poincare"}, "lives on reals(2) and the posterior on ball(2; curvature -1)"),
        ({"prior": "poincare"}, "lives on ball(2; curvature -1) and the posterior on reals(2)"),
        ({"posterior": "poincare:curvature=0"}, "curvature=0`; expected a positive number"),
        ({"posterior": "poincare:curvature=nan"}, "expected a positive number"),
        ({"posterior": "poincare:curvature=60"}, "take 50 at most, or a smaller latent"),
    ],
)
def test_what_does_not_go_together_is_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(VaekitError) as caught:
        build("vae", GRAY, **{"latent": 2, **parts})
    assert message in str(caught.value)
    model: Any = build("poincare_vae", GRAY, latent=2).model
    with pytest.raises(VaekitError, match=r"curvature -2\) and the posterior on"):
        vk.VAE(PoincarePrior(2, 2.0), model.posterior, model.likelihood)


def test_neighbors_are_those_of_the_geodesic() -> None:
    codes, among = points(20, 1.0), points(50, 1.0)
    got, index = nearest_codes(codes, among, 5, space=PoincarePrior(3).space)
    wanted = numpy_distance(codes.numpy()[:, None], among.numpy(), 1.0)
    assert np.allclose(got, np.sort(wanted, 1)[:, :5], rtol=1e-5, atol=1e-5)
    assert (index != nearest_codes(codes, among, 5)[1]).any()


def test_poincare_vae_goes_the_whole_way(tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)
    run, other = str(tmp_path / "run"), str(tmp_path / "other")
    small = ["--data", "digits", "--latent", "3", "--net", "mlp:hidden=16", "--limit", "120"]
    main(["train", "poincare_vae", "--epochs", "2", "--out", run, *small])
    main(["train", "poincare_vae", "--epochs", "1", "--out", other, *small])
    main(["train", "--resume", other, "--epochs", "2"])
    one, two = (vk.load(path, weights="last") for path in (run, other))
    states = (each.model.state_dict().values() for each in (one, two))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    for command in ("evaluate", "encode", "score", "sample", "reconstruct", "scatter", "traverse",
                    "interpolate", "neighbors"):  # fmt: skip
        main([command, run])
    assert "</html>" in (tmp_path / "run" / "report.html").read_text()
    found = one.evaluate("nll", limit=20)
    assert found["nll"]["mean"] <= -found["elbo"] + 1
    x = one.dataset().test.x()[:2]
    way = one.encode(vk.report.interpolate(one, x[:1], x[1:], steps=3)[0])
    assert (way.norm(dim=1) < 1).all()
    for made in (one.edit(x, {"3": 5.0}), one.sample(4, like=x)):
        assert torch.isfinite(torch.as_tensor(made)).all()
    with pytest.raises(SystemExit, match="2"):
        main(["interpolate", run, "--kind", "spherical"])
