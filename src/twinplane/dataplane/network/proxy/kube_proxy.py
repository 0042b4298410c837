"""kube-proxy of one node, in nftables mode: follows Services and EndpointSlices, and keeps one table as they say.

Everything that changed since the last transaction goes into the next one. Without an API server the last rules stay, in
the kernel and here; a restarted proxy leaves them alone until it knows all Services again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from random import Random

from twinplane.clock import Clock
from twinplane.dataplane.network import nftables
from twinplane.dataplane.network.nftables import NftablesError
from twinplane.dataplane.network.proxy import conntrack
from twinplane.dataplane.network.proxy.conntrack import Fronts
from twinplane.dataplane.network.proxy.endpoints import Chosen, Place, choose, local_ready
from twinplane.dataplane.network.proxy.health import HEALTHZ_PORT, Checked, HealthServers
from twinplane.dataplane.network.proxy.objects import PARSED, Port, Service, Slice, service_of, slice_of
from twinplane.dataplane.network.proxy.rules import TABLE, ServiceRules, build, frame
from twinplane.dataplane.network.proxy.table import Table
from twinplane.dataplane.node.contract import NodeConfiguration
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.informer import SharedInformer
from twinplane.kubeclient.meta import labels_of, name_of, namespace_of
from twinplane.kubeclient.resources import ENDPOINT_SLICES, NODES, SERVICES

log = logging.getLogger(__name__)

ZONE_LABEL = "topology.kubernetes.io/zone"
NOT_HEADLESS = "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name"
BY_SERVICE = "service"
PAUSE_SECONDS = (0.01, 1.0)
"""Between transactions: at least, and at most; as long as four times the last one took."""
RETRY_SECONDS = 5.0
TURN = 500
"""Services built between turns of the event loop."""


class KubeProxy:
    """`run` until cancelled; `synced` is set when all rules are in place for the first time."""

    def __init__(
        self,
        configuration: NodeConfiguration,
        client: KubeClient,
        clock: Clock,
        random: Random,
        *,
        healthz_port: int = HEALTHZ_PORT,
    ) -> None:
        self.synced = asyncio.Event()
        self._node_ips = frozenset((configuration.machine.private_ip,))
        self._frame = frame(self._node_ips, configuration.service_cidr)
        self._place = Place(configuration.name, configuration.machine.availability_zone)
        self._services = SharedInformer(client, SERVICES, random, transform=service_of, label_selector=NOT_HEADLESS)
        self._slices = SharedInformer(client, ENDPOINT_SLICES, random, transform=slice_of, label_selector=NOT_HEADLESS)
        self._node = SharedInformer(
            client, NODES, random, field_selector=f"metadata.name={configuration.name}", transform=_labels_only
        )
        self._health = HealthServers(clock, healthz_port)
        self._clock = clock
        self._table = Table(self._frame)
        self._fresh = True
        """The kernel's table is not known to be ours: the next transaction begins it anew."""
        self._dirty: set[str] = set()
        self._checked: dict[str, tuple[int, Checked]] = {}
        """Service -> its health check port."""
        self._wake = asyncio.Event()

    async def run(self) -> None:
        self._slices.add_index(BY_SERVICE, _service_of_slice)
        self._services.add_handler(self._service_changed)
        self._slices.add_handler(self._slice_changed)
        self._node.add_handler(self._node_changed)
        try:
            async with asyncio.TaskGroup() as group:
                for informer in (self._services, self._slices, self._node):
                    group.create_task(informer.run(), name=f"kube-proxy {informer.resource.plural}")
                group.create_task(self._keep(), name="kube-proxy")
        finally:
            self._health.close()

    # -- what changed --------------------------------------------------------------------------------------------

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        body = new or old
        if body is not None and (old is None or new is None or old[PARSED] != new[PARSED]):
            self._mark(f"{namespace_of(body)}/{name_of(body)}")

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        before, after = (body[PARSED] if body is not None else None for body in (old, new))
        if before != after:
            for item in (before, after):
                if item is not None:
                    self._mark(item.service)

    def _node_changed(self, _: Object | None, new: Object | None) -> None:
        zone = labels_of(new).get(ZONE_LABEL, "") if new is not None else self._place.zone
        if zone and zone != self._place.zone:
            self._place = Place(self._place.node, zone)
            self._mark_all()

    def _mark(self, service: str) -> None:
        self._dirty.add(service)
        self._wake.set()
        if not self._health.behind_since:
            self._health.behind_since = self._clock.now()

    def _mark_all(self) -> None:
        for body in self._services.list():
            self._mark(f"{namespace_of(body)}/{name_of(body)}")

    # -- the rules -----------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        await self._services.wait_synced()
        await self._slices.wait_synced()
        self._wake.set()
        loop = asyncio.get_running_loop()
        shortest, longest = PAUSE_SECONDS
        while True:
            await self._wake.wait()
            self._wake.clear()
            began = loop.time()
            try:
                await self._sync()
                self.synced.set()
                pause = min(max(shortest, 4 * (loop.time() - began)), longest)
            except NftablesError as error:
                log.error("rules refused, all are made anew: %s", error)
                self._table, self._fresh = Table(self._frame), True
                self._mark_all()
                pause = RETRY_SECONDS
            await asyncio.sleep(pause)

    async def _sync(self) -> None:
        dirty, self._dirty = self._dirty, set()
        built: dict[str, ServiceRules | None] = {}
        fronts = Fronts()
        for number, key in enumerate(sorted(dirty), 1):
            built[key] = self._built(key, fronts)
            if number % TURN == 0:
                await asyncio.sleep(0)
        change, again = self._table.update(built)
        if change:
            script = nftables.transaction(TABLE, change)
            if self._fresh:
                script = f"add table {TABLE}\ndelete table {TABLE}\nadd table {TABLE}\n{script}"
            await nftables.apply(script)
            self._fresh = False
        for key in again:
            self._mark(key)
        if fronts:
            await self._clean(fronts)
        await self._health.update(dict(self._checked.values()))
        self._health.synced_at = self._clock.now()
        if not self._dirty:
            self._health.behind_since = 0.0

    def _built(self, key: str, fronts: Fronts) -> ServiceRules | None:
        namespace, _, name = key.partition("/")
        body = self._services.get(name, namespace)
        service: Service | None = body[PARSED] if body is not None else None
        self._checked.pop(key, None)
        if service is None:
            return None
        slices: list[Slice] = [item[PARSED] for item in self._slices.by_index(BY_SERVICE, key)]
        chosen = {port: choose(service, port, slices, self._place) for port in service.ports}
        for port in service.ports:
            if port.protocol == "udp":
                _add_front(fronts, service, port, chosen[port])
        if service.external_local and service.health_port:
            ready = local_ready(slices, self._place.node)
            self._checked[key] = (service.health_port, Checked(namespace, name, ready))
        here = {item.address for part in slices for item in part.endpoints if item.node == self._place.node}
        return build(service, chosen, here, self._table.orders(key))

    async def _clean(self, fronts: Fronts) -> None:
        try:
            count = await asyncio.to_thread(conntrack.clean, fronts, self._node_ips)
        except OSError as error:
            log.warning("stale UDP flows stay: %s", error)
        else:
            if count:
                log.info("%d stale UDP flows deleted", count)


def _add_front(fronts: Fronts, service: Service, port: Port, chosen: Chosen) -> None:
    right = frozenset(chosen.cluster) | frozenset(chosen.local)
    for address in (service.cluster_ip, *service.external_ips, *service.ingress_ips):
        fronts.addresses[address, port.port] = right
    if port.node_port:
        fronts.ports[port.node_port] = right


def _service_of_slice(body: Object) -> Iterable[str]:
    item: Slice | None = body[PARSED]
    return (item.service,) if item is not None else ()


def _labels_only(body: Object) -> Object:
    metadata = body["metadata"]
    kept = {name: metadata[name] for name in ("name", "uid", "resourceVersion", "labels") if name in metadata}
    return {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": kept}
