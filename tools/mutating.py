"""The operators of `tools/mutate.py`: what numerical code of this field gets wrong."""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass

REDUCED = {
    "mean": "sum", "sum": "mean", "amax": "amin", "amin": "amax", "max": "min", "min": "max",
    "std": "var", "var": "std", "argmax": "argmin", "argmin": "argmax", "any": "all",
    "all": "any", "floor": "ceil", "ceil": "floor", "prod": "sum", "median": "mean",
    "maximum": "minimum", "minimum": "maximum",
}  # fmt: skip
DROPPED = frozenset(
    "clamp clamp_ clip sqrt sqrt_ log log_ exp exp_ abs softplus relu log1p expm1 square sigmoid "  # noqa: SIM905
    "tanh logsigmoid logit softmax log_softmax round exp2 log2 sort sorted flip nan_to_num rsqrt "
    "cumsum lgamma digamma tril triu".split()
)
AXES = frozenset(
    "sum mean logsumexp amax amin prod cat stack flatten unsqueeze squeeze softmax log_softmax "  # noqa: SIM905
    "cumsum size split chunk unbind any all std var argmax argmin concatenate".split()
)
COMPARED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
SWAPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
WORDS = {"warning", "warn", "info", "debug", "print", "register", "say", "note", "VaekitError",
         "getLogger", "TypeVar", "cast", "Column", "isinstance", "hasattr", "getattr", "setattr",
         "offering", "exports", "frozenset"}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: whole lines before and after, and the lines of the function it stands in."""

    file: str
    source: str
    line: int
    old: str
    new: str
    span: tuple[int, int]
    operator: str = "named"

    @classmethod
    def of(
        cls, file: str, text: str, line: int, old: str, new: str, operator: str = "named"
    ) -> Mutant:
        """Return the text with `old`, which begins in `line`, replaced by `new`."""
        start = text.index(old, sum(map(len, text.splitlines(keepends=True)[: line - 1])))
        source = text[:start] + new + text[start + len(old) :]
        return cls(file, source, line, old, new, _span(ast.parse(text), line), operator)


def _span(tree: ast.AST, line: int) -> tuple[int, int]:
    """Return first and last line of the innermost function around a line; else of all."""
    best = (1, 10**9)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if node.body[0].lineno <= line <= (node.end_lineno or 0) and first >= best[0]:
                best = first, node.end_lineno or 0
    return best


def draw(texts: dict[str, str], chance: random.Random, count: int) -> list[Mutant]:
    """Draw mutants: an operator, then a place; one for a line. `texts` are sources by file."""
    pools: dict[str, list[tuple[str, ast.AST, ast.AST]]] = {}
    for file, text in texts.items():
        for operator, node, new in _sites(ast.parse(text)):
            if operator == "stopped" and file.split("/")[0] in ("data", "evaluate", "report"):
                continue  # there is no gradient
            pools.setdefault(operator, []).append((file, node, new))
    mutants: list[Mutant] = []
    taken: set[tuple[str, int]] = set()
    while len(mutants) < count and any(pools.values()):
        operator = chance.choice(sorted(name for name, pool in pools.items() if pool))
        file, node, new = pools[operator].pop(chance.randrange(len(pools[operator])))
        if (file, node.lineno) not in taken:  # type: ignore[attr-defined]
            mutants.append(_mutant(file, texts[file], operator, node, new))
            taken.add((file, node.lineno))  # type: ignore[attr-defined]
    return mutants


def _mutant(file: str, text: str, operator: str, node: ast.AST, new: ast.AST) -> Mutant:
    first, last = node.lineno, node.end_lineno  # type: ignore[attr-defined]
    lines = text.splitlines()
    old = "\n".join(lines[first - 1 : last])
    head = lines[first - 1].encode()[: node.col_offset].decode()  # type: ignore[attr-defined]
    tail = lines[last - 1].encode()[node.end_col_offset :].decode()  # type: ignore[attr-defined]
    written = ast.unparse(new)
    if isinstance(new, (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Lambda)):
        written = f"({written})"
    mutant = Mutant.of(file, text, first, old, head + written + tail, operator)
    compile(mutant.source, file, "exec")
    return mutant


def _sites(node: ast.AST, axis: bool = False) -> Iterator[tuple[str, ast.AST, ast.AST]]:
    """Yield operator, node and what takes its place; no texts, hints, refusals or imports."""
    if isinstance(node, (ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr, ast.Assert)):
        return
    if isinstance(node, ast.Call) and _name(node.func) in WORDS:
        return
    if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
        return
    if not axis:
        for operator, new in _changes(node):
            yield operator, node, new
    tests = [node.test] if isinstance(node, (ast.If, ast.IfExp, ast.While)) else []
    for test in tests + (node.ifs if isinstance(node, ast.comprehension) else []):
        yield "condition", test, ast.UnaryOp(ast.Not(), test)
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
        return
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _sites(child, axis=_axis(node, child))


def _name(node: ast.AST) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def _axis(node: ast.AST, child: ast.AST) -> bool:
    """Return whether a child names dims, which have an operator of their own."""
    if isinstance(node, ast.keyword):
        return node.arg in ("dim", "axis", "dims")
    args = node.args if isinstance(node, ast.Call) else []
    return child in args and _name(node.func) in AXES and _whole(child) is not None  # type: ignore[attr-defined]


def _whole(node: ast.AST) -> int | float | None:
    """Return the number that a node writes down, None for all else."""
    try:
        value = ast.literal_eval(node) if isinstance(node, (ast.Constant, ast.UnaryOp)) else None
    except ValueError:
        return None
    return value if type(value) in (int, float) else None


def _call(function: str, *args: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(function, ast.Load()), list(args), [])


def _with(node: ast.AST, **fields: object) -> ast.AST:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield operator and new node."""
    number = _whole(node)
    if number is not None:
        more = number + 1 if isinstance(number, int) else number * 1.1 or 0.1
        yield "constant", ast.Constant(more)
    elif isinstance(node, ast.BinOp):
        yield from _of_binary(node)
    elif isinstance(node, ast.AugAssign) and type(node.op) in SWAPPED:
        yield "sign", _with(node, op=SWAPPED[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield "sign" if isinstance(node.op, ast.USub) else "condition", node.operand
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        yield "bound", _with(node, ops=[COMPARED[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.BoolOp):
        yield "condition", _with(node, op=ast.And() if isinstance(node.op, ast.Or) else ast.Or())
    elif isinstance(node, ast.Call):
        yield from _of_call(node)


def _of_binary(node: ast.BinOp) -> Iterator[tuple[str, ast.AST]]:
    texts = (ast.JoinedStr, ast.List, ast.Tuple)
    sides = node.left, node.right
    if any(isinstance(s, texts) or isinstance(getattr(s, "value", None), str) for s in sides):
        return
    if any(_name(side) in ("needs", "offers") for side in sides):  # sets
        return
    if isinstance(node.op, (ast.Add, ast.Sub)):
        yield "sign", _with(node, op=SWAPPED[type(node.op)]())
        yield "term", node.left
        yield "term", node.right
    elif isinstance(node.op, (ast.Mult, ast.Div)):
        yield "factor", _with(node, op=SWAPPED[type(node.op)]())
        yield "factor", node.left
    elif isinstance(node.op, ast.Pow):
        yield "root", node.left


def _of_call(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    name, method = _name(node.func), isinstance(node.func, ast.Attribute)
    of = node.func.value if isinstance(node.func, ast.Attribute) else None
    library = _name(of) in ("torch", "np", "math", "F", "functional") if of is not None else True
    args = [arg for arg in node.args if not isinstance(arg, ast.Starred)]
    if name in REDUCED and (method or name in ("max", "min", "any", "all")):
        new = _with(node.func, **{"attr" if method else "id": REDUCED[name]})
        yield "reduced", _with(node, func=new)
    if name in ("mean", "sum", "logsumexp") and not library:
        words = [word.value for word in node.keywords if word.arg == "dim"]
        if [_whole(dim) for dim in [*node.args[:1], *words]] == [0]:
            yield "first", ast.Subscript(of, ast.Constant(0), ast.Load())  # type: ignore[arg-type]
        yield "stopped", ast.Call(ast.Attribute(node, "detach", ast.Load()), [], [])
    if name in DROPPED:
        yield "dropped", of if not library else node.args[0] if node.args else node  # type: ignore[misc]
    if name in ("detach", "no_grad", "inference_mode"):
        yield "let", of if name == "detach" else _call("torch.enable_grad")  # type: ignore[misc]
    if name in ("max", "min") and not method and len(args) == 2:
        yield "dropped", args[0]
        yield "dropped", args[1]
    plain = not args or isinstance(getattr(args[0], "value", None), str) or _name(args[0]) == "self"
    if len(args) >= 2 and len(args) == len(node.args) and not plain:
        yield "swap", _with(node, args=[args[1], args[0], *args[2:]])
    yield from _of_dims(node, name)


def _of_dims(node: ast.Call, name: str) -> Iterator[tuple[str, ast.AST]]:
    """Yield other dims, fewer of several, and flags turned."""
    for n, arg in enumerate(node.args):
        whole = _whole(arg)
        if name in AXES and isinstance(whole, int):
            new = ast.Constant(0 if whole else -1)
            yield "axis", _with(node, args=[*node.args[:n], new, *node.args[n + 1 :]])
        elif name in AXES and isinstance(arg, ast.Tuple) and len(arg.elts) > 1:
            fewer = ast.Tuple(arg.elts[1:], ast.Load())
            yield "axis", _with(node, args=[*node.args[:n], fewer, *node.args[n + 1 :]])
    for n, word in enumerate(node.keywords):
        whole, value = _whole(word.value), getattr(word.value, "value", None)
        if word.arg in ("dim", "axis") and isinstance(whole, int):
            other: ast.expr = ast.Constant(0 if whole else -1)
        elif isinstance(value, bool) and word.arg != "strict":
            other = ast.Constant(not value)
        else:
            continue
        words = [*node.keywords[:n], ast.keyword(word.arg, other), *node.keywords[n + 1 :]]
        yield "axis" if word.arg in ("dim", "axis") else "flag", _with(node, keywords=words)
