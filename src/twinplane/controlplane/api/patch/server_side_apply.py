"""Server-side apply: merge a manager's configuration into an object, and keep account of who manages what.

Called by the patch verb. The rules are those of sigs.k8s.io/structured-merge-diff: a field that another manager holds
with another value is a conflict unless forced; equal values are shared; what a manager applied before and leaves out
now is removed unless somebody else manages it. Entries of other API versions of the type are taken as if they were of
this one. Pure.
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.patch.field_set import FieldSet, difference, intersection, paths, union
from twinplane.controlplane.api.patch.last_applied import agreed_fields, keep_annotation
from twinplane.controlplane.api.patch.managed_fields import (
    APPLY,
    BEFORE_FIRST_APPLY,
    UPDATE,
    Entry,
    Identity,
    Managers,
    changes,
    claim,
    decode,
    release,
    track_update,
    tracked,
    write,
)
from twinplane.controlplane.api.patch.merging import merge, problems, without
from twinplane.controlplane.api.patch.typed_value import MISSING, fields_of, with_named_fields
from twinplane.controlplane.api.types.schema import Schema
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, bad_request
from twinplane.kubeclient.meta import copied

__all__ = ["apply", "check", "track_update"]

_RESET_FIELDS = {"": ("status",), "status": ("spec",)}
"""Subresource -> the part of an object that an apply through it cannot set."""


def apply(
    live: Object | None,
    applied: Object,
    *,
    schema: Schema | None,
    manager: str,
    api_version: str,
    force: bool,
    subresource: str,
    now: str,
    reset_fields: tuple[str, ...] | None = None,
) -> Object:
    """The object with `applied` merged in, managedFields included; neither argument is changed.

    `live` is None when the apply creates the object. `now` is RFC 3339 in whole seconds. `reset_fields` are top-level
    fields that are ignored; by default the status of the main resource and the spec of the status subresource (a type
    without a status subresource passes none). Raises `ApiError`: BadRequest, and Conflict naming each field.
    """
    check(applied, schema, api_version)
    ignored = _RESET_FIELDS.get(subresource, ()) if reset_fields is None else reset_fields
    config = {name: value for name, value in applied.items() if name not in ignored}
    managers = _managers_before(live, schema, api_version, subresource, now)
    own = Entry(manager, APPLY, api_version, fields_of(tracked(config), schema), now, subresource)
    last = managers.pop(own.identity, None)
    before = live or {}
    merged = merge(before, config, schema) if live is not None else merge({}, copied(config), schema)
    owned = [fields_of(config, schema), *(entry.fields for entry in managers.values())]
    merged = _pruned(merged, last.fields if last else {}, owned, schema)
    changed, removed = changes(before, merged, schema)
    if not force:
        _refuse_conflicts(managers, difference(changed, agreed_fields(live, manager, api_version, schema)))
    managers = release(managers, changed, removed)
    same = last is not None and not changed and not removed and last.fields == own.fields
    if own.fields:
        managers[own.identity] = last if same and last is not None and last.api_version == api_version else own
    result = {**merged, "metadata": dict(merged.get("metadata") or {})}
    write(result, managers.values())
    return keep_annotation(result, applied, manager)


def check(applied: Object, schema: Schema | None, api_version: str) -> None:
    """Raises BadRequest for what cannot be applied; fields that the schema does not declare among it, always."""
    version = applied.get("apiVersion")
    if version != api_version:
        raise bad_request(
            f"Incorrect version specified in apply patch. Specified patch version: {version}, expected: {api_version}"
        )
    metadata = applied.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise bad_request("metadata must be an object")
    if metadata and metadata.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    found = list(problems(applied, schema))
    if found:
        shown = found[0] if len(found) == 1 else "errors:\n" + "\n".join(f"  {problem}" for problem in found)
        raise bad_request(f"failed to create typed patch object ({_name(applied)}): {shown}")


def _name(obj: Object) -> str:
    metadata = obj.get("metadata") or {}
    return (
        f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {obj['apiVersion']}, Kind={obj.get('kind', '')}"
    )


def _managers_before(
    live: Object | None, schema: Schema | None, api_version: str, subresource: str, now: str
) -> Managers:
    """The managers of `live`; all that an untracked object has belongs to `before-first-apply`."""
    if live is None:
        return {}
    managers = decode(live["metadata"].get("managedFields"), stored=True) or {}
    if not managers:
        fields, _ = changes({}, live, schema)
        if fields:
            claim(managers, Entry(BEFORE_FIRST_APPLY, UPDATE, api_version, fields, now, subresource))
    return managers


def _pruned(merged: Object, last: FieldSet, owned: list[FieldSet], schema: Schema | None) -> Object:
    """`merged` without what the manager applied `last` and nobody, the manager included, claims any more."""
    if not last:
        return merged
    claimed: FieldSet = {}
    for fields in owned:
        claimed = union(claimed, fields)
    if not difference(last, claimed):
        return merged
    last = with_named_fields(last, schema)
    everything = _all_fields(merged, schema)
    rest = _object(without(merged, last, schema))
    gone = difference(everything, union(_all_fields(rest, schema), with_named_fields(claimed, schema)))
    rest = _object(without(merged, gone, schema))
    dangling = intersection(difference(everything, _all_fields(rest, schema)), last)
    return _object(without(merged, dangling, schema))


def _all_fields(obj: Object, schema: Schema | None) -> FieldSet:
    return with_named_fields(fields_of(obj, schema), schema)


def _object(value: Any) -> Object:
    return {} if value is MISSING else dict(value)


def _refuse_conflicts(managers: Managers, changed: FieldSet) -> None:
    conflicts: list[tuple[Identity, str]] = []
    for identity, entry in sorted(managers.items()):
        conflicts.extend((identity, path) for path in paths(intersection(entry.fields, changed)))
    if not conflicts:
        return
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {_shown(identity)}", "field": path}
        for identity, path in conflicts
    ]
    raise ApiError("Conflict", _conflict_message(conflicts), details={"causes": causes})


def _conflict_message(conflicts: list[tuple[Identity, str]]) -> str:
    if len(conflicts) == 1:
        identity, path = conflicts[0]
        return f"Apply failed with 1 conflict: conflict with {_shown(identity)}: {path}"
    lines: list[str] = []
    previous: Identity | None = None
    for identity, path in conflicts:
        if identity != previous:
            lines.append(f"conflicts with {_shown(identity)}:")
            previous = identity
        lines.append(f"- {path}")
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)


def _shown(identity: Identity) -> str:
    text = f'"{identity.manager}"'
    if identity.subresource:
        text += f' with subresource "{identity.subresource}"'
    return f"{text} using {identity.api_version}" if identity.operation == UPDATE else text
