"""Training: the loop, its schedules, its checkpoints and its run folder."""

from vaekit.training.callbacks import Callback, Callbacks
from vaekit.training.checkpoint import check_state
from vaekit.training.diagnose import DivergedError
from vaekit.training.loop import Progress, fit
from vaekit.training.optimizers import make_optimizer
from vaekit.training.together import Together

__all__ = [
    "Callback",
    "Callbacks",
    "DivergedError",
    "Progress",
    "Together",
    "check_state",
    "fit",
    "make_optimizer",
]
