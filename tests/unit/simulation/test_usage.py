"""Usage models are pure functions of time, and their counters are the integrals of their levels."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.simulation.world import NODE, World, pod
from twinplane.dataplane.simulation.document import InvalidFleet
from twinplane.dataplane.simulation.usage.curves import Constant, Curve, Noise, Ramp, Steps, Wave
from twinplane.dataplane.simulation.usage.exposition import cadvisor_metrics, resource_metrics, summary
from twinplane.dataplane.simulation.usage.models import Consumer, built_in_models, read_model, usage
from twinplane.dataplane.simulation.usage.routes import UsageRoutes
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import NODES
from twinplane.testing.virtual_time import VirtualClock, virtual_time

TRACE = "seconds,cpu,memory\n0,100m,64Mi\n60,1,128Mi\n90,0,96Mi\n"
CURVES = [
    Constant(0.5),
    Wave(0.1, 0.9, 3600, 600),
    Ramp(0.2, 0.8, 60),
    Ramp(0.8, 0.0, 200),
    Steps.of([(0, 1), (10, 3), (25, 0)], 0),
    Steps.of([(0, 1), (10, 3), (25, 0)], 40),
    Noise.seeded(0.2, "seed"),
]


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: type(curve).__name__)
@given(began=st.floats(0, 1e5), length=st.floats(1, 500))
@settings(max_examples=25, deadline=None)
def test_totals_are_integrals(curve: Curve, began: float, length: float) -> None:
    steps = 4000
    width = length / steps
    levels = [curve.level(began + (i + 0.5) * width, began) for i in range(steps)]
    # A sum of samples is off by at most a sample's width at each jump.
    variation = sum(abs(after - before) for before, after in pairwise(levels))
    expected = pytest.approx(sum(levels) * width, rel=1e-3, abs=width * variation + 1e-2)
    assert curve.total(began + length, began) == expected


@given(now=st.floats(1.6e9, 1.8e9), later=st.floats(0, 1e6), name=st.sampled_from(sorted(built_in_models())))
@settings(max_examples=50, deadline=None)
def test_counters_never_fall(now: float, later: float, name: str) -> None:
    consumer = Consumer("uid/main", 1.6e9, 0.5, 1e8)
    before, after = (usage(built_in_models()[name], consumer, moment) for moment in (now, now + later))
    assert after.cpu_seconds >= before.cpu_seconds - 1e-6
    assert min(before.cpu_cores, before.memory_bytes, before.cpu_seconds) >= 0


def test_replicas_differ_and_repeat() -> None:
    model = built_in_models()["default"]
    one, other, again = (usage(model, Consumer(seed, 0, 1, 1e9), 1000) for seed in ("a", "b", "a"))
    assert one == again
    assert one != other
    assert one.cpu_cores == pytest.approx(0.25, rel=0.11)


def test_a_ramp_grows_from_the_start_of_its_container() -> None:
    levels = {"cpu": {"from": 0.1, "to": 0.1}, "memory": {"from": "64Mi", "to": "1Gi"}}
    model = read_model({"kind": "ramp", "over": "1h", **levels}, "leak")
    found = [usage(model, Consumer("s", 5000, 1, 1), 5000 + seconds).memory_bytes for seconds in (0, 1800, 3600, 9999)]
    assert found == [64 * 2**20, 544 * 2**20, 2**30, 2**30]


def test_trace_file() -> None:
    model = read_model({"kind": "trace", "csv": TRACE}, "trace")
    consumer = Consumer("uid", 1000, 0.1, 1e6)
    found = [usage(model, consumer, 1000 + at) for at in (0, 60, 75, 500)]
    assert [item.cpu_cores for item in found] == [0.1, 1, 1, 0]
    assert [item.cpu_seconds for item in found] == pytest.approx([0, 6, 21, 36])
    assert found[1].memory_bytes == 128 * 1024**2


def test_repeated_trace() -> None:
    model = read_model({"kind": "trace", "csv": TRACE, "repeat": True}, "trace")
    consumer = Consumer("uid", 0, 0.1, 1e6)
    assert usage(model, consumer, 120 + 61).cpu_cores == 1
    assert usage(model, consumer, 240).cpu_seconds == pytest.approx(72)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"kind": "sine"}, "kind: must be one of constant, dailyWave, ramp, trace"),
        ({"kind": "constant", "cpu": "much", "memory": 1}, "m.cpu: 'much' is no quantity"),
        ({"kind": "constant", "cpu": -1, "memory": 1}, "m.cpu: must not be negative"),
        ({"kind": "constant", "cpu": 1}, "m.memory: is required"),
        ({"kind": "constant", "cpu": 1, "memory": 1, "noise": 2}, "m.noise: must be between 0 and 1"),
        ({"kind": "dailyWave", "cpu": {"low": 1, "high": 0}, "memory": {"low": 0, "high": 1}}, "low must not be more"),
        ({"kind": "ramp", "over": 0}, "m.over: must be at least 1s"),
        ({"kind": "ramp", "over": 9, "cpu": {"from": 1, "to": "1"}}, "m.cpu: from and to must both be"),
        ({"kind": "trace", "csv": "a,b\n1,2"}, "needs a heading"),
        ({"kind": "trace", "csv": "seconds,cpu,memory\n5,1,1"}, "seconds must start at 0"),
        ({"kind": "trace", "csv": "seconds,cpu,memory\n0,x,1"}, "row 1, cpu: 'x' is no quantity"),
    ],
)
def test_refusals(body: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidFleet) as refused:
        read_model(body, "m")
    assert sentence in str(refused.value)


def busy(name: str = "web") -> Object:
    body = pod(name, annotations={"simulation.twinplane.io/usage": "busy"})
    body["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "500m", "memory": "100Mi"}}
    return body


@virtual_time
async def test_kubelet_formats(clock: VirtualClock) -> None:
    world = World.new(clock)
    world.account.start(1)
    async with world.running() as simulation:
        await world.create(busy())
        await asyncio.sleep(100)
        node = simulation.nodes.get(NODE)
        assert node is not None
        found = simulation.consumption.of_node(node, clock.now())
        resource = resource_metrics(found, clock.now())
        cadvisor = cadvisor_metrics(found, clock.now())
        stats = summary(found, clock.now())
    labels = '{container="main",namespace="default",pod="web"}'
    line = next(line for line in resource.splitlines() if line.startswith("container_cpu_usage_seconds_total" + labels))
    assert float(line.split()[1]) == pytest.approx(45, rel=0.1)
    assert line.split()[2] == str(int(clock.now() * 1000))
    assert "# TYPE container_memory_working_set_bytes gauge" in resource
    assert 'pod_memory_working_set_bytes{namespace="default",pod="web"}' in resource
    assert "resource_scrape_error 0" in resource
    assert 'container="main",cpu="total",id="/kubepods.slice/' in cadvisor
    assert 'container_memory_rss{container="",id="/",image="",name="",namespace="",pod=""}' in cadvisor
    assert "machine_cpu_cores 2" in cadvisor
    (described,) = stats["pods"]
    assert described["podRef"]["name"] == "web"
    assert described["cpu"]["usageNanoCores"] == pytest.approx(450e6, rel=0.06)
    assert stats["node"]["memory"]["workingSetBytes"] > described["memory"]["workingSetBytes"]


@virtual_time
async def test_who_is_asked(clock: VirtualClock) -> None:
    from aiohttp.test_utils import make_mocked_request

    world = World.new(clock)
    world.account.start(1)
    world.account.start(2)
    async with world.running() as simulation:
        await asyncio.sleep(10)
        names = [body["metadata"]["name"] for body in world.cluster.objects(NODES)]
        routes = UsageRoutes(simulation.nodes, simulation.consumption, clock).routes()
        answer = {route.path: route.handler for route in routes}["/stats/summary"]

        async def asked(path: str = "") -> tuple[int, str]:
            headers = {"X-Forwarded-Uri": path} if path else {}
            response: Any = await answer(make_mocked_request("GET", "/stats/summary", headers))
            body = orjson.loads(response.body) if response.status == 200 else {"node": {"nodeName": ""}}
            return response.status, body["node"]["nodeName"]

        assert len(names) == 2
        for name in names:
            assert await asked(f"/api/v1/nodes/{name}/proxy/stats/summary") == (200, name)
        assert await asked() == (404, "")
        assert await asked("/api/v1/nodes/nobody/proxy/stats/summary") == (404, "")
