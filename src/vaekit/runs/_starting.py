"""A training that begins with the weights of another run, or keeps those of a part."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from vaekit._torchutil import misfit
from vaekit.errors import VaekitError
from vaekit.models import Model
from vaekit.runs._building import load_weights
from vaekit.runs._fitted import weights_key
from vaekit.runs._folder import RunFolder
from vaekit.runs._saved_models import read_weights

if TYPE_CHECKING:
    from vaekit.runs._job import Job

PARTS = {"encoder": "posterior", "decoder": "likelihood"}  # of a model, by their names for people
KEPT = re.compile("(.*)@([0-9a-f]{64})")  # what config.json has of a run: its name, and the sha256


def begun(job: Job) -> Job:
    """Return the job with the weights of the run that `init_from` names, and what config.json says.

    That is the run's name and the sha256 of its weights.

    Raises:
        VaekitError: where there is no such run, it has other weights than config.json says, or one
            does not fit.
    """
    asked = job.config.training.init_from
    if asked is None:
        return job
    known, model = KEPT.fullmatch(asked), job.recipe.model
    path = Path(known[1] if known else asked)
    folder = RunFolder(path)
    folder.read_json("config")  # which says where there is no run
    state, _, _ = read_weights(folder, None)
    if why := misfit(state, model):
        raise VaekitError(
            f"`init_from={path}` has other parts than this training: {why}. All must fit: take the "
            "same recipe, parts and shape of data."
        )
    load_weights(model, state, path)
    digest = weights_key(model)
    if known and known[2] != digest:
        raise VaekitError(f"`init_from={path}` has other weights than those of {known[2][:16]}.")
    named = {"init_from": f"{path.absolute().name}@{digest}"}
    training = job.config.training.model_copy(update=named)
    return replace(job, config=replace(job.config, training=training))


def refuse_start(init_from: str | None, what: str) -> None:
    """Refuse to begin with the weights of a run where there are none of it any more.

    Raises:
        VaekitError: where `init_from` names a run.
    """
    if init_from is not None:
        raise VaekitError(f"{what} with the weights of `init_from={init_from}`: {MEND}")


MEND = "train a run of its own, as with another `out` and `seed`."


def freeze(model: Model, part: str) -> tuple[nn.Module, ...]:
    """Keep the weights of a part of a model: they take no gradients. Return the part.

    Raises:
        VaekitError: for a model that has no such part, or nothing else to train.
    """
    if part == "none":
        return ()
    frozen = getattr(model, PARTS[part], None)
    if not isinstance(frozen, nn.Module):
        raise VaekitError(f"got `freeze={part}`; a {type(model).__name__} has none.")
    frozen.requires_grad_(False)
    if not any(p.requires_grad for p in model.parameters()):
        raise VaekitError(f"got `freeze={part}`; nothing else of the model can be trained.")
    return (frozen,)
