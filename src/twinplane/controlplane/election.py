"""Control by one of several replicas: each of the three components runs where its lease is held.

`process` uses it instead of `Control` when a control plane has replicas. A component that begins a term is made anew,
with informers of its own: what it knew in an earlier term is no longer true, and who does not lead follows nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from uuid import UUID

from twinplane.controlplane.api.inprocess import InProcessClient
from twinplane.controlplane.api.server import ApiServer
from twinplane.controlplane.auth.contract import UserInfo
from twinplane.controlplane.composition import (
    CLOUD_CONTROLLER,
    CONTROLLERS,
    SCHEDULER,
    Foundation,
    cloud_controllers_of,
    context_of,
    controllers_of,
    scheduler_of,
)
from twinplane.controlplane.controllers.contract import Controller
from twinplane.controlplane.controllers.runner import ControllerRunner
from twinplane.kubeclient.event_recorder import EventBroadcaster
from twinplane.kubeclient.informer import SharedInformers
from twinplane.kubeclient.leader_election import LeaderElector


class ElectedControl:
    """Takes part in three elections: make it, then `run` it."""

    def __init__(self, server: ApiServer, foundation: Foundation) -> None:
        self._server = server
        self._foundation = foundation
        # As upstream: the host's name and something that no other life of this replica has.
        unique = UUID(int=foundation.random.getrandbits(128), version=4)
        self._identity = f"replica-{foundation.configuration.replica}_{unique}"

    async def run(self) -> None:
        """Until cancelled."""
        components: tuple[tuple[str, UserInfo, Callable[[], Awaitable[None]]], ...] = (
            ("kube-controller-manager", CONTROLLERS, self._control),
            ("kube-scheduler", SCHEDULER, self._schedule),
            ("cloud-controller-manager", CLOUD_CONTROLLER, self._control_cloud),
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._foundation.feed.run(), name="instance feed")
            for lease, user, lead in components:
                tasks.create_task(self._elector(lease, user).run(lead), name=f"election of {lease}")

    def _elector(self, lease: str, user: UserInfo) -> LeaderElector:
        client = InProcessClient(self._server, user, lease)
        random = Random(self._foundation.random.getrandbits(64))
        return LeaderElector(client, self._foundation.clock, random, lease=lease, identity=self._identity)

    def _parts(self, user: UserInfo, agent: str) -> tuple[SharedInformers, EventBroadcaster]:
        client = InProcessClient(self._server, user, agent)
        return SharedInformers(client, self._foundation.random), EventBroadcaster(client, self._foundation.clock)

    async def _control(self) -> None:
        informers, broadcaster = self._parts(CONTROLLERS, "kube-controller-manager")
        context = context_of(self._server, self._foundation, informers, broadcaster)
        await _run(controllers_of(self._foundation, context, broadcaster), informers, broadcaster)

    async def _control_cloud(self) -> None:
        informers, broadcaster = self._parts(CLOUD_CONTROLLER, "aws-cloud-controller-manager")
        context = context_of(self._server, self._foundation, informers, broadcaster)
        await _run(cloud_controllers_of(self._server, self._foundation, context, broadcaster), informers, broadcaster)

    async def _schedule(self) -> None:
        informers, broadcaster = self._parts(CONTROLLERS, "kube-scheduler")
        scheduler = scheduler_of(self._server, self._foundation, informers, broadcaster)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(broadcaster.run(), name="events")
            tasks.create_task(informers.run(), name="informers")
            tasks.create_task(scheduler.run(), name="scheduler")


async def _run(controllers: list[Controller], informers: SharedInformers, broadcaster: EventBroadcaster) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(broadcaster.run(), name="events")
        tasks.create_task(ControllerRunner(controllers, informers).run(), name="controllers")
