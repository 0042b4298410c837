"""The node authorizer: what a kubelet (`system:node:NAME` in group system:nodes) may do, and only for its own node.

`authorization` asks before RBAC. A refusal here is no opinion: RBAC may still allow, and the reason is what the caller
reads when nobody does. Source of the rules and of every wording: upstream's `plugin/pkg/auth/authorizer/node`, with
AuthorizeNodeWithSelectors, which is on for all versions served here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property

from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.api.selectors import parse_field_selector
from twinplane.controlplane.auth.contract import Attributes, Decision, UserInfo
from twinplane.controlplane.auth.node_references import NodeReferences
from twinplane.controlplane.auth.policy import notation
from twinplane.controlplane.auth.policy.cluster_roles import CLUSTER_ROLES
from twinplane.controlplane.auth.rules import Rule, compiled
from twinplane.kubeclient.contract import Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import RESOURCE_SLICES, VOLUME_ATTACHMENTS

NODES_GROUP = "system:nodes"
USER_PREFIX = "system:node:"
LEASE_NAMESPACE = "kube-node-lease"
NO_OPINION = Decision(False)
ALLOWED = Decision(True)
Rules = Callable[["NodeAuthorizer", str, Attributes], Decision]


def node_name(user: UserInfo) -> str:
    """The node a user is the kubelet of; empty for everybody else."""
    is_node = user.name.startswith(USER_PREFIX) and NODES_GROUP in user.groups
    return user.name.removeprefix(USER_PREFIX) if is_node else ""


class NodeAuthorizer:
    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._references = NodeReferences(reader)

    def authorize(self, attributes: Attributes) -> Decision:
        user = attributes.user
        if not user.name.startswith(USER_PREFIX) or NODES_GROUP not in user.groups:
            return NO_OPINION
        node = user.name.removeprefix(USER_PREFIX)
        if not node:
            return Decision(False, f"unknown node for user {json.dumps(user.name)}")
        subdivided = None if attributes.path else _SUBDIVIDED.get((attributes.group, attributes.resource))
        if subdivided is not None:
            return subdivided(self, node, attributes)
        return ALLOWED if any(rule.allows(attributes) for rule in self._rules) else NO_OPINION

    @cached_property
    def _rules(self) -> tuple[Rule, ...]:
        return compiled(notation.rules(notation.sections(CLUSTER_ROLES)["system:node"]))

    def _readable(self, node: str, asked: Attributes) -> Decision:
        """Secrets and ConfigMaps: read one by one, which includes watching one."""
        if asked.verb not in ("get", "list", "watch"):
            return Decision(False, "can only read resources of this type")
        if asked.subresource:
            return Decision(False, "cannot read subresource")
        if not asked.namespace:
            return Decision(False, "can only read namespaced object of this type")
        return self._related(node, asked)

    def _gettable(self, node: str, asked: Attributes) -> Decision:
        if asked.verb != "get":
            return Decision(False, "can only get individual resources of this type")
        if asked.subresource:
            return Decision(False, "cannot get subresource")
        return self._related(node, asked)

    def _claim(self, node: str, asked: Attributes) -> Decision:
        if asked.subresource != "status":
            return self._gettable(node, asked)
        if asked.verb not in ("update", "patch"):
            return Decision(False, "can only get/update/patch this type")
        return self._related(node, asked)

    def _service_account(self, node: str, asked: Attributes) -> Decision:
        if asked.verb == "get" and not asked.subresource:
            return self._readable(node, asked)
        if asked.verb != "create" or not asked.name:
            return Decision(False, "can only create tokens for individual service accounts")
        if asked.subresource != "token":
            return Decision(False, "can only create token subresource of serviceaccount")
        return self._related(node, asked)

    def _lease(self, node: str, asked: Attributes) -> Decision:
        if asked.verb not in ("get", "create", "update", "patch", "delete"):
            return Decision(False, "can only get, create, update, patch, or delete a node lease")
        if asked.namespace != LEASE_NAMESPACE:
            return Decision(False, f'can only access leases in the "{LEASE_NAMESPACE}" system namespace')
        if asked.verb != "create" and asked.name != node:
            return Decision(False, "can only access node lease with the same name as the requesting node")
        return ALLOWED

    def _csi_node(self, node: str, asked: Attributes) -> Decision:
        if asked.verb not in ("get", "create", "update", "patch", "delete"):
            return Decision(False, "can only get, create, update, patch, or delete a CSINode")
        if asked.subresource:
            return Decision(False, "cannot authorize CSINode subresources")
        if asked.verb != "create" and asked.name != node:
            return Decision(False, "can only access CSINode with the same name as the requesting node")
        return ALLOWED

    def _resource_slice(self, node: str, asked: Attributes) -> Decision:
        if asked.subresource:
            return Decision(False, "cannot authorize ResourceSlice subresources")
        match asked.verb:
            case "create":
                # The object is not known here: the NodeRestriction admission plugin looks at its nodeName.
                return ALLOWED
            case "get" | "update" | "patch" | "delete":
                return self._related(node, asked)
            case "watch" | "list" | "deletecollection":
                if _selected(asked, "spec.nodeName") == node:
                    return ALLOWED
                return Decision(
                    False, "can only list/watch/deletecollection resourceslices with nodeName field selector"
                )
        return Decision(
            False,
            "only the following verbs are allowed for a ResourceSlice: "
            "get, watch, list, create, update, patch, delete, deletecollection",
        )

    def _node(self, node: str, asked: Attributes) -> Decision:
        """Of what is allowed here the NodeRestriction admission plugin limits the writes to the own node."""
        match (asked.subresource, asked.verb):
            case ("", "create" | "update" | "patch") | ("status", "update" | "patch"):
                return ALLOWED
            case ("", "get" | "list" | "watch"):
                if asked.name == node:
                    return ALLOWED
                others = f"'{asked.name}'" if asked.name else "all nodes"
                return Decision(False, f"node '{node}' cannot read {others}, only its own Node object")
        return NO_OPINION

    def _pod(self, node: str, asked: Attributes) -> Decision:
        """As `_node`: writes are limited to pods bound to the node by the NodeRestriction admission plugin."""
        match (asked.subresource, asked.verb):
            case ("", "get"):
                return self._gettable(node, asked)
            case ("", "list" | "watch"):
                if _selected(asked, "spec.nodeName") == node:
                    return ALLOWED
                if asked.name:
                    return self._related(node, asked)
                return Decision(False, "can only list/watch pods with spec.nodeName field selector")
            case ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create"):
                return ALLOWED
        return NO_OPINION

    def _related(self, node: str, asked: Attributes) -> Decision:
        if not asked.name:
            return Decision(False, "No Object name found")
        if self._has_path(node, asked):
            return ALLOWED
        return Decision(False, f"no relationship found between node '{node}' and this object")

    def _has_path(self, node: str, asked: Attributes) -> bool:
        match asked.resource:
            case "pods":
                return self._references.runs(node, asked.namespace, asked.name)
            case "secrets":
                return self._references.secret(node, asked.namespace, asked.name)
            case "persistentvolumes":
                return self._references.volume(node, asked.name)
            case "volumeattachments":
                return self._node_of(VOLUME_ATTACHMENTS, asked.name) == node
            case "resourceslices":
                return self._node_of(RESOURCE_SLICES, asked.name) == node
        return self._references.named(node, asked.resource, asked.namespace, asked.name)

    def _node_of(self, resource: Resource, name: str) -> object:
        return ((self._reader.get(resource, name) or {}).get("spec") or {}).get("nodeName")


def _selected(asked: Attributes, field: str) -> str | None:
    """The one value of a field that a list or watch is limited to. What cannot be parsed limits nothing."""
    try:
        return parse_field_selector(asked.field_selector).exact.get(field) if asked.field_selector else None
    except ApiError:
        return None


_SUBDIVIDED: dict[tuple[str, str], Rules] = {
    ("", "secrets"): NodeAuthorizer._readable,
    ("", "configmaps"): NodeAuthorizer._readable,
    ("", "persistentvolumeclaims"): NodeAuthorizer._claim,
    ("", "persistentvolumes"): NodeAuthorizer._gettable,
    ("resource.k8s.io", "resourceclaims"): NodeAuthorizer._gettable,
    ("storage.k8s.io", "volumeattachments"): NodeAuthorizer._gettable,
    ("", "serviceaccounts"): NodeAuthorizer._service_account,
    ("coordination.k8s.io", "leases"): NodeAuthorizer._lease,
    ("storage.k8s.io", "csinodes"): NodeAuthorizer._csi_node,
    ("resource.k8s.io", "resourceslices"): NodeAuthorizer._resource_slice,
    ("", "nodes"): NodeAuthorizer._node,
    ("", "pods"): NodeAuthorizer._pod,
}
