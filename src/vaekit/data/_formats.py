"""Files of other programs: each reader, over its library, gives named arrays or a DataFrame."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit._safetensors import read_tensors
from vaekit.data._arrays import Named, named, opened, sound
from vaekit.data._columns import Table
from vaekit.data._matlab import read_matlab
from vaekit.data._tables import read_frame
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from vaekit._train_options import Data

Held = tuple[Mapping[str, Any], str]  # arrays by their keys, and what is said of them
Reader = Callable[[Path], AbstractContextManager[Held]]
ARRAYS: dict[str, Callable[[Path, Data], Named]] = {}  # by the ends of paths
EXTRAS = {"openpyxl": "tables", "pyarrow": "parquet", "h5py": "hdf5", "datasets": "hf"}
SAVE = "save it as .npz: numpy.savez(path, images=..., labels=...)"
PICKLE = f"a pickle runs code when it is opened, and is never read; in Python {SAVE}"
VOLUME = "save its slices as .png, or as .npy: "
# Formats that are not read, and what to do in place of it.
CONVERT = {
    **dict.fromkeys((".pkl", ".pickle", ".joblib", ".p"), PICKLE),
    **dict.fromkeys((".xls", ".ods", ".xlsb"), "save the table as .xlsx or .csv"),
    **dict.fromkeys((".dcm", ".dicom"), f"{VOLUME}pydicom.dcmread(path).pixel_array"),
    **dict.fromkeys((".nii", ".mgz", ".nrrd"), f"{VOLUME}nibabel.load(path).get_fdata()"),
    **dict.fromkeys((".wav", ".mp3", ".flac", ".ogg"), f"sound is read as spectrograms; {SAVE}"),
    **dict.fromkeys((".mp4", ".avi", ".mov"), "save its frames: ffmpeg -i FILE %d.png"),
    **dict.fromkeys((".tfrecord", ".tfrecords"), f"read it with TensorFlow, and {SAVE}"),
    **dict.fromkeys((".json", ".jsonl"), "save the table as .csv: pandas.read_json(path).to_csv"),
    **dict.fromkeys((".rds", ".rdata"), "save the table from R as .csv: write.csv"),
    **dict.fromkeys((".rar", ".7z"), "unpack it, and name the folder"),
}


def needed(module: str, suffix: str) -> Any:
    """Return a module of an extra.

    Raises:
        VaekitError: where it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise VaekitError(
            f"reading {suffix} needs {module}: pip install 'vaekit[{EXTRAS[module]}]'."
        ) from None


# tables -----------------------------------------------------------------------------------------


# The end of a path, the library that reads it, and the function of pandas.
FRAMES = {
    ".xlsx": ("openpyxl", "read_excel"),
    ".xlsm": ("openpyxl", "read_excel"),
    ".parquet": ("pyarrow", "read_parquet"),
    ".feather": ("pyarrow", "read_feather"),
}


def frame_table(suffix: str, path: Path, options: Data) -> Table:
    """Return the table in a file of a library; of Excel the sheet that has cells.

    Raises:
        VaekitError: where the library is not installed, for several sheets, and a damaged file.
    """
    import pandas

    library, reader = FRAMES[suffix]
    needed(library, suffix)
    try:
        how = {"sheet_name": None} if library == "openpyxl" else {}
        read = getattr(pandas, reader)(path, **how)
    except Exception as error:  # libraries raise whatever damaged bytes make of their readers
        why = " ".join(str(error).split())
        raise VaekitError(f"{path} cannot be read as {suffix}: {why}.") from error
    full = {str(name): sheet for name, sheet in read.items() if len(sheet)} if how else {"": read}
    if len(full) > 1:
        raise VaekitError(f"{path} has the sheets {', '.join(full)}: save one of them alone.")
    if not any(map(len, full.values())):
        raise VaekitError(f"{path} has no rows. Expected a row of numbers for each.")
    return read_frame(str(path), next(iter(full.values())), options)


# arrays -----------------------------------------------------------------------------------------


def _arrays(*suffixes: str) -> Callable[[Reader], Reader]:
    """Enter a reader of arrays by their keys for these ends of paths."""

    def enter(reader: Reader) -> Reader:
        def read(path: Path, options: Data) -> Named:
            with opened(path, suffixes[0], "write it again"), reader(path) as (arrays, said):
                return named(path, arrays, options, said)

        ARRAYS.update(dict.fromkeys(suffixes, read))
        return reader

    return enter


@_arrays(".mat")
@contextmanager
def _mat(path: Path) -> Iterator[Held]:
    """Yield the variables of MATLAB; those of version 7.3 lie in HDF5, their dims turned around."""
    arrays = read_matlab(path)
    if arrays is None:
        with _hdf5(path) as (variables, _):
            arrays = {key: np.asarray(each).T for key, each in variables.items()}
    first = rows_first(arrays)
    turned = any(first[key].ndim > 2 and first[key] is not each for key, each in arrays.items())
    yield first, "the last dim counts the rows" if turned else ""


def rows_first(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return images whose rows are the last dim, as MATLAB's often are, with these first.

    Example:
        >>> made = rows_first({"X": np.zeros((8, 8, 3, 50)), "y": np.zeros((50, 1))})
        >>> made["X"].shape, made["y"].shape
        ((50, 8, 8, 3), (50, 1))
    """
    columns = {max(a.shape) for a in arrays.values() if a.ndim == 2 and 1 in a.shape}

    def is_last(a: Any) -> bool:
        color = a.ndim == 4 and a.shape[2] in (1, 3) and not {a.shape[1], a.shape[3]} & {1, 3}
        return color or (a.ndim == 3 and a.shape[2] in columns and a.shape[0] not in columns)

    flat = {key: a[0] if a.ndim == 2 and a.shape[0] == 1 else a for key, a in arrays.items()}
    return {key: np.moveaxis(a, -1, 0) if is_last(a) else a for key, a in flat.items()}


@_arrays(".h5", ".hdf5", ".hdf")
@contextmanager
def _hdf5(path: Path) -> Iterator[Held]:
    """Yield the data sets by their paths; of 10x Genomics the cells, which are its columns."""
    h5py = needed("h5py", ".h5")
    with h5py.File(path, "r") as file:
        arrays: dict[str, Any] = {}
        file.visititems(lambda key, each: arrays.update({key: each} if _is_array(each) else {}))
        if "matrix/barcodes" in arrays:
            shape = np.asarray(file["matrix/shape"])[::-1]
            yield {"images": compressed(file["matrix"], shape)}, "rows are cells"
        else:
            yield arrays, ""


def _is_array(each: Any) -> bool:
    return hasattr(each, "dtype") and each.dtype.kind in "iufbSO" and each.shape not in ((), None)


def compressed(group: Any, shape: Any, form: str = "csr") -> Any:
    from scipy import sparse

    parts = tuple(np.asarray(group[key]) for key in ("data", "indices", "indptr"))
    return sound(getattr(sparse, f"{form}_array")(parts, shape=tuple(map(int, shape)))).tocsr()


@_arrays(".pt", ".pth")
@contextmanager
def _torch(path: Path) -> Iterator[Held]:
    """Yield a tensor, a dict of them, or a pair of images and labels; nothing is unpickled."""
    import pickle

    import torch

    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        mend = "torch.save({'images': x, 'labels': y}, path)"
        raise VaekitError(f"{path} holds Python objects, not tensors alone: {mend}.") from None
    if isinstance(held, tuple | list) and len(held) == 2:
        held = dict(zip(("images", "labels"), held, strict=True))
    yield _numpy(held if isinstance(held, dict) else {"images": held}), ""


@_arrays(".safetensors")
@contextmanager
def _tensors(path: Path) -> Iterator[Held]:
    yield _numpy(read_tensors(path.read_bytes(), path)[0]), ""


def _numpy(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    import torch

    half = torch.bfloat16
    found = {str(key): t for key, t in tensors.items() if isinstance(t, torch.Tensor)}
    return {key: (t.float() if t.dtype == half else t).numpy() for key, t in found.items()}


@_arrays(".mtx")
@contextmanager
def _market(path: Path) -> Iterator[Held]:
    """Yield a matrix of MatrixMarket; beside barcodes of 10x Genomics its columns are cells."""
    from scipy.io import mmread

    matrix = mmread(path)
    cells = [each for each in path.parent.glob("barcodes.tsv*") if each.is_file()]
    said = f"rows are its columns, the cells of {cells[0].name}" if cells else "rows are its rows"
    yield {"images": matrix.T if cells else matrix}, said


@_arrays(".libsvm", ".svm", ".svmlight")
@contextmanager
def _libsvm(path: Path) -> Iterator[Held]:
    """Yield lines of a label and of column:value; numbers that are no classes are left out."""
    from sklearn.datasets import load_svmlight_file

    rows, labels = load_svmlight_file(str(path))
    whole = bool((labels == np.rint(labels)).all())
    beside = {"labels": labels.astype(np.int64)} if whole else {"the first numbers": labels}
    yield {"images": rows, **beside}, ""
