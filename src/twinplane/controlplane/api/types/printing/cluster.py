"""Nodes, namespaces, events, configuration and devices as `kubectl get` shows them."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.types.printing.column import (
    NONE,
    UNKNOWN,
    UNSET,
    Printer,
    age,
    name,
    printer,
    since,
    spec,
    status,
)
from twinplane.kubeclient.contract import Object

_ROLE_PREFIX, _ROLE_LABEL = "node-role.kubernetes.io/", "kubernetes.io/role"


def node(body: Object, now: float) -> list[Any]:
    current = status(body)
    info = current.get("nodeInfo") or {}
    return [
        name(body),
        _node_status(body),
        _roles(body["metadata"].get("labels") or {}),
        age(body, now),
        info.get("kubeletVersion", ""),
        _address(current, "InternalIP"),
        _address(current, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _node_status(body: Object) -> str:
    conditions = status(body).get("conditions") or ()
    ready = next((entry for entry in conditions if entry.get("type") == "Ready"), None)
    words = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if spec(body).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(labels: dict[str, str]) -> str:
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)} - {""}
    if labels.get(_ROLE_LABEL):
        roles.add(labels[_ROLE_LABEL])
    return ",".join(sorted(roles)) or NONE


def _address(current: dict[str, Any], kind: str) -> str:
    addresses = current.get("addresses") or ()
    return next((entry["address"] for entry in addresses if entry.get("type") == kind), NONE)


def namespace(body: Object, now: float) -> list[Any]:
    return [name(body), status(body).get("phase", ""), age(body, now)]


def event(body: Object, now: float) -> list[Any]:
    """Works for core/v1 and events.k8s.io/v1, which name the same fields differently."""
    involved = body.get("involvedObject") or body.get("regarding") or {}
    first = body.get("firstTimestamp") or body.get("deprecatedFirstTimestamp") or body.get("eventTime")
    last = body.get("lastTimestamp") or body.get("deprecatedLastTimestamp") or first
    series = body.get("series")
    count = body.get("count") or body.get("deprecatedCount") or 1
    if series:
        last, count = series.get("lastObservedTime") or last, series.get("count", count)
    target = involved.get("kind", "").lower()
    return [
        since(last, now),
        body.get("type", ""),
        body.get("reason", ""),
        f"{target}/{involved['name']}" if involved.get("name") else target,
        involved.get("fieldPath", ""),
        _event_source(body),
        str(body.get("message") or body.get("note") or "").strip(),
        since(first, now),
        count,
        name(body),
    ]


def _event_source(body: Object) -> str:
    source = body.get("source") or body.get("deprecatedSource") or {}
    component = source.get("component") or body.get("reportingComponent") or body.get("reportingController") or ""
    host = source.get("host") or body.get("reportingInstance") or ""
    return ", ".join(part for part in (component, host) if part)


def secret(body: Object, now: float) -> list[Any]:
    return [name(body), body.get("type", ""), len(body.get("data") or ()), age(body, now)]


def config_map(body: Object, now: float) -> list[Any]:
    size = len(body.get("data") or ()) + len(body.get("binaryData") or ())
    return [name(body), size, age(body, now)]


def service_account(body: Object, now: float) -> list[Any]:
    return [name(body), age(body, now)]


def resource_quota(body: Object, now: float) -> list[Any]:
    hard, used = status(body).get("hard") or {}, status(body).get("used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for key in sorted(hard):
        shown = f"{key}: {used.get(key, '0')}/{hard[key]}"
        (limits if key.startswith("limits.") else requests).append(shown)
    return [name(body), ", ".join(requests), ", ".join(limits), age(body, now)]


def component_status(body: Object, now: float) -> list[Any]:
    healthy: dict[str, Any] = next(
        (entry for entry in body.get("conditions") or () if entry.get("type") == "Healthy"), {}
    )
    words = {"True": "Healthy", "False": "Unhealthy"}
    return [
        name(body),
        words.get(healthy.get("status", ""), "Unknown"),
        healthy.get("message", ""),
        healthy.get("error", ""),
    ]


def lease(body: Object, now: float) -> list[Any]:
    return [name(body), spec(body).get("holderIdentity", ""), age(body, now)]


def priority_class(body: Object, now: float) -> list[Any]:
    is_default = str(bool(body.get("globalDefault"))).lower()
    policy = body.get("preemptionPolicy", "PreemptLowerPriority")
    return [name(body), body.get("value", 0), is_default, age(body, now), policy]


def runtime_class(body: Object, now: float) -> list[Any]:
    return [name(body), body.get("handler", ""), age(body, now)]


def named_with_age(body: Object, now: float) -> list[Any]:
    return [name(body), age(body, now)]


def resource_claim(body: Object, now: float) -> list[Any]:
    current = status(body)
    states = ["deleted"] if body["metadata"].get("deletionTimestamp") else []
    states.append("allocated" if current.get("allocation") else "pending")
    if current.get("reservedFor"):
        states.append("reserved")
    return [name(body), ",".join(states), age(body, now)]


def resource_slice(body: Object, now: float) -> list[Any]:
    wanted = spec(body)
    pool = (wanted.get("pool") or {}).get("name", "")
    return [name(body), wanted.get("nodeName") or UNSET, wanted.get("driver", ""), pool, age(body, now)]


_RESOURCE = "resource.k8s.io"
_EVENT = printer(
    "Last Seen,Type,Reason,Object,Subobject,Source,Message,First Seen,Count,Name",
    event,
)
for _column in _EVENT.columns:
    if _column["name"] in ("Subobject", "Source", "First Seen", "Count", "Name"):
        _column["priority"] = 1

PRINTERS: dict[tuple[str, str], Printer] = {
    ("", "ComponentStatus"): printer("Name,Status,Message,Error", component_status),
    ("", "ConfigMap"): printer("Name,Data,Age", config_map),
    ("", "Event"): _EVENT,
    ("", "Namespace"): printer("Name,Status,Age", namespace),
    ("", "Node"): printer(
        "Name,Status,Roles,Age,Version",
        node,
        "Internal-IP,External-IP,OS-Image,Kernel-Version,Container-Runtime",
    ),
    ("", "ResourceQuota"): printer("Name,Request,Limit,Age", resource_quota),
    ("", "Secret"): printer("Name,Type,Data,Age", secret),
    ("", "ServiceAccount"): printer("Name,Age", service_account),
    ("coordination.k8s.io", "Lease"): printer("Name,Holder,Age", lease),
    ("events.k8s.io", "Event"): _EVENT,
    ("node.k8s.io", "RuntimeClass"): printer("Name,Handler,Age", runtime_class),
    (_RESOURCE, "DeviceClass"): printer("Name,Age", named_with_age),
    (_RESOURCE, "ResourceClaim"): printer("Name,State,Age", resource_claim),
    (_RESOURCE, "ResourceClaimTemplate"): printer("Name,Age", named_with_age),
    (_RESOURCE, "ResourceSlice"): printer("Name,Node,Driver,Pool,Age", resource_slice),
    ("scheduling.k8s.io", "PriorityClass"): printer(
        "Name,Value:integer,Global-Default:boolean,Age,PreemptionPolicy", priority_class
    ),
}
