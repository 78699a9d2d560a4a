"""Parts by name: what is registered, its options, and the grammar in which they are written.

A part is written `NAME[:option=value]...`: a colon between options, a comma inside a list. An
option that takes a part holds a name, its options go by their path: `flow:net=mlp:net.hidden=64`.
Nothing here imports torch: what vaekit itself registers is read from index.json, which
`tools/index.py` writes from signatures and docstrings.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from vaekit._arguments import guard
from vaekit._io import note
from vaekit.errors import VaekitError, unknown

T = TypeVar("T")
Spec = dict[str, Any]

INDEX = Path(__file__).with_name("index.json")
KINDS = {
    "prior": "p(z)",
    "posterior": "q(z|x)",
    "likelihood": "p(x|z)",
    "quantizer": "codes of vectors",
    "objective": "what is maximized",
    "net": "how the networks are made",
    "model": "what joins them",
    "module": "what composed models are made of",
    "density": "a prior fitted to codes",
    "metric": "what is measured",
    "recipe": "a choice of all these",
    "data": "sets known by name",
}
WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
_OBJECTS: dict[tuple[str, str], tuple[Any, Spec]] = {}


def register(kind: str, name: str, **defaults: Any) -> Callable[[T], T]:
    """Register a class, a function or a record under a name, by which it goes everywhere.

    Its options are the keyword-only arguments of its signature, each with a type, a default, and
    a line in the `Args:` of its docstring; what has no default is given by the builder, by name
    (`event_shape`, `data`, ...).

    Args:
        kind: one of `KINDS`.
        name: small letters and hyphens.
        defaults: of options, where they are others under this name.

    Raises:
        VaekitError: for another kind, a name that is no name, or one that is taken.

    Example:
        >>> describe("objective", "iwae")["options"]["samples"]["default"]
        50
    """
    if kind not in KINDS:
        raise unknown("kind of part", kind, list(KINDS))
    if not re.fullmatch(r"[a-z0-9]+([-_.][a-z0-9]+)*", name):
        raise VaekitError(f"got the name '{name}'; expected small letters, digits and hyphens.")

    def enter(part: T) -> T:
        taken = _OBJECTS.get((kind, name), (part, {}))[0]
        home = _index().get(kind, {}).get(name, {}).get("home")
        ours = getattr(part, "__module__", None) == home
        if (_home(taken) != _home(part) and taken != part) or (home and not ours):
            raise VaekitError(f"the {kind} '{name}' is taken: register yours by another name.")
        _OBJECTS[kind, name] = (part, defaults)
        if inspect.isclass(part) and "_recorded" not in vars(part):
            _record(part)
        return part

    return enter


def _home(part: Any) -> Any:
    """Return where a part is defined: a file that is loaded twice registers its parts anew."""
    module = getattr(part, "__module__", None)
    file = getattr(sys.modules.get(str(module)), "__file__", None)
    return (file or module, getattr(part, "__qualname__", id(part)))


@contextmanager
def registering(free: Collection[tuple[str, str]] = ()) -> Iterator[set[tuple[str, str]]]:
    """Collect kind and name of what is registered meanwhile; after an error none of it stays.

    Args:
        free: kinds and names that may be taken anew.
    """
    before = dict(_OBJECTS)
    added: set[tuple[str, str]] = set()
    for key in free:
        _OBJECTS.pop(key, None)
    try:
        yield added
        added |= _new(before)
    except BaseException:
        for key in _new(before):
            del _OBJECTS[key]
        _OBJECTS.update(before)
        raise
    for key in before.keys() - _OBJECTS.keys():
        _OBJECTS[key] = before[key]


def _new(before: Mapping[tuple[str, str], Any]) -> set[tuple[str, str]]:
    """Return what is not as it was, but for vaekit's parts, which are entered when needed."""
    changed = {key for key, part in _OBJECTS.items() if before.get(key) is not part}
    return {(kind, name) for kind, name in changed if name not in _index().get(kind, {})}


@functools.cache
def import_installed() -> None:
    """Import, once, what installed packages name as entry points of the group `vaekit.parts`.

    So a package's parts go by their names without an import: where a name is unknown, and where
    all are listed. A note names one that cannot be imported.
    """
    from importlib.metadata import entry_points

    for point in entry_points(group="vaekit.parts"):
        try:
            with registering():
                point.load()
        except Exception as error:
            why = " ".join(f"{type(error).__name__}: {error}".split())
            note(f"the parts '{point.name}' of {point.value} cannot be imported: {why}")


def _record(part: type) -> None:
    """Record the arguments that an object is made with, as `made`: the outermost call's."""
    inner = part.__init__  # type: ignore[misc]

    @functools.wraps(inner)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        args = tuple(list(each) if isinstance(each, Iterator) else each for each in args)
        self.__dict__.setdefault("made", (type(self), args, kwargs))  # before nn.Module is there
        inner(self, *args, **kwargs)

    part.__init__ = init  # type: ignore[misc]
    part._recorded = True  # type: ignore[attr-defined]


@functools.cache
def _index() -> dict[str, dict[str, Any]]:
    return json.loads(INDEX.read_text()) if INDEX.is_file() else {}


def entries(kind: str) -> dict[str, dict[str, Any]]:
    """Return what is known of each part of a kind, by name: home, title, paper, given, options.

    Example:
        >>> sorted(entries("prior"))[:2]
        ['categorical', 'codes']
    """
    known = dict(_index().get(kind, {}))
    for (of, name), _ in _OBJECTS.items():
        if of == kind and name not in known:
            known[name] = describe(kind, name)
    return known


def describe(kind: str, name: str) -> dict[str, Any]:
    """Return the entry of one part; of a registered one made from its signature and docstring.

    Raises:
        VaekitError: for an unknown name, and an option without type, default or help.
    """
    name = _named(kind, name)
    known = _index().get(kind, {}).get(name)
    return known if known is not None else entry(kind, name)


def entry(kind: str, name: str) -> dict[str, Any]:
    """Return what signature and docstring of a registered part say."""
    part, defaults = _OBJECTS[kind, name]
    words = getattr(part, "title", None)
    words = words if isinstance(words, str) else inspect.getdoc(part) or ""
    paper = re.search(r"arXiv (\d{4}\.\d{4,5})", words + str(getattr(part, "text", "")))
    facts, options = _signature(kind, name, part, defaults) if callable(part) else ([], {})
    return {
        "home": getattr(part, "__module__", type(part).__module__),
        "title": words.split("\n\n")[0].replace("\n", " "),
        "paper": paper[1] if paper else None,
        "given": facts,
        "options": options,
    }


def _signature(
    kind: str, name: str, part: Any, defaults: Spec
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return what the builder gives, and the options with type, default and help."""
    words, facts, options = helps(part), [], {}
    for each in inspect.signature(part).parameters.values():
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue
        if each.kind is not each.KEYWORD_ONLY or each.default is each.empty:
            facts.append(each.name)
            continue
        if each.annotation is each.empty or each.name not in words:
            raise VaekitError(
                f"the option {each.name} of the {kind} '{name}' needs a type, and a line under "
                "Args in the docstring."
            )
        type_, default = each.annotation, defaults.get(each.name, each.default)
        type_ = type_ if isinstance(type_, str) else inspect.formatannotation(type_)
        options[each.name] = {
            "type": type_.replace("'", '"'),
            "default": list(default) if isinstance(default, tuple) else default,
            "help": words[each.name],
        }
    return facts, options


def helps(part: Any) -> dict[str, str]:
    """Return what a docstring says on each argument, of the nearest class that says it."""
    lines: dict[str, str] = {}
    for each in part.__mro__ if inspect.isclass(part) else [part]:
        doc = inspect.cleandoc(each.__doc__ or "")  # which is not inherited: a base has its turn
        block = re.search(r"^Args:\n((?:    .*\n?|\n)+)", doc, re.MULTILINE)
        said = re.findall(r"^    ([\w, ]+): ((?:.*(?:\n {8}.*)*))", block[1] if block else "", re.M)
        for names, words in said:
            for name in names.split(","):
                lines.setdefault(name.strip(), " ".join(words.split()))
    return lines


def _named(kind: str, name: str) -> str:
    """Return the name as it is entered: hyphens and underscores are the same."""
    own = _index().get(kind, {})
    for look_further in (True, False):
        for spelling in (name, name.replace("_", "-"), name.replace("-", "_")):
            if spelling in own or (kind, spelling) in _OBJECTS:
                return spelling
        if look_further:
            import_installed()
    raise unknown(kind, name, sorted({*own, *(n for k, n in _OBJECTS if k == kind)}))


def find(kind: str, name: str) -> Any:
    """Return the class, function or record of this name; its module is imported when needed.

    Raises:
        VaekitError: for an unknown name, with the nearest one.
    """
    name = _named(kind, name)
    if (kind, name) not in _OBJECTS:
        importlib.import_module(_index()[kind][name]["home"])
    return _OBJECTS[kind, name][0]


def name_of(part: type) -> str | None:
    """Return `KIND/NAME` of a class that is registered; None of another.

    Example:
        >>> name_of(find("prior", "standard-normal")), name_of(dict)
        ('prior/standard-normal', None)
    """
    return next((f"{of}/{name}" for (of, name), (cls, _) in _OBJECTS.items() if cls is part), None)


def given_options(part: Any) -> str:
    """Return the options of a part that are not its defaults, as it prints them behind its shape.

    Example:
        >>> mixture = find("prior", "mixture")
        >>> given_options(mixture(2, components=5)), given_options(mixture(2))
        (', components=5', '')
    """
    cls, _, arguments = getattr(part, "made", (object, (), {}))
    kind, _, name = (name_of(cls) or "").partition("/")
    options = describe(kind, name)["options"] if name else {}
    defaults = {n: each["default"] for n, each in options.items()}
    defaults = {n: tuple(v) if isinstance(v, list) else v for n, v in defaults.items()}
    own = {n: arguments[n] for n, v in defaults.items() if n in arguments and arguments[n] != v}
    return "".join(f", {n}={value!r}" for n, value in own.items())


def make(kind: str, spec: Spec, given: Mapping[str, Callable[[], Any]] | None = None) -> Any:
    """Return the part that a spec describes, with what its signature asks of the builder, by name.

    Args:
        kind: of the part.
        spec: as `checked` gives it.
        given: what makes each thing that a part may ask for.

    Raises:
        VaekitError: where a part asks for what nobody gives, or refuses an option.
    """
    name, given = spec["name"], given or {}
    wanted = describe(kind, name)["given"]
    missing = [fact for fact in wanted if fact not in given]
    if missing:
        raise VaekitError(
            f"the {kind} '{name}' asks for {', '.join(missing)}; a builder gives "
            f"{', '.join(given) or 'nothing'}: give it a default, or take another name."
        )
    options = {n: v for n, v in completed(kind, spec).items() if n != "name"}
    values = {n: tuple(v) if isinstance(v, list) else v for n, v in options.items()}
    facts = {fact: given[fact]() for fact in wanted}
    try:
        return find(kind, name)(**facts, **values)
    except VaekitError as error:  # its options are this part's: `samples=0` of iwae
        message = re.sub(r"`(\w+)=", rf"`{name}:\1=", str(error))
        raise type(error)(message) from None


def completed(kind: str, spec: Spec) -> Spec:
    """Return a spec with all its options.

    Example:
        >>> completed("objective", {"name": "iwae"})
        {'name': 'iwae', 'samples': 50}
    """
    known = describe(kind, spec["name"])["options"]
    return {**spec, **{n: spec.get(n, option["default"]) for n, option in known.items()}}


def parse(written: str) -> Spec:
    """Return what `NAME:option=value` says, values as text.

    Example:
        >>> parse("flow:steps=4:net=mlp:net.hidden=64,32")
        {'name': 'flow', 'steps': '4', 'net': {'name': 'mlp', 'hidden': '64,32'}}
    """
    name, *pieces = _split(written.strip())
    spec: Spec = {"name": name}
    for piece in pieces:
        option, equals, value = piece.partition("=")
        if not equals or not option:
            raise VaekitError(f"got '{piece}' in '{written}'; expected option=value.")
        at, last = _at(spec, option)
        if last in at and last != "name":
            raise VaekitError(f"got '{option}' twice in '{written}'; give it once.")
        at[last] = parse(value[1:-1]) if value[:1] == "{" else value
    return spec


def _split(written: str) -> list[str]:
    """Return the pieces between colons, but for those in braces."""
    pieces, depth = [""], 0
    for letter in written:
        depth += (letter == "{") - (letter == "}")
        if letter == ":" and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += letter
    if depth:
        raise VaekitError(f"got '{written}'; expected a closing brace for each opening one.")
    return pieces


def spec_of(kind: str, part: Any) -> Spec:
    """Return a part as a dict: of text, of a dict, or of an object of a registered class.

    Raises:
        VaekitError: for anything else.
    """
    if isinstance(part, str):
        return parse(part)
    if isinstance(part, Mapping):
        spec = {"name": "", **{str(name).replace("-", "_"): each for name, each in part.items()}}
        inner = [each for each in spec.values() if isinstance(each, Mapping)]
        if all(isinstance(each.get("name", ""), str) for each in (spec, *inner)):
            return spec | {n: {"name": "", **v} for n, v in spec.items() if v in inner}
        raise VaekitError(f"got {dict(part)} for the {kind}; expected text for a name.")
    cls, _, arguments = getattr(part, "made", (None, (), {}))
    for (of, name), (registered, _) in _OBJECTS.items():
        if of == kind and registered is cls:
            options = describe(kind, name)["options"]
            return {"name": name, **{n: v for n, v in arguments.items() if n in options}}
    raise VaekitError(
        f"got {type(part).__name__} for the {kind}; expected NAME:option=value, a dict with a "
        "name, or an object of a registered class."
    )


def nested(kind: str, part: Any, path: str, value: Any) -> Spec:
    """Return a part's spec with the option at a path, `net.hidden`, set.

    Example:
        >>> nested("objective", "elbo:kl=sampled", "beta", 4)
        {'name': 'elbo', 'kl': 'sampled', 'beta': 4}
    """
    spec = dict(spec_of(kind, part))
    at, last = _at(spec, path)
    at[last] = value
    return spec


def _at(spec: Spec, path: str) -> tuple[Spec, str]:
    """Return the inner spec that a path, `net.hidden`, leads to, and its last word."""
    *outer, last = path.replace("-", "_").split(".")
    for word in outer:
        inner = spec.get(word) or {"name": ""}
        spec[word] = spec = parse(inner) if isinstance(inner, str) else dict(inner)
    return spec, last


def checked(kind: str, part: Any, base: Spec | None = None) -> Spec:
    """Return a part's spec with its options as values, and no other name or option than there are.

    Args:
        kind: of the part.
        part: text, a dict, or an object.
        base: what `:option=value`, without a name, changes.

    Raises:
        VaekitError: for an unknown name or option, or a value that does not fit.

    Example:
        >>> checked("objective", "elbo:beta=4")
        {'name': 'elbo', 'beta': 4.0}
        >>> checked("objective", ":samples=2", {"name": "iwae"})
        {'name': 'iwae', 'samples': 2}
    """
    spec = spec_of(kind, part)
    if not spec["name"]:
        if base is None:
            raise VaekitError(f"got '{text(spec)}' for the {kind}; expected a name before it.")
        spec = {**base, **{name: value for name, value in spec.items() if name != "name"}}
    name = _named(kind, str(spec["name"]))
    known = describe(kind, name)["options"]
    values: Spec = {"name": name}
    for option, value in spec.items():
        if option == "name":
            continue
        if option not in known:
            raise unknown(f"option of the {kind} {name}", option, list(known))
        values[option] = _value(value, known[option], f"{name}:{option}")
    return values


def _value(value: Any, option: Mapping[str, Any], where: str) -> Any:
    """Return the value of an option by the text of its type."""
    kinds = [each.strip() for each in re.split(r"\|(?![^\[]*\])", option["type"])]
    if isinstance(value, Mapping) and option["type"] in KINDS:
        return checked(option["type"], value, parse(str(option["default"])))
    for each in sorted(kinds, key=lambda each: each == "str"):
        try:
            return _read(value, each)
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    words = [
        WORDS.get(each, "whole numbers with commas" if "int" in each else each.lower())
        for each in kinds
    ]
    raise VaekitError(f"got {where}={_written(value)}; expected {' or '.join(words)}.")


def _read(value: Any, kind: str) -> Any:
    if kind == "None":
        return {"none": None, "None": None, None: None}[value]
    if kind.startswith("tuple["):
        parts = value.split(",") if isinstance(value, str) else value
        parts = [parts] if isinstance(parts, int | float) else parts
        inner = kind[6:-1].split(",")[0]
        return [_read(each, inner) for each in parts if each != ""]
    if kind == "bool":
        return {"true": True, "yes": True, "false": False, "no": False}[str(value).lower()]
    number = kind in ("int", "float")
    if isinstance(value, bool) if number else not isinstance(value, str):
        raise ValueError
    if kind == "int" and not float(value).is_integer():
        raise ValueError
    return int(float(value)) if kind == "int" else float(value) if number else value


def text(spec: Spec, *, brief: str | None = None) -> str:
    """Return a spec as text; with the kind in `brief`, without options at their default.

    Example:
        >>> text({"name": "mlp", "hidden": [64, 32], "dropout": 0.5})
        'mlp:hidden=64,32:dropout=0.5'
        >>> text({"name": "elbo", "beta": 1.0, "samples": 5}, brief="objective")
        'elbo:samples=5'
    """
    known = describe(brief, spec["name"])["options"] if brief else {}
    pieces = [str(spec.get("name", ""))]
    for name, value in spec.items():
        if name != "name" and not (name in known and known[name]["default"] == value):
            pieces.append(f"{name}={_written(value)}")
    return ":".join(pieces)


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + text(value) + "}"
    if isinstance(value, list | tuple):
        return ",".join(map(_written, value))
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)


def exports(
    package: str, path: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return a package's `__getattr__`, `__dir__` and `__all__`: the names in its `__init__.pyi`.

    That file says of each name which module has it, `from vaekit.nn.conv import ConvDecoder as
    ConvDecoder`, to type checkers and to this function. Nothing is imported before a name is asked
    for, so that help and completion need no torch.

    Example:
        >>> import vaekit.recipes as room
        >>> get, _, names = exports(room.__name__, room.__file__)
        >>> get("find_recipe").__name__, names[:2]
        ('find_recipe', ['Builder', 'Recipe'])
    """
    stub = Path(path).with_suffix(".pyi").read_text()
    names = re.findall(r"^from (\S+) import (?:\(\s*)?(\w+) as \2(?:,\s*\))?$", stub, re.MULTILINE)
    home = {name: module for module, name in names}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        if home[name] == package:
            return importlib.import_module(f"{package}.{name}")
        value = getattr(importlib.import_module(home[name]), name)
        return guard(value) if inspect.isclass(value) else value

    return get, lambda: sorted(home), sorted(home)
