"""What to do about a pod: desired pod and state of the runtime in, a plan out. Pure, and tested by its properties.

The rules are those of upstream's `computePodActions` (kuberuntime_manager.go): one sandbox that is ready; init
containers one after the other, sidecars among them kept running; then all main containers, restarted as the restart
policy says; ephemeral containers started once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twinplane.dataplane.kubelet.pods.spec import (
    Container,
    containers_of,
    ephemeral_containers_of,
    init_containers_of,
    is_host_network,
    is_sidecar,
    restart_policy,
    should_restart,
)
from twinplane.dataplane.kubelet.pods.state import ContainerState, PodState
from twinplane.kubeclient.contract import Object


@dataclass(frozen=True, slots=True)
class Kill:
    container: ContainerState
    message: str
    reason: str = "Killing"
    probe: str = ""
    """liveness or startup, when that is why: the probe's own grace period applies."""


@dataclass(slots=True)
class Plan:
    """In the order in which it is carried out: kills, sandbox, starts."""

    kill_pod: bool = False
    """Everything that runs, sandbox included: it is over, or it starts anew."""
    create_sandbox: bool = False
    attempt: int = 0
    """Of the sandbox to create."""
    kill: list[Kill] = field(default_factory=list)
    start: list[Container] = field(default_factory=list)
    """In this order; those with a back-off that is not over are skipped by who starts them."""
    resize: list[Container] = field(default_factory=list)
    """Running containers whose cgroup is to be changed."""

    @property
    def idle(self) -> bool:
        return not (self.kill_pod or self.create_sandbox or self.kill or self.start or self.resize)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside pod and runtime: by container id, probes that failed; by name, hashes and resizes wanted."""

    failed_liveness: frozenset[str] = frozenset()
    failed_startup: frozenset[str] = frozenset()
    started: frozenset[str] = frozenset()
    """Ids of containers whose startup probe has succeeded, or that have none."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    resize: Mapping[str, str] = field(default_factory=dict)
    """By container: `update` in place or `restart`."""


def plan(pod: Object, state: PodState, facts: Facts) -> Plan:
    create, attempt = sandbox_to_create(pod, state)
    if create:
        return _anew(pod, state, attempt)
    made = Plan(kill=_left_in_older_sandboxes(state))
    for container in ephemeral_containers_of(pod):
        if state.latest(container["name"]) is None:
            made.start.append(container)
    if not _initialize(pod, state, facts, made):
        return made
    kept = 0
    for container in containers_of(pod):
        kept += _main_container(pod, container, state, facts, made)
    if not (kept or made.kill or any(container in containers_of(pod) for container in made.start)):
        # All are done for good; sidecars have nobody left to serve.
        return Plan(kill_pod=True)
    return made


def _left_in_older_sandboxes(state: PodState) -> list[Kill]:
    """What the runtime did not end together with a sandbox that was replaced."""
    current = state.sandbox.id if state.sandbox is not None else ""
    return [
        Kill(container, f"Container {container.name} runs in a sandbox that was replaced")
        for container in state.containers
        if container.state == "running" and container.sandbox_id != current
    ]


def sandbox_to_create(pod: Object, state: PodState) -> tuple[bool, int]:
    """Whether a new one is needed, and its attempt."""
    newest = state.sandbox
    if newest is None:
        return True, 0
    if sum(sandbox.ready for sandbox in state.sandboxes) > 1 or not newest.ready:
        return True, newest.attempt + 1
    if newest.host_network != is_host_network(pod):
        return True, newest.attempt + 1
    return not (newest.ips or newest.host_network), newest.attempt + 1


def restarts(pod: Object, container: Container, state: ContainerState) -> bool:
    """Whether a container that has ended in this way is to run again."""
    return should_restart(pod, container, state.exit_code)


def _anew(pod: Object, state: PodState, attempt: int) -> Plan:
    """A new sandbox, unless nothing would run in it."""
    made = Plan(kill_pod=bool(state.sandboxes), create_sandbox=True, attempt=attempt)
    never = restart_policy(pod) == "Never" and not any(c.get("restartPolicy") for c in containers_of(pod))
    if never and attempt and state.containers:
        return Plan(kill_pod=True)
    waiting = [container for container in containers_of(pod) if _wanted_anew(pod, container, state)]
    if not waiting:
        return Plan(kill_pod=True)
    inits = init_containers_of(pod)
    made.start = inits[:1] if inits else waiting
    return made


def _wanted_anew(pod: Object, container: Container, state: PodState) -> bool:
    last = state.latest(container["name"])
    return last is None or last.state != "exited" or restarts(pod, container, last)


# -- init containers and sidecars ------------------------------------------------------------------------------------


def _initialize(pod: Object, state: PodState, facts: Facts, made: Plan) -> bool:
    """Plans for init containers; True when the main containers may run."""
    inits = init_containers_of(pod)
    if any(state.in_sandbox(container["name"]) for container in containers_of(pod)):
        for container in inits:
            if is_sidecar(container):
                _sidecar(container, state.in_sandbox(container["name"]), facts, made)
        return True
    seen = [index for index, container in enumerate(inits) if state.in_sandbox(container["name"])]
    reached = seen[-1] if seen else 0
    for index, container in enumerate(inits):
        last = state.in_sandbox(container["name"])
        if is_sidecar(container):
            if not _sidecar(container, last, facts, made) and index >= reached:
                return False
        elif index >= reached and not _init_container(pod, container, last, made):
            return False
    return True


def _sidecar(container: Container, last: ContainerState | None, facts: Facts, made: Plan) -> bool:
    """True when it has started, so that the next may."""
    if last is None or last.state != "running":
        if last is not None and last.state == "unknown":
            made.kill.append(Kill(last, _unknown(container)))
        made.start.append(container)
        return False
    probe = _failed_probe(last, facts)
    if probe:
        made.kill.append(Kill(last, f"Init container {container['name']} failed {probe} probe", probe=probe))
        made.start.append(container)
        return False
    if facts.resize.get(container["name"]) == "update":
        made.resize.append(container)
    return last.id in facts.started


def _init_container(pod: Object, container: Container, last: ContainerState | None, made: Plan) -> bool:
    """True when it has succeeded."""
    if last is None or last.state == "created":
        made.start.append(container)
        return False
    if last.state == "running":
        return False
    if last.state == "unknown":
        made.kill.append(Kill(last, _unknown(container)))
        made.start.append(container)
        return False
    if last.exit_code == 0:
        return True
    if should_restart(pod, container, last.exit_code):
        made.start.append(container)
    else:
        made.kill_pod = True
        made.start.clear()
    return False


# -- main containers -------------------------------------------------------------------------------------------------


def _main_container(pod: Object, container: Container, state: PodState, facts: Facts, made: Plan) -> int:
    """1 when it is left to run, 0 when it is started (again) or over."""
    last = state.latest(container["name"])
    if last is None or last.state == "created":
        made.start.append(container)
        return 0
    if last.state == "unknown":
        made.kill.append(Kill(last, _unknown(container)))
        made.start.append(container)
        return 0
    if last.state == "exited":
        if restarts(pod, container, last):
            made.start.append(container)
        return 0
    return _running_container(pod, container, last, facts, made)


def _running_container(pod: Object, container: Container, last: ContainerState, facts: Facts, made: Plan) -> int:
    name = container["name"]
    restart = True
    probe = _failed_probe(last, facts)
    wanted = facts.hashes.get(name, "")
    if last.hash and wanted and last.hash != wanted:
        message = f"Container {name} definition changed"
    elif probe:
        message = f"Container {name} failed {probe} probe"
        restart = (container.get("restartPolicy") or restart_policy(pod)) != "Never"
    elif facts.resize.get(name) == "restart":
        message = f"Container {name} resize requires restart"
    else:
        if facts.resize.get(name) == "update":
            made.resize.append(container)
        return 1
    made.kill.append(Kill(last, f"{message}, will be restarted" if restart else message, probe=probe))
    if restart:
        made.start.append(container)
    return 0


def _failed_probe(last: ContainerState, facts: Facts) -> str:
    if last.id in facts.failed_liveness:
        return "liveness"
    return "startup" if last.id in facts.failed_startup else ""


def _unknown(container: Container) -> str:
    return f"Container {container['name']} is in unknown state, try killing it before restart"
