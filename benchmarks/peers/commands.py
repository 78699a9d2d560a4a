"""Whole commands, and the scripts of torch alone that somebody would write in their place.

Both train the same net on as many rows in the same steps; ours measures more, draws its figures and
writes a report.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np

from peers.results import WHOLES
from peers.task import make_pictures

__all__ = ["pairs", "seconds"]

PHOTOS = 13_000
DIGITS = """
import gzip, sys, numpy as np, torch
from torch import nn
from torch.nn import functional as F
torch.manual_seed(0)
raw = {name: gzip.decompress(open(f"{sys.argv[1]}/{name}.gz", "rb").read()) for name in ("a", "b")}
rows, test = (
    torch.from_numpy(np.frombuffer(each, np.uint8, offset=16).reshape(-1, 784).copy())
    for each in raw.values()
)
def net(*sizes):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.Linear(a, b), nn.GELU()]
    return nn.Sequential(*layers[:-1])
encoder, decoder = net(784, 512, 256, 64), net(32, 256, 512, 784)
adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)
def loss(x):
    loc, log_variance = encoder(x).chunk(2, -1)
    z = loc + torch.randn_like(loc) * (log_variance / 2).exp()
    kl = 0.5 * (loc.square() + log_variance.exp() - 1 - log_variance).sum(-1)
    off = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="none")
    return (off.sum(-1) + kl).mean()
@torch.no_grad()
def measured(rows):
    return sum(loss(x.float() / 255).item() * len(x) for x in rows.split(500)) / len(rows)
rows = rows[torch.randperm(len(rows))]
train, validation = rows[:54000], rows[54000:]
for epoch in range(3):
    for index in torch.randperm(len(train)).split(128):
        value = loss(train[index].float() / 255)
        adam.zero_grad()
        value.backward()
        adam.step()
    print(epoch + 1, measured(validation))
print("test", measured(test))
"""
PICTURES = """
import io, sys, zipfile, numpy as np, torch
from PIL import Image
from torch import nn
torch.manual_seed(0)
with zipfile.ZipFile(sys.argv[1]) as archive:
    names = sorted(archive.namelist())
    chosen = np.random.default_rng(0).permutation(len(names))[:2000]
    pixels = [
        np.asarray(Image.open(io.BytesIO(archive.read(names[i]))).convert("RGB")) for i in chosen
    ]
rows = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
encoder = nn.Sequential(
    nn.Conv2d(3, 32, 3, 2, 1), nn.GELU(), nn.Conv2d(32, 64, 3, 2, 1), nn.GELU(), nn.Flatten(),
    nn.Linear(64 * 256, 32),
)
decoder = nn.Sequential(
    nn.Linear(16, 64 * 256), nn.GELU(), nn.Unflatten(1, (64, 16, 16)),
    nn.ConvTranspose2d(64, 32, 3, 2, 1, 1), nn.GELU(), nn.ConvTranspose2d(32, 3, 3, 2, 1, 1),
)
log_sigma = nn.Parameter(torch.zeros(()))
weights = [*encoder.parameters(), *decoder.parameters(), log_sigma]
adam = torch.optim.Adam(weights, lr=1e-3, fused=True)
def loss(x):
    loc, log_variance = encoder(x).chunk(2, -1)
    z = loc + torch.randn_like(loc) * (log_variance / 2).exp()
    kl = 0.5 * (loc.square() + log_variance.exp() - 1 - log_variance).sum(-1)
    error = ((x - decoder(z)) / log_sigma.exp()).square().flatten(1)
    return ((error / 2 + log_sigma + 0.9189385).sum(-1) + kl).mean()
for epoch in range(2):
    for index in torch.randperm(len(rows)).split(128):
        value = loss(rows[index].float() / 255)
        adam.zero_grad()
        value.backward()
        adam.step()
with torch.no_grad():
    print(sum(loss(x.float() / 255).item() * len(x) for x in rows.split(100)) / len(rows))
"""
OPTIONS = ["--lr", "0.001", "--lr-schedule", "constant", "--batch-size", "128"]


def pairs(place: Path) -> dict[str, dict[str, list[str]]]:
    """By the name of each command: the words of theirs, then of ours, over files made here."""
    digits, photos = place / "digits", place / "photos"
    for folder in (digits, photos):
        folder.mkdir()
    rng = np.random.default_rng(0)
    for name, count in (("a", 60_000), ("b", 10_000)):
        ink = rng.integers(0, 256, (count, 784), np.uint8) * (rng.random((count, 784)) < 0.2)
        head = np.array([2051, count, 28, 28], ">i4").tobytes()
        data = gzip.compress(head + ink.astype(np.uint8).tobytes(), 1)
        (digits / f"{name}.gz").write_bytes(data)
    ours = digits / "mnist"
    ours.mkdir()
    names = {"a": "train-images-idx3-ubyte.gz", "b": "t10k-images-idx3-ubyte.gz"}
    for name, full in names.items():
        (ours / full).hardlink_to(digits / f"{name}.gz")
    make_pictures(photos, PHOTOS)
    with zipfile.ZipFile(place / "photos.zip", "w") as archive:
        for path in sorted(photos.iterdir()):
            archive.write(path, path.name)
    mlp = ["--net", "mlp:hidden=512,256", "--latent", "32", "--likelihood", "bernoulli"]
    conv = ["--net", "conv:channels=32,64", "--latent", "16", "--limit", "2000"]
    conv += ["--likelihood", "gaussian:scale=shared", "--augment", "none"]
    kit = [sys.executable, "-m", "vaekit", "train", "vae", *OPTIONS]
    (first, second) = WHOLES
    return {
        first: {
            "theirs": [sys.executable, "-c", DIGITS, str(digits)],
            "ours": [*kit, "--data", str(ours), "--epochs", "3", *mlp],
        },
        second: {
            "theirs": [sys.executable, "-c", PICTURES, str(place / "photos.zip")],
            "ours": [*kit, "--data", str(place / "photos.zip"), "--epochs", "2", *conv],
        },
    }


def seconds(command: list[str], threads: int, place: Path) -> float:
    """One process from its start to its end; a run goes to a new folder under `place`."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    out = ["--out", f"runs/{time.time_ns()}"] if "vaekit" in command else []
    began = time.perf_counter()
    subprocess.run([*command, *out], check=True, capture_output=True, env=environment, cwd=place)
    return time.perf_counter() - began
