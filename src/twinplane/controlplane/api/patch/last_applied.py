"""From `kubectl apply` to `kubectl apply --server-side` without conflicts.

Client-side apply leaves its configuration in an annotation. Where the live object still agrees with it, the fields are
kubectl's own, although an update wrote them; and the annotation is kept up to date, so that one can go back. Only the
field manager `kubectl` is treated so. Rules: the last-applied managers of k8s.io/apimachinery pkg/util/managedfields.
"""

from __future__ import annotations

from typing import Any

import orjson

from twinplane.controlplane.api.patch.field_set import FieldSet, difference
from twinplane.controlplane.api.patch.typed_value import compare, fields_of
from twinplane.controlplane.api.types.schema import Schema
from twinplane.kubeclient.contract import Object

KUBECTL = "kubectl"
ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"


def agreed_fields(live: Object | None, manager: str, api_version: str, schema: Schema | None) -> FieldSet:
    """Fields of `live` that are as kubectl last applied them from the client; they never conflict with kubectl."""
    text = _annotation(live)
    if manager != KUBECTL or live is None or not text:
        return {}
    try:
        config: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(config, dict) or config.get("apiVersion") != api_version:
        return {}
    changed, removed = compare(config, live, schema)
    return difference(difference(fields_of(config, schema), changed), removed)


def keep_annotation(result: Object, applied: Object, manager: str) -> Object:
    """`result` with the annotation renewed, where there is one."""
    if manager != KUBECTL or not _annotation(result):
        return result
    metadata = dict(applied.get("metadata") or {})
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != ANNOTATION}
    if "annotations" in metadata:
        metadata["annotations"] = annotations
    config = {**applied, "metadata": metadata}
    text = orjson.dumps(config, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE).decode()
    renewed = {**result["metadata"]["annotations"], ANNOTATION: text}
    return {**result, "metadata": {**result["metadata"], "annotations": renewed}}


def _annotation(obj: Object | None) -> str:
    annotations = ((obj or {}).get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(ANNOTATION) or "")
