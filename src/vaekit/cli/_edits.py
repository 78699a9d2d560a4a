"""The commands that change rows by way of their codes: each returns the file that it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import vaekit
from vaekit import report
from vaekit.cli._samples import ROWS, check_row, save_made
from vaekit.cli._show import MaybeNumber, Output, Rows, Whole, say
from vaekit.errors import VaekitError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from vaekit.data import Split
    from vaekit.runs import Run


ACROSS, MOST = 8, 16  # images side by side, and rows of a sheet


def interpolate(
    run: Path,
    /,
    *rows: str,
    n: MaybeNumber = None,
    id: str | None = None,  # noqa: A002
    steps: Whole = 10,
    kind: str = "linear",
    seed: Whole = 0,
    to: Output = Output(),
    opening: Rows = Rows(),
) -> Path:
    """Walk from one image to another in the latent, a row a pair: of new ones, or test images.

    The two images stand at the ends of their row, beside their reconstructions at 0 and 1; an .npz
    has the walk alone. Rows of a table walk into a .csv.

    Example: vaekit interpolate runs/vae-photos a.png b.png -o walk.png

    Args:
        rows: New images in pairs, as a.png b.png; or a folder, a .zip, an array, a table.
        n: How many pairs; by default five, or as many as there are.
        id: The column of a table that names its rows.
        kind: linear or spherical.
        seed: The seed of the choice of test images.
    """
    loaded = opening.load(run, n=n)
    import torch

    if len(rows) > 1 and len(rows) % 2:
        raise VaekitError(f"got {len(rows)} images; expected pairs: from where and to where.")
    if rows:
        test = _read(loaded, rows, opening, id)
        order = torch.arange(len(test))
    else:
        test = loaded.dataset(opening.data_dir).test
        order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    most = len(test) // 2
    if not most:
        raise VaekitError("got one image; expected pairs: from where and to where.")
    n = min(most if len(rows) > 1 else 5, most) if n is None else n
    if not 0 < n <= most:
        raise VaekitError(
            f"got `n={n}`; {len(test)} {'new' if rows else 'test'} rows make {most} pairs at most."
        )
    order = order[: 2 * n]
    x, context = test.batch(order.view(-1, 2).T.flatten() if rows else order)
    ends = None if context is None else (context[:n], context[n:])
    images = report.interpolate(loaded, x[:n], x[n:], steps=steps, kind=kind, context=ends)
    first, last = (loaded.spec.values.inverse(part) for part in (x[:n], x[n:]))
    heads = ["input", *(f"{step / (steps - 1):.2g}" for step in range(steps)), "input"]

    def draw(images: Tensor) -> Image:
        walks = zip(first, images.split(steps), last, strict=True)
        bands = [("", torch.cat([a[None], walk, b[None]])) for a, walk, b in walks]
        return report.labeled(bands, steps + 2, heads=heads, together=n, apart=(1, steps + 1))

    path = to.at(run, "interpolation" + _ending(loaded))
    more: dict[str, Any] = {"pair": [pair for pair in range(n) for _ in range(steps)]}
    more |= {"at": [round(step / (steps - 1), 6) for step in range(steps)] * n}
    return save_made(loaded, images.flatten(0, 1), path, draw=draw, drawn=False, more=more)


def edit(
    run: Path,
    /,
    *rows: str,
    toward: tuple[tuple[str, float], ...] = (),
    n: MaybeNumber = None,
    id: str | None = None,  # noqa: A002
    steps: Whole = 6,
    to: Output = Output(),
    opening: Rows = Rows(),
) -> Path:
    """Move images toward a class: new ones, or test images, in steps, a row each.

    The way is the mean code of training rows of the class less that of all others. Of a run that
    is conditioned on labels the label is changed instead. Into a folder, as -o new/, the last step
    of each is a file of its own; rows of a table move into a .csv.

    Example: vaekit edit runs/vae-avatars a.png --toward glasses 1.5 -o edited.png

    Args:
        rows: New images, as a.png b.png; or a folder, a .zip, an array, a table.
        toward: A class, or a factor of the data, and a strength: 1 is the whole way, below 0 leads
            away. Again for another.
        n: How many; by default all new ones, of which a .png shows 16, or eight test images.
        id: The column of a table that names its rows.
        steps: How many, from no change to the whole one.
    """
    loaded = opening.load(run, n=n)
    import torch

    if not toward:
        raise VaekitError(
            "got no `toward`; expected a class and a strength, as --toward glasses 1.5."
        )
    strengths = dict(toward)
    if len(strengths) < len(toward):
        raise VaekitError("got the same class twice in `toward`: give it one strength.")
    path = to.at(run, "edited" + _ending(loaded))
    chosen = _read(loaded, rows, opening, id) if rows else loaded.dataset(opening.data_dir).test
    if not rows or n is not None:
        chosen = chosen.take(vaekit.data.spread(len(chosen), n or 8))
    chosen = chosen if n else _few(chosen, path)
    x, context = chosen.batch()
    how: dict[str, Any] = {"context": context, "data_dir": opening.data_dir, "steps": steps}
    images = loaded.edit(x, strengths, **how)
    names = [str(name) for name in range(len(x))] if chosen.ids is None else chosen.ids.tolist()
    if path.suffix in ROWS:
        return save_made(loaded, images[:, -1], path, drawn=False, more={"row": names})
    if not path.suffix and not loaded.spec.is_table:
        seen = loaded.spec.values.inverse(images[:, -1])
        return report.save_folder(seen, path, names=[Path(str(name)).stem for name in names])
    heads = ["input", *(f"{share:.0%}" for share in torch.linspace(0, 1, steps).tolist())]
    words = ", ".join(f"{name} {value:g}" for name, value in strengths.items()).replace("-", "−")
    before = loaded.spec.values.inverse(x)

    def draw(images: Tensor) -> Image:
        walks = zip(names, before, images.split(steps), strict=True)
        bands = [(str(name), torch.cat([a[None], walk])) for name, a, walk in walks]
        over = f"E[x|z], of z toward {words}"
        together = len(x)
        return report.labeled(
            bands, steps + 1, heads=heads, over=over, together=together, apart=(1,)
        )

    return save_made(loaded, images.flatten(0, 1), path, draw=draw)


def alike(
    run: Run,
    like: str,
    n: int,
    path: Path,
    opening: Rows,
    *,
    name: str | None,
    variety: float | None,
    words: str,
    **how: Any,
) -> Path:
    """Write what is drawn like a row, or new ones, whose names are in the column `name`."""
    import torch

    if like.isdecimal() and not Path(like).exists():
        test = run.dataset(opening.data_dir).test
        check_row(int(like), len(test))
        rows = test.take(torch.tensor([int(like)]))
    else:
        rows = _few(_read(run, (like,), opening, name), path)
    x, context = rows.batch()
    made = run.sample(n, like=x, context=context, variety=variety, **how)
    names = [str(name) for name in range(len(x))] if rows.ids is None else rows.ids.tolist()
    if not path.suffix and not run.spec.is_table:
        called = [
            f"{Path(str(name)).stem}-{i:0{len(str(n - 1))}}" for name in names for i in range(n)
        ]
        return report.save_folder(run.spec.values.inverse(made), path, names=called)
    given, again = map(run.spec.values.inverse, (x, run.reconstruct(x, context)))

    under = f"variety {vaekit.runs.VARIETY if variety is None else variety:g}"

    def draw(images: Tensor) -> Image:
        bands = []
        for name, *both, part in zip(names, given, again, images.split(n), strict=True):
            bands += [(f"{name}\nand E[x|z]", torch.stack(both)), (under, part)]
        return report.labeled(bands, min(n, ACROSS), over=words)

    more = {"like": [name for name in names for _ in range(n)]}
    return save_made(run, made, path, draw=draw, more=more, drawn=not how.get("mean"))


def _read(run: Run, rows: tuple[str, ...], opening: Rows, name: str | None) -> Split:
    """Return new rows; `name` is the column that names them."""
    new = rows[0] if len(rows) == 1 else list(rows)
    return run.read(new, id=name, data_dir=opening.data_dir)


def _few(rows: Split, path: Path) -> Split:
    """Return as many rows as a sheet shows; all for other files."""
    if path.suffix != ".png" or len(rows) <= MOST:
        return rows
    say(f"{path} shows the first {MOST} of {len(rows):,} rows; an .npz or a folder has all.")
    return rows.take(vaekit.data.spread(len(rows), len(rows))[:MOST])


def _ending(run: Run) -> str:
    """Return what a file ends in that nobody has named."""
    return ".csv" if run.spec.is_table else ".png"
