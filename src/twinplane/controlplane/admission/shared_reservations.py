"""What several API servers have promised to Services that are still being written: one record in the store they share.

`service_addresses` takes from it where there are replicas. Each replica sees the Services that are stored; what none
can see of another are its writes under way. Those are here, each for a few seconds, and the record is written only as
it was read, so that no address and no port is promised twice. (Upstream creates IPAddress objects for this, and keeps a
bitmap of node ports; both leak when a write fails later, and need repair. Promises only expire.)
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

import orjson

from twinplane.clock import Clock
from twinplane.controlplane.store.contract import KeyExists, RevisionConflict, Store
from twinplane.kubeclient.errors import ApiError

KEY = "/registry/ranges/services/reservations"
SECONDS = 10.0
_ATTEMPTS = 64


class SharedReservations:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def take(self, items: Collection[str], holder: str) -> set[str]:
        """Those of `items` that others hold; when there are none, all are the holder's from now on.

        Raises TooManyRequests when others write too often.
        """
        for _ in range(_ATTEMPTS):
            record = await self._store.get(KEY)
            now = self._clock.now()
            held = {} if record is None else orjson.loads(record.value)["held"]
            held = {item: promise for item, promise in held.items() if promise[0] > now}
            lost = {item for item in items if item in held and held[item][1] != holder}
            if lost:
                return lost
            held |= {item: [now + SECONDS, holder] for item in items}
            value = orjson.dumps({"metadata": {"name": "reservations"}, "held": held})
            try:
                if record is None:
                    await self._store.create(KEY, value)
                else:
                    await self._store.update(KEY, value, record.revision)
            except (KeyExists, RevisionConflict):
                continue
            return set()
        raise ApiError("TooManyRequests", "too many Services are being allocated at once", retry_after=1)

    async def drop(self, items: Collection[str], holder: str) -> None:
        """Forget which of `items` are promised to `holder`. Others' writes at the same time leave it to expire."""
        record = await self._store.get(KEY)
        held = {} if record is None else orjson.loads(record.value)["held"]
        left = {item: promise for item, promise in held.items() if item not in items or promise[1] != holder}
        if record is None or len(left) == len(held):
            return
        value = orjson.dumps({"metadata": {"name": "reservations"}, "held": left})
        with suppress(RevisionConflict):
            await self._store.update(KEY, value, record.revision)
