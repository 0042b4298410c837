"""What a write does to an object in `MemoryCluster`: patches, subresources, deletion; and its selectors.

Pure functions. Strategic merge patches are treated as merge patches, except that lists of conditions, which are the one
place where our components rely on the difference, merge by `type`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twinplane.clock import rfc3339
from twinplane.kubeclient import errors
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.meta import copied, finalizers_of
from twinplane.kubeclient.resources import NAMESPACES, PODS

LabelMatch = Callable[[Object], bool]
FieldMatch = Callable[[Object], bool]

POLICY_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}
GRACE_DEFAULT = 30


def label_matcher(selector: str) -> LabelMatch:
    if not selector:
        return lambda body: True
    from twinplane.kubeclient.selectors import parse_label_selector

    parsed = parse_label_selector(selector)
    return lambda body: bool(parsed.matches(body["metadata"].get("labels") or {}))


def field_matcher(selector: str) -> FieldMatch:
    """`path=value`, `path!=value`, joined by commas; an absent field is the empty string."""
    terms: list[tuple[list[str], str, bool]] = []
    for term in filter(None, selector.split(",")):
        path, _, value = term.replace("==", "=").partition("=")
        terms.append((path.removesuffix("!").split("."), value, not path.endswith("!")))
    return lambda body: all((_at(body, path) == value) == wanted for path, value, wanted in terms)


def _at(body: Any, path: list[str]) -> str:
    for part in path:
        body = body.get(part) if isinstance(body, dict) else None
    return "" if body is None else str(body)


def patched(old: Object, patch: Any, patch_type: str) -> Object:
    if patch_type == "application/json-patch+json":
        changed: Object = _json_patched(copied(old), patch)
        return changed
    result: Object = _merged(old, patch, by_type=patch_type != "application/merge-patch+json")
    return result


def _merged(old: Any, patch: Any, *, by_type: bool) -> Any:
    if isinstance(patch, list) and by_type:
        # Lists are replaced whole here, so a directive that asks for that says nothing new.
        patch = [entry for entry in patch if entry != {"$patch": "replace"}]
    if not isinstance(patch, dict):
        return copied(patch)
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif by_type and key == "conditions" and isinstance(value, list):
            changed = {condition["type"]: condition for condition in value}
            kept = [_merged(entry, changed.pop(entry["type"], {}), by_type=False) for entry in result.get(key) or []]
            result[key] = [entry for entry in [*kept, *changed.values()] if "$patch" not in entry]
        else:
            result[key] = _merged(result.get(key), value, by_type=by_type)
    return copied(result)


def _json_patched(body: Any, operations: list[dict[str, Any]]) -> Any:
    for operation in operations:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        target = body
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        where: Any = last
        if isinstance(target, list):
            where = len(target) if last == "-" else int(last)
        verb = operation["op"]
        if verb == "test":
            if target[where] != operation["value"]:
                raise errors.ApiError("Invalid", f"the server rejected our request: test failed at {operation['path']}")
        elif verb == "remove":
            del target[where]
        elif isinstance(target, list) and verb == "add":
            target.insert(where, copied(operation["value"]))
        else:
            target[where] = copied(operation["value"])
    return body


def kept_by_subresource(resource: Resource, old: Object, new: Object, subresource: str | None) -> Object:
    """`new` with what this (sub)resource may not touch taken from `old`, and the generation moved on."""
    metadata = new["metadata"]
    for field in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "name"):
        metadata.pop(field, None)
        if field in old["metadata"]:
            metadata[field] = old["metadata"][field]
    metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
    if subresource == "status":
        kept = {key: value for key, value in new.items() if key in ("status", "metadata")}
        return {**copied(old), **kept}
    if subresource not in ("binding", "finalize"):
        new = {key: value for key, value in new.items() if key != "status"}
        if "status" in old:
            new["status"] = copied(old["status"])
        if resource == NAMESPACES:
            new.setdefault("spec", {})["finalizers"] = old.get("spec", {}).get("finalizers", [])
    if new.get("spec") != old.get("spec") and (resource != PODS or subresource == "resize"):
        new["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
    return new


def mark_deleted(resource: Resource, body: Object, now: float, *, policy: str | None, grace: int | None) -> None:
    metadata = body["metadata"]
    finalizer = POLICY_FINALIZERS.get(policy or "")
    others = [entry for entry in finalizers_of(body) if policy is None or entry not in POLICY_FINALIZERS.values()]
    metadata["finalizers"] = [*others, finalizer] if finalizer else others
    if not metadata["finalizers"]:
        del metadata["finalizers"]
    seconds = _grace(resource, body, grace)
    if "deletionTimestamp" not in metadata or seconds < metadata.get("deletionGracePeriodSeconds", 0):
        metadata["deletionTimestamp"] = rfc3339(now + seconds)
        metadata["deletionGracePeriodSeconds"] = seconds
    if resource == NAMESPACES:
        body["status"] = {**(body.get("status") or {}), "phase": "Terminating"}


def _grace(resource: Resource, body: Object, grace: int | None) -> int:
    """Only a pod that a node may be running is given time."""
    phase = (body.get("status") or {}).get("phase")
    if resource != PODS or not body["spec"].get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    return grace if grace is not None else int(body["spec"].get("terminationGracePeriodSeconds", GRACE_DEFAULT))


def may_go(resource: Resource, body: Object) -> bool:
    """Nothing holds a deleted object back any more."""
    held = finalizers_of(body) or (resource == NAMESPACES and body.get("spec", {}).get("finalizers"))
    return not held and not body["metadata"].get("deletionGracePeriodSeconds")
