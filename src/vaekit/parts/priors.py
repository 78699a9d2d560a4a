"""Priors p(z): modules whose forward returns a distribution."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vaekit import distributions as d
from vaekit.errors import VaekitError, within
from vaekit.nn import sizes
from vaekit.parts.conditional import Shape
from vaekit.registry import given_options, register

Context = Tensor | None
Posterior = nn.Module | None

IMAGES = ("binary", "gray", "color")
MOST = 100_000  # components


class Prior(nn.Module, ABC):
    """p(z), or p(z | context): `forward(context, posterior) -> Distribution` on `space`.

    The model passes its posterior at every pass: a prior that needs it stores nothing of it.

    Attributes:
        needs: what the posterior must offer, in the words of `Offer`.
        distribution: the class of its distribution, which gives space and offers; without one they
            are reals, with draws and a density.
        event_shape: the shape of z.
    """

    needs: ClassVar[frozenset[d.Offer]] = frozenset()
    distribution: ClassVar[Any] = None
    event_shape: tuple[int, ...]

    @property
    def offers(self) -> frozenset[d.Offer]:
        """Return what may be asked of the distribution."""
        known = self.distribution
        return d.offering("draws", "density") if known is None else known.offers

    @property
    def space(self) -> d.Space:
        """Return the space of the latent."""
        return d.Space(getattr(self.distribution, "kind", "reals"), self.event_shape)

    @abstractmethod
    def forward(self, context: Context = None, posterior: Posterior = None) -> d.Distribution:
        """Return the distribution; its batch shape is empty or the context's."""

    def extra_repr(self) -> str:
        return f"{self.event_shape}{given_options(self)}"


class _Shaped(Prior):
    """A prior over reals of one shape, without parameters."""

    def __init__(self, event_shape: Shape) -> None:
        super().__init__()
        self.event_shape = sizes("event_shape", event_shape)
        self.zero = nn.Buffer(torch.zeros(self.event_shape), persistent=False)

    def forward(self, context: Context = None, posterior: Posterior = None) -> d.Distribution:
        made: d.Distribution = self.distribution(self.zero, event_dim=len(self.event_shape))
        return made


@register("prior", "standard-normal")
class StandardNormal(_Shaped):
    """N(0, I), whatever the context.

    Example:
        >>> StandardNormal(2)().log_prob(torch.zeros(5, 2))
        tensor([-1.8379, -1.8379, -1.8379, -1.8379, -1.8379])
    """

    distribution = d.StandardGaussian


class _Nothing(d.StandardGaussian):
    """A space without a distribution: draws and densities are refused."""

    offers = frozenset()

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        raise self._refusal("sample from")

    def terms(self, x: Tensor) -> Tensor:
        raise self._refusal("score codes by")

    def _refusal(self, what: str) -> VaekitError:
        return VaekitError(
            f"this model has no prior to {what}: nothing says how its codes are distributed; "
            "reconstruct or interpolate, or train with a prior, as standard-normal."
        )


@register("prior", "none")
class NoPrior(_Shaped):
    """No prior: nothing says how the codes are distributed, and there are no samples.

    Example:
        >>> NoPrior(2)().sample((3,))
        Traceback (most recent call last):
        ...
        vaekit.errors.VaekitError: this model has no prior to sample from: nothing says how its
        codes are distributed; reconstruct or interpolate, or train with a prior, as
        standard-normal.
    """

    distribution = _Nothing


@register("prior", "gaussian")
class GaussianPrior(Prior):
    """Independent Gaussians whose means and scales are learned; they start at N(0, 1).

    With a latent that may have any place and spread it is no restriction, and no gain: it is of use
    where the posterior cannot move, or to see what the codes' spread is.

    Example:
        >>> GaussianPrior(2)().log_prob(torch.zeros(2)).item()
        -1.8378770351409912
    """

    distribution = d.Gaussian

    def __init__(self, event_shape: Shape) -> None:
        super().__init__()
        self.event_shape = sizes("event_shape", event_shape)
        self.loc = nn.Parameter(torch.zeros(self.event_shape))
        self.log_scale = nn.Parameter(torch.zeros(self.event_shape))

    def forward(self, context: Context = None, posterior: Posterior = None) -> d.Distribution:
        return d.Gaussian(self.loc, self.log_scale, event_dim=len(self.event_shape))


@register("prior", "laplace")
class LaplacePrior(Prior):
    """Independent Laplace variables about 0: codes that are mostly near 0, and sometimes far.

    Such a prior has axes, which N(0, I) has not: codes cannot be turned, as in independent
    component analysis.

    Args:
        event_shape: the shape of z.
        learned: whether the scale of each dimension is learned; it starts at 1.

    References:
        Barello, Charles and Pillow 2024, Sparse-coding variational autoencoders, Neural Computation
        36(12).

    Example:
        >>> LaplacePrior(2)().log_prob(torch.tensor([0.0, 1.0]))
        tensor(-2.3863)
    """

    zero: Tensor
    log_scale: Tensor

    def __init__(self, event_shape: int | tuple[int, ...], *, learned: bool = False) -> None:
        super().__init__()
        self.event_shape = sizes("event_shape", event_shape)
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)
        start = torch.zeros(self.event_shape)
        self.log_scale = nn.Parameter(start) if learned else nn.Buffer(start, persistent=False)

    @property
    def space(self) -> d.Space:
        return d.reals(*self.event_shape)

    @property
    def offers(self) -> frozenset[d.Offer]:
        return d.Laplace.offers

    def forward(
        self, context: Tensor | None = None, posterior: nn.Module | None = None
    ) -> d.Distribution:
        return d.Laplace(self.zero, self.log_scale, event_dim=len(self.event_shape))

    def extra_repr(self) -> str:
        return f"{self.event_shape}, learned={isinstance(self.log_scale, nn.Parameter)}"


@register("prior", "mixture")
class MixturePrior(Prior):
    """A mixture of Gaussians with learned weights, means and scales.

    The means start at draws of N(0, 1), the scales at 1. It is the simplest prior that may have
    clusters (Dilokthanakul et al., "Deep unsupervised clustering with Gaussian mixture variational
    autoencoders", arXiv 1611.02648, with all of the mixture in p(z)).

    Args:
        event_shape: the shape of z.
        components: how many.

    Raises:
        VaekitError: for fewer than one.

    Example:
        >>> MixturePrior(2, components=5)().sample((3,)).shape
        torch.Size([3, 2])
    """

    def __init__(self, event_shape: Shape, *, components: int = 10) -> None:
        super().__init__()
        self.event_shape = sizes("event_shape", event_shape)
        count = within("components", components, 1, MOST)
        self.logits = nn.Parameter(torch.zeros(count))
        self.loc = nn.Parameter(torch.randn(count, *self.event_shape))
        self.log_scale = nn.Parameter(torch.zeros(count, *self.event_shape))

    def forward(self, context: Context = None, posterior: Posterior = None) -> d.Distribution:
        each = d.Gaussian(self.loc, self.log_scale, event_dim=len(self.event_shape))
        return d.Mixture(self.logits.log_softmax(0), each)


@register("prior", "vamp")
class VampPrior(Prior):
    """The mixture of posteriors at learned inputs: 1/K sum_k q(z | u_k), eq. 9.

    The inputs u start at training rows, and stay within the range of the data. The posterior is the
    model's own, at every pass.

    Args:
        event_shape: the shape of z.
        data: the `DataSpec` of the training rows.
        components: K, how many inputs.

    Raises:
        VaekitError: for fewer than one, and for data that the model is conditioned on.

    References:
        Tomczak and Welling 2018, VAE with a VampPrior, arXiv 1705.07120.
    """

    needs = d.offering("draws", "density", "marginal")

    def __init__(self, event_shape: Shape, data: Any, *, components: int = 100) -> None:
        super().__init__()
        self.event_shape = sizes("event_shape", event_shape)
        if data.net_context:
            raise VaekitError(
                "the prior vamp is a mixture of posteriors, here under a context: "
                "take the prior mixture."
            )
        rows = data.example(min(within("components", components, 1, MOST), max(data.rows, 1)))
        rows = rows.repeat(-(-components // len(rows)), *[1] * (rows.dim() - 1))[:components]
        self.inputs = nn.Parameter(rows.nan_to_num().clone())
        values = data.values
        self.ends = (values.low, values.high) if data.kind in IMAGES else None

    def forward(self, context: Context = None, posterior: Posterior = None) -> d.Distribution:
        if posterior is None:
            raise VaekitError("a VampPrior takes the posterior: `prior(context, posterior)`.")
        inputs = self.inputs if self.ends is None else self.inputs.clamp(*self.ends)
        weights = inputs.new_full((len(inputs),), -math.log(len(inputs)))
        return d.Mixture(weights, posterior(inputs))
