"""What is done to a cluster's keys as a whole while nobody serves them: count, copy in, confirm, delete."""

from __future__ import annotations

from collections.abc import Sequence

from twinplane.controlplane.store.contract import StoreUnavailable
from twinplane.controlplane.store.etcd import messages
from twinplane.controlplane.store.etcd.client import EtcdClient, Lost
from twinplane.controlplane.store.etcd.configuration import EtcdConfiguration
from twinplane.controlplane.store.etcd.grpc import CallFailed
from twinplane.controlplane.store.etcd.keys import Keyspace
from twinplane.controlplane.store.etcd.origin import Origin

PUTS = 100
"""Of one transaction; etcd takes 128 operations unless it is told otherwise."""
BYTES = 1 << 20
"""Of one transaction; etcd takes 1.5 MiB."""
ATTEMPTS = 5


class Keys:
    """The keys of one cluster. Everything here may be repeated."""

    def __init__(self, configuration: EtcdConfiguration) -> None:
        """Raises OSError for unusable certificate files."""
        self._client = EtcdClient(configuration)
        self._keyspace = Keyspace(configuration.prefix)
        self._unfinished = f"{configuration.prefix}.unfinished".encode()

    async def count(self) -> int:
        first, end = self._keyspace.bounds("")
        answer = await self._client.read(messages.RANGE, messages.range_request(first, end, count_only=True))
        return messages.ranged(answer).total

    async def revision(self) -> int:
        answer = await self._client.read(messages.RANGE, messages.range_request(self._keyspace.marker))
        return messages.ranged(answer).revision

    async def is_unfinished(self) -> bool:
        answer = await self._client.read(messages.RANGE, messages.range_request(self._unfinished))
        return bool(messages.ranged(answer).kvs)

    async def begin(self) -> None:
        """From here until `finish` what is there is nothing but half a copy."""
        await self._write(messages.puts_request([(self._unfinished, b"")]))

    async def put(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        batch: list[tuple[bytes, bytes]] = []
        size = 0
        for key, value in pairs:
            if batch and (len(batch) == PUTS or size + len(value) > BYTES):
                await self._write(messages.puts_request(batch))
                batch, size = [], 0
            batch.append((self._keyspace.key(key), value))
            size += len(key) + len(value)
        if batch:
            await self._write(messages.puts_request(batch))

    async def finish(self, origin: Origin) -> None:
        """One transaction: the copy counts from here on."""
        put = messages.puts_request([(self._keyspace.origin, origin.dump())])
        await self._write(put + messages.delete_request_of(self._unfinished))

    async def delete(self) -> None:
        first, end = self._keyspace.bounds("")
        await self._write(messages.delete_request_of(first, end))
        for key in (self._keyspace.marker, self._keyspace.origin, self._unfinished):
            await self._write(messages.delete_request_of(key))

    async def close(self) -> None:
        await self._client.close()

    async def _write(self, operations: bytes) -> None:
        """These writes say what shall be, not what shall change, so one whose answer was lost is simply repeated."""
        for _ in range(ATTEMPTS):
            try:
                await self._client.write(messages.TXN, operations)
                return
            except Lost as error:
                reason = error.why
            except CallFailed as error:
                raise StoreUnavailable(f"etcd refuses: {error}") from error
        raise StoreUnavailable(f"etcd was lost again and again: {reason}")


async def purge(configuration: EtcdConfiguration) -> None:
    keys = Keys(configuration)
    try:
        await keys.delete()
    finally:
        await keys.close()
