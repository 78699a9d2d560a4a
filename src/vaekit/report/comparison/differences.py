"""What differs between the options of several runs: in words, and as short names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vaekit.recipes.parts import DEFAULTS
from vaekit.runs.config import Config, flat_fields

PLACE = {"data_dir", "device", "threads", "cache"}  # where, not what
ABSENT = "none"
LONGEST = 48  # letters of a short name
MOST = 3  # options in a short name
OF_SCALE = {"scale", "mean"}  # of these likelihoods alone
SCALED = {"gaussian", "laplace"}

Options = dict[str, Any]


def flat(config: Config, kind: str) -> Options:
    """The recipe and every option that means something, under its name on the command line.

    None becomes "none": None stands for what a run has no such option for.

    Args:
        config: of a run.
        kind: of its data, which decides the likelihood where none was named.

    Example:
        >>> found = flat(Config.flat("vae", latent=3, net="conv"), "binary")
        >>> found["recipe"], found["latent"], found["net"], found["likelihood"], "scale" in found
        ('vae', 3, 'conv', 'bernoulli', False)
    """
    found: Options = {"recipe": config.recipe}
    for name, record, field, _ in flat_fields(config.recipe):
        home = config.own if record == "own" else getattr(config, record).model_dump()
        if name not in PLACE:
            found[name] = ABSENT if home[field] is None else home[field]
    found["hidden"] = config.net.sizes
    found["likelihood"] = config.pixels.likelihood or DEFAULTS[kind]
    held = OF_SCALE if found["likelihood"] in SCALED else set()
    return {name: value for name, value in found.items() if name not in OF_SCALE - held}


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


def option_text(value: Any) -> str:
    """A value as one would type it.

    Example:
        >>> option_text((512, 256)), option_text(0.001), option_text(None), option_text(True)
        ('512 256', '0.001', 'none', 'yes')
    """
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return " ".join(map(option_text, value)) or ABSENT
    return f"{value:g}" if isinstance(value, float) else str(value)


def short_names(found: Mapping[str, Sequence[Any]], paths: Sequence[Path]) -> list[str]:
    """A name for each run by the options that differ; by its folder where that is no help.

    Example:
        >>> short_names({"latent": [2, 8], "norm": ["none", "batch"]}, [Path("a"), Path("b")])
        ['latent=2 norm=none', 'latent=8 norm=batch']
        >>> short_names({}, [Path("a"), Path("b")])
        ['a', 'b']
    """
    told = {name: values for name, values in found.items() if _tells(values)}
    names = [
        " ".join(_part(n, values[place]) for n, values in told.items() if values[place] is not None)
        for place in range(len(paths))
    ]
    good = 0 < len(told) <= MOST and all(0 < len(name) <= LONGEST for name in names)
    if good and len(set(names)) == len(names):
        return names
    folders = [path.resolve().name for path in paths]
    return folders if len(set(folders)) == len(folders) else [str(path) for path in paths]


def _tells(values: Sequence[Any]) -> bool:
    """Whether runs that have this option differ in it; why others have none is told elsewhere."""
    held = [value for value in values if value is not None]
    return any(value != held[0] for value in held)


def _part(name: str, value: Any) -> str:
    text = option_text(value).replace(" ", "-")
    return text if name == "recipe" else f"{name.replace('_', '-')}={text}"


def in_words(found: Mapping[str, Sequence[Any]]) -> str:
    """What differs, as a sentence.

    Example:
        >>> in_words({"latent": [16, 64]})
        'They differ in latent: 16 against 64; all else is equal.'
        >>> in_words({"latent": [2, 8, 8], "net": ["mlp", "mlp", "conv"]})
        'They differ in latent: 2, 8; net: mlp, conv; all else is equal.'
        >>> in_words({})
        'They have the same options.'
    """
    told = {name: values for name, values in found.items() if _tells(values)}
    if not told:
        return "They have the same options."
    parts = [f"{name.replace('_', '-')}: {_values(values)}" for name, values in told.items()]
    return f"They differ in {'; '.join(parts)}; all else is equal."


def _values(values: Sequence[Any]) -> str:
    texts = list(dict.fromkeys(option_text(value) for value in values if value is not None))
    return " against ".join(texts) if len(values) == 2 else ", ".join(texts)
