"""Published results made again: each a short file in benchmarks/reproductions/."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vaekit
from vaekit.errors import VaekitError, choose
from vaekit.io import write
from vaekit.runs.config import Config
from vaekit.runs.folder import RunFolder

if TYPE_CHECKING:
    from vaekit.runs.run import Run


Measure = Callable[["Run"], Mapping[str, Any]]
PLACE = (("data", "data_dir"), ("training", "device"), ("training", "threads"))
COLUMNS = {"name", "seed", "ours"}  # of a .csv of results, besides others


@dataclass(frozen=True)
class Reproduction:
    """A published result, and how it is made again.

    Attributes:
        name: on the command line.
        title: model and data, in a few words.
        number: what is compared, with its unit; lower is better.
        reference: the published value; None where it is a closed form that `measure` returns.
        source: where the reference stands.
        protocol: data, steps and evaluation, in a line.
        recipe, options: as of `vaekit.train`; the seed comes on top.
        measure: from the trained run to `{"ours": ..., "standard_error": ...}`, and what else is
            worth keeping.
        tolerance: how far ours may be off.
    """

    name: str
    title: str
    number: str
    reference: float | None
    source: str
    protocol: str
    recipe: str
    measure: Measure
    options: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 0.5


def measure_elbo(samples: int) -> Measure:
    """-ELBO of the test rows by so many draws for each."""

    def measure(run: Run) -> Mapping[str, Any]:
        found = run.evaluate(f"bound:samples={samples}")
        return {"ours": -found["elbo"], "standard_error": found["elbo_standard_error"]}

    return measure


def measure_nll(samples: int) -> Measure:
    """-log p(x) of the test rows by importance sampling with so many draws for each."""

    def measure(run: Run) -> Mapping[str, Any]:
        found = run.evaluate("bound:samples=1", f"nll:samples={samples}")["nll"]
        half = f"by {samples // 2} draws"
        return {
            "ours": found["mean"],
            "standard_error": found["standard_error"],
            half: f"{found['at_half']:.2f}",
        }

    return measure


def _folder() -> Path:
    """Beside the package in a checkout, inside it where it is installed."""
    package = Path(vaekit.__file__).parent
    places = (package / "reproductions", package.parents[1] / "benchmarks" / "reproductions")
    return next((place for place in places if place.is_dir()), places[0])


def known() -> dict[str, Reproduction]:
    """All reproductions, by name.

    Example:
        >>> known()["mlp-gray"].reference
        105.59
    """
    found = [_load(path) for path in sorted(_folder().glob("[!_]*.py"))]
    return {one.name: one for one in found}


def find_reproduction(name: str) -> Reproduction:
    """The reproduction of this name.

    Raises:
        VaekitError: for an unknown name.
    """
    return choose("reproduction", name, known())


def _load(path: Path) -> Reproduction:
    spec = importlib.util.spec_from_file_location(f"vaekit_reproductions_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Reproduction = module.REPRODUCTION
    return made


def begun(folder: Path) -> bool:
    """Return whether a training has begun in this folder."""
    return (folder / "config.json").is_file()


def check_reproduction(one: Reproduction, folder: Path, options: dict[str, Any]) -> None:
    """An error where the folder holds a training of another protocol, or from another seed."""
    asked = Config.flat(one.recipe, **options)
    begun = Config.from_json(RunFolder(folder).read_json("config"))
    if _protocol(asked) != _protocol(begun):
        raise VaekitError(
            f"{folder} holds another training than {one.name} from seed {options['seed']}: name "
            "another --out."
        )


def _protocol(config: Config) -> dict[str, Any]:
    """The options, less what does not change the numbers but by rounding."""
    plain: dict[str, Any] = json.loads(json.dumps(config.to_json()))
    for record, name in PLACE:
        del plain[record][name]
    return plain


def result_row(one: Reproduction, run: Run, seed: int) -> dict[str, Any]:
    """Measures a trained run, as a row of the table of results."""
    import torch

    found = dict(one.measure(run))
    seconds = sum(r["seconds"] for r in run.folder.records())

    reference = found.pop("reference", one.reference)
    ours = found.pop("ours")
    off = ours - reference
    verdict = "reproduced" if abs(off) <= one.tolerance else ("better" if off < 0 else "missed")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "name": one.name,
        "number": one.number,
        "reference": round(reference, 4),
        "ours": round(ours, 4),
        "standard_error": round(found.pop("standard_error"), 4),
        "verdict": verdict,
        "seed": seed,
        "steps": run.folder.records()[-1]["step"],
        "seconds": round(seconds),
        "hardware": f"{run.device.type}, {os.cpu_count()} cores, {platform.machine()}",
        "torch": torch.__version__,
        "vaekit": vaekit.__version__,
        "protocol": one.protocol,
        "more": "; ".join(f"{k} {v}" for k, v in found.items()),
    }


def measured(path: Path) -> list[dict[str, str]]:
    """The rows of a .csv of results; none where there is no file.

    Raises:
        VaekitError: where the file holds something else.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (csv.Error, UnicodeDecodeError):
        raise VaekitError(f"{path} is no .csv of results: name another.") from None
    if rows and not rows[0].keys() >= COLUMNS:
        raise VaekitError(f"{path} holds no results, with name, seed and ours: name another.")
    return rows


def record(row: Mapping[str, Any], path: Path) -> Path:
    """Adds a row to a .csv of results, which keeps one row for each name and seed.

    Raises:
        VaekitError: where it cannot be written, or holds something else.
    """
    key = (row["name"], str(row["seed"]))
    kept = [old for old in measured(path) if (old["name"], old["seed"]) != key]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), lineterminator="\n", restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows([*kept, row])
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, text.getvalue().encode())
    return path
