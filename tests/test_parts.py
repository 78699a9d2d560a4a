"""Families and conditionals: numbers against independent oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vaekit as vk
from vaekit import distributions as d
from vaekit.data import DataSpec
from vaekit.evaluate import bits_per_dim, is_likelihood
from vaekit.models import Trace
from vaekit.nn import in_words
from vaekit.objectives import ELBO, IWAE
from vaekit.parts import (
    Bernoulli,
    Categorical,
    Conditional,
    ContinuousBernoulli,
    Delta,
    Family,
    FittedScale,
    FreeScale,
    Gaussian,
    Laplace,
    join,
)
from vaekit.testing import (
    check_family,
    check_gradient,
)

FAMILIES: dict[str, Family] = {
    "gaussian": Gaussian((2, 3)),
    "gaussian-floor": Gaussian(3, floor=-2.0),
    "gaussian-shared": Gaussian(3, scale="shared"),
    "gaussian-fitted": Gaussian(3, scale="fitted"),
    "gaussian-fixed": Gaussian(3, scale=0.3),
    "gaussian-sigmoid": Gaussian(3, mean="sigmoid"),
    "gaussian-tanh": Gaussian(3, mean="tanh"),
    "gaussian-relu": Gaussian(3, mean="relu"),
    "laplace": Laplace(3),
    "laplace-fitted": Laplace((1, 2, 2), scale="fitted"),
    "bernoulli": Bernoulli((2, 2)),
    "continuous-bernoulli": ContinuousBernoulli(4),
    "categorical": Categorical((3, 2, 2), levels=5),
    "categorical-256": Categorical(3),
    "delta": Delta(3),
}


COUNTS: dict[str, Family] = {
    "poisson": vk.Poisson((2, 3)),
    "shared": vk.NegativeBinomial(4),
    "free": vk.NegativeBinomial((2, 2, 1), dispersion="free"),
    "multinomial": vk.Multinomial((2, 2), library=False),
    "zinb": vk.ZeroInflatedNegativeBinomial((2, 2)),
    "zinb, free": vk.ZeroInflatedNegativeBinomial(3, dispersion="free"),
}


@pytest.mark.parametrize("family", [*FAMILIES.values(), *COUNTS.values()], ids=[*FAMILIES, *COUNTS])
def test_family_conforms(family: Family) -> None:
    check_family(family)


@pytest.mark.parametrize("family", [*FAMILIES.values(), *COUNTS.values()], ids=[*FAMILIES, *COUNTS])
def test_what_offers_moments_has_the_variance_of_its_draws(family: Family) -> None:
    p = family(torch.zeros(1, *family.param_shape))
    if "moments" in p.offers:
        draws = p.sample((4000,)).double()
        expected = p.variance.double().broadcast_to(draws.shape[1:])
        assert torch.allclose(draws.var(0), expected, rtol=0.25)


@pytest.mark.parametrize("name", [n for n in FAMILIES if n != "delta"])
def test_a_family_starts_at_the_mean_it_is_given(name: str) -> None:
    family = FAMILIES[name].to(torch.float64)
    mean = torch.linspace(0.05, 0.95, math.prod(family.event_shape), dtype=torch.float64)
    mean = mean.view(family.event_shape)
    got = family(family.start(mean).unsqueeze(0)).mean[0]
    assert torch.allclose(got, mean, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "ends"),
    [
        (Bernoulli(3), (1e-3, 1 - 1e-3)),
        (ContinuousBernoulli(3), (1e-2, 1 - 1e-2)),
        (Categorical(3, levels=5), (1e-2, 1 - 1e-2)),
        (Gaussian(3, mean="sigmoid"), (1e-3, 1 - 1e-3)),
        (Gaussian(3, mean="tanh"), (0, 1 - 1e-3)),
    ],
)
def test_pixels_that_are_always_black_or_white_start_near_them(
    family: Family, ends: tuple[float, float]
) -> None:
    """Near, and not at: there a gradient leads nowhere, or the parameters are infinite."""
    start = family.start(torch.tensor([0.0, 0.5, 1.0]))
    expected = torch.tensor([ends[0], 0.5, ends[1]])
    assert torch.allclose(family(start[None]).mean[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "words"),
    [
        (Gaussian(3, scale="shared"), "mean of a Gaussian, one learned scale"),
        (Laplace(3, scale="fitted"), "location of a Laplace distribution, one fitted scale"),
        (Gaussian(3, scale=0.5, mean="tanh"), "mean of a Gaussian, scale 0.5, mean through tanh"),
        (Gaussian(3), "mean and log variance of a Gaussian"),
        (
            vk.NegativeBinomial(4),
            "log means of a negative binomial, one learned log dispersion each",
        ),
        (
            vk.NegativeBinomial(4, dispersion="free"),
            "log means and log dispersions of a negative binomial",
        ),
        (
            vk.ZeroInflatedNegativeBinomial(4),
            "log means and logits of an added zero of a negative binomial, "
            "one learned log dispersion each",
        ),
    ],
)
def test_a_family_says_what_the_network_gives_it(family: Family, words: str) -> None:
    assert in_words(family.gives) == words


def test_check_family_finds_a_wrong_constant() -> None:
    class Wrong(Bernoulli):
        def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
            return d.ContinuousBernoulli(params * 1.1, event_dim=1)

    class Unnormalized(d.Gaussian):
        def terms(self, x: Tensor) -> Tensor:
            return -0.5 * ((x - self.loc) / self.scale) ** 2

    class Broken(Family):
        distribution = d.Gaussian
        space = d.reals(3)  # type: ignore[assignment]

        def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
            return Unnormalized(params, torch.zeros((), dtype=params.dtype))

    check_family(Wrong(3))  # another map of the parameters is another family, not a wrong one
    with pytest.raises(AssertionError, match="sums to 1 only within"):
        check_family(Broken(3))


def test_the_fitted_scale_is_the_root_of_the_mean_square() -> None:
    """sigma^2 = MSE makes the log-likelihood -D/2 (log(2 pi MSE) + 1); arXiv 2006.13202."""
    family = Gaussian(7, scale="fitted").to(torch.float64).train()
    x, loc = torch.randn(2, 5, 7, dtype=torch.float64)
    loc = loc.requires_grad_()
    px = family(loc)
    scored = px.fitted(x).log_prob(x)
    mse = (x - loc).square().mean()
    assert scored.mean().item() == pytest.approx(
        -3.5 * (math.log(2 * math.pi * mse.item()) + 1), rel=1e-12
    )
    (got,) = torch.autograd.grad(scored.sum(), loc)
    optimum = -0.5 * 35 * mse.log()  # the envelope theorem: differentiating through sigma adds 0
    (expected,) = torch.autograd.grad(optimum, loc)
    assert torch.allclose(got, expected)


def test_the_fitted_scale_changes_only_while_training_and_evaluation_uses_the_stored_one() -> None:
    family = Laplace(7, scale="fitted").train()
    x = torch.randn(50, 7)
    loc = torch.zeros(50, 7)
    family(loc).fitted(x)
    stored = family.scale.log_scale.item()
    assert stored == pytest.approx(x.abs().mean().log().item(), rel=1e-5)
    family.eval()
    other = 10 * x
    px = family(loc).fitted(other)
    assert family.scale.log_scale.item() == stored
    expected = d.Laplace(loc, torch.tensor(stored)).log_prob(other)
    assert torch.allclose(px.log_prob(other), expected)
    assert family(loc).log_prob(other).equal(px.log_prob(other))


def test_the_fitted_scale_skips_what_is_masked() -> None:
    family = Gaussian(4, scale="fitted").train()
    x = torch.tensor([[1.0, -1.0, 50.0, float("nan")]])
    mask = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    trace = Trace(x=x, sites=(), px=family(torch.zeros(1, 1, 4)), model=None, mask=mask)
    expected = -2 * 0.5 * (math.log(2 * math.pi) + 1)
    assert trace.log_likelihood.item() == pytest.approx(expected, rel=1e-6)


def test_a_soft_floor_bounds_the_scale_and_keeps_a_gradient() -> None:
    family = Gaussian(1, floor=-2.0)
    params = torch.tensor([[0.0, -18.0]], requires_grad=True)
    log_scale = family(params).log_scale
    assert -2.0 < log_scale.item() < -1.99
    (gradient,) = torch.autograd.grad(log_scale.sum(), params)
    assert gradient[0, 1] > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_free_scale_stays_finite_whatever_the_network_returns(dtype: torch.dtype) -> None:
    """Its log is bounded by -15 and 10, and no gradient is a nan, which would spread to all."""
    raw = torch.tensor([-1e6, -900.0, 0.0, 1e6], dtype=dtype, requires_grad=True)
    for softplus, middle in ((False, 0), (True, math.log(math.log(2)))):
        log_scale = FreeScale(2, softplus=softplus)(raw)
        assert log_scale.tolist() == pytest.approx([-15, -15, middle, 10], abs=1e-4)
        (gradient,) = torch.autograd.grad(log_scale.sum(), raw)
        assert gradient.isfinite().all()
        assert gradient[2] > 0


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-4, 0.0])
def test_the_fitted_scale_follows_residuals_down_to_a_hundred_thousandth(size: float) -> None:
    residual = size * torch.randn(40, 7)
    scale = FittedScale(2).train()
    fitted = scale.fit(residual, None)
    expected = max(np.sqrt(np.square(residual.double().numpy()).mean()), 1e-5)
    assert fitted is not None
    assert fitted.exp().item() == pytest.approx(expected, rel=1e-5)
    assert scale.log_scale.exp().item() == pytest.approx(expected, rel=1e-5)


class Double(nn.Module):
    in_shape = (3,)

    def forward(self, x: Tensor) -> Tensor:
        assert x.dim() == 2, "a network sees one leading dim"
        return 2 * x


def test_conditional_folds_and_restores_any_leading_dims() -> None:
    p = Conditional(Double(), Delta(3))
    for lead in [(4,), (5, 4), (2, 5, 4)]:
        z = torch.randn(*lead, 3)
        assert torch.equal(p(z).mean, 2 * z)


def test_draws_of_a_point_are_decoded_once() -> None:
    seen: list[int] = []
    net = nn.Linear(2, 4)
    net.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    likelihood = Conditional(net, Gaussian(2), in_shape=2).eval()
    z = torch.randn(3, 2)
    p, same = (likelihood(draws) for draws in (z.repeat(5, 1, 1), Delta(2)(z).sample((5,))))
    assert seen == [15, 3]
    torch.testing.assert_close(p.log_prob(z), same.log_prob(z))
    assert same.sample().shape == (5, 3, 2)
    assert len(same.sample().unique()) == 30
    likelihood.train()(Delta(2)(z).sample((5,)))  # where a layer may drop units for each draw
    assert seen[2:] == [15]


def test_a_network_may_return_location_and_log_variance_apart() -> None:
    class Pair(nn.Module):
        in_shape = (3,)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return 2 * x, x - 1

    x = torch.randn(5, 4, 3)
    p = Conditional(Pair(), Gaussian(3))(x)
    assert torch.equal(p.mean, 2 * x)
    assert torch.allclose(p.variance, (x - 1).exp())


def test_the_context_joins_every_sample_of_its_row() -> None:
    context = torch.eye(4)

    class Show(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, 3:]

    p = Conditional(Show(), Delta(4), in_shape=3)
    out = p(torch.randn(5, 4, 3), context).mean
    assert torch.equal(out, context.expand(5, 4, 4))
    with pytest.raises(vk.VaekitError, match="the context has 4 rows; expected 2"):
        p(torch.randn(2, 3), context)


def test_a_vector_joins_a_picture_as_constant_planes_and_a_picture_by_its_channels() -> None:
    x = torch.rand(2, 1, 3, 3)
    joined = join(x, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert torch.equal(joined[:, :1], x)
    assert torch.equal(joined[1, 1:], torch.tensor([3.0, 4.0])[:, None, None].expand(2, 3, 3))
    other = torch.rand(2, 2, 3, 3)
    assert torch.equal(join(x, other), torch.cat([x, other], 1))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Conditional(nn.Linear(3, 4), Gaussian(2)), "pass in_shape"),
        (lambda: Conditional(Double(), Gaussian(3))(torch.zeros(2, 3)), r"parameters \(\*, 6\)"),
        (lambda: Conditional(Double(), Delta(3))(torch.zeros(2, 5)), r"expected \(\*, 3\)"),
        (lambda: Conditional(Double(), Delta(3))(torch.zeros(3)), "with a batch in front"),
        (lambda: Gaussian(3, mean="sigmod"), "did you mean 'sigmoid'"),
        (lambda: Gaussian(3, scale=-1.0), "expected a positive number"),
        (lambda: Gaussian(0), "a whole number, at least 1"),
        (lambda: ELBO(beta=-1.0), "expected a number of at least 0"),
        (lambda: ELBO(kl="exact"), "expected 'closed' or 'sampled'"),
        (lambda: IWAE(samples=0), "got `samples=0`; expected a whole number of at least 1"),
        (lambda: Categorical(3, levels=1), "at least 2"),
    ],
)
def test_misuse_gets_one_clear_line(build: object, message: str) -> None:
    with pytest.raises(vk.VaekitError, match=message) as caught:
        build()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_a_mask_counts_alike_for_every_sample() -> None:
    family = Gaussian(2, scale="fitted").train()
    x, mask = torch.tensor([[3.0, 100.0]]), torch.tensor([[1.0, 0.0]])
    px = family(torch.zeros(5, 1, 2)).fitted(x, mask)
    assert px.scale.item() == pytest.approx(3.0)  # type: ignore[attr-defined]


def test_a_context_joins_signals_of_one_dimension() -> None:
    h = torch.zeros(2, 3, 16)
    assert torch.equal(join(h, torch.ones(2, 4))[:, 3:], torch.ones(2, 4, 16))


def test_a_categorical_of_other_levels_is_no_likelihood_of_bytes() -> None:
    gray = DataSpec("t", (3,), "gray", rows=9)
    assert is_likelihood(Categorical(3).space, "gray")
    assert not is_likelihood(Categorical(3, levels=5).space, "gray")
    assert not is_likelihood(Categorical(3).space, "table")
    assert bits_per_dim(-5.0, Categorical(3, levels=5).space, gray) is None


@pytest.mark.parametrize("kind", ["binary", "table", "counts"])
def test_a_categorical_of_bytes_is_no_likelihood_of_other_data(kind: str) -> None:
    space = Categorical(3).space
    assert not is_likelihood(space, kind)
    assert bits_per_dim(-5.0, space, DataSpec("t", (3,), kind, rows=9)) is None


def test_a_softplus_scale_is_that_of_softplus_and_starts_at_one() -> None:
    raw = torch.linspace(-60, 60, 241)
    d = Gaussian(241, scale="softplus")(torch.cat([torch.zeros(241), raw])[None])
    wanted = torch.log1p(raw.double().exp())
    assert torch.allclose(
        d.scale.double()[0, 180:], wanted[180:].clamp_max(math.exp(10)), rtol=1e-6
    )
    inside = raw > -14
    assert torch.allclose(d.log_scale[0, inside].double(), wanted[inside].log(), atol=1e-5)
    assert d.log_scale.isfinite().all()
    family = Gaussian(3, scale="softplus")
    assert torch.allclose(family(family.start(torch.ones(3))[None]).scale, torch.ones(3))


def test_check_family_finds_a_wrong_constant_of_counts() -> None:
    class Wrong(d.Poisson):
        def terms(self, x: Tensor) -> Tensor:
            return x * self.log_rate - self.mean

    class Broken(vk.Poisson):
        def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
            return Wrong(params)

    with pytest.raises(AssertionError, match="sums to 1 only within"):
        check_family(Broken(3), spread=0.1)


@pytest.mark.parametrize("name", COUNTS)
def test_a_family_of_counts_starts_at_the_mean_it_is_given(name: str) -> None:
    family = COUNTS[name].to(torch.float64)
    mean = torch.logspace(-3, 8, math.prod(family.event_shape), dtype=torch.float64)
    mean = mean.view(family.event_shape)
    p = family(family.start(mean).unsqueeze(0))
    assert torch.allclose(p.mean[0], mean, rtol=1e-6)
    none = family(family.start(torch.zeros_like(mean)).unsqueeze(0)).mean
    assert torch.allclose(none, torch.full_like(none, 1e-4), rtol=1e-6)
    if name == "free":
        assert torch.allclose(p.log_dispersion, torch.zeros_like(p.log_dispersion), atol=1e-6)


def test_the_shared_dispersion_is_learned_one_per_element() -> None:
    family = vk.NegativeBinomial(3).to(torch.float64)
    assert [tuple(v.shape) for v in family.parameters()] == [(3,)]
    x, params = (
        torch.tensor([[0.0, 4.0, 9.0]], dtype=torch.float64),
        torch.ones(1, 3, dtype=torch.float64),
    )

    def log_prob(value: Tensor) -> Tensor:
        made: Tensor = torch.func.functional_call(
            family, {"log_dispersion": value}, (params,)
        ).log_prob(x)
        return made.sum()

    check_gradient(log_prob, torch.tensor([0.2, -1.0, 2.0], dtype=torch.float64))
    assert not list(vk.NegativeBinomial(3, dispersion="free").parameters())
    with pytest.raises(vk.VaekitError, match="unknown dispersion 'sharde'; did you mean 'shared'"):
        vk.NegativeBinomial(3, dispersion="sharde")


@pytest.mark.parametrize("family", [vk.Poisson(4), vk.NegativeBinomial(2, dispersion="free")])
def test_no_output_of_a_network_overflows_and_the_way_back_stays_open(family: vk.Family) -> None:
    for value in (-1e10, -60.0, 60.0, 1e10):
        params = torch.full((1, 4), value, requires_grad=True)
        p = family(params)
        score = p.log_prob(torch.tensor([0.0, 1000.0]).repeat(family.event_shape[0] // 2))
        (slope,) = torch.autograd.grad(score.sum(), params)
        for numbers in (score, slope, p.sample()):
            assert numbers.isfinite().all()
        if value == 60.0:
            assert (slope[:, :2] < 0).all(), "a mean far too large must be pulled down"
    mild = torch.tensor([[-9.0, -1.0, 0.5, 9.0]])
    means = family(mild).mean
    assert torch.allclose(means, mild[:, : means.shape[1]].exp(), rtol=1e-4)


def test_log_counts_is_the_net_of_log_one_plus_x() -> None:
    net = vk.MLP((2, 3), 4, (5,))
    x = torch.randint(0, 1000, (7, 2, 3)).float()
    wrapped = vk.LogCounts(net)
    assert torch.allclose(wrapped(x), net((1 + x).log()), atol=1e-6)
    assert (wrapped.in_shape, wrapped.out_shape) == ((2, 3), (4,))
    with pytest.raises(vk.VaekitError, match="LogCounts takes a net with `in_shape`; Linear"):
        vk.LogCounts(torch.nn.Linear(3, 4))
