"""How good the samples of a model are: metrics that compare draws with real rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from vaekit.data import Split, generator, spread
from vaekit.distributions import offering
from vaekit.errors import VaekitError, at_least
from vaekit.evaluate._checks import Numbers, counted
from vaekit.evaluate._distances import HALVES, LEAST, frechet, kid, prdc
from vaekit.evaluate._features import NAMES, features_of, refusal
from vaekit.evaluate._metrics import BATCH, Column, Line, Record, Study, Subject, shown
from vaekit.evaluate._synthetic import rounded
from vaekit.registry import register


class Compared(NamedTuple):
    """Features `(N, D)` of drawn rows, of real ones and of training rows, and what they are."""

    drawn: Tensor
    real: Tensor
    train: Tensor | None
    groups: Tensor | None  # of the real rows
    features: str
    how: str


@dataclass(kw_only=True, eq=False, repr=False)
class OfSamples(Study):
    """A study of drawn rows beside the rows of a split, by features of both.

    Means stand beside rows without noise, as gray levels; draws beside rows as a model sees them.
    A context of the draws is that of the real rows.

    Args:
        features: `classifier`, trained on the labels, by default of images that have some; `pca`,
            by default of all others; `random`, a network with random weights; or a TorchScript or
            .onnx file, of rows in the units of the data, images in [0, 1].
        most: of the rows that are drawn, and of the real ones.
        mean: whether to take E[x|z], or draws of x; by default means, but of tables and binary
            images.
    """

    features: str | None = None
    most: int = 10_000
    mean: bool | None = None

    needs = offering("latent", "draws")
    words: ClassVar[str]  # what the first number is, beside its features
    label: ClassVar[str] = ""  # of a number alone, where that is not its name

    def __post_init__(self) -> None:
        super().__init__()
        features = self.features
        if features is not None and features not in NAMES and not Path(features).is_file():
            known = f"{', '.join(NAMES)}, or a TorchScript or .onnx file"
            raise VaekitError(f"got `features={features}`; expected {known}.")
        at_least("most", self.most, LEAST)

    @abstractmethod
    def numbers(self, drawn: Tensor, real: Tensor, seed: int, **how: Any) -> Numbers:
        """Return what is measured, over so many `halves` of rows with such `groups`."""

    def suits(self, subject: Subject) -> str | None:
        """Refuse rows with gaps, too few rows, and new ones."""
        if subject.spec.gaps:
            return "its rows have gaps"
        if subject.train is None or subject.plain is None or subject.sample is None:
            return "its draws are compared with rows of its own data: name a `split`"
        if subject.rows.count < LEAST:
            return f"it takes {LEAST} rows, and there are {subject.rows.count}"
        return refusal(subject, self.features)

    def study(self, subject: Subject) -> Record:
        """Return the numbers, beside those of training rows."""
        key = (self.features, self.most, self.mean)
        if key not in subject.shared:
            subject.shared[key] = self._compared(subject)
        found: Compared = subject.shared[key]
        how: Any = {"halves": HALVES, "groups": found.groups}
        record = {**self.numbers(found.drawn, found.real, subject.seed, **how)}
        if found.train is not None:
            floor = self.numbers(found.train, found.real, subject.seed, halves=0)
            record |= {f"{column.name}_train": floor[column.name] for column in self.columns}
        how = {"features": found.features, "how": found.how, "prior": subject.prior}
        n = len(found.drawn)
        over = counted(n, found.groups)
        return {**record, **how, "samples": n, "standard_error_over": over}

    def _compared(self, subject: Subject) -> Compared:
        assert subject.plain is not None
        assert subject.train is not None
        data, few = subject.plain(), subject.rows.few(self.most)
        index = few.index
        mean = (subject.images and data.kind != "binary") if self.mean is None else self.mean
        train, real = (data.train, data.test) if mean else (subject.train, subject.rows.split)
        features = features_of(subject, self.features)

        def of(split: Split, index: Tensor) -> Tensor:
            return torch.cat([features.of(split.x(part)) for part in index.split(BATCH)])

        drawn = torch.cat([*map(features.of, self._drawn(subject, index, mean))])
        own = subject.rows.split is subject.train
        known = None if own else of(train, spread(len(train), len(index)))
        n, what = f"{len(index):,}", "means E[x|z]" if mean else "draws of x"
        prior = "p(z)" if subject.prior == "model" else "the prior fitted to the codes"
        rows = f"{n} rows{' before binarization' * (mean and data.kind != subject.spec.kind)}"
        how = f"{n} {what}, z of {prior}, beside {rows}; features: {features.words}"
        return Compared(drawn, of(real, index), known, few.groups, features.name, how)

    def _drawn(self, subject: Subject, index: Tensor, mean: bool) -> Iterator[Tensor]:
        """Yield as many rows as there are real ones, some at a time, each with its own seed."""
        assert subject.sample is not None
        draw, context = generator(subject.seed, "samples"), subject.rows.split.context
        done, rows = 0, subject.rows
        for part in index.split(BATCH):
            given = None if context is None else context[part].float()
            seed = int(torch.randint(2**31, (), generator=draw))
            how = {"mean": mean, "prior": subject.prior, "seed": seed}
            drawn = subject.sample(len(part), given, **how)
            yield drawn if mean or subject.images else rounded(drawn, subject.spec).float()
            done += len(part)
            if rows.on_rows is not None:
                rows.on_rows("samples", done, len(index))

    def lines(self, record: Record) -> Iterator[Line]:
        """Yield each number, with what training rows have, and how all was measured."""
        fitted = ", fitted prior" * (record["prior"] == "fitted")
        title = f"{self.words} ({record['features']} features{fitted})"
        for column in self.columns:
            known, half = (record.get(f"{column.name}_{of}") for of in ("train", "at_half"))
            more = [title] if column is self.columns[0] else []
            more += [] if known is None else [f"training rows {known:.4f}"]
            more += [] if half is None or not self.label else [f"half as many rows {half:.4f}"]
            error = record.get(f"{column.name}_standard_error")
            yield self.label or column.name, record[column.name], error, "; ".join(more)
        yield "", None, None, record["how"]

    def facts(self, record: Record) -> Iterator[tuple[str, str]]:
        """Yield rows of the report's table, with the features."""
        for column in self.columns:
            yield f"{column.title} ({record['features']} features)", shown(record, column)


@register("metric", "frechet")
class Frechet(OfSamples):
    """The Frechet distance of drawn rows from real ones, by their features: see `metrics.frechet`.

    Heusel et al., arXiv 1706.08500. Of features of the Inception network it is called FID. It is
    too large by about c / N of N rows: beside it stands that of half as many.
    """

    words, label = "Frechet distance", "frechet"
    columns = (Column("distance", "Frechet distance", better=-1),)

    def numbers(self, drawn: Tensor, real: Tensor, seed: int, **how: Any) -> Numbers:
        """Return the distance."""
        return frechet(drawn, real, seed=seed, **how)


@register("metric", "kid")
@dataclass(kw_only=True, eq=False, repr=False)
class KID(OfSamples):
    """The kernel distance of drawn rows from real ones, by their features: see `metrics.kid`.

    Binkowski et al., arXiv 1801.01401. Without bias, it may fall below 0.

    Args:
        size: rows of a subset, a tenth of all at most.
    """

    size: int = 1000

    words, label = "kernel distance, KID", "kid"
    columns = (Column("distance", "kernel distance, KID", decimals=4, better=-1),)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("size", self.size, 2)

    def numbers(self, drawn: Tensor, real: Tensor, seed: int, **how: Any) -> Numbers:
        """Return the mean over subsets."""
        return kid(drawn, real, size=self.size, seed=seed, groups=how.get("groups"))


@register("metric", "prdc")
@dataclass(kw_only=True, eq=False, repr=False)
class PRDC(OfSamples):
    """Precision, recall, density and coverage of drawn rows, by their features.

    See `metrics.prdc`; Kynkaanniemi et al., arXiv 1904.06991, and Naeem et al., arXiv 2002.09797.

    Args:
        k: the ball of a row reaches to its k-th nearest neighbor.
    """

    k: int = 5

    words = "drawn rows near real ones"
    columns = tuple(
        Column(name, name, decimals=3, better=1)
        for name in ("precision", "recall", "density", "coverage")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("k", self.k, 1)

    def numbers(self, drawn: Tensor, real: Tensor, seed: int, **how: Any) -> Numbers:
        """Return the four."""
        return prdc(drawn, real, k=self.k, seed=seed, **how)
