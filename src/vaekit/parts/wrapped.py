"""Families and priors of torch.distributions, and flows of zuko."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributions as td

from vaekit import distributions as d
from vaekit.errors import VaekitError, choose
from vaekit.nn import Phrase, sizes
from vaekit.parts.conditional import Family, Shape, one_dim
from vaekit.parts.priors import Context, Posterior, Prior

# Of several ways to set the same parameter, the first is used.
SAME = (("logits", "probs"), ("scale_tril", "covariance_matrix", "precision_matrix"))


class TorchFamily(Family):
    """The distributions of a class of torch.distributions.

    The network returns, in the order of the class's arguments, what `torch.distributions
    .transform_to` makes its parameters of: a positive one is exp of it.

    Args:
        cls: the class, as `torch.distributions.Gamma`.
        event_shape: the shape of one draw.
        fixed: parameters that are not the network's, by name.

    Raises:
        VaekitError: for a parameter that no unconstrained number gives, as a whole one: fix it.

    Example:
        >>> family = TorchFamily(td.Gamma, 3)
        >>> family.param_shape, str(family.space)
        ((6,), 'positive(3)')
        >>> family(torch.zeros(5, 6)).rsample((7,)).shape
        torch.Size([7, 5, 3])
        >>> TorchFamily(td.StudentT, (1, 8, 8), df=4.0).param_shape
        (2, 8, 8)
        >>> TorchFamily(td.MultivariateNormal, 3).param_shape
        (12,)
    """

    distribution = d.TorchDistribution
    offers: Any = None  # known once it is made, as its space is
    space: Any = None

    def __init__(self, cls: type[td.Distribution], event_shape: Shape, **fixed: float) -> None:
        super().__init__(event_shape)
        self.cls, self.fixed = cls, fixed
        self.maps, self._shapes = {}, {}
        for name in _names(cls, fixed):
            self.maps[name], self._shapes[name] = self._map(name)
        rest = math.prod(self.event_shape[1:])
        self._sizes = [math.prod(shape) // rest for shape in self._shapes.values()]
        self.numbers = (sum(self._sizes), *self.event_shape[1:])
        example: Any = self(torch.zeros(self.param_shape))
        self.offers, self.space = example.offers | {d.Offer.FIXED}, example.space

    def _map(self, name: str) -> tuple[Any, tuple[int, ...]]:
        """Return what makes a parameter of unconstrained numbers, and their shape for one draw."""
        constraints: Any = self.cls.arg_constraints
        try:
            transform = td.transform_to(constraints[name])
        except NotImplementedError:
            raise VaekitError(
                f"TorchFamily cannot make the {name} of a {self.cls.__name__} from a network's "
                f"output: fix it, as TorchFamily({self.cls.__name__}, ..., {name}=1)."
            ) from None
        square = constraints[name].event_dim == 2
        shape = (*self.event_shape, self.event_shape[-1]) if square else self.event_shape
        return transform, tuple(transform.inverse_shape(shape))

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        dim = len(self.event_shape)
        values: dict[str, Any] = dict(self.fixed)
        parts = params.split(self._sizes, -dim)
        for (name, shape), part in zip(self._shapes.items(), parts, strict=True):
            values[name] = self.maps[name](part.flatten(-dim).unflatten(-1, shape))
        torch_s = self.cls(**values, validate_args=False)
        return d.TorchDistribution(torch_s, event_dim=dim, offers=self.offers)

    @property
    def gives(self) -> tuple[Phrase, ...]:
        """Return what the network's output is: numbers that parameters are made of."""
        return (("{} of {}", ", ".join(self.maps), self.cls.__name__),)

    def extra_repr(self) -> str:
        fixed = "".join(f", {name}={value!r}" for name, value in self.fixed.items())
        return f"{self.cls.__name__}, {self.event_shape}{fixed}"


def _names(cls: type[td.Distribution], fixed: dict[str, float]) -> list[str]:
    """Return the parameters that a network gives: each once."""
    constraints: Any = cls.arg_constraints
    if not isinstance(constraints, dict):
        raise VaekitError(
            f"a {cls.__name__} says what its parameters may be only once it is made: take another "
            "class, or a Family of your own that returns TorchDistribution(...)."
        )
    for name in fixed:
        choose(f"parameter of {cls.__name__}", name, constraints)
    ordered = [n for n in inspect.signature(cls.__init__).parameters if n in constraints]
    for same in SAME:
        present = [name for name in same if name in ordered]
        used = next((name for name in present if name in fixed), present[0] if present else "")
        ordered = [name for name in ordered if name not in present or name == used]
    return [name for name in ordered if name not in fixed]


class TorchPrior(Prior):
    """A distribution of torch.distributions with fixed parameters.

    Args:
        cls: the class, as `torch.distributions.Gamma`.
        event_shape: the shape of one draw.
        parameters: by name; a number serves all elements.

    Raises:
        VaekitError: for parameters that the class does not take.

    Example:
        >>> prior = TorchPrior(td.Gamma, 3, concentration=2.0, rate=1.0)
        >>> prior().sample((5,)).shape, prior.space == TorchFamily(td.Gamma, 3).space
        (torch.Size([5, 3]), True)
    """

    offers: Any = None  # known once it is made, as its space is
    space: Any = None

    def __init__(
        self, cls: type[td.Distribution], event_shape: Shape, **parameters: float | Tensor
    ) -> None:
        super().__init__()
        self.cls, self.names = cls, tuple(parameters)
        self.event_shape = sizes("event_shape", event_shape)
        for name, value in parameters.items():
            tensor = torch.as_tensor(value, dtype=torch.get_default_dtype())
            tensor = tensor.expand(self.event_shape) if not tensor.dim() else tensor
            self.register_buffer(name, tensor.clone())
        try:
            example = self._make(validate_args=True)
        except (TypeError, ValueError) as error:
            why = " ".join(str(error).split())
            raise VaekitError(f"{cls.__name__} does not take these parameters: {why}") from None
        self.offers, self.space = example.offers, example.space

    def _make(self, validate_args: bool = False) -> d.TorchDistribution:
        values: Any = {name: getattr(self, name) for name in self.names}
        torch_s = self.cls(**values, validate_args=validate_args)
        return d.TorchDistribution(torch_s, event_dim=len(self.event_shape))

    def forward(self, context: Context = None, posterior: Posterior = None) -> d.Distribution:
        return self._make()

    def extra_repr(self) -> str:
        return ", ".join([self.cls.__name__, str(self.event_shape), *self.names])


FLOWS = ("nsf", "maf", "nice")


def zuko() -> Any:
    """Return the package; its import turns torch's checks off for all, and they stay as they were.

    Example:
        >>> zuko().flows.MAF.__name__
        'MAF'
    """
    checks = td.Distribution._validate_args
    try:
        import zuko
        import zuko.flows
    finally:
        td.Distribution.set_default_validate_args(checks)
    return zuko


def masked(make: Callable[[], nn.Module]) -> nn.Module:
    """Return a network with masks, which zuko makes by operations that "meta" tensors lack."""
    with torch.device("cpu"):
        net = make()
    return net.to(torch.get_default_device())


def unchecked(flow: Any, offers: frozenset[d.Offer] | None = None) -> d.TorchDistribution:
    """Return a flow over vectors; torch would check every draw, and raise where one is NaN."""
    base = flow
    while base is not None:
        base._validate_args = False
        base = getattr(base, "base", None) or getattr(base, "base_dist", None)
    return d.TorchDistribution(flow, event_dim=1, offers=offers)


class ZukoFamily(Family):
    """A normalizing flow of zuko, conditioned on the network's output.

    A draw and its density come in one pass. An autoregressive flow draws its D numbers one after
    the other and scores them at once.

    Args:
        event_shape: how many numbers one draw has.
        flow: "nsf" (neural spline flow, arXiv 1906.04032), "maf" (masked autoregressive flow, arXiv
            1705.07057), "nice" (coupling layers, arXiv 1410.8516), or a class of zuko.flows.
        params: how many numbers the network returns.
        options: of the flow, as `transforms=3`, `hidden_features=(64, 64)`.

    Raises:
        VaekitError: for an unknown flow, and an event of several dims.

    Example:
        >>> family = ZukoFamily(2, flow="maf", params=8, transforms=2, hidden_features=(16,))
        >>> family.param_shape
        (8,)
        >>> z, log_q = family(torch.zeros(5, 8)).rsample_and_log_prob((7,))
        >>> z.shape, log_q.shape
        (torch.Size([7, 5, 2]), torch.Size([7, 5]))
    """

    distribution = d.TorchDistribution
    form = ("{} numbers that condition a flow", "params")
    offers: Any = None  # known once it is made: no mean, and no copy without gradients

    def __init__(
        self,
        event_shape: Shape,
        *,
        flow: str | Callable[..., nn.Module] = "nsf",
        params: int = 64,
        **options: Any,
    ) -> None:
        super().__init__(event_shape)
        size = one_dim("a flow is over vectors", event_shape)
        self.params, self.numbers = params, (params,)
        make: Any = flow
        if isinstance(flow, str):
            choose("flow", flow, dict.fromkeys(FLOWS))
            make = getattr(zuko().flows, flow.upper())

        def made() -> nn.Module:
            net: nn.Module = make(size, params, **options)
            self.offers = unchecked(net(torch.zeros(1, params))).offers | {d.Offer.FIXED}
            return net

        self.flow = masked(made)

    def forward(self, params: Tensor, context: Tensor | None = None) -> d.Distribution:
        return unchecked(self.flow(params), self.offers)
