"""The APIService that says who serves `metrics.k8s.io`, and who may read it: made with every cluster."""

from __future__ import annotations

from twinplane.kubeclient.contract import Object

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
NAME = f"{VERSION}.{GROUP}"
BUILT_IN = "twinplane.io/built-in"


def bootstrap_objects() -> list[Object]:
    """Names and rights are those of metrics-server's manifests, which can be applied over them."""
    roles = {f"rbac.authorization.k8s.io/aggregate-to-{role}": "true" for role in ("admin", "edit", "view")}
    return [
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": NAME, "labels": {"k8s-app": "metrics-server", BUILT_IN: "true"}},
            "spec": {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 100, "versionPriority": 100},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "system:aggregated-metrics-reader", "labels": {"k8s-app": "metrics-server", **roles}},
            "rules": [{"apiGroups": [GROUP], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]}],
        },
    ]
