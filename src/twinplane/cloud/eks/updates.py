"""Updates: the records that UpdateX returns and DescribeUpdate follows, and the way they are carried out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from twinplane.cloud.eks.call import Call, Context, Operation, page, public
from twinplane.cloud.eks.compute import LaunchFailed
from twinplane.cloud.eks.contract import ControlPlaneFailed
from twinplane.cloud.eks.errors import EksError, invalid_parameter, no_nodegroup, no_update
from twinplane.cloud.eks.state import Key, Record

log = logging.getLogger(__name__)

Apply = Callable[[Record], Awaitable[None]]
"""Does the work of an update and changes the record of its resource; repeated after a restart."""

FAILURES = (ClientError, BotoCoreError, ResponseParserError, ControlPlaneFailed, LaunchFailed, EksError, OSError)
"""What may go wrong with the region around: it fails the resource, not the service."""


class Updates:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._appliers: dict[str, Apply] = {}

    def operations(self) -> dict[str, Operation]:
        return {"DescribeUpdate": self._describe, "ListUpdates": self._list}

    def register(self, kind: str, apply: Apply) -> None:
        """How updates of a kind of resource (`cluster`, `nodegroup`) are carried out: `apply(update)`."""
        self._appliers[kind] = apply

    def start(self, kind: str, key: Key, type: str, params: dict[str, Any], wanted: Record) -> Record:
        """Record an update, mark the resource UPDATING and carry it out in the background.

        `params` is what DescribeUpdate shows; `wanted` is what `apply` needs to know, also after a restart.
        """
        identifier = self._context.uuid()
        update = {
            "id": identifier,
            "status": "InProgress",
            "type": type,
            "params": [{"type": name, "value": _text(value)} for name, value in params.items()],
            "createdAt": self._context.now(),
            "errors": [],
            "resource": {"kind": kind, "key": list(key)},
            "wanted": wanted,
        }
        resource = self._context.state.get(kind, *key)
        assert resource is not None, f"no {kind} {key}"
        resource["status"] = "UPDATING"
        self._context.state.put("update", (key[0], identifier), update)
        self._context.state.put(kind, key, resource)
        self._begin(update)
        return public(update)

    def resume(self) -> None:
        for _, update in self._context.state.below("update"):
            if update["status"] == "InProgress":
                self._begin(update)

    def _begin(self, update: Record) -> None:
        self._context.background.start(f"eks-update-{update['id']}", self._carry_out(update))

    async def _carry_out(self, update: Record) -> None:
        kind, key = update["resource"]["kind"], tuple(update["resource"]["key"])
        status = "Successful"
        try:
            await self._appliers[kind](update)
        except FAILURES as error:
            log.warning("update %s of %s %s failed: %s", update["type"], kind, "/".join(key), error)
            status = "Failed"
            update["errors"] = [{"errorCode": "Unknown", "errorMessage": str(error), "resourceIds": list(key)}]
        await asyncio.sleep(0)
        update["status"] = status
        resource = self._context.state.get(kind, *key)
        if resource is not None:
            if resource["status"] == "UPDATING":
                resource["status"] = "ACTIVE"
            self._context.state.put("update", (key[0], update["id"]), update)
            self._context.state.put(kind, key, resource)

    async def _describe(self, call: Call) -> Record:
        self._context.cluster(call["name"])
        update = self._context.state.get("update", call["name"], call["updateId"])
        if update is None or not self._concerns(update, call):
            raise no_update(call["updateId"])
        return {"update": public(update)}

    async def _list(self, call: Call) -> Record:
        self._context.cluster(call["name"])
        nodegroup = call.get("nodegroupName")
        if nodegroup and self._context.state.get("nodegroup", call["name"], nodegroup) is None:
            raise no_nodegroup(call["name"], nodegroup)
        updates = [update for _, update in self._context.state.below("update", call["name"])]
        updates = [update for update in updates if self._concerns(update, call)]
        updates.sort(key=lambda update: update["createdAt"], reverse=True)
        identifiers, more = page([update["id"] for update in updates], call)
        return {"updateIds": identifiers, **more}

    def _concerns(self, update: Record, call: Call) -> bool:
        nodegroup = call.get("nodegroupName")
        key = [call["name"], nodegroup] if nodegroup else [call["name"]]
        return bool(update["resource"]["key"] == key)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def check_not_updating(resource: Record, what: str) -> None:
    """Raises ResourceInUseException while another change is under way."""
    if resource["status"] == "UPDATING":
        raise EksError("ResourceInUseException", f"{what} already has an update in progress")
    if resource["status"] != "ACTIVE":
        raise EksError(
            "ResourceInUseException", f"{what} is not in ACTIVE status, current status: {resource['status']}"
        )


def no_changes(message: str) -> EksError:
    return invalid_parameter(message)
