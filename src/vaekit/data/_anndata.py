"""Cells and genes in an .h5ad of AnnData, read by h5py alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.data._arrays import Named, opened
from vaekit.data._formats import compressed, needed
from vaekit.data._rows import check_file
from vaekit.data._splits import taken
from vaekit.errors import VaekitError, unknown

if TYPE_CHECKING:
    from vaekit._train_options import Data


def anndata(path: Path, options: Data) -> Named:
    """Return the matrix of an .h5ad: sparse counts stay so; its `obs` hold labels and groups.

    `options.images` names another matrix than X, as layers/counts; `options.label` and
    `options.group` are columns of `obs`, as are those of `options.context`. Genes are taken by
    their names by a trained model.
    """
    h5py = needed("h5py", ".h5ad")
    with opened(path, ".h5ad", "write it again with AnnData.write_h5ad"), h5py.File(path) as file:
        obs, key = file["obs"], options.images or "X"
        if key not in file:
            layers = [f"layers/{name}" for name in file.get("layers", ())]
            raise unknown(f"matrix of {path}", key, ["X", *layers])
        stored = file[key]
        parts = [stored] if hasattr(stored, "dtype") else list(stored.values())
        check_file(path, sum(getattr(part, "nbytes", 0) for part in parts), options)
        matrix, genes = _matrix(path, stored), _index(file["raw/var" if key == "raw/X" else "var"])
        arrays, columns = {"images": _by_name(path, matrix, genes, options)}, _columns(obs)
        for role, column in (("labels", options.label), ("groups", options.group)):
            if column is not None and (column in columns or taken(options) is None):
                if column not in columns:
                    raise unknown(f"column of obs in {path}", column, columns)
                arrays[role] = _column(obs[column])
        covariates = [_covariate(path, obs, name) for name in options.covariates]
        said = f"obs has {', '.join(columns[:8])} (`label={columns[0]}`)" if columns else ""
        said = "" if options.label or taken(options) else said
        keys = {name: f"'{name}'" for name in arrays} | {"images": f"'{key}'"}
        keys |= {part: f"'{key}/{part}'" for part in ("data", "indices", "indptr", "shape")}
        takes = taken(options)
        names = tuple(genes) if takes is None else takes.column_names
        ids = {"": np.array(_index(obs), object)}
        beside = np.stack(covariates, 1) if covariates else None
        return Named(arrays, keys, said, ids, names, beside)


def _covariate(path: Path, obs: Any, name: str) -> np.ndarray:
    """Return a column that a model is conditioned on, as text."""
    columns = _columns(obs)
    if name not in columns:
        raise unknown(f"column of obs in {path}", name, columns)
    cells = _column(obs[name]).astype(str)
    if (cells == "").any():
        row = _index(obs)[int(np.flatnonzero(cells == "")[0])]
        raise VaekitError(f"{path}: column '{name}' of obs is empty in row {row}. Fill the cell.")
    return cells


def _by_name(path: Path, matrix: Any, genes: list[str], options: Data) -> Any:
    takes = taken(options)
    if takes is None or not takes.column_names or tuple(genes) == takes.column_names:
        return matrix
    place = {name: i for i, name in enumerate(genes)}
    if lacking := [name for name in takes.column_names if name not in place]:
        raise VaekitError(f"{path} lacks the genes {', '.join(lacking[:5])}, which this run takes.")
    return matrix[:, [place[name] for name in takes.column_names]]


def _matrix(path: Path, stored: Any) -> Any:
    if hasattr(stored, "dtype"):
        return np.asarray(stored)
    form = str(stored.attrs.get("encoding-type", stored.attrs.get("h5sparse_format", "csr")))
    if form[:3] not in ("csr", "csc"):
        raise VaekitError(f"{path} holds a matrix of the form '{form}'; expected csr or csc.")
    return compressed(
        stored, stored.attrs.get("shape", stored.attrs.get("h5sparse_shape")), form[:3]
    )


def _index(frame: Any) -> list[str]:
    known = (name for name in ("_index", "index") if name in frame)
    return [str(name) for name in _text(frame[frame.attrs.get("_index", next(known, "_index"))])]


def _columns(frame: Any) -> list[str]:
    names = [str(name) for name in frame.attrs.get("column-order", list(frame))]
    return [name for name in names if name in frame and not name.startswith("__")]


def _column(stored: Any) -> np.ndarray:
    """Return a column of numbers or text; one of categories is two arrays."""
    if hasattr(stored, "dtype"):
        return _text(stored)
    names, codes = _text(stored["categories"]), np.asarray(stored["codes"])
    return np.where(codes < 0, "", names.astype(str)[codes])


def _text(stored: Any) -> np.ndarray:
    text = stored.dtype.kind in "SO"
    return np.asarray(stored.asstr()).astype(str) if text else np.asarray(stored)
