"""How long a coroutine computes, without the time it waits: what a reconcile costs the process."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Timed(Generic[T]):
    """`await Timed(coroutine, timer)` is `await coroutine`; `seconds` then says how long it ran.

    Tasks that it started apart (`gather`) are not counted.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], timer: Callable[[], float]) -> None:
        self._coroutine = coroutine
        self._timer = timer
        self.seconds = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        step: Callable[[Any], Any] = self._coroutine.send
        argument: Any = None
        while True:
            started = self._timer()
            try:
                awaited = step(argument)
            except StopIteration as stop:
                result: T = stop.value
                return result
            finally:
                self.seconds += self._timer() - started
            try:
                argument = yield awaited
                step = self._coroutine.send
            except BaseException as error:  # noqa: BLE001 - handed on to the coroutine, which decides
                argument = error
                step = self._coroutine.throw
