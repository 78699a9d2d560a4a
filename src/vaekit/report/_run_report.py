"""The report of a run: what it says and shows, from the run folder and the test data.

The template puts into words what is here in numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from vaekit._io import write
from vaekit.data import Dataset, spread
from vaekit.distributions import BALL, SPHERE, Offer, Space
from vaekit.evaluate import ACTIVE, Metric, chosen, is_likelihood, measured
from vaekit.registry import text
from vaekit.report import _blocks as blocks
from vaekit.report._blocks import Rebuilt
from vaekit.report._curves import Chart, bars, finite, value
from vaekit.report._epochs import training_curves
from vaekit.report._explore import explorable
from vaekit.report._network import network
from vaekit.report._pages import mark, render, words
from vaekit.report._run_set import Words
from vaekit.report._strange import likely
from vaekit.report._tables import table_blocks
from vaekit.runs import Run, colorizer_of, keep_fitted
from vaekit.training import last_notes, rising

ROWS = 1000  # test rows that the numbers of the report are measured on
NAMES = 24  # bars that have names
MOVABLE = {"reals", BALL, SPHERE}  # spaces whose codes go ways, a dimension at a time too
SHOWS = ("pairs", "likely", "samples", "walk", "dims", "table", "cloud")  # blocks of the page

# Names that the records bring, which are translated as they come.
NAMED = (
    *(mark("train"), mark("validation"), mark("objective"), mark("log-likelihood"), mark("KL")),
    *(mark("luminance"), mark("nats per image"), mark("nats per row"), mark("latent")),
    *(mark("prior"), mark("posterior"), mark("likelihood"), mark("input")),
    *(mark("test log-likelihood"), mark("test KL"), mark("test ELBO"), mark("bits per dimension")),
    *(mark("the model's own sigma"), mark("the model's own scale"), mark("gain")),
    *(mark("PSNR against the true colors"), mark("luminance error")),
    *(mark("draws: distance of columns (KS)"), mark("draws: error of correlations")),
    *(mark("draws told from real rows (AUROC)"), mark("draws that are training rows")),
    mark("draws nearer to training rows than real ones"),
    *(mark("a Gaussian"), mark("a mixture of {} Gaussians"), mark("a normalizing flow")),
    mark("a label-weighted mixture of {} Gaussians"),
    *(mark("a second VAE"), mark("the prior {}"), mark("a transformer")),
)


def write_run_report(run: Run, *, data_dir: str | Path | None = None, lang: str = "en") -> Path:
    """Write report.html into the run folder, and the prior fitted to the codes beside it.

    Its numbers come from up to 1,000 test rows.

    Args:
        run: of any model.
        data_dir: where data sets lie.
        lang: the language of its sentences, "en" or "zh"; numbers and options are the same.

    Raises:
        VaekitError: where the data are not found or the file cannot be written, and for another
            language.
    """
    say = words(lang).gettext
    data = run.dataset(data_dir)
    found = RunFacts.of(run, data)
    title = say("{recipe} on {data}").format(recipe=run.config.recipe, data=run.spec.name)
    known = {"title": title, "run": run, "found": found, "kl": kl_bars(found.latent, say)}
    curves = training_curves(found.epochs, say(run.spec.unit), step=run.step, say=say)
    shown = Rebuilt.of(run, data, data.test.take(spread(len(data.test), ROWS)))
    known |= {"curves": curves, "rebuilt": shown, "network": network(run, say)}
    known |= {"explorable": explorable(run)}
    html = render("run.html.j2", lang=lang, **known, **found.shows(shown, say))
    keep_fitted(run, data)
    return write(run.folder.report, html)


@dataclass(frozen=True, eq=False)
class RunFacts:
    """What is known and was measured of a run, for its report.

    Attributes:
        run, data: whose facts they are.
        records, metrics: what was measured, by the names of the metrics.
        index: which test rows were measured.
    """

    run: Run
    data: Dataset
    records: dict[str, dict[str, Any]]
    metrics: dict[str, Metric]
    index: Tensor

    @classmethod
    def of(cls, run: Run, data: Dataset) -> RunFacts:
        """Measure what a report shows, on up to 1,000 test rows."""
        subject = run.subject(data, limit=ROWS)
        wanted = [] if Offer.LATENT in run.offers else ["bound:samples=1"]  # of one level of noise
        metrics = {name: one for name, (one, _) in chosen(subject, "report", wanted).items()}
        return cls(run, data, measured(subject, metrics), metrics, subject.rows.index)

    @property
    def rows(self) -> int:
        """How many test rows were measured."""
        return len(self.index)

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        """What each epoch recorded."""
        return self.run.folder.records()

    @property
    def seconds(self) -> str:
        """How long it trained."""
        seconds = sum(record.get("seconds") or 0 for record in self.epochs)
        return f"{seconds:,.{int(seconds < 10)}f}"

    def shows(self, shown: Rebuilt, say: Words) -> dict[str, Any]:
        """Return the blocks of images, or those of a table in their stead, and the codes."""
        shape, offers = self.run.spec.shape, self.run.offers
        latent = Offer.LATENT in offers and Offer.CODES not in offers  # no straight lines in codes
        drawable = len(shape) == 3
        found: dict[str, Any] = dict.fromkeys(SHOWS)
        if drawable:
            found["pairs"] = blocks.reconstructions(shown, say)
            found["samples"] = blocks.samples(shown, say) if self.run.draws else None
        if drawable and latent and {space.kind for space in self.spaces} <= MOVABLE:
            found["walk"] = blocks.walks(shown, say) if len(shown.x) > 1 else None
            found["dims"] = blocks.dimensions(shown, self.latent.get("kl_per_dim"), say)
        if len(shape) == 1:
            found["table"] = table_blocks(shown, say)
        elbo = self.metrics["bound"].row("elbo")
        if elbo is not None:
            found["likely"] = likely(self.run, self.data, elbo, self.index, say)
        if latent:
            found["cloud"] = blocks.clouds(shown, say, drawable=drawable)
        return found

    @property
    def notes(self) -> list[str]:
        """What was said of the data and of the training."""
        warnings = [text for record in self.epochs for text in record.get("warnings", [])]
        last = last_notes(self.run.path, self.epochs)
        return [*self.run.folder.read_json("run").get("notes", []), *warnings, *last]

    @property
    def latent(self) -> dict[str, Any]:
        """What the dimensions of z hold; nothing without a latent."""
        return self.records.get("latent") or {}

    @property
    def spaces(self) -> list[Space]:
        """Where the codes live, of each latent."""
        return [site.q.space for site in self.run.model.example(self.run.spec.context).sites]

    @property
    def improper(self) -> bool:
        """Whether it is a Bernoulli of gray values, which is no likelihood."""
        space = self.run.px.space
        return not is_likelihood(space, self.run.spec.kind) and space.levels == 2

    @property
    def draws(self) -> int:
        """How many draws of z each row has."""
        return math.prod(self.metrics["bound"].samples or (1,))

    @property
    def progress(self) -> dict[str, Any]:
        """The best epoch, and whether the training had finished.

        It had not where the objective was `vaekit.training.rising`.
        """
        records = self.epochs
        split = "validation" if all(r.get("validation") for r in records) else "train"
        numbers = [(r[split]["objective"], r["epoch"]) for r in records]
        known = [pair for pair in numbers if finite(pair[0])]
        if len(known) < 2:
            return {"finished": True, "best": None}
        top, epoch = max(known)
        best = {"top": value(top), "epoch": epoch, "last": records[-1]["epoch"]}
        still, stopped = rising(records), bool(records[-1].get("stopped_early"))
        when = {"rise": value(still[0]), "first": still[1]} if still else {}
        return {"finished": still is None, "stopped": stopped, "split": split, "best": best, **when}

    def numbers(self, *, color: bool) -> list[tuple[str, str]]:
        """Return the numbers of all metrics in words; with `color`, of a colorizer's alone."""
        names = [n for n in self.metrics if (n == "color") == color and n != "codes"]
        return [fact for name in names for fact in self.metrics[name].facts(self.records[name])]

    @property
    def code_use(self) -> list[tuple[str, str]]:
        """How many of its codes a model uses, in words."""
        return list(self.metrics["codes"].facts(self.records["codes"]))

    @property
    def own_scale(self) -> tuple[str, str] | None:
        """The scale that the likelihood gives itself, where it has one for all values."""
        log_scale = getattr(self.run.px, "log_scale", None)
        if not isinstance(log_scale, Tensor) or log_scale.dim():
            return None
        name = "sigma" if type(self.run.px).__name__ == "Gaussian" else "scale"
        return f"the model's own {name}", f"{math.exp(log_scale.item()):.4f}"

    @property
    def clusters(self) -> int:
        """Of how many groups the measured rows are, over which errors then are; 0 without."""
        groups = self.metrics["bound"].groups
        return 0 if groups is None else len(groups.unique())

    @property
    def groups(self) -> tuple[str, int]:
        """How many groups are in each split, in words, and how many are in two."""
        splits = self.data.splits.items()
        seen = {name: set(s.groups.tolist()) for name, s in splits if s.groups is not None}
        counts = ", ".join(f"{len(groups):,} in {name}" for name, groups in seen.items())
        return counts, sum(map(len, seen.values())) - len(set().union(*seen.values()))

    @property
    def parts(self) -> list[tuple[str, str]]:
        """What the model consists of; or what goes into a colorizer."""
        run, values = self.run, self.run.spec.values
        parts = {n: p if isinstance(p, str) else text(p, brief=n) for n, p in run.parts.items()}
        if Offer.COLORS not in run.offers:
            shapes = [" x ".join(map(str, space.shape)) for space in self.spaces]
            latent = [f"{n} dimensions, {s.kind}" for n, s in zip(shapes, self.spaces, strict=True)]
            return [("latent", "; ".join(latent)), *parts.items()]
        noise = 255 * colorizer_of(run).noise / (values.high - values.low)
        levels = f"{noise:.4g} gray level{'s' * (noise != 1)}"
        seen = f"the gray image 0.30 R + 0.59 G + 0.11 B, with noise of σ = {levels}"
        return [("input", seen), *(part for part in parts.items() if part[0] == "likelihood")]


def kl_bars(latent: Mapping[str, Any], say: Words = str) -> Chart | None:
    """Return the KL of each latent dimension as a bar, the largest first; None without numbers.

    Those with Var E[z|x] above 0.01 are active (Burda et al., arXiv 1509.00519). A KL alone does
    not say that a code follows x: one that is the same for all x, and not the prior, has a KL too.

    Args:
        latent: what the metric of this name measured: `kl_per_dim` and `variance`.
        say: the translation of words.

    Example:
        >>> kl_bars({"kl_per_dim": [0.0, 1.5, 2.0], "variance": [0.0, 0.5, 0.0]}).words
        '1 of 3 dimensions active, 3.50 nats in total'
    """
    pairs = enumerate(latent.get("kl_per_dim") or ())
    known = sorted(((nats, dim) for dim, nats in pairs if finite(nats)), key=lambda one: -one[0])
    if not known:
        return None
    heights, dims = zip(*known, strict=True)
    active = [latent["variance"][dim] > ACTIVE for dim in dims]
    total = say("{} of {} dimensions active, {} nats in total")
    words = total.format(sum(active), len(known), value(sum(heights)))
    names = [str(dim) for dim in dims] if len(dims) <= NAMES else []
    kinds = ["" if one else "idle" for one in active]
    axis = say("latent dimension, largest KL first")
    return bars(words, say("nats"), heights, names, kinds=kinds, axis=axis, words=words)
