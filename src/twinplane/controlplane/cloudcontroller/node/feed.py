"""The instances of a cluster, followed by long poll on the region's AWS endpoint.

EC2 has no watch; the region offers one beside its API. `run` is a task of the control-plane process; the node
controller asks and is told. How requests are authenticated is the caller's matter: `fetch` takes a path, gives JSON.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

log = logging.getLogger(__name__)

POLL = 30
"""Seconds that the other side holds a poll when nothing changes."""
BACK_OFF = (0.5, 1.0, 2.0, 5.0)

Instance = dict[str, Any]
Fetch = Callable[[str], Awaitable[dict[str, Any]]]
"""GET of a path on the region's endpoint. Raises OSError (or a subclass of it) when the region cannot be reached, and
ValueError for an answer that is no JSON."""
Subscriber = Callable[[Instance], None]


class InstanceFeed:
    def __init__(self, fetch: Fetch, cluster: str) -> None:
        self._fetch = fetch
        self._path = f"/_twinplane/clusters/{quote(cluster, safe='')}/instances"
        self._by_id: dict[str, Instance] = {}
        self._by_name: dict[str, Instance] = {}
        self._subscribers: list[Subscriber] = []
        self.synced = asyncio.Event()
        """Set after the first answer: until then an unknown instance means nothing."""

    def by_id(self, instance_id: str) -> Instance | None:
        return self._by_id.get(instance_id)

    def by_name(self, private_dns_name: str) -> Instance | None:
        return self._by_name.get(private_dns_name)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Called for every instance that appeared, changed or was forgotten."""
        self._subscribers.append(subscriber)

    async def run(self) -> None:
        revision: Any = 0
        failures = 0
        while True:
            try:
                answer = await self._fetch(f"{self._path}?after={revision}&timeout={POLL}")
                self._replace(answer["instances"])
                revision = answer["revision"]
            except (OSError, KeyError, ValueError) as error:
                log.debug("instance feed: %s", error)
                await asyncio.sleep(BACK_OFF[min(failures, len(BACK_OFF) - 1)])
                failures += 1
                # A region that came back counts anew.
                revision = 0
                continue
            failures = 0

    def _replace(self, instances: list[Instance]) -> None:
        old, self._by_id = self._by_id, {entry["instance_id"]: entry for entry in instances}
        self._by_name = {entry["private_dns_name"]: entry for entry in instances if entry["state"] != "terminated"}
        changed = [entry for key, entry in self._by_id.items() if old.get(key) != entry]
        changed += [entry | {"state": "terminated"} for key, entry in old.items() if key not in self._by_id]
        self.synced.set()
        for entry in changed:
            for subscriber in self._subscribers:
                subscriber(entry)
