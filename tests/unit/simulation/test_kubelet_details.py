"""What a kubelet does beside starting and stopping: deadlines, failing probes, hooks, order of sidecars, own rules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.simulation.test_lifecycle import body, new_life, status, steps
from twinplane.dataplane.simulation.lifecycle import PodFailure, PodLife
from twinplane.dataplane.simulation.pod_spec import pod_spec
from twinplane.kubeclient.contract import Object


def containers(*items: dict[str, Any], **spec: Any) -> Object:
    made = body(**spec)
    made["spec"]["containers"] = [{"name": "main", "image": "busybox", **item} for item in items]
    return made


def told(life: PodLife) -> list[tuple[str, str]]:
    return [(event.reason, event.message) for event in life.drain()[0]]


def stopped_at(life: PodLife, now: float) -> bool:
    life.advance(now)
    return life.stopped


FALSE = {"exec": {"command": ["false"]}}


def test_an_active_deadline_fails_the_pod() -> None:
    made = body(activeDeadlineSeconds=5)
    life = new_life(made)
    life.advance(1004.9)
    assert life.phase == "Running"
    life.advance(1007.0)
    found = status(life, made, 1007.0)["status"]
    assert (found["phase"], found["reason"]) == ("Failed", "DeadlineExceeded")
    assert found["message"] == "Pod was active on the node longer than the specified deadline"
    assert life.next_due() is None
    assert ("DeadlineExceeded", found["message"]) in told(life)


def test_a_deadline_counts_while_the_image_is_missing_too() -> None:
    made = body(activeDeadlineSeconds=5, annotations={"simulation.twinplane.io/image-pull-error": "true"})
    life = new_life(made)
    life.advance(1005.0)
    assert life.phase == "Failed"
    assert steps(life) == {"main": "done"}


def test_a_pod_that_completes_in_time_succeeds() -> None:
    life = new_life(body(activeDeadlineSeconds=60, restartPolicy="Never"))
    life.advance(1100.0)
    assert life.phase == "Succeeded"


@pytest.mark.parametrize(("probe", "reason"), [("livenessProbe", "liveness"), ("startupProbe", "startup")])
def test_a_probe_that_fails_restarts_its_container(probe: str, reason: str) -> None:
    command = {"command": ["sleep", "infinity"], probe: {**FALSE, "periodSeconds": 2, "failureThreshold": 3}}
    life = new_life(containers(command))
    life.advance(1003.9)
    assert life.containers[0].restarts == 0
    life.advance(1006.0)
    container = life.containers[0]
    assert container.restarts == 1
    assert container.last is not None
    assert container.last.code == 137
    events = told(life)
    assert ("Unhealthy", f"{reason.capitalize()} probe failed: ") in events
    assert ("Killing", f"Container main failed {reason} probe, will be restarted") in events


def test_a_probe_that_passes_changes_nothing() -> None:
    life = new_life(containers({"livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1}}))
    life.advance(1100.0)
    assert life.containers[0].restarts == 0


def test_rules_of_a_container_come_before_its_policy() -> None:
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    failing = {"command": ["sh", "-c", "exit 42"], "restartPolicy": "Never", "restartPolicyRules": rules}
    life = new_life(containers(failing, restartPolicy="Never"))
    life.advance(1001.0)
    assert (life.phase, life.containers[0].restarts) == ("Running", 1)
    other = containers(failing | {"command": ["sh", "-c", "exit 3"]}, restartPolicy="Never")
    life = new_life(other)
    life.advance(1001.0)
    assert (life.phase, life.containers[0].restarts) == ("Failed", 0)


def test_rules_for_all_other_codes() -> None:
    rules = [{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [42]}}]
    made = containers({"command": ["false"], "restartPolicy": "Never", "restartPolicyRules": rules})
    life = new_life(made)
    life.advance(1001.0)
    assert life.containers[0].restarts == 1


def test_a_hook_takes_its_time_before_the_container_stops() -> None:
    life = new_life(containers({"image": "nginx", "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}))
    life.advance(1001.0)
    life.terminate(1010.0, 30)
    assert not stopped_at(life, 1014.9)
    assert stopped_at(life, 1015.5)
    assert life.containers[0].last is not None
    assert life.containers[0].last.code == 0


def test_a_hook_that_outlasts_its_grace_ends_in_a_kill() -> None:
    made = containers({"image": "nginx", "lifecycle": {"preStop": {"exec": {"command": ["sleep", "60"]}}}})
    life = new_life(made)
    life.advance(1001.0)
    life.terminate(1010.0, 8)
    assert not stopped_at(life, 1017.9)
    assert stopped_at(life, 1018.0)
    assert life.containers[0].last is not None
    assert life.containers[0].last.code == 137


def test_sidecars_stop_after_the_main_containers_and_the_last_first() -> None:
    init = [{"name": name, "image": "proxy", "restartPolicy": "Always"} for name in ("one", "two")]
    hook = {"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}
    life = new_life(containers({"image": "nginx", **hook}, initContainers=init))
    life.advance(1002.0)
    life.terminate(1010.0, 30)
    life.advance(1014.0)
    assert steps(life) == {"one": "running", "two": "running", "main": "stopping"}
    seen = []
    while (due := life.next_due()) is not None:
        life.advance(due)
        seen.append(tuple(steps(life).values()))
    assert ("running", "stopping", "done") in seen
    assert ("stopping", "done", "done") in seen
    assert life.stopped


def test_what_is_left_of_the_grace_is_for_all_of_them() -> None:
    init = [{"name": "one", "image": "proxy", "restartPolicy": "Always"}]
    hook = {"lifecycle": {"preStop": {"sleep": {"seconds": 60}}}}
    life = new_life(containers({"image": "nginx", **hook}, initContainers=init))
    life.advance(1002.0)
    life.terminate(1010.0, 8)
    life.advance(1018.0)
    assert life.stopped


def test_an_image_that_was_changed_starts_the_container_anew() -> None:
    made = body()
    life = new_life(made)
    life.advance(1001.0)
    made["spec"]["containers"][0]["image"] = "nginx:2"
    life.respec(pod_spec(made), 1002.0)
    life.advance(1003.0)
    assert ("Killing", "Container main definition changed, will be restarted") in told(life)
    found = status(life, made, 1003.0)["status"]["containerStatuses"][0]
    assert (found["image"], found["restartCount"]) == ("docker.io/library/nginx:2", 1)


def test_another_image_is_tried_at_once() -> None:
    made = containers({"image": "busybox", "command": ["false"]})
    life = new_life(made)
    life.advance(1100.0)
    assert steps(life) == {"main": "backoff"}
    made["spec"]["containers"][0] |= {"image": "nginx", "command": ["sleep", "infinity"]}
    life.respec(pod_spec(made), 1100.0)
    life.advance(1101.0)
    assert steps(life) == {"main": "running"}


def test_why_an_image_cannot_be_pulled_is_said() -> None:
    made = body(annotations={"simulation.twinplane.io/image-pull-error": "true"})
    life = new_life(made)
    life.advance(1002.0)
    waiting = status(life, made, 1002.0)["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting["message"].startswith('Back-off pulling image "nginx": ErrImagePull: failed to resolve')


def test_an_evicted_pod_is_failed_and_says_why() -> None:
    made = body()
    life = new_life(made)
    life.advance(1001.0)
    life.evict(1002.0, "memory")
    life.advance(1002.0)
    found = status(life, made, 1002.0)["status"]
    assert (found["phase"], found["reason"]) == ("Failed", "Evicted")
    assert found["message"] == "The node was low on resource: memory. "
    target = next(item for item in found["conditions"] if item["type"] == "DisruptionTarget")
    assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
    assert not life.terminating


def test_sidecars_go_when_an_init_container_has_failed_for_good() -> None:
    init = [
        {"name": "proxy", "image": "i", "restartPolicy": "Always"},
        {"name": "setup", "image": "i", "command": ["false"]},
    ]
    life = new_life(body(initContainers=init, restartPolicy="Never"))
    life.advance(1003.0)
    assert steps(life) == {"proxy": "done", "setup": "done", "main": "waiting"}
    assert life.phase == "Failed"


COMMANDS = [[], ["sleep", "3"], ["false"], ["true"], ["sleep", "infinity"], ["sh", "-c", "sleep 1; exit 3"]]
HOOKS: list[dict[str, Any]] = [{}, {"lifecycle": {"preStop": {"sleep": {"seconds": 4}}}}, {"livenessProbe": FALSE}]
ITEMS = st.fixed_dictionaries({"command": st.sampled_from(COMMANDS), "hook": st.sampled_from(HOOKS)})


@given(
    init=st.lists(st.tuples(ITEMS, st.booleans()), max_size=3),
    main=st.lists(ITEMS, min_size=1, max_size=3),
    policy=st.sampled_from(["Always", "OnFailure", "Never"]),
    lived=st.floats(0, 100),
    grace=st.integers(0, 40),
    fails=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_whatever_it_does_it_has_stopped_when_its_grace_is_over(
    *,
    init: list[tuple[dict[str, Any], bool]],
    main: list[dict[str, Any]],
    policy: str,
    lived: float,
    grace: int,
    fails: bool,
) -> None:
    made = body(restartPolicy=policy)
    made["spec"]["initContainers"] = [
        {"name": f"i{n}", "image": "i", "command": item["command"], **item["hook"]}
        | ({"restartPolicy": "Always"} if sidecar else {})
        for n, (item, sidecar) in enumerate(init)
    ]
    made["spec"]["containers"] = [
        {"name": f"m{n}", "image": "i", "command": item["command"], **item["hook"]} for n, item in enumerate(main)
    ]
    life = new_life(made)
    life.advance(1000.0 + lived)
    if fails and not life.finished:
        life.fail(1000.0 + lived, PodFailure("DeadlineExceeded", "too long", disrupted=False), grace)
    else:
        life.terminate(1000.0 + lived, grace)
    life.advance(1000.0 + lived + grace)
    assert life.stopped
    assert life.next_due() is None
    assert status(life, made, 2000.0)["status"]["phase"] in ("Succeeded", "Failed")
