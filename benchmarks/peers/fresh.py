"""How long new processes take: imports, `--help`, and the first step of a training."""

from __future__ import annotations

import os
import subprocess
import sys
import time

__all__ = ["COMMANDS", "seconds"]

FIRST = """
import torch
from vaekit.data import Batches, DataSpec, Split
from vaekit.recipes import build
from vaekit.training import fit, make_optimizer
rows = Split(torch.zeros(128, 784, dtype=torch.uint8))
made = build("vae", DataSpec("bytes", (784,), "gray", rows=128), latent=32)
adam = make_optimizer("adam", made.model.parameters(), lr=1e-3)
fit(made.model, made.objective, Batches(rows, 128), steps=1, optimizer=adam)
"""
THEIR_FIRST = """
import tempfile, torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
config = BaseTrainerConfig(
    output_dir=tempfile.mkdtemp(), per_device_train_batch_size=128, no_cuda=True
)
rows = BaseDataset(torch.zeros(128, 784), torch.ones(128))
model = VAE(VAEConfig(input_dim=(784,), latent_dim=32, reconstruction_loss="bce"))
trainer = BaseTrainer(model, rows, training_config=config)
trainer.prepare_training()
trainer.train_step(1)
"""
COMMANDS = {
    "import torch": ["-c", "import torch"],
    "import vaekit": ["-c", "import vaekit"],
    "import vaekit with all that training needs": ["-c", FIRST.split("rows =")[0]],
    **{
        " ".join(["vaekit", *words]): ["-m", "vaekit", *words]
        for words in (["--help"], ["train", "--help"], ["train", "vae", "--help"], ["recipes"])
    },
    "vaekit, first step": ["-c", FIRST],
    "import pythae": ["-c", "import pythae.models, pythae.trainers"],
    "pythae, first step": ["-c", THEIR_FIRST],
}


def seconds(name: str, threads: int) -> float:
    """One process from its start to its end."""
    command = [sys.executable, *COMMANDS[name]]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - began
