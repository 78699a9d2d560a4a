"""The commands that look at a trained model or apply it: each returns the file that it wrote."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

import vaekit
from vaekit import report
from vaekit.cli._show import (
    MaybeNumber,
    MaybeWhole,
    Number,
    Opening,
    Output,
    Rows,
    Whole,
    say,
    start,
    whole,
)
from vaekit.errors import VaekitError, choose

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from vaekit.data import Dataset
    from vaekit.runs import Run


ROWS = (".csv", ".parquet")  # what rows of a table are written to


def sample(
    run: Path,
    /,
    *,
    n: Number = 64,
    label: str | None = None,
    to: Output = Output(),
    draws: bool | None = None,
    prior: str | None = None,
    seed: Whole = 0,
    set_: tuple[str, ...] = (),
    opening: Opening = Opening(),
) -> Path:
    """Draw new images, or new rows of a table: a grid (.png), arrays, or a .csv of such rows.

    Into a folder, as -o new/, each image is a file of its own, by class where it has one.

    z is drawn from the prior fitted to the codes of training rows, where that suits held-out codes
    better than p(z). A run that is conditioned on labels draws one --label, or a row for each
    class.

    Example: vaekit sample runs/vae-mnist -n 64 -o samples.png

    Args:
        draws: Draw x, in place of its mean E[x|z]; by default of tables alone.
        prior: model: draw z from p(z); fitted: from the other, even where it is no better.
    """
    loaded = opening.load(run, n=n)
    fixed = report.settings(set_)
    drawn = loaded.spec.is_table if draws is None else draws
    how: Any = {"mean": not drawn, "seed": seed, "fixed": fixed, "prior": prior}
    edits = ", ".join(f"z{dim} = {value:g}" for dim, value in fixed.items()).replace("-", "−")
    table, classes = loaded.spec.is_table, loaded.class_names
    if label is not None or table:
        images, columns = loaded.sample(n, label=label, **how), None
    else:
        images, columns = report.sample_images(loaded, n, **how)

    def draw(images: Tensor) -> Image:
        rows = [("", images)]
        if columns:
            rows = list(zip(loaded.class_names, images.split(columns), strict=True))
        over = "; ".join(filter(None, ("each column: one z" if columns else "", edits)))
        many = columns or report.columns_of(len(images))
        under = "draws of x" if drawn else "E[x|z], means of x: not draws"
        return report.labeled(rows, many, over=over, under=under, together=len(rows))

    named: list[Any] = []
    if loaded.conditional:  # in equal shares, as `Run.sample` draws them
        number = None if label is None else vaekit.data.label_of(label, loaded.spec, classes)
        shares = [row * len(classes) // len(images) for row in range(len(images))]
        named = [classes[each if number is None else number] for each in shares]
    more = {loaded.config.data.label or "label": named} if named else {}
    path = to.at(run, "samples.csv" if table else "samples.png")
    if not path.suffix and not table:
        seen = loaded.spec.values.inverse(images)
        return report.save_folder(seen, path, [*map(str, named)])
    _save(loaded, images, path, draw=draw, drawn=drawn, more=more)
    if fitted := loaded.sampled_prior(prior):
        say(f"samples: prior {fitted}")
    return path


def reconstruct(
    run: Path,
    /,
    *,
    data: str | None = None,
    n: Number = 16,
    to: Output = Output(),
    opening: Rows = Rows(),
) -> Path:
    """Reconstruct test images, or new ones: each above its E[x|z].

    Of a table: a .csv of E[x|z] in the units of the file. Of a colorizer: true colors, what it
    sees of them, and its colors E[x|g].

    Example: vaekit reconstruct runs/vae-mnist -n 16

    Args:
        data: New images: a folder, a .zip, an image, an array.
    """
    loaded = opening.load(run, n=n)
    new = None if data is None else loaded.read(data, data_dir=opening.data_dir)
    test = loaded.dataset(opening.data_dir).test if new is None else new
    shown = vaekit.data.spread(len(test), n)
    originals, context = test.batch(shown)
    images = loaded.reconstruct(originals, context)
    path = to.at(run, "reconstructions" + (".csv" if loaded.spec.is_table else ".png"))
    x, again = map(loaded.spec.values.inverse, (originals, images))
    kinds = {"x": x, "E[x|z]": again}
    if loaded.config.recipe == "colorizer":
        gray = vaekit.luminance(x).expand_as(x)
        kinds = {"true": x, "gray g": gray, "E[x|g]": again}
    if path.suffix in ROWS:
        more = {} if test.ids is None else {"row": test.ids[shown.numpy()]}
        dates = loaded.config.data.date
        return report.save_rows(loaded.spec, images, path, drawn=False, dates=dates, more=more)
    draw, ends = partial(report.pairs, kinds), loaded.spec.ends
    return report.save_images(x, path, again, draw=draw, ends=ends)


def interpolate(
    run: Path,
    /,
    *,
    data: tuple[str, ...] = (),
    n: MaybeNumber = None,
    steps: Whole = 10,
    kind: str = "linear",
    seed: Whole = 0,
    to: Output = Output(),
    opening: Rows = Rows(),
) -> Path:
    """Walk from one test image to another in the latent, a row a pair.

    The two images stand at the ends of their row, beside their reconstructions at 0 and 1; an .npz
    has the walk alone.

    Example: vaekit interpolate runs/vae-mnist --kind spherical

    Args:
        data: New images, in pairs: two files or more, or what `vaekit encode` takes.
        n: How many pairs; by default five, or as many as there are.
        kind: linear or spherical.
        seed: The seed of the choice of images.
    """
    loaded = opening.load(run, n=n)
    import torch

    if data:
        new = data[0] if len(data) == 1 else list(data)
        test = loaded.read(new, data_dir=opening.data_dir)
        order = torch.arange(len(test))
    else:
        test = loaded.dataset(opening.data_dir).test
        order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    most = len(test) // 2
    n = min(5, most) if n is None else n
    if not 0 < n <= most:
        raise VaekitError(
            f"got `n={n}`; {len(test)} {'new' if data else 'test'} rows make {most} pairs at most."
        )
    order = order[: 2 * n]
    x, context = test.batch(order.view(-1, 2).T.flatten() if data else order)
    ends = None if context is None else (context[:n], context[n:])
    images = report.interpolate(loaded, x[:n], x[n:], steps=steps, kind=kind, context=ends)
    first, last = (loaded.spec.values.inverse(part) for part in (x[:n], x[n:]))
    heads = ["input", *(f"{step / (steps - 1):.2g}" for step in range(steps)), "input"]

    def draw(images: Tensor) -> Image:
        walks = zip(first, images.split(steps), last, strict=True)
        rows = [("", torch.cat([a[None], walk, b[None]])) for a, walk, b in walks]
        return report.labeled(rows, steps + 2, heads=heads, together=n, apart=(1, steps + 1))

    return _save(loaded, images.flatten(0, 1), to.at(run, "interpolation.png"), draw=draw)


def traverse(
    run: Path,
    /,
    *,
    dims: tuple[int, ...] | None = None,
    all_: bool = False,
    steps: Whole = 10,
    low: float = -3.0,
    high: float = 3.0,
    row: MaybeWhole = None,
    set_: tuple[str, ...] = (),
    label: str | None = None,
    to: Output = Output(),
    opening: Rows = Rows(),
) -> Path:
    """Move one latent dimension at a time, and say what it does.

    Printed, and beside each row: its KL over test rows in nats, and how far it moves the image:
    the variance of E[x|z] along the row, a mean over pixels. Dead: Var E[z|x] is at most 0.01.

    Example: vaekit traverse runs/vae-mnist --row 3

    Args:
        dims: The dimensions; by default those in which codes vary most, at most ten.
        all_: Show every dimension.
        low: Where each dimension begins.
        high: Where each dimension ends.
        row: Go around the code of this test row, in place of z = 0.
    """
    loaded = opening.load(run, steps=steps)
    import torch

    fixed, data = report.settings(set_), loaded.dataset(opening.data_dir)
    latent = report.latent_of(loaded, data)
    chosen = report.strongest(latent, dims, all_dims=all_)
    z, context = _center(loaded, data, row, fixed, label)
    values = torch.linspace(low, high, steps)
    images = report.traverse(loaded, z, chosen, values, context)
    effects = report.effects(latent, chosen, images)
    say(report.effect_table(latent, effects))

    def draw(images: Tensor) -> Image:
        names = (effect.label for effect in effects)
        rows = list(zip(names, images.split(steps), strict=True))
        heads = [report.short(round(value, 2)) for value in values.tolist()]
        return report.labeled(rows, steps, heads=heads)

    return _save(loaded, images.flatten(0, 1), to.at(run, "traversal.png"), draw=draw)


def _center(
    run: Run, data: Dataset, row: int | None, fixed: dict[int, float], label: str | None
) -> tuple[Tensor, Tensor | None]:
    """Return the code that a traversal goes around, `(*Z)`, and its context."""
    import torch

    context, shapes = _context(run, label), run.latent_shapes
    z = torch.zeros(shapes[0] if len(shapes) == 1 else (run.latent_size,))
    if row is not None:
        _check_row(row, len(data.test))
        x, row_context = data.test.batch(slice(row, row + 1))
        z, context = run.encode(x, row_context)[0], row_context if label is None else context
    if fixed:
        z = vaekit.runs.fixed_at(z[None].to(run.device), fixed, run.prior(context))[0].cpu()
    return z, context


def manifold(
    run: Path,
    /,
    *,
    side: Whole = 20,
    label: str | None = None,
    to: Output = Output(),
    opening: Opening = Opening(),
) -> Path:
    """Decode the plane of a 2-dimensional latent on a grid.

    The grid is at quantiles of the prior N(0, 1), which stand beside it. Codes and decoded plane
    on the same even axes: `vaekit scatter RUN --plane`.

    Example: vaekit manifold runs/vae-mnist --side 20

    Args:
        side: Images along each side.
    """
    loaded = opening.load(run, side=side)
    images, axes = report.manifold(loaded, side, _context(loaded, label))

    def draw(images: Tensor) -> Image:
        return report.on_axes(images.unflatten(0, (side, side)), *axes)

    return _save(loaded, images.flatten(0, 1), to.at(run, "manifold.png"), draw=draw)


def scatter(
    run: Path,
    /,
    *,
    n: Number = 2000,
    plane: bool = False,
    label: str | None = None,
    to: Output = Output(),
    opening: Rows = Rows(),
) -> Path:
    """Plot codes in the colors of their classes, with their spread.

    Posteriors are ellipses. Of a latent of more than two dimensions it shows the two in which codes
    vary most; of one dimension, a line for each class.

    Example: vaekit scatter runs/vae-mnist -o codes.svg

    Args:
        n: Test rows, evenly spread.
        plane: Beside the codes, on the same axes, what is decoded there, of a latent of 2
            dimensions.
    """
    out = _figure(to, run, "scatter.png")
    loaded = opening.load(run, n=n)
    data = loaded.dataset(opening.data_dir)
    rows = data.test.take(vaekit.data.spread(len(data.test), n))
    means, scales = report.posteriors(loaded, rows)
    prior = report.standard_prior(loaded)
    codes = report.Codes(means, rows.labels, data.class_names, scales=scales, prior=prior)
    under = _context(loaded, label)
    if plane:
        return report.save_figure(lambda: report.plane_figure(loaded, codes, under), out)
    if label is not None:
        raise VaekitError("`label` is of what is decoded: name it with `plane`, or leave it.")
    return report.save_figure(lambda: report.class_figure(codes, title=codes.words), out)


def overlap(
    run: Path,
    /,
    *,
    rows: tuple[int, int] = (0, 1),
    to: Output = Output(),
    opening: Rows = Rows(),
) -> Path:
    """Plot two posteriors over the line of a 1-dimensional latent.

    Above them are the two test images, and the image decoded where their densities cross (half-way,
    where they do not meet); below, the decoded line.

    Example: vaekit overlap runs/vae-one --rows 0 7

    Args:
        rows: Two test rows.
    """
    out = _figure(to, run, "overlap.png")
    loaded = opening.load(run)
    import torch

    test = loaded.dataset(opening.data_dir).test
    for row in rows:
        _check_row(row, len(test))
    x = report.fixed_rows(test, torch.tensor(rows))
    context = None if test.context is None else test.context[list(rows)]
    names = (f"test row {rows[0]}", f"test row {rows[1]}")
    return report.save_figure(lambda: report.overlap_figure(loaded, x, names, context), out)


def animate(
    run: Path,
    /,
    *,
    what: str = "reconstructions",
    epochs: str | None = None,
    to: Output = Output(),
    fps: float = 8.0,
) -> Path:
    """Make a film of the training: the same images after each epoch.

    Example: vaekit animate runs/vae-mnist --what samples --epochs log

    Args:
        what: reconstructions or samples.
        epochs: Those that are shown, as 0,1,2,5,10; log: 0, 1, 2, 3, 5, 8, 13, ... and the last. By
            default all that were kept.
        fps: Frames per second.
    """
    start()
    path = to.at(run, f"{what}.gif")
    return report.save_film(vaekit.runs.RunFolder(run), path, what, fps=fps, epochs=epochs)


def encode(
    run: Path,
    /,
    *,
    data: str | None = None,
    id: str | None = None,  # noqa: A002
    split: str = "test",
    to: Output = Output(),
    opening: Rows = Rows(),
) -> Path:
    """Encode new rows, or a split of the training's data: means and deviations of z, row by row.

    New rows are scaled as those of the training were; columns of a table go by their names. Each
    line begins with where the row comes from: a file's name, an identifier, a line of a table.

    Example: vaekit encode runs/vae-photos --data new/ -o codes.csv

    Args:
        data: New rows: a folder, a .zip, an image, an array, a table, or a data set's name.
        id: The column of a table that names its rows.
        split: Without new rows: test, validation or train.
    """
    loaded = opening.load(run)
    if data is not None:
        rows = loaded.read(data, id=id, data_dir=opening.data_dir)
    else:
        rows = choose("split", split, loaded.dataset(opening.data_dir).splits)
    return report.save_codes(loaded, rows, to.at(run, "codes.csv"))


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
    from vaekit.cli._progress import RowCount
    from vaekit.runs import score_rows

    path = to.at(run, "scores.csv")
    if path.suffix not in (".csv", ".parquet", ".npz"):
        raise VaekitError(f"got the file {path}; expected one that ends in .csv, .parquet or .npz.")
    loaded = opening.load(run)
    how: dict[str, Any] = {"split": split, "samples": samples, "limit": limit, "seed": seed}
    how |= {"threshold": threshold, "odd": odd, "label": label, "id": id}
    counted = RowCount() if sys.stderr.isatty() else None
    scored = score_rows(loaded, data, data_dir=opening.data_dir, on_rows=counted, **how)
    for line in scored.lines():
        say(line)
    return report.save_columns(scored.table(), path)


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
    """Fill in the gaps of new rows of a table, given what is seen of each.

    With the mean of what is missing, or --draws of it, which all are written. What is seen stays.

    Example: vaekit impute runs/vae-wine --data gaps.csv -o filled.csv

    Args:
        data: New rows: a table with empty cells.
        id: The column of a table that names its rows.
        samples: Draws of z for each row.
        draws: Draws of each row; 0 for the mean.
    """
    path = to.at(run, "filled.csv")
    loaded = opening.load(run)
    how: dict[str, Any] = {"id": id, "samples": samples, "draws": draws, "seed": seed}
    table = loaded.impute(data, data_dir=opening.data_dir, **how)
    return report.save_columns(
        {str(name): table[name].to_numpy() for name in table}, path, digits=None
    )


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
    if loaded.spec.is_table:
        raise VaekitError(f"{path} is an image, and rows of a table are none: name a .csv.")
    images = report.neighbor_images(loaded, found, rows, others)
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


def _context(run: Run, label: str | None) -> Tensor | None:
    """Return the context of a label; without one that of the first class, if there are classes."""
    if label is not None:
        return run.context(label)
    return run.context(run.class_names[0]) if run.conditional else None


def _check_row(row: int, rows: int) -> None:
    if not 0 <= row < rows:
        raise VaekitError(f"there is no test row {row}; there are 0 to {rows - 1}.")


def _figure(to: Output, run: Path, name: str) -> Path:
    path = to.at(run, name)
    if path.suffix not in (".png", ".svg"):
        raise VaekitError(f"got the file {path}; expected one that ends in .png or .svg.")
    return path


def _save(
    run: Run,
    x: Tensor,
    path: Path,
    draw: Callable[[Tensor], Image] | None = None,
    **rows: Any,
) -> Path:
    """Write images or rows of a run in the units of its data; `draw` makes a sheet of these."""
    if path.suffix in ROWS and run.spec.is_table:
        return report.save_rows(run.spec, x, path, dates=run.config.data.date, **rows)
    seen, ends = run.spec.values.inverse(x), run.spec.ends
    return report.save_images(seen, path, draw=partial(draw, seen) if draw else None, ends=ends)
