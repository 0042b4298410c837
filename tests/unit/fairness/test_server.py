"""A greedy client and a modest one at the same API server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.unit.api.harness import Api, PolicyAuthorizer, api_server, config_map
from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin
from twinplane.controlplane.api.fairness.bootstrap import FLOW_SCHEMAS, PRIORITY_LEVELS, bootstrap_objects
from twinplane.controlplane.api.fairness.fairness import Fairness
from twinplane.controlplane.api.objects.reader import CacheReader
from twinplane.controlplane.auth.contract import UserInfo
from twinplane.testing.virtual_time import VirtualClock, virtual_time

GREEDY = UserInfo("greedy", ("system:authenticated",))
MODEST = UserInfo("modest", ("system:authenticated",))
MAPS = "/api/v1/namespaces/default/configmaps"


class Slow(Plugin):
    """A webhook, as far as seats are concerned."""

    name = "Slow"

    def handles(self, request: AdmissionRequest) -> bool:
        return True

    async def validate(self, request: AdmissionRequest) -> None:
        await asyncio.sleep(0.002)


@asynccontextmanager
async def fair_api(total: int) -> AsyncIterator[Api]:
    async with api_server(authorizer=PolicyAuthorizer(lambda _: True)) as api:
        runtime = api.runtime
        for body in bootstrap_objects():
            resource = FLOW_SCHEMAS if body["kind"] == "FlowSchema" else PRIORITY_LEVELS
            await api.client.create(resource, body)
        fairness = Fairness(CacheReader(runtime.cache, runtime.registry), lambda _: 0, total=total)
        yield Api(replace(runtime, fairness=fairness, admission=(Slow(),)))


@virtual_time
async def test_the_greedy_one_is_refused_and_the_modest_one_served(clock: VirtualClock) -> None:
    async with fair_api(total=24) as api:
        answers: Counter[int] = Counter()

        async def flood(number: int) -> None:
            response = await api.send("POST", MAPS, config_map(f"g-{number}"), user=GREEDY)
            answers[response.status] += 1
            if response.status == 429:
                assert response.headers["retry-after"] == "1"
                assert b'"reason":"TooManyRequests"' in response.body

        async with asyncio.TaskGroup() as group:
            for number in range(600):
                group.create_task(flood(number))
            await asyncio.sleep(0.005)
            assert answers[429] > 200
            before = answers[201]
            began = clock.now()
            for number in range(3):
                response = await api.send("POST", MAPS, config_map(f"m-{number}"), user=MODEST)
                assert response.status == 201
            assert clock.now() - began < 0.5
            assert answers[201] - before < 150, "three of the modest one's did not wait for the greedy one's queue"
        assert answers[201] + answers[429] == 600
        assert answers[201] >= 300


async def test_reads_share_the_turns_of_the_loop() -> None:
    async with fair_api(total=24) as api:
        await api.send("POST", MAPS, config_map("one"))
        done: list[str] = []

        async def read(user: UserInfo) -> None:
            response = await api.send("GET", f"{MAPS}/one", user=user)
            assert response.status == 200
            done.append(user.name)

        async with asyncio.TaskGroup() as group:
            for _ in range(250):
                group.create_task(read(GREEDY))
            group.create_task(read(MODEST))
        assert len(done) == 251
        assert done.index("modest") < 100


async def test_masters_are_exempt_and_everybody_learns_the_schema() -> None:
    async with fair_api(total=24) as api:
        answers = await asyncio.gather(*(api.send("GET", MAPS) for _ in range(300)))
        assert {answer.status for answer in answers} == {200}
        schema = await api.client.get(FLOW_SCHEMAS, "global-default")
        level = await api.client.get(PRIORITY_LEVELS, "global-default")
        response = await api.send("GET", f"{MAPS}/nosuch", user=MODEST)
        assert response.status == 404
        assert response.headers["x-kubernetes-pf-flowschema-uid"] == schema["metadata"]["uid"]
        assert response.headers["x-kubernetes-pf-prioritylevel-uid"] == level["metadata"]["uid"]
        metrics = (await api.send("GET", "/metrics")).body.decode()
        assert 'apiserver_flowcontrol_dispatched_requests_total{priority_level="global-default"} 1' in metrics


@pytest.mark.parametrize("name", [body["metadata"]["name"] for body in bootstrap_objects()])
async def test_bootstrap_objects_are_stored_as_they_are(name: str) -> None:
    async with api_server() as api:
        body = next(each for each in bootstrap_objects() if each["metadata"]["name"] == name)
        resource = FLOW_SCHEMAS if body["kind"] == "FlowSchema" else PRIORITY_LEVELS
        assert (await api.client.create(resource, body))["spec"] == body["spec"]
