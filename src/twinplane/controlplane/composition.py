"""The parts of a control plane put together: API server, controllers, scheduler, cloud controller over one store.

The parts know one another by contracts only; this is where they meet. What they stand on is handed in as a
`Foundation`: `process` makes it from the files and the region of a real cluster, `twinplane.testing` in memory.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from twinplane.clock import Clock
from twinplane.controlplane import node_fleet
from twinplane.controlplane.admission.chain import default_plugins
from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.api.inprocess import InProcessClient
from twinplane.controlplane.api.objects.cache import ObjectCache
from twinplane.controlplane.api.objects.reader import CacheReader
from twinplane.controlplane.api.runtime import KubeletDialer, ServerRuntime
from twinplane.controlplane.api.server import ApiServer
from twinplane.controlplane.api.types.contract import TypeRegistry
from twinplane.controlplane.api.types.registry import Registry
from twinplane.controlplane.api.types.rules import UpstreamRules
from twinplane.controlplane.auth.access import PolicyGrants
from twinplane.controlplane.auth.bootstrap import ensure_bootstrap_objects
from twinplane.controlplane.auth.contract import AUTHENTICATED, MASTERS, Authenticator, UserInfo
from twinplane.controlplane.cloudcontroller import all as cloud_controllers
from twinplane.controlplane.cloudcontroller.aws import AwsClients
from twinplane.controlplane.cloudcontroller.ingress import bootstrap as ingress
from twinplane.controlplane.cloudcontroller.node.feed import InstanceFeed
from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.controlplane.controllers.all import controllers
from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.runner import ControllerRunner
from twinplane.controlplane.identity import identity_of
from twinplane.controlplane.scheduler.loop import Scheduler
from twinplane.controlplane.store.contract import Store
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.event_recorder import EventBroadcaster
from twinplane.kubeclient.informer import SharedInformers

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

LOOPBACK = UserInfo("system:apiserver", (MASTERS, AUTHENTICATED))
"""Upstream's privileged loopback client: the API server acting for itself."""
CONTROLLERS = UserInfo("system:kube-controller-manager", (MASTERS, AUTHENTICATED))
SCHEDULER = UserInfo("system:kube-scheduler", (AUTHENTICATED,))
CLOUD_CONTROLLER = UserInfo("eks:cloud-controller-manager", (MASTERS, AUTHENTICATED))


@dataclass(frozen=True, slots=True)
class Foundation:
    """What a control plane stands on. Whoever makes it closes what has to be closed."""

    configuration: ControlPlaneConfiguration
    clock: Clock
    random: Random
    store: Store
    registry: Registry
    certificate_authority: str
    """PEM; what every namespace's `kube-root-ca.crt` holds."""
    service_account_key: RSAPrivateKey
    authenticators: Callable[[ObjectReader, PolicyGrants], Sequence[Authenticator]]
    """Beside client certificates and service accounts: IAM, or the static token of a test."""
    kubelet: KubeletDialer
    feed: InstanceFeed
    aws: AwsClients | None
    """None: there are no load balancers."""


class LateHandler:
    """Stands for the server while its admission plugins, which call it, are being made."""

    def __init__(self) -> None:
        self.server: ApiServer | None = None

    async def handle(self, request: Any) -> Any:
        assert self.server is not None
        return await self.server.handle(request)


@asynccontextmanager
async def api_server(foundation: Foundation) -> AsyncIterator[ApiServer]:
    """The API server with what every cluster has in its store; listening is the caller's matter."""
    configuration, clock, random = foundation.configuration, foundation.clock, foundation.random
    registry = foundation.registry
    rules = UpstreamRules(registry)
    cache = ObjectCache(foundation.store, registry, rules)
    await cache.start()
    try:
        reader = CacheReader(cache, registry)
        identity = identity_of(configuration, foundation.service_account_key, reader, foundation.authenticators, clock)
        late = LateHandler()
        loopback = InProcessClient(late, LOOPBACK, "kube-apiserver")
        plugins = default_plugins(
            reader,
            loopback,
            clock,
            random,
            rbac=identity.rbac,
            authorizer=identity.authorizer,
            service_cidr=configuration.service_cidr,
        )
        late.server = server = ApiServer(
            ServerRuntime(
                store=foundation.store,
                cache=cache,
                registry=registry,
                rules=rules,
                authenticator=identity.authenticator,
                authorizer=identity.authorizer,
                admission=tuple(plugins),
                clock=clock,
                random=random,
                version=version_info(configuration.version),
                create_token=identity.create_token,
                review_token=identity.review_token,
                rules_for=identity.rbac.rules_for,
                kubelet=foundation.kubelet,
                documents=identity.documents,
            )
        )
        # What every cluster has is there before the first client can connect.
        await ensure_bootstrap_objects(loopback, service_cidr=configuration.service_cidr)
        await _ensure(loopback, registry, [*ingress.bootstrap_objects(), *node_fleet.bootstrap_objects()])
        yield server
    finally:
        await cache.close()


class Control:
    """Controllers, scheduler and cloud controller over one set of informers: make it, then `run` it."""

    def __init__(self, server: ApiServer, foundation: Foundation) -> None:
        clock, random = foundation.clock, foundation.random
        client = InProcessClient(server, CONTROLLERS, "kube-controller-manager")
        self._foundation = foundation
        self.informers = SharedInformers(client, random)
        self.broadcaster = EventBroadcaster(client, clock)
        context = Context(
            client=client,
            informers=self.informers,
            clock=clock,
            random=random,
            events=self.broadcaster.recorder("controllermanager"),
            options=controller_options(foundation.configuration),
        )
        self.scheduler = Scheduler(
            InProcessClient(server, SCHEDULER, "kube-scheduler"),
            self.informers,
            clock,
            random,
            self.broadcaster.recorder("default-scheduler"),
        )
        running = [
            *controllers(
                context,
                types=lambda: collected_types(foundation.registry),
                root_certificate=foundation.certificate_authority,
                recorders=self.broadcaster.recorder,
            ),
            *self._cloud_controllers(server, context),
        ]
        self.runner = ControllerRunner(running, self.informers)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.broadcaster.run(), name="events")
            tasks.create_task(self._foundation.feed.run(), name="instance feed")
            tasks.create_task(self.scheduler.run(), name="scheduler")
            tasks.create_task(self.runner.run(), name="controllers")

    def _cloud_controllers(self, server: ApiServer, context: Context) -> list[Controller]:
        configuration = self._foundation.configuration
        return cloud_controllers.controllers(
            replace(
                context,
                client=InProcessClient(server, CLOUD_CONTROLLER, "aws-cloud-controller-manager"),
                events=self.broadcaster.recorder("service-controller"),
            ),
            self._foundation.aws,
            cluster_name=configuration.cluster,
            vpc_id=configuration.vpc_id,
            region=configuration.region,
            feed=self._foundation.feed,
        )


def collected_types(registry: TypeRegistry) -> list[Resource]:
    """What garbage and namespaces are collected of: each listable, deletable type in its preferred version."""
    preferred: dict[tuple[str, str], Resource] = {}
    for entry in registry.all():
        resource = entry.resource
        if not entry.persisted or not {"list", "watch", "delete"} <= set(entry.verbs):
            continue
        # Events are served by two groups and stored once; one of the two is enough.
        if entry.storage is not None and entry.storage.group != resource.group:
            continue
        key = (resource.group, resource.plural)
        if key not in preferred or resource.version == registry.preferred_version(resource.group):
            preferred[key] = resource
    return list(preferred.values())


def controller_options(configuration: ControlPlaneConfiguration) -> dict[str, str]:
    return {
        "cluster-name": configuration.cluster,
        "service-cidr": configuration.service_cidr,
        "advertise-address": configuration.host,
        "advertise-port": str(configuration.port),
    }


def version_info(minor_version: str) -> Object:
    """The body of /version, in the form of EKS's builds (`v1.36.0-eks-...`)."""
    major, _, minor = minor_version.partition(".")
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": f"v{minor_version}.0-eks-twinplane",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"linux/{'arm64' if platform.machine() == 'aarch64' else 'amd64'}",
    }


async def _ensure(client: KubeClient, registry: TypeRegistry, objects: Iterable[Object]) -> None:
    for body in objects:
        group, _, version = body["apiVersion"].rpartition("/")
        found = registry.by_kind(group, version, body["kind"])
        assert found is not None, body["kind"]
        try:
            await client.create(found.resource, body, body["metadata"].get("namespace"))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
