"""Keeps the node known: registers it, renews its lease every ten seconds, tells its status when that has changed.

Status is worked out every ten seconds and written when it differs, and every five minutes anyway. Source: kubelet
`kubelet_node_status.go`, `nodelease`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.admission import FEATURES
from twinplane.dataplane.kubelet.node.facts import NodeFacts
from twinplane.dataplane.kubelet.node.objects import (
    KUBELET_PORT,
    Health,
    boot_id,
    conditions,
    host_info,
    images,
    node_annotations,
    node_info,
    node_labels,
    node_object,
)
from twinplane.dataplane.node.contract import NodeConfiguration
from twinplane.dataplane.node_records import (
    LEASE_NAMESPACE,
    allocatable_change,
    extended_resources,
    lease_object,
    lease_spec,
)
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.informer import SharedInformer, without_managed_fields
from twinplane.kubeclient.meta import uid_of
from twinplane.kubeclient.resources import LEASES, NODES

log = logging.getLogger(__name__)

LEASE_PERIOD = 10.0
STATUS_SECONDS = 10.0
FIRST_STATUS_SECONDS = 0.5
"""Until the node is ready, its status is worked out more often."""
REPORT_SECONDS = 300.0
RETRY_SECONDS = (0.2, 7.0)
PLEG_SECONDS = 180.0
RUNTIME_SECONDS = 30.0
"""The runtime may be away for so long (it restarts) before the node is not ready: kubelet's baseRuntimeSyncThreshold. A
node that is not ready loses its traffic."""
VOLATILE = ("lastHeartbeatTime",)


class NodeKeeper:
    """`pleg` (when the runtime was last listed, and why not since), `pressures` and `volumes_in_use` are set by the
    composition; `changed` asks for a status now."""

    def __init__(
        self,
        configuration: NodeConfiguration,
        facts: NodeFacts,
        client: KubeClient,
        runtime: Runtime,
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        self._configuration = configuration
        self._facts = facts
        self._client = client
        self._runtime = runtime
        self._clock = clock
        self._random = random
        self._host = host_info()
        self._version = ""
        self._boot_id = boot_id(configuration.machine.instance_id)
        self._written: dict[str, Any] = {}
        self._written_at = 0.0
        self._wake = asyncio.Event()
        self._registered = asyncio.Event()
        self._informer = SharedInformer(
            client,
            NODES,
            random,
            field_selector=f"metadata.name={configuration.name}",
            transform=without_managed_fields,
        )
        self._images: list[Any] = []
        self._trouble = ""
        self._runtime_seen_at = float("-inf")
        self.pleg: Callable[[], tuple[float, str]] = lambda: (clock.now(), "")
        self.pressures: Callable[[], frozenset[str]] = frozenset
        self.volumes_in_use: Callable[[], list[str]] = list
        self.network_ready: Callable[[], str] = str
        """Why pods could not be given a network; empty when they can."""

    @property
    def object(self) -> Object | None:
        """The Node as the API server has it."""
        return self._informer.get(self._configuration.name)

    def changed(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            await self._register()
            self._registered.set()
            group.create_task(self._informer.run(), name="watch of the node")
            group.create_task(self._keep_lease(), name="lease")
            group.create_task(self._keep_status(), name="node status")

    # -- registration --------------------------------------------------------------------------------------------

    async def _register(self) -> None:
        failures = 0
        while True:
            try:
                await self._create_or_adopt()
                return
            except (ApiError, OSError) as error:
                log.log(logging.WARNING if not failures else logging.DEBUG, "registering: %s", error)
            first, longest = RETRY_SECONDS
            await asyncio.sleep(min(first * 2**failures, longest) * (1 + self._random.random() / 4))
            failures = min(failures + 1, 8)

    async def _create_or_adopt(self) -> None:
        name = self._configuration.name
        status = await self._status({})
        wanted = node_object(self._configuration, self._host, status)
        try:
            await self._client.create(NODES, wanted)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            found = await self._client.get(NODES, name)
            if found["spec"].get("providerID") not in (None, wanted["spec"]["providerID"]):
                # The address came back with another instance before the old node was cleared away.
                await self._client.delete(NODES, name, uid=uid_of(found))
                await self._client.create(NODES, wanted)
            else:
                await self._patch_metadata(found)
        self._written, self._written_at = {}, 0.0

    async def _patch_metadata(self, found: Object) -> None:
        labels, annotations = node_labels(self._configuration, self._host), node_annotations(self._configuration)
        metadata = found["metadata"]
        same = {**(metadata.get("labels") or {}), **labels} == metadata.get("labels")
        if same and {**(metadata.get("annotations") or {}), **annotations} == metadata.get("annotations"):
            return
        patch = {"metadata": {"labels": labels, "annotations": annotations}}
        await self._client.patch(NODES, self._configuration.name, patch)

    # -- lease ---------------------------------------------------------------------------------------------------

    async def _keep_lease(self) -> None:
        known = False
        while True:
            try:
                known = await self._renew(known=known)
                pause = LEASE_PERIOD * (1 + self._random.random() / 25)
            except (ApiError, OSError) as error:
                log.debug("lease: %s", error)
                pause = 1.0
            await asyncio.sleep(pause)

    async def _renew(self, *, known: bool) -> bool:
        name = self._configuration.name
        patch: Object = {"spec": lease_spec(name, LEASE_PERIOD, self._clock.now())}
        try:
            if known:
                await self._client.patch(LEASES, name, patch, LEASE_NAMESPACE)
                return True
            node = self.object or await self._client.get(NODES, name)
            lease = lease_object(name, uid_of(node), LEASE_PERIOD, self._clock.now())
            await self._client.create(LEASES, lease, LEASE_NAMESPACE)
        except ApiError as error:
            if error.code == 404:
                return False
            if error.reason != "AlreadyExists":
                raise
            patch["metadata"] = {"ownerReferences": lease["metadata"]["ownerReferences"]}
            await self._client.patch(LEASES, name, patch, LEASE_NAMESPACE)
        return True

    # -- status --------------------------------------------------------------------------------------------------

    async def _keep_status(self) -> None:
        while True:
            ready = False
            try:
                ready = await self._report()
            except ApiError as error:
                if error.code == 404:
                    # The node was deleted while its instance runs: it comes back, as upstream's does.
                    await self._register()
                log.debug("node status: %s", error)
            except OSError as error:
                log.debug("node status: %s", error)
            self._wake.clear()
            try:
                async with asyncio.timeout(STATUS_SECONDS if ready else FIRST_STATUS_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _report(self) -> bool:
        """True when the node is ready."""
        before = (self.object or {}).get("status") or self._written
        status = await self._status(before)
        now = self._clock.now()
        stale = now - self._written_at >= REPORT_SECONDS
        if stale or _steady(status) != _steady({key: before.get(key) for key in status}):
            await self._client.patch(
                NODES,
                self._configuration.name,
                {"status": status},
                subresource="status",
                patch_type="application/strategic-merge-patch+json",
            )
            self._written, self._written_at = status, now
        return bool(status["conditions"][-1]["status"] == "True")

    async def _status(self, before: Mapping[str, Any]) -> dict[str, Any]:
        machine = self._configuration.machine
        now = self._clock.now()
        try:
            if not self._version:
                version = await self._runtime.version()
                self._version = f"{version.runtime_name}://{version.runtime_version.lstrip('v')}"
            self._images = await self._runtime.list_images()
            self._trouble = await self._found_trouble()
            self._runtime_seen_at = now
        except RuntimeFailure as error:
            if now - self._runtime_seen_at >= RUNTIME_SECONDS:
                self._trouble = f"container runtime is down: {error}"
        addresses = [
            ("InternalIP", machine.private_ip),
            ("InternalDNS", self._facts.name),
            ("Hostname", self._facts.name),
        ]
        return {
            "capacity": {**self._facts.capacity, **extended_resources(before.get("capacity"))},
            "allocatable": {
                **self._facts.allocatable,
                **extended_resources(before.get("allocatable")),
                **allocatable_change(before),
            },
            "addresses": [{"type": kind, "address": address} for kind, address in addresses],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
            "nodeInfo": node_info(self._configuration, self._host, self._version, self._boot_id),
            "images": images(self._images),
            "volumesInUse": sorted(self.volumes_in_use()),
            "declaredFeatures": list(FEATURES),
            "conditions": conditions(Health(self._trouble, self.pressures()), before.get("conditions") or [], now),
        }

    async def _found_trouble(self) -> str:
        """Why the node is not ready."""
        answer = await self._runtime.status()
        reasons = []
        for condition in answer.status.conditions:
            if condition.status:
                continue
            why = f"{condition.type}=false reason:{condition.reason} message:{condition.message}"
            if condition.type == "NetworkReady":
                reasons.append(f"container runtime network not ready: {why}")
            else:
                reasons.append(f"container runtime not ready: {why}")
        network = self.network_ready()
        reasons += [network] if network else []
        listed_at, error = self.pleg()
        silent = self._clock.now() - listed_at
        if listed_at and silent > PLEG_SECONDS:
            reasons.append(
                f"PLEG is not healthy: pleg was last seen active {silent:.0f}s ago; threshold is 3m0s: {error}"
            )
        return ", ".join(reasons)


def _steady(status: dict[str, Any]) -> dict[str, Any]:
    """Without what changes by itself, and in one order."""
    made: dict[str, Any] = {key: value or None for key, value in status.items()}
    for item in ("conditions", "addresses"):
        entries = {str(entry["type"]): entry for entry in status.get(item) or ()}
        made[item] = {
            name: {key: value for key, value in entry.items() if key not in VOLATILE} for name, entry in entries.items()
        }
    # Conditions of other components are none of ours.
    made["conditions"] = {
        name: made["conditions"].get(name) for name in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    }
    return made
