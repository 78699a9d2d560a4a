"""The page of a comparison: its table, which is Markdown and JSON too, and its sections."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from vaekit.registry import describe
from vaekit.report.comparison.entries import Entry, Measure
from vaekit.report.comparison.sheets import Drawn
from vaekit.report.page import Section, page
from vaekit.report.style import look
from vaekit.report.svg import svg

DASH = "–"
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
Groups = dict[str, dict[str, Callable[[Entry], str]]]


def groups(entries: Sequence[Entry], found: Sequence[Measure]) -> Groups:
    """The cells of the table, by the titles of its parts and the names of its numbers."""
    made: Groups = {}
    gap = any(one.gap is not None for one in entries)
    for of in found:
        if all(one.value(of) is None for one in entries):
            continue
        title = f"{of.title}, {of.column.unit}" if of.column.unit else of.title
        part = made.setdefault(of.column.group, {})
        part[title] = partial(_cell, of)
        if gap and of.column.better:
            gap = False
            part[f"{of.title}, train − test"] = partial(_gap, of)
    for heading, facts in _facts(entries[0].run.spec.unit.split()[-1]).items():
        made[heading] = {**facts, **made.pop(heading, {})}
    return made


def _cell(of: Measure, one: Entry) -> str:
    return of.text(one.value(of), one.error(of))


def _gap(of: Measure, one: Entry) -> str:
    return of.text(*(one.gap or (None,)))


def _facts(noun: str) -> Groups:
    """What is known of a run without any metric."""
    return {
        "Size and training": {
            "parameters": lambda one: f"{_parameters(one):,}",
            "latent dimensions": lambda one: f"{one.run.latent_size:,}",
            f"{noun}s a second": lambda one: _number(one.speed, ",.0f"),
            "dead units": lambda one: _number(one.last("dead_units"), ".1%"),
            "gradient norm": lambda one: _number(one.last("gradient_norm"), ",.3g"),
        },
        "Runs": {
            "epochs": lambda one: f"{len(one.epochs):,}",
            "weights": lambda one: one.run.weights + _number(one.run.step, ",d", ", step "),
            "folder": lambda one: str(one.run.path),
        },
    }


def _parameters(one: Entry) -> int:
    return sum(p.numel() for p in one.run.model.parameters())


def _number(value: float | None, form: str, before: str = "") -> str:
    if value is None:
        return "" if before else DASH
    return before + format(value, form).replace("-", "−")


def blocks(entries: Sequence[Entry], cells: Groups) -> dict[str, list[list[str]]]:
    """The table in parts, each with a title: the names of its numbers, then a row for each run."""
    return {
        title: [
            ["", *part],
            *([one.name, *(cell(one) for cell in part.values())] for one in entries),
        ]
        for title, part in cells.items()
    }


def markdown(entries: Sequence[Entry], cells: Groups) -> str:
    """The table in Markdown: a column for each run."""
    numbers = [pair for part in cells.values() for pair in part.items()]
    rows = [["", *(one.name for one in entries)], ["---", *("---:" for _ in entries)]]
    rows += [[name, *map(cell, entries)] for name, cell in numbers]
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
    first, noun = entries[0], entries[0].run.spec.unit.split()[-1]
    rows = max(one.subject.rows.count for one in first.metrics.values())
    draws = max(math.prod(one.samples or (1,)) for one in first.metrics.values())
    lead = (
        f"Measured on {rows:,} test {noun}s, the same for all, with {draws} draws of z each; "
        f"bounds are in {first.run.spec.unit}."
    )
    parts = [Section("In words", "\n".join(words))]
    if notes:
        parts.append(Section("Please note", "\n".join(notes), note=True))
    for heading, (head, *cells) in table.items():
        unbroken = [name.replace(" − ", "\u00a0−\u00a0") for name in head]
        parts.append(Section(heading, table=cells, head=unbroken))
    parts += [*_curves(drawn), *_sheets(entries, drawn), *_rate(drawn)]
    parts.append(Section("What the numbers mean", table=[*_meanings(found), *MEANING]))
    return page(title, lead, parts)


def _meanings(found: Sequence[Measure]) -> Iterator[tuple[str, str]]:
    """A row for each metric: its numbers, and what its class says of them."""
    for name in dict.fromkeys(of.metric for of in found):
        titles = [of.title + BETTER[of.column.better].replace(" ", ", ", 1).rstrip(".").lower()
                  for of in found if of.metric == name]  # fmt: skip
        yield "; ".join(titles), describe("metric", name)["title"]


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
    if drawn.without:
        texts["samples"] += f" There is no prior to draw from in {', '.join(drawn.without)}."
    for name, content in drawn.sheets.items():
        yield Section(
            name.capitalize(), texts[name], content, alt=f"{name} of each run, a row each"
        )


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
