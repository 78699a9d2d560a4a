"""The report of a run: pictures, charts, and one HTML file that holds them all."""

from vaekit.report.charts import kl_bars, training_curves
from vaekit.report.coloring import colorize
from vaekit.report.comparison import Comparison, compare
from vaekit.report.images import grid, pairs, png_bytes, save_png
from vaekit.report.of_run import write_run_report
from vaekit.report.page import Section, page
from vaekit.report.snapshots import snapshots_of
from vaekit.report.write import Report, write_report

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
