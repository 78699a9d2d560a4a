"""`vaekit compare`: several runs of one data set on one page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from vaekit._borders import border
from vaekit._imports import Named, load
from vaekit._io import make_folder, remove_empty, write
from vaekit.distributions import Offer
from vaekit.errors import VaekitError, at_least, choose, visible
from vaekit.registry import describe
from vaekit.report import _epochs as epochs
from vaekit.report import _leads as leading
from vaekit.report import _ranking as ranking
from vaekit.report import _spreads as spreads
from vaekit.report._curves import Chart
from vaekit.report._figures import save_figure
from vaekit.report._grids import png_bytes
from vaekit.report._measures import (
    SHOWN,
    Measure,
    Setting,
    evaluated,
    measure,
    measures,
    number_text,
)
from vaekit.report._pages import Cell, cells, mark, render, small, words
from vaekit.report._run_set import RunSet, Words, in_words, open_runs, unit_of
from vaekit.report._sheets import labeled

Columns = dict[str, list[str]]  # by their titles, the text of each row
Part = tuple[str, list[str], list[list[str]], set[tuple[int, int]]]  # title, head, rows, best cells
SPREADS = 6  # numbers whose spread is drawn


@dataclass(frozen=True, eq=False)
class Comparison:
    """What came of a comparison.

    Attributes:
        path: the page.
        words: its sentences: what differs, and what came of it.
        notes: what is to heed.
        comparable: whether the runs have one likelihood, so that their bounds compare.
        ranked_by: the number that ranks, as "elbo" or "psnr"; None where there is none.
        differences: the options that differ, with the value of each run.
        runs: the numbers of each run, plain values; the best first where a rank was asked for.
        settings: where there are several seeds, the means over these of each setting, with
            standard errors.
        table: as text: in parts, each a title, the names of its numbers, and a row for each run.
    """

    path: Path
    words: list[str]
    notes: list[str]
    comparable: bool
    ranked_by: str | None
    differences: dict[str, list[Any]]
    runs: list[dict[str, Any]]
    settings: list[dict[str, Any]]
    table: dict[str, list[list[str]]]


@border
def compare(
    runs: Sequence[str | Path],
    *,
    out: str | Path = "compare.html",
    limit: int = 1000,
    rank: str | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    device: str = "auto",
    title: str | None = None,
    files: str | Path | None = None,
    prior: str | None = None,
    lang: str = "en",
    import_: Named = (),
    training_data: str | Path | None = None,
) -> Comparison:
    """Compare runs of one data set on a page: what differs, and what came of it.

    All are measured on the same test rows, by every metric that is registered for it; what
    `vaekit evaluate` found of all of them alike stands in the table too. Bounds of
    different likelihoods are not ranked: then the next number judges, as PSNR. Runs that differ in
    their seed alone are one setting: its numbers are means over the seeds.

    Args:
        runs: two run folders at least.
        out: the page, one HTML file.
        limit: test rows, evenly spread, and as many training rows.
        rank: a column of a metric, as "elbo", "psnr", "ssim" or "mse": the runs are shown in this
            order, the best first.
        seed: of the draws, and of the samples.
        data_dir: where data sets lie.
        device: where it is measured.
        title: of the page.
        files: a folder that gets curves.png, reconstructions.png, samples.png, table.md and,
            where beta differs, rate-distortion.png.
        prior: what the samples are drawn from, as in `Run.sample`: "model" or "fitted".
        lang: the language of the sentences, "en" or "zh"; numbers and options are the same.
        import_: files and modules of your own parts that the runs were trained with.
        training_data: the path of the data that they were trained on, where they have moved.

    Raises:
        VaekitError: for fewer than two runs, one twice, runs of different data, `rank="elbo"` of
            different likelihoods, one that fewer than two have, another prior or language, and what
            cannot be written.
    """
    at_least("limit", limit, 1)
    load(import_)
    check_page(page := Path(out), files, lang)
    say = words(lang).gettext
    where: dict[str, Any] = {"data_dir": data_dir, "training_data": training_data}
    opened = open_runs(runs, device=device, **where)
    if prior is not None:
        choose("prior", prior, dict.fromkeys(("model", "fitted")))
    found = Compared.of(opened, rank, say, prior, limit=limit, seed=seed, data_dir=data_dir)
    title = title or say("{n} runs on {data}").format(n=len(runs), data=opened.data.name)
    write(page, render("compare.html.j2", lang=lang, title=title, found=found, opened=opened))
    if files is not None:
        found.export(Path(files))
    return Comparison(
        path=page,
        words=[f"{claim} {rest}".rstrip() for claim, rest in found.says],
        notes=found.notes,
        comparable=opened.comparable,
        ranked_by=found.best.key if found.best else None,
        differences=opened.options,
        runs=[row.entries[0].plain(found.numbers) for row in found.alone],
        settings=[row.plain(found.numbers) for row in found.settings if opened.seeded],
        table={title: [head, *rows] for title, head, rows, _ in found.table(found.alone)},
    )


def check_page(page: Path, files: str | Path | None, lang: str) -> None:
    """Refuse a page, a folder of files or a language before hours of work go into them.

    Raises:
        VaekitError: for what is no .html, cannot be made, or has no translation.
    """
    words(lang)
    if page.suffix != ".html" or page.is_dir():
        raise VaekitError(f"got the page {page}; expected a file that ends in .html.")
    for folder in (page.parent, *([] if files is None else [Path(files)])):
        remove_empty(make_folder(folder))


@dataclass(frozen=True, eq=False)
class Compared:
    """Runs that were measured, as a page, files and JSON show them.

    Attributes:
        opened: the runs.
        numbers: what was measured of them.
        settings, alone: the rows of the page, and a row for each run; in order where ranked.
        best: the number that ranks, if any.
        seed: of the samples.
        say: the translation of words.
        prior: of the samples, as in `Run.sample`.
    """

    opened: RunSet
    numbers: Sequence[Measure]
    settings: Sequence[Setting]
    alone: Sequence[Setting]
    best: Measure | None
    seed: int
    say: Words
    prior: str | None

    @classmethod
    def of(
        cls,
        opened: RunSet,
        rank: str | None,
        say: Words,
        prior: str | None,
        *,
        seed: int,
        **how: Any,
    ) -> Compared:
        """Measure the runs, and put them in order if a rank is named."""
        kept = evaluated(opened)
        numbers = measures(opened, kept[0])
        wanted = None if rank is None else ranking.rank_by(opened, numbers, rank)
        named = zip(opened.runs, opened.names, kept, strict=True)
        entries = [measure(*each, seed=seed, **how) for each in named]
        settings = [
            Setting(name, [entries[row] for row in rows]) for name, rows in opened.settings.items()
        ]
        alone = [Setting(entry.name, [entry]) for entry in entries]
        best = ranking.first_rank(alone, leading.ranking(numbers, opened.comparable), wanted)
        if best and rank:
            settings, alone = (leading.in_order(rows, best) for rows in (settings, alone))
        return cls(opened, numbers, settings, alone, best, seed, say, prior)

    @cached_property
    def says(self) -> list[tuple[str, str]]:
        """What differs, and what came of it: claims, and what they rest on."""
        opened, found = self.opened, (self.settings, self.numbers)
        how = self.say, self.typical[0]
        claims = ranking.sentences(*found, opened.comparable, opened.options, *how)
        return [(in_words(opened.options, self.say), ""), *claims]

    @cached_property
    def typical(self) -> tuple[dict[str, float], dict[str, Any]]:
        """By what two seeds of such runs typically differ, and how that is known."""
        return ranking.typical_of(self.opened.runs[0])

    @cached_property
    def notes(self) -> list[str]:
        """Over what errors are, and what else is to heed."""
        found = ranking.notes(self.opened, self.settings, self.numbers, self.say, self.typical[1])
        return [ranking.errors_note(self.settings, self.say), *found]

    @cached_property
    def walls(self) -> dict[str, list[tuple[str, Tensor]]]:
        """The same test images and draws of every run, in [0, 1], a row each; none of a table."""
        entries = [entry for setting in self.settings for entry in setting.entries]
        if len(self.opened.runs[0].spec.shape) != 3:
            return {}
        rows = [(self.say("test images"), entries[0].seen(entries[0].first[0]))]
        rows += [(one.name, one.seen(one.run.reconstruct(*one.first))) for one in entries]
        count = SHOWN * (2 if len(entries) <= 3 else 1)
        if self.prior == "model":
            drawing = [one for one in entries if Offer.DRAWS in one.run.offers]
        else:
            drawing = [one for one in entries if one.run.draws]
        how: Any = {"seed": self.seed, "prior": self.prior}
        samples = [(one.name, one.seen(one.run.sample(count, **how))) for one in drawing]
        return {"reconstructions": rows} | ({"samples": samples} if samples else {})

    @property
    def tiles(self) -> dict[str, list[tuple[str, list[Cell]]]]:
        """The walls as cells of the page."""
        return {
            name: [(row, cells(small(x), [f"{name}, {row}"] * len(x))) for row, x in rows]
            for name, rows in self.walls.items()
        }

    @cached_property
    def panels(self) -> list[epochs.Panel]:
        """Charts of training."""
        return list(epochs.panels(self.opened, self.settings, self.say))

    @property
    def styles(self) -> dict[str, epochs.Style]:
        """How each setting is drawn."""
        return epochs.styles(self.opened)

    @cached_property
    def trade(self) -> spreads.Tradeoff | None:
        """Rate against distortion, where beta differs."""
        return spreads.tradeoff(self.opened, self.settings)

    @property
    def spreads(self) -> list[Chart]:
        """A chart of each of the first numbers that rank, and of the KL."""
        ranks = {of.key for of in leading.ranking(self.numbers, self.opened.comparable)} | {"kl"}
        shown = [of for of in self.numbers if of.key in ranks][:SPREADS]
        drawn = (spreads.spread_chart(of, self.settings, self.styles, self.say) for of in shown)
        return [chart for chart in drawn if chart is not None]

    @property
    def unit(self) -> str:
        """What bounds are in."""
        return unit_of(self.opened.runs[0].spec, self.say)

    @property
    def measured_on(self) -> dict[str, int]:
        """Of how many test rows the numbers are, and of how many draws of z for each."""
        metrics = self.alone[0].entries[0].metrics.values()
        rows = max(metric.subject.rows.count for metric in metrics)
        return {"rows": rows, "draws": max(math.prod(metric.samples or (1,)) for metric in metrics)}

    @property
    def image(self) -> bool:
        """Whether the data are images."""
        return self.opened.runs[0].spec.unit.split()[-1] == "image"

    def table(self, rows: Sequence[Setting]) -> list[Part]:
        """Return the parts of the table, each with the cells that are best and told apart."""
        found = leading.leads(rows, self.numbers, self.opened.comparable)
        clear = {self.title(one.of): rows.index(one.best) for one in found if one.clear}
        size, facts = self.say("Size and training"), self.say("Runs")
        parts = self.measured_columns(rows)
        parts[size] = self.size_columns(rows) | parts.pop(size, {})
        parts[facts] = self.run_columns(rows)
        shown = []
        for title, columns in parts.items():
            best = {(clear[name], n) for n, name in enumerate(columns, 1) if name in clear}
            lines = zip([row.name for row in rows], *columns.values(), strict=True)
            shown.append((title, ["", *columns], [list(line) for line in lines], best))
        return shown

    def title(self, of: Measure) -> str:
        """Return the title of a column, with its unit."""
        unit = of.column.unit and f", {self.say(of.column.unit)}"
        return self.say(of.title) + unit

    def measured_columns(self, rows: Sequence[Setting]) -> dict[str, Columns]:
        """Return what was measured, by the titles of the table's parts and of their columns."""
        gaps = any(row.gap is not None for row in rows)
        parts: dict[str, Columns] = {}
        for of in self.numbers:
            if all(row.value(of) is None for row in rows):
                continue
            part = parts.setdefault(self.say(of.column.group), {})
            part[self.title(of)] = [row.text(of) for row in rows]
            if gaps and of.column.better:
                gaps = False
                title = self.say("{number}, train − test").format(number=self.say(of.title))
                part[title] = [of.text(*(row.gap or (None,))) for row in rows]
        return parts

    def size_columns(self, rows: Sequence[Setting]) -> Columns:
        """Return how large the models are, and how they trained."""
        say, first = self.say, [row.entries[0] for row in rows]
        speeds = say("images a second") if self.image else say("rows a second")
        dead, norm = (
            [row.mean(lambda entry, name=name: entry.last(name)) for row in rows]  # type: ignore[misc]
            for name in ("dead_units", "gradient_norm")
        )
        return {
            say("parameters"): [f"{entry.parameters:,}" for entry in first],
            say("latent dimensions"): [f"{entry.run.latent_size:,}" for entry in first],
            speeds: [number_text(row.mean(lambda e: e.speed), None, 0) for row in rows],
            say("dead units"): ["–" if one is None else f"{one:.1%}" for one in dead],
            say("gradient norm"): ["–" if one is None else f"{one:,.3g}" for one in norm],
        }

    def run_columns(self, rows: Sequence[Setting]) -> Columns:
        """Return what each run is; of several their seeds."""
        say, first = self.say, [row.entries[0].run for row in rows]
        lengths = [sorted(len(entry.epochs) for entry in row.entries) for row in rows]
        ends = [dict.fromkeys((counts[0], counts[-1])) for counts in lengths]
        columns = {say("epochs"): [" – ".join(f"{n:,}" for n in both) for both in ends]}
        if any(len(row.entries) > 1 for row in rows):
            seeds = [[str(e.run.config.training.seed) for e in row.entries] for row in rows]
            return columns | {say("seeds"): [", ".join(known) for known in seeds]}
        steps = ["" if run.step is None else f", step {run.step:,}" for run in first]
        weights = [run.weights + step for run, step in zip(first, steps, strict=True)]
        return columns | {say("weights"): weights, say("folder"): [str(run.path) for run in first]}

    def meanings(self) -> Iterator[tuple[str, str]]:
        """Yield for each metric its numbers, and what its class says of them."""
        say, better = self.say, {1: mark("higher is better"), -1: mark("lower is better")}
        for name in dict.fromkeys(of.metric for of in self.numbers):
            shown = [of for of in self.numbers if of.metric == name]
            titles = [", ".join(map(say, filter(None, (of.title, better.get(of.column.better)))))
                      for of in shown]  # fmt: skip
            yield "; ".join(titles), say(describe("metric", name)["title"])

    def export(self, folder: Path) -> None:
        """Write the images and charts as .png files, and the table as Markdown.

        The images speak English, as their letters have no others; their names are in words.
        """
        plain, drawn = self.opened.plain, replace(self, say=str)
        for name, rows in drawn.walls.items():
            sheet = labeled([(plain.get(row, row), images) for row, images in rows], times=2)
            write(folder / f"{name}.png", png_bytes(sheet))
        names = {style.label: plain.get(name, name) for name, style in self.styles.items()}
        if shown := epochs.that_matter(drawn.panels):
            save_figure(lambda: epochs.curves_figure(shown, names), folder / "curves.png")
        if trade := self.trade:
            save_figure(trade.figure, folder / "rate-distortion.png")
        lines = [["", *(row.name for row in self.alone)], ["---", *("---:" for _ in self.alone)]]
        for _, head, texts, _ in self.table(self.alone):
            lines += list(map(list, zip(head, *texts, strict=True)))[1:]
        told = ([visible(cell, lines=False).replace("|", "/") for cell in line] for line in lines)
        joined = map(" | ".join, told)
        write(folder / "table.md", "".join(f"| {line} |\n" for line in joined).encode())
