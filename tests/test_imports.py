"""Imports point downwards, and the lower layers need torch alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "vaekit"

# The rooms, from the ground up; a module may import from its own layer and from those below.
LAYERS = {
    "lazy": -1,
    "errors": -1,
    "files": -1,
    "options": -1,
    "distributions": 0,
    "nn": 0,
    "data": 0,
    "conditional": 1,
    "scales": 1,
    "families": 1,
    "counts": 1,
    "priors": 1,
    "models": 2,
    "objectives": 3,
    "agreement": 5,
    "colour": 5,
    "embedding": 5,
    "evaluate": 3,
    "recipes": 4,
    "config": 4,
    "training": 4,
    "run": 5,
    "runs": 5,
    "snapshots": 5,
    "grids": 5,
    "seeds": 5,
    "stacked": 5,
    "several": 5,
    "report": 5,
    "pictures": 5,
    "app": 5,
    "job": 5,
    "judge": 5,
    "progress": 5,
    "__main__": 5,
    "cli": 5,
    "cli_colorize": 5,
    "cli_compare": 5,
    "cli_data": 5,
    "cli_evaluate": 5,
    "cli_figures": 5,
    "cli_output": 5,
    "cli_pictures": 5,
    "cli_reproduce": 5,
    "cli_seeds": 5,
    "cli_sweep": 5,
    "cli_train": 5,
    "reproduce": 5,
    "testing": 5,
}
APART = [("distributions", "nn"), ("distributions", "data"), ("nn", "data")]
HEAVY = {"sklearn", "matplotlib", "PIL", "pooch", "zuko", "yaml", "rich"}
BASE = {"torch", "numpy", "vaekit"}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def files() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts != ("__init__",):
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


def test_every_room_has_a_layer() -> None:
    assert {name for name, _ in files()} == set(LAYERS)


@pytest.mark.parametrize("room_name", LAYERS)
def test_imports_point_downwards(room_name: str) -> None:
    for name, path in files():
        if name != room_name:
            continue
        for module, _ in imports(path):
            target = room(module)
            if not module.startswith("vaekit.") or target not in LAYERS:
                continue
            assert LAYERS[target] <= LAYERS[name], f"{path.name} imports {module} from above"
            assert (name, target) not in APART, f"{name} imports {module}"
            assert (target, name) not in APART, f"{name} imports {module}"


def test_the_lower_layers_need_torch_alone_and_heavy_packages_wait() -> None:
    for name, path in files():
        for module, at_top in imports(path):
            package = module.split(".")[0]
            assert not (at_top and package in HEAVY), f"{path.name} imports {package} at its top"
            if LAYERS[name] in (0, 1, 2, 3) and at_top and package not in BASE:
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
from vaekit.conditional import Conditional
from vaekit.data import Batches, Split
from vaekit.families import Bernoulli, Gaussian
from vaekit.models import VAE
from vaekit.nn import MLP
from vaekit.objectives import ELBO
from vaekit.priors import StandardNormal
from vaekit.training import Together, fit, make_optimizer

def model():
    encoder, decoder = MLP(9, 4, hidden=(8,)), MLP(2, 9, hidden=(8,))
    return VAE(StandardNormal(2), Conditional(encoder, Gaussian(2)),
               Conditional(decoder, Bernoulli(9)))

def trained(model, objective, batches):
    adam = make_optimizer("adam", model.parameters(), lr=1e-3)
    return fit(model, objective, batches, steps=3, optimizer=adam).step

rows = Split(torch.rand(30, 9))
both = Together([model(), model()], ELBO(), [Batches(rows, 10), Batches(rows, 10, seed=1)])
one = model()
print(trained(one, ELBO(), Batches(rows, 10)), trained(both, both.objective, both.batches))
print(vaekit.evaluate.nll(one, [(rows.x(), None)], samples=20).rows)
"""


def test_training_and_evaluation_of_tensors_need_torch_and_numpy_alone() -> None:
    packages = {"pydantic", "safetensors", "cyclopts", *HEAVY}
    assert python(BARE.replace("{packages}", repr(packages))).split() == ["3", "3", "30"]


def test_every_public_name_can_be_had() -> None:
    code = (
        "import vaekit\n"
        "for name in vaekit._HOME: assert getattr(vaekit, name) is not None, name\n"
        "print(len(vaekit._HOME))"
    )
    assert int(python(code)) > 25


def test_type_checkers_see_every_public_name() -> None:
    import vaekit

    text = (SOURCE / "__init__.py").read_text()
    block = text[text.index("if TYPE_CHECKING:") : text.index("def __getattr__")]
    seen = {
        (node.module, alias.name)
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {(f"vaekit.{home}", name) for name, home in vaekit._HOME.items()}
