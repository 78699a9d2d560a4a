"""From names, options and what is known of the data to a model and its objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vaekit.errors import VaekitError
from vaekit.recipes.catalog import find_recipe, resolve
from vaekit.registry import Spec, checked, find, make

if TYPE_CHECKING:
    from torch import nn

    from vaekit.data import DataSpec
    from vaekit.models import Model
    from vaekit.nn import Nets
    from vaekit.objectives import Objective
    from vaekit.parts import Conditional, Family

LIKELIHOODS = {  # by the kind of data, where none is named
    "binary": "bernoulli",
    "gray": "gaussian",
    "color": "gaussian",
    "table": "gaussian",
    "counts": "negative-binomial",
}


@dataclass(frozen=True, eq=False)
class Recipe:
    """A choice of parts: a model, and the objective it is trained with."""

    model: Model
    objective: Objective


def build(name: str, data: DataSpec, **asked: Any) -> Recipe:
    """The recipe of this name for these data.

    Args:
        name: of the recipe.
        data: what is known of them.
        asked: parts, each as text, a dict or an object, and `latent`.

    Raises:
        VaekitError: for an unknown recipe or option, a value that does not fit, or parts that do
            not go together.

    Example:
        >>> from vaekit.data import DataSpec
        >>> made = build("vae", DataSpec("t", (5,), "table", rows=20), latent=2)
        >>> made.model.prior
        StandardNormal((2,))
    """
    return assemble(name, resolve(name, asked), data)


def assemble(name: str, parts: Spec, data: DataSpec) -> Recipe:
    """The model and the objective that these specs describe."""
    if find_recipe(name).requires == "context" and not data.context:
        raise VaekitError(
            f"{name} is conditioned on labels; got --context none: leave it, or take the recipe "
            "vae."
        )
    from vaekit.objectives import require

    builder = Builder({**parts, "likelihood": likelihood_spec(parts, data.kind)}, data)
    objective = make("objective", parts["objective"], builder.given)
    made = Recipe(make("model", parts["model"], builder.given), objective)
    require(made.objective, made.model)
    return made


def likelihood_spec(parts: Spec, kind: str) -> Spec:
    """The likelihood that is asked for; else that of the kind of data.

    A scale that nobody names is fitted; under an objective that weighs draws it is learned, since
    what is fitted is the optimum of the ELBO alone.

    Example:
        >>> likelihood_spec({"likelihood": None, "objective": {"name": "iwae"}}, "gray")
        {'name': 'gaussian', 'scale': 'shared'}
    """
    spec = dict(parts["likelihood"] or {"name": ""})
    options = {option: value for option, value in spec.items() if option != "name"}
    name = spec["name"] or LIKELIHOODS[kind]
    found = checked("likelihood", {"name": name, **options})
    needs = getattr(find("objective", parts["objective"]["name"]), "needs", ())
    if (
        isinstance(needs, frozenset)
        and "fixed" in needs
        and name in ("gaussian", "laplace")
        and "scale" not in found
    ):
        found["scale"] = "shared"
    return found


class Builder:
    """What a part may ask for by name, each made when it is first asked for.

    Attributes:
        given: name to maker.
    """

    def __init__(self, parts: Spec, data: DataSpec) -> None:
        self.parts, self.data = parts, data
        names = ("prior", "posterior", "likelihood", "family", "net", "latent", "data")
        shapes = ("event_shape", "x_shape", "context_shape", "rows")
        self.given: Mapping[str, Callable[[], Any]] = {
            name: lambda name=name: getattr(self, name)  # type: ignore[misc]
            for name in (*names, *shapes)
        }

    @cached_property
    def net(self) -> Nets:
        """How networks are made."""
        made: Nets = make("net", self.parts["net"])
        if made.planes and len(self.data.shape) != 3:
            raise VaekitError(
                f"a {self.parts['net']['name']} net needs images; {self.data.name} has rows of "
                f"shape {self.data.shape}: take --net mlp."
            )
        return made

    @property
    def latent(self) -> int:
        """The size of the latent."""
        size: int = self.parts["latent"]
        return size

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of z."""
        return self.net.latent_shape(self.latent, self.data.shape)

    @property
    def x_shape(self) -> tuple[int, ...]:
        """The shape of x."""
        return self.data.shape

    @property
    def context_shape(self) -> tuple[int, ...]:
        """The shape of what the model is conditioned on; () where it is not."""
        return self.data.context

    @property
    def rows(self) -> int:
        """How many training rows there are."""
        return self.data.rows

    @property
    def prior(self) -> nn.Module:
        """p(z)."""
        made: nn.Module = make("prior", self.parts["prior"], self.given)
        return made

    @property
    def posterior(self) -> Conditional:
        """q(z|x): the encoder, and the family of its posterior."""
        from vaekit.parts import Conditional

        family: Family = make("posterior", self.parts["posterior"], self.given)
        if self.net.point and family.param_shape != self.event_shape:
            raise VaekitError(
                f"the net {self.parts['net']['name']} gives a point with its places, and no "
                "spread: take --posterior delta, or --net pool."
            )
        net = self.encoder(family.param_shape)
        return Conditional(net, family, in_shape=self.data.shape)

    def encoder(self, out_shape: tuple[int, ...]) -> nn.Module:
        """A network from one x, and its context, to `out_shape`."""
        from vaekit.nn import LogCounts
        from vaekit.parts import joined_shape

        shape, context = self.data.shape, self.data.context
        if context and not self.net.planes:
            shape = (math.prod(shape),)
        made = self.net.encoder(joined_shape(shape, context), out_shape)
        return LogCounts(made) if self.data.kind == "counts" else made

    @cached_property
    def family(self) -> Family:
        """The family of p(x|z), where it takes such data."""
        spec = self.parts["likelihood"]
        facts = {**self.given, "event_shape": lambda: self.data.shape}
        family: Family = make("likelihood", spec, facts)
        kind, space = self.data.kind, family.space.kind
        if space != "reals" and (space == "counts") != (kind == "counts"):
            takes = "counts" if space == "counts" else "values in [0, 1], not counts"
            raise VaekitError(
                f"the likelihood {spec['name']} takes {takes}; the data {self.data.name} are of "
                f"kind {kind}: take --likelihood {LIKELIHOODS[kind]}."
            )
        return family

    @property
    def likelihood(self) -> Conditional:
        """p(x|z): the decoder of a latent, its output started at the data's mean."""
        return self.decoder(self.event_shape)

    def decoder(self, latent_shape: tuple[int, ...]) -> Conditional:
        """p(x|z) for a latent of this shape."""
        from vaekit.parts import Conditional, joined_shape

        code = joined_shape(latent_shape, self.data.context)
        size = math.prod(latent_shape)
        net = self.net.decoder(code, self.family.param_shape, size)
        return Conditional(self.started(net), self.family, in_shape=latent_shape)

    def started(self, net: nn.Module) -> nn.Module:
        """The decoder, its output's bias at the data's mean where the net asks for it."""
        from vaekit.nn import start_at

        if self.net.start == "mean" and self.data.mean is not None:
            start_at(net, self.family.start(self.data.mean))
        return net
