"""A metric of one's own: the share of a reconstruction that lies outside the data's range."""

from __future__ import annotations

from pathlib import Path

import pytest
from probing import ASKED, walk

from vaekit.evaluate import Column, Metric
from vaekit.models import Trace
from vaekit.registry import register


class Outside(Metric):
    """The share of E[x|z] that is below 0 or above 1.

    Args:
        margin: how far outside is still inside.
    """

    columns = (Column("share", "share outside of the range", decimals=4, better=-1),)

    def __init__(self, *, margin: float = 0.0) -> None:
        super().__init__()
        self.margin = margin

    def update(self, trace: Trace) -> None:
        mean = trace.px.mean
        outside = (mean < -self.margin) | (mean > 1 + self.margin)
        self.keep(share=outside.float().flatten(2).mean((0, 2)))

    def compute(self) -> dict[str, float]:
        share = self.row("share")
        assert share is not None
        return {"share": float(share.mean())}


def enter() -> None:
    register("metric", "outside")(Outside)


def test_a_metric_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enter()
    found = walk(
        tmp_path,
        capsys,
        "vae",
        "--latent",
        "2",
        "--likelihood",
        "gaussian",
        asked=[*ASKED, "outside:margin=0.001"],
    )
    assert 0 < found["outside"]["share"] < 1
    for page in (tmp_path / "whole" / "report.html", tmp_path / "page.html"):
        assert "share outside of the range" in page.read_text()
