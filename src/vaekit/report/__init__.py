"""The report of a run: pictures, charts, and one HTML file that holds them all."""

from vaekit.report.charts import kl_bars, training_curves
from vaekit.report.comparison.write import Comparison, compare
from vaekit.report.images import colorize, grid, pairs, png_bytes, save_png
from vaekit.report.of_run import write_run_report
from vaekit.report.page import Report, Section, page, write_report
from vaekit.report.snapshots import snapshots_of

__all__ = [
    "Comparison",
    "Report",
    "Section",
    "colorize",
    "compare",
    "grid",
    "kl_bars",
    "page",
    "pairs",
    "png_bytes",
    "save_png",
    "snapshots_of",
    "training_curves",
    "write_report",
    "write_run_report",
]
