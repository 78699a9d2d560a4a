"""What a recipe is, and the table of all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import create_model

from vaekit.errors import choose
from vaekit.options import Net, Options, Pixels, checked

if TYPE_CHECKING:
    from vaekit.data import DataSpec
    from vaekit.models import Model
    from vaekit.objectives import Objective


@dataclass(frozen=True, eq=False)
class Recipe:
    """A choice of parts: a model, and the objective it is trained with."""

    model: Model
    objective: Objective


Maker = Callable[..., Recipe]
RECIPES: dict[str, Maker] = {}
_PRESETS: dict[str, dict[str, Any]] = {}


def recipe(maker: Maker | None = None, /, **defaults: Any) -> Any:
    """Enters a function `(data: DataSpec, *, options, net, pixels) -> Recipe` under its name.

    `@recipe(given="label")` sets other defaults of shared options, by their names on the command
    line.
    """

    def enter(maker: Maker) -> Maker:
        RECIPES[maker.__name__], _PRESETS[maker.__name__] = maker, defaults
        return maker

    return enter if maker is None else enter(maker)


def preset(name: str) -> dict[str, Any]:
    """The defaults of shared options that a recipe has of its own.

    Example:
        >>> import vaekit.recipes
        >>> preset("cvae"), preset("vae")
        ({'given': 'label'}, {})
    """
    choose("recipe", name, RECIPES)
    return _PRESETS[name]


def summary(name: str) -> str:
    """The first line of a recipe's docstring.

    Example:
        >>> import vaekit.recipes
        >>> summary("vae")
        'The variational autoencoder: a Gaussian posterior, trained by the ELBO.'
    """
    return (inspect.getdoc(choose("recipe", name, RECIPES)) or "").split("\n")[0]


def own_options(name: str) -> type[Options]:
    """The record of the options that this recipe adds to `Net` and `Pixels`.

    Example:
        >>> import vaekit.recipes
        >>> own_options("beta_vae")()
        beta_vae(latent=10, beta=4.0)
    """
    maker = choose("recipe", name, RECIPES)
    local = {"DataSpec": object, "Recipe": object}
    hints = get_type_hints(maker, localns=local, include_extras=True)
    fields: dict[str, Any] = {
        p.name: (hints[p.name], p.default)
        for p in inspect.signature(maker).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name not in ("net", "pixels")
    }
    return create_model(name, __base__=Options, **fields)


def build(
    name: str,
    data: DataSpec,
    own: dict[str, Any] | None = None,
    *,
    net: Net | None = None,
    pixels: Pixels | None = None,
) -> Recipe:
    """The recipe of this name for these data.

    Raises:
        VaekitError: for an unknown recipe or option, or a value that does not fit.

    Example:
        >>> import vaekit.recipes
        >>> from vaekit.data import DataSpec
        >>> made = build("vae", DataSpec("t", (5,), "table", rows=20), {"latent": 2})
        >>> made.model.prior
        StandardNormal((2,))
    """
    options = checked(own_options(name), own or {}).model_dump()
    return RECIPES[name](data, net=net or Net(), pixels=pixels or Pixels(), **options)
