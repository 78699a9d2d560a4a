"""Judging a trained model."""

from vaekit.evaluate.aggregate import AggregatePosterior, aggregate_log_prob, aggregate_posterior
from vaekit.evaluate.annealing import Annealed, Sandwich, ais, bidirectional
from vaekit.evaluate.bound import Measured, measure
from vaekit.evaluate.checks import bits_per_dim, is_likelihood
from vaekit.evaluate.color import Colours, Denoised, colours
from vaekit.evaluate.diagnostics import DeadUnits, GradientNoise, ScaleMeter, gradient_noise
from vaekit.evaluate.latent import Latent, LatentMeter
from vaekit.evaluate.likelihood import NLL, Likelihood, importance_sampled, log_likelihood, nll
from vaekit.evaluate.reconstruction import (
    Reconstructions,
    l1,
    ms_ssim,
    mse,
    psnr,
    reconstructions,
    ssim,
)

__all__ = [
    "NLL",
    "AggregatePosterior",
    "Annealed",
    "Colours",
    "DeadUnits",
    "Denoised",
    "GradientNoise",
    "Latent",
    "LatentMeter",
    "Likelihood",
    "Measured",
    "Reconstructions",
    "Sandwich",
    "ScaleMeter",
    "aggregate_log_prob",
    "aggregate_posterior",
    "ais",
    "bidirectional",
    "bits_per_dim",
    "colours",
    "gradient_noise",
    "importance_sampled",
    "is_likelihood",
    "l1",
    "log_likelihood",
    "measure",
    "ms_ssim",
    "mse",
    "nll",
    "psnr",
    "reconstructions",
    "ssim",
]
