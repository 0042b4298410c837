"""Conversion of custom resources by a webhook: ConversionReview over HTTPS, and what is remembered of it.

Verbs convert where they stand, without waiting, so a converter answers from memory and raises `ConversionNeeded` for
what it does not know. The server then has it converted and runs the verb again; a verb raises it only before it writes.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, TypeVar
from uuid import UUID

import orjson

from twinplane.controlplane.api.extensions.customresources.values import canonical
from twinplane.controlplane.api.extensions.dialing import Dialer, Unreachable
from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import copied

ATTEMPTS = 8
"""What one request may need one after the other: its body, the stored object, what becomes of it."""
REMEMBERED = 20_000
SECONDS = 30.0
"""Upstream's timeout of one conversion."""
_BATCH = 500
Made = TypeVar("Made")
_VOLATILE = frozenset({"managedFields", "resourceVersion", "generation"})


class ConversionNeeded(Exception):
    """Raised where a body's other version is not known yet."""

    def __init__(self, converter: WebhookConverter, body: Object, target: str) -> None:
        super().__init__(f"{body.get('apiVersion')} to {target}")
        self._converter = converter
        self._body = body
        self._target = target

    async def resolve(self) -> None:
        """Raises ApiError when the webhook does not convert it."""
        await self._converter.fetch([self._body], self._target)


class WebhookConverter:
    """Of one definition; a changed definition gets a new one."""

    def __init__(self, definition: Object, dialer: Dialer, random: Random) -> None:
        webhook = definition["spec"]["conversion"].get("webhook") or {}
        self._client: Object = webhook.get("clientConfig") or {}
        reviews = webhook.get("conversionReviewVersions") or ["v1"]
        self._review = next((version for version in reviews if version in ("v1", "v1beta1")), "v1")
        self._dialer = dialer
        self._random = random
        self._known: OrderedDict[bytes, Object] = OrderedDict()

    def __call__(self, body: Object, target: Resource) -> Object:
        """The body in the version of `target`. Raises ConversionNeeded."""
        version = target.api_version
        if body.get("apiVersion") == version:
            return body
        key = _key(body, version)
        found = self._known.get(key)
        if found is None:
            raise ConversionNeeded(self, body, version)
        self._known.move_to_end(key)
        result = copied(found)
        result["metadata"] = _metadata(body.get("metadata") or {}, result["metadata"])
        return result

    async def fetch(self, bodies: Iterable[Object], target: str) -> None:
        """Learn the other version of those that are not known. Raises ApiError."""
        wanted = {_key(body, target): body for body in bodies if body.get("apiVersion") != target}
        missing = [(key, body) for key, body in wanted.items() if key not in self._known]
        for start in range(0, len(missing), _BATCH):
            part = missing[start : start + _BATCH]
            converted = await self._ask([body for _, body in part], target)
            for (key, _), result in zip(part, converted, strict=True):
                self._known[key] = result
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    async def _ask(self, bodies: list[Object], target: str) -> list[Object]:
        uid = str(UUID(int=self._random.getrandbits(128), version=4))
        review = {
            "kind": "ConversionReview",
            "apiVersion": f"apiextensions.k8s.io/{self._review}",
            "request": {"uid": uid, "desiredAPIVersion": target, "objects": bodies},
        }
        try:
            status, answer = await self._dialer.post(self._client, orjson.dumps(review), SECONDS)
            if status != 200:
                raise Unreachable(
                    f"the server responded with the status code {status} but did not return more information"
                )
            return _converted(bodies, target, uid, answer)
        except Unreachable as error:
            body = bodies[0]
            group, _, version = str(body.get("apiVersion", "")).rpartition("/")
            kind = f"{group}/{version}, Kind={body.get('kind')}"
            message = f"Internal error occurred: conversion webhook for {kind} failed: {error}"
            raise ApiError("InternalError", message, details={"causes": [{"message": str(error)}]}) from None


def _key(body: Object, target: str) -> bytes:
    """Of everything that a webhook may look at; revisions and managed fields change without it."""
    metadata = {name: value for name, value in (body.get("metadata") or {}).items() if name not in _VOLATILE}
    return hashlib.blake2b(canonical({**body, "metadata": metadata}) + target.encode(), digest_size=16).digest()


def _converted(bodies: list[Object], target: str, uid: str, answer: bytes) -> list[Object]:
    """The webhook's objects, checked as upstream checks them. Raises Unreachable."""
    try:
        response = orjson.loads(answer).get("response") or {}
    except (ValueError, AttributeError):
        raise Unreachable("invalid response: not a ConversionReview") from None
    if response.get("uid") != uid:
        raise Unreachable(f"expected response.uid={uid!r}, got {response.get('uid', '')!r}".replace("'", '"'))
    result = response.get("result") or {}
    if result.get("status") != "Success":
        raise Unreachable(
            str(
                result.get("message")
                or f"expected response.result.status to be Success, got {result.get('status', '')}"
            )
        )
    objects = response.get("convertedObjects") or []
    if len(objects) != len(bodies):
        raise Unreachable(f"expected {len(bodies)} converted objects, got {len(objects)}")
    for index, (before, after) in enumerate(zip(bodies, objects, strict=True)):
        _check(before, after, target, index)
        after["metadata"] = after.get("metadata") or {}
    return objects


def _check(before: Object, after: Any, target: str, index: int) -> None:
    where = f"invalid converted object at index {index}"
    if not isinstance(after, dict) or after.get("apiVersion") != target:
        found = after.get("apiVersion") if isinstance(after, dict) else None
        raise Unreachable(f"{where}: expected version {target}, got {found}")
    if after.get("kind") != before.get("kind"):
        raise Unreachable(f"{where}: expected kind {before.get('kind')}, got {after.get('kind')}")
    for field in ("name", "namespace", "uid"):
        old, new = (each.get("metadata", {}).get(field) for each in (before, after))
        if old != new:
            raise Unreachable(f"{where}: must have the same {field}: {new} != {old}")


def _metadata(before: Object, after: Object) -> Object:
    """A webhook may change labels and annotations, nothing else of the metadata."""
    result = dict(before)
    for field in ("labels", "annotations"):
        if after.get(field):
            result[field] = after[field]
        else:
            result.pop(field, None)
    return result


async def learn(type: ResourceType, values: Iterable[bytes]) -> None:
    """Before stored bytes are shown in the version of `type`: have them converted together. Raises ApiError."""
    converter: WebhookConverter | None = type.extra.get("converter")
    if converter is not None:
        await converter.fetch(map(orjson.loads, values), type.resource.api_version)


async def known(make: Callable[[], Made]) -> Made:
    """What `make` makes, once everything that it needs is converted. Raises ApiError."""
    for _ in range(ATTEMPTS):
        try:
            return make()
        except ConversionNeeded as needed:
            await needed.resolve()
    raise ApiError("InternalError", "Internal error occurred: conversion webhook did not settle")
