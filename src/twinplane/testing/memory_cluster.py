"""An API server small enough for unit tests: a `KubeClient` whose objects live in a dictionary.

Controllers, the scheduler, the cloud controller and the simulated nodes are tested against it. What it has of the real
one is what reconcilers depend on: resource versions and conflicts, watches that miss nothing, writes that change
nothing and so leave no event, generations, the status subresource, finalizers and graceful deletion, delete
preconditions. What it has not: schemas, defaulting, validation, admission, authorization. Nothing collects owned
objects or empties namespaces unless those controllers run.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from random import Random
from typing import Any

from twinplane.clock import Clock, SystemClock, rfc3339
from twinplane.kubeclient import errors
from twinplane.kubeclient.contract import Object, ObjectList, PatchType, Resource, WatchEvent
from twinplane.kubeclient.meta import copied, finalizers_of, is_deleting, name_of, namespace_of
from twinplane.kubeclient.resources import EVENTS, NAMESPACES, PODS
from twinplane.testing import memory_objects
from twinplane.testing.memory_objects import FieldMatch, LabelMatch, field_matcher, label_matcher

HISTORY_MAX = 100_000
"""Events kept a type; a watch from before them is told that its revision is gone."""

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"

Type = tuple[str, str]
"""Group and plural: versions share their storage."""
Entry = tuple[int, str, Object, Object | None]
"""Revision, type of event, the object, and what was there before."""
Entries = list[Entry]
Objects = list[Object]
Reaction = Callable[[str, Resource, Object], None]
"""(verb, resource, object), called before a write; may raise `ApiError` to refuse it."""


class MemoryCluster:
    """A `KubeClient`. `reactions` see every write first (faults); `writes` logs what was done (assertions)."""

    def __init__(self, clock: Clock | None = None, *, seed: int = 0) -> None:
        self._clock = clock or SystemClock()
        self._random = Random(seed)
        self._revision = 0
        self._objects: dict[Type, dict[tuple[str, str], Object]] = defaultdict(dict)
        self._history: dict[Type, deque[Entry]] = defaultdict(lambda: deque(maxlen=HISTORY_MAX))
        self._changed: dict[Type, asyncio.Event] = defaultdict(asyncio.Event)
        self._kinds: dict[Type, Resource] = {}
        self._compacted = 0
        self.reactions: list[Reaction] = []
        self.writes: list[tuple[str, Resource, str]] = []
        """(verb, resource, name) of each write that was accepted, Events apart."""

    # -- what tests ask ------------------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        return self._revision

    def seed(self, resource: Resource, *objects: Object) -> None:
        """Put objects in as they are, status and all (`create` drops nothing either, but sets generation 1)."""
        for body in objects:
            self._insert(resource, copied(body))

    def objects(self, resource: Resource, namespace: str | None = None) -> Objects:
        """Copies, in key order, without awaiting."""
        found = self._objects[_type(resource)]
        return [copied(found[key]) for key in sorted(found) if not namespace or key[0] == namespace]

    def object(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        found = self._objects[_type(resource)].get((namespace, name))
        return copied(found) if found is not None else None

    def compact(self) -> None:
        """Forget history: watches from before now get 410 Expired."""
        self._compacted = self._revision
        for kind, history in self._history.items():
            history.clear()
            self._wake(kind)

    # -- reads ---------------------------------------------------------------------------------------------------

    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, query: Mapping[str, str] | None = None
    ) -> Object:
        return copied(self._existing(resource, name, namespace)) | _typed(resource)

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_: str = "",
        resource_version: str = "",
    ) -> ObjectList:
        labels, fields = label_matcher(label_selector), field_matcher(field_selector)
        start = tuple(continue_.split("/", 1)) if continue_ else None
        found = self._objects[_type(resource)]
        keys = [key for key in sorted(found) if (not namespace or key[0] == namespace) and (not start or key > start)]
        keys = [key for key in keys if labels(found[key]) and fields(found[key])]
        page = keys[:limit] if limit else keys
        more = "/".join(page[-1]) if len(page) < len(keys) else ""
        return ObjectList([copied(found[key]) for key in page], str(self._revision), more)

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent]:
        labels, fields = label_matcher(label_selector), field_matcher(field_selector)
        kind = _type(resource)
        seen = int(resource_version) if resource_version not in ("", "0") else self._revision
        if resource_version in ("", "0"):
            for body in self.objects(resource, namespace):
                if labels(body) and fields(body):
                    yield WatchEvent("ADDED", body | _typed(resource))
        while True:
            if seen < self._compacted:
                raise errors.expired(f"too old resource version: {seen} ({self._compacted})")
            for revision, verb, body, previous in self._since(kind, seen):
                seen = revision
                if namespace and namespace_of(body) != namespace:
                    continue
                event = _selected(verb, body, previous, labels, fields)
                if event is not None:
                    yield event
            if not self._since(kind, seen):
                self._changed[kind].clear()
                await self._changed[kind].wait()

    def _since(self, kind: Type, seen: int) -> Entries:
        history = self._history[kind]
        result: Entries = []
        for entry in reversed(history):
            if entry[0] <= seen:
                break
            result.append(entry)
        result.reverse()
        return result

    # -- writes --------------------------------------------------------------------------------------------------

    async def create(
        self,
        resource: Resource,
        body: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        await asyncio.sleep(0)
        if subresource:
            return self._create_subresource(resource, body, namespace, name or "", subresource)
        body = copied(body)
        metadata = body.setdefault("metadata", {})
        if resource.namespaced:
            metadata.setdefault("namespace", namespace or "default")
            self._refuse_in_terminating(resource, metadata)
        if not metadata.get("name"):
            suffix = "".join(self._random.choices(_ALPHABET, k=5))
            metadata["name"] = metadata.get("generateName", "")[:58] + suffix
        self._react("create", resource, body)
        metadata["generation"] = 1
        if resource == NAMESPACES:
            body.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
            body.setdefault("status", {}).setdefault("phase", "Active")
        if resource == PODS:
            body.setdefault("status", {}).setdefault("phase", "Pending")
        return copied(self._insert(resource, body))

    async def create_named(self, resource: Resource, body: Object, namespace: str | None = None) -> str:
        return name_of(await self.create(resource, body, namespace))

    async def update(self, resource: Resource, body: Object, *, subresource: str | None = None) -> Object:
        await asyncio.sleep(0)
        old = self._existing(resource, name_of(body), namespace_of(body))
        self._check_preconditions(resource, old, body["metadata"].get("uid"), body["metadata"].get("resourceVersion"))
        return self._replace(resource, old, copied(body), subresource)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
        patch_type: PatchType = "application/merge-patch+json",
        field_manager: str = "",
        force: bool = False,
        wants_answer: bool = True,
    ) -> Object:
        await asyncio.sleep(0)
        old = self._objects[_type(resource)].get((namespace or "" if resource.namespaced else "", name))
        if old is None and patch_type == "application/apply-patch+yaml":
            return await self.create(resource, patch, namespace)
        old = self._existing(resource, name, namespace)
        new = memory_objects.patched(old, patch, patch_type)
        self._check_preconditions(resource, old, new["metadata"].get("uid"), new["metadata"].get("resourceVersion"))
        return self._replace(resource, old, new, subresource)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        propagation_policy: str | None = None,
        grace_period_seconds: int | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        wants_answer: bool = True,
    ) -> Object:
        await asyncio.sleep(0)
        old = self._existing(resource, name, namespace)
        self._check_preconditions(resource, old, uid, resource_version)
        self._react("delete", resource, old)
        new = copied(old)
        memory_objects.mark_deleted(
            resource, new, self._clock.now(), policy=propagation_policy, grace=grace_period_seconds
        )
        if memory_objects.may_go(resource, new):
            return copied(self._remove(resource, new))
        return copied(self._store(resource, new, old))

    async def delete_collection(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> None:
        found = await self.list(resource, namespace, label_selector=label_selector, field_selector=field_selector)
        for body in found.items:
            await self.delete(resource, name_of(body), namespace_of(body))

    # -- the inside ----------------------------------------------------------------------------------------------

    def _create_subresource(
        self, resource: Resource, body: Object, namespace: str | None, name: str, subresource: str
    ) -> Object:
        old = self._existing(resource, name, namespace)
        new = copied(old)
        if resource == PODS and subresource == "binding":
            if new["spec"].get("nodeName"):
                raise errors.conflict(
                    "", "pods/binding", name, f'pod {name} is already assigned to node "{new["spec"]["nodeName"]}"'
                )
            new["spec"]["nodeName"] = body["target"]["name"]
            condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": rfc3339(self._clock.now())}
            new.setdefault("status", {}).setdefault("conditions", []).append(condition)
            self._replace(resource, old, new, "binding")
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if resource == PODS and subresource == "eviction":
            memory_objects.mark_deleted(resource, new, self._clock.now(), policy=None, grace=None)
            self._react("delete", resource, new)
            self._remove(resource, new) if memory_objects.may_go(resource, new) else self._store(resource, new, old)
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        raise errors.not_found(resource.group, f"{resource.plural}/{subresource}", name)

    def _existing(self, resource: Resource, name: str, namespace: str | None) -> Object:
        found = self._objects[_type(resource)].get((namespace or "" if resource.namespaced else "", name))
        if found is None:
            raise errors.not_found(resource.group, resource.plural, name)
        return found

    def _check_preconditions(self, resource: Resource, old: Object, uid: str | None, version: str | None) -> None:
        metadata = old["metadata"]
        for what, wanted, there in (
            ("UID", uid, metadata["uid"]),
            ("ResourceVersion", version, metadata["resourceVersion"]),
        ):
            if wanted and wanted != there:
                why = (
                    errors.OBJECT_MODIFIED
                    if what == "ResourceVersion"
                    else f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {there}"
                )
                raise errors.conflict(resource.group, resource.plural, name_of(old), why)

    def _refuse_in_terminating(self, resource: Resource, metadata: dict[str, Any]) -> None:
        namespace = self._objects[_type(NAMESPACES)].get(("", metadata["namespace"]))
        if namespace is not None and is_deleting(namespace):
            why = f"unable to create new content in namespace {metadata['namespace']} because it is being terminated"
            error = errors.forbidden(resource.group, resource.plural, metadata.get("name", ""), why)
            causes = [{"reason": "NamespaceTerminating", "message": why, "field": "metadata.namespace"}]
            error.details = (error.details or {}) | {"causes": causes}
            raise error

    def _react(self, verb: str, resource: Resource, body: Object) -> None:
        for reaction in self.reactions:
            reaction(verb, resource, body)
        if resource != EVENTS:
            self.writes.append((verb, resource, body["metadata"].get("name", "")))

    def _insert(self, resource: Resource, body: Object) -> Object:
        metadata = body.setdefault("metadata", {})
        if resource.namespaced:
            metadata.setdefault("namespace", "default")
        key = (metadata.get("namespace", "") if resource.namespaced else "", metadata["name"])
        if key in self._objects[_type(resource)]:
            raise errors.already_exists(resource.group, resource.plural, metadata["name"])
        metadata.setdefault("uid", str(uuid.UUID(int=self._random.getrandbits(128), version=4)))
        metadata.setdefault("creationTimestamp", rfc3339(self._clock.now()))
        return self._store(resource, body, None)

    def _replace(self, resource: Resource, old: Object, new: Object, subresource: str | None) -> Object:
        new = memory_objects.kept_by_subresource(resource, old, new, subresource)
        self._react(f"update/{subresource}" if subresource else "update", resource, new)
        if is_deleting(new) and memory_objects.may_go(resource, new) and (finalizers_of(old) or resource == NAMESPACES):
            return copied(self._remove(resource, new))
        if {**new, "apiVersion": 0, "kind": 0} == {**old, "apiVersion": 0, "kind": 0}:
            return copied(old)
        return copied(self._store(resource, new, old))

    def _store(self, resource: Resource, body: Object, old: Object | None) -> Object:
        self._revision += 1
        body |= _typed(resource)
        body["metadata"]["resourceVersion"] = str(self._revision)
        self._objects[_type(resource)][_key(body)] = body
        self._emit(resource, "ADDED" if old is None else "MODIFIED", body, old)
        return body

    def _remove(self, resource: Resource, body: Object) -> Object:
        self._revision += 1
        old = self._objects[_type(resource)].pop(_key(body))
        body["metadata"]["resourceVersion"] = str(self._revision)
        self._emit(resource, "DELETED", body, old)
        return body

    def _emit(self, resource: Resource, type: str, body: Object, old: Object | None) -> None:
        kind = _type(resource)
        self._history[kind].append((self._revision, type, body, old))
        self._wake(kind)

    def _wake(self, kind: Type) -> None:
        # A fresh event each time: every watcher that waits on the old one wakes, none can miss the next.
        self._changed.pop(kind, asyncio.Event()).set()


def _type(resource: Resource) -> Type:
    return resource.group, resource.plural


def _key(body: Object) -> tuple[str, str]:
    return namespace_of(body), name_of(body)


def _typed(resource: Resource) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind}


def _selected(
    type: str, body: Object, previous: Object | None, labels: LabelMatch, fields: FieldMatch
) -> WatchEvent | None:
    """An object that starts or stops to match is added or deleted for this watcher."""
    now = type != "DELETED" and labels(body) and fields(body)
    before = previous is not None and labels(previous) and fields(previous)
    if now:
        return WatchEvent("MODIFIED" if before else "ADDED", body)
    return WatchEvent("DELETED", body) if before else None
