"""`vaekit compare`: several runs of one data set on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaekit.errors import VaekitError
from vaekit.evaluate import whole
from vaekit.io import write
from vaekit.report.comparison.entries import (
    Entry,
    Measure,
    asked_rank,
    judge_of,
    measure,
    measures,
    ranked,
    ranking,
)
from vaekit.report.comparison.layout import blocks, comparison_page, groups, markdown, plain
from vaekit.report.comparison.opened import open_runs
from vaekit.report.comparison.sheets import Drawn
from vaekit.report.comparison.words import in_words, sentences, warnings


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
    pictures: str | Path | None = None,
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
        pictures: a folder that gets curves.png, reconstructions.png, samples.png, table.md and,
            where beta differs, rate-distortion.png.

    Raises:
        VaekitError: for fewer than two runs, one twice, runs of different data, `rank="elbo"` of
            different likelihoods, one that fewer than two have, and what cannot be written.
    """
    whole("limit", limit)
    _refuse_place(Path(out))
    opened = open_runs(runs, data_dir=data_dir, device=device)
    found = measures(opened)
    wanted = None if rank is None else asked_rank(opened, found, rank)
    entries = [
        measure(run, name, limit=limit, seed=seed, data_dir=data_dir)
        for run, name in zip(opened.runs, opened.names, strict=True)
    ]
    judge = judge_of(entries, ranking(found, opened.comparable), wanted)
    drawn = Drawn(opened, entries, seed)
    words = [
        in_words(opened.differences),
        *sentences(entries, found, opened.comparable, opened.differences),
    ]
    notes = list(warnings(opened, entries, found))
    shown = _ordered(entries, judge) if judge and rank else entries
    cells = groups(shown, found)
    table = blocks(shown, cells)
    title = title or f"{len(entries)} runs on {opened.data.name}"
    html = comparison_page(title, words, notes, entries, table, found, drawn)
    path = write(out, html.encode("utf-8", "replace"))
    if pictures is not None:
        for name, content in (*drawn.files(), ("table.md", markdown(shown, cells).encode())):
            write(Path(pictures) / name, content)
    return Comparison(
        path,
        words,
        notes,
        opened.comparable,
        judge.key if judge else None,
        opened.differences,
        [plain(one, found) for one in shown],
        table,
    )


def _refuse_place(out: Path) -> None:
    """What cannot be written is refused before anything is measured."""
    if out.suffix != ".html" or out.is_dir():
        raise VaekitError(f"got the page {out}; expected a file that ends in .html.")
    above = next(path for path in out.absolute().parents if path.exists())
    if not above.is_dir():
        raise VaekitError(f"cannot make {out.parent}: {above} is a file. Name another place.")


def _ordered(entries: Sequence[Entry], judge: Measure) -> list[Entry]:
    """The best first; those without the number last."""
    order = ranked(entries, judge)
    return [*order, *(one for one in entries if one not in order)]
