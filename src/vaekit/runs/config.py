"""What a run was asked for: a recipe or a composed model, and the options of data and training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field
from pydantic.fields import FieldInfo

from vaekit.errors import VaekitError, unknown
from vaekit.imports import Import, imports_of
from vaekit.options import Data, Options, Training, checked
from vaekit.recipes import find_recipe, resolve
from vaekit.registry import KINDS, Spec, completed, entries, nested, text

if TYPE_CHECKING:
    from torch import nn

FORMAT = 2  # of config.json
COMPOSED = "composed"  # in place of a recipe, where the parts were put together in Python
MEND = (
    "expected a vaekit Model and an Objective, as vaekit.VAE(vaekit.StandardNormal(8), "
    "vaekit.Conditional(encoder, vaekit.Gaussian(8), in_shape=...), "
    "vaekit.Conditional(decoder, vaekit.Bernoulli(...), in_shape=8)) and vaekit.ELBO()."
)
BESIDE = ("format", "recipe", "spec", "sha256", "imports")  # keys of config.json beside the records
RECORDS: dict[str, type[Options]] = {"data": Data, "training": Training}
HOMES = {name: group for group, record in RECORDS.items() for name in record.model_fields}


def flat_fields(recipe: str) -> Iterator[tuple[str, str, FieldInfo]]:
    """Every option of a recipe: its name, the group it belongs to, and what it is.

    Example:
        >>> [name for name, group, _ in flat_fields("beta_vae") if group == "parts"]
        ['prior', 'posterior', 'likelihood', 'objective', 'net', 'latent', 'model']
    """
    entry, parts = find_recipe(recipe), resolve(recipe, {})
    for name in entry.asks:
        yield name, "parts", _part_field(name, parts[name])
    for group, record in RECORDS.items():
        for name, plain in record.model_fields.items():
            info = copy(plain)
            info.default = entry.options.get(name, info.default)
            yield name, group, info


def _part_field(name: str, value: Any) -> FieldInfo:
    """An option that takes a part; its default is the recipe's."""
    info: Any
    if name == "latent":
        info = Field(default=value, ge=1, description="The size of the latent.")
        info.annotation = int
        return info
    shown = "by the kind of data" if value is None else text(value, brief=name)
    known = ", ".join(entries(name))
    words = f"{KINDS[name]}: {known}. Options: vaekit parts {name}."
    if name == "likelihood":
        words += " Gray values under bernoulli are the usual loss and not a likelihood."
    info = Field(default=None, description=f"{words} Here {shown}.")
    info.annotation = str | None
    return info


@dataclass(frozen=True)
class Config:
    """What is trained, and how: a recipe by name, and the records that all recipes share.

    Attributes:
        recipe: its name; "composed" for a model that was put together in Python.
        parts: the specs of the recipe's parts, by kind; of a composed model the `structure` of
            "model" and "objective", None where one has none, and then "why" that is so.
        data, training: the options.
        imports: which files and modules of the user's own it takes.
    """

    recipe: str
    parts: Spec
    data: Data
    training: Training
    imports: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, recipe: str, records: Mapping[str, Mapping[str, Any]]) -> Config:
        """From `{"parts": {...}, "data": {...}, ...}`; what is left out has its default.

        Raises:
            VaekitError: for an unknown recipe, record or option, or a value that does not fit.
        """
        for name, record in records.items():
            if name not in ("parts", *RECORDS):
                raise unknown("record of options", name, ("parts", *RECORDS))
            if not isinstance(record, Mapping):
                raise VaekitError(f"'{name}' holds {record!r}; expected options with values.")
        asked = dict(records.get("parts", {}))
        parts = _trees(asked) if recipe == COMPOSED else resolve(recipe, asked)
        for kind, spec in parts.items():
            if recipe != COMPOSED and isinstance(spec, dict) and kind != "likelihood":
                parts[kind] = completed(kind, spec)
        made = {name: checked(kind, dict(records.get(name, {}))) for name, kind in RECORDS.items()}
        return cls(recipe, parts, **made)  # type: ignore[arg-type]

    @classmethod
    def flat(cls, recipe: str, **options: Any) -> Config:
        """From names as on the command line, and options of parts by their path.

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
        records: dict[str, dict[str, Any]] = {}
        preset = {
            name: value for name, value in entry.options.items() if homes.get(name) in RECORDS
        }
        for name, value in sorted({**preset, **options}.items(), key=lambda one: "." in one[0]):
            kind, _, path = name.partition(".")
            if kind not in homes or (path and homes[kind] != "parts"):
                raise unknown("option", name, list(homes))
            found = records.setdefault(homes[kind], {})
            found[kind] = nested(kind, found.get(kind) or "", path, value) if path else value
        return cls.of(recipe, records)

    def importing(self, given: Sequence[Import]) -> Config:
        """The same, with what was imported for it, and what its parts are of."""
        return replace(self, imports=imports_of(given, self.recipe, self.parts))

    @classmethod
    def composed(cls, model: nn.Module, objective: nn.Module, **options: Any) -> Config:
        """Of a model that was put together in Python, with the options of data and training.

        Raises:
            VaekitError: for an option that is neither, or a value that does not fit.
        """
        from vaekit.models import Model
        from vaekit.runs.graph import structure

        if not isinstance(model, Model):
            raise VaekitError(f"got a {type(model).__name__} for the model; {MEND}")
        records: dict[str, dict[str, Any]] = {"parts": {}}
        for name, value in options.items():
            if name not in HOMES and name.partition(".")[0] in (*KINDS, "latent"):
                raise VaekitError(f"got {name}: the model brings its parts; leave it.")
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
        """As plain values; `from_json` reads them."""
        shared = {name: getattr(self, name).model_dump(mode="json") for name in RECORDS}
        head = {"format": FORMAT, "recipe": self.recipe, "imports": self.imports}
        return {**head, "parts": self.parts, **shared}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Config:
        """What `to_json` wrote.

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
        known = {k: v for k, v in record.items() if k not in BESIDE}
        try:
            idle = set() if name == COMPOSED else {*KINDS, "latent"} - {*find_recipe(name).asks}
            if isinstance(known.get("parts"), Mapping):
                known["parts"] = {k: v for k, v in known["parts"].items() if k not in idle}
            return replace(cls.of(name, known), imports=record.get("imports", []))
        except VaekitError as error:
            own = str(error).startswith("unknown")
            mend = " If it is one of your own, pass its file: `import_=['FILE.py']`." if own else ""
            raise VaekitError(f"config.json does not fit: {error}{mend}") from None


def _trees(parts: dict[str, Any]) -> dict[str, Any]:
    """The parts of a composed model, or the refusal of what they cannot be."""
    if wrong := [one for one in parts if one not in ("model", "objective", "why")]:
        raise unknown("part of a composed model", wrong[0], ("model", "objective", "why"))
    for name in ("model", "objective"):
        if not isinstance(parts.setdefault(name, None), dict | None):
            raise VaekitError(f"'{name}' holds {str(parts[name])[:60]}; expected a structure.")
    return parts
