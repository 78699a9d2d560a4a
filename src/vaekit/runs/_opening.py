"""From a run folder, a saved model or a training to a `Run`; and what a run folder keeps of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit._io import alone, write
from vaekit._torchutil import find_device, rng
from vaekit.data import DataSpec
from vaekit.errors import VaekitError
from vaekit.models import Model
from vaekit.objectives import Objective
from vaekit.objectives import weights as weights_of
from vaekit.runs._building import build_with, load_weights
from vaekit.runs._config import Config
from vaekit.runs._folder import MEND, RunFolder
from vaekit.runs._run import Run
from vaekit.runs._saved_models import read_weights

if TYPE_CHECKING:
    from vaekit.runs._job import Job


def trained(job: Job) -> Run:
    """Return the run that has just been trained, with its model and its data.

    The model takes the weights of the best epoch, where rows were held out; the weights of the
    objective are again those of the options, where a schedule has moved them.
    """
    model, objective = job.recipe.model, job.recipe.objective
    for path, (module, name) in weights_of(objective).items():
        getattr(module, name).fill_(job.weights[path])
    state, which, step = read_weights(job.folder, None)
    model.load_state_dict(state)
    data = job.source, job.data
    return Run(job.folder, job.config, job.spec, model.eval(), objective, which, step, data)


def read_config(folder: RunFolder) -> tuple[Config, DataSpec]:
    """Return what config.json says: what is trained and how, and what is known of the data.

    Raises:
        VaekitError: where this is no run folder, or the file holds something else.
    """
    record = folder.read_json("config")
    try:
        config = Config.from_json(record)
        try:
            return config, DataSpec.from_json(record.get("spec", {}))
        except VaekitError as error:
            raise VaekitError(f"config.json does not fit: its spec: {error} {MEND}") from None
    except VaekitError as error:
        raise VaekitError(f"{folder.path}/{error}") from None


def open_run(
    path: str | Path,
    *,
    weights: str | None = None,
    device: str = "auto",
    model: Model | None = None,
    objective: Objective | None = None,
    training_data: str | Path | None = None,
) -> Run:
    """Open the run in this folder, or the saved model.

    Args:
        path: the run folder; or a folder, or a .vaekit, that `Run.save` wrote.
        weights: "best" (where rows were held out, the default), "last", "ema", or "epoch-N" of
            those that `keep_every` kept.
        device: where the model goes.
        model, objective: of a run that was composed of classes of your own; the model gets the
            weights.
        training_data: where the data of its training lie, if they have moved.

    Raises:
        VaekitError: where this is no run folder, or the weights are missing or of another model.
    """
    folder = RunFolder(path)
    config, spec = read_config(folder)
    target = find_device(device)
    state, which, step = read_weights(folder, weights)
    with rng(0, target):
        recipe = build_with(state, config, spec, folder.path, model=model, objective=objective)
    model, objective = recipe.model.to(target).eval(), recipe.objective
    if any(True for _ in objective.parameters()) and folder.last.is_file():
        from vaekit.training import load_checkpoint

        # What it has learned, a critic say; its weights stay as the options set them.
        now, fixed = objective.state_dict(), weights_of(objective)
        learned = load_checkpoint(folder.last)["progress"]["objective"]
        learned = {n: v for n, v in learned.items() if n in now and n not in fixed}
        load_weights(objective, {**now, **learned}, folder.path)
    run = Run(folder, config, spec, model, objective.to(target), which, step)
    run.training_data = training_data
    return run


def keep_evaluation(run: Run, results: dict[str, Any]) -> None:
    """Add a record to the run's evaluation.json; one of the same protocol is replaced.

    A .vaekit keeps none.

    Raises:
        VaekitError: where it cannot be written, or holds something else.
    """
    if run.path.is_file():
        return

    def how(record: dict[str, Any]) -> list[Any]:
        metrics = {name: part for name, part in record.items() if isinstance(part, dict)}
        keys = ("samples", "steps", "levels", "how")
        return [
            metrics.pop("protocol", None),
            {name: [part.get(key) for key in keys] for name, part in metrics.items()},
        ]

    path = run.path / "evaluation.json"
    with alone(path):
        others = [record for record in run.folder.evaluations() if how(record) != how(results)]
        write(path, (json.dumps([*others, results], indent=2) + "\n").encode())
