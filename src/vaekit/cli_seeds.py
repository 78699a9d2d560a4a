"""`vaekit train RECIPE --seeds N`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaekit.cli_output import dump, say

__all__ = ["train_several"]


def _line(name: str, row: Mapping[str, Any], names: Mapping[str, float]) -> str:
    return f"{name:16}" + "".join(f"{row[n]:>16.4f}" for n in names)


def _done(row: Mapping[str, Any]) -> None:
    """A line on standard error for a seed that is trained, and what it should be known for."""
    shown = {n: row[n] for n in ("elbo", "log_likelihood", "kl") if row[n] is not None}
    numbers = ", ".join(f"{n.replace('_', '-')} {v:.2f}" for n, v in shown.items())
    print(f"seed {row['seed']} is trained: {numbers}", file=sys.stderr, flush=True)  # noqa: T201
    for text in row["warnings"]:
        print(f"vaekit: note: seed {row['seed']}: {text}", file=sys.stderr)  # noqa: T201


def _show(found: Mapping[str, Any], out: Path) -> None:
    mean, error = found["mean"], found["standard_error"]
    say(" " * 16 + "".join(f"{n.replace('_', '-'):>16}" for n in mean))
    for row in found["runs"]:
        say(_line(f"seed {row['seed']}", row, mean))
    say(_line("mean", mean, mean))
    if len(found["runs"]) > 1:
        say(_line("± standard error", error, mean))
    if not found["protocol"]["is_likelihood"]:
        say("not a likelihood: grey values under a Bernoulli are the usual loss, no more")
    say("; ".join(f"{k} {v}" for k, v in found["protocol"].items() if k != "seed"))
    say(f"runs     {out}")


def train_several(recipe: str, own: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Trains the seeds and prints what they have in common."""
    from vaekit.config import Config
    from vaekit.seeds import default_folder, train_seeds

    data = Config.flat(recipe, **options).data.data
    out = default_folder(recipe, data) if own["out"] is None else own["out"]
    told = None if own["quiet"] or own["json"] else _done
    try:
        found = train_seeds(
            recipe,
            seeds=own["seeds"],
            out=out,
            report=not own["no_report"],
            together=own["together"],
            on_seed=told,
            **options,
        )
    except KeyboardInterrupt:
        say(f"stopped  continue with the same command and --out {out}")
        sys.exit(130)
    if own["json"]:
        say(dump(found))
    else:
        _show(found, out)
