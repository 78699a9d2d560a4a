"""Run folders with one fault each, drawn from a seed, and the commands that read them.

A fault is a value of a record that is replaced or removed, a line that is damaged, a tensor that is
another one, a bit that fell over, or something else in the place of a file.
"""

from __future__ import annotations

import io
import json
import math
import os
import random
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load

from vaekit._safetensors import safetensors_bytes
from vaekit.cli.main import main

DEEP = "@deep@"  # in a tree: what is nested a hundred thousand times in the file
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0.5, 10**9, 2**70, math.inf, math.nan, "", "x", "../..", [], {}, [[1], 2]),
    *({"a": {"b": 1}}, [1, 10**5, 10**5], [math.nan] * 3, DEEP),
)
JSON = ("config.json", "run.json", "evaluation.json")
BEST, LAST = "checkpoints/best.safetensors", "checkpoints/last.safetensors"
WEIGHTS = (BEST, LAST, LAST, "model.safetensors", "fitted.safetensors")
FILES = (*JSON, "metrics.jsonl", *WEIGHTS, "checkpoints/.lock", "snapshots", "imports")
QUICK = "--latent 2 --net mlp:hidden=4 --epochs 1 --limit 60 --quiet --no-report"
COMMANDS = {
    "runs": "runs {}/..",
    "info": "info {}",
    "evaluate": "evaluate {} --limit 9",
    "sample": "sample {} -n 2 -o {}.png",
    "reconstruct": "reconstruct {} -n 2 -o {}-r.png",
    "encode": "encode {} -o {}.csv",
    "traverse": "traverse {} -o {}-t.png",
    "save": "save {} {}.saved --overwrite",
    "animate": "animate {} -o {}.gif",
    "report": "report {}",
    "compare": "compare {} {}/../good --limit 9 -o {}.html",
    "resume": "train --resume {} --epochs 2 --quiet --lang en",
}


def paths_of(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Each place in a tree of dicts and lists, inner ones included."""
    inner = tree if isinstance(tree, dict) else dict(enumerate(tree if type(tree) is list else ()))
    for key, value in inner.items():
        yield (*path, key)
        yield from paths_of(value, (*path, key))


def changed(tree: Any, draw: random.Random) -> str:
    """Change one place of a tree; return what was done."""
    *down, last = draw.choice(list(paths_of(tree)))
    inner = tree
    for key in down:
        inner = inner[key]
    where = ".".join(map(str, (*down, last)))
    how = draw.choice(("replaced", "replaced", "replaced", "removed", "nested"))
    if how == "removed":
        del inner[last]
        return f"{where} removed"
    value = [inner[last]] if how == "nested" else draw.choice(VALUES)
    inner[last] = value
    return f"{where} = {str(value)[:60]}"


def text_of(tree: Any) -> bytes:
    """A tree as JSON, as deep as it asks for."""
    deep = "[" * 100_000 + "]" * 100_000
    return json.dumps(tree).replace(f'"{DEEP}"', deep).encode()


def in_json(run: Path, draw: random.Random) -> str:
    """A place of a record."""
    name = draw.choice(JSON)
    tree = json.loads((run / name).read_bytes())
    what = changed(tree, draw)
    (run / name).write_bytes(text_of(tree))
    return f"{name}: {what}"


def in_line(run: Path, draw: random.Random) -> str:
    """A place of a line of metrics.jsonl, or the line itself."""
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    number = draw.randrange(len(lines))
    if draw.random() < 0.8:
        record = json.loads(lines[number])
        what = changed(record, draw)
        lines[number] = text_of(record)
    else:
        what = draw.choice(("[]", "3", "null", '{"epoch": 1}', "{}", "[" * 100_000, "\0\0", "{"))
        lines[number] = what.encode()
    path.write_bytes(b"\n".join(lines) + b"\n")
    return f"metrics.jsonl, line {number + 1}: {what[:60]}"


def in_whole(run: Path, draw: random.Random) -> str:
    """A text file as a whole."""
    name = draw.choice((*JSON, "metrics.jsonl"))
    content = (run / name).read_bytes()
    made: dict[str, bytes] = {
        "cut": content[: draw.randrange(len(content))],
        "deep": text_of(DEEP),
        "a list": b"[1, [2]]",
        "a number": b"7",
        "no text": b"\xff\xfe\x00" + content,
        "twice": content + content,
    }
    what = draw.choice(list(made))
    (run / name).write_bytes(made[what])
    return f"{name}: {what}"


def flipped(path: Path, draw: random.Random) -> str:
    """Flip a bit of a file's tensors; the file has no other fault."""
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    place = draw.randrange(start, len(content))
    content[place] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    return f"{path.name}: a bit of byte {place} flipped"


def in_bit(run: Path, draw: random.Random) -> str:
    """A bit of a file of weights, and sometimes of its head."""
    path = run / draw.choice(WEIGHTS)
    if draw.random() < 0.7:
        return flipped(path, draw)
    content = bytearray(path.read_bytes())
    place = draw.randrange(len(content))
    content[place] ^= 1 << draw.randrange(8)
    path.write_bytes(content[: draw.choice((len(content), place))])
    return f"{path.name}: bit or end at byte {place}"


def forged(name: str, value: torch.Tensor, draw: random.Random) -> dict[str, torch.Tensor]:
    """Tensors in the place of one, by their names: none, another shape or type, no number."""
    float_ = value.float() if value.dtype != torch.uint8 else value
    made: tuple[dict[str, torch.Tensor], ...] = (
        {},
        {f"{name}x": value},
        {name: value, f"{name}x": value.clone()},
        {name: value.flatten()[:-1].clone()},
        {name: value[None].clone()},
        {name: value.to(torch.int64)},
        {name: value.to(torch.complex64)},
        {name: value.to(torch.bool)},
        {name: value.double()},
        {name: torch.full_like(float_, math.nan) if float_.is_floating_point() else value[:0]},
        {name: torch.full_like(float_, math.inf) if float_.is_floating_point() else value[:1]},
        {name: torch.zeros(0, 10**9)},
    )
    return draw.choice(made)


def in_tensor(run: Path, draw: random.Random) -> str:
    """A tensor of a file of weights, whose checksum is right."""
    path = run / draw.choice(WEIGHTS)
    content = path.read_bytes()
    tensors, known = load(content), metadata_of(content)
    name = draw.choice(sorted(tensors))
    new = forged(name, tensors.pop(name), draw)
    path.write_bytes(safetensors_bytes(tensors | new, known))
    shapes = {n: f"{v.dtype} {tuple(v.shape)}" for n, v in new.items()}
    return f"{path.name}: {name} is {shapes}"


def in_state(run: Path, draw: random.Random) -> str:
    """What a checkpoint says of its tensors, or a saved model of its weights."""
    path = run / draw.choice(WEIGHTS)
    content = path.read_bytes()
    tensors, known = load(content), metadata_of(content)
    if "state" in known and draw.random() < 0.9:
        tree = json.loads(known["state"])
        what = changed(tree, draw)
        known["state"] = text_of(tree).decode()
    else:
        what = draw.choice(sorted(known))
        known[what] = draw.choice(("", "x", "[]", "NaN", "{}", "-1", "9" * 5000))
    path.write_bytes(safetensors_bytes(tensors, known))
    return f"{path.name}: {what}"


def metadata_of(content: bytes) -> dict[str, str]:
    """The metadata of a .safetensors file."""
    size = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + size])["__metadata__"]
    return {name: value for name, value in found.items() if name != "checksum"}


def in_place(run: Path, draw: random.Random) -> str:
    """Something else where a file was."""
    path = run / draw.choice(FILES)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    what = draw.choice(("nothing", "a folder", "a fifo", "a dead link", "a loop", "a file"))
    match what:
        case "a folder":
            path.mkdir()
        case "a fifo":
            os.mkfifo(path)
        case "a dead link":
            path.symlink_to("gone/away")
        case "a loop":
            path.symlink_to(path.name)
        case "a file":
            path.write_bytes(b"x")
    return f"{path.name} is {what}"


KINDS: dict[Callable[[Path, random.Random], str], int] = {
    in_json: 6,
    in_line: 4,
    in_whole: 2,
    in_bit: 2,
    in_tensor: 4,
    in_state: 5,
    in_place: 2,
}


def damage(run: Path, seed: int) -> str:
    """Put one fault into a run folder; return what it is."""
    draw = random.Random(seed)
    (kind,) = draw.choices(list(KINDS), list(KINDS.values()))
    return kind(run, draw)


def train(path: Path) -> Path:
    """Train a tiny run, with all that a run folder can have."""
    said(f"train vae --out {path} {QUICK} --ema 0.9")
    said(f"evaluate {path} --limit 9 latent")
    said(f"report {path}")
    return path


def said(command: str) -> tuple[int, str, str]:
    """Run a command; return its code, what it printed, and what it said on standard error."""
    out, error, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(error):
        try:
            main(command.split())
        except SystemExit as left:
            code = int(left.code or 0)
    return code, out.getvalue(), error.getvalue()


def wrong(command: str) -> str:
    """Return what is wrong with a command's answer: all but success, or one line and code 2."""
    return answered(command)[1]


def answered(command: str) -> tuple[int, str, str]:
    """Return the code of a command, what is wrong with its answer, and its error line."""
    try:
        code, _, error = said(command)
    except Exception as crash:
        at = crash.__traceback__
        while at is not None and at.tb_next is not None:
            at = at.tb_next
        place = "" if at is None else f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}"
        return 1, f"{type(crash).__name__}: {str(crash)[:150]} at {place[-50:]}", ""
    lines = [line for line in error.splitlines() if ": note: " not in line]
    if code == 0 and not lines:
        return 0, "", ""
    good = code == 2 and len(lines) == 1 and lines[0].startswith("vaekit: ")
    fits = good and len(lines[0]) < 1000
    return code, "" if fits else f"code {code}, {error[:300]!r}", lines[0] if lines else ""


def checked(
    seed: int, good: Path, place: Path, commands: Collection[str] = tuple(COMMANDS)
) -> Iterator[str]:
    """Put a fault into a copy of a run; yield what is wrong with the answers of these commands."""
    for name in ("run", "good"):
        shutil.copytree(good, place / name)
    fault = damage(place / "run", seed)
    for name in commands:
        if bad := wrong(COMMANDS[name].replace("{}", str(place / "run"))):
            yield f"{seed}: {fault}: {name}: {bad}"
    if "runs" in commands and '"name": "good"' not in said(f"runs {place} --json")[1]:
        yield f"{seed}: {fault}: the other run is hidden"
