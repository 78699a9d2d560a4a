"""The kit against its peers: the same nets, weights, rows and steps, side by side.

Each side is a process that stays alive; they take turns, A B A B, and the ratio of each round's
times is taken. Before that, all sides must find the same loss and gradient at the same weights
and noise. Results are dated rows of benchmarks/results; `python tools/benchmarks.py` renews the
table of docs/benchmarks.md and its chart.

    make bench
    benchmarks/.venv/bin/python benchmarks/bench.py [w1-128 w2 ...] [--rounds 9] [--threads 2]
    benchmarks/.venv/bin/python benchmarks/bench.py speedrun --set seeds=5

w1-128, w1-1024, w1-8192 (w1: all three), w2, w3, w5: training; w4: log p(x); w6: imports, commands
and first steps; w7: peak memory; w8: encoding and sampling; whole: whole commands beside scripts
of torch alone; speedrun: seconds to the tutorial's bound; defaults: the table of
docs/defaults.md. The last two run where they are named, with settings of their own (`--set`), which
stand at the top of their files in peers/.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from peers.results import Measured, append, path_of

W1 = ["w1-128", "w1-1024", "w1-8192"]
EACH = [*W1, "w2", "w3", "w4", "w5", "w6", "w7", "w8", "whole"]
NAMES = {"w1": W1, "all": EACH}
NAMED = ["speedrun", "defaults"]


def options() -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workloads", nargs="*", default=["all"], choices=[*NAMES, *EACH, *NAMED])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--steps", type=int, help="of one round, for a look: not recorded")
    parser.add_argument("--images", type=int, default=20, help="of w4")
    parser.add_argument(
        "--switch",
        nargs="*",
        default=[],
        choices=["keep", "channels-last", "bf16", "fast"],
        help="besides, our side with this switched the other way",
    )
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="of speedrun and defaults"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--results", type=Path, help="the file that the rows are added to")
    parser.add_argument("--no-record", action="store_true", help="add them to no file")
    return parser.parse_args()


def main() -> None:
    """Measures, prints and records, one workload after the other."""
    args = options()
    from peers.suites import SUITES  # not in the processes of the sides, which read this file too

    named = [name for each in args.workloads for name in NAMES.get(each, [each])]
    rows: list[Measured] = []
    with tempfile.TemporaryDirectory() as place:
        for name in dict.fromkeys(named):
            print(name, file=sys.stderr, flush=True)
            results = SUITES[name](args, Path(place))
            if not (args.no_record or args.steps):
                append(results, args.results or path_of())
            rows += results
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    for row in rows:
        print(f"{row.benchmark:24} {row.measure:72} {row.value:.4g}")


if __name__ == "__main__":
    main()
