"""The layers of a model's networks: what each is, what comes out of it, and its parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn

from vaekit.distributions import Offer
from vaekit.models.base import Model
from vaekit.nn import LogCounts, Phrase, in_words, is_whole, layer_phrases, times
from vaekit.parts import Conditional, Family, Prior

Shape = tuple[int, ...]
Words = Callable[[str], str]
ROLES = {
    "posterior": ("encoder", "q(z|x)"),
    "likelihood": ("decoder", "p(x|z)"),
    "prior": ("prior", "p(z)"),
}
CONTAINERS = nn.Sequential | nn.ModuleList | nn.ModuleDict | nn.Identity
NONE = CONTAINERS | Prior  # of which nothing comes out that a layer takes
OWN = "{} of the distribution"


class Layer(NamedTuple):
    """A layer of a network.

    Attributes:
        path: where the model has it, as "posterior.net.body.0".
        phrases: what it is: see `vaekit.nn.in_words`.
        shape: of what comes out of one row; None where that is not known.
        parameters: how many numbers it has that no layer before it has, too.
    """

    path: str
    phrases: list[Phrase]
    shape: Shape | None
    parameters: int

    @property
    def words(self) -> str:
        """What it is, in words."""
        return in_words(self.phrases)


@dataclass(frozen=True)
class LayerTable:
    """The layers of one network of a model, in the order in which they compute.

    Attributes:
        path: where the model has it, as "posterior".
        role: "encoder", "decoder", "prior", "colors", or its path.
        symbol: the distribution that it gives, as "q(z|x)"; "" where that is not known.
        takes: the shape of one input, with what is joined to it; None where that is not known.
        layers: of it.
        gives: what its output is: the parameters of which distribution.
        event: the shape of one draw of it.
    """

    path: str
    role: str
    symbol: str
    takes: Shape | None
    layers: tuple[Layer, ...]
    gives: tuple[Phrase, ...] = ()
    event: Shape = ()

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return sum(layer.parameters for layer in self.layers)

    def title(self, say: Words = str) -> str:
        """Return what it is, and the distribution that it gives."""
        return f"{say(self.role)} {self.symbol}".rstrip()

    def meaning(self, say: Words = str) -> str:
        """Return in words what the output is; "" where that is not known.

        Example:
            >>> table = LayerTable(
            ...     *("", "decoder", "p(x|z)", None, ()),
            ...     gives=(("logits of a Bernoulli",),),
            ...     event=(1, 8, 8),
            ... )
            >>> table.meaning()
            'logits of a Bernoulli over 1 x 8 x 8'
        """
        if not self.gives:
            return ""
        first, *rest = self.gives
        form = "{} latents" if self.path == "posterior" else "{} values"
        over = ("{}", times(self.event)) if self.event[1:] else (form, f"{self.event[0]:,}")
        what, where = in_words([first], say), in_words([over], say)
        whole = say("{what} over {where}").format(what=what, where=where)
        return in_words([("{}", whole), *rest], say)

    def rows(self, say: Words = str) -> list[tuple[str, str, str]]:
        """Return words, what comes out, and parameters: of input, layers and sum."""
        shown = [] if self.takes is None else [(say("input"), times(self.takes), "")]
        for layer in self.layers:
            name = "" if self.path or not layer.path else f"{layer.path}: "
            shape = "" if layer.shape is None else times(layer.shape)
            shown.append((name + in_words(layer.phrases, say), shape, f"{layer.parameters:,}"))
        return [*shown, (say("sum"), "", f"{self.parameters:,}")]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        names = ("layer", "path", "output", "parameters")
        values = ((one.words, one.path, one.shape, one.parameters) for one in self.layers)
        layers = [dict(zip(names, each, strict=True)) for each in values]
        known = {"path": self.path, "role": self.role, "symbol": self.symbol, "takes": self.takes}
        return {**known, "layers": layers, "gives": self.meaning(), "parameters": self.parameters}


def layer_tables(model: Model, context_shape: Shape = ()) -> tuple[LayerTable, ...]:
    """Return the layers of each network of a model: of the encoder, the decoder, and all others.

    Shapes and order are those of one pass over a row of zeros, in eval mode; mode and random state
    are as before. A layer that is called twice is listed once, and a parameter that several have is
    counted once: the sum over all tables is that over `model.parameters()`. What the pass does not
    call, and all that comes after an error, has no shape, and stands where it was defined.

    Args:
        model: any model.
        context_shape: of what it is conditioned on, for one row.

    Example:
        >>> import vaekit as vk
        >>> model = vk.VAE(
        ...     vk.StandardNormal(2),
        ...     vk.Conditional(vk.MLP(9, 4, hidden=5), vk.Gaussian(2)),
        ...     vk.Conditional(vk.MLP(2, 9, hidden=5), vk.Bernoulli(9)),
        ... )
        >>> encoder, decoder = layer_tables(model)
        >>> [(layer.words, layer.shape, layer.parameters) for layer in encoder.layers]
        [('dense', (5,), 50), ('GELU', (5,), 0), ('dense', (4,), 24)]
        >>> encoder.meaning()
        'mean and log variance of a Gaussian over 2 latents'
    """
    seen, counted = _Pass.of(model, context_shape), set[int]()
    tables, others = [], list[Layer]()
    for path, part, within in _parts(model):
        found = seen.layers(path, part, counted, within)
        if within and (isinstance(part, Conditional | Prior) or any(part.children())):
            tables += [_table(path, part, tuple(found), seen, model, context_shape)] * bool(found)
        else:
            others += found
    if others:
        tables.append(LayerTable("", "other layers", "", None, tuple(others)))
    return tuple(tables)


def _parts(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module, bool]]:
    """Yield each network with its path; and, with False, what has parameters beside networks."""
    for name, child in module.named_children():
        parts = (isinstance(each, Conditional | Prior) for each in child.modules())
        if isinstance(child, Conditional | Prior) or not any(parts):
            yield f"{path}{name}", child, True
        else:
            yield from _parts(child, f"{path}{name}.")
    yield path.rstrip("."), module, False


@dataclass(frozen=True, eq=False)
class _Pass:
    """What was seen of a pass: when a module was called, and what first went in and came out."""

    calls: list[nn.Module] = field(default_factory=list)
    takes: dict[nn.Module, Shape] = field(default_factory=dict)
    gives: dict[nn.Module, Shape] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, context_shape: Shape) -> _Pass:
        seen = cls()

        def before(module: nn.Module, args: tuple[Any, ...]) -> None:
            seen.calls.append(module)
            _keep(seen.takes, module, args)

        def after(module: nn.Module, _: Any, out: Any) -> None:
            _keep(seen.gives, module, out if isinstance(out, tuple | list) else (out,))

        hooks = [each.register_forward_pre_hook(before) for each in model.modules()]
        hooks += [each.register_forward_hook(after) for each in model.modules()]
        try:
            with suppress(Exception):  # of a network that does not take a row of zeros
                model.example(context_shape)
        finally:
            for hook in hooks:
                hook.remove()
        return seen

    def layers(
        self, path: str, part: nn.Module, counted: set[int], within: bool = True
    ) -> list[Layer]:
        """Return the layers of a part in their order; of itself alone where it is not `within`."""
        found: list[tuple[tuple[int, int], Layer]] = []
        calls = self.calls[self.calls.index(part) :] if part in self.calls else []
        place = (-1, 0)  # of the one before: what is not called stays behind it
        families = (each for each in part.modules() if isinstance(each, Family))
        of_family = {each for family in families for each in family.modules()}
        for inner, module in _candidates(part) if within else [("", part)]:
            own = dict(module.named_parameters(recurse=within and is_whole(module)))
            if not own and (not within or module in of_family or not _computes(module)):
                continue
            phrases = layer_phrases(module)
            if module in of_family:  # it stands behind the network
                place = (len(calls), place[1] + 1)
                phrases = phrases if is_whole(module) else [(OWN, ", ".join(own))]
            elif module in calls:
                place = (calls.index(module), 0)
            else:
                place = (place[0], place[1] + 1)
            new = {id(each): each.numel() for each in own.values() if id(each) not in counted}
            counted.update(new)
            shape = (self.takes if isinstance(module, LogCounts) else self.gives).get(module)
            where = ".".join(filter(None, (path, inner)))
            found.append((place, Layer(where, phrases, shape, sum(new.values()))))
        return [layer for _, layer in sorted(found, key=lambda each: each[0])]


def _keep(shapes: dict[nn.Module, Shape], module: nn.Module, tensors: Sequence[Any]) -> None:
    """Keep the shape of the first tensor, for one row, of the first call."""
    first = next((each for each in tensors if isinstance(each, Tensor) and each.dim()), None)
    if first is not None:
        shapes.setdefault(module, tuple(first.shape[1:]))


def _candidates(part: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that may be layers, each with its path; nothing of what is inside one."""
    inside = set[nn.Module]()
    for path, module in part.named_modules():
        if module not in inside:
            yield path, module
            inside |= {*module.modules()} if is_whole(module) else set()


def _computes(module: nn.Module) -> bool:
    """Return whether a module without parameters is a layer."""
    if is_whole(module) or isinstance(module, LogCounts):
        return True
    return not (any(module.children()) or isinstance(module, NONE))


def _table(
    path: str,
    part: nn.Module,
    layers: tuple[Layer, ...],
    seen: _Pass,
    model: Model,
    context: Shape,
) -> LayerTable:
    """Return the table of a network, with what its output is."""
    role, symbol = ROLES.get(path, (path, ""))
    if Offer.COLORS in model.offers:
        role, symbol = "colors", "p(x|g)"
    elif context and symbol.endswith(")") and path != "prior":
        symbol = f"{symbol[:-1]}, y)"
    if not isinstance(part, Conditional):
        return LayerTable(path, role, symbol, seen.takes.get(part), layers)
    known = part.family.gives, part.family.event_shape
    return LayerTable(path, role, symbol, seen.takes.get(part.net), layers, *known)
