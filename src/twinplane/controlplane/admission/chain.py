"""The admission plugins of a cluster, in upstream's order, and the one way to run them.

The API server builds the chain once and calls `admit` for what may change, then (after validation) `validate`.
Webhooks stand where upstream has them: after the built-in plugins, before ResourceQuota.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random

from twinplane.clock import Clock
from twinplane.controlplane.admission.certificates import (
    CertificateApproval,
    CertificateRequester,
    CertificateSigning,
    CertificateSubjectRestriction,
)
from twinplane.controlplane.admission.contract import AdmissionPlugin, AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.default_class import DefaultIngressClass, DefaultStorageClass
from twinplane.controlplane.admission.default_toleration_seconds import DefaultTolerationSeconds
from twinplane.controlplane.admission.device_access import DeviceAccess
from twinplane.controlplane.admission.device_status import DeviceStatus
from twinplane.controlplane.admission.extended_resource_toleration import ExtendedResourceToleration
from twinplane.controlplane.admission.limit_ranger import LimitRanger
from twinplane.controlplane.admission.namespace_lifecycle import NamespaceLifecycle
from twinplane.controlplane.admission.node_restriction import NodeRestriction
from twinplane.controlplane.admission.persistent_volume_claim_resize import PersistentVolumeClaimResize
from twinplane.controlplane.admission.pod_changes_on_node import NodeDeclaredFeatureValidator, PodResizeValidator
from twinplane.controlplane.admission.pod_node_selector import PodNodeSelector
from twinplane.controlplane.admission.pod_security import PodSecurity
from twinplane.controlplane.admission.pod_topology_labels import PodTopologyLabels
from twinplane.controlplane.admission.priority import Priority
from twinplane.controlplane.admission.rbac_escalation import RbacEscalation
from twinplane.controlplane.admission.resource_quota import ResourceQuota
from twinplane.controlplane.admission.runtime_class import RuntimeClass
from twinplane.controlplane.admission.service_account import ServiceAccount
from twinplane.controlplane.admission.service_addresses import ServiceAddresses
from twinplane.controlplane.admission.shared_reservations import SharedReservations
from twinplane.controlplane.admission.storage_object_in_use_protection import StorageObjectInUseProtection
from twinplane.controlplane.admission.taint_nodes_by_condition import TaintNodesByCondition
from twinplane.controlplane.auth.bootstrap import DEFAULT_SERVICE_CIDR
from twinplane.controlplane.auth.contract import Authorizer
from twinplane.controlplane.auth.rbac import RbacAuthorizer
from twinplane.kubeclient.contract import KubeClient

NEWEST = 1000
DEVICE_STATUS_SINCE = 36
OFF_BY_DEFAULT = frozenset((PodNodeSelector.name, ExtendedResourceToleration.name))


def default_plugins(
    reader: ObjectReader,
    client: KubeClient,
    clock: Clock,
    random: Random,
    *,
    rbac: RbacAuthorizer,
    authorizer: Authorizer,
    service_cidr: str = DEFAULT_SERVICE_CIDR,
    enable: Collection[str] = (),
    disable: Collection[str] = (),
    webhooks: Sequence[AdmissionPlugin] = (),
    shared: SharedReservations | None = None,
    minor_version: int = NEWEST,
) -> list[AdmissionPlugin]:
    """`client` acts for the API server itself (it reads namespaces and writes quota status).

    `shared` is what several API servers of one cluster have in common. `minor_version` is of Kubernetes.

    `enable` and `disable` are upstream's --enable-admission-plugins and --disable-admission-plugins.
    """
    built_in: list[AdmissionPlugin] = [
        NamespaceLifecycle(reader, client),
        LimitRanger(reader),
        ServiceAccount(reader, random),
        NodeRestriction(reader, authorizer),
        TaintNodesByCondition(),
        PodSecurity(reader),
        PodNodeSelector(reader),
        Priority(reader),
        DefaultTolerationSeconds(),
        ExtendedResourceToleration(),
        DefaultStorageClass(reader),
        StorageObjectInUseProtection(),
        PersistentVolumeClaimResize(reader),
        RuntimeClass(reader),
        DeviceAccess(reader, clock),
        *([DeviceStatus(authorizer)] if minor_version >= DEVICE_STATUS_SINCE else []),
        CertificateRequester(),
        CertificateApproval(authorizer),
        CertificateSigning(authorizer),
        CertificateSubjectRestriction(),
        DefaultIngressClass(reader),
        PodTopologyLabels(reader),
        NodeDeclaredFeatureValidator(reader),
        PodResizeValidator(reader),
        RbacEscalation(rbac, authorizer),
        *webhooks,
        ResourceQuota(reader, client, clock),
        ServiceAddresses(reader, clock, random, service_cidr=service_cidr, shared=shared),
    ]
    off = (OFF_BY_DEFAULT - set(enable)) | set(disable)
    return [plugin for plugin in built_in if plugin.name not in off]


async def admit(plugins: Sequence[AdmissionPlugin], request: AdmissionRequest) -> None:
    """All mutating halves, in order. Raises `ApiError`."""
    for plugin in plugins:
        if plugin.handles(request):
            await plugin.admit(request)


async def validate(plugins: Sequence[AdmissionPlugin], request: AdmissionRequest) -> None:
    """All validating halves, in order. Raises `ApiError`."""
    for plugin in plugins:
        if plugin.handles(request):
            await plugin.validate(request)
