"""Draws README's first images from a run of `vaekit demo`: a walk in its latent, and its report.

vaekit demo --out runs/demo && python tools/hero.py runs/demo

chromium draws the report. The walk goes in straight lines from code to code of test faces, and
comes back to where it began.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import vaekit

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
FACES, ACROSS, SIDE = 9, 3, 96  # faces in a frame, in a row, and pixels of one
STOPS, STEPS = 5, 9  # codes on each way, frames from one to the next
WIDTH, HEIGHT = 830, 320  # of the hero
FLAGS = "--headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1280,1900"


def report_image(path: Path) -> Image.Image:
    """Return the report as a browser shows it."""
    browser = shutil.which("chromium") or sys.exit("hero.py needs chromium.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.png"
        command = [browser, *FLAGS.split(), f"--screenshot={file}", path.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        return Image.open(io.BytesIO(file.read_bytes())).convert("RGB")


def walk(run: vaekit.Run) -> Tensor:
    """Return the faces of each frame on closed ways through test codes, `(T, N, 3, H, W)`."""
    test = run.dataset().test
    codes = run.encode(test.x(slice(STOPS * FACES))).unflatten(0, (STOPS, FACES))
    share = torch.linspace(0, 1, STEPS + 1)[:-1, None, None]
    ways = [a + share * (b - a) for a, b in zip(codes, codes.roll(-1, 0), strict=True)]
    images = run.spec.values.inverse(run.decode(torch.cat(ways).flatten(0, 1))).clamp(0, 1)
    return images.unflatten(0, (-1, FACES))


def main(run: vaekit.Run) -> None:
    """Write hero.gif and report.png."""
    report = report_image(run.folder.report)
    report.resize((830, 830 * report.height // report.width), Image.Resampling.LANCZOS).quantize(
        128
    ).save(IMAGES / "report.png", optimize=True)
    paper = Image.new("RGB", (WIDTH, HEIGHT), "white")
    edge = (HEIGHT - ACROSS * SIDE) // 4
    wide = WIDTH - ACROSS * SIDE - 4 * edge
    part = report.crop((0, 0, report.width, round(report.width * HEIGHT / wide)))
    paper.paste(part.resize((wide, HEIGHT), Image.Resampling.LANCZOS), (WIDTH - wide, 0))
    frames = []
    for faces in (255 * walk(run)).byte().permute(0, 1, 3, 4, 2).numpy():
        frames.append(frame := paper.copy())
        for n, face in enumerate(faces):
            large = Image.fromarray(face).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            row, column = divmod(n, ACROSS)
            frame.paste(large, (edge + column * (SIDE + edge), edge + row * (SIDE + edge)))
    palette = frames[0].quantize(128, dither=Image.Dither.NONE)
    shown = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [600 if n % STEPS == 0 else 80 for n in range(len(shown))]
    how: dict[str, Any] = {
        "save_all": True,
        "append_images": shown[1:],
        "duration": times,
        "loop": 0,
    }
    shown[0].save(IMAGES / "hero.gif", optimize=False, **how)


if __name__ == "__main__":
    main(vaekit.load(sys.argv[1]))
