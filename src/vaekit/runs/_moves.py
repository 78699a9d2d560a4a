"""A run elsewhere: its training data are found again, and what `resume` changes is carried over."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit._io import search_folders
from vaekit._torchutil import find_device
from vaekit._train_options import Data, Training, checked
from vaekit.data import GIVEN, Batches, Dataset, fingerprint, read, sets
from vaekit.errors import VaekitError
from vaekit.runs._config import Config
from vaekit.runs._folder import RunFolder

if TYPE_CHECKING:
    from vaekit.runs._job import Job

Where = str | Path | None
PLACE = ("path", "from_run")


def place_of(source: str, folder: Path) -> dict[str, str]:
    """Return where data lie, for run.json: the path, and how it is reached from the run folder.

    Example:
        >>> place_of("embedded", Path("runs/a"))
        {}
        >>> place_of("src", Path("runs/a"))["from_run"].replace(os.sep, "/")
        '../../src'
    """
    parts = paths_in(source)
    if not all(map(os.path.exists, parts)):
        return {}
    place = {"path": ",".join(map(os.path.abspath, parts))}
    try:
        return place | {"from_run": ",".join(os.path.relpath(part, folder) for part in parts)}
    except ValueError:  # on another drive
        return place


def paths_in(text: str) -> list[str]:
    """Return the paths that are written one after the other, as a.csv,b.csv; or the one there is.

    Example:
        >>> paths_in("a.csv,b.csv")
        ['a.csv', 'b.csv']
    """
    return [text] if os.path.exists(text) else [part.strip() for part in text.split(",")]


def find_data(
    folder: RunFolder,
    options: Data,
    sha256: str,
    *,
    data_dir: Where = None,
    training_data: Where = None,
) -> tuple[Data, Dataset | None]:
    """Return the options that read the rows a run was trained on, wherever these lie now.

    They are looked for where they were, at the same path from the run folder, and under the ends
    of their path in the folders of data sets. Rows that lie elsewhere than they did must have the
    hash of the run's.

    Args:
        folder: of the run.
        options: of its training.
        sha256: the `fingerprint` of the rows.
        data_dir: the first folder of data sets to look in; by default that of the training.
        training_data: where they lie; then nothing else is looked at.

    Returns:
        The options, and the data set where it was read to compare its hash.

    Raises:
        VaekitError: where they are not found, or others are.
    """
    data_dir = options.data_dir if data_dir is None else str(data_dir)
    plain = options.model_copy(update={"data_dir": data_dir})
    if options.data in sets(data_dir):
        if training_data is not None:  # its files are known by their own checksums
            at = Path(training_data)
            plain = options.model_copy(update={"data_dir": str(at if at.is_dir() else at.parent)})
        return plain, None
    given = options.data == GIVEN or options.data.startswith("hf:")  # which its hub finds
    if given and training_data is None:
        return plain, None
    known = {} if training_data is not None else _known(folder)
    places: Iterable[Any] = [training_data]
    if training_data is None:
        places = _all_places(folder, options.data, known, data_dir)
    there = [p for p in dict.fromkeys(map(str, places)) if all(map(os.path.exists, paths_in(p)))]
    if options.test_data and not os.path.exists(options.test_data):
        own = _places(folder, options.test_data, _known(folder).get("tests", {}), data_dir)
        found = next((str(place) for place in own if os.path.exists(place)), options.test_data)
        plain = plain.model_copy(update={"test_data": found})
    why = ""
    for place in there:
        moved = plain.model_copy(update={"data": place})
        if training_data is None and _is_recorded(place, options, known):
            return (plain if place == options.data else moved), None
        try:
            data = read(moved, mapped=True)
        except VaekitError as error:
            why = why or str(error)
            continue
        if fingerprint(data) == sha256:
            return moved, data
        why = why or f"{place} holds other rows than {folder.path} was trained on."
    if training_data is not None:
        raise VaekitError(why or f"got `training_data={training_data}`; there is no such path.")
    looked = ", ".join(map(str, search_folders(data_dir)))
    raise VaekitError(
        f"did not find '{options.data}', on which {folder.path} was trained, nor in {looked}: name "
        "it as `training_data=PATH`, or the folder that has it as `data_dir`, or in VAEKIT_DATA."
        + (f" {why}" if why else "")
    )


def _known(folder: RunFolder) -> Mapping[str, Any]:
    """Return what run.json says of the data; nothing of a saved model, which has none."""
    if not (folder.path / "run.json").is_file():
        return {}
    known: Mapping[str, Any] = folder.read_json("run")["data"]
    return known


def _is_recorded(place: str, options: Data, known: Mapping[str, Any]) -> bool:
    """Return whether this is where the training read the data: there, changes are said."""
    typed = os.path.expanduser(options.data)
    here = ",".join(map(os.path.abspath, paths_in(place)))
    return here == known.get("path", typed if os.path.isabs(typed) else here)


def _all_places(
    folder: RunFolder, text: str, known: Mapping[str, Any], data_dir: str | None
) -> Iterator[Path | str]:
    """Yield where data of one path or of several may lie; of several each in the same place."""
    parts = paths_in(text)
    if len(parts) == 1:
        yield from _places(folder, text, known, data_dir)
        return
    each = [
        _places(
            folder,
            part,
            {name: known[name].split(",")[i] for name in PLACE if name in known},
            data_dir,
        )
        for i, part in enumerate(parts)
    ]
    yield from (",".join(map(str, several)) for several in zip(*each, strict=False))


def _places(
    folder: RunFolder, text: str, known: Mapping[str, Any], data_dir: str | None
) -> Iterator[Path]:
    """Yield where data may lie, the likeliest first."""
    typed = Path(os.path.expanduser(text))
    yield folder.anchored(typed)
    path = Path(known.get("path", typed))
    yield folder.anchored(path)
    if "from_run" in known:
        yield folder.path / known["from_run"]
    ends = path.parts[1:] if path.is_absolute() else path.parts
    for each in search_folders(data_dir):
        yield from (each.joinpath(*ends[start:]) for start in range(len(ends)))
        if ends and each.absolute().name == ends[-1]:
            yield each


def changed(config: Config, asked: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """Return a run's config with the options of its training that are not None, and what is said.

    A device that is not here, and that nobody asks for now, is left for one that is.

    Raises:
        VaekitError: for a value that does not fit, or a device that is asked for and absent.
    """
    before, words = config.training, []
    given = {name: value for name, value in asked.items() if value is not None}
    if "device" in given:
        find_device(given["device"])
    else:
        try:
            find_device(before.device)
        except VaekitError:
            here = find_device("auto")
            given |= {"device": "auto", "capture": before.capture and here.type == "cuda"}
            words.append(f"there is no {before.device} here: the run goes on on the device {here}")
    if "lr" in given and any(text.startswith("lr=") for text in before.schedule):
        raise VaekitError("got `lr`, which `schedule` of this run sets: it cannot be changed.")
    after = checked(Training, {**before.model_dump(), **given})
    differ = [name for name in given if getattr(after, name) != getattr(before, name)]
    words += [
        f"{name} {getattr(after, name)} in place of {getattr(before, name)}"
        for name in differ
        if name != "epochs" and not (words and name in ("device", "capture"))
    ]
    return (replace(config, training=after), words) if differ else (config, words)


def carry_over(state: dict[str, Any], job: Job, before: Training) -> None:
    """Put a new learning rate or batch size into the checkpoint that a training goes on from.

    Steps are counted on. An epoch goes on after the rows that it has seen: a few may come again,
    where they filled no whole batch of the new size.

    Raises:
        VaekitError: for the batch size of a loader.
    """
    progress, now = state["progress"], job.config.training
    if now.lr != before.lr:
        for group in progress["optimizer"]["param_groups"]:
            group["lr"] = now.lr
    if now.batch_size == before.batch_size:
        return
    if not isinstance(job.batches, Batches):
        raise VaekitError("got `batch_size`: this run's loader makes its batches; leave it.")
    old, new = len(job.data.batches(before.batch_size)), len(job.batches)
    epoch, batch = divmod(progress["step"] + progress.get("shift", 0), old)
    place = epoch * new + min(batch * before.batch_size // now.batch_size, new - 1)
    progress["shift"] = place - progress["step"]
    state["best"]["after"] = job.warm
