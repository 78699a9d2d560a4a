"""The run folder under bad luck, what it says of itself, and the table of many."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import vaekit
from vaekit._io import STALE, append_line, is_locked, read_lines, sweep, write
from vaekit._torchutil import load_state, save_state
from vaekit.cli._progress import Lines, Notes, Terminal
from vaekit.cli.main import main
from vaekit.distributions import Laplace
from vaekit.errors import VaekitError
from vaekit.parts import StandardNormal
from vaekit.runs import RunFolder, git_state, tabulate

SMALL: dict[str, Any] = {
    "data": "digits", "latent": 3, "net": "mlp:hidden=16", "limit": 400, "batch_size": 64,
    "threads": 1, "report": False, "validation": 50,
}  # fmt: skip


def train(path: Path, name: str = "vae", **options: Any) -> vaekit.Run:
    return vaekit.train(name, out=path, **{**SMALL, "epochs": 3, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("whole") / "run", epochs=200).path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("trained") / "run", epochs=1).path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> vaekit.Run:
    """A run of one epoch of the test's own."""
    return vaekit.load(shutil.copytree(trained, tmp_path / "r"))


def python(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)


def records(path: Path) -> list[dict[str, Any]]:
    timed = {"seconds", "images_per_second"}
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines]


def assert_same_run(a: Path, b: Path) -> None:
    for name in ("last", "best"):
        states = [load_state(p / "checkpoints" / f"{name}.safetensors") for p in (a, b)]
        models = [s["progress"]["model"] if name == "last" else s["model"] for s in states]
        assert models[0].keys() == models[1].keys()
        assert all(torch.equal(models[0][k], models[1][k]) for k in models[0])
    assert records(a) == records(b)
    litter = [p.name for p in b.rglob("*") if p.suffix == ".tmp"]
    assert litter == []


def snapshot(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


# ---------------------------------------------------------------- bad luck

TRAIN = f"""
import json, resource, sys
from vaekit import train, resume
from vaekit.cli.main import main
from vaekit.errors import VaekitError
small = {SMALL!r}
"""

FULL = (
    TRAIN
    + """
import torch
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
words = "--net mlp:hidden=16 --limit 400 --batch-size 64 --threads 1 --validation 50 --epochs 200"
words += " --latent 3 --quiet --no-report"
main(["train", "vae", "--out", sys.argv[1], *words.split()])
"""
)


@pytest.mark.parametrize(("limit", "file"), [(80_000, "metrics.jsonl"), (20_000, "safetensors")])
@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_run_resumes_to_the_same_end(
    whole: Path, tmp_path: Path, limit: int, file: str
) -> None:
    """A file beyond the limit cannot be written: later on the records, or the first checkpoint."""
    path = tmp_path / "cut"
    done = python(FULL, path, limit)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert file in done.stderr
    assert "File too large: free some space, then continue with" in done.stderr
    assert f"vaekit train --resume {path}" in done.stderr
    kept = path / "metrics.jsonl"
    assert not kept.exists() or kept.stat().st_size <= limit
    assert not kept.exists() or kept.read_bytes().endswith(b"\n"), "a record half written"
    vaekit.resume(path, report=False)
    assert_same_run(whole, path)


def test_a_start_on_a_full_disk_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    done = python(FULL, tmp_path / "r", 300)
    assert done.returncode == 2
    assert "free some space, then train again" in done.stderr
    assert list(tmp_path.iterdir()) == []
    train(tmp_path / "r", epochs=1)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_of_its_checkpoints_ends_as_if_it_had_not(
    whole: Path, tmp_path: Path
) -> None:
    """SIGKILL at random times while a checkpoint is written after every epoch of milliseconds."""
    path = tmp_path / "cut"
    code = TRAIN + (
        "small['checkpoint_seconds'] = 0\n"
        "print('go', flush=True)\n"
        "if sys.argv[2] == 'start': train('vae', out=sys.argv[1], epochs=200, **small)\n"
        "else: resume(sys.argv[1], report=False)\n"
    )
    killed = 0
    for number in range(5):
        mode = "resume" if (path / "config.json").exists() else "start"
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path), mode], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            reached = path / "checkpoints" / "last.safetensors"
            while number and not reached.exists() and process.poll() is None:
                time.sleep(0.005)
            time.sleep(random.SystemRandom().uniform(0.0, 0.4 if number else 0.1))
            process.kill()
        killed += process.returncode == -signal.SIGKILL
    assert killed >= 2
    if (path / "config.json").exists():
        vaekit.resume(path, report=False)
    else:
        train(path, epochs=200)
    assert_same_run(whole, path)


def test_what_a_killed_start_leaves_is_no_content_but_a_run_is(tmp_path: Path) -> None:
    path = tmp_path / "r"
    (path / "checkpoints").mkdir(parents=True)
    (path / "run.json").write_text("{}")
    (path / ".config.json.0a1b2c3d.tmp").write_text("{")
    train(path, epochs=1)
    assert not list(path.glob(".*.tmp"))
    kept = snapshot(path)
    with pytest.raises(vaekit.VaekitError, match="exists: name another `out`, or continue it"):
        train(path)
    assert snapshot(path) == kept
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "run.json").write_text("mine")
    with pytest.raises(vaekit.VaekitError, match="exists"):
        train(foreign)
    assert snapshot(foreign) == {"run.json": b"mine"}


def test_two_trainings_never_share_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "r"
    code = TRAIN + "train('vae', out=sys.argv[1], epochs=100000, **small)\n"
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as process:
        lock = path / "checkpoints" / ".lock"
        while not (path / "metrics.jsonl").exists():
            assert process.poll() is None
            time.sleep(0.02)
        assert is_locked(lock)
        config = (path / "config.json").read_bytes()
        with pytest.raises(vaekit.VaekitError, match="another process trains into"):
            vaekit.resume(path, epochs=7)
        with pytest.raises(vaekit.VaekitError, match="exists"):
            train(path)
        assert (path / "config.json").read_bytes() == config
        assert tabulate(tmp_path)[0]["state"] == "running"
        process.kill()
    assert not is_locked(lock), "the lock outlived its process"
    assert tabulate(tmp_path)[0]["state"] == "stopped"
    vaekit.resume(path, epochs=read_lines(path / "metrics.jsonl")[-1]["epoch"] + 1, report=False)


def test_the_lock_holds_within_a_process(run: vaekit.Run) -> None:
    with run.folder.locked():
        kept = snapshot(run.path)
        with pytest.raises(vaekit.VaekitError, match="another process trains into"):
            vaekit.resume(run.path, epochs=2)
        assert snapshot(run.path) == kept
    vaekit.resume(run.path, epochs=2, report=False)


def test_only_what_dead_writers_left_is_swept(tmp_path: Path) -> None:
    dead, alive = ".b.json.00000000.tmp", ".a.json.ffffffff.tmp"
    others = ["mine.tmp", ".hidden.tmp", ".b.1234.tmp", "metrics.jsonl"]
    for name in (dead, alive, *others):
        (tmp_path / name).touch()
    os.utime(tmp_path / dead, (time.time() - STALE - 1,) * 2)
    sweep(tmp_path, STALE)
    assert {p.name for p in tmp_path.iterdir()} == {alive, *others}
    sweep(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == set(others)


def test_a_file_is_written_though_its_temporary_one_is_swept(tmp_path: Path) -> None:
    """As by a training that begins in the folder at that moment."""
    writes = []

    def pieces() -> Iterator[bytes]:
        writes.append(len(writes))
        yield b"{"
        if len(writes) == 1:
            sweep(tmp_path)
        yield b"}"

    assert write(tmp_path / "x.json", pieces).read_bytes() == b"{}"
    assert (len(writes), [p.name for p in tmp_path.iterdir()]) == (2, ["x.json"])


def test_a_record_is_never_glued_to_a_half_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_line(path, {"epoch": 1})
    for half in (b'{"epoch": 2, "tr', b'{"name": "\xc3', b"7", b"\x00\x00"):
        with path.open("ab") as file:
            file.write(half)
        append_line(path, {"epoch": 3})
    assert [r["epoch"] for r in read_lines(path)] == [1, 3, 3, 3, 3]


def test_a_run_prints_as_one_line(run: vaekit.Run, tmp_path: Path) -> None:
    saved = vaekit.load(run.save(tmp_path / "m.vaekit"))
    words = f"weights best of step {run.step}: "
    assert repr(run) == f"Run(vae on digits, 1 of 1 epoch, {words}{run.path})"
    assert repr(saved) == f"Run(vae on digits, 1 epoch, {words}{saved.path})"


def test_a_run_is_not_resumed_to_fewer_epochs_than_it_has(tmp_path: Path) -> None:
    path = train(tmp_path / "r", epochs=2).path
    before = (path / "config.json").read_bytes()
    with pytest.raises(vaekit.VaekitError, match=r"got `epochs=1`; .* has 2 already"):
        vaekit.resume(path, epochs=1, report=False)
    assert (path / "config.json").read_bytes() == before
    vaekit.resume(path, epochs=2, report=False)


def test_a_word_too_many_is_named_with_its_mend(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train", "vae", "my digits"])
    assert capsys.readouterr().err == (
        "vaekit: got 'my digits', for which there is no place; "
        "each value follows its option, as --data mnist: see --help.\n"
    )


def test_a_resumed_run_drops_a_half_written_record(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", epochs=4, lr_schedule="constant")
    cut = train(tmp_path / "cut", epochs=2, lr_schedule="constant")
    with (cut.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "step"')
    vaekit.resume(cut.path, epochs=4, report=False)
    assert_same_run(whole.path, cut.path)


# ---------------------------------------------------------------- the same numbers again


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.slow
def test_the_same_seed_and_threads_give_the_same_numbers(tmp_path: Path, threads: int) -> None:
    """In processes of their own; another seed gives others."""
    code = TRAIN + (
        "small |= dict(threads=int(sys.argv[2]), seed=int(sys.argv[3]), epochs=3)\n"
        "small['net'] += ':dropout=0.1'\n"
        "train('iwae', out=sys.argv[1], **small)\n"
    )
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        done = python(code, tmp_path / name, threads, seed)
        assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert records(tmp_path / "a") != records(tmp_path / "c")
    assert json.loads((tmp_path / "a" / "run.json").read_text())["environment"]["threads"] == (
        threads
    )


# ---------------------------------------------------------------- what it says of itself


def git(*words: str) -> None:
    subprocess.run(["git", *words], check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_run_json_has_the_state_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() is None
    for key in ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL"):
        monkeypatch.setenv(f"GIT_{key}", "x@example.org")
    git("init")
    assert git_state() is None, "a repository without a commit"
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "x")
    known = json.loads((train(tmp_path / "r", epochs=1).path / "run.json").read_text())
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert known["git"] == {"commit": head.stdout.strip(), "dirty": False}
    assert known["notes"] == []
    assert known["seed"] == 0
    assert {"vaekit", "torch", "python", "device", "threads"} <= set(known["environment"])
    (tmp_path / "file").write_text("2")
    assert git_state() == {"commit": head.stdout.strip(), "dirty": True}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state() is None


def test_notes_are_warnings_of_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    text = "sigma [bold] is 1 " + "and so on " * 30
    vaekit.Callback().note(text)
    assert caplog.messages == []
    terminal = Terminal()
    for callback in (Notes(), Lines(), terminal):
        callback.note(text)
    terminal.started(2, 10, 0)
    terminal.note(text)
    terminal.ended(False)
    assert caplog.record_tuples == [("vaekit", logging.WARNING, text)] * 4


def test_config_json_says_its_format_and_another_one_is_refused(run: vaekit.Run) -> None:
    config = run.folder.read_json("config")
    assert config["format"] == 3
    for form in (1, None):
        run.folder.write_json("config", {**config, "format": form})
        for open_it in (vaekit.load, vaekit.resume):
            with pytest.raises(vaekit.VaekitError, match=f"format {form}, and this") as caught:
                open_it(run.path)
            assert len(str(caught.value).splitlines()) == 1


class Rows(StandardNormal):
    """Keeps rows of the data.

    Args:
        count: how many.
    """

    def __init__(self, event_shape: Any, data: vaekit.DataSpec, *, count: int = 300) -> None:
        super().__init__(event_shape)
        self.rows = torch.nn.Buffer(data.example(count))


def test_a_recipe_that_reads_the_data_is_opened_with_what_it_read(tmp_path: Path) -> None:
    """Any number of rows; where a run is opened they come from its weights."""
    vaekit.register("prior", "rows")(Rows)
    vaekit.recipe("of_rows", "A VAE that keeps rows.", prior="rows")
    first = train(tmp_path / "r", "of_rows", epochs=1)
    made: Any = vaekit.resume(tmp_path / "r", epochs=2, report=False).model
    kept = made.prior.rows
    assert kept.shape == (300, 1, 8, 8)
    assert kept.std() > 0.1
    for weights in ("best", "last"):
        opened: Any = vaekit.load(first.path, weights=weights).model
        assert torch.equal(opened.prior.rows, kept)


@pytest.mark.parametrize("latent", [256, 300])
def test_the_kl_of_very_many_dimensions_is_kept_in_short(latent: int, tmp_path: Path) -> None:
    path = train(tmp_path / "r", epochs=1, latent=latent, report=True).path
    (record,) = records(path)
    found = record["latent"]["kl_per_dim"]
    if latent == 256:
        assert len(found) == latent
        return
    assert found["of"] == latent
    assert found["sum"] == pytest.approx(record["validation"]["kl"], rel=1e-4)
    assert 0 <= found["least"] <= found["sum"] / latent <= found["most"]
    assert (path / "report.html").is_file()


def test_a_laplace_posterior_trains_by_name(tmp_path: Path) -> None:
    run = train(tmp_path / "r", posterior="laplace")
    values = [record["validation"]["elbo"] for record in run.folder.records()]
    assert values[0] < values[-1]
    with torch.no_grad():
        q = run.vae.posterior(run.dataset().test.x(slice(0, 5)))
    assert isinstance(q, Laplace)
    found = run.evaluate("bound:samples=1")
    assert found["elbo"] == pytest.approx(found["log_likelihood"] - found["kl"])
    assert found["kl"] > 0


# ---------------------------------------------------------------- many runs


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    train(folder / "b", epochs=3)
    train(folder / "a", "ae", epochs=2, validation=0)
    train(folder / "set" / "seed-4", epochs=1, seed=4)
    train(folder / "early", "ae", epochs=60, patience=1, lr=0.3)
    train(folder / "warm", "beta_vae", epochs=4, kl_warmup="linear:2")
    (folder / "notes").mkdir()
    (folder / "file").touch()
    return folder


def test_the_table_holds_the_numbers_of_the_best_epoch(several: Path) -> None:
    rows = {row["name"]: row for row in tabulate(several)}
    assert list(rows) == ["a", "b", "early", "set/seed-4", "warm"]
    columns = (
        "name recipe data latent epochs asked objective log_likelihood kl active_units seconds"
    )
    assert all(" ".join(row) == f"{columns} state" for row in rows.values())
    for name in ("b", "warm"):
        lines = read_lines(several / name / "metrics.jsonl")
        epoch = load_state(several / name / "checkpoints" / "last.safetensors")["best"]["epoch"]
        best = lines[epoch - 1]
        row = rows[name]
        assert row["objective"] == best["validation"]["objective"]
        assert row["log_likelihood"] == best["validation"]["log_likelihood"]
        assert row["kl"] == best["validation"]["kl"]
        assert row["active_units"] == best["latent"]["active_units"]
        assert row["seconds"] == pytest.approx(sum(r["seconds"] for r in lines))
    assert rows["b"]["objective"] == max(
        r["validation"]["objective"] for r in read_lines(several / "b" / "metrics.jsonl")
    )
    assert (rows["b"]["recipe"], rows["b"]["data"], rows["b"]["latent"]) == ("vae", "digits", 3)
    assert rows["a"]["kl"] is None
    assert rows["early"]["epochs"] < rows["early"]["asked"] == 60
    assert {row["state"] for row in rows.values()} == {"finished"}


def test_the_table_sorts_and_reads_one_run_and_refuses_in_one_line(
    several: Path, tmp_path: Path
) -> None:
    found = [row["objective"] for row in tabulate(several, sort="objective")]
    assert found == sorted(found, reverse=True)
    assert tabulate(several, sort="kl")[-1]["kl"] is None
    assert [row["recipe"] for row in tabulate(several, sort="recipe")][:2] == ["ae", "ae"]
    assert [row["name"] for row in tabulate(several / "b")] == ["b"]
    for folder, message in ((tmp_path, "there are no runs"), (tmp_path / "x", "no folder")):
        with pytest.raises(vaekit.VaekitError, match=message):
            tabulate(folder)
    with pytest.raises(vaekit.VaekitError, match="did you mean 'epochs'"):
        tabulate(several, sort="epoch")


def test_a_broken_run_is_a_row_that_says_so(several: Path, tmp_path: Path) -> None:
    def broken(name: str) -> Path:
        shutil.copytree(several / "b", tmp_path / name)
        return tmp_path / name

    (broken("1") / "config.json").write_text("{")
    (broken("2") / "run.json").unlink()
    (broken("3") / "config.json").write_text('{"recipe": "vae"}')
    (broken("4") / "metrics.jsonl").write_text('{"epoch": 1}\n')
    (broken("5") / "config.json").unlink()
    (broken("6") / "metrics.jsonl").write_text("\x00\n{")
    states = [row["state"] for row in tabulate(tmp_path)]
    assert states[0] == "broken: config.json holds no JSON"
    assert states[1] == "broken: no run.json"
    assert states[2] == "broken: config.json has no data"
    assert states[3] == "broken: metrics.jsonl has no step"
    assert states[4] == "broken: no config.json"
    assert states[5] == "stopped"
    assert len(tabulate(tmp_path, sort="objective")) == 6


def test_the_command_prints_a_table_or_json_without_torch(
    several: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["runs", str(several)])
    shown = capsys.readouterr().out
    assert "log-likelihood" in shown
    row = next(line for line in shown.splitlines() if "set/seed-4" in line)
    assert "1/1" in row
    main(["runs", str(several), "--json", "--sort", "seconds"])
    found = json.loads(capsys.readouterr().out)
    assert [r["name"] for r in found] == [r["name"] for r in tabulate(several, sort="seconds")]
    code = "import sys\nfrom vaekit.cli.main import main\nmain(['runs', sys.argv[1]])\n"
    done = python(code + "print('torch' in sys.modules)", several)
    assert done.stdout.strip().endswith("False"), done.stderr
    done = python(code, several / "notes")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_run_folder_of_before_has_a_row_and_resumes(run: vaekit.Run, tmp_path: Path) -> None:
    """Records without the later numbers, a checkpoint without the watch, no lock."""
    path = run.path / "metrics.jsonl"
    (old,) = read_lines(path)
    for name in ("latent", "dead_units", "gradient_norm", "best", "stopped_early", "warnings"):
        old.pop(name)
    path.write_text(json.dumps(old) + "\n")
    state = load_state(run.folder.last)
    state.pop("watch")
    state["progress"].pop("gradient")
    save_state(run.folder.last, state)
    RunFolder(run.path).lock.unlink()
    assert tabulate(tmp_path)[0]["active_units"] is None
    vaekit.resume(run.path, epochs=2)
    assert tabulate(tmp_path)[0]["epochs"] == 2


def test_a_run_folder_that_cannot_be_written_is_one_line(run: vaekit.Run) -> None:
    shutil.rmtree(run.path / "checkpoints")
    (run.path / "checkpoints").write_text("a file")
    with pytest.raises(vaekit.VaekitError, match=r"cannot write .*\.lock"):
        vaekit.resume(run.path, epochs=2)
    assert json.loads((run.path / "config.json").read_text())["training"]["epochs"] == 1


def test_records_without_a_step_are_no_trouble_when_resuming(run: vaekit.Run) -> None:
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"note": "mine"}\n')
    vaekit.resume(run.path, epochs=2, report=False)
    assert [r["epoch"] for r in records(run.path)] == [1, 2]


@pytest.mark.data("frey_faces")
def test_a_run_goes_on_where_its_data_have_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(Path(os.environ["VAEKIT_DATA"]) / "frey_faces", first / "frey_faces")
    monkeypatch.delenv("VAEKIT_DATA")
    options = {"data": "frey-faces", "latent": 2, "net": "mlp:hidden=8", "limit": 100, "threads": 1}
    run = vaekit.train("vae", out=tmp_path / "r", epochs=1, data_dir=first, report=False, **options)
    first.rename(second)
    with pytest.raises(vaekit.VaekitError, match=r"freyfaces\.npz"):
        vaekit.resume(run.path, epochs=2)
    again = vaekit.resume(run.path, epochs=2, data_dir=second)
    assert [record["epoch"] for record in again.folder.records()] == [1, 2]
    assert again.evaluate("bound:samples=1")["protocol"]["rows"] == 200


def test_a_default_folder_that_another_training_took_is_left_to_it(
    run: vaekit.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = (run.path / "config.json").read_bytes()
    places = iter([run.path, tmp_path / "mine"])  # looked for when it was still free
    monkeypatch.setattr("vaekit.api.next_folder", lambda *_: next(places))
    options = {"net": "mlp:hidden=8", "limit": 200, "epochs": 1, "report": False}
    assert vaekit.train("vae", data="digits", latent=2, **options).path == tmp_path / "mine"
    assert (run.path / "config.json").read_bytes() == before


def test_the_default_folder_of_a_long_name_can_be_made(tmp_path: Path) -> None:
    for number in (1, 2):
        place = vaekit.runs.next_folder(tmp_path, "\U0001f600" * 250)
        place.mkdir()
        assert place.name.endswith(f"-{number}")


def test_who_does_not_get_the_lock_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second process begins a run in a folder that a first one has just made and locked."""
    first, second = (RunFolder(tmp_path / "r") for _ in range(2))
    with first.locked(create=True):
        monkeypatch.setattr("vaekit._io.missing_folders", lambda _: [tmp_path / "r"])  # as it was
        refused = pytest.raises(VaekitError, match="another process trains")
        with refused, second.locked(create=True):
            pass
        assert first.lock.exists()
