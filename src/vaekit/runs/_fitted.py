"""The prior fitted to the codes of a trained model, which stands beside the model's own.

A VAE's codes seldom fill p(z): between them are places that the decoder has never seen, and draws
of p(z) fall there. A density fitted to the codes of the training rows does without them. Bounds
and likelihoods stay with p(z).

References:
    Dai and Wipf 2019, Diagnosing and enhancing VAE models, arXiv 1903.05789.
    Ghosh et al. 2020, From variational to deterministic autoencoders, arXiv 1903.12436.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from vaekit._io import note, parsed, write
from vaekit._safetensors import read_tensors, safetensors_bytes
from vaekit._torchutil import evaluating, rng, wide
from vaekit.data import Dataset, Split, generator, pick, spread
from vaekit.distributions import COMPONENTS, GaussianMixture, Offer, choose_mixture
from vaekit.errors import VaekitError, same_shape
from vaekit.evaluate import average
from vaekit.models import LatentModel, Model, exact, pieces

if TYPE_CHECKING:
    from vaekit.runs._run import Run

FITTED_FILE = "fitted.safetensors"
ROWS, HELD_OUT = 4000, 1000
NUMBERS = {"gain": float, "error": float, "rows": int, "held_out": int, "groups": int}
AT_ONCE = 250  # rows of x in memory

Rows = tuple[Tensor, Tensor | None]  # x, and what a model is given beside it


@dataclass(frozen=True, eq=False)
class FittedPrior:
    """A mixture of Gaussians on the codes of training rows.

    Attributes:
        density: over z.
        gain: how many nats more it gives held-out codes than p(z) does, on average.
        error: the standard error of that over these codes.
        rows: of training that it was fitted to.
        held_out: rows of which the held-out codes are.
        groups: of these rows, over which the error then is; 0 where they have none.
    """

    density: GaussianMixture
    gain: float
    error: float
    rows: int
    held_out: int
    groups: int = 0

    @property
    def better(self) -> bool:
        """Return whether it suits the codes better than p(z), by more than two standard errors."""
        return self.gain > 2 * self.error

    @property
    def components(self) -> int:
        """Return how many Gaussians it has."""
        return len(self.density.log_weights)

    def __str__(self) -> str:
        count = (
            "a Gaussian" if self.components == 1 else f"a mixture of {self.components} Gaussians"
        )
        return (
            f"fitted to the codes: {count}, under which held-out codes are {self.gain:.2f} ± "
            f"{self.error:.2f} nats more likely than under p(z), ± over {self.over}"
        )

    @property
    def over(self) -> str:
        """Return over what the error is."""
        return f"{self.groups:,} groups" if self.groups else f"{self.held_out:,} codes"

    def to_bytes(self, key: str) -> bytes:
        """Return the content of its file; `key` says of which weights it is."""
        numbers = {name: getattr(self, name) for name in NUMBERS}
        parts = {name: getattr(self.density, name) for name in self.density.parameters}
        return safetensors_bytes(
            {name: part.contiguous() for name, part in parts.items()},
            {"weights": key, "numbers": json.dumps(numbers)},
        )

    @classmethod
    def from_bytes(cls, content: bytes, key: str, shape: tuple[int, ...]) -> FittedPrior | None:
        """Return what was written, of codes of this shape; None for other weights, and damage."""
        try:
            parts, known = read_tensors(content, Path(FITTED_FILE))
            count, size = len(parts["log_weights"]), math.prod(shape)
            shapes = ((count,), (count, *shape), (count, size, size))
            numbers, whole = parsed(known["numbers"]), GaussianMixture.parameters
            for name, expected in zip(whole, shapes, strict=True):
                same_shape(name, parts[name].shape, expected)
            real = all(p.is_floating_point() and p.isfinite().all() for p in parts.values())
            values = {n: kind(numbers[n]) for n, kind in NUMBERS.items() if n in numbers}
            density = GaussianMixture(*(parts[name].float() for name in whole))
            return cls(density, **values) if real and known["weights"] == key else None
        except (ValueError, KeyError, TypeError, OverflowError):
            return None


def weights_key(model: Model) -> str:
    """Return the sha256 of the weights, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def takes_fitted(model: Model) -> bool:
    """Return whether a density can be fitted to its codes: one latent of reals, with a p(z)."""
    if not {Offer.DRAWS, Offer.ONE_SITE} <= model.offers or Offer.CODES in model.offers:
        return False
    prior = getattr(model, "prior", None)
    return prior is not None and prior.space.kind == "reals" and Offer.DENSITY in prior.offers


def fit_prior(
    model: LatentModel,
    train: Iterable[Rows],
    held_out: Iterable[Rows],
    components: Sequence[int] = COMPONENTS,
    seed: int = 0,
    groups: Tensor | None = None,
) -> FittedPrior | None:
    """Fit a mixture to a draw of q(z|x) for each row; None for too few rows, and codes of NaN.

    Args:
        model: as `takes_fitted` says.
        train, held_out: batches of canonical x, and what the model is conditioned on.
        components: the numbers of Gaussians to choose from.
        seed: of the draws and of the fit.
        groups: of the held-out rows: see `standard_error`.
    """
    z, _ = _draw_codes(model, train, seed)
    others, log_p = _draw_codes(model, held_out, seed + 1)
    if len(z) < 2 or len(others) < 2 or not (z.isfinite().all() and others.isfinite().all()):
        return None
    with rng(seed, threads=1):  # matrices so small that threads would wait for each other
        density = choose_mixture(z.flatten(1), others.flatten(1), components, seed=seed)
    if density is None:
        return None
    gains = wide(density.log_prob(others.flatten(1)) - log_p)
    loc = density.loc.view(-1, *z.shape[1:])
    density = GaussianMixture(density.log_weights, loc, density.tril)
    gain, error = average(gains, groups)
    count = 0 if groups is None else len(groups.unique())
    return FittedPrior(density, gain, error, len(z), len(others), count)


def _draw_codes(model: LatentModel, batches: Iterable[Rows], seed: int) -> tuple[Tensor, Tensor]:
    """Return a draw of q(z|x) for each row, `(N, *Z)`, and log p(z), `(N,)`, on the CPU."""
    device = next(model.parameters()).device
    zs, log_ps = [torch.empty(0)], [torch.empty(0)]
    with rng(seed, device), torch.no_grad(), evaluating(model), exact(model):
        for x, context in batches:
            context = None if context is None else context.to(device)
            for some, given in pieces(model, x.to(device), context):
                seen, mask = model.seen(some)
                (site,) = model.draw(model.infer(seen, given, mask), (1,))
                zs.append(site.z[0].float().cpu())
                log_ps.append(site.log_p[0].float().cpu())
    return torch.cat(zs[1:] or zs), torch.cat(log_ps)


def rows_to_fit(data: Dataset, rows: int = ROWS, held_out: int = HELD_OUT) -> tuple[Split, Split]:
    """Return training rows to fit to, and rows to choose by, evenly spread.

    Those to choose by are validation rows; where there are too few, every fifth of the others.
    """
    train, validation = data.train, data.validation
    some = train.take(spread(len(train), rows))
    if validation is not None and 5 * len(validation) >= min(held_out, len(some)):
        return some, validation.take(spread(len(validation), held_out))
    index = torch.arange(len(some))
    return some.take(index[index % 5 != 0]), some.take(index[index % 5 == 0])


def fitted_prior(run: Run, data: Dataset | None = None) -> FittedPrior | None:
    """Return the prior fitted to the codes of a run's model; it is fitted where none is kept.

    None for models that `takes_fitted` refuses, for too few rows, and where the data are not found.

    Args:
        run: of any model.
        data: the data set, its rows as they were in training; read by default.
    """
    if not takes_fitted(run.model):
        return None
    key = weights_key(run.model)
    if key not in run.fitted_priors:
        content, (shape,) = run.folder.read(FITTED_FILE), run.latent_shapes
        known = None if content is None else FittedPrior.from_bytes(content, key, shape)
        run.fitted_priors[key] = known or _fit(run, data)
    return run.fitted_priors[key]


def _fit(run: Run, data: Dataset | None) -> FittedPrior | None:
    try:
        data = run.dataset() if data is None else data
    except VaekitError as error:
        note(f"no prior is fitted to the codes, and samples are of p(z): {error}")
        return None
    seed = run.config.training.seed
    parts = rows_to_fit(data)
    train, held_out = (fixed_batches(split, seed) for split in parts)
    how: Any = {"seed": seed, "groups": parts[1].groups}
    return fit_prior(cast(LatentModel, run.model), train, held_out, **how)


def keep_fitted(run: Run, data: Dataset) -> None:
    """Write `fitted.safetensors` beside the model, in a run folder."""
    fitted = fitted_prior(run, data)
    if fitted is not None and run.path.is_dir():
        write(run.path / FITTED_FILE, fitted.to_bytes(weights_key(run.model)))


def fixed_batches(split: Split, seed: int) -> Iterator[Rows]:
    """Yield canonical x of a few rows at a time, the same noise each time, and their context."""
    noise = generator(seed, "fitted")
    for index in torch.arange(len(split)).split(AT_ONCE):
        x = split.values(pick(split.images, index), noise)
        yield x, None if split.context is None else split.context[index].float()
