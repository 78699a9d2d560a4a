"""From names, options and what is known of the data to a model and its objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vaekit.errors import VaekitError
from vaekit.recipes.catalog import find_recipe, resolve
from vaekit.registry import Spec, checked, describe, find, make, register

if TYPE_CHECKING:
    from vaekit.data import DataSpec
    from vaekit.models import Colorizer, Model
    from vaekit.nn import Nets
    from vaekit.objectives import Objective
    from vaekit.parts import Conditional, Family, Quantizer

EXAMPLES = 200  # training rows by which a scale is started
LEAST = 16  # side of the images from which the net is one for images
FEW = 256  # columns of a table that an encoder sees as they are
MANY = 10_000  # rows of a table from which dense layers are wide
LIKELIHOODS = {  # by the kind of data, where none is named
    "binary": "bernoulli",
    "gray": "gaussian",
    "color": "gaussian",
    "table": "gaussian",
    "mixed": "blocks",
    "counts": "negative-binomial",
}


@dataclass(frozen=True, eq=False)
class Recipe:
    """A choice of parts: a model, and the objective it is trained with."""

    model: Model
    objective: Objective


def build(name: str, data: DataSpec, **parts: Any) -> Recipe:
    """Return the recipe of this name for these data.

    Args:
        name: of the recipe.
        data: what is known of them.
        parts: parts, each as text, a dict or an object, and `latent`.

    Raises:
        VaekitError: for an unknown recipe or option, a value that does not fit, or parts that do
            not go together.

    Example:
        >>> from vaekit.data import DataSpec
        >>> recipe = build("vae", DataSpec("t", (5,), "table", rows=20), latent=2)
        >>> recipe.model.prior
        StandardNormal((2,))
    """
    return assemble(name, by_data(resolve(name, parts), data), data)


def assemble(name: str, parts: Spec, data: DataSpec) -> Recipe:
    """Return the model and the objective that these specs describe."""
    if find_recipe(name).requires == "context" and not data.net_context:
        raise VaekitError(
            f"{name} is conditioned on labels; got `context=none`: leave it, or take the recipe "
            "vae."
        )
    from vaekit.objectives import require

    builder = Builder({**parts, "likelihood": likelihood_spec(parts, data.kind)}, data)
    objective = make("objective", parts["objective"], builder.makers)
    model = make("model", parts["model"], builder.makers)
    require(objective, model)
    return Recipe(model, objective)


def likelihood_spec(parts: Spec, kind: str) -> Spec:
    """Return the likelihood that is asked for; else that of the kind of data.

    A scale that nobody names is fitted; under an objective that weighs draws it is learned, since
    what is fitted is the optimum of the ELBO alone: of a mixed table by the network.

    Example:
        >>> likelihood_spec({"likelihood": None, "objective": {"name": "iwae"}}, "gray")
        {'name': 'gaussian', 'scale': 'shared'}
    """
    spec = dict(parts["likelihood"] or {"name": ""})
    options = {option: value for option, value in spec.items() if option != "name"}
    name = spec["name"] or LIKELIHOODS[kind]
    spec = checked("likelihood", {"name": name, **options})
    needs = getattr(find("objective", parts["objective"]["name"]), "needs", ())
    weighted = isinstance(needs, frozenset) and "fixed" in needs
    if weighted and name in ("gaussian", "laplace", "blocks") and "scale" not in spec:
        spec["scale"] = "free" if name == "blocks" else "shared"
    return spec


def by_data(parts: Spec, data: DataSpec, *, flipped: bool = False) -> Spec:
    """Return the parts with the net, the latent and the likelihood of these data, where not named.

    Images from 16 x 16 up get convolutions on patches, as wide as their size asks for, and 32
    latents; without a dense map of all pixels where they are `flipped`, as photos, in which nothing
    has its place. Smaller ones get dense layers; so do rows, with a linear map beside the layers,
    and less than 10,000 rows one layer of 128. More than 256 columns are scaled down for the
    encoder: a step of Adam moves a sum by the rate times the columns, and 5,000 diverged.

    A decoder of gray values and colors in [0, 1] cannot leave these. What was measured:
    docs/defaults.md.

    Example:
        >>> from vaekit.data import DataSpec
        >>> from vaekit.recipes import resolve
        >>> for shape in ((1, 28, 28), (1, 8, 8), (30,)):
        ...     parts = by_data(resolve("vae", {}), DataSpec("t", shape, "gray", rows=9))
        ...     print(parts["net"]["name"], parts["latent"], parts["likelihood"]["mean"])
        patch 32 sigmoid
        mlp 8 sigmoid
        mlp 16 sigmoid
        >>> photos = DataSpec("t", (3, 64, 64), "color", rows=900)
        >>> by_data(resolve("vae", {}), photos, flipped=True)["net"]["direct"]
        False
    """
    rows, image = len(data.shape) == 1, len(data.shape) == 3
    large = image and min(data.shape[1:]) >= LEAST
    net = dict(parts["net"] or {"name": "patch" if large else "mlp"})
    if not parts["net"] and rows and data.kind != "counts":
        net |= {"direct": True} | ({"hidden": (128,)} if data.rows < MANY else {})
        net |= {"scale": FEW / data.shape[0]} if data.shape[0] > FEW else {}
    if net["name"] == "patch" and not net.get("channels") and image:
        from vaekit.nn import by_size, scale_of

        net["patch"], net["channels"] = by_size(data.shape[1:], net.get("patch"))
        net = {"scale": scale_of(data.shape), **net}
        if not parts["net"] and flipped:
            net["direct"] = False
    found = {
        **parts,
        "net": net,
        "latent": parts["latent"] or (32 if large else 8 if image else 16),
    }
    asked = parts["likelihood"] or {"name": ""}
    if not asked["name"]:
        spec, values = likelihood_spec(parts, data.kind), data.values
        unit = data.own is None and (values.low, values.high) == (0, 1)
        decoded = "likelihood" in describe("model", parts["model"]["name"])["given"]
        if data.kind in ("gray", "color") and unit and decoded and "mean" not in asked:
            spec = {**spec, "mean": "sigmoid"}
        found["likelihood"] = spec
    return found


class Builder:
    """What a part may require by name, each made when it is first needed.

    Attributes:
        makers: what makes each thing, by name.
    """

    def __init__(self, parts: Spec, data: DataSpec) -> None:
        self.parts, self.data = parts, data
        self.makers: Mapping[str, Callable[[], Any]] = {
            "prior": lambda: make("prior", parts["prior"], self.makers),
            "posterior": lambda: self.posterior,
            "likelihood": lambda: self.decoder(self.latent_family.event_shape),
            "family": lambda: self.family,
            "net": lambda: self.net,
            "quantizer": lambda: self.quantizer,
            "codes": lambda: self.quantizer.counts(self.event_shape),
            "latent": lambda: parts["latent"],
            "data": lambda: data,
            "event_shape": lambda: self.event_shape,
            "choices": lambda: getattr(self.latent_family, "choices", ()),
            "curvature": lambda: getattr(self.latent_family, "curvature", 1.0),
            "z_shape": lambda: self.latent_family.event_shape,
            "x_shape": lambda: data.shape,
            "context_shape": lambda: data.net_context,
            "rows": lambda: data.rows,
            "library": lambda: bool(data.library),
        }

    @cached_property
    def net(self) -> Nets:
        """Return how networks are made."""
        nets: Nets = make("net", self.parts["net"])
        if nets.planes and len(self.data.shape) != 3:
            raise VaekitError(
                f"a {self.parts['net']['name']} net needs images; {self.data.name} has rows of "
                f"shape {self.data.shape}: take `net=mlp`."
            )
        return nets

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Return the shape of z; of codes that of their vectors."""
        size = self.quantizer.size if "quantizer" in self.parts else 1
        return self.net.latent_shape(size * self.parts["latent"], self.data.shape)

    @cached_property
    def quantizer(self) -> Quantizer:
        """Return what makes codes of vectors."""
        if "quantizer" not in self.parts:
            raise VaekitError(
                "this prior is of codes: take a recipe that has them, as fsq_vae, or another prior."
            )
        quantizer: Quantizer = make("quantizer", self.parts["quantizer"])
        return quantizer

    @cached_property
    def latent_family(self) -> Family:
        """Return the family of q(z|x)."""
        family: Family = make("posterior", self.parts["posterior"], self.makers)
        return family

    @property
    def posterior(self) -> Conditional:
        """Return q(z|x): the encoder, and the family of its posterior."""
        from vaekit.data import starts
        from vaekit.nn import LogCounts
        from vaekit.parts import Conditional

        family = self.latent_family
        if self.net.point and family.param_shape != self.event_shape:
            raise VaekitError(
                f"the net {self.parts['net']['name']} gives a point with its places, and no "
                "spread: take `posterior=delta`, or `net=pool`."
            )
        shape = self.data.shape
        net = self.net.encoder(shape, family.param_shape, self.data.net_context)
        pairs = zip(starts(self.data.columns), self.data.columns, strict=True)
        counts = [place for place, column in pairs if column.kind == "count"]
        if self.data.kind == "counts" or counts:
            net = LogCounts(net, tuple(counts))
        return Conditional(net, family, in_shape=shape, takes=self._takes)

    @property
    def _takes(self) -> int | None:
        """Return how much of the context the networks get, where that is not all."""
        return sum(self.data.net_context) if self.data.library else None

    @cached_property
    def family(self) -> Family:
        """Return the family of p(x|z), where it takes such data."""
        spec = self.parts["likelihood"]
        facts = {**self.makers, "event_shape": lambda: self.data.shape}
        family: Family = make("likelihood", spec, facts)
        kind, space = self.data.kind, family.space.kind
        if space != "reals" and (space == "counts") != (kind == "counts"):
            takes = "counts" if space == "counts" else "values in [0, 1], not counts"
            raise VaekitError(
                f"the likelihood {spec['name']} takes {takes}; the data {self.data.name} are of "
                f"kind {kind}: take `likelihood={LIKELIHOODS[kind]}`."
            )
        if not self.data.library or getattr(family, "totals", False):
            return family
        from vaekit.parts import OfLibrary

        return OfLibrary(family)

    def decoder(self, latent_shape: tuple[int, ...]) -> Conditional:
        """Return p(x|z) for a latent of this shape, its output started at the data's mean."""
        from torch.nn import Sequential

        from vaekit.nn import joined_shape, start_at
        from vaekit.parts import Conditional, Family, FlatBall

        size = math.prod(latent_shape)  # rows of a code lie side by side, and no planes
        code = joined_shape(latent_shape if latent_shape[2:] else (size,), self.data.net_context)
        net = self.net.decoder(code, self.family.param_shape, size)
        if self.net.start == "mean" and self.data.mean is not None:
            start_at(net, self.family.start(self.data.mean))
            if isinstance(self.family, Family) and not next(net.parameters()).is_meta:
                self.family.start_spread(self.data.example(EXAMPLES))
        if curvature := getattr(self.latent_family, "curvature", 0.0):
            net = Sequential(FlatBall(size, curvature=curvature), net)
        return Conditional(net, self.family, in_shape=latent_shape, takes=self._takes)


@register("model", "colorizer")
def colorizer(data: DataSpec, net: Nets, family: Family, *, noise: float = 1.0) -> Colorizer:
    """p(x | its gray image), a model without a latent.

    Args:
        data: in color.
        net: from gray to color.
        family: a Gaussian of one scale.
        noise: standard deviation of the noise on the gray input while training, in gray levels.
    """
    from vaekit.models import Colorizer, luminance
    from vaekit.nn import start_at
    from vaekit.parts import Conditional

    if data.kind != "color" or data.shape[:1] != (3,):
        raise VaekitError(
            f"colorizer learns from color images; {data.name} has rows of shape {data.shape} "
            f"({data.kind}): take data in color, and leave `gray` and `binarize`."
        )
    if data.context:
        raise VaekitError("colorizer is given gray images and no labels: leave `context`.")
    network = net.encoder((1, *data.shape[1:]), data.shape)
    if net.start == "mean" and data.mean is not None:
        added = luminance(data.mean) if getattr(network, "residual", True) else 0
        start_at(network, data.mean - added)
    if getattr(family, "mean", "identity") != "identity":
        raise VaekitError("colorizer adds what it learns to the gray image: leave mean=identity.")
    level = (data.values.high - data.values.low) / 255
    return Colorizer(Conditional(network, family), noise=noise * level)
