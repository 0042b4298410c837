"""Who owns what: finding the owner of a changed dependent, and taking or letting go of dependents.

Shared by every controller that makes other objects. A dependent belongs to the controller that its owner references
name; a controller adopts objects without one that its selector matches, and releases its own that it no longer matches.
As upstream's ControllerRefManager, with indexes in place of scans.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twinplane.controlplane.controllers.contract import Enqueue, Informer, Key
from twinplane.controlplane.controllers.expectations import Expectations
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError, conflict
from twinplane.kubeclient.indexes import (
    BY_SELECTOR,
    ORPHANS,
    add_controller_indexes,
    controlled,
    selecting,
    selector_index,
)
from twinplane.kubeclient.meta import (
    controller_of,
    controller_reference,
    finalizers_of,
    is_controlled_by,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
    owner_references,
    uid_of,
)
from twinplane.kubeclient.selectors import selector_of

SelectorOf = Callable[[Object], dict[str, Any] | None]
"""Owner -> its metav1.LabelSelector."""


def selector_in_spec(owner: Object) -> dict[str, Any] | None:
    selector: dict[str, Any] | None = owner["spec"].get("selector")
    return selector


def key_of(body: Object) -> Key:
    return Key(namespace_of(body), name_of(body))


class Ownership:
    """Between the owners of one kind and their dependents of one kind."""

    def __init__(
        self,
        client: KubeClient,
        owners: Informer,
        dependents: Informer,
        *,
        selector: SelectorOf = selector_in_spec,
        expectations: Expectations | None = None,
        finalizer: str = "",
    ) -> None:
        """`finalizer` is put on what is adopted."""
        self._client = client
        self._owners = owners
        self._dependents = dependents
        self._selector = selector
        self._expectations = expectations
        self._finalizer = finalizer
        self._resource: Resource = owners.resource
        add_controller_indexes(dependents)
        owners.add_index(BY_SELECTOR, lambda owner: selector_index(owner, selector(owner)))

    # -- events --------------------------------------------------------------------------------------------------

    def watch(self, enqueue: Enqueue) -> None:
        """Enqueue the owner of each dependent that changes, and whoever might adopt one without an owner."""

        def handle(old: Object | None, new: Object | None) -> None:
            if self._owners.is_empty:
                # Every change of a pod comes by, and most clusters have no owners of most kinds.
                return
            before = self.owner_of(old) if old is not None else None
            after = self.owner_of(new) if new is not None else None
            if self._expectations is not None:
                self._observe(before, after, old, new)
            for owner in (before, after) if before is not after else (after,):
                if owner is not None:
                    enqueue(key_of(owner))
            if new is not None and after is None and controller_of(new) is None and not is_deleting(new):
                self._offer(old, new, enqueue)

        self._dependents.add_handler(handle)

    def owner_of(self, dependent: Object) -> Object | None:
        """The owner, if it is of this kind and still the one that was meant."""
        reference = controller_of(dependent)
        if reference is None or reference["kind"] != self._resource.kind:
            return None
        owner = self._owners.get(reference["name"], namespace_of(dependent))
        return owner if owner is not None and uid_of(owner) == reference["uid"] else None

    def _observe(self, before: Object | None, after: Object | None, old: Object | None, new: Object | None) -> None:
        expectations = self._expectations
        assert expectations is not None
        if old is None and new is not None and after is not None and not is_deleting(new):
            expectations.creation_observed(key_of(after))
        elif new is None or is_deleting(new):
            owner = after or before
            if owner is not None:
                expectations.deletion_observed(key_of(owner), uid_of(new or old or {"metadata": {}}))

    def _offer(self, old: Object | None, new: Object, enqueue: Enqueue) -> None:
        if old is not None and labels_of(old) == labels_of(new) and controller_of(old) is None:
            return
        for owner in selecting(self._owners, new):
            if self._matches(owner, new):
                enqueue(key_of(owner))

    def _matches(self, owner: Object, dependent: Object) -> bool:
        selector = self._selector(owner)
        return selector is not None and selector_of(selector).matches(labels_of(dependent))

    # -- claims --------------------------------------------------------------------------------------------------

    def of(self, owner: Object) -> list[Object]:
        """What the owner controls, without claiming anything."""
        return controlled(self._dependents, owner)

    async def claim(self, owner: Object) -> list[Object]:
        """What the owner controls after adopting and releasing. Raises `ApiError` (a conflict means: look again)."""
        claimed = []
        selector = selector_of(self._selector(owner))
        for dependent in self.of(owner):
            if selector.matches(labels_of(dependent)):
                claimed.append(dependent)
            elif not is_deleting(owner):
                await self._release(owner, dependent)
        if is_deleting(owner):
            return claimed
        checked = False
        for orphan in self._dependents.by_index(ORPHANS, namespace_of(owner)):
            if is_deleting(orphan) or not selector.matches(labels_of(orphan)):
                continue
            if not checked:
                await self._check_alive(owner)
                checked = True
            adopted = await self._adopt(owner, orphan)
            if adopted is not None:
                claimed.append(adopted)
        return claimed

    async def _check_alive(self, owner: Object) -> None:
        """The cache may not know yet that the owner was deleted; adopting for it would get its heirs deleted."""
        live = await self._client.get(self._resource, name_of(owner), namespace_of(owner))
        if uid_of(live) != uid_of(owner) or is_deleting(live):
            why = f"original {self._resource.kind} {namespace_of(owner)}/{name_of(owner)} is gone"
            raise conflict(self._resource.group, self._resource.plural, name_of(owner), why)

    async def _adopt(self, owner: Object, orphan: Object) -> Object | None:
        references = [*owner_references(orphan), controller_reference(owner, self._resource)]
        finalizers = finalizers_of(orphan)
        if not self._finalizer or self._finalizer in finalizers:
            return await self._patch_references(orphan, references)
        return await self._patch_references(orphan, references, {"finalizers": [*finalizers, self._finalizer]})

    async def _release(self, owner: Object, dependent: Object) -> None:
        references = [reference for reference in owner_references(dependent) if reference["uid"] != uid_of(owner)]
        await self._patch_references(dependent, references or None)

    async def _patch_references(
        self, dependent: Object, references: list[dict[str, Any]] | None, more: Mapping[str, Any] | None = None
    ) -> Object | None:
        metadata = dependent["metadata"]
        patch = {
            "metadata": {
                "ownerReferences": references,
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
                **(more or {}),
            }
        }
        try:
            return await self._client.patch(
                self._dependents.resource, name_of(dependent), patch, namespace_of(dependent)
            )
        except ApiError as error:
            if error.code == 404:
                return None
            raise


__all__ = ["Ownership", "is_controlled_by", "key_of", "selector_in_spec"]
