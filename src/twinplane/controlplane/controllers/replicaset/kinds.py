"""The two kinds that one controller serves: a ReplicationController is a ReplicaSet with a plain map as selector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.controllers.ownership import SelectorOf, selector_in_spec
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.resources import REPLICA_SETS, REPLICATION_CONTROLLERS


@dataclass(frozen=True)
class ReplicaKind:
    name: str
    resource: Resource
    selector: SelectorOf


def _selector_map(owner: Object) -> dict[str, Any] | None:
    selector = owner["spec"].get("selector")
    return {"matchLabels": selector} if selector else None


REPLICA_SET_KIND = ReplicaKind("replicaset-controller", REPLICA_SETS, selector_in_spec)
REPLICATION_CONTROLLER_KIND = ReplicaKind("replication-controller", REPLICATION_CONTROLLERS, _selector_map)
