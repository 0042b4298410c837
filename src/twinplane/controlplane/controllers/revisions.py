"""ControllerRevisions: the templates that a DaemonSet or StatefulSet has had, for updates and `rollout undo`."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from twinplane.controlplane.controllers.contract import Context, Enqueue
from twinplane.controlplane.controllers.names import template_hash
from twinplane.controlplane.controllers.ownership import Ownership
from twinplane.controlplane.controllers.status import write_status
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import controller_reference, copied, is_controlled_by, name_of, namespace_of
from twinplane.kubeclient.resources import CONTROLLER_REVISIONS

HASH_LABEL = "controller-revision-hash"


class RevisionHistory:
    """The revisions of the objects of one type."""

    def __init__(self, context: Context, owners: Resource) -> None:
        self._client = context.client
        self._resource = owners
        self._informer = context.informers.of(CONTROLLER_REVISIONS)
        self._ownership = Ownership(context.client, context.informers.of(owners), self._informer)

    def watch(self, enqueue: Enqueue) -> None:
        self._ownership.watch(enqueue)

    async def current(self, owner: Object) -> tuple[Object, list[Object]]:
        """The revision of the owner's template, made or moved to the end if need be, and the others by age.

        Raises `ApiError` when the name is taken, after counting the collision in the owner's status.
        """
        known = sorted(await self._ownership.claim(owner), key=_number)
        data = revision_data(owner)
        highest = _number(known[-1]) if known else 0
        equal = [revision for revision in known if revision.get("data") == data]
        if not equal:
            return await self._make(owner, data, highest + 1), known
        found = equal[-1]
        if _number(found) < highest:
            # Back to an earlier template: it is the newest revision now.
            found = await self._client.update(CONTROLLER_REVISIONS, {**found, "revision": highest + 1})
        return found, [revision for revision in known if name_of(revision) != name_of(found)]

    async def _make(self, owner: Object, data: dict[str, Any], number: int) -> Object:
        status = owner.get("status") or {}
        hashed = template_hash(data, status.get("collisionCount"))
        name = f"{name_of(owner)}-{hashed}"
        body = {
            "metadata": {
                "name": name,
                "namespace": namespace_of(owner),
                "labels": {**(owner["spec"]["template"]["metadata"].get("labels") or {}), HASH_LABEL: hashed},
                "ownerReferences": [controller_reference(owner, self._resource)],
            },
            "data": data,
            "revision": number,
        }
        try:
            return await self._client.create(CONTROLLER_REVISIONS, body, namespace_of(owner))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            there = await self._client.get(CONTROLLER_REVISIONS, name, namespace_of(owner))
            if is_controlled_by(there, owner) and there.get("data") == data:
                return there
            counted = {**status, "collisionCount": status.get("collisionCount", 0) + 1}
            await write_status(self._client, self._resource, owner, counted)
            raise

    async def clean_up(self, owner: Object, old: list[Object], in_use: Set[str]) -> None:
        """Delete the oldest of `old` beyond `revisionHistoryLimit`; `in_use` are their hashes or names on pods."""
        limit = owner["spec"].get("revisionHistoryLimit", 10)
        idle = [revision for revision in old if not in_use & {hash_of(revision), name_of(revision)}]
        for revision in idle[: max(0, len(idle) - limit)]:
            try:
                await self._client.delete(CONTROLLER_REVISIONS, name_of(revision), namespace_of(revision))
            except ApiError as error:
                if error.code != 404:
                    raise


def revision_data(owner: Object) -> dict[str, Any]:
    """A strategic merge patch that puts the template back: what `kubectl rollout undo` sends.

    Keys in the order in which Go writes maps: upstream's clients compare the bytes.
    """
    return {"spec": {"template": _in_order({**owner["spec"]["template"], "$patch": "replace"})}}


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def template_of(revision: Object) -> Object:
    template: Object = copied(revision["data"]["spec"]["template"])
    template.pop("$patch", None)
    return template


def hash_of(revision: Object) -> str:
    return str((revision["metadata"].get("labels") or {}).get(HASH_LABEL, ""))


def _number(revision: Object) -> int:
    return int(revision["revision"])
