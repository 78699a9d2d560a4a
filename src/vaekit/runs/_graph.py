"""A model as JSON: the graph of its parts, each with the arguments that it was made with.

A part is a class that is registered (`KIND/NAME`), a layer of torch by its exact type, or one that
occurred before, by its path. Nothing else can be named, so that to build one runs no other code.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError
from vaekit.registry import find, name_of

NAMES = """
Linear Bilinear Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d BatchNorm1d
BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d LayerNorm GroupNorm RMSNorm Dropout Dropout1d
Dropout2d Embedding Flatten Unflatten Identity ReLU ReLU6 LeakyReLU PReLU GELU SiLU Mish ELU SELU
CELU Tanh Sigmoid Softplus Softmax LogSigmoid Hardtanh Hardsigmoid Hardswish GLU MaxPool1d MaxPool2d
AvgPool1d AvgPool2d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool2d Upsample PixelShuffle
PixelUnshuffle ZeroPad2d ReflectionPad2d ReplicationPad2d ConstantPad2d GRU LSTM
"""
LAYERS: dict[str, type[nn.Module]] = {name: getattr(nn, name) for name in NAMES.split()}
HOLDERS: dict[str, Any] = {
    each.__name__: each for each in (nn.Sequential, nn.ModuleList, nn.ModuleDict)
}
RECURRENT = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout",
             "bidirectional", "proj_size")  # fmt: skip
NAMED = ("module", "prior", "posterior", "likelihood", "quantizer", "objective", "model")
DEEPEST = 64  # parts inside parts
MOST = 2**24  # elements that no weight accounts for, and of a size where it costs a loop


def structure(module: nn.Module, name: str = "model") -> dict[str, Any]:
    """Return the graph of a module's parts, as plain JSON values: see `build_structure`.

    It is built once without memory and compared: what the arguments do not say is refused.

    Args:
        module: of registered parts and layers of torch.
        name: what errors call it.

    Raises:
        VaekitError: for a part that is neither, an argument that is no number, text, list or part,
            and a part that was changed after it was made.

    Example:
        >>> from vaekit.parts import StandardNormal
        >>> structure(StandardNormal(2))
        {'part': 'prior/standard-normal', 'arguments': {'event_shape': 2}}
    """
    tree: dict[str, Any] = _node(module, name, {})
    with torch.device("meta"):
        again = build_structure(tree, name)
    here, there = outline(module, name), outline(again, name)
    for path in sorted({**here, **there}, key=lambda each: "(" in each):  # tensors first
        if here.get(path) != there.get(path):
            raise VaekitError(
                f"{path} is {here.get(path, 'missing')}; what it was made with gives "
                f"{there.get(path, 'none')}: a part was changed after it was made. Make it anew, "
                f"or pass {name}= when loading."
            )
    learned = {n: p.requires_grad for n, p in again.named_parameters()}
    frozen = [n for n, p in module.named_parameters() if not p.requires_grad and learned[n]]
    return {**tree, "frozen": frozen} if frozen else tree


def outline(module: nn.Module, path: str = "model") -> dict[str, Any]:
    """Return what modules share that differ in their values alone: tensors, ties, parts."""
    facts: dict[str, Any] = {}
    for name, value in module.state_dict().items():
        tensor = isinstance(value, Tensor)
        shown = f"{value.dtype} {tuple(value.shape)}" if tensor else type(value).__name__
        facts[f"{path}.{name}"] = shown
    first: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        facts[f"{path}.{name} (shared)"] = first.setdefault(id(parameter), name)
    for name, part in module.named_modules(remove_duplicate=False):
        name = f"{path}.{name}" if name else path
        known = isinstance(part, tuple(LAYERS.values())) or type(part).__module__[:7] == "vaekit."
        facts[f"{name} (part)"] = f"{type(part).__name__}({part.extra_repr() if known else ''})"
        arguments = () if name_of(type(part)) is None else inspect.signature(type(part)).parameters
        for argument in arguments:
            value = getattr(part, argument, None)
            if isinstance(value, bool | int | float | str):
                facts[f"{name}.{argument} (argument)"] = value
    return facts


def _node(part: nn.Module, path: str, seen: dict[int, str]) -> dict[str, Any]:
    if id(part) in seen:
        return {"same": seen[id(part)]}
    seen[id(part)] = path
    kind, name = type(part), type(part).__name__
    named = name_of(kind) if hasattr(part, "made") else None
    mend = f"or pass {path.partition('.')[0]}= when loading."
    if named is None and kind not in (*HOLDERS.values(), *LAYERS.values()):
        what = f"a {kind.__module__}.{kind.__qualname__}, which is not a registered part"
        raise VaekitError(f"{path} is {what}: register it, {mend}")
    if part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part):
        raise VaekitError(f"{path} has a hook, which is not saved: remove it, {mend}")
    if HOLDERS.get(name) is kind:
        parts: Any = part._modules.items()
        return {"torch": name, "parts": {n: _node(v, f"{path}.{n}", seen) for n, v in parts}}
    if LAYERS.get(name) is kind:
        values = {name: getattr(part, name) for name in _arguments(kind)}
        if not isinstance(values.get("bias", True), bool):
            values["bias"] = values["bias"] is not None
        return {"torch": name, "arguments": {n: _plain(v, path, n) for n, v in values.items()}}
    _, args, kwargs = part.made  # type: ignore[misc]  # what `register` wrote down
    bound = inspect.signature(kind).bind(*args, **kwargs)
    bound.apply_defaults()
    values = {n: _argument(part, n, v, path, seen) for n, v in bound.arguments.items()}
    return {"part": named, "arguments": values}


def _arguments(layer: type[nn.Module]) -> list[str]:
    """Return the names of a layer's arguments, which are its attributes too."""
    if issubclass(layer, nn.RNNBase):
        return [name for name in RECURRENT if layer is nn.LSTM or name != "proj_size"]
    if layer is nn.Hardtanh:
        return ["min_val", "max_val", "inplace"]
    return [
        each.name
        for each in inspect.signature(layer).parameters.values()
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        and each.name not in ("device", "dtype")
        and not each.name.startswith("_")
    ]


def _argument(part: nn.Module, name: str, value: Any, path: str, seen: dict[int, str]) -> Any:
    """Return what an argument is now: a part is read from the attribute of its name."""
    current = getattr(part, name, None)
    if not _holds(value) and not (value is None and isinstance(current, nn.Module)):
        return _plain(value, path, name)
    if isinstance(current, nn.Module):
        return _node(current, f"{path}.{name}", seen)
    mend = name if isinstance(value, nn.Module) else f"nn.ModuleList({name})"
    raise VaekitError(
        f"{path} is a {type(part).__name__}, which keeps its argument {name} under another name: "
        f"write self.{name} = {mend}."
    )


def _holds(value: Any) -> bool:
    """Return whether it is a part, or has one in it."""
    if isinstance(value, Mapping):
        return any(map(_holds, value.values()))
    return isinstance(value, nn.Module) or (
        isinstance(value, list | tuple) and any(map(_holds, value))
    )


def _plain(value: Any, path: str, name: str) -> Any:
    """Return a value as JSON: an array is a tuple, {"list": [...]} a list, {"dict": ...} a dict."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        inner = [_plain(each, path, name) for each in value]
        return {"list": inner} if isinstance(value, list) else inner
    if isinstance(value, Mapping) and all(isinstance(each, str) for each in value):
        return {"dict": {n: _plain(each, path, name) for n, each in value.items()}}
    raise VaekitError(
        f"{path} was made with {name}, a {type(value).__name__}: only numbers, text, lists and "
        "parts can be saved."
    )


def build_structure(tree: Any, name: str = "model") -> nn.Module:
    """Build the module that `structure` described, with new weights.

    It can name registered parts and the layers in `LAYERS` alone.

    Raises:
        VaekitError: for anything else, and for arguments that make no such part.

    Example:
        >>> build_structure({"torch": "Linear", "arguments": {"in_features": 2, "out_features": 1}})
        Linear(in_features=2, out_features=1, bias=True)
    """
    frozen = tree.get("frozen", []) if isinstance(tree, dict) else []
    if isinstance(tree, dict):
        tree = {key: value for key, value in tree.items() if key != "frozen"}
    module = _built(tree, name, {}, 0)
    parameters = dict(module.named_parameters())
    for each in frozen if isinstance(frozen, list) else [frozen]:
        if not isinstance(each, str) or each not in parameters:
            raise _misfit(f"{name}.frozen", f"names {each!r}, which is no parameter")
        parameters[each].requires_grad_(False)
    return module


def _misfit(path: str, why: str) -> VaekitError:
    return VaekitError(f"the structure in config.json does not fit: {path[:80]} {why}.")


def _built(tree: Any, path: str, seen: dict[str, nn.Module], depth: int) -> nn.Module:
    """Build what `_node` wrote; `seen` are the parts before it, by their path."""

    def values(arguments: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
        if extra := [each for each in arguments if each not in known]:
            raise _misfit(path, f"is a {name}, which takes no '{extra[0][:60]}'")
        return {n: _value(each, f"{path}.{n}", seen, depth) for n, each in arguments.items()}

    if depth > DEEPEST:
        raise _misfit(path, f"is more than {DEEPEST} parts deep")
    match tree:
        case {"same": str(other)} if other in seen:
            return seen[other]
        case {"torch": str(name), "parts": dict(parts)} if name in HOLDERS:
            inner = {n: _built(each, f"{path}.{n}", seen, depth + 1) for n, each in parts.items()}
            content = list(inner.values()) if name == "ModuleList" else OrderedDict(inner)
            seen[path] = _call(HOLDERS[name], path, content)
        case {"torch": str(name), "arguments": dict(arguments)} if name in LAYERS:
            layer = LAYERS[name]
            options = values(arguments, _arguments(layer))
            if options.get("num_layers", 1) not in range(1, DEEPEST):
                raise _misfit(path, f"has {str(options['num_layers'])[:20]} layers")
            seen[path] = _call(layer, path, **options)
        case {"part": str(name), "arguments": dict(arguments)}:
            part = _part(name, path)
            signature = inspect.signature(part)
            options = values(arguments, signature.parameters)
            bound = inspect.BoundArguments(signature, OrderedDict(options))
            seen[path] = _call(lambda: part(*bound.args, **bound.kwargs), path)
        case _:
            shown = str(tree)[:60]
            raise _misfit(path, f"is neither a registered part nor a layer of torch: {shown}")
    return seen[path]


def _value(value: Any, path: str, seen: dict[str, nn.Module], depth: int) -> Any:
    """Return what `_plain` and `_argument` wrote."""
    if depth > DEEPEST:
        raise _misfit(path, f"is more than {DEEPEST} parts deep")
    match value:
        case list():
            return tuple(_value(each, path, seen, depth + 1) for each in value)
        case {"list": list(inner)}:
            return [_value(each, path, seen, depth + 1) for each in inner]
        case {"dict": dict(inner)}:
            return {n: _value(each, path, seen, depth + 1) for n, each in inner.items()}
        case dict():
            return _built(value, path, seen, depth + 1)
    return value


def _part(name: str, path: str) -> type[nn.Module]:
    """Return the class of a registered part."""
    kind, _, short = name.partition("/")
    try:
        part = find(kind, short) if kind in NAMED else None
    except VaekitError as error:
        mend = "if it is one of your own, import its file first"
        raise _misfit(path, f"names an {error} {mend}") from None
    if not (isinstance(part, type) and issubclass(part, nn.Module)):
        raise _misfit(path, f"names '{name[:60]}', which is no part of a model")
    return part


def _call(make: Callable[..., nn.Module], path: str, *args: Any, **kwargs: Any) -> nn.Module:
    try:
        return make(*args, **kwargs)
    except Exception as error:  # whatever a constructor says of arguments that are not its own
        why = str(error).partition("\n")[0][:300].rstrip(".")
        why = why if isinstance(error, VaekitError) else f"{type(error).__name__}: {why}"
        raise _misfit(path, f"cannot be made: {why}") from None
