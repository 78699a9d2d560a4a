"""Models: one pass over a batch is a trace."""

from vaekit.models.colorizer import Colorizer, luminance
from vaekit.models.fixed import fixed_at
from vaekit.models.trace import Site, Trace
from vaekit.models.vae import VAE, evaluating

Model = VAE | Colorizer

__all__ = ["VAE", "Colorizer", "Model", "Site", "Trace", "evaluating", "fixed_at", "luminance"]
