"""Feeds the pod loop: the API server's pods of this node, static pods, and what the disk remembers.

The checkpoints count only until the API server has answered: a pod that it no longer has was deleted meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import Protocol

from twinplane.dataplane.kubelet.pods.spec import is_mirror
from twinplane.dataplane.kubelet.sources.static import Mirrors, StaticPods
from twinplane.dataplane.kubelet.status.writer import StatusWriter
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.informer import SharedInformer, without_managed_fields
from twinplane.kubeclient.meta import created_at, name_of, namespace_of, uid_of
from twinplane.kubeclient.resources import PODS

log = logging.getLogger(__name__)

API_SECONDS = 2.0
"""The API server gets that long before the node goes by what it remembers."""
STATIC_SECONDS = 1.0


class PodLoop(Protocol):
    """`Pods`, as the sources see it."""

    complete: bool

    def apply(self, pod: Object, *, admitted: bool = False) -> None: ...

    def remove(self, uid: str, last: Object | None = None) -> None: ...

    def remembered(self) -> list[Object]: ...

    def uids(self) -> list[str]: ...

    def retry_resizes(self) -> None: ...


class Feed:
    def __init__(
        self,
        client: KubeClient,
        node: str,
        random: Random,
        pods: PodLoop,
        writer: StatusWriter,
        *,
        static: StaticPods,
        mirrors: Mirrors,
    ) -> None:
        self._pods = pods
        self._writer = writer
        self._static = static
        self._mirrors = mirrors
        self._mirror_of: dict[tuple[str, str], Object] = {}
        self._static_pods: dict[str, Object] = {}
        self._ready = False
        self._informer = SharedInformer(
            client, PODS, random, field_selector=f"spec.nodeName={node}", transform=without_managed_fields
        )
        self._informer.add_handler(self._changed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run(), name="watch of pods")
            group.create_task(self._begin(), name="first pods")
            group.create_task(self._follow_static(), name="static pods")

    async def _begin(self) -> None:
        remembered = self._pods.remembered()
        if remembered:
            try:
                async with asyncio.timeout(API_SECONDS):
                    await self._informer.wait_synced()
            except TimeoutError:
                log.warning("the API server does not answer: going by %d remembered pods", len(remembered))
                for pod in remembered:
                    self._pods.apply(pod, admitted=True)
        await self._informer.wait_synced()
        there = self._informer.list()
        admitted = {uid_of(pod) for pod in remembered}
        self._ready = True
        # The oldest first: where they do not all fit, the youngest are refused.
        for pod in sorted(there, key=created_at):
            self._apply(pod, admitted=uid_of(pod) in admitted)
        uids = {uid_of(pod) for pod in there} | set(self._static_pods)
        for uid in {*self._pods.uids(), *admitted}:
            if uid not in uids:
                self._pods.remove(uid)
        self._pods.complete = True
        self._pods.retry_resizes()

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if not self._ready:
            return
        if new is not None:
            self._apply(new)
        elif old is not None and is_mirror(old):
            self._mirror_of.pop((namespace_of(old), name_of(old)), None)
        elif old is not None:
            self._pods.remove(uid_of(old), old)

    def _apply(self, pod: Object, *, admitted: bool = False) -> None:
        key = (namespace_of(pod), name_of(pod))
        if is_mirror(pod):
            self._mirror_of[key] = pod
            for uid, static in self._static_pods.items():
                if (namespace_of(static), name_of(static)) == key:
                    self._writer.known(uid, pod)
            return
        self._writer.known(uid_of(pod), pod)
        self._pods.apply(pod, admitted=admitted)

    async def _follow_static(self) -> None:
        while True:
            found = self._static.read()
            for uid in self._static_pods.keys() - found.keys():
                self._pods.remove(uid)
            for uid in found.keys() - self._static_pods.keys():
                self._pods.apply(found[uid])
            self._static_pods = found
            if self._ready:
                await self._keep_mirrors()
            await asyncio.sleep(STATIC_SECONDS)

    async def _keep_mirrors(self) -> None:
        names = set()
        try:
            for uid, pod in self._static_pods.items():
                key = (namespace_of(pod), name_of(pod))
                names.add(key)
                mirror = self._mirror_of.get(key)
                await self._mirrors.ensure(pod, mirror)
                if mirror is not None:
                    self._writer.known(uid, mirror)
            for key, mirror in list(self._mirror_of.items()):
                if key not in names:
                    await self._mirrors.delete(mirror)
        except (ApiError, OSError) as error:
            log.debug("mirrors: %s", error)
