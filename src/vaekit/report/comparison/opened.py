"""The runs that are compared, or why they cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from vaekit.data import Dataset, spread
from vaekit.errors import VaekitError
from vaekit.evaluate import is_likelihood
from vaekit.report.comparison.differences import Options, differences, flat, short_names
from vaekit.runs.run import Run, open_run

SEEN = 1000  # test rows that are looked at
ONE_SCALE = ("FittedScale", "SharedScale")  # one number for all elements, either way


@dataclass(frozen=True, eq=False)
class Opened:
    """Runs of one data set.

    Attributes:
        runs: in the order in which they were named.
        names: short ones, by the options that differ.
        options: of each, by their names on the command line.
        data: the data set as the first run sees it; the test rows are the same for all.
    """

    runs: Sequence[Run]
    names: Sequence[str]
    options: Sequence[Options]
    data: Dataset

    @property
    def differences(self) -> dict[str, list[Any]]:
        """The options that differ, with the value of each run."""
        return differences(self.options)

    @property
    def comparable(self) -> bool:
        """Whether all runs have the same likelihood, so that their bounds compare."""
        first, *others = map(likelihood_of, self.runs)
        return all(other == first for other in others)


def likelihood_of(run: Run) -> tuple[str, str, bool]:
    """By what a bound can be compared: the family, where its scale comes from, whether it is one.

    A scale that is fitted and one that is learned are both the best one for all elements. A bound
    of log p(x | label) is none of log p(x).
    """
    family = run.model.likelihood.family
    scale = getattr(family, "scale", None)
    kind = type(scale).__name__ if isinstance(scale, torch.nn.Module) else ""
    if kind in ONE_SCALE:
        kind = "one scale"
    elif kind == "FixedScale":
        kind = f"the scale {run.config.pixels.scale:g}"
    given = " given the label" if run.conditional else ""
    return type(family).__name__ + given, kind, is_likelihood(family, run.spec.kind)


def open_runs(
    paths: Sequence[str | Path], *, data_dir: str | None = None, device: str = "auto"
) -> Opened:
    """Opens the runs.

    Raises:
        VaekitError: for fewer than two, the same one twice, what is no run folder, and runs of
            different data.
    """
    _refuse(paths)
    runs = [open_run(path, device=device) for path in paths]
    _refuse_colorizers(runs)
    options = [flat(run.config, run.spec.kind) for run in runs]
    names = short_names(differences(options), [run.path for run in runs])
    return Opened(runs, names, options, _same_data(runs, data_dir))


def _refuse(paths: Sequence[str | Path]) -> None:
    if len(paths) < 2:
        raise VaekitError(
            f"got {len(paths)} run{'s' * (len(paths) != 1)} to compare; expected at least two "
            "run folders, as `vaekit compare runs/a runs/b`."
        )
    places = sorted((Path(path).resolve(), str(path)) for path in paths)
    for (one, name), (other, _) in pairwise(places):
        if one == other:
            raise VaekitError(f"got the run {name} twice; expected different runs.")


def _refuse_colorizers(runs: Sequence[Run]) -> None:
    for run in runs:
        if "latent" not in run.model.offers:
            raise VaekitError(
                f"{run.path} is a colouriser, and a comparison is of models with a latent: take "
                "`vaekit evaluate` of each."
            )


def _same_data(runs: Sequence[Run], data_dir: str | None) -> Dataset:
    """The data set of the first run, or the refusal of runs whose test rows are others."""
    first, *others = runs
    for run in others:
        for what, one, two in zip(_FACTS, _known(first), _known(run), strict=True):
            if one != two:
                raise _refusal(first, run, f"{what} {_brief(one)} and {_brief(two)}")
    data = first.dataset(data_dir)
    seen = data.test.x(spread(len(data.test), SEEN))
    for run in others:
        test = run.dataset(data_dir).test
        if len(test) != len(data.test):
            raise _refusal(first, run, f"{len(data.test)} and {len(test)} test rows")
        if not torch.equal(test.x(spread(len(test), SEEN)), seen):
            raise _refusal(first, run, "test rows that their options prepare in different ways")
    return data


_FACTS = ("the data", "the sha256", "rows of the shape", "rows of the kind")


def _known(run: Run) -> tuple[Any, ...]:
    spec = run.spec
    return spec.name, run.folder.read_json("run")["data"]["sha256"], spec.shape, spec.kind


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def _refusal(one: Run, other: Run, why: str) -> VaekitError:
    return VaekitError(
        f"comparing runs of different data: {one.path} and {other.path} have {why}; compare runs "
        "of the same data."
    )
