"""What there is by name, without torch: `vaekit parts` and `vaekit recipes`; and `vaekit data`."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vaekit.cli.show import DataDir, Json, MaybeWhole, dump, say
from vaekit.errors import VaekitError, choose
from vaekit.recipes import find_recipe, likelihood_spec, names
from vaekit.registry import KINDS, describe, entries, import_installed, text

if TYPE_CHECKING:
    from vaekit.data import Dataset, Entry


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
    gray: Annotated[bool, Parameter(negative=(), help="Color images become gray.")] = False,
    label: Annotated[str | None, Parameter(help="The column of a .csv that is a label.")] = None,
    group: Annotated[str | None, Parameter(help="What keeps rows together; see train.")] = None,
    test: Annotated[float | None, Parameter(help="Test rows: a fraction, or a count.")] = None,
    clean: Annotated[
        bool, Parameter(negative=(), help="Empty the cache of decoded images, and leave.")
    ] = False,
    json: Json = False,
) -> None:
    """List the data sets known by name, or show the card of one with a picture of it.

    Under --json the picture is drawn only where --out names it.
    """
    from vaekit.data import card, labeled, read
    from vaekit.options import Data, checked

    if clean:
        _clean(name, json)
        return
    if name is None:
        _list(data_dir, json)
        return
    asked: dict[str, Any] = {"data": name, "data_dir": data_dir, "test": test}
    asked |= {"size": size, "crop": crop, "gray": gray, "label": label, "group": group}
    options = labeled(checked(Data, asked))
    found = read(options)
    likelihood = likelihood_spec(find_recipe("vae").parts, found.kind)["name"]
    shown = {**card(found), "likelihood": likelihood, "label": options.label}
    if out is not None or not json:
        shown["picture"] = _picture(found, out)
    say(dump(shown)) if json else _show(shown)


def _clean(name: str | None, json: bool) -> None:
    from vaekit.data import clean_cache
    from vaekit.io import in_words

    if name is not None:
        raise VaekitError(f"--clean empties the cache of all sets: leave {name}, or --clean.")
    folder, sets, freed = clean_cache()
    if json:
        say(dump({"folder": str(folder), "sets": sets, "bytes": freed}))
    else:
        say(f"freed {in_words(freed)}: {sets} set{'s' * (sets != 1)} of decoded images in {folder}")


def _list(data_dir: str | None, json: bool) -> None:
    from vaekit.data import SETS
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


def _picture(found: Dataset, out: Path | None) -> str | None:
    """Training images, evenly spread, in a grid; None for rows that are no images."""
    from vaekit.data import spread
    from vaekit.report import save_images

    if len(found.train.images.shape) != 4:
        if out is not None:
            raise VaekitError(f"'{found.name}' holds no images to draw: leave --out.")
        return None
    images = found.train.x(spread(len(found.train), PICTURES))
    return str(save_images(images, out or Path(f"{found.name}.png")))


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
        "label": shown["label"] and f"the column {shown['label']}: --label '{shown['label']}'",
        "classes": _classes(shown),
        "factors": ", ".join(f"{name} ({many})" for name, many in shown["factors"].items()),
        "columns": ", ".join(shown["columns"]),
        "likelihood": shown["likelihood"],
        "note": shown["note"],
        "source": shown["source"],
        "sha256": shown["sha256"],
        "picture": shown["picture"],
    }
    for what, words in lines.items():
        if words:
            say(f"{what:11} {words}")


def _classes(shown: dict[str, Any]) -> str:
    """Each with its rows, of all splits."""
    if not shown["class_counts"]:
        return ""
    many = [sum(counts) for counts in zip(*shown["class_counts"].values(), strict=True)]
    names = shown["class_names"] or range(len(many))
    each = ", ".join(f"{name}: {rows:,}" for name, rows in zip(names, many, strict=True))
    return f"{shown['classes']}: {each}" if shown["class_names"] else f"{len(many)}; rows {each}"


def parts(
    kind: Annotated[str | None, Parameter(help="A kind of part; without one, all kinds.")] = None,
    name: Annotated[str | None, Parameter(help="One part of this kind.")] = None,
    /,
    *,
    json: Json = False,
) -> None:
    """The parts by name, and their options: `vaekit parts prior`, `vaekit parts objective iwae`.

    A part is written NAME:option=value:option=value, as --objective iwae:samples=50;
    :option=value alone changes options of the recipe's own part.
    """
    import_installed()
    known = {one: entries(one) for one in KINDS if entries(one)}
    if kind is None:
        if json:
            say(dump(known))
        else:
            _columns({one: f"{KINDS[one]}: {', '.join(known[one])}" for one in known})
        return
    found = choose("kind of part", kind, known)
    if name is not None:
        found = {name: describe(kind, name)}
    if json:
        say(dump(found if name is None else found[name]))
        return
    for one, entry in found.items():
        _show_part(kind, one, entry)


def _show_part(kind: str, name: str, entry: dict[str, Any]) -> None:
    """A part's line, and its options with their defaults; of a recipe, what it is made of."""
    paper = entry["paper"]
    cite = f" (arXiv {paper})" if paper and paper not in entry["title"] and kind != "recipe" else ""
    say(f"{name}: {entry['title']}{cite}")
    if kind == "recipe":
        own = find_recipe(name)
        shown = {f"--{n.replace('_', '-')} {v}": "" for n, v in own.options.items()}
        say(textwrap.fill(own.text, 100, initial_indent="  ", subsequent_indent="  "))
    else:
        options = entry["options"].items()
        shown = {text({"name": "", n: one["default"]}): one["help"] for n, one in options}
    _columns(shown, "  ")


def _columns(rows: dict[str, str], indent: str = "") -> None:
    """What is on the left, and words on it beside."""
    left = max(map(len, rows), default=0)
    width = max(shutil.get_terminal_size().columns, left + 40)
    for name, words in rows.items():
        head, rest = f"{indent}{name:{left}}  ", " " * (len(indent) + left + 2)
        filled = textwrap.fill(words, width, initial_indent=head, subsequent_indent=rest)
        say(filled or head.rstrip())


def recipes(*, json: Json = False) -> None:
    """The recipes, a line each."""
    import_installed()
    found = {name: find_recipe(name).title for name in names()}
    if json:
        say(dump([{"name": name, "summary": title} for name, title in found.items()]))
        return
    for name, title in found.items():
        say(f"{name:12} {title}")
