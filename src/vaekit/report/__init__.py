"""The report of a run: pictures, charts, and one HTML file that holds them all."""

from vaekit.report.charts import kl_bars, training_curves
from vaekit.report.comparison import Comparison, compare
from vaekit.report.images import grid, pairs, png_bytes, save_png
from vaekit.report.page import Section, page
from vaekit.report.write import Report, write_report

__all__ = [
    "Comparison",
    "Report",
    "Section",
    "compare",
    "grid",
    "kl_bars",
    "page",
    "pairs",
    "png_bytes",
    "save_png",
    "training_curves",
    "write_report",
]
