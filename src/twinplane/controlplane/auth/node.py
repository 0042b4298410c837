"""The node authorizer: what a kubelet (`system:node:NAME` in group system:nodes) may do, and only for its own node.

Upstream keeps a graph of everything that pods refer to; here the references of the node's pods in the one namespace
that is asked about are read when they are needed. `authorization` asks before RBAC.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.auth.contract import Attributes, Decision, UserInfo
from twinplane.controlplane.auth.policy import notation
from twinplane.controlplane.auth.policy.cluster_roles import CLUSTER_ROLES
from twinplane.controlplane.auth.rules import Rule, compiled
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PERSISTENT_VOLUMES, PODS

NODES_GROUP = "system:nodes"
USER_PREFIX = "system:node:"
_GUARDED = frozenset(("secrets", "configmaps", "persistentvolumeclaims", "persistentvolumes", "serviceaccounts"))
_OWN_NAME = {
    ("", "nodes"): "",
    ("coordination.k8s.io", "leases"): "kube-node-lease",
    ("storage.k8s.io", "csinodes"): "",
}
DENIED = Decision(False)
ALLOWED = Decision(True)


def node_name(user: UserInfo) -> str:
    """The node a user is the kubelet of; empty for everybody else."""
    is_node = user.name.startswith(USER_PREFIX) and NODES_GROUP in user.groups
    return user.name.removeprefix(USER_PREFIX) if is_node else ""


class NodeAuthorizer:
    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    def authorize(self, attributes: Attributes) -> Decision:
        node = node_name(attributes.user)
        if not node or not any(rule.allows(attributes) for rule in self._rules):
            return DENIED
        key = (attributes.group, attributes.resource)
        if key in _OWN_NAME and attributes.verb not in ("create", "list", "watch"):
            own = attributes.name == node and attributes.namespace == _OWN_NAME[key]
            return ALLOWED if own else DENIED
        if not attributes.group and attributes.resource in _GUARDED and not self._refers(node, attributes):
            return Decision(False, f"no relationship found between node '{node}' and this object")
        return ALLOWED

    @cached_property
    def _rules(self) -> tuple[Rule, ...]:
        return compiled(notation.rules(notation.sections(CLUSTER_ROLES)["system:node"]))

    def _refers(self, node: str, attributes: Attributes) -> bool:
        if not attributes.name:
            return False
        namespace, name = attributes.namespace, attributes.name
        if attributes.resource == "persistentvolumes":
            volume = self._reader.get(PERSISTENT_VOLUMES, name)
            claim = (volume or {}).get("spec", {}).get("claimRef") or {}
            namespace, name = claim.get("namespace", ""), claim.get("name", "")
            if not name:
                return False
            wanted = ("persistentvolumeclaims", name)
        else:
            wanted = (attributes.resource, name)
        pods = (pod for pod in self._reader.list(PODS, namespace) if pod.get("spec", {}).get("nodeName") == node)
        return any(wanted in references(pod) for pod in pods)


def references(pod: Object) -> Iterator[tuple[str, str]]:
    """(plural, name) of the objects of its namespace that a pod names."""
    spec = pod["spec"]
    yield "serviceaccounts", spec.get("serviceAccountName") or "default"
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", secret.get("name", "")
    for volume in spec.get("volumes") or ():
        yield from _volume_references(pod, volume)
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(key) or ():
            yield from _container_references(container)


def _volume_references(pod: Object, volume: Object) -> Iterator[tuple[str, str]]:
    if "secret" in volume:
        yield "secrets", (volume["secret"] or {}).get("secretName", "")
    if "configMap" in volume:
        yield "configmaps", (volume["configMap"] or {}).get("name", "")
    if "persistentVolumeClaim" in volume:
        yield "persistentvolumeclaims", (volume["persistentVolumeClaim"] or {}).get("claimName", "")
    if "ephemeral" in volume:
        yield "persistentvolumeclaims", f"{pod['metadata']['name']}-{volume.get('name', '')}"
    csi_secret = ((volume.get("csi") or {}).get("nodePublishSecretRef") or {}).get("name")
    if csi_secret:
        yield "secrets", csi_secret
    for source in (volume.get("projected") or {}).get("sources") or ():
        if source.get("secret"):
            yield "secrets", source["secret"].get("name", "")
        if source.get("configMap"):
            yield "configmaps", source["configMap"].get("name", "")


def _container_references(container: Object) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        if source.get("secretRef"):
            yield "secrets", source["secretRef"].get("name", "")
        if source.get("configMapRef"):
            yield "configmaps", source["configMapRef"].get("name", "")
    for variable in container.get("env") or ():
        value = variable.get("valueFrom") or {}
        if value.get("secretKeyRef"):
            yield "secrets", value["secretKeyRef"].get("name", "")
        if value.get("configMapKeyRef"):
            yield "configmaps", value["configMapKeyRef"].get("name", "")
