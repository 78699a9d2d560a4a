"""A trained model of every recipe at work: each command writes its file, or refuses it by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit
from vaekit.cli.main import main

COMMANDS = {
    "encode": "encode RUN --data NEW -o OUT.csv",
    "score": "score RUN --data NEW --samples 2 -o OUT.csv",
    "score sheet": "score RUN --data NEW --samples 2 -o OUT.png",
    "score figure": "score RUN --data NEW --samples 2 -o OUT.svg",
    "neighbors": "neighbors RUN --data NEW -k 2 -o OUT.csv",
    "outliers": "outliers RUN -k 3 -o OUT.csv",
    "outliers sheet": "outliers RUN -k 3 -o OUT.png",
    "edit": "edit RUN NEW --toward 1 0.5 -o OUT.png",
    "sample --like": "sample RUN --like 2 -n 3 -o OUT.png",
    "interpolate": "interpolate RUN NEW -o OUT.png",
    "sample": "sample RUN -n 3 -o OUT.npz",
    "impute": "impute RUN --data GAPS --samples 5 -o OUT.npz",
    "explore": "explore RUN -o OUT.html",
}
ROWS = "are no images to draw"
TABLE = "is an image, and rows of a table are none"
NO_PRIOR = "has no prior to draw from"
COLORS = "is a colorizer: it has no latent"
LATENT = (
    "encode",
    "neighbors",
    "edit",
    "sample --like",
    "interpolate",
    "sample",
    "impute",
    "explore",
)
NO_DENSITY = {"impute": "has no density"}
AUTOENCODER = {"sample": NO_PRIOR, "sample --like": NO_PRIOR, **NO_DENSITY}
WHOLE = "has no density of what is seen"
ONE_HOT = {"explore": "has a latent of kind one-hot"}
REFUSED = {
    "ae": AUTOENCODER,
    "unpool_ae": {**AUTOENCODER, "explore": "cannot compute `repeat_interleave`"},
    **dict.fromkeys(("rae_l2", "rae_gp"), AUTOENCODER),
    **dict.fromkeys(("aae", "wae_mmd", "swae"), NO_DENSITY),
    "colorizer": dict.fromkeys(LATENT, COLORS),
    "dmol_vae": {"impute": WHOLE},
    "ms_ssim_vae": {"impute": WHOLE},
    "count_vae": {
        "outliers sheet": TABLE,
        "impute": "stored without gaps",
        "explore": "is given the total of a row",
        **dict.fromkeys(("edit", "sample --like", "interpolate"), ROWS),
    },
    "gumbel_vae": {**dict.fromkeys(("edit", "sample --like"), "are no real numbers"), **ONE_HOT},
    "joint_vae": {"edit": "are no real numbers", "sample --like": "has several latents", **ONE_HOT},
    **dict.fromkeys(
        ("fsq_vae", "vq_vae", "vq_vae_ema", "residual_vq"),
        dict.fromkeys(("edit", "sample --like", "interpolate"), "are no real numbers"),
    ),
}


@pytest.mark.parametrize("recipe", vaekit.recipes.names())
def test_every_recipe_does_it_or_says_what_it_lacks(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (80, 3, 16, 16)).astype("u1")
    x = pixels if recipe == "colorizer" else pixels[:, 0]
    how: dict[str, Any] = {"epochs": 1, "limit": 60, "report": False, "out": tmp_path / "run"}
    if recipe == "count_vae":
        x, how = x.reshape(80, -1) // 50, {**how, "kind": "counts"}
    vaekit.train(recipe, data=(x, np.arange(80) % 2), batch_size=20, **how)
    np.savez(tmp_path / "train.npz", images=x, labels=np.arange(80) % 2)
    np.savez(tmp_path / "new.npz", images=x[:8], labels=np.arange(8) % 2)
    holes = np.where(draw.random(x[:8].shape) < 0.2, np.nan, x[:8] / 255)
    np.savez(tmp_path / "gaps.npz", images=holes.astype("f4"), labels=np.arange(8) % 2)
    more = ["--training-data", str(tmp_path / "train.npz")]
    for name, command in COMMANDS.items():
        out = tmp_path / f"{name.replace(' ', '-')}"
        named = command.replace("OUT", str(out)).replace("NEW", str(tmp_path / "new.npz"))
        named = named.replace("GAPS", str(tmp_path / "gaps.npz"))
        capsys.readouterr()
        words = [*named.replace("RUN", str(tmp_path / "run")).split(), *more]
        if name not in REFUSED.get(recipe, {}):
            main(words)
            assert Path(named.split()[-1]).stat().st_size > 100
            if name == "explore":  # what the page computes is what the run does
                apart = re.search(r"at most ([\d.]+) of 255", capsys.readouterr().out)
                assert apart
                assert float(apart[1]) <= 0.02 * 255
            continue
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert REFUSED[recipe][name] in line
        assert str(tmp_path / "run") in line or recipe == "count_vae" or name == "impute"
