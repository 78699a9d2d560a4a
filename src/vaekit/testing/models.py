"""The checks of an objective and of a model."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vaekit.models import VAE, LatentModel, Site, Trace, exact
from vaekit.objectives import Objective
from vaekit.testing.families import check_gradient, seeded
from vaekit.testing.linear_gaussian import LinearGaussian


def _problem(rows: int = 12, d: int = 5, k: int = 2) -> tuple[Tensor, LinearGaussian, VAE, Tensor]:
    """Return data, an oracle, a VAE near it but not at the optimum, and noise (no draws)."""
    mix = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64)).Q
    x = torch.randn(rows, d, dtype=torch.float64) * torch.linspace(2, 0.7, d) @ mix
    oracle = LinearGaussian.fit(x, k)
    model = oracle.vae()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn_like(value))
    return x, oracle, model, torch.randn(rows, k, dtype=torch.float64)


def _trace(model: VAE, x: Tensor, noise: Tensor) -> Trace:
    """Return a pass with the noise given: z = loc + scale noise."""
    q = model.posterior(x)
    z = q.loc + q.scale * noise
    site = Site("z", z, q, model.prior())
    return Trace(x=x, sites=(site,), px=model.likelihood(z), model=model)


def _value(objective: Objective, trace: Trace) -> Tensor:
    with seeded(1):
        return objective(trace).value


def check_objective(objective: Objective, *, bound: bool = True, unbiased: bool = True) -> None:
    """Check an objective on the linear-Gaussian model: shapes, invariances, gradients, bound.

    A value may depend on the other rows of the batch only where the objective says `coupled`. What
    it draws itself is the same for each order of the rows.

    Args:
        objective: it gets as many draws as it asks for.
        bound: whether its expectation must stay at or below log p(x).
        unbiased: whether its surrogate's gradient has the value's in expectation.

    Example:
        >>> from vaekit.objectives import IWAE
        >>> check_objective(IWAE(samples=5))
    """
    objective = objective.to(torch.float64)
    with seeded():
        x, _, model, row = _problem()
        noise = torch.randn(*objective.samples, *row.shape, dtype=torch.float64)
        trace = _trace(model, x, noise)
        value = _value(objective, trace)
        assert value.shape == x.shape[:1], f"value (B,) came as {tuple(value.shape)}"
        order = torch.randperm(len(x))
        permuted = _value(objective, _trace(model, x[order], noise[..., order, :]))
        assert torch.allclose(permuted, value[order]), "permuting the batch changes the values"
        half = _value(objective, _trace(model, x[:5], noise[..., :5, :]))
        if objective.coupled:
            assert not torch.allclose(half, value[:5]), "no row's value depends on the other rows"
        else:
            assert torch.allclose(half, value[:5]), "a row's value depends on the other rows"
        if objective(trace).surrogate is None:
            _check_objective_gradient(objective, model, x, noise)
        elif unbiased and isinstance(objective(trace).target, Tensor):
            _check_surrogate(objective, model, x)
        if bound:
            _check_bound(objective, model, x)


def _check_objective_gradient(objective: Objective, model: VAE, x: Tensor, noise: Tensor) -> None:
    names, values = zip(*model.named_parameters(), strict=True)
    flat = torch.cat([v.detach().flatten() for v in values])

    once: Any = copy.copy(model)
    once.forward = lambda: objective(_trace(once, x, noise)).target.sum()

    def function(theta: Tensor) -> Tensor:
        parts = theta.split([v.numel() for v in values])
        new = {n: p.view_as(v) for n, p, v in zip(names, parts, values, strict=True)}

        return torch.func.functional_call(once, new, ())

    check_gradient(function, flat)


def _check_surrogate(objective: Objective, model: VAE, x: Tensor, repeats: int = 400) -> None:
    """Compare the mean gradient of what is differentiated with that of the value, by draws."""
    values, gaps = list(model.parameters()), []
    slopes = partial(torch.autograd.grad, inputs=values, retain_graph=True, allow_unused=True)
    for _ in range(repeats):
        bound = objective(model(x, samples=objective.samples))
        pairs = zip(slopes(bound.target.mean()), slopes(bound.value.mean()), strict=True)
        both = [(a - b).flatten() for a, b in pairs if a is not None and b is not None]
        gaps.append(torch.cat(both))
    gap = torch.stack(gaps)
    limit = 5 * gap.std(0) / math.sqrt(repeats) + 1e-9
    worst = (gap.mean(0).abs() / limit).max().item()
    assert worst <= 1, f"the surrogate's gradient is biased: {worst:.1f} times what chance allows"


def _check_bound(objective: Objective, model: VAE, x: Tensor, repeats: int = 400) -> None:
    net: Any = model.likelihood.net
    family: Any = model.likelihood.family
    variance = (2 * family.scale.log_scale.detach()).exp()
    oracle = LinearGaussian(net.bias.detach(), net.weight.detach(), variance)
    with torch.no_grad():
        values = torch.stack(
            [objective(model(x, samples=objective.samples)).value.mean() for _ in range(repeats)]
        )
    limit = oracle.log_prob(x).mean() + 5 * values.std() / math.sqrt(repeats)
    assert values.mean() <= limit, f"mean {values.mean():.4f} exceeds log p(x), {limit:.4f}"


def check_model(model: LatentModel, x: Tensor, context: Tensor | None = None) -> None:
    """Check a model: shapes for any sample dims, exact weights, codes, draws, independent rows.

    Args:
        model: with or without batch norm; it is left in the mode it came in.
        x: at least two rows `(B, *X)` of data.
        context: what the model is conditioned on.

    Example:
        >>> from vaekit.testing import LinearGaussian, seeded
        >>> with seeded():
        ...     x = torch.randn(6, 3, dtype=torch.float64)
        >>> check_model(LinearGaussian.fit(x, latent=1).vae(), x)
    """
    mode = model.training
    try:
        model.eval()
        with exact(model):
            for samples in [(1,), (3,), (2, 3)]:
                _check_trace(model, x, context, samples)
        zs, recon = model.encode(x, context), model.reconstruct(x, context)
        assert all(len(z) == len(x) for z in zs), "encode gives no z for each site"
        assert recon.shape == x.shape, f"reconstructions {tuple(x.shape)} came as {recon.shape}"
        again = model.decode(zs, context)
        assert torch.equal(again, recon), "likelihood_at draws, or keeps something"
        if "mean" in model.offers:
            first = model.reconstruct(x[:1], None if context is None else context[:1])
            close = torch.allclose(recon[:1], first, rtol=1e-4, atol=1e-5)
            assert close, "in eval mode a row depends on the other rows"
        if "draws" in model.offers:
            draws = model.sample(len(x), context)
            assert draws.shape == x.shape, f"draws {tuple(x.shape)} came as {tuple(draws.shape)}"
            assert torch.isfinite(draws).all(), "draws are not finite"
    finally:
        model.train(mode)


def _check_trace(
    model: LatentModel, x: Tensor, context: Tensor | None, samples: tuple[int, ...]
) -> None:
    with seeded(), torch.no_grad():
        trace = model(x, context, samples=samples)
        shape = (*samples, len(x))
        assert trace.log_likelihood.shape == shape, f"{trace.log_likelihood.shape}: {shape}"
        for site in trace.sites:
            assert site.z.shape[: len(shape)] == shape, f"z {site.z.shape}: {shape}"
        if "bound" in model.offers:
            assert trace.kl.shape == shape, f"kl {trace.kl.shape}: {shape}"
        if {"density", "exact"} <= model.offers and type(trace) is Trace:
            weight = trace.log_likelihood + sum(s.log_p - s.log_q for s in trace.sites)
            assert torch.allclose(trace.log_weight, weight), "log_weight is not exact"
