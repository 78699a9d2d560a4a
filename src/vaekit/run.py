"""A trained model with all that is known of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import vaekit
from vaekit.config import Config
from vaekit.data import Dataset, DataSpec, prepare, read
from vaekit.errors import VaekitError, choose
from vaekit.evaluate import bits_per_dim, is_likelihood, measure
from vaekit.models import VAE
from vaekit.objectives import Objective
from vaekit.recipes import build
from vaekit.training.checkpoint import load_state
from vaekit.training.folder import RunFolder
from vaekit.training.setup import find_device, random_numbers

__all__ = ["Run", "open_run"]

MADE = {"binarise", "dequantise", "range", "standardise", "size", "crop", "grey"}


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder, its model and its objective.

    Attributes:
        folder: where it lies.
        config: what was asked for.
        spec: what the recipe knew of the data.
        model: in eval mode.
        objective: what it was trained with.
        weights: "last", "best" or "ema".
    """

    folder: RunFolder
    config: Config
    spec: DataSpec
    model: VAE
    objective: Objective
    weights: str

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def sample(self, n: int, *, mean: bool = True, seed: int = 0) -> Tensor:
        """`(n, *X)`: E[x|z] for n draws of z from the prior; with `mean=False`, draws of x."""
        with random_numbers(seed, self.device, None):
            return self.model.sample(n, mean=mean).cpu()

    def reconstruct(self, x: Tensor) -> Tensor:
        """E[x|z] at z = E[z|x], `(B, *X)`, for canonical x."""
        return self.model.reconstruct(x.to(self.device)).cpu()

    def encode(self, x: Tensor) -> Tensor:
        """E[z|x], `(B, *Z)`, for canonical x."""
        return self.model.encode(x.to(self.device)).cpu()

    def dataset(self, data_dir: str | None = None) -> Dataset:
        """The data set it was trained on, its rows as they were then.

        Raises:
            VaekitError: where it is not found, or has changed its shape.
        """
        asked = self.config.data
        if data_dir is not None:
            asked = asked.model_copy(update={"data_dir": data_dir})
        data = prepare(read(asked), asked, self.config.training.seed)
        if tuple(data.train.images.shape[1:]) != self.spec.shape:
            raise VaekitError(
                f"{data.name} has rows of shape {tuple(data.train.images.shape[1:])}; this run "
                f"was trained on {self.spec.shape}."
            )
        return data

    def evaluate(
        self,
        *,
        samples: int = 10,
        split: str = "test",
        limit: int | None = None,
        seed: int = 0,
        data_dir: str | None = None,
    ) -> dict[str, Any]:
        """The ELBO and its terms on a split, in nats per image, and how they were measured.

        Always with beta = 1. `bits_per_dim` is None where the likelihood has none, and `elbo`
        and `kl` where the model has none.

        Args:
            samples: Monte-Carlo draws per image.
            split: "test", "validation" or "train": the rows that it was trained on.
            limit: the first rows only.
        """
        data = self.dataset(data_dir)
        rows = choose("split", split, data.splits)
        if samples < 1 or (limit is not None and limit < 1):
            raise VaekitError(f"got samples={samples}, limit={limit}; expected at least 1.")
        index = torch.arange(len(rows))[:limit].split(max(1, 1000 // samples))
        batches = ((rows.x(part).to(self.device), None) for part in index)
        with random_numbers(seed, self.device, None):
            found = measure(self.model, batches, samples=samples)
        family = self.model.likelihood.family
        bits = None if found.elbo is None else bits_per_dim(found.elbo, family, self.spec)
        return {
            "elbo": found.elbo,
            "elbo_standard_error": found.elbo_error,
            "log_likelihood": found.log_likelihood,
            "kl": found.kl,
            "bits_per_dim": bits,
            "mse": found.mse,
            "implied_sigma": math.sqrt(found.mse),
            "protocol": {
                "data": data.name,
                "split": split,
                "rows": found.rows,
                "samples": samples,
                "seed": seed,
                "weights": self.weights,
                "likelihood": type(family).__name__,
                "is_likelihood": is_likelihood(family, self.spec.kind),
                "unit": self.spec.unit,
                "made": self.config.data.model_dump(include=MADE, exclude_defaults=True),
                "vaekit": vaekit.__version__,
            },
        }


def _read(folder: RunFolder, weights: str | None) -> tuple[dict[str, Any], str]:
    """The model's state, and which weights it is."""
    if weights not in (None, "best", "last", "ema"):
        raise VaekitError(f"got weights '{weights}'; expected best, last or ema.")
    if weights is None:
        weights = "best" if folder.best.is_file() else "last"
    if weights == "best":
        return load_state(folder.best)["model"], weights
    progress = load_state(folder.last)["progress"]
    if weights == "last":
        return progress["model"], weights
    if progress["average"] is None:
        raise VaekitError(f"{folder.path} was trained without --ema: take best or last.")
    prefix = "module."
    state = {k.removeprefix(prefix): v for k, v in progress["average"].items() if prefix in k}
    return state, weights


def open_run(path: str | Path, *, weights: str | None = None, device: str = "auto") -> Run:
    """The run in this folder.

    Args:
        path: the run folder.
        weights: "best" (where rows were held out, the default), "last", or "ema".
        device: where the model goes.

    Raises:
        VaekitError: where this is no run folder, or the weights are missing or of another model.
    """
    folder = RunFolder(path)
    config = Config.from_json(folder.read_json("config"))
    spec = DataSpec.from_json(folder.read_json("run")["data"]["spec"])
    place = find_device(device)
    with random_numbers(0, place, None):
        made = build(config.recipe, spec, config.own, net=config.net, pixels=config.pixels)
    state, weights = _read(folder, weights)
    try:
        made.model.load_state_dict(state)
    except RuntimeError as error:
        detail = str(error).split("\n")[1].strip()
        raise VaekitError(f"the weights in {path} are of another model: {detail}") from None
    model = made.model.to(place).eval()
    return Run(folder, config, spec, model, made.objective, weights)
