"""Mutation testing: one small wrong change at a time, and whether a test of its room sees it.

    python tools/mutate.py ROOM [--seed 0 1] [--count 40] [--only 3,7] draws mutants of a room
    python tools/mutate.py --named                                     those of tools/mutants.toml
    python tools/mutate.py --page                                      writes the reasons anew

It works on a copy of the tree. Each mutant meets the tests that run its function, the quickest
first and `--most` seconds (4) of them, in a fork of a process that has imported all but vaekit.
What lives is printed as an entry for tools/mutants.toml, whose key `equal` says why no test can see
it; the room's row of docs/mutants.md is written anew.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
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
import threading
import time
import tomllib
import traceback
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mutating import Mutant, draw

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "vaekit"
NAMED, PAGE = ROOT / "tools" / "mutants.toml", ROOT / "docs" / "mutants.md"
CACHE = ROOT / ".pytest_cache" / "mutate"
LIVED = ("survived", "uncovered")
INDEX = "tests/test_registry.py::test_the_index_and_the_page_are_those_of_the_code"  # of defaults
HEAVY = (
    "numpy scipy.stats scipy.special scipy.integrate pandas torch torch.distributions "
    "torch.utils.data matplotlib.pyplot sklearn.mixture sklearn.linear_model sklearn.metrics "
    "sklearn.decomposition PIL.Image hypothesis pydantic yaml rich.table cyclopts zuko pytest "
    "jinja2 safetensors.torch pooch filelock platformdirs torch._dynamo"
)


class Room(NamedTuple):
    """Files of `src/vaekit` that are changed, and tests that are to see it."""

    files: str
    tests: str


OF_OBJECTIVES = (
    "weighted aggregate constraints critics formulas linear_gaussian gradients weights conditional "
    "colorizer models joint choices"
)
ROOMS = {
    "distributions": Room("distributions/*", "distributions mixtures wrapped parts"),
    "nn": Room("nn/*", "nn layers saving tutorials mutants formulas"),
    "parts": Room("parts/*", "parts conditional wrapped linear_gaussian models colorizer fitted"),
    "models": Room(
        "models/*",
        "models colorizer layers conditional linear_gaussian wrapped probe_codes probe_ladder",
    ),
    "objectives": Room("objectives/*", OF_OBJECTIVES),
    "evaluate": Room(
        "evaluate/*",
        "evaluate metrics linear_gaussian run_evaluate colorizer distances sample_metrics",
    ),
    "training": Room(
        "training/_[!g]*",  # captured graphs need a GPU
        "training watch optimizers gradients dense snapshots weights ranks mutants densities",
    ),
    "data": Room(
        "data/_transforms.py data/_values.py data/_splits.py data/_preparation.py data/_batches.py "
        "data/_labels.py data/_pixels.py data/_arrays.py data/_rows.py data/_dataset.py",
        "data data_sets data_splits data_files data_images values read_arrays new_rows avatars "
        "passes mutants mixed imputing memory",
    ),
    "compare": Room(
        "report/_run_set.py report/_ranking.py report/_leads.py report/_measures.py",
        "verdicts groups compare sweep seeds compare_tables",
    ),
}
SINGLE = {  # files that are rooms of their own
    "parts": "quantizers choices flows code_priors sphere fitted tails levels counting priors",
    "distributions": "relaxed likeness levels sphere indices robust mixtures counting",
    "models": "codes hamiltonian",
    "training": "_densities",
    "runs": "_fitted _fitting",
    "evaluate": "_distances _features _samples",
    "nn": "residual",
}
OF_SINGLE = (
    "family metrics joint sphere hamiltonian choices codes fitted densities distances blocks "
    "sample_metrics latent_metrics probe_codes mixtures oracles theory parts distributions "
    "formulas imputing edits run_evaluate mutants mutants_family"
)
FEW = {  # those that a few files of tests reach
    "objectives": ("weighted constraints aggregate regularized critics", OF_OBJECTIVES),
    "evaluate": ("_factors _pairs _disentanglement", "latent_metrics"),
}
ALONE = [(folder, names, OF_SINGLE) for folder, names in SINGLE.items()]
ROOMS |= {
    f"{folder}/{name}": Room(f"{folder}/{name}.py", tests)
    for folder, names, tests in [*ALONE, *((folder, *each) for folder, each in FEW.items())]
    for name in names.split()
}


class Tracer:
    """A pytest plugin that notes which functions of vaekit each test calls, and its seconds."""

    def __init__(self, package: str) -> None:
        self.package, self.seen = package, set[tuple[str, int]]()
        self.notes: dict[str, tuple[float, set[tuple[str, int]], list[str]]] = {}
        self.shared: dict[str, tuple[float, set[tuple[str, int]]]] = {}
        self.table: dict[str, Any] = {}

    def call(self, frame: Any, event: str, arg: object) -> None:
        code = frame.f_code
        if code.co_filename.startswith(self.package):
            self.seen.add((code.co_filename[len(self.package) :], code.co_firstlineno))

    def pytest_runtest_protocol(self, item: Any) -> None:
        self.seen = set()
        self.notes[item.nodeid] = time.perf_counter(), self.seen, list(item.fixturenames)
        sys.settrace(self.call)
        threading.settrace(self.call)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, object, object]:
        start = time.perf_counter()
        result = yield
        if fixturedef.scope != "function":  # each test that asks for it may be the first to do so
            self.shared[fixturedef.argname] = time.perf_counter() - start, set(self.seen)
        return result

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" and report.passed:
            start, seen, fixtures = self.notes[report.nodeid]
            shared = [self.shared[name] for name in fixtures if name in self.shared]
            calls = sorted(seen.union(*(calls for _, calls in shared)))
            seconds = time.perf_counter() - start + sum(seconds for seconds, _ in shared)
            self.table[report.nodeid] = seconds, calls

    def pytest_runtest_logfinish(self) -> None:
        sys.settrace(None)


class Chosen:
    """A pytest plugin that runs the tests in `order` alone, and writes down which one failed."""

    def __init__(self, order: list[str], to: Path) -> None:
        self.order, self.to = {test: n for n, test in enumerate(order)}, to

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if item.nodeid in self.order]
        items.sort(key=lambda item: self.order[item.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.to.exists():
            self.to.write_text(report.nodeid)


def forked(tree: Path, paths: list[str], plugin: Any, seconds: float) -> int | None:
    """Run pytest in a fork that sees `tree`; return its exit code, None where it took too long."""
    child = os.fork()
    if not child:
        code = 99
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))
            out = os.open(tree / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.chdir(tree)
            sys.path[:0] = [str(tree / "src"), str(tree)]  # spawned processes have them, too
            os.environ["PYTHONPATH"] = f"{tree / 'src'}{os.pathsep}{tree}"  # of spawned processes
            sys.dont_write_bytecode = isinstance(plugin, Chosen)
            flags = ["-m", "not slow", "-p", "no:cacheprovider", f"--basetemp={tree}/tmp"]
            flags += ["-x"] if isinstance(plugin, Chosen) else []
            flags += [] if plugin else ["--collect-only"]
            code = int(pytest.main([*paths, *flags], plugins=[plugin] if plugin else []))
            if isinstance(plugin, Tracer):
                (tree / "table.json").write_text(json.dumps(plugin.table))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    end = time.time() + 10 * seconds  # the machine may be busy
    while time.time() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else None
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def copied() -> Path:
    """Return a copy of the tree as it stands, without what git ignores."""
    tree = Path(tempfile.mkdtemp(prefix="vaekit-mutate-"))
    listed = ["git", "ls-files", "-co", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    return tree


def paths_of(room: Room) -> list[str]:
    """Return what tests a room has: files, and folders of doctests."""
    paths = [f"tests/test_{name}.py" for name in room.tests.split()]
    return paths + sorted({f"src/vaekit/{name.split('/')[0]}" for name in room.files.split()})


def covered(tree: Path, room: Room) -> dict[str, Any]:
    """Return what each test of a room runs; kept as long as code and file of tests are the same."""
    paths = paths_of(room)
    code = b"".join(file.read_bytes() for file in sorted((tree / "src").rglob("*.py")))
    kept = {
        path: CACHE / hashlib.sha256(text + code).hexdigest()[:16]
        for path in paths
        for text in [(tree / path).read_bytes() if path.endswith(".py") else path.encode()]
    }
    if fresh := [path for path in paths if not kept[path].exists()]:
        result = forked(tree, fresh, Tracer(f"{tree}/src/vaekit/"), 1800)
        if result != 0:
            print(f"the tests end with {result} as they are:", (tree / "log").read_text()[-1500:])
        table = json.loads((tree / "table.json").read_text())
        for path in fresh:
            of_path = {test: row for test, row in table.items() if test.startswith(path)}
            kept[path].write_text(json.dumps(of_path))
    return {test: row for at in kept.values() for test, row in json.loads(at.read_text()).items()}


def chosen(mutant: Mutant, table: dict[str, Any], most: float) -> list[str]:
    """Return the tests that run the mutant's function, or its file; the quickest first."""
    first, last = mutant.span
    total, order = 0.0, list[str]()
    for test, (seconds, seen) in sorted(table.items(), key=lambda item: item[1][0]):
        if any(file == mutant.file and first <= line <= last for file, line in seen):
            total += seconds
            order += [test] if total < most or not order else []
    return [*order, INDEX] if order and first == 1 else order


def judged(tree: Path, mutant: Mutant, table: dict[str, Any], most: float) -> tuple[str, str]:
    """Return `killed`, `timeout`, `survived` or `uncovered`, and the test that saw it."""
    order = chosen(mutant, table, most)
    if not order:
        return "uncovered", ""
    file, failed = tree / "src" / "vaekit" / mutant.file, tree / "failed"
    before, stat = file.read_bytes(), file.stat()
    failed.unlink(missing_ok=True)
    file.write_text(mutant.source)
    try:
        paths = list(dict.fromkeys(test.split("::")[0] for test in order))
        for some in filter(None, (paths[:1], paths[1:])):  # most fall at once: one file to read
            code = forked(tree, some, Chosen(order, failed), 20 + 2 * most)
            if code != 0:
                break
    finally:
        file.write_bytes(before)
        os.utime(file, (stat.st_atime, stat.st_mtime))  # as its compiled form says
    if code is None:
        return "timeout", ""
    if code == 0:
        return "survived", f"{len(order)} tests"
    return "killed", failed.read_text() if failed.exists() else f"exit {code}"


def shown(tree: Path, number: int, room: str, mutant: Mutant, most: float) -> str:
    """Judge a mutant, print it, and return its verdict."""
    table, start = covered(tree, ROOMS[room]), time.time()
    verdict, seen_by = judged(tree, mutant, table, most)
    remembered(mutant).write_text(verdict)
    verdict = counted(mutant)
    seconds, place = time.time() - start, f"{mutant.file}:{mutant.line}"
    print(f"{number:3} {verdict:9} {seconds:5.1f} s  {mutant.operator:9} {place}  {seen_by}")
    for sign, text in (("-", mutant.old), ("+", mutant.new)):
        print(f"    {sign} {' '.join(text.split())}", flush=True)
    return verdict


def drawn(room: str, seeds: list[int], count: int) -> list[tuple[str, Mutant]]:
    """Return the mutants that each seed draws of a room, each with the room."""
    files = {file for glob in ROOMS[room].files.split() for file in SOURCE.glob(glob)}
    texts = {
        str(file.relative_to(SOURCE)): file.read_text()
        for file in sorted(files)
        if file.suffix == ".py" and file.name != "__init__.py"
    }
    both = [draw(texts, random.Random(f"{room} {seed}"), count) for seed in seeds]
    known = {mutant.source: mutant for mutants in both for mutant in mutants}
    return [(room, mutant) for mutant in known.values()]


def reasons() -> list[dict[str, Any]]:
    """Return the entries of tools/mutants.toml."""
    entries: list[dict[str, Any]] = tomllib.loads(NAMED.read_text())["mutant"]
    return entries


def named() -> Iterator[tuple[str, Mutant]]:
    """Yield those that are listed with no reason why they are equal, each with its room."""
    for each in reasons():
        if "equal" not in each:
            text, old = (SOURCE / each["file"]).read_text(), each["old"]
            if text.count(old) != 1:
                sys.exit(f"{each['file']} has {text.count(old)} times: {old}")
            line = text[: text.index(old)].count("\n") + 1
            yield each["room"], Mutant.of(each["file"], text, line, old, each["new"])


def entry(room: str, mutant: Mutant) -> str:
    """Return a mutant as an entry for tools/mutants.toml."""
    old, new = mutant.old.strip(), mutant.new.strip()
    quote = "'''" if {"\n", "'"} & set(old + new) else "'"
    return (
        f'[[mutant]]\nroom = "{room}"\nfile = "{mutant.file}"\n'
        f"old = {quote}{old}{quote}\nnew = {quote}{new}{quote}\n"
    )


def remembered(mutant: Mutant) -> Path:
    """Return where the last verdict on a mutant is kept."""
    return CACHE / hashlib.sha256(mutant.source.encode()).hexdigest()[:20]


def counted(mutant: Mutant) -> str:
    """Return the last verdict on a mutant, "" for none; `equal` where its reason is listed."""
    at = remembered(mutant)
    verdict = at.read_text() if at.exists() else ""
    key = mutant.file, mutant.old.strip(), mutant.new.strip()
    known = {(e["file"], e["old"], e["new"]) for e in reasons() if "equal" in e}
    return "equal" if verdict in LIVED and key in known else verdict


def row(room: str, seeds: list[int], mutants: list[Mutant]) -> str:
    """Return the row of a room: the last verdict on each mutant counts."""
    found = collections.Counter(filter(None, map(counted, mutants)))
    killed, equal = found["killed"] + found["timeout"], found["equal"]
    total = found.total()
    of = ", ".join(map(str, seeds))
    return f"| {room} | {of} | {total} | {killed} | {equal} | {total - killed - equal} |"


def write_page(row: str = "") -> None:
    """Write the room's row, and all reasons, into docs/mutants.md."""
    head, rows, _ = re.split(r"(?<=\|\n)(?=\| distributions \|)|(?=\n## Equal)", PAGE.read_text())
    lines = {line.split()[1]: line for line in [*rows.splitlines(), row] if line}
    parts = [lines.get(room, f"| {room} | | | | | |") + "\n" for room in ROOMS] + ["\n## Equal\n"]
    for room in ROOMS:
        of_room = [each for each in reasons() if each["room"] == room and "equal" in each]
        parts += [f"\n### {room}\n\n"] if of_room else []
        for each in of_room:
            old, new = (" ".join(each[key].split()) for key in ("old", "new"))
            parts.append(f"- `{each['file']}`: `{old}` becomes `{new}`: {each['equal']}.\n")
    PAGE.write_text(head + "".join(parts))


def main() -> None:
    shape = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    parser.add_argument("room", nargs="?", choices=ROOMS)
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="several add up")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--most", type=float, default=4.0, help="seconds of tests for a mutant")
    parser.add_argument("--only", help="numbers of mutants, as 3,7")
    parser.add_argument("--named", action="store_true", help="those of tools/mutants.toml")
    parser.add_argument("--page", action="store_true", help="only write docs/mutants.md")
    args = parser.parse_args()
    if args.page:
        write_page()
        return
    os.environ.update(OMP_NUM_THREADS="1", MPLBACKEND="agg", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    os.environ.pop("VAEKIT_DATA", None)  # what holds on any machine
    mutants = list(named()) if args.named else drawn(args.room, args.seed, args.count)
    only = set(map(int, args.only.split(","))) if args.only else set(range(len(mutants)))
    counts, lived, start = collections.Counter[str](), list[str](), time.time()
    for name in HEAVY.split():
        __import__(name)
    sys.modules["torch"].set_num_threads(1)
    CACHE.mkdir(parents=True, exist_ok=True)
    tree = copied()
    try:
        for room in {room for room, _ in mutants}:
            forked(tree, paths_of(ROOMS[room]), None, 600)  # compiles them, once for all mutants
        for n, (room, mutant) in enumerate(mutants):
            if n in only:
                verdict = shown(tree, n, room, mutant, args.most)
                counts[verdict] += 1
                lived += [entry(room, mutant)] if verdict in LIVED else []
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    print(f"\n{dict(counts)} in {time.time() - start:.0f} s\n", *lived, sep="\n")
    if args.room:
        write_page(row(args.room, args.seed, [mutant for _, mutant in mutants]))


if __name__ == "__main__":
    main()
