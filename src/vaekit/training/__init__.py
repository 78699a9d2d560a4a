"""Training: the loop, its schedules, its checkpoints and its run folder."""

from vaekit.training.checkpoint import load_state, save_state
from vaekit.training.diagnose import DivergedError
from vaekit.training.listener import Listener
from vaekit.training.loop import Progress, fit
from vaekit.training.memory import keep_memory
from vaekit.training.optimisers import make_optimizer
from vaekit.training.together import Together

__all__ = [
    "DivergedError",
    "Listener",
    "Progress",
    "Together",
    "fit",
    "keep_memory",
    "load_state",
    "make_optimizer",
    "save_state",
]
