"""Writing a status, only when it differs: a write that changes nothing still costs a round trip."""

from __future__ import annotations

from typing import Any

from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError


async def write_status(
    client: KubeClient, resource: Resource, body: Object, status: dict[str, Any], *, changed: bool = False
) -> bool:
    """PUT the status subresource. True when something was written; an object that is gone needs no status.

    `changed` says that the metadata of `body` differ from what is stored, which a status update may carry.

    Raises `ApiError` Conflict when `body` is stale: the newer object is on its way through the informer.
    """
    if not changed and (body.get("status") or {}) == status:
        return False
    try:
        await client.update(resource, {**body, "status": status}, subresource="status")
    except ApiError as error:
        if error.code != 404:
            raise
        return False
    return True


def without_zeros(status: dict[str, Any], *kept: str) -> dict[str, Any]:
    """As Go's omitempty leaves zero numbers and empty lists out; `kept` fields are required ones."""
    return {key: value for key, value in status.items() if value or key in kept}
