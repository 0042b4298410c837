"""The status of FlowSchemas: whether the priority level that they name exists (condition `Dangling`).

Upstream's API servers write it themselves; here it is a controller, run with the others, so that several replicas do
not write the same thing.
"""

from __future__ import annotations

from twinplane.clock import rfc3339
from twinplane.controlplane.api.fairness.bootstrap import FLOW_SCHEMAS, PRIORITY_LEVELS
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import condition_of, conditions_of, name_of, with_condition

_DANGLING = "Dangling"


class FlowSchemaStatusController:
    name = "flow-schema-status"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._schemas = context.informers.of(FLOW_SCHEMAS)
        self._levels = context.informers.of(PRIORITY_LEVELS)

    def watch(self, enqueue: Enqueue) -> None:
        def schema_changed(old: Object | None, new: Object | None) -> None:
            if new is not None:
                enqueue(Key("", name_of(new)))

        def level_changed(old: Object | None, new: Object | None) -> None:
            if old is None or new is None:
                name = name_of(new or old or {})
                for schema in self._schemas.list():
                    if _level_of(schema) == name:
                        enqueue(Key("", name_of(schema)))

        self._schemas.add_handler(schema_changed)
        self._levels.add_handler(level_changed)

    async def reconcile(self, key: Key) -> float | None:
        schema = self._schemas.get(key.name)
        if schema is None:
            return None
        wanted = self._condition(schema)
        present = condition_of(schema, _DANGLING) or {}
        if all(present.get(field) == wanted[field] for field in ("status", "reason", "message")):
            return None
        patch = {"status": {"conditions": with_condition(conditions_of(schema), wanted)}}
        try:
            await self._client.patch(FLOW_SCHEMAS, key.name, patch, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise
        return None

    def _condition(self, schema: Object) -> Object:
        level = _level_of(schema)
        exists = self._levels.get(level) is not None
        found = "and it exists" if exists else "but there is no such object"
        return {
            "type": _DANGLING,
            "status": "False" if exists else "True",
            "lastTransitionTime": rfc3339(self._clock.now()),
            "reason": "Found" if exists else "NotFound",
            "message": f'This FlowSchema references the PriorityLevelConfiguration object named "{level}" {found}',
        }


def _level_of(schema: Object) -> str:
    return str((schema["spec"].get("priorityLevelConfiguration") or {}).get("name", ""))
