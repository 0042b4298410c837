"""The identity that all simulated nodes of a cluster share, and what it may do.

A real kubelet is `system:node:NAME` with a credential of its own; one process that is thousands of kubelets has one
client certificate instead, in a group of its own, bound to the rights of a kubelet on every node.
"""

from __future__ import annotations

from typing import Any

from twinplane.kubeclient.contract import Object

USER = "twinplane:node-fleet"
GROUP = "twinplane:node-fleet"

_RIGHTS = (
    ("", "nodes", "create get list watch patch delete"),
    ("", "nodes/status", "patch"),
    ("", "pods", "get list watch delete"),
    ("", "pods/status", "patch"),
    ("", "services", "list watch"),
    ("", "events", "create patch"),
    ("coordination.k8s.io", "leases", "create get patch update"),
    ("discovery.k8s.io", "endpointslices", "list watch"),
    ("storage.k8s.io", "csinodes", "create get patch"),
)


def bootstrap_objects() -> list[Object]:
    metadata: dict[str, Any] = {"name": GROUP}
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [api], "resources": [name], "verbs": verbs.split()} for api, name, verbs in _RIGHTS]
    subjects = [{"apiGroup": group, "kind": "Group", "name": GROUP}]
    # The description of fleets: ConfigMaps of one namespace only.
    fleets = {**metadata, "namespace": "kube-system"}
    reader = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}
    return [
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": fleets, "rules": [reader]},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": fleets,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": GROUP},
            "subjects": subjects,
        },
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": GROUP},
            "subjects": subjects,
        },
    ]
