"""Forgetting old revisions every five minutes, as kube-apiserver does, by one of all who use the etcd cluster.

The owner of a round is who wins the write of `compact_rev_key`, the key that upstream's API servers use, so that both
can share a cluster. Whoever has seen a round compacts to where the round began, hence nothing younger than five minutes
goes (k8s.io/apiserver/pkg/storage/etcd3/compact.go).
"""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from twinplane.controlplane.store.contract import StoreError
from twinplane.controlplane.store.etcd import messages
from twinplane.controlplane.store.etcd.client import EtcdClient, Lost
from twinplane.controlplane.store.etcd.grpc import CallFailed
from twinplane.controlplane.store.etcd.store import EtcdStore

log = logging.getLogger(__name__)

INTERVAL = 300.0
KEY = b"compact_rev_key"


class Round(NamedTuple):
    """What was known at the end of the last turn: the key's revision, and etcd's newest one."""

    key_revision: int = 0
    revision: int = 0


async def compact_periodically(store: EtcdStore, *, interval: float = INTERVAL) -> None:
    """Until cancelled; a turn that fails is said and left to the next. `interval` in seconds."""
    last = Round()
    while True:
        await asyncio.sleep(interval)
        try:
            last = await turn(store, last)
        except (StoreError, CallFailed, Lost) as error:
            log.warning("compaction: %s", error)


async def turn(store: EtcdStore, last: Round) -> Round:
    """Try to own this turn; the owner compacts to the revision of the last one."""
    owned, now = await _claim(store.client, last)
    if owned and last.revision:
        await store.compact_etcd(last.revision)
        log.info("compacted etcd to revision %d", last.revision)
    return now


async def _claim(client: EtcdClient, last: Round) -> tuple[bool, Round]:
    value = str(last.revision).encode()
    request = messages.record_request(KEY, value, last.key_revision)
    answer = messages.written(await client.write(messages.TXN, request))
    key_revision = answer.found.mod_revision if answer.found else 0
    return answer.succeeded, Round(key_revision, answer.revision)
