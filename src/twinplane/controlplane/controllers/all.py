"""The one list of controllers: read the whole kube-controller-manager here.

The composition root builds it and hands it to a `ControllerRunner`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from twinplane.controlplane.controllers.apiserverendpoint.controller import ApiServerEndpoint
from twinplane.controlplane.controllers.attachdetach.controller import AttachDetachController
from twinplane.controlplane.controllers.clusterroleaggregation.controller import ClusterRoleAggregationController
from twinplane.controlplane.controllers.contract import Context, Controller, EventRecorder
from twinplane.controlplane.controllers.cronjob.controller import CronJobController
from twinplane.controlplane.controllers.daemonset.controller import DaemonSetController
from twinplane.controlplane.controllers.deployment.controller import DeploymentController
from twinplane.controlplane.controllers.devicetainteviction.controller import DeviceTaintEvictionController
from twinplane.controlplane.controllers.disruption.controller import DisruptionController
from twinplane.controlplane.controllers.endpoints.controller import EndpointsController
from twinplane.controlplane.controllers.endpointslice.controller import EndpointSliceController
from twinplane.controlplane.controllers.endpointslicemirroring.controller import EndpointSliceMirroringController
from twinplane.controlplane.controllers.ephemeralvolume.controller import EphemeralVolumeController
from twinplane.controlplane.controllers.garbagecollector.controller import GarbageCollector
from twinplane.controlplane.controllers.horizontalpodautoscaler.controller import HorizontalPodAutoscalerController
from twinplane.controlplane.controllers.horizontalpodautoscaler.metrics import MetricsApi
from twinplane.controlplane.controllers.job.controller import JobController
from twinplane.controlplane.controllers.namespace.controller import NamespaceController
from twinplane.controlplane.controllers.nodelifecycle.controller import NodeLifecycleController
from twinplane.controlplane.controllers.nodettl.controller import NodeTtlController
from twinplane.controlplane.controllers.persistentvolume.controller import PersistentVolumeController
from twinplane.controlplane.controllers.podgc.controller import PodGarbageCollector
from twinplane.controlplane.controllers.replicaset.controller import ReplicaSetController
from twinplane.controlplane.controllers.replicaset.kinds import REPLICA_SET_KIND, REPLICATION_CONTROLLER_KIND
from twinplane.controlplane.controllers.resourceclaim.controller import ResourceClaimController
from twinplane.controlplane.controllers.resourcequota.controller import ResourceQuotaController
from twinplane.controlplane.controllers.scales import Scales
from twinplane.controlplane.controllers.serviceaccount.controller import (
    RootCertificatePublisher,
    ServiceAccountController,
)
from twinplane.controlplane.controllers.serviceaccount.legacy import LegacyTokenCleaner, LegacyTokenTracking
from twinplane.controlplane.controllers.serviceaccount.tokens import Mint, TokensController
from twinplane.controlplane.controllers.servicecidr.controller import ServiceCidrController
from twinplane.controlplane.controllers.statefulset.controller import StatefulSetController
from twinplane.controlplane.controllers.tainteviction.controller import TaintEvictionController
from twinplane.controlplane.controllers.ttlafterfinished.controller import TtlAfterFinishedController
from twinplane.controlplane.controllers.volumeexpand.controller import VolumeExpandController
from twinplane.controlplane.controllers.volumeprotection.attributes_class import AttributesClassProtectionController
from twinplane.controlplane.controllers.volumeprotection.controller import VolumeProtectionController
from twinplane.kubeclient.contract import Resource
from twinplane.kubeclient.resources import DEVICE_TAINT_RULES, RESOURCE_CLAIMS, VOLUME_ATTRIBUTES_CLASSES

Types = Callable[[], Iterable[Resource]]
Recorders = Callable[[str], EventRecorder]


def controllers(
    context: Context,
    *,
    types: Types,
    root_certificate: str,
    recorders: Recorders | None = None,
    mint_token: Mint | None = None,
) -> list[Controller]:
    """Every controller.

    `types` gives, each time it is called, the types that are served now and can be listed, watched and deleted, each in
    one version (the preferred one); `root_certificate` is PEM; `recorders` makes the event recorder of a component
    (`EventBroadcaster.recorder`), without it all use that of the context; `mint_token` signs the lasting tokens of
    Secrets (`TokenIssuer.legacy`), without it these Secrets stay empty.
    """

    def of(component: str) -> Context:
        return replace(context, events=recorders(component)) if recorders is not None else context

    served = set(types())
    attributes = [AttributesClassProtectionController(context)] if VOLUME_ATTRIBUTES_CLASSES in served else []
    devices = _of_devices(of, served) if RESOURCE_CLAIMS in served else []
    scales = Scales(context.client, types)
    tokens = [TokensController(context, mint_token, root_certificate)] if mint_token is not None else []
    return [
        # Workloads
        DeploymentController(of("deployment-controller")),
        ReplicaSetController(of("replicaset-controller"), REPLICA_SET_KIND),
        ReplicaSetController(of("replication-controller"), REPLICATION_CONTROLLER_KIND),
        DaemonSetController(of("daemonset-controller")),
        StatefulSetController(of("statefulset-controller")),
        JobController(of("job-controller")),
        CronJobController(of("cronjob-controller")),
        TtlAfterFinishedController(context),
        HorizontalPodAutoscalerController(
            of("horizontal-pod-autoscaler"), scales, MetricsApi(context.client, scales.resource_of)
        ),
        DisruptionController(of("controllermanager"), scales),
        *devices,
        # Services
        EndpointSliceController(of("endpoint-slice-controller")),
        EndpointsController(of("endpoint-controller")),
        EndpointSliceMirroringController(context),
        ApiServerEndpoint(context),
        ServiceCidrController(context),
        # Volumes
        PersistentVolumeController(of("persistentvolume-controller")),
        AttachDetachController(of("attachdetach-controller")),
        VolumeExpandController(of("volume_expand")),
        EphemeralVolumeController(of("ephemeral_volume")),
        VolumeProtectionController(context),
        *attributes,
        # Namespaces
        NamespaceController(context, lambda: [resource for resource in types() if resource.namespaced]),
        ServiceAccountController(context),
        RootCertificatePublisher(context, root_certificate),
        *tokens,
        LegacyTokenTracking(context),
        LegacyTokenCleaner(context),
        ResourceQuotaController(context, types),
        ClusterRoleAggregationController(context),
        # Nodes
        NodeLifecycleController(of("node-controller")),
        NodeTtlController(context),
        TaintEvictionController(of("taint-eviction-controller")),
        PodGarbageCollector(context),
        # Cleaning up
        GarbageCollector(of("garbage-collector-controller"), types),
    ]


def _of_devices(of: Callable[[str], Context], served: Collection[Resource]) -> list[Controller]:
    return [
        ResourceClaimController(of("resource_claim")),
        DeviceTaintEvictionController(of("device-taint-eviction-controller"), with_rules=DEVICE_TAINT_RULES in served),
    ]
