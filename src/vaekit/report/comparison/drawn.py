"""The pictures of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from vaekit.data.conditions import conditioned
from vaekit.report.comparison.charts import curves_figure, png
from vaekit.report.comparison.distortion import distortion_figure
from vaekit.report.comparison.measured import Entry
from vaekit.report.comparison.opened import Opened
from vaekit.report.comparison.sheets import labelled
from vaekit.report.images import png_bytes
from vaekit.report.style import look
from vaekit.runs.judge import Rows

SHOWN = 12  # images of a row


class Drawn:
    """The pictures as PNG files, and the charts."""

    def __init__(self, opened: Opened, entries: Sequence[Entry], seed: int) -> None:
        self.sheets: dict[str, bytes] = {}
        with look():
            self.curves = curves_figure(entries, opened.comparable)
            beta = opened.differences.get("beta")
            known = beta is not None and None not in beta and opened.comparable
            self.distortion = distortion_figure(entries, opened.differences) if known else None
        if len(opened.runs[0].spec.shape) == 3:
            self.sheets["reconstructions"] = png_bytes(labelled(_reconstructed(opened)))
            sampled = _sampled(opened, seed)
            if sampled:
                self.sheets["samples"] = png_bytes(labelled(sampled))

    def files(self) -> Iterator[tuple[str, bytes]]:
        yield from ((f"{name}.png", content) for name, content in self.sheets.items())
        for name, figure in (("curves", self.curves), ("rate-distortion", self.distortion)):
            if figure is not None:
                yield f"{name}.png", png(figure)


def _reconstructed(opened: Opened) -> list[tuple[str, Tensor]]:
    """The same test images, and what each run makes of them."""
    bands: list[tuple[str, Tensor]] = []
    for run, name in zip(opened.runs, opened.names, strict=True):
        split = conditioned(opened.data.test, opened.data, run.config.data.given)
        ((x, given),) = Rows(run, split, SHOWN, None).batches("", SHOWN)
        seen = run.spec.values.inverse
        if not bands:
            bands.append(("test images", seen(x.cpu())))
        bands.append((name, seen(run.model.reconstruct(x, given).cpu())))
    return bands


def _sampled(opened: Opened, seed: int) -> list[tuple[str, Tensor]]:
    """E[x|z] of draws of the prior from one seed: the same z where the latents have one size."""
    many = SHOWN * (2 if len(opened.runs) <= 3 else 1)
    return [
        (name, run.spec.values.inverse(run.sample(many, seed=seed)))
        for run, name in zip(opened.runs, opened.names, strict=True)
        if run.vae.prior.drawable
    ]
