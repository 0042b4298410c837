"""The store: keys to bytes, one revision for every change, watch from any kept revision.

The API server is its only caller. The meaning is etcd v3's (one global revision, compare-and-write, compaction), so the
embedded store and a real etcd cluster pass the same tests. The store knows nothing of Kubernetes; the one concession is
`Stamp`: an object must carry the revision that only the store can assign, so the caller hands over a function that puts
a revision into encoded bytes, and every value that comes out is stamped. Bytes are then encoded once and shared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

Stamp = Callable[[bytes, int], bytes]
"""Encoded value and the revision it was written at -> the value as readers see it."""


class Record(NamedTuple):
    key: str
    value: bytes
    revision: int
    """The revision of the last write (etcd's mod_revision)."""
    create_revision: int


class Event(NamedTuple):
    """One change. `record` is None for a delete; `previous` is None for a create."""

    key: str
    revision: int
    record: Record | None
    previous: Record | None


class Page(NamedTuple):
    records: list[Record]
    revision: int
    """The revision at which the page was read: the one asked for, or the current one."""
    remaining: int
    """How many records of the prefix come after the last one of the page."""


class Horizon(NamedTuple):
    """No change of this store lies above `changed` and up to `revision`, which is the newest one of all."""

    changed: int
    revision: int


class Store(Protocol):
    @property
    def revision(self) -> int:
        """Of the last change that was acknowledged."""
        ...

    @property
    def compacted_revision(self) -> int:
        """Reads and watches below this are refused with `Compacted`."""
        ...

    async def horizon(self) -> Horizon:
        """As of a moment after the call began, and asked where all writers meet: replicas may share a store."""
        ...

    async def get(self, key: str) -> Record | None: ...

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Records under `prefix` in key order, those with key > `after`, at a kept `revision` (0: now).

        Raises `Compacted` for a revision that is gone and `FutureRevision` for one that is not there yet.
        """
        ...

    async def create(self, key: str, value: bytes) -> Record:
        """Durable when it returns. Raises `KeyExists`."""
        ...

    async def update(self, key: str, value: bytes, expected_revision: int) -> Record:
        """Durable when it returns. Raises `RevisionConflict` when the key is gone or at another revision."""
        ...

    async def delete(self, key: str, expected_revision: int) -> Event:
        """Durable when it returns. Raises `RevisionConflict`, as `update`."""
        ...

    def watch(self, prefix: str, after_revision: int) -> AbstractAsyncContextManager[AsyncIterator[list[Event]]]:
        """Every event under `prefix` with a revision above `after_revision`, in order, in batches, none twice.

        Entering raises `Compacted`. Events are durable before they are seen. A reader that falls further behind than
        the store keeps gets `Compacted` from the iterator.
        """
        ...

    async def compact(self, revision: int) -> None: ...

    async def close(self) -> None: ...


class StoreError(Exception):
    """A refusal with a meaning; anything else that escapes a store is a failure of the store."""


class KeyExists(StoreError):
    def __init__(self, record: Record | None) -> None:
        super().__init__("key exists")
        self.record = record


class RevisionConflict(StoreError):
    """`record` is what is there now, None when the key is gone."""

    def __init__(self, record: Record | None) -> None:
        super().__init__("revision conflict")
        self.record = record


class Compacted(StoreError):
    def __init__(self, compacted_revision: int) -> None:
        super().__init__(f"revision compacted: {compacted_revision}")
        self.compacted_revision = compacted_revision


class FutureRevision(StoreError):
    def __init__(self, current: int) -> None:
        super().__init__(f"revision is in the future; current is {current}")
        self.current = current


class StoreUnavailable(StoreError):
    """It did not answer in time; nothing was done."""


class OutcomeUnknown(StoreError):
    """The store was lost while it was writing: it may be done or not, and the caller must look."""


class StorageFull(StoreError):
    """The disk refused the write; nothing was acknowledged and nothing changed."""
