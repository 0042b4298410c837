"""The status of a ReplicaSet, computed from its pods. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.pods import is_available, is_ready
from twinplane.controlplane.controllers.status import without_zeros
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import condition_of, conditions_of, labels_of, with_condition

FAILURE = "ReplicaFailure"
TERMINATING_SINCE = 35
"""The minor version from which `terminatingReplicas` is reported (feature DeploymentReplicaSetTerminatingReplicas)."""


def counts_terminating(options: Mapping[str, str]) -> bool:
    """By the option `kubernetes-version`, e.g. 1.34; without it the latest is meant."""
    minor = options.get("kubernetes-version", "").split(".")[1:2]
    return not minor or int(minor[0]) >= TERMINATING_SINCE


def status_of(
    owner: Object,
    pods: Sequence[Object],
    failure: BaseException | None,
    surplus: int,
    now: float,
    *,
    terminating: int | None = None,
) -> dict[str, Any]:
    """`surplus` is how many pods there were too many when `failure` happened: it tells creation from deletion.

    `terminating` is how many are on their way out; None where the version does not report it.
    """
    template_labels = (owner["spec"].get("template") or {}).get("metadata", {}).get("labels") or {}
    min_ready = owner["spec"].get("minReadySeconds", 0)
    ready = [pod for pod in pods if is_ready(pod)]
    counts = {
        "replicas": len(pods),
        "fullyLabeledReplicas": sum(template_labels.items() <= labels_of(pod).items() for pod in pods),
        "readyReplicas": len(ready),
        "availableReplicas": sum(is_available(pod, min_ready, now) for pod in ready) if min_ready else len(ready),
        "observedGeneration": owner["metadata"].get("generation", 0),
    }
    status = without_zeros({**counts, "conditions": _conditions(owner, failure, surplus, now)}, "replicas")
    return status if terminating is None else {**status, "terminatingReplicas": terminating}


def _conditions(owner: Object, failure: BaseException | None, surplus: int, now: float) -> list[dict[str, Any]]:
    conditions = conditions_of(owner)
    if failure is None:
        return [condition for condition in conditions if condition["type"] != FAILURE]
    if condition_of(owner, FAILURE) is not None:
        return conditions
    condition = {
        "type": FAILURE,
        "status": "True",
        "reason": "FailedCreate" if surplus < 0 else "FailedDelete",
        "message": str(failure),
        "lastTransitionTime": rfc3339(now),
    }
    return with_condition(conditions, condition)
