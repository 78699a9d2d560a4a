"""What is missing in rows, filled in by a model that was trained on such rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaekit._torchutil import evaluating, wide
from vaekit.evaluate import _checks as checks
from vaekit.models import LatentModel, exact, rows_at_once


def impute(
    model: LatentModel,
    x: Tensor,
    context: Tensor | None = None,
    *,
    samples: int = 100,
    draws: int = 0,
) -> Tensor:
    """Return rows with what is NaN in them filled in, given what is seen of each.

    By self-normalized importance sampling: z_s is drawn from q(z|seen), the encoder's of a row with
    0 for what is missing, and weighs w_s = p(seen, z_s) / q(z_s|seen). A single fill is the mean
    E[missing|seen], about sum_s w_s E[x|z_s] / sum_s w_s. A draw takes one of the z_s by these
    weights, and x from p(x|z_s).

    Args:
        model: a model whose posterior has a density; it is used in eval mode.
        x: `(B, *X)`; NaN is what is missing.
        context: what the model is conditioned on, `(B, *G)`.
        samples: S.
        draws: how many draws of each row; 0 for the mean.

    Returns:
        `(B, *X)`, or with draws `(draws, B, *X)`; what is seen stays as it is.

    Raises:
        VaekitError: for no samples, draws below 0, or a posterior without a density.

    References:
        Mattei and Frellsen 2019, MIWAE: deep generative modelling and imputation of incomplete data
        sets, arXiv 1812.02633, eq. 6 and 7.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> x = torch.randn(50, 3)
        >>> model = LinearGaussian.fit(x, latent=1).vae()
        >>> x[0, 1] = torch.nan
        >>> filled = impute(model, x)
        >>> filled.isnan().any().item(), torch.equal(filled[1:], x[1:])
        (False, True)
    """
    checks.refuse_no_density(model, "imputation")
    samples = checks.draws_of("samples", samples, 1)
    draws = checks.draws_of("draws", draws, 0)
    size = max(1, rows_at_once(model) // samples)
    filled = x.expand(max(1, draws), *x.shape).clone()
    rows = x.isnan().flatten(1).any(1).nonzero()[:, 0]
    with evaluating(model), exact(model):
        for part in rows.split(size) if len(rows) else ():
            under = None if context is None else context[part]
            made = _filled(model, x[part], under, samples, draws)
            filled[:, part] = torch.where(x[part].isnan(), made, x[part])
    return filled if draws else filled[0]


def _filled(model: Any, x: Tensor, context: Tensor | None, samples: int, draws: int) -> Tensor:
    """Return the mean of rows `(B, *X)` given what is seen, or draws of them `(D, B, *X)`."""
    seen = ~x.isnan()
    x = torch.where(seen, x, torch.zeros_like(x))
    state = model.infer(x, context, seen)
    sites = model.draw(state, (samples,))
    trace = model.scored(x, sites, state, context, seen)
    share = wide(trace.log_weight).softmax(0)  # (S, B)
    if not draws:
        mean = wide(trace.px.mean)
        return (share.view(*share.shape, *[1] * (x.dim() - 1)) * mean).sum(0).to(x.dtype)
    chosen = torch.multinomial(share.T, draws, replacement=True).T  # (D, B)
    rows = torch.arange(len(x), device=x.device).expand_as(chosen)
    zs = tuple(site.z[chosen, rows].flatten(0, 1) for site in sites)
    under = None if context is None else context.repeat(draws, *[1] * (context.dim() - 1))
    drawn = model.likelihood_at(zs, under).sample()
    return drawn.view(draws, *x.shape).to(x.dtype)
