"""A fuzz of data files: each is made, damaged and read as `vaekit data FILE` reads it.

    python tools/fuzz.py [--cases 5000] [--seed 0] [--case SEED] [--jobs 2] [--page]

The seed of a case says its kind, what the file holds and what is damaged: its structure (arrays,
headers, names, cells, tags) or its bytes. What is asked for: rows, or one line and status 2; no
traceback, no more than 20 seconds, no more than 4 GiB above the start. It prints counts, and each
find with the seed that repeats it. `--page` writes the counts into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from damaging import KINDS, kind_of, make

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
sys.path.append(str(ROOT / "tests"))
LIMIT, MEMORY = 20, 4 << 30  # seconds, and bytes above the start, of a case
TOOK = ("memory ran out", "allocate memory", "Unable to allocate")  # in a line: memory was taken


class LateError(BaseException):
    """A case took too long; no reader's `except Exception` keeps it."""


def late(*_: object) -> None:
    """End a case that takes too long."""
    raise LateError


def tried(seed: int) -> tuple[str, str, str]:
    """Return the kind of a case, how it ended ("rows", "refused" or "found"), and what is wrong."""
    hostile: Any = importlib.import_module("hostile")  # of tests/
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            kind, command = make(seed, Path(folder))
            signal.signal(signal.SIGALRM, late)
            signal.alarm(LIMIT)
            try:
                code, text, line = hostile.answered(command)
            except LateError:
                code, text, line = 1, f"took more than {LIMIT} s", ""
            finally:
                signal.alarm(0)
        finally:
            os.chdir(ROOT)
    text = text or next((line for words in TOOK if words in line), "")
    return kind, "found" if text else "refused" if code else "rows", text


def work(seeds: Sequence[int], out: Path) -> None:
    """Try cases in this process, one after the other: a line before each, and one with its end."""
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    with out.open("a", buffering=1) as lines:
        for seed in seeds:
            lines.write(f"{json.dumps([seed])}\n")
            lines.write(f"{json.dumps([seed, *tried(seed)])}\n")


def start(seeds: Sequence[int], out: Path) -> int:
    """Try cases in a fork; return its process."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    try:
        work(seeds, out)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


@dataclass
class Worker:
    """A process that tries cases, and what is left of them where it ends."""

    seeds: list[int]
    out: Path
    pid: int = 0
    seen: int = 0
    since: float = 0.0

    def begin(self) -> None:
        """Start with what is left."""
        self.out.write_text("")
        self.pid, self.seen, self.since = start(self.seeds, self.out), 0, time.monotonic()

    def results(self) -> Iterator[tuple[int, str, str, str]]:
        """Yield what has ended since; where the process has ended, go on after its last case."""
        ended = os.waitpid(self.pid, os.WNOHANG)[0] != 0
        if not ended and time.monotonic() - self.since > 2 * LIMIT:  # in code that no signal ends
            os.kill(self.pid, signal.SIGKILL)
            ended = os.waitpid(self.pid, 0)[0] != 0
        lines = [json.loads(line) for line in self.out.read_text().split("\n")[:-1]]
        for line in lines[self.seen :]:
            self.since = time.monotonic()
            if len(line) > 1:
                yield (line[0], *line[1:])
        self.seen = len(lines)
        if ended:
            self.pid, left = 0, self.seeds[self.seeds.index(lines[-1][0]) + 1 :]
            if len(lines[-1]) == 1:
                yield lines[-1][0], kind_of(lines[-1][0]), "found", "its process was ended"
            if left:
                self.seeds = left
                self.begin()


def fuzz(seeds: Sequence[int], jobs: int = 2) -> Iterator[tuple[int, str, str, str]]:
    """Yield each case with its kind, how it ended, and what is wrong with that."""
    hostile: Any = importlib.import_module("hostile")
    hostile.said("data digits --json")
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"XDG_CACHE_HOME": folder, "COLUMNS": "100"}
        os.environ.pop("VAEKIT_DATA", None)
        shares = [list(seeds[i::jobs]) for i in range(jobs)]
        workers = [Worker(share, Path(folder, str(i))) for i, share in enumerate(shares) if share]
        for worker in workers:
            worker.begin()
        while any(worker.pid for worker in workers):
            time.sleep(0.05)
            for worker in workers:
                if worker.pid:
                    yield from worker.results()


def main() -> None:
    """Try cases, print counts and finds, and exit with 1 where there are finds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0, help="the first case")
    parser.add_argument("--case", type=int, help="this one alone; its file is kept")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--page", action="store_true", help="write the counts into the page")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.cases)
    if options.case is not None:
        seeds = range(options.case, options.case + 1)
        print(make(options.case, Path(tempfile.mkdtemp()))[1])
    began, counts, finds = time.monotonic(), Counter[tuple[str, str]](), 0
    for seed, kind, end, text in fuzz(seeds, options.jobs):
        counts[kind, end] += 1
        finds += end == "found"
        if end == "found":
            print(f"case {seed} ({kind}): {text}", flush=True)
    ends = ("rows", "refused", "found")
    rows = [
        f"| {kind} | {' | '.join(f'{counts[kind, end]:,}' for end in ends)} |" for kind in KINDS
    ]
    print("\n".join(rows), f"\n{time.monotonic() - began:.0f} s")
    if options.page:
        before, _, rest = PAGE.read_text().partition("<!-- fuzz -->\n")
        after = rest.partition("<!-- end fuzz -->")[2]
        table = "\n".join(["| kind | rows | refused | found |", "|---|---|---|---|", *rows, ""])
        PAGE.write_text(f"{before}<!-- fuzz -->\n{table}<!-- end fuzz -->{after}")
    sys.exit(finds > 0)


if __name__ == "__main__":
    main()
