"""What a run was asked for: a recipe and its options, as one flat list of names or as records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any
from pydantic.fields import FieldInfo
from vaekit.errors import VaekitError, unknown
from vaekit.options import Data, Net, Options, Pixels, Training, checked
from vaekit.recipes import own_options, preset


RECORDS: dict[str, type[Options]] = {
    "net": Net,
    "pixels": Pixels,
    "data": Data,
    "training": Training,
}


def flat_fields(recipe: str) -> Iterator[tuple[str, str, str, FieldInfo]]:
    """Every option of a recipe: its flat name, the record it belongs to, its field's name there.

    Example:
        >>> [name for name, record, _, _ in flat_fields("beta_vae") if record == "own"]
        ['latent', 'beta']
        >>> next(name for name, record, field, _ in flat_fields("vae") if field == "kind")
        'net'
    """
    defaults = preset(recipe)
    for record, cls in {"own": own_options(recipe), **RECORDS}.items():
        for field, plain in cls.model_fields.items():
            name, info = ("net" if (record, field) == ("net", "kind") else field), copy(plain)
            info.default = defaults.get(name, info.default)
            yield name, record, field, info


@dataclass(frozen=True)
class Config:
    """A recipe by name, its own options, and the records that all recipes share."""

    recipe: str
    own: dict[str, Any]
    net: Net
    pixels: Pixels
    data: Data
    training: Training

    @classmethod
    def of(cls, recipe: str, records: Mapping[str, Mapping[str, Any]]) -> Config:
        """From `{"own": {...}, "net": {...}, ...}`; what is left out has its default.

        Raises:
            VaekitError: for an unknown recipe, record or option, or a value that does not fit.
        """
        for name, record in records.items():
            if name not in ("own", *RECORDS):
                raise unknown("record of options", name, ("own", *RECORDS))
            if not isinstance(record, Mapping):
                raise VaekitError(f"'{name}' holds {record!r}; expected options with values.")
        own = checked(own_options(recipe), dict(records.get("own", {}))).model_dump()
        made = {name: checked(kind, dict(records.get(name, {}))) for name, kind in RECORDS.items()}
        return cls(recipe, own, **made)  # type: ignore[arg-type]

    @classmethod
    def flat(cls, recipe: str, **options: Any) -> Config:
        """From names as on the command line.

        Raises:
            VaekitError: for an unknown recipe or option, or a value that does not fit.

        Example:
            >>> config = Config.flat("vae", latent=3, net="conv", lr=0.1)
            >>> config.own["latent"], config.net.kind, config.training.lr
            (3, 'conv', 0.1)
            >>> Config.flat("vae", latnt=3)
            Traceback (most recent call last):
            ...
            vaekit.errors.VaekitError: unknown option 'latnt'; did you mean 'latent'? ...
        """
        homes = {name: (record, field) for name, record, field, _ in flat_fields(recipe)}
        records: dict[str, dict[str, Any]] = {}
        for name, value in {**preset(recipe), **options}.items():
            if name not in homes:
                raise unknown("option", name, list(homes))
            record, field = homes[name]
            records.setdefault(record, {})[field] = value
        return cls.of(recipe, records)

    def to_json(self) -> dict[str, Any]:
        """As plain values; `from_json` reads them."""
        shared = {name: getattr(self, name).model_dump(mode="json") for name in RECORDS}
        return {"recipe": self.recipe, "own": self.own, **shared}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Config:
        """What `to_json` wrote.

        Example:
            >>> config = Config.flat("iwae", samples=3)
            >>> Config.from_json(config.to_json()) == config
            True

        Raises:
            VaekitError: for what is no such record.
        """
        name = record.get("recipe")
        if not isinstance(name, str):
            raise VaekitError("config.json names no recipe: restore it, or train again.")
        try:
            return cls.of(name, {k: v for k, v in record.items() if k != "recipe"})
        except VaekitError as error:
            raise VaekitError(f"config.json does not fit: {error}") from None
