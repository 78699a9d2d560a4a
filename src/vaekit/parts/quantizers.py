"""Quantizers: from vectors to codes, each one of so many, and back.

Shapes: `B` batch, `n` vectors of `size` numbers, each with `depth` codes below `levels`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaekit._torchutil import over_ranks, ranks
from vaekit.errors import VaekitError, at_least, within
from vaekit.registry import register

MOST = 2**16  # codes of a book, of each of which there is a distance to each vector
IDLE = 1e-20  # share below which a code that is never used decays no further
EDGE = 1e-3  # how far beyond the outer levels the bound of FSQ goes


class Quantized(NamedTuple):
    """What a quantizer makes of vectors `(B, n, size)`.

    Attributes:
        z: the vectors of the codes, with the gradient of the vectors that came (straight through).
        codes: `(B, n * depth)`, whole numbers.
        penalty: `(B,)`, summed over vectors as a bound is; None for none.
    """

    z: Tensor
    codes: Tensor
    penalty: Tensor | None


class Quantizer(nn.Module, ABC):
    """A map of vectors to the nearest of so many, by their number.

    Attributes:
        size: how many numbers a vector has.
        levels: how many codes there are.
        depth: how many codes a vector has.
    """

    size: int
    levels: int
    depth: int = 1

    @abstractmethod
    def forward(self, e: Tensor) -> Quantized:
        """Return what the vectors `(B, n, size)` become."""

    @abstractmethod
    def vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors `(..., n, size)` of codes `(..., n * depth)`."""

    def counts(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return how many codes an encoder's output of this shape has, and how many there are."""
        return prod(shape) // self.size * self.depth, self.levels

    def extra_repr(self) -> str:
        return f"{self.levels} codes, size={self.size}"


def straight_through(value: Tensor, e: Tensor) -> Tensor:
    """Return the value, to the last bit, with the gradient of e and none of its own.

    Example:
        >>> e = torch.tensor(0.3, requires_grad=True)
        >>> z = straight_through(e.round(), e)
        >>> z, torch.autograd.grad(3 * z, e)[0]
        (tensor(0., grad_fn=<AddBackward0>), tensor(3.))
    """
    return value.detach() + (e - e.detach())


@register("quantizer", "fsq")
class FSQ(Quantizer):
    """Finite scalar quantization: each number of a vector is rounded to one of a few levels.

    A number is bounded by tanh, shifted by half a level where their number is even, and rounded;
    the code counts the combinations. Nothing is learned, and no code can die.

    Args:
        levels: of each number of a vector, from 3; their product is the number of codes.

    Raises:
        VaekitError: for fewer than 3 levels, and more than a million codes.

    References:
        Mentzer et al. 2023, Finite scalar quantization: VQ-VAE made simple, arXiv 2309.15505.

    Example:
        >>> FSQ(levels=(8, 5))(torch.tensor([[[9.0, 9.0], [0.0, 0.0]]])).codes
        tensor([[39, 20]])
    """

    def __init__(self, *, levels: tuple[int, ...] = (8, 5, 5, 5)) -> None:
        super().__init__()
        if not levels or min(levels) < 3 or prod(levels) > 2**20:
            raise VaekitError(
                f"got `levels={','.join(map(str, levels))}`; expected numbers from 3, as 8,5,5,5, "
                "whose product is at most 1,048,576."
            )
        self.size, self.levels = len(levels), prod(levels)
        bases = [prod(levels[:i]) for i in range(len(levels))]
        self.each = nn.Buffer(torch.tensor(levels) * 1.0, persistent=False)
        self.bases = nn.Buffer(torch.tensor(bases) * 1.0, persistent=False)

    def bounded(self, e: Tensor) -> Tensor:
        """Return numbers that round to -(L // 2) ... L - 1 - L // 2; 0 stays 0."""
        half = (self.each - 1) * (1 + EDGE) / 2
        offset = (self.each % 2 == 0) * 0.5
        return (e + (offset / half).atanh()).tanh() * half - offset

    def forward(self, e: Tensor) -> Quantized:
        soft = self.bounded(e)
        whole = soft.round()
        index = ((whole.detach() + self.each // 2) * self.bases).sum(-1).long()
        return Quantized(straight_through(whole, soft) / (self.each // 2), index, None)

    def vectors(self, codes: Tensor) -> Tensor:
        whole = codes.unsqueeze(-1) // self.bases % self.each - self.each // 2
        return whole / (self.each // 2)


@register("quantizer", "vq")
class VQ(Quantizer):
    """Vector quantization: the nearest vector of a codebook that is learned by a loss of its own.

    To what is differentiated |sg[e] - b|^2 + commitment |e - sg[b]|^2 is added, summed over the
    numbers of x as the bound is. A codebook starts at vectors of the first batch, and codes that
    are hardly used are put at vectors of the batch at hand.

    Args:
        codes: K, how many.
        size: how many numbers a vector has.
        commitment: the weight of what draws vectors to their codes.
        decay: of the running mean of how often each code is used.
        revive: a code is replaced where it is used less than this share of 1 / K; 0 for never.

    Raises:
        VaekitError: for a number that does not fit.

    References:
        Van den Oord et al. 2017, Neural discrete representation learning, arXiv 1711.00937.

    Example:
        >>> VQ(codes=16, size=2).eval()(torch.zeros(5, 3, 2)).codes.shape
        torch.Size([5, 3])
    """

    book: Tensor

    def __init__(
        self,
        *,
        codes: int = 512,
        size: int = 16,
        commitment: float = 0.25,
        decay: float = 0.99,
        revive: float = 0.1,
    ) -> None:
        super().__init__()
        if not 0 <= decay < 1 or not 0 <= revive < 1:
            raise VaekitError(
                f"got `decay={decay}` and `revive={revive}`; expected both from 0 to below 1."
            )
        self.size, self.levels = at_least("size", size, 1), within("codes", codes, 2, MOST)
        self.decay, self.revive = decay, revive
        self.commitment = nn.Buffer(torch.tensor(at_least("commitment", float(commitment), 0.0)))
        self._enter(torch.randn(codes, size))
        self._share = nn.Buffer(torch.zeros(codes))

    def _enter(self, book: Tensor) -> None:
        self.book = nn.Parameter(book)

    def nearest(self, e: Tensor) -> Tensor:
        """Return the codes `(...)` of vectors `(..., size)`, by distances in float32 at least."""
        wide = torch.promote_types(e.dtype, torch.float32)
        e, book = e.detach().to(wide), self.book.detach().to(wide)
        center = book.mean(0)  # far from 0 the squares would cancel
        e, book = e - center, book - center
        apart = torch.addmm(book.square().sum(-1), e.flatten(0, -2), book.T, alpha=-2)
        return apart.argmin(-1).unflatten(0, e.shape[:-1])

    def forward(self, e: Tensor) -> Quantized:
        if self.training:
            self._replace(e.detach().flatten(0, -2))
        codes = self.nearest(e)
        vectors = self.book[codes]
        if self.training:
            self._count(e.detach().flatten(0, -2), codes.flatten())
        return Quantized(straight_through(vectors, e), codes, self._penalty(e, vectors))

    def _penalty(self, e: Tensor, vectors: Tensor) -> Tensor:
        codebook = (e.detach() - vectors).square()
        return (codebook + self.commitment * (e - vectors.detach()).square()).sum((-1, -2))

    @torch.no_grad()
    def _replace(self, e: Tensor) -> None:
        """Put codes that are hardly used, at first all, at vectors `(N, size)` of the batch.

        Among several processes each gives a part of the vectors, so that all put the same.
        """
        if not len(e) and ranks() == 1:
            return
        dead = self._share <= self.revive / self.levels
        order = torch.arange(self.levels, device=e.device) % max(len(e), 1)
        shuffled = e[torch.randperm(len(e), device=e.device)]
        vectors = shuffled[order] if len(e) else e.new_zeros(self.levels, self.size)
        if ranks() > 1:
            rank = torch.distributed.get_rank()
            have = e.new_zeros(ranks())
            have[rank] = float(len(e) > 0)
            giver = over_ranks(have).nonzero().flatten()
            mine = giver[torch.arange(self.levels, device=e.device) % len(giver)] == rank
            vectors = over_ranks(vectors * mine.unsqueeze(-1))
        self._put(dead.unsqueeze(-1), vectors.to(self.book.dtype))

    def _put(self, dead: Tensor, vectors: Tensor) -> None:
        """Replace these codes `(K, 1)`, which then are as if they had been used, if seldom."""
        self.book.copy_(torch.where(dead, vectors, self.book))
        self._share.masked_fill_(dead.squeeze(-1), (2 * self.revive or 1.0) / self.levels)

    @torch.no_grad()
    def _count(self, e: Tensor, codes: Tensor) -> None:
        """Move the running share of each code toward that of the batch, of all processes."""
        sums = e.new_zeros(self.levels, self.size + 1)
        sums = over_ranks(sums.index_add(0, codes, torch.cat([torch.ones_like(e[:, :1]), e], 1)))
        idle = (self._share < IDLE) & (sums[:, 0] == 0)
        pull = torch.where(idle, 0.0, 1 - self.decay).to(e.dtype)
        self._move(sums / sums[:, 0].sum().clamp_min(1), pull.unsqueeze(-1))

    def _move(self, means: Tensor, pull: Tensor) -> None:
        self._share.lerp_(means[:, 0], pull.squeeze(-1))

    def vectors(self, codes: Tensor) -> Tensor:
        return self.book[codes]


@register("quantizer", "vq-ema")
class VQEMA(VQ):
    """Vector quantization whose codebook follows the mean of the vectors that it is nearest to.

    A code is m / N, the running sum of its vectors by their running number (arXiv 1711.00937,
    appendix A.1): both start together, so that no step moves a code that nothing is near. It takes
    the place of the codebook's loss, and changes while training alone.
    """

    def _enter(self, book: Tensor) -> None:
        self.book, self._sum = nn.Buffer(book), nn.Buffer(torch.zeros_like(book))

    def _penalty(self, e: Tensor, vectors: Tensor) -> Tensor:
        return self.commitment * (e - vectors).square().sum((-1, -2))

    def _put(self, dead: Tensor, vectors: Tensor) -> None:
        super()._put(dead, vectors)
        self._sum.copy_(torch.where(dead, self.book * self._share.unsqueeze(-1), self._sum))

    def _move(self, means: Tensor, pull: Tensor) -> None:
        super()._move(means, pull)
        self._sum.lerp_(means[:, 1:], pull)
        self.book.copy_(self._sum / self._share.unsqueeze(-1))


@register("quantizer", "residual-vq")
class ResidualVQ(Quantizer):
    """Vector quantization in steps: each codebook takes what the ones before it left.

    The codes of a vector go from coarse to fine, and their vectors are summed; with one vector of a
    row they are a semantic ID of it. Codebooks are those of vq-ema.

    Args:
        codes: of each codebook.
        size: how many numbers a vector has.
        depth: how many codebooks.
        commitment: the weight of what draws vectors to their codes.
        decay: of the running means.
        revive: a code is replaced where it is used less than this share of 1 / K; 0 for never.

    Raises:
        VaekitError: for a number that does not fit.

    References:
        Lee et al. 2022, Autoregressive image generation using residual quantization,
        arXiv 2203.01941. Rajput et al. 2023, Recommender systems with generative retrieval,
        arXiv 2305.05065.

    Example:
        >>> ResidualVQ(codes=16, size=2, depth=3).eval()(torch.zeros(5, 4, 2)).codes.shape
        torch.Size([5, 12])
    """

    def __init__(
        self,
        *,
        codes: int = 256,
        size: int = 16,
        depth: int = 4,
        commitment: float = 0.25,
        decay: float = 0.99,
        revive: float = 0.1,
    ) -> None:
        super().__init__()
        self.size, self.levels, self.depth = size, codes, within("depth", depth, 1, 64)
        how: dict[str, float] = {"commitment": commitment, "decay": decay, "revive": revive}
        self.books = nn.ModuleList(VQEMA(codes=codes, size=size, **how) for _ in range(depth))

    def forward(self, e: Tensor) -> Quantized:
        total, penalty, codes = torch.zeros_like(e), e.new_zeros(len(e)), list[Tensor]()
        for book in self.books:
            step = book(e - total)
            total, penalty = total + step.z.detach(), penalty + step.penalty
            codes.append(step.codes)
        return Quantized(straight_through(total, e), torch.stack(codes, -1).flatten(1), penalty)

    def vectors(self, codes: Tensor) -> Tensor:
        each = codes.unflatten(-1, (-1, self.depth)).unbind(-1)
        total = torch.zeros((), device=codes.device)
        for book, index in zip(self.books, each, strict=True):
            total = total + book.vectors(index)  # type: ignore[operator]
        return total
