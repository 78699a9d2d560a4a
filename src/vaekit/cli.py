"""The command line. torch is imported only inside commands, so that help answers at once."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.config import Yaml

import vaekit
from vaekit.config import flat_fields
from vaekit.errors import VaekitError
from vaekit.recipes import RECIPES, summary

if TYPE_CHECKING:
    from vaekit.run import Run

__all__ = ["app", "main"]

app = App(
    name="vaekit",
    version=vaekit.__version__,
    help="Train, understand, evaluate, compare and use variational autoencoders.",
    result_action="return_value",
)
train = App(
    name="train",
    help="Train a recipe: `vaekit train vae --data mnist`. "
    "`vaekit train vae --help` lists its options.",
)
app.command(train)

RunPath = Annotated[Path, Parameter(help="A run folder.")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object alone.")]
Out = Annotated[Path | None, Parameter(name=["--out", "-o"], help="Where the picture goes.")]
Weights = Annotated[str | None, Parameter(help="best, last or ema.")]
Device = Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1, mps.")]
GROUPS = {
    name: Group(title, sort_key=position)
    for position, (name, title) in enumerate(
        {
            "own": "Recipe",
            "net": "Networks",
            "pixels": "Likelihood",
            "data": "Data",
            "training": "Training",
            "run": "Run",
        }.items()
    )
}


def _say(text: str = "") -> None:
    print(text)  # noqa: T201


def _start() -> None:
    """What every command that computes does first."""
    import torch

    torch.set_flush_denormal(True)  # importance weights underflow; denormals are slow


def _option(name: str, annotation: Any, default: Any, text: str, group: str) -> inspect.Parameter:
    several = "tuple" in str(annotation)
    parameter = Parameter(help=text, group=GROUPS[group], consume_multiple=several)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[annotation, parameter],
        default=default,
    )


RUN_OPTIONS = [
    _option("out", Path | None, None, "The run folder; else the next free one in runs/.", "run"),
    _option("no_report", bool, False, "Do not write report.html.", "run"),
    _option("quiet", bool, False, "Show no progress.", "run"),
    _option("json", bool, False, "Print one JSON object alone.", "run"),
]


def _train_command(recipe: str) -> Callable[..., None]:
    """The command `train RECIPE`, with one flag for each option of the recipe."""

    def command(**options: Any) -> None:
        own = {p.name: options.pop(p.name, p.default) for p in RUN_OPTIONS}
        _start()
        from vaekit.app import train as train_recipe
        from vaekit.progress import listener

        run = train_recipe(
            recipe,
            out=own["out"],
            report=not own["no_report"],
            listener=listener(own["quiet"] or own["json"]),
            **options,
        )
        _show_run(run, own["json"])

    fields = [
        _option(name, info.annotation, info.default, info.description or "", record)
        for name, record, _, info in flat_fields(recipe)
    ]
    command.__signature__ = inspect.Signature([*fields, *RUN_OPTIONS])  # type: ignore[attr-defined]
    command.__doc__ = inspect.getdoc(RECIPES[recipe])
    command.__name__ = recipe
    return command


def _show_run(run: Run, as_json: bool) -> None:
    records = run.folder.records()
    last = records[-1] if records else {}
    if as_json:
        _say(json.dumps({"run": str(run.path), "weights": run.weights, "last": last}))
        return
    _say(f"run      {run.path}")
    if run.folder.report.is_file():
        _say(f"report   {run.folder.report}")
    _say(f"next     vaekit evaluate {run.path}")


for _recipe in RECIPES:
    train.command(_train_command(_recipe), name=_recipe)


@train.default
def _resume(
    *,
    resume: Annotated[Path, Parameter(help="Continue this run exactly where it stopped.")],
    epochs: Annotated[int | None, Parameter(help="Epochs in all.")] = None,
    quiet: Annotated[bool, Parameter(negative=(), help="Show no progress.")] = False,
    json: Json = False,
) -> None:
    """Continue a run: `vaekit train --resume RUN`."""
    _start()
    from vaekit.app import resume as resume_run
    from vaekit.progress import listener

    run = resume_run(resume, epochs=epochs, listener=listener(quiet or json))
    _show_run(run, json)


@app.command
def demo(
    *,
    out: Annotated[Path | None, Parameter(help="The run folder.")] = None,
    quiet: Annotated[bool, Parameter(negative=(), help="Show no progress.")] = False,
) -> None:
    """Train a VAE on 8 x 8 digits that come with the kit, and write a report of it."""
    _start()
    from vaekit.app import train as train_recipe
    from vaekit.progress import listener
    from vaekit.training.folder import next_folder

    if out is not None and out.exists():
        out = next_folder(out.parent, out.name)
    options: dict[str, Any] = {
        "data": "digits",
        "latent": 8,
        "epochs": 300,
        "lr_schedule": "cosine",
    }
    options.update(hidden=(256, 128), activation="silu", batch_size=64)
    run = train_recipe("vae", out=out, listener=listener(quiet), **options)
    _show_run(run, False)
    _say(f"open     file://{run.folder.report.resolve()}")


@app.command
def evaluate(
    run: RunPath,
    /,
    *,
    samples: Annotated[int, Parameter(help="Draws per image.")] = 10,
    split: Annotated[str, Parameter(help="test or train.")] = "test",
    limit: Annotated[int | None, Parameter(help="The first rows only.")] = None,
    seed: Annotated[int, Parameter(help="Of the draws.")] = 0,
    weights: Weights = None,
    data_dir: Annotated[str | None, Parameter(help="Where data sets lie.")] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure a run on test data: ELBO, log-likelihood and KL, in nats per image."""
    _start()
    found = vaekit.load(run, weights=weights, device=device).evaluate(
        samples=samples, split=split, limit=limit, seed=seed, data_dir=data_dir
    )
    if json:
        _say(_dump(found))
        return
    protocol = found.pop("protocol")
    for name, value in found.items():
        _say(f"{name:20} {'-' if value is None else format(value, '.4f')}")
    if not protocol["is_likelihood"]:
        _say("not a likelihood: grey values under a Bernoulli are the usual loss, no more")
    _say("; ".join(f"{k} {v}" for k, v in protocol.items()))


def _dump(content: Any) -> str:
    return json.dumps(content, indent=2)


@app.command
def sample(
    run: RunPath,
    /,
    *,
    n: Annotated[int, Parameter(name=["-n", "--number"], help="How many.")] = 64,
    out: Out = None,
    draws: Annotated[
        bool, Parameter(negative=(), help="Draws of x, in place of the mean E[x|z].")
    ] = False,
    seed: Annotated[int, Parameter(help="Of the draws.")] = 0,
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """New images from the prior, in a grid (.png) or as an array (.npz)."""
    _start()
    from vaekit.pictures import save

    if n < 1:
        raise VaekitError(f"got -n {n}; expected at least 1.")
    images = vaekit.load(run, weights=weights, device=device).sample(n, mean=not draws, seed=seed)
    _say(str(save(images, out or Path("samples.png"))))


@app.command
def reconstruct(
    run: RunPath,
    /,
    *,
    n: Annotated[int, Parameter(name=["-n", "--number"], help="How many.")] = 16,
    out: Out = None,
    weights: Weights = None,
    data_dir: Annotated[str | None, Parameter(help="Where data sets lie.")] = None,
    device: Device = "auto",
) -> None:
    """Test images with their reconstructions E[x|z] under them, as .png or .npz."""
    _start()
    from vaekit.data import canonical
    from vaekit.pictures import save

    if n < 1:
        raise VaekitError(f"got -n {n}; expected at least 1.")
    loaded = vaekit.load(run, weights=weights, device=device)
    originals = canonical(loaded.dataset(data_dir).test.images[:n])
    path = out or Path("reconstructions.png")
    _say(str(save(originals, path, loaded.reconstruct(originals))))


@app.command
def info(run: RunPath, /, *, json: Json = False) -> None:
    """What a run is: its options, data, environment, and how its training went."""
    _start()
    loaded = vaekit.load(run, device="cpu")
    records = loaded.folder.records()
    content = {
        "config": loaded.config.to_json(),
        **loaded.folder.read_json("run"),
        "epochs": len(records),
        "last": records[-1] if records else None,
        "weights": loaded.weights,
    }
    if json:
        _say(_dump(content))
        return
    import yaml

    _say(yaml.safe_dump(content, sort_keys=False))
    _say(repr(loaded.model))


@app.command
def report(run: RunPath, /, *, data_dir: str | None = None, device: Device = "auto") -> None:
    """Write a run's report.html again."""
    _start()
    from vaekit.report.of_run import write_run_report

    _say(str(write_run_report(vaekit.load(run, device=device), data_dir=data_dir)))


@app.command
def recipes(*, json: Json = False) -> None:
    """The recipes, a line each."""
    if json:
        _say(_dump([{"name": name, "summary": summary(name)} for name in RECIPES]))
        return
    for name in RECIPES:
        _say(f"{name:12} {summary(name)}")


@app.meta.default
def _meta(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help="A YAML file with options.")] = None,
) -> None:
    if config is not None and not config.is_file():
        raise VaekitError(f"there is no file {config}.")
    app.config = ()
    if config is not None:
        app.config = (Yaml(config, use_commands_as_keys=False, allow_unknown=False),)
    app(tokens, exit_on_error=False, print_error=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: what a user can mend is one line on standard error and exit code 2."""
    try:
        app.meta(arguments, exit_on_error=False, print_error=False)
    except (VaekitError, CycloptsError) as error:
        print(f"vaekit: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
