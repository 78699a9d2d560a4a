"""Files and modules of a user's own parts: `--import` and `import_`, and the copies in runs."""

from __future__ import annotations

import importlib
import inspect
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vaekit
from vaekit import VaekitError, registry
from vaekit import _imports as imports
from vaekit._imports import imports_of, load
from vaekit.cli.main import main
from vaekit.registry import describe, entries, find

MINE = '''
from __future__ import annotations

import torch
from torch import Tensor, nn

from vaekit.distributions import Distribution, Laplace, Offer, Space, reals
from vaekit.objectives import ELBO
from vaekit.parts import Prior
from vaekit.recipes import recipe
from vaekit.registry import register


@register("prior", "wide")
class Wide(Prior):
    """Independent Laplace variables of one learned width.

    Args:
        width: where the width starts.
    """

    offers = Laplace.offers

    def __init__(self, event_shape: tuple[int, ...], *, width: float = 1.0) -> None:
        super().__init__()
        self.event_shape = event_shape
        self.log_width = nn.Parameter(torch.tensor(width).log())

    @property
    def space(self) -> Space:
        return reals(*self.event_shape)

    def forward(self, context=None, posterior=None) -> Distribution:
        log_width = self.log_width.expand(self.event_shape)
        return Laplace(torch.zeros_like(log_width), log_width, event_dim=len(self.event_shape))


@register("objective", "plain")
class Plain(ELBO):
    """The ELBO by another name."""


recipe("wide_vae", "A VAE of wide codes.", prior="wide:width=0.5", objective="plain", latent=4)
'''
SMALL = [*("--net", "mlp:hidden=8", "--limit", "200", "--epochs", "1"), "--no-report", "--quiet"]
QUICK = {"net": "mlp:hidden=8", "limit": 200, "epochs": 1, "report": False, "threads": 1}


def call(*words: object) -> None:
    main([str(word) for word in words])


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command says, in a line, as it ends with exit code 2."""

    def words_of(*words: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            call(*words)
        assert caught.value.code == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1
        return said[0]

    return words_of


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def forget() -> None:
    """As in another process."""
    for one in imports.imported():
        for part in one.parts:
            del registry._OBJECTS[part]
    imports._LOADED.clear()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "mine.py").write_text(MINE)
    call("train", "wide-vae", "--import", folder / "mine.py", *SMALL, "--out", folder / "run")
    forget()
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that was trained with mine.py, which is not there any more."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "run")
    return Path("run")


def recorded(run: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((run / "config.json").read_text())["imports"]
    return found


def test_a_run_holds_a_copy_of_the_file_and_its_sha256(run: Path) -> None:
    copy = run / "imports" / "mine.py"
    assert copy.read_text() == MINE
    sha256 = subprocess.run(["sha256sum", copy], capture_output=True, text=True, check=True).stdout
    assert recorded(run) == [{"file": "mine.py", "sha256": sha256.split()[0]}]
    assert not list(run.rglob("*.pyc"))


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "run", "--limit", "50"),
        ("report", "run"),
        ("sample", "run", "-o", "samples.png"),
        ("info", "run"),
        ("train", "--resume", "run", "--epochs", "2", "--quiet"),
        ("compare", "run", "other", "--limit", "50"),
    ],
)
def test_a_command_that_opens_a_run_wants_its_import(
    run: Path, refused: Callable[..., str], words: tuple[str, ...]
) -> None:
    shutil.copytree(run, "other")
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    assert refused(*words) == (
        "vaekit: run was trained with files of its user's own: read run/imports/mine.py, and pass "
        "--import run/imports/mine.py."
    )
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before
    assert "wide" not in entries("prior")
    call(*words, "--import=run/imports/mine.py")
    assert recorded(run) == recorded(Path("other"))


def test_what_only_reads_a_run_wants_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("runs", ".")
    assert "wide_vae" in capsys.readouterr().out


def test_python_names_the_argument(run: Path) -> None:
    with pytest.raises(VaekitError, match=r"pass `import_=\['run/imports/mine.py'\]`\.$"):
        vaekit.load(run)
    copy = run / "imports" / "mine.py"
    assert type(vaekit.load(run, import_=[copy]).model.prior).__name__ == "Wide"
    assert vaekit.load(run).sample(2).shape == (2, 1, 8, 8)  # imported once, for all
    resumed = vaekit.resume(run, epochs=2, report=False, import_=str(copy))
    assert resumed.folder.records()[-1]["epoch"] == 2
    shutil.copytree(run, "other")
    found = vaekit.compare([run, "other"], limit=50, import_=[copy])
    assert len(found.runs) == 2


def test_another_content_is_refused_with_both_and_the_copy_takes_its_place(run: Path) -> None:
    Path("mine.py").write_text(MINE.replace("width: float = 1.0", "width: float = 2.0"))
    with pytest.raises(VaekitError) as caught:
        vaekit.load(run, import_=["mine.py"])
    had, asked = imports.imported()[0].sha256, recorded(run)[0]["sha256"]
    assert str(caught.value) == (
        f"run was trained with mine.py of sha256 {asked[:12]}, and {Path('mine.py').absolute()} "
        f"has {had[:12]}: pass `import_=['run/imports/mine.py']` in its place."
    )
    vaekit.load(run, import_=["run/imports/mine.py"])
    assert describe("prior", "wide")["options"]["width"]["default"] == 1.0


def test_a_copy_that_was_changed_is_not_the_one(run: Path, refused: Callable[..., str]) -> None:
    copy = run / "imports" / "mine.py"
    copy.write_text(MINE + "\n")
    assert refused("info", run, "--import", copy).endswith(": restore it.")


def test_a_broken_record_is_refused(run: Path, refused: Callable[..., str]) -> None:
    config = json.loads((run / "config.json").read_text())
    for broken in (3, ["mine.py"], [{"file": "mine.py"}], [{"sha256": "0"}], {"file": "x"}):
        (run / "config.json").write_text(json.dumps({**config, "imports": broken}))
        assert "config.json is broken: its imports are no list" in refused("info", run)


def test_only_its_name_is_taken_of_a_recorded_path(run: Path, refused: Callable[..., str]) -> None:
    config = json.loads((run / "config.json").read_text())
    config["imports"][0]["file"] = "../../evil.py"
    (run / "config.json").write_text(json.dumps(config))
    assert refused("info", run).endswith("pass --import run/imports/evil.py.")


def test_a_file_may_be_edited_and_named_again(mine: Path) -> None:
    (first,) = load("mine.py")
    assert first.parts == {("prior", "wide"), ("objective", "plain"), ("recipe", "wide_vae")}
    assert load(["mine.py", mine]) == [first, first]
    old = find("prior", "wide")
    mine.write_text(MINE.replace("width: float = 1.0", "width: float = 3.0"))
    load([mine])
    assert describe("prior", "wide")["options"]["width"]["default"] == 3.0
    mine.write_text(MINE)
    load([mine])
    assert describe("prior", "wide")["options"]["width"]["default"] == 1.0
    assert find("prior", "wide") is not old
    assert len(imports.imported()) == 1


def test_a_file_may_be_imported_as_python_does_besides(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(mine)
    monkeypatch.syspath_prepend(mine.parent)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    module = importlib.import_module("mine")
    assert find("prior", "wide") is module.Wide
    mine.write_text(MINE.replace("width: float = 1.0", "width: float = 3.0"))
    load(mine)  # and not the old content that Python holds
    assert describe("prior", "wide")["options"]["width"]["default"] == 3.0
    monkeypatch.delitem(sys.modules, "mine")


def test_two_files_of_one_name_do_not_meet(mine: Path) -> None:
    other = mine.parent / "other" / "mine.py"
    other.parent.mkdir()
    other.write_text('from vaekit.recipes import recipe\nrecipe("thin", "Thin.", latent=1)\n')
    both = load([mine, other])
    assert {"thin", "wide_vae"} <= {*entries("recipe")}
    found = imports_of(both, "vae", {})
    assert found[0]["file"] == "mine.py"
    assert found[1]["file"].startswith("mine_")
    run = vaekit.train("thin", out="run", import_=both, **QUICK)
    kept = {path.name: path.read_bytes() for path in (run.path / "imports").iterdir()}
    assert kept == {one["file"]: each.content for one, each in zip(found, both, strict=True)}
    forget()
    with pytest.raises(VaekitError, match=r"mine.py and run/imports/mine_.*, and pass `import_=\["):
        vaekit.load("run")
    vaekit.load("run", import_=[*(run.path / "imports").iterdir()])


def test_a_run_remembers_what_was_named_for_it_and_whose_parts_it_has(mine: Path) -> None:
    (mine.parent / "empty.py").write_text("")
    one = vaekit.train("vae", out="a", import_="empty.py", **QUICK)
    load(mine)
    two = vaekit.train("vae", prior="wide", out="b", **QUICK)
    three = vaekit.train("vae", out="c", **QUICK)
    names = [[each["file"] for each in recorded(run.path)] for run in (one, two, three)]
    assert names == [["empty.py"], ["mine.py"], []]
    inside = {"model": {"part": "model/vae", "arguments": {"prior": [{"part": "prior/wide"}]}}}
    assert [one["file"] for one in imports_of([], "composed", inside)] == ["mine.py"]
    assert not (three.path / "imports").exists()


def test_what_a_script_has_imported_itself_counts(run: Path) -> None:
    shutil.copy(run / "imports" / "mine.py", "mine.py")
    script = Path("script.py")
    lines = "import vaekit\nimport mine\nprint(vaekit.load('run').spec.shape)\n"
    lines += "vaekit.load('run', import_=['run/imports/mine.py', 'mine.py', __file__])\n"
    lines += "del __import__('sys').modules['mine']\nimport mine\n"
    script.write_text(lines)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(1, 8, 8)\n", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\ndef f(:\n", "mine.py, line 2: SyntaxError: invalid syntax"),
        ("x = 1\n\n1 / 0\n", "mine.py, line 3: ZeroDivisionError: division by zero"),
        ("import nothing_such\n", "line 1: ModuleNotFoundError: No module named 'nothing_such'"),
        ("def f():\n    raise OSError('a\\nb')\nf()\n", "mine.py, line 2: OSError: a b"),
        ("import sys\nsys.exit(3)\n", "mine.py, line 2: SystemExit: 3"),
        ("\0", "mine.py: "),
        (
            "from vaekit.registry import register\n@register('prior', 'none')\nclass A: pass\n",
            "mine.py, line 2: the prior 'none' is taken: register yours by another name.",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(
    mine: Path, refused: Callable[..., str], text: str, words: str
) -> None:
    mine.write_text(text)
    said = refused("parts", "--import", "mine.py")
    assert said.startswith(f"vaekit: cannot import {mine.parent}")
    assert words in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--import", "none.py"), "cannot import none.py: there is no such file; expected a .py"),
        (
            ("--import", "sub/none"),
            "cannot import sub/none: its name ends in ''; expected a .py file.",
        ),
        (("--import", "sub/none.py"), "cannot import sub/none.py: there is no such file"),
        (("--import=none",), "cannot import none: there is no such module; a file is named with"),
        (("--import", "nothing.such"), "cannot import nothing.such: ModuleNotFoundError: No mod"),
        (("--import",), "--import names nothing; expected a .py file or a module after it."),
        (("--import=",), "--import names nothing"),
    ],
)
def test_what_is_not_there_is_refused(
    refused: Callable[..., str], words: tuple[str, ...], said: str
) -> None:
    assert said in refused("train", "vae", *words)


def test_of_a_file_that_fails_no_part_stays(mine: Path) -> None:
    load("mine.py")
    mine.write_text(
        MINE.replace('"plain"', '"coarse"') + "\nregister('prior', 'late')(Wide)\n1 / 0"
    )
    before, modules = dict(registry._OBJECTS), {*sys.modules}
    with pytest.raises(VaekitError, match="ZeroDivisionError"):
        load("mine.py")
    assert before.items() <= registry._OBJECTS.items()
    assert not {"coarse", "late"} & {*entries("objective"), *entries("prior")}
    assert {*sys.modules} == modules


def test_source_and_doctests_of_a_file_are_found(mine: Path) -> None:
    load(mine)
    wide = find("prior", "wide")
    assert inspect.getsource(wide).startswith('@register("prior", "wide")')
    assert sys.modules[wide.__module__].__file__ == str(mine)


def test_help_and_lists_show_the_users_own(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("train", "--import", "mine.py", "--help"), ("recipes", "--import=mine.py")):
        call(*words)
        assert "wide_vae" in capsys.readouterr().out
    call("--import", "mine.py", "parts", "prior", "wide")
    assert "where the width starts" in capsys.readouterr().out
    call("--import", "mine.py", "train", "wide-vae", "--help")
    assert "wide:width=0.5" in capsys.readouterr().out
    call("--help")
    assert "--import" in capsys.readouterr().out


def test_seeds_import_in_their_processes_and_want_it_again(
    mine: Path, refused: Callable[..., str]
) -> None:
    seeds = ("train", "wide_vae", *SMALL, "--seeds", 2, "--out", "seeds")
    call(*seeds, "--import", "mine.py")
    first, second = recorded(Path("seeds/seed-0")), recorded(Path("seeds/seed-1"))
    assert first == second
    assert first[0]["file"] == "mine.py"
    forget()
    assert "unknown recipe 'wide_vae'" in refused(*seeds)
    with pytest.raises(VaekitError, match="seed-0 was trained with files of its user's own"):
        vaekit.load("seeds/seed-0")


def test_the_processes_of_a_sweep_take_what_was_imported_before(mine: Path) -> None:
    load("mine.py")
    mine.write_text("an edit that they must not see")
    runs = vaekit.sweep("vae", grid={"prior": ["wide", "standard-normal"]}, out="s", **QUICK)
    assert [len(recorded(run.path)) for run in runs] == [1, 0]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of parts, and one that is broken, as if they were installed."""
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "parts.py").write_text(MINE)
    (tmp_path / "broken_pack.py").write_text("1 / 0")
    info = tmp_path / "pack-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pack\nVersion: 1.0\n")
    points = "[vaekit.parts]\npack = pack.parts\nbroken = broken_pack\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    registry.import_installed.cache_clear()
    yield tmp_path
    registry.import_installed.cache_clear()
    for name in [one for one in sys.modules if one.split(".")[0] == "pack"]:
        del sys.modules[name]


def test_a_module_is_named_by_its_name(package: Path, refused: Callable[..., str]) -> None:
    call("train", "wide_vae", *SMALL, "--import", "pack.parts", "--out", "run")
    (one,) = recorded(Path("run"))
    assert one["module"] == "pack.parts"
    assert not Path("run", "imports").exists()
    vaekit.load("run")
    forget()
    for name in ("pack", "pack.parts"):
        del sys.modules[name]
    assert refused("info", "run").endswith("read pack.parts, and pass --import pack.parts.")
    Path("pack", "parts.py").write_text(MINE + "\n")
    assert "install the version" in refused("info", "run", "--import", "pack.parts")


def test_parts_of_installed_packages_go_by_name_and_are_imported_when_asked_for(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("train", "vae", "--help")
    assert "pack.parts" not in sys.modules
    call("train", "wide-vae", *SMALL, "--out", "run")
    said = capsys.readouterr().err
    assert said.count("note: the parts 'broken' of broken_pack cannot be imported: ZeroDiv") == 1
    assert recorded(Path("run")) == []
    vaekit.load("run")
    call("parts", "prior")
    assert "wide: Independent Laplace" in capsys.readouterr().out


def test_a_part_that_a_script_registered_is_named_by_its_mend(
    mine: Path, refused: Callable[..., str]
) -> None:
    scope: dict[str, object] = {"__name__": "__main__"}
    exec(MINE, scope)
    run = vaekit.train("wide_vae", out="run", **QUICK)
    assert recorded(run.path) == []
    for part in (("prior", "wide"), ("objective", "plain"), ("recipe", "wide_vae")):
        del registry._OBJECTS[part]
    said = refused("info", "run")
    assert said.endswith("If it is one of your own, pass its file: --import FILE.py.")
    call("info", "run", "--import", mine)


def test_a_saved_model_brings_the_files_that_it_was_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    run = vaekit.train("wide_vae", import_=["mine.py"], out="r", **QUICK)
    run.save("folder")
    run.save("zip.vaekit")
    assert Path("folder/imports/mine.py").read_text() == MINE
    for place in ("folder", "zip.vaekit"):
        assert vaekit.load(place, import_=["folder/imports/mine.py"]).sample(2).shape[0] == 2
    code = "import vaekit; vaekit.load('folder')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "folder/imports/mine.py" in done.stderr.splitlines()[-1]
