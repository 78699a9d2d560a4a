"""The command that sets runs side by side: `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vaekit.cli.show import DataDir, Device, Json, Whole, dump, say, start

if TYPE_CHECKING:
    from vaekit.report import Comparison


WIDE = 300  # columns where standard output is no terminal


def compare(
    *runs: Annotated[Path, Parameter(help="Run folders, two at least.")],
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="The page.")] = Path("compare.html"),
    limit: Annotated[
        Whole, Parameter(help="Test rows, evenly spread, and as many training rows.")
    ] = 1000,
    rank: Annotated[
        str | None, Parameter(help="elbo, psnr, ssim or mse: the best first, in the table.")
    ] = None,
    seed: Annotated[Whole, Parameter(help="Of the draws.")] = 0,
    title: Annotated[str | None, Parameter(help="Of the page.")] = None,
    pictures: Annotated[
        Path | None, Parameter(help="A folder for the charts and images as .png, and table.md.")
    ] = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Compare runs of one data set on a page: what differs, and what came of it."""
    start()
    from vaekit.report import compare as compare_runs

    found = compare_runs(
        runs,
        out=out,
        limit=limit,
        rank=rank,
        seed=seed,
        title=title,
        pictures=pictures,
        data_dir=data_dir,
        device=device,
    )
    if json:
        say(dump(as_json(found)))
    else:
        show(found)


def as_json(found: Comparison) -> dict[str, Any]:
    """As plain values, without the texts of the table."""
    content = {**asdict(found), "path": str(found.path)}
    del content["table"]
    return content


def show(found: Comparison) -> None:
    """The words, the table and the page's path on standard output."""
    for sentence in found.words:
        say(sentence)
    for part in found.table.values():
        _print(part)
    for note in found.notes:
        say(note)
    say(f"page     {found.path}")


def _print(rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(rows[0]):
        table.add_column(Text(name), justify="right" if place else "left", overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    console = Console()
    Console(width=console.width if console.is_terminal else WIDE).print(table)
