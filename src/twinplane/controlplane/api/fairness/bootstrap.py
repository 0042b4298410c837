"""The FlowSchemas and PriorityLevelConfigurations that every cluster has from its first second.

Mandatory ones are in force even when their objects are gone; suggested ones are the users' to change. Source: apiserver
`pkg/apis/flowcontrol/bootstrap/default.go`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from twinplane.controlplane.auth.contract import AUTHENTICATED, MASTERS, UNAUTHENTICATED
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError

_GROUP = "flowcontrol.apiserver.k8s.io"
FLOW_SCHEMAS = Resource(_GROUP, "v1", "flowschemas", "FlowSchema", False)
PRIORITY_LEVELS = Resource(_GROUP, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", False)
_API = f"{_GROUP}/v1"
_AUTOUPDATE_KEY = "apf.kubernetes.io/autoupdate-spec"
_AUTOUPDATE = {_AUTOUPDATE_KEY: "true"}
_BY_USER, _BY_NAMESPACE = "ByUser", "ByNamespace"
_MANAGER, _SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"

Subject = dict[str, Any]
Rule = dict[str, Any]


def level(name: str, shares: int, lendable: int, queuing: tuple[int, int, int] | None) -> Object:
    """`queuing`: queues, hand size and length limit; None rejects instead. `lendable` in per cent."""
    response: dict[str, Any] = {"type": "Reject"}
    if queuing is not None:
        fields = ("queues", "handSize", "queueLengthLimit")
        response = {"type": "Queue", "queuing": dict(zip(fields, queuing, strict=True))}
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}
    return _level(name, {"type": "Limited", "limited": limited})


def _level(name: str, spec: Object) -> Object:
    metadata = {"name": name, "annotations": dict(_AUTOUPDATE)}
    return {"apiVersion": _API, "kind": "PriorityLevelConfiguration", "metadata": metadata, "spec": spec}


def schema(
    name: str, precedence: int, level: str, distinguisher: str, subjects: Sequence[Subject], **rules: Any
) -> Object:
    """Without `resources` and `urls`, a list of rules each, every request of the subjects is meant."""
    if not rules:
        rules = {"resources": [_resources("*", "*", "*", cluster=True)], "urls": [_urls("*", "*")]}
    rule: dict[str, Any] = {"subjects": list(subjects)}
    if rules.get("resources"):
        rule["resourceRules"] = rules["resources"]
    if rules.get("urls"):
        rule["nonResourceRules"] = rules["urls"]
    spec: dict[str, Any] = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [rule],
    }
    if distinguisher:
        spec["distinguisherMethod"] = {"type": distinguisher}
    metadata = {"name": name, "annotations": dict(_AUTOUPDATE)}
    return {"apiVersion": _API, "kind": "FlowSchema", "metadata": metadata, "spec": spec}


def _resources(verbs: str, group: str, resources: str, *, cluster: bool) -> Rule:
    rule: Rule = {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), "namespaces": ["*"]}
    return rule | {"clusterScope": True} if cluster else rule


def _urls(verbs: str, urls: str) -> Rule:
    return {"verbs": verbs.split(), "nonResourceURLs": urls.split()}


def _users(*names: str) -> list[Subject]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


def _groups(*names: str) -> list[Subject]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _system_accounts(*names: str) -> list[Subject]:
    accounts = ({"namespace": "kube-system", "name": name} for name in names)
    return [{"kind": "ServiceAccount", "serviceAccount": account} for account in accounts]


_EVERYBODY = _groups(UNAUTHENTICATED, AUTHENTICATED)
_ELECTION = "get create update"
_LEASES = _resources(_ELECTION, "coordination.k8s.io", "leases", cluster=False)

MANDATORY_LEVELS = (
    _level("exempt", {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}),
    level("catch-all", 5, 0, None),
)
MANDATORY_SCHEMAS = (
    schema("exempt", 1, "exempt", "", _groups(MASTERS)),
    schema("catch-all", 10000, "catch-all", _BY_USER, _EVERYBODY),
)
SUGGESTED_LEVELS = (
    level("system", 30, 33, (64, 6, 50)),
    level("node-high", 40, 25, (64, 6, 50)),
    level("leader-election", 10, 0, (16, 4, 50)),
    level("workload-high", 40, 50, (128, 6, 50)),
    level("workload-low", 100, 90, (128, 6, 50)),
    level("global-default", 20, 50, (128, 6, 50)),
)
SUGGESTED_SCHEMAS = (
    schema("probes", 2, "exempt", "", _EVERYBODY, urls=[_urls("get", "/healthz /readyz /livez")]),
    schema(
        *("system-leader-election", 100, "leader-election", _BY_USER),
        [*_users(_MANAGER, _SCHEDULER), *_system_accounts("*")],
        resources=[_LEASES],
    ),
    schema(
        *("endpoint-controller", 150, "workload-high", _BY_USER),
        [*_users(_MANAGER), *_system_accounts("endpoint-controller", "endpointslicemirroring-controller")],
        resources=[_resources(_ELECTION, "", "endpoints", cluster=False)],
    ),
    schema(
        *("workload-leader-election", 200, "leader-election", _BY_USER),
        _system_accounts("*"),
        resources=[_resources(_ELECTION, "", "endpoints configmaps", cluster=False), _LEASES],
    ),
    schema(
        *("system-node-high", 400, "node-high", _BY_USER),
        _groups("system:nodes"),
        resources=[
            _resources("*", "", "nodes nodes/status", cluster=True),
            _resources("*", "coordination.k8s.io", "leases", cluster=False),
        ],
    ),
    schema("system-nodes", 500, "system", _BY_USER, _groups("system:nodes")),
    schema("kube-controller-manager", 800, "workload-high", _BY_NAMESPACE, _users(_MANAGER)),
    schema("kube-scheduler", 800, "workload-high", _BY_NAMESPACE, _users(_SCHEDULER)),
    schema("kube-system-service-accounts", 900, "workload-high", _BY_NAMESPACE, _system_accounts("*")),
    schema("service-accounts", 9000, "workload-low", _BY_USER, _groups("system:serviceaccounts")),
    schema("global-default", 9900, "global-default", _BY_USER, _EVERYBODY),
)


def bootstrap_objects() -> list[Object]:
    """All of them, levels first."""
    return [*MANDATORY_LEVELS, *SUGGESTED_LEVELS, *MANDATORY_SCHEMAS, *SUGGESTED_SCHEMAS]


async def ensure_bootstrap_objects(client: KubeClient) -> None:
    """Make those that are missing, and bring back what upstream keeps up to date, all at the same time."""
    async with asyncio.TaskGroup() as group:
        for body in bootstrap_objects():
            group.create_task(_ensure(client, body))


async def _ensure(client: KubeClient, body: Object) -> None:
    resource = FLOW_SCHEMAS if body["kind"] == "FlowSchema" else PRIORITY_LEVELS
    try:
        await client.create(resource, body)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        present = await client.get(resource, body["metadata"]["name"])
        keeps = (present["metadata"].get("annotations") or {}).get(_AUTOUPDATE_KEY) == "true"
        if keeps and present["spec"] != body["spec"]:
            await client.update(resource, {**present, "spec": body["spec"]})
