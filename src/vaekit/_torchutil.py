"""What every room asks of torch: random state, modes, devices, threads, memory, states in files."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import torch
from torch import Tensor, nn

from vaekit._io import parsed, write
from vaekit._safetensors import MEND, read_tensors, safetensors_pieces
from vaekit.errors import VaekitError

T = TypeVar("T")
R = TypeVar("R")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # mallopt(3)
TRIM_AT, MMAP_AT = 1 << 30, 32 << 20  # bytes; glibc takes no larger MMAP_THRESHOLD
CPUINFO = Path("/proc/cpuinfo")
BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one of ARM


class lazy(Generic[T]):  # noqa: N801
    """A method read as an attribute, computed once per instance.

    Like `functools.cached_property`, without the lock that breaks `torch.compile` on Python 3.11.
    It works on frozen dataclasses, and a value put into the instance's `__dict__` beforehand wins.
    A value first read under `torch.no_grad()` has no gradient, and is kept for such reads alone.

    Example:
        >>> class Square:
        ...     side = 3
        ...     @lazy
        ...     def area(self):
        ...         print("computed")
        ...         return self.side**2
        >>> square = Square()
        >>> square.area + square.area
        computed
        18
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.name, self.still = function.__name__, f"_{function.__name__}_without_gradient"
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> lazy[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> lazy[T] | T:
        if instance is None:
            return self
        name, known = self.name if torch.is_grad_enabled() else self.still, instance.__dict__
        if name not in known:
            known[name] = self.function(instance)
        value: T = known[name]
        return value


def find_device(name: str) -> torch.device:
    """Return the device of this name; "auto" is the first accelerator, else the CPU.

    Raises:
        VaekitError: for a name that torch does not know, or a device that is absent.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # the device meta has no numbers
    except (RuntimeError, AssertionError, NotImplementedError):
        raise VaekitError(
            f"there is no device '{name}' here: take `device=auto` or `device=cpu`."
        ) from None
    return device


def refuse_bf16(precision: str, device: torch.device) -> None:
    """Refuse bfloat16 on a processor that is known to have no instructions for it.

    Raises:
        VaekitError: for the precision "bf16"; "bf16!" insists.
    """
    if precision != "bf16" or device.type != "cpu":
        return
    with suppress(OSError):
        if not BF16.intersection(CPUINFO.read_text().split()):
            raise VaekitError(
                "got `precision=bf16`; this processor has no instructions for it (avx512_bf16, "
                "amx_bf16), and a step would take about ten times as long: leave it, or insist by "
                "`precision=bf16!`."
            )


class _Turns:
    """Who may draw from torch's random state, which all threads share: one, in order of coming."""

    def __init__(self) -> None:
        self.changed, self.depth = threading.Condition(), 0
        self.threads: deque[int] = deque()  # the first one has it
        self.outside: Any = None  # the state that it puts back at the end

    @property
    def mine(self) -> bool:
        """Return whether it is this thread's turn."""
        return bool(self.threads) and self.threads[0] == threading.get_ident()

    def take(self) -> None:
        """Wait for this thread's turn, which may be taken again within it."""
        with self.changed:
            if not self.mine:
                self.threads.append(threading.get_ident())
                try:
                    self.changed.wait_for(lambda: self.mine)
                except BaseException:
                    self.threads.remove(threading.get_ident())
                    self.changed.notify_all()
                    raise
            self.depth += 1

    def leave(self) -> None:
        """End what `take` began."""
        with self.changed:
            self.depth -= 1
            if not self.depth:
                self.threads.popleft()
                self.changed.notify_all()


_turns = _Turns()
if hasattr(os, "register_at_fork"):  # the other threads are not in the child
    os.register_at_fork(after_in_child=_turns.__init__)  # type: ignore[misc]


def _random_state(device: torch.device) -> tuple[Any, ...]:
    """Return the random state of CPU and device, and how many threads an operation has."""
    which = () if device.type == "mps" else (device,)  # which has one alone
    there = () if device.type == "cpu" else (getattr(torch, device.type).get_rng_state(*which),)
    return torch.get_rng_state(), there, device, torch.get_num_threads()


def _set_random_state(state: tuple[Any, ...]) -> None:
    cpu, there, device, threads = state
    torch.set_rng_state(cpu)
    for value in there:
        which = () if device.type == "mps" else (device,)
        getattr(torch, device.type).set_rng_state(value, *which)
    torch.set_num_threads(threads)


@contextmanager
def rng(
    seed: int, device: torch.device | str = "cpu", threads: int | None = None
) -> Iterator[None]:
    """Seed the global random state and set the threads, one a core at most; restore both.

    One thread at a time has the state for itself; the others wait, till it ends or gives way
    (`give_way`). A thread in here must not wait for one that wants to enter.

    Raises:
        VaekitError: for a seed below 0 or from 2**63 on.

    Example:
        >>> with rng(0):
        ...     first = torch.rand(3)
        >>> with rng(0):
        ...     torch.equal(torch.rand(3), first)
        True
    """
    if not 0 <= seed < 1 << 63:
        raise VaekitError(f"got `seed={seed}`; expected 0 to 2**63 - 1.")
    device = torch.device(device)
    places: list[Any] = ["cpu", *([] if device.type == "cpu" else [device])]
    _turns.take()
    try:
        before = _random_state(device)
        outermost = _turns.depth == 1
        _turns.outside = before if outermost else _turns.outside
        try:
            seeded = [torch.Generator(each).manual_seed(seed).get_state() for each in places]
            threads = torch.get_num_threads() if threads is None else min(threads, cores())
            _set_random_state((seeded[0], seeded[1:], device, threads))
            yield
        finally:
            _set_random_state(_turns.outside if outermost else before)
    finally:
        _turns.leave()


def waited_for() -> bool:
    """Return whether other threads wait in `rng` for this one."""
    return len(_turns.threads) > 1 and _turns.mine


def give_way() -> None:
    """Let the threads that wait in `rng` go first, and go on as if there had been none.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> def draw(seed):
        ...     with rng(seed):
        ...         first = torch.rand(2)
        ...         give_way()
        ...         return torch.cat([first, torch.rand(2)])
        >>> with ThreadPoolExecutor(4) as pool:
        ...     drawn = list(pool.map(draw, [7] * 40))
        >>> all(torch.equal(each, draw(7)) for each in drawn)
        True
    """
    if not waited_for():
        return
    inside, depth = _random_state(_turns.outside[2]), _turns.depth
    _set_random_state(_turns.outside)
    _turns.depth = 1
    _turns.leave()
    _turns.take()
    _turns.outside, _turns.depth = _random_state(inside[2]), depth
    _set_random_state(inside)


@contextmanager
def evaluating(*parts: nn.Module, gradients: bool = False) -> Iterator[None]:
    """Put the parts in eval mode, by default without gradients; afterwards they are as before."""
    modes = [(module, module.training) for part in parts for module in part.modules()]
    for part in parts:
        part.eval()
    try:
        with torch.set_grad_enabled(gradients):
            yield
    finally:
        for module, training in modes:
            module.training = training


def misfit(state: Any, module: nn.Module) -> str | None:
    """Return in what a state of weights is not one of this module; None where it is one.

    Example:
        >>> misfit({"weight": torch.ones(1, 2), "bias": torch.ones(1)}, nn.Linear(3, 1))
        'weight is (1, 2); expected (1, 3)'
    """
    known = module.state_dict()
    if not isinstance(state, dict):
        return f"it is a {type(state).__name__}"
    for name in sorted(state.keys() ^ known.keys(), key=str):
        return f"{name} is {'unknown' if name in state else 'missing'}"
    for name, value in state.items():
        if not isinstance(value, Tensor):
            return f"{name} is a {type(value).__name__}"
        if value.shape != known[name].shape:
            return f"{name} is {tuple(value.shape)}; expected {tuple(known[name].shape)}"
        if value.is_floating_point() != known[name].is_floating_point():
            return f"{name} is of {value.dtype}; expected {known[name].dtype}"
    return None


def lost_weight(state: Mapping[str, Tensor], module: nn.Module) -> str | None:
    """Return which of these weights are no numbers any more; None where all are.

    Those of the module may be infinite where they are new, as a mask is.

    Example:
        >>> lost_weight({"weight": torch.tensor([[1.0, torch.nan]])}, nn.Linear(2, 1, bias=False))
        'weight has NaN or infinite numbers, in 1 of 2 values'
    """
    known = module.state_dict()
    for name, value in state.items():
        if value.is_floating_point() and value.numel() and torch.add(*value.aminmax()).isfinite():
            continue  # without memory for each value; a sum of numbers may be too large for one
        lost = ~value.isfinite() & known[name].isfinite().to(value.device)
        if count := int(lost.sum()):
            return f"{name} has NaN or infinite numbers, in {count} of {value.numel()} values"
    return None


def wide(value: Tensor) -> Tensor:
    """Return it in float64, or the widest type that the device has."""
    return value.float() if value.device.type == "mps" else value.double()


class Moments:
    """Mean and variance (1/N) over rows that come in batches, by Chan's merge: nothing cancels.

    Example:
        >>> moments = Moments()
        >>> x = 1e9 + torch.tensor([[0.0], [1.0], [2.0], [5.0]], dtype=torch.float64)
        >>> moments.add(x[:3])
        >>> moments.add(x[3:])
        >>> moments.mean.tolist(), moments.variance.tolist()
        ([1000000002.0], [3.5])
    """

    def __init__(self) -> None:
        self.rows = 0
        self.mean = self.squares = torch.zeros(())

    def add(self, values: Tensor) -> None:
        """Add rows `(B, ...)`."""
        count, mean = len(values), values.mean(0)
        squares = (values - mean).square().sum(0)
        if not self.rows:
            self.rows, self.mean, self.squares = count, mean, squares
            return
        total, step = self.rows + count, mean - self.mean
        self.mean = self.mean + step * (count / total)
        self.squares = self.squares + squares + step.square() * (self.rows * count / total)
        self.rows = total

    @property
    def variance(self) -> Tensor:
        """Return the variance of each column."""
        return self.squares / max(self.rows, 1)


def ranks() -> int:
    """Return how many processes train together."""
    spread = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if spread else 1


def over_ranks(value: Tensor) -> Tensor:
    """Return the sum over all processes that train together, in place."""
    if ranks() > 1:
        torch.distributed.all_reduce(value)
    return value


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_order(
    work: Callable[[T], R],
    items: Iterable[T],
    threads: int,
    *,
    ahead: int = 1,
    alone: bool = False,
) -> Iterator[R]:
    """Return `work(item)` of each item, in order, without gradients, on so many threads.

    Items are taken one by one in the calling thread, so that what they draw is the same for any
    number of threads; at most `ahead` more than there are threads are held.

    Args:
        work: what is done.
        items: what it is done with.
        threads: 1 works in the calling thread.
        ahead: how far the threads may run ahead of what is taken.
        alone: whether torch has one thread for each operation meanwhile: the threads of one
            operation wait for each other, and here each thread has an item of its own.

    Example:
        >>> list(in_order(lambda n: n * n, range(5), 2))
        [0, 1, 4, 9, 16]
    """

    @torch.no_grad()  # gradients are switched off for each thread by itself
    def quiet(item: T) -> R:
        return work(item)

    if threads == 1:
        yield from map(quiet, items)
        return
    waiting: deque[Future[R]] = deque()
    before = torch.get_num_threads()
    options: dict[str, Any] = {"initializer": torch.set_num_threads, "initargs": (1,)}
    pool = ThreadPoolExecutor(threads, **(options if alone else {}))
    try:
        if alone:
            torch.set_num_threads(1)  # here too, where the others of torch would wait by spinning
        for item in items:
            waiting.append(pool.submit(quiet, item))
            if len(waiting) > threads + ahead - 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def in_blocks(work: Callable[[range], R], total: int, block: int) -> Iterator[R]:
    """Yield `work(rows)` for blocks of `range(total)`, in order, with a thread for each core.

    They are at most two blocks for each thread ahead, so what is not yet taken stays small.

    Example:
        >>> list(in_blocks(list, 5, block=2))
        [[0, 1], [2, 3], [4]]
    """
    threads = min(cores(), 32)
    blocks = (range(start, min(start + block, total)) for start in range(0, total, block))
    return in_order(work, blocks, threads, ahead=threads + 1)


def keep_memory() -> bool:
    """Let the process keep the memory that it frees, for its next step; return whether it could.

    A step frees its activations and the next one asks for as much: glibc's malloc gives blocks
    back to the system in between, and each page costs a fault when it comes again. Blocks up to
    32 MiB now come from the heap, which shrinks only when 1 GiB at its end is free. The memory of
    the process does not go below its peak by more than that: this holds for the whole process, so
    that the command line and `vaekit.train` call it, and `fit` does not. Other allocators are left
    as they are, and so is this one where the environment has VAEKIT_KEEP_MEMORY=0.

    Example:
        >>> kept = keep_memory()
    """
    linux = sys.platform == "linux" and os.environ.get("VAEKIT_KEEP_MEMORY") != "0"
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if linux else None  # musl has none
    return bool(mallopt and mallopt(MMAP_THRESHOLD, MMAP_AT) and mallopt(TRIM_THRESHOLD, TRIM_AT))


TENSOR, DICT, LIST, TUPLE = "tensor", "dict", "list", "tuple"


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return `value` as JSON, with its tensors put into `tensors` and replaced by their names."""
    if isinstance(value, Tensor):
        name = f"{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous()
        return {TENSOR: name}
    if isinstance(value, dict):
        return {DICT: [[k, _pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = TUPLE if isinstance(value, tuple) else LIST
        return {kind: [_pack(v, tensors) for v in value]}
    return value


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == TENSOR:
        return tensors[inner]
    if kind == DICT:
        return {k: _unpack(v, tensors) for k, v in inner}
    values = [_unpack(v, tensors) for v in inner]
    return tuple(values) if kind == TUPLE else values


def save_state(path: Path, state: dict[str, Any], mend: str = "") -> None:
    """Write nested dicts, lists, numbers, strings and tensors; see `load_state`.

    Raises:
        VaekitError: where it cannot be written; an older checkpoint is left as it was.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = json.dumps(_pack(state, tensors))
    if len({each.untyped_storage().data_ptr() for each in tensors.values()}) < len(tensors):
        tensors = {name: each.clone() for name, each in tensors.items()}  # some share memory
    pieces = safetensors_pieces(tensors, {"state": skeleton})
    write(path, lambda: pieces, mend)


def load_state(path: Path) -> dict[str, Any]:
    """Return what `save_state` wrote, on the CPU. Nothing is unpickled.

    Raises:
        VaekitError: where the file is missing, truncated, damaged, or no checkpoint.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "x.safetensors"
        ...     save_state(path, {"step": 3, "weights": {0: torch.ones(2)}})
        ...     load_state(path)
        {'step': 3, 'weights': {0: tensor([1., 1.])}}
    """
    if not path.is_file():
        raise VaekitError(f"there is no checkpoint {path}: restore it, or train again.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise VaekitError(f"cannot read {path}: {error.strerror}.") from error
    tensors, metadata = read_tensors(content, path)
    try:
        state = _unpack(parsed(metadata["state"]), tensors)
        if not isinstance(state, dict):
            raise TypeError
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        why = type(error).__name__
        raise VaekitError(f"{path} is no checkpoint of vaekit ({why}): {MEND}") from None
    return state
