"""The runs that are compared: what differs between them, or why they cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vaekit.data import Dataset, spread
from vaekit.distributions import Offer, Space
from vaekit.errors import VaekitError
from vaekit.evaluate import is_likelihood
from vaekit.recipes import flat_options, likelihood_spec
from vaekit.runs import Config, Run, open_run

SEEN = 1000  # test rows that are looked at
PLACE = {"data_dir", "device", "threads", "cache"}  # where, not what
ABSENT = "none"
LONGEST = 48  # letters of a short name
MOST = 3  # options in a short name

Options = dict[str, Any]


class Likelihood(NamedTuple):
    """By what bounds can be compared.

    Attributes:
        name: of the distribution, and whether it is of x given a label.
        fixed: its options that are numbers, which nothing learned, in words.
        proper: whether it normalises over the values of the data.
        space: of x.
    """

    name: str
    fixed: str
    proper: bool
    space: Space

    @property
    def measure(self) -> tuple[Any, ...]:
        """Probabilities of the same values compare; densities where their scale has one source."""
        given = self.name.partition(" ")[2]
        return (self.space, given) if self.proper and self.space.discrete else tuple(self)


@dataclass(frozen=True, eq=False)
class Opened:
    """Runs of one data set.

    Attributes:
        runs: in the order in which they were named.
        names: short ones, by the options that differ.
        differences: the options that differ, with the value of each run.
        likelihoods: of each.
        data: the data set as the first run sees it; the test rows are the same for all.
    """

    runs: Sequence[Run]
    names: Sequence[str]
    differences: dict[str, list[Any]]
    likelihoods: Sequence[Likelihood]
    data: Dataset

    @property
    def comparable(self) -> bool:
        """Whether the bounds of all runs are of the same thing, so that they compare."""
        return len({one.measure for one in self.likelihoods}) == 1

    def kinds(self) -> str:
        """The likelihoods, and the names of the runs that have each, in words."""
        groups: dict[str, list[str]] = {}
        for name, (kind, fixed, proper, _) in zip(self.names, self.likelihoods, strict=True):
            more = ", ".join(filter(None, (fixed, "" if proper else "not a likelihood")))
            groups.setdefault(kind + (f" ({more})" if more else ""), []).append(name)
        return "; ".join(f"{kind} of {', '.join(names)}" for kind, names in groups.items())


def likelihood_of(run: Run) -> Likelihood:
    """What a bound of this run is of. One of log p(x | label) is none of log p(x)."""
    options = likelihood_spec(run.config.parts, run.spec.kind)
    fixed = [f"{n} {v:g}" for n, v in options.items() if type(v) in (int, float)]
    name = type(run.px).__name__ + (" given the label" if run.conditional else "")
    return Likelihood(
        name, ", ".join(fixed), is_likelihood(run.px.space, run.spec.kind), run.px.space
    )


def flat(config: Config, kind: str) -> Options:
    """The recipe and every option of its parts, of data and of training; None becomes "none".

    Args:
        config: of a run.
        kind: of its data, which decides the likelihood where none was named.

    Example:
        >>> found = flat(Config.flat("vae", latent=3, net="conv"), "binary")
        >>> found["recipe"], found["latent"], found["net"], found["likelihood"]
        ('vae', 3, 'conv', 'bernoulli')
        >>> found["objective.beta"], "likelihood.scale" in found
        (1.0, False)
    """
    parts = {**config.parts, "likelihood": likelihood_spec(config.parts, kind)}
    found = {"recipe": config.recipe, **dict(flat_options(parts))}
    for record in (config.data, config.training):
        found |= record.model_dump(exclude=PLACE)
    return {name: ABSENT if value is None else value for name, value in found.items()}


def differences(options: Sequence[Options]) -> dict[str, list[Any]]:
    """The options that are not the same in all runs, with the value of each run.

    None is for a run that has no such option: its recipe or its likelihood knows none.

    Example:
        >>> differences([{"latent": 2, "lr": 0.1}, {"latent": 8, "lr": 0.1}])
        {'latent': [2, 8]}
    """
    names = dict.fromkeys(name for one in options for name in one)
    columns = {name: [one.get(name) for one in options] for name in names}
    return {n: values for n, values in columns.items() if any(v != values[0] for v in values)}


def tells(values: Sequence[Any]) -> bool:
    """Whether runs that have this option differ in it; why others have none is told elsewhere."""
    held = [value for value in values if value is not None]
    return any(value != held[0] for value in held)


def option_text(value: Any) -> str:
    """A value as one would type it.

    Example:
        >>> option_text((512, 256)), option_text(0.001), option_text(None), option_text(True)
        ('512,256', '0.001', 'none', 'true')
    """
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(map(option_text, value)) or ABSENT
    return f"{value:g}" if isinstance(value, float) else str(value)


def short_names(found: Mapping[str, Sequence[Any]], paths: Sequence[Path]) -> list[str]:
    """A name for each run by the options that differ; by its folder where that is no help.

    Example:
        >>> short_names({"latent": [2, 8], "net.norm": ["", "batch"]}, [Path("a"), Path("b")])
        ['latent=2 norm=', 'latent=8 norm=batch']
        >>> short_names({}, [Path("a"), Path("b")])
        ['a', 'b']
    """
    told = {name: values for name, values in found.items() if tells(values)}
    short = {name: name.rpartition(".")[2] for name in told}
    if len({*short.values()}) < len(told):
        short = {name: name for name in told}
    names = [
        " ".join(
            option_text(values[place])
            if n == "recipe"
            else f"{short[n]}={option_text(values[place])}"
            for n, values in told.items()
            if values[place] is not None
        )
        for place in range(len(paths))
    ]
    good = 0 < len(told) <= MOST and all(0 < len(name) <= LONGEST for name in names)
    if good and len(set(names)) == len(names):
        return names
    folders = [path.resolve().name for path in paths]
    return folders if len(set(folders)) == len(folders) else [str(path) for path in paths]


def open_runs(
    paths: Sequence[str | Path], *, data_dir: str | None = None, device: str = "auto"
) -> Opened:
    """Opens the runs.

    Raises:
        VaekitError: for fewer than two, the same one twice, what is no run folder, runs without a
            latent, and runs of different data.
    """
    _refuse(paths)
    runs = [open_run(path, device=device) for path in paths]
    for run in runs:
        if Offer.LATENT not in run.offers:
            raise VaekitError(
                f"{run.path} is a colouriser, and a comparison is of models with a latent: take "
                "`vaekit evaluate` of each."
            )
    found = differences([flat(run.config, run.spec.kind) for run in runs])
    usual = [flat(Config.flat(run.config.recipe), run.spec.kind) for run in runs]
    own = {n: vs for n, vs in found.items() if n == "recipe" or vs != [u.get(n) for u in usual]}
    names = short_names(own, [run.path for run in runs])
    return Opened(runs, names, found, [*map(likelihood_of, runs)], _same_data(runs, data_dir))


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


def _same_data(runs: Sequence[Run], data_dir: str | None) -> Dataset:
    """The data set of the first run, or the refusal of runs whose test rows are others."""
    first, *others = runs
    for run in others:
        for what, one in _known(first).items():
            if one != _known(run)[what]:
                brief = [text if len(text) <= 40 else f"{text[:12]}..." for text in
                         map(str, (one, _known(run)[what]))]  # fmt: skip
                raise _refusal(first, run, f"{what} {' and '.join(brief)}")
    data = first.dataset(data_dir)
    seen = data.test.x(spread(len(data.test), SEEN))
    for run in others:
        test = run.dataset(data_dir).test
        if len(test) != len(data.test):
            raise _refusal(first, run, f"{len(data.test)} and {len(test)} test rows")
        if not torch.equal(test.x(spread(len(test), SEEN)), seen):
            raise _refusal(first, run, "test rows that their options prepare in different ways")
    return data


def _known(run: Run) -> dict[str, Any]:
    return {
        "the data": run.spec.name,
        "the sha256": run.folder.read_json("run")["data"]["sha256"],
        "rows of the shape": run.spec.shape,
        "rows of the kind": run.spec.kind,
    }


def _refusal(one: Run, other: Run, why: str) -> VaekitError:
    return VaekitError(
        f"comparing runs of different data: {one.path} and {other.path} have {why}; compare runs "
        "of the same data."
    )
