"""A trained model put to work: encoding many rows, and drawing as many."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

import vaekit
from peers.pythae_side import quiet
from peers.task import TASKS, plain, recipe_of, rows_of
from vaekit._torchutil import keep_memory

__all__ = ["ROWS", "Uses"]

ROWS = 100_000
BATCH = 1000  # of pythae, whose `embed` takes what fits into memory


class Uses:
    """One side: the net 784-512-256-32, and what its library calls for each task."""

    def __init__(self, whose: str) -> None:
        self.task, self.ours = TASKS["w1-128"], whose == "vaekit"
        self.rows = rows_of(self.task).repeat(2, 1)[:ROWS].float() / 255
        self.place = tempfile.TemporaryDirectory()
        if self.ours:
            keep_memory()
            few: dict[str, Any] = {"epochs": 1, "report": False, "likelihood": "bernoulli"}
            few |= {"net": "mlp:hidden=512,256:activation=relu", "latent": 32}
            out = Path(self.place.name, "run")
            self.run = vaekit.train("vae", data=self.rows[:1000].numpy(), out=out, **few)
        else:
            quiet()
            self.model = self._theirs()

    def _theirs(self) -> Any:
        from peers.pythae_side import trainer_of

        model = recipe_of(self.task).model
        encoder, decoder = (plain(part.net) for part in (model.posterior, model.likelihood))
        few = self.rows[: self.task.batch]
        return trainer_of(self.task, encoder, decoder, few, self.place.name).model.eval()

    @torch.no_grad()
    def encode(self) -> int:
        """How many codes there are."""
        if self.ours:
            return len(self.run.encode(self.rows))
        return len(torch.cat([self.model.embed(x) for x in self.rows.split(BATCH)]))

    @torch.no_grad()
    def sample(self) -> int:
        """How many draws of N(0, I) were decoded."""
        if self.ours:
            return len(self.run.sample(ROWS, mean=True, prior="model"))
        from pythae.samplers import NormalSampler

        return len(NormalSampler(self.model).sample(ROWS, batch_size=BATCH))
