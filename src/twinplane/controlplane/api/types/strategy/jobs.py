"""Jobs: the selector that upstream generates from the job's uid, so that no two jobs ever share pods."""

from __future__ import annotations

from twinplane.controlplane.api.types.defaulting.workloads import default_job
from twinplane.kubeclient.contract import Object

LABELS = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")


def create_job(job: Object) -> None:
    """Generates selector and template labels unless `manualSelector` is set."""
    default_job(job)
    spec, metadata = job["spec"], job["metadata"]
    uid = metadata.get("uid", "")
    if spec.get("manualSelector") or not uid:
        return
    template = spec.setdefault("template", {})
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    for label in LABELS:
        labels.setdefault(label, uid if label.endswith("uid") else metadata.get("name", ""))
    match = spec.setdefault("selector", {}).setdefault("matchLabels", {})
    match.setdefault("batch.kubernetes.io/controller-uid", uid)
