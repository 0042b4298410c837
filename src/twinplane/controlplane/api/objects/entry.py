"""One stored object as the cache keeps it: its bytes, and only those fields that selectors ask for."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from twinplane.controlplane.store.contract import Record
from twinplane.kubeclient.contract import Object

_NONE: dict[str, str] = {}


class Entry:
    """Immutable but for the parsed object, which is made when first asked for and then shared: never change it."""

    __slots__ = ("_object", "fields", "key", "labels", "name", "namespace", "revision", "uid", "value")

    def __init__(self, record: Record, namespace: str, name: str, parsed: Object, fields: dict[str, str]) -> None:
        metadata: dict[str, Any] = parsed["metadata"]
        self.key = record.key
        self.namespace = namespace
        self.name = name
        self.value = record.value
        self.revision = record.revision
        self.uid: str = metadata.get("uid", "")
        self.labels: dict[str, str] = metadata.get("labels") or _NONE
        self.fields = fields
        self._object: Object | None = None

    @property
    def object(self) -> Object:
        if self._object is None:
            self._object = orjson.loads(self.value)
        return self._object

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
