"""From a config to a model and its objective, that fit the data, the device and the weights."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaekit._torchutil import lost_weight, misfit
from vaekit.data import Dataset, DataSpec
from vaekit.distributions import Distribution, Offer
from vaekit.errors import VaekitError
from vaekit.models import Model
from vaekit.objectives import Objective, require
from vaekit.recipes import Recipe, assemble
from vaekit.registry import text
from vaekit.runs._config import COMPOSED, MEND, Config
from vaekit.runs._folder import MEND as RESTORE
from vaekit.runs._graph import MOST, build_structure

TOO_LARGE = re.compile("memory|overflow|numel|invalid size", re.IGNORECASE)


def build_model(config: Config, spec: DataSpec, **objects: nn.Module | None) -> Recipe:
    """Build the model and the objective that a config describes, with new weights.

    Args:
        config: of a recipe, or of a composed model.
        spec: of the data.
        objects: `model` and `objective`, where the structure of one is not known.

    Raises:
        VaekitError: where one is missing, is given to a recipe, or they do not go together.
    """
    if config.recipe != COMPOSED:
        if any(part is not None for part in objects.values()):
            why = f"the run is of the recipe {config.recipe}, which says its model"
            raise VaekitError(f"{why}: leave `model` and `objective`.")
        recipe = assemble(config.recipe, config.parts, spec)
        if spec.gaps:
            _allow_gaps(recipe.model)
        return recipe
    parts: dict[str, Any] = {}
    for name, kind in (("model", Model), ("objective", Objective)):
        part, tree = objects.get(name), config.parts[name]
        if part is None and tree is None:
            why = config.parts.get("why") or f"it has none: pass {name}= when loading."
            raise VaekitError(f"the {name} cannot be built from config.json: {why}")
        parts[name] = build_structure(tree, name) if part is None else part
        if not isinstance(parts[name], kind):
            raise VaekitError(f"got a {type(parts[name]).__name__} for the {name}; {MEND}")
    require(parts["objective"], parts["model"])
    for name, value in parts["model"].state_dict().items():
        kind = type(value)
        if not issubclass(kind, Tensor):
            raise VaekitError(f"{name} of the model is a {kind.__name__}: weights alone are saved.")
    return Recipe(**parts)


def _allow_gaps(model: Any) -> None:
    """Let NaN in x say that a value is not seen, or refuse a model that takes none such."""
    model.gaps = True
    if Offer.GAPS not in model.offers:
        raise VaekitError(
            f"a {type(model).__name__} takes no gaps: take `missing=drop` or `missing=mean`."
        )


def build_with(
    state: dict[str, Tensor], config: Config, spec: DataSpec, path: Path, **objects: Any
) -> Recipe:
    """Build the model and the objective of a config, with these weights.

    They are built without memory first: sizes that are not those of the weights take none.

    Raises:
        VaekitError: where they do not fit each other.
    """
    empty = None if objects.get("model") is not None else sketch(config, spec, **objects)
    if empty is not None:
        load_weights(empty, state, path, assign=True)
        for name, buffer in empty.named_buffers():
            if name not in state and buffer.numel() > MOST:
                raise VaekitError(f"{path} asks for {buffer.numel():,} elements of {name}.")
    try:
        recipe = build_model(config, spec, **objects)
    except (RuntimeError, MemoryError, OverflowError) as error:
        raise VaekitError(f"the model of {path} cannot be built: {error}.") from None
    load_weights(recipe.model, state, path)
    return recipe


def sketch(config: Config, spec: DataSpec, **objects: Any) -> Model | None:
    """Build the model without memory; None where a part of a user's own cannot be made so."""
    try:
        with torch.device("meta"):
            return build_model(config, spec, **objects).model
    except VaekitError:
        raise
    except Exception:  # whatever a constructor says that asks for values
        return None


def load_weights(module: nn.Module, state: Any, path: Path, **how: bool) -> None:
    """Fill a module with its weights; refuse those of another one, and those that are no numbers.

    Args:
        module: a model or an objective; on "meta" the numbers are not looked at.
        state: its weights, or what a file has in their place.
        path: of the run.
        how: as `torch.nn.Module.load_state_dict` takes it.

    Raises:
        VaekitError: that says which weight does not fit.
    """
    if why := misfit(state, module):
        raise VaekitError(f"the weights in {path} are of another model: {why}. {RESTORE}")
    if not how and (why := lost_weight(state, module)):
        mend = "Take other `weights`, or train again."
        raise VaekitError(f"the weights in {path} are lost: {why}. {mend}")
    module.load_state_dict(state, **how)


def build_on(
    config: Config, spec: DataSpec, device: torch.device, **parts: nn.Module | None
) -> Recipe:
    """Return the recipe on its device, or refuse one that is too large for it."""
    try:
        recipe = build_model(config, spec, **parts)
        recipe.model.to(device)
        recipe.objective.to(device)
    except (MemoryError, OverflowError, RuntimeError) as error:
        if not TOO_LARGE.search(f"{type(error).__name__} {error}"):
            raise
        size, parts_ = "", config.parts
        if config.recipe != COMPOSED:
            size = f" (latent {parts_['latent']}, net {text(parts_['net'], brief='net')})"
        raise VaekitError(
            f"the model{size} does not fit into the memory of {device}: take smaller ones."
        ) from error
    return recipe


def example_of(recipe: Recipe, spec: DataSpec) -> Distribution:
    """Return p(x|z) of one row, or refuse a composed model that does not fit the data."""
    shape = getattr(recipe.model, "x_shape", None)
    if shape != spec.shape:
        raise VaekitError(
            f"the model takes x of the shape {shape}; the rows of {spec.name} are {spec.shape}: "
            "build it to that, or take other data."
        )
    try:
        px = recipe.model.example(spec.context).px
    except (RuntimeError, TypeError, AttributeError) as error:
        also = f" and a context {spec.context}" if spec.context else ""
        why = str(error).partition("\n")[0]
        raise VaekitError(
            f"the model cannot pass over one x of the shape {shape}{also}: {why}"
        ) from error
    if px.space.kind == "counts" and spec.kind != "counts":
        raise VaekitError(
            f"{type(px).__name__} takes counts; the data {spec.name} are of kind {spec.kind}: "
            "take another likelihood."
        )
    return px


def check_range(recipe: Recipe, data: Dataset, px: Distribution) -> None:
    """Refuse rows that are no numbers, or outside what the likelihood can score."""
    name, space = type(px).__name__, px.space
    if data.train.values.dequantize and space.discrete:
        raise VaekitError(
            f"`dequantize` is for densities; {name} is a likelihood of levels: leave it."
        )
    for which, split in data.splits.items():
        low, high = split.x_bounds
        if which == "train" and data.stream is not None and split.values.scale is None:
            low, high = split.values.ends(torch.tensor(data.stream.bounds).to(split.images.dtype))
        gaps = Offer.GAPS in recipe.model.offers
        holed = split.images.dtype == torch.float32 and split.survey.gaps > 0 and not gaps
        if not (math.isfinite(low) and math.isfinite(high)) or holed:
            raise VaekitError(f"the {which} rows of {data.name} hold NaN or infinite values.")
        if space.kind == "pixels" and (low < 0 or high > 1):
            raise VaekitError(
                f"{name} takes values in [0, 1]; the {which} rows of {data.name} "
                f"lie in [{low:.3g}, {high:.3g}]: {to_unit(data)}, or another likelihood, as "
                "`likelihood=gaussian`."
            )


def to_unit(data: Dataset) -> str:
    """Return how the values of these data come into [0, 1]."""
    if data.own is not None:
        return "scale them to [0, 1] in the file"
    if data.train.images.ndim > 2:
        return "take `range='0,1'` for images"
    return "write the rows in [0, 1], as (x + 1) / 2 where they were scaled to [-1, 1]"
