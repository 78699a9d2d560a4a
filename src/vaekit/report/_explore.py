"""One page that holds a model: a latent to move through, without a network or a program."""

from __future__ import annotations

import base64
import copy
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaekit._io import write
from vaekit._torchutil import evaluating, rng
from vaekit.data import Dataset, Split, spread
from vaekit.distributions import Offer
from vaekit.errors import VaekitError
from vaekit.models import LatentModel, exact, flat_codes, split_codes
from vaekit.report._around import BASES, LINES, around, contexts, near, principal
from vaekit.report._curves import CSS
from vaekit.report._engine import ENGINE, Decodes, Encodes, Pack, in_node, in_torch, read_net
from vaekit.report._pages import address, render, sheet, small, words
from vaekit.report._rounding import BYTE, WORD, Layer, layers_of, rounded, watched, with_layers
from vaekit.runs import Run

ROWS, SEEN, CHECKED = 1000, 2000, 100  # test rows as points; rows for rounding; rows of the check
VALUES = 4_000_000  # most values that are checked
DRAWS, STARTS, SLIDERS, AXES = 400, 12, 48, 8  # draws of z; rows to begin at; dims; principal axes
BATCH, SIDES = 64, (112, 64)  # codes decoded at once; most pixels a side of images decoded before
LEVELS = (30, 40, 50, 63, BYTE, WORD)  # the largest number of a weight, from coarse to fine
MOST = 0.02  # the difference, of the range of the data, that asks for finer ones
LARGE, SLOW, HEAVY = 20_000_000, 0.15, 20_000_000  # most weights, seconds of a decode, bytes
ACTIVE = 0.01  # variance of a dimension of codes that says something
UNITS = torch.linspace(-6, 6, 49)  # places at which a column's units are known
HERE = ENGINE.parent


@dataclass(frozen=True)
class Explorer:
    """A page that was written.

    Attributes:
        path: where it is.
        bits: of a weight; 0 where the page holds no weights.
        difference: the largest one to the model's own numbers, of the range of the data.
        seconds: of one decode in node; None without node.
        decoded: how many codes were decoded beforehand, of a model too large for a page.
    """

    path: Path
    bits: int
    difference: float
    seconds: float | None
    decoded: int = 0

    def __str__(self) -> str:
        """Return its size and how exact it is, in words."""
        how = "" if self.seconds is None else f", {1000 * self.seconds:.0f} ms a decode"
        large = f"the model is too large for a page: {self.decoded} codes decoded beforehand"
        held = large if self.decoded else f"weights of {self.bits} bits"
        return (
            f"{self.path.stat().st_size / 1e6:.1f} MB, {held}: values differ from the run's by at "
            f"most {255 * self.difference:.1f} of 255 gray values, or as much of a column's "
            f"range{how}"
        )


class _Contents(NamedTuple):
    """What goes into a page: arrays, what its script knows, and how exact it is."""

    pack: Pack
    known: dict[str, Any]
    difference: float
    bits: int = 0
    seconds: float | None = None
    decoded: int = 0


def explore(
    run: Run,
    path: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    lang: str = "en",
) -> Explorer:
    """Write a page that holds encoder and decoder: one file, which needs nothing else.

    Args:
        run: of a model with a latent of numbers or of codes, of images or tables.
        path: where to; by default explore.html in the run's folder.
        data_dir: where data sets lie.
        lang: of its words, "en" or "zh".

    Raises:
        VaekitError: for a model that no page holds: with what it has that a page cannot show.
    """
    _check(run)
    held = _Held.of(run, run.dataset(data_dir))
    large = sum(part.numel() for part in run.vae.parameters()) > LARGE
    contents = None if large else held.computed()
    html = b"" if contents is None else _page(held, contents, lang)
    if contents is None or (contents.seconds or 0) > SLOW or len(html) > HEAVY:
        if held.coded:
            raise VaekitError(
                f"{run.path} is too large for a page that paints codes: take `vaekit report`."
            )
        contents = held.decoded_before()
        html = _page(held, contents, lang)
    made = write(Path(path or run.folder.explorer), html)
    return Explorer(made, contents.bits, contents.difference, contents.seconds, contents.decoded)


def _page(held: _Held, contents: _Contents, lang: str) -> bytes:
    """Return the page as HTML."""
    run, say = held.run, words(lang).gettext
    title = say("Explore: {recipe} on {data}")
    return render(
        "explore.html.j2",
        lang=lang,
        style=CSS + (HERE / "explore.css").read_text(),
        report=(HERE / "explore.js").read_text(),
        engine=ENGINE.read_text(),
        title=title.format(recipe=run.config.recipe, data=run.spec.name),
        known=json.dumps(contents.known, separators=(",", ":")).replace("<", "\\u003c"),
        pack=base64.b64encode(zlib.compress(bytes(contents.pack.data), 9)).decode(),
        run=run,
        held=held,
        contents=contents,
        in_page=contents.known,
    )


def explorable(run: Run) -> bool:
    """Whether a page can show such data, and a way to move in such a latent."""
    with suppress(VaekitError):
        _check(run)
        return True
    return False


def _check(run: Run) -> None:
    """Refuse what no page shows, by its name."""
    run.require()
    kinds = {site.q.space.kind for site in run.vae.example(run.spec.context).sites}
    shape = run.spec.shape
    other = kinds - {"reals", "codes", "sphere", "ball"}
    if other or (len(kinds) > 1 and kinds != {"reals"}):
        raise VaekitError(
            f"{run.path} has a latent of kind {' and '.join(sorted(kinds))}, in which a page has "
            "no way to move: take `vaekit report`."
        )
    if run.spec.library:
        raise VaekitError(f"{run.path} is given the total of a row, which a page does not have.")
    if len(shape) != 1 and (len(shape) != 3 or shape[0] not in (1, 3)):
        raise VaekitError(f"{run.path} has rows of shape {shape}: no images, and no table.")


@dataclass(eq=False)
class _Held:
    """What a page holds of a run.

    Attributes:
        run: whose it is.
        model: on the CPU.
        data: whose test rows it shows.
        rows: test rows.
        x, context: these as the model sees them.
        codes, made: their flat codes `(N, D)`, and E[x|z] of the first of them.
    """

    run: Run
    model: LatentModel
    data: Dataset
    rows: Split
    x: Tensor
    context: Tensor | None
    codes: Tensor
    made: Tensor

    @classmethod
    def of(cls, run: Run, data: Dataset) -> _Held:
        """Encode test rows."""
        model = copy.deepcopy(run.vae).cpu().eval()
        rows = data.test.take(spread(len(data.test), ROWS))
        made = cls(run, model, data, rows, *rows.batch(), torch.empty(0), torch.empty(0))
        with torch.no_grad():
            found = [model.encode(x, context) for x, context in batches(made.x, made.context)]
            made.codes = torch.cat([flat_codes(each) for each in found]).float()
            few = max(2, min(CHECKED, VALUES // made.x[0].numel()))
            made.made = made.decoded(model, slice(few))
        return made

    @property
    def space(self) -> Any:
        """Where codes live."""
        return self.run.codes_space

    @property
    def coded(self) -> bool:
        """Whether a latent is codes, and not numbers."""
        return bool(self.space.kind == "codes")

    @property
    def encodes(self) -> bool:
        """Whether rows have a code that is no mean of draws."""
        return Offer.MEAN in self.run.offers or self.coded

    def decoded(self, model: LatentModel, index: slice) -> Tensor:
        """Return E[x|z] at the codes of these rows."""
        context = None if self.context is None else self.context[index]
        return model.decode(split_codes(self.codes[index], self.run.latent_shapes), context)

    @property
    def range(self) -> Tensor:
        """The range of the data: of images one, of a table one for each column."""
        values = self.run.spec.values
        if len(self.run.spec.shape) == 3:
            return torch.tensor(values.high - values.low)
        seen = self.x.nan_to_num(0.0)
        return (seen.amax(0) - seen.amin(0)).clamp(min=1e-6)

    @torch.no_grad()
    def difference(self, other: LatentModel) -> float:
        """Return by how much, of the range, another model's means differ, at codes and on rows."""
        first = slice(len(self.made))
        found = [self.decoded(other, first) - self.made]
        if self.encodes and not self.coded:
            context = None if self.context is None else self.context[first]
            found.append(other.reconstruct(self.x[first], context) - self.made)
        return max(float((each.abs() / self.range).amax()) for each in found)

    def computed(self) -> _Contents:
        """Return a page's contents with the networks, in as few bits as are exact enough."""
        train, model = self.data.train, self.model
        with torch.no_grad(), watched(model) as seen:
            for x, context in batches(*train.batch(spread(len(train), SEEN))):
                model.decode(model.encode(x, context), context)
        for most in LEVELS:
            layers = layers_of(model, seen, most)
            if self.difference(with_layers(model, layers)) <= MOST:
                break
        pack = Pack()
        nets = self.nets({f"model.{name}": layer for name, layer in layers.items()}, pack)
        far, seconds = self.checked(nets, pack)
        for name, draws in self.draws():
            _store(pack, name, draws, whole=self.coded)
        known = self.known(pack, self.starts(), tuple(self.run.spec.shape))
        known |= {"given": self.given(), "nets": nets}
        return _Contents(pack, known, far, 8 if most <= BYTE else 16, seconds)

    def decoded_before(self) -> _Contents:
        """Return a page's contents with what the model makes of codes around some rows."""
        pack, starts = Pack(), self.starts()[:BASES]
        dims = self.codes.var(0).argsort(descending=True)[:LINES]
        z = around(self.codes, starts, dims, self.space)
        context = None if self.context is None else contexts(self.context[starts], z.shape[1])
        with torch.no_grad():
            found = [
                self.model.decode(split_codes(each, self.run.latent_shapes), given)
                for each, given in batches(z.flatten(0, 1), context)
            ]
        made = torch.cat(found)
        _store(pack, "around", z.flatten(0, 1), most=WORD)
        if self.run.spec.is_table:
            levels, scales = rounded(made, WORD)
            pack.add(levels, scales, "made")
            far = (levels * scales[:, None] - made).abs() / self.range
            shown, difference = {}, float(far.amax())
        else:
            made, difference = self.run.spec.values.inverse(made), 0.5 / 255
            for side in SIDES:
                made = small(made, side)
                shown = {"tiles": address(sheet(made))}
                if len(shown["tiles"]) < HEAVY * 0.6:
                    break
        known = self.known(pack, starts, tuple(made.shape[1:])) | shown
        known |= {"given": [], "nets": {}, "dims": dims.tolist(), "axes": [], "around": z.shape[1]}
        return _Contents(pack, known, difference, decoded=len(made))

    def nets(self, layers: dict[str, Layer], pack: Pack) -> dict[str, Any]:
        """Return the networks as steps, with their weights in the pack."""
        given = [] if self.context is None else [self.context[:1]]
        with torch.no_grad(), evaluating(self.model), exact(self.model):
            decodes = Decodes(self.model, self.run.latent_shapes)
            try:
                nets = {"decode": read_net(decodes, [self.codes[:1], *given], layers, pack)}
            except VaekitError as error:
                raise VaekitError(f"{self.run.path}: {error}") from None
            if self.encodes:
                x = self.x[:1].nan_to_num(0.0)
                with suppress(VaekitError):  # such a page takes no images of one's own
                    nets["encode"] = read_net(Encodes(self.model), [x, *given], layers, pack)
        return nets

    def checked(self, nets: dict[str, Any], pack: Pack) -> tuple[float, float | None]:
        """Return how far what the page computes is from the run's, and the seconds of a decode."""
        count = len(self.made)
        given = [[]] * count if self.context is None else self.context[:count, None].tolist()
        calls = [
            ("decode", [z, *more]) for z, more in zip(self.codes.tolist(), given, strict=False)
        ]
        if "encode" in nets and not self.coded:
            seen = self.x.nan_to_num(0.0).flatten(1).tolist()
            calls += [("both", [x, *more]) for x, more in zip(seen, given, strict=False)]
        spec = {"nets": nets, "arrays": pack.arrays}
        made, seconds = in_node(spec, pack, calls) or (in_torch(spec, pack, calls), None)
        own = torch.stack(made).view(-1, *self.made.shape)
        far = float(((own - self.made).abs() / self.range).amax())
        return far, None if seconds is None else sorted(seconds[:count])[count // 10]

    def known(self, pack: Pack, starts: Tensor, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return what the page's script knows, and add the codes to the pack."""
        spec, codes = self.run.spec, self.codes
        _store(pack, "codes", codes, whole=self.coded)
        spreads, dims = codes.var(0).sort(descending=True)
        active = dims[: max(1, int((spreads > ACTIVE).sum()))]
        known: dict[str, Any] = {"space": self.space.kind, "size": codes.shape[1]}
        if self.coded:
            likelihood: Any = self.run.vae.likelihood
            known |= {"levels": self.space.levels, "grid": list(likelihood.in_shape[1:])}
        else:
            middle, axes = principal(codes, AXES)
            known |= {"middle": middle.tolist(), "axes": axes.tolist()}
            known |= {"dims": dims[:SLIDERS].tolist(), "curvature": self.space.curvature}
            known |= {"active": active.tolist(), "near": near(codes[:, active])}
        known |= {"labels": [] if self.rows.labels is None else self.rows.labels.tolist()}
        known |= {"classes": self.run.class_names if spec.classes else [], "shape": list(shape)}
        known |= {"starts": starts.tolist(), "arrays": pack.arrays, "named": pack.named}
        return known | (self.table(starts) if spec.is_table else self.images(starts, shape))

    def given(self) -> list[list[Any]]:
        """Return what a row is conditioned on: a name, and its values, each."""
        spec = self.run.spec
        named = [["label", self.run.class_names]] if spec.labeled else []
        return named + [[name, list(values)] for name, values in spec.covariates.items()]

    def starts(self) -> Tensor:
        """Return rows to begin at: one of each class, or spread over all."""
        labels = self.rows.labels
        if labels is None or len(labels.unique()) > 2 * STARTS:
            return spread(len(self.x), STARTS)
        return torch.stack([(labels == each).nonzero()[0, 0] for each in labels.unique()])

    def draws(self) -> Iterable[tuple[str, Tensor]]:
        """Yield draws of z from p(z), and from the prior fitted to the codes, by name."""
        context = None if self.context is None else self.context[spread(len(self.x), DRAWS)]
        fitted = None if self.coded else self.run.sampled_prior()
        with rng(0, torch.device("cpu")), evaluating(self.model), exact(self.model):
            count = DRAWS if context is None else len(context)
            if Offer.DRAWS in self.run.offers:
                yield "prior", flat_codes(self.model.draw_prior(count, context)).float()
            if fitted is not None:
                model = fitted.in_place_of(self.model, scored=False)
                yield "fitted", flat_codes(model.draw_prior(count, context)).float().cpu()

    def images(self, starts: Tensor, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return how images are shown, and those to begin at."""
        values = self.run.spec.values
        seen = values.inverse(self.x[starts].nan_to_num(values.low)).clamp(0, 1)
        seen = seen if seen.shape[1:] == shape else small(seen, max(shape[1:]))
        rim = values.inverse(self.x.nan_to_num(values.low))
        edge = torch.cat([rim[..., 0, :].flatten(), rim[..., -1, :].flatten()]).mean()
        return {
            "low": values.low,
            "high": values.high,
            "binary": self.run.spec.kind == "binary",
            "rim": float(edge),
            "sheet": address(sheet(seen, len(seen))),
        }

    def table(self, starts: Tensor) -> dict[str, Any]:
        """Return the names of columns, their units at places, and where their values lie."""
        spec, wide = self.run.spec, self.run.spec.shape[0]
        seen = self.x.nan_to_num(0.0)
        units = spec.values.inverse(UNITS[:, None].expand(-1, wide).clone().float())
        ends = [seen.quantile(0.01, 0).tolist(), seen.quantile(0.99, 0).tolist()]
        names = list(spec.place_names) or [str(1 + k) for k in range(wide)]
        return {
            "columns": names,
            "places": UNITS.tolist(),
            "units": units.T.tolist(),
            "ends": ends,
            "rows": self.x[starts].nan_to_num(0.0).tolist(),
        }


def batches(x: Tensor, context: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield so many rows that a large model has room for what it makes of them."""
    for at in range(0, len(x), BATCH):
        yield x[at : at + BATCH], None if context is None else context[at : at + BATCH]


def _store(pack: Pack, name: str, values: Tensor, *, whole: bool = False, most: int = BYTE) -> None:
    """Store codes in few bits a number; those that are numbers of codes as they are."""
    levels, scales = (values, None) if whole else rounded(values, most)
    pack.add(levels, scales, name)
