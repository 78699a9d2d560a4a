"""Two gloo processes that train as one: equal to each other, and to one process on all rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_gradients import Judged, Split2
from torch import Tensor, nn

import vaekit as vk
from vaekit.data import Batch, Batches, Split
from vaekit.models import VAE, CodeModel, Trace
from vaekit.objectives import (
    AAE,
    ELBO,
    GECO,
    PIWAE,
    VAEGAN,
    VIMCO,
    WAEMMD,
    BetaTC,
    DReG,
    FactorVAE,
    FreeBits,
    InfoVAE,
    Objective,
    Reconstruction,
    players,
)
from vaekit.parts import (
    VQ,
    VQEMA,
    CategoricalPrior,
    CodesPrior,
    Conditional,
    Delta,
    Gaussian,
    Gumbel,
    Prior,
    StandardNormal,
)
from vaekit.training import DivergedError, fit, make_optimizer, rows_of_a_step

STEPS, EPOCH = 7, 5
ROWS = torch.rand(76, 6, generator=torch.Generator().manual_seed(3))  # four of 16, one of 12


class Few:
    """The first process has all rows of a batch and the second none, or NaN in place of its own."""

    def __init__(self, rank: int, world: int, second: str = "none") -> None:
        self.all = Batches(Split(ROWS), 16)
        self.rows, self.batch_size, self.device = self.all.rows, 16, self.all.device
        self.world, self.second = world, second if rank else "all"

    def __len__(self) -> int:
        return len(self.all)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for x, context in self.all.epoch(number, start):
            other = x[:0] if self.second == "none" else x.new_full(x.shape, torch.nan)
            yield Batch(x if self.second == "all" else other, context)


class Shifted(Prior):
    """A learned mean, which plain reconstruction never asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.ones(2))
        self.inner = StandardNormal(2)

    offers = StandardNormal(2).offers
    space = StandardNormal(2).space

    def forward(self, context: Tensor | None = None, posterior: Any = None) -> Any:
        return vk.distributions.Gaussian(self.mean, torch.zeros(2), event_dim=1)


class Learns(ELBO):
    """A price of its own for the KL, and a mean of it that it keeps."""

    held: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.log_price = nn.Parameter(torch.zeros(()))
        self.register_buffer("held", torch.zeros(3))
        self.register_buffer("which", torch.rand(3) > 0.5)

    def value(self, trace: Trace) -> Tensor:
        self.held += trace.kl.detach().mean()
        return super().value(trace) - self.log_price.exp() * trace.kl.mean(0)


class Spaced(vk.distributions.Gaussian):
    """Draws of the same noise for each row."""

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        noise = torch.linspace(-1, 2, max(1, math.prod(shape))).view(*shape, 1, 1)
        return self.loc + self.scale * noise


class NoChance(Gaussian):
    """A posterior of such draws."""

    def forward(self, params: Tensor, context: Tensor | None = None) -> Any:
        q = super().forward(params, context)
        return Spaced(q.loc, q.log_scale)


def chosen() -> VAE:
    q = Gumbel(2, categories=3)
    return VAE(
        CategoricalPrior((2, 3), learned=True),
        Conditional(vk.MLP(6, q.param_shape, hidden=(8,)), q),
        Conditional(vk.MLP(6, 6, hidden=(8,)), Gaussian(6, scale=1.0), in_shape=(2, 3)),
    )


def model(family: Any = Gaussian, norm: str = "none", scale: Any = 1.0, prior: Any = None) -> VAE:
    q = family(2)
    return VAE(
        prior or StandardNormal(2),
        Conditional(vk.MLP(6, q.param_shape, hidden=(8,), norm=norm), q),
        Conditional(vk.MLP(2, 6, hidden=(8,), norm=norm), Gaussian(6, scale=scale)),
    )


def coded(quantizer: Any) -> CodeModel:
    parts = model(Delta)
    prior = CodesPrior(quantizer.counts((2,)), learned=True)
    return CodeModel(prior, parts.posterior, quantizer, parts.likelihood)


Made = tuple[Any, Objective, type[Few] | None]


class Unasked(Reconstruction):
    """One that does not say what it needs, and so is not told that it trains no prior."""

    needs = frozenset()


CASES: dict[str, Callable[[], Made]] = {
    "elbo": lambda: (model(), ELBO(), None),
    "batch norm and a fitted scale": lambda: (model(norm="batch", scale="fitted"), ELBO(), None),
    "by part": lambda: (model(), DReG(samples=3), None),
    "exact draws": lambda: (chosen(), VIMCO(samples=3), None),
    "no noise, DReG": lambda: (model(NoChance), DReG(samples=3), None),
    "no noise, PIWAE": lambda: (model(NoChance), PIWAE(m=2, k=3), None),
    "critic": lambda: (model(), Judged(start=2, steps=2), None),
    "parameters and buffers of the objective": lambda: (model(), Learns(), None),
    "no noise": lambda: (model(Delta), Reconstruction(), None),
    "total correlation": lambda: (model(), FactorVAE((2,), critic_hidden=(8,)), None),
    "an adversarial autoencoder": lambda: (model(Delta), AAE((2,), critic_hidden=(8,)), None),
    "a critic by part, one has no rows": lambda: (model(), VAEGAN((6,), critic_hidden=(8,)), Few),
    "no noise, a critic": lambda: (model(Delta), Judged(steps=2), None),
    "no noise, fitted": lambda: (model(Delta, scale="fitted"), Reconstruction(), None),
    "a codebook": lambda: (coded(VQ(codes=6, size=2, decay=0.5)), ELBO(), None),
    "a running one": lambda: (coded(VQEMA(codes=6, size=1, decay=0.5)), ELBO(), None),
    "codes, one has no rows": lambda: (coded(VQEMA(codes=6, size=1, decay=0.5)), ELBO(), Few),
    "a gradient that nobody has": lambda: (model(Delta, prior=Shifted()), Unasked(), None),
    "a rank without rows": lambda: (model(Delta, scale="fitted"), Reconstruction(), Few),
    "coupled rows": lambda: (model(), BetaTC(76, beta=2.0), None),
    "coupled rows, no noise": lambda: (model(Delta), WAEMMD(), None),
    "coupled rows, one has none": lambda: (model(), InfoVAE(lam=5.0), Few),
    "a multiplier": lambda: (model(), GECO(rate=0.5, decay=0.5), None),
    "a multiplier, one has no rows": lambda: (model(), GECO(rate=0.5, decay=0.5), Few),
    "free bits, one has no rows": lambda: (model(), FreeBits(), Few),
    "a rank without rows, by part": lambda: (model(), Split2(posterior=1.0, rest=2.0), Few),
}
ALONE = [name for name in CASES if name.startswith("no noise") or name.endswith("without rows")]


def trained(name: str, rank: int, world: int) -> dict[str, Any]:
    """Weights and means after some steps; each process begins with weights of its own."""
    torch.manual_seed(5 + rank)
    whole, objective, few = CASES[name]()
    share = {"rank": rank, "world": world}
    batches: Any = Few(rank, world) if few and world > 1 else Batches(Split(ROWS), 16, **share)
    first, _ = players(whole, objective)
    adam = make_optimizer("adamw", first, lr=0.01, weight_decay=0.1)
    means: list[dict[str, float]] = []
    torch.manual_seed(50 + rank)
    progress = fit(whole, objective, batches, steps=STEPS, optimizer=adam,
                   on_epoch=lambda p: means.append({**p.means, "rows": p.rows}))  # fmt: skip
    states = {"model": progress.model, "objective": progress.objective}
    weights = {f"{n}.{k}": v for n, m in states.items() for k, v in m.state_dict().items()}
    return {"weights": weights, "means": means}


def diverging(rank: int, world: int) -> str:
    whole = model(Delta)
    adam = make_optimizer("adam", whole.parameters(), lr=0.01)
    try:
        batches: Any = Few(rank, world, "nan")
        fit(whole, Reconstruction(), batches, steps=3, optimizer=adam)
    except DivergedError as error:
        assert all(bool(p.isfinite().all()) for p in whole.parameters())
        return str(error)
    return "did not"


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    found: dict[str, Any] = {name: trained(name, rank, 2) for name in CASES}
    found["diverging"] = diverging(rank, 2)
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(process, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", CASES)
def test_processes_end_with_the_same_weights_and_means(name: str, both: Any) -> None:
    one, other = (found[name] for found in both)
    assert one["weights"].keys() == other["weights"].keys()
    for key, value in one["weights"].items():
        assert bool(value.isfinite().all()), key
        assert torch.equal(value, other["weights"][key]), f"the processes differ in {key}"
    assert one["means"] == other["means"]
    assert [mean["rows"] for mean in one["means"]] == [76, 32]


@pytest.mark.parametrize("name", ALONE)
def test_they_end_where_one_process_does(name: str, both: Any) -> None:
    alone = trained(name, 0, 1)
    for key, value in alone["weights"].items():
        got = both[0][name]["weights"][key]
        torch.testing.assert_close(got, value, rtol=0, atol=1e-6, msg=lambda m, k=key: f"{k}: {m}")
    for got, expected in zip(both[0][name]["means"], alone["means"], strict=True):
        assert got == pytest.approx(expected, rel=1e-5)


def test_a_gradient_that_no_process_has_stays_none(both: Any) -> None:
    """Weight decay would move the parameter, were its gradient 0."""
    found = both[0]["a gradient that nobody has"]["weights"]
    assert torch.equal(found["model.prior.mean"], torch.ones(2))


def test_processes_diverge_together(both: Any) -> None:
    assert both[0]["diverging"].startswith("the training diverged at step 0: ")
    assert "here or in another process" in both[0]["diverging"]
    assert both[1]["diverging"].startswith("the training diverged at step 0: the data x")


def test_batches_that_are_not_shared_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their gradients would add up to more than the mean."""
    monkeypatch.setattr("vaekit.training._loop.ranks", lambda: 2)
    whole = model(Delta)
    adam = make_optimizer("adam", whole.parameters(), lr=0.01)
    monkeypatch.setattr("vaekit.training._loop.from_first", lambda *_: None)
    with pytest.raises(vk.VaekitError, match="shared by 1: make them with world=2"):
        fit(whole, Reconstruction(), Batches(Split(ROWS), 16), steps=1, optimizer=adam)


@pytest.mark.parametrize(
    ("rows", "size", "world", "said"),
    [
        (76, 3, 1, "got `batch_size=3`; FactorVAE compares the rows of a batch: expected 4 or"),
        (76, 6, 2, "got `batch_size=6` for 2 processes; FactorVAE .*: expected 8 or more"),
        (3, 16, 1, "got 3 rows; FactorVAE .*: expected 4 or more"),
        (7, 16, 2, "got 6 rows for 2 processes; FactorVAE .*: expected 8 or more"),
    ],
)
def test_a_process_s_share_has_the_rows_that_are_compared(
    rows: int, size: int, world: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaekit.training._loop.ranks", lambda: world)
    monkeypatch.setattr("vaekit.training._loop.from_first", lambda *_: None)
    whole, objective = model(), FactorVAE((2,), critic_hidden=(8,))
    adam = make_optimizer("adam", whole.parameters(), lr=0.01)
    with pytest.raises(vk.VaekitError, match=said):
        fit(whole, objective, Batches(Split(ROWS[:rows]), size, world=world), steps=1,
            optimizer=adam)  # fmt: skip
    enough = Batches(Split(ROWS[:8]), 4 * world, world=world)
    assert rows_of_a_step(enough, objective) == 4 * world


def test_rows_that_are_too_few_to_compare_train_nothing(tmp_path: Path) -> None:
    objective = FactorVAE((2,), critic_hidden=(8,))
    with pytest.raises(vk.VaekitError, match="got `batch_size=3`; FactorVAE compares the rows"):
        vk.train(model(), objective, data=ROWS, batch_size=3, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
