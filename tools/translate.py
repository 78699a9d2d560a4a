"""Extracts the sentences of the report, and compiles their translations.

python tools/translate.py            renews vaekit.po with every sentence, and compiles vaekit.mo
python tools/translate.py --check    fails where either is stale, or a translation is missing
"""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOM = Path(__file__).resolve().parent.parent / "src" / "vaekit" / "report"
METHODS = [("**.py", "python"), ("templates/**.j2", "jinja2")]
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
KEYWORDS: dict[str, Any] = {"_": None, "say": None, "mark": None}
OPTIONS = {"templates/**.j2": {"trimmed": "true", "silent": "false", "newstyle_gettext": "true"}}


def sentences() -> list[str]:
    """Return every sentence that is marked, in the order of the files."""
    found = extract_from_dir(ROOM, METHODS, OPTIONS, KEYWORDS, strip_comment_tags=True)
    return list(dict.fromkeys(str(message) for _, _, message, _, _ in found))


def catalog(path: Path) -> Catalog:
    """Return the catalog of a language with every sentence of now, translated where it was."""
    with path.open("rb") as file:
        old = read_po(file)
    new = Catalog(path.parent.parent.name, project="vaekit", fuzzy=False)
    new.creation_date = new.revision_date = EPOCH  # the same bytes each time
    for text in sentences():
        message = old.get(text)
        new.add(text, message.string if message else "")
    return new


def written(made: Catalog, *, compiled: bool) -> bytes:
    """Return a catalog as a .po or, compiled, a .mo, the same bytes each time."""
    stream = io.BytesIO()
    if compiled:
        write_mo(stream, made)
    else:
        write_po(stream, made, width=100, omit_header=True, no_location=True)
    return stream.getvalue()


def missing(made: Catalog) -> list[str]:
    """Return the sentences without a translation."""
    return [str(message.id) for message in made if message.id and not message.string]


def stale(path: Path) -> list[str]:
    """Return what is wrong with the catalog of a language, a line each."""
    made = catalog(path)
    found = [f"no translation of: {text}" for text in missing(made)]
    for suffix, compiled in ((".po", False), (".mo", True)):
        file = path.with_suffix(suffix)
        if not file.exists() or file.read_bytes() != written(made, compiled=compiled):
            found.append(f"{file.name} is stale: run python tools/translate.py")
    return found


def main() -> None:
    """Renew the catalogs, or check them."""
    for path in sorted(ROOM.glob("locales/*/LC_MESSAGES/vaekit.po")):
        if "--check" in sys.argv[1:]:
            wrong = stale(path)
            sys.exit("\n".join(wrong) if wrong else 0)
        made = catalog(path)
        path.write_bytes(written(made, compiled=False))
        path.with_suffix(".mo").write_bytes(written(made, compiled=True))
        print(f"{path}: {len(made)} sentences, {len(missing(made))} without a translation")


if __name__ == "__main__":
    main()
