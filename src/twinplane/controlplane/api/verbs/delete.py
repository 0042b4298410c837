"""DELETE and DELETECOLLECTION: at once, after a grace period, or after finalizers, as upstream's rest.BeforeDelete."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import orjson

from twinplane.clock import from_rfc3339, rfc3339
from twinplane.controlplane.api import bodies
from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.encoding import dump, list_bytes, stamp, to_store
from twinplane.controlplane.api.extensions.customresources.definition import begin_deletion
from twinplane.controlplane.api.extensions.customresources.selecting import chosen
from twinplane.controlplane.api.objects.entry import Entry
from twinplane.controlplane.api.objects.selection import select
from twinplane.controlplane.api.options import DeleteOptions, delete_options, dumped, list_options
from twinplane.controlplane.api.runtime import Call, respond
from twinplane.controlplane.api.verbs.admission import Admission
from twinplane.controlplane.api.verbs.get import found
from twinplane.controlplane.api.verbs.write import (
    ATTEMPTS,
    catch_up,
    modified,
    put,
    settle,
    written,
)
from twinplane.controlplane.store.contract import RevisionConflict
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, conflict

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_FINALIZER = {"Foreground": FOREGROUND, "Orphan": ORPHAN}
_ORPHANED_BY_DEFAULT = frozenset({("batch", "jobs"), ("", "replicationcontrollers")})
_RETURNED = frozenset(
    {"pods", "services", "serviceaccounts", "podtemplates", "persistentvolumes", "persistentvolumeclaims"}
    | {"resourcequotas", "namespaces"}
)
"""Core types whose DELETE answers with the object rather than a Status."""
_JOBS_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)
_TERMINATING_NAMESPACE = (
    "The system is ensuring all content is removed from this namespace.  Upon completion, this namespace will "
    "automatically be purged by the system."
)
_AT_ONCE = 50
"""Deletions of a collection that run side by side."""


async def delete(call: Call) -> Response:
    options = read_options(call)
    gone, value = await delete_stored(call, options)
    if gone and not _is_returned(call):
        return respond(_success(call, value))
    status = 202 if not gone and options.orphan_dependents is False else 200
    return written(call, value, status)


def read_options(call: Call) -> DeleteOptions:
    """From the body where there is one, else from the query."""
    request = call.request
    body = None
    if request.body:
        content_type = request.headers.get("content-type", "")
        body = bodies.decode_kind(request.body, content_type, ("", "v1", "DeleteOptions"), call.runtime.registry)
        schema = call.runtime.registry.schema("", "v1", "DeleteOptions")
        if schema is not None:
            call.runtime.rules.decode_as(schema, body, "DeleteOptions", "v1")
    return delete_options(request, body)


async def delete_stored(call: Call, options: DeleteOptions) -> tuple[bool, bytes]:
    """(gone for good, last state). Raises NotFound, Conflict and whatever admission says."""
    runtime = call.runtime
    for _ in range(ATTEMPTS):
        entry = found(call)
        _check_preconditions(call, options, entry)
        old = entry.peek()
        await Admission(call, "DELETE", None, old, dumped(options), dry_run=options.dry_run).run()
        marked = _marked(call, old, options)
        try:
            if marked is None:
                if options.dry_run:
                    return True, entry.value
                event = await runtime.store.delete(entry.key, entry.revision)
                await settle(runtime, event.revision)
                return True, entry.value
            if marked == old:
                return False, entry.value
            form = to_store(marked, call.stored.resource)
            value = dump(form)
            if options.dry_run:
                return False, stamp(value, entry.revision)
            return False, await put(runtime, entry.key, form, value, entry.revision)
        except RevisionConflict as error:
            await catch_up(runtime, error)
    raise modified(call)


def _check_preconditions(call: Call, options: DeleteOptions, entry: Entry) -> None:
    """In the words of rest.BeforeDelete, which takes the kind for the resource."""
    checks = (
        ("UID", options.uid, entry.uid, "deleted and then recreated"),
        ("ResourceVersion", options.resource_version, str(entry.revision), "modified"),
    )
    resource = call.stored.resource
    for what, wanted, actual, happened in checks:
        if wanted is not None and wanted != actual:
            why = (
                f"the {what} in the precondition ({wanted}) does not match the {what} in record ({actual}). The object "
                f"might have been {happened}"
            )
            raise conflict(resource.group, resource.kind, call.name, why)


def _marked(call: Call, shared: Object, options: DeleteOptions) -> Object | None:
    """The object marked for deletion, equal when nothing is left to mark, or None when it can go now.

    Another one, which shares with the stored one what it leaves alone.
    """
    metadata = dict(shared["metadata"])
    body = {**shared, "metadata": metadata}
    finalizers = _finalizers(call, metadata, options)
    resource = call.stored.resource
    if resource.plural == "customresourcedefinitions" and resource.group == "apiextensions.k8s.io":
        finalizers = begin_deletion(body, finalizers, rfc3339(call.runtime.clock.now()))
    is_namespace = resource.plural == "namespaces" and not resource.group
    grace = _grace_period(body, options) if resource.plural == "pods" and not resource.group else 0
    waits = bool(finalizers) or (is_namespace and bool((body.get("spec") or {}).get("finalizers")))
    if not waits and grace == 0:
        return None
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    if is_namespace:
        _terminate_namespace(body)
    _mark(call, metadata, grace)
    return body


def _mark(call: Call, metadata: dict[str, Any], grace: int) -> None:
    """Set the deletion time, or bring it forward when this request is more urgent."""
    previous = metadata.get("deletionGracePeriodSeconds")
    now = call.runtime.clock.now()
    if "deletionTimestamp" in metadata:
        if previous is None or grace >= previous:
            return
        begun = from_rfc3339(metadata["deletionTimestamp"]) - previous
        metadata["deletionTimestamp"] = rfc3339(begun + grace)
    else:
        metadata["deletionTimestamp"] = rfc3339(now + grace)
        if metadata.get("generation"):
            metadata["generation"] += 1
    metadata["deletionGracePeriodSeconds"] = grace


def _grace_period(pod: Object, options: DeleteOptions) -> int:
    """Seconds that the kubelet has; 0 for pods that no kubelet runs, which vanish at once."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    period = options.grace_period_seconds
    if period is None:
        period = spec.get("terminationGracePeriodSeconds")
        period = 30 if period is None else period
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    return 1 if period < 0 else int(period)


def _finalizers(call: Call, metadata: dict[str, Any], options: DeleteOptions) -> list[str]:
    """Those that the object has, and the garbage collector's for the propagation that was asked for."""
    given = list(metadata.get("finalizers") or ())
    policy = options.propagation
    if options.orphan_dependents is not None:
        policy = "Orphan" if options.orphan_dependents else "Background"
    resource = call.type.resource
    if policy is None:
        if FOREGROUND in given or ORPHAN in given:
            return given
        if (resource.group, resource.plural) in _ORPHANED_BY_DEFAULT:
            policy = "Orphan"
            if resource.plural == "jobs":
                call.warnings.append(_JOBS_WARNING)
    kept = [finalizer for finalizer in given if finalizer not in (FOREGROUND, ORPHAN)]
    added = _FINALIZER.get(policy or "")
    return [*kept, added] if added else kept


def _terminate_namespace(body: Object) -> None:
    metadata = body["metadata"]
    if "deletionTimestamp" in metadata and (body.get("spec") or {}).get("finalizers"):
        raise conflict("", "namespaces", metadata["name"], _TERMINATING_NAMESPACE)
    body["status"] = {**(body.get("status") or {}), "phase": "Terminating"}


def _is_returned(call: Call) -> bool:
    resource = call.type.resource
    return not resource.group and resource.plural in _RETURNED


def _success(call: Call, value: bytes) -> Object:
    resource = call.type.resource
    details = {"name": call.name, "group": resource.group, "kind": resource.plural}
    details["uid"] = orjson.loads(value)["metadata"].get("uid", "")
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }


async def delete_collection(call: Call) -> Response:
    """Each of the selected objects as if deleted alone; those that vanish meanwhile are passed over."""
    options = read_options(call)
    listed = list_options(call.request.query, watch=False)
    selection = select(call.type, call.namespace, listed.label_selector, listed.field_selector)
    collection = call.runtime.cache.collection(call.stored.resource)
    entries = await chosen(call, selection, collection.select(selection))
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(entry: Entry) -> bytes | None:
        route = call.route._replace(name=entry.name, namespace=entry.namespace, verb="delete")
        async with places:
            try:
                return (await delete_stored(replace(call, route=route), options))[1]
            except ApiError as error:
                if error.reason == "NotFound":
                    return None
                raise

    values = await asyncio.gather(*map(one, entries))
    resource = call.type.resource
    items = [value for value in values if value is not None]
    body = list_bytes(f"{resource.kind}List", resource.api_version, call.runtime.cache.revision, items)
    return Response(200, body)
