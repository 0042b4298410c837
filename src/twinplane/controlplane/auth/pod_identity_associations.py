"""Which service accounts EKS Pod Identity serves, read from the EKS API of the region; asked for each pod that is
created.

The list is kept a few seconds, and for as long as the EKS API cannot be asked: pods go on to be made while the
region restarts.
"""

from __future__ import annotations

import logging

from twinplane.clock import Clock
from twinplane.controlplane.auth.access_entries import Call

log = logging.getLogger(__name__)

KEPT_SECONDS = 2.0


class PodIdentityAssociations:
    def __init__(self, cluster: str, call: Call, clock: Clock) -> None:
        self._cluster = cluster
        self._call = call
        self._clock = clock
        self._accounts: frozenset[tuple[str, str]] = frozenset()
        self._until = 0.0

    async def __call__(self, namespace: str, account: str) -> bool:
        now = self._clock.now()
        if now >= self._until:
            # Others that come meanwhile take what is known.
            self._until = now + KEPT_SECONDS
            try:
                self._accounts = await self._read()
            except OSError as error:
                log.debug("pod identity associations stay as they were: %s", error)
        return (namespace, account) in self._accounts

    async def _read(self) -> frozenset[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        token: dict[str, str] = {}
        while True:
            answer = await self._call("ListPodIdentityAssociations", {"clusterName": self._cluster, **token})
            found |= {(each["namespace"], each["serviceAccount"]) for each in answer.get("associations", ())}
            if not answer.get("nextToken"):
                return frozenset(found)
            token = {"nextToken": answer["nextToken"]}
