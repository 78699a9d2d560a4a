"""Options of commands, made from the records that the command line, files and Python share."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

import vaekit
from vaekit.cli._show import Whole


def fields_of(record: str) -> Iterator[tuple[str, Any, Any, str]]:
    """Yield name, type, default and help of each option, from the source of _train_options.py.

    Importing it builds pydantic's models, which takes longer than all of help.
    """
    plain = ("PathText", "PathTexts", "Sides", "Size", "Color", "Levels", "Conditions")
    lists = dict.fromkeys(("Names", "Kinds"), tuple[str, ...])
    types = {**dict.fromkeys(plain, str), **lists, "int": Whole, "Literal": Literal}
    source = Path(vaekit.__file__).with_name("_train_options.py").read_text()
    classes = (each for each in ast.parse(source).body if isinstance(each, ast.ClassDef))
    body: Any = next(each.body for each in classes if each.name == record)
    for field, below in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign):
            value: Any = field.value
            said = {each.arg: each.value for each in getattr(value, "keywords", ())}
            yield (
                ast.unparse(field.target),
                eval(ast.unparse(field.annotation), types),  # of vaekit's own file alone
                ast.literal_eval(said.get("default", value)),
                " ".join(below.value.value.split()),
            )


def make_record(name: str, fields: Any) -> Any:
    """Return a frozen record of these fields (name, type, default), at their defaults."""
    # cyclopts takes a class of the module `types` for a built-in one
    how: dict[str, Any] = {"frozen": True, "namespace": {"__module__": __name__}}
    return make_dataclass(name, fields, **how)()


def record_of(name: str, defaults: Mapping[str, Any], without: Collection[str] = ()) -> Any:
    """Return the options of data or of training as a record, with the help of each.

    Args:
        name: "Data" or "Training".
        defaults: those that differ from the usual ones.
        without: names of options that are left out.
    """
    fields = [
        (name, Annotated[kind, Parameter(help=words)], defaults.get(name, default))
        for name, kind, default, words in fields_of(name)
        if name not in without
    ]
    return make_record(name, fields)


def flat(record: Any, group: str) -> Any:
    """Return the type of an argument whose fields are options."""
    return Annotated[type(record), Parameter(name="*", group=group)]
