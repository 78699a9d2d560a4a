"""How long the command line takes to answer: the median of several runs of each command.

python benchmarks/startup.py [--rounds 11]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = [["--help"], ["train", "--help"], ["train", "vae", "--help"], ["recipes"]]


def seconds(command: list[str]) -> float:
    """One run."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Prints one JSON object: median seconds by command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    vaekit = str(Path(sys.executable).with_name("vaekit"))
    times: dict[str, list[float]] = {" ".join(c): [] for c in COMMANDS}
    for _ in range(rounds):
        for command in COMMANDS:
            times[" ".join(command)].append(seconds([vaekit, *command]))
    print(json.dumps({f"vaekit {k}": round(statistics.median(v), 3) for k, v in times.items()}))


if __name__ == "__main__":
    main()
