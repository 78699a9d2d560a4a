"""A trained model, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaekit._arguments import shown
from vaekit._borders import borders
from vaekit._torchutil import rng
from vaekit.data import Dataset, fingerprint, label_of, prepare
from vaekit.distributions import Offer
from vaekit.errors import VaekitError, at_least, choose
from vaekit.evaluate import Rows, Subject, chosen, measured
from vaekit.models import flat_codes, split_codes
from vaekit.registry import Spec, checked, find
from vaekit.runs._fitted import FittedPrior, takes_mixture
from vaekit.runs._fitting import fit_to_run, fitted_prior
from vaekit.runs._opened import Opened, affordable, fixed_at
from vaekit.runs._saved_models import save

if TYPE_CHECKING:
    import pandas

NOISELESS: dict[str, Any] = {"binarize": "none", "dequantize": False, "augment": ()}
PLAIN = {**NOISELESS, "validation": 0, "limit": None, "split_seed": 0}


@borders
@dataclass(eq=False, repr=False)
class Run(Opened):
    """A trained model, its data, and what can be done with it.

    Its attributes are those of `Opened`.
    """

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model, as it is now, to a folder, or to a file that ends in .vaekit.

        `vaekit.load` opens either one, on any machine, as a run without records.

        Raises:
            VaekitError: where there is something already, or it cannot be written.
        """
        return save(self, path, overwrite=overwrite)

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
        Of a run with labels it is p(z|y), where codes differ by label.

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
        if fitted is None:
            self.require(Offer.DRAWS)
        else:
            model = fitted.in_place_of(model, scored=False)
        with rng(seed, self.device), torch.no_grad():
            if context is None or number is not None:
                context = self.spec.contexts(n, number, covariates or {}, drawn=True)
            context = self._context(context)
            if not fixed:
                return model.sample(n, context, mean=mean).cpu()
            self.require(Offer.ONE_SITE)
            (z,) = model.draw_prior(n, context)
            first = None if context is None else context[:1]
            zs = (fixed_at(z, fixed, self.prior(first)),)
            x = model.decode(zs, context) if mean else model.likelihood_at(zs, context).sample()
            return x.cpu()

    def sampled_prior(self, prior: str | None = None) -> FittedPrior | None:
        """Return the prior fitted to the codes where `sample` takes it; None where it takes p(z).

        Where "fitted" is asked for and a model without a p(z) has none, a mixture is fitted.

        Raises:
            VaekitError: for another word than "fitted" and "model", and where none can be fitted.
        """
        if prior is not None:
            choose("prior", prior, dict.fromkeys(("fitted", "model")))
        fitted = None if prior == "model" else fitted_prior(self)
        if prior == "fitted" and fitted is None and takes_mixture(self.model, draws=False):
            fitted = self.fit_prior()
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
        """Return n samples under each label, of the same noise, `(classes, n, *X)`: see `sample`.

        They are of the same z, but of a prior that hangs on the label.
        """
        if not self.class_names:
            raise VaekitError(f"{self.path} knows no classes.")
        return torch.stack([self.sample(n, label=y, **how) for y in self.class_names])

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
        scored: bool = True,
    ) -> Subject:
        """Return what metrics look at: this model on the rows of a split of `data`.

        With `units` numbers of a table are of its own units, whatever its columns were scaled by;
        with `prior="fitted"` those of the model are with the prior fitted to its codes, which is
        refused where it has no density and what is asked is to be `scored`, and no samples alone.

        Raises:
            VaekitError: for an unknown split, or a limit below 1.
        """
        splits = {**data.splits, "test": data.test}
        rows = Rows(choose("split", split, splits), self.device, limit, on_rows)
        plain = self.config.data.model_copy(update=PLAIN)
        stored = None
        if source is not None:
            values = replace(self.spec.values, low=0.0, high=1.0)
            stored = partial(prepare, source, plain, values=values)
        fitted = self.sampled_prior(prior) if prior == "fitted" else None
        how: dict[str, Any] = {"mean": False, "seed": seed, "prior": fitted and prior}
        return Subject(
            self.model if fitted is None else fitted.in_place_of(self.model, scored=scored),
            self.spec,
            rows,
            objective=self.objective,
            train=data.train,
            data=stored,
            key=f"{sha256} {self.spec.shape}",
            class_names=self.class_names,
            factor_names=data.factor_names,
            seed=seed,
            name=str(self.path),
            scale=self.spec.values.scale if units and not self.spec.columns else None,
            sample=lambda n, context, **more: self.sample(n, context=context, **{**how, **more}),
            prior=prior or "model",
            plain=partial(self._plain, source, split),
        )

    def _plain(self, source: Dataset | None, split: str) -> Dataset:
        """Return the rows of a split as the test split of its data set, all without noise.

        A threshold is none: pixels below and above it are what the model sees.
        """
        binarize = "threshold" if self.config.data.binarize == "threshold" else "none"
        made = {**NOISELESS, "binarize": binarize}
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
        asked = [find("metric", checked("metric", metric)["name"]) for metric in metrics]
        scored = not any(Offer.DRAWS in metric.needs for metric in asked)
        how: dict[str, Any] = {"limit": limit, "seed": seed, "on_rows": on_rows}
        how |= {"prior": prior, "scored": scored}
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
