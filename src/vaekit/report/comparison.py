"""`vaekit compare`: several runs of one data set on one page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vaekit.distributions import Offer
from vaekit.errors import VaekitError, at_least
from vaekit.imports import Named, load
from vaekit.io import write
from vaekit.registry import describe
from vaekit.report import compare_charts as charts
from vaekit.report.grids import labeled, png_bytes
from vaekit.report.pages import cells, mark, render, small, words
from vaekit.report.ranking import (
    SHOWN,
    Entry,
    Measure,
    Setting,
    first_rank,
    lead,
    measure,
    measures,
    notes,
    number_text,
    rank_by,
    ranked,
    ranking,
    sentences,
)
from vaekit.report.run_set import RunSet, Words, in_words, open_runs
from vaekit.report.style import figure_bytes, look

Table = dict[str, dict[str, list[str]]]  # by the titles of its parts and of its numbers, the texts
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
    images: str | Path | None = None,
    lang: str = "en",
    import_: Named = (),
) -> Comparison:
    """Compare runs of one data set on a page: what differs, and what came of it.

    All are measured on the same test rows, by every metric that is registered for it. Bounds of
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
        images: a folder that gets curves.png, reconstructions.png, samples.png, table.md and,
            where beta differs, rate-distortion.png.
        lang: the language of the sentences, "en" or "zh"; numbers and options are the same.
        import_: files and modules of your own parts that the runs were trained with.

    Raises:
        VaekitError: for fewer than two runs, one twice, runs of different data, `rank="elbo"` of
            different likelihoods, one that fewer than two have, another language, and what cannot
            be written.
    """
    at_least("limit", limit, 1)
    say = words(lang).gettext
    load(import_)
    _refuse_page(Path(out))
    opened = open_runs(runs, data_dir=data_dir, device=device)
    numbers = measures(opened)
    wanted = None if rank is None else rank_by(opened, numbers, rank)
    named = zip(opened.runs, opened.names, strict=True)
    entries = [measure(*row, limit=limit, seed=seed, data_dir=data_dir) for row in named]
    settings = [Setting(n, [entries[row] for row in rows]) for n, rows in opened.settings.items()]
    alone = [Setting(entry.name, [entry]) for entry in entries]
    best = first_rank(alone, ranking(numbers, opened.comparable), wanted)
    if best and rank:
        settings, alone = _ordered(settings, best), _ordered(alone, best)
    walls = _walls(settings, seed, say)
    panels, trade = list(charts.panels(opened, settings, say)), charts.tradeoff(opened, settings)
    parts = _Parts(opened, settings, alone, numbers, walls, panels, trade)
    says = [(in_words(opened.options, say), "")]
    says += sentences(settings, numbers, opened.comparable, opened.options, say)
    heed, table = list(notes(opened, settings, numbers, say)), _table(alone, numbers, say)
    title = title or say("{n} runs on {data}").format(n=len(runs), data=opened.data.name)
    texts = {"title": title, "says": says, "notes": heed}
    path = write(out, render("compare.html.j2", lang=lang, **texts, **_page(parts, say)))
    if images is not None:
        _export(Path(images), parts, _markdown(alone, table))
    return Comparison(
        path=path,
        words=[f"{claim} {rest}".rstrip() for claim, rest in says],
        notes=heed,
        comparable=opened.comparable,
        ranked_by=best.key if best else None,
        differences=opened.options,
        runs=[_plain(row.entries[0], numbers) for row in alone],
        settings=[_plain_means(row, numbers) for row in settings] if opened.seeded else [],
        table={part: _rows(alone, cells_) for part, cells_ in table.items()},
    )


def _refuse_page(page: Path) -> None:
    """Refuse what cannot be written before anything is measured."""
    if page.suffix != ".html" or page.is_dir():
        raise VaekitError(f"got the page {page}; expected a file that ends in .html.")
    above = next(path for path in page.absolute().parents if path.exists())
    if not above.is_dir():
        raise VaekitError(f"cannot make {page.parent}: {above} is a file. Name another place.")


def _ordered(settings: list[Setting], best: Measure) -> list[Setting]:
    order = ranked(settings, best)
    return [*order, *(setting for setting in settings if setting not in order)]


Walls = dict[str, list[tuple[str, Tensor]]]  # by "reconstructions" and "samples", a row a run


def _walls(settings: Sequence[Setting], seed: int, say: Words) -> Walls:
    """Return the same test images and draws of every run, in [0, 1]; none of a table."""
    entries = [entry for one in settings for entry in one.entries]
    if len(entries[0].run.spec.shape) != 3:
        return {}
    rows = [(say("test images"), entries[0].seen(entries[0].first[0]))]
    rows += [(one.name, one.seen(one.run.reconstruct(*one.first))) for one in entries]
    count = SHOWN * (2 if len(entries) <= 3 else 1)
    samples = [(one.name, one.seen(one.run.sample(count, seed=seed)))
               for one in entries if Offer.DRAWS in one.run.offers]  # fmt: skip
    return {"reconstructions": rows} | ({"samples": samples} if samples else {})


@dataclass(frozen=True, eq=False)
class _Parts:
    """What a page shows, and what is written into files."""

    opened: RunSet
    settings: Sequence[Setting]
    alone: Sequence[Setting]
    numbers: Sequence[Measure]
    walls: Walls
    panels: Sequence[charts.Panel]
    trade: charts.Tradeoff | None


def _page(parts: _Parts, say: Words) -> dict[str, Any]:
    """Return what the template takes."""
    opened, alone, found, walls = parts.opened, parts.alone, parts.numbers, parts.walls
    first, style, shape = alone[0].entries[0], charts.styles(opened), opened.runs[0].spec.shape
    known = [run.folder.read_json("run")["environment"] for run in opened.runs]
    versions = {f"vaekit {one['vaekit']}, torch {one['torch']}, {one['device']}" for one in known}
    ranks = {of.key for of in ranking(found, opened.comparable)} | {"kl"}
    unit, drawn = say(first.run.spec.unit), [of for of in found if of.key in ranks][:SPREADS]
    spreads = [charts.spread_chart(of, unit, parts.settings, style, say) for of in drawn]
    tiles = {
        name: [(label, cells(small(images), [f"{name}, {label}"] * len(images)))
               for label, images in rows]
        for name, rows in walls.items()
    }  # fmt: skip
    metrics = first.metrics.values()
    return {
        "opened": opened,
        "started": max(one.get("started", "") for one in known)[:10],
        "spreads": [chart for chart in spreads if chart is not None],
        "tiles": tiles,
        "without": [
            e.name for one in alone for e in one.entries if Offer.DRAWS not in e.run.offers
        ],
        "ratio": f"{shape[-1]} / {shape[-2]}" if walls else "1",
        "smooth": bool(walls) and max(shape[-2:]) > 56,
        "panels": [panel.chart(say) for panel in parts.panels],
        "legend": [(one.kind, one.label, name) for name, one in style.items()],
        "trade": parts.trade and charts.tradeoff_chart(parts.trade, say),
        "rows": max(metric.subject.rows.count for metric in metrics),
        "draws": max(math.prod(metric.samples or (1,)) for metric in metrics),
        "image": first.noun == "image",
        "unit": unit,
        "parts": _marked(parts.settings, found, opened, say),
        "runs": _marked(alone, found, opened, say) if opened.seeded else [],
        "meanings": list(_meanings(found, say)),
        "kinds": opened.kinds(say),
        "versions": "; ".join(sorted(versions)),
        "paths": [str(one.entries[0].run.path) for one in alone],
    }


def _table(rows: Sequence[Setting], numbers: Sequence[Measure], say: Words) -> Table:
    table: Table = {}
    gap = any(row.gap is not None for row in rows)
    for of in numbers:
        if all(row.value(of) is None for row in rows):
            continue
        part, title = table.setdefault(say(of.column.group), {}), _title(of, say)
        part[title] = [row.text(of) for row in rows]
        if gap and of.column.better:
            gap = False
            both = say("{number}, train − test").format(number=say(of.title))
            part[both] = [of.text(*(row.gap or (None,))) for row in rows]
    size = [_size(row, say) for row in rows]
    heading = say("Size and training")
    table[heading] = {name: [row[name] for row in size] for name in size[0]} | table.pop(
        heading, {}
    )
    facts = [_facts(row, say) for row in rows]
    return table | {say("Runs"): {name: [row[name] for row in facts] for name in facts[0]}}


def _title(of: Measure, say: Words) -> str:
    return f"{say(of.title)}, {say(of.column.unit)}" if of.column.unit else say(of.title)


def _size(setting: Setting, say: Words) -> dict[str, str]:
    first, speed = setting.entries[0], setting.mean(lambda entry: entry.speed)
    dead, norm = (setting.mean(lambda e, n=n: e.last(n)) for n in ("dead_units", "gradient_norm"))  # type: ignore[misc]
    speeds = say("images a second") if first.noun == "image" else say("rows a second")
    return {
        say("parameters"): f"{first.parameters:,}",
        say("latent dimensions"): f"{first.run.latent_size:,}",
        speeds: number_text(speed, None, 0),
        say("dead units"): "–" if dead is None else f"{dead:.1%}",
        say("gradient norm"): "–" if norm is None else f"{norm:,.3g}",
    }


def _facts(setting: Setting, say: Words) -> dict[str, str]:
    """Return what a run is; of several their seeds."""
    first = setting.entries[0]
    epochs = sorted({len(entry.epochs) for entry in setting.entries})
    facts = {say("epochs"): " – ".join(f"{n:,}" for n in dict.fromkeys((epochs[0], epochs[-1])))}
    if len(setting.entries) > 1:
        seeds = [str(entry.run.config.training.seed) for entry in setting.entries]
        return facts | {say("seeds"): ", ".join(seeds)}
    step = "" if first.run.step is None else f", step {first.run.step:,}"
    return facts | {say("weights"): first.run.weights + step, say("folder"): str(first.run.path)}


def _rows(rows: Sequence[Setting], numbers: dict[str, list[str]]) -> list[list[str]]:
    """Return a part of the table: the names of its numbers, then a row for each run."""
    columns = zip([row.name for row in rows], *numbers.values(), strict=True)
    return [["", *numbers], *map(list, columns)]


def _marked(
    rows: Sequence[Setting], columns: Sequence[Measure], opened: RunSet, say: Words
) -> list[tuple[str, list[str], list[list[str]], set[tuple[int, int]]]]:
    """Return the parts of the table, each with the cells that are best and told apart."""
    leads = [(of, lead(rows, of)) for of in ranking(columns, opened.comparable)]
    clear = [(_title(of, say), one.best) for of, one in leads if one and one.clear]
    parts = []
    for title, numbers in _table(rows, columns, say).items():
        names = list(numbers)
        best = {(rows.index(one), names.index(n) + 1) for n, one in clear if n in names}
        head, *cells_ = _rows(rows, numbers)
        unbroken = [name.replace(" − ", "\u00a0−\u00a0") for name in head]
        parts.append((title, unbroken, cells_, best))
    return parts


def _markdown(rows: Sequence[Setting], table: Table) -> str:
    """Return the table in Markdown: a column for each run."""
    lines = [["", *(setting.name for setting in rows)], ["---", *("---:" for _ in rows)]]
    lines += [[name, *texts] for part in table.values() for name, texts in part.items()]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in lines)


BETTER = {1: mark("higher is better"), -1: mark("lower is better")}


def _meanings(numbers: Sequence[Measure], say: Words) -> Iterator[tuple[str, str]]:
    """Yield for each metric its numbers, and what its class says of them."""
    for name in dict.fromkeys(of.metric for of in numbers):
        titles = []
        for of in (of for of in numbers if of.metric == name):
            better = BETTER.get(of.column.better)
            titles.append(say(of.title) + (f", {say(better)}" if better else ""))
        yield "; ".join(titles), say(describe("metric", name)["title"])


def _plain(entry: Entry, numbers: Sequence[Measure]) -> dict[str, Any]:
    """Return the numbers of a run as JSON takes them; nats per row of data."""
    gap, error = entry.gap or (None, None)
    return {
        "name": entry.name,
        "run": str(entry.run.path),
        **_with_errors(entry, numbers),
        "train_test_gap": gap,
        "train_test_gap_standard_error": None if error is None or math.isnan(error) else error,
        "parameters": entry.parameters,
        "latent_dimensions": entry.run.latent_size,
        "images_per_second": entry.speed,
        "dead_units": entry.last("dead_units"),
        "gradient_norm": entry.last("gradient_norm"),
        "epochs": len(entry.epochs),
        "weights": entry.run.weights,
        "step": entry.run.step,
        "metrics": entry.records,
    }


def _plain_means(setting: Setting, numbers: Sequence[Measure]) -> dict[str, Any]:
    return {
        "name": setting.name,
        "runs": [e.name for e in setting.entries],
        **_with_errors(setting, numbers),
    }


def _with_errors(row: Entry | Setting, columns: Sequence[Measure]) -> dict[str, float | None]:
    numbers = {}
    for of in columns:
        numbers[of.key] = row.value(of)
        if (error := row.error(of)) is not None and math.isfinite(error):
            numbers[f"{of.key}_standard_error"] = error
    return numbers


def _export(folder: Path, parts: _Parts, markdown: str) -> None:
    """Write the images and charts as .png files, and the table."""
    for name, rows in parts.walls.items():
        write(folder / f"{name}.png", png_bytes(labeled(rows)))
    with look():
        names = {style.label: name for name, style in charts.styles(parts.opened).items()}
        curves = charts.curves_figure(parts.panels, names)
        trade = parts.trade and charts.tradeoff_figure(parts.trade)
        for name, figure in {"curves": curves, "rate-distortion": trade}.items():
            if figure is not None:
                write(folder / f"{name}.png", figure_bytes(figure, "png"))
    write(folder / "table.md", markdown.encode())
