"""A saved model: config.json, model.safetensors, perhaps fitted.safetensors, and README.md.

They lie in a folder, or in its zip.

A run folder holds them beside its records. No path of the machine is in what `save` writes.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit._io import note, write
from vaekit._safetensors import MEND as RESTORE
from vaekit._safetensors import read_tensors, safetensors_bytes
from vaekit._torchutil import load_state
from vaekit.data import DataSpec
from vaekit.errors import VaekitError, unknown, visible
from vaekit.evaluate import counted, over_words
from vaekit.recipes import find_recipe
from vaekit.registry import entries, make, text
from vaekit.runs._building import sketch
from vaekit.runs._config import COMPOSED, Config
from vaekit.runs._fitted import FITTED_FILE, weights_key
from vaekit.runs._fitting import fitted_prior
from vaekit.runs._folder import WEIGHTS_FILE, RunFolder
from vaekit.runs._graph import outline

if TYPE_CHECKING:
    from vaekit.runs._run import Run

SUFFIX = ".vaekit"
WEIGHTS = ("best", "last", "ema")


def config_json(config: Config, spec: DataSpec, sha256: str) -> dict[str, Any]:
    """Return the content of config.json: the config, what is known of the data, and their hash."""
    return {**config.to_json(), "spec": spec.to_json(), "sha256": sha256}


def save(run: Run, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a run's model, as it is now, to a folder, or to a file that ends in .vaekit.

    Raises:
        VaekitError: where there is something already, or it cannot be written.
    """
    path, zipped = Path(path), Path(path).suffix == SUFFIX
    if path.is_dir() and zipped:
        raise VaekitError(f"{path} is a folder, and {SUFFIX} ends the name of a file.")
    if path.is_file() and not zipped:
        raise VaekitError(f"{path} is a file: name a folder, or a file that ends in {SUFFIX}.")
    if (path / "checkpoints").is_dir():
        raise VaekitError(f"{path} is a run folder, which has its model: name another place.")
    if (path.is_file() or (path.is_dir() and any(path.iterdir()))) and not overwrite:
        raise VaekitError(f"{path} exists: name another place, or take `overwrite`.")
    config = _portable(run)
    if why := config.parts.get("why"):
        note(f"{path} opens with model= alone: {why}")
    text = json.dumps(config_json(config, run.spec, run.sha256), indent=2) + "\n"
    files = {**_files(run), "config.json": text.encode()}
    if fitted := fitted_prior(run):
        files[FITTED_FILE] = fitted.to_bytes(weights_key(run.model))
    for record in config.imports:
        name = f"imports/{Path(record.get('file', '')).name}"
        source = run.folder.read(name) if "file" in record else None
        if source is not None and hashlib.sha256(source).hexdigest() == record["sha256"]:
            files[name] = source
    if not zipped:
        for name, content in files.items():
            write(path / name, content)
        return path
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return write(path, stream.getvalue())


def _portable(run: Run) -> Config:
    """Return the config of a run's model as it is now, without places of this machine."""
    config = run.config
    empty = None if config.recipe == COMPOSED else sketch(config, run.spec)
    if config.recipe == COMPOSED or (empty and outline(empty) != outline(run.model)):
        options = {**config.data.model_dump(), **config.training.model_dump()}
        config = Config.composed(run.model, run.objective, **options)
        config = replace(config, imports=run.config.imports)
    named = {"data": Path(config.data.data).name, "data_dir": None}
    return replace(config, data=config.data.model_copy(update=named))


def keep_model(run: Run) -> None:
    """Write model.safetensors and README.md into the run folder, once it is trained."""
    for name, content in _files(run).items():
        write(run.path / name, content, run.folder.mend)


def _files(run: Run) -> dict[str, bytes]:
    state = {
        name: value.detach().to("cpu", copy=True).contiguous()
        for name, value in run.model.state_dict().items()
    }
    step = "" if run.step is None else str(run.step)
    weights = safetensors_bytes(state, {"format": "pt", "weights": run.weights, "step": step})
    return {WEIGHTS_FILE: weights, "README.md": visible("\n".join(card(run))).encode()}


def card(run: Run) -> Iterator[str]:
    """Yield the lines of README.md: the model, its data, its numbers, and how to load it."""
    spec, recipe = run.spec, run.config.recipe
    composed = recipe == COMPOSED
    title = "A model composed in Python." if composed else find_recipe(recipe).title
    step = "" if run.step is None else f" after {run.step:,} steps"
    count = sum(weight.numel() for weight in run.model.parameters())
    yield from ("---", "library_name: vaekit", "tags:", "- vae", "---", "")
    yield from (f"# {recipe} on {spec.name}", "", title, "", "| | |", "|---|---|")
    yield f"| model | {type(run.model).__name__}, {count:,} parameters |"
    for kind, part in run.parts.items():
        yield f"| {kind} | {part if isinstance(part, str) else text(part, brief=kind)} |"
    yield f"| weights | {run.weights}{step} |"
    shape = " x ".join(map(str, spec.shape))
    yield f"| data | {spec.name}: {spec.kind}, {shape}; {spec.rows:,} training rows |"
    yield from (f"| sha256 of the data | {run.sha256} |", "", "## Numbers", "", *_numbers(run))
    more = ", model=model" if run.config.parts.get("why") and composed else ""
    yield from ("", "## Use", "", "```python", "import vaekit", "")
    does = "sample(16)" if run.draws else "reconstruct(x)"
    yield from (f'run = vaekit.load("PATH"{more})', f"made = run.{does}", "```", "")


def metric_lines(record: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield what the metrics of an evaluation say: a label, a number with its error, words."""
    for name, values in {"bound": record, **record}.items():
        if isinstance(values, dict) and name in entries("metric"):
            for label, value, error, more in _read(name, values):
                spread = "" if error is None else f" ± {error:.4f}"
                yield label, "" if value is None else f"{value:.4f}{spread}", more


def _read(name: str, values: dict[str, Any]) -> list[Any]:
    """Return what a metric says of its record, which may be damaged, or of another version."""
    try:
        lines = make("metric", {"name": name}).lines(values)
        return [
            (str(label), *map(_number, (value, error)), str(more))
            for label, value, error, more in lines
        ]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        why = f"its numbers of {name} are others ({type(error).__name__}: {error})"
        raise VaekitError(f"an evaluation cannot be shown: {why}. Measure it again.") from error


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _numbers(run: Run) -> Iterator[str]:
    """Yield what evaluation.json says of these weights, else the epoch of which they are."""
    records = [results for results in run.folder.records() if results["step"] == run.step]
    weights = {"weights": run.weights, "step": run.step}.items()
    evaluations = [
        each for each in run.folder.evaluations() if weights <= each.get("protocol", {}).items()
    ]
    for results in evaluations:
        how = results["protocol"]
        over = over_words(results.get("standard_error_over", counted(how["rows"])), results)
        prior = f"; prior {how['prior']}" if "prior" in how else ""
        head = f"{how['rows']:,} {how['split']} rows{prior}; {over}:"
        yield from (head, "", "| | |", "|---|---|")
        lines = [line for line in metric_lines(results) if line[1]]
        yield from (f"| {label} | {number} {more} |" for label, number, more in lines)
        yield ""
    averaged = run.weights == "ema"  # an epoch's numbers are those of the weights that trained
    if not evaluations and records and not averaged:
        split = "validation" if records[-1].get("validation") else "train"
        yield from (f"{split} rows, epoch {records[-1]['epoch']}:", "", "| | |", "|---|---|")
        yield from (f"| {name} | {value:.4g} |" for name, value in records[-1][split].items())
    if not evaluations and (averaged or not records):
        yield "None were kept with it."


def read_weights(folder: RunFolder, weights: str | None) -> tuple[dict[str, Any], str, int | None]:
    """Return the model's state, which weights it is, and after how many steps (or None).

    Raises:
        VaekitError: for other weights than best, last, ema and epoch-N, or where they are missing
            or broken.
    """
    if weights and re.fullmatch(r"epoch-\d+", weights):
        progress = _part(folder.last.with_name(f"{weights}.safetensors"), "progress")
        return progress["model"], weights, progress["step"]
    if weights not in (None, *WEIGHTS):
        raise unknown("weights", str(weights), WEIGHTS)
    if not folder.last.is_file() and not folder.best.is_file():
        content = folder.read(WEIGHTS_FILE)
        if content is not None:
            return _saved(folder.weights, content, weights)
    if weights == "best" or (weights is None and folder.best.is_file()):
        steps = [r["step"] for r in folder.records() if r.get("best")]
        return _part(folder.best, "model"), "best", max(steps, default=None)
    progress = _part(folder.last, "progress")
    if weights != "ema":
        return progress["model"], "last", progress["step"]
    if progress["average"] is None:
        raise VaekitError(f"{folder.path} was trained without `ema`: take best or last.")
    prefix = "module."
    state = {k.removeprefix(prefix): v for k, v in progress["average"].items() if prefix in k}
    return state, "ema", progress["step"]


def _part(path: Path, name: str) -> dict[str, Any]:
    from vaekit.training import load_checkpoint

    state = load_checkpoint(path) if name == "progress" else load_state(path)
    if name not in state:
        raise VaekitError(f"{path} is another kind of checkpoint: it has no {name}; restore it.")
    return state[name]


def _saved(
    path: Path, content: bytes, weights: str | None
) -> tuple[dict[str, Any], str, int | None]:
    """Read the weights of a saved model, which holds one of best, last and ema."""
    state, known = read_tensors(content, path)
    which, step = known.get("weights", "last"), known.get("step", "")
    if not re.fullmatch(r"best|last|ema|epoch-\d{1,15}", which) or len(step) > 15:
        raise VaekitError(f"{path} does not say which weights it holds: {RESTORE}")
    if weights not in (None, which):
        raise VaekitError(f"{path} holds the weights {which}; got {weights}: take {which}.")
    return state, which, int(step) if step.isdecimal() else None
