"""Runs: what was asked for, the folder that keeps it, and the trained model of it."""

from typing import TYPE_CHECKING

from vaekit.registry import exports

if TYPE_CHECKING:
    from vaekit.runs.config import Config as Config
    from vaekit.runs.config import flat_fields as flat_fields
    from vaekit.runs.folder import RunFolder as RunFolder
    from vaekit.runs.folder import next_folder as next_folder
    from vaekit.runs.job import Job as Job
    from vaekit.runs.job import describe as describe
    from vaekit.runs.job import make_job as make_job
    from vaekit.runs.job import optimize as optimize
    from vaekit.runs.judge import Rows as Rows
    from vaekit.runs.judge import keep as keep
    from vaekit.runs.reproduce import Reproduction as Reproduction
    from vaekit.runs.reproduce import begun as begun
    from vaekit.runs.reproduce import check_reproduction as check_reproduction
    from vaekit.runs.reproduce import find_reproduction as find_reproduction
    from vaekit.runs.reproduce import known as known
    from vaekit.runs.reproduce import measure_elbo as measure_elbo
    from vaekit.runs.reproduce import measure_nll as measure_nll
    from vaekit.runs.reproduce import measured as measured
    from vaekit.runs.reproduce import record as record
    from vaekit.runs.reproduce import result_row as result_row
    from vaekit.runs.run import Run as Run
    from vaekit.runs.run import open_run as open_run
    from vaekit.runs.seeds import summarise as summarise
    from vaekit.runs.seeds import train_seeds as train_seeds
    from vaekit.runs.several import Row as Row
    from vaekit.runs.several import Task as Task
    from vaekit.runs.several import default_folder as default_folder
    from vaekit.runs.sweep import PAGE as PAGE
    from vaekit.runs.sweep import parse_grid as parse_grid
    from vaekit.runs.sweep import train_grid as train_grid
    from vaekit.runs.table import tabulate as tabulate

__getattr__, __dir__ = exports(
    __name__,
    {
        "agreement": ["agreement"],
        "config": ["Config", "RECORDS", "flat_fields"],
        "folder": ["RunFolder", "git_state", "next_folder"],
        "job": ["Job", "describe", "make_job", "optimize"],
        "judge": ["Rows", "keep"],
        "reproduce": [
            *("Reproduction", "begun", "check_reproduction", "find_reproduction", "known"),
            *("measure_elbo", "measure_nll", "measured", "record", "result_row"),
        ],
        "run": ["Run", "open_run"],
        "seeds": ["summarise", "train_seeds"],
        "several": ["Row", "Task", "default_folder"],
        "sweep": ["PAGE", "parse_grid", "train_grid"],
        "table": ["tabulate"],
    },
)
