"""Which nodes load balancers send to. Shared by the Service and the Ingress controllers."""

from __future__ import annotations

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import condition_is, is_deleting, labels_of

EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
AUTOSCALER_TAINT = "ToBeDeletedByClusterAutoscaler"


def instance_id(node: Object) -> str:
    """Of `aws:///us-west-2a/i-0123`; empty for a node that is no EC2 instance."""
    provider = str(node.get("spec", {}).get("providerID", ""))
    last = provider.rsplit("/", 1)[-1]
    return last if provider.startswith("aws://") and last.startswith("i-") else ""


def receives(node: Object) -> bool:
    """Ready, an instance, and not excluded by label or about to be removed."""
    taints = node.get("spec", {}).get("taints") or []
    return (
        bool(instance_id(node))
        and not is_deleting(node)
        and EXCLUDE_LABEL not in labels_of(node)
        and not any(taint["key"] == AUTOSCALER_TAINT for taint in taints)
        and condition_is(node, "Ready")
    )


def matters(old: Object | None, new: Object | None) -> bool:
    """Whether a change of a node changes what load balancers send to (heartbeats do not)."""
    if new is None:
        # The last state of a deleted node may say that it is being deleted, and so that it receives nothing already.
        return old is not None and bool(instance_id(old))
    return _view(old) != _view(new)


def _view(node: Object | None) -> object:
    return None if node is None or not receives(node) else (instance_id(node), dict(labels_of(node)))
