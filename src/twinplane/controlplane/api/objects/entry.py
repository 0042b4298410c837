"""One stored object as the cache keeps it: its bytes, and only those fields that selectors ask for."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from twinplane.controlplane.store.contract import Record
from twinplane.kubeclient.contract import Object

NO_LABELS: dict[str, str] = {}


class Facts(NamedTuple):
    """What is kept of an object besides its bytes."""

    uid: str
    labels: dict[str, str]
    fields: dict[str, str]


class Entry:
    """Immutable but for the parsed object, which is made when first asked for and then shared: never change it."""

    __slots__ = ("_object", "fields", "key", "labels", "name", "namespace", "revision", "uid", "value")

    def __init__(self, record: Record, namespace: str, name: str, facts: Facts, object: Object | None = None) -> None:
        """`object` where it is known already."""
        self.key = record.key
        self.namespace = namespace
        self.name = name
        self.value = record.value
        self.revision = record.revision
        self.uid, self.labels, self.fields = facts
        self._object = object

    @property
    def object(self) -> Object:
        if self._object is None:
            self._object = orjson.loads(self.value)
        return self._object

    def peek(self) -> Object:
        """As `object`, for one look at it: where it is not there it is not kept either."""
        if self._object is not None:
            return self._object
        return self.parsed()

    def let_go(self) -> None:
        """Of the parsed object: it is made again when somebody asks."""
        self._object = None

    def parsed(self) -> Object:
        """A fresh copy that the caller owns."""
        found: Object = orjson.loads(self.value)
        return found


class Change(NamedTuple):
    """One event of one object. `entry` is None for a delete, `previous` for a create."""

    revision: int
    entry: Entry | None
    previous: Entry | None

    @property
    def present(self) -> Entry:
        """The newest state there is: the last one before a delete."""
        found = self.entry or self.previous
        assert found is not None
        return found
