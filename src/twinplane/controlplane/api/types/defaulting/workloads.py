"""Defaults of the workload types that depend on neighbouring fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Value = dict[str, Any]
NO_BACKOFF_LIMIT = (1 << 31) - 1


def default_deployment_strategy(strategy: Value) -> None:
    if strategy.get("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")


def default_daemon_set_strategy(strategy: Value) -> None:
    if strategy.get("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)


def default_stateful_set_strategy(strategy: Value) -> None:
    if strategy.get("type", "RollingUpdate") == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)


def default_stateful_set(spec: Value) -> None:
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")


def default_job(job: Value) -> None:
    """For a Job itself, not for the template in a CronJob."""
    spec = job.setdefault("spec", {})
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", NO_BACKOFF_LIMIT if "backoffLimitPerIndex" in spec else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    replacement = "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed"
    spec.setdefault("podReplacementPolicy", replacement)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels:
        job.setdefault("metadata", {}).setdefault("labels", dict(labels))


def default_autoscaler(spec: Value) -> None:
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        up = behavior.setdefault("scaleUp", {})
        up.setdefault("stabilizationWindowSeconds", 0)
        up.setdefault("selectPolicy", "Max")
        pods = {"type": "Pods", "value": 4, "periodSeconds": 15}
        percent = {"type": "Percent", "value": 100, "periodSeconds": 15}
        up.setdefault("policies", [pods, percent])
        down = behavior.setdefault("scaleDown", {})
        down.setdefault("selectPolicy", "Max")
        down.setdefault("policies", [dict(percent)])


SETTERS: dict[str, Callable[[Value], None]] = {
    "apps.v1.DeploymentStrategy": default_deployment_strategy,
    "apps.v1.DaemonSetUpdateStrategy": default_daemon_set_strategy,
    "apps.v1.StatefulSetUpdateStrategy": default_stateful_set_strategy,
    "apps.v1.StatefulSetSpec": default_stateful_set,
    "batch.v1.Job": default_job,
    "autoscaling.v2.HorizontalPodAutoscalerSpec": default_autoscaler,
}
