"""Objectives: functions of a trace, to be maximised."""

from vaekit.objectives.base import Bound, Objective, over_samples, require
from vaekit.objectives.bounds import ELBO, IWAE, Reconstruction
from vaekit.objectives.color import Colouring

__all__ = [
    "ELBO",
    "IWAE",
    "Bound",
    "Colouring",
    "Objective",
    "Reconstruction",
    "over_samples",
    "require",
]
