"""pythae's side: its models around the same nets, and its own trainer and loader."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

import torch
from torch import Tensor, nn

from peers.task import (
    DRAWS,
    Task,
    first_batch,
    gradient_norm,
    plain,
    read_picture,
    recipe_of,
    rows_of,
)

__all__ = ["Pythae", "quiet", "trainer_of"]


class Pythae:
    """pythae 0.1.2, as its user calls it: `BaseTrainer` on an array of floats."""

    def __init__(self, task: Task) -> None:
        quiet()
        self.task = task
        model = recipe_of(task).model
        encoder, decoder = (plain(part.net) for part in (model.posterior, model.likelihood))
        self.place = tempfile.TemporaryDirectory()
        self.trainer = trainer_of(task, encoder, decoder, self._array(), self.place.name)
        self.model = self.trainer.model
        self.epoch = 0

    def _array(self) -> Tensor:
        if self.task.pictures is None:
            return rows_of(self.task).float().div_(255)
        paths = sorted(self.task.pictures.iterdir())[: self.task.rows]
        return torch.stack([read_picture(path) for path in paths])

    def check(self) -> tuple[float, float]:
        """The loss of the first batch and the norm of its gradient, at the noise of seed 0."""
        x = first_batch(self.task)
        torch.manual_seed(0)
        if self.task.kind == "iwae":  # the same noise in their order of dims
            noise = torch.randn(DRAWS, len(x), self.model.latent_dim).transpose(0, 1)
            self.model._sample_gauss = lambda mu, std: (mu + noise * std, noise)
        self.model.train()
        loss = self.model({"data": x}).loss
        loss.backward()
        self.model.__dict__.pop("_sample_gauss", None)
        return loss.item(), gradient_norm(self.model)

    def run(self) -> float:
        """An epoch; its mean loss."""
        self.epoch += 1
        return float(self.trainer.train_step(self.epoch))


def quiet() -> None:
    """Sends progress bars and notes nowhere, which costs less than to show them."""
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def trainer_of(task: Task, encoder: nn.Module, decoder: nn.Module, rows: Tensor, place: str) -> Any:
    """pythae's trainer, ready for its first epoch."""
    from pythae import models
    from pythae.data.datasets import BaseDataset
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = encoder

        def forward(self, x: Tensor) -> Any:
            loc, log_variance = self.net(x).chunk(2, 1)
            return ModelOutput(embedding=loc, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = decoder if task.kind == "color" else nn.Sequential(decoder, nn.Sigmoid())

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.net(z))

    latent = encoder(rows[:2]).shape[1] // 2
    common = {
        "input_dim": task.shape,
        "latent_dim": latent,
        "reconstruction_loss": "mse" if task.kind == "color" else "bce",
    }
    if task.kind == "iwae":
        config = models.IWAEConfig(number_samples=DRAWS, **common)
        model = models.IWAE(config, Encoder(), Decoder())
    else:
        model = models.VAE(models.VAEConfig(**common), Encoder(), Decoder())
    training = BaseTrainerConfig(
        output_dir=place,
        num_epochs=1,
        learning_rate=1e-3,
        per_device_train_batch_size=task.batch,
        no_cuda=True,
    )
    trainer = BaseTrainer(model, BaseDataset(rows, torch.ones(len(rows))), training_config=training)
    trainer.prepare_training()
    return trainer
