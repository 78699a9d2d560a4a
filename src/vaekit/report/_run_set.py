"""Runs of one data set: the options in which they differ, and whether their bounds compare."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaekit.data import Dataset, DataSpec, Split, spread
from vaekit.distributions import Offer, Space
from vaekit.errors import VaekitError
from vaekit.evaluate import is_likelihood
from vaekit.recipes import flat_options, likelihood_spec
from vaekit.report._pages import mark
from vaekit.runs import COMPOSED, Config, Run, open_run

SEEN = 1000  # test rows that are looked at
PLACE = {"data_dir", "device", "threads", "cache", "max_memory"}  # where, not what
ABSENT = "none"
LONGEST = 48  # letters of a short name
MOST = 3  # options in a short name
OWN = mark("in the units of the data")

Values = Mapping[str, Sequence[Any]]  # by option, the value of each run
Words = Callable[[str], str]


class Likelihood(NamedTuple):
    """By what bounds can be compared.

    Attributes:
        name: of the distribution, and whether it is of x given a label.
        fixed: its options that are numbers, which nothing learned, in words, and of what columns.
        proper: whether it normalizes over the values of the data.
        space: of x.
    """

    name: str
    fixed: str
    proper: bool
    space: Space

    @classmethod
    def of(cls, run: Run) -> Likelihood:
        """Return what a bound of this run is of. One of log p(x | label) is none of log p(x)."""
        part, spec = run.parts.get("likelihood"), run.spec
        options = part.items() if isinstance(part, dict) else ()
        fixed = [f"{n} {v:g}" for n, v in options if type(v) in (int, float)]
        name = type(run.px).__name__ + (f" given {run.spec.given}" if run.spec.context else "")
        proper = is_likelihood(run.px.space, spec.kind)
        if spec.values.scale is not None:  # another scale in the units of the data
            fixed = [t + " of standardized columns" * t.startswith("scale ") for t in fixed]
        if discrete := [column.name for column in spec.columns if not column.scaled]:
            fixed.append(f"probabilities of {', '.join(discrete)}")  # others are densities
        return cls(name, ", ".join(fixed), proper, run.px.space)

    @property
    def measure(self) -> tuple[Any, ...]:
        """Probabilities of the same values compare; densities where their scale has one source."""
        given = self.name.partition(" ")[2]
        return (self.space, given) if self.proper and self.space.discrete else tuple(self)


@dataclass(frozen=True, eq=False)
class RunSet:
    """Runs of one data set.

    Attributes:
        runs: in the order in which they were named.
        names: short ones, by the options that differ.
        options: those that differ, with the value of each run.
        settings: by a short name, the numbers of the runs that differ in their seed alone; a run
            each where no two do, or where all do.
        likelihoods: of each run.
        data: the data set as the first run sees it; the test rows are the same for all.
        naming: of the options those that name runs.
    """

    runs: Sequence[Run]
    names: Sequence[str]
    options: dict[str, list[Any]]
    settings: dict[str, list[int]]
    likelihoods: Sequence[Likelihood]
    data: Dataset
    naming: Values

    @property
    def plain(self) -> dict[str, str]:
        """By the names of runs and of settings, words for a reader of an image."""
        runs = plain_names(self.naming, {name: row for row, name in enumerate(self.names)})
        others = {name: values for name, values in self.naming.items() if name != "seed"}
        return runs | plain_names(others, {name: rows[0] for name, rows in self.settings.items()})

    @property
    def comparable(self) -> bool:
        """Whether the bounds of all runs are of the same thing, so that they compare."""
        return len({one.measure for one in self.likelihoods}) == 1

    @property
    def scaled(self) -> bool:
        """Whether a run sees other columns of a table than are stored."""
        return any(run.spec.values.scale is not None for run in self.runs if not run.spec.columns)

    @property
    def seeded(self) -> bool:
        """Whether a setting has several seeds."""
        return len(self.settings) < len(self.runs)

    def kinds(self, say: Words = str) -> str:
        """Return the likelihoods, and the names of the runs that have each, in words."""
        groups: dict[str, list[str]] = {}
        for name, (kind, fixed, proper, _) in zip(self.names, self.likelihoods, strict=True):
            more = ", ".join(filter(None, (fixed, "" if proper else say("not a likelihood"))))
            groups.setdefault(kind + (f" ({more})" if more else ""), []).append(name)
        words = say("{kind} of {names}")
        texts = (words.format(kind=kind, names=", ".join(n)) for kind, n in groups.items())
        return "; ".join(texts)


def unit_of(spec: DataSpec, say: Words = str) -> str:
    """Return in words what a log-density is in where runs are compared.

    Example:
        >>> unit_of(DataSpec("t", (3,), "table", rows=20))
        'nats per row, in the units of the data'
    """
    return say(spec.unit) + (f", {say(OWN)}" if spec.kind == "table" else "")


def flat(config: Config, kind: str, parts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the recipe and every option of its parts, of data and of training; None is "none".

    Args:
        config: of a run.
        kind: of its data, which decides the likelihood where none was named.
        parts: of a composed model.

    Example:
        >>> options = flat(Config.flat("vae", latent=3, net="conv"), "binary")
        >>> options["recipe"], options["latent"], options["net"], options["likelihood"]
        ('vae', 3, 'conv', 'bernoulli')
        >>> options["objective.beta"], "likelihood.scale" in options
        (1.0, False)
    """
    if parts is None:
        parts = {**config.parts, "likelihood": likelihood_spec(config.parts, kind)}
    options = {"recipe": config.recipe, **dict(flat_options(dict(parts)))}
    for record in (config.data, config.training):
        options |= record.model_dump(exclude=PLACE)
    return {name: ABSENT if value is None else value for name, value in options.items()}


def differences(options: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the options that are not the same in all runs, with the value of each run.

    None is for a run that has no such option: its recipe or its likelihood knows none.

    Example:
        >>> differences([{"latent": 2, "lr": 0.1}, {"latent": 8, "lr": 0.1}])
        {'latent': [2, 8]}
    """
    names = dict.fromkeys(name for one in options for name in one)
    columns = {name: [one.get(name) for one in options] for name in names}
    return {n: values for n, values in columns.items() if any(v != values[0] for v in values)}


def telling(options: Values) -> dict[str, Sequence[Any]]:
    """Return the options in which runs that have them differ; another one says why some have none.

    Example:
        >>> telling({"recipe": ["vae", "ae"], "objective.kl": ["closed", None]})
        {'recipe': ['vae', 'ae']}
    """
    known = {name: [v for v in values if v is not None] for name, values in options.items()}
    return {n: options[n] for n, held in known.items() if any(v != held[0] for v in held)}


def option_text(value: Any) -> str:
    """Return a value as one would type it.

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


def in_words(options: Values, say: Words = str) -> str:
    """Return what differs, as a sentence.

    Example:
        >>> in_words({"latent": [16, 64]})
        'They differ in latent: 16 against 64; all else is equal.'
        >>> in_words({"latent": [2, 8, 8], "net": ["mlp", "mlp", "conv"]})
        'They differ in latent: 2, 8; net: mlp, conv; all else is equal.'
        >>> in_words({})
        'They have the same options.'
    """
    parts, against = [], say(" against ")
    for name, values in telling(options).items():
        texts = list(dict.fromkeys(option_text(value) for value in values if value is not None))
        parts.append(f"{name}: {(against if len(values) == 2 else ', ').join(texts)}")
    if not parts:
        return say("They have the same options.")
    return say("They differ in {options}; all else is equal.").format(options="; ".join(parts))


def short_names(options: Values, paths: Sequence[Path]) -> list[str]:
    """Return a name for each run by the options that differ; by its folder where that is no help.

    Example:
        >>> short_names({"latent": [2, 8], "net.norm": ["", "batch"]}, [Path("a"), Path("b")])
        ['latent=2 norm=', 'latent=8 norm=batch']
        >>> short_names({}, [Path("a"), Path("b")])
        ['a', 'b']
    """
    options = telling(options)
    short = {name: name.rpartition(".")[2] for name in options}
    if len({*short.values()}) < len(options):
        short = {name: name for name in options}
    before = {name: "" if name == "recipe" else f"{short[name]}=" for name in options}
    columns = [
        [before[name] + option_text(value) if value is not None else "" for value in values]
        for name, values in options.items()
    ]
    names = [" ".join(filter(None, texts)) for texts in zip(*columns, strict=True)]
    good = 0 < len(options) <= MOST and all(0 < len(name) <= LONGEST for name in names)
    if good and len(set(names)) == len(paths):
        return names
    folders = [path.resolve().name for path in paths]
    return folders if len(set(folders)) == len(folders) else [str(path) for path in paths]


PLAIN = {  # how a reader says an option and its value, where "option value" is not it
    "net": "{} net",
    "net.norm": "{} norm",
    "net.latent_dropout": "dropout of z {}",
    "likelihood.scale": "σ {}",
    "objective.beta": "β {}",
    "kl_warmup": "KL warm-up {}",
    "lr": "learning rate {}",
    "batch_size": "batch {}",
    **dict.fromkeys(("recipe", "likelihood", "net.activation", "objective", "prior"), "{}"),
    **dict.fromkeys(("posterior", "optimizer"), "{}"),
}
SAID = {  # how a reader says a value
    "relu": "ReLU",
    "leaky-relu": "LeakyReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "mlp": "MLP",
    "conv": "convolutional",
    "vae": "VAE",
    "ae": "autoencoder",
    "cvae": "CVAE",
    "beta-vae": "β-VAE",
    "iwae": "IWAE",
    "elbo": "ELBO",
    "adam": "Adam",
    "sgd": "SGD",
    "gaussian": "Gaussian",
    "bernoulli": "Bernoulli",
    "laplace": "Laplace",
}


def plain_text(name: str, value: Any) -> str:
    """Return an option and its value as a reader says it; nothing for one that is not there.

    Example:
        >>> plain_text("latent", 16), plain_text("likelihood.scale", "fitted")
        ('latent 16', 'σ fitted')
        >>> plain_text("net.norm", "none"), plain_text("net.activation", "leaky_relu")
        ('no norm', 'LeakyReLU')
        >>> plain_text("likelihood", "gaussian"), plain_text("net", "conv")
        ('Gaussian', 'convolutional net')
    """
    if value is None:
        return ""
    text = option_text(value)
    form = PLAIN.get(name, f"{name.rpartition('.')[2].replace('_', ' ')} {{}}")
    if text in (ABSENT, "true", "false"):
        return "no " * (text != "true") + form.format("").strip()
    return form.format(SAID.get(text.replace("_", "-"), text.replace("_", " ")))


def plain_names(options: Values, rows: Mapping[str, int]) -> dict[str, str]:
    """Return settings by the words for the options that differ; where that is no help, as they are.

    Args:
        options: that tell runs apart, with the value of each run.
        rows: by the name of each setting, one of its runs.

    Example:
        >>> options = {"net.activation": ["gelu", "relu"]}
        >>> plain_names(options, {"activation=gelu": 0, "activation=relu": 1})
        {'activation=gelu': 'GELU', 'activation=relu': 'ReLU'}
        >>> options = {"net.norm": ["none", "batch"], "net.norm_bias": [False, True]}
        >>> plain_names(options, {"norm=none": 0, "norm=batch": 1})
        {'norm=none': 'no norm', 'norm=batch': 'batch norm, norm bias'}
    """
    told = telling(options)
    found = {}
    for name, row in rows.items():
        texts = [plain_text(option, values[row]) for option, values in told.items()]
        implied = tuple(f"{text} " for text in texts if text.startswith("no "))
        found[name] = ", ".join(text for text in texts if text and not text.startswith(implied))
    good = len(set(found.values())) == len(found) and all(found.values())
    short = all(len(words) <= LONGEST for words in found.values()) and len(told) <= MOST
    return found if good and short else {name: name for name in rows}


def settings_of(
    options: Values, own: Values, names: Sequence[str], paths: Sequence[Path]
) -> dict[str, list[int]]:
    """Return by short names the numbers of the runs that differ in their seed alone.

    Args:
        options: that differ.
        own: those among them that name runs.
        names, paths: of the runs.

    Example:
        >>> options = {"latent": [2, 2, 8, 8], "seed": [0, 1, 0, 1]}
        >>> settings_of(options, options, "abcd", [Path(name) for name in "abcd"])
        {'latent=2': [0, 1], 'latent=8': [2, 3]}
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for row in range(len(names)):
        key = tuple(option_text(vs[row]) for name, vs in options.items() if name != "seed")
        groups.setdefault(key, []).append(row)
    if len(groups) in (1, len(names)):
        return {name: [row] for row, name in enumerate(names)}
    firsts = [rows[0] for rows in groups.values()]
    others = {n: [vs[row] for row in firsts] for n, vs in own.items() if n != "seed"}
    short = short_names(others, [paths[row] for row in firsts])
    return dict(zip(short, groups.values(), strict=True))


def open_runs(
    paths: Sequence[str | Path],
    *,
    data_dir: str | Path | None = None,
    device: str = "auto",
    training_data: str | Path | None = None,
) -> RunSet:
    """Open the runs.

    Raises:
        VaekitError: for fewer than two, the same one twice, what is no run folder, runs without a
            latent, and runs of different data.
    """
    if len(paths) < 2:
        raise VaekitError(
            f"got {len(paths)} run{'s' * (len(paths) != 1)} to compare; expected at least two "
            "run folders, as `vaekit compare runs/a runs/b`."
        )
    folders = [Path(path).resolve() for path in paths]
    twice = next((n for n, folder in enumerate(folders) if folder in folders[:n]), None)
    if twice is not None:
        raise VaekitError(f"got the run {paths[twice]} twice; expected different runs.")
    runs = [open_run(path, device=device, training_data=training_data) for path in paths]
    options, usual = [], []
    for run in runs:
        if Offer.LATENT not in run.offers:
            raise VaekitError(
                f"{run.path} is a colorizer, and a comparison is of models with a latent: take "
                "`vaekit evaluate` of each."
            )
        config, parts = run.config, None
        if config.recipe == COMPOSED:  # a short hash tells the networks apart
            net = f"custom {hashlib.sha256(repr(run.model).encode()).hexdigest()[:6]}"
            parts = {"net": net, "latent": run.latent_size, **run.parts}
        options.append(flat(config, run.spec.kind, parts))
        default = Config.flat(config.recipe) if parts is None else config
        usual.append(flat(default, run.spec.kind, parts))
    differing, names = differences(options), [run.path for run in runs]
    naming = {
        name: values
        for name, values in differing.items()
        if name == "recipe" or values != [defaults.get(name) for defaults in usual]
    }
    short = short_names(naming, names)
    settings = settings_of(differing, naming, short, names)
    likelihoods = [Likelihood.of(run) for run in runs]
    data = _same_data(runs, data_dir)
    return RunSet(runs, short, differing, settings, likelihoods, data, naming)


def _same_data(runs: Sequence[Run], data_dir: str | Path | None) -> Dataset:
    """Return the data set of the first run, or refuse runs whose test rows are others."""
    cards = [run.folder.read_json("run")["data"].get("card", {}) for run in runs]
    rows = all("test_sha256" in card for card in cards)  # earlier versions did not write it
    known = [
        {
            "the data": run.spec.name,
            "the sha256" + " of the test rows" * rows: card["test_sha256"] if rows else run.sha256,
            "rows of the shape": run.spec.shape,
            "rows of the kind": run.spec.kind,
        }
        for run, card in zip(runs, cards, strict=True)
    ]
    for run, facts in zip(runs, known, strict=True):
        for what, value in known[0].items():
            if value != facts[what]:
                texts = [f"{text:.12}..." if len(text) > 40 else text
                         for text in map(str, (value, facts[what]))]  # fmt: skip
                raise _unlike(runs, run, f"{what} {' and '.join(texts)}")
    data = runs[0].dataset(data_dir)
    seen = _unscaled(data.test)
    for run in runs[1:]:
        test = run.dataset(data_dir).test
        if len(test) != len(data.test):
            raise _unlike(runs, run, f"{len(data.test)} and {len(test)} test rows")
        if not torch.equal(_unscaled(test), seen):
            raise _unlike(runs, run, "test rows that their options prepare in different ways")
    return data


def _unscaled(split: Split) -> Tensor:
    """Return some rows as a model sees them, but columns of tables as they are stored.

    A gap, which equals nothing, is infinite.
    """
    values = replace(split.values, loc=None, scale=None, warps=())
    return replace(split, values=values).x(spread(len(split), SEEN)).nan_to_num(torch.inf)


def _unlike(runs: Sequence[Run], other: Run, why: str) -> VaekitError:
    return VaekitError(
        f"comparing runs of different data: {runs[0].path} and {other.path} have {why}; compare "
        "runs of the same data."
    )
