"""A trained model with all that is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

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
from vaekit.distributions import Distribution, Offer
from vaekit.errors import VaekitError, at_least, choose
from vaekit.evaluate import Rows, Subject, chosen, is_likelihood, measured
from vaekit.models import (
    LatentModel,
    LayerTable,
    Model,
    flat_codes,
    layer_tables,
    offered,
    split_codes,
)
from vaekit.objectives import Objective
from vaekit.recipes import find_recipe, likelihood_spec
from vaekit.registry import Spec, completed, spec_of
from vaekit.runs._config import COMPOSED, Config
from vaekit.runs._fitted import FittedPrior
from vaekit.runs._fitting import fit_to_run, fitted_prior
from vaekit.runs._folder import RunFolder
from vaekit.runs._moves import find_data
from vaekit.runs._saved_models import save

if TYPE_CHECKING:
    import pandas

PREPARATION = {"binarize", "dequantize", "range", "standardize", "size", "crop", "gray"}
PLAIN = {
    "binarize": "none",
    "dequantize": False,
    "validation": 0,
    "limit": None,
    "split_seed": 0,
    "augment": (),
}


@borders
@dataclass(eq=False, repr=False)
class Run:
    """A run folder, its model and its objective.

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

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model, as it is now, to a folder, or to a file that ends in .vaekit.

        `vaekit.load` opens either one, on any machine, as a run without records.

        Raises:
            VaekitError: where there is something already, or it cannot be written.
        """
        return save(self, path, overwrite=overwrite)

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

    def sample(
        self,
        n: int,
        *,
        label: int | str | None = None,
        context: Tensor | None = None,
        mean: bool | None = None,
        seed: int = 0,
        fixed: Mapping[int, float] | None = None,
        prior: str | None = None,
        like: Any = None,
        variety: float | None = None,
        covariates: Mapping[str, str] | None = None,
    ) -> Tensor:
        """Return images E[x|z] for n draws of z from the prior, `(n, *X)`; of tables, draws of x.

        `mean` asks for the means of a table, or for draws of images.

        By default z comes from the prior fitted to the codes, where it suits held-out codes better
        than p(z); `prior="model"` draws from p(z), and `prior="fitted"` from the other in any case.

        A conditional run takes a label for all of them, or a context for each, or else the classes
        in their order, in equal shares; `covariates={"plate": "P7"}` chooses a value of a column,
        of which each comes in turn else, and library sizes are drawn as the training's.
        `fixed={3: 2.0}` sets dimension 3 of z to 2 standard deviations of the prior; the others are
        as they are drawn without it.

        `like` are rows, as `encode` takes them, for n draws like each, `(B * n, *X)`: z then lies
        between a draw of q(z|x), with a `variety` of 0, and a new one, with 1, on an arc around 0.
        By default it is 0.3. The context is that of the rows; a label is what they are decoded
        under.

        Raises:
            VaekitError: for a model without a prior, or a dimension that z does not have.
        """
        mean = not self.spec.is_table if mean is None else mean
        if like is not None:
            from vaekit.runs._edits import vary

            how: dict[str, Any] = {"context": context, "label": label, "mean": mean, "seed": seed}
            return vary(self, like, n, variety=variety, fixed=fixed, prior=prior, **how)
        model = self.vae
        affordable(self, at_least("n", n, 1))
        number = None if label is None else label_of(label, self.spec, self.class_names)
        fitted = self.sampled_prior(prior)
        model = self.require(Offer.DRAWS) if fitted is None else model
        with rng(seed, self.device), torch.no_grad():
            if context is None or number is not None:
                context = self.spec.contexts(n, number, covariates or {}, drawn=True)
            context = self._context(context)
            if fitted is None and not fixed:
                return model.sample(n, context, mean=mean).cpu()
            if fitted is None:
                (z,) = self.require(Offer.ONE_SITE).draw_prior(n, context)
            else:
                z = fitted.density.sample((n,)).to(self.device)
            first = None if context is None else context[:1]
            zs = (fixed_at(z, fixed, self.prior(first)) if fixed else z,)
            x = model.decode(zs, context) if mean else model.likelihood_at(zs, context).sample()
            return x.cpu()

    def sampled_prior(self, prior: str | None = None) -> FittedPrior | None:
        """Return the prior fitted to the codes where `sample` takes it; None where it takes p(z).

        Raises:
            VaekitError: for another word than "fitted" and "model", and where none can be fitted.
        """
        if prior is not None:
            choose("prior", prior, dict.fromkeys(("fitted", "model")))
        fitted = None if prior == "model" else fitted_prior(self)
        if prior == "fitted" and fitted is None:
            raise VaekitError(
                f"{self.path} has no prior fitted to its codes: that takes one latent of reals, "
                "its data, and twice as many rows as dimensions; take `prior=model`, or see "
                "`vaekit fit-prior`."
            )
        return fitted if fitted is not None and (fitted.better or prior == "fitted") else None

    @property
    def draws(self) -> bool:
        """Return whether there is a prior to draw from: p(z), or one fitted to the codes."""
        return Offer.DRAWS in self.offers or fitted_prior(self) is not None

    def fit_prior(
        self,
        prior: str | Mapping[str, Any] = "mixture",
        *,
        seed: int | None = None,
        data_dir: str | Path | None = None,
        on_epoch: Callable[[int, int, float], None] | None = None,
    ) -> FittedPrior:
        """Fit a prior to the codes of training rows, and keep it beside the model.

        `sample` then draws from it where it suits held-out codes better than p(z), or where the
        model has no p(z), as an autoencoder; `evaluate(prior="fitted")` measures with it.

        Args:
            prior: how, as `"flow:flow=spline"`: see `vaekit parts density`.
            seed: of the draws of q(z|x) and of the fit; by default the training's.
            data_dir: where data sets lie.
            on_epoch: is told the epoch, of how many, and log p of held-out codes.

        Raises:
            VaekitError: for an unknown name or option, a model whose codes are no real numbers, or
                of several latents, too few rows, and data that are not found.
        """
        return fit_to_run(self, prior, seed, data_dir, on_epoch)

    def by_class(self, n: int, **how: Any) -> Tensor:
        """Return the same n draws of z under each label, `(classes, n, *X)`: see `sample`."""
        if not self.class_names:
            raise VaekitError(f"{self.path} knows no classes.")
        return torch.stack([self.sample(n, label=y, **how) for y in self.class_names])

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

    def reconstruct(self, x: Any, context: Tensor | None = None) -> Tensor:
        """Return E[x|z] at the codes of x, `(B, *X)`: see `encode`."""
        return self.model.reconstruct(*self._seen(x, context)).cpu()

    def encode(self, x: Any, context: Tensor | None = None) -> Tensor:
        """Return the codes of x, `(B, *Z)`; of several latents side by side, `(B, D)`.

        Args:
            x: a tensor of floats as the model sees them, as batches and `read` give them; or rows
                as they are stored, in whatever `read` takes: uint8, numpy, lists, paths, frames.
            context: of a conditional run, `(B, *G)`; by default from the labels of what is read.

        Raises:
            VaekitError: for images whose values are not in the range of the training, and as
                `read`.
        """
        zs = self.vae.encode(*self._seen(x, context))
        return (zs[0] if len(zs) == 1 else flat_codes(zs)).cpu()

    def decode(self, z: Any, context: Tensor | None = None) -> Tensor:
        """Return E[x|z], `(B, *X)`, for codes as `encode` gives them, numbers of any type."""
        try:
            codes = torch.as_tensor(z)
        except (TypeError, ValueError, RuntimeError):
            codes = torch.zeros(0, dtype=torch.complex64)
        if codes.is_complex() or codes.dim() < 2:
            raise VaekitError(f"got `z={shown(z)}`; expected numbers (B, *Z).")
        codes = codes.to(self.device, next(self.model.parameters()).dtype)
        affordable(self, len(codes) if codes.dim() else 1)
        zs = split_codes(codes, self.latent_shapes)
        return self.vae.decode(zs, self._context(context)).cpu()

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

    def with_data(self, value: Any) -> Run:
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

    def subject(
        self,
        data: Dataset,
        split: str = "test",
        *,
        limit: int | None = None,
        seed: int = 0,
        source: Dataset | None = None,
        sha256: str = "",
        on_rows: Callable[[str, int, int], None] | None = None,
        units: bool = False,
        prior: str | None = None,
    ) -> Subject:
        """Return what metrics look at: this model on the rows of a split of `data`.

        With `units` numbers of a table are of its own units, whatever its columns were scaled by;
        with `prior="fitted"` those of the model are with the prior fitted to its codes.

        Raises:
            VaekitError: for an unknown split, or a limit below 1.
        """
        splits = {**data.splits, "test": data.test}
        rows = Rows(choose("split", split, splits), self.device, limit, on_rows)
        plain = self.config.data.model_copy(update=PLAIN)
        fitted = self.sampled_prior(prior) if prior == "fitted" else None
        return Subject(
            self.model if fitted is None else fitted.in_place_of(self.model),
            self.spec,
            rows,
            objective=self.objective,
            train=data.train,
            data=None
            if source is None
            else partial(prepare, source, plain, values=self.spec.values),
            key=f"{sha256} {self.spec.shape} {self.config.data.range}",
            class_names=self.class_names,
            seed=seed,
            name=str(self.path),
            scale=self.spec.values.scale if units and not self.spec.columns else None,
            sample=lambda n, context, **how: self.sample(
                n,
                context=context,
                **{
                    "mean": False,
                    "seed": seed,
                    "prior": None if fitted is None else prior,
                    **how,
                },
            ),
            prior=prior or "model",
            plain=partial(self._plain, source, split),
        )

    def _plain(self, source: Dataset | None, split: str) -> Dataset:
        """Return the rows of a split as the test split of its data set, all without noise.

        A threshold is none: pixels below and above it are what the model sees.
        """
        binarize = "threshold" if self.config.data.binarize == "threshold" else "none"
        made = {"binarize": binarize, "dequantize": False, "augment": ()}
        options, source = self.config.data.model_copy(update=made), source or self.source()
        data = prepare(source, options, values=self.spec.values)
        return replace(data, test={**data.splits, "test": data.test}[split])

    def evaluate(
        self,
        *metrics: str | Spec,
        data: Any = None,
        split: str = "test",
        limit: int | None = None,
        seed: int = 0,
        prior: str = "model",
        data_dir: str | Path | None = None,
        on_rows: Callable[[str, int, int], None] | None = None,
    ) -> dict[str, Any]:
        """Return the bound and other metrics on a split, and how they were measured.

        In `spec.unit`, nats, and always with beta = 1. The bound stands at the top level: `elbo`
        and `kl` are None where the model has none, `bits_per_dim` where the likelihood has no bits.
        Each other metric is a record of its own, with its rows, draws and standard errors, and
        `protocol` says how all was measured.

        Args:
            metrics: what to measure besides, as `"nll:samples=5000"` or `"latent"`; see
                `vaekit parts metric`.
            data: new rows, as `read` takes them, in place of a split.
            split: "test", "validation" or "train": the rows that it was trained on.
            limit: so many rows only, evenly spread over the split, which may be sorted.
            seed: of the draws; each study has its own.
            prior: "model", p(z), or "fitted", the one fitted to the codes, which the protocol says.
            data_dir: where data sets lie.
            on_rows: is told what is measured, rows done, and rows in all.

        Raises:
            VaekitError: for an unknown metric or split, one that does not suit the model, a limit
                below 1, or data that are not found.
        """
        choose("prior", prior, dict.fromkeys(("model", "fitted")))
        fitted = self.sampled_prior(prior) if prior == "fitted" else None
        how: dict[str, Any] = {"limit": limit, "seed": seed, "on_rows": on_rows, "prior": prior}
        if data is None:
            source = self.source(data_dir)
            if split == "test":
                source.check_tested(str(self.path))
            rows, sha256 = self.prepared(source), self._fingerprint(source)
            subject = self.subject(rows, split, source=source, sha256=sha256, **how)
        else:
            rows, split = self.new_data(data, data_dir=data_dir), "new"
            sha256 = fingerprint(rows)
            subject = replace(self.subject(rows, "test", sha256=sha256, **how), train=None)
        named = {name: metric for name, (metric, _) in chosen(subject, "evaluate", metrics).items()}
        results = measured(subject, named)
        samples = named["bound"].samples if "bound" in named else (0,)
        protocol = {
            "data": rows.name,
            "sha256": sha256,
            "split": split,
            "rows": subject.rows.count,
            "of": len(subject.rows.split),
            "samples": prod(samples or (0,)),
            "seed": seed,
            **({"prior": f"fitted: {fitted.name}"} if fitted else {}),
            **self.protocol(),
        }
        return {**results.pop("bound", {}), **results, "protocol": protocol}

    def score(
        self,
        data: Any = None,
        *,
        split: str = "test",
        samples: int = 50,
        threshold: float | None = None,
        odd: str | None = None,
        id: str | None = None,  # noqa: A002
        label: str | None = None,
        limit: int | None = None,
        seed: int = 0,
        data_dir: str | Path | None = None,
    ) -> pandas.DataFrame:
        """Return how strange rows are, the larger the stranger: a table, a line for each row.

        Its columns are `row` (a file's name, an identifier, the line of a table's file, or a number
        from 0); what the model has of `nll`, -log p(x) by importance sampling, `bound`, -ELBO, both
        in `spec.unit`, and `error`, the mean square of x - E[x|z]; of each the `_percentile`
        against the run's own validation rows (see `percentiles`); `strange`; of a table the three
        columns that add most to -log p(x|z), and by how many nats more than usual; and `label`.

        Args:
            data: new rows, as `read` takes them, in place of a split.
            split: "test", "validation" or "train".
            samples: draws for `nll`; 0 leaves it out.
            threshold: the percentile of the first score from which a row is `strange`.
            odd: a class that there must be, whatever the classes of the run.
            id, label: the columns of a table that name its rows, and their class.
            limit, seed, data_dir: as in `evaluate`.

        Raises:
            VaekitError: as `read` and `evaluate`, and for a threshold outside (0, 1).
        """
        import pandas

        from vaekit.runs._scoring import score_rows

        how: dict[str, Any] = {"split": split, "samples": samples, "threshold": threshold}
        how |= {"odd": odd, "id": id, "label": label, "limit": limit, "seed": seed}
        return pandas.DataFrame(score_rows(self, data, data_dir=data_dir, **how).table())

    def outliers(
        self,
        k: int = 20,
        *,
        split: str = "train",
        by: str | None = None,
        samples: int = 50,
        seed: int = 0,
        data_dir: str | Path | None = None,
    ) -> pandas.DataFrame:
        """Return the k oddest rows of the data of the training, the oddest first: see `score`.

        With labels that no context tells the model there are two columns more: `other_labels`, the
        share of the 10 nearest rows of the split by code that have another label, and
        `neighbors_label`, the commonest label of these. A label may be wrong where the share is
        near 1; it may also be a row between two classes.

        Args:
            k: how many.
            split: "train", "validation" or "test".
            by: "bound", -ELBO, which is the default; "nll", "error"; or "label": the rows most of
                whose neighbors have another label.
            samples: draws for `nll`.
            seed, data_dir: as in `evaluate`.

        Raises:
            VaekitError: for another score or split, one that the model does not have, and fewer
                than k rows.
        """
        import pandas

        from vaekit.runs._outliers import outliers

        how: dict[str, Any] = {"split": split, "by": by, "samples": samples, "seed": seed}
        return pandas.DataFrame(outliers(self, k, data_dir=data_dir, **how).table())

    def edit(
        self,
        x: Any,
        toward: Mapping[str, float],
        *,
        context: Tensor | None = None,
        steps: int | None = None,
        data_dir: str | Path | None = None,
    ) -> Tensor:
        """Return E[x|z] with the codes of x moved toward classes, `(B, *X)`.

        The way to a class is the mean code of its training rows less that of all others, times its
        strength: below 0 it leads away. Where the run is conditioned on labels, its classes change
        the context instead: 0 is the row's own class, 1 the other.

        Args:
            x: rows, as `encode` takes them.
            toward: strengths by the name of a class; or of a factor of the data, whose rows above
                its mean are told from the others, as {"glasses": 1.5}.
            context: of a conditional run, as in `encode`.
            steps: so many from no change to the whole one, `(B, steps, *X)`.
            data_dir: where data sets lie.

        Raises:
            VaekitError: for a class that the data do not have, data that are not found, and a
                model whose codes are no real numbers.
        """
        from vaekit.runs._edits import edit

        return edit(self, x, toward, context=context, steps=steps, data_dir=data_dir)

    def impute(
        self,
        data: Any,
        *,
        samples: int = 100,
        draws: int = 0,
        id: str | None = None,  # noqa: A002
        seed: int = 0,
        data_dir: str | Path | None = None,
    ) -> Any:
        """Return rows with their gaps filled in, in the units of the data: see `evaluate.impute`.

        Of a table a DataFrame: its columns are `row`, with draws `draw`, and those of the data;
        what is seen is as it was, and columns of whole numbers are whole. Of images an array
        `(N, *X)`, with draws `(draws, N, *X)`: in [0, 1], or in the range that the data have.

        Args:
            data: new rows, as `read` takes them; NaN or an empty cell is a gap.
            samples: draws of z for each row.
            draws: how many draws of each row; 0 for the mean of what is missing.
            id: the column that names the rows.
            seed: of the draws.
            data_dir: where data sets lie.

        Raises:
            VaekitError: for a run of counts or of binary data, and as `read`.
        """
        from vaekit.runs._filling import fill

        how = {"samples": samples, "seed": seed}
        return fill(self, data, draws=draws, how=how, id=id, data_dir=data_dir)

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


LACKS = {
    Offer.DRAWS: "has no prior to draw from: take `vaekit reconstruct`, fit one to its codes, as "
    "`vaekit fit-prior`, or train with one, as `prior=standard-normal`.",
    Offer.ONE_SITE: "has several latents: this is for models with one.",
    Offer.MOMENTS: "has a posterior without a variance: a point, or one that is only drawn from.",
}


def affordable(run: Run, rows: int) -> None:
    """Refuse to decode more rows than the memory holds: before they are made.

    Raises:
        VaekitError: with how many would fit.
    """
    if rows >= 1 << 63:
        raise VaekitError(f"got {shown(rows)} rows; expected fewer than 2^63.")
    each = 8 * (prod(run.spec.shape) + run.latent_size)  # float32, and a copy
    most = f"ask for at most {(available() or 0) // each:,} at a time"
    check_memory(f"{rows:,} rows of {run.spec.shape}", rows * each, f"{most}.")


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


def colorizer_of(run: Run) -> Any:
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
