"""Arguments held against their annotations, where they come in: wrong ones are told in one line.

What the rooms export is checked here, each class when it is made, so that no constructor needs a
guard of types. It needs neither torch nor pydantic, and takes a microsecond or two.
"""

from __future__ import annotations

import collections.abc as abc
import functools
import importlib
import inspect
import os
import reprlib
import sys
import types
import typing
from collections import ChainMap
from collections.abc import Callable, Mapping
from itertools import islice, zip_longest
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from vaekit.errors import VaekitError

C = TypeVar("C", bound=type)
Fits = Callable[[Any], bool]
Asked = tuple[str, Any, Fits]  # the name of an argument, its annotation, whether a value fits

ROOMS = (
    *("distributions", "nn", "parts", "models", "objectives", "data", "evaluate", "recipes"),
    *("training", "runs", "report"),
)
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
LOOK = 64  # so many elements of a container are looked at: a table of rows is not run through
NUMBERS = {int: Integral, float: Real}
WORDS = dict(
    zip(
        (int, float, bool, str, Path, type(None)),
        ("a whole number", "a number", "True or False", "text", "a path", "None"),
        strict=True,
    )
)


def _always(value: Any) -> bool:
    return True


def _number(kind: Any) -> Fits:
    return lambda value: isinstance(value, kind) and not isinstance(value, bool)


def _first(container: Any) -> Any:
    """Return the first elements of a container that may be run through again; of another none."""
    again = isinstance(container, abc.Sized) and getattr(container, "shape", True) != ()
    return islice(container, LOOK) if again else ()


def _container(origin: type, args: tuple[Any, ...]) -> Fits:
    """Return whether a value is such a container, by its first elements; text is none.

    A list serves as a tuple, and the other way round.
    """
    kind: Any = (list, tuple) if origin in (list, tuple) else origin
    inner = [fits(each) for each in args if each is not ...]
    fixed = origin is tuple and ... not in args

    def good(value: Any) -> bool:
        if isinstance(value, str | bytes) or not isinstance(value, kind):
            return False
        if fixed:
            return len(value) == len(inner) and all(f(v) for f, v in zip(inner, value, strict=True))
        if len(inner) == 2:
            return all(inner[0](k) and inner[1](v) for k, v in islice(value.items(), LOOK))
        return not inner or all(map(inner[0], _first(value)))

    return good


@functools.cache
def fits(hint: Any) -> Fits:
    """Return what tells whether a value is of an annotation; what is not understood fits.

    Example:
        >>> fits(int | None)(3), fits(int)(True), fits(tuple[int, ...])([1, 2.5])
        (True, False, False)
    """
    if isinstance(hint, TypeVar):
        return fits(Any if hint.__bound__ is None else hint.__bound__)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        each = [fits(arg) for arg in args]
        return lambda value: any(good(value) for good in each)
    if origin is typing.Literal:
        return lambda value: isinstance(value, type(args[0])) and value in args
    if origin is type:
        return lambda value: isinstance(value, type) and issubclass(value, args[0])
    if origin is abc.Callable or hint is abc.Callable:
        return callable
    if inspect.isclass(origin):
        return _container(origin, args) if issubclass(origin, abc.Iterable) else fits(origin)  # type: ignore[arg-type]
    if hint in NUMBERS:
        return _number(NUMBERS[hint])
    if hint in (Any, object) or not inspect.isclass(hint):
        return _always
    if getattr(hint, "_is_protocol", False):
        names = [name for name in {**vars(hint), **hint.__annotations__} if name[0] != "_"]
        return lambda value: all(hasattr(value, name) for name in names)
    kind = os.PathLike if hint is Path else hint
    return lambda value: isinstance(value, kind)


def words(hint: Any) -> str:
    """Return what an annotation asks for.

    Example:
        >>> words(int | tuple[int, ...] | None)
        'a whole number, a tuple of whole numbers or None'
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return words(args[0])
    if origin in (typing.Union, types.UnionType):
        *most, last = dict.fromkeys(map(words, args))
        return " or ".join([", ".join(most), last] if most else [last])
    if origin is typing.Literal:
        return " or ".join(map(repr, args))
    if origin is abc.Callable or hint is abc.Callable:
        return "a function"
    if inspect.isclass(origin) and args and issubclass(origin, abc.Iterable):
        inner = [_several(each) for each in args if each is not ...]
        return f"a {origin.__name__.lower()} of {' to '.join(inner)}"
    name = getattr(hint, "__name__", str(hint))
    return WORDS.get(hint, f"{_article(name)} {name}")


def _several(hint: Any) -> str:
    """Return what a container of this holds."""
    if hint in (Any, object, str):
        return "text" if hint is str else "values"
    first, of, rest = words(hint).removeprefix("an ").removeprefix("a ").partition(" of ")
    return f"{first}{'' if ' or ' in first else 's'}{of}{rest}"


def _article(name: str) -> str:
    return "an" if name[0].lower() in "aeio" else "a"


def shown(value: Any) -> str:
    """Return a value as Python writes it where that is short; of an array its type and shape.

    Example:
        >>> shown("3"), shown(object())
        ("'3'", 'an object')
    """
    try:
        shape = getattr(value, "shape", None)
    except RuntimeError:  # a nested tensor has none
        shape = None
    if shape is not None:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    plain = isinstance(value, int | float | str | bytes | list | tuple | dict | None)
    name = type(value).__name__
    return reprlib.repr(value) if plain else f"{_article(name)} {name}"


class _Rooms(dict[str, Any]):
    """Public names of all rooms: a module imports some of them for type checkers alone."""

    def __missing__(self, name: str) -> Any:
        rooms = (importlib.import_module(f"vaekit.{room}") for room in ROOMS)
        for room in rooms:
            if name in room.__all__:
                return getattr(room, name)
        raise KeyError(name)


def hints(function: Callable[..., Any], owner: type = object) -> dict[str, Any]:
    """Return the annotation of each parameter; of what cannot be evaluated Any.

    Args:
        function: what is called.
        owner: its class, whose bases may have annotated a field of a dataclass.
    """
    classes = owner.__mro__ if owner is not object else (inspect.unwrap(function),)
    names = ChainMap(*(vars(sys.modules[each.__module__]) for each in classes), _Rooms())
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint: Any = getattr(parameter.annotation, "__forward_arg__", parameter.annotation)
        try:
            hint = eval(hint, {}, names) if isinstance(hint, str) else hint
        except Exception:
            hint = Any
        found[name] = Any if hint is inspect.Parameter.empty else hint
    return found


def _check(asked: Asked | None, value: Any) -> None:
    if asked is not None and not asked[2](value):
        raise VaekitError(f"got `{asked[0]}={shown(value)}`; expected {words(asked[1])}.")


def checking(function: Callable[..., Any], owner: type = object) -> Callable[..., None]:
    """Return what raises an error where arguments are not of their annotations.

    Missing and unknown names are left to Python, which tells of them by a TypeError.
    """

    @functools.cache
    def prepared() -> tuple[list[Asked], Asked | None, dict[str, Asked]]:
        parameters = inspect.signature(function).parameters.values()
        of = {name: (name, hint, fits(hint)) for name, hint in hints(function, owner).items()}
        more = next((of[p.name] for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        return [of[p.name] for p in parameters if p.kind in POSITIONAL], more, of

    def check(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        positional, more, of = prepared()
        for asked, value in zip_longest(positional[: len(args)], args, fillvalue=more):
            _check(asked, value)
        for name, value in kwargs.items():
            _check(of.get(name), value)

    return check


def _refuse(
    part: type, inner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception
) -> NoReturn:
    """Raise the error that a constructor met in a line; one of a name that is missing as it is."""
    try:
        bound = inspect.signature(inner).bind(*args, **kwargs)
    except TypeError:
        raise error from None
    what = ", ".join(f"{name}={shown(value)}" for name, value in [*bound.arguments.items()][1:])
    reason = str(error).split("\n")[0][:200]
    raise VaekitError(f"there is no {part.__name__}({what}): {reason}.") from error


def guard(part: C) -> C:
    """Let the constructor of a class check its arguments; return the class.

    In a step that torch compiles nothing is checked.
    """
    name = "__new__" if issubclass(part, tuple) else "__init__"
    inner, torch = getattr(part, name), sys.modules.get("torch")
    if "_guarded" in vars(part) or not inspect.isfunction(inner):
        return part
    check = checking(inner, part)
    compiling = torch.compiler.is_compiling if torch else bool

    @functools.wraps(inner)
    def made(self: Any, *args: Any, **kwargs: Any) -> Any:
        if compiling():
            return inner(self, *args, **kwargs)
        check((self, *args), kwargs)
        try:
            return inner(self, *args, **kwargs)
        except VaekitError:
            raise
        except Exception as error:
            _refuse(part, inner, (self, *args), kwargs, error)

    setattr(part, name, made)
    part._guarded = True  # type: ignore[attr-defined]
    return part
