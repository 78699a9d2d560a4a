"""The rows of a run's own data that are least likely, or whose label looks wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data import Split
from vaekit.distributions import Offer
from vaekit.errors import VaekitError, at_least, choose
from vaekit.evaluate import nearest_codes
from vaekit.runs._fitting import fixed_batches
from vaekit.runs._run import Run
from vaekit.runs._scoring import Scored, score_rows

NEIGHBORS = 10  # among whose labels that of a row is looked for
WAYS = ("nll", "bound", "error", "label")
LABELS = "labels that no context tells the model, and a latent"


def outliers(
    run: Run, k: int = 20, *, split: str = "train", by: str | None = None, **how: Any
) -> Scored:
    """Return the k oddest rows of the data of the training, the oddest first: see `Run.outliers`.

    Raises:
        VaekitError: as `Run.outliers`.
    """
    if by is not None:
        choose("score", by, dict.fromkeys(WAYS))
    how["samples"] = how.get("samples", 50) if by == "nll" else 0
    scored = score_rows(run, split=split, **how)
    rows, values = scored.rows, scored.scores.values
    if at_least("k", k, 1) > len(rows):
        raise VaekitError(f"got `k={k}`; the split {split} has {len(rows):,} rows: ask for less.")
    labeled = rows.labels is not None and Offer.LATENT in run.offers and not run.conditional
    labeled = labeled and len(rows) > 1
    if by == "label":
        if not labeled:
            raise VaekitError(f"`by=label` needs {LABELS}: take `by=bound`, or `by=error`.")
        # Of equal shares the likeliest row first: a typical one among others is the plainest case.
        found = _suspected(run, scored, torch.arange(len(rows)))
        odd = values[scored.first].numpy(), found.more["other_labels"]
        return found.take(torch.from_numpy(np.lexsort((odd[0], -odd[1]))[:k]))
    if (by or scored.first) not in values:
        raise VaekitError(f"{run.path} has no `by={by}`; it has {', '.join(values)}.")
    order = values[by or scored.first].argsort(descending=True, stable=True)[:k]
    return _suspected(run, scored, order) if labeled else scored.take(order)


def _suspected(run: Run, scored: Scored, index: Tensor) -> Scored:
    """Return the rows at `index` with what speaks against their labels.

    That is the share of the nearest rows by code that have another label, and the commonest label
    among them, by its name.
    """
    labels = scored.rows.labels
    assert labels is not None
    codes, names = codes_of(run, scored.rows), np.array(run.class_names, object)
    k = min(NEIGHBORS, len(codes) - 1)
    space = run.codes_space
    near = labels[nearest_codes(codes[index], codes, k, own=index, space=space)[1]]
    other = (near != labels[index, None]).sum(1) / torch.tensor(k, dtype=torch.float64)
    more = {"other_labels": other.numpy(), "neighbors_label": names[near.mode(1).values.numpy()]}
    return replace(scored.take(index), more=more)


def codes_of(run: Run, rows: Split) -> Tensor:
    """Return the codes of rows, `(N, Z)`, those of several latents side by side."""
    return torch.cat([run.encode(*batch).flatten(1) for batch in fixed_batches(rows, 0)])
