"""Commands that can be followed without running them, and pods that lead their lives by them."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tests.unit.simulation.world import condition, pod
from twinplane.dataplane.simulation import kubelet_admission
from twinplane.dataplane.simulation.lifecycle import PodLife
from twinplane.dataplane.simulation.pod_record import Records
from twinplane.dataplane.simulation.pod_spec import ephemeral_containers, pod_spec
from twinplane.dataplane.simulation.pod_status import pod_status
from twinplane.dataplane.simulation.process_outcome import FOREVER, KILLED, Outcome, outcome, outcome_of
from twinplane.dataplane.simulation.stages import default_stages
from twinplane.kubeclient.contract import Object

STAGES = default_stages()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sleep", "30"], Outcome(30.0, 0)),
        (["/bin/sleep", "1m", "2"], Outcome(62.0, 0)),
        (["sleep", "infinity"], Outcome(FOREVER, 0)),
        (["sleep", "x"], Outcome(0.0, 1, ("sleep: invalid number 'x'",))),
        (["/bin/false"], Outcome(0.0, 1)),
        (["sh", "-c", "exit 300"], Outcome(0.0, 44)),
        (["sh", "-c", "false"], Outcome(0.0, 1)),
        (["sh", "-c", "false || echo $A; sleep 2 && exit 3"], Outcome(2.0, 3, ("b",))),
        (["sh", "-c", "echo up; exec sleep inf; echo never"], Outcome(FOREVER, 0, ("up",))),
        (["sh", "-c", "date | cat\nwhile true; do sleep 1; done"], Outcome(FOREVER, 0)),
        (["sh", "-c", "while true; do sleep 1; exit 1; done"], None),
        (["sh", "-c", "trap exit TERM; while true; do sleep 1; done"], Outcome(FOREVER, 0, stopped_code=0)),
        (["sh", "-c", "sleep 1 | cat"], None),
        (["sh"], None),
        (["nginx", "-g", "daemon off;"], None),
        ([], None),
    ],
)
def test_outcomes(words: list[str], expected: Outcome | None) -> None:
    assert outcome(words, {"A": "b"}) == expected


def test_images_that_are_the_same_everywhere() -> None:
    assert outcome_of("registry.k8s.io/pause:3.10", (), (), {}) == Outcome(FOREVER, 0, stopped_code=0)
    assert outcome_of("nginx", (), (), {}) is None


def body(container: dict[str, Any], **spec: Any) -> Object:
    made = pod(**spec)
    made["metadata"]["uid"] = "u-1"
    made["spec"]["containers"] = [{"name": "main", "image": "busybox", **container}]
    return Records(lambda uid: False).slim(made)


def new_life(made: Object) -> PodLife:
    life = PodLife(pod_spec(made), STAGES, Random(3), set(), started_at=1000.0)
    life.begin(1000.0)
    return life


def test_a_command_says_how_a_pod_ends() -> None:
    variables = [{"name": "CODE", "value": "7"}]
    life = new_life(
        body({"command": ["sh", "-c"], "args": ["echo hi; exit $(CODE)"], "env": variables}, restartPolicy="Never")
    )
    life.advance(1002.0)
    assert life.phase == "Failed"
    assert life.containers[0].last is not None
    assert life.containers[0].last.code == 7
    assert [line.text for line in life.drain()[1]] == ["hi"]


def test_what_sleeps_is_killed() -> None:
    life = new_life(body({"command": ["sleep", "300"]}, restartPolicy="Never"))
    life.advance(1200.0)
    assert life.phase == "Running"
    life.terminate(1200.0, 30)
    life.advance(1240.0)
    assert life.containers[0].last is not None
    assert life.containers[0].last.code == KILLED


def test_a_probe_that_fails_never_makes_ready() -> None:
    made = body({"readinessProbe": {"exec": {"command": ["/bin/false"]}}})
    life = new_life(made)
    life.advance(2000.0)
    seen = {**made, "status": pod_status(life, 2000.0, "10.0.0.1", "10.0.0.9", made)}
    assert condition(seen, "Ready") == "False"


def test_a_failed_init_container_leaves_the_pod_uninitialized() -> None:
    made = body({}, restartPolicy="Never", initContainers=[{"name": "first", "image": "i", "command": ["false"]}])
    life = new_life(made)
    waiting = pod_status(life, 1000.0, "10.0.0.1", "", made)["initContainerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "PodInitializing"}
    life.advance(1100.0)
    seen = {**made, "status": pod_status(life, 1100.0, "10.0.0.1", "10.0.0.9", made)}
    assert seen["status"]["phase"] == "Failed"
    assert condition(seen, "Initialized") == "False"


def test_ephemeral_containers_join_a_pod_that_runs() -> None:
    made = body({})
    life = new_life(made)
    life.advance(1010.0)
    made["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "busybox"}]
    life.attach(ephemeral_containers(made), 1010.0)
    life.attach(ephemeral_containers(made), 1010.0)
    life.advance(1020.0)
    status = pod_status(life, 1020.0, "10.0.0.1", "10.0.0.9", made)
    [debug] = status["ephemeralContainerStatuses"]
    assert (debug["name"], debug["ready"], list(debug["state"])) == ("debug", False, ["running"])
    assert status["phase"] == "Running"


@pytest.mark.parametrize(
    ("other", "conflicts"),
    [
        ({"hostPort": 8080}, True),
        ({"hostPort": 8080, "hostIP": "10.0.0.1"}, True),
        ({"hostPort": 8080, "hostIP": "127.0.0.1"}, False),
        ({"hostPort": 8080, "protocol": "UDP"}, False),
        ({"hostPort": 8081}, False),
        ({}, False),
    ],
)
def test_a_host_port_is_taken_once(other: dict[str, Any], conflicts: bool) -> None:
    mine = body({"ports": [{"containerPort": 80, "hostPort": 8080, "hostIP": "10.0.0.1"}]})
    refusal = kubelet_admission.port_conflict(mine, [body({"ports": [{"containerPort": 80, **other}]})])
    assert (refusal is not None and refusal.reason == "NodePorts") == conflicts


def test_the_generation_that_was_observed_follows_the_spec() -> None:
    made = body({})
    life = new_life(made)
    made["metadata"]["generation"] = 7
    assert pod_status(life, 1000.0, "10.0.0.1", "", made)["observedGeneration"] == 7


def test_extended_resources_of_others_are_not_counted() -> None:
    made = body({"resources": {"requests": {"example.com/foo": "2"}}})
    assert kubelet_admission.refusal(kubelet_admission.requests_of(made), [], {"pods": "10", "cpu": "1"}) is None
    refused = kubelet_admission.refusal(kubelet_admission.requests_of(made), [], {"pods": "10", "example.com/foo": "1"})
    assert refused is not None
    assert refused.reason == "OutOfexample.com/foo"
