"""The ELBO and its parts over a data set, nats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from vaekit.distributions import Offer
from vaekit.errors import VaekitError
from vaekit.evaluate.checks import bits_per_dim, whole
from vaekit.evaluate.metrics import Column, Metric, Record, average
from vaekit.models import Model, Trace, exact
from vaekit.objectives import over_samples
from vaekit.registry import register
from vaekit.torchutil import evaluating, wide

ERRORS = "Reconstructions, measured"
TITLES = {"log_likelihood": "test log-likelihood", "kl": "test KL", "elbo": "test ELBO"}


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


@register("metric", "bound")
class Bound(Metric):
    """The ELBO and its two terms, the square error of E[x|z] over draws of z, and bits.

    Always with beta = 1 and without penalties.

    Args:
        samples: Monte-Carlo draws for each row.
    """

    columns = (
        Column("elbo", "bound (ELBO)", better=1, group="Bound and latent"),
        Column("log_likelihood", "log-likelihood", group="Bound and latent"),
        Column("kl", "KL", group="Bound and latent"),
        Column("bits_per_dim", "bits per dimension", decimals=3, group=""),
        Column("mse", "mean square error", decimals=4, better=-1, group=ERRORS),
        Column("implied_sigma", "sigma it implies", decimals=4, group=""),
    )

    def __init__(self, *, samples: int = 10) -> None:
        super().__init__()
        self.samples = (whole("samples", samples),)

    def update(self, trace: Trace) -> None:
        """Keeps log-likelihood, kl, ELBO and mean square error of each row, in float64."""
        log_likelihood = over_samples(wide(trace.log_likelihood))
        self.keep(log_likelihood=log_likelihood)
        if Offer.BOUND in trace.model.offers:
            kl = over_samples(wide(trace.kl))
            self.keep(kl=kl, elbo=log_likelihood - kl)
        if Offer.MEAN in trace.px.offers:
            square = (trace.x - trace.px.mean).square().flatten(trace.log_likelihood.dim())
            self.keep(mse=over_samples(wide(square).mean(-1)))

    def compute(self) -> Record:
        """Means and standard errors; None for what the model has not."""
        found: Record = {}
        for name in ("elbo", "log_likelihood", "kl", "mse"):
            values = self.row(name)
            mean, error = (None, None) if values is None else average(values)
            found |= {name: mean, f"{name}_standard_error": error}
        del found["mse_standard_error"]
        found["bits_per_dim"] = self._bits(found["elbo"])
        found["implied_sigma"] = None if found["mse"] is None else math.sqrt(found["mse"])
        return found

    def _bits(self, elbo: float | None) -> float | None:
        if elbo is None:
            return None
        return bits_per_dim(elbo, self.subject.px.space, self.subject.spec)

    def facts(self, record: Record) -> Iterator[tuple[str, str]]:
        """The ELBO and its terms, in the unit of the data."""
        unit = self.subject.spec.unit
        for name, title in TITLES.items():
            if record[name] is not None:
                error = record["elbo_standard_error"] if name == "elbo" else None
                spread = "" if error is None else f"± {error:,.3f} "
                yield title, f"{record[name]:,.3f} {spread}{unit}".replace("-", "−", 1)
        if record["bits_per_dim"] is not None:
            yield "bits per dimension", f"{record['bits_per_dim']:.3f} bits"


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
    metric = Bound(samples=samples)
    with evaluating(model), exact(model):
        for x, context in batches:
            metric.update(model(x, context, samples=(samples,)))
    if not metric.rows:
        raise VaekitError("got no rows to measure; expected at least one.")
    columns = {name: metric.row(name) for name in ("elbo", "log_likelihood", "kl", "mse")}
    found = {n: (None, None) if v is None else average(v) for n, v in columns.items()}
    return Measured(
        elbo=found["elbo"][0],
        elbo_error=found["elbo"][1],
        log_likelihood=found["log_likelihood"][0] or 0.0,
        kl=found["kl"][0],
        mse=found["mse"][0] or 0.0,
        rows=len(metric.row("log_likelihood")),  # type: ignore[arg-type]
        log_likelihood_error=found["log_likelihood"][1] or math.nan,
        kl_error=found["kl"][1],
    )
