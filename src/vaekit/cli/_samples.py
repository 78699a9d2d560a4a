"""The commands that look at a trained model: each returns the file that it wrote."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vaekit
from vaekit import report
from vaekit.cli._show import (
    MaybeWhole,
    Number,
    Opening,
    Output,
    Rows,
    Whole,
    say,
    start,
)
from vaekit.errors import VaekitError

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
    like: str | None = None,
    variety: float | None = None,
    id: str | None = None,  # noqa: A002
    seed: Whole = 0,
    set_: tuple[str, ...] = (),
    given: tuple[str, ...] = (),
    opening: Rows = Rows(),
) -> Path:
    """Draw new images, or new rows of a table: a grid (.png), arrays, or a .csv of such rows.

    Into a folder, as -o new/, each image is a file of its own, by class where it has one.

    z is drawn from the prior fitted to the codes of training rows, where that suits held-out codes
    better than p(z). A run that is conditioned on labels draws one --label, or a row for each
    class. With --like they are like a row.

    Example: vaekit sample runs/vae-mnist -n 64 -o samples.png

    Args:
        like: Draw around this test row, by its number, or around new ones: an image, a folder, a
            table.
        variety: How unlike that row they may be, 0 to 1: 0 draws z from q(z|x), 1 a new one; by
            default 0.3.
        id: The column that names the rows of a table.
        draws: Draw x, in place of its mean E[x|z]; by default of tables alone.
        prior: model: draw z from p(z); fitted: from the other, even where it is no better.
        given: The value of a column that the run is conditioned on, as plate=P7.
    """
    loaded = opening.load(run, n=n)
    fixed = report.settings(set_)
    drawn = loaded.spec.is_table if draws is None else draws
    how: Any = {"mean": not drawn, "seed": seed, "fixed": fixed, "prior": prior}
    edits = ", ".join(f"z{dim} = {value:g}" for dim, value in fixed.items()).replace("-", "−")
    table, classes = loaded.spec.is_table, loaded.class_names
    path = to.at(run, "samples.csv" if table else "samples.png")
    if like is not None:
        from vaekit.cli._edits import alike

        how |= {"label": label, "variety": variety, "name": id}
        return alike(loaded, like, n, path, opening, words=edits, **how)
    how["covariates"] = dict(_pair(word) for word in given)
    for name, value in {"variety": variety, "id": id}.items():
        if value is not None:
            raise VaekitError(f"`{name}` is of draws that are `like` a row: name one, or leave it.")
    fitted = loaded.sampled_prior(prior)
    if label is not None or table:
        images, columns = loaded.sample(n, label=label, **how), None
    else:
        images, columns = report.sample_images(loaded, n, **how)

    def draw(images: Tensor) -> Image:
        rows = [("", images)]
        if columns:
            rows = list(zip(loaded.class_names, images.split(columns), strict=True))
        one_z = columns and not (fitted and fitted.told)
        over = "; ".join(filter(None, ("each column: one z" if one_z else "", edits)))
        many = columns or report.columns_of(len(images))
        under = "draws of x" if drawn else "E[x|z], means of x: not draws"
        return report.labeled(rows, many, over=over, under=under, together=len(rows))

    named: list[Any] = []
    if loaded.conditional:  # in equal shares, as `Run.sample` draws them
        number = None if label is None else vaekit.data.label_of(label, loaded.spec, classes)
        shares = [row * len(classes) // len(images) for row in range(len(images))]
        named = [classes[each if number is None else number] for each in shares]
    more = {loaded.config.data.label or "label": named} if named else {}
    if not path.suffix and not table:
        seen = loaded.spec.values.inverse(images)
        return report.save_folder(seen, path, [*map(str, named)])
    save_made(loaded, images, path, draw=draw, drawn=drawn, more=more)
    if fitted:
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
    A one-hot variable has a row of all its categories, in columns.

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
    z, context = _center(loaded, data, row, fixed, label)
    values = torch.linspace(low, high, steps)
    taken = {dim for place in report.variables(loaded) for dim in range(place.start, place.stop)}
    if named := taken & {*(dims or ())}:
        raise VaekitError(
            f"dimension {min(named)} is of a one-hot variable, of which each category is shown: "
            "leave it."
        )
    chosen = report.strongest(latent, dims, all_dims=all_, but=taken)
    bands = report.categories(loaded, z, context)
    names = [f"variable {number}" for number in range(len(bands))]
    if chosen:
        images = report.traverse(loaded, z, chosen, values, context)
        effects = report.effects(latent, chosen, images)
        say(report.effect_table(latent, effects))
        bands, names = [*images, *bands], [*(effect.label for effect in effects), *names]

    def draw(images: Tensor) -> Image:
        rows = list(zip(names, images.split([len(band) for band in bands]), strict=True))
        heads = [] if taken else [report.short(round(value, 2)) for value in values.tolist()]
        return report.labeled(rows, max(map(len, bands)), heads=heads)

    return save_made(loaded, torch.cat(bands), to.at(run, "traversal.png"), draw=draw)


def _center(
    run: Run, data: Dataset, row: int | None, fixed: dict[int, float], label: str | None
) -> tuple[Tensor, Tensor | None]:
    """Return the code that a traversal goes around, `(*Z)`, and its context."""
    import torch

    context, shapes = _context(run, label), run.latent_shapes
    z = torch.zeros(shapes[0] if len(shapes) == 1 else (run.latent_size,))
    if row is not None:
        check_row(row, len(data.test))
        x, row_context = data.test.batch(slice(row, row + 1))
        z, context = run.encode(x, row_context)[0], row_context if label is None else context
    for place in report.variables(run):  # draws are one-hot, and means are not
        z.view(-1)[place] = torch.eye(place.stop - place.start)[z.view(-1)[place].argmax()]
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

    return save_made(loaded, images.flatten(0, 1), to.at(run, "manifold.png"), draw=draw)


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
    vaekit.runs.check_reals(loaded, "one-hot")
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
        check_row(row, len(test))
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


def _pair(word: str) -> tuple[str, str]:
    """Return the name and the value of NAME=VALUE."""
    name, equals, value = word.partition("=")
    if not (name and equals and value):
        raise VaekitError(f"got `given={word}`; expected NAME=VALUE, as plate=P7.")
    return name, value


def _context(run: Run, label: str | None) -> Tensor | None:
    """Return the context of a label; without one that of the first class, if there are classes."""
    return None if label is None and not run.spec.context else run.context(label)


def check_row(row: int, rows: int) -> None:
    if not 0 <= row < rows:
        raise VaekitError(f"there is no test row {row}; there are 0 to {rows - 1}.")


def _figure(to: Output, run: Path, name: str) -> Path:
    path = to.at(run, name)
    if path.suffix not in (".png", ".svg"):
        raise VaekitError(f"got the file {path}; expected one that ends in .png or .svg.")
    return path


def save_made(
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
