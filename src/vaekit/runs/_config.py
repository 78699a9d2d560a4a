"""What a run trains: a recipe or a composed model, with the options of data and training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vaekit._imports import Import, imports_of
from vaekit._train_options import Data, Options, Training, checked
from vaekit.errors import VaekitError, unknown
from vaekit.recipes import by_data, find_recipe, resolve
from vaekit.registry import KINDS, Spec, completed, nested

if TYPE_CHECKING:
    from torch import nn

    from vaekit.data import DataSpec

FORMAT = 3  # of config.json
COMPOSED = "composed"  # in place of a recipe, where the parts were put together in Python
MEND = (
    "expected a vaekit Model and an Objective, as vaekit.VAE(vaekit.StandardNormal(8), "
    "vaekit.Conditional(encoder, vaekit.Gaussian(8), in_shape=...), "
    "vaekit.Conditional(decoder, vaekit.Bernoulli(...), in_shape=8)) and vaekit.ELBO()."
)
BESIDE = ("format", "recipe", "spec", "sha256", "imports")  # keys of config.json beside the records
RECORDS: dict[str, type[Options]] = {"data": Data, "training": Training}
HOMES = {name: group for group, record in RECORDS.items() for name in record.model_fields}


def flat_fields(recipe: str) -> Iterator[tuple[str, str]]:
    """Yield every option of a recipe: its name, and the record that it is in.

    Example:
        >>> [name for name, record in flat_fields("beta_vae") if record == "parts"]
        ['prior', 'posterior', 'likelihood', 'objective', 'net', 'latent', 'model']
    """
    yield from ((name, "parts") for name in find_recipe(recipe).asks)
    yield from HOMES.items()


@dataclass(frozen=True)
class Config:
    """What is trained, and how: a recipe by name, and the records that all recipes share.

    Attributes:
        recipe: its name; "composed" for a model that was put together in Python.
        parts: the specs of the recipe's parts, by kind; of a composed model the `structure` of
            "model" and "objective", None where one has none, and then "why" that is so.
        data, training: the options.
        imports: the files and modules of the user's own that it takes.
    """

    recipe: str
    parts: Spec
    data: Data
    training: Training
    imports: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, recipe: str, records: Mapping[str, Mapping[str, Any]]) -> Config:
        """Read `{"parts": {...}, "data": {...}, ...}`; what is left out has its default.

        Raises:
            VaekitError: for an unknown recipe, record or option, or a value that does not fit.
        """
        for name, record in records.items():
            if name not in ("parts", *RECORDS):
                raise unknown("record of options", name, ("parts", *RECORDS))
            if not isinstance(record, Mapping):
                raise VaekitError(f"'{name}' holds {record!r}; expected options with values.")
        parts = dict(records.get("parts", {}))
        if recipe == COMPOSED:
            _check_structures(parts)
        else:
            parts = resolve(recipe, parts)
            specs = {k: v for k, v in parts.items() if isinstance(v, dict) and k != "likelihood"}
            parts |= {kind: completed(kind, spec) for kind, spec in specs.items()}
        data, training = (checked(kind, dict(records.get(n, {}))) for n, kind in RECORDS.items())
        return cls(recipe, parts, data, training)  # type: ignore[arg-type]

    @classmethod
    def flat(cls, recipe: str, **options: Any) -> Config:
        """Read options by their names on the command line, and those of parts by their path.

        Raises:
            VaekitError: for an unknown recipe or option, or a value that does not fit.

        Example:
            >>> config = Config.flat("vae", latent=3, net="conv:channels=8,16", lr=0.1)
            >>> config.parts["latent"], config.parts["net"]["channels"], config.training.lr
            (3, [8, 16], 0.1)
            >>> Config.flat("vae", **{"objective.beta": 4}).parts["objective"]["beta"]
            4.0
            >>> Config.flat("vae", latnt=3)
            Traceback (most recent call last):
            ...
            vaekit.errors.VaekitError: unknown option 'latnt'; did you mean 'latent'? ...
        """
        entry = find_recipe(recipe)
        homes = {**dict.fromkeys((*entry.asks, *entry.fixed), "parts"), **HOMES}
        preset = {n: value for n, value in entry.options.items() if homes.get(n) in RECORDS}
        records: dict[str, dict[str, Any]] = {}
        for name, value in sorted({**preset, **options}.items(), key=lambda item: "." in item[0]):
            kind, _, path = name.partition(".")
            if kind not in homes or (path and homes[kind] != "parts"):
                raise unknown("option", name, list(homes))
            record = records.setdefault(homes[kind], {})
            record[kind] = nested(kind, record.get(kind) or "", path, value) if path else value
        return cls.of(recipe, records)

    def by_data(self, spec: DataSpec) -> Config:
        """Return the same with what the data decide of its parts, where nobody named it."""
        if self.recipe == COMPOSED:
            return self
        parts = by_data(self.parts, spec, flipped="flip" in self.data.changes)
        return replace(self, parts={**parts, "net": completed("net", parts["net"])})

    def importing(self, loaded: Sequence[Import]) -> Config:
        """Return the same with its imports: those that were loaded, and those its parts are of."""
        return replace(self, imports=imports_of(loaded, self.recipe, self.parts))

    @classmethod
    def composed(cls, model: nn.Module, objective: nn.Module, **options: Any) -> Config:
        """Describe a model that was put together in Python, with options of data and training.

        Raises:
            VaekitError: for an option that is neither, or a value that does not fit.
        """
        from vaekit.models import Model
        from vaekit.runs._graph import structure

        if not isinstance(model, Model):
            raise VaekitError(f"got a {type(model).__name__} for the model; {MEND}")
        records: dict[str, dict[str, Any]] = {"parts": {}}
        for name, value in options.items():
            if name not in HOMES and name.partition(".")[0] in (*KINDS, "latent"):
                raise VaekitError(f"got `{name}`: the model brings its parts; leave it.")
            if name not in HOMES:
                raise unknown("option", name, list(HOMES))
            records.setdefault(HOMES[name], {})[name] = value
        for name, part in (("model", model), ("objective", objective)):
            try:
                records["parts"][name] = structure(part, name)
            except VaekitError as error:
                records["parts"] |= {name: None, "why": str(error)}
        return cls.of(COMPOSED, records)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, which `from_json` reads."""
        head = {"format": FORMAT, "recipe": self.recipe, "imports": self.imports}
        shared = {name: getattr(self, name).model_dump(mode="json") for name in RECORDS}
        return {**head, "parts": self.parts, **shared}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Config:
        """Read what `to_json` returned.

        Example:
            >>> config = Config.flat("iwae", objective=":samples=3")
            >>> Config.from_json(config.to_json()) == config
            True

        Raises:
            VaekitError: for what is no such record.
        """
        name, form = record.get("recipe"), record.get("format")
        if not isinstance(name, str):
            raise VaekitError("config.json names no recipe: restore it, or train again.")
        if form != FORMAT:
            raise VaekitError(
                f"config.json has the format {form}, and this vaekit reads {FORMAT}: take the "
                "version that run.json names, or train again."
            )
        records = {key: value for key, value in record.items() if key not in BESIDE}
        try:
            if name != COMPOSED and isinstance(records.get("parts"), Mapping):
                idle = {*KINDS, "latent"} - {*find_recipe(name).asks}
                records["parts"] = {k: v for k, v in records["parts"].items() if k not in idle}
            return replace(cls.of(name, records), imports=record.get("imports", []))
        except VaekitError as error:
            mend = " If it is one of your own, pass its file: `import_=['FILE.py']`."
            mend = mend if str(error).startswith("unknown") else ""
            raise VaekitError(f"config.json does not fit: {error}{mend}") from None


def _check_structures(parts: dict[str, Any]) -> None:
    """Refuse what the parts of a composed model cannot be; one that is missing is None."""
    known = ("model", "objective", "why")
    for name in parts:
        if name not in known:
            raise unknown("part of a composed model", name, known)
    for name in ("model", "objective"):
        if not isinstance(parts.setdefault(name, None), dict | None):
            raise VaekitError(f"'{name}' holds {str(parts[name])[:60]}; expected a structure.")


def fits(asked: dict[str, Any], there: dict[str, Any]) -> bool:
    """Return whether a config.json is what is asked for; what nobody asks for was chosen.

    Example:
        >>> there = {"parts": {"latent": 32, "likelihood": {"name": "gaussian", "scale": "free"}}}
        >>> likelihood = {"name": "", "scale": "free"}  # of the kind of data
        >>> fits({"parts": {"latent": None, "likelihood": likelihood}}, there)
        True
        >>> fits({"parts": {"latent": 16}}, there)
        False
    """
    for name, value in asked.items():
        known = there.get(name)
        if isinstance(value, dict) and isinstance(known, dict) and not value.get("name"):
            if not fits({k: v for k, v in value.items() if k != "name"}, known):
                return False
        elif value is not None and value != known:
            return False
    return True
