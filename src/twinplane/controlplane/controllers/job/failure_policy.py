"""`spec.podFailurePolicy`: what the first rule that matches a failed pod says about it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from twinplane.controlplane.controllers.job.pods import failed
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import conditions_of, name_of, namespace_of


class Match(NamedTuple):
    """`action` is Ignore, Count, FailIndex or FailJob; empty when no rule matches (which counts, too)."""

    action: str = ""
    message: str = ""

    @property
    def counts(self) -> bool:
        return self.action != "Ignore"


def match(job: Object, pod: Object) -> Match:
    """Of a pod that failed."""
    for number, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or []):
        found = _found(rule, pod)
        if found:
            return Match(rule["action"], f"{found} matching {rule['action']} rule at index {number}")
    return Match()


def job_failure(job: Object, pods: Iterable[Object]) -> str:
    """Why one of the pods fails the whole Job; empty if none does."""
    if not job["spec"].get("podFailurePolicy"):
        return ""
    matches = (match(job, pod) for pod in pods if failed(job, pod))
    return next((found.message for found in matches if found.action == "FailJob"), "")


def _found(rule: dict[str, Any], pod: Object) -> str:
    subject = f"{namespace_of(pod)}/{name_of(pod)}"
    if rule.get("onExitCodes"):
        status = _container(rule["onExitCodes"], pod)
        if status is None:
            return ""
        code = status["state"]["terminated"]["exitCode"]
        return f"Container {status['name']} for pod {subject} failed with exit code {code}"
    wanted = {(item["type"], item.get("status", "True")) for item in rule.get("onPodConditions") or []}
    if wanted:
        for condition in conditions_of(pod):
            if (condition["type"], condition["status"]) in wanted:
                return f"Pod {subject} has condition {condition['type']}"
    return ""


def _container(requirement: dict[str, Any], pod: Object) -> dict[str, Any] | None:
    """The first container whose end matches; one that ended well never does."""
    status = pod.get("status") or {}
    for entry in [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]:
        if requirement.get("containerName") not in (None, "", entry["name"]):
            continue
        code = ((entry.get("state") or {}).get("terminated") or {}).get("exitCode")
        if code and (code in requirement["values"]) == (requirement["operator"] == "In"):
            return dict(entry)
    return None
