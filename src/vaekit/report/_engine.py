"""A model's networks as a page computes them: a list of operations, and arrays of weights.

`torch.export` reads encoder and decoder into operations, whatever layers they are made of; the page
knows those in `templates/engine.js`, and any other is refused by its name.
"""

from __future__ import annotations

import json
import math
import operator
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaekit.distributions import Offer
from vaekit.errors import VaekitError
from vaekit.models import LatentModel, flat_codes, split_codes
from vaekit.report._rounding import Layer, Rounded

ENGINE = Path(__file__).parent / "templates" / "engine.js"
VIEWS = {"flatten", "unflatten", "reshape", "contiguous", "alias", "detach", "to", "clone"} | {
    *("dropout", "feature_dropout", "unsqueeze", "squeeze", "lift_fresh_copy", "_unsafe_view"),
}
OTHERS = {"conv2d.padding", "div.Tensor_mode", "gelu.tanh"}  # of a known name, and not known
LIKE = tuple(getattr(torch.ops.aten, f"{name}_like").default for name in ("full", "zeros", "ones"))


class Decodes(nn.Module):
    """E[x|z] at flat codes `(1, D)`, of one row."""

    def __init__(self, model: LatentModel, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.model, self.shapes = model, shapes

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the mean."""
        px = self.model.likelihood_at(split_codes(z, self.shapes), context)
        return px.mean


class Encodes(nn.Module):
    """The flat code `(1, D)` of one row: E[z|x], or the codes of its vectors."""

    def __init__(self, model: LatentModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the code."""
        model: Any = self.model
        if Offer.CODES in model.offers:
            codes: Tensor = model.infer(x, context).made.codes.float()
            return codes
        q = model.posterior(x, context)
        return flat_codes([each.mean for each in q.latents.values()])


@dataclass
class Pack:
    """Arrays in one piece of bytes, as the engine reads them."""

    arrays: list[dict[str, Any]] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    named: dict[str, int] = field(default_factory=dict)

    def add(self, values: Tensor, scales: Tensor | None = None, name: str = "") -> int:
        """Store numbers, or whole ones with the scale of each row; return the number of it."""
        one: dict[str, Any] = {"shape": list(values.shape)}
        if scales is None:
            kind = "f4"
        else:
            one["scales"] = self._put(scales.float().cpu().numpy())
            kind = "i2" if int(values.abs().amax()) > 127 else "i1"
        one |= {"kind": kind, "at": self._put(values.cpu().numpy().astype(f"<{kind}"))}
        self.arrays.append(one)
        if name:
            self.named[name] = len(self.arrays) - 1
        return len(self.arrays) - 1

    def _put(self, values: np.ndarray) -> int:
        at = len(self.data)
        self.data += values.tobytes()
        self.data += bytes(-len(self.data) % 4)
        return at


def known_steps() -> set[str]:
    """Return the names of the operations that the page's engine has."""
    inside = ENGINE.read_text().partition("const ops = {")[2].partition("\n  };")[0]
    return set(re.findall(r"^    (\w+)[:(]", inside, re.M))


def read_net(
    net: nn.Module, inputs: Sequence[Tensor], layers: Mapping[str, Layer], pack: Pack
) -> dict[str, Any]:
    """Return a network as steps of the engine, its weights added to the pack.

    Args:
        net: takes the inputs, of one row.
        inputs: examples of them.
        layers: how the weights of layers are stored, by their names in `net`.
        pack: where they go.

    Raises:
        VaekitError: for an operation that the page does not know, by its name.
    """
    program: Any = torch.export.export(net.eval(), tuple(inputs))
    stored = {**program.state_dict, **program.constants}
    names = {
        each.arg.name: each.target
        for each in program.graph_signature.input_specs
        if each.target is not None
    }
    reader = _Reader(layers, pack, stored, names)
    nodes = list(program.graph.nodes)
    needed = {nodes[-1]}
    for node in reversed(nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    for node in nodes:
        if node in needed or node.op == "placeholder":
            reader.take(node)
    return {"inputs": [list(x.shape) for x in inputs], "steps": reader.steps, "out": reader.out}


class _Reader:
    """From the nodes of an exported program to steps."""

    def __init__(
        self, layers: Mapping[str, Layer], pack: Pack, stored: Any, names: Mapping[str, str]
    ) -> None:
        self.layers, self.pack, self.stored, self.names = layers, pack, stored, names
        self.known = known_steps()
        self.constants: dict[Any, Any] = {}
        self.slots: dict[Any, int] = {}
        self.weights: dict[Any, int] = {}
        self.steps: list[list[Any]] = []
        self.count = self.out = 0

    def take(self, node: Any) -> None:
        """Read one node, whose inputs were read."""
        if node.op == "output":
            self.out = self.slots[node.args[0][0]]
        elif node.op == "placeholder":
            if node.name in self.names:
                self.constants[node] = self.stored[self.names[node.name]]
            else:
                self._slot(node)
        elif all(each in self.constants for each in node.all_input_nodes):
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), self.constants.get)
            self.constants[node] = node.target(*args, **kwargs)
        elif node.target in LIKE:  # which depend on a shape alone
            with torch.no_grad():
                of = torch.zeros(node.meta["val"].shape)
                self.constants[node] = node.target(of, *node.args[1:])
        elif not isinstance(node.meta["val"], list | tuple):
            self._step(node)

    def _slot(self, node: Any) -> None:
        self.slots[node] = self.count
        self.count += 1

    def _step(self, node: Any) -> None:
        name, arguments = _called(node)
        shape = list(node.meta["val"].shape)
        if name == "linear":
            layer = self.layers.get(self.names.get(arguments[1].name, ""))
            if layer is not None and len(layer.parts) == 2:
                inner = self._stored(layer.parts[1])
                middle = [*shape[:-1], layer.parts[1][0].shape[0]]
                x = self._given(arguments[0])
                self.steps.append(["linear", [x, {"w": inner}, None], middle])
                self.count += 1
                outer = {"w": self._stored(layer.parts[0])}
                last = [{"r": self.count - 1}, outer, self._given(arguments[2])]
                self.steps.append(["linear", last, shape])
                return self._slot(node)
        if name not in self.known:
            raise VaekitError(
                f"the page cannot compute `{name}`, which this network has: take `vaekit report`, "
                "`vaekit traverse` and `vaekit manifold`."
            )
        self.steps.append([name, [self._given(each) for each in arguments], shape])
        return self._slot(node)

    def _stored(self, part: Rounded) -> int:
        return self.pack.add(part[0], part[1])

    def _given(self, one: Any) -> Any:
        """Return an argument as JSON."""
        if isinstance(one, list | tuple):
            return [self._given(each) for each in one]
        if not isinstance(one, torch.fx.Node):
            return one if isinstance(one, int | float | str) else None
        if one in self.slots:
            return {"r": self.slots[one]}
        if one not in self.weights:
            layer = self.layers.get(self.names.get(one.name, ""))
            if layer is not None:
                self.weights[one] = self._stored(layer.parts[0])
            else:
                self.weights[one] = self.pack.add(self.constants[one].detach().float())
        return {"w": self.weights[one]}


def _called(node: Any) -> tuple[str, list[Any]]:
    """Return what a node calls, and all of its arguments in their order."""
    if node.target is operator.getitem:
        return _part(*node.args)
    schema, kwargs = node.target._schema, node.kwargs
    name = schema.name.rpartition("::")[2]
    given = [
        node.args[k] if k < len(node.args) else kwargs.get(each.name, each.default_value)
        for k, each in enumerate(schema.arguments)
    ]
    if name in VIEWS:
        return "view", given[:1]
    if str(node.target).removeprefix("aten.") in OTHERS or "reflect" in given:
        name = str(node.target)
    return name, given


def _part(whole: Any, index: int) -> tuple[str, list[Any]]:
    """Return the call that gives one of the tensors that another one splits into."""
    name, given = _called(whole)
    if name == "max_pool2d_with_indices" and index == 0:
        return "max_pool2d", given
    if name == "unbind":
        return "select", [given[0], given[1], index]
    if name not in ("split", "split_with_sizes", "chunk"):
        return name, given
    dim = given[2]
    sizes = [part.shape[dim] for part in whole.meta["val"]]
    return "slice", [given[0], dim, sum(sizes[:index]), sum(sizes[: index + 1]), 1]


def in_node(spec: Mapping[str, Any], pack: Pack, calls: Sequence[tuple[str, list[Any]]]) -> Any:
    """Return what the page's engine makes of these calls, and the seconds of each; None without.

    Args:
        spec: what the engine takes.
        pack: its arrays.
        calls: the name of a network, or both, and its inputs, each.
    """
    node = shutil.which("node")
    if node is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "pack").write_bytes(pack.data)
        (place / "known.json").write_text(json.dumps({"spec": spec, "calls": calls}))
        (place / "run.js").write_text(ENGINE.read_text() + RUN)
        command = [node, str(place / "run.js"), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise VaekitError(f"node could not run the page: {done.stderr.strip()[-200:]}")
        found = json.loads((place / "made.json").read_text())
    return [torch.tensor(values) for values in found["made"]], found["seconds"]


def in_torch(
    spec: Mapping[str, Any], pack: Pack, calls: Sequence[tuple[str, list[Any]]]
) -> list[Tensor]:
    """Return what PyTorch makes of the same steps and arrays, where there is no node."""
    stored = [_unpacked(one, pack.data) for one in spec["arrays"]]

    def made_by(name: str, inputs: Sequence[Any]) -> Tensor:
        net = spec["nets"][name]
        found = [
            torch.as_tensor(x).float().view(s) for x, s in zip(inputs, net["inputs"], strict=True)
        ]

        def given(one: Any) -> Any:
            if isinstance(one, list):
                return [given(each) for each in one]
            if not isinstance(one, dict):
                return one
            return found[one["r"]] if "r" in one else stored[one["w"]]

        for step, taken, shape in net["steps"]:
            found.append(_step_in_torch(step, given(taken), shape))
        return found[net["out"]].flatten()

    def called(name: str, first: Any, *given: Any) -> Tensor:
        if name != "both":
            return made_by(name, [first, *given])
        return made_by("decode", [made_by("encode", [first, *given]), *given])

    with torch.no_grad():
        return [called(name, *inputs) for name, inputs in calls]


def _unpacked(one: Mapping[str, Any], data: bytearray) -> Tensor:
    """Return an array of a pack."""
    shape, count = one["shape"], math.prod(one["shape"])
    read = np.frombuffer(data, f"<{one['kind']}", count, one["at"]).astype("f4").reshape(shape)
    if "scales" in one:
        scales = np.frombuffer(data, "<f4", shape[0], one["scales"])
        read = read * scales.reshape(-1, *[1] * (len(shape) - 1))
    return torch.from_numpy(read)


def _step_in_torch(name: str, taken: list[Any], shape: list[int]) -> Tensor:
    """Return what the operation of this name makes: the one of its kinds that takes these."""
    if name == "view":
        return taken[0].reshape(shape)
    if name == "index":
        taken = [taken[0], [None if each is None else each.long() for each in taken[1]]]
    of = getattr(torch.ops.aten, name)
    for kind in of.overloads():
        asked = getattr(of, kind)._schema.arguments[: len(taken)]
        if any(each.is_out for each in asked):
            continue
        pairs = list(zip(asked, taken, strict=False))
        named = {each.name: value for each, value in pairs if each.kwarg_only}
        with suppress(RuntimeError, TypeError, ValueError):
            made = getattr(of, kind)(*[v for each, v in pairs if not each.kwarg_only], **named)
            return made.float().reshape(shape)
    raise VaekitError(f"PyTorch cannot compute `{name}` of a page.")


RUN = """
const fs = require("fs"), at = process.argv[2] + "/";
const {spec, calls} = JSON.parse(fs.readFileSync(at + "known.json"));
const raw = fs.readFileSync(at + "pack"), made = [], seconds = [];
const nets = engine(spec, raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length));
for (const [name, inputs] of calls) {
  const start = performance.now();
  const [first, ...given] = inputs;
  const code = name === "both" ? nets.encode(first, ...given) : first;
  made.push([...nets[name === "both" ? "decode" : name](code, ...given)]);
  seconds.push((performance.now() - start) / 1000);
}
fs.writeFileSync(at + "made.json", JSON.stringify({made, seconds}));
"""
