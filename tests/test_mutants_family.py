"""Laws of priors, posteriors, codes and counts that no other test tells from a small mistake."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Proves
from scipy import special, stats
from torch import Tensor, nn
from torch.nn import functional as F

import vaekit as vk
from vaekit import VaekitError, parts
from vaekit import distributions as d
from vaekit.data import DataSpec
from vaekit.distributions import fit_mixture
from vaekit.models import HamiltonianVAE
from vaekit.recipes import build
from vaekit.registry import checked, make
from vaekit.testing import check_gradient, seeded

GRAY = DataSpec("t", (1, 4, 4), "gray", rows=20)


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("part", "names"),
    [
        (lambda: parts.StandardNormal(2), []),
        (lambda: parts.SpherePrior(3), []),
        (lambda: parts.CodesPrior((2, 3)), []),
        (lambda: parts.CategoricalPrior((2, 3)), []),
        (lambda: parts.FSQ(levels=(4, 3)), []),
        (lambda: parts.StudentT(3, df=4.0), []),
        (lambda: parts.StudentT(3), ["raw_df"]),
        (lambda: parts.VQ(codes=3), ["book", "commitment", "_share"]),
    ],
)
def test_weights_hold_what_is_learned_and_nothing_that_was_given(
    part: Callable[[], nn.Module], names: list[str]
) -> None:
    """So that a saved run opens: of the numbers that a part is made with none is a weight."""
    assert list(part().state_dict()) == names


PART = vk.Conditional(vk.MLP(2, 4, hidden=(3,)), vk.Gaussian(2))
GIVEN = {"codes": (2, 3), "prior": vk.StandardNormal(2), "posterior": PART, "likelihood": PART}


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("prior", "mixture:components=1", "components=100001"),
        ("prior", "flow:transforms=1:hidden=1", "transforms=1001"),
        ("prior", "flow:flow=spline", "hidden=10001"),
        ("prior", "codes-transformer:width=1:heads=1:layers=1", "layers=65"),
        ("posterior", "iaf:steps=1:hidden=1:given=0", "given=10001"),
        ("posterior", "planar:steps=1", "steps=1001"),
        ("posterior", "spline:transforms=1:hidden=1:given=1", "given=0"),
        ("posterior", "low-rank:rank=1", "rank=3"),
        ("posterior", "gumbel:categories=2", "categories=100001"),
        ("posterior", "gumbel:temperature=1e-3", "temperature=inf"),
        ("likelihood", "log-cosh:a=0.5", "a=inf"),
        ("likelihood", "student-t:df=2.1", "df=2"),
        ("likelihood", "discretized-logistic:levels=2", "levels=65537"),
        ("likelihood", "discretized-logistic-mixture:components=1:levels=2", "levels=65537"),
        ("likelihood", "ms-ssim:weight=0.1", "weight=0"),
        ("quantizer", "fsq:levels=3", "levels=1024,1024,3"),
        ("quantizer", "vq:codes=2:size=1:decay=0:revive=0", "codes=65537"),
        ("quantizer", "vq:commitment=0", "revive=1"),
        ("quantizer", "residual-vq:codes=2:depth=1", "depth=65"),
        ("model", "hamiltonian:steps=1", "steps=1001"),
        ("model", "hamiltonian:step_size=0.49", "step_size=0"),
        ("model", "hamiltonian:beta0=0.99", "beta0=1.05"),
        ("net", "residual:blocks=1", "blocks=65"),
        ("net", "residual:groups=1", "groups=0"),
        ("metric", "prdc:k=1", "k=0"),
        ("metric", "kid:size=2", "size=1"),
    ],
)
def test_the_least_is_taken_and_what_is_beyond_the_most_is_refused(
    kind: str, good: str, bad: str
) -> None:
    def made(spec: str) -> None:
        given = {**GIVEN, "event_shape": (1, 12, 12) if kind == "likelihood" else 2}
        makers = {name: lambda value=value: value for name, value in given.items()}
        part: Any = make(kind, checked(kind, spec), makers)
        if kind == "net":
            part.encoder((1, 4, 4), (2,))

    made(good)
    with pytest.raises(VaekitError, match=bad.split("=")[0]):
        made(f"{good.split(':')[0]}:{bad}")


def test_learned_priors_have_the_density_of_their_numbers(proves: Proves) -> None:
    z = torch.randn(20, 3)
    single, mixed = parts.GaussianPrior(3), parts.MixturePrior(3, components=4)
    with torch.no_grad():
        for each in [*single.parameters(), *mixed.parameters()]:
            each.copy_(torch.randn_like(each))
    loc, scale = (v.detach().numpy() for v in (single.loc, single.log_scale.exp()))
    wanted = stats.norm(loc, scale).logpdf(z).sum(1)
    proves("prior gaussian, density", "scipy", single().log_prob(z), wanted, limit=1e-12)
    loc, scale = (v.detach().numpy() for v in (mixed.loc, mixed.log_scale.exp()))
    each = stats.norm(loc, scale).logpdf(z[:, None]).sum(2)
    shares = special.log_softmax(mixed.logits.detach().numpy())
    wanted = special.logsumexp(each + shares, axis=1)
    proves("prior mixture, density", "scipy", mixed().log_prob(z), wanted, limit=1e-12)


def test_inputs_of_a_vamp_prior_have_no_gaps() -> None:
    rows = torch.rand(3, 1, 4, 4)
    rows[0, 0, 0, 0] = math.nan
    spec = DataSpec("t", (1, 4, 4), "gray", rows=3, source=lambda n: rows[:n])
    made: Any = build("vae", spec, latent=2, prior="vamp:components=3").model.prior
    assert torch.equal(made.inputs.double(), rows.nan_to_num().to(made.inputs).double())


def test_a_dimension_that_never_moves_is_stretched_by_a_share_of_the_widest() -> None:
    prior = parts.MovedPrior(parts.StandardNormal(2), 2)
    z = torch.stack([torch.randn(50) * 300, torch.full((50,), 7.0)], 1)
    prior.move_to(z)
    widest = float(z[:, 0].std(correction=0))
    assert prior.scale.tolist() == pytest.approx([widest, 1e-4 * widest])


def test_layers_of_a_transformer_norm_before_they_look(proves: Proves) -> None:
    """Xiong et al., arXiv 2002.04745: x + attention(norm(x)), then x + mlp(norm(x))."""
    prior = parts.AutoregressivePrior((3, 4), width=6, layers=1, heads=2).double().eval()
    with torch.no_grad():
        for each in prior.parameters():
            each.copy_(torch.randn_like(each) / 2)
    codes = torch.randint(4, (5, 3))
    layer: Any = prior.layers[0]
    before = torch.cat([torch.full((5, 1), 4), codes[:, :-1]], 1)
    x = prior.values.weight[before] + prior.places
    h = F.layer_norm(x, (6,), layer.norm1.weight, layer.norm1.bias)
    q, k, v = (
        (h @ w.T + b).unflatten(-1, (2, 3)).transpose(1, 2)
        for w, b in zip(
            layer.self_attn.in_proj_weight.chunk(3), layer.self_attn.in_proj_bias.chunk(3),
            strict=True,
        )
    )  # fmt: skip
    near = (q @ k.mT / math.sqrt(3)).masked_fill(torch.ones(3, 3).triu(1).bool(), -math.inf)
    seen = (near.softmax(-1) @ v).transpose(1, 2).flatten(2)
    out = layer.self_attn.out_proj
    x = x + seen @ out.weight.T + out.bias
    h = F.layer_norm(x, (6,), layer.norm2.weight, layer.norm2.bias)
    h = F.gelu(h @ layer.linear1.weight.T + layer.linear1.bias)
    x = x + h @ layer.linear2.weight.T + layer.linear2.bias
    h = F.layer_norm(x, (6,), prior.norm.weight, prior.norm.bias)
    logits = h @ prior.output.weight.T + prior.output.bias
    wanted = -F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").view(5, 3)
    proves("AutoregressiveCodes, density", "a transformer by hand", prior().log_prob(codes),
           wanted.sum(1), limit=1e-10)  # fmt: skip


def test_a_temperature_divides_logits(proves: Proves) -> None:
    logits = torch.randn(3, 4)
    wanted = special.log_softmax(logits.numpy() / 2, axis=-1)
    every = torch.eye(4)[:, None].expand(4, 3, 4)
    got = d.OneHotCategorical(logits).tempered(2.0).mean.log()
    proves("OneHotCategorical, tempered", "scipy", got, wanted, limit=1e-12)
    assert torch.allclose(d.OneHotCategorical(logits).tempered(1.0).log_prob(every),
                          d.OneHotCategorical(logits).log_prob(every))  # fmt: skip
    index = torch.arange(4)[:, None].expand(4, 3)
    got = d.CategoricalCodes(logits).tempered(2.0).terms(index)
    proves("CategoricalCodes, tempered", "scipy", got, wanted.T, limit=1e-12)
    prior = parts.AutoregressivePrior((3, 4), width=8, heads=2)
    nn.init.normal_(prior.output.weight)
    got = prior().tempered(2.0).terms(index)
    wanted = special.log_softmax(prior.logits(index).detach().numpy() / 2, axis=-1)
    wanted = np.take_along_axis(wanted, index.numpy()[..., None], -1)[..., 0]
    proves("AutoregressiveCodes, tempered", "scipy", got, wanted, limit=1e-12)


def test_codes_live_where_their_prior_does_and_draws_are_of_it_as_it_is() -> None:
    whole: Any = build("vq_vae", GRAY, net="mlp:hidden=4", latent=2, prior="codes:learned=true",
                       quantizer="vq:codes=8:size=2").model  # fmt: skip
    nn.init.normal_(whole.prior.logits, std=2.0)
    with seeded(3):
        (plain,) = whole.draw_prior(400)
    with seeded(3):
        (warm,) = whole.draw_prior(400, temperature=1.0)
    assert torch.equal(plain, warm)
    site: Any = whole(torch.rand(3, 1, 4, 4)).sites[0]
    assert site.q.space == site.p.space == d.codes(2, 8)


def test_a_planar_layer_is_the_paper_s(proves: Proves) -> None:
    """Rezende and Mohamed 2015, appendix A.1: u w becomes -1 + log(1 + exp(u w))."""
    layer = parts.PlanarFlow(3, steps=1).layers[0]
    z, h = np.random.default_rng(0).normal(size=(2, 40, 7))
    h, z = 2 * h, z[:, :3]
    u, w, b = h[:, :3], h[:, 3:6], h[:, 6]
    product = (u * w).sum(1)
    moved = (np.log1p(np.exp(product)) - 1 - product) / (w * w).sum(1)
    u = u + moved[:, None] * w
    bend = np.tanh((w * z).sum(1) + b)
    got, stretch = layer(torch.from_numpy(z), torch.from_numpy(h))
    proves("planar layer", "numpy", got, z + u * bend[:, None], limit=1e-12)
    wanted = np.log(np.abs(1 + (u * w).sum(1) * (1 - bend**2)))
    proves("planar layer, log-determinant", "numpy", stretch, wanted, limit=1e-12)


@pytest.mark.parametrize("kind", [parts.PlanarFlow, parts.IAF])
def test_flows_pass_the_gradient_of_their_density(kind: Any) -> None:
    family = kind(2, steps=2).double()

    def log_q(params: Tensor) -> Tensor:
        with seeded(1):
            z, log_q = family(params).rsample_and_log_prob((3,))
        return (log_q + z.sin().sum(-1)).sum()

    check_gradient(log_q, torch.randn(2, *family.param_shape))


@pytest.mark.parametrize("a", [1.0, 10.0, 100.0])
def test_sharp_log_cosh_variables_are_drawn_from_their_density_in_float32(a: float) -> None:
    """Gamma variables of a small shape are 0 in float32, and their logarithms cut off."""
    x = torch.linspace(-30, 30, 60_001)
    density = d.LogCosh(torch.zeros(1), torch.zeros(()), a).terms(x[:, None])[:, 0].exp()
    below = density.cumsum(0) * (x[1] - x[0])
    p = d.LogCosh(torch.zeros(1).float(), torch.zeros(()).float(), a)
    draws = p.sample((4000,))[:, 0].double().numpy()
    assert stats.kstest(draws, lambda at: np.interp(at, x, below)).pvalue > 1e-3


def test_posteriors_stay_finite_whatever_the_network_says() -> None:
    for family in (parts.IAF(2, hidden=4), parts.FullGaussian(2), parts.LowRankGaussian(2)):
        for far in (-1e4, 1e4):
            q = family.double()(torch.full((1, *family.param_shape), far))
            z, log_q = q.rsample_and_log_prob((2,))
            assert torch.isfinite(z).all()
            assert torch.isfinite(log_q).all()
    levels = parts.DiscretizedLogisticMixture((2, 2, 2), components=2, levels=4)
    for far in (-1e4, 1e4):
        p: Any = levels(torch.full((1, *levels.param_shape), far))
        assert torch.isfinite(p.log_prob(torch.ones(1, 2, 2, 2))).all()
        assert p.weights.abs().max() <= 0.5


def test_a_network_of_an_autoregressive_layer_has_two_hidden_layers() -> None:
    """Runs that were saved are opened by the shapes of their weights."""
    net: Any = parts.IAF(3, steps=1, hidden=8, given=4).layers[0].net
    shapes = [tuple(value.shape) for name, value in net.named_parameters() if "weight" in name]
    assert shapes == [(8, 7), (8, 8), (6, 8)]


@pytest.mark.parametrize("kind", [d.VonMisesFisher, d.PowerSpherical])
def test_moments_on_the_sphere_have_the_slopes_of_finite_differences(kind: Any) -> None:
    loc = F.normalize(torch.randn(2, 4), dim=-1)

    def moments(k: Tensor) -> Tensor:
        q = kind(loc, k)
        return q.entropy().sum() + q.mean.sin().sum() + q.variance.cos().sum()

    check_gradient(moments, torch.tensor([0.7, 9.0]))


@pytest.mark.parametrize("size", [3, 50, 10_000])
def test_the_mean_direction_is_a_ratio_of_bessel_functions(size: int, proves: Proves) -> None:
    """I_(D/2)(k) / I_(D/2-1)(k), by Perron's continued fraction: of many dimensions too."""
    k, wanted = float(size), 0.0
    for n in range(3000, -1, -1):
        wanted = 1 / ((size + 2 * n) / k + wanted)
    q = d.VonMisesFisher(torch.eye(1, size)[0], torch.tensor(k))
    proves("VonMisesFisher, mean", "a continued fraction", q.mean[0], wanted, limit=1e-10)


def test_a_mixture_off_the_center_has_the_moments_of_its_draws(proves: Proves) -> None:
    loc, tril = torch.randn(3, 2) + 4, torch.randn(3, 2, 2).tril()
    tril.diagonal(dim1=1, dim2=2).abs_()
    weights = torch.randn(3).log_softmax(0)
    shares = weights.exp().numpy()
    second = np.einsum("kij,klj->kil", tril, tril) + np.einsum("ki,kj->kij", loc, loc)
    mean = shares @ loc.numpy()
    wanted = np.diagonal(np.tensordot(shares, second, 1)) - mean**2
    p = d.GaussianMixture(weights, loc, tril)
    proves("GaussianMixture, variance", "numpy", p.variance, wanted, limit=1e-12)
    flat = d.Mixture(weights, d.Gaussian(loc, tril.diagonal(dim1=1, dim2=2).abs().log()))
    wanted = shares @ (tril.diagonal(dim1=1, dim2=2).numpy() ** 2 + loc.numpy() ** 2) - mean**2
    proves("Mixture, variance", "numpy", flat.variance, wanted, limit=1e-12)


def test_a_mixture_is_fitted_alike_in_any_unit() -> None:
    z = torch.cat([torch.randn(200, 2) - 2, 0.3 * torch.randn(200, 2) + 2])
    one, small = fit_mixture(z, 2), fit_mixture(1e-3 * z, 2)
    assert torch.allclose(1e-3 * one.loc, small.loc)
    assert torch.allclose(1e-3 * one.tril, small.tril)
    assert torch.allclose(one.log_weights, small.log_weights)


def test_draws_of_a_library_pass_the_gradient_of_the_shares(proves: Proves) -> None:
    log_mean = torch.tensor([0.3, -1.0, 2.0], requires_grad=True)
    x = torch.tensor([2.0, 0.0, 5.0])
    (got,) = torch.autograd.grad(d.Multinomial(log_mean).log_prob(x), log_mean)
    wanted = x.numpy() - 7 * special.softmax(log_mean.detach().numpy())
    proves("Multinomial, gradient", "counts less those that are expected", got, wanted, limit=1e-10)


def test_counts_start_at_their_mean_with_an_eighth_of_added_zeros() -> None:
    mean = torch.tensor([0.5, 3.0, 40.0])
    for free in ("shared", "free"):
        family = vk.ZeroInflatedNegativeBinomial(3, dispersion=free)
        p: Any = family(family.start(mean)[None])
        assert torch.allclose(p.mean[0], mean, rtol=1e-6)
        assert (p.logits.sigmoid() - 1 / 8).abs().max() < 0.01
    rare = vk.Poisson(2).start(torch.tensor([0.0, 1e-9]))
    assert torch.allclose(vk.Poisson(2)(rare[None]).mean[0], torch.tensor(1e-4), rtol=1e-6)


def test_the_total_of_a_row_is_the_last_number_of_its_context() -> None:
    context = torch.tensor([[3.0, 20.0], [0.0, 8.0]])
    for family in (parts.OfLibrary(vk.Poisson(4)), vk.Multinomial(4, library=True)):
        mean = family(torch.zeros(2, 4), context).mean
        assert torch.allclose(mean, torch.tensor([[5.0], [2.0]]).expand(2, 4))


def test_means_of_counts_are_softly_kept_between_their_bounds() -> None:
    p: Any = vk.Poisson(3)(torch.tensor([[-1e4, 0.0, 1e4]]))
    assert p.log_rate[0].tolist() == pytest.approx([-30, 0, 20], abs=1e-6)


def test_a_single_component_starts_at_the_mean_and_several_around_it() -> None:
    mean = torch.full((1, 2, 2), 0.4)
    for k, wanted in ((1, [0.4]), (3, [0.1, 0.4, 0.7])):
        family = parts.DiscretizedLogisticMixture((1, 2, 2), components=k)
        p: Any = family(family.start(mean)[None])
        assert p.loc[0, :, 0, 0, 0].tolist() == pytest.approx(wanted)
        assert p.log_scale.unique().tolist() == pytest.approx([math.log(0.1)], abs=0.01)
    like = parts.Similarity((1, 12, 12))
    mean = 0.1 + 0.8 * torch.rand(1, 12, 12)
    assert torch.allclose(like(like.start(mean)[None]).mean[0], mean)
    for scale in ("shared", "free"):
        single = parts.DiscretizedLogistic(2, scale=scale)
        p = single(single.start(torch.tensor([0.0, 1.0]))[None])
        assert 0 < p.loc.min() < 0.01
        assert 0.99 < p.loc.max() < 1


def test_a_scale_of_a_likeness_counts_as_a_ten_thousandth_at_least() -> None:
    x = torch.rand(2, 1, 24, 24)
    p = d.Similarity(0.9 - 0.8 * x, torch.tensor(100.0), event_dim=3)  # each scale is below 0
    assert torch.allclose(p.log_prob(x), torch.tensor(100 * (1e-4 - 1)))


def test_a_flow_without_gradients_leaves_codes_without() -> None:
    model = HamiltonianVAE(vk.StandardNormal(2), PART, PART, steps=2).double()
    with torch.no_grad():
        assert not model(torch.rand(3, 2)).site.z.requires_grad


def test_defaults_of_distributions_are_those_of_their_text(proves: Proves) -> None:
    x = torch.linspace(-4, 4, 9)[:, None]
    got = d.StudentT(torch.zeros(1), torch.zeros(())).log_prob(x)
    proves("StudentT, 5 degrees of freedom", "scipy", got, stats.t(5).logpdf(x[:, 0]), limit=1e-12)
    learned = parts.StudentT(1, scale=1.0)
    for raw, df in ((None, 5.0), (-60.0, 2.0), (7.0, 9 + math.log1p(math.exp(-7)))):
        if raw is not None:
            nn.init.constant_(learned.raw_df, raw)
        got = learned(torch.zeros(1, 1)).log_prob(x)
        proves("StudentT, learned degrees of freedom", "scipy", got, stats.t(df).logpdf(x[:, 0]),
               limit=1e-6)  # fmt: skip


def test_a_residual_block_adds_to_what_comes_by_three_pixels_each_way() -> None:
    block, x = vk.nn.Residual(8), torch.randn(2, 8, 3, 3)
    last: Any = block.body[-1]
    assert not torch.allclose(block(x), x, atol=0.01)
    nn.init.zeros_(last.weight)
    nn.init.ones_(last.bias)
    assert torch.allclose(block(x), x + 1)
    kinds = nn.Conv2d, nn.ConvTranspose2d
    for net in (vk.nn.ResidualEncoder((1, 9, 7), 2), vk.nn.ResidualDecoder(2, (1, 9, 7))):
        assert {m.kernel_size for m in net.modules() if isinstance(m, kinds)} == {(3, 3)}
