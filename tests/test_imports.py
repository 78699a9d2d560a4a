"""Imports point downwards, and the lower layers need torch alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "vaekit"

# The rooms, in one strict order: a module imports from its own room and from those before it.
ROOMS = (
    *("errors", "_arguments", "_io", "_safetensors", "_torchutil", "_borders", "registry"),
    *("_train_options", "distributions", "nn", "parts"),
    *(
        "models",
        "objectives",
        "data",
        "evaluate",
        "metrics",
        "recipes",
        "_imports",
        "training",
        "runs",
    ),
    *("report", "api", "sklearn", "cli", "testing"),
)
APART = [{"distributions", "nn"}, {"distributions", "data"}, {"nn", "data"}]
HEAVY = {"sklearn", "matplotlib", "PIL", "pooch", "pandas", "zuko", "yaml", "rich"}
BASE = {"torch", "numpy", "vaekit"}
LOW = {"evaluate", "_safetensors", "_torchutil"}
BARE_ROOMS = LOW | {*ROOMS[ROOMS.index("distributions") : ROOMS.index("data")]}


def files() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[0] not in ("__init__", "__main__"):
            found.append((parts[0], path))
    return found


def imports(path: Path) -> list[tuple[str, bool]]:
    """Modules imported, and whether at the top of the file (type checking apart)."""
    tree = ast.parse(path.read_text())
    top = set()
    for node in tree.body:
        top.update(ast.walk(node) if isinstance(node, ast.Import | ast.ImportFrom) else [])
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "vaekit":
                names = [f"vaekit.{alias.name}" for alias in node.names]
            found += [(name, node in top) for name in names]
    return found


def test_the_rooms_are_these_and_no_two_share_a_floor() -> None:
    assert {name for name, _ in files()} == set(ROOMS)
    assert len(set(ROOMS)) == len(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_those_before_it(room: str) -> None:
    """At the top, inside functions, and for type checkers: so that no circle can grow."""
    before = ROOMS[: ROOMS.index(room) + 1]
    for name, path in files():
        for module, _ in imports(path) if name == room else ():
            target = module.split(".")[1] if module.startswith("vaekit.") else ""
            if target in ROOMS:
                assert target in before, f"{path.name} imports {module} from above"
                assert {room, target} not in APART, f"{room} imports {module}"


def test_the_lower_rooms_need_torch_alone_and_heavy_packages_wait() -> None:
    for name, path in files():
        for module, at_top in imports(path):
            package = module.split(".")[0]
            own = package == name == "sklearn"  # who asks for its estimators has it
            assert not (at_top and package in HEAVY - {*[package] * own}), (
                f"{path.name} imports {package} at its top"
            )
            if name in BARE_ROOMS and at_top and package not in BASE:
                assert package in sys.stdlib_module_names, f"{path.name} imports {package}"


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_importing_the_kit_and_its_command_line_does_not_import_torch() -> None:
    code = "import sys, vaekit, vaekit.cli, vaekit.recipes; print('torch' in sys.modules)"
    assert python(code).strip() == "False"


BARE = """
import sys
sys.modules.update(dict.fromkeys({packages}))
import torch
import vaekit.evaluate
from vaekit.data import Batches, Split
from vaekit.models import VAE
from vaekit.nn import MLP
from vaekit.parts import Bernoulli, Conditional, Gaussian, StandardNormal
from vaekit.objectives import ELBO
from vaekit.training import fit, make_optimizer

def model():
    encoder, decoder = MLP(9, 4, hidden=(8,)), MLP(2, 9, hidden=(8,))
    return VAE(StandardNormal(2), Conditional(encoder, Gaussian(2)),
               Conditional(decoder, Bernoulli(9)))

def trained(model, objective, batches):
    adam = make_optimizer("adam", model.parameters(), lr=1e-3)
    return fit(model, objective, batches, steps=3, optimizer=adam).step

rows = Split(torch.rand(30, 9))
one = model()
print(trained(one, ELBO(), Batches(rows, 10)))
print(vaekit.evaluate.nll(one, [(rows.x(), None)], samples=20).rows)
"""


def test_training_and_evaluation_of_tensors_need_torch_and_numpy_alone() -> None:
    packages = {"pydantic", "safetensors", "cyclopts", "scipy", *HEAVY}
    assert python(BARE.replace("{packages}", repr(packages))).split() == ["3", "30"]


def test_every_name_of_every_room_is_where_its_stub_says() -> None:
    rooms = [path.parent.relative_to(SOURCE.parent) for path in SOURCE.rglob("__init__.pyi")]
    names = [".".join(room.parts) for room in rooms]
    code = (
        "import importlib\n"
        f"for room in {names}:\n"
        "    found = importlib.import_module(room)\n"
        "    for name in found.__all__: assert getattr(found, name) is not None, name\n"
        "    print(len(found.__all__))"
    )
    assert sum(map(int, python(code).split())) > 150
    assert "vaekit" in names


def test_rooms_and_tests_take_names_from_rooms_and_not_from_their_modules() -> None:
    """But for the shell, which is a program and no room of names."""
    tests = [("tests", path) for path in sorted(Path(__file__).parent.glob("*.py"))]
    deep = [
        (path.name, module)
        for room, path in [*files(), *tests]
        for module, _ in imports(path)
        if module.count(".") > 1
        and module.startswith("vaekit.")
        and module.split(".")[1] not in (room, "cli")
    ]
    assert deep == []
