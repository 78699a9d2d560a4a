"""Files and modules of a user's own parts: imported where they are named, and kept with the runs.

A run folder holds a copy of each file in imports/, and config.json says with which content it was
trained. Nothing in a run folder is ever imported but what the user names.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from vaekit.errors import VaekitError
from vaekit.io import checksum_of
from vaekit.recipes import find_recipe  # noqa: F401  enters the kit's own before a user's
from vaekit.registry import Spec, registering

__all__ = ["Import", "Named", "copies", "imported", "imports_of", "load", "require"]


@dataclass(eq=False)
class Import:
    """A file or a module that a user named, as it was when it was imported.

    Attributes:
        kind: "file" or "module".
        name: a file's without its folder; a module's with its dots.
        path: of the source; None where a module has none.
        content: the source.
        parts: kind and name of each part that it has registered.
    """

    kind: str
    name: str
    path: str | None
    content: bytes
    parts: set[tuple[str, str]] = field(default_factory=set)

    @property
    def sha256(self) -> str:
        """Of the source."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def module(self) -> str:
        """What a file is called among modules: two of one name do not meet."""
        return f"{Path(self.name).stem}_{self.sha256[:16]}"


Named = str | Path | Sequence[str | Path | Import]
_LOADED: dict[str, Import] = {}  # by their sha256


def imported() -> tuple[Import, ...]:
    """What this process has imported by `load`, the first one first."""
    return tuple(_LOADED.values())


def load(named: Named) -> list[Import]:
    """Imports files and modules, each content once a process, so that their parts have names.

    A file takes the place of one before that has the same name and the same parts: so it may be
    edited and named again. Of one that cannot be imported no part stays.

    Args:
        named: paths that end in .py, and names of modules; one alone needs no list.

    Raises:
        VaekitError: for what is not there or raises an error, with file and line.

    Example:
        >>> import tempfile
        >>> text = "from vaekit.recipes import recipe; recipe('flat', 'Two latents.', latent=2)"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "mine.py").write_text(text)
        ...     load(f"{folder}/mine.py")[0].parts
        {('recipe', 'flat')}
    """
    given = [named] if isinstance(named, str | Path | Import) else list(named)
    return [_load(one if isinstance(one, Import) else _found(one)) for one in given]


def _found(named: Any) -> Import:
    """The source of a file or a module; of a module, what is above it is imported."""
    if not isinstance(named, str | Path):
        raise VaekitError(f"cannot import {named!r}; expected a .py file or a module's name.")
    path = Path(named).expanduser().absolute()
    if isinstance(named, Path) or path.suffix == ".py" or Path(named).name != named:
        why = f"its name ends in '{path.suffix}'"
        try:
            if path.suffix == ".py":
                return Import("file", path.name, str(path), path.read_bytes())
        except OSError as error:
            why = "there is no such file" if not path.exists() else str(error.strerror)
        raise VaekitError(f"cannot import {named}: {why}; expected a .py file.")
    why = "there is no such module"
    try:
        spec = importlib.util.find_spec(named)
    except Exception as error:
        spec, why = None, f"{type(error).__name__}: {' '.join(str(error).split())}"
    if spec is None:
        raise VaekitError(f"cannot import {named}: {why}; a file is named with its .py.")
    source = spec.origin if str(spec.origin).endswith(".py") else None
    content = Path(source).read_bytes() if source else named.encode()
    return Import("module", named, source, content)


def _load(one: Import) -> Import:
    older = [other for other in imported() if (other.kind, other.name) == (one.kind, one.name)]
    if one.sha256 in _LOADED or (older and one.kind == "module"):
        return _LOADED.get(one.sha256) or older[0]
    if not _is_there(one.name, one.sha256, again=one.path):
        with registering({part for other in older for part in other.parts}) as one.parts:
            _run(one)
    for other in older:
        if other.parts & one.parts:
            del _LOADED[other.sha256]
    return _LOADED.setdefault(one.sha256, one)


class _File(ModuleType):
    """A user's file as a module."""


def _is_there(name: str, sha256: str, again: str | None = None) -> bool:
    """Whether a script has imported this content as Python does, or is that file itself.

    A module of the path `again` does not count: the file may have changed since.
    """
    for key, module in list(sys.modules.items()):
        file = Path(str((getattr(module, "__dict__", None) or {}).get("__file__")))
        old = isinstance(module, _File) or (str(file) == again and not key.endswith("_main__"))
        if name in (key, file.name) and not old and file.is_file() and checksum_of(file) == sha256:
            return True
    return False


def _run(one: Import) -> None:
    """Imports a module, or executes a file as one."""
    name = one.module
    try:
        if one.kind == "module" or one.path is None:
            importlib.import_module(one.name)
            return
        module = sys.modules[name] = _File(name)  # dataclasses and pickle look there
        module.__file__ = one.path
        exec(compile(one.content, one.path, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise VaekitError(f"cannot import {' '.join(_why(one, error).split())}") from error


def _why(one: Import, error: BaseException) -> str:
    """In which file, on which line, and what is wrong."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == one.path]
    what = str(error) if isinstance(error, VaekitError) else f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename == one.path:
        lines, what = [error.lineno], f"{type(error).__name__}: {error.msg}"
    return f"{one.path or one.name}{f', line {lines[-1]}' if lines else ''}: {what}"


def imports_of(given: Sequence[Import], recipe: str, parts: Spec) -> list[dict[str, str]]:
    """What config.json says of what a training was given, and of that whose parts it is made of.

    Args:
        given: what `load` returned.
        recipe: its name.
        parts: the specs of its parts, or a structure of them.
    """
    words = {recipe, *_words(parts)}
    found: list[dict[str, str]] = []
    for one in imported():
        if one in given or any({name, f"{kind}/{name}"} & words for kind, name in one.parts):
            taken = one.name in [each.get("file") for each in found]
            name = f"{one.module}.py" if taken else one.name
            found.append({one.kind: name, "sha256": one.sha256})
    return found


def _words(tree: Any) -> Iterator[str]:
    """The texts in a tree of dicts and lists: names of parts are among them."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, Mapping | list | tuple):
        for one in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _words(one)


def copies(recorded: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, bytes]]:
    """The files of these records, each with its content, for a run's folder."""
    for one in recorded:
        if "file" in one:
            yield one["file"], _LOADED[one["sha256"]].content


def require(recorded: Any, folder: Path) -> None:
    """Refuses a run whose imports this process has not made; it imports nothing itself.

    Args:
        recorded: what config.json says of them.
        folder: the run's.

    Raises:
        VaekitError: that names what to read and to import, or both contents where it is another.
    """
    try:
        if not all(isinstance(value, str) for one in recorded for value in one.values()):
            raise TypeError
        asked = [
            (
                one["sha256"],
                Path(one["file"]).name if "file" in one else one["module"],
                "file" in one,
            )
            for one in recorded
        ]
    except (TypeError, KeyError, AttributeError):
        raise VaekitError(
            f"{folder}/config.json is broken: its imports are no list of files and modules, each "
            "with its sha256. Restore it, or train again."
        ) from None
    places = []
    for sha256, name, is_file in asked:
        if sha256 not in _LOADED and not _is_there(name, sha256):
            place = str(folder / "imports" / name) if is_file else name
            _refuse_other(folder, name, sha256, place)
            places.append(place)
    if places:
        raise VaekitError(
            f"{folder} was trained with files of its user's own: read {' and '.join(places)}, and "
            f"pass `import_={places}`."
        )


def _refuse_other(folder: Path, name: str, sha256: str, place: str) -> None:
    """Refuses what was imported under this name with another content."""
    for other in imported():
        if other.name == name:
            mend = f"pass `import_={[place]}` in its place"
            if other.kind == "module":
                mend = "install the version that it was trained with"
            elif other.path == str(Path(place).absolute()):
                mend = "restore it"
            raise VaekitError(
                f"{folder} was trained with {name} of sha256 {sha256[:12]}, and "
                f"{other.path or name} has {other.sha256[:12]}: {mend}."
            )
