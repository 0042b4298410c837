"""Who refers to whom: the owner references of all objects, and what follows from them for one object. Pure.

The graph holds identities alone (a few strings an object that has owners or was named as one); objects themselves stay
in the informers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import finalizers_of, owner_references

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class Node(NamedTuple):
    """An object: `type` is `plural.group`, which names an informer."""

    type: str
    namespace: str
    name: str
    uid: str


class OwnershipGraph:
    def __init__(self) -> None:
        self._present: dict[str, Node] = {}
        """Every object that is there, by uid."""
        self._dependents: dict[str, dict[Node, None]] = {}

    def put(self, node: Node, owners: Iterable[str], previous: Iterable[str] = ()) -> None:
        self._present[node.uid] = node
        kept = set(owners)
        for owner in previous:
            if owner not in kept:
                self._unlink(owner, node)
        for owner in kept:
            self._dependents.setdefault(owner, {})[node] = None

    def remove(self, node: Node, owners: Iterable[str]) -> None:
        self._present.pop(node.uid, None)
        for owner in owners:
            self._unlink(owner, node)

    def present(self, uid: str) -> Node | None:
        return self._present.get(uid)

    def dependents(self, uid: str) -> list[Node]:
        return list(self._dependents.get(uid, ()))

    def _unlink(self, owner: str, node: Node) -> None:
        dependents = self._dependents.get(owner)
        if dependents is not None:
            dependents.pop(node, None)
            if not dependents:
                del self._dependents[owner]


def owner_uids(body: Object) -> tuple[str, ...]:
    return tuple(reference["uid"] for reference in owner_references(body))


def blocks(body: Object, owner_uid: str) -> bool:
    """Its owner, deleted in the foreground, waits for this object."""
    return any(
        reference["uid"] == owner_uid and reference.get("blockOwnerDeletion") for reference in owner_references(body)
    )


def is_foreground(body: Object) -> bool:
    return "deletionTimestamp" in body["metadata"] and FOREGROUND in finalizers_of(body)


def is_orphaning(body: Object) -> bool:
    return "deletionTimestamp" in body["metadata"] and ORPHAN in finalizers_of(body)


@dataclass
class Owners:
    """The owner references of an object, sorted by what became of the owners."""

    solid: list[dict[str, Any]]
    dangling: list[dict[str, Any]]
    """The owner is gone."""
    waiting: list[dict[str, Any]]
    """The owner is being deleted in the foreground and waits for its dependents."""


def policy_of(body: Object) -> str:
    """How to delete an object that nobody owns any more: as its own finalizers ask."""
    finalizers = finalizers_of(body)
    if ORPHAN in finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in finalizers else "Background"
