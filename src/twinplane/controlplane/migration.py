"""Moving a cluster's objects between the embedded store and etcd while its control plane does not run.

The source is only read. The copy is made whole, read back and compared, and counts only after that; what an interrupted
run has left is recognised and made again. resourceVersions go on above all that clients have seen; a watch or list of
before the move is answered with 410 Expired, so clients list again, as they do after any compaction.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from twinplane.controlplane.api.encoding import stamp
from twinplane.controlplane.store.contract import Event, Record, StoreError
from twinplane.controlplane.store.etcd.configuration import EtcdConfiguration
from twinplane.controlplane.store.etcd.maintenance import Keys
from twinplane.controlplane.store.etcd.origin import Origin
from twinplane.controlplane.store.etcd.store import EtcdStore
from twinplane.controlplane.store.log import SqliteLog

BATCH = 1_000
COUNTER_KEY = "/moved"
"""A deleted key of the embedded store: its row carries the revision that counting goes on from."""

Progress = Callable[[int, int], None]
"""(records copied, records in all)"""


class TargetNotEmpty(StoreError):
    """Objects are there that no interrupted move has left."""


class CopyDiffers(StoreError):
    """What was read back is not what was written; the source is as it was and stays in use."""


@dataclass(frozen=True, slots=True)
class Moved:
    records: int
    revision: int
    """The newest one of the source; the target counts on above it."""


async def to_etcd(source: Path, target: EtcdConfiguration, progress: Progress) -> Moved:
    """Raises `StoreError` (`UnusableDatabase` for a file that a control plane still has) and OSError."""
    records, revision = _load(source)
    keys = Keys(target)
    try:
        await _make_empty(keys)
        before = await keys.revision()
        await keys.begin()
        done = 0
        for batch in _batches(records):
            await keys.put([(record.key, unstamped(record)) for record in batch])
            done += len(batch)
            progress(done, len(records))
        offset = max(0, revision + 1 - before)
        await _compare(target, {record.key: unstamped(record) for record in records})
        await keys.finish(Origin(offset, await keys.revision() + 1 + offset))
    finally:
        await keys.close()
    return Moved(len(records), revision)


async def to_embedded(source: EtcdConfiguration, target: Path, progress: Progress) -> Moved:
    """The file appears at `target` when it is complete. Raises `StoreError` and OSError."""
    store = await EtcdStore.open(source, stamp=stamp, exclusive=True)
    try:
        page = await store.range("")
    finally:
        await store.close()
    unfinished = target.with_name(target.name + ".unfinished")
    for leftover in target.parent.glob(unfinished.name + "*"):
        leftover.unlink()
    records = sorted(page.records, key=lambda record: record.revision)
    _write(unfinished, records, page.revision, progress)
    read_back, revision = _load(unfinished)
    if revision != page.revision or sorted(read_back) != sorted(records):
        raise CopyDiffers(f"{unfinished} differs from what is in etcd")
    os.replace(unfinished, target)
    return Moved(len(records), page.revision)


def unstamped(record: Record) -> bytes:
    """The value as the API server hands it to a store; a record that carries no revision stays as it is."""
    return record.value.replace(b'"resourceVersion":"%d"' % record.revision, b'"resourceVersion":""', 1)


def _load(path: Path) -> tuple[list[Record], int]:
    if not path.exists():
        raise FileNotFoundError(f"there is no store at {path}")
    log = SqliteLog(path)
    try:
        return log.load()
    finally:
        log.close()


def _write(path: Path, records: list[Record], revision: int, progress: Progress) -> None:
    log = SqliteLog(path)
    try:
        done = 0
        for batch in _batches(records):
            log.commit([Event(record.key, record.revision, record, None) for record in batch])
            done += len(batch)
            progress(done, len(records))
        log.commit([Event(COUNTER_KEY, revision, None, None)])
    finally:
        log.close()


def _batches(records: Iterable[Record]) -> Iterable[list[Record]]:
    iterator = iter(records)
    while batch := list(islice(iterator, BATCH)):
        yield batch


async def _make_empty(keys: Keys) -> None:
    if await keys.is_unfinished():
        await keys.delete()
    elif count := await keys.count():
        raise TargetNotEmpty(f"there are {count} objects under the prefix already, and no unfinished move")


async def _compare(target: EtcdConfiguration, expected: dict[str, bytes]) -> None:
    store = await EtcdStore.open(target, stamp=lambda value, _: value, exclusive=True)
    try:
        found = {record.key: record.value for record in (await store.range("")).records}
    finally:
        await store.close()
    if found != expected:
        raise CopyDiffers(f"etcd holds {len(found)} objects that are not the {len(expected)} of the source")
