"""The commands `vaekit parts` and `vaekit recipes`: what there is by name. They need no torch."""

from __future__ import annotations

import shutil
import textwrap
from typing import Annotated, Any

from cyclopts import Parameter

from vaekit.cli.show import Json, dump, say
from vaekit.errors import choose
from vaekit.recipes import find_recipe, names
from vaekit.registry import KINDS, describe, entries, text


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
        _show(kind, one, entry)


def _show(kind: str, name: str, entry: dict[str, Any]) -> None:
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
    found = {name: find_recipe(name).title for name in names()}
    if json:
        say(dump([{"name": name, "summary": title} for name, title in found.items()]))
        return
    for name, title in found.items():
        say(f"{name:12} {title}")
