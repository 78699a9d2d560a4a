"""The page of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vaekit.report.comparison.drawn import Drawn
from vaekit.report.comparison.measured import DRAWS, Entry
from vaekit.report.comparison.table import blocks
from vaekit.report.page import Section, page
from vaekit.report.style import look
from vaekit.report.svg import svg

MEANING = (
    ("bound (ELBO)", "log-likelihood − KL at β = 1: a lower bound of log p(x). Higher is better."),
    ("±", "one standard error of the mean over the rows."),
    ("active units", "latent dimensions whose code follows x: Var E[z|x] > 0.01."),
    ("PSNR, SSIM", "of E[x|z] at z = E[z|x], image by image. Higher is better."),
    ("mean square error", "of E[x|z] per element, over the draws of z: those add to it."),
    ("bound, train − test", "on as many training rows: far above 0, the model has learned them "
     "by heart."),
    (
        "images a second",
        "of training, the median over the epochs; runs that trained side by side shared a machine.",
    ),
    ("dead units", "the share of the hidden units that give the same number for all rows, as a "
     "ReLU gives 0."),
    ("gradient noise", "the variance of the gradient over draws of z, summed over the parameters, "
     "against the square of its mean's norm; of each run's own objective, on 128 training rows."),
)  # fmt: skip


def comparison_page(
    title: str,
    words: Sequence[str],
    notes: Sequence[str],
    entries: Sequence[Entry],
    shown: Sequence[Entry],
    drawn: Drawn,
) -> str:
    noun = entries[0].run.spec.unit.split()[-1]
    rows = len(entries[0].log_likelihood)
    lead = (
        f"Measured on {rows:,} test {noun}s, the same for all, with {DRAWS} draws of z each; "
        f"bounds are in {entries[0].run.spec.unit}."
    )
    parts = [Section("In words", "\n".join(words))]
    if notes:
        parts.append(Section("Please note", "\n".join(notes), note=True))
    parts += [*_tables(shown), *_curves(drawn), *_sheets(entries, drawn), *_rate(drawn)]
    parts.append(Section("What the numbers mean", table=MEANING))
    return page(title, lead, parts)


def _tables(entries: Sequence[Entry]) -> Iterator[Section]:
    for title, (head, *rows) in blocks(entries):
        unbroken = [name.replace(" − ", "\u00a0−\u00a0") for name in head]
        yield Section(title, table=rows, head=unbroken)


def _curves(drawn: Drawn) -> Iterator[Section]:
    if drawn.curves is None:
        yield Section("Training", "There are no curves: no epoch was recorded.")
        return
    text = (
        "A colour for each run. Lines are of validation rows, dashed ones of training rows. "
        "The scale suits the later epochs: the first ones may lie outside."
    )
    with look():
        figure = svg(drawn.curves, "full")
    yield Section("Training", text, figure, "svg", "training curves of all runs")


def _sheets(entries: Sequence[Entry], drawn: Drawn) -> Iterator[Section]:
    texts = {
        "reconstructions": "Test images, evenly spread over the test rows, and E[x|z] at "
        "z = E[z|x] of each run.",
        "samples": "E[x|z] of draws z of the prior, all from one seed: the same z where the "
        "latents have one size.",
    }
    if any(one.elbo is None for one in entries):
        texts["samples"] += " An autoencoder was trained without a prior: these are drawn from "
        texts["samples"] += "N(0, I), where its codes need not lie."
    for name, content in drawn.sheets.items():
        alt = f"{name} of each run, a row each"
        yield Section(name.capitalize(), texts[name], content, alt=alt)


def _rate(drawn: Drawn) -> Iterator[Section]:
    if drawn.distortion is None:
        return
    text = (
        "Each β trades rate (the KL, what the code costs) for distortion (−log-likelihood, what it "
        "leaves unsaid); both are measured at β = 1. On the dotted line the ELBO is that of the "
        "best run: further left and lower is better."
    )
    with look():
        figure = svg(drawn.distortion, "wide")
    yield Section("Rate and distortion", text, figure, "svg", "rate against distortion")
