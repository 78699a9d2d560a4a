"""Judging a trained model."""

from vaekit.evaluate.likelihood import Measured, log_likelihood, measure
from vaekit.evaluate.units import bits_per_dim, is_likelihood

__all__ = ["Measured", "bits_per_dim", "is_likelihood", "log_likelihood", "measure"]
