"""Files and modules of a user's own parts: imported where they are named, and copied into runs.

A run folder has a copy of each file in imports/, and config.json says with which content it was
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

from vaekit._io import checksum_of
from vaekit.errors import VaekitError
from vaekit.recipes import find_recipe  # noqa: F401  enters vaekit's own before a user's
from vaekit.registry import Spec, registering


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
        """Return that of the source."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def module(self) -> str:
        """Return the name of a file among modules, which tells apart two of one name."""
        return f"{Path(self.name).stem}_{self.sha256[:16]}"


Named = str | Path | Sequence[str | Path | Import]
_LOADED: dict[str, Import] = {}  # by their sha256


def imported() -> tuple[Import, ...]:
    """Return what this process has imported by `load`, the first one first."""
    return tuple(_LOADED.values())


def load(named: Named) -> list[Import]:
    """Import files and modules, each content once a process, so that their parts have names.

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
    loaded = []
    for each in [named] if isinstance(named, str | Path) else named:
        new = each if isinstance(each, Import) else _find(each)
        older = [other for other in imported() if (other.kind, other.name) == (new.kind, new.name)]
        if older and new.kind == "module":
            new = _LOADED.get(new.sha256) or older[0]
        elif new.sha256 not in _LOADED:
            if not _is_there(new.name, new.sha256, again=new.path):
                with registering({part for other in older for part in other.parts}) as new.parts:
                    _run(new)
            for other in older:
                if other.parts & new.parts:
                    del _LOADED[other.sha256]
        loaded.append(_LOADED.setdefault(new.sha256, new))
    return loaded


def _find(named: Any) -> Import:
    """Return the source of a file or a module; of a module, what is above it is imported."""
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


class _File(ModuleType):
    """A user's file as a module."""


def _is_there(name: str, sha256: str, again: str | None = None) -> bool:
    """Return whether a script has imported this content as Python does, or is that file itself.

    A module of the path `again` does not count: the file may have changed since.
    """
    for key, module in list(sys.modules.items()):
        file = Path(str((getattr(module, "__dict__", None) or {}).get("__file__")))
        old = isinstance(module, _File) or (str(file) == again and not key.endswith("_main__"))
        if name in (key, file.name) and not old and file.is_file() and checksum_of(file) == sha256:
            return True
    return False


def _run(new: Import) -> None:
    """Import a module, or execute a file as one; an error names the file and the line."""
    try:
        if new.kind == "module" or new.path is None:
            importlib.import_module(new.name)
            return
        module = sys.modules[new.module] = _File(new.module)  # dataclasses and pickle look there
        module.__file__ = new.path
        exec(compile(new.content, new.path, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        sys.modules.pop(new.module, None)
        at = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == new.path]
        what = str(error) if isinstance(error, VaekitError) else f"{type(error).__name__}: {error}"
        if isinstance(error, SyntaxError) and error.filename == new.path:
            at, what = [error.lineno], f"{type(error).__name__}: {error.msg}"
        where = f"{new.path or new.name}{f', line {at[-1]}' if at else ''}"
        raise VaekitError(f"cannot import {where}: {' '.join(what.split())}") from error


def imports_of(loaded: Sequence[Import], recipe: str, parts: Spec) -> list[dict[str, str]]:
    """Return what config.json says of a training's imports, and of those that its parts are of.

    Args:
        loaded: what `load` returned.
        recipe: its name.
        parts: the specs of its parts, or a structure of them.
    """
    words = {recipe, *_words(parts)}
    records: list[dict[str, str]] = []
    for known in imported():
        if known in loaded or any({name, f"{kind}/{name}"} & words for kind, name in known.parts):
            taken = known.name in [record.get("file") for record in records]
            name = f"{known.module}.py" if taken else known.name
            records.append({known.kind: name, "sha256": known.sha256})
    return records


def _words(tree: Any) -> Iterator[str]:
    """Yield the texts in a tree of dicts and lists: names of parts are among them."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, Mapping | list | tuple):
        for branch in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _words(branch)


def copies(records: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, bytes]]:
    """Yield the files of these records, each with its content, for a run's folder."""
    for record in records:
        if "file" in record:
            yield record["file"], _LOADED[record["sha256"]].content


def sources(records: Sequence[Mapping[str, str]], folder: Path) -> list[str]:
    """Return what another process imports: of a file that was edited since, the run's copy."""
    named = []
    for record in records:
        path = Path(_LOADED[record["sha256"]].path or "")
        if not (path.is_file() and checksum_of(path) == record["sha256"]):
            path = folder / "imports" / record.get("file", "")
        named.append(record.get("module") or str(path))
    return named


def require(records: Any, folder: Path) -> None:
    """Refuse a run whose imports this process has not made; nothing is imported here.

    Args:
        records: what config.json says of them.
        folder: the run's.

    Raises:
        VaekitError: that names what to read and to import, or both contents where it is another.
    """
    try:
        if not all(isinstance(value, str) for record in records for value in record.values()):
            raise TypeError
        files = [Path(each["file"]).name if "file" in each else "" for each in records]
        names = [file or each["module"] for file, each in zip(files, records, strict=True)]
        digests = [each["sha256"] for each in records]
    except (TypeError, KeyError, AttributeError):
        raise VaekitError(
            f"{folder}/config.json is broken: its imports are no list of files and modules, each "
            "with its sha256. Restore it, or train again."
        ) from None
    missing = []
    for sha256, name, file in zip(digests, names, files, strict=True):
        if sha256 not in _LOADED and not _is_there(name, sha256):
            missing.append(str(folder / "imports" / file) if file else name)
            _refuse_other(folder, name, sha256, missing[-1])
    if missing:
        raise VaekitError(
            f"{folder} was trained with files of its user's own: read {' and '.join(missing)}, "
            f"and pass `import_={missing}`."
        )


def _refuse_other(folder: Path, name: str, sha256: str, source: str) -> None:
    """Refuse what was imported under this name with another content."""
    for other in imported():
        if other.name == name:
            mend = f"pass `import_={[source]}` in its place"
            if other.kind == "module":
                mend = "install the version that it was trained with"
            elif other.path == str(Path(source).absolute()):
                mend = "restore it"
            raise VaekitError(
                f"{folder} was trained with {name} of sha256 {sha256[:12]}, and "
                f"{other.path or name} has {other.sha256[:12]}: {mend}."
            )
