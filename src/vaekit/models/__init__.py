"""Models: one pass over a batch is a trace."""

from vaekit.models.colorizer import Colorizer, luminance
from vaekit.models.fixed import fixed_at
from vaekit.models.trace import Site, Trace
from vaekit.models.vae import VAE

Model = VAE | Colorizer

__all__ = ["VAE", "Colorizer", "Model", "Site", "Trace", "fixed_at", "luminance"]
