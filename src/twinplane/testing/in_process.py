"""A whole cluster on the event loop of a test: API server, controllers, scheduler, and simulated nodes on request.

The parts are those of a real control-plane process (`controlplane.composition`) on a store in memory. With a clock of
virtual time it listens on no socket and is used through `Cluster.client`; otherwise it also serves TLS on loopback.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from twinplane.clock import Clock, SystemClock
from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.encoding import stamp
from twinplane.controlplane.api.http.server import HttpServer, serve
from twinplane.controlplane.api.inprocess import InProcessClient
from twinplane.controlplane.api.runtime import KubeletDialer
from twinplane.controlplane.api.server import ApiServer
from twinplane.controlplane.api.streams.upstream import Upstream
from twinplane.controlplane.api.types.registry import Registry, built_in_types
from twinplane.controlplane.auth.contract import AUTHENTICATED, UserInfo
from twinplane.controlplane.cloudcontroller.node.feed import InstanceFeed
from twinplane.controlplane.composition import Control, Foundation, api_server
from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.controlplane.store.embedded import EmbeddedStore
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import NODES
from twinplane.testing.credentials import ADMIN, HOST, SharedCredentials, StaticTokens, shared
from twinplane.testing.kubeconfigs import encoded, kubeconfig
from twinplane.testing.memory_account import MemoryAccount, instance_type_facts
from twinplane.testing.settling import State, settle
from twinplane.testing.virtual_time import VirtualClock, VirtualTimeLoop

if TYPE_CHECKING:
    from twinplane.testing.simulated_nodes import SimulatedNodes

NAME = "test"
REGION = "us-west-2"
DEFAULT_VERSION = "1.36"
SETTLE_SECONDS = 30.0
CLOSE_GRACE_SECONDS = 0.02
"""What running requests get when the cluster closes; watches would never end by themselves."""
SEED = 7


@asynccontextmanager
async def cluster(
    nodes: int = 0,
    version: str = DEFAULT_VERSION,
    clock: Clock | None = None,
    instance_type: str = "m5.large",
    zones: int = 3,
) -> AsyncIterator[Cluster]:
    """A cluster of its own, at rest and with all `nodes` ready when the block begins, gone when it ends.

    `version` is a minor version ("1.36"). `zones` is over how many availability zones nodes are spread. Without a
    `clock`, time is the machine's, or that of the loop when it is a `VirtualTimeLoop`. Raises ValueError for a version
    that is not known, and whatever stopped a component while the block ran.
    """
    made = Cluster(version, clock or _clock_of_loop(), instance_type, zones)
    async with AsyncExitStack() as stack:
        await made.start(stack)
        if nodes:
            await made.add_nodes(nodes)
        yield made


class Cluster:
    """Made by `cluster`."""

    def __init__(self, version: str, clock: Clock, instance_type: str, zones: int) -> None:
        if not 1 <= zones <= 6:
            raise ValueError(f"zones: {zones} is not between 1 and 6")
        self.version = version
        self.clock = clock
        self._instance_type = instance_type
        self._zones = [f"{REGION}{letter}" for letter in "abcdef"[:zones]]
        self._random = Random(SEED)
        self._credentials: SharedCredentials = shared()
        self._numbers = itertools.count(1)
        self._account = MemoryAccount("10.0.0.0/16", region=REGION, cluster=NAME)
        self._kubelets = Kubelets()
        self._nodes: SimulatedNodes | None = None
        self._listener: HttpServer | None = None
        self._folder: Path | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # -- clients -------------------------------------------------------------------------------------------------

    def client(self, user: str = "", groups: Sequence[str] = (), *, agent: str = "twinplane-test") -> InProcessClient:
        """Without sockets, as the administrator or as `user`, who passes authorization like everybody else."""
        who = UserInfo(user, (*groups, AUTHENTICATED)) if user else ADMIN
        return InProcessClient(self._server, who, agent)

    @property
    def url(self) -> str:
        """`https://127.0.0.1:PORT`. Raises RuntimeError in virtual time, where nothing listens."""
        if self._listener is None:
            raise RuntimeError("in virtual time a cluster has no sockets; use client()")
        return f"https://{HOST}:{self._listener.port}"

    @property
    def token(self) -> str:
        """The administrator's bearer token."""
        return self._credentials.admin_token

    @property
    def certificate_authority(self) -> str:
        """PEM."""
        return self._credentials.authority

    @property
    def kubeconfig(self) -> Path:
        """A file for official clients, of the administrator; it goes with the cluster."""
        if self._folder is None:
            text = self.kubeconfig_text()
            self._folder = Path(mkdtemp(prefix="twinplane-"))
            (self._folder / "kubeconfig").write_text(text)
        return self._folder / "kubeconfig"

    def kubeconfig_text(self, user: str = "", groups: Sequence[str] = ()) -> str:
        """With the administrator's token, or a client certificate for `user` in `groups`."""
        if not user:
            return kubeconfig(self.url, self.certificate_authority, {"token": self.token})
        issued = self._credentials.client_certificate(user, groups)
        entry = {
            "client-certificate-data": encoded(issued.certificate),
            "client-key-data": encoded(issued.key),
        }
        return kubeconfig(self.url, self.certificate_authority, entry)

    # -- nodes ---------------------------------------------------------------------------------------------------

    async def add_nodes(
        self,
        count: int = 1,
        *,
        instance_type: str = "",
        labels: Mapping[str, str] | None = None,
        taints: Sequence[str] = (),
    ) -> list[str]:
        """Simulated nodes, ready when this returns: their names. `taints` as `key=value:Effect`."""
        from twinplane.testing.simulated_nodes import node_config

        kind = instance_type or self._instance_type
        instance_type_facts(kind)
        self._simulate()
        user_data = node_config(labels or {}, taints)
        names = []
        for number in itertools.islice(self._numbers, count):
            zone = self._zones[(number - 1) % len(self._zones)]
            instance = self._account.start(number, zone, instance_type=kind, user_data=user_data)
            names.append(str(instance["private_dns_name"]))
        await self.settle()
        return names

    async def terminate_node(self, name: str) -> None:
        """As if its EC2 instance were terminated: the Node goes, its pods are replaced elsewhere."""
        node = await self.client().get(NODES, name)
        self._account.terminate(node["spec"]["providerID"].rpartition("/")[2])

    def _simulate(self) -> None:
        if self._nodes is not None:
            return
        from twinplane.dataplane.simulation.nodes import NodeTemplate
        from twinplane.testing.simulated_nodes import NO_SOCKET, SimulatedNodes

        template = NodeTemplate(NAME, REGION, self.version, NO_SOCKET, boot_seconds=0.0)
        self._nodes = self._kubelets.nodes = SimulatedNodes(
            self._server, self._account, template, self.clock, self._random
        )
        self._run(self._nodes.run(), "simulated nodes")

    # -- coming to rest ------------------------------------------------------------------------------------------

    async def settle(self, timeout: float = SETTLE_SECONDS) -> None:
        """Until controllers, scheduler and simulated nodes have nothing to do now, nor within two seconds.

        Raises `TimeoutError` with the names of those who are still busy, and whatever stopped one of them.
        """
        await settle(self._state, timeout)
        self._check()

    def _state(self) -> State:
        self._check()
        busy = [name for name, idle in self._parts() if not idle]
        # What is put off matters only once nobody is busy: looking is not free, and this is asked every turn.
        due = None if busy else min((due for due in self._dues() if due is not None), default=None)
        return State(busy, due, self._store.revision)

    def _parts(self) -> Iterator[tuple[str, bool]]:
        """Everybody who may have work now, and whether he has none."""
        control, runtime = self._control, self._server.runtime
        yield "requests", not any(runtime.metrics.in_flight.values())
        yield "store", runtime.cache.revision == self._store.revision
        yield "controllers", control.runner.started.is_set() and control.runner.idle
        yield "scheduler", control.scheduler.idle
        yield "events", control.broadcaster.idle
        if self._nodes is not None:
            yield "nodes", self._nodes.simulation.idle
            yield "kubelet events", self._nodes.broadcaster.idle

    def _dues(self) -> Iterator[float | None]:
        """Seconds until each comes back to what it put off."""
        yield self._control.runner.next_due()
        yield self._control.scheduler.next_due()
        if self._nodes is not None and (due := self._nodes.simulation.pods.next_due()) is not None:
            yield due - self.clock.now()

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self, stack: AsyncExitStack) -> None:
        """Everything that is started ends with `stack`."""
        self._store = await EmbeddedStore.open(None, stamp=stamp, clock=self.clock)
        stack.push_async_callback(self._store.close)
        reservation = stack.enter_context(socket.socket())
        port = 443 if isinstance(self.clock, VirtualClock) else _reserve_port(reservation)
        foundation = self._foundation(port)
        self._server: ApiServer = await stack.enter_async_context(api_server(foundation))
        self._control = Control(self._server, foundation)
        stack.push_async_callback(self._stop)
        if not isinstance(self.clock, VirtualClock):
            self._listener = await serve(self._server, HOST, port, self._credentials.server_context)
        reservation.close()
        self._run(self._control.run(), "control plane")
        await self.settle()

    def _foundation(self, port: int) -> Foundation:
        credentials = self._credentials
        tokens = StaticTokens({credentials.admin_token: ADMIN})
        feed = InstanceFeed(self._account.get, NAME)
        return Foundation(
            configuration=_configuration(self.version, port),
            clock=self.clock,
            random=self._random,
            store=self._store,
            registry=_types(self.version),
            certificate_authority=credentials.authority,
            service_account_key=credentials.service_account_key,
            authenticators=lambda reader, grants: [tokens],
            kubelet=self._kubelets,
            feed=feed,
            aws=None,
        )

    def _run(self, part: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(part, name=name))

    def _check(self) -> None:
        """Raises what ended a component, if one has ended."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            await self._listener.close(CLOSE_GRACE_SECONDS)
        if self._folder is not None:
            (self._folder / "kubeconfig").unlink(missing_ok=True)
            self._folder.rmdir()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome


class Kubelets:
    """The API server's way to kubelets (`KubeletDialer`): nodes come later or never."""

    def __init__(self) -> None:
        self.nodes: KubeletDialer | None = None

    async def get(self, node: Object, path: str, query: dict[str, str]) -> Response:
        if self.nodes is None:
            raise ApiError("InternalError", f"dial {node['metadata']['name']}: no kubelet runs there", code=503)
        return await self.nodes.get(node, path, query)

    async def connect(self, node: Object) -> Upstream:
        if self.nodes is None:
            raise OSError(f"dial {node['metadata']['name']}: no kubelet runs there")
        return await self.nodes.connect(node)

    async def reach(self, node: Object | None, host: str, port: int) -> Upstream:
        if self.nodes is None:
            raise OSError(f"dial tcp {host}:{port}: no node runs here")
        return await self.nodes.reach(node, host, port)


def _clock_of_loop() -> Clock:
    loop = asyncio.get_running_loop()
    return VirtualClock(loop) if isinstance(loop, VirtualTimeLoop) else SystemClock()


@cache
def _built_in_types(version: str) -> Registry:
    return built_in_types(version)


def _types(version: str) -> Registry:
    """A table of its own for each cluster, over schemas that all clusters of the process share."""
    return _built_in_types(version).copy()


def _reserve_port(reservation: socket.socket) -> int:
    """A port that is ours while `reservation` is open: the cluster's objects name it before anything listens on it.

    A bound socket that does not listen keeps others from the port and not the server, since both reuse addresses.
    """
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind((HOST, 0))
    port: int = reservation.getsockname()[1]
    return port


def _configuration(version: str, port: int) -> ControlPlaneConfiguration:
    """What a control plane is told of its cluster; what files and the region would say is empty."""
    return ControlPlaneConfiguration(
        cluster=NAME,
        version=version,
        region=REGION,
        account_id="123456789012",
        vpc_id="vpc-1",
        service_cidr="10.100.0.0/16",
        host=HOST,
        port=port,
        store="",
        ca_file="",
        ca_key_file="",
        certificate_file="",
        key_file="",
        kubelet_client_certificate_file="",
        kubelet_client_key_file="",
        service_account_key_file="",
        issuer=f"https://oidc.eks.{REGION}.amazonaws.com/id/{'0' * 32}",
        aws_endpoint="",
        aws_access_key_id="",
        aws_secret_access_key="",
        aws_session_token="",
    )
