"""The scale subresource: a workload read and written as an autoscaling/v1 Scale."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from twinplane.controlplane.api import bodies
from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.options import WriteOptions, write_options
from twinplane.controlplane.api.runtime import Call, respond
from twinplane.controlplane.api.types.scaling import from_scale, to_scale
from twinplane.controlplane.api.verbs.get import found
from twinplane.controlplane.api.verbs.patch import (
    APPLY,
    JSON,
    MERGE,
    check_options,
    patch_body,
    patch_function,
    patch_type,
)
from twinplane.controlplane.api.verbs.update import fit_name
from twinplane.controlplane.api.verbs.write import Update, update_stored
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import FieldError, bad_request, invalid
from twinplane.kubeclient.meta import copied

_SCALE = ("autoscaling", "v1", "Scale")


async def get_scale(call: Call) -> Response:
    return respond(to_scale(call.type, call.to_requested(found(call).parsed())))


async def update_scale(call: Call) -> Response:
    options = write_options(call.request, "UpdateOptions")
    content_type = call.request.headers.get("content-type", "")
    scale = bodies.decode_kind(call.request.body, content_type, _SCALE, call.runtime.registry)
    _decode(call, scale)
    fit_name(call, scale)
    return await _write(call, lambda _: scale, options)


async def patch_scale(call: Call) -> Response:
    media = patch_type(call)
    options = write_options(call.request, "PatchOptions")
    check_options(options, media)
    if media == APPLY:
        body = bodies.parse_yaml(call.request.body)
        return await _write(call, lambda old: {**old, "spec": {**old["spec"], **(body.get("spec") or {})}}, options)
    apply = patch_function(call, media if media in (JSON, MERGE) else MERGE, None, patch_body(call))

    def change(old: Object) -> Object:
        new = apply(old)
        if not isinstance(new, dict):
            raise bad_request("the patch does not leave a Scale")
        _decode(call, new)
        fit_name(call, new)
        return new

    return await _write(call, change, options)


def _decode(call: Call, scale: Object) -> None:
    schema = call.runtime.registry.schema(*_SCALE)
    if schema is not None:
        call.runtime.rules.decode_as(schema, scale, "Scale", "v1")
    replicas = (scale.get("spec") or {}).get("replicas") or 0
    if replicas < 0:
        detail = "must be greater than or equal to 0"
        cause = FieldError("FieldValueInvalid", "spec.replicas", detail, replicas)
        raise invalid("autoscaling", "Scale", call.name, [cause])


async def _write(call: Call, change: Callable[[Object], Object], options: WriteOptions) -> Response:
    def scaled(old: Object) -> Object:
        body = call.to_requested(copied(old))
        scale = change(to_scale(call.type, body))
        result = from_scale(call.type, body, scale)
        metadata = result["metadata"] = dict(result["metadata"])
        for field in ("uid", "resourceVersion"):
            # Preconditions of the Scale are those of the workload; without one the write is unconditional.
            if (scale.get("metadata") or {}).get(field):
                metadata[field] = scale["metadata"][field]
        return call.to_stored(result)

    value = await update_stored(call, Update(scaled, options))
    return respond(to_scale(call.type, call.to_requested(orjson.loads(value))))
