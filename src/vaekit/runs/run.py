"""A trained model with all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
import torch
from torch import Tensor
from vaekit import options
from vaekit.runs.config import Config
from vaekit.data import Dataset, DataSpec, prepare, read
from vaekit.data.conditions import label_of, one_hot
from vaekit.errors import VaekitError
from vaekit.runs.judge import Asked, OnRows, judge
from vaekit.models import VAE, Model
from vaekit.objectives import Objective
from vaekit.recipes import RECIPES, build
from vaekit.runs.reproduce import known
from vaekit.runs.folder import RunFolder
from vaekit.torchutil import find_device, rng
from vaekit.runs.folder import kept_weights


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
        step: optimiser steps after which these weights were kept; None where no record says.
    """

    folder: RunFolder
    config: Config
    spec: DataSpec
    model: Model
    objective: Objective
    weights: str
    step: int | None

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def vae(self) -> VAE:
        """The model, where it has a latent.

        Raises:
            VaekitError: for a colouriser.
        """
        if "latent" not in self.model.offers:
            raise VaekitError(
                f"{self.path} is a colouriser: it has no latent, and makes nothing from nothing; "
                f"take `vaekit colorize RUN --colorizer {self.path}`."
            )
        return cast(VAE, self.model)

    @property
    def conditional(self) -> bool:
        """Whether it was trained with `given`: what it is conditioned on."""
        return bool(self.spec.given)

    @property
    def class_names(self) -> list[str]:
        """The names of its labels; their numbers where they have none."""
        card = self.folder.read_json("run")["data"].get("card", {})
        return list(card.get("class_names") or map(str, range(self.spec.classes)))

    def given(self, label: int | str, n: int = 1) -> Tensor:
        """A label, or a class by its name, one-hot in n rows: what the methods below take.

        Raises:
            VaekitError: for a run that is not conditional, or a label that is not in the data.
        """
        number = label_of(label, self.spec, self.class_names)
        return one_hot(torch.full((n,), number), self.spec.classes).float()

    def sample(
        self,
        n: int,
        *,
        label: int | str | None = None,
        given: Tensor | None = None,
        mean: bool = True,
        seed: int = 0,
        fixed: Mapping[int, float] | None = None,
    ) -> Tensor:
        """`(n, *X)`: E[x|z] for n draws of z from the prior; with `mean=False`, draws of x.

        A conditional run takes a label for all of them, or `given` for each, or else the classes
        in their order, in equal shares. `fixed={3: 2.0}` sets dimension 3 of z to 2 standard
        deviations of the prior; the others are as they are drawn without it.

        Raises:
            VaekitError: for a dimension that z does not have.
        """
        if label is not None:
            given = self.given(label, n)
        elif given is None and self.conditional:
            given = one_hot(torch.arange(n) * self.spec.classes // n, self.spec.classes)
        with rng(seed, self.device, None):
            return self.vae.sample(n, self._given(given), mean=mean, fixed=fixed).cpu()

    def by_class(
        self,
        n: int,
        *,
        mean: bool = True,
        seed: int = 0,
        fixed: Mapping[int, float] | None = None,
    ) -> Tensor:
        """`(classes, n, *X)`: the same n draws of z under each label of a conditional run."""
        labels = range(self.spec.classes)
        made = [self.sample(n, label=y, mean=mean, seed=seed, fixed=fixed) for y in labels]
        return torch.stack(made)

    def reconstruct(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """E[x|z] at z = E[z|x], `(B, *X)`, for canonical x."""
        return self.model.reconstruct(x.to(self.device), self._given(given)).cpu()

    def encode(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """E[z|x], `(B, *Z)`, for canonical x."""
        return self.vae.encode(x.to(self.device), self._given(given)).cpu()

    def decode(self, z: Tensor, given: Tensor | None = None) -> Tensor:
        """E[x|z], `(B, *X)`, for codes `(B, *Z)`."""
        return self.vae.decode(z.to(self.device), self._given(given)).cpu()

    def _given(self, given: Tensor | None) -> Tensor | None:
        """What is given, on the device; refused where the model takes none, or needs some."""
        if (given is not None) != self.conditional:
            takes = f"given of shape (B, {', '.join(map(str, self.spec.given))})"
            got = "none" if given is None else f"shape {tuple(given.shape)}"
            raise VaekitError(
                f"{self.path} takes {takes if self.conditional else 'nothing given'}; got {got}."
            )
        return None if given is None else given.float().to(self.device)

    def source(self, data_dir: str | None = None) -> Dataset:
        """The data set it was trained on, as it is stored.

        Raises:
            VaekitError: where it is not found.
        """
        return read(self._asked(data_dir))

    def dataset(self, data_dir: str | None = None) -> Dataset:
        """The data set it was trained on, its rows as they were then.

        Raises:
            VaekitError: where it is not found, or has changed its shape.
        """
        return self.prepared(self.source(data_dir))

    def prepared(self, source: Dataset) -> Dataset:
        """A data set's rows as they would be in this run.

        Raises:
            VaekitError: where its rows have another shape.
        """
        data = prepare(source, self.config.data, self.config.training.seed)
        if tuple(data.train.images.shape[1:]) != self.spec.shape:
            raise VaekitError(
                f"{data.name} has rows of shape {tuple(data.train.images.shape[1:])}; this run "
                f"was trained on {self.spec.shape}."
            )
        return data

    def _asked(self, data_dir: str | None) -> options.Data:
        asked = self.config.data
        return asked if data_dir is None else asked.model_copy(update={"data_dir": data_dir})

    def evaluate(
        self,
        *,
        samples: int = 10,
        nll: int | None = None,
        latent: bool = False,
        reconstruction: bool = False,
        ais: int | None = None,
        agreement: int | None = None,
        noise: float | None = None,
        split: str = "test",
        limit: int | None = None,
        seed: int = 0,
        data_dir: str | None = None,
        on_rows: OnRows | None = None,
    ) -> dict[str, Any]:
        """The ELBO and its terms on a split, what else is asked for, and how it was measured.

        In `spec.unit`, nats, and always with beta = 1. The bound stands at the top level: `elbo`
        and `kl` are None where the model has no density, `bits_per_dim` where the likelihood has
        no bits. Each other part is a record of its own, with its rows, draws and standard errors:

        - `nll`: of -log p(x) by importance sampling, `mean`, `standard_error`, `at_half` (the
          mean with half of the draws, which shows the bias) and `bits_per_dim`;
        - `latent`: active units, KL of each dimension; of one latent also rate, distortion,
          mutual information, total correlation and dimension-wise KL of the aggregate posterior
          over the rows that are measured;
        - `reconstruction`: MSE, L1, PSNR, SSIM, MS-SSIM of E[x|z] at z = E[z|x];
        - `ais`: of -log p(x) by annealing, and `simulated_gap`: how far the two bounds of
          bidirectional Monte Carlo are apart on data that the model made;
        - `agreement`: the `share` of images E[x|z, label] that a classifier calls by the label they
          were asked for, the `worst_share` of a class, and the `classifier_accuracy` on test rows;
        - `colour`, always, of a colouriser: see `vaekit.evaluate.Colours`.

        Args:
            samples: Monte-Carlo draws of the bound, for each row.
            nll: draws of importance sampling, for each row.
            latent: measure the latent; the cost grows as the square of the rows.
            reconstruction: measure the reconstructions.
            ais: steps of annealing; on 100 rows where there is no limit.
            agreement: images of a conditional model that a classifier looks at; it is trained on
                the run's data at the first call, and kept in the user cache.
            noise: of a colouriser: noise on its input, in grey levels, besides that of 1 level.
            split: "test", "validation" or "train": the rows that it was trained on.
            limit: so many rows only, evenly spread over the split, which may be sorted.
            seed: of the draws; each part has its own.
            data_dir: where data sets lie.
            on_rows: is told what is measured, rows done, and rows in all.

        Raises:
            VaekitError: for counts below 1, an unknown split, data that are not found, nll or
                ais of a model that has no likelihood, and what a colouriser has not.
        """
        asked = Asked(samples, nll, latent, reconstruction, ais, agreement, noise)
        return judge(
            self, asked, split=split, limit=limit, seed=seed, data_dir=data_dir, on_rows=on_rows
        )


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
    content = folder.read_json("config")
    if content.get("recipe") not in RECIPES:
        known()  # reproductions enter recipes of their own
    config = Config.from_json(content)
    spec = DataSpec.from_json(folder.read_json("run")["data"]["spec"])
    place = find_device(device)
    with rng(0, place, None):
        made = build(config.recipe, spec, config.own, net=config.net, pixels=config.pixels)
    state, weights, step = kept_weights(folder, weights)
    try:
        made.model.load_state_dict(state)
    except RuntimeError as error:
        detail = str(error).split("\n")[1].strip()
        raise VaekitError(f"the weights in {path} are of another model: {detail}") from None
    model = made.model.to(place).eval()
    return Run(folder, config, spec, model, made.objective, weights, step)
