"""Deletes what nobody owns any more: background, foreground and orphaning deletion, across all types.

Works on keys like every controller: one is an object (its `kind` says which type). An object is looked at when it
appears with owners that are not there, when an owner of it goes, and when it is deleted with one of the two finalizers
that are this controller's to remove. "Not there" is believed only from the API server itself: the caches of two types
are never equally new. As upstream's pkg/controller/garbagecollector, with the informers' objects in place of a second
copy in the graph.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from twinplane.controlplane.controllers.contract import Context, Enqueue, Informer, Key
from twinplane.controlplane.controllers.garbagecollector.ownership_graph import (
    FOREGROUND,
    ORPHAN,
    Node,
    Owners,
    OwnershipGraph,
    blocks,
    is_foreground,
    is_orphaning,
    owner_uids,
    policy_of,
)
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import (
    finalizers_of,
    is_deleting,
    name_of,
    namespace_of,
    owner_references,
    uid_of,
)
from twinplane.kubeclient.resources import CUSTOM_RESOURCE_DEFINITIONS

IGNORED = frozenset({("", "events"), ("events.k8s.io", "events")})
"""Never owned, and too many: upstream ignores them as well."""
ABSENT_MAX = 500
_TYPES = Key("", "", "types")


class GarbageCollector:
    """`types` are those that can be listed, watched and deleted, each in one version, asked again as CRDs change."""

    name = "garbage-collector-controller"
    workers = 20

    def __init__(self, context: Context, types: Callable[[], Iterable[Resource]]) -> None:
        self._client = context.client
        self._events = context.events
        self._informers = context.informers
        self._types = types
        self._watched: dict[str, Informer] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._graph = OwnershipGraph()
        self._absent: OrderedDict[str, None] = OrderedDict()
        self._enqueue: Enqueue = lambda key: None

    def watch(self, enqueue: Enqueue) -> None:
        self._enqueue = enqueue
        self._follow_types()

        def types_changed(old: Object | None, new: Object | None) -> None:
            enqueue(_TYPES)

        self._informers.of(CUSTOM_RESOURCE_DEFINITIONS).add_handler(types_changed)

    def _follow_types(self) -> None:
        served = {_type_name(resource): resource for resource in self._types() if _is_collected(resource)}
        self._by_kind = {(resource.group, resource.kind): resource for resource in served.values()}
        for name, resource in served.items():
            if name not in self._watched:
                informer = self._watched[name] = self._informers.of(resource)
                informer.add_handler(self._handler(name))

    # -- events --------------------------------------------------------------------------------------------------

    def _handler(self, type: str) -> Callable[[Object | None, Object | None], None]:
        def changed(old: Object | None, new: Object | None) -> None:
            if new is None:
                assert old is not None
                self._gone(_node(type, old), old)
            elif old is None or _concerns(old, new):
                self._seen(_node(type, new), old, new)

        return changed

    def _seen(self, node: Node, old: Object | None, new: Object) -> None:
        owners = owner_uids(new)
        self._graph.put(node, owners, owner_uids(old) if old is not None else ())
        if is_foreground(new) or is_orphaning(new):
            self._enqueue(_key(node))
        if is_foreground(new) and (old is None or not is_foreground(old)):
            self._enqueue_all(self._graph.dependents(node.uid))
        if any(self._graph.present(owner) is None for owner in owners):
            self._enqueue(_key(node))
        waited = [self._graph.present(owner) for owner in owners]
        if is_deleting(new) or old is None or owner_references(old) != owner_references(new):
            # An owner that waits in the foreground may have become free, or must take this one along.
            for owner in waited:
                if owner is not None and self._is_foreground(owner):
                    self._enqueue(_key(owner))
                    self._enqueue(_key(node))
        lost = set(owner_uids(old)) - set(owners) if old is not None else set()
        self._wake_owners(lost)

    def _gone(self, node: Node, body: Object) -> None:
        owners = owner_uids(body)
        self._graph.remove(node, owners)
        self._note_absent(node.uid)
        self._enqueue_all(self._graph.dependents(node.uid))
        self._wake_owners(owners)

    def _wake_owners(self, uids: Iterable[str]) -> None:
        for uid in uids:
            owner = self._graph.present(uid)
            if owner is not None and self._is_foreground(owner):
                self._enqueue(_key(owner))

    def _enqueue_all(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            self._enqueue(_key(node))

    # -- one object ----------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> float | None:
        if key == _TYPES:
            self._follow_types()
            return None
        informer = self._watched[key.kind]
        body = informer.get(key.name, key.namespace)
        if body is None:
            return None
        resource = informer.resource
        if is_foreground(body):
            await self._finish_foreground(resource, body)
        elif is_orphaning(body):
            await self._finish_orphaning(resource, body)
        elif not is_deleting(body) and owner_references(body):
            await self._collect(resource, body)
        return None

    async def _collect(self, resource: Resource, body: Object) -> None:
        owners = await self._sort_owners(resource, body)
        if owners.solid:
            if owners.dangling or owners.waiting:
                await self._patch_owners(resource, body, owners.solid)
        elif owners.waiting and (dependents := self._graph.dependents(uid_of(body))):
            if _blocks_any(body) and any(self._is_foreground(node) for node in dependents):
                # A circle: each would wait for the next one for ever.
                await self._patch_owners(
                    resource, body, [{**one, "blockOwnerDeletion": False} for one in owner_references(body)]
                )
                return
            # Its own dependents go first, as its owner asked for itself.
            await self._delete(resource, body, "Foreground")
        elif owners.waiting or owners.dangling:
            await self._delete(resource, body, policy_of(body))

    async def _sort_owners(self, resource: Resource, body: Object) -> Owners:
        owners = Owners([], [], [])
        for reference in owner_references(body):
            owner = self._graph.present(reference["uid"])
            if owner is None and not await self._exists(resource, body, reference):
                owners.dangling.append(reference)
            elif owner is not None and self._is_foreground(owner):
                owners.waiting.append(reference)
            else:
                owners.solid.append(reference)
        return owners

    async def _exists(self, resource: Resource, body: Object, reference: dict[str, Any]) -> bool:
        """Ask the API server for an owner that no cache has; an owner of an unknown type is left in peace."""
        uid = reference["uid"]
        if uid in self._absent:
            return False
        group = reference["apiVersion"].rpartition("/")[0]
        owner_type = self._by_kind.get((group, reference["kind"]))
        if owner_type is None:
            return True
        if owner_type.namespaced and not resource.namespaced:
            message = (
                f"ownerRef [{reference['apiVersion']}/{reference['kind']}, namespace: , name: {reference['name']}, "
                f'uid: {uid}] does not exist in namespace ""'
            )
            self._events.event(body, "Warning", "OwnerRefInvalidNamespace", message)
            return True
        try:
            owner = await self._client.get(owner_type, reference["name"], namespace_of(body) or None)
        except ApiError as error:
            if error.code != 404:
                raise
            owner = None
        if owner is not None and uid_of(owner) == uid:
            return True
        self._note_absent(uid)
        return False

    def _note_absent(self, uid: str) -> None:
        """A uid never comes back, so this needs no expiry, only a bound."""
        self._absent[uid] = None
        if len(self._absent) > ABSENT_MAX:
            self._absent.popitem(last=False)

    # -- the two finalizers --------------------------------------------------------------------------------------

    async def _finish_foreground(self, resource: Resource, body: Object) -> None:
        uid = uid_of(body)
        blocking = [
            node for node in self._graph.dependents(uid) if (found := self._object(node)) and blocks(found, uid)
        ]
        if not blocking:
            await self._remove_finalizer(resource, body, FOREGROUND)
            return
        for node in blocking:
            dependent = self._object(node)
            if dependent is not None and not is_deleting(dependent):
                self._enqueue(_key(node))

    async def _finish_orphaning(self, resource: Resource, body: Object) -> None:
        uid = uid_of(body)
        for node in self._graph.dependents(uid):
            dependent = self._object(node)
            if dependent is not None:
                kept = [reference for reference in owner_references(dependent) if reference["uid"] != uid]
                await self._patch_owners(self._watched[node.type].resource, dependent, kept)
        await self._remove_finalizer(resource, body, ORPHAN)

    async def _remove_finalizer(self, resource: Resource, body: Object, finalizer: str) -> None:
        await self._patch_metadata(resource, body, {"finalizers": [e for e in finalizers_of(body) if e != finalizer]})

    async def _patch_owners(self, resource: Resource, body: Object, owners: list[dict[str, Any]]) -> None:
        await self._patch_metadata(resource, body, {"ownerReferences": owners or None})

    async def _patch_metadata(self, resource: Resource, body: Object, change: dict[str, Any]) -> None:
        metadata = {"uid": uid_of(body), "resourceVersion": body["metadata"]["resourceVersion"], **change}
        try:
            await self._client.patch(resource, name_of(body), {"metadata": metadata}, namespace_of(body) or None)
        except ApiError as error:
            if error.code != 404:
                raise

    async def _delete(self, resource: Resource, body: Object, policy: str) -> None:
        try:
            await self._client.delete(
                resource,
                name_of(body),
                namespace_of(body) or None,
                propagation_policy=policy,
                uid=uid_of(body),
                resource_version=body["metadata"]["resourceVersion"],
                wants_answer=False,
            )
        except ApiError as error:
            if error.code != 404:
                raise

    # -- looking up ----------------------------------------------------------------------------------------------

    def _object(self, node: Node) -> Object | None:
        found = self._watched[node.type].get(node.name, node.namespace)
        return found if found is not None and uid_of(found) == node.uid else None

    def _is_foreground(self, node: Node) -> bool:
        found = self._object(node)
        return found is not None and is_foreground(found)


def _blocks_any(body: Object) -> bool:
    return any(reference.get("blockOwnerDeletion") for reference in owner_references(body))


def _is_collected(resource: Resource) -> bool:
    return (resource.group, resource.plural) not in IGNORED


def _type_name(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}"


def _node(type: str, body: Object) -> Node:
    return Node(type, namespace_of(body), name_of(body), uid_of(body))


def _key(node: Node) -> Key:
    return Key(node.namespace, node.name, node.type)


def _concerns(old: Object, new: Object) -> bool:
    """Most changes (heartbeats, statuses) mean nothing here and must cost nothing."""
    before, after = old["metadata"], new["metadata"]
    fields = ("ownerReferences", "finalizers", "deletionTimestamp")
    return any(before.get(field) != after.get(field) for field in fields)
