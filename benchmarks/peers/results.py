"""Results: dated rows of benchmarks/results/*.csv, and the table that docs/benchmarks.md shows.

Torch is not imported here.
"""

from __future__ import annotations

import csv
import os
import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

__all__ = [
    "COLUMNS",
    "LINES",
    "Line",
    "Measured",
    "append",
    "newest",
    "path_of",
    "quartiles_of",
    "read",
    "table",
]

RESULTS = Path(__file__).resolve().parent.parent / "results"
COLUMNS = ("date", "hardware", "torch", "benchmark", "protocol", "measure", "value")


@dataclass(frozen=True)
class Measured:
    """One number: what was run, how, what was measured, its value."""

    benchmark: str
    protocol: str
    measure: str
    value: float


FLAGS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "bf16", "amx_bf16": "AMX"}


def hardware() -> str:
    """As "2 cores, AMD EPYC, AVX2, AVX-512"."""
    model, flags = platform.processor() or platform.machine(), ""
    information = Path("/proc/cpuinfo")
    if information.exists():
        text = information.read_text()
        found = re.search(r"model name\s*:\s*(.+)", text)
        model = found[1].strip() if found else model
        has = set(text.split())
        flags = "".join(f", {name}" for flag, name in FLAGS.items() if flag in has)
    return f"{os.cpu_count()} cores, {model}{flags}"


def path_of(folder: Path = RESULTS) -> Path:
    """The file of today, this machine and this torch."""
    machine = re.sub(r"[^a-z0-9]+", "-", hardware().replace(" cores,", "cores").lower())
    return folder / f"{_today()}_{machine}_torch{version('torch').split('+')[0]}_peers.csv"


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def append(rows: list[Measured], path: Path) -> None:
    """Adds rows to the file, which is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        about = (_today(), hardware(), version("torch"))
        for row in rows:
            value = f"{row.value:.4g}"
            writer.writerow((*about, row.benchmark, row.protocol, row.measure, value))


def read(folder: Path = RESULTS) -> list[dict[str, str]]:
    """All rows of all files of this form, in the order of their dates."""
    rows: list[dict[str, str]] = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="") as stream:
            reader = csv.DictReader(stream)
            if tuple(reader.fieldnames or ()) == COLUMNS:
                rows += list(reader)
    return sorted(rows, key=lambda row: row["date"])


@dataclass(frozen=True)
class Line:
    """A line of the table: of all rows with this benchmark and measure, the last one.

    Attributes:
        what: the workload.
        against: what is compared with, and the unit.
        benchmark, measure: of the row.
        target: what was to be reached.
    """

    what: str
    against: str
    benchmark: str
    measure: str
    target: str


FASTER = "times faster than {} (median of ratios)"
PYTHAE, TUTORIAL = "pythae 0.1.2", "the tutorial loop"
LOWERED = "vaekit in bfloat16"
KEPT = "pythae 0.1.2 with our allocator's settings"
ALONE = "vaekit: percent of a step that its matrix products would take alone"
SHARE = "vaekit: percent of the machine's matrix-product peak"


def _training(what: str, name: str, **targets: str) -> list[Line]:
    against = {"pythae": PYTHAE, "kept": KEPT, "tutorial": TUTORIAL}
    against |= {"jpegs": "the loop that decodes JPEGs"}
    script = f"bench.py {name}"
    lines = [
        Line(what, against[key], script, FASTER.format(against[key]), target)
        for key, target in targets.items()
    ]
    lowered = f"{LOWERED}: {FASTER.format(PYTHAE)}"
    lines.append(Line(what, f"{PYTHAE}, with `--precision bf16`", script, lowered, ""))
    lines.append(Line(what, "the machine's matrix products, percent", script, SHARE, ""))
    lines.append(Line(what, "its matrix products alone, percent of a step", script, ALONE, ""))
    return lines


GET_NLL = "log p(x): times faster than pythae 0.1.2 get_nll as it is called (median of ratios)"
BEST_NLL = (
    "log p(x): times faster than get_nll under no_grad with its fastest batch (median of ratios)"
)
FIRST_STEP = "first step in a new process: times faster than pythae 0.1.2 (median of ratios)"
WHOLE = "{}: times faster than a script of torch alone (median of ratios)"
WHOLES = {
    "a whole command, MNIST": "1.25",
    "a whole command, photos": "0.9",
}
LINES = (
    *_training("W1 MLP, batch 128", "w1-128", pythae="1.65", tutorial="2.6"),
    Line(
        "W1 MLP, batch 128",
        "time by that of a hand-written loop",
        "bench.py w1-128",
        "time by the hand-written loop's (median of ratios)",
        "at most 1.07",
    ),
    *_training("W1 MLP, batch 1024", "w1-1024", pythae="1.6", tutorial=""),
    *_training("W1 MLP, batch 8192", "w1-8192", pythae="1.65", tutorial=""),
    *_training("W2 conv VAE, 28 x 28", "w2", pythae="1.6", kept="1.2"),
    *_training("W3 conv VAE, 64 x 64 color", "w3", pythae="1.3", kept="1.15", jpegs=""),
    Line("W4 log p(x), S = 5000", "pythae 0.1.2's get_nll", "bench.py w4", GET_NLL, "8"),
    Line("W4 log p(x), S = 5000", "get_nll, its best batch", "bench.py w4", BEST_NLL, "5"),
    *_training("W5 IWAE, k = 50", "w5", pythae="1.6"),
    Line("W6 first step of a process", PYTHAE, "bench.py w6", FIRST_STEP, "1.4"),
    Line("W6 `vaekit --help`", "seconds", "bench.py w6", "vaekit --help: seconds", "below 0.5"),
    Line(
        "W6 import of what training needs",
        "seconds above import torch",
        "bench.py w6",
        "import vaekit with all that training needs: seconds above import torch",
        "below 0.3",
    ),
    Line("W7 peak memory of W1", "MiB", "bench.py w7", "vaekit: MiB", "below pythae's"),
    Line("W7 peak memory of W1, pythae 0.1.2", "MiB", "bench.py w7", "pythae 0.1.2: MiB", ""),
    *(
        Line(
            f"W8 {what} 100,000 rows", PYTHAE, "bench.py w8", f"{what}: {FASTER.format(PYTHAE)}", ""
        )
        for what in ("encode", "sample")
    ),
    *(
        Line(f"W9 {name}", "a script of torch alone", "bench.py whole", WHOLE.format(name), target)
        for name, target in WHOLES.items()
    ),
    Line(
        "a training to the tutorial's 100.3 nats",
        TUTORIAL,
        "bench.py speedrun",
        "times less than the tutorial loop takes (ratio of means)",
        "10",
    ),
    Line(
        "its bound, BCE + KL, test images",
        "nats, mean over seeds",
        "bench.py speedrun",
        "vaekit: BCE + KL, nats (mean over seeds)",
        "at most 100.3",
    ),
)
RENAMED = {"nll.py": "bench.py w4", "speedrun.py": "bench.py speedrun"}  # of rows of before
HEAD = """| workload | against | here | target | measured |
|---|---|---|---|---|
"""


def newest(rows: list[dict[str, str]]) -> dict[tuple[str, str], dict[str, str]]:
    """The last row of each benchmark and measure."""
    last = {}
    for each in rows:
        name = each["benchmark"].removeprefix("benchmarks/")
        last[RENAMED.get(name, name), each["measure"]] = each
    return last


def quartiles_of(line: Line) -> list[tuple[str, str]]:
    """Where the quartiles of a line's median stand."""
    name = line.measure
    each = [name.replace("median of ratios", f"{which} quartile") for which in ("lower", "upper")]
    return [(line.benchmark, one) for one in each if one != name]


def table(rows: list[dict[str, str]]) -> str:
    """The lines that have been measured, each with its last value."""
    last = newest(rows)
    lines = []
    for line in LINES:
        if row := last.get((line.benchmark, line.measure)):
            about = f"{row['date']}, {row['hardware']}, torch {row['torch']}; {row['protocol']}"
            ends = [last[key]["value"] for key in quartiles_of(line) if key in last]
            here = row["value"] + (f" [{', '.join(ends)}]" if ends else "")
            cells = (line.what, line.against, here, line.target, about)
            lines.append(f"| {' | '.join(cells)} |\n")
    return HEAD + "".join(lines)
