"""What every cluster has from its first second: namespaces, priority classes, RBAC policy, the `kubernetes` Service.

`desired_objects` and `plan` are pure; `ensure_bootstrap_objects` is the thin loop on the start-up path that applies
the difference concurrently. As upstream, bootstrap roles get missing rules and subjects back unless their `autoupdate`
annotation is off, and nothing that a user added is taken away.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from twinplane.controlplane.auth.policy import cluster_roles, notation
from twinplane.controlplane.auth.policy.controller_roles import CONTROLLER_ROLES
from twinplane.controlplane.auth.rules import covers
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    NAMESPACES,
    PRIORITY_CLASSES,
    ROLE_BINDINGS,
    ROLES,
    SERVICES,
)

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
DEFAULT_SERVICE_CIDR = "10.100.0.0/16"
_RBAC = "rbac.authorization.k8s.io"
_CONCURRENCY = 64


class Bootstrap(NamedTuple):
    resource: Resource
    body: Object


class Change(NamedTuple):
    """One write: `verb` is create or update."""

    verb: str
    resource: Resource
    body: Object


def desired_objects(service_cidr: str = DEFAULT_SERVICE_CIDR) -> list[Bootstrap]:
    """In the order of need: namespaces come first, since the rest may live in them."""
    return [
        *(Bootstrap(NAMESPACES, _named("v1", "Namespace", name)) for name in NAMESPACE_NAMES),
        *(Bootstrap(PRIORITY_CLASSES, body) for body in _priority_classes()),
        *(Bootstrap(CLUSTER_ROLES, body) for body in _cluster_roles()),
        *(Bootstrap(CLUSTER_ROLE_BINDINGS, body) for body in _cluster_role_bindings()),
        *(Bootstrap(ROLES, body) for body in _roles()),
        *(Bootstrap(ROLE_BINDINGS, body) for body in _role_bindings()),
        Bootstrap(SERVICES, kubernetes_service(service_cidr)),
    ]


NAMESPACE_NAMES = ("default", "kube-system", "kube-public", "kube-node-lease")


def kubernetes_service(service_cidr: str) -> Object:
    """`default/kubernetes` on the first address of the range; its endpoints are the API server's own business."""
    address = str(ipaddress.ip_network(service_cidr)[1])
    service = _named("v1", "Service", "kubernetes", "default")
    service["metadata"]["labels"] = {"component": "apiserver", "provider": "kubernetes"}
    service["spec"] = {
        "type": "ClusterIP",
        "clusterIP": address,
        "clusterIPs": [address],
        "ipFamilies": ["IPv6" if ":" in address else "IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
        "sessionAffinity": "None",
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 443}],
    }
    return service


def _named(api_version: str, kind: str, name: str, namespace: str = "") -> Object:
    metadata: dict[str, Any] = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    if api_version.startswith(_RBAC):
        metadata["labels"] = {"kubernetes.io/bootstrapping": "rbac-defaults"}
        metadata["annotations"] = {AUTOUPDATE: "true"}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _rbac(kind: str, qualified: str) -> Object:
    """`qualified` is NAME or NAMESPACE/NAME."""
    namespace, _, name = qualified.rpartition("/")
    return _named(f"{_RBAC}/v1", kind, name, namespace)


def _priority_classes() -> Iterator[Object]:
    used_for = "Used for system critical pods that must"
    classes = (
        ("system-node-critical", 2000001000, f"{used_for} not be moved from their current node."),
        (
            "system-cluster-critical",
            2000000000,
            f"{used_for} run in the cluster, but can be moved to another node if necessary.",
        ),
    )
    for name, value, description in classes:
        yield _named("scheduling.k8s.io/v1", "PriorityClass", name) | {
            "value": value,
            "preemptionPolicy": "PreemptLowerPriority",
            "description": description,
        }


def _cluster_roles() -> list[Object]:
    tables = notation.sections(cluster_roles.CLUSTER_ROLES) | notation.sections(cluster_roles.EKS_CLUSTER_ROLES)
    controllers = notation.sections(CONTROLLER_ROLES)
    tables |= {f"system:controller:{name}": lines for name, lines in controllers.items()}
    roles = [_rbac("ClusterRole", name) | {"rules": notation.rules(lines)} for name, lines in tables.items()]
    for role in roles:
        part_of = cluster_roles.AGGREGATED.get(role["metadata"]["name"])
        if part_of:
            role["metadata"]["labels"][_aggregate_to(part_of)] = "true"
    for name, parts_of in reversed(cluster_roles.AGGREGATES.items()):
        role = _rbac("ClusterRole", name)
        role["metadata"]["labels"] |= {_aggregate_to(other): "true" for other in parts_of}
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {_aggregate_to(name): "true"}}]}
        role["rules"] = aggregated_rules(name, roles)
        roles.append(role)
    return roles


def _aggregate_to(name: str) -> str:
    return f"{_RBAC}/aggregate-to-{name}"


def aggregated_rules(name: str, roles: Iterable[Object]) -> list[Object]:
    """Rules of the roles labelled for `name`, in name order and none twice, as the aggregation controller has them."""
    rules: list[Object] = []
    for role in sorted(roles, key=lambda each: str(each["metadata"]["name"])):
        if role["metadata"].get("labels", {}).get(_aggregate_to(name)) == "true":
            rules += [rule for rule in role.get("rules") or () if rule not in rules]
    return rules


def _subject(text: str) -> Object:
    """`User:NAME`, `Group:NAME` or `ServiceAccount:NAMESPACE/NAME`."""
    kind, _, name = text.partition(":")
    if kind == "ServiceAccount":
        namespace, _, name = name.partition("/")
        return {"kind": kind, "name": name, "namespace": namespace}
    return {"apiGroup": _RBAC, "kind": kind, "name": name}


def _binding(kind: str, role_kind: str, qualified: str, line: str) -> Object:
    role, *subjects = line.split()
    binding = _rbac(kind, qualified) | {"roleRef": {"apiGroup": _RBAC, "kind": role_kind, "name": role}}
    if subjects:
        binding["subjects"] = [_subject(text) for text in subjects]
    return binding


def _cluster_role_bindings() -> Iterator[Object]:
    tables = notation.sections(cluster_roles.CLUSTER_ROLE_BINDINGS)
    tables |= notation.sections(cluster_roles.EKS_CLUSTER_ROLE_BINDINGS)
    for controller in notation.sections(CONTROLLER_ROLES):
        name = f"system:controller:{controller}"
        tables[name] = f"{name} ServiceAccount:kube-system/{controller}"
    return (_binding("ClusterRoleBinding", "ClusterRole", name, line) for name, line in tables.items())


def _roles() -> Iterator[Object]:
    tables = notation.sections(cluster_roles.ROLES)
    return (_rbac("Role", name) | {"rules": notation.rules(lines)} for name, lines in tables.items())


def _role_bindings() -> Iterator[Object]:
    tables = notation.sections(cluster_roles.ROLE_BINDINGS)
    return (_binding("RoleBinding", "Role", name, line) for name, line in tables.items())


def plan(desired: Sequence[Bootstrap], existing: Mapping[tuple[Resource, str, str], Object]) -> list[Change]:
    """What to write; `existing` by resource, namespace and name."""
    changes = []
    for resource, body in desired:
        metadata = body["metadata"]
        found = existing.get((resource, metadata.get("namespace", ""), metadata["name"]))
        if found is None:
            changes.append(Change("create", resource, body))
        elif resource.group == _RBAC and (updated := _reconciled(found, body)) is not None:
            changes.append(Change("update", resource, updated))
    return changes


def _reconciled(found: Object, wanted: Object) -> Object | None:
    """`found` with what it lacks of `wanted`; None when it lacks nothing or must be left alone."""
    if (found["metadata"].get("annotations") or {}).get(AUTOUPDATE) != "true":
        return None
    if "roleRef" in wanted:
        subjects = list(found.get("subjects") or ())
        missing = [subject for subject in wanted.get("subjects", ()) if subject not in subjects]
        return found | {"subjects": subjects + missing} if missing else None
    if "aggregationRule" in wanted:
        return None
    rules = list(found.get("rules") or ())
    lacking = [rule for rule in wanted["rules"] if covers(rules, [rule])]
    return found | {"rules": rules + lacking} if lacking else None


async def ensure_bootstrap_objects(client: KubeClient, *, service_cidr: str = DEFAULT_SERVICE_CIDR) -> None:
    """Create what is missing. Safe to run in several replicas at once, and at every start."""
    desired = desired_objects(service_cidr)
    changes = plan(desired, await _existing(client, list(dict.fromkeys(entry.resource for entry in desired))))
    first = [change for change in changes if change.resource == NAMESPACES]
    await _apply(client, first)
    await _apply(client, [change for change in changes if change.resource != NAMESPACES])


async def _existing(client: KubeClient, resources: list[Resource]) -> dict[tuple[Resource, str, str], Object]:
    async with asyncio.TaskGroup() as group:
        lists = [group.create_task(client.list(resource)) for resource in resources]
    return {
        (resource, item["metadata"].get("namespace", ""), item["metadata"]["name"]): item
        for resource, listed in zip(resources, lists, strict=True)
        for item in listed.result().items
    }


async def _apply(client: KubeClient, changes: list[Change]) -> None:
    room = asyncio.Semaphore(_CONCURRENCY)

    async def write(change: Change) -> None:
        async with room:
            try:
                if change.verb == "create":
                    await client.create(change.resource, change.body, change.body["metadata"].get("namespace"))
                else:
                    await client.update(change.resource, change.body)
            except ApiError as error:
                # Another replica was quicker, which is as good.
                if error.code != 409:
                    raise

    async with asyncio.TaskGroup() as group:
        for change in changes:
            group.create_task(write(change))
