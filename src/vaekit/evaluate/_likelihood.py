"""The ELBO and its parts, and log p(x) by importance sampling.

Shapes: `S` draws, `B` batch; nats, added up in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from vaekit._torchutil import evaluating, in_order, wide
from vaekit.distributions import Offer, offering
from vaekit.errors import at_least
from vaekit.evaluate import _checks as checks
from vaekit.evaluate._metrics import (
    Batch,
    Column,
    Line,
    Metric,
    Record,
    Study,
    Subject,
    cut,
    in_units,
    log_volume,
)
from vaekit.models import LatentModel, Model, Trace, exact, rows_at_once
from vaekit.objectives import over_samples
from vaekit.registry import register

ERRORS = "Reconstructions, measured"
TITLES = {"log_likelihood": "test log-likelihood", "kl": "test KL", "elbo": "test ELBO"}


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
        self.samples = (checks.draws_of("samples", samples, 1),)

    def update(self, trace: Trace) -> None:
        """Store log-likelihood, kl, ELBO and mean square error of each row, in float64."""
        log_likelihood = over_samples(wide(trace.log_likelihood)) - log_volume(trace, self.scale)
        self.keep(log_likelihood=log_likelihood)
        if Offer.BOUND in trace.model.offers:
            kl = over_samples(wide(trace.kl))
            self.keep(kl=kl, elbo=log_likelihood - kl)
        if Offer.MEAN in trace.px.offers:
            apart = in_units(trace.x - trace.px.mean, self.scale)
            square = wide(apart.square().flatten(trace.log_likelihood.dim()))
            if trace.mask is None:
                self.keep(mse=over_samples(square.mean(-1)))
            else:
                seen = wide(trace.mask.expand_as(trace.x).flatten(1))
                self.keep(mse=over_samples((square * seen).sum(-1) / seen.sum(-1)))

    def means(self, suffix: str) -> Record:
        """Return means and, with this suffix, standard errors; None for what there is not."""
        record: Record = {}
        for name in ("elbo", "log_likelihood", "kl", "mse"):
            values = self.row(name)
            mean, error = (None, None) if values is None else checks.average(values, self.groups)
            record |= {name: mean, f"{name}{suffix}": error}
        del record[f"mse{suffix}"]
        return record

    def compute(self) -> Record:
        """Return means, standard errors, bits, and the scale that the square error implies."""
        record = self.means("_standard_error")
        elbo, mse, of = record["elbo"], record["mse"], self.subject
        bits = None if elbo is None else checks.bits_per_dim(elbo, of.px.space, of.spec)
        sigma = None if mse is None else math.sqrt(mse)
        return {**record, "bits_per_dim": bits, "implied_sigma": sigma}

    def facts(self, record: Record) -> Iterator[tuple[str, str]]:
        """Yield the ELBO and its terms, in the unit of the data."""
        unit = self.subject.spec.unit
        for name, title in TITLES.items():
            if record[name] is not None:
                error = record["elbo_standard_error"] if name == "elbo" else None
                spread = "" if error is None else f"± {error:,.3f} "
                yield title, f"{record[name]:,.3f} {spread}{unit}".replace("-", "−", 1)
        if record["bits_per_dim"] is not None:
            yield "bits per dimension", f"{record['bits_per_dim']:.3f} bits"


def measure(
    model: Model, batches: Iterable[Batch], *, samples: int = 1, groups: Tensor | None = None
) -> checks.Numbers:
    """Compute the ELBO, its two terms and the pixel error over a data set, at `samples` draws.

    The draws are draws in eval mode too: this is an ELBO, not the loss of a decoded mean; always
    with beta = 1 and without penalties. `groups` are those of all rows: see `standard_error`.

    Returns:
        Means, nats per example, None where the model has no such number: `elbo`, `log_likelihood`,
        `kl`, `mse`, the mean square of x - E[x|z] per element, over draws of z; `elbo_error`,
        `log_likelihood_error`, `kl_error`, their standard errors, nan for one example; `rows`.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> x = torch.randn(50, 3, dtype=torch.float64)
        >>> model = LinearGaussian.fit(x, latent=1).vae()
        >>> result = measure(model, [(x[:30], None), (x[30:], None)], samples=5)
        >>> result.rows, abs(result.elbo - result.log_likelihood + result.kl) < 1e-9
        (50, True)
    """
    metric = Bound(samples=samples)
    metric.groups = groups
    with evaluating(model), exact(model):
        for x, context in cut(model, batches, samples):
            metric.update(model(x, context, samples=metric.samples))
    rows = len(torch.cat(checks.some(metric.rows.get("log_likelihood", []))))
    return checks.Numbers(metric.means("_error"), rows=rows)


def log_likelihood(
    model: LatentModel,
    x: Tensor,
    context: Tensor | None = None,
    *,
    samples: int = 5000,
    mask: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Estimate log p(x), `(B,)`, by importance sampling: log 1/S sum_s p(x, z_s) / q(z_s|x).

    It takes exactly S draws for each row, and encodes each row once; it is a lower bound in
    expectation that tightens as S grows.

    Args:
        model: a model whose posterior has a density; it is used in eval mode.
        x: `(B, *X)`.
        context: what the model is conditioned on, `(B, *G)`.
        samples: S.
        mask: 0 where x is not observed: log p of what is.
        chunk: decodings at a time, which bounds the memory; by default by the decoder's output.

    Raises:
        VaekitError: for no rows or draws, a posterior without a density, or numbers that are not
            finite in x.

    References:
        Burda, Grosse and Salakhutdinov 2016, Importance weighted autoencoders.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> x = torch.randn(50, 3, dtype=torch.float64)
        >>> oracle = LinearGaussian.fit(x, latent=1)
        >>> estimate = log_likelihood(oracle.vae(), x, samples=10)
        >>> bool((estimate - oracle.log_prob(x)).abs().max() < 1e-9)
        True
    """
    return importance_sampled(model, x, context, samples=samples, mask=mask, chunk=chunk).log_p


def importance_sampled(
    model: LatentModel,
    x: Tensor,
    context: Tensor | None = None,
    *,
    samples: int = 5000,
    mask: Tensor | None = None,
    chunk: int | None = None,
) -> checks.Numbers:
    """Return `log_likelihood` with what half of the draws give.

    Returns:
        `log_p` and `at_half`, `(B,)`, lower bounds in expectation, and `samples`. `at_half` is the
        mean of the bounds of the first and of the second half of the draws (None for one draw):
        how much lower it is indicates the bias that is left.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> x = torch.randn(50, 3, dtype=torch.float64)
        >>> model = LinearGaussian.fit(x, latent=2).vae(variance=torch.ones(2).double())
        >>> result = importance_sampled(model, x, samples=64)
        >>> bool(result.at_half.mean() < result.log_p.mean())
        True
    """
    checks.refuse_no_density(model, "log p(x)")
    if not model.gaps:
        checks.refuse_gaps("x", x if mask is None else x[(mask != 0).expand_as(x)])
    samples, rows = checks.draws_of("samples", samples, 1), at_least("len(x)", len(x), 1)
    size = rows_and_draws(model, rows, samples, chunk)
    # glibc keeps what is freed up to the largest block that was: else each piece costs page faults.
    torch.empty(31 << 20, dtype=torch.uint8)
    halves = wide(x.new_full((2, rows), -math.inf))
    threads = torch.get_num_threads() if x.device.type == "cpu" else 1

    def log_sum(piece: tuple[Any, Any]) -> tuple[Tensor, Tensor]:
        where, draws = piece
        return halves[where], wide(model.scored(*draws).log_weight).logsumexp(0)

    with evaluating(model), exact(model):
        pieces = _pieces(model, (x, context, mask), samples, size)
        for seen, added in in_order(log_sum, pieces, threads, alone=True):
            torch.logaddexp(seen, added, out=seen)
    checks.refuse_not_a_number("log p(x)", halves)
    log_p = halves.logsumexp(0) - math.log(samples)
    sizes = halves.new_tensor([[samples // 2], [samples - samples // 2]])
    at_half = (halves - sizes.log()).mean(0) if samples > 1 else None
    return checks.Numbers(log_p=log_p, at_half=at_half, samples=samples)


def _pieces(
    model: LatentModel, inputs: Sequence[Any], samples: int, size: tuple[int, int]
) -> Iterator[tuple[Any, Any]]:
    """Yield draws of the first half of `samples` and of the second, for some rows at a time.

    Each comes as its half and rows, and what `scored` takes to weigh it.
    """
    step, count = size
    for start in range(0, len(inputs[0]), step):
        rows = slice(start, start + step)
        some: list[Any] = [None if v is None else v[rows] for v in inputs]
        x, context, mask = some
        x, mask = model.seen(x, mask)
        state = model.infer(x, context, mask)
        for half, draws in enumerate((samples // 2, samples - samples // 2)):
            for done in range(0, draws, count):
                sites = model.draw(state, (min(count, draws - done),))
                yield (half, rows), (x, sites, state, context, mask)


def rows_and_draws(
    model: LatentModel, rows: int, samples: int, chunk: int | None = None
) -> tuple[int, int]:
    """Return how many rows and draws to decode at a time: as few rows as fill the chunk.

    Draws come in sixteens, so that a generator gives the same ones whatever the chunk.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> model = LinearGaussian.fit(torch.randn(50, 3, dtype=torch.float64), latent=1).vae()
        >>> rows_and_draws(model, 50, 5000, chunk=640), rows_and_draws(model, 50, 16, chunk=640)
        ((1, 640), (40, 16))
    """
    chunk = rows_at_once(model) if chunk is None else at_least("chunk", chunk, 1)
    draws = min(samples, chunk)
    if draws > 16:
        draws -= draws % 16
    return min(rows, max(1, chunk // draws)), draws


def nll(
    model: LatentModel,
    batches: Iterable[Batch],
    *,
    samples: int = 5000,
    chunk: int | None = None,
    groups: Tensor | None = None,
) -> checks.Numbers:
    """Estimate the mean of -log p(x) over a data set, by importance sampling.

    `groups` are those of all rows: see `standard_error`.

    Returns:
        `mean`, nats per example, an upper bound in expectation; `standard_error`, over the rows,
        nan for one row; `at_half`, the mean with half of the draws, which is higher, None for one
        draw; `samples`, draws for each row; and `rows`.

    Raises:
        VaekitError: as `log_likelihood`; for no rows.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> x = torch.randn(50, 3, dtype=torch.float64)
        >>> oracle = LinearGaussian.fit(x, latent=1)
        >>> result = nll(oracle.vae(), [(x[:30], None), (x[30:], None)], samples=10)
        >>> result.rows, bool(abs(result.mean + oracle.log_prob(x).mean()) < 1e-9)
        (50, True)
    """
    options: Any = {"samples": samples, "chunk": chunk}
    parts = checks.some(importance_sampled(model, *batch, **options) for batch in batches)
    log_p = torch.cat([part.log_p for part in parts])
    halves = [part.at_half for part in parts if part.at_half is not None]
    return checks.Numbers(
        mean=-log_p.mean().item(),
        standard_error=checks.standard_error(log_p, groups),
        at_half=-torch.cat(halves).mean().item() if halves else None,
        samples=samples,
        rows=len(log_p),
    )


def refuse_unnormalized(subject: Subject) -> str | None:
    """Return why a model has no log p(x) of these data; None where it has one."""
    if checks.is_likelihood(subject.px.space, subject.spec.kind):
        return None
    binary = "with `binarize=dynamic`, or " if subject.px.space.normalized else ""
    return (
        f"{type(subject.px).__name__} does not normalize over {subject.spec.kind} values, so this "
        f"model has no likelihood: train {binary}with another `likelihood`, as gaussian"
    )


@register("metric", "nll")
class NegativeLogLikelihood(Study):
    """-log p(x) by importance sampling, and what half of the draws give, which shows the bias.

    Args:
        samples: draws for each row.
    """

    needs = offering("density")
    columns = (Column("mean", "nll", better=-1),)

    def __init__(self, *, samples: int = 5000) -> None:
        super().__init__()
        self.draws = checks.draws_of("samples", samples, 1)

    def suits(self, subject: Subject) -> str | None:
        """Refuse what does not normalize: it has no likelihood."""
        return refuse_unnormalized(subject)

    def study(self, subject: Subject) -> Record:
        """Return the numbers of `nll`, and bits per dimension."""
        size = max(1, min(500, 500_000 // self.draws))  # progress is reported by batches
        model: Any = subject.model
        rows = subject.rows.batches("nll", size)
        record = nll(model, rows, samples=self.draws, groups=self.groups)
        bits = checks.bits_per_dim(-record.mean, subject.px.space, subject.spec)
        return {**record, "bits_per_dim": bits}

    def lines(self, record: Record) -> Iterator[Line]:
        """Yield the mean, with half of the draws, and in bits."""
        draws = f"{record['samples']} draws for each row"
        yield "nll", record["mean"], record["standard_error"], draws
        if record["at_half"] is not None:
            yield "  with half of them", record["at_half"], None, ""
        if record["bits_per_dim"] is not None:
            yield "  bits_per_dim", record["bits_per_dim"], None, ""
