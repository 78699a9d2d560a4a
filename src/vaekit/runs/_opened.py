"""What is known of a run: its parts, its data, and how its model sees rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor

import vaekit
from vaekit._arguments import shown
from vaekit._borders import borders
from vaekit._io import note, stamp_of
from vaekit._torchutil import lazy, rng
from vaekit.data import (
    Dataset,
    DataSpec,
    Split,
    available,
    batch_of,
    check_memory,
    fingerprint,
    from_value,
    label_of,
    prepare,
    read,
    read_new,
    sets,
)
from vaekit.distributions import Distribution, Offer, Space, reals
from vaekit.errors import VaekitError, at_least
from vaekit.evaluate import is_likelihood
from vaekit.models import LatentModel, LayerTable, Model, layer_tables, offered
from vaekit.objectives import Objective
from vaekit.recipes import find_recipe, likelihood_spec
from vaekit.registry import Spec, completed, spec_of
from vaekit.runs._config import COMPOSED, Config
from vaekit.runs._fitted import FittedPrior
from vaekit.runs._folder import RunFolder
from vaekit.runs._moves import find_data

PREPARATION = {"binarize", "dequantize", "range", "standardize", "size", "crop", "gray"}
LACKS = {
    Offer.DRAWS: "has no prior to draw from: take `vaekit reconstruct`, fit one to its codes, as "
    "`vaekit fit-prior`, or train with one, as `prior=standard-normal`.",
    Offer.ONE_SITE: "has several latents: this is for models with one.",
    Offer.MOMENTS: "has a posterior without a variance: a point, or one that is only drawn from.",
}


@borders
@dataclass(eq=False, repr=False)
class Opened:
    """What is known of a run: its folder, model and objective, its data, and how it sees rows.

    Attributes:
        folder: where it lies.
        config: what was trained, and how.
        spec: what the recipe knew of the data.
        model: in eval mode.
        objective: what it was trained with.
        weights: "last", "best" or "ema".
        step: optimizer steps after which these weights were saved; None where no record says.
        data: the data set of its training, where it is in memory: as stored, and as its rows were
            prepared; of a run that is opened None, and it is read when it is needed.
        training_data: where the data of its training lie, if they have moved; or None.
    """

    folder: RunFolder
    config: Config
    spec: DataSpec
    model: Model
    objective: Objective
    weights: str
    step: int | None
    data: tuple[Dataset, Dataset] | None = None
    fitted_priors: dict[str, FittedPrior | None] = field(default_factory=dict)
    training_data: str | Path | None = None

    def __repr__(self) -> str:
        """Return what was trained on what, for how long, and where it is, in a line."""
        count, name = self.config.training.epochs, Path(self.config.data.data).stem
        done = f"{len(self.folder.records())} of " if self.recorded else ""
        step = "" if self.step is None else f" of step {self.step:,}"
        what = f"{self.config.recipe} on {name}, {done}{count} epoch{'s' * (count != 1)}"
        what += f", weights {self.weights}{step}"
        return f"Run({what}: {self.path})"

    @property
    def recorded(self) -> bool:
        """Return whether the records of the training are there, which a saved model has not."""
        return (self.path / "run.json").is_file()

    @property
    def path(self) -> Path:
        """Return the run folder."""
        return self.folder.path

    @property
    def device(self) -> torch.device:
        """Return the device of the model."""
        return next(self.model.parameters()).device

    @property
    def offers(self) -> frozenset[Offer]:
        """Return the words for what the model offers."""
        return offered(self.model)

    def require(self, *words: str) -> LatentModel:
        """Return the model, where it offers these words.

        Raises:
            VaekitError: with what it does not offer.
        """
        if Offer.LATENT not in self.offers:
            raise VaekitError(
                f"{self.path} is a colorizer: it has no latent, and makes nothing from nothing; "
                f"take `vaekit colorize RUN --colorizer {self.path}`."
            )
        missing = [Offer(word) for word in words if word not in self.offers]
        if missing:
            raise VaekitError(f"{self.path} {LACKS[missing[0]]}")
        return cast(LatentModel, self.model)

    @property
    def vae(self) -> LatentModel:
        """Return the model, where it has a latent.

        Raises:
            VaekitError: for a colorizer.
        """
        return self.require()

    @property
    def conditional(self) -> bool:
        """Return whether it was trained with labels as context."""
        return self.spec.labeled

    @property
    def class_names(self) -> list[str]:
        """Return the names of its labels; their numbers where they have none."""
        return list(self.spec.class_names or map(str, range(self.spec.classes)))

    @property
    def sha256(self) -> str:
        """Return the sha256 of the data that it was trained on."""
        if self.recorded:
            return str(self.folder.read_json("run")["data"]["sha256"])
        return str(self.folder.read_json("config").get("sha256", ""))

    @property
    def parts(self) -> dict[str, Spec | str]:
        """Return posterior, prior, likelihood and objective; of an unregistered part the class."""
        kinds = ("posterior", "quantizer", "prior", "likelihood", "objective")
        if self.config.recipe != COMPOSED:
            entry, specs = find_recipe(self.config.recipe), self.config.parts
            specs = {**specs, "likelihood": likelihood_spec(specs, self.spec.kind)}
            named = (*entry.asks, *entry.fixed)
            return {kind: specs[kind] for kind in kinds if kind in named or kind == "objective"}
        parts: dict[str, Spec | str] = {}
        for kind in kinds:
            part = self.objective if kind == "objective" else getattr(self.model, kind, None)
            part = getattr(part, "family", part)
            try:
                parts[kind] = completed(kind, spec_of(kind, part))
            except VaekitError:
                parts[kind] = type(part).__name__
        return {kind: part for kind, part in parts.items() if part != "NoneType"}

    def layers(self) -> tuple[LayerTable, ...]:
        """Return the layers of each network, with shapes and parameters: see `LayerTable`."""
        return layer_tables(self.model, self.spec.context)

    @lazy
    def px(self) -> Distribution:
        """Return p(x|z) of one row: its type, its space, its scale."""
        return self.model.example(self.spec.context).px

    @lazy
    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return the shape of a code of each latent."""
        sites = self.vae.example(self.spec.context).sites
        return tuple(tuple(site.z.shape[2:]) for site in sites)

    @lazy
    def codes_space(self) -> Space:
        """Return where codes live; those of several latents are numbers side by side."""
        sites = self.vae.example(self.spec.context).sites
        return sites[0].q.space if len(sites) == 1 else reals(self.latent_size)

    @property
    def latent_size(self) -> int:
        """Return how many dimensions a code has, all latents together."""
        return sum(map(prod, self.latent_shapes))

    def prior(self, context: Tensor | None = None) -> Distribution:
        """Return p(z), where there is one latent; of a conditional run under `context`, `(1, *G)`.

        Raises:
            VaekitError: for several latents.
        """
        model = self.require(Offer.ONE_SITE)
        if context is None:
            return model.example(self.spec.context).site.p
        first = next(model.parameters())
        x = torch.zeros(1, *model.x_shape, dtype=first.dtype, device=first.device)
        with rng(0, self.device), torch.no_grad():
            return model(x, self._context(context)).site.p

    def context(self, label: int | str | None = None, n: int = 1, **covariates: str) -> Tensor:
        """Return what n rows are conditioned on, `(n, *G)`: what the methods below take.

        Args:
            label: of all, or a class by its name, where the run is conditioned on labels.
            n: how many rows.
            covariates: values of other columns, as `plate="P7"`; of others each in turn. A library
                size is the median of the training's.

        Raises:
            VaekitError: for a run that is not conditional, or a value that is not in its data.
        """
        affordable(self, at_least("n", n, 0))
        if label is not None or not self.spec.context:
            label = label_of(label, self.spec, self.class_names)  # type: ignore[arg-type]
        made = self.spec.contexts(n, label, covariates)
        assert made is not None
        return made

    def read(
        self,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002
        data_dir: str | Path | None = None,
    ) -> Split:
        """Return new rows as this model takes them: by sizes, columns and statistics of its own.

        Args:
            data: a path (one image too), a name, an array, a DataFrame, images of Pillow, or
                anything else that `vaekit.train` takes; all its rows, in their order.
            id: the column of a table that names its rows; `ids` of the result has the names.
            data_dir: where data sets lie.

        Raises:
            VaekitError: for rows that are not such as the model takes, each with what is not.
        """
        return self.new_data(data, id=id, data_dir=data_dir).test

    def new_data(self, data: Any, **how: Any) -> Dataset:
        """Return new rows as a data set, whose test split has all of them: see `read`."""
        moved = {"data_dir": how.pop("data_dir", None) or self.config.data.data_dir}
        return read_new(data, self.config.data.model_copy(update=moved), self.spec, **how)

    def _seen(self, x: Any, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return x as the model sees it, and the context, both on the device."""
        if isinstance(x, Tensor) and (x.layout != torch.strided or not x.dim()):
            raise VaekitError(f"got `x={shown(x)}`; expected rows (B, *X), dense.")
        if not (isinstance(x, Tensor) and x.is_floating_point()):
            rows = self.read(x)
            x, known = rows.batch()
            context = known if context is None else context
        elif len(self.spec.shape) == 3 and x.numel():
            x = batch_of(x, self.spec.shape)
            ends = self.spec.values.low, self.spec.values.high
            known_x = x.nan_to_num(ends[0]) if self.spec.gaps else x
            low, high = (value.item() for value in known_x.aminmax())
            room = (ends[1] - ends[0]) / 2  # a decoder's mean may leave the range a little
            if not ends[0] - room <= low <= high <= ends[1] + room:
                mend = "divide levels by 255, or pass uint8"
                mend = mend if self.spec.own is None else "give them as its training rows were"
                mend = mend if low == low else "remove what is NaN"
                raise VaekitError(
                    f"got images with values from {low:g} to {high:g}; this run takes "
                    f"[{ends[0]:g}, {ends[1]:g}]: {mend}."
                )
        if context is None and self.spec.library and self.spec.context == (1,):
            context = x.flatten(1).sum(1, keepdim=True)
        x = x.to(self.device, next(self.model.parameters()).dtype)
        return x, self._context(context)

    def _context(self, context: Tensor | None) -> Tensor | None:
        """Return the context on the device; refuse it where the model takes none, or needs some."""
        fits = context is None or not (
            context.is_complex() or tuple(context.shape[1:]) != self.spec.context
        )
        if not fits or (context is not None) != bool(self.spec.context):
            shape = ", ".join(map(str, self.spec.context))
            takes = f"a context of shape (B, {shape})" if self.spec.context else "no context"
            got = "none" if context is None else f"shape {tuple(context.shape)}"
            raise VaekitError(f"{self.path} takes {takes}; got {got}.")
        return None if context is None else context.float().to(self.device)

    def source(self, data_dir: str | Path | None = None) -> Dataset:
        """Return the data set it was trained on, as it is stored, wherever it lies now.

        Raises:
            VaekitError: where it is not found; where it was found by its name or by
                `training_data`, and has other rows.
        """
        if data_dir is None and self.data is not None:
            return self.data[0]
        how: dict[str, Any] = {"data_dir": data_dir, "training_data": self.training_data}
        options, data = find_data(self.folder, self.config.data, self.sha256, **how)
        return read(options, mapped=True) if data is None else data

    def dataset(self, data_dir: str | Path | None = None) -> Dataset:
        """Return the data set it was trained on, its rows as they were then.

        Where its rows have changed since, that is said.

        Raises:
            VaekitError: where it is not found, or has changed its shape.
        """
        source = self.source(data_dir)
        data = self.prepared(source)
        named = self.config.data.data in sets(data_dir or self.config.data.data_dir)
        if self.recorded and not named:  # a set by name is checked where it is read
            stamp = self.folder.read_json("run")["data"].get("stamp")
            if not stamp or stamp != stamp_of(source.source):
                self._fingerprint(source)
        return data

    def with_data(self, value: Any) -> Self:
        """Return the run with the data in memory that it was trained on.

        Raises:
            VaekitError: where they are others.
        """
        source = from_value(value, self.config.data)
        if fingerprint(source) != self.sha256:
            refuse_data(source, self.path)
        self.data = source, self.prepared(source)
        return self

    def prepared(self, source: Dataset) -> Dataset:
        """Return the rows of the data set as they were in the training, from how it is stored.

        Raises:
            VaekitError: where its rows have another shape.
        """
        if self.data is not None and source is self.data[0]:
            data = self.data[1]
        else:
            data = prepare(source, self.config.data, values=self.spec.values)
        if data.train.values.augment:  # they are what they are, but in the training
            values = replace(data.train.values, augment=())
            data = replace(data, train=replace(data.train, values=values))
        shape = tuple(data.train.images.shape[1:])
        if shape != self.spec.shape:
            seen = f"this run was trained on {self.spec.shape}"
            raise VaekitError(f"{data.name} has rows of shape {shape}; {seen}.")
        return data

    def _fingerprint(self, source: Dataset) -> str:
        """Return the sha256 of the rows; note where the run was trained on others."""
        if self.data is not None and source is self.data[0]:
            return self.sha256
        digest = fingerprint(source)
        if digest != self.sha256:
            note(
                f"{source.name} has changed since {self.path} was trained: what is shown or "
                "measured may hold rows that it was trained on."
            )
        return digest

    def protocol(self) -> dict[str, Any]:
        """Return what of a protocol is the same for all metrics."""
        prepared = self.config.data.model_dump(include=PREPARATION, exclude_defaults=True)
        if self.spec.kind == "table":  # whether a density is of the units of the file
            prepared["standardize"] = self.spec.values.scale is not None
        return {
            "weights": self.weights,
            "step": self.step,
            "likelihood": type(self.px).__name__,
            "is_likelihood": is_likelihood(self.px.space, self.spec.kind),
            "unit": self.spec.unit,
            **({"given": self.spec.given} if self.spec.context else {}),
            "draws": "exact" if Offer.EXACT in self.offers else "relaxed",
            "made": prepared,
            "vaekit": vaekit.__version__,
            "torch": torch.__version__,
        }


def refuse_data(data: Dataset, path: Path) -> None:
    """Refuse to go on with other data than a run saw; note it of a loader, which may change them.

    Raises:
        VaekitError: but for a loader.
    """
    if data.stream is None:
        raise VaekitError(
            f"the data set {data.name} is not the one {path} saw: restore that one, or train again "
            "into another folder."
        )
    note(f"the rows of the loader are others than {path} saw, or it changes them at each pass.")


def affordable(run: Opened, rows: int) -> None:
    """Refuse to decode more rows than the memory holds: before they are made.

    Raises:
        VaekitError: with how many would fit.
    """
    if rows >= 1 << 63:
        raise VaekitError(f"got {shown(rows)} rows; expected fewer than 2^63.")
    each = 8 * (prod(run.spec.shape) + run.latent_size)  # float32, and a copy
    most = f"ask for at most {(available() or 0) // each:,} at a time"
    check_memory(f"{rows:,} rows of {run.spec.shape}", rows * each, f"{most}.")


def fixed_at(z: Tensor, fixed: Mapping[int, float], prior: Distribution) -> Tensor:
    """Return z with the dimensions d of `fixed` at mean_d + value_d * sigma_d of the prior.

    Under N(0, I) that is the value itself. The other dimensions stay as they are.

    Args:
        z: codes `(N, *Z)`.
        fixed: the value of a dimension, by its number in the flattened code.
        prior: p(z), whose batch shape is empty or `(N,)`.

    Returns:
        A new tensor `(N, *Z)`.

    Raises:
        VaekitError: for a dimension that z does not have, or a prior that has no variance.

    Example:
        >>> from vaekit.distributions import StandardGaussian
        >>> fixed_at(torch.ones(2, 3), {2: -2.0}, StandardGaussian(torch.zeros(3)))
        tensor([[ 1.,  1., -2.],
                [ 1.,  1., -2.]])
    """
    size = prod(z.shape[1:])
    wrong = [dim for dim in fixed if not 0 <= dim < size]
    if wrong:
        raise VaekitError(f"there is no dimension {wrong[0]}; the latent has 0 to {size - 1}.")
    if Offer.MOMENTS not in prior.offers or prior.space.discrete:
        raise VaekitError(
            "this model's prior has no standard deviation to count a dimension of z in: decode "
            "codes in Python, with Run.decode."
        )
    p: Any = prior
    mean, scale = (part.expand_as(z).flatten(1) for part in (p.mean, p.variance.sqrt()))
    codes = z.flatten(1).clone()
    for dim, value in fixed.items():
        codes[:, dim] = mean[:, dim] + value * scale[:, dim]
    return codes.unflatten(1, z.shape[1:])


def colorizer_of(run: Opened) -> Any:
    """Return the model of a run that is a colorizer.

    Raises:
        VaekitError: where it is another.
    """
    if Offer.COLORS not in run.offers:
        raise VaekitError(
            f"{run.path} is no colorizer but of the recipe {run.config.recipe}: take one, as "
            "`vaekit train colorizer` makes it."
        )
    return run.model
