"""ipamd: the node's pod addresses, kept warm, given to sandboxes, and taken back.

The CNI plugin's calls take from a pool that `supply` keeps full through EC2. State lies in a checkpoint, and in
the kernel: a restarted agent disturbs no pod, and needs neither EC2 nor the API server.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from twinplane.clock import Clock
from twinplane.dataplane.aws import Aws, AwsError
from twinplane.dataplane.network import nftables
from twinplane.dataplane.network.cni import checkpoint, host, protocol, wiring
from twinplane.dataplane.network.cni.checkpoint import Known
from twinplane.dataplane.network.cni.interfaces import Interfaces
from twinplane.dataplane.network.cni.pool import KEPT_SECONDS, Interface, Limits, Owner, Pool
from twinplane.dataplane.network.cni.protocol import CniError, Request
from twinplane.dataplane.network.cni.settings import Settings
from twinplane.dataplane.network.cni.supply import Supply
from twinplane.dataplane.network.nftables import Ruleset
from twinplane.dataplane.node.contract import IPAMD_SOCKET, NodeConfiguration
from twinplane.kubeclient.contract import Object

log = logging.getLogger(__name__)

CHECKPOINT = Path("/run/twinplane/ipam.json")
START_RETRY_SECONDS = 1.0
NO_ADDRESS = "add cmd: failed to assign an IP address to container"
NO_NETWORK = "add cmd: failed to setup network"


class Recorder(Protocol):
    def event(self, regarding: Object, type: str, reason: str, message: str) -> None: ...


class Ipamd:
    """`run` until cancelled. The node's network is ready (and the CNI's configuration written) when `ready` is set."""

    def __init__(
        self,
        configuration: NodeConfiguration,
        aws: Aws,
        clock: Clock,
        *,
        environment: Mapping[str, str] | None = None,
        recorder: Recorder | None = None,
        socket: Path = IPAMD_SOCKET,
        state: Path = CHECKPOINT,
        binaries: Path = Path("/opt/cni/bin"),
        configurations: Path = Path("/etc/cni/net.d"),
    ) -> None:
        """`environment` is the aws-node add-on's."""
        machine = configuration.machine
        self.ready = asyncio.Event()
        self.settings = Settings.of(environment or {})
        self._configuration = configuration
        self._clock = clock
        self._recorder = recorder
        self._interfaces = Interfaces(aws, machine.instance_id, machine.vpc_id, machine.subnet_id)
        self._socket = socket
        self._state = state
        self._binaries = binaries
        self._configurations = configurations
        self._known: Known
        self._supply: Supply
        self._rules = Ruleset()
        self._rules_lock = asyncio.Lock()
        self._threads = ThreadPoolExecutor(2, "cni")
        self._under_way: set[str] = set()
        """Addresses of sandboxes that are being set up: their veths need not be there yet."""

    @property
    def pool(self) -> Pool:
        return self._known.pool

    async def run(self) -> None:
        try:
            await self._start()
            server = await protocol.Server(self._socket, self.answer).start()
            async with server:
                protocol.install(self._socket, self._binaries)
                protocol.write_conflist(self.settings.veth_prefix, self.settings.mtu, self._configurations)
                self.ready.set()
                await self._supply.run(self._reconcile)
        finally:
            self._threads.shutdown(wait=False)

    # -- start ---------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        known = checkpoint.read(self._state)
        reconciled_at = self._clock.now() if known is None else 0.0
        while known is None:
            try:
                known = await self._learnt()
            except (AwsError, OSError) as error:
                log.warning("the node's interfaces are not known yet: %s", error)
                await asyncio.sleep(START_RETRY_SECONDS)
        known.limits = replace(known.limits, max_pods=self._configuration.max_pods)
        self._known = known
        self._supply = Supply(
            known,
            self.settings,
            self._interfaces,
            self._clock,
            set_up=self._set_up,
            changed=self._save,
            full=self._subnet_is_full,
            reconciled_at=reconciled_at,
        )
        await self._in_thread(host.prepare)
        await self._recover()
        for interface in list(self.pool.interfaces.values()):
            if not await self._set_up(interface) and not any(interface.addresses.values()):
                # Learnt again when it is there.
                del self.pool.interfaces[interface.id]
        self._rules = self._wanted_rules()
        await nftables.apply(nftables.replacement(host.TABLE, self._rules))
        self._save()

    async def _learnt(self) -> Known:
        machine = self._configuration.machine
        interfaces, per_interface = await self._interfaces.limits(machine.instance_type)
        attached = await self._interfaces.attached(self._clock.now())
        pool = Pool({item.id: item for item in attached})
        limits = Limits(interfaces, per_interface, self._configuration.max_pods)
        return Known(pool, limits, await self._interfaces.network())

    async def _recover(self) -> None:
        """The checkpoint against the kernel: who is connected has an address, and nobody else."""
        connected = await self._in_thread(partial(wiring.connected, self.settings.veth_prefix))
        for address, owner in self.pool.owned().items():
            if address not in connected:
                # After a reboot: all pods need their addresses at once, and each gets its own.
                await self._forget(address, owner)
                self.pool.keep(address, owner, self._clock.now() + KEPT_SECONDS)
        owned = self.pool.owned()
        for address, (veth, _) in connected.items():
            interface = self.pool.find(address)
            if interface is not None and address not in owned:
                interface.addresses[address] = Owner("", "", "", veth, "")

    async def _set_up(self, interface: Interface) -> bool:
        if interface.device == 0:
            return True
        try:
            await host.set_up(interface, self._known.network, self.settings.mtu, self._threads)
        except OSError as error:
            # TimeoutError too: the device did not come.
            log.warning("interface %s cannot be set up: %s", interface.id, error or "no device")
            return False
        return True

    # -- the plugin's calls --------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> dict[str, Any]:
        match request.command:
            case "ADD":
                return await self._add(request)
            case "DEL":
                await self._delete(request)
            case "CHECK":
                await self._check(request)
            case _:
                raise CniError(f"unknown CNI_COMMAND: {request.command}")
        return {}

    def _owner(self, request: Request) -> Owner:
        namespace = request.arguments.get("K8S_POD_NAMESPACE", "")
        pod = request.arguments.get("K8S_POD_NAME", "") or request.container
        ports = _ports((request.config.get("runtimeConfig") or {}).get("portMappings") or ())
        veth = wiring.veth_name(self.settings.veth_prefix, namespace, pod)
        return Owner(request.container, namespace, pod, veth, wiring.random_mac(os.urandom(6)), ports)

    async def _add(self, request: Request) -> dict[str, Any]:
        owner = self._owner(request)
        before = self.pool.of(request.container)
        if before is not None:
            # A call that was broken off: its address is as good as new.
            self.pool.release(before[0], 0.0)
            self.pool.cooling.pop(before[0], None)
        taken = await self._supply.take(owner)
        if taken is None:
            raise CniError(NO_ADDRESS)
        address, interface = taken
        self._under_way.add(address)
        try:
            self._save()
            sandbox = wiring.Sandbox(
                request.namespace,
                request.interface,
                owner.mac,
                address,
                owner.veth,
                wiring.table_of(interface.device),
                self.settings.mtu,
            )
            await self._in_thread(partial(wiring.connect, sandbox))
            if owner.ports:
                await self._sync_rules()
        except (OSError, nftables.NftablesError) as error:
            log.warning("sandbox %s of %s/%s: %s", owner.container, owner.namespace, owner.pod, error)
            await self._forget(address, owner)
            raise CniError(f"{NO_NETWORK}: {error}") from error
        finally:
            self._under_way.discard(address)
        self._supply.poke()
        return _result(request, owner, address)

    async def _delete(self, request: Request) -> None:
        """Of a sandbox that is not known too: the runtime repeats a deletion until it succeeds."""
        found = self.pool.of(request.container)
        if found is None:
            veth = self._owner(request).veth
            owned = self.pool.owned().items()
            found = next((entry for entry in owned if entry[1].veth == veth and not entry[1].container), None)
        if found is not None:
            await self._forget(*found)
            if found[1].ports:
                await self._sync_rules()
            self._supply.poke()

    async def _check(self, request: Request) -> None:
        found = self.pool.of(request.container)
        connected = await self._in_thread(partial(wiring.connected, self.settings.veth_prefix))
        if found is None or found[0] not in connected:
            raise CniError("check cmd: the container is not on the network")

    async def _forget(self, address: str, owner: Owner) -> None:
        interface = self.pool.find(address)
        table = wiring.table_of(interface.device if interface is not None else 0)
        # A new sandbox of the same pod has the same veth: it is no longer this one's to take away.
        others = (other.veth for place, other in self.pool.owned().items() if place != address)
        veth = owner.veth if owner.veth not in others else ""
        await self._in_thread(partial(wiring.disconnect, veth, address, table))
        self.pool.release(address, self._clock.now() + self.settings.cooldown_seconds)
        self._save()

    # -- what is really there ------------------------------------------------------------------------------------

    def _subnet_is_full(self, message: str) -> None:
        if self._recorder is not None:
            name = self._configuration.name
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}}
            self._recorder.event(node, "Warning", "InsufficientCidrBlocks", message)

    async def _reconcile(self) -> None:
        attached = await self._interfaces.attached(self._clock.now())
        self._known.network = await self._interfaces.network()
        present = {item.id for item in attached}
        for interface in attached:
            if interface.id in self.pool.interfaces or await self._set_up(interface):
                self.pool.learn(interface)
        for interface in list(self.pool.interfaces.values()):
            if interface.id not in present and not any(interface.addresses.values()):
                del self.pool.interfaces[interface.id]
        connected = await self._in_thread(partial(wiring.connected, self.settings.veth_prefix))
        for address, owner in self.pool.owned().items():
            if address not in connected and address not in self._under_way:
                await self._forget(address, owner)
        await self._sync_rules()

    # -- rules ---------------------------------------------------------------------------------------------------

    def _wanted_rules(self) -> Ruleset:
        primary = self._configuration.machine.private_ip
        return host.ruleset(self.settings, self._known.network, primary, self.pool.owned().items())

    async def _sync_rules(self) -> None:
        async with self._rules_lock:
            wanted = self._wanted_rules()
            change = nftables.difference(self._rules, wanted)
            if change:
                await nftables.apply(nftables.transaction(host.TABLE, change))
                self._rules = wanted

    def _save(self) -> None:
        checkpoint.write(self._state, self._known)

    async def _in_thread(self, function: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)


def _ports(mappings: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, str, int, int], ...]:
    """Keys count whatever their case, as in Go: containerd writes `HostPort`, the CNI conventions say `hostPort`."""
    found = ({key.lower(): value for key, value in item.items()} for item in mappings)
    return tuple(
        (
            str(item.get("protocol") or "tcp").lower(),
            str(item.get("hostip") or ""),
            int(item["hostport"]),
            int(item["containerport"]),
        )
        for item in found
        if item.get("hostport")
    )


def _result(request: Request, owner: Owner, address: str) -> dict[str, Any]:
    assigned: dict[str, Any] = {"address": f"{address}/32", "interface": 1}
    if request.version < VERSION_WITHOUT_FAMILY:
        assigned["version"] = "4"
    return {
        "interfaces": [
            {"name": owner.veth},
            {"name": request.interface, "mac": owner.mac, "sandbox": request.namespace},
        ],
        "ips": [assigned],
        "routes": [{"dst": "0.0.0.0/0", "gw": wiring.GATEWAY}],
        "dns": {},
    }


VERSION_WITHOUT_FAMILY = "1.0.0"
"""Before it a result says of each address that it is IPv4."""
