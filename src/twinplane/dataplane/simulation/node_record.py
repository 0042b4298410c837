"""What is kept of a Node object: who it is, where it is, whether it is ready, and what others advertise on it.

An informer's transform.
"""

from __future__ import annotations

from twinplane.dataplane.node_records import extended_resources
from twinplane.dataplane.simulation.fleet.member import PROVIDER
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import condition_of, labels_of

_METADATA = ("name", "uid", "resourceVersion")
_LABELS = "twinplane.io/"
"""All that is kept of the labels of a fleet's own nodes: groups select others by theirs."""


def slim_node(body: Object) -> Object:
    ready = condition_of(body, "Ready")
    metadata = {name: body["metadata"][name] for name in _METADATA if name in body["metadata"]}
    provider_id = (body.get("spec") or {}).get("providerID") or ""
    own = provider_id.startswith(PROVIDER)
    metadata["labels"] = {key: text for key, text in labels_of(body).items() if not own or key.startswith(_LABELS)}
    status = body.get("status") or {}
    amounts = {name: extended_resources(status.get(name)) for name in ("capacity", "allocatable")}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": {"providerID": provider_id},
        "status": {
            "addresses": status.get("addresses") or [],
            "conditions": [ready] if ready is not None else [],
            **{name: extended for name, extended in amounts.items() if extended},
        },
    }
