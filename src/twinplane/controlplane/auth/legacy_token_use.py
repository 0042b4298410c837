"""Notes on which day a token in a Secret was last used: a label on the Secret, written at most once a day.

The authenticator, which answers from memory, tells of a token; this writes it down behind it. The controllers read the
labels (`controllers.serviceaccount.legacy`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from twinplane.clock import Clock
from twinplane.controlplane.background import background
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import SECRETS

LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
WAITING_MAX = 256
_LOG = logging.getLogger(__name__)


class LegacyTokenUse:
    def __init__(self, client: KubeClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._waiting: asyncio.Queue[Object] = asyncio.Queue(WAITING_MAX)

    def mark(self, secret: Object) -> None:
        """Never blocks: what does not fit into the queue is noted at the next use."""
        if self._label(secret) != self._today():
            with suppress(asyncio.QueueFull):
                self._waiting.put_nowait(secret)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with background(use_of_legacy_tokens=self._run):
            yield

    async def _run(self) -> None:
        written: tuple[str, str] = ("", "")
        while True:
            secret = await self._waiting.get()
            metadata, today = secret["metadata"], self._today()
            if written == (metadata["uid"], today):
                continue
            patch = {"metadata": {"uid": metadata["uid"], "labels": {LAST_USED: today}}}
            try:
                await self._client.patch(SECRETS, metadata["name"], patch, metadata["namespace"])
                written = (metadata["uid"], today)
            except ApiError as error:
                _LOG.info("the use of the token in %s/%s: %s", metadata["namespace"], metadata["name"], error)

    @staticmethod
    def _label(secret: Object) -> str:
        return str((secret["metadata"].get("labels") or {}).get(LAST_USED, ""))

    def _today(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).date().isoformat()
