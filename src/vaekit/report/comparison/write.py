"""`vaekit compare`: several runs of one data set on one page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vaekit.distributions import Offer
from vaekit.errors import VaekitError
from vaekit.evaluate import whole
from vaekit.imports import Named, load
from vaekit.io import write
from vaekit.registry import describe
from vaekit.report.comparison.charts import curves_figure, distortion_figure
from vaekit.report.comparison.entries import (
    BOUNDS,
    SHOWN,
    Entry,
    Measure,
    Opened,
    asked_rank,
    judge_of,
    lead,
    measure,
    measures,
    open_runs,
    option_text,
    ranked,
    ranking,
    tells,
)
from vaekit.report.curves import value
from vaekit.report.grids import labeled, png_bytes
from vaekit.report.sections import Section, page
from vaekit.report.style import figure_bytes, look, svg

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison found.

    Attributes:
        path: the page.
        words: its sentences: what differs, and what came of it.
        notes: what is to heed.
        comparable: whether the runs have one likelihood, so that their bounds compare.
        ranked_by: the number that ranks, as "elbo" or "psnr"; None where there is none.
        differences: the options that differ, with the value of each run.
        runs: the numbers of each run, plain values; the best first where a rank was asked for.
        table: as text: in parts, each a title, the names of its numbers, and a row for each run.
    """

    path: Path
    words: list[str]
    notes: list[str]
    comparable: bool
    ranked_by: str | None
    differences: dict[str, list[Any]]
    runs: list[dict[str, Any]]
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
    import_: Named = (),
) -> Comparison:
    """Compares runs of one data set on a page: what differs, and what came of it.

    All are measured on the same test rows, by every metric that is registered for it. Bounds of
    different likelihoods are not ranked: then the next number judges, as PSNR.

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
        import_: files and modules of your own parts that the runs were trained with.

    Raises:
        VaekitError: for fewer than two runs, one twice, runs of different data, `rank="elbo"` of
            different likelihoods, one that fewer than two have, and what cannot be written.
    """
    whole("limit", limit)
    load(import_)
    _refuse_place(Path(out))
    opened = open_runs(runs, data_dir=data_dir, device=device)
    found = measures(opened)
    wanted = None if rank is None else asked_rank(opened, found, rank)
    named = zip(opened.runs, opened.names, strict=True)
    entries = [measure(*one, limit=limit, seed=seed, data_dir=data_dir) for one in named]
    judge = judge_of(entries, ranking(found, opened.comparable), wanted)
    drawn = Drawn(opened, entries, seed)
    differing, comparable = opened.differences, opened.comparable
    words = [in_words(differing), *sentences(entries, found, comparable, differing)]
    notes = list(warnings(opened, entries, found))
    order = ranked(entries, judge) if judge and rank else []
    shown = [*order, *(one for one in entries if one not in order)]
    cells = groups(shown, found)
    table = blocks(shown, cells)
    title = title or f"{len(entries)} runs on {opened.data.name}"
    html = comparison_page(title, words, notes, entries, table, found, drawn)
    path = write(out, html.encode("utf-8", "replace"))
    if images is not None:
        for name, content in (*drawn.files(), ("table.md", markdown(shown, cells).encode())):
            write(Path(images) / name, content)
    by, numbers = judge.key if judge else None, [plain(one, found) for one in shown]
    return Comparison(path, words, notes, comparable, by, differing, numbers, table)


def _refuse_place(out: Path) -> None:
    """What cannot be written is refused before anything is measured."""
    if out.suffix != ".html" or out.is_dir():
        raise VaekitError(f"got the page {out}; expected a file that ends in .html.")
    above = next(path for path in out.absolute().parents if path.exists())
    if not above.is_dir():
        raise VaekitError(f"cannot make {out.parent}: {above} is a file. Name another place.")


BETTER = {1: " Higher is better.", -1: " Lower is better.", 0: ""}
MEANING = (
    ("±", "one standard error of the mean over the rows."),
    ("train − test", "on as many training rows: where they are far better off, the model has "
     "learned them by heart."),
    ("images a second", "of training, the median over the epochs; runs that trained side by side "
     "shared a machine."),
    ("dead units", "the share of the hidden units that give the same number for all rows, as a "
     "ReLU gives 0."),
)  # fmt: skip
Groups = dict[str, dict[str, list[str]]]


def groups(entries: Sequence[Entry], found: Sequence[Measure]) -> Groups:
    """The table: by the titles of its parts and the names of its numbers, a text for each run."""
    made: Groups = {}
    gap = any(one.gap is not None for one in entries)
    for of in found:
        if all(one.value(of) is None for one in entries):
            continue
        title = f"{of.title}, {of.column.unit}" if of.column.unit else of.title
        part = made.setdefault(of.column.group, {})
        part[title] = [of.text(one.value(of), one.error(of)) for one in entries]
        if gap and of.column.better:
            gap = False
            part[f"{of.title}, train − test"] = [of.text(*(one.gap or (None,))) for one in entries]
    known = [_facts(one) for one in entries]
    for heading, facts in known[0].items():
        own = {name: [one[heading][name] for one in known] for name in facts}
        made[heading] = {**own, **made.pop(heading, {})}
    return made


def _facts(one: Entry) -> dict[str, dict[str, str]]:
    """What is known of a run without any metric."""
    return {
        "Size and training": {
            "parameters": f"{_parameters(one):,}",
            "latent dimensions": f"{one.run.latent_size:,}",
            f"{one.noun}s a second": _number(one.speed, ",.0f"),
            "dead units": _number(one.last("dead_units"), ".1%"),
            "gradient norm": _number(one.last("gradient_norm"), ",.3g"),
        },
        "Runs": {
            "epochs": f"{len(one.epochs):,}",
            "weights": one.run.weights + _number(one.run.step, ",d", ", step "),
            "folder": str(one.run.path),
        },
    }


def _parameters(one: Entry) -> int:
    return sum(p.numel() for p in one.run.model.parameters())


def _number(value: float | None, form: str, before: str = "") -> str:
    if value is None:
        return "" if before else "–"
    return before + format(value, form).replace("-", "−")


def blocks(entries: Sequence[Entry], cells: Groups) -> dict[str, list[list[str]]]:
    """The table in parts, each with a title: the names of its numbers, then a row for each run."""
    names = [one.name for one in entries]
    rows = {title: zip(names, *part.values(), strict=True) for title, part in cells.items()}
    return {title: [["", *cells[title]], *map(list, rows[title])] for title in cells}


def markdown(entries: Sequence[Entry], cells: Groups) -> str:
    """The table in Markdown: a column for each run."""
    rows = [["", *(one.name for one in entries)], ["---", *("---:" for _ in entries)]]
    rows += [[name, *texts] for part in cells.values() for name, texts in part.items()]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows)


def plain(one: Entry, found: Sequence[Measure]) -> dict[str, Any]:
    """The numbers of a run as JSON takes them; nats per row of data."""
    numbers: dict[str, Any] = {}
    for of in found:
        numbers[of.key] = one.value(of)
        if (error := one.error(of)) is not None:
            numbers[f"{of.key}_standard_error"] = error
    gap, error = one.gap or (None, None)
    return {
        "name": one.name,
        "run": str(one.run.path),
        **numbers,
        "train_test_gap": gap,
        "train_test_gap_standard_error": None if error is None or math.isnan(error) else error,
        "parameters": _parameters(one),
        "latent_dimensions": one.run.latent_size,
        "images_per_second": one.speed,
        "dead_units": one.last("dead_units"),
        "gradient_norm": one.last("gradient_norm"),
        "epochs": len(one.epochs),
        "weights": one.run.weights,
        "step": one.run.step,
        "metrics": one.records,
    }


def comparison_page(
    title: str,
    words: Sequence[str],
    notes: Sequence[str],
    entries: Sequence[Entry],
    table: dict[str, list[list[str]]],
    found: Sequence[Measure],
    drawn: Drawn,
) -> str:
    """The whole file."""
    first = entries[0]
    rows = max(one.subject.rows.count for one in first.metrics.values())
    draws = max(math.prod(one.samples or (1,)) for one in first.metrics.values())
    lead = (
        f"Measured on {rows:,} test {first.noun}s, the same for all, with {draws} draws of z each; "
        f"bounds are in {first.run.spec.unit}."
    )
    parts = [Section("In words", "\n".join(words))]
    if notes:
        parts.append(Section("Please note", "\n".join(notes), note=True))
    for heading, (head, *cells) in table.items():
        unbroken = [name.replace(" − ", "\u00a0−\u00a0") for name in head]
        parts.append(Section(heading, table=cells, head=unbroken))
    parts += _pictures(drawn)
    parts.append(Section("What the numbers mean", table=[*_meanings(found), *MEANING]))
    return page(title, lead, parts)


def _meanings(found: Sequence[Measure]) -> Iterator[tuple[str, str]]:
    """A row for each metric: its numbers, and what its class says of them."""
    for name in dict.fromkeys(of.metric for of in found):
        titles = [of.title + BETTER[of.column.better].replace(" ", ", ", 1).rstrip(".").lower()
                  for of in found if of.metric == name]  # fmt: skip
        yield "; ".join(titles), describe("metric", name)["title"]


def _pictures(drawn: Drawn) -> Iterator[Section]:
    """The charts, and the images of each run."""
    text = (
        "A color for each run. Lines are of validation rows, dashed ones of training rows. "
        "The scale suits the later epochs: the first ones may lie outside."
    )
    if drawn.curves is None:
        yield Section("Training", "There are no curves: no epoch was recorded.")
    else:
        curves = svg(drawn.curves, "full")
        yield Section("Training", text, curves, "svg", "training curves of all runs")
    texts = {
        "reconstructions": "Test images, evenly spread over the test rows, and E[x|z] at "
        "z = E[z|x] of each run.",
        "samples": "E[x|z] of draws z of the prior, all from one seed: the same z where the "
        "latents have one size.",
    }
    if drawn.without:
        texts["samples"] += f" There is no prior to draw from in {', '.join(drawn.without)}."
    for name, content in drawn.sheets.items():
        alt = f"{name} of each run, a row each"
        yield Section(name.capitalize(), texts[name], content, alt=alt)

    if drawn.distortion is None:
        return
    text = (
        "Each β trades rate (the KL, what the code costs) for distortion (−log-likelihood, what it "
        "leaves unsaid); both are measured at β = 1. On the dotted line the ELBO is that of the "
        "best run: further left and lower is better."
    )
    figure = svg(drawn.distortion, "wide")
    yield Section("Rate and distortion", text, figure, "svg", "rate against distortion")


NAMED = 4  # runs that a sentence tells one by one
SAME_WORK = {"beta", "seed", "lr", "weight_decay", "clip", "epochs", "limit", "patience",
             "kl_warmup", "lr_schedule", "schedule", "scale", "start", "init"}  # fmt: skip
ALIKE = 1.25  # times: what a machine's speed may swing by, more or less


def in_words(found: Mapping[str, Sequence[Any]]) -> str:
    """What differs, as a sentence.

    Example:
        >>> in_words({"latent": [16, 64]})
        'They differ in latent: 16 against 64; all else is equal.'
        >>> in_words({"latent": [2, 8, 8], "net": ["mlp", "mlp", "conv"]})
        'They differ in latent: 2, 8; net: mlp, conv; all else is equal.'
        >>> in_words({})
        'They have the same options.'
    """
    told = {name: values for name, values in found.items() if tells(values)}
    if not told:
        return "They have the same options."
    parts = [f"{name}: {_values(values)}" for name, values in told.items()]
    return f"They differ in {'; '.join(parts)}; all else is equal."


def _values(values: Sequence[Any]) -> str:
    texts = list(dict.fromkeys(option_text(value) for value in values if value is not None))
    return " against ".join(texts) if len(values) == 2 else ", ".join(texts)


def sentences(
    entries: Sequence[Entry], found: Sequence[Measure], comparable: bool, differing: Iterable[str]
) -> Iterator[str]:
    """Each number that ranks, each count, and speed: a sentence.

    Speed is told where an option differs on which it hangs: all else is how busy the machine was.
    """
    if not comparable:
        yield "Their likelihoods differ, so their bounds are not comparable."
    for of in ranking(found, comparable):
        yield from _led(entries, of)
    for of in found:
        if not of.column.better and not of.column.decimals:
            yield from _counts(entries, of)
    if not {name.rpartition(".")[2] for name in differing} <= SAME_WORK:
        yield from _speed(entries)


def warnings(opened: Opened, entries: Sequence[Entry], found: Sequence[Measure]) -> Iterator[str]:
    """What is to heed when these runs are compared."""
    able = [of for of in ranking(found, True) if of.column.group != BOUNDS]
    titles = [of.title for of in able if len(ranked(entries, of)) == len(entries)]
    judges = " and ".join([*[", ".join(titles[:-1])] * (len(titles) > 1), *titles[-1:]])
    if not opened.comparable:
        yield (
            "The bounds of different likelihoods are not comparable, so no run is ranked by them: "
            f"{opened.kinds()}. Judge by {judges} instead."
        )
    elif not opened.likelihoods[0].proper:
        yield (
            f"{opened.likelihoods[0].name} is not a likelihood of these data: the bounds are the "
            "usual loss, the same for all runs here, and compare with nothing else."
        )
    for of in ranking(found, True):
        without = [one.name for one in entries if one.value(of) is None]
        if of.column.group == BOUNDS and without:
            yield f"There is no {of.title} of {', '.join(without)}. Judge by {judges} instead."
    if len({one.run.config.training.seed for one in entries}) == 1:
        yield (
            "Standard errors are over test rows; each run was trained once, and another seed can "
            "change more than that: see vaekit train RECIPE --seeds 5."
        )


def _led(entries: Sequence[Entry], of: Measure) -> Iterator[str]:
    """The best by this measure, the next, and whether the rows tell them apart."""
    found = lead(entries, of)
    if found is None:
        return
    two = len(ranked(entries, of)) == 2
    most = ("high" if of.column.better > 0 else "low") + ("er" if two else "est")
    best, other = (of.text(one.value(of)) for one in (found.best, found.next))
    unit = entries[0].run.spec.unit if of.column.group == BOUNDS else of.column.unit
    against = f" against {other}" if two else f"; next is {found.next.name} with {other}"
    best = f"{best} {unit}".rstrip()
    yield f"The {of.title} is {most} for {found.best.name}: {best}{against}{_told(found, of)}."


def _told(found: Any, of: Measure) -> str:
    if math.isnan(found.error):
        return ""
    by, error = (f"{number:,.{of.column.decimals}f}" for number in (found.by, found.error))
    apart = f"; the difference of {by} ± {error} is"
    if found.clear:
        return f"{apart} more than twice its standard error"
    return f"{apart} less than twice its standard error: these test rows do not tell them apart"


def _counts(entries: Sequence[Entry], of: Measure) -> Iterator[str]:
    """How many each has, as active units; the least and the most where the runs are many."""
    counts = [(number, one) for one in entries if (number := one.value(of)) is not None]
    if len(counts) < len(entries):
        return
    texts = [f"{of.text(number)} for {one.name}" for number, one in counts]
    if len({number for number, _ in counts}) == 1:
        yield f"Each has {of.text(counts[0][0])} {of.title}."
    elif len(entries) <= NAMED:
        yield f"The {of.title}: {', '.join(texts)}."
    else:
        order = sorted(range(len(counts)), key=lambda place: counts[place][0])
        yield f"The {of.title} go from {texts[order[0]]} to {texts[order[-1]]}."


def _speed(entries: Sequence[Entry]) -> Iterator[str]:
    known = [(one.speed, one) for one in entries if one.speed]
    if len(known) < 2:
        return
    known.sort(key=lambda pair: -pair[0])
    (fast, first), (slow, last) = known[0], known[-1]
    noun = first.noun
    if fast < ALIKE * slow:
        yield f"All trained about equally fast, {slow:,.0f} to {fast:,.0f} {noun}s a second."
        return
    yield (
        f"{first.name} trained fastest, {fast:,.0f} {noun}s a second; "
        f"{last.name} took {value(fast / slow)} times as long per {noun}."
    )


class Drawn:
    """The pictures as PNG files, and the charts.

    Attributes:
        sheets: files by name.
        curves, distortion: figures, or None.
        without: the names of runs that have no samples.
    """

    def __init__(self, opened: Opened, entries: Sequence[Entry], seed: int) -> None:
        self.sheets: dict[str, bytes] = {}
        with look():
            self.curves = curves_figure(entries, opened.comparable, opened.differences)
            self.distortion = distortion_figure(entries, opened.differences, opened.comparable)
        able = [one for one in entries if Offer.DRAWS in one.run.offers]
        self.without = [one.name for one in entries if one not in able]
        if len(entries[0].run.spec.shape) != 3:
            return
        made = [(one.name, _seen(one, one.run.reconstruct(*one.first))) for one in entries]
        rows = [("test images", _seen(entries[0], entries[0].first[0])), *made]
        self.sheets["reconstructions"] = png_bytes(labeled(rows))
        if able:
            many = SHOWN * (2 if len(entries) <= 3 else 1)
            made = [(one.name, _seen(one, one.run.sample(many, seed=seed))) for one in able]
            self.sheets["samples"] = png_bytes(labeled(made))

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Each as a file, by its name."""
        yield from ((f"{name}.png", content) for name, content in self.sheets.items())
        for name, figure in (("curves", self.curves), ("rate-distortion", self.distortion)):
            if figure is not None:
                yield f"{name}.png", figure_bytes(figure, "png")


def _seen(one: Entry, images: Tensor) -> Tensor:
    """Images in the range of a screen."""
    return one.run.spec.values.inverse(images)
