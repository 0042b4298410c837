"""NodeRestriction: a kubelet changes only its own Node, its own Lease and CSINode, and pods that run on it."""

from __future__ import annotations

import re

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import Plugin, is_mirror, refuse
from twinplane.controlplane.auth.node import node_name
from twinplane.kubeclient.contract import Object
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
        "topology.k8s.aws/zone-id",
        "topology.ebs.csi.aws.com/zone",
    )
)
_OWN_LABEL_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")


class NodeRestriction(Plugin):
    name = "NodeRestriction"

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        return bool(node_name(request.user))

    async def admit(self, request: AdmissionRequest) -> None:
        node = node_name(request.user)
        match (request.resource.group, request.resource.plural):
            case ("", "nodes"):
                _check_node(request, node)
            case ("", "pods"):
                self._check_pod(request, node)
            case ("", "serviceaccounts") if request.subresource == "token":
                self._check_token(request, node)
            case ("coordination.k8s.io", "leases"):
                if request.namespace != "kube-node-lease" or request.name != node:
                    raise refuse(request, f'node "{node}" can only access its own lease in "kube-node-lease"')
            case ("storage.k8s.io", "csinodes"):
                if request.name != node:
                    raise refuse(request, f"can only access CSINode with the same name as the requesting node {node}")

    def _check_pod(self, request: AdmissionRequest, node: str) -> None:
        if request.operation == "CREATE" and not request.subresource:
            pod = request.object or {}
            if not is_mirror(pod):
                raise refuse(
                    request,
                    f'pod does not have "kubernetes.io/config.mirror" annotation, node "{node}" can '
                    "only create mirror pods",
                )
            if (pod.get("spec") or {}).get("nodeName") != node:
                raise refuse(request, f'node "{node}" can only create pods with spec.nodeName set to itself')
            return
        action = {"DELETE": "delete", "CREATE": "evict"}.get(request.operation, "update status for")
        if request.operation == "UPDATE" and request.subresource != "status":
            raise refuse(request, f'node "{node}" cannot update pod {request.name}: only its status')
        pod = request.old or self._reader.get(PODS, request.name, request.namespace) or {}
        if (pod.get("spec") or {}).get("nodeName") != node:
            raise refuse(request, f'node "{node}" can only {action} pods with spec.nodeName set to itself')

    def _check_token(self, request: AdmissionRequest, node: str) -> None:
        reference = ((request.object or {}).get("spec") or {}).get("boundObjectRef") or {}
        if reference.get("kind") != "Pod":
            raise refuse(request, "node requested token not bound to a pod")
        pod = self._reader.get(PODS, str(reference.get("name", "")), request.namespace)
        if pod is None or pod["metadata"].get("uid") != reference.get("uid"):
            raise refuse(request, "node requested token with a pod that does not exist or has another UID")
        if (pod.get("spec") or {}).get("nodeName") != node:
            raise refuse(request, "node requested token bound to a pod scheduled on a different node")


def _check_node(request: AdmissionRequest, node: str) -> None:
    new, old = request.object or {}, request.old or {}
    name = request.name or (new.get("metadata") or {}).get("name")
    if name != node:
        verb = {"CREATE": "create", "DELETE": "delete"}.get(request.operation, "modify")
        raise refuse(request, f'node "{node}" is not allowed to {verb} node "{name}"')
    if request.operation == "DELETE":
        raise refuse(request, f'node "{node}" is not allowed to delete nodes')
    changed = sorted(key for key in _changed_labels(new, old) if _is_forbidden(key))
    if changed:
        verb = "set" if request.operation == "CREATE" else "modify"
        raise refuse(request, f"is not allowed to {verb} the following labels: {', '.join(changed)}")
    if request.operation == "UPDATE":
        _check_spec(request, node, new.get("spec") or {}, old.get("spec") or {})


def _check_spec(request: AdmissionRequest, node: str, new: Object, old: Object) -> None:
    if (new.get("taints") or []) != (old.get("taints") or []):
        raise refuse(request, f'node "{node}" is not allowed to modify taints')
    if new.get("configSource") and new.get("configSource") != old.get("configSource"):
        raise refuse(request, f'node "{node}" cannot update configSource')


def _changed_labels(new: Object, old: Object) -> set[str]:
    after = (new.get("metadata") or {}).get("labels") or {}
    before = (old.get("metadata") or {}).get("labels") or {}
    return {key for key in after.keys() | before.keys() if after.get(key) != before.get(key)}


def _is_forbidden(label: str) -> bool:
    domain = label.partition("/")[0] if "/" in label else ""
    if domain == _RESTRICTED or domain.endswith("." + _RESTRICTED):
        return True
    if not _KUBERNETES.search(domain) or label in _OWN_LABELS:
        return False
    return not any(domain == own or domain.endswith("." + own) for own in _OWN_LABEL_DOMAINS)
