"""The borders of vaekit: what a call finds of its arguments, and of the settings of torch."""

from __future__ import annotations

import errno
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch

from vaekit._arguments import checking, shown
from vaekit._io import out_of_memory
from vaekit._torchutil import lazy
from vaekit.errors import VaekitError

NUL = "embedded null byte"  # in the error of a path that has one
F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)


class _Float32:
    """float32 as torch's default while any thread is inside; the last to leave restores it."""

    def __init__(self) -> None:
        self.lock, self.inside, self.before = threading.Lock(), 0, torch.float32

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.before = torch.get_default_dtype()
                if self.before != torch.float32:
                    torch.set_default_dtype(torch.float32)
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside and self.before != torch.float32:
                torch.set_default_dtype(self.before)


_FLOAT32 = _Float32()


@contextmanager
def surroundings() -> Iterator[None]:
    """Let torch be as it is when it is imported; afterwards it is as the caller has set it.

    That is float32 and the CPU by default, gradients on, no inference mode, no autocast.

    Example:
        >>> with torch.inference_mode(), torch.device("meta"), surroundings():
        ...     (torch.ones(1, requires_grad=True) * 2).requires_grad
        True
    """
    with _FLOAT32, ExitStack() as settings:
        if torch.is_inference_mode_enabled():
            settings.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            settings.enter_context(torch.enable_grad())
        for kind in filter(torch.is_autocast_enabled, ("cpu", "cuda")):
            settings.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            settings.enter_context(torch.device("cpu"))
        yield


def _refuse_odd(x: torch.Tensor) -> None:
    """Refuse tensors that torch computes little with."""
    if x.is_meta:
        raise VaekitError(f"got {shown(x)} on the device meta, which has no numbers.")
    if x.is_nested or x.is_quantized or "float8" in str(x.dtype):
        kind = "nested" if x.is_nested else str(x.dtype).removeprefix("torch.")
        raise VaekitError(f"got a Tensor that is {kind}; expected plain numbers, as float32.")


def border(function: F) -> F:
    """Let a function check its arguments, and run in `surroundings`."""
    check = checking(function)

    @functools.wraps(function)
    def entered(*args: Any, **kwargs: Any) -> Any:
        check(args, kwargs)
        for value in (*args, *kwargs.values()):
            if isinstance(value, torch.Tensor):
                _refuse_odd(value)
        with surroundings():
            try:
                return function(*args, **kwargs)
            except (MemoryError, RuntimeError) as error:
                if (asked := out_of_memory(error)) is None:
                    raise
                mend = "ask for less at a time"
                raise VaekitError(f"memory ran out, at {asked} more: {mend}.") from error
            except (ValueError, OSError) as error:  # of paths
                long = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
                if not (long or isinstance(error, UnicodeEncodeError) or NUL in str(error)):
                    raise
                raise VaekitError(
                    f"got a path that no file can have: {str(error)[:99]}."
                ) from error

    return entered  # type: ignore[return-value]


def borders(part: C) -> C:
    """Let all public methods of a class do so, and what it computes once; return the class."""
    for name, member in vars(part).items():
        if isinstance(member, lazy):
            member.function = border(member.function)
        elif inspect.isfunction(member) and not name.startswith("_"):
            setattr(part, name, border(member))
    return part
