"""log p(x) by importance sampling (Burda et al., arXiv 1509.00519).

Shapes: `S` draws, `B` batch; nats, added up in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit.distributions import offering
from vaekit.errors import VaekitError
from vaekit.evaluate.checks import (
    bits_per_dim,
    is_likelihood,
    refuse_gaps,
    refuse_no_density,
    refuse_not_a_number,
    standard_error,
    whole,
)
from vaekit.evaluate.metrics import Column, Line, Record, Study, Subject
from vaekit.models import LatentModel, Site, exact
from vaekit.registry import register
from vaekit.torchutil import evaluating, in_order

CACHE, DEVICE = 2**23, 2**24  # bytes of decoder output at a time: fewer cost more calls
LEAST = 2**10  # bytes of one decoding: hidden layers need memory too


@dataclass(frozen=True, eq=False)
class Likelihood:
    """Estimates of log p(x) from S draws, and what S / 2 of them give: `(B,)` each.

    Both are lower bounds in expectation. `at_half` is the mean of the bounds of the first and of
    the second half of the draws (None for one draw): what it lacks shows the bias that is left.
    """

    log_p: Tensor
    at_half: Tensor | None
    samples: int


@dataclass(frozen=True)
class NLL:
    """The mean of -log p(x) over a data set, nats per example.

    Attributes:
        mean: an upper bound in expectation.
        standard_error: of the mean over the rows; nan for one row.
        at_half: the mean with half of the draws, which is higher; None for one draw.
        samples: draws for each row.
        rows: rows.
    """

    mean: float
    standard_error: float
    at_half: float | None
    samples: int
    rows: int


def log_likelihood(
    model: LatentModel,
    x: Tensor,
    context: Tensor | None = None,
    *,
    samples: int = 5000,
    mask: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """The importance-sampled log p(x), `(B,)`: log 1/S sum_s p(x, z_s) / q(z_s|x).

    With exactly S draws for each row, each row encoded once; a lower bound in expectation that
    tightens as S grows (Burda et al., arXiv 1509.00519).

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
) -> Likelihood:
    """`log_likelihood` with what half of the draws give.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> x = torch.randn(50, 3, dtype=torch.float64)
        >>> model = LinearGaussian.fit(x, latent=2).vae(variance=torch.ones(2).double())
        >>> found = importance_sampled(model, x, samples=64)
        >>> bool(found.at_half.mean() < found.log_p.mean())
        True
    """
    refuse_no_density(model, "log p(x)")
    if not model.gaps:
        refuse_gaps("x", x if mask is None else x[(mask != 0).expand_as(x)])
    samples, rows = whole("samples", samples), whole("rows of x", len(x))
    step, count = rows_and_draws(model, rows, samples, chunk)
    # glibc keeps what is freed up to the largest block that was: else each piece costs page faults.
    torch.empty(31 << 20, dtype=torch.uint8)
    halves = x.new_full((2, rows), -math.inf, dtype=torch.float64)
    threads = torch.get_num_threads() if x.device.type == "cpu" else 1
    with evaluating(model), exact(model):
        pieces = _pieces(model, x, context, mask, samples, step, count)
        for piece, log_sum in in_order(_Piece.log_sum, pieces, threads, alone=True):
            seen = halves[piece.half, piece.rows]
            torch.logaddexp(seen, log_sum, out=seen)
    refuse_not_a_number("log p(x)", halves)
    log_p = halves.logsumexp(0) - math.log(samples)
    sizes = halves.new_tensor([[samples // 2], [samples - samples // 2]])
    at_half = (halves - sizes.log()).mean(0) if samples > 1 else None
    return Likelihood(log_p, at_half, samples)


@dataclass(frozen=True, eq=False)
class _Piece:
    """Draws for some rows, to be decoded and weighed."""

    model: LatentModel
    x: Tensor
    sites: tuple[Site, ...]
    state: Any
    context: Tensor | None
    mask: Tensor | None
    half: int
    rows: slice

    def log_sum(self) -> tuple[_Piece, Tensor]:
        """log sum_s w_s over its draws, (B,)."""
        trace = self.model.scored(self.x, self.sites, self.state, self.context, self.mask)
        return self, trace.log_weight.double().logsumexp(0)


def _pieces(
    model: LatentModel,
    x: Tensor,
    context: Tensor | None,
    mask: Tensor | None,
    samples: int,
    step: int,
    count: int,
) -> Iterator[_Piece]:
    """The draws of the first half of `samples` and of the second, for `step` rows at a time."""
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        some, seen = (None if v is None else v[rows] for v in (context, mask))
        part, seen = model.seen(x[rows], seen)
        state = model.infer(part, some, seen)
        for half, draws in enumerate((samples // 2, samples - samples // 2)):
            for few in _split(draws, count):
                sites = model.draw(state, (few,))
                yield _Piece(model, part, sites, state, some, seen, half, rows)


def _split(count: int, most: int) -> Iterator[int]:
    for start in range(0, count, most):
        yield min(most, count - start)


def rows_and_draws(
    model: LatentModel, rows: int, samples: int, chunk: int | None = None
) -> tuple[int, int]:
    """How many rows and draws to decode at a time: as few rows as fill the chunk.

    Draws come in sixteens, so that a generator gives the same ones whatever the chunk.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> model = LinearGaussian.fit(torch.randn(50, 3, dtype=torch.float64), latent=1).vae()
        >>> rows_and_draws(model, 50, 5000, chunk=640), rows_and_draws(model, 50, 16, chunk=640)
        ((1, 640), (40, 16))
    """
    if chunk is None:
        zero = next(model.parameters(), torch.zeros(()))
        px = getattr(getattr(model, "likelihood", None), "family", None)
        size = math.prod(px.param_shape if px else model.x_shape) * zero.element_size()
        chunk = max(1, (CACHE if zero.device.type == "cpu" else DEVICE) // max(size, LEAST))
    chunk = whole("chunk", chunk)
    draws = min(samples, chunk)
    if draws > 16:
        draws -= draws % 16
    return min(rows, max(1, chunk // draws)), draws


def nll(
    model: LatentModel,
    batches: Iterable[tuple[Tensor, Tensor | None]],
    *,
    samples: int = 5000,
    chunk: int | None = None,
) -> NLL:
    """The mean of -log p(x) over a data set, by importance sampling, with its standard error.

    Raises:
        VaekitError: as `log_likelihood`; for no rows.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> x = torch.randn(50, 3, dtype=torch.float64)
        >>> oracle = LinearGaussian.fit(x, latent=1)
        >>> found = nll(oracle.vae(), [(x[:30], None), (x[30:], None)], samples=10)
        >>> found.rows, bool(abs(found.mean + oracle.log_prob(x).mean()) < 1e-9)
        (50, True)
    """
    found = [importance_sampled(model, x, g, samples=samples, chunk=chunk) for x, g in batches]
    if not found:
        raise VaekitError("got no rows to measure; expected at least one.")
    log_p = torch.cat([f.log_p for f in found])
    halves = [f.at_half for f in found if f.at_half is not None]
    return NLL(
        mean=-log_p.mean().item(),
        standard_error=standard_error(log_p),
        at_half=-torch.cat(halves).mean().item() if halves else None,
        samples=samples,
        rows=len(log_p),
    )


def refuse_unnormalised(subject: Subject) -> str | None:
    """Why a model has no log p(x) of these data; None where it has."""
    if is_likelihood(subject.px.space, subject.spec.kind):
        return None
    return (
        f"{type(subject.px).__name__} does not normalise over {subject.spec.kind} values, so this "
        "model has no likelihood: train with --binarise dynamic, or with another --likelihood, as "
        "gaussian"
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
        self.draws = whole("samples", samples)

    def suits(self, subject: Subject) -> str | None:
        """What does not normalise has no likelihood."""
        return refuse_unnormalised(subject)

    def study(self, subject: Subject) -> Record:
        """See `NLL`; with bits per dimension."""
        size = max(1, min(500, 500_000 // self.draws))  # a batch is what progress is told of
        model: Any = subject.model
        found = nll(model, subject.rows.batches("nll", size), samples=self.draws)
        bits = bits_per_dim(-found.mean, subject.px.space, subject.spec)
        return {**asdict(found), "bits_per_dim": bits}

    def lines(self, record: Record) -> Iterator[Line]:
        """The mean, with half of the draws, and in bits."""
        draws = f"{record['samples']} draws for each row"
        yield "nll", record["mean"], record["standard_error"], draws
        if record["at_half"] is not None:
            yield "  with half of them", record["at_half"], None, ""
        if record["bits_per_dim"] is not None:
            yield "  bits_per_dim", record["bits_per_dim"], None, ""
