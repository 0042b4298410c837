"""Every built-in type, one row each: what discovery says of it beyond its schema.

`registry` turns rows into `ResourceType`s. A row counts only when its definition exists in the schemas of the chosen
minor version, so the table needs no version logic. Upstream leaves beta and alpha versions off, and so are they here.
Source: the REST storage and printers of kubernetes/pkg/registry and the discovery document of a running API server.
"""

from __future__ import annotations

from typing import NamedTuple

from twinplane.controlplane.api.types.contract import ALL_VERBS

STATUS = "status"
SCALE = "scale"
CREATE_ONLY = ("create",)
READ_ONLY = ("get", "list")
NAMESPACE_VERBS = tuple(verb for verb in ALL_VERBS if verb != "deletecollection")


class Row(NamedTuple):
    """`short`, `categories`, `sub` and `fields` are words separated by blanks; `sub` names rows of `SUBRESOURCES`."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short: str = ""
    categories: str = ""
    sub: str = ""
    fields: str = ""
    verbs: tuple[str, ...] = ALL_VERBS
    stored: tuple[str, str] = ("", "")
    """(group, version) of what is stored, where that is another one."""
    persisted: bool = True
    deprecated: str = ""
    """Of what every use of it is warned."""


class SubresourceRow(NamedTuple):
    verbs: tuple[str, ...]
    kind: str = ""
    """Of the body; empty: the type's own."""
    group: str = ""
    version: str = ""


_ENDPOINTS = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
_MODIFY = ("get", "patch", "update")
_PROXY = ("create", "delete", "get", "patch", "update")
_CONNECT = ("create", "get")

SUBRESOURCES: dict[str, SubresourceRow] = {
    "status": SubresourceRow(_MODIFY),
    "scale": SubresourceRow(_MODIFY, "Scale", "autoscaling", "v1"),
    "finalize": SubresourceRow(("update",)),
    "approval": SubresourceRow(_MODIFY),
    "token": SubresourceRow(CREATE_ONLY, "TokenRequest", "authentication.k8s.io", "v1"),
    "binding": SubresourceRow(CREATE_ONLY, "Binding", "", "v1"),
    "eviction": SubresourceRow(CREATE_ONLY, "Eviction", "policy", "v1"),
    "ephemeralcontainers": SubresourceRow(_MODIFY),
    "resize": SubresourceRow(_MODIFY),
    "log": SubresourceRow(("get",)),
    "attach": SubresourceRow(_CONNECT, "PodAttachOptions", "", "v1"),
    "exec": SubresourceRow(_CONNECT, "PodExecOptions", "", "v1"),
    "portforward": SubresourceRow(_CONNECT, "PodPortForwardOptions", "", "v1"),
    "proxy": SubresourceRow(_PROXY, "ProxyOptions", "", "v1"),
}
"""The body of `proxy` is named after its owner: PodProxyOptions, NodeProxyOptions, ServiceProxyOptions."""

CORE_EVENT_FIELDS = (
    "involvedObject.kind involvedObject.namespace involvedObject.name involvedObject.uid involvedObject.apiVersion "
    "involvedObject.resourceVersion involvedObject.fieldPath reason reportingComponent source type"
)
EVENT_FIELDS = (
    "regarding.kind regarding.namespace regarding.name regarding.uid regarding.apiVersion regarding.resourceVersion "
    "regarding.fieldPath reason reportingController type"
)
POD_FIELDS = (
    "spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName spec.hostNetwork status.phase "
    "status.podIP status.podIPs status.nominatedNodeName"
)
POD_SUBRESOURCES = "attach binding ephemeralcontainers eviction exec log portforward proxy resize status"
ADMISSION = "admissionregistration.k8s.io"
AUTHENTICATION = "authentication.k8s.io"
AUTHORIZATION = "authorization.k8s.io"
CERTIFICATES = "certificates.k8s.io"
COORDINATION = "coordination.k8s.io"
DISCOVERY = "discovery.k8s.io"
EVENTS = "events.k8s.io"
EXTENSIONS = "apiextensions.k8s.io"
FLOW_CONTROL = "flowcontrol.apiserver.k8s.io"
MIGRATION = "storagemigration.k8s.io"
NETWORKING = "networking.k8s.io"
NODE = "node.k8s.io"
RBAC = "rbac.authorization.k8s.io"
REGISTRATION = "apiregistration.k8s.io"
RESOURCE = "resource.k8s.io"
SCHEDULING = "scheduling.k8s.io"
STORAGE = "storage.k8s.io"

GROUP_ORDER = (
    *(REGISTRATION, "apps", EVENTS, AUTHENTICATION, AUTHORIZATION, "autoscaling", "batch", CERTIFICATES, NETWORKING),
    *("policy", RBAC, STORAGE, ADMISSION, EXTENSIONS, SCHEDULING, COORDINATION, NODE, DISCOVERY, RESOURCE),
    *(FLOW_CONTROL, MIGRATION),
)
"""The order of /apis; groups of custom resources follow by name."""


def _review(group: str, plural: str, kind: str, namespaced: bool = False) -> Row:
    return Row(group, "v1", plural, kind, namespaced, verbs=CREATE_ONLY, persisted=False)


CORE = (
    Row("", "v1", "bindings", "Binding", verbs=CREATE_ONLY, persisted=False),
    Row(
        *("", "v1", "componentstatuses", "ComponentStatus", False, "cs"),
        verbs=READ_ONLY,
        persisted=False,
        deprecated="v1 ComponentStatus is deprecated in v1.19+",
    ),
    Row("", "v1", "configmaps", "ConfigMap", short="cm"),
    Row("", "v1", "endpoints", "Endpoints", short="ep", deprecated=_ENDPOINTS),
    Row("", "v1", "events", "Event", short="ev", fields=CORE_EVENT_FIELDS),
    Row("", "v1", "limitranges", "LimitRange", short="limits"),
    Row("", "v1", "namespaces", "Namespace", False, "ns", "", "finalize status", "status.phase", NAMESPACE_VERBS),
    Row("", "v1", "nodes", "Node", False, "no", "", "proxy status", "spec.unschedulable"),
    Row("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", short="pvc", sub=STATUS),
    Row("", "v1", "persistentvolumes", "PersistentVolume", False, "pv", sub=STATUS),
    Row("", "v1", "pods", "Pod", True, "po", "all", POD_SUBRESOURCES, POD_FIELDS),
    Row("", "v1", "podtemplates", "PodTemplate"),
    Row(
        "",
        "v1",
        "replicationcontrollers",
        "ReplicationController",
        True,
        "rc",
        "all",
        "scale status",
        "status.replicas",
    ),
    Row("", "v1", "resourcequotas", "ResourceQuota", short="quota", sub=STATUS),
    Row("", "v1", "secrets", "Secret", fields="type"),
    Row("", "v1", "serviceaccounts", "ServiceAccount", short="sa", sub="token"),
    Row("", "v1", "services", "Service", True, "svc", "all", "proxy status", "spec.clusterIP spec.type"),
)

WORKLOADS = (
    Row("apps", "v1", "controllerrevisions", "ControllerRevision"),
    Row("apps", "v1", "daemonsets", "DaemonSet", True, "ds", "all", STATUS),
    Row("apps", "v1", "deployments", "Deployment", True, "deploy", "all", "scale status"),
    Row("apps", "v1", "replicasets", "ReplicaSet", True, "rs", "all", "scale status", "status.replicas"),
    Row("apps", "v1", "statefulsets", "StatefulSet", True, "sts", "all", "scale status"),
    Row("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, "hpa", "all", STATUS),
    Row(
        *("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True, "hpa", "all", STATUS),
        stored=("autoscaling", "v2"),
    ),
    Row("batch", "v1", "cronjobs", "CronJob", True, "cj", "all", STATUS),
    Row("batch", "v1", "jobs", "Job", True, "", "all", STATUS, "status.successful"),
    Row("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, "pdb", sub=STATUS),
)

ACCESS = (
    _review(AUTHENTICATION, "selfsubjectreviews", "SelfSubjectReview"),
    _review(AUTHENTICATION, "tokenreviews", "TokenReview"),
    _review(AUTHORIZATION, "localsubjectaccessreviews", "LocalSubjectAccessReview", True),
    _review(AUTHORIZATION, "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    _review(AUTHORIZATION, "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    _review(AUTHORIZATION, "subjectaccessreviews", "SubjectAccessReview"),
    Row(
        *(CERTIFICATES, "v1", "certificatesigningrequests", "CertificateSigningRequest", False, "csr"),
        sub="approval status",
        fields="spec.signerName",
    ),
    Row(CERTIFICATES, "v1", "clustertrustbundles", "ClusterTrustBundle", False, fields="spec.signerName"),
    Row(
        *(CERTIFICATES, "v1", "podcertificaterequests", "PodCertificateRequest"),
        sub=STATUS,
        fields="spec.signerName spec.podName spec.nodeName",
    ),
    Row(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", False),
    Row(RBAC, "v1", "clusterroles", "ClusterRole", False),
    Row(RBAC, "v1", "rolebindings", "RoleBinding"),
    Row(RBAC, "v1", "roles", "Role"),
)

NETWORK = (
    Row(DISCOVERY, "v1", "endpointslices", "EndpointSlice"),
    Row(NETWORKING, "v1", "ingressclasses", "IngressClass", False),
    Row(NETWORKING, "v1", "ingresses", "Ingress", short="ing", sub=STATUS),
    Row(NETWORKING, "v1", "ipaddresses", "IPAddress", False, "ip", fields="spec.parentRef.name"),
    Row(NETWORKING, "v1", "networkpolicies", "NetworkPolicy", short="netpol"),
    Row(NETWORKING, "v1", "servicecidrs", "ServiceCIDR", False, sub=STATUS),
)

STORAGES = (
    Row(STORAGE, "v1", "csidrivers", "CSIDriver", False),
    Row(STORAGE, "v1", "csinodes", "CSINode", False),
    Row(STORAGE, "v1", "csistoragecapacities", "CSIStorageCapacity"),
    Row(STORAGE, "v1", "storageclasses", "StorageClass", False, "sc"),
    Row(STORAGE, "v1", "volumeattachments", "VolumeAttachment", False, sub=STATUS),
    Row(STORAGE, "v1", "volumeattributesclasses", "VolumeAttributesClass", False, "vac"),
    Row(MIGRATION, "v1", "storageversionmigrations", "StorageVersionMigration", False, sub=STATUS),
)

CLUSTER = (
    Row(COORDINATION, "v1", "leases", "Lease"),
    Row(
        *(EVENTS, "v1", "events", "Event", True, "ev"),
        fields=EVENT_FIELDS,
        stored=("", "v1"),
    ),
    Row(NODE, "v1", "runtimeclasses", "RuntimeClass", False),
    Row(SCHEDULING, "v1", "priorityclasses", "PriorityClass", False, "pc"),
    Row(RESOURCE, "v1", "deviceclasses", "DeviceClass", False),
    Row(RESOURCE, "v1", "devicetaintrules", "DeviceTaintRule", False, sub=STATUS),
    Row(RESOURCE, "v1", "resourceclaims", "ResourceClaim", sub=STATUS),
    Row(RESOURCE, "v1", "resourceclaimtemplates", "ResourceClaimTemplate"),
    Row(RESOURCE, "v1", "resourceslices", "ResourceSlice", False, fields="spec.nodeName spec.driver"),
    Row(FLOW_CONTROL, "v1", "flowschemas", "FlowSchema", False, sub=STATUS),
    Row(FLOW_CONTROL, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", False, sub=STATUS),
)


def _extension(group: str, plural: str, kind: str, short: str = "", sub: str = "") -> Row:
    return Row(group, "v1", plural, kind, False, short, "api-extensions", sub)


EXTENDING = (
    _extension(ADMISSION, "mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
    _extension(ADMISSION, "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding"),
    _extension(ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
    _extension(ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", sub=STATUS),
    _extension(ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
    _extension(ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
    _extension(EXTENSIONS, "customresourcedefinitions", "CustomResourceDefinition", "crd crds", STATUS),
    _extension(REGISTRATION, "apiservices", "APIService", sub=STATUS),
)

ROWS: tuple[Row, ...] = (*CORE, *WORKLOADS, *ACCESS, *NETWORK, *STORAGES, *CLUSTER, *EXTENDING)
