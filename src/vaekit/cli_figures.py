"""The commands that draw figures of a run: its film, its codes, its latent line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import vaekit
from vaekit.cli_output import DataDir, Device, RunPath, Weights, Whole, say, start
from vaekit.errors import VaekitError

__all__ = ["animate", "overlap", "scatter"]

Picture = Annotated[Path, Parameter(name=["--out", "-o"], help="Where it goes: .png or .svg.")]


def animate(
    run: RunPath,
    /,
    *,
    what: Annotated[str, Parameter(help="reconstructions or samples.")] = "reconstructions",
    out: Annotated[
        Path | None,
        Parameter(name=["--out", "-o"], help="Where it goes: .gif or .webp; else WHAT.gif."),
    ] = None,
    fps: Annotated[float, Parameter(help="Frames per second.")] = 8.0,
) -> None:
    """A film of the training: the same images, or draws, after each epoch."""
    start()
    from vaekit.report.animation import animation, film_suffix, training_frames
    from vaekit.report.files import write_file
    from vaekit.training.folder import RunFolder

    path = out or Path(f"{what}.gif")
    suffix = film_suffix(path)
    frames = training_frames(RunFolder(run), what)
    say(str(write_file(path, animation(frames, suffix=suffix, fps=fps))))


def scatter(
    run: RunPath,
    /,
    *,
    n: Annotated[
        Whole, Parameter(name=["-n", "--number"], help="Test rows, evenly spread.")
    ] = 2000,
    out: Picture = Path("scatter.png"),
    weights: Weights = None,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """The codes of test rows in the colours of their classes, with posteriors as ellipses.

    Of a latent of more than two dimensions, those two in which codes vary most; of one, a line for
    each class.
    """
    start()
    _check_picture(out)
    if n < 1:
        raise VaekitError(f"got -n {n}; expected at least 1.")
    loaded = vaekit.load(run, weights=weights, device=device)
    from vaekit.data import spread
    from vaekit.report.codes import Codes, class_figure
    from vaekit.report.figures import save_figure
    from vaekit.report.posteriors import fixed_rows, posteriors, standard_prior

    data = loaded.dataset(data_dir)
    rows = data.test.take(spread(len(data.test), n))
    means, scales = posteriors(loaded, fixed_rows(rows), rows.given)
    codes = Codes(means, rows.labels, data.class_names, scales=scales, prior=standard_prior(loaded))
    say(str(save_figure(lambda: class_figure(codes, size=(560, 460), title=codes.words), out)))


def overlap(
    run: RunPath,
    /,
    *,
    rows: Annotated[tuple[int, int], Parameter(consume_multiple=True, help="Two test rows.")] = (
        0,
        1,
    ),
    out: Picture = Path("overlap.png"),
    weights: Weights = None,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """The posteriors of two test images on the line of a one-dimensional latent.

    Above them the images, and the image decoded between the two; under them the line, decoded.
    """
    start()
    _check_picture(out)
    loaded = vaekit.load(run, weights=weights, device=device)
    import torch

    from vaekit.report.figures import save_figure
    from vaekit.report.overlap import overlap_figure
    from vaekit.report.posteriors import fixed_rows

    test = loaded.dataset(data_dir).test
    for row in rows:
        if not 0 <= row < len(test):
            raise VaekitError(f"there is no test row {row}; there are 0 to {len(test) - 1}.")
    x = fixed_rows(test, torch.tensor(rows))
    given = None if test.given is None else test.given[list(rows)]
    names = (f"test row {rows[0]}", f"test row {rows[1]}")
    say(str(save_figure(lambda: overlap_figure(loaded, x, names, given), out)))


def _check_picture(path: Path) -> None:
    if path.suffix not in (".png", ".svg"):
        raise VaekitError(f"got the file {path}; expected one that ends in .png or .svg.")
