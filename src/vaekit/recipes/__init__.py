"""Named variants: short functions that choose parts. Importing them does not import torch."""

from vaekit.options import Net, Options, Pixels
from vaekit.recipes.base import RECIPES, Recipe, build, own_options, preset, recipe, summary
from vaekit.recipes.classic import ae, beta_vae, cvae, iwae, sigma_vae, vae
from vaekit.recipes.colour import colorizer
from vaekit.recipes.unpooled import unpool_ae

__all__ = [
    "RECIPES",
    "Net",
    "Options",
    "Pixels",
    "Recipe",
    "ae",
    "beta_vae",
    "build",
    "colorizer",
    "cvae",
    "iwae",
    "own_options",
    "preset",
    "recipe",
    "sigma_vae",
    "summary",
    "unpool_ae",
    "vae",
]
