"""What a report says of a run in numbers; its template puts them into words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor

from vaekit.data import Dataset
from vaekit.distributions import Offer
from vaekit.evaluate import Metric, chosen, is_likelihood, measured
from vaekit.registry import text
from vaekit.report.blocks import Rebuilt
from vaekit.report.curves import finite, value
from vaekit.report.pages import mark
from vaekit.runs import Run, colorizer_of

ROWS = 1000  # test rows that the numbers of the report are measured on
RECENT = 5  # epochs, and a fifth at most, that tell whether a training had finished
LEAST = 1e-3  # of the objective's best value: what it must rise by in these

# Names that the records bring, which are translated as they come.
NAMED = (
    *(mark("train"), mark("validation"), mark("objective"), mark("log-likelihood"), mark("KL")),
    *(mark("luminance"), mark("nats per image"), mark("nats per row"), mark("latent")),
    *(mark("prior"), mark("posterior"), mark("likelihood"), mark("input")),
    *(mark("test log-likelihood"), mark("test KL"), mark("test ELBO"), mark("bits per dimension")),
    *(mark("the model's own sigma"), mark("the model's own scale"), mark("gain")),
    *(mark("PSNR against the true colors"), mark("luminance error")),
)


@dataclass(frozen=True, eq=False)
class Numbers:
    """What was measured of a run for its report.

    Attributes:
        records, metrics: by the names of the metrics.
        noun: what one x is: "image" or "row".
        rows, of: how many test rows were measured, and how many there are.
    """

    records: dict[str, dict[str, Any]]
    metrics: dict[str, Metric]
    noun: str
    rows: int
    of: int


def measure_run(run: Run, data: Dataset) -> Numbers:
    """Measure what a report shows, on up to 1,000 test rows."""
    subject = run.subject(data, limit=ROWS)
    latent = Offer.LATENT in run.offers
    wanted = [] if latent else ["bound:samples=1"]  # of one level of noise
    metrics = {name: one for name, (one, _) in chosen(subject, "report", wanted).items()}
    records = measured(subject, metrics)
    noun = run.spec.unit.split()[-1]
    return Numbers(records, metrics, noun, subject.rows.count, len(data.test))


def _spent(run: Run) -> tuple[int, str]:
    """Return how many epochs a run trained, and in how many seconds."""
    records = run.folder.records()
    seconds = sum(record.get("seconds") or 0 for record in records)
    return len(records), f"{seconds:,.{int(seconds < 10)}f}"


def _rebuilt(shown: Rebuilt) -> dict[str, str]:
    """Return the error of the reconstructions, and how much of the variance they explain."""
    x, error = shown.x.double(), shown.error.double()
    spread = (x - x.mean(0)).square().flatten(1).mean(1).mean()
    standard = error.std() / max(len(error), 1) ** 0.5
    share = f"{float(1 - error.mean() / spread):.0%}".replace("-", "−")
    return {"error": f"{error.mean():.4f} ± {standard:.4f}", "share": share, "rows": f"{len(x):,}"}


def _progress(run: Run) -> dict[str, Any]:
    """Return the best epoch, and whether the training had finished.

    It had not where the best epoch is among the last ones, the objective rose in these by more than
    a thousandth of its best value, and the training did not stop of itself.
    """
    records = run.folder.records()
    split = "validation" if all(r.get("validation") for r in records) else "train"
    known = [(r[split]["objective"], r["epoch"]) for r in records if finite(r[split]["objective"])]
    if len(known) < 2:
        return {"finished": True, "best": None}
    top, epoch = max(known)
    last, recent = records[-1]["epoch"], max(1, min(RECENT, len(known) // 5))
    rise, stopped = known[-1][0] - known[-1 - recent][0], bool(records[-1].get("stopped_early"))
    return {
        "finished": stopped or epoch <= last - recent or rise <= LEAST * abs(top),
        "stopped": stopped,
        "split": split,
        "best": {"top": value(top), "epoch": epoch, "last": last},
        "rise": value(rise),
        "first": known[-1 - recent][1],
    }


def _metric_rows(found: Numbers, *, color: bool) -> list[tuple[str, str]]:
    """Return the numbers of all metrics in words; with `color`, of that of a colorizer alone."""
    names = [name for name in found.metrics if (name == "color") == color]
    return [fact for name in names for fact in found.metrics[name].facts(found.records[name])]


def _own_scale(run: Run) -> tuple[str, str] | None:
    """Return the scale that the likelihood gives itself, where it has one for all values."""
    log_scale = getattr(run.px, "log_scale", None)
    if not isinstance(log_scale, Tensor) or log_scale.dim():
        return None
    name = "sigma" if type(run.px).__name__ == "Gaussian" else "scale"
    return f"the model's own {name}", f"{math.exp(log_scale.item()):.4f}"


def _groups(data: Dataset) -> tuple[str, int]:
    """Return how many groups are in each split, in words, and how many are in two."""
    seen = {n: set(s.groups.tolist()) for n, s in data.splits.items() if s.groups is not None}
    counts = ", ".join(f"{len(groups):,} in {name}" for name, groups in seen.items())
    return counts, sum(map(len, seen.values())) - len(set().union(*seen.values()))


def _parts(run: Run) -> list[tuple[str, str]]:
    """Return what the model consists of; or what goes into a colorizer."""
    written = [
        (n, one if isinstance(one, str) else text(one, brief=n)) for n, one in run.parts.items()
    ]
    if Offer.COLORS not in run.offers:
        spaces = [site.q.space for site in run.model.example(run.spec.context).sites]
        latent = [f"{' x '.join(map(str, s.shape))} dimensions, {s.kind}" for s in spaces]
        return [("latent", "; ".join(latent)), *written]
    values = run.spec.values
    noise = 255 * colorizer_of(run).noise / (values.high - values.low)
    levels = f"{noise:.4g} gray level{'s' * (noise != 1)}"
    seen = f"the gray image 0.30 R + 0.59 G + 0.11 B, with noise of σ = {levels}"
    return [("input", seen), *(pair for pair in written if pair[0] == "likelihood")]


def _notes(run: Run) -> list[str]:
    """Return what was said of the data and of the training."""
    said = list(run.folder.read_json("run").get("notes", []))
    return said + [words for r in run.folder.records() for words in r.get("warnings", [])]


def said_of(run: Run, data: Dataset, found: Numbers, shown: Rebuilt) -> dict[str, Any]:
    """Return all that the template of a report puts into words."""
    said, latent = _notes(run), found.records.get("latent")
    collapsed = latent and not latent["active_units"]
    return {
        "run": run,
        "found": found,
        "image": found.noun == "image",
        "known": run.folder.read_json("run"),
        "spent": _spent(run),
        "rebuilt": _rebuilt(shown),
        "progress": _progress(run),
        "bound": found.records["bound"],
        "latent": latent,
        "colors": Offer.COLORS in run.offers,
        "prior": Offer.DRAWS in run.offers,
        "rows": _metric_rows(found, color=False),
        "color_rows": _metric_rows(found, color=True),
        "own_scale": _own_scale(run),
        "draws": prod(found.metrics["bound"].samples or (1,)),
        "groups": _groups(data),
        "parts": _parts(run),
        "notes": said,
        "collapsed": collapsed and not any("collapsed" in words for words in said),
        "weighted": hasattr(run.objective, "beta"),
        "improper": not is_likelihood(run.px.space, run.spec.kind) and run.px.space.levels == 2,
    }
