"""managedFields, kept on every write: this binds the pure rules of `patch` to a request's clock and type."""

from __future__ import annotations

from twinplane.clock import Clock, rfc3339
from twinplane.controlplane.api.patch import server_side_apply
from twinplane.controlplane.api.patch.managed_fields import track_update
from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.kubeclient.contract import Object


def track(clock: Clock, type: ResourceType, new: Object, old: Object | None, *, manager: str, subresource: str) -> None:
    """After a create (`old` None), update or patch: change `new`'s managedFields in place.

    Who creates an object owns nothing of a status that has a subresource of its own.
    """
    if old is None and "status" in new and type.subresource("status") is not None:
        new = {field: value for field, value in new.items() if field != "status"}
    track_update(
        old,
        new,
        schema=type.schema,
        manager=manager,
        api_version=type.resource.api_version,
        subresource=subresource,
        now=rfc3339(clock.now()),
    )


def applied(
    clock: Clock,
    type: ResourceType,
    live: Object | None,
    wanted: Object,
    *,
    manager: str,
    force: bool,
    subresource: str,
) -> Object:
    """The object with what `manager` applies merged in. Raises Conflict and BadRequest."""
    return server_side_apply.apply(
        live,
        wanted,
        schema=type.schema,
        manager=manager,
        api_version=type.resource.api_version,
        force=force,
        subresource=subresource,
        now=rfc3339(clock.now()),
        reset_fields=None if type.subresource("status") is not None else (),
    )
