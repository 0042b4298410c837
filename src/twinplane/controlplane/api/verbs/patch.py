"""PATCH: JSON patch, merge patch, strategic merge patch, and server-side apply, which may also create."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twinplane.controlplane.api import bodies, ownership
from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.encoding import dump
from twinplane.controlplane.api.options import WriteOptions, invalid_options, write_options
from twinplane.controlplane.api.patch import json_patch, merge_patch, server_side_apply, strategic
from twinplane.controlplane.api.runtime import Call
from twinplane.controlplane.api.strictness import (
    duplicate_yaml_keys,
    go_text,
    json_patch_problems,
    repeated_keys,
    warnings_of,
)
from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.decoding import NOTHING
from twinplane.controlplane.api.verbs.create import create_stored
from twinplane.controlplane.api.verbs.get import missing
from twinplane.controlplane.api.verbs.write import Update, check_fields, update_stored, written
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, FieldError, bad_request, invalid
from twinplane.kubeclient.meta import copied

JSON, MERGE = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
_MEDIA_TYPES = (JSON, MERGE, APPLY, STRATEGIC)
_CUSTOM_MEDIA_TYPES = (JSON, MERGE, APPLY)

Patch = Callable[[Object], Any]
"""The object in the version of the path -> the patched one."""


async def patch(call: Call) -> Response:
    media = patch_type(call)
    options = write_options(call.request, "PatchOptions")
    check_options(options, media)
    if media == APPLY:
        return await _apply(call, options)
    body = patch_body(call)
    # Before the patch is applied, which uses it up.
    problems = _problems(call, media, body) if options.field_validation != "Ignore" else []
    apply = patch_function(call, media, call.type, body)
    # Defaults are set, in place, in all that may be changed; custom types are pruned as a whole.
    is_status = call.subresource == "status" and bool(call.type.schema.reference) and call.type.storage is None

    def change(old: Object) -> Object:
        own = _with_own_status(old) if is_status else copied(old)
        return call.to_stored(_patched(call, apply, call.to_requested(own), options, problems))

    if call.entry() is None:
        raise missing(call)
    return written(call, await update_stored(call, Update(change, options)))


def _with_own_status(shared: Object) -> Object:
    """Decoding tidies up what the patch merges with, in place; what it finds to be the old object's it passes over."""
    return {**shared, "status": copied(shared["status"])} if "status" in shared else shared


def patch_type(call: Call) -> str:
    """Raises UnsupportedMediaType; types of custom resources know no strategic merge."""
    accepted = _MEDIA_TYPES if call.type.schema.reference else _CUSTOM_MEDIA_TYPES
    media = bodies.media_type(call.request.headers.get("content-type", ""))
    if media not in accepted:
        raise bodies.unsupported_media_type(accepted)
    return media


def check_options(options: WriteOptions, media: str) -> None:
    errors = []
    if media == APPLY and not options.field_manager:
        errors.append(FieldError("FieldValueRequired", "fieldManager", "is required for apply patch"))
    if media != APPLY and options.force is not None:
        errors.append(FieldError("FieldValueForbidden", "force", "may not be specified for non-apply patch"))
    if errors:
        raise invalid_options("PatchOptions", errors)


def patch_body(call: Call) -> Any:
    """Raises BadRequest for what is no JSON."""
    try:
        return bodies.parse_json(call.request.body)
    except bodies.Malformed as error:
        raise bad_request(f"error decoding patch: {error}") from None


def patch_function(call: Call, media: str, type: ResourceType | None, body: Any) -> Patch:
    """The patch `body`, ready to be applied again and again. `type` is None where there is no schema."""
    if media == JSON:
        return lambda old: json_patch.apply(old, body)
    first = [body]

    def fresh() -> Any:
        """Applying a patch uses it up."""
        return first.pop() if first else bodies.parse_json(call.request.body)

    if media == STRATEGIC:
        schema = None if type is None else type.schema
        return lambda old: strategic.apply(old, fresh(), schema)
    return lambda old: merge_patch.apply(old, fresh())


def _problems(call: Call, media: str, body: Any) -> list[str]:
    """Of the patch itself: keys that come twice, and what is no part of an operation."""
    data = call.request.body
    return json_patch_problems(data, body) if media == JSON else repeated_keys(data, body, "")


def _patched(call: Call, apply: Patch, old: Object, options: WriteOptions, problems: list[str]) -> Object:
    new = apply(old)
    kind, version = call.type.resource.kind, call.type.resource.version
    if not isinstance(new, dict):
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: the patch is not an object')
    check_identity(call, new)
    # Another version's form of an object has not been decoded before.
    base = NOTHING if call.type.storage else old
    try:
        check_fields(call, call.type, new, options, lambda: apply(old), duplicates=problems, base=base)
    except ApiError as error:
        why = error.message.removeprefix(f'{kind} in version "{version}" cannot be handled as a {kind}: ')
        raise _unfit(call, why, apply(old)) from None
    return new


def _unfit(call: Call, why: str, new: Object) -> ApiError:
    """Of what a patch makes that is no object of its kind: upstream shows it, or a strategic patch as Go prints it."""
    strategic_patch = bodies.media_type(call.request.headers.get("content-type", "")) == STRATEGIC
    shown = go_text(bodies.parse_json(call.request.body)) if strategic_patch else dump(new).decode()
    return invalid("", "", "", [FieldError("FieldValueInvalid", "patch", why, shown)])


def check_identity(call: Call, new: Object) -> None:
    """A patch may not turn the object into another one. Raises BadRequest."""
    resource = call.type.resource
    named = {"apiVersion": resource.api_version, "kind": resource.kind}
    for field, expected in named.items():
        given = new.setdefault(field, expected)
        if given != expected:
            why = f"the patch changes {field} from {expected} to {given}"
            raise bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}'
            )
    metadata = new.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("name") != call.name:
        given = metadata.get("name") if isinstance(metadata, dict) else ""
        raise bad_request(f"the name of the object ({given or ''}) does not match the name on the URL ({call.name})")
    if call.namespace and metadata.get("namespace") != call.namespace:
        raise bad_request(
            f"the namespace of the object ({metadata.get('namespace')}) does not match the namespace on the request "
            f"({call.namespace})"
        )


async def _apply(call: Call, options: WriteOptions) -> Response:
    """Server-side apply: the body is what this manager wants; fields that it no longer names are given up."""
    wanted = _applied_body(call)
    check_identity(call, wanted)
    server_side_apply.check(wanted, call.type.schema, call.type.resource.api_version)
    _check_strictly(call, options)
    check_fields(call, call.type, wanted, options, lambda: _applied_body(call))
    while call.entry() is not None or call.subresource:
        update = Update(
            lambda old: _merged(call, call.to_requested(copied(old)), wanted, options), options, track=False
        )
        try:
            return written(call, await update_stored(call, update))
        except ApiError as error:
            if error.reason != "NotFound" or call.entry() is not None or call.subresource:
                raise
    if (wanted["metadata"] or {}).get("uid"):
        raise missing(call)
    return written(call, await create_stored(call, _merged(call, None, wanted, options), options, track=False), 201)


def _check_strictly(call: Call, options: WriteOptions) -> None:
    """Keys that occur twice: refused by field validation Strict, warned of by Warn."""
    problem = duplicate_yaml_keys(call.request.body) if options.field_validation != "Ignore" else ""
    if problem and options.field_validation == "Strict":
        raise bad_request(f"error strict decoding YAML: {problem}")
    if problem:
        call.warnings += warnings_of(problem)


def _merged(call: Call, live: Object | None, wanted: Object, options: WriteOptions) -> Object:
    """In the stored version; shares nothing with `wanted`, which another attempt may need again."""
    result = ownership.applied(
        call.runtime.clock,
        call.type,
        live,
        wanted,
        manager=options.field_manager,
        force=bool(options.force),
        subresource=call.subresource,
    )
    return call.to_stored(copied(result))


def _applied_body(call: Call) -> Object:
    try:
        body = bodies.parse_yaml(call.request.body)
    except bodies.Malformed as error:
        raise bad_request(f"error decoding YAML: {error}") from None
    if not isinstance(body, dict):
        raise bad_request("error decoding YAML: the document is not an object")
    metadata = body.setdefault("metadata", {})
    if isinstance(metadata, dict):
        metadata.setdefault("name", call.name)
        if call.namespace:
            metadata.setdefault("namespace", call.namespace)
    return body
