"""What is measured of each run: on the same test rows, and on as many training rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit import evaluate
from vaekit.data import Split
from vaekit.evaluate import GradientNoise, LatentMeter, gradient_noise
from vaekit.evaluate.checks import standard_error
from vaekit.objectives import over_samples
from vaekit.report.comparison.opened import likelihood_of
from vaekit.runs.judge import Rows
from vaekit.runs.run import Run
from vaekit.torchutil import evaluating, rng

DRAWS = 10  # of z, for each row
BATCH = 100
NOISE_ROWS, NOISE_REPEATS = 128, 32

Told = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Entry:
    """A run and its numbers; nats per row of data, and None where it has no such number.

    Attributes:
        run, name: and its short name.
        log_likelihood, kl, mse: of each test row, `(N,)`; `kl` is None without a density.
        psnr, ssim: of each test image, `(N,)`: E[x|z] at z = E[z|x].
        train: the ELBO of each of as many training rows, `(M,)`.
        active, units: active latent dimensions, and how many there are.
        noise: of the gradient of its own objective on 128 training rows.
        records: of metrics.jsonl.
        likelihood: family, scale, and whether it is a likelihood: see `likelihood_of`.
    """

    run: Run
    name: str
    log_likelihood: Tensor
    kl: Tensor | None
    mse: Tensor
    psnr: Tensor | None
    ssim: Tensor | None
    train: Tensor | None
    active: int | None
    units: int | None
    noise: GradientNoise
    records: list[dict[str, Any]]
    likelihood: tuple[str, str, bool]

    @property
    def elbo(self) -> Tensor | None:
        """Of each test row, `(N,)`, at beta = 1."""
        return None if self.kl is None else self.log_likelihood - self.kl

    @property
    def gap(self) -> tuple[float, float] | None:
        """The mean ELBO of training rows less that of test rows, and its standard error."""
        if self.elbo is None or self.train is None:
            return None
        error = math.hypot(standard_error(self.train), standard_error(self.elbo))
        return (self.train.mean() - self.elbo.mean()).item(), error

    @property
    def speed(self) -> float | None:
        """Images per second of training, the median over the epochs."""
        speeds = [r["images_per_second"] for r in self.records if r.get("images_per_second")]
        return statistics.median(speeds) if speeds else None

    @property
    def parameters(self) -> int:
        """How many numbers the model learns."""
        return sum(p.numel() for p in self.run.model.parameters())

    def last(self, name: str) -> float | None:
        """Of the last epoch."""
        value = self.records[-1].get(name) if self.records else None
        return value if isinstance(value, int | float) else None


def measure(run: Run, name: str, *, limit: int, seed: int, data_dir: str | None) -> Entry:
    """The numbers of a run on up to `limit` test rows, evenly spread; the draws are of `seed`."""
    data = run.dataset(data_dir)
    test = Rows(run, data.test, limit, None)
    meter = LatentMeter()
    log_likelihood, kl, mse = _terms(run, test, seed, meter)
    psnr, ssim = _pictures(run, test)
    latent = meter.latent()
    return Entry(
        run,
        name,
        log_likelihood=log_likelihood,
        kl=kl,
        mse=mse,
        psnr=psnr,
        ssim=ssim,
        train=_elbo(run, data.train, test.count, seed) if kl is not None else None,
        active=None if latent is None else latent.active_units,
        units=None if latent is None else len(latent.variance),
        noise=_noise(run, data.train, seed),
        records=run.folder.records(),
        likelihood=likelihood_of(run),
    )


def _terms(
    run: Run, rows: Rows, seed: int, meter: LatentMeter | None = None
) -> tuple[Tensor, Tensor | None, Tensor]:
    """log p(x|z), kl and mean square error of each row, `(N,)`, in float64."""
    columns: list[list[Tensor]] = []
    with rng(seed, run.device, None), evaluating(run.model):
        for x, given in rows.batches("elbo", BATCH):
            trace = run.model(x, given, samples=(DRAWS,))
            if meter is not None:
                meter.add(trace)
            error = (trace.x - trace.px.mean).square().flatten(2).mean(2)
            scored = (trace.log_likelihood, trace.kl if _bounded(run) else error, error)
            columns.append([over_samples(part.double()).cpu() for part in scored])
    log_likelihood, kl, mse = (torch.cat(column) for column in zip(*columns, strict=True))
    return log_likelihood, kl if _bounded(run) else None, mse


def _bounded(run: Run) -> bool:
    return "density" in run.model.offers


def _elbo(run: Run, split: Split, rows: int, seed: int) -> Tensor:
    log_likelihood, kl, _ = _terms(run, Rows(run, split, rows, None), seed)
    assert kl is not None
    return log_likelihood - kl


def _pictures(run: Run, rows: Rows) -> tuple[Tensor | None, Tensor | None]:
    """PSNR and SSIM of each test image, `(N,)`."""
    if len(run.spec.shape) != 3:
        return None, None
    span = run.spec.values.high - run.spec.values.low
    psnr, ssim = (torch.cat(column).cpu() for column in zip(*_alike(run, rows, span), strict=True))
    return psnr, ssim


def _alike(run: Run, rows: Rows, span: float) -> Iterator[tuple[Tensor, Tensor]]:
    for x, given in rows.batches("reconstruction"):
        made = run.model.reconstruct(x, given)
        yield evaluate.psnr(x, made, span), evaluate.ssim(x, made, span)


def _noise(run: Run, split: Split, seed: int) -> GradientNoise:
    with rng(seed, run.device, None):  # rows may be draws themselves
        (batch,) = Rows(run, split, NOISE_ROWS, None).batches("gradient", NOISE_ROWS)
    x, given = batch
    return gradient_noise(run.vae, run.objective, x, given, repeats=NOISE_REPEATS, seed=seed)
