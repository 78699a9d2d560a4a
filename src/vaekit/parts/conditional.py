"""A conditional distribution: a network followed by a family.

Shapes: `S` Monte-Carlo dims (any number), `B` batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vaekit.distributions import Distribution, Offer, Space
from vaekit.errors import VaekitError
from vaekit.nn import Phrase, sizes
from vaekit.registry import given_options, register

Shape = int | tuple[int, ...]  # of one draw; a number is that of a vector


def one_dim(what: str, event_shape: Shape, mend: str = "") -> int:
    """Return the size of a vector; refuse other shapes, which do not go with `what` there is.

    Example:
        >>> one_dim("a flow is over vectors", 3)
        3
    """
    shape = sizes("event_shape", event_shape)
    if len(shape) != 1:
        raise VaekitError(f"{what}; got the event_shape {shape}{mend}.")
    return shape[0]


class Family(nn.Module, ABC):
    """Parameters to distribution: `forward(params (*lead, *param_shape)) -> Distribution`.

    A network is built to `param_shape`; draws have `event_shape` and live on `space`.

    Attributes:
        distribution: the class of its distributions, which gives space and offers.
        copies: how many numbers the network returns for each element.
        numbers: the shape of what it returns for one example, where that is no multiple.
        levels: how many values an element can take, where these are few.
        form: what the network's output is, as a `Phrase`: of a text, and of attributes.
    """

    distribution: ClassVar[Any]
    copies: int = 1
    numbers: tuple[int, ...] | None = None
    levels: int | None = None
    form: tuple[str, ...] = ("parameters of {}", "_name")

    def __init__(self, event_shape: Shape) -> None:
        super().__init__()
        self.event_shape = sizes("event_shape", event_shape)

    @property
    def param_shape(self) -> tuple[int, ...]:
        """Return the shape that the network must return for one example."""
        first, *rest = self.event_shape
        return (self.copies * first, *rest) if self.numbers is None else self.numbers

    @property
    def space(self) -> Space:
        """Return the space of the draws."""
        levels = self.distribution.levels if self.levels is None else self.levels
        normalized = getattr(self.distribution, "normalized", True)
        return Space(self.distribution.kind, self.event_shape, levels, normalized)

    @property
    def offers(self) -> frozenset[Offer]:
        """Return what may be asked of this family's distribution."""
        return self.distribution.offers | {Offer.FIXED}

    @property
    def gives(self) -> tuple[Phrase, ...]:
        """Return what the network's output is, in phrases: see `vaekit.nn.in_words`."""
        text, *names = self.form
        return ((text, *(str(getattr(self, name)) for name in names)),)

    @abstractmethod
    def forward(self, params: Tensor, context: Tensor | None = None) -> Distribution:
        """Return the distribution with these parameters."""

    def start(self, mean: Tensor) -> Tensor:
        """Return parameters `param_shape` of the distribution with this mean `event_shape`."""
        raise VaekitError(f"{type(self).__name__} cannot be started at a mean.")

    def start_spread(self, rows: Tensor) -> None:
        """Start learned numbers that all rows share near their best for these, `(N, *event)`."""

    @property
    def _name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        return f"{self.event_shape}{given_options(self)}"

    def __repr__(self) -> str:
        return f"{self._name}({self.extra_repr()})"


def join(h: Tensor, context: Tensor) -> Tensor:
    """Join `h` (N, *in) with the context (N, *G).

    Vectors are concatenated; before a convolution a vector becomes constant planes, and an
    image's channels join the channels. `Conditional` flattens `h` for a net that takes vectors.

    Example:
        >>> join(torch.zeros(2, 3), torch.ones(2, 1))
        tensor([[0., 0., 0., 1.],
                [0., 0., 0., 1.]])
        >>> join(torch.zeros(2, 3, 4, 4), torch.ones(2, 10)).shape
        torch.Size([2, 13, 4, 4])
    """
    if h.dim() == 2:
        return torch.cat([h, context.flatten(1).to(h.dtype)], 1)
    if context.dim() == 2:
        context = context.unflatten(1, (-1, *[1] * (h.dim() - 2))).expand(-1, -1, *h.shape[2:])
    return torch.cat([h, context.to(h.dtype)], 1)


@register("module", "conditional")
class Conditional(nn.Module):
    """p(a | b): `family(net(b))`, for b with any number of leading dims.

    It alone folds the leading dims before the network and restores them after it, so that any
    network `(N, *in) -> (N, *out)` works with any number of samples.

    Args:
        net: any module; `net.in_shape` is the shape of one input. Several tensors of one shape
            that it returns, such as (location, log-variance), are joined in the family's order.
        family: turns the network's output into a distribution.
        in_shape: the shape of one input, without the context; needed where the network has no
            `in_shape` or takes a context besides. Where `net.in_shape` is one size, the input is
            flattened.
        takes: how many numbers of a context `(B, G)` the network gets, the first ones; the others
            reach the family alone. By default both get all.

    Raises:
        VaekitError: where the input or the network's output has another shape.

    Example:
        >>> from vaekit.parts import Gaussian
        >>> q = Conditional(nn.Linear(5, 8), Gaussian(4), in_shape=(5,))
        >>> q(torch.zeros(7, 3, 5)).loc.shape
        torch.Size([7, 3, 4])
        >>> Conditional(nn.Linear(5, 7), Gaussian(4), in_shape=(5,))(torch.zeros(16, 5))
        Traceback (most recent call last):
        ...
        vaekit.errors.VaekitError: Gaussian (4,) takes parameters (*, 8); the network Linear
        returned (16, 7): build it to the family's param_shape.
    """

    def __init__(
        self,
        net: nn.Module,
        family: Family,
        in_shape: int | tuple[int, ...] | None = None,
        *,
        takes: int | None = None,
    ) -> None:
        super().__init__()
        shape: Any = getattr(net, "in_shape", None) if in_shape is None else in_shape
        if shape is None:
            raise VaekitError(
                f"{type(net).__name__} does not say the shape of its input: pass in_shape=(...)."
            )
        self.net = net
        self.family = family
        self.in_shape = sizes("in_shape", shape)
        inner = sizes("in_shape", getattr(net, "in_shape", self.in_shape))
        self._flattens = len(self.in_shape) > len(inner) == 1
        self.takes = takes

    def forward(self, h: Tensor, context: Tensor | None = None) -> Distribution:
        lead = h.shape[: h.dim() - len(self.in_shape)]
        if h.shape[len(lead) :] != self.in_shape or not lead:
            raise VaekitError(
                f"the input of {type(self.net).__name__} has the shape {tuple(h.shape)}; "
                f"expected (*, {', '.join(map(str, self.in_shape))}) with a batch in front."
            )
        more = lead[:-1]
        same = bool(more) and not self.training and not any(h.stride()[: len(more)])
        if same:  # draws of a point, a view of one: the network need see it once
            h, lead = h[(0,) * len(more)], lead[-1:]
        flat = h.flatten(0, len(lead) - 1) if len(lead) > 1 else h
        if self._flattens:
            flat = flat.flatten(1)
        given = context
        if context is not None and self.takes is not None:
            given = context[:, : self.takes] if self.takes else None
            context = context[:, self.takes :]
        params = self.net(flat if given is None else join(flat, _fold(given, lead)))
        if isinstance(params, tuple | list):
            params = torch.cat(tuple(params), 1)
        family = self.family
        if params.shape[1:] != family.param_shape:
            raise VaekitError(
                f"{type(family).__name__} {family.event_shape} takes parameters "
                f"(*, {', '.join(map(str, family.param_shape))}); the network "
                f"{type(self.net).__name__} returned {tuple(params.shape)}: build it to the "
                "family's param_shape."
            )
        params = params.unflatten(0, lead) if len(lead) > 1 else params
        return family(params.expand(*more, *params.shape) if same else params, context)


def _fold(context: Tensor, lead: tuple[int, ...]) -> Tensor:
    """Return the context (B, *G), repeated for every sample and folded to (N, *G)."""
    if context.shape[0] != lead[-1]:
        raise VaekitError(
            f"the context has {context.shape[0]} rows; expected {lead[-1]}, one per row."
        )
    return context.expand(*lead, *context.shape[1:]).flatten(0, len(lead) - 1)
