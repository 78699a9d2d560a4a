"""`vaekit runs`: what lies in a folder of runs. It reads JSON alone and needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vaekit._io import is_locked
from vaekit.errors import VaekitError, unknown
from vaekit.runs._records import Head, epochs_of, record_of

COLUMNS = (
    *("name", "recipe", "data", "latent", "epochs", "asked", "objective", "log_likelihood"),
    *("kl", "active_units", "seconds", "state"),
)
NUMBERS = {"objective": 2, "log_likelihood": 2, "kl": 2, "seconds": 1}  # and their decimals


def tabulate(folder: str | Path = "runs", *, sort: str = "name") -> list[dict[str, Any]]:
    """Return a row for each run in `folder`, those of seeds and of a sweep below it included.

    The numbers are those of the best epoch, on held-out rows where there are some, else on the
    training rows; nats per image. `epochs` are done, `asked` the options set; `state` is
    "finished", "stopped" (`vaekit.resume` continues it), "running", "saved" (a model without
    records), or what is broken.

    Args:
        folder: a folder of runs, or a run folder.
        sort: a column; names from a to z, numbers from the largest.

    Raises:
        VaekitError: where there is no such folder, no run in it, or no such column.
    """
    if sort not in COLUMNS:
        raise unknown("column", sort, COLUMNS)
    folder = Path(folder)
    if not folder.is_dir():
        raise VaekitError(f"there is no folder {folder}: train first, as with `vaekit train vae`.")
    try:
        rows = [_row(path, name) for path, name in sorted(_find(folder), key=lambda f: f[1])]
    except OSError as error:
        raise VaekitError(f"cannot read {folder}: {error.strerror}.") from error
    if not rows:
        raise VaekitError(f"there are no runs in {folder}: train one with `out={folder}/NAME`.")
    known = [row for row in rows if row[sort] is not None]
    numbers = all(isinstance(row[sort], int | float) for row in known)
    known.sort(key=lambda row: row[sort] if numbers else str(row[sort]), reverse=numbers)
    return known + [row for row in rows if row[sort] is None]


def _find(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the run folders, each with its name in the table."""

    def is_run(path: Path) -> bool:
        try:
            return (path / "config.json").exists() or (path / "checkpoints").is_dir()
        except OSError:  # its row says why it cannot be read
            return True

    if is_run(folder):
        yield folder, folder.resolve().name
        return
    for path in filter(Path.is_dir, folder.iterdir()):
        if is_run(path):
            yield path, path.name
        else:
            inner = [each for kind in ("seed-*", "*=*") for each in path.glob(kind)]
            yield from ((each, f"{path.name}/{each.name}") for each in inner if is_run(each))


def _read(path: Path, kind: Any = None) -> dict[str, Any]:
    """Return the record in a file of a run, or say what is wrong with it."""
    if not path.is_file():
        raise VaekitError(f"no {path.name}")
    return _named(path, lambda: record_of(path.name, path.read_bytes(), kind))


def _named(path: Path, read: Callable[[], Any]) -> Any:
    """Return what is read from a file; what is wrong with it begins with its name."""
    try:
        return read()
    except OSError as error:
        raise VaekitError(f"cannot read {path.name}: {error.strerror}") from None
    except VaekitError as error:
        raise VaekitError(f"{path.name} {error}") from None


def _row(path: Path, name: str) -> dict[str, Any]:
    """Return the row of a run; where it is broken, its state says so."""
    row: dict[str, Any] = {**dict.fromkeys(COLUMNS), "name": name}
    try:
        config = _read(path / "config.json", Head)
        row |= {"recipe": config["recipe"], "data": config["data"]["data"]}
        row |= {"latent": config["parts"].get("latent"), "asked": config["training"]["epochs"]}
        if not (path / "checkpoints").is_dir() and (path / "model.safetensors").is_file():
            return {**row, "state": "saved"}
        _read(path / "run.json")
        lines = path / "metrics.jsonl"
        records = _named(lines, lambda: epochs_of(lines))
        row |= _numbers(records)
        early = bool(records) and bool(records[-1].get("stopped_early"))
        done = early or row["epochs"] >= row["asked"]
        running = is_locked(path / "checkpoints" / ".lock")
        row["state"] = "running" if running else "finished" if done else "stopped"
    except VaekitError as error:
        row["state"] = f"broken: {error}"
    except OSError as error:
        row["state"] = f"broken: {error.strerror}"
    return row


def _numbers(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return those of the best epoch; of the last one while none is best, as in a warm-up."""
    if not records:
        return {"epochs": 0}
    best = next((r for r in reversed(records) if r.get("best")), records[-1])
    means = best.get("validation") or best["train"]
    return {
        "epochs": records[-1]["epoch"],
        "objective": means["objective"],
        "log_likelihood": means.get("log_likelihood"),
        "kl": means.get("kl"),
        "active_units": (best.get("latent") or {}).get("active_units"),
        "seconds": sum(r.get("seconds", 0.0) for r in records),
    }


def cells(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the rows as a terminal shows them, after their titles."""
    columns = [column for column in COLUMNS if column != "asked"]
    table = [[c.replace("_", " ").replace("log likelihood", "log-likelihood") for c in columns]]
    for row in rows:
        shown = {name: "-" if value is None else str(value) for name, value in row.items()}
        if row["epochs"] is not None:
            shown["epochs"] = f"{row['epochs']}/{row['asked']}"
        known = {name: digits for name, digits in NUMBERS.items() if row[name] is not None}
        shown |= {name: f"{row[name]:.{digits}f}" for name, digits in known.items()}
        table.append([shown[column] for column in columns])
    return table
