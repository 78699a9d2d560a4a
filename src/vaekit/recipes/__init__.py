"""Named variants: short functions that choose parts. Importing them does not import torch."""

from vaekit.options import Net, Options, Pixels
from vaekit.recipes.base import RECIPES, Recipe, build, own_options, recipe, summary
from vaekit.recipes.classic import ae, beta_vae, iwae, sigma_vae, vae

__all__ = [
    "RECIPES",
    "Net",
    "Options",
    "Pixels",
    "Recipe",
    "ae",
    "beta_vae",
    "build",
    "iwae",
    "own_options",
    "recipe",
    "sigma_vae",
    "summary",
    "vae",
]
