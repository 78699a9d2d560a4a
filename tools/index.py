"""Writes src/vaekit/index.json, the entries of all parts, and docs/parts.md, from the parts.

Run it after a change of a part's signature or docstring; with --check it fails where a file is
stale.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path

import vaekit
from vaekit import registry

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("nn", "parts", "models", "objectives", "evaluate", "recipes", "data")
DOC = ROOT / "docs" / "parts.md"


def registered() -> dict[str, dict[str, object]]:
    """The entries of the kit's own parts, by kind and name, in the order of the files."""
    written, registry.INDEX = registry.INDEX, Path("none")  # which may name other homes
    registry._index.cache_clear()
    for room in ROOMS:
        package = importlib.import_module(f"vaekit.{room}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"vaekit.{room}.{module.name}")
    found: dict[str, dict[str, object]] = {kind: {} for kind in registry.KINDS}
    for kind, name in registry._OBJECTS:
        if kind not in ("recipe", "data"):  # records, which need no torch, or are read with it
            found[kind][name] = registry.entry(kind, name)
    registry.INDEX = written
    return {kind: entries for kind, entries in found.items() if entries}


def page() -> str:
    """docs/parts.md: how parts are written, what there is, and how to add one."""
    from vaekit.distributions import Offer
    from vaekit.recipes import find_recipe, names

    text = (ROOT / "tools" / "parts.md").read_text()
    lines = []
    for kind, words in registry.KINDS.items():
        if kind == "data":
            continue
        lines += [f"## {kind.capitalize()}: {words}", ""]
        if kind == "recipe":
            for name in names():
                one = find_recipe(name)
                lines.append(f"- `{name}`: {one.title} {_choice(one.options)}")
            lines.append("")
            continue
        for name, entry in registry.entries(kind).items():
            new = entry["paper"] and entry["paper"] not in entry["title"]
            paper = f" (arXiv {entry['paper']})" if new else ""
            lines += [f"### `{name}`", "", f"{entry['title']}{paper}", ""]
            for option, one in entry["options"].items():
                default = registry._written(one["default"])
                lines.append(f"- `{option}={default}`: {one['help']}")
            lines += [""] if entry["options"] else []
    table = [f"| `{word}` | {word.meaning} |" for word in Offer]
    text = text.replace(
        "<!-- offers -->", "\n".join(["| word | what it stands for |", "|---|---|", *table])
    )
    return text.replace("<!-- parts -->\n", "\n".join(lines))


def _choice(options: dict[str, object]) -> str:
    shown = [
        f"{name}={registry.text(value, brief=name)}"
        if isinstance(value, dict)
        else f"{name}={value}"
        for name, value in options.items()
    ]
    return f"`{', '.join(shown)}`" if shown else ""


def main() -> None:
    """Writes the files, or checks them."""
    index = json.dumps(registered(), indent=1) + "\n"
    check = "--check" in sys.argv
    stale = registry.INDEX.read_text() != index if registry.INDEX.is_file() else True
    if not check:
        registry.INDEX.write_text(index)
    registry._index.cache_clear()
    written = page()
    stale_page = not DOC.is_file() or DOC.read_text() != written
    if check and (stale or stale_page):
        sys.exit("src/vaekit/index.json or docs/parts.md is stale: run python tools/index.py")
    if not check:
        DOC.write_text(written)
    parts = sum(map(len, json.loads(index).values()))
    print(f"vaekit {vaekit.__version__}: {parts} parts")


if __name__ == "__main__":
    main()
