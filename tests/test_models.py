"""Traces, models, objectives: numbers against independent oracles."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

import vaekit as vk
from vaekit import distributions as d
from vaekit.data import DataSpec
from vaekit.models import VAE, Site, Trace, pieces, rows_at_once
from vaekit.objectives import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    STL,
    Bound,
    Objective,
    Reconstruction,
    Renyi,
    require,
)
from vaekit.parts import (
    Bernoulli,
    Conditional,
    Delta,
    Gaussian,
    StandardNormal,
)
from vaekit.testing import LinearGaussian, check_model, check_objective


class Double(nn.Module):
    in_shape = (3,)

    def forward(self, x: Tensor) -> Tensor:
        assert x.dim() == 2, "a network sees one leading dim"
        return 2 * x


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
        with pytest.raises(vk.VaekitError, match=r"needs (a KL between|the densities of a draw)"):
            require(objective, model)


def test_a_weight_is_any_number_from_zero_on() -> None:
    for weight in (0.0, 0.05, 2.0):
        assert ELBO(beta=weight).beta.item() == pytest.approx(weight)
        assert vk.Coloring(luminance=weight).luminance.item() == pytest.approx(weight)
    for build in (lambda: ELBO(beta=-0.01), lambda: vk.Coloring(luminance=-0.01)):
        with pytest.raises(vk.VaekitError, match=r"got .*-0\.01"):
            build()


def test_a_kl_at_the_draw_needs_densities_and_one_in_closed_form_needs_none() -> None:
    assert ELBO(kl="sampled").needs - ELBO().needs == {"density"}


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


def test_importance_weights_favor_the_best_draw() -> None:
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


def test_samples_are_draws_and_images_show_the_mean() -> None:
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
    weighted = (IWAE(samples=5), MIWAE(m=2, k=3), CIWAE(samples=5), Renyi(samples=5), STL())
    for objective in (ELBO(), *weighted):
        model = mlp_vae()

        def step(
            x: Tensor, model: VAE = model, objective: Objective = objective
        ) -> tuple[Tensor, ...]:
            bound = objective(model(x, samples=objective.samples))
            assert isinstance(bound.target, Tensor)
            return bound.value, bound.target, *bound.parts.values()

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


def test_iwae_takes_all_its_sample_dims_together() -> None:
    oracle = LinearGaussian.fit(torch.randn(30, 4, dtype=torch.float64), 2)
    x = torch.randn(6, 4, dtype=torch.float64)
    trace = oracle.vae(variance=torch.ones(2, dtype=torch.float64))(x, samples=(3, 5))
    expected = trace.log_weight.flatten(0, 1).exp().mean(0).log()
    assert torch.allclose(IWAE(samples=15).value(trace), expected)


def test_the_elbo_is_the_mean_over_all_its_draws() -> None:
    oracle = LinearGaussian.fit(torch.randn(30, 4, dtype=torch.float64), 2)
    trace = oracle.vae()(torch.randn(6, 4, dtype=torch.float64), samples=(3, 5))
    log_p, log_q, log_prior = (
        value.detach().expand(3, 5, 6).numpy()
        for value in (trace.log_likelihood, trace.site.log_q, trace.site.log_p)
    )
    for kl, want in (("sampled", log_q - log_prior), ("closed", trace.kl.detach().numpy())):
        expected = log_p.mean((0, 1)) - 0.7 * want.mean((0, 1))
        assert ELBO(beta=0.7, kl=kl)(trace).value.detach().numpy() == pytest.approx(expected)


def test_bounds_report_their_parts() -> None:
    trace = mlp_vae()(torch.rand(5, 6), samples=(3,))
    parts = ELBO(beta=2.0)(trace).parts
    assert torch.allclose(parts["kl"], trace.kl.mean(0))
    assert torch.allclose(parts["log_likelihood"], trace.log_likelihood.mean(0))
    assert parts["kl"].min() > 0
    assert trace.kl.requires_grad
    assert not any(part.requires_grad for part in parts.values())
    assert "kl" not in Reconstruction()(autoencoder()(torch.rand(5, 3))).parts


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
    with pytest.raises(vk.VaekitError, match="the context has 3 rows; expected 2"):
        model.sample(2, torch.eye(3))


def test_a_mask_weighs_the_terms_of_the_likelihood() -> None:
    """1 counts a value whole, 0 not at all, 0.25 by a quarter: against scipy's density."""
    model = autoencoder()
    x = torch.randn(4, 3)
    mask = torch.tensor([1.0, 0.0, 0.25])
    trace = model(x, mask=mask.expand(4, 3))
    terms = norm.logpdf(x.numpy(), trace.px.mean[0].detach().numpy())
    expected = (terms * mask.numpy()).sum(1)
    assert trace.log_likelihood[0].detach().numpy() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("pixels", "draws"), [(6, 1), (3000, 1), (3000, 7), (100_000, 500)])
def test_as_many_rows_are_decoded_at_a_time_as_fill_8_mib(pixels: int, draws: int) -> None:
    """At 4 bytes a number, a row at 1 KiB at least; on an accelerator 16 MiB; one row always."""
    of_row = max(4 * pixels, 1024) * draws
    for device, room in (("cpu", 2**23), ("meta", 2**24)):
        rows = rows_at_once(mlp_vae(pixels).to(device), draws)
        assert rows * of_row <= room < (rows + 1) * of_row or rows == 1
        assert rows > 1 or of_row > room / 2


def test_pieces_hold_every_row_once_and_one_label_beside_each() -> None:
    x, label = torch.arange(20_000)[:, None], torch.ones(1, 3)
    parts = list(pieces(mlp_vae(), x, None, label))
    assert torch.equal(torch.cat([part for part, _, _ in parts]), x)
    assert [len(part) for part, _, _ in parts] == [8192, 8192, 3616]
    assert all(none is None and one is label for _, none, one in parts)


@pytest.mark.parametrize("rows", [1, 8192, 8193, 16_384, 20_000])
def test_codes_decoded_in_pieces_are_those_decoded_at_once(rows: int) -> None:
    model, z = mlp_vae(), torch.randn(rows, 2)
    with torch.no_grad():
        expected = model.likelihood(z).mean
    assert torch.allclose(model.decode(z), expected, atol=1e-6)


def test_a_prior_says_what_the_posterior_lacks_first_in_the_alphabet() -> None:
    class Wants(StandardNormal):
        needs = d.offering("rsample", "codes", "stopped", "moments")

    net = vk.MLP(2, 4)
    likelihood = Conditional(vk.MLP(2, 2), Gaussian(2, scale=1.0))
    with pytest.raises(vk.VaekitError, match=r"^Wants needs [^,]* \(codes\), which"):
        VAE(Wants(2), Conditional(net, Gaussian(2)), likelihood)


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


@pytest.mark.parametrize(
    "recipe", ["vae", "iaf_vae", "planar_vae", "flow_vae", "hamiltonian_vae", "vq_vae"]
)
def test_a_code_does_not_hang_on_the_rows_beside_it(recipe: str) -> None:
    """Nor where a posterior has no mean: each row then has the same noise."""
    torch.manual_seed(0)
    spec, x = DataSpec("t", (1, 6, 6), "gray", rows=9), torch.rand(5, 1, 6, 6)
    model: Any = vk.build(recipe, spec, net="mlp:hidden=8", latent=3).model
    codes = model.encode(x)[0]
    for place in range(5):
        torch.testing.assert_close(model.encode(x[place : place + 1])[0][0], codes[place])
    torch.testing.assert_close(model.encode(x.flip(0))[0].flip(0), codes)
    if recipe != "flow_vae":  # a flow takes no empty batch
        assert model.encode(x[:0])[0].shape == (0, *codes.shape[1:])
    if recipe != "vq_vae":
        (site,) = model.draw(model.infer(x), (4000,))
        error = site.z.std(0) * (1 / 64 + 1 / 4000) ** 0.5
        assert ((codes - site.z.mean(0)).abs() < 5 * error).all()
