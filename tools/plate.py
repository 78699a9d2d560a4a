"""Draws docs/guide/images/plate.svg: the plate diagram of a VAE.

python tools/plate.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "guide" / "images" / "plate.svg"
INK, SOFT, LEARNED = "#23262b", "#62676f", "#1f6f94"
SETTINGS: Any = {"svg.hashsalt": "plate", "mathtext.fontset": "cm", "font.size": 11}
Point = tuple[float, float]
Z, X, THETA, PHI = (2.6, 2.9), (2.6, 0.9), (4.6, 0.9), (0.6, 2.9)


def _node(axes: Axes, at: Point, name: str, fill: str = "white", radius: float = 0.42) -> None:
    axes.add_patch(Circle(at, radius, facecolor=fill, edgecolor=INK, linewidth=1.3, zorder=2))
    axes.text(*at, name, ha="center", va="center", fontsize=16, color=INK, zorder=3)


def _arrow(axes: Axes, start: Point, end: Point, gap: float = 18, **look: Any) -> None:
    style: Any = {"arrowstyle": "-|>", "mutation_scale": 14, "color": INK, "linewidth": 1.3, **look}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=gap, shrinkB=26, **style))


def _parameter(axes: Axes, at: Point, name: str) -> None:
    axes.add_patch(Circle(at, 0.07, color=LEARNED, zorder=2))
    axes.text(at[0], at[1] + 0.32, name, ha="center", va="center", fontsize=16, color=LEARNED)


def _words(axes: Axes, at: Point, text: str, **look: Any) -> None:
    axes.text(*at, text, va="center", color=SOFT, **look)


def main() -> None:
    """Writes it."""
    with mpl.rc_context(SETTINGS):
        figure, axes = plt.subplots(figsize=(7.2, 3.6))
        axes.set(xlim=(-0.2, 9.0), ylim=(-0.15, 3.8), aspect="equal")
        axes.axis("off")
        box = FancyBboxPatch((1.35, -0.05), 2.5, 3.75, boxstyle="round,pad=0,rounding_size=0.15",
                             facecolor="none", edgecolor=SOFT, linewidth=1.1)  # fmt: skip
        axes.add_patch(box)
        _words(axes, (3.72, 0.15), "$N$", ha="right", fontsize=13)
        _node(axes, Z, "$z_n$")
        _node(axes, X, "$x_n$", fill="#dfe3e8")
        _parameter(axes, THETA, r"$\theta$")
        _parameter(axes, PHI, r"$\phi$")
        _arrow(axes, Z, X, gap=26, connectionstyle="arc3,rad=-0.28")
        _arrow(axes, X, Z, gap=26, connectionstyle="arc3,rad=-0.28", linestyle=(0, (4, 3)))
        _arrow(axes, THETA, X, gap=4)
        _arrow(axes, PHI, Z, gap=4, linestyle=(0, (4, 3)))
        lines = [
            (3.3, r"$z_n \sim p(z) = N(0, I)$: latent, not seen"),
            (2.6, r"$x_n \sim p_\theta(x\,|\,z_n)$: seen (shaded)"),
            (1.9, r"$q_\phi(z\,|\,x_n)$: the encoder's guess (dashed)"),
        ]
        for height, text in lines:
            _words(axes, (4.75, height), text, ha="left")
        _words(axes, (5.05, 0.9), r"$\theta$, $\phi$: learned once, for all rows", ha="left")
        figure.savefig(PICTURE, facecolor="white", bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
