"""Properties of the plan: from any state of the runtime, doing what it says leads to a pod that is left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kubelet.node import pod_object
from twinplane.dataplane.kubelet.pods.plan import Facts, Plan, plan
from twinplane.dataplane.kubelet.pods.spec import containers_of, init_containers_of, is_sidecar, restart_policy
from twinplane.dataplane.kubelet.pods.state import ContainerState, PodState, SandboxState, State, pod_state
from twinplane.kubeclient.contract import Object

STATES: st.SearchStrategy[State] = st.sampled_from(("created", "running", "exited", "unknown"))
ROUNDS = 60


def container(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "app:1", **more}


@st.composite
def pods(draw: st.DrawFn) -> Object:
    inits = [
        container(f"init-{index}", **({"restartPolicy": "Always"} if sidecar else {}))
        for index, sidecar in enumerate(draw(st.lists(st.booleans(), max_size=3)))
    ]
    mains = [container(f"main-{index}") for index in range(draw(st.integers(1, 3)))]
    policy = draw(st.sampled_from(["Always", "OnFailure", "Never"]))
    pod = pod_object("web", mains, restartPolicy=policy, initContainers=inits)
    pod["metadata"]["uid"] = "uid"
    return pod


@st.composite
def situations(draw: st.DrawFn) -> tuple[Object, PodState]:
    pod = draw(pods())
    sandboxes = [
        SandboxState(f"box-{index}", draw(st.booleans()), index, float(index), ("10.0.0.1",))
        for index in range(draw(st.integers(0, 2)))
    ]
    containers = []
    if sandboxes:
        for item in (*init_containers_of(pod), *containers_of(pod)):
            for attempt in range(draw(st.integers(0, 2))):
                box = draw(st.sampled_from(sandboxes))
                state = draw(STATES)
                code = draw(st.sampled_from([0, 1])) if state == "exited" else 0
                made = ContainerState(f"{item['name']}-{attempt}", item["name"], box.id, state, 10.0 + attempt)
                containers.append(replace(made, exit_code=code, restarts=attempt))
    return pod, pod_state(sandboxes, containers)


def facts(state: PodState) -> Facts:
    return Facts(started=frozenset(item.id for item in state.containers))


@given(situations())
def test_nothing_is_started_that_runs(situation: tuple[Object, PodState]) -> None:
    pod, state = situation
    made = plan(pod, state, facts(state))
    killed = {kill.container.id for kill in made.kill}
    for item in made.start:
        last = state.latest(item["name"])
        assert last is None or last.state != "running" or last.id in killed or made.kill_pod


@given(situations())
def test_main_containers_wait_for_init_containers(situation: tuple[Object, PodState]) -> None:
    pod, state = situation
    made = plan(pod, state, facts(state))
    mains = {item["name"] for item in containers_of(pod)}
    if not any(item["name"] in mains for item in made.start):
        return
    if any(state.in_sandbox(name) for name in mains) and not made.create_sandbox:
        return
    inits = init_containers_of(pod)
    # The last one that was started stands for those before it, which may have been collected since.
    reached = max((index for index, item in enumerate(inits) if state.in_sandbox(item["name"])), default=0)
    for item in inits[reached:]:
        last = state.in_sandbox(item["name"])
        assert last is not None
        assert last.running if is_sidecar(item) else last.exit_code == 0


@given(situations())
def test_no_sandbox_without_something_to_run(situation: tuple[Object, PodState]) -> None:
    pod, state = situation
    made = plan(pod, state, facts(state))
    if made.create_sandbox:
        assert made.start
        assert made.attempt >= len(state.sandboxes) or not state.sandboxes


@given(situations())
def test_carrying_it_out_comes_to_rest(situation: tuple[Object, PodState]) -> None:
    """Init containers succeed at once, the others run on: soon there is nothing to do, and all that should run does."""
    pod, state = situation
    for round in range(ROUNDS):  # noqa: A001 - what it is
        made = plan(pod, state, facts(state))
        if made.idle and (running := _running_inits(pod, state)):
            ended = [replace(item, state="exited") if item.id in running else item for item in state.containers]
            state = pod_state(list(state.sandboxes), ended)
            continue
        if made.idle or (made.kill_pod and not made.create_sandbox):
            break
        state = _done(pod, state, made, 100.0 + round)
    else:
        raise AssertionError("does not come to rest")
    if made.idle:
        assert sum(box.ready for box in state.sandboxes) == 1
        for item in containers_of(pod):
            last = state.latest(item["name"])
            assert last is not None
            assert last.running or restart_policy(pod) != "Always"


def _running_inits(pod: Object, state: PodState) -> set[str]:
    names = {item["name"] for item in init_containers_of(pod) if not is_sidecar(item)}
    return {item.id for item in state.containers if item.name in names and item.state == "running"}


def _done(pod: Object, state: PodState, made: Plan, now: float) -> PodState:
    boxes, containers = list(state.sandboxes), list(state.containers)
    gone = {kill.container.id for kill in made.kill}
    if made.kill_pod:
        gone = {item.id for item in containers if item.state in ("running", "unknown")}
        boxes = [replace(box, ready=False) for box in boxes]
    containers = [replace(item, state="exited", exit_code=137) if item.id in gone else item for item in containers]
    if made.create_sandbox:
        boxes.append(SandboxState(f"new-{now}", True, made.attempt, now, ("10.0.0.1",)))
    box = max(boxes, key=lambda item: item.created_at)
    inits = {item["name"] for item in init_containers_of(pod) if not is_sidecar(item)}
    for index, item in enumerate(made.start):
        name = item["name"]
        new = ContainerState(f"{name}-{now}", name, box.id, "exited" if name in inits else "running", now + index / 100)
        containers.append(replace(new, restarts=int(now)))
    return pod_state(boxes, containers)
