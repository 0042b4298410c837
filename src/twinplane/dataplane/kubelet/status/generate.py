"""The status of a pod, out of what runs. Pure. Source: kubelet `generateAPIPodStatus`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twinplane.clock import rfc3339
from twinplane.dataplane.kubelet.containers.resources import qos_class
from twinplane.dataplane.kubelet.pods.spec import is_host_network
from twinplane.dataplane.kubelet.status.conditions import Verdict, condition, pod_conditions
from twinplane.dataplane.kubelet.status.containers import Observed, container_statuses
from twinplane.dataplane.kubelet.status.phase import pod_phase
from twinplane.kubeclient.contract import Object

FINISHED = ("Succeeded", "Failed")


def pod_status(
    pod: Object,
    observed: Observed,
    host_ips: Sequence[str],
    now: float,
    *,
    failed: tuple[str, str] | None = None,
    more: dict[str, Verdict] | None = None,
) -> dict[str, Any]:
    """The fields that the kubelet owns. `pod` carries the status before, for times that are kept.

    `failed` are reason and message of a pod that the node has ended; `more` are conditions beside the usual ones.
    """
    before = pod.get("status") or {}
    statuses = container_statuses(pod, observed)
    by_name = {name: {item["name"]: item for item in items} for name, items in statuses.items()}
    inits, mains = by_name.get("initContainerStatuses", {}), by_name.get("containerStatuses", {})
    phase = "Failed" if failed else pod_phase(pod, inits, mains, over=observed.over)
    if before.get("phase") in FINISHED:
        phase = before["phase"]
    sandbox = observed.state.ready_sandbox
    generation = int(pod["metadata"].get("generation") or 0)
    old = before.get("conditions") or []
    verdicts = pod_conditions(pod, phase, inits, mains, old, sandboxed=sandbox is not None) | (more or {})
    made: dict[str, Any] = {
        "phase": phase,
        "startTime": before.get("startTime") or rfc3339(now),
        "qosClass": qos_class(pod),
        "conditions": [condition(name, verdict, generation, old, now) for name, verdict in verdicts.items()],
        "hostIP": host_ips[0],
        "hostIPs": [{"ip": ip} for ip in host_ips],
        **statuses,
    }
    if generation:
        made["observedGeneration"] = generation
    if failed:
        made["reason"], made["message"] = failed
    else:
        made |= {key: before[key] for key in ("reason", "message") if before.get(key) and phase == "Failed"}
    ips = list(host_ips) if is_host_network(pod) else _pod_ips(observed, before, phase)
    if ips:
        made["podIP"], made["podIPs"] = ips[0], [{"ip": ip} for ip in ips]
    return made


def _pod_ips(observed: Observed, before: dict[str, Any], phase: str) -> list[str]:
    """Of the sandbox; a pod that is over keeps the ones it had."""
    sandbox = observed.state.ready_sandbox
    if sandbox is not None:
        return list(sandbox.ips)
    if phase in FINISHED or observed.stopped:
        return [item["ip"] for item in before.get("podIPs") or ()]
    return []
