"""An attribute computed when it is first read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

__all__ = ["lazy"]

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801
    """A method read as an attribute, computed once per instance.

    Like `functools.cached_property`, without the lock that breaks `torch.compile` on Python 3.11.
    It works on frozen dataclasses, and a value put into the instance's `__dict__` beforehand wins.
    A value first read under `torch.no_grad()` stays without a gradient: detach it instead.

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
        self.name = function.__name__
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> lazy[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> lazy[T] | T:
        if instance is None:
            return self
        value = self.function(instance)
        instance.__dict__[self.name] = value
        return value
