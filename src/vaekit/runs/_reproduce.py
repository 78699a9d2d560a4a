"""Published results made again: each a short .toml file in zoo/, or one of a user's own.

title = "784-400-40 ReLU, static MNIST"
number = "-log p(x), nats, test, S = 200"   # what is compared; lower is better
reference = 89.9                            # the published value
source = "where it stands"
protocol = "data, steps and evaluation, in a line"
recipe = "vae"
[options]                                   # as of `vaekit.train`
data = "binarized-mnist"
[measure]                                   # see `Measure`
metric = "nll"
samples = 200
"""

from __future__ import annotations

import json
import math
import os
import platform
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

import vaekit
from vaekit._io import alone, write
from vaekit._torchutil import evaluating, rng
from vaekit._train_options import Options, checked
from vaekit.errors import VaekitError, choose
from vaekit.runs._config import Config, fits
from vaekit.runs._folder import RunFolder
from vaekit.runs._opening import open_run, read_config
from vaekit.runs._run import Run

ZOO = Path(__file__).with_name("zoo")
LOCAL = (("data", "data_dir"), ("training", "device"), ("training", "threads"))
COLUMNS = {"name", "seed", "ours"}  # of a .csv of results, besides others


class Measure(Options):
    """What is measured of a trained run, in nats; the less the better.

    Attributes:
        metric: "elbo", "nll" (log p(x) by importance sampling), or "principal-components" (of a
            linear VAE, whose closed form is then the reference).
        samples: the draws for each row.
        split, limit: the rows that are measured.
        weights: "best", "last" or "ema"; by default those that the run takes.
        label: what it is called beside the number that is compared.
    """

    metric: Literal["elbo", "nll", "principal-components"]
    samples: int = Field(default=1, ge=1)
    split: str = "test"
    limit: int | None = None
    weights: str | None = None
    label: str = ""


class Reproduction(Options):
    """A published result, and how it is made again.

    Attributes:
        name: on the command line.
        title: model and data, in a few words.
        number: what is compared, with its unit; lower is better.
        reference: the published value; None where it is a closed form that is measured.
        source: where the reference stands.
        protocol: data, steps and evaluation, in a line.
        recipe, options: as of `vaekit.train`; the seed comes on top.
        measure: what is compared.
        more: what else is measured.
        tolerance: how far ours may be off.
    """

    name: str
    title: str
    number: str
    reference: float | None = None
    source: str
    protocol: str
    recipe: str
    options: dict[str, Any]
    measure: Measure
    more: tuple[Measure, ...] = ()
    tolerance: float = 0.5


def known() -> dict[str, Reproduction]:
    """Return all reproductions that come with vaekit, by name.

    Example:
        >>> known()["mlp-gray"].reference
        105.59
    """
    return {path.stem: _read(path) for path in sorted(ZOO.glob("*.toml"), key=lambda p: p.stem)}


def find_reproduction(name: str | Path) -> Reproduction:
    """Return the reproduction of this name, or that of a .toml file.

    Raises:
        VaekitError: for an unknown name, or a file that holds no reproduction.
    """
    path = Path(name)
    return _read(path) if path.suffix == ".toml" else choose("reproduction", str(name), known())


def _read(path: Path) -> Reproduction:
    try:
        values = tomllib.loads(path.read_text())
        entry = checked(Reproduction, {"name": path.stem, **values})
        if entry.reference is None and entry.measure.metric != "principal-components":
            raise VaekitError("it has no `reference`")
        return entry
    except OSError as error:
        raise VaekitError(f"cannot read {path}: {error.strerror}.") from None
    except ValueError as error:  # of TOML, of its bytes, or of what it holds
        why = str(error).rstrip(".")
        raise VaekitError(f"{path} holds no reproduction: {why}; see those in {ZOO}.") from None


def measure(run: Run, what: Measure) -> dict[str, Any]:
    """Return `ours`, its `standard_error`, and what else is worth writing down.

    Example:
        >>> sorted(METRICS)
        ['elbo', 'nll', 'principal-components']
    """
    if what.weights is not None:
        run = open_run(run.path, weights=what.weights, device=str(run.device))
    return METRICS[what.metric](run, what)


def _score(run: Run, what: Measure) -> dict[str, Any]:
    """Return minus the ELBO, or minus log p(x) by importance sampling, with its error."""
    how: Any = {"split": what.split, "limit": what.limit}
    if what.metric == "elbo":
        results = run.evaluate(f"bound:samples={what.samples}", **how)
        ours, error, half = -results["elbo"], results["elbo_standard_error"], {}
    else:
        results = run.evaluate("bound:samples=1", f"nll:samples={what.samples}", **how)["nll"]
        ours, error = results["mean"], results["standard_error"]
        half = {f"by {what.samples // 2} draws": f"{results['at_half']:.2f}"}
    over = results["standard_error_over"]
    return {"ours": ours, "standard_error": error, "standard_error_over": over, **half}


def _principal_components(run: Run, what: Measure) -> dict[str, Any]:
    """Compare a linear VAE with probabilistic PCA of its training rows, in closed form.

    The ELBO is that by log q - log p at the draw, which is exact at the optimum.
    """
    model: Any = run.model
    x, size = run.dataset().train.x(), run.latent_size
    values, vectors = torch.linalg.eigh(torch.cov(x.flatten(1).double().T, correction=0))
    minor = values[:-size]
    log_det = values[-size:].log().sum() + len(minor) * minor.mean().log()
    exact = 0.5 * (len(values) * (math.log(2 * math.pi) + 1) + log_det.item())
    with rng(0, run.device), evaluating(model):
        elbo = model(x, samples=(what.samples,)).log_weight.double().mean(0)
    decoder = model.likelihood.net
    learned = decoder(torch.eye(size)) - decoder(torch.zeros(size, size))
    basis = torch.linalg.qr(learned.detach().flatten(1).double().T).Q
    angle = torch.linalg.svdvals(basis.T @ vectors[:, -size:]).clamp(max=1).acos().max()
    return {
        "reference": exact,
        "ours": -elbo.mean().item(),
        "standard_error": 0.0,
        "largest angle to the principal space (degrees)": f"{angle.rad2deg():.2f}",
    }


METRICS = {"elbo": _score, "nll": _score, "principal-components": _principal_components}


def check_reproduction(entry: Reproduction, folder: Path, options: dict[str, Any]) -> None:
    """Refuse a folder that holds a training of another protocol, or from another seed."""
    begun, _ = read_config(RunFolder(folder))
    if not fits(_protocol(Config.flat(entry.recipe, **options)), _protocol(begun)):
        this = f"{entry.name} from seed {options['seed']}"
        raise VaekitError(f"{folder} holds another training than {this}: name another `out`.")


def _protocol(config: Config) -> dict[str, Any]:
    """Return the options, less what does not change the numbers but by rounding."""
    plain: dict[str, Any] = json.loads(json.dumps(config.to_json()))
    for record, name in LOCAL:
        del plain[record][name]
    return plain


def result_row(entry: Reproduction, run: Run, seed: int) -> dict[str, Any]:
    """Measure a trained run; return a row of the table of results."""
    results = measure(run, entry.measure)
    records = run.folder.records()
    reference, ours = results.pop("reference", entry.reference), results.pop("ours")
    error, over = results.pop("standard_error"), results.pop("standard_error_over", "")
    results |= {each.label: f"{measure(run, each)['ours']:.2f}" for each in entry.more}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "name": entry.name,
        "number": entry.number,
        "reference": round(reference, 4),
        "ours": round(ours, 4),
        "standard_error": round(error, 4),
        "standard_error_over": over,
        "verdict": verdict(entry, ours - reference),
        "seed": seed,
        "steps": records[-1]["step"],
        "seconds": round(sum(record["seconds"] for record in records)),
        "hardware": f"{run.device.type}, {os.cpu_count()} cores, {platform.machine()}",
        "torch": torch.__version__,
        "vaekit": vaekit.__version__,
        "protocol": entry.protocol,
        "more": "; ".join(f"{label} {value}" for label, value in results.items()),
    }


def verdict(entry: Reproduction, off: float) -> str:
    """Return what a difference from the reference comes to."""
    return "reproduced" if abs(off) <= entry.tolerance else ("better" if off < 0 else "missed")


def measured(path: Path) -> list[dict[Any, str]]:
    """Return the rows of a .csv of results; none where there is no file.

    Raises:
        VaekitError: where the file holds something else.
    """
    import pandas as pd

    if not path.is_file():
        return []
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, pd.errors.ParserError):
        raise VaekitError(f"{path} is no .csv of results: name another.") from None
    if not {*table.columns} >= COLUMNS:
        raise VaekitError(f"{path} holds no results, with name, seed and ours: name another.")
    return table.to_dict("records")


def record(row: Mapping[str, Any], path: Path) -> Path:
    """Add a row to a .csv of results, which has one row for each name and seed.

    Raises:
        VaekitError: where it cannot be written, or holds something else.
    """
    import pandas as pd

    key = (row["name"], str(row["seed"]))
    with alone(path):
        others = [old for old in measured(path) if (old["name"], old["seed"]) != key]
        table = pd.DataFrame([*others, {name: str(value) for name, value in row.items()}])
        text = table.to_csv(columns=list(row), index=False, lineterminator="\n")
        return write(path, text.encode())
