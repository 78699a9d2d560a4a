"""Data sets of Hugging Face, by `hf:NAME`: from its hub, or a folder of `save_to_disk`."""

from __future__ import annotations

import io
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.data._archives import Archive
from vaekit.data._formats import needed
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit._train_options import Data

START = "hf:"


def read_hub(options: Data) -> Archive | dict[str, Any]:
    """Return a set's images, by split and class, as files of an archive; else DataFrames by split.

    Raises:
        VaekitError: where `datasets` is not installed, and what its functions raise.
    """
    library, name = needed("datasets", START), options.data.removeprefix(START)
    try:
        local = Path(name).expanduser().is_dir()
        found = library.load_from_disk(name) if local else library.load_dataset(name)
        parts = dict(found) if isinstance(found, dict) else {"train": found}
        if "train" not in parts:
            raise VaekitError(f"{options.data} has the splits {', '.join(parts)}, and no train.")
        kinds = {key: type(kind).__name__ for key, kind in parts["train"].features.items()}
        images = [key for key, kind in kinds.items() if kind == "Image"]
        classes = [key for key, kind in kinds.items() if kind == "ClassLabel"]
        label = options.label or (classes[0] if len(classes) == 1 else None)
        return _files(parts, images[0], label) if images else _frames(parts)
    except VaekitError:
        raise
    except Exception as error:  # of a network, of a name, and of files
        why = " ".join(str(error).split())
        raise VaekitError(f"{options.data} cannot be read: {type(error).__name__}: {why}") from None


def _files(parts: dict[str, Any], image: str, label: str | None) -> Archive:
    archive = Archive()
    for split, rows in parts.items():
        inside = f"{split}/" if len(parts) > 1 else ""
        raw = rows.cast_column(image, type(rows.features[image])(decode=False))
        names = _names(rows, label) if label else [""] * len(rows)
        for i, (name, cell) in enumerate(zip(names, raw[image], strict=True)):
            content = cell["bytes"] or Path(cell["path"]).read_bytes()
            folder = f"{inside}{name}/" if name else inside
            opens = partial(io.BytesIO, content)
            archive.add(f"{folder}{i}.png", len(content), zlib.crc32(content), opens)
    return archive


def _names(rows: Any, label: str) -> list[str]:
    kind, cells = rows.features[label], rows[label]
    named = hasattr(kind, "int2str")
    return [str(kind.int2str(cell) if named else cell).replace("/", "-") for cell in cells]


def _frames(parts: dict[str, Any]) -> dict[str, Any]:
    """Return DataFrames by the splits that are read; classes by their names."""
    frames = {}
    for split, rows in parts.items():
        frame = rows.to_pandas()
        for key, kind in rows.features.items():
            if hasattr(kind, "int2str"):
                frame[key] = _names(rows, key)
        frames[split] = frame
    return {name: frames[name] for name in ("train", "validation", "test") if name in frames}
