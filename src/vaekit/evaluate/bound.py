"""The ELBO and its parts over a data set, nats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.errors import VaekitError
from vaekit.evaluate.checks import standard_error
from vaekit.models import Model, Trace
from vaekit.objectives import over_samples
from vaekit.torchutil import evaluating


@dataclass(frozen=True)
class Measured:
    """Means over a data set, nats per example; None where the model has no such number.

    Always with beta = 1 and without penalties. The errors are the standard errors of the means
    over examples, nan for one; `mse` is the mean square of x - E[x|z] per element, over draws of z.
    """

    elbo: float | None
    elbo_error: float | None
    log_likelihood: float
    kl: float | None
    mse: float
    rows: int
    log_likelihood_error: float
    kl_error: float | None


def measure(
    model: Model, batches: Iterable[tuple[Tensor, Tensor | None]], *, samples: int = 1
) -> Measured:
    """The ELBO, its two terms and the pixel error over a data set, with `samples` draws each.

    The draws are draws in eval mode too: this is an ELBO, not the loss of a decoded mean.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> x = torch.randn(50, 3, dtype=torch.float64)
        >>> model = LinearGaussian.fit(x, latent=1).vae()
        >>> result = measure(model, [(x[:30], None), (x[30:], None)], samples=5)
        >>> result.rows, abs(result.elbo - result.log_likelihood + result.kl) < 1e-9
        (50, True)
    """
    with evaluating(model):
        rows = [_row(model(x, g, samples=(samples,)), model) for x, g in batches]
    if not rows:
        raise VaekitError("got no rows to measure; expected at least one.")
    log_likelihood, kl, mse = (torch.cat(column) for column in zip(*rows, strict=True))
    bound = "density" in model.offers
    elbo = log_likelihood - kl
    return Measured(
        elbo=elbo.mean().item() if bound else None,
        elbo_error=standard_error(elbo) if bound else None,
        log_likelihood=log_likelihood.mean().item(),
        kl=kl.mean().item() if bound else None,
        mse=mse.mean().item(),
        rows=len(mse),
        log_likelihood_error=standard_error(log_likelihood),
        kl_error=standard_error(kl) if bound else None,
    )


def _row(trace: Trace, model: Model) -> tuple[Tensor, Tensor, Tensor]:
    """Per example, in float64: log-likelihood, kl, mean square error."""
    log_likelihood = over_samples(trace.log_likelihood.double())
    has_kl = "density" in model.offers
    kl = over_samples(trace.kl.double()) if has_kl else torch.zeros_like(log_likelihood)
    square = (trace.x - trace.px.mean).square().flatten(trace.log_likelihood.dim()).double()
    return log_likelihood, kl, over_samples(square.mean(-1))
