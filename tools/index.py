"""Writes what is made from the parts and the option records, so that no list is kept by hand.

They are src/vaekit/index.json, the entries of all parts, src/vaekit/signature.pyi, the types of
the options of a training, docs/parts.md, and in the stubs of some rooms the classes of parts that
are new. Run it after a change of a part's or a record's
options or docstring; with --check it fails where a file is stale.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import sys
from pathlib import Path

import vaekit
from vaekit import registry

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("nn", "parts", "models", "objectives", "evaluate", "recipes", "training", "data")
DOC = ROOT / "docs" / "parts.md"
NAMED = ("parts", "models", "objectives")  # rooms whose parts are names for Python too
STUB = ROOT / "src" / "vaekit" / "signature.pyi"
NAME = r"(?m)^from (\S+) import (?:\(\s*)?(\w+) as \2"  # as `registry.exports` reads them
TYPES = {
    "PathText": "str | PathLike[str]",
    "Names": "str | Sequence[str]",
    "Kinds": "str | Mapping[str, str]",
    "Conditions": "str | Sequence[str]",
    "Size": "int | str",
    "Color": "str",
    "Levels": "str | Sequence[float]",
    "Sides": "str | Sequence[int]",
    "tuple[str, ...]": "Sequence[str]",
}


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


def names_of(room: str) -> str:
    """The stub of a room, sorted as imports are, with the classes of all of its parts."""
    found = set(re.findall(NAME, (ROOT / "src/vaekit" / room / "__init__.pyi").read_text()))
    for part, _ in registry._OBJECTS.values():
        if inspect.isclass(part) and part.__module__.startswith(f"vaekit.{room}."):
            found.add((part.__module__, part.__name__))
    lines = []
    for home, name in sorted(found, key=lambda one: (one[0], not one[1].isupper(), one[1])):
        line = f"from {home} import {name} as {name}"
        wide = f"from {home} import (\n    {name} as {name},\n)"
        lines.append(f"{line if len(line) <= 100 else wide}\n")
    return "".join(lines)


def stub() -> str:
    """signature.pyi: the options of `vaekit.train` and their types, for editors and mypy."""
    from vaekit._train_options import Data, Training
    from vaekit.recipes import find_recipe, names

    asks = dict.fromkeys(part for name in names() for part in find_recipe(name).asks)
    parts = {name: "int" if name == "latent" else "Part" for name in asks if name != "objective"}
    fields = {**parts, **Data.__annotations__, **Training.__annotations__, "data": "Any"}
    for name, kind in fields.items():
        for written, shown in TYPES.items():
            kind = kind.replace(written, shown)
        fields[name] = kind.replace("'", '"')
    return "\n".join(
        [
            '"""Written by tools/index.py: the options of a training, for editors and mypy."""',
            "",
            "from collections.abc import Mapping, Sequence",
            "from os import PathLike",
            "from typing import Any, Literal, TypedDict",
            "",
            "from torch.nn import Module",
            "",
            "Part = str | Mapping[str, Any] | Module",
            "",
            "class TrainOptions(TypedDict, total=False):",
            *(f"    {name}: {kind}" for name, kind in fields.items()),
            "",
            "class RecipeOptions(TrainOptions, total=False):",
            "    objective: Part",
            "",
        ]
    )


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
    _write(registry.INDEX, index)
    registry._index.cache_clear()
    _write(STUB, stub())
    for room in NAMED:
        _write(ROOT / "src/vaekit" / room / "__init__.pyi", names_of(room))
    _write(DOC, page())
    parts = sum(map(len, json.loads(index).values()))
    print(f"vaekit {vaekit.__version__}: {parts} parts")


def _write(path: Path, text: str) -> None:
    """Write a file, or with --check fail where it is stale."""
    if "--check" not in sys.argv:
        path.write_text(text)
    elif not path.is_file() or path.read_text() != text:
        sys.exit(f"{path.relative_to(ROOT)} is stale: run python tools/index.py")


if __name__ == "__main__":
    main()
