"""A pod's status, as the kubelet would write it, and back: from a life to JSON, and a life out of JSON after a restart.

Sources: kubelet `convertStatusToAPIStatus`, `status.Generate*Condition`. The order of conditions is the kubelet's.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from random import Random
from typing import Any

from twinplane.clock import from_rfc3339, rfc3339
from twinplane.dataplane.simulation.container_life import ContainerLife, Exit, restarts
from twinplane.dataplane.simulation.lifecycle import PodFailure, PodLife
from twinplane.dataplane.simulation.pod_spec import PodSpec
from twinplane.dataplane.simulation.process_outcome import FOREVER, KILLED
from twinplane.dataplane.simulation.resize import resources_of
from twinplane.dataplane.simulation.stages import Stages
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import conditions_of

LIST_BY_KIND = {
    "init": "initContainerStatuses",
    "sidecar": "initContainerStatuses",
    "main": "containerStatuses",
    "ephemeral": "ephemeralContainerStatuses",
}
IMAGES_MAX = 4096
"""Names whose long forms are remembered."""
NEVER_STARTED = {
    "exitCode": KILLED,
    "reason": "ContainerStatusUnknown",
    "message": "The container could not be located when the pod was terminated",
}
"""How a container of a pod ends that was given up, or deleted, before its turn came."""
WAITING_REASONS = {"pullBackoff": "ImagePullBackOff"}


def pod_status(life: PodLife, now: float, host_ip: str, pod_ip: str, old: Object) -> dict[str, Any]:
    """The fields that the kubelet owns; `old` is the pod as known, for transition times and readiness gates."""
    status: dict[str, Any] = {
        "phase": life.phase,
        "startTime": rfc3339(life.started_at),
        "qosClass": life.spec.qos_class,
        "conditions": _conditions(life, now, old),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
    }
    if life.failed is not None:
        status["reason"], status["message"] = life.failed.reason, life.failed.message
    if generation := _generation(life, old):
        status["observedGeneration"] = generation
    if pod_ip and life.sandboxed:
        status["podIP"] = pod_ip
        status["podIPs"] = [{"ip": pod_ip}]
    for container in life.containers:
        status.setdefault(LIST_BY_KIND[container.spec.kind], []).append(_container_status(life, container))
    return status


def _generation(life: PodLife, body: Object) -> int:
    """0 for none."""
    return int(body["metadata"].get("generation") or life.spec.generation)


def _conditions(life: PodLife, now: float, body: Object) -> list[dict[str, Any]]:
    before = {condition["type"]: condition for condition in conditions_of(body)}
    unready = [item.spec.name for item in life.containers if item.spec.kind in ("main", "sidecar") and not item.ready]
    done = life.phase in ("Succeeded", "Failed")
    unmet = [gate for gate in life.spec.readiness_gates if before.get(gate, {}).get("status") != "True"]
    completed = {"reason": "PodCompleted"} if life.phase == "Succeeded" else {}
    not_ready: dict[str, str] = {}
    if done:
        not_ready = {"reason": "PodCompleted" if life.phase == "Succeeded" else "PodFailed"}
    elif unready:
        names = " ".join(unready)
        not_ready = {"reason": "ContainersNotReady", "message": f"containers with unready status: [{names}]"}
    gate_refusal = not_ready
    if not not_ready and unmet:
        message = ", ".join(_gate_message(gate, before.get(gate)) for gate in unmet)
        gate_refusal = {"reason": "ReadinessGatesNotReady", "message": message}
    incomplete: dict[str, str] = {}
    if not life.initialized and life.phase != "Succeeded":
        names = " ".join(item.spec.name for item in life.containers if _is_incomplete(item))
        incomplete = {
            "reason": "ContainersNotInitialized",
            "message": f"containers with incomplete status: [{names}]",
        }
    sandbox_up = life.sandboxed and not (done and life.stopped)
    wanted: list[tuple[str, bool, dict[str, str]]] = [
        ("PodReadyToStartContainers", sandbox_up, {}),
        ("Initialized", not incomplete, incomplete or completed),
        ("Ready", not gate_refusal, gate_refusal),
        ("ContainersReady", not not_ready, not_ready),
        ("PodScheduled", True, {}),
    ]
    if any(rule.everything for item in life.containers for rule in item.spec.restart_rules):
        wanted.append(("AllContainersRestarting", False, not_ready if done else {}))
    if life.pending is not None:
        wanted.append(("PodResizePending", True, {"reason": life.pending.reason, "message": life.pending.message}))
    if life.failed is not None and life.failed.disrupted:
        why = {"reason": "TerminationByKubelet", "message": life.failed.message}
        wanted.append(("DisruptionTarget", True, why))
    generation = _generation(life, body)
    seen = {"observedGeneration": generation} if generation else {}
    found = [_condition(name, well, why, now, before.get(name)) | seen for name, well, why in wanted]
    if life.pending is None and "PodResizePending" in before:
        # In the words of a strategic merge patch.
        found.append({"type": "PodResizePending", "$patch": "delete"})
    return found


def _gate_message(gate: str, condition: dict[str, Any] | None) -> str:
    if condition is None:
        return f'corresponding condition of pod readiness gate "{gate}" does not exist.'
    return f'the status of pod readiness gate "{gate}" is not "True", but {condition["status"]}'


def _is_incomplete(item: ContainerLife) -> bool:
    return (item.spec.kind == "init" and not item.succeeded) or (item.spec.kind == "sidecar" and not item.running)


def _condition(type: str, well: bool, why: dict[str, str], now: float, old: dict[str, Any] | None) -> dict[str, Any]:
    status = "True" if well else "False"
    since = old.get("lastTransitionTime") if old is not None and old["status"] == status else None
    # Explicit nulls: a strategic merge patch would otherwise keep the reason of the state before.
    empty = {"reason": None, "message": None} if old is not None and ("reason" in old or "message" in old) else {}
    return {"type": type, "status": status, "lastTransitionTime": since or rfc3339(now), **empty, **why}


def _container_status(life: PodLife, container: ContainerLife) -> dict[str, Any]:
    status: dict[str, Any] = {
        "name": container.spec.name,
        "state": _state(life, container),
        "lastState": {},
        "ready": _ready(container),
        "restartCount": container.restarts,
        "image": full_image(container.spec.image),
        "imageID": image_id(container.spec.image) if container.ever_started else "",
        "started": container.running,
    }
    if container.container_id:
        status["containerID"] = container.container_id
    if container.last is not None and container.step != "done":
        status["lastState"] = {"terminated": _terminated(container.last)}
    if life.allocated is not None and (resources := life.allocated.get(container.spec.name)):
        status["resources"] = resources
        if "requests" in resources:
            status["allocatedResources"] = resources["requests"]
    return status


def _ready(container: ContainerLife) -> bool:
    if container.spec.kind == "init":
        return container.succeeded
    return container.ready and container.spec.kind != "ephemeral"


def _state(life: PodLife, container: ContainerLife) -> dict[str, Any]:
    if container.running:
        return {"running": {"startedAt": rfc3339(container.started_at)}}
    if container.step == "done" and container.last is not None:
        return {"terminated": _terminated(container.last)}
    if container.step == "done" and container.spec.kind == "main" and life.initialized:
        return {"terminated": dict(NEVER_STARTED)}
    if container.step == "backoff" and container.last is not None:
        if container.crashes < 2:
            return {"terminated": _terminated(container.last)}
        spec = life.spec
        name = f"{container.spec.name} pod={spec.name}_{spec.namespace}({spec.uid})"
        seconds = life.stages.restart_backoff.after(container.crashes - 1)
        message = f"back-off {_go_duration(seconds)} restarting failed container={name}"
        return {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
    reason = WAITING_REASONS.get(container.step)
    if reason is None:
        # Of every container of a pod that has init containers, as the kubelet's default is.
        plain = all(item.spec.kind in ("main", "ephemeral") for item in life.containers)
        reason = "ContainerCreating" if plain else "PodInitializing"
    waiting = {"reason": reason}
    if reason == "ImagePullBackOff":
        why = f": ErrImagePull: {container.pull_error}" if container.pull_error else ""
        waiting["message"] = f'Back-off pulling image "{container.spec.image}"{why}'
    return {"waiting": waiting}


def _go_duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _terminated(exit: Exit) -> dict[str, Any]:
    return {
        "exitCode": exit.code,
        "reason": exit.reason,
        **({"message": exit.message} if exit.message else {}),
        "startedAt": rfc3339(exit.started_at),
        "finishedAt": rfc3339(exit.finished_at),
        "containerID": exit.container_id,
    }


@lru_cache(IMAGES_MAX)
def full_image(image: str) -> str:
    """As containerd reports it: `nginx` -> `docker.io/library/nginx:latest`."""
    repository = image
    first = image.split("/", 1)[0]
    if "/" not in image:
        repository = f"docker.io/library/{image}"
    elif "." not in first and ":" not in first and first != "localhost":
        repository = f"docker.io/{image}"
    named = repository.rsplit("/", 1)[-1]
    return repository if ":" in named or "@" in named else f"{repository}:latest"


@lru_cache(IMAGES_MAX)
def image_id(image: str) -> str:
    name = full_image(image)
    repository = name.partition("@")[0].rpartition(":")[0] or name
    return f"{repository}@sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def recovered_life(spec: PodSpec, body: Object, stages: Stages, random: Random, images: set[str]) -> PodLife:
    """A life that goes on where the status says it was; containers that run go on running."""
    status = body.get("status") or {}
    life = PodLife(spec, stages, random, images)
    life.started_at = from_rfc3339(status["startTime"])
    life.sandboxed = bool(status.get("podIP"))
    if status.get("reason") and status.get("phase") not in ("Succeeded", None):
        disrupted = any(item["type"] == "DisruptionTarget" for item in status.get("conditions") or ())
        life.failed = PodFailure(status["reason"], status.get("message") or "", disrupted)
    known = {item["name"]: item for name in set(LIST_BY_KIND.values()) for item in status.get(name) or ()}
    allocated = {name: item["resources"] for name, item in known.items() if "resources" in item}
    if allocated:
        life.allocated = resources_of(body) | allocated
    for container in life.containers:
        item = known.get(container.spec.name)
        if item is not None and life.sandboxed:
            _recover_container(life, container, item)
    return life


def _recover_container(life: PodLife, container: ContainerLife, item: dict[str, Any]) -> None:
    state = item.get("state") or {}
    container.restarts = item.get("restartCount") or 0
    container.container_id = item.get("containerID") or ""
    ended = state.get("terminated") or (item.get("lastState") or {}).get("terminated")
    if ended is not None and "startedAt" in ended:
        container.last = Exit(
            ended["exitCode"],
            ended.get("reason") or "",
            from_rfc3339(ended["startedAt"]),
            from_rfc3339(ended["finishedAt"]),
            ended.get("containerID") or "",
            ended.get("message") or "",
        )
    container.incarnation = container.restarts + int("running" in state or ended is not None)
    if container.incarnation:
        life.images.add(container.spec.image)
    if "running" in state:
        container.step = "running"
        container.started_at = from_rfc3339(state["running"]["startedAt"])
        container.ready = bool(item.get("ready"))
        if not container.ready and container.spec.ready_after < FOREVER:
            container.ready_at = container.started_at + container.spec.ready_after
        if container.spec.unhealthy_after < FOREVER:
            container.unhealthy_at = container.started_at + container.spec.unhealthy_after
        seconds = life.run_seconds(container)
        container.exit_at = None if seconds is None else container.started_at + seconds
        if life.failed is not None:
            container.stop(container.started_at, container.started_at, 0.0)
    elif "terminated" in state and not restarts(life.spec, container.spec, state["terminated"]["exitCode"]):
        container.step = "done"
    elif ended is not None:
        container.step, container.crashes = "backoff", container.restarts + 1
        container.due = container.last.finished_at if container.last else None
