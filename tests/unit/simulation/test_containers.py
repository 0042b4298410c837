"""Containers that depend on one another: sidecars, restarts of all, those that never have their turn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.simulation.test_lifecycle import STAGES, body, new_life, status, steps
from tests.unit.simulation.world import World, condition, pod
from twinplane.dataplane.simulation.kubelet_admission import Refusal, under_pressure
from twinplane.dataplane.simulation.lifecycle import PodLife
from twinplane.dataplane.simulation.pod_spec import pod_spec
from twinplane.dataplane.simulation.pod_status import recovered_life
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.resources import PODS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

PROXY = {"name": "proxy", "image": "i", "restartPolicy": "Always"}
RESTART_ALL = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}


def played(made: Object, until: float) -> PodLife:
    life = new_life(made)
    life.advance(until)
    return life


def why(seen: Object, type: str) -> str:
    found = next(item for item in seen["status"]["conditions"] if item["type"] == type)
    return str(found.get("message", ""))


def of(life: PodLife, name: str) -> Any:
    return next(item for item in life.containers if item.spec.name == name)


def test_a_pod_runs_until_its_sidecars_have_stopped() -> None:
    proxy = PROXY | {"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}
    made = body(initContainers=[proxy], restartPolicy="Never")
    life = played(made, 1004.0)
    assert steps(life) == {"proxy": "stopping", "main": "done"}
    assert life.phase == "Running"
    life.advance(1010.0)
    assert life.phase == "Succeeded"
    assert life.next_due() is None


def test_a_sidecar_does_what_its_command_says_and_comes_back() -> None:
    made = body(initContainers=[PROXY | {"command": ["sh", "-c", "sleep 2; exit 3"]}])
    life = played(made, 1001.0)
    assert condition(status(life, made, 1001.0), "Ready") == "True"
    life.advance(1006.5)
    seen = status(life, made, 1006.5)
    assert of(life, "proxy").restarts == 1
    assert of(life, "proxy").last.code == 3
    assert steps(life)["proxy"] == "backoff"
    assert seen["status"]["phase"] == "Running"
    assert condition(seen, "Initialized") == "True", "it was, once"
    assert why(seen, "Ready") == "containers with unready status: [proxy]"


def test_a_sidecar_in_its_pause_ends_with_the_pod() -> None:
    proxy = PROXY | {"command": ["false"]}
    annotations = {"simulation.twinplane.io/run-seconds": "1"}
    life = played(body(initContainers=[proxy], restartPolicy="Never", annotations=annotations), 1003.0)
    assert steps(life) == {"proxy": "done", "main": "done"}
    assert life.phase == "Succeeded"


def test_a_pod_is_not_initialized_before_its_sidecar_runs() -> None:
    made = body(initContainers=[PROXY])
    seen = status(new_life(made), made, 1000.0)
    assert why(seen, "Initialized") == "containers with incomplete status: [proxy]"


def test_a_rule_restarts_all_containers_with_the_first() -> None:
    init = [{"name": "first", "image": "i"}, PROXY]
    made = body(initContainers=init, restartPolicy="Never")
    flaky = {
        "name": "main",
        "image": "i",
        "command": ["sh", "-c", "sleep 5; exit 42"],
        "restartPolicyRules": [RESTART_ALL],
    }
    made["spec"]["containers"] = [flaky, {"name": "other", "image": "i", "command": ["sleep", "infinity"]}]
    life = played(made, 1003.0)
    assert condition(status(life, made, 1003.0), "AllContainersRestarting") == "False"
    life.drain()
    life.advance(1007.0)
    events = [event.container.name for event in life.drain()[0] if event.container and event.reason == "Started"]
    assert events == ["first", "proxy", "main", "other"]
    assert [item.restarts for item in life.containers] == [1, 1, 1, 1]
    seen = status(life, made, 1007.0)["status"]
    assert seen["phase"] == "Running"
    for item in seen["containerStatuses"]:
        ended = item["lastState"]["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (137, "RestartingAllContainers")
    life.advance(1020.0)
    assert of(life, "main").restarts >= 2, "without a pause"


def test_other_exit_codes_follow_the_policy() -> None:
    made = body(restartPolicy="Never")
    failing = {"name": "main", "image": "i", "command": ["false"], "restartPolicyRules": [RESTART_ALL]}
    made["spec"]["containers"] = [failing]
    assert played(made, 1010.0).phase == "Failed"


def test_what_never_had_its_turn_is_known_to_nobody() -> None:
    made = body(activeDeadlineSeconds=5, annotations={"simulation.twinplane.io/image-pull-error": "true"})
    life = played(made, 1006.0)
    written = status(life, made, 1006.0)
    (item,) = written["status"]["containerStatuses"]
    assert item["state"]["terminated"]["reason"] == "ContainerStatusUnknown"
    again = recovered_life(pod_spec(made), written, STAGES, life.random, set())
    assert again.phase == "Failed"
    waiting = body(
        activeDeadlineSeconds=5, initContainers=[{"name": "first", "image": "i", "command": ["sleep", "60"]}]
    )
    seen = status(played(waiting, 1040.0), waiting, 1040.0)["status"]
    assert seen["phase"] == "Failed"
    assert seen["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}


def test_gates_say_what_they_lack() -> None:
    made = body(readinessGates=[{"conditionType": "a"}, {"conditionType": "b"}])
    made["status"] = {"conditions": [{"type": "b", "status": "False"}]}
    assert why(status(played(made, 1002.0), made, 1002.0), "Ready") == (
        'corresponding condition of pod readiness gate "a" does not exist., '
        'the status of pod readiness gate "b" is not "True", but False'
    )


def test_conditions_say_which_generation_was_seen() -> None:
    made = body()
    made["metadata"]["generation"] = 3
    seen = status(played(made, 1002.0), made, 1002.0)["status"]
    assert {item["observedGeneration"] for item in seen["conditions"]} == {seen["observedGeneration"]} == {3}


@pytest.mark.parametrize("text", ["nan", "inf", "-5", "1e400", "soon", ""])
def test_annotations_without_sense_count_as_absent(text: str) -> None:
    names = ("run-seconds", "exit-code")
    spec = pod_spec(body(annotations={f"simulation.twinplane.io/{name}": text for name in names}))
    assert (spec.run_seconds, spec.exit_code) == (None, None)
    assert pod_spec(body(annotations={"simulation.twinplane.io/exit-code": "256"})).exit_code is None


def test_critical_pods_are_not_evicted() -> None:
    for priority, phase in ((0, "Failed"), (2_000_000_000, "Running")):
        life = played(body(priority=priority), 1002.0)
        life.evict(1003.0, "memory")
        life.advance(1010.0)
        assert life.phase == phase


@pytest.mark.parametrize(
    ("conditions", "spec", "quality", "refused"),
    [
        ((), {}, "BestEffort", ""),
        (("OwnCondition",), {}, "BestEffort", ""),
        (("DiskPressure",), {}, "Guaranteed", "[DiskPressure]"),
        (("DiskPressure",), {"priority": 2_000_001_000}, "BestEffort", ""),
        (("PIDPressure", "DiskPressure"), {}, "Burstable", "[DiskPressure PIDPressure]"),
        (("MemoryPressure",), {}, "BestEffort", "[MemoryPressure]"),
        (("MemoryPressure",), {}, "Burstable", ""),
        (("MemoryPressure",), {"tolerations": [{"operator": "Exists"}]}, "BestEffort", ""),
        (("MemoryPressure",), {"tolerations": [{"key": "x", "operator": "Exists"}]}, "BestEffort", "[MemoryPressure]"),
        (("MemoryPressure", "DiskPressure"), {}, "Burstable", "[DiskPressure MemoryPressure]"),
    ],
)
def test_a_node_under_pressure_refuses_pods(
    conditions: tuple[str, ...], spec: dict[str, Any], quality: str, refused: str
) -> None:
    found = under_pressure(body(**spec), quality, conditions)
    assert found == (Refusal("Evicted", f"The node had condition: {refused}. ") if refused else None)


def test_a_pod_is_not_over_while_one_of_its_init_containers_stops() -> None:
    life = played(body(initContainers=[{"name": "first", "image": "i", "command": ["sleep", "60"]}]), 1001.0)
    life.terminate(1001.0, 30)
    assert steps(life) == {"first": "stopping", "main": "done"}
    assert life.phase == "Pending"
    life.advance(1032.0)
    assert life.stopped
    assert life.phase == "Failed"


@virtual_time
async def test_the_last_status_of_a_deleted_pod_has_nothing_that_runs(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World.new(clock)
    world.account.start(1)
    patch = world.cluster.patch
    gone: list[Object] = []

    async def slow(*arguments: Any, **more: Any) -> Object:
        answer = await patch(*arguments, **more)
        if arguments[0] == PODS:
            await asyncio.sleep(10)
        return answer

    def deleted(verb: str, resource: Resource, made: Object) -> None:
        if (verb, resource) == ("delete", PODS):
            gone.append(made)

    monkeypatch.setattr(world.cluster, "patch", slow)
    world.cluster.reactions.append(deleted)
    async with world.running():
        proxy = PROXY | {"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}
        init = [proxy, {"name": "first", "image": "i", "command": ["sleep", "600"]}]
        await world.create(pod(initContainers=init))
        await asyncio.sleep(30)
        await world.cluster.delete(PODS, "web", "default")
        await asyncio.sleep(60)
    last = {item["name"]: item["state"] for item in gone[-1]["status"]["initContainerStatuses"]}
    assert "terminated" in last["proxy"]
