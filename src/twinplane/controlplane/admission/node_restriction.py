"""NodeRestriction: a kubelet changes only its own Node, its own Lease and CSINode, and pods that run on it.

The other half of the node authorizer (`auth.node`), which does not see objects. Source of the checks and of every
wording: upstream's `plugin/pkg/admission/noderestriction`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.mirror_pods import check_mirror_pod
from twinplane.controlplane.admission.node_tokens import check_token
from twinplane.controlplane.admission.plugin import Plugin, refuse
from twinplane.controlplane.auth.contract import Authorizer
from twinplane.controlplane.auth.node import LEASE_NAMESPACE, USER_PREFIX, node_name
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import not_found
from twinplane.kubeclient.meta import copied
from twinplane.kubeclient.resources import PODS

_RESTRICTED = "node-restriction.kubernetes.io"
_KUBERNETES = re.compile(r"(^|\.)(kubernetes|k8s)\.io$")
_OWN_LABELS = frozenset(
    (
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
    )
)
_OWN_LABEL_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
_KUBELET_SIGNERS = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")
_CLAIM_STATUS = ("capacity", "conditions", "allocatedResourceStatuses", "allocatedResources")


class NodeRestriction(Plugin):
    name = "NodeRestriction"

    def __init__(self, reader: ObjectReader, authorizer: Authorizer) -> None:
        self._reader = reader
        self._authorizer = authorizer

    def handles(self, request: AdmissionRequest) -> bool:
        return request.operation != "CONNECT" and bool(node_name(request.user))

    async def admit(self, request: AdmissionRequest) -> None:
        check = _CHECKS.get((request.resource.group, request.resource.plural))
        if check is not None:
            check(self, request, node_name(request.user))

    def _pod(self, request: AdmissionRequest, node: str) -> None:
        match (request.subresource, request.operation):
            case ("", "CREATE"):
                check_mirror_pod(request, node, self._reader)
            case ("", "DELETE"):
                if _bound_to(self._pod_of(request)) != node:
                    raise refuse(request, f'node "{node}" can only delete pods with spec.nodeName set to itself')
            case ("", operation):
                raise refuse(
                    request, f'unexpected operation "{operation}", node "{node}" can only create and delete mirror pods'
                )
            case ("status", "UPDATE"):
                _check_pod_status(request, node)
            case ("eviction", "CREATE"):
                if _bound_to(self._pod_of(request)) != node:
                    raise refuse(request, f"node {node} can only evict pods with spec.nodeName set to itself")
            case ("status" | "eviction", operation):
                raise refuse(request, f'unexpected operation "{operation}"')
            case (subresource, _):
                raise refuse(
                    request,
                    f"unexpected pod subresource \"{subresource}\", only 'status' and 'eviction' are allowed",
                )

    def _pod_of(self, request: AdmissionRequest) -> Object:
        found = self._reader.get(PODS, request.name, request.namespace) or request.old
        if found is None:
            raise not_found("", "pods", request.name)
        return found

    def _node(self, request: AdmissionRequest, node: str) -> None:
        new, old = request.object or {}, request.old or {}
        name = request.name or (new.get("metadata") or {}).get("name", "")
        if name != node:
            raise refuse(request, f'node "{node}" is not allowed to modify node "{name}"')
        forbidden = ", ".join(sorted(key for key in _changed_labels(new, old) if _is_forbidden(key)))
        if request.operation == "CREATE":
            if (new.get("spec") or {}).get("configSource") is not None:
                raise refuse(request, f'node "{node}" is not allowed to create pods with a non-nil configSource')
            if forbidden:
                raise refuse(request, f'node "{node}" is not allowed to set the following labels: {forbidden}')
        if request.operation == "UPDATE":
            _check_node_spec(request, node, new.get("spec") or {}, old.get("spec") or {})
            if _owners(new) != _owners(old):
                raise refuse(request, f'node "{node}" is not allowed to modify ownerReferences')
            if forbidden:
                raise refuse(request, f"is not allowed to modify labels: {forbidden}")

    def _claim(self, request: AdmissionRequest, node: str) -> None:
        if request.subresource != "status":
            raise refuse(request, "may only update PVC status")
        if request.operation != "UPDATE":
            raise refuse(request, f'unexpected operation "{request.operation}"')
        changed = _differences(_without_own_status(request.old), _without_own_status(request.object))
        if changed:
            only = "is not allowed to update fields other than status.quantity and status.conditions"
            raise refuse(request, f'node "{node}" {only}: {", ".join(changed)}')

    def _service_account(self, request: AdmissionRequest, node: str) -> None:
        if request.operation == "CREATE" and request.subresource == "token":
            check_token(request, node, self._reader, self._authorizer)

    def _lease(self, request: AdmissionRequest, node: str) -> None:
        if request.namespace != LEASE_NAMESPACE:
            raise refuse(request, f'can only access leases in the "{LEASE_NAMESPACE}" system namespace')
        if request.name != node:
            raise refuse(request, "can only access node lease with the same name as the requesting node")

    def _csi_node(self, request: AdmissionRequest, node: str) -> None:
        if request.name != node:
            raise refuse(request, "can only access CSINode with the same name as the requesting node")

    def _resource_slice(self, request: AdmissionRequest, node: str) -> None:
        created = request.operation == "CREATE"
        body = (request.object if created else request.old) or {}
        # Updates are the authorizer's matter, which knows the slice that there is.
        if request.operation != "UPDATE" and _bound_to(body) != node:
            verb = "create" if created else "delete"
            raise refuse(request, f"can only {verb} ResourceSlice with the same NodeName as the requesting node")

    def _signing_request(self, request: AdmissionRequest, node: str) -> None:
        spec = (request.object or {}).get("spec") or {}
        if request.operation != "CREATE" or spec.get("signerName") not in _KUBELET_SIGNERS:
            return
        wanted = f"{USER_PREFIX}{node}"
        try:
            name = _common_name(spec.get("request"))
        except ValueError as error:
            raise refuse(request, f"unable to parse csr: {error}") from None
        if name != wanted:
            raise refuse(request, f"can only create a node CSR with CN={wanted}")


def _bound_to(body: Object) -> object:
    return (body.get("spec") or {}).get("nodeName")


def _check_pod_status(request: AdmissionRequest, node: str) -> None:
    old, new = request.old or {}, request.object or {}
    if _bound_to(old) != node:
        raise refuse(request, f'node "{node}" can only update pod status for pods with spec.nodeName set to itself')
    if _labels(old) != _labels(new):
        raise refuse(request, f'node "{node}" cannot update labels through pod status')
    before, after = old.get("status") or {}, new.get("status") or {}
    if (before.get("resourceClaimStatuses") or []) != (after.get("resourceClaimStatuses") or []):
        raise refuse(request, f'node "{node}" cannot update resource claim statues')
    if before.get("extendedResourceClaimStatus") != after.get("extendedResourceClaimStatus"):
        raise refuse(request, f'node "{node}" cannot update extended resource claim status')


def _check_node_spec(request: AdmissionRequest, node: str, new: Object, old: Object) -> None:
    if new.get("configSource") is not None and new.get("configSource") != old.get("configSource"):
        raise refuse(request, f'node "{node}" is not allowed to update configSource to a new non-nil configSource')
    if (new.get("taints") or []) != (old.get("taints") or []):
        raise refuse(request, f'node "{node}" is not allowed to modify taints')


def _labels(body: Object) -> Object:
    return (body.get("metadata") or {}).get("labels") or {}


def _owners(body: Object) -> list[Object]:
    return (body.get("metadata") or {}).get("ownerReferences") or []


def _changed_labels(new: Object, old: Object) -> set[str]:
    after, before = _labels(new), _labels(old)
    return {key for key in after.keys() | before.keys() if after.get(key) != before.get(key)}


def _is_forbidden(label: str) -> bool:
    domain = label.partition("/")[0] if "/" in label else ""
    if domain == _RESTRICTED or domain.endswith("." + _RESTRICTED):
        return True
    if not _KUBERNETES.search(domain) or label in _OWN_LABELS:
        return False
    return not any(domain == own or domain.endswith("." + own) for own in _OWN_LABEL_DOMAINS)


def _without_own_status(claim: Object | None) -> Object:
    """A claim without what a kubelet may write, and without what every write changes."""
    body = copied(claim or {})
    for field in ("resourceVersion", "managedFields"):
        (body.get("metadata") or {}).pop(field, None)
    for field in _CLAIM_STATUS:
        (body.get("status") or {}).pop(field, None)
    return {key: value for key, value in body.items() if key not in ("apiVersion", "kind") and value}


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [found for key in keys for found in _differences(old.get(key), new.get(key), f"{path}.{key}".strip("."))]
    return [] if old == new else [path]


def _common_name(request: object) -> str:
    """Raises ValueError for what is no certificate signing request."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        pem = base64.b64decode(str(request or ""), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    names = x509.load_pem_x509_csr(pem).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


_CHECKS: dict[tuple[str, str], Callable[[NodeRestriction, AdmissionRequest, str], None]] = {
    ("", "pods"): NodeRestriction._pod,
    ("", "nodes"): NodeRestriction._node,
    ("", "persistentvolumeclaims"): NodeRestriction._claim,
    ("", "serviceaccounts"): NodeRestriction._service_account,
    ("coordination.k8s.io", "leases"): NodeRestriction._lease,
    ("storage.k8s.io", "csinodes"): NodeRestriction._csi_node,
    ("resource.k8s.io", "resourceslices"): NodeRestriction._resource_slice,
    ("certificates.k8s.io", "certificatesigningrequests"): NodeRestriction._signing_request,
}
