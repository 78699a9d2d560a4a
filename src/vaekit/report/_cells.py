"""Codes and denoised counts beside the cells of an .h5ad, as AnnData keeps them; by h5py alone."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import torch

from vaekit._io import make_folder, replacing
from vaekit.data import Dataset
from vaekit.errors import VaekitError
from vaekit.models import rows_at_once
from vaekit.report._codes import posteriors
from vaekit.runs import Run

CODES, DENOISED = "X_vaekit", "denoised"
CHUNK = 1 << 18  # values of a piece of a layer in the file


def save_cells(run: Run, data: Dataset, path: Path, *, denoised: bool = False) -> Path:
    """Write the .h5ad that rows were read from, with their codes in it: E[z|x].

    They are float32 `(N, Z)` in `obsm["X_vaekit"]`. All else in the file is as it was; what has
    these names already is replaced.

    Args:
        run: of the model.
        data: new rows of `Run.new_data`, all in `test`.
        path: the file; it is there when all is written.
        denoised: whether E[x|z] goes into `layers["denoised"]`, too: float32 `(N, genes)`, under
            the library size of each row where the model is given one. Genes that the run does not
            take are NaN.

    Raises:
        VaekitError: for rows that are not of one .h5ad, and where it cannot be written.
    """
    source = Path(data.source)
    if source.suffix.lower() != ".h5ad" or not source.is_file():
        raise VaekitError(
            f"{path} would be a copy of the .h5ad that rows come from, and {data.name} is none: "
            "give `data=cells.h5ad`, or name a .csv, .parquet or .npz."
        )
    h5py: Any = importlib.import_module("h5py")  # which has no types
    try:
        make_folder(path.parent)
        with replacing(path) as part:
            shutil.copyfile(source, part)
            with h5py.File(part, "r+") as file:
                _add(file, run, data, denoised)
    except OSError as error:
        why = error.strerror or " ".join(str(error).split())
        raise VaekitError(f"cannot write {path}: {why}. Name another place.") from None
    return path


def _add(file: Any, run: Run, data: Dataset, denoised: bool) -> None:
    """Add the codes, and what is asked for, some rows at a time."""
    rows, genes = data.test, _genes(file)
    codes = _place(file, "obsm", CODES, (len(rows), run.latent_size))
    layer = _place(file, "layers", DENOISED, (len(rows), len(genes))) if denoised else None
    place = {name: i for i, name in enumerate(genes)}
    names = run.spec.column_names or genes
    known = [i for i, name in enumerate(names) if name in place]
    columns = [place[names[i]] for i in known]
    for index in torch.arange(len(rows)).split(rows_at_once(run.model)):
        some, part = slice(int(index[0]), int(index[-1]) + 1), rows.take(index)
        z = posteriors(run, part)[0]
        codes[some] = z.float().numpy()
        if layer is not None:
            under = None if part.context is None else part.context.float()
            made = run.spec.values.inverse(run.decode(z, under)).float()
            full = torch.full((len(part), len(genes)), torch.nan)
            full[:, columns] = made[:, known]
            layer[some] = full.numpy()


def _genes(file: Any) -> list[str]:
    """Return the names of the columns of X."""
    var = file["var"]
    index = str(var.attrs.get("_index", "_index"))
    stored = var[index if index in var else "index"]
    return [str(name) for name in (stored.asstr()[:] if stored.dtype.kind in "SO" else stored)]


def _place(file: Any, group: str, name: str, shape: tuple[int, int]) -> Any:
    """Return an empty array of a group, with what AnnData says of both."""
    if group not in file:
        file.create_group(group).attrs.update(
            {"encoding-type": "dict", "encoding-version": "0.1.0"}
        )
    if name in file[group]:
        del file[group][name]
    chunks = (max(1, min(shape[0], CHUNK // shape[1])), shape[1])
    array = file[group].create_dataset(name, shape, "float32", chunks=chunks, compression="gzip")
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    return array
