"""Judging a trained model."""

from vaekit.evaluate.bound import Measured, measure
from vaekit.evaluate.dead import DeadUnits
from vaekit.evaluate.latent import Latent, LatentMeter
from vaekit.evaluate.likelihood import NLL, Likelihood, importance_sampled, log_likelihood, nll
from vaekit.evaluate.scale import ScaleMeter
from vaekit.evaluate.units import bits_per_dim, is_likelihood

__all__ = [
    "NLL",
    "DeadUnits",
    "Latent",
    "LatentMeter",
    "Likelihood",
    "Measured",
    "ScaleMeter",
    "bits_per_dim",
    "importance_sampled",
    "is_likelihood",
    "log_likelihood",
    "measure",
    "nll",
]
