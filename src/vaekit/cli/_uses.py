"""The commands that apply a trained model to rows: each returns the file that it wrote."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

import vaekit
from vaekit import report
from vaekit.cli._show import MaybeNumber, MaybeWhole, Opening, Output, Rows, Whole, say, whole
from vaekit.errors import VaekitError, choose

if TYPE_CHECKING:
    from torch import Tensor

    from vaekit.runs import Run

SHOWN = 24  # images of a sheet of what was filled in


def encode(
    run: Path,
    /,
    *,
    data: str | None = None,
    id: str | None = None,  # noqa: A002
    split: str = "test",
    denoised: bool = False,
    to: Output = Output(),
    opening: Rows = Rows(),
) -> Path:
    """Encode new rows, or a split of the training's data: means and deviations of z, row by row.

    New rows are scaled as those of the training were; columns of a table go by their names. Each
    line begins with where the row comes from: a file's name, an identifier, a line of a table.
    With -o out.h5ad, the .h5ad of --data is written with the means as obsm["X_vaekit"] in it.

    Example: vaekit encode runs/vae-photos --data new/ -o codes.csv

    Args:
        data: New rows: a folder, a .zip, an image, an array, a table, or a data set's name.
        id: The column of a table that names its rows.
        split: Without new rows: test, validation or train.
        denoised: Write E[x|z] into an .h5ad, too, as layers["denoised"].
    """
    loaded, path = opening.load(run), to.at(run, "codes.csv")
    cells = path.suffix == ".h5ad"
    if denoised and not cells:
        raise VaekitError("`denoised` goes into an .h5ad: name one, as `out=cells.h5ad`.")
    if data is not None:
        given = loaded.new_data(data, id=id, data_dir=opening.data_dir)
        if cells:
            return report.save_cells(loaded, given, path, denoised=denoised)
        return report.save_codes(loaded, given.test, path)
    known = loaded.dataset(opening.data_dir)
    if cells:
        raise VaekitError(f"{path} would be a copy of an .h5ad: name that, as `data=cells.h5ad`.")
    return report.save_codes(loaded, choose("split", split, known.splits), path)


def score(
    run: Path,
    /,
    *,
    data: str | None = None,
    id: str | None = None,  # noqa: A002
    split: str = "test",
    samples: Whole = 50,
    threshold: float | None = None,
    odd: str | None = None,
    label: str | None = None,
    limit: MaybeWhole = None,
    seed: Whole = 0,
    to: Output = Output(),
    opening: Rows = Rows(),
) -> Path:
    """Score how strange rows are: new ones, or a split of the training's data, row by row.

    -log p(x) by importance sampling, -ELBO and the error of reconstruction, each with its
    percentile against the run's own validation rows; of a table the columns that stand out.
    A .png shows the strangest and the most typical images; an .svg, and a .png of a table, how
    the scores are spread.

    Example: vaekit score runs/vae-photos --data new/ -o scores.csv

    Args:
        data: New rows: a folder, a .zip, an image, an array, a table, or a data set's name.
        id: The column of a table that names its rows.
        split: Without new rows: test, validation or train.
        samples: Draws for -log p(x); 0 leaves it out.
        threshold: Mark rows from this percentile on, as 0.99.
        odd: The class that is odd: say how well the scores tell it from the others.
        label: The column of a table that is the class.
        limit: Score this many rows, evenly spread.
    """
    path = to.at(run, "scores.csv")
    _one_of(path, ".csv", ".parquet", ".npz", ".png", ".svg")
    loaded = opening.load(run)
    how: dict[str, Any] = {"split": split, "samples": samples, "limit": limit, "seed": seed}
    how |= {"threshold": threshold, "odd": odd, "label": label, "id": id}
    how |= {"data_dir": opening.data_dir, "on_rows": _counted()}
    scored = vaekit.runs.score_rows(loaded, data, **how)
    for line in scored.lines():
        say(line)
    if path.suffix == ".svg" or (path.suffix == ".png" and len(loaded.spec.shape) != 3):
        return report.save_figure(lambda: report.score_figure(scored), path)
    if path.suffix == ".png":
        draw = lambda: report.score_sheet(loaded, scored)  # noqa: E731
        return report.save_images(scored.rows.x(slice(1)), path, draw=draw)
    return report.save_columns(scored.table(), path)


def outliers(
    run: Path,
    /,
    *,
    k: Annotated[int, Parameter(name=["-k", "--k"], converter=whole)] = 20,
    split: str = "train",
    by: str | None = None,
    samples: Whole = 50,
    seed: Whole = 0,
    to: Output = Output(),
    opening: Rows = Rows(),
) -> Path:
    """Find the oddest rows of the training's own data: damaged ones, and labels that look wrong.

    Those of the largest -ELBO. With labels each row also has the share of its 10 nearest rows by
    code that have another label. A .png shows the images.

    Example: vaekit outliers runs/vae-photos -k 20 -o odd.png

    Args:
        k: How many rows.
        split: train, validation or test.
        by: bound, -ELBO, the default; nll; error, that of the reconstruction; or label, the rows
            most of whose neighbors have another.
        samples: Draws for nll.
    """
    path = to.at(run, "outliers.csv")
    _one_of(path, ".csv", ".parquet", ".npz", ".png")
    loaded = opening.load(run, k=k)
    _check_sheet(loaded, path)
    how: dict[str, Any] = {"split": split, "by": by, "samples": samples, "seed": seed}
    how |= {"data_dir": opening.data_dir, "on_rows": _counted()}
    found = vaekit.runs.outliers(loaded, k, **how)
    if path.suffix == ".png":
        draw = lambda: report.outlier_sheet(loaded, found, by)  # noqa: E731
        return report.save_images(found.rows.x(slice(1)), path, draw=draw)
    return report.save_columns(found.table(), path)


def _one_of(path: Path, *endings: str) -> None:
    """Refuse a file of another ending, before anything is computed."""
    if path.suffix not in endings:
        known = f"{', '.join(endings[:-1])} or {endings[-1]}"
        raise VaekitError(f"got the file {path}; expected one that ends in {known}.")


def _check_sheet(run: Run, path: Path) -> None:
    """Refuse a sheet of images of rows that are none, before anything is computed."""
    if path.suffix == ".png" and len(run.spec.shape) != 3:
        raise VaekitError(f"{path} is an image, and rows of a table are none: name a .csv.")


def _some(rows: int, shown: int, name: str) -> None:
    """Say that an image shows some rows alone, and what has all."""
    if rows > shown:
        say(f"{shown} of {rows:,} rows are shown; -o {name} has all of them")


def _counted() -> Any:
    """Return what shows on a terminal how many rows are done."""
    from vaekit.cli._progress import RowCount

    return RowCount() if sys.stderr.isatty() else None


def impute(
    run: Path,
    /,
    *,
    data: str,
    id: str | None = None,  # noqa: A002
    samples: Whole = 100,
    draws: Whole = 0,
    seed: Whole = 0,
    to: Output = Output(),
    opening: Rows = Rows(),
) -> Path:
    """Fill in the gaps of new rows, given what is seen of each: empty cells, NaN in arrays.

    With the mean of what is missing, or --draws of it, which all are written. What is seen stays.
    Of images an .npz, a .png of some (seen, and filled right under it), or a folder, as -o filled/.

    Example: vaekit impute runs/vae-wine --data gaps.csv -o filled.csv

    Args:
        data: New rows: a table with empty cells, or an .npy or .npz in which NaN is a gap.
        id: The column of a table that names its rows.
        samples: Draws of z for each row.
        draws: Draws of each row; 0 for the mean.
    """
    loaded = opening.load(run)
    path = to.at(run, "filled.csv" if loaded.spec.is_table else "filled.png")
    how: dict[str, Any] = {"samples": samples, "draws": draws, "seed": seed}
    if not loaded.spec.is_table:
        return _filled_images(loaded, data, path, how, opening.data_dir)
    table = loaded.impute(data, data_dir=opening.data_dir, id=id, **how)
    return report.save_columns(
        {str(name): table[name].to_numpy() for name in table}, path, digits=None
    )


def _filled_images(run: Run, data: str, path: Path, how: Any, data_dir: str | None) -> Path:
    """Write images with their gaps filled in: all of them, or in a .png some under what is seen."""
    from vaekit.runs import fill_rows, with_gaps

    rows = with_gaps(run, data, data_dir=data_dir)
    if path.suffix == ".png":
        _some(len(rows), SHOWN, "filled.npz")
        rows = rows.take(vaekit.data.spread(len(rows), SHOWN))
    filled = fill_rows(run, rows, **how)
    if path.suffix == ".npz":
        return report.save_images(filled if how["draws"] else filled[0], path)
    seen, (low, high) = run.spec.values.inverse(rows.x()), run.spec.ends or (0.0, 1.0)
    shown = (filled - low) / (high - low)
    names = [f"draw {number}" for number in range(1, 1 + how["draws"])] or ["filled"]
    if not path.suffix:
        within = [name for name in names for _ in seen] if how["draws"] else []
        return report.save_folder(shown.flatten(0, 1), path, within)
    kinds = {"seen": seen, **dict(zip(names, shown, strict=True))}
    return report.save_images(seen, path, draw=lambda: report.pairs(kinds))


def neighbors(
    run: Path,
    /,
    *,
    data: str | None = None,
    k: Annotated[int, Parameter(name=["-k", "--k"], converter=whole)] = 10,
    id: str | None = None,  # noqa: A002
    split: str = "test",
    among: str = "train",
    to: Output = Output(),
    opening: Rows = Rows(),
) -> Path:
    """Find the rows that are nearest by their codes: of new rows, or of a split, among others.

    A .csv has k lines for each row; of images a .png shows the first rows, each with its neighbors.

    Example: vaekit neighbors runs/vae-photos --data new/ -k 10

    Args:
        data: New rows: a folder, a .zip, an image, an array, a table, or a data set's name.
        k: How many neighbors.
        id: The column of a table that names its rows.
        split: Without new rows: test, validation or train.
        among: Where neighbors are looked for: train, validation, test, or a path.
    """
    path = to.at(run, "neighbors.csv")
    loaded = opening.load(run, k=k)
    _check_sheet(loaded, path)
    known = loaded.dataset(opening.data_dir)
    if data is not None:
        rows = loaded.read(data, id=id, data_dir=opening.data_dir)
    else:
        rows = choose("split", split, known.splits)
    if among in known.splits or not Path(among).exists():
        others = choose("split", among, known.splits)
    else:
        others = loaded.read(among, id=id, data_dir=opening.data_dir)
    found = report.neighbors(loaded, rows, others, k)
    if path.suffix != ".png":
        table = report.neighbor_table(found, rows, others, tuple(loaded.class_names))
        return report.save_columns(table, path)
    images = report.neighbor_images(loaded, found, rows, others)
    _some(len(rows), len(images), "near.csv")
    names = range(len(images)) if rows.ids is None else rows.ids
    bands = [(str(name), each) for name, each in zip(names, images, strict=False)]
    heads = ["row", *map(str, range(1, k + 1))]
    draw = lambda: report.labeled(bands, k + 1, heads=heads, apart=[1])  # noqa: E731
    return report.save_images(images.flatten(0, 1), path, draw=draw)


def colorize(
    source: Path,
    /,
    *,
    colorizer: Path,
    n: MaybeNumber = None,
    reconstruct: bool = False,
    label: str | None = None,
    columns: MaybeWhole = None,
    seed: Whole = 0,
    to: Output = Output(),
    opening: Rows = Rows(),
) -> Path:
    """Color gray images: samples of a run, or those in an .npz.

    In a .png, each row of gray images has its colors right under it; an .npz has the colors.

    Example: vaekit colorize runs/vae-faces --colorizer runs/colorizer-faces

    Args:
        source: A run folder, or an .npz of gray images that a command wrote.
        colorizer: The run folder of a colorizer.
        n: How many; by default 16, or all of an .npz.
        reconstruct: Reconstruct test images, in place of drawing samples.
    """
    painter = Opening(device=opening.device).load(colorizer, n=n, columns=columns)
    vaekit.runs.colorizer_of(painter)
    chosen: dict[str, Any] = {"reconstruct": reconstruct, "label": label}
    gray = _gray(source, opening, n, seed, chosen)
    images = report.colorize(painter, gray)
    out = to.at(colorizer, "colored.png")
    if out.suffix == ".npz":
        return report.save_images(images, out)
    kinds = {"gray": gray.expand(-1, 3, -1, -1), "colored": images}
    return report.save_images(images, out, draw=lambda: report.pairs(kinds, columns))


def _gray(source: Path, opening: Rows, n: int | None, seed: int, chosen: dict[str, Any]) -> Tensor:
    """Return the gray images of an .npz, or those that a run makes."""
    if source.suffix != ".npz":
        how = {**chosen, "seed": seed, "data_dir": opening.data_dir}
        return report.gray_images(opening.load(source), n or 16, **how)
    for name, value in {**chosen, "weights": opening.weights}.items():
        if value:
            raise VaekitError(f"got `{name}`, which is for a run; {source} is a file: leave it.")
    return report.gray_file(source)[:n]
