"""JSON Merge Patch (RFC 7386): objects are merged, null deletes, everything else replaces. Pure."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.patch.json_patch import go_type
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import bad_request


def apply(obj: Object, patch: Any) -> Object:
    """The merged object, which shares what did not change with `obj`; what `patch` has in it becomes part of it.

    Raises `ApiError` BadRequest.
    """
    if not isinstance(patch, dict):
        kind = go_type(patch)
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        )
    return _merged(obj, patch)


def _merged(target: Any, patch: dict[str, Any]) -> dict[str, Any]:
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merged(merged.get(key), value)
        else:
            merged[key] = value
    return merged
