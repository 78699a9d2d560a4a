"""The command `vaekit data`: the sets known by name, and the card of one."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vaekit.cli.show import DataDir, Json, MaybeWhole, dump, say

if TYPE_CHECKING:
    from vaekit.data import Dataset
    from vaekit.data.entry import Entry


PICTURES = 64  # images in the picture
WIDTH = 160  # of the list, where no terminal has one


def data(
    name: Annotated[
        str | None, Parameter(help="A data set's name, or a path; without one, all are listed.")
    ] = None,
    /,
    *,
    out: Annotated[
        Path | None,
        Parameter(name=["--out", "-o"], help="Where the picture goes; else NAME.png, here."),
    ] = None,
    data_dir: DataDir = None,
    size: Annotated[MaybeWhole, Parameter(help="Images become SIZE x SIZE.")] = None,
    crop: Annotated[MaybeWhole, Parameter(help="First keep the central CROP x CROP.")] = None,
    grey: Annotated[bool, Parameter(negative=(), help="Color images become gray.")] = False,
    label: Annotated[str | None, Parameter(help="The column of a .csv that is a label.")] = None,
    group: Annotated[str | None, Parameter(help="What keeps rows together; see train.")] = None,
    test: Annotated[float | None, Parameter(help="Test rows: a fraction, or a count.")] = None,
    json: Json = False,
) -> None:
    """List the data sets known by name, or show the card of one with a picture of it.

    Under --json the picture is drawn only where --out names it.
    """
    from vaekit.data import labeled, read
    from vaekit.options import Data, checked

    if name is None:
        _list(data_dir, json)
        return
    asked: dict[str, Any] = {"data": name, "data_dir": data_dir, "test": test}
    asked |= {"size": size, "crop": crop, "grey": grey, "label": label, "group": group}
    options = labeled(checked(Data, asked))
    shown = _card(found := read(options)) | {"label": options.label}
    if out is not None or not json:
        shown["picture"] = _picture(found, out)
    if json:
        say(dump(shown))
    else:
        _show(shown)


def _list(data_dir: str | None, json: bool) -> None:
    from vaekit.data.catalogue import SETS
    from vaekit.io import search_folders

    folders = search_folders(data_dir)
    lines = [_line(entry, folders) for entry in SETS.values()]
    if json:
        say(dump(lines))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "kind", "shape", "train", "test", "where", box=None)
    for line in lines:
        shape = " x ".join(map(str, line["shape"]))
        rows = (f"{line['rows'][part]:,}" for part in ("train", "test"))
        table.add_row(line["name"], line["kind"], shape, *rows, line["path"] or line["state"])
    table.columns[-1].overflow = "fold"
    for column in table.columns[:-1]:
        column.no_wrap = True
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def _line(entry: Entry, folders: tuple[Path, ...]) -> dict[str, Any]:
    found = entry.find(folders)
    if entry.make is not None:
        state = "built in"
    else:
        state = "here" if found else "download" if entry.public else "not here"
    held_out = {"validation": entry.validation} if entry.validation else {}
    return {
        "name": entry.name,
        "kind": entry.kind,
        "shape": list(entry.shape),
        "rows": {"train": entry.rows[0], **held_out, "test": entry.rows[1]},
        "classes": entry.classes,
        "state": state,
        "path": str(found[1][0].parent) if found else None,
        "note": entry.note,
        "license": entry.license,
    }


def _card(found: Dataset) -> dict[str, Any]:
    from vaekit.data import card
    from vaekit.recipes import find_recipe, likelihood_spec

    return {
        **card(found),
        "likelihood": likelihood_spec(find_recipe("vae").parts, found.kind)["name"],
    }


def _picture(found: Dataset, out: Path | None) -> str | None:
    """Training images, evenly spread, in a grid; None for rows that are no images."""
    from vaekit.data import spread
    from vaekit.errors import VaekitError
    from vaekit.report.pictures import save

    if len(found.train.images.shape) != 4:
        if out is not None:
            raise VaekitError(f"'{found.name}' holds no images to draw: leave --out.")
        return None
    images = found.train.x(spread(len(found.train), PICTURES))
    return str(save(images, out or Path(f"{found.name}.png")))


def _show(shown: dict[str, Any]) -> None:
    low, high = shown["range"]
    levels = f"{low:g} to {high:g}, mean {shown['mean']:.4g}"
    if shown["stored"] == "uint8":
        levels += f" ({shown['mean'] / 255:.4f} of 255)"
    lines = {
        "name": shown["name"],
        "kind": shown["kind"],
        "shape": f"{' x '.join(map(str, shown['shape']))}, {math.prod(shown['shape']):,} values",
        "rows": ", ".join(f"{part} {many:,}" for part, many in shown["rows"].items()),
        "range": levels,
        "not 0": f"{shown['density']:.2%} of the values",
        "label": f"the column {shown['label']}: --label '{shown['label']}'"
        if shown["label"]
        else "",
        "classes": _classes(shown),
        "factors": ", ".join(f"{name} ({many})" for name, many in shown["factors"].items()),
        "columns": ", ".join(shown["columns"]),
        "likelihood": shown["likelihood"],
        "note": shown["note"],
        "source": shown["source"],
        "sha256": shown["sha256"],
        "picture": shown["picture"],
    }
    for what, text in lines.items():
        if text:
            say(f"{what:11} {text}")


def _classes(shown: dict[str, Any]) -> str:
    """Each with its rows, of all splits."""
    if not shown["class_counts"]:
        return ""
    many = [sum(counts) for counts in zip(*shown["class_counts"].values(), strict=True)]
    names = shown["class_names"] or range(len(many))
    each = ", ".join(f"{name}: {rows:,}" for name, rows in zip(names, many, strict=True))
    return f"{shown['classes']}: {each}" if shown["class_names"] else f"{len(many)}; rows {each}"
