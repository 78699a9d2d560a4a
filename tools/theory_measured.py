"""What tools/theory.py shows of trained models: log p(x) and its bound; images."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import vaekit as vk

EPOCHS = (0, 1, 2, 4, 8, 16, 32, 64)
CELL, COLUMNS, LEFT = 48, 13, 200  # pixels of an image, images of a row, pixels of its label
Looked = tuple[int, float, float]  # epoch, log p(x), ELBO


def quadrature(
    model: Any, x: Tensor, ends: float = 6.0, points: int = 161
) -> tuple[Tensor, Tensor]:
    """Return log p(x) and the ELBO of each row, by sums over a grid of two latents.

    Args:
        model: of doubles.
        x: `(B, *X)`.
        ends: the grid lies in [-ends, ends]².
        points: on a side.
    """
    at = torch.linspace(-ends, ends, points, dtype=torch.float64)
    z, cell = torch.cartesian_prod(at, at)[:, None], 2 * (at[1] - at[0]).log()
    with torch.no_grad():
        log_px = torch.cat([model.likelihood(part).log_prob(x) for part in z.split(500)])
        joint, log_q = log_px + model.prior().log_prob(z), model.posterior(x).log_prob(z)
    weight = (log_q + cell).exp()
    if (weight.sum(0) - 1).abs().max() > 1e-3:
        raise SystemExit("theory.py: the grid is too coarse or too small for q(z|x).")
    return (joint + cell).logsumexp(0), (weight * (joint - log_q)).sum(0)


def measured(epochs: Sequence[int] = EPOCHS, rows: int = 100, points: int = 161) -> dict[str, Any]:
    """Train a VAE on digits, then a new encoder for its decoder; return what each epoch has.

    Each is the epoch, log p(x) and the ELBO, the means over test rows in nats per image.
    """
    digits = vk.data.load("digits", binarize="threshold")
    batches = vk.Batches(digits.train, 64)
    x = digits.test.x().double()[:: -(-len(digits.test) // rows)]
    pixels, first = vk.Bernoulli((1, 8, 8)), _encoder(0)
    decoder = vk.Conditional(vk.MLP(2, pixels.param_shape, hidden=(64,)), pixels)
    model = vk.VAE(vk.StandardNormal(2), first, decoder)
    both = _trained(model, model, batches, epochs, x, points)
    model.posterior = _encoder(1)
    alone = _trained(model, model.posterior, batches, epochs, x, points)
    return {"rows": len(x), "both": both, "encoder": alone}


def _encoder(seed: int) -> vk.Conditional:
    torch.manual_seed(seed)
    family = vk.Gaussian(2)
    return vk.Conditional(vk.MLP((1, 8, 8), family.param_shape, hidden=(64,)), family)


def _trained(
    model: vk.VAE, part: Any, batches: vk.Batches, epochs: Sequence[int], x: Tensor, points: int
) -> list[Looked]:
    """Train a part of the model by the bound, and look at x after these epochs."""
    print("epoch  log p(x)  by 1,000 draws  ELBO  KL(q(z|x) || p(z|x))")
    found, adam = [_look(model, 0, x, points)], torch.optim.Adam(part.parameters(), lr=3e-3)
    for before, epoch in pairwise(epochs):
        for number in range(before, epoch):
            for batch in batches.epoch(number):
                adam.zero_grad()
                (-vk.ELBO()(model(batch.x)).value.mean()).backward()
                adam.step()
        found.append(_look(model, epoch, x, points))
    return found


def _look(model: vk.VAE, epoch: int, x: Tensor, points: int) -> Looked:
    double = copy.deepcopy(model).double().eval()
    log_p, elbo = (each.mean().item() for each in quadrature(double, x, points=points))
    with torch.random.fork_rng():
        drawn = vk.log_likelihood(double, x, samples=1000).mean().item()
    print(f"{epoch:5}  {log_p:.2f}  {drawn:.2f}  {elbo:.2f}  {log_p - elbo:.2f}", flush=True)
    return epoch, round(log_p, 4), round(elbo, 4)


def side_by_side(*names: str) -> Image.Image:
    """Return what an autoencoder and a VAE make of the same test images, and of the same z."""
    auto, vae = (vk.load(name) for name in names)
    # one test image of each class, and three more
    test = auto.dataset().test
    labels = (test.labels if test.labels is not None else torch.zeros(0)).tolist()
    order = [labels.index(digit) for digit in range(10)]
    x = test.x(torch.tensor([*order, *range(COLUMNS - 10)]))
    torch.manual_seed(0)
    codes, normal = auto.encode(x), torch.randn(COLUMNS, auto.encode(x).shape[1])
    train = auto.encode(auto.dataset().train.x(slice(5000)))
    of_codes = train.mean(0) + normal @ torch.linalg.cholesky(train.T.cov()).T
    half = [(z[1:] + z[:-1]) / 2 for z in (codes, vae.encode(x))]
    rows = {
        "test images": x,
        "autoencoder, codes of x": auto.reconstruct(x),
        "VAE, codes of x": vae.reconstruct(x),
        "autoencoder, halfway": auto.decode(half[0]),
        "VAE, halfway": vae.decode(half[1]),
        "autoencoder, N(0, I)": auto.decode(normal),
        "autoencoder, N(m, S)": auto.decode(of_codes),
        "VAE, N(0, I)": vae.decode(normal),
    }
    sheet = Image.new("RGB", (LEFT + COLUMNS * CELL + 6, 8 * (CELL + 6) + 6), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, (name, images) in enumerate(rows.items()):
        y, shift = 6 + row * (CELL + 6), (COLUMNS - len(images)) * CELL // 2
        draw.text((8, y + CELL // 2), name, "black", font, anchor="lm")
        for column, image in enumerate(images[:, 0].clamp(0, 1)):
            gray = Image.fromarray((255 * image).byte().numpy()).resize((CELL - 2, CELL - 2))
            sheet.paste(gray, (LEFT + shift + column * CELL, y))
    return sheet.convert("L")
