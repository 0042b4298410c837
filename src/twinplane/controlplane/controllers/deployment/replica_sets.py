"""The ReplicaSets of a Deployment: telling the new one from old ones, making one, and their revisions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twinplane.controlplane.controllers.deployment.rolling import (
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    max_surge,
    replicas_of,
)
from twinplane.controlplane.controllers.names import template_hash
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import (
    annotations_of,
    controller_reference,
    copied,
    created_at,
    is_deleting,
    name_of,
    namespace_of,
)
from twinplane.kubeclient.resources import DEPLOYMENTS

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
HISTORY_LENGTH_MAX = 2000
NAME_MAX = 253
_NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        "deprecated.deployment.rollback.to",
    }
)


def split(deployment: Object, replica_sets: Sequence[Object]) -> tuple[Object | None, list[Object]]:
    """(the new one, the old ones): the oldest whose template is the Deployment's is the new one."""
    wanted = _bare(deployment["spec"]["template"])
    by_age = sorted(replica_sets, key=lambda entry: (created_at(entry), name_of(entry)))
    new = next((entry for entry in by_age if _bare(entry["spec"]["template"]) == wanted), None)
    return new, [entry for entry in by_age if entry is not new]


def same_template(deployment: Object, replica_set: Object) -> bool:
    return _bare(deployment["spec"]["template"]) == _bare(replica_set["spec"]["template"])


def _bare(template: Mapping[str, Any]) -> dict[str, Any]:
    """Without what only the ReplicaSet's template has, and without empty fields that mean nothing."""
    metadata = {key: value for key, value in (template.get("metadata") or {}).items() if value}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH_LABEL}
    metadata.pop("creationTimestamp", None)
    return {"metadata": {**metadata, "labels": labels}, "spec": template.get("spec") or {}}


def made_for(deployment: Object, replicas: int, revision: int) -> Object:
    """The new ReplicaSet of a Deployment."""
    spec = deployment["spec"]
    hashed = template_hash(_bare(spec["template"]), (deployment.get("status") or {}).get("collisionCount"))
    template = copied(spec["template"])
    template.setdefault("metadata", {}).setdefault("labels", {})[HASH_LABEL] = hashed
    selector = copied(spec["selector"])
    selector.setdefault("matchLabels", {})[HASH_LABEL] = hashed
    made = {
        "metadata": {
            "name": f"{name_of(deployment)[: NAME_MAX - len(hashed) - 1]}-{hashed}",
            "namespace": namespace_of(deployment),
            "labels": dict(template["metadata"]["labels"]),
            "ownerReferences": [controller_reference(deployment, DEPLOYMENTS)],
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    }
    if spec.get("minReadySeconds"):
        made["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    made["metadata"]["annotations"] = {**inherited(deployment, made, revision), **sizes(deployment)}
    return made


def sizes(deployment: Object) -> dict[str, str]:
    """What a ReplicaSet remembers of its Deployment, for proportional scaling."""
    wanted = replicas_of(deployment)
    return {DESIRED_REPLICAS: str(wanted), MAX_REPLICAS: str(wanted + max_surge(deployment))}


def inherited(deployment: Object, replica_set: Object, revision: int) -> dict[str, str]:
    """The annotations of the new ReplicaSet: the Deployment's, and the revision, which only rises."""
    annotations = dict(annotations_of(replica_set))
    annotations.update((key, value) for key, value in annotations_of(deployment).items() if key not in _NOT_COPIED)
    before = revision_of(replica_set)
    if before < revision:
        annotations[REVISION] = str(revision)
        if before:
            history = [entry for entry in annotations.get(REVISION_HISTORY, "").split(",") if entry]
            annotations[REVISION_HISTORY] = _shortened([*history, str(before)])
    return annotations


def _shortened(history: Sequence[str]) -> str:
    """Without the oldest ones, where there are too many."""
    text = ",".join(history)
    while len(text) > HISTORY_LENGTH_MAX:
        text = text.partition(",")[2]
    return text


def revision_of(body: Object) -> int:
    text = annotations_of(body).get(REVISION, "")
    return int(text) if text.isdigit() else 0


def next_revision(old: Iterable[Object]) -> int:
    return max(map(revision_of, old), default=0) + 1


def surplus_history(deployment: Object, old: Sequence[Object]) -> list[Object]:
    """Old ReplicaSets beyond `revisionHistoryLimit`, the oldest revisions, only those that are empty and settled."""
    limit = deployment["spec"].get("revisionHistoryLimit", 10)
    alive = sorted((entry for entry in old if not is_deleting(entry)), key=revision_of)
    return [entry for entry in alive[: max(0, len(alive) - limit)] if _is_empty(entry)]


def _is_empty(replica_set: Object) -> bool:
    status = replica_set.get("status") or {}
    observed = status.get("observedGeneration", 0) >= replica_set["metadata"].get("generation", 0)
    return not status.get("replicas") and not replicas_of(replica_set) and observed
