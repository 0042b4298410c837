"""The life of a pod as a pure machine: order, restarts, deletion, and what its status says."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tests.unit.simulation.world import condition, pod
from twinplane.dataplane.simulation.lifecycle import PodLife
from twinplane.dataplane.simulation.pod_spec import pod_spec
from twinplane.dataplane.simulation.pod_status import pod_status, recovered_life
from twinplane.dataplane.simulation.stages import default_stages
from twinplane.kubeclient.contract import Object

STAGES = default_stages()


def body(**spec: Any) -> Object:
    made = pod(**spec)
    made["metadata"]["uid"] = "u-1"
    return made


def new_life(made: Object) -> PodLife:
    life = PodLife(pod_spec(made), STAGES, Random(3), set(), started_at=1000.0)
    life.begin(1000.0)
    return life


def status(life: PodLife, made: Object, now: float) -> Object:
    return {**made, "status": pod_status(life, now, "10.0.0.1", "10.0.0.9", made)}


def steps(life: PodLife) -> dict[str, str]:
    return {container.spec.name: container.step for container in life.containers}


def test_before_the_sandbox_nothing_runs() -> None:
    made = body()
    seen = status(new_life(made), made, 1000.0)
    assert seen["status"]["phase"] == "Pending"
    assert "podIP" not in seen["status"]
    assert condition(seen, "PodReadyToStartContainers") == "False"
    assert condition(seen, "Initialized") == "True"
    ready = next(item for item in seen["status"]["conditions"] if item["type"] == "Ready")
    assert ready["reason"] == "ContainersNotReady"
    assert ready["message"] == "containers with unready status: [main]"
    waiting = seen["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "ContainerCreating"}


def test_readiness_waits_for_the_probe() -> None:
    container = {"name": "main", "image": "nginx", "readinessProbe": {"initialDelaySeconds": 5}}
    made = body(containers=[container])
    made["spec"]["containers"] = [container]
    life = new_life(made)
    life.advance(1001.0)
    assert condition(status(life, made, 1001.0), "Ready") == "False"
    assert status(life, made, 1001.0)["status"]["phase"] == "Running"
    life.advance(1006.0)
    assert condition(status(life, made, 1006.0), "Ready") == "True"


def test_init_containers_in_order_and_sidecars_stay() -> None:
    init = [
        {"name": "first", "image": "i"},
        {"name": "proxy", "image": "i", "restartPolicy": "Always"},
        {"name": "second", "image": "i"},
    ]
    made = body(initContainers=init, restartPolicy="Never")
    life = new_life(made)
    seen: list[str] = []
    while (due := life.next_due()) is not None:
        life.advance(due)
        seen += [event.container.name for event in life.drain()[0] if event.container and event.reason == "Started"]
        if not life.initialized:
            assert life.phase == "Pending"
    assert seen == ["first", "proxy", "second", "main"]
    assert life.phase == "Succeeded"
    assert life.stopped


def test_crash_loop_backs_off_longer_each_time() -> None:
    made = body(annotations={"simulation.twinplane.io/crash-loop": "true"})
    life = new_life(made)
    life.advance(1100.0)
    container = life.containers[0]
    assert container.restarts >= 2
    assert container.step == "backoff"
    state = status(life, made, 1100.0)["status"]["containerStatuses"][0]
    assert state["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert state["lastState"]["terminated"]["exitCode"] == 1
    assert any(event.reason == "BackOff" for event in life.drain()[0])


def test_image_pull_errors_are_told() -> None:
    made = body(annotations={"simulation.twinplane.io/image-pull-error": "true"})
    life = new_life(made)
    life.advance(1002.0)
    state = status(life, made, 1002.0)["status"]["containerStatuses"][0]["state"]
    assert state["waiting"]["reason"] == "ImagePullBackOff"
    assert [event.reason for event in life.drain()[0]] == ["Pulling", "Failed", "Failed", "BackOff"]


@pytest.mark.parametrize(("policy", "phase"), [("Never", "Failed"), ("OnFailure", "Running")])
def test_failing_jobs(policy: str, phase: str) -> None:
    made = body(restartPolicy=policy, annotations={"simulation.twinplane.io/exit-code": "3"})
    life = new_life(made)
    life.advance(1010.0)
    assert life.phase == phase
    ended = life.containers[0].last
    assert ended is not None
    assert ended.code == 3


def test_deletion_stops_what_runs_within_its_grace() -> None:
    life = new_life(body())
    life.advance(1001.0)
    life.terminate(1001.0, 0.05)
    assert not life.stopped
    due = life.next_due()
    assert due is not None
    assert due <= 1001.05
    life.advance(due)
    assert life.stopped


def test_deletion_before_the_start_leaves_nothing_to_wait_for() -> None:
    life = new_life(body())
    life.terminate(1000.0, 30)
    assert life.stopped
    assert life.next_due() is None


def test_a_recovered_life_says_the_same() -> None:
    init = [{"name": "first", "image": "i"}]
    made = body(initContainers=init)
    life = new_life(made)
    life.advance(1002.0)
    written = status(life, made, 1002.0)
    again = recovered_life(pod_spec(made), written, STAGES, Random(9), set())
    assert again.phase == "Running"
    assert steps(again) == steps(life)
    assert status(again, written, 1500.0)["status"] == {
        **written["status"],
        "conditions": status(life, written, 1500.0)["status"]["conditions"],
    }
