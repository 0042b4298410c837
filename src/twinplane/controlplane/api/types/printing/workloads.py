"""Deployments, sets, jobs, autoscalers and budgets as `kubectl get` shows them."""

from __future__ import annotations

from typing import Any

from twinplane.clock import from_rfc3339
from twinplane.controlplane.api.types.autoscaling import to_v2
from twinplane.controlplane.api.types.printing.column import (
    NONE,
    UNKNOWN,
    UNSET,
    Printer,
    age,
    containers,
    human_duration,
    labels_text,
    name,
    printer,
    selector_text,
    since,
    spec,
    status,
)
from twinplane.kubeclient.contract import Object


def _template(body: Object) -> tuple[str, str]:
    return containers(spec(body).get("template") or {})


def deployment(body: Object, now: float) -> list[Any]:
    current = status(body)
    return [
        name(body),
        f"{current.get('readyReplicas', 0)}/{spec(body).get('replicas', 0)}",
        current.get("updatedReplicas", 0),
        current.get("availableReplicas", 0),
        age(body, now),
        *_template(body),
        selector_text(spec(body).get("selector")),
    ]


def replica_set(body: Object, now: float) -> list[Any]:
    current, selector = status(body), spec(body).get("selector")
    shown = labels_text(selector) if body.get("kind") == "ReplicationController" else selector_text(selector)
    return [
        name(body),
        spec(body).get("replicas", 0),
        current.get("replicas", 0),
        current.get("readyReplicas", 0),
        age(body, now),
        *_template(body),
        shown,
    ]


def daemon_set(body: Object, now: float) -> list[Any]:
    current = status(body)
    node_selector = ((spec(body).get("template") or {}).get("spec") or {}).get("nodeSelector")
    fields = (
        *("desiredNumberScheduled", "currentNumberScheduled", "numberReady"),
        *("updatedNumberScheduled", "numberAvailable"),
    )
    return [
        name(body),
        *(current.get(field, 0) for field in fields),
        labels_text(node_selector),
        age(body, now),
        *_template(body),
        selector_text(spec(body).get("selector")),
    ]


def stateful_set(body: Object, now: float) -> list[Any]:
    ready = f"{status(body).get('readyReplicas', 0)}/{spec(body).get('replicas', 0)}"
    return [name(body), ready, age(body, now), *_template(body)]


def job(body: Object, now: float) -> list[Any]:
    wanted, current = spec(body), status(body)
    succeeded = current.get("succeeded", 0)
    if "completions" in wanted:
        completions = f"{succeeded}/{wanted['completions']}"
    else:
        parallelism = wanted.get("parallelism") or 0
        completions = f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"
    return [
        name(body),
        _job_status(body),
        completions,
        _job_duration(current, now),
        age(body, now),
        *_template(body),
        selector_text(wanted.get("selector")),
    ]


def _job_status(body: Object) -> str:
    true = {entry["type"] for entry in status(body).get("conditions") or () if entry.get("status") == "True"}
    for condition in ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if condition in true:
            return condition
    return "Terminating" if body["metadata"].get("deletionTimestamp") else "Running"


def _job_duration(current: dict[str, Any], now: float) -> str:
    start, end = current.get("startTime"), current.get("completionTime")
    if not start:
        return ""
    return human_duration((from_rfc3339(end) if end else now) - from_rfc3339(start))


def cron_job(body: Object, now: float) -> list[Any]:
    wanted, current = spec(body), status(body)
    last = current.get("lastScheduleTime")
    template = (wanted.get("jobTemplate") or {}).get("spec") or {}
    return [
        name(body),
        wanted.get("schedule", ""),
        wanted.get("timeZone") or NONE,
        str(bool(wanted.get("suspend"))),
        len(current.get("active") or ()),
        since(last, now) if last else NONE,
        age(body, now),
        *containers(template.get("template") or {}),
        selector_text(template.get("selector")),
    ]


def autoscaler(body: Object, now: float) -> list[Any]:
    wanted, current = spec(body), status(body)
    reference = wanted.get("scaleTargetRef") or {}
    least = wanted.get("minReplicas")
    return [
        name(body),
        f"{reference.get('kind', '')}/{reference.get('name', '')}",
        _targets(wanted.get("metrics") or [], current.get("currentMetrics") or []),
        UNSET if least is None else str(least),
        wanted.get("maxReplicas", 0),
        current.get("currentReplicas", 0),
        age(body, now),
    ]


def _targets(metrics: list[dict[str, Any]], measured: list[dict[str, Any]]) -> str:
    """`cpu: 10%/50%`, the first two of them."""
    if not metrics:
        return NONE
    texts = [_target(metric, measured[index] if index < len(measured) else {}) for index, metric in enumerate(metrics)]
    more = f" + {len(texts) - 2} more..." if len(texts) > 2 else ""
    return ", ".join(texts[:2]) + more


def _target(metric: dict[str, Any], measured: dict[str, Any]) -> str:
    kind = metric.get("type", "")
    field = kind[:1].lower() + kind[1:]
    source = metric.get(field) or {}
    target, current = source.get("target") or {}, (measured.get(field) or {}).get("current") or {}
    label = f"{source['name']}: " if kind in ("Resource", "ContainerResource") and "name" in source else ""
    if target.get("averageUtilization") is not None:
        value = current.get("averageUtilization")
        return f"{label}{UNKNOWN if value is None else f'{value}%'}/{target['averageUtilization']}%"
    if target.get("averageValue") is not None:
        average = " (avg)" if kind in ("Object", "External") else ""
        return f"{label}{current.get('averageValue', UNKNOWN)}/{target['averageValue']}{average}"
    return f"{label}{current.get('value', UNKNOWN)}/{target.get('value', UNKNOWN)}"


def autoscaler_v1(body: Object, now: float) -> list[Any]:
    return autoscaler(to_v2(body), now)


def disruption_budget(body: Object, now: float) -> list[Any]:
    wanted = spec(body)
    return [
        name(body),
        str(wanted.get("minAvailable", "N/A")),
        str(wanted.get("maxUnavailable", "N/A")),
        status(body).get("disruptionsAllowed", 0),
        age(body, now),
    ]


def controller_revision(body: Object, now: float) -> list[Any]:
    owners = body["metadata"].get("ownerReferences") or ()
    owner = next((entry for entry in owners if entry.get("controller")), None)
    group = owner["apiVersion"].rpartition("/")[0] if owner else ""
    kind = f"{owner['kind'].lower()}.{group}" if owner and group else owner["kind"].lower() if owner else ""
    shown = f"{kind}/{owner['name']}" if owner else NONE
    return [name(body), shown, body.get("revision", 0), age(body, now)]


_REPLICAS = "Name,Desired:integer,Current:integer,Ready:integer,Age"
_WIDE = "Containers,Images,Selector"

PRINTERS: dict[tuple[str, str], Printer] = {
    ("", "ReplicationController"): printer(_REPLICAS, replica_set, _WIDE),
    ("apps", "ControllerRevision"): printer("Name,Controller,Revision,Age", controller_revision),
    ("apps", "DaemonSet"): printer(
        "Name,Desired:integer,Current:integer,Ready:integer,Up-to-date:integer,Available:integer,Node Selector,Age",
        daemon_set,
        _WIDE,
    ),
    ("apps", "Deployment"): printer("Name,Ready,Up-to-date,Available,Age", deployment, _WIDE),
    ("apps", "ReplicaSet"): printer(_REPLICAS, replica_set, _WIDE),
    ("apps", "StatefulSet"): printer("Name,Ready,Age", stateful_set, "Containers,Images"),
    ("autoscaling", "HorizontalPodAutoscaler"): printer(
        "Name,Reference,Targets,MinPods,MaxPods,Replicas,Age", autoscaler_v1
    ),
    ("batch", "CronJob"): printer(
        "Name,Schedule,Timezone,Suspend:boolean,Active:integer,Last Schedule,Age", cron_job, _WIDE
    ),
    ("batch", "Job"): printer("Name,Status,Completions,Duration,Age", job, _WIDE),
    ("policy", "PodDisruptionBudget"): printer(
        "Name,Min Available,Max Unavailable,Allowed Disruptions:integer,Age", disruption_budget
    ),
}
