"""What a controller made of objects that informers hold, for as long as they hold those very objects.

A Service with a thousand pods is looked at again when one of them changes; what the others add to its endpoints is as
before. Objects of informers are never changed in place, so the same object gives the same result.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from twinplane.controlplane.controllers.contract import Key
from twinplane.kubeclient.contract import Object

T = TypeVar("T")
OBJECTS_MAX = 50_000
"""Of all keys together; the keys that were asked for last stay."""


class Remembered(Generic[T]):
    def __init__(self) -> None:
        self._known: OrderedDict[Key, tuple[Object, dict[int, tuple[Object, T]]]] = OrderedDict()
        self._size = 0

    def of(self, key: Key, basis: Object, bodies: Iterable[Object], make: Callable[[Object], T]) -> list[T]:
        """`make` of each body, in their order. All else that `make` reads is `basis`, or calls for `forget`."""
        known_basis, before = self._known.pop(key, (basis, {}))
        self._size -= len(before)
        if known_basis is not basis:
            before = {}
        found: dict[int, tuple[Object, T]] = {}
        for body in bodies:
            # An entry holds its object, so nobody else can have the identity.
            found[id(body)] = before.get(id(body)) or (body, make(body))
        self._known[key] = basis, found
        self._size += len(found)
        while self._size > OBJECTS_MAX and len(self._known) > 1:
            _, (_, oldest) = self._known.popitem(last=False)
            self._size -= len(oldest)
        return [made for _, made in found.values()]

    def count(self, key: Key) -> int:
        """Objects of the key when it was last asked for."""
        known = self._known.get(key)
        return 0 if known is None else len(known[1])

    def forget(self, key: Key) -> None:
        _, found = self._known.pop(key, (None, {}))
        self._size -= len(found)
