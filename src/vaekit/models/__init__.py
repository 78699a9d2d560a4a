"""Models: one pass over a batch is a trace."""

from vaekit.models.trace import Site, Trace
from vaekit.models.vae import VAE, evaluating

__all__ = ["VAE", "Site", "Trace", "evaluating"]
