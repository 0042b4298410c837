"""CREATE: a new object gets its name, uid and creation time, passes admission and validation, and is stored."""

from __future__ import annotations

import re
from random import Random

import orjson

from twinplane.controlplane.api import ownership
from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.encoding import dump, to_store
from twinplane.controlplane.api.extensions.customresources.conversion import learn
from twinplane.controlplane.api.objects.keys import key_of
from twinplane.controlplane.api.options import WriteOptions, write_options
from twinplane.controlplane.api.runtime import Call
from twinplane.controlplane.api.verbs import replicas
from twinplane.controlplane.api.verbs.admission import Admission
from twinplane.controlplane.api.verbs.write import decode_body, fit_namespace, now, put, validate, written
from twinplane.controlplane.store.contract import KeyExists
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, already_exists, bad_request

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX = 5
_UUID_MASK = (1 << 128) - 1 & ~(0xF000 << 64) & ~(0xC000 << 48)
_UUID_VERSION_4 = 0x4000 << 64 | 0x8000 << 48
"""The bits that RFC 9562 fixes."""
_LONGEST_BASE = 63 - _SUFFIX
_NAME_ATTEMPTS = 8
"""As upstream (RetryGenerateName)."""
_UNSAFE_NAME = re.compile(r"^\.{1,2}$|[/%]")


async def create(call: Call) -> Response:
    if call.name or (call.type.resource.namespaced and not call.namespace):
        raise ApiError("MethodNotAllowed", "the server does not allow this method on the requested resource")
    options = write_options(call.request, "CreateOptions")
    asked = replicas.asked_for(call, options)
    pod = None if asked is None else await replicas.prepared(call, asked.key, options, now(call.runtime))
    if asked is not None and pod is not None:
        pod["metadata"]["uid"] = _uid(call.runtime.random)
        if asked.name:
            pod["metadata"]["name"] = asked.name
        else:
            _name(call, pod["metadata"])
        answer = written(call, await _store_named(call, pod, options, generated=not asked.name), 201)
        answer.name = pod["metadata"]["name"]
        return answer
    body = call.to_stored(decode_body(call, options))
    return written(call, await create_stored(call, body, options, asked=asked), 201)


async def create_stored(
    call: Call, body: Object, options: WriteOptions, *, track: bool = True, asked: replicas.Asked | None = None
) -> bytes:
    """Store a decoded body of the stored type. Raises AlreadyExists, Invalid and whatever admission says.

    `asked` is what the prepared pod is remembered by, for those that are like it.
    """
    _begin(call, body)
    metadata = body["metadata"]
    generated = not metadata.get("name") and bool(metadata.get("generateName"))
    if generated:
        _name(call, metadata)
    if asked is not None and generated != bool(asked.name) and replicas.comes_again(call, asked):
        await _prepare_template(call, body, options, asked)
    else:
        await _prepare(call, body, options, track=track, generated=generated)
    return await _store_named(call, body, options, generated=generated)


async def _prepare_template(call: Call, body: Object, options: WriteOptions, asked: replicas.Asked) -> None:
    state = await replicas.state_of(call, body, options)
    before = frozenset(call.annotations)
    await _prepare(call, body, options, track=True, generated=not asked.name)
    if state is None or call.warnings or await replicas.state_of(call, body, options) != state:
        return
    replicas.remember(call, asked.key, body, state, before)


def _name(call: Call, metadata: Object) -> None:
    metadata["name"] = _generate(metadata["generateName"], call.runtime.random)


async def _store_named(call: Call, body: Object, options: WriteOptions, *, generated: bool) -> bytes:
    """Under its name, or under another one when that was generated and is taken."""
    metadata = body["metadata"]
    for attempt in range(_NAME_ATTEMPTS):
        try:
            value = await _store(call, body, options)
            await learn(call.type, [value])
            return value
        except KeyExists as error:
            if not generated or attempt == _NAME_ATTEMPTS - 1:
                raise _exists(call, metadata["name"], error) from None
            _name(call, metadata)
    raise AssertionError("the last attempt raises")


def _begin(call: Call, body: Object) -> None:
    """The fields that only the server sets."""
    metadata = body.get("metadata")
    if metadata is None:
        metadata = body["metadata"] = {}
    if metadata.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    fit_namespace(call, metadata)
    for field in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        metadata.pop(field, None)
    metadata["uid"] = _uid(call.runtime.random)
    metadata["creationTimestamp"] = now(call.runtime)


async def _prepare(call: Call, body: Object, options: WriteOptions, *, track: bool, generated: bool) -> None:
    runtime, stored = call.runtime, call.stored
    runtime.rules.prepare_create(stored, body)
    runtime.rules.default(stored, body)
    if track:
        # Before admission, as upstream: the creator does not own what plugins add.
        ownership.track(runtime.clock, stored, body, None, manager=options.field_manager, subresource=call.subresource)
    name = body["metadata"].get("name", "")
    admission = Admission(
        call, "CREATE", body, None, options.body(), dry_run=options.dry_run, name=name, generated=generated
    )
    await admission.admit()
    validate(call, body, None)
    if _UNSAFE_NAME.search(name):
        raise bad_request(f'name "{name}" cannot be part of a path')
    await admission.validate()


async def _store(call: Call, body: Object, options: WriteOptions) -> bytes:
    runtime, resource = call.runtime, call.stored.resource
    name = body["metadata"]["name"]
    form = to_store(body, resource)
    value = dump(form)
    if options.dry_run:
        entry = runtime.cache.get(resource, call.namespace, name)
        if entry is not None:
            raise KeyExists(None)
        return value.replace(b'"resourceVersion":"",', b"", 1)
    return await put(runtime, key_of(resource, call.namespace, name), form, value)


def _exists(call: Call, name: str, error: KeyExists) -> ApiError:
    resource = call.type.resource
    refusal = already_exists(resource.group, resource.plural, name)
    if error.record is not None and "deletionTimestamp" in orjson.loads(error.record.value)["metadata"]:
        refusal.message = f"object is being deleted: {refusal.message}"
    return refusal


def _uid(random: Random) -> str:
    """A UUID of version 4, written down without the detour over `uuid.UUID`."""
    digits = f"{random.getrandbits(128) & _UUID_MASK | _UUID_VERSION_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _generate(base: str, random: Random) -> str:
    return base[:_LONGEST_BASE] + "".join(random.choices(_ALPHABET, k=_SUFFIX))
