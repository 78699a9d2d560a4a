"""The source's own net and loop, in plain torch, beside the protocol `mean-field`.

python benchmarks/mean_field.py seed 2 3           trains it: its bound, and its active units
python benchmarks/mean_field.py beside 2000 [64]   steps of both from the same weights, batches
                                                   and noise, in 32 or 64 bits: where they part

The net and the loop are those of github.com/jaanli/variational-autoencoder. The binarized MNIST is
looked for in VAEKIT_DATA.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal
from torch.nn.functional import softplus

from vaekit.data import Batch, Batches, load
from vaekit.recipes import build
from vaekit.runs import Config, known
from vaekit.training import fit, make_optimizer

SIZES = [(784, 256), (256, 256), (256, 256), (128, 256), (256, 256), (256, 784)]
SHOWN = (1, 10, 100, 500, 1000, *range(1200, 2000, 100), 2000, 5000)


class Source(nn.Module):
    """Six linear maps, a Gaussian posterior with a softplus scale, and Bernoulli pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(*pair) for pair in SIZES)

    def posterior(self, x: Tensor) -> Normal:
        a, b, c = self.maps[:3]
        loc, raw = c(b(a(x).relu()).relu()).chunk(2, dim=-1)
        return Normal(loc, softplus(raw))

    def elbo(self, x: Tensor) -> Tensor:
        """One draw's bound of each row."""
        d, e, f = self.maps[3:]
        q = self.posterior(x)
        z = q.loc + q.scale * torch.randn_like(q.loc)
        x_given_z = Bernoulli(logits=f(e(d(z).relu()).relu()), validate_args=False).log_prob(x)
        prior = Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)
        return x_given_z.sum(1) + prior.sum(1)


class Wide(Batches):
    """The same batches, in the default type."""

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for x, context in super().epoch(number, start):
            yield Batch(x.to(torch.get_default_dtype()), context)


def trained(model: Source, batches: Batches, steps: int) -> Iterator[tuple[int, float]]:
    """Yield the step and the loss of each of the source's steps."""
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, centered=True)
    step = 0
    for epoch in count():
        for x, _ in batches.epoch(epoch):
            loss = -model.elbo(x.flatten(1)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            yield step, loss.item()
            if step == steps:
                return


@torch.no_grad()
def bound(model: Source, x: Tensor, draws: int) -> float:
    return float(torch.stack([model.elbo(x).mean() for _ in range(draws)]).mean())


@torch.no_grad()
def measured(model: Source, x: Tensor) -> str:
    active = int((model.posterior(x).loc.var(0) > 0.01).sum())
    return f"ELBO {bound(model, x, 10):.2f} on test rows, {active} units active"


def train(seed: int) -> None:
    """Train as the source does: the best of the validation bounds of every 5,000 steps counts."""
    data = load("binarized-mnist")
    assert data.validation is not None
    valid, test = (part.x().flatten(1) for part in (data.validation, data.test))
    torch.manual_seed(seed)
    model, best, start = Source(), -float("inf"), time.time()
    for step, _ in trained(model, Batches(data.train, 128, seed=seed), 65000):
        if step % 5000 == 0 and (value := bound(model, valid, 1)) > best:
            best, kept = value, {n: p.clone() for n, p in model.state_dict().items()}
            print(
                f"seed {seed}, step {step}: {best:.2f} on validation", file=sys.stderr, flush=True
            )
    model.load_state_dict(kept)
    print(f"seed {seed}: {measured(model, test)}; {time.time() - start:.0f} s", flush=True)


def beside(steps: int) -> None:
    """Take the same steps with the kit, the source's code, and this from weights moved a hair."""
    entry, data = known()["mean-field"], load("binarized-mnist")
    names = ("latent", "net", "posterior", "objective")
    torch.manual_seed(0)
    made: Any = build(entry.recipe, data.spec(), **{name: entry.options[name] for name in names})
    drawn = weights(made.model)
    config = Config.flat(entry.recipe, **entry.options).training
    options: Any = {"lr": config.lr, "more": config.optimizer_options}
    optimizer = make_optimizer(config.optimizer, made.model.parameters(), **options)
    batches, ours = Wide(data.train, 128, seed=0), dict[int, list[Tensor]]()

    def keep(progress: Any) -> None:
        if progress.step in SHOWN:
            ours[progress.step] = weights(made.model)

    torch.manual_seed(1)
    fit(made.model, made.objective, batches, steps=steps, optimizer=optimizer, on_step=keep)
    theirs, moved = dict[int, list[Tensor]](), dict[int, list[Tensor]]()
    for kept, by in ((theirs, 0.0), (moved, 100 * torch.finfo().eps)):
        model = Source()
        with torch.no_grad():
            for weight, value in zip(model.parameters(), drawn, strict=True):
                weight.copy_(value * (1 + by))
        torch.manual_seed(1)
        kept |= {n: weights(model) for n, _ in trained(model, batches, steps) if n in SHOWN}
    print("step | largest difference of a weight, to the kit | to weights moved a hair at first")
    for step, weights_then in theirs.items():
        print(step, *(f"| {apart(weights_then, other[step]):.1e}" for other in (ours, moved)))


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def apart(ours: list[Tensor], theirs: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    if sys.argv[1] == "seed":
        for seed in sys.argv[2:]:
            train(int(seed))
    else:
        torch.set_default_dtype(torch.float64 if sys.argv[3:] == ["64"] else torch.float32)
        beside(int(sys.argv[2]))
