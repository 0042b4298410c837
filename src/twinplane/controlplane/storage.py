"""Which store a control plane uses: the embedded one in its file, or an etcd cluster. `process` opens it here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from twinplane.clock import Clock
from twinplane.controlplane.api.encoding import stamp
from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.controlplane.store.contract import Store
from twinplane.controlplane.store.embedded import EmbeddedStore


@asynccontextmanager
async def opened_store(configuration: ControlPlaneConfiguration, clock: Clock) -> AsyncIterator[Store]:
    """Raises `StoreError` and OSError for a store that cannot be used."""
    if configuration.etcd is None:
        embedded = await EmbeddedStore.open(Path(configuration.store), stamp=stamp, clock=clock)
        try:
            yield embedded
        finally:
            await embedded.close()
        return
    # Whoever uses the embedded store does not pay for this.
    from twinplane.controlplane.store.etcd.compaction import compact_periodically
    from twinplane.controlplane.store.etcd.store import EtcdStore

    store = await EtcdStore.open(configuration.etcd, stamp=stamp, exclusive=configuration.replicas == 1)
    compaction = asyncio.create_task(compact_periodically(store), name="etcd compaction")
    try:
        yield store
    finally:
        compaction.cancel()
        await asyncio.wait([compaction])
        await store.close()
