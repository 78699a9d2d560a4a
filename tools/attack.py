"""An attack on vaekit: kills, signals, full disks, damaged folders, names, many at once.

    python tools/attack.py [--seed 0] [--cases 300] [--only kill,names] [--case 17] [--page]

Each case is drawn from the seed and its number, and runs commands in forks of this process, which
has imported all of vaekit: some in a second, trainings side by side in ten. What is asked for:
every command ends with status 0, 2 and one line, or 130; a training that was killed and continued
ends bit for bit as one that was not; no process and no file is left. `--page` writes the counts
into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
sys.path.append(str(ROOT / "tests"))
LIMIT, MEMORY = 120.0, 12 << 30  # seconds and bytes of a command
SUBREAPER = 36  # prctl(2): orphans become children of this process
SMALL = "--data digits --limit 200 --net mlp:hidden=16 --batch-size 32 --threads 1"
SMALL += " --quiet --no-report --checkpoint-seconds"
TRAININGS = {  # what is killed
    "plain": f"train vae {SMALL} 0 --epochs 12",
    "dropout": f"train iwae {SMALL} 0.01 --epochs 12 --net.dropout 0.2 --ema 0.9",
    "patience": f"train vae {SMALL} 0 --epochs 40 --patience 2 --validation 50 --keep-every 3",
    "seeds": f"train vae {SMALL} 0 --epochs 12 --seeds 2",
    "sweep": f"sweep vae {SMALL} 0 --epochs 12 --grid latent=1,2",
}
TIMED = ("seconds", "images_per_second")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


class WrongError(Exception):
    """What was asked for does not hold."""


class Ended(NamedTuple):
    """How a command ended: its status (or minus the signal), and what it printed."""

    status: int
    out: str
    error: str


def start(words: Sequence[str], place: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Run a command of vaekit in a fork, in this folder; return its process."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, name in ((0, os.devnull), (1, f"{place}.out"), (2, f"{place}.error")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        os.chdir(place)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        prepare()
        from vaekit.cli.main import main

        main(list(words))
        status = 0
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def ended(pid: int, place: Path, limit: float = LIMIT) -> Ended:
    """Wait for a command; one that takes too long is killed, and fails."""
    last = time.monotonic() + limit
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > last:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise WrongError(f"took more than {limit:g} s")
        time.sleep(0.005)
    texts = (Path(f"{place}.{name}").read_text(errors="replace") for name in ("out", "error"))
    return Ended(os.waitstatus_to_exitcode(done[1]), *texts)


def run(words: Sequence[str], place: Path, allowed: Sequence[int] = (0,), **how: object) -> Ended:
    """Run a command to its end, and check how it ends and what it prints."""
    result = ended(start(words, place, **how), place)  # type: ignore[arg-type]
    said = [line for line in result.error.splitlines() if not line.startswith("vaekit: note:")]
    if "Traceback" in result.error or result.status not in allowed:
        last = " / ".join(said[-8:])
        raise WrongError(
            f"status {result.status} of `vaekit {' '.join(words)[:200]}`: {last[-900:]}"
        )
    if result.status == 2 and len(said) != 1:
        raise WrongError(f"{len(said)} lines in place of one: {said[:3]}")
    if found := CONTROL.search(result.out + result.error):
        raise WrongError(f"printed {found[0]!r} of `vaekit {' '.join(words)[:200]}`")
    return result


def no_process() -> None:
    """Wait until all orphans are gone."""
    last = time.monotonic() + 60
    while time.monotonic() < last:
        try:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.01)
        except ChildProcessError:
            return
    raise WrongError("left a process")


def content(folder: Path) -> dict[str, object]:
    """Return what two equal trainings share: weights, records without times, names of files."""
    from vaekit._torchutil import load_state

    found: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        found[name] = True
        if path.name == "last.safetensors":
            state = load_state(path)["progress"]["model"]
            found[name] = {key: value.numpy().tobytes() for key, value in state.items()}
        elif path.name == "metrics.jsonl":
            lines = map(json.loads, path.read_text().splitlines())
            found[name] = [[v for k, v in line.items() if k not in TIMED] for line in lines]
    return found


def same(now: dict[str, object], expected: dict[str, object], kind: str) -> None:
    """Refuse a training that did not end as the uninterrupted one."""
    other = [name for name in {*now, *expected} if now.get(name) != expected.get(name)]
    if other:
        raise WrongError(f"{kind} differs in {', '.join(sorted(other))}")


class Attack:
    """The cases; each is a method that draws from `rng` and works in `place`.

    Args:
        cache: a folder of trained runs that cases copy or compare with.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.known: dict[str, tuple[Path, dict[str, object], float]] = {}
        self.hostile: Any = importlib.import_module("hostile")  # of tests/
        self.hostile.train(cache / "hostile")

    def trained(self, kind: str) -> tuple[Path, dict[str, object], float]:
        """Return an uninterrupted training, its content, and how long it takes."""
        if kind not in self.known:
            place = self.cache / kind
            place.mkdir()
            began = time.monotonic()
            run([*TRAININGS[kind].split(), "--out", "run"], place)
            self.known[kind] = place / "run", content(place / "run"), time.monotonic() - began
        return self.known[kind]

    def kill(self, rng: random.Random, place: Path) -> None:
        """Kill a training up to three times, in one way or another, and continue it."""
        kind = rng.choice([*TRAININGS, "plain", "dropout", "patience"])
        _, expected, took = self.trained(kind)
        words = [*TRAININGS[kind].split(), "--out", "run"]
        for _ in range(rng.randint(1, 3)):
            pid = start(self.next(kind, words, place), place)
            time.sleep(rng.uniform(0, 1.1 * took))
            names = ("SIGKILL", "SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")
            number = signal.Signals[rng.choice(names)]
            os.kill(pid, number)
            status = ended(pid, place).status
            if status not in (0, 130, -number):
                raise WrongError(f"{number.name} of {kind} ends with status {status}")
            no_process()
        run(self.next(kind, words, place), place)
        no_process()
        same(content(place / "run"), expected, kind)

    def next(self, kind: str, words: list[str], place: Path) -> list[str]:
        """Return the command that begins a training or continues it."""
        begun = (place / "run" / "config.json").exists() and kind not in ("seeds", "sweep")
        return ["train", "--resume", "run", "--quiet", "--no-report"] if begun else words

    def disk(self, rng: random.Random, place: Path) -> None:
        """Train where the disk gets full; with space, continue: nothing is lost."""
        kind = rng.choice(["plain", "dropout", "patience"])
        source, expected, _ = self.trained(kind)
        size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
        words = [*TRAININGS[kind].split(), "--out", "run"]
        with small_disk(place, int(size * rng.uniform(0.05, 1.3))) as grow:
            run(words, place, (0, 2))
            grow()
            if not (place / "run" / "model.safetensors").exists():
                run(self.next(kind, words, place), place)
            now = content(place / "run")
        same(now, expected, kind)

    def folder(self, rng: random.Random, place: Path) -> None:
        """Damage a run folder, and read it with some commands."""
        for name in ("run", "good"):
            shutil.copytree(self.cache / "hostile", place / name)
        what = self.hostile.damage(place / "run", rng.randrange(1 << 32))
        for command in rng.sample([*self.hostile.COMMANDS.values()], 3):
            try:
                result = run(command.replace("{}", "run").split(), place, (0, 2))
            except WrongError as error:
                raise WrongError(f"{what}: {error}") from None
            if command.startswith("runs") and "good" not in result.out:
                raise WrongError(f"{what}: the other run is hidden")

    def names(self, rng: random.Random, place: Path) -> None:
        """Give files, classes, columns and runs the worst of names."""
        import numpy as np
        from PIL import Image

        first, second, third = (name(rng) for _ in range(3))
        kind = rng.choice(["images", "table", "run"])
        (place / "data").mkdir()
        if kind == "table":
            columns = [f'"{each.replace(chr(34), "")}"' for each in (first, second, third)]
            rows = [f"{rng.random():.3f},{rng.random():.3f},{'ab'[i % 2]}" for i in range(40)]
            (place / "data" / "t.csv").write_text("\n".join([",".join(columns), *rows]))
            data, more = "data/t.csv", ["--label", third.replace('"', "")]
        else:
            for n, each in enumerate([first, second] if kind == "images" else ["a", "b"]):
                (place / "data" / each).mkdir()
                for i in range(10):
                    pixels = np.full((8, 8), rng.randrange(256), np.uint8)
                    end = third if kind == "images" and i == 0 else ""
                    Image.fromarray(pixels).save(place / "data" / each / f"{end[:60]}{n}{i}.png")
            data, more = "data", []
        out = f"./{third}" if kind == "run" else "run"
        run(["data", data, *more], place, (0, 2))
        words = ["train", "vae", "--data", data, *more, "--out", out, "--epochs", "1"]
        words += ["--latent", "1", "--net", "mlp:hidden=8", "--threads", "1"]
        if run(words, place, (0, 2)).status == 0:
            run(["runs", "."], place)
            run(["evaluate", out, "--limit", "5"], place)
            page = (place / out / "report.html").read_text()
            if found := CONTROL.search(page):
                raise WrongError(f"the report has {found[0]!r}")

    def crowd(self, rng: random.Random, place: Path) -> None:
        """Run several commands at once in one folder."""
        source, _, _ = self.trained("plain")
        count, kind = rng.randint(2, 5), rng.choice(["train", "same", "evaluate"])
        words = TRAININGS["plain"].split()
        if kind == "evaluate":
            shutil.copytree(source, place / "run")
        pids = []
        for n in range(count):
            own = place.with_name(f"{place.name}-{n}")
            own.symlink_to(place)
            more = {"train": [], "same": ["--out", "run"], "evaluate": []}[kind]
            asked = ["evaluate", "run", "--limit", f"{n + 5}"] if kind == "evaluate" else words
            pids.append((start([*asked, *more], own), own))
        found = [ended(*each).status for each in pids]
        wanted = [0] * count if kind != "same" else [0] + [2] * (count - 1)
        if sorted(found) != wanted:
            raise WrongError(f"{kind}: {count} at once end with {found}")
        if kind == "train" and len(list((place / "runs").iterdir())) != count:
            raise WrongError("two trainings share a folder")
        kept = (
            json.loads((place / "run" / "evaluation.json").read_text())
            if kind == "evaluate"
            else ()
        )
        if kind == "evaluate" and len(kept) != count:
            raise WrongError(f"{len(kept)} of {count} records are kept")


PIECES = [
    *("\x1b[31m", "\x1b]0;x\x07", "\x07", "\u202e", "\n", "\t", "%s", "{x}", "$(true)", "`x`"),
    *("<b>", "&amp;", "'", '"', "-x", "--help", " ", "é", "名", "\U0001f600", "..", "~", "*", "\\"),
    *("a" * 100, "nul", "v1.2345678", "#23262b", "</script>", "]]>", ",", ";", "=", ":"),
]


def name(rng: random.Random) -> str:
    """Return a name that a file system takes."""
    text = "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 3))).replace("/", "")
    return f"{text.strip('.')}{rng.choice('xyz')}{rng.randrange(1000)}"


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Callable[[], None]]:
    """Mount a file system of so many bytes; what is yielded makes it large enough."""
    size = max(size, 64 << 10)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)

    def grow() -> None:
        subprocess.run(["mount", "-o", "remount,size=256m", "tmpfs", place], check=True)

    try:
        yield grow
    finally:
        subprocess.run(["umount", "-l", place], check=True)


KINDS = ("kill", "disk", "folder", "names", "crowd")


def attack(
    seed: int, numbers: Sequence[int], kinds: Sequence[str] = KINDS
) -> tuple[Counter[str], dict[int, str]]:
    """Run these cases; return how many of each kind there were, and what failed."""
    import torch

    counts: Counter[str] = Counter()
    failed: dict[int, str] = {}
    if os.geteuid():  # none but root mounts
        kinds = [kind for kind in kinds if kind != "disk"]
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # where nothing waits for a disk
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        home = Path(folder)
        (home / "cache").mkdir()
        torch.set_num_threads(1)
        cases = Attack(home / "cache")
        gc.freeze()
        for number in numbers:
            rng, place = random.Random(f"{seed}/{number}"), home / f"case{number}"
            kind = rng.choice(kinds)
            place.mkdir()
            counts[kind] += 1
            try:
                getattr(cases, kind)(rng, place)
                no_process()
            except WrongError as failure:
                failed[number] = f"{kind}: {failure}"
                print(f"case {number}: {failed[number]}", flush=True)
            for path in home.glob(f"case{number}*"):
                path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
    return counts, failed


def main() -> None:
    """Run cases, print what failed, and exit with 1 where something did."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--case", type=int, help="this one alone")
    parser.add_argument("--only", type=lambda text: tuple(text.split(",")), default=KINDS)
    parser.add_argument("--page", action="store_true", help="write the counts into the page")
    options = parser.parse_args()
    began = time.monotonic()
    numbers = range(options.cases) if options.case is None else [options.case]
    counts, failed = attack(options.seed, numbers, options.only)
    wrong = Counter(text.partition(":")[0] for text in failed.values())
    rows = [f"| {kind} | {counts[kind]:,} | {wrong[kind]} |" for kind in KINDS if counts[kind]]
    print("\n".join(rows), f"\n{time.monotonic() - began:.0f} s")
    if options.page:
        before, _, rest = PAGE.read_text().partition("<!-- counts -->\n")
        after = rest.partition("<!-- end counts -->")[2]
        table = "\n".join(["| kind | cases | failed |", "|---|---|---|", *rows, ""])
        PAGE.write_text(f"{before}<!-- counts -->\n{table}<!-- end counts -->{after}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
