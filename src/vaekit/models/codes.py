"""A model whose latent is codes, each one of so many: VQ-VAE and its kin."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from vaekit.distributions import Distribution, Offer, PointCodes, codes, offering
from vaekit.errors import VaekitError
from vaekit.models.base import Context, LatentModel, Mask
from vaekit.models.trace import Site
from vaekit.parts import Conditional, Prior, Quantized, Quantizer
from vaekit.registry import register

ALWAYS = ("latent", "rsample", "density", "bound", "codes", "exact", "draws", "one_site")


@dataclass(eq=False)
class _State:
    """What a pass knows of the codes of x, and the draw of them that it made last."""

    made: Quantized
    p: Distribution
    drawn: Tensor | None = None


@register("model", "codes")
class CodeModel(LatentModel):
    """p(x|codes) with codes that a quantizer makes of the encoder's vectors.

    The latent is the codes `(B, n)`, whole numbers: what `encode` gives and `decode` takes. The
    posterior is all on one of them, so log q = 0, and the KL is -log p of the prior: n log K where
    it is uniform. So the ELBO is a bound on log p(x), and a learned prior makes it a better one.
    The decoder is given the codes' vectors, through which the encoder's gradient goes straight.
    What else a quantizer learns by, as a commitment, is differentiated and in no number.

    Args:
        prior: p(codes).
        posterior: the encoder: a conditional of x, whose mean are the vectors.
        quantizer: makes codes of them.
        likelihood: p(x|z), a conditional of vectors.
        gaps: whether NaN in x says that a value is not seen.

    Raises:
        VaekitError: where the parts do not fit.

    References:
        Van den Oord et al. 2017, Neural discrete representation learning, arXiv 1711.00937.

    Example:
        >>> import vaekit as vk
        >>> from vaekit.parts import FSQ, CodesPrior
        >>> model = CodeModel(
        ...     CodesPrior((3, 40)),
        ...     vk.Conditional(vk.MLP(9, 6), vk.Delta(6)),
        ...     FSQ(levels=(8, 5)),
        ...     vk.Conditional(vk.MLP(6, 9), vk.Bernoulli(9)),
        ... )
        >>> (codes,) = model.encode(torch.rand(5, 9))
        >>> codes.shape, codes.dtype, model.decode(codes).shape
        (torch.Size([5, 3]), torch.int64, torch.Size([5, 9]))
    """

    def __init__(
        self,
        prior: Prior,
        posterior: Conditional,
        quantizer: Quantizer,
        likelihood: Conditional,
        *,
        gaps: bool = False,
    ) -> None:
        super().__init__()
        shape, size = posterior.family.event_shape, quantizer.size
        if shape != likelihood.in_shape or shape[0] % size:
            raise VaekitError(
                f"the encoder gives vectors of shape {shape} and the likelihood takes "
                f"{likelihood.in_shape}; expected one shape, whose first number is a multiple of "
                f"the quantizer's size, {size}."
            )
        space = codes(*quantizer.counts(shape))
        if prior.space != space:
            raise VaekitError(
                f"the prior lives on {prior.space} and the quantizer gives {space}: take "
                "the prior codes."
            )
        self.prior, self.posterior, self.quantizer = prior, posterior, quantizer
        self.likelihood, self.gaps = likelihood, gaps
        self.x_shape = likelihood.family.event_shape

    @property
    def offers(self) -> frozenset[Offer]:  # type: ignore[override]
        """Return what may be asked of it."""
        words = offering(*ALWAYS, *(["gaps"] if self.gaps else []))
        return words | (self.likelihood.family.offers & {Offer.FIXED})

    def infer(self, x: Tensor, context: Context = None, mask: Mask = None) -> _State:
        """Return the codes of what is seen of x with their vectors, and p(codes)."""
        e: Tensor = self.posterior(x, context).mean
        rows = e.flatten(2).mT if e.dim() > 2 else e  # places first: vectors are of one place
        count = prod(self.likelihood.in_shape) // self.quantizer.size
        made = self.quantizer(rows.reshape(len(e), count, self.quantizer.size))
        return _State(made, self.prior(context))

    def draw(self, state: _State, samples: tuple[int, ...]) -> tuple[Site, ...]:
        """Return the codes, the same in each draw."""
        q = PointCodes(state.made.codes, self.quantizer.levels)
        site = Site.draw("codes", q, state.p, samples)
        state.drawn = site.z
        return (site,)

    @torch.no_grad()
    def draw_prior(
        self, n: int, context: Context = None, temperature: float = 1.0
    ) -> tuple[Tensor, ...]:
        """Return n draws `(n, codes)` from the prior."""
        return (self.prior(context).tempered(temperature).sample((n,)),)

    def likelihood_at(
        self, zs: tuple[Tensor, ...], context: Context = None, state: _State | None = None
    ) -> Distribution:
        """Return p(x|z) at codes: a pass's own carry the gradient to the encoder."""
        if state is not None and zs[0] is state.drawn:
            vectors = state.made.z.expand(*zs[0].shape[:-1], *state.made.z.shape[1:])
        else:
            vectors = self.quantizer.vectors(self._known(zs[0]))
        return self.likelihood(self._joined(vectors), context)

    def _known(self, codes: Tensor) -> Tensor:
        """Return codes as whole numbers, which may come as others that are whole."""
        index, most = codes.long(), self.quantizer.levels - 1
        if torch.compiler.is_exporting():  # no value is known there
            return index
        if codes.numel() and not (
            torch.equal(index, codes) and int(index.min()) >= 0 and int(index.max()) <= most
        ):
            raise VaekitError(
                f"got codes from {float(codes.min()):g} to {float(codes.max()):g}; expected whole "
                f"numbers from 0 to {most}, as `encode` gives them: there is nothing between two."
            )
        return index

    def _joined(self, vectors: Tensor) -> Tensor:
        """Return vectors `(..., n, size)` in the shape that the decoder takes."""
        channels, *grid = self.likelihood.in_shape
        flat = vectors.flatten(-2)
        if not grid:
            return flat
        return flat.unflatten(-1, (prod(grid), channels)).mT.unflatten(-1, tuple(grid))

    def penalty(self, state: _State, sites: tuple[Site, ...]) -> Tensor | None:
        """Return what the quantizer learns by, `(B,)`."""
        return state.made.penalty
