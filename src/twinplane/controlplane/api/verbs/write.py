"""What every write shares: decoding, admission, validation, and the loop of read, change and compare-and-write.

`create`, `update`, `patch` and the subresources give this file what is theirs (where the new object comes from) and get
back the entry that was stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twinplane.clock import rfc3339
from twinplane.controlplane.api import bodies, ownership
from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.encoding import dump, stamp, to_store
from twinplane.controlplane.api.extensions.customresources.conversion import learn
from twinplane.controlplane.api.objects.entry import Entry
from twinplane.controlplane.api.options import WriteOptions, revision
from twinplane.controlplane.api.runtime import Call, ServerRuntime, answer
from twinplane.controlplane.api.strictness import as_they_come, warnings_of
from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.decoding import NOTHING
from twinplane.controlplane.api.types.strategy import is_custom
from twinplane.controlplane.api.verbs.admission import Admission
from twinplane.controlplane.api.verbs.get import found
from twinplane.controlplane.store.contract import RevisionConflict
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import OBJECT_MODIFIED, ApiError, FieldError, bad_request, conflict, invalid
from twinplane.kubeclient.meta import copied

ATTEMPTS = 32
"""Of a write that named no resourceVersion and meets others' writes."""
_NAMESPACE_DIFFERS = "the namespace of the provided object does not match the namespace sent on the request"
_UNCONDITIONAL_REFUSED = frozenset(
    {
        *(("coordination.k8s.io", "leases"), ("", "serviceaccounts"), ("apiregistration.k8s.io", "apiservices")),
        *(("apiextensions.k8s.io", "customresourcedefinitions"), ("storage.k8s.io", "volumeattachments")),
        *(("storage.k8s.io", "csidrivers"), ("storage.k8s.io", "csinodes"), ("policy", "poddisruptionbudgets")),
        *(("admissionregistration.k8s.io", "validatingwebhookconfigurations"),),
        *(("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),),
    }
)
"""Types whose updates must name a resourceVersion (upstream's AllowUnconditionalUpdate is false); custom ones, too."""

Change = Callable[[Object], Object]
"""The stored object, which is shared with others and stays as it is -> another one, which it is to become.

The new one may share what it leaves alone with the stored one: what comes after it changes nothing in there.
"""


def decode_body(call: Call, options: WriteOptions) -> Object:
    """The request's body as an object of the requested type, checked for unknown fields and wrong types."""
    content_type = call.request.headers.get("content-type", "")
    if bodies.media_type(content_type) == bodies.PROTOBUF:
        # As upstream: there is no strict decoding of protobuf, whatever was asked for.
        options = replace(options, field_validation="Ignore")

    def read(duplicates: list[str] | None = None) -> Object:
        return bodies.decode(call.request.body, content_type, call.type, call.runtime.registry, duplicates)

    duplicates: list[str] = []
    body = read(duplicates if options.field_validation != "Ignore" else None)
    check_fields(call, call.type, body, options, read, duplicates=duplicates)
    return body


def check_fields(
    call: Call,
    type: ResourceType,
    body: Object,
    options: WriteOptions,
    again: Callable[[], Object],
    *,
    duplicates: Sequence[str] = (),
    base: Object = NOTHING,
) -> None:
    """Go's decoding, and field validation as asked for (Strict refuses, Warn warns). Changes `body` in place.

    What `body` shares with `base` has been through this before. `again` makes the body anew, to look for the unknown
    fields that decoding dropped from it: most bodies have none.
    """
    rules = call.runtime.rules
    problems: list[str] = []
    is_checked = options.field_validation != "Ignore"
    if not type.schema.reference:
        problems = rules.unknown_fields(type, body) if is_checked else []
        rules.decode(type, body)
    elif rules.decode(type, body, base) and is_checked:
        problems = rules.unknown_fields(type, again(), base)
    if duplicates and type.schema.reference and call.request.method != "PATCH":
        problems = as_they_come(call.request.body, problems, duplicates)
    elif duplicates:
        # Patches, and custom resources, are decoded as they are before anything is known of their fields.
        problems = [*duplicates, *problems]
    if problems and options.field_validation == "Strict":
        kind, version = type.resource.kind, type.resource.version
        found = ", ".join(problems)
        raise bad_request(
            f'{kind} in version "{version}" cannot be handled as a {kind}: strict decoding error: {found}'
        )
    for problem in problems:
        call.warnings += warnings_of(problem)


def fit_namespace(call: Call, metadata: dict[str, Any]) -> None:
    """The body's namespace is the request's, or absent. Raises BadRequest."""
    namespace = metadata.get("namespace") or ""
    if not call.type.resource.namespaced:
        metadata.pop("namespace", None)
    elif namespace in ("", call.namespace):
        metadata["namespace"] = call.namespace
    else:
        raise bad_request(_NAMESPACE_DIFFERS)


def validate(call: Call, new: Object, old: Object | None) -> None:
    """Raises Invalid."""
    causes = call.runtime.rules.validate(call.stored, new, old, call.subresource)
    if causes:
        resource = call.type.resource
        raise invalid(resource.group, resource.kind, new["metadata"].get("name", ""), causes)


async def settle(runtime: ServerRuntime, at: int) -> None:
    """Until readers see the write of revision `at`: nobody is answered before."""
    if at > runtime.cache.revision:
        await runtime.cache.applied(at)


@dataclass(frozen=True, slots=True)
class Update:
    """How one update is made. `conditional` updates carry a resourceVersion in what `change` returns."""

    change: Change
    options: WriteOptions
    track: bool = True
    """False when `change` has done the managed fields itself (server-side apply)."""
    own: bool = False
    """A change that the server itself makes (a binding, a spent budget): no strategy, admission or validation.

    It always changes something.
    """


async def update_stored(call: Call, update: Update) -> bytes:
    """`_update_stored`, and what the answer needs to show it in the version of the path."""
    value = await _update_stored(call, update)
    await learn(call.type, [value])
    return value


async def _update_stored(call: Call, update: Update) -> bytes:
    """Read, change, admit, validate, compare-and-write, until it holds. Returns the stored bytes.

    Raises NotFound, Conflict, Invalid and whatever admission says. A change that changes nothing writes nothing.
    """
    runtime = call.runtime
    for _ in range(ATTEMPTS):
        entry = found(call)
        old = entry.peek()
        new = update.change(old)
        check_preconditions(call, new, entry)
        if not update.own:
            await _prepare(call, update, new, old)
            if new == old:
                return entry.value
        form = to_store(new, call.stored.resource)
        value = dump(form)
        if update.options.dry_run:
            return stamp(value, entry.revision)
        try:
            if is_done_for(new):
                deleted = await runtime.store.delete(entry.key, entry.revision)
                await settle(runtime, deleted.revision)
                return stamp(value, deleted.revision)
            return await put(runtime, entry.key, form, value, entry.revision)
        except RevisionConflict as error:
            await catch_up(runtime, error)
    raise modified(call)


async def put(runtime: ServerRuntime, key: str, form: Object, value: bytes, revision: int | None = None) -> bytes:
    """Store `form`, encoded as `value`: over what `revision` has, or as new. The stored bytes, once readers see them.

    `form` is the cache's from then on. Raises `RevisionConflict` and `KeyExists`.
    """
    store = runtime.store
    runtime.cache.announce(key, value, form)
    try:
        record = await (store.create(key, value) if revision is None else store.update(key, value, revision))
        await settle(runtime, record.revision)
    finally:
        runtime.cache.forget(key)
    return record.value


async def catch_up(runtime: ServerRuntime, error: RevisionConflict) -> None:
    """Until the cache shows what won, so that the next attempt is made on it."""
    await settle(runtime, runtime.store.revision if error.record is None else error.record.revision)


async def _prepare(call: Call, update: Update, new: Object, old: Object) -> None:
    runtime, stored = call.runtime, call.stored
    metadata = new["metadata"] = dict(new["metadata"])
    runtime.rules.prepare_update(stored, new, old, call.subresource)
    metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
    admission = Admission(call, "UPDATE", new, old, update.options.body(), dry_run=update.options.dry_run)
    if admission.mutates:
        # The strategy may have put parts of the old object into the new one.
        new.update(copied(new))
    await admission.admit()
    if admission.changed:
        # Upstream prepares after admission: what a webhook changes counts as a generation, too.
        runtime.rules.prepare_update(stored, new, old, call.subresource)
    validate(call, new, old)
    await admission.validate()
    if update.track:
        ownership.track(
            runtime.clock, stored, new, old, manager=update.options.field_manager, subresource=call.subresource
        )


def check_preconditions(call: Call, new: Object, entry: Entry) -> None:
    """`metadata.uid` and `metadata.resourceVersion` of the new object must be those of the stored one."""
    metadata = new["metadata"]
    uid = metadata.get("uid")
    if uid and uid != entry.uid:
        raise precondition_failed(call, "UID", uid, entry.uid)
    given = metadata.get("resourceVersion") or ""
    if given and given != "0" and given != str(entry.revision) and revision(given) != entry.revision:
        raise modified(call)
    if given in ("", "0") and refuses_unconditional(call.stored):
        cause = FieldError("FieldValueInvalid", "metadata.resourceVersion", "must be specified for an update", 0)
        resource = call.type.resource
        raise invalid(resource.group, resource.kind, call.name, [cause])


def refuses_unconditional(type: ResourceType) -> bool:
    resource = type.resource
    return not type.schema.reference or (resource.group, resource.plural) in _UNCONDITIONAL_REFUSED


def modified(call: Call) -> ApiError:
    resource = call.type.resource
    return conflict(resource.group, resource.plural, call.name, OBJECT_MODIFIED)


def precondition_failed(call: Call, what: str, wanted: str, actual: str) -> ApiError:
    resource = call.type.resource
    place = f"{resource.group}/{resource.plural}" if is_custom(call.type) else resource.plural
    key = "/".join(part for part in (place, call.namespace, call.name) if part)
    why = (
        f"StorageError: invalid object, Code: 4, Key: /registry/{key}, ResourceVersion: 0, AdditionalErrorMsg: "
        f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {actual}"
    )
    return conflict(resource.group, resource.plural, call.name, why)


def is_done_for(body: Object) -> bool:
    """An object marked for deletion goes with its last finalizer, once its grace period is used up."""
    metadata = body["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if metadata.get("deletionGracePeriodSeconds"):
        return False
    return body.get("kind") != "Namespace" or not (body.get("spec") or {}).get("finalizers")


def now(runtime: ServerRuntime) -> str:
    return rfc3339(runtime.clock.now())


def written(call: Call, value: bytes, status: int = 200) -> Response:
    return answer(call.view(), value, status)
