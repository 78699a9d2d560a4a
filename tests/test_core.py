"""Conditionals, families, traces, models, objectives: numbers against independent oracles."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import vaekit as vk
from vaekit import distributions as d
from vaekit.models import VAE, Site, Trace
from vaekit.objectives import ELBO, IWAE, Bound, Objective, Reconstruction, require
from vaekit.parts.conditional import Conditional, Family, join
from vaekit.parts.families import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    Delta,
    Gaussian,
    Laplace,
)
from vaekit.parts.priors import StandardNormal
from vaekit.testing import LinearGaussian, check_family, check_model, check_objective

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


@pytest.mark.parametrize("name", FAMILIES)
def test_family_conforms(name: str) -> None:
    check_family(FAMILIES[name])


@pytest.mark.parametrize("name", [n for n in FAMILIES if n != "delta"])
def test_a_family_starts_at_the_mean_it_is_given(name: str) -> None:
    family = FAMILIES[name].to(torch.float64)
    mean = torch.linspace(0.05, 0.95, math.prod(family.event_shape), dtype=torch.float64)
    mean = mean.view(family.event_shape)
    got = family(family.start(mean).unsqueeze(0)).mean[0]
    assert torch.allclose(got, mean, atol=1e-6)


def test_check_family_finds_a_wrong_constant() -> None:
    class Wrong(Bernoulli):
        def forward(self, params: Tensor, given: Tensor | None = None) -> d.Distribution:
            return d.ContinuousBernoulli(params * 1.1, event_dim=1)

    class Unnormalised(d.Gaussian):
        def terms(self, x: Tensor) -> Tensor:
            return -0.5 * ((x - self.loc) / self.scale) ** 2

    class Broken(Family):
        distribution = d.Gaussian
        space = d.reals(3)  # type: ignore[assignment]

        def forward(self, params: Tensor, given: Tensor | None = None) -> d.Distribution:
            return Unnormalised(params, torch.zeros((), dtype=params.dtype))

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


def test_given_joins_every_sample_of_its_row() -> None:
    given = torch.eye(4)

    class Show(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, 3:]

    p = Conditional(Show(), Delta(4), in_shape=3)
    out = p(torch.randn(5, 4, 3), given).mean
    assert torch.equal(out, given.expand(5, 4, 4))
    with pytest.raises(vk.VaekitError, match="`given` has 4 rows; expected 2"):
        p(torch.randn(2, 3), given)


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
        (lambda: ELBO(beta=-1.0), "expected 0 or more"),
        (lambda: ELBO(kl="exact"), "expected 'closed' or 'sampled'"),
        (lambda: IWAE(samples=0), "expected at least 1"),
        (lambda: Categorical(3, levels=1), "at least 2"),
    ],
)
def test_misuse_gets_one_clear_line(build: object, message: str) -> None:
    with pytest.raises(vk.VaekitError, match=message) as caught:
        build()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def autoencoder() -> VAE:
    net = vk.MLP(3, 3, hidden=())
    return VAE(
        StandardNormal(3), Conditional(net, Delta(3)), Conditional(Double(), Gaussian(3, scale=1.0))
    )


def test_a_vae_refuses_parts_that_do_not_fit() -> None:
    good = Conditional(Double(), Delta(3))
    with pytest.raises(vk.VaekitError, match=r"prior lives on reals\(2\) and the posterior on"):
        VAE(StandardNormal(2), good, good)
    with pytest.raises(vk.VaekitError, match="the likelihood takes a latent of shape"):
        VAE(StandardNormal(3), good, Conditional(vk.MLP(2, 3), Delta(3)))


def test_an_objective_refuses_a_model_that_lacks_what_it_needs() -> None:
    model = autoencoder()
    require(Reconstruction(), model)
    for objective in (ELBO(), IWAE()):
        with pytest.raises(vk.VaekitError, match="needs density of the posterior"):
            require(objective, model)


def test_printing_a_vae_shows_its_three_distributions() -> None:
    text = repr(LinearGaussian.fit(torch.randn(20, 4), 2).vae())
    assert "(prior): StandardNormal((2,))" in text
    assert "Gaussian((2,), scale='free', mean='identity')" in text
    assert "Gaussian((4,), scale='shared', mean='identity')" in text


def test_densities_are_computed_when_asked_for_and_once() -> None:
    class Counting(d.Gaussian):
        calls = 0

        def terms(self, x: Tensor) -> Tensor:
            Counting.calls += 1
            return super().terms(x)

    q = d.Gaussian(torch.zeros(2, 3), torch.zeros(2, 3))
    site = Site.draw("z", q, d.StandardGaussian(torch.zeros(3)), (4,))
    px = Counting(torch.zeros(4, 2, 3), torch.zeros(()))
    trace = Trace(x=torch.zeros(2, 3), sites=(site,), px=px, model=None)
    assert Counting.calls == 0
    ELBO()(trace)
    assert "log_q" not in site.__dict__, "an ELBO with a closed-form kl touched log q"
    _ = trace.log_likelihood, trace.log_weight
    assert Counting.calls == 1


def test_a_one_pass_posterior_hands_over_its_density() -> None:
    class Flow(d.Gaussian):
        one_pass = True

        def rsample_and_log_prob(self, shape: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
            z = self.rsample(shape)
            return z, torch.full(z.shape[:-1], 7.0)

    q = Flow(torch.zeros(2, 3), torch.zeros(2, 3))
    site = Site.draw("z", q, d.StandardGaussian(torch.zeros(3)), (4,))
    assert torch.equal(site.log_q, torch.full((4, 2), 7.0))
    assert torch.equal(site.kl, 7.0 - site.log_p), "no closed form: log q - log p"


def test_kl_terms_sum_to_kl_and_carry_the_sample_dims() -> None:
    q = d.Gaussian(torch.randn(4, 3), torch.randn(4, 3))
    for p in (d.StandardGaussian(torch.zeros(3)), d.Laplace(torch.zeros(3), torch.zeros(3))):
        site = Site.draw("z", q, p, (2, 5))
        assert site.kl_terms.shape == (2, 5, 4, 3)
        assert torch.allclose(site.kl_terms.sum(-1), site.kl, atol=1e-5)
    assert not site.log_q_stopped.requires_grad
    assert torch.allclose(site.log_q_stopped, site.log_q)


@pytest.mark.parametrize(
    "objective",
    [ELBO(), ELBO(kl="sampled"), ELBO(samples=3), IWAE(samples=1), IWAE(samples=7)],
    ids=lambda o: f"{type(o).__name__}-{o.samples}-{getattr(o, 'kl', '')}",
)
def test_bounds_conform(objective: Objective) -> None:
    check_objective(objective)


def test_other_objectives_conform_without_being_bounds() -> None:
    check_objective(ELBO(beta=0.5), bound=False)
    check_objective(Reconstruction(), bound=False)


def test_check_objective_finds_what_is_no_bound_and_what_leaks_between_rows() -> None:
    class Inverted(IWAE):
        """Peers' mistake: weights from a softmax of the loss, so that the worst draw counts."""

        def value(self, trace: Trace) -> Tensor:
            weight = (-trace.log_weight).softmax(0).detach()
            return (weight * trace.log_weight).sum(0)

    class Leaky(ELBO):
        def value(self, trace: Trace) -> Tensor:
            return super().value(trace).mean().expand(trace.x.shape[0])

    class Uncounted(IWAE):
        """Another: the sum over draws instead of their mean."""

        def value(self, trace: Trace) -> Tensor:
            return trace.log_weight.logsumexp(0)

    with pytest.raises(AssertionError, match="gradient"):
        check_objective(Inverted(samples=5))
    with pytest.raises(AssertionError, match="depends on the other rows"):
        check_objective(Leaky())
    with pytest.raises(AssertionError, match="exceeds log p"):
        check_objective(Uncounted(samples=50))


def test_importance_weights_favour_the_best_draw() -> None:
    """The gradient of L_K is sum_k w_k grad log w_k, w a softmax of log weight, not of the loss."""
    log_weight = torch.tensor([[0.0], [2.0], [-1.0]], requires_grad=True)

    class Given(Trace):
        pass

    trace = Given(x=torch.zeros(1, 1), sites=(), px=d.Delta(torch.zeros(1)), model=None)
    trace.__dict__["log_weight"] = log_weight
    value = IWAE(samples=3).value(trace)
    expected = math.log((1 + math.exp(2) + math.exp(-1)) / 3)
    assert value.item() == pytest.approx(expected, rel=1e-6)
    (gradient,) = torch.autograd.grad(value.sum(), log_weight)
    assert torch.allclose(gradient, log_weight.detach().softmax(0))
    assert gradient.argmax() == log_weight.argmax()


def test_a_penalty_enters_only_what_is_differentiated() -> None:
    trace = Trace(
        x=torch.zeros(2, 3),
        sites=(),
        px=d.Gaussian(torch.zeros(1, 2, 3), torch.zeros(())),
        model=None,
        penalty=torch.tensor([1.0, 2.0]),
    )
    bound = Reconstruction()(trace)
    assert isinstance(bound.target, Tensor)
    assert torch.allclose(bound.value - bound.target, torch.tensor([1.0, 2.0]))
    assert Bound(bound.value).target is bound.value


def mlp_vae(x_shape: int = 6) -> VAE:
    return VAE(
        StandardNormal(2),
        Conditional(vk.MLP(x_shape, 4, hidden=(8,)), Gaussian(2)),
        Conditional(vk.MLP(2, x_shape, hidden=(8,)), Bernoulli(x_shape)),
    )


def test_models_conform() -> None:
    x = torch.rand(5, 6)
    check_model(mlp_vae(), x)
    conditional = VAE(
        StandardNormal(2),
        Conditional(vk.MLP(9, 4, norm="batch"), Gaussian(2), in_shape=6),
        Conditional(vk.MLP(5, 6, norm="batch"), Bernoulli(6), in_shape=2),
    )
    check_model(conditional, x, torch.eye(5)[:, :3])
    check_model(autoencoder(), torch.randn(4, 3))


def test_samples_are_draws_and_pictures_show_the_mean() -> None:
    model = mlp_vae()
    draws = model.sample(200)
    assert set(draws.unique().tolist()) <= {0.0, 1.0}
    means = model.sample(200, mean=True)
    assert means.min() > 0
    assert means.max() < 1
    x = torch.rand(3, 6)
    z = model.posterior(x).mean
    assert torch.allclose(model.reconstruct(x), model.likelihood(z).mean)
    assert model.training, "sampling left the model in eval mode"


def test_train_and_eval_change_layers_never_the_estimator() -> None:
    """A peer's eval mode decodes the mean and calls the result a test loss. Ours draws."""
    x = torch.rand(4, 6)
    model = mlp_vae()
    values = []
    for mode in (True, False):
        model.train(mode)
        torch.manual_seed(3)
        values.append(ELBO()(model(x)).value)
    assert torch.equal(*values)


def test_the_whole_loss_is_captured_without_a_graph_break_and_reads_nothing_from_the_device() -> (
    None
):
    for objective in (ELBO(), IWAE(samples=5)):
        model = mlp_vae()

        def step(
            x: Tensor, model: VAE = model, objective: Objective = objective
        ) -> tuple[Tensor, ...]:
            bound = objective(model(x, samples=objective.samples))
            return bound.value, *bound.parts.values()

        compiled = torch.compile(step, backend="eager", fullgraph=True)
        x = torch.rand(4, 6)
        torch.manual_seed(1)
        expected = step(x)
        torch.manual_seed(1)
        for got, want in zip(compiled(x), expected, strict=True):
            assert torch.allclose(got, want)
        meta = mlp_vae().to("meta")
        bound = objective.to("meta")(meta(x.to("meta"), samples=objective.samples))
        (-bound.value.mean()).backward()
        assert all(p.grad is not None for p in meta.parameters())


def test_log_q_stopped_has_no_gradient_to_the_posterior() -> None:
    loc = torch.randn(4, 3, requires_grad=True)
    q = d.Gaussian(loc, torch.zeros(4, 3))
    z = q.rsample((2,)).detach()
    site = Site("z", z, q, d.StandardGaussian(torch.zeros(3)))
    assert site.log_q.requires_grad
    assert not site.log_q_stopped.requires_grad


def test_a_mask_counts_alike_for_every_sample() -> None:
    family = Gaussian(2, scale="fitted").train()
    x, mask = torch.tensor([[3.0, 100.0]]), torch.tensor([[1.0, 0.0]])
    px = family(torch.zeros(5, 1, 2)).fitted(x, mask)
    assert px.scale.item() == pytest.approx(3.0)  # type: ignore[attr-defined]


def test_iwae_takes_all_its_sample_dims_together() -> None:
    oracle = LinearGaussian.fit(torch.randn(30, 4, dtype=torch.float64), 2)
    x = torch.randn(6, 4, dtype=torch.float64)
    trace = oracle.vae(variance=torch.ones(2, dtype=torch.float64))(x, samples=(3, 5))
    expected = trace.log_weight.flatten(0, 1).exp().mean(0).log()
    assert torch.allclose(IWAE(samples=15).value(trace), expected)


def test_bounds_report_their_parts() -> None:
    trace = mlp_vae()(torch.rand(5, 6), samples=(3,))
    parts = ELBO(beta=2.0)(trace).parts
    assert torch.allclose(parts["kl"], trace.kl.mean(0))
    assert torch.allclose(parts["log_likelihood"], trace.log_likelihood.mean(0))
    assert parts["kl"].min() > 0
    assert "kl" not in Reconstruction()(trace).parts


def test_the_standard_error_is_that_of_the_mean_over_rows() -> None:
    oracle = LinearGaussian.fit(torch.randn(80, 4, dtype=torch.float64), 2)
    x = torch.randn(80, 4, dtype=torch.float64)
    found = vk.measure(oracle.vae(), [(x[:50], None), (x[50:], None)], samples=400)
    values = oracle.log_prob(x)
    assert found.elbo == pytest.approx(values.mean().item(), abs=0.02)
    assert found.elbo_error == pytest.approx(values.std().item() / math.sqrt(80), rel=0.05)


def test_evaluating_gives_every_part_its_mode_back() -> None:
    model = mlp_vae().train()
    model.posterior.eval()
    model.sample(2)
    assert not model.posterior.training
    assert model.likelihood.training
    with pytest.raises(vk.VaekitError, match="`given` has 3 rows; expected 2"):
        model.sample(2, torch.eye(3))


def test_given_joins_signals_of_one_dimension() -> None:
    h = torch.zeros(2, 3, 16)
    assert torch.equal(join(h, torch.ones(2, 4))[:, 3:], torch.ones(2, 4, 16))


def test_what_is_masked_changes_nothing() -> None:
    model = mlp_vae()
    x, mask = torch.rand(4, 6), (torch.rand(4, 6) > 0.4).float()
    values = []
    for hidden in (0.5, 100.0, math.nan):
        torch.manual_seed(2)
        seen = torch.where(mask != 0, x, torch.full_like(x, hidden))
        values.append(ELBO()(model(seen, mask=mask)).value)
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])


def test_a_categorical_of_other_levels_is_no_likelihood_of_bytes() -> None:
    from vaekit.data import DataSpec
    from vaekit.evaluate import bits_per_dim, is_likelihood

    grey = DataSpec("t", (3,), "grey", rows=9)
    assert is_likelihood(Categorical(3), "grey")
    assert not is_likelihood(Categorical(3, levels=5), "grey")
    assert not is_likelihood(Categorical(3), "table")
    assert bits_per_dim(-5.0, Categorical(3, levels=5), grey) is None


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
