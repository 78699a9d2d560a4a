"""`vaekit compare`: several runs of one data set on one page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vaekit.evaluate.checks import whole
from vaekit.judge import _Rows
from vaekit.report.comparison.charts import curves_figure, distortion_figure, png
from vaekit.report.comparison.differences import in_words
from vaekit.report.comparison.measured import DRAWS, Entry, measure
from vaekit.report.comparison.opened import Opened, open_runs
from vaekit.report.comparison.ranking import MEASURES, judge_of, ranked
from vaekit.report.comparison.sheets import labelled
from vaekit.report.comparison.table import cells, markdown, plain
from vaekit.report.comparison.words import sentences, warnings
from vaekit.report.files import write_file
from vaekit.report.images import png_bytes
from vaekit.report.page import Section, page
from vaekit.report.style import look
from vaekit.report.svg import svg

__all__ = ["Comparison", "compare"]

SHOWN = 12  # images of a row
ABREAST = 6  # runs side by side in a table

MEANING = (
    ("bound (ELBO)", "log-likelihood − KL at β = 1: a lower bound of log p(x). Higher is better."),
    ("±", "one standard error of the mean over the rows."),
    ("active units", "latent dimensions whose code follows x: Var E[z|x] > 0.01."),
    ("bound, train − test", "on as many training rows: far above 0, the model has learned them "
     "by heart."),
    ("dead units", "the share of hidden units that no row moves."),
    ("gradient noise", "the variance of the gradient over draws of z, summed over the parameters, "
     "against the square of its mean's norm; of each run's own objective, on 128 training rows."),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison found.

    Attributes:
        path: the page.
        words: its sentences: what differs, and what came of it.
        notes: what is to heed.
        comparable: whether the runs have one likelihood, so that their bounds compare.
        ranked_by: "elbo", "psnr", "ssim" or "mse".
        differences: the options that differ, with the value of each run.
        runs: the numbers of each run, plain values; the best first.
        head, table: as text: the runs' names, and rows of a name and a cell for each run.
    """

    path: Path
    words: list[str]
    notes: list[str]
    comparable: bool
    ranked_by: str
    differences: dict[str, list[Any]]
    runs: list[dict[str, Any]]
    head: list[str]
    table: list[list[str]]


def compare(
    runs: Sequence[str | Path],
    *,
    out: str | Path = "compare.html",
    limit: int = 1000,
    rank: str | None = None,
    seed: int = 0,
    data_dir: str | None = None,
    device: str = "auto",
    title: str | None = None,
    pictures: str | Path | None = None,
) -> Comparison:
    """Compares runs of one data set on a page: what differs, and what came of it.

    All are measured on the same test rows, with ten draws of z each. Bounds of different
    likelihoods are not ranked: then PSNR judges.

    Args:
        runs: two run folders at least.
        out: the page, one HTML file.
        limit: test rows, evenly spread, and as many training rows.
        rank: "elbo", "psnr", "ssim" or "mse": the runs are shown in this order, the best first.
        seed: of the draws, and of the samples.
        data_dir: where data sets lie.
        device: where it is measured.
        title: of the page.
        pictures: a folder that gets curves.png, reconstructions.png, samples.png, table.md and,
            where beta differs, rate-distortion.png.

    Raises:
        VaekitError: for fewer than two runs, one twice, runs of different data, `rank="elbo"` of
            different likelihoods, and places that cannot be written.
    """
    whole("limit", limit)
    if rank is not None and rank not in MEASURES:
        judge_of([], True, rank)
    opened = open_runs(runs, data_dir=data_dir, device=device)
    entries = [
        measure(run, name, limit=limit, seed=seed, data_dir=data_dir)
        for run, name in zip(opened.runs, opened.names, strict=True)
    ]
    judge = judge_of(entries, opened.comparable, rank)
    drawn = _Drawn(opened, entries, seed)
    unit = opened.runs[0].spec.unit
    words = [
        in_words(opened.differences),
        *sentences(entries, opened.comparable, unit, rank),
    ]
    notes = list(warnings(entries, opened.comparable))
    shown = ranked(entries, MEASURES[judge]) if rank else entries
    html = _page(title or _title(opened), words, notes, entries, shown, drawn, limit)
    path = write_file(out, html.encode("utf-8", "replace"))
    if pictures is not None:
        _save(Path(pictures), drawn, markdown(shown))
    return Comparison(
        path,
        words,
        notes,
        opened.comparable,
        judge,
        opened.differences,
        [plain(one) for one in shown],
        [one.name for one in shown],
        cells(shown),
    )


def _title(opened: Opened) -> str:
    return f"{len(opened.runs)} runs on {opened.data.name}"


class _Drawn:
    """The pictures as PNG files, and the charts."""

    def __init__(self, opened: Opened, entries: Sequence[Entry], seed: int) -> None:
        self.sheets: dict[str, bytes] = {}
        with look():
            self.curves = curves_figure(entries, opened.comparable)
            beta = opened.differences.get("beta")
            known = beta is not None and None not in beta and opened.comparable
            self.distortion = distortion_figure(entries, opened.differences) if known else None
        if len(opened.runs[0].spec.shape) == 3:
            self.sheets["reconstructions"] = png_bytes(labelled(_reconstructed(opened)))
            self.sheets["samples"] = png_bytes(labelled(_sampled(opened, seed)))

    def files(self) -> Iterator[tuple[str, bytes]]:
        yield from ((f"{name}.png", content) for name, content in self.sheets.items())
        for name, figure in (("curves", self.curves), ("rate-distortion", self.distortion)):
            if figure is not None:
                yield f"{name}.png", png(figure)


def _reconstructed(opened: Opened) -> list[tuple[str, Tensor]]:
    """The same test images, and what each run makes of them."""
    bands = []
    for run, name in zip(opened.runs, opened.names, strict=True):
        ((x, given),) = _Rows(run, opened.data.test, SHOWN, None).batches("", SHOWN)
        seen = run.spec.values.inverse
        if not bands:
            bands.append(("test images", seen(x.cpu())))
        bands.append((name, seen(run.model.reconstruct(x, given).cpu())))
    return bands


def _sampled(opened: Opened, seed: int) -> list[tuple[str, Tensor]]:
    """E[x|z] of draws of the prior from one seed: the same z where the latents have one size."""
    many = SHOWN * (2 if len(opened.runs) <= 3 else 1)
    return [
        (name, run.spec.values.inverse(run.sample(many, seed=seed)))
        for run, name in zip(opened.runs, opened.names, strict=True)
    ]


def _save(folder: Path, drawn: _Drawn, table: str) -> None:
    for name, content in drawn.files():
        write_file(folder / name, content)
    write_file(folder / "table.md", table.encode())


def _page(
    title: str,
    words: Sequence[str],
    notes: Sequence[str],
    entries: Sequence[Entry],
    shown: Sequence[Entry],
    drawn: _Drawn,
    limit: int,
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
    parts += [*_tables(shown), *_curves(drawn), *_sheets(drawn), *_rate(drawn)]
    parts.append(Section("What the numbers mean", table=MEANING))
    return page(title, lead, parts)


def _tables(entries: Sequence[Entry]) -> Iterator[Section]:
    for start in range(0, len(entries), ABREAST):
        part = entries[start : start + ABREAST]
        title = (
            "In numbers" if start == 0 else f"In numbers, runs {start + 1} to {start + len(part)}"
        )
        yield Section(title, table=cells(part), head=["", *(one.name for one in part)])
    folders = [(one.name, str(one.run.path)) for one in entries]
    yield Section("Runs", table=folders)


def _curves(drawn: _Drawn) -> Iterator[Section]:
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


def _sheets(drawn: _Drawn) -> Iterator[Section]:
    texts = {
        "reconstructions": "Test images, evenly spread over the test rows, and E[x|z] at "
        "z = E[z|x] of each run.",
        "samples": "E[x|z] of draws z of the prior, all from one seed: the same z where the "
        "latents have one size.",
    }
    for name, content in drawn.sheets.items():
        alt = f"{name} of each run, a row each"
        yield Section(name.capitalize(), texts[name], content, alt=alt)


def _rate(drawn: _Drawn) -> Iterator[Section]:
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
