"""Judging a trained model."""

from vaekit.evaluate.dead import DeadUnits
from vaekit.evaluate.latent import Latent, LatentMeter
from vaekit.evaluate.likelihood import Measured, log_likelihood, measure
from vaekit.evaluate.scale import ScaleMeter
from vaekit.evaluate.units import bits_per_dim, is_likelihood

__all__ = [
    "DeadUnits",
    "Latent",
    "LatentMeter",
    "Measured",
    "ScaleMeter",
    "bits_per_dim",
    "is_likelihood",
    "log_likelihood",
    "measure",
]
