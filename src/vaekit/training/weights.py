"""The weights that a run folder keeps: best, last, or their running mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vaekit.errors import VaekitError, unknown
from vaekit.training.checkpoint import load_state
from vaekit.training.folder import RunFolder

__all__ = ["WEIGHTS", "kept_weights"]

WEIGHTS = ("best", "last", "ema")


def kept_weights(folder: RunFolder, weights: str | None) -> tuple[dict[str, Any], str, int | None]:
    """The model's state, which weights it is, and after how many steps (None: no record says).

    Raises:
        VaekitError: for other weights than best, last and ema, or where they are missing or broken.
    """
    if weights is None:
        weights = "best" if folder.best.is_file() else "last"
    if weights not in WEIGHTS:
        raise unknown("weights", weights, WEIGHTS)
    if weights == "best":
        kept = [r["step"] for r in folder.records() if r.get("best")]
        return _part(folder.best, "model"), weights, max(kept, default=None)
    progress = _part(folder.last, "progress")
    if weights == "last":
        return progress["model"], weights, progress["step"]
    if progress["average"] is None:
        raise VaekitError(f"{folder.path} was trained without --ema: take best or last.")
    prefix = "module."
    state = {k.removeprefix(prefix): v for k, v in progress["average"].items() if prefix in k}
    return state, weights, progress["step"]


def _part(path: Path, name: str) -> dict[str, Any]:
    state = load_state(path)
    if name not in state:
        raise VaekitError(f"{path} is another kind of checkpoint: it has no {name}; restore it.")
    return state[name]
