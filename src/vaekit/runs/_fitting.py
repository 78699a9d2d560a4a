"""How a prior is fitted to the codes of a trained model, and kept beside it: see `FittedPrior`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from vaekit._io import note, parsed, write
from vaekit._safetensors import read_tensors
from vaekit._torchutil import evaluating, rng, wide
from vaekit.data import Dataset, Split, generator, pick, spread
from vaekit.distributions import Offer
from vaekit.errors import VaekitError
from vaekit.evaluate import average
from vaekit.models import LatentModel, exact, pieces
from vaekit.registry import Spec, checked, describe, make, text
from vaekit.runs._fitted import FITTED_FILE, FittedPrior, takes_fitted, takes_mixture, weights_key

if TYPE_CHECKING:
    from vaekit.runs._run import Run
    from vaekit.training import Fit, OnEpoch

ROWS, HELD_OUT = 20_000, 1000  # training rows for a prior, and those that it is chosen by
AT_ONCE = 250  # rows of x in memory

Rows = tuple[Tensor, Tensor | None]  # x, and what a model is given beside it


def fit_prior(
    model: LatentModel,
    train: Iterable[Rows],
    held_out: Iterable[Rows],
    prior: str | Spec = "mixture",
    seed: int = 0,
    groups: Tensor | None = None,
    on_epoch: OnEpoch | None = None,
    classes: int = 0,
) -> FittedPrior | None:
    """Fit a prior to a draw of q(z|x) for each row; None for too few rows, and codes of NaN.

    Args:
        model: as `takes_fitted` says.
        train, held_out: batches of canonical x, and what the model is conditioned on.
        prior: how it is fitted, a part of the kind "density".
        seed: of the draws and of the fit.
        groups: of the held-out rows: see `standard_error`.
        on_epoch: is told the epoch, of how many, and log p of held-out codes.
        classes: how many labels there are, of which what the model is conditioned on begins with
            the one-hot; 0 for none.
    """
    from vaekit.training import Classes

    spec, space = checked("density", prior), cast(Any, model).prior.space
    asked = describe("density", spec["name"])["given"]
    kind = "codes" if space.kind == "codes" else "z"
    if kind not in asked:
        raise VaekitError(
            f"the codes of this model are {space}, to which no {spec['name']} can be fitted: take "
            "another prior, of `vaekit parts density`."
        )
    z, _, labels = _draw_codes(model, train, seed, classes)
    others, log_p, held = _draw_codes(model, held_out, seed + 1, classes)
    if len(z) < 2 or len(others) < 2 or not (z.isfinite().all() and others.isfinite().all()):
        return None
    given = {kind: z, "held_out": others, "seed": seed, "on_epoch": on_epoch, "space": space}
    given["classes"] = Classes(labels, held, classes, groups) if classes else None
    makers = {name: lambda value=value: value for name, value in given.items()}
    fit: Fit | None = make("density", spec, makers)
    if fit is None:
        return None
    count = 0 if groups is None else len(groups.unique())
    gain = error = None
    if log_p is not None:
        gain, error = average(wide(fit.log_p - log_p), groups)
    counts = len(z), len(others), count
    return FittedPrior(fit.prior.eval(), spec, gain, error, *counts, fit.by_label)


def _draw_codes(
    model: LatentModel, batches: Iterable[Rows], seed: int, classes: int
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return a draw of q(z|x) for each row, `(N, *Z)`, log p(z) and labels, `(N,)`, on the CPU."""
    scored = Offer.DRAWS in model.offers
    device = next(model.parameters()).device
    zs, log_ps, labels = list[Tensor](), [torch.empty(0)], [torch.empty(0).long()]
    with rng(seed, device), torch.no_grad(), evaluating(model), exact(model):
        for x, context in batches:
            context = None if context is None else context.to(device)
            if context is not None and classes:
                labels.append(context[:, :classes].argmax(1).cpu())
            for some, given in pieces(model, x.to(device), context):
                seen, mask = model.seen(some)
                (site,) = model.draw(model.infer(seen, given, mask), (1,))
                z = site.z[0].cpu()
                zs.append(z.float() if z.is_floating_point() else z)
                if scored:
                    log_ps.append(site.log_p[0].float().cpu())
    log_p = torch.cat(log_ps) if scored else None
    return torch.cat(zs or [torch.empty(0)]), log_p, torch.cat(labels)


def rows_to_fit(data: Dataset, rows: int = ROWS, held_out: int = HELD_OUT) -> tuple[Split, Split]:
    """Return training rows to fit to, and rows to choose by, evenly spread.

    Those to choose by are validation rows; where there are too few, every fifth of the others, or
    of their groups: rows of one group are on one side.
    """
    train, validation = data.train, data.validation
    some = train.take(spread(len(train), rows))
    if validation is not None and 5 * len(validation) >= min(held_out, len(some)):
        return some, validation.take(spread(len(validation), held_out))
    index = torch.arange(len(some))
    turn = index if some.groups is None else some.groups.unique(return_inverse=True)[1]
    return some.take(index[turn % 5 != 0]), some.take(index[turn % 5 == 0])


def fitted_prior(run: Run, data: Dataset | None = None) -> FittedPrior | None:
    """Return the prior fitted to the codes of a run's model; where none is kept, a mixture is.

    None for models that `takes_fitted` refuses, for too few rows, and where the data are not found;
    and where none is kept of a model that `takes_mixture` refuses.

    Args:
        run: of any model.
        data: the data set, its rows as they were in training; read by default.
    """
    if not takes_fitted(run.model):
        return None
    key = weights_key(run.model)
    if key not in run.fitted_priors:
        run.fitted_priors[key] = _kept(run, key) or _fitted_by_default(run, data)
    return run.fitted_priors[key]


def _kept(run: Run, key: str) -> FittedPrior | None:
    """Return what the file beside the model holds; note where it was chosen and does not fit."""
    content = run.folder.read(FITTED_FILE)
    if content is None:
        return None
    found = FittedPrior.from_bytes(content, key, cast(Any, run.model).prior.space)
    if found is None and (spec := _spec_in(content)) not in ("", "mixture"):
        note(
            f"{run.path / FITTED_FILE} holds the prior {spec} of other weights, or is damaged: "
            f"`vaekit fit-prior {run.path} --prior {spec}` fits it again."
        )
    return found


def _spec_in(content: bytes) -> str:
    """Return how the prior in a file was fitted; "" where it does not say."""
    try:
        _, known = read_tensors(content, Path(FITTED_FILE))
        return text(checked("density", parsed(known["spec"])), brief="density")
    except (ValueError, KeyError, TypeError):
        return ""


def _fitted_by_default(run: Run, data: Dataset | None) -> FittedPrior | None:
    if not takes_mixture(run.model):
        return None
    try:
        data = run.dataset() if data is None else data
    except VaekitError as error:
        note(f"no prior is fitted to the codes, and samples are of p(z): {error}")
        return None
    return _fit(run, data, "mixture", run.config.training.seed)


def _fit(
    run: Run, data: Dataset, prior: str | Spec, seed: int, on_epoch: OnEpoch | None = None
) -> FittedPrior | None:
    spec = checked("density", prior)
    parts = rows_to_fit(data)
    train, held_out = (fixed_batches(split, seed) for split in parts)
    classes = run.spec.classes if run.spec.labeled else 0
    return fit_prior(run.vae, train, held_out, spec, seed, parts[1].groups, on_epoch, classes)


def fit_to_run(
    run: Run, prior: Any, seed: int | None, data_dir: str | Path | None, on_epoch: OnEpoch | None
) -> FittedPrior:
    """Fit a prior to the codes of a run, and keep it beside the model: see `Run.fit_prior`."""
    spec = checked("density", prior)
    if not takes_fitted(run.vae):
        raise VaekitError(
            f"{run.path} has no codes to fit a prior to: that takes one latent, of reals or "
            "of numbered codes, and a p(z) with a density or none at all."
        )
    seed = run.config.training.seed if seed is None else seed
    fitted = _fit(run, run.dataset(data_dir), spec, seed, on_epoch)
    if fitted is None:
        raise VaekitError(
            f"no prior {spec['name']} can be fitted to the codes of {run.path}: there are too few, "
            "or they are no numbers; train on more rows, or with a smaller latent."
        )
    run.fitted_priors[weights_key(run.model)] = fitted
    _write(run, fitted)
    return fitted


def _write(run: Run, fitted: FittedPrior) -> None:
    if run.path.is_dir():
        write(run.path / FITTED_FILE, fitted.to_bytes(weights_key(run.model)))


def keep_fitted(run: Run, data: Dataset) -> None:
    """Write `fitted.safetensors` beside the model, in a run folder."""
    fitted = fitted_prior(run, data)
    if fitted is not None:
        _write(run, fitted)


def fixed_batches(split: Split, seed: int) -> Iterator[Rows]:
    """Yield canonical x of a few rows at a time, the same noise each time, and their context."""
    noise = generator(seed, "fitted")
    for index in torch.arange(len(split)).split(AT_ONCE):
        x = split.values(pick(split.images, index), noise)
        yield x, None if split.context is None else split.context[index].float()
