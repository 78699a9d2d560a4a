"""`vaekit compare`: several runs of one data set on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaekit.errors import VaekitError, choose
from vaekit.evaluate.checks import whole
from vaekit.io import write
from vaekit.report.comparison.differences import in_words
from vaekit.report.comparison.drawn import Drawn
from vaekit.report.comparison.layout import comparison_page
from vaekit.report.comparison.measured import Entry, measure
from vaekit.report.comparison.opened import Opened, open_runs
from vaekit.report.comparison.ranking import MEASURES, Measure, judge_of, ranked, refuse_rank
from vaekit.report.comparison.table import blocks, markdown, plain
from vaekit.report.comparison.words import sentences, warnings


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
        table: as text: in parts, each a title, the names of its numbers, and a row for each run.
    """

    path: Path
    words: list[str]
    notes: list[str]
    comparable: bool
    ranked_by: str
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
    if rank is not None:
        choose("measure to rank by", rank, MEASURES)
    _refuse_place(Path(out))
    opened = open_runs(runs, data_dir=data_dir, device=device)
    refuse_rank(opened, rank)
    entries = [
        measure(run, name, limit=limit, seed=seed, data_dir=data_dir)
        for run, name in zip(opened.runs, opened.names, strict=True)
    ]
    judge = judge_of(entries, opened.comparable, rank)
    drawn = Drawn(opened, entries, seed)
    unit = opened.runs[0].spec.unit
    words = [
        in_words(opened.differences),
        *sentences(entries, opened.comparable, unit, rank, opened.differences),
    ]
    notes = list(warnings(entries, opened.comparable))
    shown = _ordered(entries, MEASURES[judge]) if rank else entries
    html = comparison_page(title or _title(opened), words, notes, entries, shown, drawn)
    path = write(out, html.encode("utf-8", "replace"))
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
        dict(blocks(shown)),
    )


def _refuse_place(out: Path) -> None:
    """What cannot be written is refused before anything is measured."""
    if out.suffix != ".html" or out.is_dir():
        raise VaekitError(f"got the page {out}; expected a file that ends in .html.")
    above = next(path for path in out.absolute().parents if path.exists())
    if not above.is_dir():
        raise VaekitError(f"cannot make {out.parent}: {above} is a file. Name another place.")


def _ordered(entries: Sequence[Entry], measure: Measure) -> list[Entry]:
    """The best first; those without the number last."""
    order = ranked(entries, measure)
    return [*order, *(one for one in entries if one not in order)]


def _title(opened: Opened) -> str:
    return f"{len(opened.runs)} runs on {opened.data.name}"


def _save(folder: Path, drawn: Drawn, table: str) -> None:
    for name, content in drawn.files():
        write(folder / name, content)
    write(folder / "table.md", table.encode())
