"""Mixtures of Gaussians against torch's and scikit-learn's, and how many components they get."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from conftest import Proves
from sklearn.mixture import GaussianMixture as Reference
from torch import Tensor
from torch import distributions as td

from vaekit.distributions import (
    Gaussian,
    GaussianMixture,
    Mixture,
    choose_by_class,
    choose_mixture,
    fit_mixture,
    mixtures,
)


def some(k: int = 3, shape: tuple[int, ...] = (4,), seed: int = 0) -> GaussianMixture:
    """Return a mixture with random parameters, in double precision."""
    g = torch.Generator().manual_seed(seed)
    d = math.prod(shape)
    loc = 2 * torch.randn(k, *shape, generator=g, dtype=torch.float64)
    tril = torch.randn(k, d, d, generator=g, dtype=torch.float64).tril(-1)
    tril += torch.rand(k, d, generator=g, dtype=torch.float64).add(0.3).diag_embed()
    return GaussianMixture(torch.rand(k, generator=g).double().log_softmax(0), loc, tril)


def reference(p: GaussianMixture) -> td.Distribution:
    """Return torch's mixture of the same parameters."""
    parts = td.MultivariateNormal(p.loc.flatten(1), scale_tril=p.tril)
    return td.MixtureSameFamily(td.Categorical(logits=p.log_weights), parts)


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_density_and_moments_are_those_of_torch(shape: tuple[int, ...]) -> None:
    p = some(shape=shape)
    z = torch.randn(5, 7, *shape, dtype=torch.float64)
    expected = reference(p).log_prob(z.flatten(2))
    assert torch.allclose(p.log_prob(z), expected, atol=1e-11)
    assert torch.allclose(p.mean.flatten(), reference(p).mean, atol=1e-12)
    assert torch.allclose(p.variance.flatten(), reference(p).variance, atol=1e-11)
    assert p.event_shape == shape


def test_each_row_of_a_batch_has_weights_of_its_own() -> None:
    """Density, moments and draws are those of the mixture that has the row's weights."""
    p, torch_seed = some(shape=(2, 2)), 3
    weights = torch.tensor([[0.98, 0.01, 0.01], [0.2, 0.3, 0.5]]).double()
    rows = GaussianMixture(weights.log(), p.loc, p.tril)
    z = torch.randn(5, 2, 2, 2, dtype=torch.float64)
    for row, each in enumerate(weights):
        one = GaussianMixture(each.log(), p.loc, p.tril)
        torch.testing.assert_close(
            rows.log_prob(z)[:, row], reference(one).log_prob(z[:, row].flatten(1))
        )
        torch.testing.assert_close(rows.mean[row], one.mean)
        torch.testing.assert_close(rows.variance[row], one.variance)
        torch.manual_seed(torch_seed)
        drawn = rows.sample((20_000,))[:, row]
        error = (one.variance / 20_000).sqrt()
        assert ((drawn.mean(0) - one.mean).abs() < 5 * error).all()
    assert rows.event_shape == (2, 2)


def test_classes_with_the_same_weights_draw_the_same_from_the_same_noise() -> None:
    p = some()
    weights = torch.tensor([[0.5, 0.2, 0.3], [0.5, 0.2, 0.3], [0.1, 0.1, 0.8]]).double().log()
    drawn = []
    for each in weights:
        torch.manual_seed(0)
        drawn.append(GaussianMixture(each.expand(9, -1), p.loc, p.tril).sample())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("far", [4.0, 0.0])
def test_a_mixture_by_class_is_as_likely_as_the_truth(far: float) -> None:
    """Classes that share two Gaussians by their own weights, apart from each other or not."""
    torch.manual_seed(0)
    weights = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    loc, tril = torch.tensor([[-far, 0.0], [far, 1.0]]), torch.eye(2).expand(2, 2, 2)
    truth = GaussianMixture(weights.log(), loc, tril)
    labels = torch.arange(3000) % 3
    rows = GaussianMixture(weights[labels].log(), loc, tril)
    z, held_out = rows.sample(), rows.sample()
    found = choose_by_class(fit_mixture(z, 2), z, labels, held_out, labels, 3)

    def value(p: GaussianMixture) -> Tensor:
        return GaussianMixture(p.log_weights[labels], p.loc, p.tril).log_prob(held_out)

    lost = value(truth) - value(found)
    assert lost.mean() < 0.03
    torch.testing.assert_close(found.log_weights.exp().sum(1), torch.ones(3))
    if far:
        shared = fit_mixture(z, 2).log_prob(held_out)
        assert (
            value(found) - shared
        ).mean() > 0.1  # 0.19 nats is what a label tells of its Gaussian


def test_classes_that_overlap_nowhere_get_gaussians_of_their_own() -> None:
    """Two rings of four clusters that mixtures of all see as four: a class has its own four."""
    torch.manual_seed(0)
    labels, which = torch.arange(4000) % 2, torch.arange(4000) // 2 % 4
    centers = torch.tensor([[-6.0, 0], [6, 0], [0, -6], [0, 6]])
    z = centers[which] + 0.3 * torch.randn(4000, 2) + labels[:, None] * 1.5
    found = choose_by_class(fit_mixture(z, 4), z, labels, z, labels, 2)
    drawn = GaussianMixture(found.log_weights[labels], found.loc, found.tril).sample()
    nearest = torch.cdist(drawn, torch.cat([centers, centers + 1.5])).argmin(1) // 4
    assert (nearest == labels).float().mean() > 0.98


def test_a_latent_is_pulled_where_torch_pulls_it() -> None:
    p = some()
    z = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    (got,) = torch.autograd.grad(p.log_prob(z).sum(), z)
    (expected,) = torch.autograd.grad(reference(p).log_prob(z).sum(), z)
    assert torch.allclose(got, expected, atol=1e-10)


def test_float32_is_within_1e_4_nats_where_covariances_are_well_conditioned() -> None:
    p = some(8, (16,))
    eye = torch.eye(16, dtype=torch.float64)
    p = GaussianMixture(p.log_weights, p.loc, (eye + 0.1 * p.tril).tril())
    narrow = GaussianMixture(*(getattr(p, name).float() for name in p.parameters))
    z = p.sample((500,)).float()
    assert (narrow.log_prob(z) - p.log_prob(z.double())).abs().max() < 1e-4


def test_draws_follow_the_density() -> None:
    torch.manual_seed(0)
    p, n = some(), 40_000
    z = p.sample((n,))
    assert torch.allclose(z.mean(0), p.mean, atol=5 * (p.variance / n).sqrt().max().item())
    assert torch.allclose(z.var(0), p.variance, rtol=0.05)
    # E[p(z) / q(z)] = 1 under q: the densities are normalized, and the draws are of them.
    wide = td.MultivariateNormal(p.mean, torch.cov(z.T) * 2)
    ratio = (wide.log_prob(z) - p.log_prob(z)).exp()
    other = wide.sample((n,))
    back = (p.log_prob(other) - wide.log_prob(other)).exp()
    assert abs(back.mean() - 1) < 5 * back.std() / math.sqrt(n)
    assert ratio.mean() < 1.05  # where p has mass, so has wide: at most 1


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_scales_each_component(temperature: float, proves: Proves) -> None:
    p, z = some(), 3 * torch.randn(20, 4, dtype=torch.float64)
    parts = td.MultivariateNormal(p.loc, temperature**2 * p.tril @ p.tril.mT)
    known = td.MixtureSameFamily(td.Categorical(logits=p.log_weights), parts)
    got = p.tempered(temperature).log_prob(z)
    proves("GaussianMixture, tempered", "torch.distributions", got, known.log_prob(z), limit=1e-11)
    loc, log_scale = torch.randn(2, 3, 4, dtype=torch.float64)
    mixed = Mixture(p.log_weights, Gaussian(loc, log_scale)).tempered(temperature)
    normals = td.Independent(td.Normal(loc, temperature * log_scale.exp()), 1)
    wanted = td.MixtureSameFamily(known.mixture_distribution, normals).log_prob(z)
    proves("Mixture, tempered", "torch.distributions", mixed.log_prob(z), wanted, limit=1e-11)


def points(n: int = 1500) -> Tensor:
    """Return draws of a mixture of three, in double precision."""
    torch.manual_seed(1)
    return some(seed=3).sample((n,))


def test_each_step_gains_likelihood() -> None:
    z = points()
    values = [fit_mixture(z, 2, steps=steps).log_prob(z).mean().item() for steps in range(8)]
    assert all(after >= before - 1e-3 for before, after in itertools.pairwise(values))
    assert values[-1] > values[0]


def test_a_start_is_split_at_its_heaviest_along_the_longest_axis() -> None:
    z = points()
    two = fit_mixture(z, 2)
    three = mixtures._split(two, 3)
    heavy, light = two.log_weights.exp().sort(descending=True).values.tolist()
    wanted = sorted([heavy / 2, heavy / 2, light])
    assert sorted(three.log_weights.exp().tolist()) == pytest.approx(wanted)
    top = two.log_weights.argmax()
    halves = three.loc[torch.tensor([int(top), 2])]
    torch.testing.assert_close(halves.mean(0), two.loc[top])
    axis = halves[0] - halves[1]  # one deviation long, an eigenvector of the covariance
    covariance = two.tril[top] @ two.tril[top].T
    torch.testing.assert_close(covariance @ axis, axis.square().sum() * axis)
    assert torch.linalg.eigvalsh(covariance)[-1].sqrt().item() == pytest.approx(axis.norm().item())
    assert len(mixtures._split(two, 9).log_weights) == 9


def test_the_likelier_of_clusters_and_a_split_start_is_taken() -> None:
    """Three along a line are found by both; where k-means is led astray by scale, by the split."""
    noise = torch.randn(900, 2, generator=torch.Generator().manual_seed(0))
    spread, places = torch.tensor([0.1, 8.0]), torch.tensor([[-1.0, 0], [0, 0], [1, 0]])
    z = noise * spread + places.repeat(300, 1)
    plain = fit_mixture(z, 3).log_prob(z).mean()
    oracle = GaussianMixture(torch.full((3,), 1 / 3).log(), places, spread.diag().expand(3, 2, 2))
    apart = fit_mixture(z, 3, start=oracle).log_prob(z).mean()
    assert apart > plain + 0.5
    far = GaussianMixture(torch.zeros(1), torch.tensor([[1e4, 0.0]]), torch.eye(2)[None])
    assert fit_mixture(z, 3, start=far).log_prob(z).mean() >= plain - 0.01


def test_a_fit_stops_at_the_first_step_that_gains_less_than_0_003_nats_a_point() -> None:
    z = points()
    values = [fit_mixture(z, 2, steps=k).log_prob(z).mean().item() for k in range(40)]
    gains = [after - before for before, after in itertools.pairwise(values)]
    last = next(k for k, gain in enumerate(gains, 1) if gain < 3e-3)
    whole = fit_mixture(z, 2, steps=40).loc
    assert torch.equal(whole, fit_mixture(z, 2, steps=last).loc)
    assert not torch.equal(whole, fit_mixture(z, 2, steps=last - 1).loc)


def test_one_component_is_the_gaussian_of_the_moments() -> None:
    z = points()
    p = fit_mixture(z, 1)
    assert torch.allclose(p.loc[0], z.mean(0), atol=1e-5)
    covariance = torch.cov(z.T, correction=0)
    ridge = 1e-4 * z.var(0, correction=0).mean()
    assert torch.allclose(p.tril[0] @ p.tril[0].T, covariance + ridge * torch.eye(4), atol=1e-4)


def test_fit_is_as_likely_as_that_of_scikit_learn() -> None:
    z = points()
    ridge = 1e-4 * z.var(0).mean().item()
    theirs = Reference(3, n_init=5, reg_covar=ridge, random_state=0).fit(z.numpy()).score(z.numpy())
    assert abs(fit_mixture(z, 3).log_prob(z).mean().item() - theirs) < 0.02


def test_number_of_components_is_chosen_by_held_out_points() -> None:
    p = some(seed=3)
    torch.manual_seed(2)
    z, held_out = p.sample((3000,)), p.sample((1000,))
    best = choose_mixture(z, held_out, (1, 2, 3, 5, 10))
    assert best is not None
    assert len(best.log_weights) >= 3
    assert p.log_prob(held_out).mean() - best.log_prob(held_out).mean() < 0.03
    torch.manual_seed(3)
    plain = choose_mixture(torch.randn(2000, 5), torch.randn(1000, 5))
    assert plain is not None
    assert len(plain.log_weights) == 1


def test_too_few_points_get_no_mixture() -> None:
    assert choose_mixture(torch.randn(15, 8), torch.randn(9, 8)) is None
    assert choose_mixture(torch.randn(15, 8).repeat(2, 1), torch.randn(9, 8)) is not None


def test_two_points_for_each_dimension_of_each_component_are_enough() -> None:
    z = torch.cat([torch.randn(6, 3) - 20, torch.randn(6, 3) + 20])
    mixture = choose_mixture(z, z, (1, 2, 3))
    assert mixture is not None
    assert len(mixture.log_weights) == 2
    assert choose_mixture(z[:5], z, (1,)) is None


def test_points_far_from_zero_have_their_spread_in_float32_too() -> None:
    wide = torch.randn(600, 3)
    p = fit_mixture(wide + 3000, 1)
    spread = p.tril[0] @ p.tril[0].T
    assert torch.allclose(spread, torch.cov(wide.T, correction=0), atol=1e-2)


def test_a_component_of_one_point_far_out_leaves_the_others_as_they_are() -> None:
    """Its covariance is rounding alone, which need not have a root."""
    z = torch.randn(20_000, 6)
    far = 1000 + torch.rand(1, 6)
    p = fit_mixture(torch.cat([far, z]), 2)
    assert p.log_prob(z).isfinite().all()
    assert (p.tril.diagonal(dim1=1, dim2=2) > 0).all()
    broad = p.tril[p.log_weights.argmax()]
    assert torch.allclose(broad @ broad.T, torch.cov(z.T, correction=0), atol=0.1)


def test_constant_dimensions_are_no_trouble() -> None:
    z = torch.randn(200, 3)
    z[:, 1] = 4
    p = fit_mixture(z, 5)
    assert p.log_prob(z).isfinite().all()
    assert (p.sample((100,))[:, 1] - 4).abs().max() < 1


def test_same_seed_gives_the_same_fit() -> None:
    z = points().float()
    one, two = fit_mixture(z, 5, seed=4), fit_mixture(z, 5, seed=4)
    assert torch.equal(one.tril, two.tril)


def test_many_points_are_scored_in_blocks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p = fit_mixture(z, 4)
    whole = p.log_prob(z)
    monkeypatch.setattr("vaekit.distributions.mixtures.AT_ONCE", 7 * 4 * 3)
    torch.testing.assert_close(p.log_prob(z), whole)
