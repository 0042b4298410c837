"""NetworkPolicy on one node, as Amazon's network policy agent enforces it: watches, builds, and applies what changed.

Pods and namespaces are watched only while there is a policy: a cluster without any costs one idle watch a node. Rules
stay in the kernel when the agent or the API server goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from random import Random

from twinplane.dataplane.network import nftables
from twinplane.dataplane.network.nftables import NftablesError, Ruleset
from twinplane.dataplane.network.policy.objects import (
    PARSED,
    Pod,
    labels_of_namespace,
    pod_of,
    policy_of,
)
from twinplane.dataplane.network.policy.rules import TABLE, build
from twinplane.dataplane.node.contract import NodeConfiguration
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.informer import SharedInformer
from twinplane.kubeclient.meta import name_of
from twinplane.kubeclient.resources import NAMESPACES, NETWORK_POLICIES, PODS

log = logging.getLogger(__name__)

PAUSE_SECONDS = (0.02, 2.0)
"""Between transactions: at least, and at most; as long as four times the last one took."""
RETRY_SECONDS = 5.0


class NetworkPolicies:
    """`run` until cancelled; `synced` is set when the policies there are at the start are enforced."""

    def __init__(self, configuration: NodeConfiguration, client: KubeClient, random: Random) -> None:
        self.synced = asyncio.Event()
        self._node = configuration.name
        self._client = client
        self._random = random
        self._policies = SharedInformer(client, NETWORK_POLICIES, random, transform=policy_of)
        self._policies.add_handler(self._changed)
        self._rules: Ruleset | None = None
        """What the kernel has; None when that is not known."""
        self._wake = asyncio.Event()

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or old[PARSED] != new[PARSED]:
            self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._policies.run(), name="network policies")
            group.create_task(self._keep(), name="network policy rules")

    async def _keep(self) -> None:
        await self._policies.wait_synced()
        while True:
            if not self._policies.list():
                await self._apply(Ruleset())
                self.synced.set()
                await self._wake.wait()
                self._wake.clear()
            else:
                async with self._watching() as (pods, namespaces):
                    await self._enforce(pods, namespaces)

    @contextlib.asynccontextmanager
    async def _watching(self) -> AsyncIterator[tuple[SharedInformer, SharedInformer]]:
        pods = SharedInformer(self._client, PODS, self._random, transform=pod_of)
        namespaces = SharedInformer(self._client, NAMESPACES, self._random, transform=labels_of_namespace)
        running = []
        for informer in (pods, namespaces):
            informer.add_handler(self._changed)
            running.append(asyncio.create_task(informer.run(), name=f"network policy {informer.resource.plural}"))
        try:
            await pods.wait_synced()
            await namespaces.wait_synced()
            yield pods, namespaces
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _enforce(self, pods: SharedInformer, namespaces: SharedInformer) -> None:
        """While there are policies."""
        shortest, longest = PAUSE_SECONDS
        loop = asyncio.get_running_loop()
        while policies := self._policies.list():
            self._wake.clear()
            began = loop.time()
            listed: list[Pod] = [body[PARSED] for body in pods.list() if body[PARSED] is not None]
            labels = {name_of(body): body[PARSED] for body in namespaces.list()}
            wanted = build([body[PARSED] for body in policies], listed, labels, self._node)
            pause = min(max(shortest, 4 * (loop.time() - began)), longest)
            if await self._apply(wanted):
                self.synced.set()
            else:
                self._wake.set()
                pause = RETRY_SECONDS
            await asyncio.sleep(pause)
            await self._wake.wait()

    async def _apply(self, wanted: Ruleset) -> bool:
        try:
            if self._rules is None:
                script = nftables.replacement(TABLE, wanted)
            else:
                change = nftables.difference(self._rules, wanted)
                if not change:
                    return True
                script = nftables.transaction(TABLE, change)
            await nftables.apply(script)
        except NftablesError as error:
            log.error("rules refused, all are made anew: %s", error)
            self._rules = None
            return False
        self._rules = wanted
        return True
