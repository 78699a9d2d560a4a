"""What a report says of a run in words and numbers: sentences, tables, notes, the protocol."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor

from vaekit.data import Dataset
from vaekit.distributions import Offer
from vaekit.evaluate import Metric, chosen, is_likelihood, measured
from vaekit.registry import text
from vaekit.report.blocks import Rebuilt
from vaekit.report.curves import finite, value
from vaekit.report.pages import mark
from vaekit.runs import Run, colorizer_of

ROWS = 1000  # test rows that the numbers of the report are measured on
RECENT = 5  # epochs, and a fifth at most, that tell whether a training had finished
LEAST = 1e-3  # of the objective's best value: what it must rise by in these

Rows = list[tuple[str, str]]
Words = Callable[[str], str]


@dataclass(frozen=True, eq=False)
class Numbers:
    """What was measured of a run for its report.

    Attributes:
        records, metrics: by the names of the metrics.
        noun: what one x is: "image" or "row".
        rows, of: how many test rows were measured, and how many there are.
        drawn: what is drawn for each row.
    """

    records: dict[str, dict[str, Any]]
    metrics: dict[str, Metric]
    noun: str
    rows: int
    of: int
    drawn: str


def measure_run(run: Run, data: Dataset) -> Numbers:
    """Measure what a report shows, on up to 1,000 test rows."""
    subject = run.subject(data, limit=ROWS)
    latent = Offer.LATENT in run.offers
    wanted, drawn = ([], "z") if latent else (["bound:samples=1"], "the noise")  # of one level
    metrics = {name: one for name, (one, _) in chosen(subject, "report", wanted).items()}
    records = measured(subject, metrics)
    noun = run.spec.unit.split()[-1]
    return Numbers(records, metrics, noun, subject.rows.count, len(data.test), drawn)


def kicker(run: Run, say: Words) -> str:
    """Return the run's name, how long it trained, and when."""
    records = run.folder.records()
    started = str(run.folder.read_json("run")["environment"].get("started", ""))[:10]
    seconds = sum(record.get("seconds") or 0 for record in records)
    spent = say("{epochs} epochs in {seconds} s").format(
        epochs=len(records), seconds=f"{seconds:,.{int(seconds < 10)}f}"
    )
    return " · ".join(part for part in (f"run {run.path.name}", spent, started) if part)


def sentences(run: Run, found: Numbers, shown: Rebuilt, say: Words) -> Rows:
    """Return what the numbers say: each a claim, and what it rests on."""
    return [rebuilds(shown, found, say), bound(run, found, say), progress(run, say)[1]]


def rebuilds(shown: Rebuilt, found: Numbers, say: Words) -> tuple[str, str]:
    """Return how much of the variance of the test rows the reconstructions keep."""
    x = shown.x.double()
    spread = (x - x.mean(0)).square().flatten(1).mean(1).mean()
    mean = shown.error.double().mean()
    error = shown.error.double().std() / max(len(shown.error), 1) ** 0.5
    share = f"{float(1 - mean / spread):.0%}".replace("-", "−")
    number = f"{mean:.4f} ± {error:.4f}"
    claim = say("It rebuilds test rows with a mean square error of {error}.")
    if Offer.COLORS in shown.run.offers:
        claim = say("It colors test images with a mean square error of {error}.")
    elif found.noun == "image":
        claim = say("It rebuilds test images with a mean square error of {error}.")
    rest = say("It explains {share} of their variance, over {rows} rows.")
    return claim.format(error=number), rest.format(share=share, rows=f"{len(x):,}")


def bound(run: Run, found: Numbers, say: Words) -> tuple[str, str]:
    """Return the bound and its two terms; the log-likelihood alone where there is none."""
    record, unit = found.records["bound"], run.spec.unit
    fit = _known(record["log_likelihood"])
    if Offer.COLORS in run.offers:
        claim = say("The log-likelihood of the true colors is {fit} {unit}.")
        color = found.records["color"]
        rest = say("PSNR is {psnr} dB; of the gray image itself, {gray} dB.")
        rest = rest.format(psnr=f"{color['psnr']:.2f}", gray=f"{color['gray_psnr']:.2f}")
        return claim.format(fit=fit, unit=say(unit)), rest
    if record["elbo"] is None:
        claim = say("It has no bound of log p(x).")
        return claim, say("The log-likelihood of what it rebuilds is {fit} {unit}.").format(
            fit=fit, unit=say(unit)
        )
    error = record["elbo_standard_error"]
    number = value(record["elbo"]) + (f" ± {value(error)}" if finite(error) else "")
    claim = say("Its bound of log p(x) is {number} {unit}:").format(number=number, unit=say(unit))
    rest = say("the log-likelihood, {fit}, less the KL, {kl}.")
    latent = found.records.get("latent")
    if latent:
        rest += " " + say("{active} of {units} latent dimensions are active.").format(
            active=latent["active_units"], units=latent["units"]
        )
    return claim, rest.format(fit=fit, kl=_known(record["kl"]))


def _known(number: float | None) -> str:
    return value(number) if finite(number) else "–"


def progress(run: Run, say: Words = str) -> tuple[bool, tuple[str, str]]:
    """Return whether the training had finished, and what tells it.

    It had not where the best epoch is among the last ones, the objective rose in these by more than
    a thousandth of its best value, and the training did not stop of itself.
    """
    records = run.folder.records()
    split = "validation" if all(r.get("validation") for r in records) else "train"
    known = [(r[split]["objective"], r["epoch"]) for r in records if finite(r[split]["objective"])]
    if len(known) < 2:
        return True, (say("It trained for {} epochs.").format(len(records)), "")
    top, epoch = max(known)
    last, recent = records[-1]["epoch"], max(1, min(RECENT, len(known) // 5))
    rise = known[-1][0] - known[-1 - recent][0]
    on = say("on validation rows") if split == "validation" else say("on training rows")
    best = say("The objective {on} was best, {top}, in epoch {epoch} of {last}.").format(
        on=on, top=value(top), epoch=epoch, last=last
    )
    if records[-1].get("stopped_early"):
        return True, (say("It stopped early: nothing got better."), best)
    if epoch > last - recent and rise > LEAST * abs(top):
        rest = say("From epoch {first} on it still rose by {rise}: train longer.").format(
            first=known[-1 - recent][1], rise=value(rise)
        )
        return False, (say("It had not finished."), f"{best} {rest}")
    return True, (say("It had stopped getting better."), best)


def number_parts(run: Run, found: Numbers, say: Words) -> list[tuple[str, list[Any]]]:
    """Return the numbers in parts: a heading, and rows of a name, a value and what it is over."""
    colors = found.metrics.get("color")
    shown = [(found.metrics[n], found.records[n]) for n in found.metrics if n != "color"]
    rows = [
        (say(name), words, "") for metric, record in shown for name, words in metric.facts(record)
    ]
    made = [] if colors is None else list(colors.facts(found.records["color"]))
    made += scales(run, found, say)
    unit = say("Measured on test rows")
    return [(unit, rows), (say("Reconstruction and scale"), [(say(n), w, "") for n, w in made])]


def scales(run: Run, found: Numbers, say: Words) -> Rows:
    """Return how far reconstructions are from the data, and the model's own scale."""
    rows, mse = [], found.records["bound"]["mse"]
    per = say("pixel and channel") if found.noun == "image" else say("value")
    if mse is not None:
        error = say("{mse} per {per}, over draws of {drawn}")
        rows.append(
            ("mean square error", error.format(mse=f"{mse:.5f}", per=per, drawn=say(found.drawn)))
        )
        if run.px.space.kind != "counts":
            root = say("{}, the root of the mean square error")
            rows.append(("sigma it implies", root.format(f"{math.sqrt(mse):.4f}")))
    log_scale = getattr(run.px, "log_scale", None)
    if isinstance(log_scale, Tensor) and not log_scale.dim():
        name = "sigma" if type(run.px).__name__ == "Gaussian" else "scale"
        rows.append((f"the model's own {name}", f"{math.exp(log_scale.item()):.4f}"))
    return rows


def measured_on(run: Run, found: Numbers, say: Words) -> str:
    """Return which rows, draws and weights the numbers are of."""
    which = (
        say("all")
        if found.rows == found.of
        else say("{rows} of the").format(rows=f"{found.rows:,}")
    )
    samples = prod(found.metrics["bound"].samples or (1,))
    draws = say("1 draw") if samples == 1 else say("{} draws").format(samples)
    nouns = say("test images") if found.noun == "image" else say("test rows")
    words = say("{which} {of} {nouns}, {draws} of {drawn} each, weights: {weights}")
    return words.format(which=which, of=f"{found.of:,}", nouns=nouns, draws=draws,
                        drawn=say(found.drawn), weights=run.weights)  # fmt: skip


def facts(run: Run, data: Dataset, found: Numbers, say: Words) -> Rows:
    """Return what was trained, on what, and with what: the protocol."""
    known = run.folder.read_json("run")
    environment = known["environment"]
    splits = [f"{known['data'][n]:,} {say(what)}" for n, what in SPLITS]
    versions = f"vaekit {environment['vaekit']}, torch {environment['torch']}"
    groups = _groups(run, data, say)
    return [
        (say("recipe"), run.config.recipe),
        (say("data"), _shape(run, found, say)),
        (say("source"), known["data"]["note"]),
        (say("images") if found.noun == "image" else say("rows"), ", ".join(splits)),
        *([(say("groups"), groups)] if groups else []),
        (say("values"), _values(run, known["data"].get("card", {}), say)),
        *_parts(run, say),
        (say("parameters"), f"{known['parameters']:,}"),
        (say("measured on"), measured_on(run, found, say)),
        (say("sha256"), str(known["data"].get("sha256", ""))),
        (say("trained with"), say("{versions}, {device}, seed {seed}").format(
            versions=versions, device=environment["device"], seed=known["seed"])),
    ]  # fmt: skip


# Names that the records bring, which are translated as they come.
NAMED = (
    *(mark("train"), mark("validation"), mark("objective"), mark("log-likelihood"), mark("KL")),
    *(mark("luminance"), mark("nats per image"), mark("nats per row"), mark("z")),
    *(mark("the noise"), mark("to train"), mark("for validation"), mark("for test")),
    *(mark("prior"), mark("posterior"), mark("likelihood"), mark("objective")),
    *(mark("test log-likelihood"), mark("test KL"), mark("test ELBO"), mark("bits per dimension")),
    *(mark("mean square error"), mark("sigma it implies"), mark("the model's own sigma")),
    *(mark("the model's own scale"), mark("PSNR against the true colors"), mark("gain")),
    mark("luminance error"),
)
SPLITS = (("train", "to train"), ("validation", "for validation"), ("test", "for test"))


def _groups(run: Run, data: Dataset, say: Words) -> str:
    """Return how many groups are in each split, and whether one is in two."""
    seen = {n: set(s.groups.tolist()) for n, s in data.splits.items() if s.groups is not None}
    if not seen:
        return ""
    counts = ", ".join(f"{len(groups):,} in {name}" for name, groups in seen.items())
    shared = sum(map(len, seen.values())) - len(set().union(*seen.values()))
    by = f"by {run.config.data.group}: " if run.config.data.group else ""
    return f"{by}{counts}; " + say("{} of them in two splits").format(shared or say("none"))


def _parts(run: Run, say: Words) -> Rows:
    """Return what the model consists of; or what goes into a colorizer."""
    parts = run.parts
    if Offer.COLORS in run.offers:
        values = run.spec.values
        noise = 255 * colorizer_of(run).noise / (values.high - values.low)
        levels = f"{noise:.4g} gray level{'s' * (noise != 1)}"
        seen = f"the gray image 0.30 R + 0.59 G + 0.11 B, with noise of σ = {levels}"
        likelihood: Any = parts["likelihood"]
        return [(say("input"), seen), (say("likelihood"), text(likelihood))]
    spaces = [site.q.space for site in run.model.example(run.spec.context).sites]
    latent = [f"{' x '.join(map(str, s.shape))} dimensions, {s.kind}" for s in spaces]
    written = [(n, one if isinstance(one, str) else text(one, brief=n)) for n, one in parts.items()]
    return [(say("latent"), "; ".join(latent)), *((say(name), words) for name, words in written)]


def _shape(run: Run, found: Numbers, say: Words) -> str:
    spec = run.spec
    if found.noun == "image":
        shape = " x ".join(map(str, spec.shape))
        words = say("{name}: {kind} images, {shape} (channels x height x width)")
        return words.format(name=spec.name, kind=spec.kind, shape=shape)
    words = (
        say("{name}: {kind}, {n} columns")
        if len(spec.shape) == 1
        else say("{name}: {kind}, {n} values")
    )
    return words.format(name=spec.name, kind=spec.kind, n=f"{spec.shape[0]:,}")


def _values(run: Run, card: dict[str, Any], say: Words) -> str:
    """Return the range of the values, as they are stored and as the model sees them."""
    options, seen, words = run.config.data, run.spec.values, ""
    if card and run.spec.kind != "table":  # columns have units of their own
        low, high = card["range"]
        words = say("{low:g} to {high:g} as stored, mean {mean:.4g}; ").format(
            low=low, high=high, mean=card["mean"]
        )
    if run.spec.kind == "counts":
        words += say("the model sees the counts")
    elif seen.loc is not None:
        words += say("the model sees each column less its training mean, over its deviation")
    elif run.spec.kind == "table":
        words += say("the model sees them as they are")
    else:
        words += say("the model sees {low:g} to {high:g}").format(low=seen.low, high=seen.high)
    if options.binarize != "none":
        words += say(", binarized ({how})").format(how=options.binarize)
    return words + (say(", dequantized") if options.dequantize else "")


def notes(run: Run, found: Numbers, say: Words) -> list[str]:
    """Return what is to heed: of the data, of the training, and of the numbers here."""
    said = list(run.folder.read_json("run").get("notes", []))
    said += [words for record in run.folder.records() for words in record.get("warnings", [])]
    latent = found.records.get("latent")
    if latent and not latent["active_units"] and not any("collapsed" in words for words in said):
        less = " or `objective.beta=0.5`" if hasattr(run.objective, "beta") else ""
        words = say(
            "Posterior collapse: no latent dimension follows x (Var E[z|x] > 0.01 in none), so all "
            "reconstructions are alike. It trained for {epochs} epochs; where more do not help, "
            "try `lr=0.0003`{less}."
        )
        said.append(words.format(epochs=len(run.folder.records()), less=less))
    if not is_likelihood(run.px.space, run.spec.kind) and run.px.space.levels == 2:
        said.append(say(
            "Gray values under a Bernoulli are not a likelihood: the numbers are the usual loss "
            "and compare only with the same loss on the same data."
        ))  # fmt: skip
    if found.records["bound"]["elbo"] is None and Offer.LATENT in run.offers:
        said.append(say(
            "This model has no bound, and nothing shaped its codes like the prior: its samples "
            "show what that costs."
        ) if Offer.DRAWS in run.offers else say(
            "This model has no bound and no prior: nothing says how its codes are distributed, so "
            "there are no samples."
        ))  # fmt: skip
    if not run.px.space.discrete:
        said.append(say(
            "This likelihood is a density, not a probability: its log may be above 0, and compares "
            "only where the values have the same range."
        ))  # fmt: skip
    return said
