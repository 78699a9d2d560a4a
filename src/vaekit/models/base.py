"""What loop, metrics, report and shell may ask of any model."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vaekit._torchutil import evaluating, rng
from vaekit.distributions import Distribution, Offer
from vaekit.errors import VaekitError
from vaekit.models.trace import Site, Trace

Context = Tensor | None  # what a model may be conditioned on, (B, *G)
Mask = Tensor | None  # 0 where x is not observed
Draws = tuple[int, ...]  # the Monte-Carlo dims
State = Any  # what `infer` leaves for `draw` and `likelihood_at`; opaque to everybody else
DRAWS = 64  # of z for a code, where the posterior has no mean
CACHE, DEVICE = 2**23, 2**24  # bytes of decoder output at a time: fewer cost more calls
LEAST = 2**10  # bytes of one decoding: hidden layers need memory too


@contextmanager
def exact(*parts: nn.Module) -> Iterator[None]:
    """Switch off relaxations: what is drawn is what densities are of.

    It sets the flag `relaxed` of the modules, which threads of a pool and compiled passes see.

    Example:
        >>> part = nn.Identity()
        >>> part.relaxed = True
        >>> with exact(nn.Sequential(part)):
        ...     part.relaxed
        False
        >>> part.relaxed
        True
    """
    modules = [module for part in parts for module in part.modules()]
    relaxed: list[Any] = [module for module in modules if getattr(module, "relaxed", False)]
    for module in relaxed:
        module.relaxed = False
    try:
        yield
    finally:
        for module in relaxed:
            module.relaxed = True


def offered(model: Model) -> frozenset[Offer]:
    """Return what a model offers where it is measured: with nothing relaxed."""
    with exact(model):
        return model.offers


class Model(nn.Module, ABC):
    """A map from x to a trace. One with latents is a `LatentModel`.

    Attributes:
        offers: what may be asked of it, in the words of `Offer`.
        x_shape: the shape of one x.
        compiles: whether torch.compile can differentiate its pass.
    """

    offers: frozenset[Offer]
    x_shape: tuple[int, ...]
    compiles: bool = True

    @abstractmethod
    def forward(
        self, x: Tensor, context: Context = None, *, samples: Draws = (1,), mask: Mask = None
    ) -> Trace:
        """Pass over x `(B, *X)` with `samples` draws of what is random."""

    @abstractmethod
    def reconstruct(self, x: Tensor, context: Context = None, *, mask: Mask = None) -> Tensor:
        """Return what the model makes of x, `(B, *X)`."""

    def passes(self, x: Tensor, context: Context, counts: Sequence[Draws]) -> Iterator[Trace]:
        """Yield a trace for each of these numbers of draws."""
        for samples in counts:
            yield self(x, context, samples=samples)

    def example(self, context_shape: tuple[int, ...] = ()) -> Trace:
        """Return a pass over one x of zeros, in eval mode: it shows spaces and shapes."""
        first = next(self.parameters(), torch.zeros(()))
        x = torch.zeros(1, *self.x_shape, dtype=first.dtype, device=first.device)
        context = torch.zeros(1, *context_shape, device=first.device) if context_shape else None
        with rng(0, x.device), evaluating(self), exact(self):
            trace: Trace = self(x, context)
        return trace


def rows_at_once(model: Model, draws: int = 1) -> int:
    """Return how many x to decode at a time, each at so many z: the decoder's output fills 8 MiB.

    On an accelerator 16 MiB. Blocks of more than 32 MiB go back to the system when they are freed,
    and each page of the next one costs a fault, which takes longer than to fill it.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> model = LinearGaussian.fit(torch.randn(50, 3, dtype=torch.float64), latent=1).vae()
        >>> rows_at_once(model), rows_at_once(model, 10)
        (8192, 819)
    """
    first = next(model.parameters(), torch.zeros(()))
    px = getattr(getattr(model, "likelihood", None), "family", None)
    size = math.prod(px.param_shape if px else model.x_shape) * first.element_size()
    cache = CACHE if first.device.type == "cpu" else DEVICE
    return max(1, cache // (max(size, LEAST) * draws))


def pieces(model: Model, *parts: Tensor | None, draws: int = 1) -> Iterator[tuple[Any, ...]]:
    """Yield the parts, as many rows at a time as `rows_at_once` gives for so many draws."""
    size, rows = rows_at_once(model, draws), max(len(part) for part in parts if part is not None)
    for i in range(0, rows, size):  # what stands for all rows, as one label, stays whole
        yield tuple(p if p is None or len(p) == 1 else p[i : i + size] for p in parts)


def in_pieces(
    model: Model, work: Callable[..., tuple[Tensor, ...]], *parts: Tensor | None
) -> tuple[Tensor, ...]:
    """Return `work(*parts)`, computed on a few rows of the parts at a time: see `pieces`.

    Example:
        >>> from vaekit.testing import LinearGaussian
        >>> model = LinearGaussian.fit(torch.randn(50, 3, dtype=torch.float64), latent=1).vae()
        >>> [part.shape for part in in_pieces(model, lambda x, _: (x, 2 * x), torch.ones(5), None)]
        [torch.Size([5]), torch.Size([5])]
    """
    results = [work(*piece) for piece in pieces(model, *parts)] or [work(*parts)]
    return results[0] if len(results) == 1 else tuple(map(torch.cat, zip(*results, strict=True)))


FINAL = ("forward", "scored", "passes", "sample", "encode", "decode", "reconstruct")


class LatentModel(Model):
    """A model with latents: four methods, and all that follows from them.

    A subclass gives `infer`, `draw`, `draw_prior` and `likelihood_at`; what others call is final.
    A model whose bound is no sum over sites, as with labels summed out, gives `trace` too.

    Attributes:
        gaps: whether NaN in x says that a value is not seen.
    """

    gaps: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in FINAL:
            if getattr(cls, name) is not getattr(LatentModel, name):
                raise TypeError(f"{cls.__name__} overrides {name}, which is final.")

    @abstractmethod
    def infer(self, x: Tensor, context: Context = None, mask: Mask = None) -> State:
        """Return what is known of z given x: whatever `draw` takes."""

    @abstractmethod
    def draw(self, state: State, samples: tuple[int, ...]) -> tuple[Site, ...]:
        """Return the random half of a pass: a site for each latent. `(0,)` draws nothing."""

    @abstractmethod
    def draw_prior(
        self, n: int, context: Context = None, temperature: float = 1.0
    ) -> tuple[Tensor, ...]:
        """Return n draws from the prior, a z `(n, *Z)` for each site."""

    @abstractmethod
    def likelihood_at(
        self, zs: tuple[Tensor, ...], context: Context = None, state: State = None
    ) -> Distribution:
        """Return p(x|z) at a z for each site; it draws nothing, so that any thread may run it.

        What `draw` left in the state may be used again where these zs are the ones it was left for.
        """

    def penalty(self, state: State, sites: tuple[Site, ...]) -> Tensor | None:
        """Return a loss `(B,)` that is none of the bound, as for a commitment; None for most."""
        return None

    def seen(self, x: Tensor, mask: Mask = None) -> tuple[Tensor, Tensor | None]:
        """Return x with 0 where it is not seen, and the mask of what is; None where all is."""
        if self.gaps:
            mask = ~x.isnan() if mask is None else ~x.isnan() & (mask != 0)
        if mask is None:
            return x, None
        return torch.where(mask != 0, x, torch.zeros_like(x)), mask

    def forward(
        self, x: Tensor, context: Context = None, *, samples: Draws = (1,), mask: Mask = None
    ) -> Trace:
        """Pass over x `(B, *X)` with `samples` draws of each latent."""
        x, mask = self.seen(x, mask)
        return self.trace(x, self.infer(x, context, mask), context, samples=samples, mask=mask)

    def trace(
        self,
        x: Tensor,
        state: State,
        context: Context = None,
        *,
        samples: Draws = (1,),
        mask: Mask = None,
    ) -> Trace:
        """Return the pass that draws from a state of `infer`: one state serves many passes."""
        return self.scored(x, self.draw(state, samples), state, context, mask)

    def scored(
        self,
        x: Tensor,
        sites: tuple[Site, ...],
        state: State,
        context: Context = None,
        mask: Mask = None,
    ) -> Trace:
        """Return the half of `trace` that draws nothing."""
        px = self.likelihood_at(tuple(site.z for site in sites), context, state)
        return Trace(x, sites, px, self, context, mask, self.penalty(state, sites))

    def passes(self, x: Tensor, context: Context, counts: Sequence[Draws]) -> Iterator[Trace]:
        """Yield a trace for each of these numbers of draws, of one encoding."""
        x, mask = self.seen(x)
        state = self.infer(x, context, mask)
        for samples in counts:
            yield self.trace(x, state, context, samples=samples, mask=mask)

    def sample(
        self, n: int, context: Context = None, *, temperature: float = 1.0, mean: bool = False
    ) -> Tensor:
        """Return n draws `(n, *X)` of x from the model; with `mean`, E[x|z] of n draws of z.

        Args:
            n: how many.
            context: `(n, *G)`, what a conditional model is given.
            temperature: times the prior's spread, where it has one to scale.
            mean: whether to draw z alone.

        Raises:
            VaekitError: for a context of other than n rows, and a model without a prior.
        """
        if context is not None and len(context) != n:
            raise VaekitError(f"the context has {len(context)} rows; expected {n}, one per draw.")
        with evaluating(self), exact(self):
            return self._decoded(self.draw_prior(n, context, temperature), context, mean)

    def _decoded(self, zs: tuple[Tensor, ...], context: Context, mean: bool = True) -> Tensor:
        def decoded(context: Context, *zs: Tensor) -> tuple[Tensor]:
            px = self.likelihood_at(zs, context)
            return (px.mean if mean else px.sample(),)

        return in_pieces(self, decoded, context, *zs)[0]

    def encode(
        self, x: Tensor, context: Context = None, *, mask: Mask = None, draws: int = DRAWS
    ) -> tuple[Tensor, ...]:
        """Return the codes of x, `(B, *Z)` for each site: what `decode` takes.

        E[z|x] where the model offers a mean; of codes one draw; else the mean of `draws` draws,
        of the same noise for each row, whatever rows stand beside it.
        """

        def encoded(x: Tensor, context: Context, mask: Mask) -> tuple[Tensor, ...]:
            x, mask = self.seen(x, mask)
            state = self.infer(x, context, mask)
            if Offer.MEAN in self.offers:
                return tuple(site.q.mean for site in self.draw(state, (0,)))
            if Offer.CODES in self.offers:
                return tuple(site.z[0] for site in self.draw(state, (1,)))
            return tuple(site.z.mean(0) for site in self.draw(state, (draws,)))

        drawn = nullcontext() if Offer.MEAN in self.offers else rng(0, x.device)
        with evaluating(self), exact(self), drawn:
            alone = Offer.MEAN not in self.offers and Offer.CODES not in self.offers
            work = partial(_apart, encoded) if alone and len(x) else encoded
            return in_pieces(self, work, x, context, mask)

    def decode(self, zs: Tensor | tuple[Tensor, ...], context: Context = None) -> Tensor:
        """Return E[x|z], `(B, *X)`, at a z `(B, *Z)` for each site; one z may stand by itself."""
        zs = (zs,) if isinstance(zs, Tensor) else zs
        with evaluating(self), exact(self):
            return self._decoded(zs, context)

    def reconstruct(self, x: Tensor, context: Context = None, *, mask: Mask = None) -> Tensor:
        """Return E[x|z] at the codes of x, `(B, *X)`."""
        return self.decode(self.encode(x, context, mask=mask), context)


def _apart(
    work: Callable[..., tuple[Tensor, ...]], x: Tensor, *others: Tensor | None
) -> tuple[Tensor, ...]:
    """Return `work` of each row of `(x, *others)` by itself, with the same noise for all.

    One by one: torch.vmap would be quicker, but hooks and gradients within do not go through it.
    """
    found = []
    for row in range(len(x)):
        given = (part if part is None or len(part) == 1 else part[row : row + 1] for part in others)
        with rng(0, x.device):
            found.append(work(x[row : row + 1], *given))
    return tuple(map(torch.cat, zip(*found, strict=True)))


def flat_codes(zs: Sequence[Tensor]) -> Tensor:
    """Return the codes of all sites side by side, `(B, D)`.

    Example:
        >>> flat_codes([torch.zeros(5, 2), torch.zeros(5, 3, 4)]).shape
        torch.Size([5, 14])
    """
    return torch.cat([z.flatten(1) for z in zs], 1)


def split_codes(flat: Tensor, shapes: Sequence[tuple[int, ...]]) -> tuple[Tensor, ...]:
    """Return the inverse of `flat_codes`, for these shapes of one code.

    Raises:
        VaekitError: for another number of dimensions.
    """
    sizes = [math.prod(shape) for shape in shapes]
    if flat.shape[1:].numel() != sum(sizes):
        raise VaekitError(
            f"got codes of shape {tuple(flat.shape[1:])}; the latent has {sum(sizes)} dimensions."
        )
    parts = flat.flatten(1).split(sizes, 1)
    return tuple(part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True))
