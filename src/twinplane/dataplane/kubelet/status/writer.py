"""Writes pod statuses, and the last DELETE of a pod that has stopped. Level-triggered, one task a few pods at a time.

What is wanted is kept by uid and compared with what the API server has; so statuses of a time without an API server
come down to the last one, and a status that somebody else has changed back is written again.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from random import Random
from typing import Any

from twinplane.dataplane.kubelet.status.patch import status_patch
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import name_of, namespace_of, uid_of
from twinplane.kubeclient.resources import PODS

log = logging.getLogger(__name__)

WRITERS = 4
RETRY_SECONDS = (0.5, 10.0)
"""First and longest pause after a failure, doubling."""


@dataclass(slots=True, eq=False)
class _Record:
    known: Object | None = None
    """The pod as the API server had it last; None until that has been heard of."""
    status: dict[str, Any] | None = None
    delete: bool = False
    """Everything of it is gone: what is left is to say so."""
    failures: int = 0


class StatusWriter:
    def __init__(self, client: KubeClient, random: Random) -> None:
        self._client = client
        self._random = random
        self._records: dict[str, _Record] = {}
        self._dirty: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._busy: set[str] = set()

    def known(self, uid: str, pod: Object) -> None:
        """The API server's own version of a pod (for a static pod, by whose uid it goes here: its mirror)."""
        self._records.setdefault(uid, _Record()).known = pod
        self._mark(uid)

    def set(self, uid: str, status: dict[str, Any]) -> None:
        self._records.setdefault(uid, _Record()).status = status
        self._mark(uid)

    def delete(self, uid: str) -> None:
        record = self._records.get(uid)
        if record is not None:
            record.delete = True
            self._mark(uid)

    def forget(self, uid: str) -> None:
        self._records.pop(uid, None)

    @property
    def idle(self) -> bool:
        return not self._dirty and not self._busy

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(self._write_all())

    def _mark(self, uid: str) -> None:
        record = self._records[uid]
        if record.known is None:
            return
        wanted = record.delete or (
            record.status is not None and status_patch(record.known.get("status") or {}, record.status)
        )
        if wanted:
            self._dirty[uid] = None
            self._wake.set()

    async def _write_all(self) -> None:
        while True:
            uid = next((uid for uid in self._dirty if uid not in self._busy), None)
            if uid is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            del self._dirty[uid]
            self._busy.add(uid)
            try:
                await self._attempt(uid)
            finally:
                self._busy.discard(uid)
                if self._dirty:
                    self._wake.set()

    async def _attempt(self, uid: str) -> None:
        record = self._records.get(uid)
        if record is None or record.known is None:
            return
        try:
            await self._write(uid, record, record.known)
        except ApiError as error:
            if error.code in (404, 409):
                # Gone, or another pod of that name by now: the watch will say so.
                log.debug("status of %s: %s", uid, error)
                return
            self._retry(uid, record, error)
        except OSError as error:
            self._retry(uid, record, error)
        else:
            record.failures = 0

    def _retry(self, uid: str, record: _Record, error: Exception) -> None:
        first, longest = RETRY_SECONDS
        pause = min(first * 2**record.failures, longest) * (1 + self._random.random() / 2)
        record.failures = min(record.failures + 1, 8)
        log.log(logging.WARNING if record.failures == 1 else logging.DEBUG, "status of %s: %s", uid, error)
        asyncio.get_running_loop().call_later(pause, self._again, uid)

    def _again(self, uid: str) -> None:
        if uid in self._records:
            self._mark(uid)

    async def _write(self, uid: str, record: _Record, known: Object) -> None:
        name, namespace = name_of(known), namespace_of(known)
        if record.status is not None:
            change = status_patch(known.get("status") or {}, record.status)
            if change:
                body = {"metadata": {"uid": uid_of(known)}, "status": change}
                answer = await self._client.patch(
                    PODS,
                    name,
                    body,
                    namespace,
                    subresource="status",
                    patch_type="application/strategic-merge-patch+json",
                )
                record.known = {**known, "metadata": answer["metadata"], "status": answer.get("status") or {}}
        if record.delete and self._records.get(uid) is record:
            await self._client.delete(PODS, name, namespace, grace_period_seconds=0, uid=uid_of(known))
            self._records.pop(uid, None)
