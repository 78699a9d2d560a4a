"""The commands that list what there is by name: `data`, `parts` and `recipes`."""

# No `from __future__ import annotations`: the type of the options is made here.
import math
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import vaekit
from vaekit._io import in_words, search_folders
from vaekit.cli._options import flat, record_of
from vaekit.cli._show import MaybeOut, answer, start, table
from vaekit.cli._show import columns as in_columns
from vaekit.errors import VaekitError, choose
from vaekit.registry import KINDS, describe, entries, import_installed, text

SHOWN, WIDE = 100, 60  # of classes and columns: so many, and so many letters of each
IMAGES = 64  # in the image of a data set
NOT_READ = {
    "data",
    "validation",
    "limit",
    "context",
    "library",
    "standardize",
    "range",
    "binarize",
    "dequantize",
}
READING = record_of("Data", {}, without=NOT_READ)  # how rows are read, not what is made of them


def data(
    name: str | None = None,
    /,
    *,
    out: MaybeOut = None,
    overwrite: bool = False,
    options: flat(READING, "Data") = READING,  # type: ignore[valid-type]
    clean: bool = False,
    json: bool = False,
) -> None:
    """List the named data sets, or show what one holds, with an image.

    Under --json the image is drawn only if --out names it.

    Example: vaekit data mnist

    Args:
        name: A data set's name, or a path; without one, all are listed.
        out: The file of the image; by default NAME.png, here.
        overwrite: Replace the file that --out names.
        clean: Empty the cache of decoded images, and leave.
    """
    start()
    if clean:
        if name is not None:
            raise VaekitError(f"`clean` empties the cache of all sets: leave {name}, or `clean`.")
        folder, sets, freed = vaekit.data.clean_cache()
        words = f"{sets} set{'s' * (sets != 1)} of decoded images in {folder}"
        content = {"folder": str(folder), "sets": sets, "bytes": freed}
        answer(json, content, [f"freed {in_words(freed)}: {words}"])
    elif name is None:
        listed = list(_sets(options.data_dir))
        rows = [["name", "kind", "shape", "train", "test", "where"]]
        for each in listed:
            shape = " x ".join(map(str, each["shape"]))
            counts = (f"{each['rows'][part]:,}" for part in ("train", "test"))
            rows.append([each["name"], each["kind"], shape, *counts, each["path"] or each["state"]])
        answer(json, listed, [table(rows, left=(0, 1, 2, 5))])
    else:
        from vaekit._train_options import Data, checked

        path = vaekit.data.meant(name, options.data_dir)
        reading = checked(Data, {"data": path, **asdict(options)})
        dataset = vaekit.data.read(reading)
        parts = vaekit.recipes.find_recipe("vae").parts
        likelihood = vaekit.recipes.likelihood_spec(parts, dataset.kind)["name"]
        facts = {**vaekit.data.card(dataset), "likelihood": likelihood, "label": reading.label}
        images = len(dataset.train.images.shape) == 4
        if out is not None and out.exists() and not overwrite:
            raise VaekitError(f"there is a file {out}: name another, or add `overwrite`.")
        if out is not None and not images:
            raise VaekitError(f"'{dataset.name}' holds no images to draw: leave `out`.")
        if images and (out is not None or not json):
            x = dataset.train.x(vaekit.data.spread(len(dataset.train), IMAGES))
            image = out or Path(f"{dataset.name}.png")
            kept = "" if out else _kept(image, Path(dataset.source))
            facts["image"] = kept or str(vaekit.report.save_images(x, image))
        answer(json, facts, _lines(facts))


def _kept(path: Path, source: Path) -> str:
    """Return why no image is drawn there unasked; nothing where it may be."""
    if source.is_dir() and path.absolute().parent.resolve().is_relative_to(source.resolve()):
        return f"not drawn: {path} would lie in the data; name another file as --out"
    if path.exists() and not vaekit.data.is_own(path):
        return f"not drawn: there is another {path}; name a file as --out"
    return ""


def _sets(data_dir: str | None) -> Iterator[dict[str, Any]]:
    """Yield what is known of each named data set, and where it is."""
    folders = search_folders(data_dir)
    for entry in vaekit.data.sets(data_dir).values():
        files = entry.find(folders)
        state = "here" if files else "download" if entry.public else "not here"
        validation = {"validation": entry.validation} if entry.validation else {}
        yield {
            "name": entry.name,
            "kind": entry.kind,
            "shape": list(entry.shape),
            "rows": {"train": entry.rows[0], **validation, "test": entry.rows[1]},
            "classes": entry.classes,
            "state": state if entry.make is None else "built in",
            "path": str(files[1][0].parent) if files else None,
            "note": entry.note,
            "license": entry.license,
        }


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield what a data set holds, for people; of each class its rows, of all splits."""
    low, high = facts["range"]
    mixed = facts["kind"] == "mixed"  # whose columns have no range in common
    levels = "" if mixed else f"{low:g} to {high:g}, mean {facts['mean']:.4g}"
    if facts["stored"] == "uint8":
        levels += f" ({facts['mean'] / 255:.4f} of 255)"
    totals = [sum(counts) for counts in zip(*facts["class_counts"].values(), strict=True)]
    names = facts["class_names"] or range(len(totals))
    some = list(zip(names, totals, strict=False))[:SHOWN]
    classes = ", ".join(f"{str(name)[:WIDE]}: {rows:,}" for name, rows in some)
    classes += f" and {len(totals) - SHOWN:,} more" * (len(totals) > SHOWN)
    count = f"{facts['classes']}: " if facts["class_names"] else f"{len(totals)}; rows "
    lines = {
        "name": facts["name"],
        "kind": facts["kind"],
        "shape": f"{' x '.join(map(str, facts['shape']))}, {math.prod(facts['shape']):,} values",
        "rows": ", ".join(f"{part} {count:,}" for part, count in facts["rows"].items()),
        "range": levels,
        "not 0": "" if mixed else f"{facts['density']:.2%} of the values",
        "label": facts["label"] and f"the column {facts['label']}: --label '{facts['label']}'",
        "classes": classes and count + classes,
        "factors": ", ".join(f"{name} ({count})" for name, count in facts["factors"].items()),
        "columns": ", ".join(name[:WIDE] for name in facts["columns"][:SHOWN])
        + f" and {len(facts['columns']) - SHOWN:,} more" * (len(facts["columns"]) > SHOWN),
    }
    from vaekit.cli.main import in_shell

    for name in ("likelihood", "said", "note", "source", "sha256", "image"):
        lines[name] = facts.get(name)
    lines["said"] = in_shell(facts["said"])
    yield from (f"{title:11} {words}" for title, words in lines.items() if words)


def parts(kind: str | None = None, name: str | None = None, /, *, json: bool = False) -> None:
    """List the parts by name, and their options.

    A part is written NAME:option=value:option=value, as --objective iwae:samples=50;
    :option=value alone changes options of the recipe's part.

    Example: vaekit parts objective iwae

    Args:
        kind: A kind of part; without one, all kinds.
        name: One part of this kind.
    """
    import_installed()
    known = {each: entries(each) for each in KINDS if entries(each)}
    if kind is None:
        rows = {each: f"{KINDS[each]}: {', '.join(known[each])}" for each in known}
        answer(json, known, in_columns(rows, ""))
        return
    choose("kind of part", kind, known)
    listed = known[kind] if name is None else {name: describe(kind, name)}
    lines = (line for each in listed for line in _part_lines(kind, each, listed[each]))
    answer(json, listed if name is None else listed[name], lines)


def _part_lines(kind: str, name: str, entry: dict[str, Any]) -> Iterator[str]:
    """Yield a part's title, and its options with their defaults; of a recipe, its choice."""
    paper = entry["paper"]
    cite = f" (arXiv {paper})" if paper and paper not in entry["title"] and kind != "recipe" else ""
    yield f"{name}: {entry['title']}{cite}"
    if kind == "recipe":
        recipe = vaekit.recipes.find_recipe(name)
        rows = {f"--{n.replace('_', '-')} {v}": "" for n, v in recipe.options.items()}
        yield textwrap.fill(recipe.text, 100, initial_indent="  ", subsequent_indent="  ")
    else:
        options = entry["options"].items()
        rows = {text({"name": "", n: option["default"]}): option["help"] for n, option in options}
    yield from in_columns(rows)


def recipes(*, json: bool = False) -> None:
    """List the recipes, a line each.

    Example: vaekit recipes
    """
    import_installed()
    titles = {name: vaekit.recipes.find_recipe(name).title for name in vaekit.recipes.names()}
    content = [{"name": name, "summary": title} for name, title in titles.items()]
    left = max(map(len, titles))
    answer(json, content, (f"{name:{left}} {title}" for name, title in titles.items()))
