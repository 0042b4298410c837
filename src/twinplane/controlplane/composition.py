"""The parts of a control plane put together: API server, controllers, scheduler, cloud controller over one store.

The parts know one another by contracts only; this is where they meet. What they stand on is handed in as a
`Foundation`: `process` makes it from the files and the region of a real cluster, `twinplane.testing` in memory.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from twinplane.clock import Clock
from twinplane.controlplane import node_agents, node_fleet
from twinplane.controlplane.addons import bootstrap as addons
from twinplane.controlplane.admission.chain import default_plugins
from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.admission.dynamic import DynamicAdmission
from twinplane.controlplane.admission.pod_identity import IsAssociated, PodIdentity, nobody
from twinplane.controlplane.admission.policies.type_checking import TypeChecker
from twinplane.controlplane.admission.shared_reservations import SharedReservations
from twinplane.controlplane.admission.webhooks.expressions import Compiler
from twinplane.controlplane.api.extensions.aggregation.certificate import (
    authentication_config,
    front_proxy_certificate,
)
from twinplane.controlplane.api.extensions.dialing import EndpointResolver, Reach
from twinplane.controlplane.api.extensions.extensions import ApiExtensions
from twinplane.controlplane.api.fairness import bootstrap as fairness
from twinplane.controlplane.api.fairness.fairness import Fairness, stored_count
from twinplane.controlplane.api.fairness.status import FlowSchemaStatusController
from twinplane.controlplane.api.identity_lease import IdentityLease
from twinplane.controlplane.api.inprocess import InProcessClient
from twinplane.controlplane.api.objects.cache import ObjectCache
from twinplane.controlplane.api.objects.reader import CacheReader
from twinplane.controlplane.api.runtime import KubeletDialer, ServerRuntime
from twinplane.controlplane.api.server import ApiServer
from twinplane.controlplane.api.types.contract import TypeRegistry
from twinplane.controlplane.api.types.registry import Registry
from twinplane.controlplane.api.types.rules import UpstreamRules
from twinplane.controlplane.audit.running import auditing
from twinplane.controlplane.auth.access import PolicyGrants
from twinplane.controlplane.auth.authorization import UnionAuthorizer
from twinplane.controlplane.auth.bootstrap import ensure_bootstrap_objects
from twinplane.controlplane.auth.contract import AUTHENTICATED, MASTERS, Authenticator, UserInfo
from twinplane.controlplane.auth.legacy_token_use import LegacyTokenUse
from twinplane.controlplane.auth.service_account_token import TokenIssuer
from twinplane.controlplane.cloudcontroller import all as cloud_controllers
from twinplane.controlplane.cloudcontroller.aws import AwsClients
from twinplane.controlplane.cloudcontroller.ingress import bootstrap as ingress
from twinplane.controlplane.cloudcontroller.node.feed import InstanceFeed
from twinplane.controlplane.cloudcontroller.volume import bootstrap as volume
from twinplane.controlplane.cloudcontroller.volume import ebs
from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.controlplane.controllers import flags as controller_flags
from twinplane.controlplane.controllers.admissionpolicystatus.controller import AdmissionPolicyStatusController
from twinplane.controlplane.controllers.all import controllers
from twinplane.controlplane.controllers.certificates.controllers import certificate_controllers
from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.runner import ControllerRunner
from twinplane.controlplane.identity import identity_of
from twinplane.controlplane.resourcemetrics import bootstrap as resource_metrics
from twinplane.controlplane.resourcemetrics.answers import ResourceMetrics
from twinplane.controlplane.scheduler import configuration as scheduler_configuration
from twinplane.controlplane.scheduler.configuration import SchedulerConfiguration
from twinplane.controlplane.scheduler.loop import Scheduler
from twinplane.controlplane.store.contract import Store
from twinplane.edge import AWS_ENDPOINT
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.event_recorder import EventBroadcaster
from twinplane.kubeclient.informer import SharedInformers
from twinplane.kubeclient.resources import DEVICE_TAINT_RULES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

LOOPBACK = UserInfo("system:apiserver", (MASTERS, AUTHENTICATED))
"""Upstream's privileged loopback client: the API server acting for itself."""
CONTROLLERS = UserInfo("system:kube-controller-manager", (MASTERS, AUTHENTICATED))
SCHEDULER = UserInfo("system:kube-scheduler", (AUTHENTICATED,))
IN_FLIGHT_MAX = 32
"""Requests at once of the controllers and of the scheduler: enough to share the store's commits."""
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
    is_associated: IsAssociated = nobody
    """Which service accounts EKS Pod Identity serves."""
    reach: Reach = str
    """Where an address of the VPC is reached from here."""


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
    async with AsyncExitStack() as closing:
        closing.push_async_callback(cache.close)
        reader = CacheReader(cache, registry)
        identity = identity_of(configuration, foundation.service_account_key, reader, foundation.authenticators, clock)
        late = LateHandler()
        loopback = InProcessClient(late, LOOPBACK, "kube-apiserver")
        resolve = EndpointResolver(reader, random, foundation.reach)
        dynamic = DynamicAdmission(
            reader,
            registry,
            rules,
            identity.authorizer,
            random,
            resolve=resolve,
        )
        closing.push_async_callback(dynamic.close)
        audit = await closing.enter_async_context(
            auditing(configuration.audit_policy_file, configuration.audit_log_file, clock, random)
        )
        plugins = default_plugins(
            reader,
            loopback,
            clock,
            random,
            rbac=identity.rbac,
            authorizer=identity.authorizer,
            service_cidr=configuration.service_cidr,
            shared=SharedReservations(foundation.store, clock) if configuration.replicas > 1 else None,
            minor_version=int(configuration.version.partition(".")[2]),
            webhooks=[
                PodIdentity(reader, configuration.region, AWS_ENDPOINT, foundation.is_associated),
                *dynamic.plugins,
            ],
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
                fairness=Fairness(reader, stored_count(cache, registry)),
                audit=audit,
            )
        )
        # Before the first client can connect.
        await seed(loopback, foundation)
        metrics = ResourceMetrics(reader, foundation.kubelet, clock)
        closing.push_async_callback(metrics.close)
        extensions = ApiExtensions(
            server,
            loopback,
            reader,
            own={resource_metrics.NAME: metrics},
            certificate=lambda: front_proxy_certificate(configuration.ca_file, configuration.ca_key_file, clock.now()),
            resolve=resolve,
        )
        use = LegacyTokenUse(loopback, clock)
        identity.accounts.used = use.mark
        lease = IdentityLease(loopback, clock, random, f"{configuration.cluster}-{configuration.replica}")
        async with extensions.running(), use.running(), lease.running():
            yield server


async def seed(loopback: KubeClient, foundation: Foundation) -> None:
    """What every cluster has in its store; what is there already stays as it is."""
    configuration = foundation.configuration
    await ensure_bootstrap_objects(loopback, service_cidr=configuration.service_cidr)
    await fairness.ensure_bootstrap_objects(loopback)
    for part in (ingress, volume, node_fleet, node_agents, resource_metrics):
        await _ensure(loopback, foundation.registry, part.bootstrap_objects())
    if configuration.interface_addresses:
        await _ensure(loopback, foundation.registry, addons.objects(configuration.region, configuration.service_cidr))
    await _ensure(loopback, foundation.registry, [authentication_config(foundation.certificate_authority)])


class Control:
    """Controllers, scheduler and cloud controller over one set of informers: make it, then `run` it."""

    def __init__(self, server: ApiServer, foundation: Foundation) -> None:
        client = InProcessClient(server, CONTROLLERS, "kube-controller-manager", in_flight_max=IN_FLIGHT_MAX)
        self._foundation = foundation
        self.informers = SharedInformers(client, foundation.random)
        self.broadcaster = EventBroadcaster(client, foundation.clock)
        context = context_of(server, foundation, self.informers, self.broadcaster)
        self.scheduler = scheduler_of(server, foundation, self.informers, self.broadcaster)
        running = [
            *controllers_of(foundation, context, self.broadcaster),
            *cloud_controllers_of(server, foundation, context, self.broadcaster),
        ]
        self.runner = ControllerRunner(running, self.informers)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.broadcaster.run(), name="events")
            tasks.create_task(self._foundation.feed.run(), name="instance feed")
            tasks.create_task(self.scheduler.run(), name="scheduler")
            tasks.create_task(self.runner.run(), name="controllers")


def context_of(
    server: ApiServer, foundation: Foundation, informers: SharedInformers, broadcaster: EventBroadcaster
) -> Context:
    return Context(
        client=InProcessClient(server, CONTROLLERS, "kube-controller-manager", in_flight_max=IN_FLIGHT_MAX),
        informers=informers,
        clock=foundation.clock,
        random=foundation.random,
        events=broadcaster.recorder("controllermanager"),
        options=controller_options(foundation.configuration),
    )


def scheduler_of(
    server: ApiServer, foundation: Foundation, informers: SharedInformers, broadcaster: EventBroadcaster
) -> Scheduler:
    """Raises `BadSchedulerConfiguration` for a configuration file with mistakes."""
    client = InProcessClient(server, SCHEDULER, "kube-scheduler", in_flight_max=IN_FLIGHT_MAX)
    return Scheduler(
        client,
        informers,
        foundation.clock,
        foundation.random,
        broadcaster.recorder,
        configuration=scheduler_configuration_of(foundation.configuration),
        taint_rules=DEVICE_TAINT_RULES in collected_types(foundation.registry),
    )


def controllers_of(foundation: Foundation, context: Context, broadcaster: EventBroadcaster) -> list[Controller]:
    configuration = foundation.configuration
    issuer = TokenIssuer(foundation.service_account_key, issuer=configuration.issuer, clock=foundation.clock)
    return [
        *controllers(
            context,
            types=lambda: collected_types(foundation.registry),
            root_certificate=foundation.certificate_authority,
            recorders=broadcaster.recorder,
            mint_token=issuer.legacy,
        ),
        FlowSchemaStatusController(context),
        # Checking types evaluates nothing, so nobody is ever asked whether somebody may do something.
        AdmissionPolicyStatusController(
            context, TypeChecker(foundation.registry, Compiler(UnionAuthorizer(()))).warnings
        ),
        *certificate_controllers(context, configuration.ca_file, configuration.ca_key_file),
    ]


def cloud_controllers_of(
    server: ApiServer, foundation: Foundation, context: Context, broadcaster: EventBroadcaster
) -> list[Controller]:
    configuration = foundation.configuration
    client = InProcessClient(server, CLOUD_CONTROLLER, "aws-cloud-controller-manager")
    return cloud_controllers.controllers(
        replace(context, client=client, events=broadcaster.recorder("service-controller")),
        foundation.aws,
        cluster_name=configuration.cluster,
        vpc_id=configuration.vpc_id,
        region=configuration.region,
        feed=foundation.feed,
        volume_events=broadcaster.recorder(ebs.DRIVER),
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


def check_files(configuration: ControlPlaneConfiguration) -> None:
    """Before anything is started. Raises ValueError for a file with mistakes."""
    scheduler_configuration_of(configuration)
    controller_flags_of(configuration)


def scheduler_configuration_of(configuration: ControlPlaneConfiguration) -> SchedulerConfiguration:
    """Raises `BadSchedulerConfiguration`."""
    file = configuration.scheduler_config_file
    return scheduler_configuration.load(Path(file)) if file else SchedulerConfiguration()


def controller_flags_of(configuration: ControlPlaneConfiguration) -> dict[str, str]:
    """Raises `BadControllerFlags`."""
    file = configuration.controller_manager_config_file
    return controller_flags.load(Path(file)) if file else {}


def controller_options(configuration: ControlPlaneConfiguration) -> dict[str, str]:
    """Raises `BadControllerFlags`."""
    return controller_flags_of(configuration) | {
        "cluster-name": configuration.cluster,
        "kubernetes-version": configuration.version,
        "service-cidr": configuration.service_cidr,
        "advertise-addresses": ",".join(configuration.interface_addresses or (configuration.host,)),
        "advertise-port": str(443 if configuration.interface_addresses else configuration.port),
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
