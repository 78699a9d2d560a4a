"""Objectives: functions of a trace, to be maximised."""

from vaekit.objectives.base import Bound, Objective, over_samples, require
from vaekit.objectives.bounds import ELBO, IWAE, Reconstruction

__all__ = ["ELBO", "IWAE", "Bound", "Objective", "Reconstruction", "over_samples", "require"]
