"""The Dangling condition of FlowSchemas follows the priority levels that there are."""

from __future__ import annotations

from tests.unit.controllers.world import running
from twinplane.controlplane.api.fairness.bootstrap import FLOW_SCHEMAS, PRIORITY_LEVELS, level, schema
from twinplane.controlplane.api.fairness.status import FlowSchemaStatusController
from twinplane.kubeclient.meta import condition_of
from twinplane.testing.virtual_time import VirtualClock, virtual_time


@virtual_time
async def test_dangling_until_the_level_exists(clock: VirtualClock) -> None:
    async with running(clock, lambda context: [FlowSchemaStatusController(context)]) as world:
        await world.cluster.create(FLOW_SCHEMAS, schema("s", 500, "special", "", []))
        await world.settle()
        condition = condition_of(world.one(FLOW_SCHEMAS, "s"), "Dangling")
        assert condition is not None
        assert (condition["status"], condition["reason"]) == ("True", "NotFound")
        await world.cluster.create(PRIORITY_LEVELS, level("special", 10, 0, None))
        await world.settle()
        condition = condition_of(world.one(FLOW_SCHEMAS, "s"), "Dangling")
        assert condition is not None
        assert (condition["status"], condition["reason"]) == ("False", "Found")
        await world.cluster.delete(PRIORITY_LEVELS, "special")
        await world.settle()
        condition = condition_of(world.one(FLOW_SCHEMAS, "s"), "Dangling")
        assert condition is not None
        assert condition["message"].endswith('named "special" but there is no such object')
