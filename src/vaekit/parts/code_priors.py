"""Priors of codes: each by itself, or one after the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit import distributions as d
from vaekit._torchutil import evaluating, rng
from vaekit.errors import VaekitError, at_least, within
from vaekit.parts.priors import Prior
from vaekit.registry import register


@register("prior", "codes")
class CodesPrior(Prior):
    """Each code by itself: all alike, or with learned probabilities for each place.

    Under the uniform one the KL of n codes, each one of K, is n log K for every x.

    Args:
        codes: n and K: how many codes a row has, and of how many each is one.
        learned: whether the probabilities are learned; they start alike.

    Example:
        >>> CodesPrior((2, 8))().log_prob(torch.tensor([3, 5]))
        tensor(-4.1589)
    """

    logits: Tensor

    def __init__(self, codes: tuple[int, int], *, learned: bool = False) -> None:
        super().__init__()
        self.codes = codes
        start = torch.zeros(codes)
        self.logits = nn.Parameter(start) if learned else nn.Buffer(start, persistent=False)

    @property
    def space(self) -> d.Space:
        return d.codes(*self.codes)

    def forward(
        self, context: Tensor | None = None, posterior: nn.Module | None = None
    ) -> d.Distribution:
        return d.CategoricalCodes(self.logits)

    def extra_repr(self) -> str:
        return str(self.codes)


@register("prior", "codes-transformer")
class AutoregressivePrior(Prior):
    """Codes one after the other, each given those before, by a small causal transformer.

    Its probabilities start alike. It may be learned with the model, which it does not move, as
    codes carry no gradient; or afterwards, on the codes of rows: see `fit_codes`.

    Args:
        codes: n and K: how many codes a row has, and of how many each is one.
        width: of the layers, a multiple of the heads.
        layers: how many.
        heads: of the attention.

    References:
        Van den Oord et al. 2017, Neural discrete representation learning, arXiv 1711.00937, section
        3.3. Vaswani et al. 2017, Attention is all you need, arXiv 1706.03762.

    Example:
        >>> prior = AutoregressivePrior((3, 8), width=16, heads=2)
        >>> prior().log_prob(torch.tensor([[3, 5, 0]])), prior().sample((5,)).shape
        (tensor([-6.2383], grad_fn=<SumBackward1>), torch.Size([5, 3]))
    """

    def __init__(
        self, codes: tuple[int, int], *, width: int = 64, layers: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        if at_least("width", width, 1) % at_least("heads", heads, 1):
            raise VaekitError(f"got `width={width}`; expected a multiple of `heads={heads}`.")
        self.codes = codes
        count, levels = codes
        self.values = nn.Embedding(levels + 1, width)  # the last one stands before the first code
        self.places = nn.Parameter(0.02 * torch.randn(count, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(within("layers", layers, 1, 64))
        )
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, levels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    @property
    def space(self) -> d.Space:
        return d.codes(*self.codes)

    def logits(self, codes: Tensor) -> Tensor:
        """Return logits `(N, m, K)` for codes `(N, m)`, each from the codes before its own."""
        before = F.pad(codes[:, :-1], (1, 0), value=self.codes[1])
        h, m = self.values(before) + self.places[: codes.shape[1]], codes.shape[1]
        later = torch.ones(m, m, dtype=torch.bool, device=codes.device).triu(1)
        for layer in self.layers:
            h = layer(h, src_mask=later)
        result: Tensor = self.output(self.norm(h))
        return result

    def forward(
        self, context: Tensor | None = None, posterior: nn.Module | None = None
    ) -> d.Distribution:
        return d.AutoregressiveCodes(self.logits, self.codes, self.places.device)

    def extra_repr(self) -> str:
        return str(self.codes)


def fit_codes(
    prior: Prior,
    codes: Tensor,
    *,
    epochs: int = 20,
    batch: int = 64,
    lr: float = 1e-3,
    seed: int = 0,
    held_out: Tensor | None = None,
) -> tuple[float, ...]:
    """Fit a learned prior to codes `(N, n)`; return the nats per row after each epoch.

    Adam with a rate that falls to 0 as a cosine. With codes that are held out the nats are theirs,
    and the prior is left with the weights of the epoch at which they were fewest.

    Raises:
        VaekitError: for fewer than two rows, and a prior without weights.

    Example:
        >>> prior = CodesPrior((1, 4), learned=True)
        >>> nats = fit_codes(prior, torch.tensor([[0], [0], [0], [1]]), lr=0.3, epochs=100)
        >>> prior().logits.softmax(-1)[0, 0] > 0.7
        tensor(True)
    """
    weights = [p for p in prior.parameters() if p.requires_grad]
    if len(codes) < 2 or not weights:
        raise VaekitError(
            f"got {len(codes)} rows of codes for {type(prior).__name__}; expected two or more, and "
            "a prior that is learned, as codes-transformer."
        )
    steps = at_least("epochs", epochs, 1) * -(-len(codes) // at_least("batch", batch, 1))
    optimizer = torch.optim.Adam(weights, lr=lr)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    nats, best = list[float](), {n: v.clone() for n, v in prior.state_dict().items()}
    with rng(seed, codes.device):
        for _ in range(epochs):
            prior.train()
            total = codes.new_zeros((), dtype=torch.float32)
            for index in torch.randperm(len(codes), device=codes.device).split(batch):
                loss = -prior().log_prob(codes[index])
                optimizer.zero_grad()
                loss.mean().backward()
                optimizer.step()
                rate.step()
                total += loss.detach().sum()
            nats.append(float(total) / len(codes) if held_out is None else _nats(prior, held_out))
            if held_out is None or nats[-1] == min(nats):
                best = {n: v.clone() for n, v in prior.state_dict().items()}
    prior.load_state_dict(best)
    prior.eval()
    return tuple(nats)


def _nats(prior: Prior, codes: Tensor) -> float:
    with evaluating(prior):
        parts = [prior().log_prob(some).sum() for some in codes.split(500)]
    return -float(torch.stack(parts).sum()) / len(codes)
