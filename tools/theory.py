"""Draws the figures of docs/guide/how-a-vae-works.md: docs/guide/images/theory-*.svg.

python tools/theory.py                 draws all; what was measured stands in theory-bound.svg
python tools/theory.py --train         measures it first, by two trainings on digits: 5 minutes
python tools/theory.py --runs AE VAE   draws autoencoder-and-vae.png from two runs on images
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vaekit.report._curves import Plot

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from theory_sheet import WIDTH, Sheet, area, axis  # noqa: E402

IMAGES = HERE.parent / "docs" / "guide" / "images"


def network() -> Sheet:
    sheet = Sheet(
        312, "x, encoder, mu and log sigma², z, decoder, p(x|z), and the terms of the loss"
    )
    y, x, p = 136, 46, 744
    sheet.box(x, y, 52, 52, "*x*")
    sheet.funnel(158, y, (108, 60), "encoder\n*q*_φ(*z*|*x*)", "q")
    sheet.box(284, y - 24, 78, 34, "*μ*", "q")
    sheet.box(284, y + 24, 78, 34, "log *σ*²", "q")
    sheet.round(420, y, "*z*", "ink", 24)
    sheet.funnel(548, y, (60, 108), "decoder", "p")
    sheet.box(p, y, 116, 52, "*p*_θ(*x*|*z*)", "p")
    sheet.text(420, 50, "*ε* ~ *N*(0, *I*)", "soft")
    sheet.text(420, y + 48, "*z* = *μ* + *σ* · *ε*")
    for start, end in ((72, 102), (214, 244), (444, 492), (604, 686)):
        sheet.arrow((start, y), (end, y))
    sheet.arrow((420, 58), (420, y - 24), kind="soft")
    sheet.arrow((323, y - 24), (398, y - 8))
    sheet.arrow((323, y + 24), (398, y + 8))
    low = 244
    sheet.text(26, low + 5, "loss = −ELBO =", "title", "start")
    sheet.box(284, low, 202, 40, "KL(*q*_φ(*z*|*x*) ‖ *p*(*z*))", "loss")
    sheet.text(284, low + 42, "what the code costs, in nats", "small soft")
    sheet.box(474, low, 110, 34, "*p*(*z*) = *N*(0, *I*)", "p")
    sheet.text(572, low + 6, "+", "title")
    sheet.box(p, low, 116, 40, "−log *p*_θ(*x*|*z*)", "loss")
    sheet.text(p, low + 42, "how badly x comes back", "small soft")
    sheet.arrow((284, y + 41), (284, low - 20), kind="loss")
    sheet.arrow((419, low), (385, low), kind="loss")
    sheet.arrow((p, y + 26), (p, low - 20), kind="loss")
    sheet.arrow((x, y - 26), (x, 22), (818, 22), (818, low), (802, low), kind="loss dashed")
    return sheet


def reparameterization() -> Sheet:
    sheet = Sheet(424, "Left: no gradient passes a draw. Right: z = mu + sigma eps lets it through")
    for cx, kind, title in (
        (200, "loss", "*z* is drawn: *z* ~ *N*(*μ*, *σ*²)"),
        (600, "q", "*z* is computed: *z* = *μ* + *σ* · *ε*"),
    ):
        through = kind == "q"
        sheet.text(cx, 26, title, "title")
        sheet.box(cx, 66, 92, 34, "loss")
        sheet.box(cx, 134, 110, 36, "decoder", "p")
        sheet.box(cx, 330, 110, 36, "encoder", "q")
        sheet.text(cx, 398, "*x*")
        sheet.round(cx - 60, 262, "*μ*", "q")
        sheet.round(cx + 60, 262, "*σ*", "q")
        if through:
            sheet.box(cx, 202, 44, 40, "*z*")
        else:
            sheet.round(cx, 202, "*z*", "ink dashed")
        forward = [
            ((cx, 384), (cx, 348)),
            ((cx - 20, 312), (cx - 46, 280)),
            ((cx + 20, 312), (cx + 46, 280)),
            ((cx - 45, 246), (cx - 19, 217)),
            ((cx + 45, 246), (cx + 19, 217)),
            ((cx, 180), (cx, 152)),
            ((cx, 116), (cx, 83)),
        ]
        for each in forward:
            sheet.arrow(*each)
        back = [((cx + 14, 83), (cx + 14, 116)), ((cx + 14, 152), (cx + 14, 182))]
        if through:
            back += [((cx - 30, 210), (cx - 56, 239)), ((cx + 30, 210), (cx + 56, 239))]
            back += [((cx - 60, 285), (cx - 36, 312)), ((cx + 60, 285), (cx + 36, 312))]
        for each in back:
            sheet.arrow(*each, kind="loss")
    sheet.arrow((28, 66), (28, 116), kind="loss")
    sheet.text(40, 96, "gradient", "loss small", "start")
    sheet.arrow((28, 182), (28, 132))
    sheet.text(40, 162, "value", "small", "start")
    for line, text in enumerate(("a draw has no", "derivative by", "*μ* and *σ*:", "it ends here")):
        sheet.text(268, 178 + 18 * line, text, "loss small", "start")
    sheet.arrow((258, 193), (226, 200), kind="loss thin", head=False)
    sheet.round(720, 202, "*ε*", "soft dashed")
    sheet.arrow((697, 202), (623, 202))
    sheet.text(720, 170, "*ε* ~ *N*(0, 1)", "soft small")
    sheet.text(748, 207, "no input,", "soft small", "start")
    sheet.text(748, 225, "no gradient", "soft small", "start")
    sheet.text(520, 214, "∂*z*/∂*μ* = 1", "loss small", "end")
    sheet.text(682, 246, "∂*z*/∂*σ* = *ε*", "loss small", "start")
    sheet.arrow((415, 16), (415, 408), kind="grid thin", head=False)
    return sheet


def decoder(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of p(x|z), of the figure of the mixture."""
    return 3 * np.tanh(1.2 * z - 0.2), 0.45 - 0.1 * np.tanh(z)


def normal(x: np.ndarray, loc: np.ndarray | float, scale: np.ndarray | float) -> np.ndarray:
    """Return the density of a Gaussian."""
    return np.exp(-(((x - loc) / scale) ** 2) / 2) / (scale * math.sqrt(2 * math.pi))


def mixture(count: int = 31) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return z (K,), x (N,), the parts p(z) dz p(x|z) (K, N), and p(x) (N,) by a finer sum."""
    x, (z, step) = np.linspace(-5, 5, 401), np.linspace(-2.75, 2.75, count, retstep=True)
    loc, scale = decoder(z)
    parts = normal(z, 0, 1)[:, None] * step * normal(x, loc[:, None], scale[:, None])
    fine, small = np.linspace(-6, 6, 2401, retstep=True)
    loc, scale = decoder(fine)
    whole = (normal(fine, 0, 1)[:, None] * small * normal(x, loc[:, None], scale[:, None])).sum(0)
    return z, x, parts, whole


def infinite() -> Sheet:
    sheet = Sheet(428, "p(x) as a mixture: a Gaussian p(x|z) for each z, weighted by p(z)")
    z, x, parts, whole = mixture()
    loc, _ = decoder(z)
    margins = (150.0, 60.0, 6.0, 30.0)
    above = Plot((-5, 5), (0, 0.24), size=(WIDTH, 236), margins=margins)
    below = Plot((-5, 5), (0, 0.42), size=(WIDTH, 120), margins=margins)
    area(above, list(zip(x, whole, strict=True)), "pale p")
    for part in parts:
        seen = part > 2e-4
        above.line(list(zip(x[seen], part[seen], strict=True)), "q thin")
    above.line(list(zip(x, whole, strict=True)), "p")
    axis(above, range(-4, 5, 2), "*x*")
    line = np.linspace(-4, 4, 161)
    below.line(list(zip(line, normal(line, 0, 1), strict=True)), "ink")
    for each in z:
        below.dot((each, float(normal(each, 0, 1))), "q", 3.2)
    axis(below, range(-4, 5, 2), "*z*")
    sheet.plot(above, 0, 10)
    sheet.plot(below, 0, 300)
    for start, end in zip(z, loc, strict=True):
        (a, low), (b, _) = below.at(start, float(normal(start, 0, 1))), above.at(end, 0)
        sheet.arrow(
            (round(a, 1), round(300 + low, 1)), (round(b, 1), 244), kind="q thin", head=False
        )
    sheet.text(20, 90, "*p*(*x*) = ∫ *p*(*z*) *p*(*x*|*z*) d*z*", "p", "start")
    sheet.text(20, 176, "*p*(*z*) *p*(*x*|*z*) d*z*", "q", "start")
    sheet.text(20, 196, "for 31 values of *z*", "q small", "start")
    sheet.text(20, 276, "decoder: *z* → *μ*(*z*), *σ*(*z*)", "small soft", "start")
    sheet.text(20, 352, "*p*(*z*) = *N*(0, 1)", "ink", "start")
    return sheet


def kl() -> Sheet:
    sheet = Sheet(318, "The KL of one dimension to N(0, 1): its part by sigma, and its part by mu")
    sigma, mu = np.linspace(0.02, 2.6, 259), np.linspace(-2.6, 2.6, 105)
    panels = (
        (0, sigma, (sigma**2 - 1) / 2 - np.log(sigma), sigma - 1 - np.log(sigma),
         (0, 1, 2), "*σ*", "½ (*σ*² − 1 − log *σ*²)", "exp(*s*) − (1 + *s*), *s* = log *σ*"),
        (425, mu, mu**2 / 2, mu**2, (-2, -1, 0, 1, 2), "*μ*", "½ *μ*²", "*μ*²"),
    )  # fmt: skip
    for dx, across, right, other, values, name, formula, seen in panels:
        plot = Plot(
            (float(values[0] - (dx > 0) * 0.6), 2.6), (0, 3), (400, 250), (40.0, 44.0, 8.0, 30.0)
        )
        left, edge, _, _ = plot.box
        for tick in range(1, 4):
            _, y = plot.at(0, tick)
            plot.add(f'<path class="grid" d="M{left:g} {y:g}H{edge:g}"/>')
            plot.text(left - 8, y + 5, str(tick), "small soft", "end")
        axis(plot, values, name)
        plot.line(list(zip(across, other, strict=True)), "p dashed")
        plot.line(list(zip(across, right, strict=True)), "q")
        plot.dot((1.0 if dx == 0 else 0.0, 0.0), "q", 4)
        sheet.plot(plot, dx, 50)
        sheet.text(dx + 40, 22, formula, "q title", "start")
        sheet.text(dx + 40, 44, f"in a tutorial: {seen}", "p small", "start")
    sheet.text(8, 22, "nats", "small soft", "start")
    for line, text in enumerate(("0 at *σ* = 1; the price of a", "narrow code has no limit")):
        sheet.text(214, 96 + 18 * line, text, "small soft")
    for line, text in enumerate(("an L2 penalty:", "it pulls *μ* to 0")):
        sheet.text(623, 96 + 18 * line, text, "small soft")
    return sheet


def trace() -> Sheet:
    sheet = Sheet(404, "A trace holds x, the sites with q, z and p, and p(x|z); objectives read it")
    sheet.box(66, 118, 100, 44, "model(*x*)")
    sheet.arrow((116, 118), (150, 118))
    sheet.box(356, 118, 408, 180, "", "soft")
    sheet.text(164, 50, "Trace", "title", "start")
    sheet.box(196, 130, 56, 56, "x")
    sheet.text(196, 90, "the batch", "small soft")
    sheet.box(336, 130, 174, 96, "", "q")
    sheet.text(336, 70, "sites = (Site, …)", "small soft")
    for x, name, what in ((278, "q", "q(z|x)"), (336, "z", "a draw"), (394, "p", "p(z)")):
        kind = {"q": "q", "z": "ink", "p": "p"}[name]
        sheet.round(x, 122, name, kind, 20)
        sheet.text(x, 168, what, "small soft")
    sheet.box(494, 130, 84, 56, "px", "p")
    sheet.text(494, 90, "p(x|z)", "small soft")
    y, low = 266, 354
    for x, wide, name in ((196, 128, "log_likelihood"), (336, 84, "kl"), (494, 110, "log_weight")):
        sheet.box(x, y, wide, 34, name, "loss")
    for x, name in ((196, "Reconstruction"), (336, "ELBO"), (494, "IWAE")):
        sheet.box(x, low, 128 if x == 196 else 84, 34, name)
    for height, text in ((y, "computed\nwhen read:"), (low, "objectives:")):
        for line, part in enumerate(text.split("\n")):
            sheet.text(
                26, height + 5 + 17 * (line - text.count("\n") / 2), part, "small soft", "start"
            )
    for height, text in (
        (y - 34, "log_likelihood = px.log_prob(x)"),
        (y - 8, "kl = KL(q, p)"),
        (y + 18, "log_weight = log_likelihood"),
        (y + 36, "    + p.log_prob(z) − q.log_prob(z)"),
        (low - 4, "ELBO: log_likelihood − β kl"),
        (low + 16, "IWAE: log mean exp(log_weight)"),
    ):
        sheet.text(580, height + 5, text, "small", "start")
    for start, end in ((196, 180), (462, 236), (310, 330), (380, 462), (504, 504)):
        top = 178 if start in (310, 380) else 158
        sheet.arrow((start, top), (end, y - 17), kind="loss thin")
    for start, end in ((196, 196), (240, 312), (336, 336), (494, 494)):
        sheet.arrow((start, y + 17), (end, low - 17), kind="ink thin")
    return sheet


def stored() -> dict[str, Any]:
    """Return the numbers that stand in theory-bound.svg."""
    text = (IMAGES / "theory-bound.svg").read_text()
    numbers: dict[str, Any] = json.loads(text.partition("<metadata>")[2].partition("<")[0])
    return numbers


def bound(numbers: dict[str, Any] | None = None) -> Sheet:
    numbers = numbers or stored()
    sheet = Sheet(380, "log p(x) as ELBO plus KL over the epochs of two trainings")
    sheet.parts.append(f"<metadata>{json.dumps(numbers)}</metadata>")
    low, high = -46.0, -22.0
    titles = {"both": "encoder and decoder learn", "encoder": "the decoder is kept, q starts anew"}
    for dx, name in ((0, "both"), (415, "encoder")):
        rows = numbers[name]
        plot = Plot((-0.6, len(rows) - 0.4), (low, high), (415, 300), (52.0, 8.0, 8.0, 30.0))
        left, right, _, bottom = plot.box
        for tick in range(-45, -20, 5):
            _, y = plot.at(0, tick)
            plot.add(f'<path class="grid" d="M{left:g} {y:.1f}H{right:g}"/>')
            plot.text(left - 8, y + 5, f"−{-tick}", "small soft", "end")
        for number, (epoch, log_p, elbo) in enumerate(rows):
            (x, top), (_, middle) = plot.at(number, log_p), plot.at(number, elbo)
            for start, end, kind in ((middle, bottom, "pale q"), (top, middle, "loss")):
                size = f'width="28" height="{end - start:.1f}"'
                plot.add(f'<rect class="{kind}" x="{x - 14:.1f}" y="{start:.1f}" {size}/>')
            plot.text(x, top - 7, f"{log_p - elbo:.2f}", "loss small", "middle")
            plot.text(x, bottom + 18, f"{epoch}", "small soft", "middle")
        sheet.plot(plot, dx, 58)
        sheet.text(dx + 52, 24, titles[name], "title", "start")
        sheet.text(dx + 230, 368, "epoch", "small soft")
    sheet.parts.append('<rect class="loss" x="52" y="38" width="14" height="14"/>')
    sheet.text(72, 50, "KL(*q*(*z*|*x*) ‖ *p*(*z*|*x*)), its nats above", "small", "start")
    sheet.parts.append('<rect class="pale q" x="300" y="38" width="14" height="14"/>')
    sheet.text(320, 50, "ELBO", "small", "start")
    sheet.text(
        822, 50, "top of a bar: log *p*(*x*), nats per image, mean of test rows", "small", "end"
    )
    return sheet


FIGURES = {
    "network": network,
    "reparameterization": reparameterization,
    "mixture": infinite,
    "bound": bound,
    "kl": kl,
    "trace": trace,
}


def main() -> None:
    """Write what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", action="store_true", help="measure theory-bound.svg anew")
    parser.add_argument("--runs", nargs=2, metavar=("AE", "VAE"), help="draw the image of two runs")
    options = parser.parse_args()
    if options.runs:
        from theory_measured import side_by_side

        side_by_side(*options.runs).save(IMAGES / "autoencoder-and-vae.png", optimize=True)
        return
    if options.train:
        from theory_measured import measured

        (IMAGES / "theory-bound.svg").write_text(bound(measured()).svg())
    for name, figure in FIGURES.items():
        (IMAGES / f"theory-{name}.svg").write_text(figure().svg())


if __name__ == "__main__":
    main()
