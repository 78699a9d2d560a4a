"""The commands that list what there is by name: `data`, `parts` and `recipes`."""

from __future__ import annotations

import math
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vaekit.cli.show import (
    DataDir,
    Json,
    MaybeWhole,
    columns,
    dump,
    say,
)
from vaekit.errors import VaekitError, choose
from vaekit.registry import KINDS, describe, entries, import_installed, text

if TYPE_CHECKING:
    from vaekit.data import Dataset, Entry

IMAGES = 64  # in the image of a data set
WIDTH = 160  # of the list of data sets, where no terminal has one


def data(
    name: Annotated[
        str | None, Parameter(help="A data set's name, or a path; without one, all are listed.")
    ] = None,
    /,
    *,
    out: Annotated[
        Path | None,
        Parameter(name=["--out", "-o"], help="The file of the image; by default NAME.png, here."),
    ] = None,
    data_dir: DataDir = None,
    size: Annotated[MaybeWhole, Parameter(help="Scale images to SIZE x SIZE.")] = None,
    crop: Annotated[MaybeWhole, Parameter(help="First keep the central CROP x CROP.")] = None,
    gray: Annotated[bool, Parameter(help="Turn color images gray.")] = False,
    label: Annotated[str | None, Parameter(help="The column of a .csv that is a label.")] = None,
    group: Annotated[
        str | None, Parameter(help="What keeps rows together; see `vaekit train vae --help-all`.")
    ] = None,
    test: Annotated[float | None, Parameter(help="Test rows: a fraction, or a count.")] = None,
    clean: Annotated[bool, Parameter(help="Empty the cache of decoded images, and leave.")] = False,
    json: Json = False,
) -> None:
    """List the named data sets, or show what one holds, with an image.

    Under --json the image is drawn only if --out names it.

    Example: vaekit data mnist
    """
    if clean:
        _clean(name, json)
        return
    if name is None:
        _list_sets(data_dir, json)
        return
    from vaekit.data import card, labeled, read
    from vaekit.options import Data, checked
    from vaekit.recipes import find_recipe, likelihood_spec

    values: dict[str, Any] = {"data": name, "data_dir": data_dir, "test": test}
    values |= {"size": size, "crop": crop, "gray": gray, "label": label, "group": group}
    options = labeled(checked(Data, values))
    dataset = read(options)
    likelihood = likelihood_spec(find_recipe("vae").parts, dataset.kind)["name"]
    facts = {**card(dataset), "likelihood": likelihood, "label": options.label}
    if out is not None or not json:
        facts["image"] = _draw(dataset, out)
    dump(facts) if json else _show_set(facts)


def _clean(name: str | None, json: bool) -> None:
    from vaekit.data import clean_cache
    from vaekit.io import in_words

    if name is not None:
        raise VaekitError(f"`clean` empties the cache of all sets: leave {name}, or `clean`.")
    folder, sets, freed = clean_cache()
    if json:
        dump({"folder": str(folder), "sets": sets, "bytes": freed})
    else:
        say(f"freed {in_words(freed)}: {sets} set{'s' * (sets != 1)} of decoded images in {folder}")


def _list_sets(data_dir: str | None, json: bool) -> None:
    from vaekit.data import SETS
    from vaekit.io import search_folders

    folders = search_folders(data_dir)
    sets = [_row(entry, folders) for entry in SETS.values()]
    if json:
        dump(sets)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "kind", "shape", "train", "test", "where", box=None)
    for row in sets:
        shape = " x ".join(map(str, row["shape"]))
        counts = (f"{row['rows'][part]:,}" for part in ("train", "test"))
        table.add_row(row["name"], row["kind"], shape, *counts, row["path"] or row["state"])
    table.columns[-1].overflow = "fold"
    for column in table.columns[:-1]:
        column.no_wrap = True
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def _row(entry: Entry, folders: tuple[Path, ...]) -> dict[str, Any]:
    files = entry.find(folders)
    if entry.make is not None:
        state = "built in"
    else:
        state = "here" if files else "download" if entry.public else "not here"
    validation = {"validation": entry.validation} if entry.validation else {}
    return {
        "name": entry.name,
        "kind": entry.kind,
        "shape": list(entry.shape),
        "rows": {"train": entry.rows[0], **validation, "test": entry.rows[1]},
        "classes": entry.classes,
        "state": state,
        "path": str(files[1][0].parent) if files else None,
        "note": entry.note,
        "license": entry.license,
    }


def _draw(dataset: Dataset, out: Path | None) -> str | None:
    """Draw training images, evenly spread, in a grid; return None if rows are no images."""
    from vaekit.data import spread
    from vaekit.report import save

    if len(dataset.train.images.shape) != 4:
        if out is not None:
            raise VaekitError(f"'{dataset.name}' holds no images to draw: leave `out`.")
        return None
    images = dataset.train.x(spread(len(dataset.train), IMAGES))
    return str(save(images, out or Path(f"{dataset.name}.png")))


def _show_set(facts: dict[str, Any]) -> None:
    low, high = facts["range"]
    levels = f"{low:g} to {high:g}, mean {facts['mean']:.4g}"
    if facts["stored"] == "uint8":
        levels += f" ({facts['mean'] / 255:.4f} of 255)"
    lines = {
        "name": facts["name"],
        "kind": facts["kind"],
        "shape": f"{' x '.join(map(str, facts['shape']))}, {math.prod(facts['shape']):,} values",
        "rows": ", ".join(f"{part} {count:,}" for part, count in facts["rows"].items()),
        "range": levels,
        "not 0": f"{facts['density']:.2%} of the values",
        "label": facts["label"] and f"the column {facts['label']}: --label '{facts['label']}'",
        "classes": _classes(facts),
        "factors": ", ".join(f"{name} ({count})" for name, count in facts["factors"].items()),
        "columns": ", ".join(facts["columns"]),
        "likelihood": facts["likelihood"],
        "note": facts["note"],
        "source": facts["source"],
        "sha256": facts["sha256"],
        "image": facts["image"],
    }
    for title, words in lines.items():
        if words:
            say(f"{title:11} {words}")


def _classes(facts: dict[str, Any]) -> str:
    """Return each class with its rows, of all splits."""
    if not facts["class_counts"]:
        return ""
    totals = [sum(counts) for counts in zip(*facts["class_counts"].values(), strict=True)]
    names = facts["class_names"] or range(len(totals))
    each = ", ".join(f"{name}: {rows:,}" for name, rows in zip(names, totals, strict=True))
    return f"{facts['classes']}: {each}" if facts["class_names"] else f"{len(totals)}; rows {each}"


def parts(
    kind: Annotated[str | None, Parameter(help="A kind of part; without one, all kinds.")] = None,
    name: Annotated[str | None, Parameter(help="One part of this kind.")] = None,
    /,
    *,
    json: Json = False,
) -> None:
    """List the parts by name, and their options.

    A part is written NAME:option=value:option=value, as --objective iwae:samples=50;
    :option=value alone changes options of the recipe's part.

    Example: vaekit parts objective iwae
    """
    import_installed()
    known = {each: entries(each) for each in KINDS if entries(each)}
    if kind is None:
        if json:
            dump(known)
        else:
            rows = {each: f"{KINDS[each]}: {', '.join(known[each])}" for each in known}
            say("\n".join(columns(rows, "")))
        return
    choose("kind of part", kind, known)
    listed = known[kind] if name is None else {name: describe(kind, name)}
    if json:
        dump(listed if name is None else listed[name])
        return
    for each, entry in listed.items():
        _show_part(kind, each, entry)


def _show_part(kind: str, name: str, entry: dict[str, Any]) -> None:
    """Print a part's title, and its options with their defaults; of a recipe, its choice."""
    from vaekit.recipes import find_recipe

    paper = entry["paper"]
    cite = f" (arXiv {paper})" if paper and paper not in entry["title"] and kind != "recipe" else ""
    say(f"{name}: {entry['title']}{cite}")
    if kind == "recipe":
        recipe = find_recipe(name)
        rows = {f"--{n.replace('_', '-')} {v}": "" for n, v in recipe.options.items()}
        say(textwrap.fill(recipe.text, 100, initial_indent="  ", subsequent_indent="  "))
    else:
        options = entry["options"].items()
        rows = {text({"name": "", n: option["default"]}): option["help"] for n, option in options}
    if rows:
        say("\n".join(columns(rows)))


def recipes(*, json: Json = False) -> None:
    """List the recipes, a line each.

    Example: vaekit recipes
    """
    from vaekit.recipes import find_recipe, names

    import_installed()
    titles = {name: find_recipe(name).title for name in names()}
    if json:
        dump([{"name": name, "summary": title} for name, title in titles.items()])
        return
    for name, title in titles.items():
        say(f"{name:12} {title}")
